package import ClusterModel

/// How long the steps of a move's destination may take.
package struct MigrationDestinationLimits: Sendable, Equatable {
    /// Without a byte of what the source gives, once the job is handed over; default 20 s.
    package var stall: Duration = .seconds(20)
    /// Before the source is asked again after it could not be reached; default 200 ms.
    package var fetchPause: Duration = .milliseconds(200)
    /// The part of CRIU's restore that does not depend on size; default 30 s.
    package var restore: Duration = .seconds(30)
    /// Added to `restore` for each GiB; default 20 s.
    package var restorePerGibibyte: Duration = .seconds(20)
    /// For what the source holds for the container's address, without which its peers send again; default 2 s.
    package var takeFrames: Duration = .seconds(2)
    /// One attempt to let what arrives reach the container; default 5 s.
    package var connectAttempt: Duration = .seconds(5)
    /// One attempt to delete what a failed restore left; default 5 s.
    ///
    /// There is no limit to the number of attempts.
    package var cleanupAttempt: Duration = .seconds(5)
    package init() {}
}

/// Where the destination of a move is.
package enum MigrationDestinationPhase: String, Sendable, Codable, CaseIterable {
    /// Files come, or are waited for.
    case fetching
    /// All is here; the state has not said yet that the job is this node's.
    case awaiting
    case restoring
    /// The container runs; what arrived for its address at the source, and then here, is given to it.
    case connecting
    /// The container runs; the state is being told.
    case announcing
    /// The state is being told that nothing is missing.
    case concluding
    /// What a failed attempt left is being deleted, so that two copies never run.
    case cleaningUp
    /// Nothing of the job is here; the state is being told.
    case failing
    /// The container must not run here; it is being ended.
    case stopping
    case finished
}

/// What the destination of a move asks its shell to do, in the order in which it must be done.
package enum MigrationDestinationEffect: Sendable, Equatable {
    /// Ask the source for files, from where the last answer ended. Answers: `progressed`, `fetched`.
    case fetch
    /// Stop asking, and wait until that is over. No answer.
    case hangUp
    /// Run CRIU with no quota in its way, holding what arrives for the container's address; lazily, memory comes when it is touched. Answer: `restored`.
    case restore
    /// Fetch what the source holds for the container's address and give it to the container, with which the source has no part in it any more. Answer:
    /// `framesTaken`.
    case takeFrames
    /// Say that the container's address is here, give it what was held here, and let what comes reach it. Answer: `connected`.
    case connect
    /// Put the CPU limit of the job on the new container. No answer.
    case restoreQuota
    /// Tell the state that the container runs, until it has answered. Answers: `accepted`, `refused`.
    case announce
    /// Tell the state that the source is not needed any more, until it has answered. Answer: `accepted`.
    case conclude
    /// Cut its address off, end runtime, CRIU and every process of the attempt, delete its container and files. Answer: `cleanedUp`.
    case cleanUp
    /// Tell the state that the job is not here: before the hand-over as a refusal, after it as a failure. Answer: `accepted`.
    case tell(reason: String)
    /// Cut its address off and end the container. Answer: `stopped`.
    case stop
    /// Delete the files that came. No answer.
    case removeWorkFiles
    /// Something a person should look at while we keep trying.
    case warn(String)
    /// It is over; nothing follows.
    case finished(MigrationDestinationOutcome)
}

/// How a move ended for its destination.
package enum MigrationDestinationOutcome: Sendable, Equatable {
    /// The container runs here; lazily, memory is still to come, and who follows that tells the state when all is there.
    case running
    /// Nothing of the job is here.
    case failed(reason: String)
}

/// What the shell tells the destination of a move.
package enum MigrationDestinationEvent: Sendable, Equatable {
    /// Something came.
    case progressed
    /// All files are here, checked.
    case fetched(bytes: ByteCount)
    /// The replicated state says that only this node may run the job, and whether it was dumped without its memory.
    case handedOver(isLazy: Bool)
    /// The replicated state says that this move is over, or was never handed over.
    case withdrawn(reason: String)
    case restored
    case framesTaken
    case connected
    /// The state has taken what it was told.
    case accepted
    /// Somebody else's word is newer: the container has no right to run.
    case refused
    case cleanedUp
    case stopped
    /// The source is gone for good.
    case sourceLost
    /// The step of this phase failed; `isFinal` when trying again is of no use.
    case failed(during: MigrationDestinationPhase, reason: String, isFinal: Bool)
    /// Give it up if that is still possible.
    case cancelled(reason: String)
}

/// The destination's side of one move, from the first file to a container that lacks nothing.
///
/// Decides only, as `MigrationSourceOperation`. Two rules keep the job from running twice: nothing is restored before the replicated state has said that
/// the job is this node's, and the state hears of a failure only when nothing of the attempt is left.
package struct MigrationDestinationOperation: Sendable {
    package private(set) var phase: MigrationDestinationPhase
    /// When `tick` must be called next; nil when only an answer leads on.
    package private(set) var deadline: ContinuousClock.Instant?
    /// Bytes that came, as the shell says.
    package private(set) var bytes: ByteCount = .zero
    private var isLazy: Bool
    private let hasAddress: Bool
    private let limits: MigrationDestinationLimits
    private var isHandedOver: Bool
    private var isFetchPaused = false
    /// Of `connect`.
    private var attempts = 0
    private var lastProgress: ContinuousClock.Instant
    private var reason = ""
    private var effects: [MigrationDestinationEffect] = [.fetch]

    /// Begins; the first effect is `fetch`.
    ///
    /// - Parameters:
    ///   - isHandedOver: whether the state says so already, as after a restart of the agent.
    ///   - isLazy: whether the container runs before all its memory is here.
    ///   - hasAddress: whether it has an address of its own, whose connections come with it.
    ///   - limits: how long the steps may take.
    ///   - now: when this began.
    package init(
        isHandedOver: Bool,
        isLazy: Bool = false,
        hasAddress: Bool = false,
        limits: MigrationDestinationLimits = MigrationDestinationLimits(),
        now: ContinuousClock.Instant
    ) {
        (self.isHandedOver, self.isLazy, self.hasAddress, self.limits) = (isHandedOver, isLazy, hasAddress, limits)
        phase = .fetching
        lastProgress = now
        deadline = isHandedOver ? now + limits.stall : nil
    }

    /// Whether nothing more will happen.
    package var isFinished: Bool { phase == .finished }

    /// What is to be done now, in order; each effect is handed out once.
    package mutating func drainEffects() -> [MigrationDestinationEffect] {
        defer { effects = [] }
        return effects
    }

    /// Takes an answer of the shell.
    package mutating func receive(_ event: MigrationDestinationEvent, now: ContinuousClock.Instant) {
        switch (phase, event) {
        case (.fetching, .progressed):
            lastProgress = now
            if isHandedOver { deadline = now + limits.stall }
        case (.fetching, .fetched(let count)):
            bytes = count
            isFetchPaused = false
            if isHandedOver { restore(now: now) } else { enter(.awaiting, until: nil, []) }
        case (.fetching, .handedOver(let lacksMemory)) where !isHandedOver:
            (isHandedOver, isLazy) = (true, lacksMemory)
            lastProgress = now
            if !isFetchPaused { deadline = now + limits.stall }
        case (.awaiting, .handedOver(let lacksMemory)):
            (isHandedOver, isLazy) = (true, lacksMemory)
            restore(now: now)
        case (.restoring, .restored):
            effects.append(.restoreQuota)
            if hasAddress {
                enter(.connecting, until: now + limits.takeFrames, [.takeFrames])
            } else {
                enter(.announcing, until: nil, [.announce])
            }
        case (.connecting, .framesTaken) where attempts == 0: connect(now: now)
        case (.connecting, .connected) where attempts > 0: enter(.announcing, until: nil, [.announce])
        case (.announcing, .accepted):
            effects.append(.removeWorkFiles)
            if isLazy { finish(.running) } else { enter(.concluding, until: nil, [.conclude]) }
        case (.announcing, .refused):
            enter(.stopping, until: now + limits.cleanupAttempt, [.stop])
        case (.concluding, .accepted), (.concluding, .refused):
            finish(.running)
        case (.cleaningUp, .cleanedUp):
            // Whoever withdrew it need not be told.
            enter(.failing, until: nil, [.tell(reason: reason)])
        case (.failing, .accepted), (.failing, .refused):
            finish(.failed(reason: reason))
        case (.stopping, .stopped):
            effects.append(.removeWorkFiles)
            finish(.failed(reason: reason.isEmpty ? "the job is not this node's any more" : reason))
        case (.fetching, .sourceLost): giveUp("the source was lost before all had come", now: now)
        case (.fetching, .withdrawn(let why)), (.awaiting, .withdrawn(let why)), (.restoring, .withdrawn(let why)):
            giveUp(why, now: now)
        case (_, .failed(let failed, let why, let isFinal)) where failed == phase:
            stepFailed(why, isFinal: isFinal, now: now)
        case (.fetching, .cancelled(let why)), (.awaiting, .cancelled(let why)), (.restoring, .cancelled(let why)):
            giveUp(why, now: now)
        default: break
        }
    }

    /// Acts on a limit that has passed.
    package mutating func tick(now: ContinuousClock.Instant) {
        guard let deadline, now >= deadline else { return }
        switch phase {
        case .fetching:
            if isHandedOver, now >= lastProgress + limits.stall {
                giveUp("nothing came from the source for \(limits.stall.text)", now: now)
            } else if isFetchPaused {
                isFetchPaused = false
                self.deadline = isHandedOver ? lastProgress + limits.stall : nil
                effects.append(.fetch)
            } else {
                self.deadline = isHandedOver ? lastProgress + limits.stall : nil
            }
        case .restoring: giveUp("CRIU did not end within its limit", now: now)
        case .connecting:
            if attempts == 0 { frameless("the source did not answer within \(limits.takeFrames.text)") }
            connect(now: now)
        case .cleaningUp:
            effects.append(.cleanUp)
            self.deadline = now + limits.cleanupAttempt
        case .stopping:
            effects.append(.stop)
            self.deadline = now + limits.cleanupAttempt
        case .awaiting, .announcing, .concluding, .failing, .finished: self.deadline = nil
        }
    }

    private mutating func stepFailed(_ why: String, isFinal: Bool, now: ContinuousClock.Instant) {
        switch phase {
        case .fetching where !isFinal && (!isHandedOver || now < lastProgress + limits.stall):
            isFetchPaused = true
            deadline = now + limits.fetchPause
        case .fetching, .restoring: giveUp(why, now: now)
        case .connecting where attempts == 0:
            frameless(why)
            connect(now: now)
        case .connecting: deadline = now + .milliseconds(200)
        case .cleaningUp, .stopping: deadline = now + .milliseconds(500)
        case .awaiting, .announcing, .concluding, .failing, .finished: break
        }
    }

    private mutating func restore(now: ContinuousClock.Instant) {
        let gibibytes = (max(0, bytes.rawValue) + (1 << 30) - 1) >> 30
        enter(.restoring, until: now + limits.restore + limits.restorePerGibibyte * Int(gibibytes), [.restore])
    }

    /// What is lost of the frames, peers send again; the job runs.
    private mutating func frameless(_ why: String) {
        effects += [
            .hangUp, .warn("What arrived for its address at the source is lost, its peers send it again: \(why)"),
        ]
    }

    /// Opens the way to the container; what runs is announced even when that cannot be done.
    private mutating func connect(now: ContinuousClock.Instant) {
        attempts += 1
        guard attempts <= 5 else {
            effects.append(.warn("Nothing reaches the container's address; look at the bridge (`godwitd doctor`)."))
            return enter(.announcing, until: nil, [.announce])
        }
        deadline = now + limits.connectAttempt
        effects.append(.connect)
    }

    private mutating func giveUp(_ why: String, now: ContinuousClock.Instant) {
        reason = why
        enter(.cleaningUp, until: now + limits.cleanupAttempt, [.hangUp, .cleanUp])
    }

    private mutating func enter(
        _ next: MigrationDestinationPhase,
        until end: ContinuousClock.Instant?,
        _ added: [MigrationDestinationEffect]
    ) {
        phase = next
        deadline = end
        effects += added
    }

    private mutating func finish(_ outcome: MigrationDestinationOutcome) {
        enter(.finished, until: nil, [.finished(outcome)])
    }
}
