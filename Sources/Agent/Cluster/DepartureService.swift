import ClusterModel
import ClusterState
import LinuxSystem
import Logging
import Raft
import ServiceLifecycle
import Synchronization
import Transport

/// How a node goes for good: by itself when an administrator tells its agent to, or because it was removed while it was away.
///
/// Either way the agent ends, and its next start is refused until somebody says that the machine is to be used again: a node that left and
/// came back with its old log would be a stranger with a member's name.
final class DepartureService: Service {
    private let node: NodeID
    private let replica: Replica
    private let directory: PeerDirectory
    private let peers: any PeerLink
    /// Closes the connections to a node that has left.
    private let forget: @Sendable (NodeID) async -> Void
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let period: Duration = .seconds(1)
    /// Without a leader for so long, the agent asks others whether it was removed.
    private let silenceLimit: Duration = .seconds(10)
    /// Looks until a node that left is forgotten: answers that are on their way from it, of its own leaving, must come through.
    private let looksUntilForgotten = 30
    /// How long an agent that leaves waits until the others go on without it.
    private let patience: Duration

    private struct State {
        var reason: String?
        var stop: (@Sendable () -> Void)?
        /// How often a member was seen to have left.
        var departed: [RaftMemberID: Int] = [:]
        var lastQuestion: ContinuousClock.Instant?
    }
    private let state = Mutex(State())

    init(
        node: NodeID,
        replica: Replica,
        directory: PeerDirectory,
        peers: any PeerLink,
        forget: @escaping @Sendable (NodeID) async -> Void = { _ in },
        patience: Duration = .seconds(15),
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) {
        (self.node, self.replica, self.directory, self.peers, self.forget) = (node, replica, directory, peers, forget)
        (self.patience, self.logger, self.now) = (patience, logger, now)
    }

    /// Why the agent ends for good; nil when it does not.
    var reason: String? { state.withLock(\.reason) }

    /// Says what ends the agent.
    func onEnd(_ stop: @escaping @Sendable () -> Void) {
        let isOver = state.withLock { state in
            state.stop = stop
            return state.reason != nil
        }
        if isOver { stop() }
    }

    // MARK: Leaving

    /// Takes this node out of the cluster: it hands over the lead, its record says that it left, and the others go on without its vote.
    ///
    /// The agent itself ends with `end`, when whoever asked has the answer.
    ///
    /// - Throws: `RPCFailure` or `Refusal`; the node is a member as before then.
    func leave(by user: UserID, abandonsCheckpoints: Bool) async throws -> NodeRecord {
        let known = await replica.state
        let others = known.nodes.filter { $0.state == .active && $0.node != node }
        guard let record = known.node(node), record.state.isLive, !others.isEmpty else {
            throw RPCFailure(
                .conflict,
                "node \(node) has nobody to leave the cluster to: stop its agent instead"
            )
        }
        let jobs = known.jobsLeft(on: node)
        guard jobs.isEmpty else {
            throw RPCFailure(
                .conflict,
                "node \(node) still has \(jobs.count == 1 ? "a job" : "\(jobs.count) jobs"): `godwit node drain \(node)` first, and `godwit node "
                    + "show \(node) --watch` shows when none is left"
            )
        }
        if !record.isCordoned { try await accepted(.cordon(node: node, by: user, time: now())) }
        do {
            try await handOver(to: others)
            try await accepted(
                .nodeLeft(NodeDeparture(node: node, abandonsCheckpoints: abandonsCheckpoints, time: now()))
            )
        } catch let error as ReplicationError where error.isUnknown {
            // The others may have gone on without this member before it heard of its own leaving.
            guard await isOut(of: others) else {
                throw RPCFailure(.unavailable, "whether node \(node) has left is not known: \(error)")
            }
        } catch {
            if !record.isCordoned { _ = try? await replica.propose(.undrain(node: node, by: user, time: now())) }
            throw error
        }
        logger.notice("node.leaving", metadata: ["by": "\(user)"])
        guard await isOut(of: others) else {
            // Ending now could cost the others their quorum; `look` ends the agent when they need its vote no more.
            logger.warning("node.leaving.unconfirmed", metadata: ["waited": "\(patience.text)"])
            throw RPCFailure(
                .unavailable,
                "node \(node) has left, but the others have not gone on without its vote yet: its agent runs until they have, and ends by itself"
            )
        }
        return await replica.state.node(node) ?? record
    }

    private func accepted(_ command: Command) async throws {
        if let refusal = try await replica.propose(command).refusal { throw refusal }
    }

    /// Lets another node lead; with a single voter another one gets a vote first.
    private func handOver(to others: [NodeRecord]) async throws {
        let deadline = ContinuousClock.now + patience
        while await replica.status.isLeader {
            let membership = await replica.status.membership
            if membership.voters.count < 2, !membership.isJoint {
                let heir = others.map { RaftMemberID(rawValue: $0.member) }.first { membership.contains($0) }
                guard let heir else { throw RPCFailure(.unavailable, "no other node has caught up yet; try again") }
                _ = try? await replica.changeMembership(MembershipChange([.voter(heir)]))
            }
            await replica.handOver()
            guard ContinuousClock.now < deadline else {
                throw RPCFailure(.unavailable, "no other node could take over the lead of the cluster; try again")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Waits until another node says that this member is out of the group: until then its vote is needed.
    private func isOut(of others: [NodeRecord]) async -> Bool {
        let deadline = ContinuousClock.now + patience
        while ContinuousClock.now < deadline, !Task.isCancelled {
            if await isToldThatItLeft(by: others.map(\.node)) { return true }
            try? await Task.sleep(for: .milliseconds(200))
        }
        return false
    }

    private func isToldThatItLeft(by others: [NodeID]) async -> Bool {
        for other in others.prefix(5) {
            if (try? await peers.ping(other, timeout: .seconds(2)))?.callerLeft == true { return true }
        }
        return false
    }

    /// Ends the agent for good; the first reason counts.
    func end(because reason: String) {
        let stop = state.withLock { state -> (@Sendable () -> Void)? in
            guard state.reason == nil else { return nil }
            state.reason = reason
            return state.stop
        }
        stop?()
    }

    // MARK: Being removed, and others that leave

    /// Begins what an agent does among others, unless its node was removed: what waits for a leader then would wait for ever.
    ///
    /// - Returns: whether it was done; else ``reason`` says why not, and the replica is closed.
    func begin(_ body: @escaping @Sendable () async throws -> Void) async throws -> Bool {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await body()
                return true
            }
            group.addTask {
                while self.reason == nil {
                    await self.look()
                    try await Task.sleep(for: self.period)
                }
                return false
            }
            let isDone = try await group.next() ?? false
            group.cancelAll()
            if !isDone { await replica.close() }
            return isDone
        }
    }

    func run() async throws {
        await repeatUntilShutdown(every: period) { await self.look() }
    }

    /// Forgets nodes that have left, and ends this agent when it was removed.
    func look() async {
        let known = await replica.state
        let status = await replica.status
        for record in known.nodes where record.state == .left && record.node != node {
            let member = RaftMemberID(rawValue: record.member)
            // Until it is out of the group its vote is needed.
            guard !status.membership.contains(member) else { continue }
            let count = state.withLock { state in
                state.departed[member, default: 0] += 1
                return state.departed[member]
            }
            guard count == looksUntilForgotten else { continue }
            directory.forget(record.node)
            await forget(record.node)
        }
        let own = known.node(node)
        let isRemoved = own?.state == .left && own?.member == replica.member.rawValue
        let isLeaderless =
            !status.isAlone && status.leader == nil
            && (status.lastLeaderContact.map { $0.duration(to: .now) > silenceLimit } ?? true)
        guard isRemoved || isLeaderless, mayAsk() else { return }
        if await isToldThatItLeft(by: directory.nodes.filter { $0 != node }) {
            let why = isRemoved ? own?.reason ?? "" : "It was removed while it was away."
            end(because: "Node \(node) has left the cluster. \(why)")
        }
    }

    private func mayAsk() -> Bool {
        state.withLock { state in
            if let last = state.lastQuestion, last.duration(to: .now) < .seconds(3) { return false }
            state.lastQuestion = .now
            return true
        }
    }
}

/// What tells the next start that this machine's node has left its cluster.
struct DepartureMark {
    /// The folder of the agent's state.
    let folder: String
    private var path: String { "\(folder)/left" }

    /// The sentence that was left there; nil when the node has not left.
    var sentence: String? { try? FileSystem.readText(path) }

    /// Why the agent does not start, and what to do; nil when it may.
    var objection: String? {
        sentence.map {
            "\($0.split(separator: "\n").joined(separator: " ")) To use this machine again, remove \(path): the agent begins with a new state then "
                + "and joins through cluster.join or --join"
        }
    }

    /// Puts the state of the old member aside and leaves the mark; what an earlier departure put aside goes.
    func leave(_ sentence: String, now: Timestamp) throws {
        try FileSystem.writeAtomically("\(sentence) That was at \(now).\n", to: path, mode: 0o600)
        let (state, aside) = ("\(folder)/state", "\(folder)/state.left")
        guard FileSystem.exists(state) else { return }
        if FileSystem.exists(aside) { try FileSystem.removeAll(aside) }
        try FileSystem.move(state, to: aside)
    }
}
