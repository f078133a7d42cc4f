import ControlMessages
import NIO
import SwiftProtobuf
import Transport

/// Where in the cluster a method is answered.
enum MethodPlace: Sendable, Equatable {
    /// By whichever agent is asked.
    case here
    /// By the leader and by nobody else: what changes the cluster.
    case leader
    /// By the leader, so that everybody sees what was changed before; without one by whichever agent is asked, from what it has.
    case leaderElseHere
    /// By the node that holds the job that the request names, because what it asks for is only there.
    ///
    /// A job that no node holds is for the leader. `elseHere`: when that node cannot be reached, the agent that was asked answers from what
    /// it has, instead of failing.
    case jobsNode(elseHere: Bool)
    /// By a node that has the files of the checkpoint that the request names: it alone can read them.
    case checkpointHolder
    /// By the node that the request names; `elseHere`: when it cannot be reached, by the agent that was asked.
    case namedNode(elseHere: Bool)
}

extension WireMethod {
    /// Asked by agents only.
    var isBetweenPeers: Bool { rawValue >= 100 }

    /// Answered with any number of messages.
    var isStreamed: Bool {
        switch self {
        case .jobWatch, .jobLogs, .clusterEvents, .copyFetch, .copyCheck, .migrationFetch, .migrationFrames,
            .checkpointVerify,
            .checkpointExport:
            true
        default: false
        }
    }

    /// Where the method is answered.
    ///
    /// No default: whoever adds a method decides.
    var place: MethodPlace {
        switch self {
        case .status, .clusterMembers, .clusterEvents, .echo: .here
        case .nodeCordon, .nodeDrain, .nodeUndrain, .nodeRemove, .keyringRotate, .certificateRevoke: .leader
        case .authorityAdd, .authorityRemove: .leader
        case .jobSubmit, .jobPlan, .jobCheckpoint, .jobRestore, .jobCancel, .jobMigrate: .leader
        case .nodeList, .jobList, .clusterVoters, .keyringList, .revocationList, .authorityList: .leaderElseHere
        case .nodeShow: .namedNode(elseHere: true)
        // Nobody else can end it.
        case .nodeLeave: .namedNode(elseHere: false)
        // Samples, usage and the history of allocations are only where the job runs.
        case .jobShow, .jobExplain, .jobWatch: .jobsNode(elseHere: true)
        // The output is only there, and only there can a limit be changed at once.
        case .jobLogs, .jobResize: .jobsNode(elseHere: false)
        case .join: .leader
        case .raft, .propose, .gossipExchange, .peerPing, .forward, .renew, .copyFetch, .copyOffer, .copyCheck,
            .migrationFetch, .migrationFrames, .migrationPages:
            .here
        case .checkpointList, .checkpointShow: .leaderElseHere
        case .checkpointRemove: .leader
        // The asked agent asks the holders.
        case .checkpointVerify: .here
        case .checkpointExport: .checkpointHolder
        // The pieces of one tar come to one agent.
        case .checkpointImport: .here
        case .unspecified, .UNRECOGNIZED: .here
        }
    }
}

extension RPCRequest {
    /// The request as it may be asked twice with the effect of once; nil when that is not known to do no harm.
    ///
    /// A submission without a key is given one, by which the cluster knows it again (`Submission.idempotencyKey`).
    var repeatable: RPCRequest? {
        switch method {
        case .nodeList, .nodeShow, .jobList, .jobShow, .jobExplain, .jobPlan, .clusterMembers, .clusterVoters,
            .keyringList, .revocationList, .checkpointList, .checkpointShow:
            return self
        // The same again changes nothing.
        case .nodeCordon, .nodeDrain, .nodeUndrain, .certificateRevoke: return self
        case .jobSubmit:
            guard var submission = try? decode(WireJobSubmitRequest.self) else { return nil }
            guard submission.idempotencyKey.isEmpty else { return self }
            var generator = SystemRandomNumberGenerator()
            submission.idempotencyKey =
                "agent-\(String(generator.next() as UInt64, radix: 16))\(String(generator.next() as UInt64, radix: 16))"
            guard let bytes: [UInt8] = try? submission.serializedBytes() else { return nil }
            return RPCRequest(method: method, payload: ByteBuffer(bytes: bytes), peer: peer)
        default: return nil
        }
    }

    /// The generation that the request names; 0 when it names none.
    var generation: UInt32 {
        switch method {
        case .checkpointExport: (try? decode(WireCheckpointExportRequest.self))?.generation ?? 0
        default: 0
        }
    }

    /// The job or the node that the request names; empty when it names none or cannot be read, which its handler then tells.
    var subject: String {
        switch method {
        case .nodeShow: (try? decode(WireNodeShowRequest.self))?.node ?? ""
        case .nodeLeave: (try? decode(WireNodeLeaveRequest.self))?.node ?? ""
        case .jobShow: (try? decode(WireJobShowRequest.self))?.job.nameOrID ?? ""
        case .jobExplain: (try? decode(WireJobExplainRequest.self))?.job.nameOrID ?? ""
        case .jobWatch: (try? decode(WireJobWatchRequest.self))?.job.nameOrID ?? ""
        case .jobLogs: (try? decode(WireJobLogsRequest.self))?.job.nameOrID ?? ""
        case .checkpointExport: (try? decode(WireCheckpointExportRequest.self))?.job.nameOrID ?? ""
        case .jobResize: (try? decode(WireJobResizeRequest.self))?.job.nameOrID ?? ""
        default: ""
        }
    }
}
