package import ClusterModel

/// What the source of a move is asked to do.
package struct MigrationSourceRequest: Sendable, Equatable {
    package var job: JobID
    /// The job's move; see `Migration.number` of the replicated state.
    package var number: UInt64
    package var incarnation: Incarnation
    /// Whether memory stays in the frozen container until the destination asks for it.
    package var isLazy: Bool
    /// Whether the container has an address of its own, whose connections go with it.
    package var hasAddress: Bool
    /// What the container's memory is expected to need; sets how long the dump may take.
    package var expectedBytes: ByteCount

    package init(
        job: JobID,
        number: UInt64,
        incarnation: Incarnation,
        isLazy: Bool = false,
        hasAddress: Bool = false,
        expectedBytes: ByteCount = .zero
    ) {
        (self.job, self.number, self.incarnation) = (job, number, incarnation)
        (self.isLazy, self.hasAddress, self.expectedBytes) = (isLazy, hasAddress, expectedBytes)
    }
}

/// Where the source of a move is.
package enum MigrationSourcePhase: String, Sendable, Codable, CaseIterable {
    case preparing, freezing, dumping, capturingLayer
    /// The hand-over is on its way into the replicated state, or it is being found out whether it got there.
    case handingOver
    /// The job is the destination's; the container stands still until the state says what becomes of it.
    case holding
    /// The job is this node's; the container is being thawed, as often as it takes.
    case thawing
    /// It runs on here; the state is being told that the move is given up.
    case givingUp
    /// The destination has everything; the container is being deleted.
    case releasing
    case finished
}

/// What the source of a move asks its shell to do, in the order in which it must be done.
package enum MigrationSourceEffect: Sendable, Equatable {
    /// Check that it can be dumped, make room in memory. Answer: `prepared`.
    case prepare
    /// Hold what arrives for its address, write the cgroup's freezer and wait until all is still. Answer: `frozen`.
    case freeze
    /// Let CRIU's code inside the container run unthrottled. No answer.
    case liftQuota
    /// Run CRIU, leaving the container frozen and its address cut off; lazily, it leaves the memory where it is. Answer: `dumped`.
    case dump(isLazy: Bool)
    /// Archive the writable layer. Answer: `layerCaptured`.
    case captureLayer
    /// Note on the disk that the container may be another node's: who starts next must not thaw it. Answer: `marked`.
    case mark
    /// Give the destination what it asks for: files, and pages when dumped lazily. No answer.
    case serve
    /// Give the destination, and nobody else, what is held for the container's address as soon as it asks, which ends this node's part in the address. No
    /// answer.
    case offerNetwork
    /// End this node's part in the container's address, asked or not: whoever reaches the node's bridge finds the destination. No answer.
    case leaveNetwork
    /// Give nothing any more. No answer.
    case stopServing
    /// Propose the hand-over until it is known whether it was accepted. Answer: `handedOver`, `isOurs`.
    case handOver(stoodStill: Duration)
    /// Find out, through the replicated log and not from memory, whose the container is. Answer: `handedOver`, `isOurs`.
    case settle
    /// Tell the state that the move is given up. Answer: `isOurs`.
    case giveUp(reason: String)
    /// Put the CPU limit of the job back. No answer.
    case restoreQuota
    /// Let the container run again, with what was held for its address. Answer: `thawed`; also when it already runs.
    case thaw
    /// Say that the address is here again, and give the container what was handed over of it. No answer.
    case takeNetworkBack
    /// Kill the container, which stands still. Answer: `stopped`; also when it is gone.
    case stop
    /// End the runtime and CRIU, if they still run, and wait until they are gone. No answer.
    case cancelDump
    /// Delete dump and mark. No answer.
    case removeWorkFiles
    /// Something a person should look at while we keep trying.
    case warn(String)
    /// It is over; nothing follows.
    case finished(MigrationSourceOutcome)
}

/// How a move ended for its source.
package enum MigrationSourceOutcome: Sendable, Equatable {
    /// The job is elsewhere, and nothing of it is here.
    case released
    /// The container runs on here.
    case keptRunning(reason: String)
    /// The container ended here, by itself or by force.
    case containerEnded
}

/// What the shell tells the source of a move.
package enum MigrationSourceEvent: Sendable, Equatable {
    case prepared
    case frozen
    case dumped
    case layerCaptured
    case marked
    /// The replicated state says that only the destination may run the job.
    case handedOver
    /// The replicated state says that the destination's container runs.
    case destinationRuns
    /// The replicated state says that the job is here and that no hand-over of this move can be accepted any more.
    case isOurs(reason: String)
    /// The replicated state says that nothing is wanted of this container any more.
    case released
    case thawed
    case stopped
    /// The step of this phase failed.
    case failed(during: MigrationSourcePhase, reason: String)
    /// The container is gone, whoever ended it.
    case containerEnded
    /// Give it up if that is still possible.
    case cancelled(reason: String)
}

/// The source's side of one move, from the freeze until the job is elsewhere or runs on here.
///
/// Decides only; the shell carries the effects out in order, answers with events and calls `tick` at `deadline`. Two rules keep the job from running
/// twice: the container is thawed without asking only while no hand-over was proposed, and after that only when the replicated state has said that the
/// job is here (`isOurs`). An answer that its phase does not wait for changes nothing.
package struct MigrationSourceOperation: Sendable {
    package let request: MigrationSourceRequest
    package private(set) var phase: MigrationSourcePhase
    /// When `tick` must be called next; nil when only an answer leads on.
    package private(set) var deadline: ContinuousClock.Instant?
    private let limits: CheckpointLimits
    private var frozenAt: ContinuousClock.Instant?
    /// Whether the container is known to have ended.
    private var isGone = false
    /// Whether the state has yet to hear that the move is given up.
    private var mustGiveUp = false
    /// Whether the state says so, which may be known here before the answer to the hand-over.
    private var destinationRuns = false
    private var reason = ""
    private var attempts = 0
    private var effects: [MigrationSourceEffect] = []

    /// Begins; the first effect is `prepare`.
    package init(
        _ request: MigrationSourceRequest,
        limits: CheckpointLimits = CheckpointLimits(),
        now: ContinuousClock.Instant
    ) {
        (self.request, self.limits) = (request, limits)
        phase = .preparing
        deadline = now + limits.prepare
        effects = [.prepare]
    }

    /// Goes on with a container that an earlier agent left frozen and marked: what the state says decides.
    package init(
        resuming request: MigrationSourceRequest,
        limits: CheckpointLimits = CheckpointLimits(),
        now: ContinuousClock.Instant
    ) {
        (self.request, self.limits) = (request, limits)
        phase = .handingOver
        deadline = now + Self.patience
        effects = [.settle]
    }

    /// After so long without an answer a person is told.
    private static let patience: Duration = .seconds(15)

    /// Whether nothing more will happen.
    package var isFinished: Bool { phase == .finished }

    /// Whether the container stands still because of this.
    package var holdsStill: Bool {
        switch phase {
        case .preparing, .givingUp, .finished: false
        case .freezing, .dumping, .capturingLayer, .handingOver, .holding, .thawing, .releasing: !isGone
        }
    }

    /// What is to be done now, in order; each effect is handed out once.
    package mutating func drainEffects() -> [MigrationSourceEffect] {
        defer { effects = [] }
        return effects
    }

    /// Takes an answer of the shell.
    package mutating func receive(_ event: MigrationSourceEvent, now: ContinuousClock.Instant) {
        switch (phase, event) {
        case (.preparing, .prepared):
            enter(.freezing, until: now + limits.freeze, [.freeze])
        case (.freezing, .frozen):
            frozenAt = now
            enter(.dumping, until: now + dumpLimit, [.liftQuota, .dump(isLazy: request.isLazy)])
        case (.dumping, .dumped):
            enter(.capturingLayer, until: now + limits.captureLayer, [.captureLayer])
        case (.capturingLayer, .layerCaptured):
            effects.append(.mark)
        case (.capturingLayer, .marked):
            let stoodStill = frozenAt?.duration(to: now) ?? .zero
            enter(.handingOver, until: now + Self.patience, [.serve, .handOver(stoodStill: stoodStill)])
        case (.handingOver, .handedOver):
            // Also after a restart, when nothing is served yet; serving twice is serving once.
            enter(.holding, until: nil, request.hasAddress ? [.serve, .offerNetwork] : [.serve])
            if destinationRuns { leaveNetwork() }
        case (.handingOver, .destinationRuns): destinationRuns = true
        case (.holding, .destinationRuns): leaveNetwork()
        case (.handingOver, .isOurs(let why)), (.holding, .isOurs(let why)):
            keep(because: why, now: now)
        case (.handingOver, .released), (.holding, .released):
            release(now: now)
        case (.thawing, .thawed):
            thawed()
        case (.givingUp, .isOurs):
            finish(isGone ? .containerEnded : .keptRunning(reason: reason))
        case (.releasing, .stopped), (.releasing, .containerEnded):
            effects.append(.removeWorkFiles)
            finish(.released)
        case (_, .containerEnded):
            containerEnded()
        case (_, .failed(let failed, let why)) where failed == phase:
            stepFailed(why, now: now)
        case (_, .cancelled(let why)):
            cancel(why, now: now)
        default: break
        }
    }

    /// Acts on a limit that has passed.
    package mutating func tick(now: ContinuousClock.Instant) {
        guard let deadline, now >= deadline else { return }
        switch phase {
        case .preparing, .freezing, .dumping, .capturingLayer: undo("it did not end within its limit", now: now)
        case .thawing, .releasing: retry(now: now)
        case .handingOver:
            // Nothing can be done about it here: whoever thawed now might run what runs elsewhere.
            effects.append(
                .warn("Whether job \(request.job) was handed over is not known for want of a leader; it stands still.")
            )
            self.deadline = nil
        case .holding, .givingUp, .finished: self.deadline = nil
        }
    }

    private mutating func stepFailed(_ why: String, now: ContinuousClock.Instant) {
        switch phase {
        case .preparing, .freezing, .dumping, .capturingLayer: undo(why, now: now)
        case .thawing, .releasing: deadline = now + pause
        case .handingOver, .holding, .givingUp, .finished: break
        }
    }

    private mutating func cancel(_ why: String, now: ContinuousClock.Instant) {
        switch phase {
        case .preparing, .freezing, .dumping, .capturingLayer: undo(why, now: now)
        // What the state will say is not ours to choose.
        case .handingOver, .holding, .thawing, .givingUp, .releasing, .finished: break
        }
    }

    /// Gives up what was not handed over: the container runs first, then the state hears of it.
    private mutating func undo(_ why: String, now: ContinuousClock.Instant) {
        (reason, mustGiveUp) = (why, true)
        if phase == .preparing {
            effects.append(.removeWorkFiles)
            return giveUp()
        }
        effects += [.cancelDump, .restoreQuota, .thaw, .removeWorkFiles]
        attempts = 1
        enter(.thawing, until: now + limits.thawAttempt, [])
    }

    /// The state says that the job is here.
    private mutating func keep(because why: String, now: ContinuousClock.Instant) {
        reason = why
        effects.append(.stopServing)
        guard !isGone else {
            effects.append(.removeWorkFiles)
            return finish(.containerEnded)
        }
        // Files after the thaw, since the mark is among them: until it runs, the next agent must ask as this one did.
        attempts = 1
        enter(.thawing, until: now + limits.thawAttempt, [.restoreQuota, .thaw])
    }

    private mutating func leaveNetwork() {
        if request.hasAddress { effects.append(.leaveNetwork) }
    }

    private mutating func thawed() {
        if mustGiveUp { return giveUp() }
        // The destination may have had the address meanwhile.
        if request.hasAddress { effects.append(.takeNetworkBack) }
        effects.append(.removeWorkFiles)
        finish(.keptRunning(reason: reason))
    }

    private mutating func giveUp() { enter(.givingUp, until: nil, [.giveUp(reason: reason)]) }

    private mutating func release(now: ContinuousClock.Instant) {
        effects.append(.stopServing)
        guard !isGone else {
            effects.append(.removeWorkFiles)
            return finish(.released)
        }
        attempts = 1
        enter(.releasing, until: now + limits.thawAttempt, [.stop])
    }

    private mutating func containerEnded() {
        isGone = true
        switch phase {
        case .preparing, .freezing, .dumping, .capturingLayer:
            // Its exit is on its way into the state, and ends the move there.
            effects += [.cancelDump, .removeWorkFiles]
            finish(.containerEnded)
        case .thawing:
            effects.append(.removeWorkFiles)
            if mustGiveUp { giveUp() } else { finish(.containerEnded) }
        case .holding where request.isLazy:
            effects.append(.stopServing)
        // What was dumped whole is as good as before.
        case .handingOver, .holding, .givingUp, .releasing, .finished: break
        }
    }

    private mutating func retry(now: ContinuousClock.Instant) {
        attempts += 1
        effects += phase == .thawing ? [.restoreQuota, .thaw] : [.stop]
        if attempts == 3 {
            effects.append(
                .warn("The container of job \(request.job) could not be let go in \(attempts - 1) attempts.")
            )
        }
        deadline = now + limits.thawAttempt
    }

    private mutating func enter(
        _ next: MigrationSourcePhase,
        until end: ContinuousClock.Instant?,
        _ added: [MigrationSourceEffect]
    ) {
        phase = next
        deadline = end
        effects += added
    }

    private mutating func finish(_ outcome: MigrationSourceOutcome) {
        enter(.finished, until: nil, [.finished(outcome)])
    }

    private var pause: Duration {
        var wait = Duration.milliseconds(100)
        for _ in 1..<max(1, min(attempts, 10)) where wait < limits.thawBackoff { wait = wait * 2 }
        return min(wait, limits.thawBackoff)
    }

    private var dumpLimit: Duration {
        let gibibytes = (max(0, request.expectedBytes.rawValue) + (1 << 30) - 1) >> 30
        return limits.dump + limits.dumpPerGibibyte * Int(gibibytes)
    }
}
