import ClusterModel
import ClusterState
import LinuxSystem
import Logging
import Raft
import Synchronization

/// Whether this node has the right to run containers.
protocol Fence: Sendable {
    /// Whether containers may be started and restored now.
    var mayRun: Bool { get }
    /// Whether those that run must end now: what was promised to them is over.
    var mustEnd: Bool { get }
}

/// The fence of a node that nobody else could take the jobs of.
struct NoFence: Fence {
    var mayRun: Bool { true }
    var mustEnd: Bool { false }
}

/// Keeps this node's right to run containers alive by asking the leader for it, and writes its end where the shims see it.
///
/// A cluster of one has nobody who could run a job a second time, so its right does not end.
final class LeaderFence: Fence {
    private struct State {
        var authority: NodeAuthority
        /// Whether this member is the whole group, as of the last look.
        var isAlone: Bool
        /// Until when the shims let containers run, as far as this agent knows: its own word, or that of the agent before it.
        var promised: ContinuousClock.Instant
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
        // What an agent before this one promised stands: containers go on while this one finds its cluster again.
        let found = try? lease.read()
        var promised = ContinuousClock.now
        if case .until(let nanoseconds)? = found {
            promised += .nanoseconds(max(0, nanoseconds - BootClock.nanoseconds()))
        }
        state = Mutex(
            State(authority: NodeAuthority(configuration: configuration), isAlone: isAlone, promised: promised)
        )
        if isAlone || found == .unlimited { write(newlyJoined: !isAlone) }
    }

    var mayRun: Bool { state.withLock { $0.isAlone || $0.authority.mayRun(at: .now) } }

    var mustEnd: Bool {
        state.withLock { !$0.isAlone && !$0.authority.mayRun(at: .now) && $0.promised <= .now }
    }

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
                    state.promised = .now + configuration.partitionTimeout
                    try lease.extend(until: state.promised)
                } else if let deadline = state.authority.deadline, deadline > state.promised {
                    state.promised = deadline
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
