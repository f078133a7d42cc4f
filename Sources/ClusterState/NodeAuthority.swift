internal import ClusterModel

/// The bounds of fencing; all agents of a cluster must use the same.
///
/// A node's authority ends `partitionTimeout` after it *sent* the last request that a leader answered; the leader counts from when it
/// *received* that request, which was later. So no delay of any message can let a node outlive its authority: what remains are clocks, and the
/// time that a container takes to be gone.
package struct FencingConfiguration: Sendable, Equatable {
    /// For so long after the last answered request a node may run containers (`cluster.partitionTimeout`).
    package var partitionTimeout: Duration
    /// A container is gone, or frozen for good, at most so long after its node's authority ended.
    package var stopTime: Duration
    /// No node's clock gains or loses more than this, in parts per million of the time that passes.
    package var clockDriftPPM: Int64

    /// Takes the values as they are; the defaults are 30 s, 5 s and 1,000 ppm, twice what time daemons slew a clock by.
    package init(
        partitionTimeout: Duration = .seconds(30),
        stopTime: Duration = .seconds(5),
        clockDriftPPM: Int64 = 1000
    ) {
        (self.partitionTimeout, self.stopTime, self.clockDriftPPM) = (partitionTimeout, stopTime, clockDriftPPM)
    }

    /// How long a leader waits, on its own clock, before a node that does not answer may be declared lost.
    ///
    /// The node's clock may be slow and the leader's fast: `timeout * (1 + drift) / (1 - drift)`, rounded up, and on top twice the time in
    /// which the node's containers end, so that a stop that is a little late does no harm.
    package var lossDelay: Duration {
        let timeout = partitionTimeout.nanoseconds
        // (1 + d) / (1 - d) = 1 + 2d / (1 - d); nanoseconds of 292 years times two million would not fit, so divide first.
        let million: Int64 = 1_000_000
        let twice = 2 * clockDriftPPM
        let rest = million - clockDriftPPM
        let whole = timeout / rest * twice
        let part = timeout % rest * twice / rest + 1
        return .nanoseconds(timeout + whole + part) + stopTime * 2
    }

    /// What is wrong with the values, in words; empty when they can work together.
    package var problems: [String] {
        var found: [String] = []
        if !(.seconds(1) ... .seconds(86_400)).contains(partitionTimeout) {
            found.append("partitionTimeout must be 1 s to 1 day")
        }
        if stopTime < .zero || stopTime > .seconds(600) { found.append("stopTime must be 0 s to 10 min") }
        if !(0...100_000).contains(clockDriftPPM) { found.append("clockDriftPPM must be 0 to 100000") }
        return found
    }
}

/// Until when a node may start and run containers, as the node itself knows it.
///
/// The node asks the leader at short intervals (the report of each second will do) and remembers when it sent the request. A leader
/// answers with the last index of its log, and only after it has made sure that it leads, as for a linearizable read, and after
/// ``NodeLiveness/heard(from:at:)``. From then on, and until ``deadline``, nobody declares the node lost.
///
/// The index is there because the node may have been declared lost before: it counts an answer only when it has applied the entries up to
/// that index, so it has seen what was decided about it while it was away, and does not start a container that is another's now.
///
/// What the agent must do at `deadline` must also happen when the agent is stopped, hangs or crashes: whoever supervises a container
/// holds the deadline too. The instants are those of `ContinuousClock`, which is one clock for all processes of a machine and goes on while
/// the machine sleeps. Nothing of this is written to a disk: an agent that starts has no authority before its first answer.
package struct NodeAuthority: Sendable, Equatable {
    /// A moment of the node's own clock.
    package typealias Instant = ContinuousClock.Instant

    private struct Grant: Sendable, Equatable {
        var index: UInt64
        var deadline: Instant
    }

    /// Answers that wait for their entry to be applied; more are not kept, because older ones count first.
    private static let pendingLimit = 64

    private let partitionTimeout: Duration
    private var appliedIndex: UInt64 = 0
    /// By rising index.
    private var pending: [Grant] = []
    /// When the authority ends; nil: there is none, and has not been since the start or the last withdrawal.
    package private(set) var deadline: Instant?

    /// A node without authority.
    package init(configuration: FencingConfiguration) { partitionTimeout = configuration.partitionTimeout }

    /// Whether containers may run, be started or be restored now.
    ///
    /// Read `now` after everything that the start depends on, and pass on ``deadline`` to the container's supervisor: a pause between
    /// this answer and the start must not outlast it.
    package func mayRun(at now: Instant) -> Bool { deadline.map { now < $0 } ?? false }

    /// Takes a leader's answer.
    ///
    /// - Parameters:
    ///   - index: the last index of the leader's log, as the answer says.
    ///   - sent: when this node sent the request, read before it was sent.
    package mutating func granted(index: UInt64, toRequestSentAt sent: Instant) {
        let grant = Grant(index: index, deadline: sent + partitionTimeout)
        if index <= appliedIndex { return take(grant.deadline) }
        pending.removeAll { $0.deadline <= sent }
        guard pending.count < Self.pendingLimit else { return }
        let place = pending.firstIndex { $0.index > index } ?? pending.endIndex
        pending.insert(grant, at: place)
    }

    /// Takes note that this node's state machine has applied the entries up to here.
    package mutating func applied(through index: UInt64) {
        appliedIndex = max(appliedIndex, index)
        while let first = pending.first, first.index <= appliedIndex {
            take(first.deadline)
            pending.removeFirst()
        }
    }

    /// Ends the authority at once: this node was declared lost, left, or was told to stop.
    ///
    /// Answers to later requests bring it back.
    package mutating func withdraw() {
        deadline = nil
        pending = []
    }

    private mutating func take(_ end: Instant) { deadline = max(deadline ?? end, end) }
}
