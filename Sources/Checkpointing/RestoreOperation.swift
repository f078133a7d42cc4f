package import ClusterModel

/// What a restore is asked to do.
package struct RestoreRequest: Sendable, Equatable {
    package var job: JobID
    /// What may be tried, best first; normally all complete generations, newest first.
    package var candidates: [CheckpointRecord]
    /// Whether the job starts from the beginning when no candidate can be restored; otherwise the restore fails.
    package var startsOver: Bool

    package init(job: JobID, candidates: [CheckpointRecord], startsOver: Bool) {
        self.job = job
        self.candidates = candidates
        self.startsOver = startsOver
    }

    /// The candidates for a job: complete generations from `generation` (nil: the newest) down.
    package static func candidates(
        among records: [CheckpointRecord],
        from generation: CheckpointGeneration? = nil
    ) -> [CheckpointRecord] {
        records.filter { record in
            record.state == .complete && (generation.map { record.generation <= $0 } ?? true)
        }.sorted { $0.generation > $1.generation }
    }
}

/// How long each phase of a restore may take, and how often it is tried.
package struct RestoreLimits: Sendable, Equatable {
    /// Looking at index and sizes; default 30 s.
    package var verify: Duration = .seconds(30)
    /// The part of the extraction that does not depend on size; default 60 s.
    package var extract: Duration = .seconds(60)
    /// Added to `extract` for each GiB; default 60 s.
    package var extractPerGibibyte: Duration = .seconds(60)
    /// The part of CRIU's restore that does not depend on size; default 30 s.
    package var restore: Duration = .seconds(30)
    /// Added to `restore` for each GiB; default 20 s.
    package var restorePerGibibyte: Duration = .seconds(20)
    /// One attempt to delete what a failed restore left; default 5 s.
    ///
    /// There is no limit to the number of attempts.
    package var cleanupAttempt: Duration = .seconds(5)
    /// How often CRIU may try one generation; default 2, since a process identity or a port may be taken for a moment.
    package var attemptsPerGeneration: Int = 2
    package init() {}
}

/// Where a restore is.
package enum RestorePhase: String, Sendable, Codable, CaseIterable {
    case verifying, extracting, restoring
    /// What a failed attempt left is being deleted, so that two copies never run.
    case cleaningUp
    case running, startingOver, failed
}

/// What is wrong when a step of a restore fails; it decides what comes next.
package enum RestoreProblem: Sendable, Codable, Equatable {
    /// The stored images are not what was written: mark them and take the generation before.
    case damaged(reason: String)
    /// CRIU or the runtime could not make a container of them: try again, then take the generation before.
    case refused(reason: String)
    /// Nothing is known against the images, there is no room or no right: stop, so that no work is thrown away for a passing lack.
    case unavailable(reason: String)

    /// The sentence of whichever problem it is, for people.
    package var reason: String {
        switch self {
        case .damaged(let reason), .refused(let reason), .unavailable(let reason): reason
        }
    }
}

/// What a restore asks its shell to do, in the order in which it must be done.
package enum RestoreEffect: Sendable, Equatable {
    /// Look whether index and data are there and fit each other. Answer: `verified`.
    case verify(CheckpointGeneration)
    /// Bring the images back to memory and the layer to the container, checking every byte. Answer: `extracted`.
    case extract(CheckpointGeneration)
    /// Run CRIU with no quota in its way. Answer: `restored`.
    case restore(CheckpointGeneration)
    /// Put the CPU limit of the job on the new container.
    case restoreQuota
    /// Write into store and catalog that this generation is damaged.
    case markDamaged(CheckpointGeneration, reason: String)
    /// End runtime, CRIU, extraction and every process of the attempt, delete its container and images. Answer: `cleanedUp`.
    case cleanUp
    /// Delete the extracted images from memory.
    case removeWorkFiles
    /// Something a person should look at while we keep trying.
    case warn(String)
    /// It is over; nothing follows.
    case finished(RestoreOutcome)
}

/// How a restore ended.
package enum RestoreOutcome: Sendable, Equatable {
    /// The container runs from this checkpoint; the ledger is to be rolled back to its `ledger`.
    case running(CheckpointRecord, passedOver: [PassedOver])
    /// No generation could be restored; the job starts from the beginning.
    case startOver(passedOver: [PassedOver])
    /// The job stays as it is; the sentence says what to do.
    case failed(reason: String, passedOver: [PassedOver])

    /// A generation that was not restored, and why.
    package struct PassedOver: Sendable, Codable, Equatable {
        package var generation: CheckpointGeneration
        /// The last problem of its last attempt, a sentence.
        package var reason: String
        package init(generation: CheckpointGeneration, reason: String) {
            self.generation = generation
            self.reason = reason
        }
    }
}

/// What the shell tells a restore.
package enum RestoreEvent: Sendable, Equatable {
    case verified
    case extracted
    case restored
    /// The step of this phase failed.
    case failed(during: RestorePhase, RestoreProblem)
    case cleanedUp
    /// Give it up if that is still possible.
    case cancelled(reason: String)
}

/// One restore of one job: from the newest generation that can be restored, else from the one before, else from the beginning.
///
/// No generation is tried before the container of the attempt before it is known to be gone.
package struct RestoreOperation: Sendable {
    private enum State: Sendable {
        case verifying(at: Int)
        case extracting(at: Int)
        case restoring(at: Int, attempt: Int)
        case cleaningUp(then: Next, attempts: Int)
        case running
        case startingOver
        case failed
    }

    private enum Next: Sendable {
        case again(at: Int, attempt: Int)
        case candidate(at: Int)
        case fail(reason: String)
    }

    package let request: RestoreRequest
    /// When `tick` must be called next; nil once it is over.
    package private(set) var deadline: ContinuousClock.Instant?
    private let limits: RestoreLimits
    private var state: State
    private var attempt = 1
    private var passedOver: [RestoreOutcome.PassedOver] = []
    private var effects: [RestoreEffect] = []

    /// Begins with the first candidate.
    package init(_ request: RestoreRequest, limits: RestoreLimits = RestoreLimits(), now: ContinuousClock.Instant) {
        self.request = request
        self.limits = limits
        state = .verifying(at: 0)
        begin(at: 0, attempt: 1, now: now)
    }

    /// Where it is.
    package var phase: RestorePhase {
        switch state {
        case .verifying: .verifying
        case .extracting: .extracting
        case .restoring: .restoring
        case .cleaningUp: .cleaningUp
        case .running: .running
        case .startingOver: .startingOver
        case .failed: .failed
        }
    }

    /// The checkpoint that is being tried.
    package var candidate: CheckpointRecord? {
        switch state {
        case .verifying(let at), .extracting(let at), .restoring(let at, _): request.candidates[at]
        case .cleaningUp, .running, .startingOver, .failed: nil
        }
    }

    /// Whether nothing more will happen.
    package var isFinished: Bool { phase == .running || phase == .startingOver || phase == .failed }

    /// What is to be done now, in order; each effect is handed out once.
    package mutating func drainEffects() -> [RestoreEffect] {
        defer { effects = [] }
        return effects
    }

    /// Takes an answer of the shell.
    package mutating func receive(_ event: RestoreEvent, now: ContinuousClock.Instant) {
        switch (state, event) {
        case (.verifying(let at), .verified):
            state = .extracting(at: at)
            deadline = now + limits.extract + limits.extractPerGibibyte * gibibytes(at)
            effects.append(.extract(request.candidates[at].generation))
        case (.extracting(let at), .extracted):
            state = .restoring(at: at, attempt: attempt)
            deadline = now + limits.restore + limits.restorePerGibibyte * gibibytes(at)
            effects.append(.restore(request.candidates[at].generation))
        case (.restoring(let at, _), .restored):
            state = .running
            deadline = nil
            effects += [
                .restoreQuota, .removeWorkFiles,
                .finished(.running(request.candidates[at], passedOver: passedOver)),
            ]
        case (.cleaningUp(let next, _), .cleanedUp):
            proceed(next, now: now)
        case (.cleaningUp, .failed(.cleaningUp, _)):
            deadline = now + .milliseconds(500)
        case (_, .failed(let failed, let problem)) where failed == phase:
            stepFailed(problem, now: now)
        case (_, .cancelled(let reason)) where !isFinished:
            cleanUp(then: .fail(reason: reason), now: now)
        default:
            break
        }
    }

    /// Acts on a limit that has passed.
    package mutating func tick(now: ContinuousClock.Instant) {
        guard let deadline, now >= deadline else { return }
        switch state {
        case .verifying:
            stepFailed(.unavailable(reason: "looking at the images took longer than \(limits.verify.text)"), now: now)
        case .extracting:
            stepFailed(.unavailable(reason: "extracting the images took too long; is the disk busy?"), now: now)
        case .restoring:
            stepFailed(.refused(reason: "CRIU did not end within its limit"), now: now)
        case .cleaningUp(let next, let attempts):
            state = .cleaningUp(then: next, attempts: attempts + 1)
            effects.append(.cleanUp)
            if attempts == 2 {
                effects.append(
                    .warn("What a failed restore of job \(request.job) left could not be deleted in 2 attempts.")
                )
            }
            self.deadline = now + limits.cleanupAttempt
        case .running, .startingOver, .failed:
            self.deadline = nil
        }
    }

    private mutating func stepFailed(_ problem: RestoreProblem, now: ContinuousClock.Instant) {
        let at: Int
        switch state {
        case .verifying(let index), .extracting(let index), .restoring(let index, _): at = index
        case .cleaningUp, .running, .startingOver, .failed: return
        }
        let generation = request.candidates[at].generation
        switch problem {
        case .damaged(let reason):
            effects.append(.markDamaged(generation, reason: reason))
            passedOver.append(RestoreOutcome.PassedOver(generation: generation, reason: reason))
            cleanUp(then: .candidate(at: at + 1), now: now)
        case .refused(let reason):
            if attempt < limits.attemptsPerGeneration {
                cleanUp(then: .again(at: at, attempt: attempt + 1), now: now)
            } else {
                passedOver.append(RestoreOutcome.PassedOver(generation: generation, reason: reason))
                cleanUp(then: .candidate(at: at + 1), now: now)
            }
        case .unavailable(let reason):
            cleanUp(then: .fail(reason: reason), now: now)
        }
    }

    private mutating func cleanUp(then next: Next, now: ContinuousClock.Instant) {
        // A cancellation during the clean-up changes only what follows it.
        if case .cleaningUp(_, let attempts) = state {
            state = .cleaningUp(then: next, attempts: attempts)
            return
        }
        state = .cleaningUp(then: next, attempts: 1)
        deadline = now + limits.cleanupAttempt
        effects.append(.cleanUp)
    }

    private mutating func proceed(_ next: Next, now: ContinuousClock.Instant) {
        switch next {
        case .again(let at, let attempt): begin(at: at, attempt: attempt, now: now)
        case .candidate(let at): begin(at: at, attempt: 1, now: now)
        case .fail(let reason): fail(reason)
        }
    }

    private mutating func begin(at index: Int, attempt: Int, now: ContinuousClock.Instant) {
        guard index < request.candidates.count else {
            if request.startsOver {
                state = .startingOver
                deadline = nil
                effects.append(.finished(.startOver(passedOver: passedOver)))
            } else {
                fail(
                    request.candidates.isEmpty
                        ? "there is no good checkpoint to restore"
                        : "none of the \(request.candidates.count) checkpoints could be restored"
                )
            }
            return
        }
        self.attempt = attempt
        state = .verifying(at: index)
        deadline = now + limits.verify
        effects.append(.verify(request.candidates[index].generation))
    }

    private mutating func fail(_ reason: String) {
        state = .failed
        deadline = nil
        effects.append(.finished(.failed(reason: reason, passedOver: passedOver)))
    }

    private func gibibytes(_ index: Int) -> Int {
        Int((max(0, request.candidates[index].rawBytes.rawValue) + (1 << 30) - 1) >> 30)
    }
}
