package import ClusterModel

/// What a checkpoint is asked to be.
package struct CheckpointRequest: Sendable, Codable, Equatable {
    package var job: JobID
    package var incarnation: Incarnation
    package var generation: CheckpointGeneration
    /// Whether the container ends once its images are recorded; until then it stands still and can still be thawed.
    package var stopsContainer: Bool
    /// What the container's memory is expected to need; sets how long dump and compression may take.
    package var expectedBytes: ByteCount

    package init(
        job: JobID,
        incarnation: Incarnation,
        generation: CheckpointGeneration,
        stopsContainer: Bool,
        expectedBytes: ByteCount
    ) {
        self.job = job
        self.incarnation = incarnation
        self.generation = generation
        self.stopsContainer = stopsContainer
        self.expectedBytes = expectedBytes
    }
}

/// How long each phase of a checkpoint may take before it is given up.
package struct CheckpointLimits: Sendable, Equatable {
    /// Checking that CRIU can do it, and making the folder for the images; default 10 s.
    package var prepare: Duration = .seconds(10)
    /// Default 5 s; a freezer that works takes milliseconds.
    package var freeze: Duration = .seconds(5)
    /// The part of CRIU's dump that does not depend on size; default 30 s.
    package var dump: Duration = .seconds(30)
    /// Added to `dump` for each GiB expected; default 20 s, several times what a slow machine needs into tmpfs.
    package var dumpPerGibibyte: Duration = .seconds(20)
    /// Default 60 s.
    package var captureLayer: Duration = .seconds(60)
    /// The part of compression and writing that does not depend on size; default 60 s.
    package var compress: Duration = .seconds(60)
    /// Added to `compress` for each GiB expected; default 60 s, so that a slow disk suffices.
    package var compressPerGibibyte: Duration = .seconds(60)
    /// One attempt to thaw, or to stop, a container; default 2 s.
    ///
    /// There is no limit to the number of attempts.
    package var thawAttempt: Duration = .seconds(2)
    /// The longest wait between two such attempts; default 5 s.
    package var thawBackoff: Duration = .seconds(5)
    package init() {}
}

/// Where a checkpoint is.
package enum CheckpointPhase: String, Sendable, Codable, CaseIterable {
    case requested, freezing, dumping, capturingLayer, thawing, compressing, stopping, recorded
    /// Given up; the container is being thawed, as often as it takes.
    case undoing
    case failed
}

/// Why a checkpoint was given up.
package struct CheckpointFailure: Error, Sendable, Codable, Equatable, CustomStringConvertible {
    /// What kind of end it was.
    package enum Cause: String, Sendable, Codable {
        /// Nothing was begun: this container or machine cannot be checkpointed now.
        case refused
        /// A step said that it failed.
        case stepFailed
        /// A step did not answer in time.
        case timedOut
        /// Somebody called it off.
        case cancelled
        /// The container ended meanwhile.
        case containerEnded
    }

    package var cause: Cause
    package var phase: CheckpointPhase
    package var generation: CheckpointGeneration
    /// One line without a full stop, with the remedy where there is one.
    package var reason: String

    package init(cause: Cause, phase: CheckpointPhase, generation: CheckpointGeneration, reason: String) {
        self.cause = cause
        self.phase = phase
        self.generation = generation
        self.reason = reason
    }

    package var description: String {
        "checkpoint \(generation) was given up while \(phase.activity): \(reason)"
    }
}

/// What a checkpoint asks its shell to do, in the order in which it must be done.
package enum CheckpointEffect: Sendable, Equatable {
    /// Check that it is possible, make room in memory. Answer: `prepared`.
    case prepare
    /// Write the cgroup's freezer and wait until all is still. Answer: `frozen`.
    case freeze
    /// Let CRIU's code inside the container run unthrottled. No answer.
    case liftQuota
    /// Run CRIU, leaving the container as it is, frozen. Answer: `dumped`.
    case dump
    /// Archive the writable layer. Answer: `layerCaptured`.
    case captureLayer
    /// Put the CPU limit of the job back. No answer: `thawed` stands for both.
    case restoreQuota
    /// Let the container run again. Answer: `thawed`; also when it already runs.
    case thaw
    /// Hand the images to the store, with what is known of the times. Answer: `stored`.
    case compress(frozen: Duration, elapsed: Duration)
    /// Write it into the catalog. No answer; a catalog that cannot be written is the agent's own end.
    case record(CheckpointRecord)
    /// End the container, which stands still. Answer: `stopped`; also when it is gone.
    case stop
    /// End the runtime and CRIU, if they still run, and wait until they are gone.
    case cancelDump
    /// Make the store give up and forget what it wrote.
    case cancelCompression
    /// Delete images and archive from memory.
    case removeWorkFiles
    /// Something a person should look at while we keep trying.
    case warn(String)
    /// It is over; nothing follows.
    case finished(CheckpointOutcome)
}

/// How a checkpoint ended.
package enum CheckpointOutcome: Sendable, Equatable {
    case recorded(CheckpointRecord)
    case failed(CheckpointFailure)
}

/// What the shell tells a checkpoint.
package enum CheckpointEvent: Sendable, Equatable {
    case prepared
    case frozen
    case dumped
    case layerCaptured
    /// The container runs and its quota is back.
    case thawed
    case stored(CheckpointRecord)
    case stopped
    /// The step of this phase failed. For `requested` it means that the checkpoint is refused.
    case failed(during: CheckpointPhase, reason: String)
    /// The container is gone, whoever ended it.
    case containerEnded
    /// Give it up if that is still possible.
    case cancelled(reason: String)
}

/// One checkpoint of one container, from the request to the record.
///
/// Decides only; the shell carries the effects out in order, answers with events and calls `tick` at `deadline`. Whatever fails, and in whatever
/// order answers come, an operation finishes only when the container runs with its quota again, has been stopped as asked, or is known to be gone.
/// An answer that its phase does not wait for changes nothing: it was overtaken by a limit.
package struct CheckpointOperation: Sendable {
    private enum State: Sendable {
        case requested
        case freezing
        case dumping(frozenAt: ContinuousClock.Instant)
        case capturingLayer(frozenAt: ContinuousClock.Instant)
        case thawing(frozenAt: ContinuousClock.Instant, attempts: Int)
        /// `hold` says what the container does meanwhile.
        case compressing(hold: Hold)
        case stopping(CheckpointRecord, attempts: Int)
        case undoing(CheckpointFailure, attempts: Int)
        case recorded
        case failed
    }

    private enum Hold: Sendable { case running, frozen, ended }

    package let request: CheckpointRequest
    /// When `tick` must be called next; nil once it is over.
    package private(set) var deadline: ContinuousClock.Instant?
    private let limits: CheckpointLimits
    private let requestedAt: ContinuousClock.Instant
    private var state = State.requested
    private var effects: [CheckpointEffect] = [.prepare]

    /// Begins; the first effect is `prepare`.
    package init(
        _ request: CheckpointRequest,
        limits: CheckpointLimits = CheckpointLimits(),
        now: ContinuousClock.Instant
    ) {
        self.request = request
        self.limits = limits
        requestedAt = now
        deadline = now + limits.prepare
    }

    /// Where it is.
    package var phase: CheckpointPhase {
        switch state {
        case .requested: .requested
        case .freezing: .freezing
        case .dumping: .dumping
        case .capturingLayer: .capturingLayer
        case .thawing: .thawing
        case .compressing: .compressing
        case .stopping: .stopping
        case .undoing: .undoing
        case .recorded: .recorded
        case .failed: .failed
        }
    }

    /// Whether nothing more will happen.
    package var isFinished: Bool { phase == .recorded || phase == .failed }

    /// What is to be done now, in order; each effect is handed out once.
    package mutating func drainEffects() -> [CheckpointEffect] {
        defer { effects = [] }
        return effects
    }

    /// What an agent must do for a container that it finds in the middle of a checkpoint it does not remember.
    ///
    /// Idempotent, so it may also be done when nothing was begun. The store forgets half-written generations when it opens.
    package static let effectsAfterCrash: [CheckpointEffect] = [.cancelDump, .restoreQuota, .thaw, .removeWorkFiles]

    /// Takes an answer of the shell.
    package mutating func receive(_ event: CheckpointEvent, now: ContinuousClock.Instant) {
        switch (state, event) {
        case (.requested, .prepared):
            enter(.freezing, limit: limits.freeze, now: now, effects: [.freeze])
        case (.freezing, .frozen):
            enter(.dumping(frozenAt: now), limit: dumpLimit, now: now, effects: [.liftQuota, .dump])
        case (.dumping(let frozenAt), .dumped):
            let next = State.capturingLayer(frozenAt: frozenAt)
            enter(next, limit: limits.captureLayer, now: now, effects: [.captureLayer])
        case (.capturingLayer(let frozenAt), .layerCaptured):
            if request.stopsContainer {
                compress(frozen: frozenAt.duration(to: now), hold: .frozen, now: now)
            } else {
                let next = State.thawing(frozenAt: frozenAt, attempts: 1)
                enter(next, limit: limits.thawAttempt, now: now, effects: [.restoreQuota, .thaw])
            }
        case (.thawing(let frozenAt, _), .thawed):
            compress(frozen: frozenAt.duration(to: now), hold: .running, now: now)
        case (.thawing(let frozenAt, _), .containerEnded):
            // Its images are complete; what it did until then is not lost.
            compress(frozen: frozenAt.duration(to: now), hold: .ended, now: now)
        case (.compressing, .containerEnded):
            state = .compressing(hold: .ended)
        case (.compressing(let hold), .stored(let record)):
            effects += [.removeWorkFiles, .record(record)]
            if hold == .frozen {
                enter(.stopping(record, attempts: 1), limit: limits.thawAttempt, now: now, effects: [.stop])
            } else {
                finish(record)
            }
        case (.stopping(let record, _), .stopped), (.stopping(let record, _), .containerEnded):
            finish(record)
        case (.undoing(let failure, _), .thawed), (.undoing(let failure, _), .containerEnded):
            finish(failure)
        case (.requested, .failed(.requested, let reason)):
            giveUp(.refused, reason, now: now)
        case (_, .failed(let failed, let reason)) where failed == phase:
            stepFailed(reason, now: now)
        case (.requested, .containerEnded), (.freezing, .containerEnded), (.dumping, .containerEnded),
            (.capturingLayer, .containerEnded):
            giveUp(.containerEnded, "the container ended", now: now)
        case (_, .cancelled(let reason)):
            cancel(reason, now: now)
        default:
            break
        }
    }

    /// Acts on a limit that has passed.
    package mutating func tick(now: ContinuousClock.Instant) {
        guard let deadline, now >= deadline else { return }
        switch state {
        case .thawing, .undoing, .stopping:
            retry(now: now)
        case .requested, .freezing, .dumping, .capturingLayer, .compressing:
            giveUp(.timedOut, "it did not end within its limit of \(currentLimit.text)", now: now)
        case .recorded, .failed:
            self.deadline = nil
        }
    }

    private mutating func stepFailed(_ reason: String, now: ContinuousClock.Instant) {
        switch state {
        case .freezing, .dumping, .capturingLayer, .compressing: giveUp(.stepFailed, reason, now: now)
        // `tick` tries these again after a pause, for ever: nothing else can be done for the container.
        case .thawing(_, let attempts), .undoing(_, let attempts), .stopping(_, let attempts):
            deadline = now + pause(after: attempts)
        case .requested, .recorded, .failed: break
        }
    }

    private mutating func cancel(_ reason: String, now: ContinuousClock.Instant) {
        switch state {
        case .requested, .freezing, .dumping, .capturingLayer, .compressing: giveUp(.cancelled, reason, now: now)
        // The container must be thawed in any case, and a stored checkpoint is worth its record.
        case .thawing, .stopping, .undoing, .recorded, .failed: break
        }
    }

    private mutating func giveUp(_ cause: CheckpointFailure.Cause, _ reason: String, now: ContinuousClock.Instant) {
        let failure = CheckpointFailure(cause: cause, phase: phase, generation: request.generation, reason: reason)
        let isGone = cause == .containerEnded
        switch state {
        case .requested:
            effects.append(.removeWorkFiles)
            finish(failure)
        case .compressing(let hold):
            effects += [.cancelCompression, .removeWorkFiles]
            if hold == .frozen { undo(failure, now: now) } else { finish(failure) }
        case .freezing, .dumping, .capturingLayer:
            effects += [.cancelDump, .removeWorkFiles]
            if isGone { finish(failure) } else { undo(failure, now: now) }
        case .thawing, .stopping, .undoing, .recorded, .failed:
            break
        }
    }

    /// The thaw goes before the deletion: the container's standstill costs more than memory does.
    private mutating func undo(_ failure: CheckpointFailure, now: ContinuousClock.Instant) {
        let cleanup = effects.firstIndex(of: .removeWorkFiles) ?? effects.endIndex
        effects.insert(contentsOf: [.restoreQuota, .thaw], at: cleanup)
        enter(.undoing(failure, attempts: 1), limit: limits.thawAttempt, now: now, effects: [])
    }

    private mutating func retry(now: ContinuousClock.Instant) {
        let attempts: Int
        switch state {
        case .thawing(let frozenAt, let before):
            attempts = before + 1
            state = .thawing(frozenAt: frozenAt, attempts: attempts)
            effects += [.restoreQuota, .thaw]
        case .undoing(let failure, let before):
            attempts = before + 1
            state = .undoing(failure, attempts: attempts)
            effects += [.cancelDump, .restoreQuota, .thaw]
        case .stopping(let record, let before):
            attempts = before + 1
            state = .stopping(record, attempts: attempts)
            effects.append(.stop)
        default:
            return
        }
        if attempts == 3 || attempts % 60 == 0 {
            let verb = if case .stopping = state { "stopped" } else { "thawed" }
            effects.append(
                .warn(
                    "The container of job \(request.job) could not be \(verb) in \(attempts - 1) attempts; "
                        + "look at its cgroup's freezer state and at processes in uninterruptible sleep."
                )
            )
        }
        deadline = now + limits.thawAttempt
    }

    private mutating func compress(frozen: Duration, hold: Hold, now: ContinuousClock.Instant) {
        let effect = CheckpointEffect.compress(frozen: frozen, elapsed: requestedAt.duration(to: now))
        enter(.compressing(hold: hold), limit: compressLimit, now: now, effects: [effect])
    }

    private mutating func finish(_ record: CheckpointRecord) {
        state = .recorded
        deadline = nil
        effects.append(.finished(.recorded(record)))
    }

    private mutating func finish(_ failure: CheckpointFailure) {
        state = .failed
        deadline = nil
        effects.append(.finished(.failed(failure)))
    }

    private mutating func enter(
        _ next: State,
        limit: Duration,
        now: ContinuousClock.Instant,
        effects more: [CheckpointEffect]
    ) {
        state = next
        deadline = now + limit
        effects += more
    }

    private func pause(after attempts: Int) -> Duration {
        var wait = Duration.milliseconds(100)
        for _ in 0..<min(attempts, 16) where wait < limits.thawBackoff { wait = wait * 2 }
        return min(wait, limits.thawBackoff)
    }

    private var gibibytes: Int64 { (max(0, request.expectedBytes.rawValue) + (1 << 30) - 1) >> 30 }
    private var dumpLimit: Duration { limits.dump + limits.dumpPerGibibyte * Int(gibibytes) }
    private var compressLimit: Duration { limits.compress + limits.compressPerGibibyte * Int(gibibytes) }

    private var currentLimit: Duration {
        switch state {
        case .requested: limits.prepare
        case .freezing: limits.freeze
        case .dumping: dumpLimit
        case .capturingLayer: limits.captureLayer
        case .compressing: compressLimit
        case .thawing, .stopping, .undoing, .recorded, .failed: limits.thawAttempt
        }
    }
}

extension CheckpointPhase {
    /// The phase as part of a sentence: `checkpoint 3 was given up while …`.
    package var activity: String {
        switch self {
        case .requested: "it was being prepared"
        case .freezing: "the container was being frozen"
        case .dumping: "CRIU dumped the container"
        case .capturingLayer: "the writable layer was being captured"
        case .thawing: "the container was being thawed"
        case .compressing: "the images were being stored"
        case .stopping: "the container was being stopped"
        case .recorded: "it was complete"
        case .undoing, .failed: "it was being undone"
        }
    }
}
