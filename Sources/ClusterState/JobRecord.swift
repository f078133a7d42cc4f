package import ClusterModel

/// Everything the cluster knows about one job: what was asked for, where it stands, and what it has behind it.
///
/// Records change only through `ClusterState.apply(_:)`. What an agent must do about a record follows from the record alone
/// (`task`), so an agent that was killed at any moment reads it again and goes on.
package struct JobRecord: Sendable, Codable, Equatable {
    package let id: JobID
    package let specification: JobSpecification
    package let submitter: UserID
    package let submitted: Timestamp
    /// The submitter's own mark of the request: a second submission with the same mark finds this job instead of making one.
    package let idempotencyKey: String?
    /// What admission control said when the job came; nil when nobody asked.
    package let admission: AdmissionSummary?

    package internal(set) var state: JobState = .queued
    package internal(set) var stateSince: Timestamp
    /// Why the job is in this state: one plain sentence, with the remedy where there is one.
    package internal(set) var message: String = ""

    /// The node that runs the job, or ran it last.
    package internal(set) var node: NodeID?
    /// Where the job is to be begun, or was; nil while nobody chose, and when there is nothing to run.
    package internal(set) var assignment: JobAssignment?
    /// The present or last start of the job's container; 0 before the first.
    package internal(set) var incarnation = Incarnation(rawValue: 0)
    /// When the first container ran.
    package internal(set) var firstStarted: Timestamp?
    /// When the present incarnation's container ran; nil while it is being made.
    package internal(set) var incarnationStarted: Timestamp?
    /// When the job reached its final state.
    package internal(set) var ended: Timestamp?
    package internal(set) var lastExit: ContainerExit?

    /// CPU time that counts as progress.
    package internal(set) var ledger = CPULedger()
    /// CPU time that was used but whose work was lost when the job fell back to a checkpoint or to its beginning.
    package internal(set) var lost: Duration = .zero
    /// What the job is guaranteed under contention.
    package internal(set) var allocation: VCPUCount = .zero
    /// Set by `job resize`: overrides the policy until it is handed back.
    package internal(set) var pinnedAllocation: VCPUCount?
    /// Set by `job resize`: overrides the specification's limits.
    package internal(set) var limits = LimitOverride()

    /// Iterations done, of an iterative job.
    package internal(set) var completedIterations = 0
    /// The newest measured iterations, oldest first; at most `ClusterState.measuredIterationLimit`.
    package internal(set) var measuredIterations: [IterationMeasurement] = []
    /// The ledger when the present iteration began: where an iteration that fails falls back to.
    package internal(set) var iterationBase: Duration = .zero

    /// Failures of the program itself that were answered with another start, over the whole life of the job.
    ///
    /// At most the specification's `retries.limit`; what the node lost is not counted here.
    package internal(set) var retriesUsed = 0
    /// Losses one after the other, each of a container that had hardly run; bounds a loop of crashes.
    package internal(set) var quickLosses = 0
    /// A queued job is not started before this.
    package internal(set) var notBefore: Timestamp?

    /// What a user asked for and what is not done yet; survives a crash of the agent.
    package internal(set) var request: PendingRequest?
    /// The checkpoint that is being taken, while the state is `checkpointing`.
    package internal(set) var openCheckpoint: OpenCheckpoint?
    /// The generation that the next start continues from; nil starts from the beginning.
    package internal(set) var resumption: Resumption?
    /// Checkpoints that exist or are about to be deleted, by rising generation.
    package internal(set) var catalog: [CatalogEntry] = []
    /// Generations that could not be restored since the job last ran; not tried again by themselves.
    package internal(set) var failedRestores: [CheckpointGeneration] = []
    /// When a checkpoint last ended, well or not; the interval counts from it.
    package internal(set) var lastCheckpointAttempt: Timestamp?
    /// Checkpoints of the present container that failed one after the other; nil means none, as in states of older versions.
    package internal(set) var failedCheckpoints: Int?
    /// Whether the objective was reached in time; nil while that is open.
    package internal(set) var metDeadline: Bool?
    /// The job's way to another node, while it is on it; nil as in states of older versions.
    package internal(set) var migration: Migration?
    /// How the newest move to another node went that succeeded; nil before the first.
    package internal(set) var lastMove: MeasuredMove?
    /// The number of the newest move; nil before the first.
    package internal(set) var lastMigration: UInt64?
    /// Moves of the present container that came to nothing; nil when none did.
    package internal(set) var failedMigrations: FailedMigrations?
    /// The greatest incarnation that a move gave which then failed and went back to the one before; nil when none did.
    package internal(set) var lastIncarnation: Incarnation?
    /// The newest generation that was ever begun; a generation is never used again.
    package internal(set) var lastGeneration = CheckpointGeneration(rawValue: 0)
    /// The address of the containers' own, from the first begin to the end of the job; nil for jobs that have none.
    package internal(set) var address: IPv4Prefix?

    init(_ submission: Submission) {
        id = submission.id
        specification = submission.specification
        submitter = submission.submitter
        submitted = submission.time
        idempotencyKey = submission.idempotencyKey
        admission = submission.admission
        stateSince = submission.time
    }
}

extension JobRecord {
    /// When the job must be done; nil without an objective.
    package var deadline: Timestamp? {
        switch specification.objective {
        case .cpuTime(_, let frame): submitted + frame
        case .iterations(_, _, _, let deadline): submitted + deadline
        case nil: nil
        }
    }

    /// How often the job runs its command.
    package var totalIterations: Int {
        if specification.kind == .iterative, case .iterations(let count, _, _, _) = specification.objective {
            return count
        }
        return 1
    }

    /// The node that may begin the job, or has begun it.
    package var assignedNode: NodeID? { assignment?.node }

    /// The memory limit that holds now; nil means none.
    package var memoryLimit: ByteCount? { limits.memory ?? specification.resources.memory }

    /// The hard CPU ceiling that holds now; nil means none.
    package var cpuLimit: VCPUCount? {
        switch limits.cpu {
        case .asSpecified: specification.resources.cpuLimit
        case .none: nil
        case .limit(let limit): limit
        }
    }

    /// Complete checkpoints that a restore can take, oldest first.
    package var goodCheckpoints: [CatalogEntry] { catalog.filter { $0.state == .complete } }

    /// Whether a checkpoint must stay whatever the room: the newest good one, the newest that outlives its node, the one that the job waits to go on
    /// from, and one whose copies are under way.
    package func isNeeded(_ entry: CatalogEntry) -> Bool {
        entry.generation == newestGoodCheckpoint?.generation || entry.generation == newestSafeCheckpoint?.generation
            || entry.generation == resumption?.generation || !entry.wantedCopies.isEmpty
    }

    /// The newest complete checkpoint that outlives its node.
    package var newestSafeCheckpoint: CatalogEntry? {
        let replicas = specification.checkpoint.replicas
        return catalog.last { $0.state == .complete && $0.isSafe(replicas: replicas) }
    }

    /// The newest complete checkpoint.
    package var newestGoodCheckpoint: CatalogEntry? { catalog.last { $0.state == .complete } }

    /// The catalog's entry of a generation.
    package func checkpoint(_ generation: CheckpointGeneration) -> CatalogEntry? {
        catalog.first { $0.generation == generation }
    }

    /// When the next automatic checkpoint is due; nil when there is none to take.
    ///
    /// Each failure doubles the pause, up to an hour or one interval: what made it fail is often still there, and each try may cost a
    /// freeze. A moment that has passed means now. What happened later than `now` happened before the clock was set back: nobody knows how
    /// long ago, so it does not count.
    ///
    /// `fallback` is the interval where the job gives none.
    package func nextCheckpointDue(now: Timestamp, everyNow fallback: Duration? = nil) -> Timestamp? {
        guard let interval = specification.checkpoint.interval ?? fallback, state == .running,
            let started = incarnationStarted
        else {
            return nil
        }
        let last = [started, lastCheckpointAttempt].compactMap { $0 }.filter { $0 <= now }.max()
        return last.map { $0 + checkpointPause(interval) } ?? now
    }

    private func checkpointPause(_ interval: Duration) -> Duration {
        let bound = max(interval, Self.longestCheckpointPause)
        var pause = interval
        for _ in 0..<(failedCheckpoints ?? 0) where pause < bound { pause = pause * 2 }
        return min(pause, bound)
    }

    /// Whether the job may be asked now to leave its node with a last checkpoint: it runs, its rule allows to go on from one, and it is time to
    /// try again if that failed before.
    package func mayMoveAway(at now: Timestamp) -> Bool {
        guard state == .running, request == nil, migration == nil, specification.checkpoint.recovery == .restore else {
            return false
        }
        guard let failures = failedCheckpoints, failures > 0, let last = lastCheckpointAttempt, last <= now else {
            return true
        }
        return now >= last + checkpointPause(.seconds(10))
    }

    /// The longest pause after failed checkpoints, unless the interval itself is longer.
    package static let longestCheckpointPause: Duration = .seconds(3600)

    /// What the agent of `node` must do about this job now.
    package var task: JobTask {
        switch state {
        case .queued: .wait(until: notBefore)
        case .starting: .start(incarnation)
        case .restoring: resumption.map { .restore(incarnation, from: $0.generation) } ?? .start(incarnation)
        case .running:
            if case .checkpoint(let stops, _, _, _) = request {
                .checkpoint(incarnation, stops: stops)
            } else {
                .run(incarnation)
            }
        case .checkpointing: .run(incarnation)
        case .migrating: .receive(incarnation)
        case .stopping: .stop(incarnation, grace: request?.grace ?? .zero)
        case .suspended, .completed, .failed, .cancelled: .none
        }
    }
}

/// What an agent has to do about a job, whatever happened before.
package enum JobTask: Sendable, Equatable {
    /// No container may exist.
    case none
    /// No container may exist; the job may begin once there is room and `until` has passed.
    case wait(until: Timestamp?)
    /// Make the container of this incarnation from the image, unless it exists.
    case start(Incarnation)
    /// Make the container of this incarnation from a checkpoint, unless it exists.
    case restore(Incarnation, from: CheckpointGeneration)
    /// Make the container of this incarnation from what another node has of it; see `JobRecord.migrationTask(on:)`.
    case receive(Incarnation)
    /// The container of this incarnation should run.
    case run(Incarnation)
    /// Take a checkpoint on demand: begin with `Command.beginCheckpoint`.
    case checkpoint(Incarnation, stops: Bool)
    /// End the container of this incarnation, forcibly after the grace, and report its exit (`lost` if there is none).
    case stop(Incarnation, grace: Duration)
}

/// What a user asked for and the agent has still to do.
package enum PendingRequest: Sendable, Codable, Equatable {
    /// Take a checkpoint; `stops` ends the container with it, and with `moves` the job goes on from it on another node, or, when it yields
    /// its place to another job, as soon as there is room; nil is false.
    case checkpoint(stops: Bool, requested: Timestamp, moves: Bool? = nil, yieldsTo: JobID? = nil)
    /// Stop what runs, then continue from a generation, or from the newest good one when nil.
    case restore(generation: CheckpointGeneration?, requested: Timestamp)
    /// End the job.
    case cancel(grace: Duration, requested: Timestamp, by: UserID)
    /// Stop what runs, then begin anew on another node.
    case move(grace: Duration, requested: Timestamp, by: UserID)

    var grace: Duration? {
        switch self {
        case .cancel(let grace, _, _), .move(let grace, _, _): grace
        case .checkpoint, .restore: nil
        }
    }
    /// Whether it takes the job from its node with a last checkpoint.
    package var isMovingAway: Bool { if case .checkpoint(_, _, true, _) = self { true } else { false } }
    var isCancel: Bool { if case .cancel = self { true } else { false } }
}

/// Limits that `job resize` changed.
package struct LimitOverride: Sendable, Codable, Equatable {
    /// The hard CPU ceiling.
    package enum CPU: Sendable, Codable, Equatable {
        case asSpecified
        case none
        case limit(VCPUCount)
    }

    package var cpu: CPU = .asSpecified
    /// nil means as specified.
    package var memory: ByteCount?

    /// Overrides nothing.
    package init() {}
}

/// What admission control answered, kept with the job: the policy's own type stays with the policy, so that a change there
/// cannot change how an old log is read.
package struct AdmissionSummary: Sendable, Codable, Equatable {
    /// The answer.
    package enum Verdict: String, Sendable, Codable, CaseIterable {
        case feasible, feasibleAfterScaling, infeasible, bestEffort
    }

    package var verdict: Verdict
    /// One plain sentence with its numbers.
    package var reason: String
    package var predictedEnd: Timestamp?
    package var deadline: Timestamp?
    package var required: VCPUCount
    package var available: VCPUCount

    /// Takes the values as they are.
    package init(
        verdict: Verdict,
        reason: String,
        predictedEnd: Timestamp? = nil,
        deadline: Timestamp? = nil,
        required: VCPUCount = .zero,
        available: VCPUCount = .zero
    ) {
        self.verdict = verdict
        self.reason = reason
        self.predictedEnd = predictedEnd
        self.deadline = deadline
        self.required = required
        self.available = available
    }
}

/// How long one iteration took and what it ran with: what the speed-up model learns from.
package struct IterationMeasurement: Sendable, Codable, Equatable {
    /// From 1.
    package var index: Int
    /// From the container running to its end.
    package var duration: Duration
    /// CPU time that it consumed.
    package var consumed: Duration
    /// Mean vCPUs that it could run on: `consumed / duration` when the agent did not say otherwise.
    package var vcpus: VCPUCount

    /// Takes the values as they are.
    package init(index: Int, duration: Duration, consumed: Duration, vcpus: VCPUCount) {
        self.index = index
        self.duration = duration
        self.consumed = consumed
        self.vcpus = vcpus
    }
}

/// A checkpoint that is being taken.
package struct OpenCheckpoint: Sendable, Codable, Equatable {
    package var generation: CheckpointGeneration
    package var began: Timestamp
    /// Whether the container ends with it.
    package var stops: Bool
    /// Whether a user asked for it, rather than the interval.
    package var isRequested: Bool
    /// The container's end, when it was seen before the images were complete: with `stops` that is the dump's own doing.
    package var exit: ContainerExit?
}

/// Where the next start continues.
package struct Resumption: Sendable, Codable, Equatable {
    /// Who wants it so, which decides what happens when the restore fails.
    package enum Origin: String, Sendable, Codable {
        /// The job's recovery rule: an older generation, or the beginning, will do.
        case recovery
        /// A user who asked for the newest: an older one will do, the beginning will not.
        case newest
        /// A user who named the generation: nothing else will do.
        case named
    }

    package var generation: CheckpointGeneration
    package var origin: Origin
}

/// One generation of a job's checkpoints.
package struct CatalogEntry: Sendable, Codable, Equatable {
    /// What a generation is good for.
    package enum State: String, Sendable, Codable, CaseIterable {
        /// Index and images were complete and durable.
        case complete
        /// A restore or a scrub found it damaged; kept until it is retired.
        case damaged
        /// No longer wanted: its files are to be deleted, then `Command.checkpointRetired` removes the entry.
        case retiring
    }

    package var generation: CheckpointGeneration
    package var taken: Timestamp
    package var node: NodeID
    /// The incarnation that was frozen.
    package var incarnation: Incarnation
    /// Time in which the container did not run.
    package var frozen: Duration
    /// From the freeze to the index on disk.
    package var total: Duration
    /// Bytes of images and writable layer before compression.
    package var raw: ByteCount
    /// Bytes on disk.
    package var stored: ByteCount
    /// The ledger at that moment: a restore falls back to it.
    package var consumed: Duration
    /// Iterations that were complete at that moment.
    package var completedIterations: Int
    package internal(set) var state: State = .complete
    /// What is damaged, for people; nil when nothing is.
    package internal(set) var damage: String?
    /// How its files are sealed; nil when they are not, and so never leave their node.
    package internal(set) var seal: ImageSeal?
    /// Bytes of earlier generations' data that it shares, and that stay as long as it does; nil: none.
    package internal(set) var shared: ByteCount?
    /// Of the node whose memory it is, as it was then; nil when it is not known, as in states of older versions and of what was imported.
    package internal(set) var platform: NodePlatform?
    /// Where its files are; nil while that is its own node alone, as in states of older versions.
    package internal(set) var copies: CheckpointCopies?

    /// Describes a complete generation.
    package init(
        generation: CheckpointGeneration,
        taken: Timestamp,
        node: NodeID,
        incarnation: Incarnation,
        frozen: Duration,
        total: Duration,
        raw: ByteCount,
        stored: ByteCount,
        consumed: Duration,
        completedIterations: Int,
        seal: ImageSeal? = nil,
        shared: ByteCount? = nil
    ) {
        self.generation = generation
        self.taken = taken
        self.node = node
        self.incarnation = incarnation
        self.frozen = frozen
        self.total = total
        self.raw = raw
        self.stored = stored
        self.consumed = consumed
        self.completedIterations = completedIterations
        self.seal = seal
        self.shared = shared
    }
}

extension CatalogEntry {
    /// What generations of one job take together on a node that has them all, given by rising generation.
    ///
    /// Each shares data only with the one before it and with what that shares, so what is older than all of them is what the first one shares.
    package static func occupied(by entries: [CatalogEntry]) -> ByteCount {
        entries.reduce(entries.first?.shared ?? .zero) { $0 + $1.stored }
    }
}
