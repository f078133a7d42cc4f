import ControlAPI
import ControlMessages
import SwiftProtobuf
import TLS
import Transport

/// A connection to a real agent.
struct ControlConnection: AgentConnection {
    private let client: ControlClient
    /// What the user said a call may take; nil means what each method needs.
    private let timeout: Duration?

    /// The longest time for the way to an agent: name, TCP, TLS, hello.
    private static let connectLimit = Duration.seconds(10)

    /// Connects to the first agent that answers.
    static func open(_ request: ConnectionRequest) async throws -> any AgentConnection {
        let credentials: Credentials
        do {
            credentials = try Credentials.load(identityPath: request.identity, agents: request.agents)
        } catch let error as TLSError {
            throw CommandFailure(.failure, error.message)
        } catch let failure as RPCFailure {
            throw CommandFailure(.usage, failure.message)
        }
        let limit = min(request.timeout ?? connectLimit, connectLimit)
        let client = try await translating {
            try await withLimit(limit, to: credentials.agents) {
                try await ControlClient.connect(
                    credentials,
                    software: "godwit \(Godwit.version)",
                    connectTimeout: min(limit, .seconds(5))
                )
            }
        }
        return ControlConnection(client: client, timeout: request.timeout)
    }

    /// Gives up after the limit, with a failure that says whom it waited for.
    private static func withLimit(
        _ limit: Duration,
        to agents: [AgentAddress],
        _ body: @escaping @Sendable () async throws -> ControlClient
    ) async throws -> ControlClient {
        try await withThrowingTaskGroup(of: ControlClient.self) { group in
            group.addTask { try await body() }
            group.addTask {
                try await Task.sleep(for: limit)
                let names = agents.map(\.description).joined(separator: ", ")
                throw RPCFailure(
                    .unavailable,
                    "no answer from \(names) within \(limit): is it the right address and port?"
                )
            }
            defer { group.cancelAll() }
            guard let client = try await group.next() else { preconditionFailure("the group has two tasks") }
            return client
        }
    }

    /// Turns the failures of calls into the program's.
    private static func translating<Result>(_ body: () async throws -> Result) async throws -> Result {
        do { return try await body() } catch let failure as RPCFailure { throw CommandFailure(failure.wire) } catch let
            error as TLSError
        { throw CommandFailure(.forbidden, error.message) }
    }

    private func call<Reply: Message>(
        _ method: WireMethod,
        _ request: some Message,
        usually limit: Duration = ControlClient.defaultTimeout
    ) async throws -> Reply {
        try await Self.translating { try await client.rpc.call(method, request, timeout: timeout ?? limit) }
    }

    func status(_ request: WireStatusRequest) async throws -> WireStatusReply { try await call(.status, request) }

    func nodeList(_ request: WireNodeListRequest) async throws -> WireNodeListReply {
        try await call(.nodeList, request)
    }

    func nodeShow(_ request: WireNodeShowRequest) async throws -> WireNodeShowReply {
        try await call(.nodeShow, request)
    }

    func nodeCordon(_ request: WireNodeCordonRequest) async throws -> WireNodeCordonReply {
        try await call(.nodeCordon, request)
    }

    func nodeDrain(_ request: WireNodeDrainRequest) async throws -> WireNodeDrainReply {
        try await call(.nodeDrain, request)
    }

    func nodeUndrain(_ request: WireNodeUndrainRequest) async throws -> WireNodeUndrainReply {
        try await call(.nodeUndrain, request)
    }

    func nodeRemove(_ request: WireNodeRemoveRequest) async throws -> WireNodeRemoveReply {
        try await call(.nodeRemove, request)
    }

    func nodeLeave(_ request: WireNodeLeaveRequest) async throws -> WireNodeLeaveReply {
        try await call(.nodeLeave, request, usually: ControlClient.departureTimeout)
    }

    func clusterMembers(_ request: WireClusterMembersRequest) async throws -> WireClusterMembersReply {
        try await call(.clusterMembers, request)
    }

    func clusterVoters(_ request: WireClusterVotersRequest) async throws -> WireClusterVotersReply {
        try await call(.clusterVoters, request)
    }

    func keyringList(_ request: WireKeyringListRequest) async throws -> WireKeyringListReply {
        try await call(.keyringList, request)
    }

    func keyringRotate(_ request: WireKeyringRotateRequest) async throws -> WireKeyringRotateReply {
        try await call(.keyringRotate, request)
    }

    func certificateRevoke(_ request: WireCertificateRevokeRequest) async throws -> WireCertificateRevokeReply {
        try await call(.certificateRevoke, request)
    }

    func revocationList(_ request: WireRevocationListRequest) async throws -> WireRevocationListReply {
        try await call(.revocationList, request)
    }

    func authorityAdd(_ request: WireAuthorityAddRequest) async throws -> WireAuthorityAddReply {
        try await call(.authorityAdd, request)
    }

    func authorityRemove(_ request: WireAuthorityRemoveRequest) async throws -> WireAuthorityRemoveReply {
        try await call(.authorityRemove, request)
    }

    func authorityList(_ request: WireAuthorityListRequest) async throws -> WireAuthorityListReply {
        try await call(.authorityList, request)
    }

    func clusterEvents(
        _ request: WireClusterEventsRequest,
        receive: (WireClusterEventsReply) throws -> Void
    ) async throws {
        try await Self.translating {
            for try await reply in client.clusterEvents(request) { try receive(reply) }
        }
    }

    func jobSubmit(_ request: WireJobSubmitRequest) async throws -> WireJobSubmitReply {
        try await call(.jobSubmit, request)
    }

    func jobPlan(_ request: WireJobPlanRequest) async throws -> WireJobPlanReply { try await call(.jobPlan, request) }

    func jobList(_ request: WireJobListRequest) async throws -> WireJobListReply { try await call(.jobList, request) }

    func jobShow(_ request: WireJobShowRequest) async throws -> WireJobShowReply { try await call(.jobShow, request) }

    func jobExplain(_ request: WireJobExplainRequest) async throws -> WireJobExplainReply {
        try await call(.jobExplain, request)
    }

    func jobCheckpoint(_ request: WireJobCheckpointRequest) async throws -> WireJobCheckpointReply {
        try await call(.jobCheckpoint, request, usually: ControlClient.checkpointTimeout)
    }

    func jobRestore(_ request: WireJobRestoreRequest) async throws -> WireJobRestoreReply {
        try await call(.jobRestore, request, usually: ControlClient.checkpointTimeout)
    }

    func jobResize(_ request: WireJobResizeRequest) async throws -> WireJobResizeReply {
        try await call(.jobResize, request)
    }

    func jobMigrate(_ request: WireJobMigrateRequest) async throws -> WireJobMigrateReply {
        try await call(.jobMigrate, request, usually: ControlClient.checkpointTimeout)
    }

    func jobCancel(_ request: WireJobCancelRequest) async throws -> WireJobCancelReply {
        // The answer comes when the job has ended, which may take all of its grace.
        let grace = request.graceSeconds > 0 ? min(request.graceSeconds, 86_400) : 10
        return try await call(.jobCancel, request, usually: ControlClient.defaultTimeout + .seconds(grace))
    }

    func jobWatch(_ request: WireJobWatchRequest, receive: (WireJobWatchReply) throws -> Bool) async throws {
        try await Self.translating {
            for try await reply in client.jobWatch(request) where try !receive(reply) { break }
        }
    }

    func jobLogs(_ request: WireJobLogsRequest, receive: (WireJobLogsReply) throws -> Void) async throws {
        try await Self.translating {
            for try await reply in client.jobLogs(request) { try receive(reply) }
        }
    }

    func checkpointList(_ request: WireCheckpointListRequest) async throws -> WireCheckpointListReply {
        try await call(.checkpointList, request)
    }

    func checkpointShow(_ request: WireCheckpointShowRequest) async throws -> WireCheckpointShowReply {
        try await call(.checkpointShow, request)
    }

    func checkpointVerify(
        _ request: WireCheckpointVerifyRequest,
        receive: (WireCheckpointVerifyReply) throws -> Void
    ) async throws {
        try await Self.translating {
            let replies = client.rpc.stream(.checkpointVerify, request, reply: WireCheckpointVerifyReply.self)
            for try await reply in replies { try receive(reply) }
        }
    }

    func checkpointExport(
        _ request: WireCheckpointExportRequest,
        receive: (WireCheckpointExportReply) throws -> Void
    ) async throws {
        try await Self.translating {
            let replies = client.rpc.stream(.checkpointExport, request, reply: WireCheckpointExportReply.self)
            for try await reply in replies { try receive(reply) }
        }
    }

    func checkpointImport(_ request: WireCheckpointImportRequest) async throws -> WireCheckpointImportReply {
        // With the last piece every region is looked at, sealed and written.
        try await call(
            .checkpointImport,
            request,
            usually: request.isLast ? ControlClient.checkpointTimeout : ControlClient.defaultTimeout
        )
    }

    func checkpointRemove(_ request: WireCheckpointRemoveRequest) async throws -> WireCheckpointRemoveReply {
        try await call(.checkpointRemove, request)
    }

    /// Says goodbye to the agent.
    ///
    /// The event loop is left as it is: the process ends without exit handlers that it could disturb, so
    /// nobody has to wait for its thread.
    func close() async { await client.rpc.close() }
}
