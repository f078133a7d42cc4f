import ClusterModel
import ClusterState
import ControlMessages
import CoreMetrics
import Logging
import NIO
import Storage
import SwiftProtobuf
import TLS
import Transport

/// Answers the control plane: what `godwit` and other clients ask.
///
/// Every change is proposed to the replicated state and acknowledged when it is durable; then the node controller carries it out.
/// Who may do what: `read` looks, `submit` also submits jobs and acts on the own ones, `admin` acts on every job.
struct ControlService: RPCHandler {
    let node: NodeFacts
    let replica: Replica
    let controller: NodeController
    let store: any StateStoring
    let hub: ChangeHub
    let containerLogs: any LogSource
    let resources: ResourceMonitor
    let metrics: AgentMetrics
    let leader: LeaderService?
    let fencing: FencingConfiguration
    let gossip: GossipService?
    let refusals: PeerRefusals
    /// What is wrong with this agent's certificate.
    let certificateProblem: @Sendable () -> String?
    let trust: TrustView?
    let departure: DepartureService?
    let checkpoints: CheckpointAccess?
    let logger: Logger
    let now: @Sendable () -> Timestamp

    /// Reads documents of jobs; knows no state.
    let documents = DocumentShell()

    init(
        node: NodeFacts,
        replica: Replica,
        controller: NodeController,
        store: any StateStoring,
        hub: ChangeHub,
        containerLogs: any LogSource,
        resources: ResourceMonitor,
        metrics: AgentMetrics,
        leader: LeaderService? = nil,
        fencing: FencingConfiguration = FencingConfiguration(),
        gossip: GossipService? = nil,
        refusals: PeerRefusals = PeerRefusals(),
        certificateProblem: @escaping @Sendable () -> String? = { nil },
        trust: TrustView? = nil,
        departure: DepartureService? = nil,
        checkpoints: CheckpointAccess? = nil,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) {
        self.node = node
        self.replica = replica
        self.controller = controller
        self.store = store
        self.hub = hub
        self.containerLogs = containerLogs
        self.resources = resources
        self.metrics = metrics
        self.leader = leader
        self.fencing = fencing
        self.gossip = gossip
        self.refusals = refusals
        self.certificateProblem = certificateProblem
        (self.trust, self.departure, self.checkpoints) = (trust, departure, checkpoints)
        self.logger = logger
        self.now = now
    }

    func answerAtOnce(_ request: RPCRequest) -> ByteBuffer? {
        guard request.method == .echo, let echo = try? request.decode(WireEchoRequest.self) else { return nil }
        var reply = WireEchoReply()
        reply.payload = echo.payload
        guard let bytes: [UInt8] = try? reply.serializedBytes() else { return nil }
        return ByteBuffer(bytes: bytes)
    }

    func handle(_ call: RPCCall) async throws {
        metrics.requests.increment()
        do {
            try await answer(call)
        } catch let refusal as Refusal {
            metrics.requestsRefused.increment()
            throw RPCFailure(refusal)
        } catch let failure as RPCFailure {
            metrics.requestsRefused.increment()
            throw failure
        } catch let error as ReplicationError {
            metrics.requestsRefused.increment()
            throw RPCFailure(.unavailable, "\(error)")
        } catch let error as StorageError {
            metrics.requestsRefused.increment()
            throw RPCFailure(
                error.code == .full ? .exhausted : .unavailable,
                "the change was not made, nothing is lost: \(error)"
            )
        }
    }

    private func answer(_ call: RPCCall) async throws {
        switch call.method {
        case .status: try await status(call)
        case .nodeList: try await nodeList(call)
        case .nodeShow: try await nodeShow(call)
        case .jobSubmit: try await submit(call)
        case .jobPlan: try await plan(call)
        case .jobList: try await list(call)
        case .jobShow: try await show(call)
        case .jobWatch: try await watch(call)
        case .jobExplain: try await explain(call)
        case .jobLogs: try await logs(call)
        case .jobCheckpoint: try await checkpoint(call)
        case .jobRestore: try await restore(call)
        case .jobResize: try await resize(call)
        case .jobCancel: try await cancel(call)
        case .checkpointList: try await checkpointList(call)
        case .checkpointShow: try await checkpointShow(call)
        case .checkpointVerify: try await checkpointVerify(call)
        case .checkpointExport: try await checkpointExport(call)
        case .checkpointImport: try await checkpointImport(call)
        case .checkpointRemove: try await checkpointRemove(call)
        case .jobMigrate: try await migrate(call)
        case .clusterMembers: try await clusterMembers(call)
        case .clusterVoters: try await clusterVoters(call)
        case .clusterEvents: try await clusterEvents(call)
        case .keyringList: try await keyringList(call)
        case .keyringRotate: try await keyringRotate(call)
        case .nodeCordon: try await cordon(call)
        case .nodeDrain: try await drain(call)
        case .nodeUndrain: try await undrain(call)
        case .nodeRemove: try await remove(call)
        case .nodeLeave: try await leave(call)
        case .certificateRevoke: try await revoke(call)
        case .authorityAdd: try await addAuthority(call)
        case .authorityRemove: try await removeAuthority(call)
        case .authorityList: try await authorities(call)
        case .revocationList: try await revocations(call)
        case .echo:
            var reply = WireEchoReply()
            reply.payload = try call.decode(WireEchoRequest.self).payload
            call.reply(reply)
        default:
            throw RPCFailure(
                .unimplemented,
                "this agent (\(AgentProgram.version)) does not know method \(call.method.rawValue); upgrade the agent"
            )
        }
    }

    // MARK: Helpers

    /// The user that a change is attributed to.
    func user(_ call: RPCCall) -> UserID {
        switch call.peer {
        case .user(_, let user, _): user
        case .node(_, _, let node, _): UserID(rawValue: node.rawValue)
        }
    }

    /// Finds the job that a request names.
    func job(_ reference: WireJobReference) async throws -> JobRecord {
        try await replica.state.resolve(reference.nameOrID)
    }

    /// Finds the job and checks that the caller may act on it.
    func ownJob(_ reference: WireJobReference, _ call: RPCCall) async throws -> JobRecord {
        try call.require(.submit)
        let record = try await job(reference)
        guard call.peer.right == .admin || record.submitter == user(call) else {
            throw RPCFailure(
                .forbidden,
                "job '\(record.specification.name)' belongs to \(record.submitter); ask its owner or an administrator"
            )
        }
        return record
    }

    /// Proposes a change; a refusal reaches the caller.
    func propose(_ command: Command) async throws -> Acceptance {
        switch try await replica.propose(command) {
        case .accepted(let acceptance): return acceptance
        case .refused(let refusal): throw refusal
        }
    }

    /// How old what this agent knows may be, in seconds: nothing that was acknowledged longer ago is missing.
    ///
    /// 0 of a leader.
    func age() async -> Double {
        if await replica.isUpToDate() { return 0 }
        let contact = await replica.status.lastLeaderContact ?? node.startedAt
        return max(0.001, contact.duration(to: .now).inSeconds)
    }

    func summary(_ record: JobRecord) async -> WireJobSummary {
        record.wireSummary(standing: await controller.standing(of: record.id), now: now())
    }

    /// Waits until the job's record fulfils the condition; the caller's time limit cancels the wait.
    func wait(for id: JobID, until condition: (JobRecord) -> Bool) async throws -> JobRecord {
        let subscription = hub.subscribe()
        defer { subscription.end() }
        if let record = await replica.state.job(id), condition(record) { return record }
        for await _ in subscription.changes where subscription.take().contains(id) {
            guard let record = await replica.state.job(id) else { break }
            if condition(record) { return record }
        }
        try Task.checkCancellation()
        throw RPCFailure(.unavailable, "job \(id) was forgotten while it was waited for")
    }
}

extension RPCFailure {
    /// The refusal of a command as it travels.
    init(_ refusal: Refusal) {
        let code: Code =
            switch refusal.code {
            case .notFound: .notFound
            case .conflict, .stale: .conflict
            case .invalid: .invalid
            case .exhausted: .exhausted
            }
        self.init(code, refusal.message)
    }
}
