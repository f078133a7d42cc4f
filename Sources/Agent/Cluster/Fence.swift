import ClusterModel
import ClusterState
import Logging
import Raft
import Synchronization

/// Whether this node has the right to run containers.
protocol Fence: Sendable {
    /// Whether containers may be started, restored and left running now.
    var mayRun: Bool { get }
}

/// The fence of a node that nobody else could take the jobs of.
struct NoFence: Fence {
    var mayRun: Bool { true }
}

/// Keeps this node's right to run containers alive by asking the leader for it, and writes its end where the shims see it.
///
/// A cluster of one has nobody who could run a job a second time, so its right does not end.
final class LeaderFence: Fence {
    private struct State {
        var authority: NodeAuthority
        /// Whether this member is the whole group, as of the last look.
        var isAlone: Bool
        var problem: String?
    }

    private let state: Mutex<State>
    private let lease: LeaseFile
    private let logger: Logger
    private let configuration: FencingConfiguration

    init(_ configuration: FencingConfiguration, lease: LeaseFile, isAlone: Bool, logger: Logger) {
        self.configuration = configuration
        self.lease = lease
        self.logger = logger
        state = Mutex(State(authority: NodeAuthority(configuration: configuration), isAlone: isAlone))
        // What an agent before this one promised stands: containers go on while this one finds its cluster again.
        if isAlone || (try? lease.read()) == .unlimited { write(newlyJoined: !isAlone) }
    }

    var mayRun: Bool { state.withLock { $0.isAlone || $0.authority.mayRun(at: .now) } }

    /// How often the leader is asked.
    var period: Duration { min(.seconds(1), configuration.partitionTimeout / 10) }

    /// Takes note of how things stand in the group; a leader's answer comes with the time at which it was asked for.
    func note(isAlone: Bool, applied: LogIndex, answer: (index: LogIndex, sent: ContinuousClock.Instant)? = nil) {
        let wasAlone = state.withLock { state in
            defer { state.isAlone = isAlone }
            if let answer { state.authority.granted(index: answer.index, toRequestSentAt: answer.sent) }
            state.authority.applied(through: applied)
            return state.isAlone
        }
        write(newlyJoined: wasAlone && !isAlone)
    }

    /// Writes the end of the right to run; one that is not alone any more has a whole timeout to hear from a leader.
    private func write(newlyJoined: Bool) {
        let problem: String? = state.withLock { state in
            do {
                if state.isAlone {
                    try lease.setUnlimited()
                } else if newlyJoined {
                    try lease.extend(until: .now + configuration.partitionTimeout)
                } else if let deadline = state.authority.deadline {
                    try lease.extend(until: deadline)
                }
                state.problem = nil
                return nil
            } catch {
                defer { state.problem = "\(error)" }
                return state.problem == "\(error)" ? nil : "\(error)"
            }
        }
        if let problem { logger.error("lease.write.failed", metadata: ["error": "\(problem)"]) }
    }
}
