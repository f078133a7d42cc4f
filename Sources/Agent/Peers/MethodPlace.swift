import ControlMessages
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
    /// By the node that the request names; `elseHere`: when it cannot be reached, by the agent that was asked.
    case namedNode(elseHere: Bool)
}

extension WireMethod {
    /// Asked by agents only.
    var isBetweenPeers: Bool { rawValue >= 100 }

    /// Answered with any number of messages.
    var isStreamed: Bool {
        switch self {
        case .jobWatch, .jobLogs, .clusterEvents: true
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
        case .jobSubmit, .jobPlan, .jobCheckpoint, .jobRestore, .jobCancel: .leader
        case .nodeList, .jobList, .clusterVoters, .keyringList, .revocationList, .authorityList: .leaderElseHere
        case .nodeShow: .namedNode(elseHere: true)
        // Nobody else can end it.
        case .nodeLeave: .namedNode(elseHere: false)
        // Samples, usage and the history of allocations are only where the job runs.
        case .jobShow, .jobExplain, .jobWatch: .jobsNode(elseHere: true)
        // The output is only there, and only there can a limit be changed at once.
        case .jobLogs, .jobResize: .jobsNode(elseHere: false)
        case .join, .leave: .leader
        case .raft, .propose, .gossipExchange, .peerPing, .forward, .renew: .here
        case .unspecified, .UNRECOGNIZED: .here
        }
    }
}

extension RPCRequest {
    /// The job or the node that the request names; empty when it names none or cannot be read, which its handler then tells.
    var subject: String {
        switch method {
        case .nodeShow: (try? decode(WireNodeShowRequest.self))?.node ?? ""
        case .nodeLeave: (try? decode(WireNodeLeaveRequest.self))?.node ?? ""
        case .jobShow: (try? decode(WireJobShowRequest.self))?.job.nameOrID ?? ""
        case .jobExplain: (try? decode(WireJobExplainRequest.self))?.job.nameOrID ?? ""
        case .jobWatch: (try? decode(WireJobWatchRequest.self))?.job.nameOrID ?? ""
        case .jobLogs: (try? decode(WireJobLogsRequest.self))?.job.nameOrID ?? ""
        case .jobResize: (try? decode(WireJobResizeRequest.self))?.job.nameOrID ?? ""
        default: ""
        }
    }
}
