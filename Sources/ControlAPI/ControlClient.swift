package import ControlMessages
package import NIO
import TLS
package import Transport

/// The control plane of a cluster, as a program sees it: one method for each of `control.proto`.
///
/// Every method throws `RPCFailure`. Any agent answers for the whole cluster.
package final class ControlClient: Sendable {
    /// For methods that only look or note something down.
    package static let defaultTimeout = Duration.seconds(30)
    /// For a node that leaves: it hands over the lead, and waits until the others go on without its vote.
    package static let departureTimeout = Duration.seconds(60)
    /// For methods that move a job's memory.
    package static let checkpointTimeout = Duration.seconds(900)

    /// The connection that carries the calls.
    package let rpc: RPCClient

    /// Of all clients in this process that were given no other; made when first used, and never ended: what a connection leaves may
    /// still want to be freed on it.
    private static let sharedLoop: any EventLoopGroup = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private init(_ rpc: RPCClient) { self.rpc = rpc }

    /// Connects to the first agent that answers, in the order given.
    ///
    /// Without a `group` one event loop serves all clients of the process, and never ends. Throws the only agent's failure, or one that names each
    /// agent's; a refusal (`forbidden`, `unimplemented`) ends the search, since the next agent of the cluster would say the same.
    package static func connect(
        _ credentials: Credentials,
        software: String,
        connectTimeout: Duration = .seconds(5),
        group: (any EventLoopGroup)? = nil
    ) async throws -> ControlClient {
        let tls = try TLSContext(.client, credentials.identity)
        let configuration = RPCClientConfiguration(
            software: software,
            connectTimeout: .nanoseconds(connectTimeout.nanosecondsClamped)
        )
        return ControlClient(try await firstAnswer(credentials.agents, tls, configuration, group ?? sharedLoop))
    }

    private static func firstAnswer(
        _ agents: [AgentAddress],
        _ tls: TLSContext,
        _ configuration: RPCClientConfiguration,
        _ group: any EventLoopGroup
    ) async throws -> RPCClient {
        var failures: [RPCFailure] = []
        for agent in agents {
            do {
                return try await RPCClient.connect(
                    host: agent.host,
                    port: agent.port,
                    tls: tls,
                    configuration: configuration,
                    group: group
                )
            } catch let failure as RPCFailure where failure.code == .unavailable {
                failures.append(failure)
            }
        }
        if failures.count == 1 { throw failures[0] }
        guard !failures.isEmpty else {
            throw RPCFailure(.invalid, "no agent's address is known: name one with --agent or in $GODWIT_AGENT")
        }
        throw RPCFailure(
            .unavailable,
            "none of the \(failures.count) agents can be reached: " + failures.map(\.message).joined(separator: "; ")
        )
    }

    /// Closes the connection; returns when it is closed.
    package func close() async { await rpc.close() }

    // MARK: Cluster and nodes

    /// How the cluster is, in a few numbers.
    package func status() async throws -> WireStatusReply {
        try await rpc.call(.status, WireStatusRequest(), timeout: Self.defaultTimeout)
    }

    /// All nodes.
    package func nodeList() async throws -> WireNodeListReply {
        try await rpc.call(.nodeList, WireNodeListRequest(), timeout: Self.defaultTimeout)
    }

    /// One node and the jobs that it runs.
    package func nodeShow(_ request: WireNodeShowRequest) async throws -> WireNodeShowReply {
        try await rpc.call(.nodeShow, request, timeout: Self.defaultTimeout)
    }

    /// Lets a node take no new jobs; those that it has run on.
    package func nodeCordon(_ request: WireNodeCordonRequest) async throws -> WireNodeCordonReply {
        try await rpc.call(.nodeCordon, request, timeout: Self.defaultTimeout)
    }

    /// Lets a node take no new jobs and hand over those that it has.
    ///
    /// Returns when that is decided, not when the last job has left.
    package func nodeDrain(_ request: WireNodeDrainRequest) async throws -> WireNodeDrainReply {
        try await rpc.call(.nodeDrain, request, timeout: Self.defaultTimeout)
    }

    /// Lets a node take jobs again.
    package func nodeUndrain(_ request: WireNodeUndrainRequest) async throws -> WireNodeUndrainReply {
        try await rpc.call(.nodeUndrain, request, timeout: Self.defaultTimeout)
    }

    /// Takes a node out for good that does not come back.
    package func nodeRemove(_ request: WireNodeRemoveRequest) async throws -> WireNodeRemoveReply {
        try await rpc.call(.nodeRemove, request, timeout: Self.defaultTimeout)
    }

    /// Lets a node leave for good; its agent ends after that.
    package func nodeLeave(_ request: WireNodeLeaveRequest) async throws -> WireNodeLeaveReply {
        try await rpc.call(.nodeLeave, request, timeout: Self.departureTimeout)
    }

    /// All nodes as the replicated state, consensus and gossip see them.
    package func clusterMembers() async throws -> WireClusterMembersReply {
        try await rpc.call(.clusterMembers, WireClusterMembersRequest(), timeout: Self.defaultTimeout)
    }

    /// Who votes, who leads, and how far each is.
    package func clusterVoters() async throws -> WireClusterVotersReply {
        try await rpc.call(.clusterVoters, WireClusterVotersRequest(), timeout: Self.defaultTimeout)
    }

    /// What happened to the cluster, oldest first; with `follow` until the caller stops reading.
    package func clusterEvents(_ request: WireClusterEventsRequest) -> RPCStream<WireClusterEventsReply> {
        rpc.stream(.clusterEvents, request)
    }

    /// The keys that gossip is sealed with, without their secrets.
    package func keyringList() async throws -> WireKeyringListReply {
        try await rpc.call(.keyringList, WireKeyringListRequest(), timeout: Self.defaultTimeout)
    }

    /// Makes a new key for gossip and retires the oldest.
    package func keyringRotate() async throws -> WireKeyringRotateReply {
        try await rpc.call(.keyringRotate, WireKeyringRotateRequest(), timeout: Self.defaultTimeout)
    }

    /// Refuses certificates from now on, everywhere.
    package func certificateRevoke(_ request: WireCertificateRevokeRequest) async throws -> WireCertificateRevokeReply {
        try await rpc.call(.certificateRevoke, request, timeout: Self.defaultTimeout)
    }

    /// What is refused although its authority vouches for it.
    package func revocationList() async throws -> WireRevocationListReply {
        try await rpc.call(.revocationList, WireRevocationListRequest(), timeout: Self.defaultTimeout)
    }

    /// Trusts an authority besides those in the agents' identity files.
    package func authorityAdd(_ request: WireAuthorityAddRequest) async throws -> WireAuthorityAddReply {
        try await rpc.call(.authorityAdd, request, timeout: Self.defaultTimeout)
    }

    /// Trusts an authority no longer, and shuts out whom it vouches for.
    package func authorityRemove(_ request: WireAuthorityRemoveRequest) async throws -> WireAuthorityRemoveReply {
        try await rpc.call(.authorityRemove, request, timeout: Self.defaultTimeout)
    }

    /// Every authority that is trusted.
    package func authorityList() async throws -> WireAuthorityListReply {
        try await rpc.call(.authorityList, WireAuthorityListRequest(), timeout: Self.defaultTimeout)
    }

    // MARK: Jobs

    /// Submits a job.
    ///
    /// With an idempotency key the call may be repeated after a broken connection.
    package func jobSubmit(_ request: WireJobSubmitRequest) async throws -> WireJobSubmitReply {
        try await rpc.call(.jobSubmit, request, timeout: Self.defaultTimeout)
    }

    /// Says what would become of a job, without submitting it.
    package func jobPlan(_ request: WireJobPlanRequest) async throws -> WireJobPlanReply {
        try await rpc.call(.jobPlan, request, timeout: Self.defaultTimeout)
    }

    /// Jobs, newest last.
    package func jobList(_ request: WireJobListRequest) async throws -> WireJobListReply {
        try await rpc.call(.jobList, request, timeout: Self.defaultTimeout)
    }

    /// Everything about one job.
    package func jobShow(_ request: WireJobShowRequest) async throws -> WireJobShowReply {
        try await rpc.call(.jobShow, request, timeout: Self.defaultTimeout)
    }

    /// Follows one job, or all, until the caller stops reading.
    package func jobWatch(_ request: WireJobWatchRequest) -> RPCStream<WireJobWatchReply> {
        rpc.stream(.jobWatch, request)
    }

    /// A job's story: its decisions and samples.
    package func jobExplain(_ request: WireJobExplainRequest) async throws -> WireJobExplainReply {
        try await rpc.call(.jobExplain, request, timeout: Self.defaultTimeout)
    }

    /// A job's output; ends with the job, or when all was sent that is kept.
    package func jobLogs(_ request: WireJobLogsRequest) -> RPCStream<WireJobLogsReply> {
        rpc.stream(.jobLogs, request)
    }

    /// Takes a checkpoint now.
    package func jobCheckpoint(_ request: WireJobCheckpointRequest) async throws -> WireJobCheckpointReply {
        try await rpc.call(.jobCheckpoint, request, timeout: Self.checkpointTimeout)
    }

    /// One checkpoint of a job, and who has it.
    package func checkpointShow(_ request: WireCheckpointShowRequest) async throws -> WireCheckpointShowReply {
        try await rpc.call(.checkpointShow, request, timeout: Self.defaultTimeout)
    }

    /// Restores a job from a checkpoint.
    package func jobRestore(_ request: WireJobRestoreRequest) async throws -> WireJobRestoreReply {
        try await rpc.call(.jobRestore, request, timeout: Self.checkpointTimeout)
    }

    /// Changes what a running job may use.
    package func jobResize(_ request: WireJobResizeRequest) async throws -> WireJobResizeReply {
        try await rpc.call(.jobResize, request, timeout: Self.defaultTimeout)
    }

    /// Moves a running job to another node.
    package func jobMigrate(_ request: WireJobMigrateRequest) async throws -> WireJobMigrateReply {
        try await rpc.call(.jobMigrate, request, timeout: Self.checkpointTimeout)
    }

    /// Ends a job.
    ///
    /// Waits for its grace time and a little longer.
    package func jobCancel(_ request: WireJobCancelRequest) async throws -> WireJobCancelReply {
        let grace = request.graceSeconds > 0 && request.graceSeconds < 86_400 ? request.graceSeconds : 10
        return try await rpc.call(.jobCancel, request, timeout: Self.defaultTimeout + .seconds(grace))
    }

    /// Sends bytes and gets them back; the cheapest way to know that an agent is well.
    package func echo(_ request: WireEchoRequest) async throws -> WireEchoReply {
        try await rpc.call(.echo, request, timeout: Self.defaultTimeout)
    }
}

extension Duration {
    fileprivate var nanosecondsClamped: Int64 {
        let (seconds, attoseconds) = components
        return seconds >= 86_400 ? 86_400_000_000_000 : max(0, seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
