package import ClusterModel

/// Something that changes the cluster's state.
///
/// Times and identities are inside, so that every replay does the same.
///
/// A command is made durable before anything that follows from it is done. The names of the payloads' fields are part of the
/// stored format; a new field must be optional. What is added after version 2 must say so in ``requiredVersion``.
package enum Command: Sendable, Codable, Equatable {
    /// Sets the bounds of the state.
    case configure(StateLimits)

    // What users ask.
    case submit(Submission)
    case requestCheckpoint(job: JobID, stops: Bool, by: UserID, time: Timestamp)
    /// `generation` nil takes the newest good one.
    case requestRestore(job: JobID, generation: CheckpointGeneration?, by: UserID, time: Timestamp)
    case requestResize(Resize)
    case requestCancel(job: JobID, grace: Duration, by: UserID, time: Timestamp)

    /// Takes in a checkpoint out of a tar, and makes a job of it or adds it to one. Version 6.
    case importCheckpoint(CheckpointImport)
    /// Lets a checkpoint go on all nodes. Version 6.
    case removeCheckpoint(CheckpointRemoval)
    /// Lets a checkpoint go that nobody needs, for want of room. Version 6.
    case releaseCheckpoint(CheckpointRelease)

    // What an agent does and sees.
    /// Says why a queued job still waits.
    case waiting(job: JobID, reason: String, time: Timestamp)
    /// Gives a queued job its next incarnation on a node.
    ///
    /// `network` is what the node offers, for a job that has an address of its own; version 5.
    case begin(job: JobID, node: NodeID, time: Timestamp, network: NodeNetwork? = nil)
    /// The container runs, newly made or restored.
    case started(job: JobID, incarnation: Incarnation, time: Timestamp)
    /// A restarted agent found the container running and took it over.
    case adopted(job: JobID, incarnation: Incarnation, time: Timestamp)
    /// The container is no more.
    ///
    /// `consumed` is the last reading of its CPU time counter, nil when there is none; `vcpus` the mean of what it could have run
    /// on, nil when nobody watched: then what it used stands for that.
    case exited(
        job: JobID,
        incarnation: Incarnation,
        exit: ContainerExit,
        consumed: Duration?,
        time: Timestamp,
        vcpus: VCPUCount? = nil
    )
    /// A restore did not succeed; `isDamaged` says that the images are at fault.
    case restoreFailed(RestoreFailure)
    case beginCheckpoint(job: JobID, incarnation: Incarnation, time: Timestamp)
    /// The generation is complete and durable.
    case checkpointRecorded(job: JobID, entry: CatalogEntry, time: Timestamp)
    /// The generation is not to be had. `isInterrupted` keeps a user's request, to be tried again.
    case checkpointFailed(
        job: JobID,
        generation: CheckpointGeneration,
        reason: String,
        isInterrupted: Bool,
        time: Timestamp
    )
    case checkpointDamaged(job: JobID, generation: CheckpointGeneration, reason: String, time: Timestamp)
    /// The files of a retiring generation are deleted.
    case checkpointRetired(job: JobID, generation: CheckpointGeneration)
    /// Says which nodes are to fetch the files of a generation, instead of those that were to before. Version 4.
    case placeCopies(job: JobID, generation: CheckpointGeneration, nodes: [NodeID], time: Timestamp)
    /// A node has the files of a generation, complete and durable. Version 4.
    case copyHeld(job: JobID, generation: CheckpointGeneration, node: NodeID, time: Timestamp)
    /// A node that was to fetch the files cannot take them. Version 4.
    case copyDeclined(job: JobID, generation: CheckpointGeneration, node: NodeID, reason: String, time: Timestamp)
    /// The files on one node are not what was written. Version 4.
    case copyDamaged(job: JobID, generation: CheckpointGeneration, node: NodeID, reason: String, time: Timestamp)
    /// The files on one node are deleted, or are not counted any more. Version 4.
    case copyGone(job: JobID, generation: CheckpointGeneration, node: NodeID, time: Timestamp)
    /// Stops a job with a last checkpoint, because its node is being drained; it goes on from it elsewhere. Version 4.
    case moveAway(job: JobID, time: Timestamp)
    /// Stops a job with a last checkpoint, because another one needs its place more; it goes on when there is room. Version 6.
    case preempt(job: JobID, yieldsTo: JobID, reason: String, time: Timestamp)
    /// Begins to move a running job to another node. Version 6.
    case beginMigration(MigrationOrder)
    /// The destination can take the job and has made everything ready. Version 6.
    case migrationPrepared(job: JobID, number: UInt64, time: Timestamp)
    /// Gives a move up that was not handed over; `declinedBy` is a destination that cannot. Version 6.
    case abortMigration(job: JobID, number: UInt64, reason: String, declinedBy: NodeID?, time: Timestamp)
    /// The source's container stands still and is dumped: from here on only the destination may run the job. Version 6.
    case handOver(job: JobID, number: UInt64, handover: Migration.Handover, time: Timestamp)
    /// The destination could not go on with what was handed over, and nothing of it is left there. Version 6.
    case migrationFailed(job: JobID, number: UInt64, reason: String, time: Timestamp)
    /// The destination runs and lacks nothing; `sent` is what went across. Version 6.
    case migrationDrained(job: JobID, number: UInt64, sent: ByteCount, time: Timestamp)
    /// Readings of CPU time counters.
    case ledger(readings: [LedgerReading], time: Timestamp)

    // What policies decide.
    case allocate(changes: [AllocationChange], time: Timestamp)
    /// Keeps decisions that change nothing else. Those about unknown jobs are left out.
    case note([Decision])
    /// Forgets jobs that ended longer ago than the bounds say, and with them nodes that left and revocations that are over.
    case prune(time: Timestamp)

    // Nodes.
    /// Says who a node is and what it has; repeating it changes nothing.
    case registerNode(NodeRegistration)
    /// A node goes for good.
    case nodeLeft(NodeDeparture)
    /// A node has not answered for so long that nothing of the cluster can run there any more.
    case nodeLost(node: NodeID, reason: String, time: Timestamp)
    /// Gives a node no new jobs.
    case cordon(node: NodeID, by: UserID, time: Timestamp)
    /// Gives a node no new jobs, takes back those that have not begun, and lets the others end.
    ///
    /// `restartsJobs` does not wait: jobs whose `checkpoint.recovery` allows a new start are stopped and begun anew elsewhere.
    case drain(node: NodeID, restartsJobs: Bool, by: UserID, time: Timestamp)
    /// Ends both `cordon` and `drain`.
    case undrain(node: NodeID, by: UserID, time: Timestamp)
    /// Chooses the node that a queued job is to be begun on.
    case assign(job: JobID, node: NodeID, reason: String, time: Timestamp)
    /// Takes the choice back.
    case unassign(job: JobID, reason: String, time: Timestamp)
    /// Gives a checkpoint up that a queued job waits to go on from, because no node can take it: an older one follows, or the beginning. Version 6.
    case passOver(job: JobID, generation: CheckpointGeneration, reason: String, time: Timestamp)

    // Who is trusted.
    /// Gives the cluster its name, once.
    case nameCluster(ClusterID, time: Timestamp)
    case revoke(Revocation)
    /// Replaces the keyring; refused unless the version follows the present one, so that of two rotations at once one is told.
    case setKeyring(StoredKeyring)
    /// Seals checkpoints under another key from now on; refused unless its number follows the newest one's. Version 4.
    case addCheckpointKey(CheckpointKey)
    /// Destroys keys that no checkpoint needs. Version 4.
    case dropCheckpointKeys(numbers: [UInt64], time: Timestamp)
    case trust(TrustedAuthority)
    case distrust(fingerprint: String, by: UserID, time: Timestamp)
    /// Tells the audit what was done outside of the state, in one sentence of at most 512 characters; `by` as in ``AuditEntry``. Version 3.
    case auditEntry(by: String, what: String, time: Timestamp)

    /// The names in the stored form.
    enum CodingKeys: String, CodingKey, CaseIterable {
        case configure, submit, requestCheckpoint, requestRestore, requestResize, requestCancel, waiting, begin, started
        case adopted, exited, restoreFailed, beginCheckpoint, checkpointRecorded, checkpointFailed, checkpointDamaged
        case checkpointRetired, ledger, allocate, note, prune
        case placeCopies, copyHeld, copyDeclined, copyDamaged, copyGone, moveAway, addCheckpointKey, dropCheckpointKeys
        case preempt, beginMigration, migrationPrepared, abortMigration, handOver, migrationFailed, migrationDrained
        case registerNode, nodeLeft, nodeLost, cordon, drain, undrain, assign, unassign
        case importCheckpoint, removeCheckpoint, releaseCheckpoint, passOver
        case nameCluster, revoke, setKeyring, trust, distrust, auditEntry
    }
}

extension Command {
    /// The version of the state from which on this may be proposed; up to there some node would not understand it.
    ///
    /// A case, or a field of a payload that changes what is done, that comes after version 2 answers with its version here.
    package var requiredVersion: Int {
        switch self {
        case .submit(let submission) where submission.specification.network != nil: 5
        case .submit(let submission) where submission.specification.checkpoint.spaceLimit != nil: 6
        case .begin(_, _, _, .some): 5
        case .registerNode(let registration) where registration.platform != nil: 6
        case .registerNode(let registration) where registration.network != nil: 5
        case .configure, .submit, .requestCheckpoint, .requestRestore, .requestResize, .requestCancel, .waiting, .begin,
            .started, .adopted, .exited, .restoreFailed, .beginCheckpoint, .checkpointRecorded, .checkpointFailed,
            .checkpointDamaged, .checkpointRetired, .ledger, .allocate, .note, .prune, .registerNode, .nodeLeft,
            .nodeLost, .cordon, .drain, .undrain, .assign, .unassign, .nameCluster, .revoke, .setKeyring, .trust,
            .distrust:
            ClusterState.oldestVersion
        case .auditEntry: 3
        case .importCheckpoint, .removeCheckpoint, .releaseCheckpoint: 6
        case .placeCopies, .copyHeld, .copyDeclined, .copyDamaged, .copyGone, .moveAway, .addCheckpointKey,
            .dropCheckpointKeys:
            4
        case .preempt, .beginMigration, .migrationPrepared, .abortMigration, .handOver, .migrationFailed,
            .migrationDrained, .passOver:
            6
        }
    }
}

/// A command as it is read from a log or a message: one that this program does not know is told apart from damage.
///
/// A member that skipped a command it does not know would from then on hold another state than the others, and act on it. So an unknown
/// command is an error: who reads it from the log stops and asks for a newer program, who is asked to propose it refuses.
package struct StoredCommand: Sendable, Codable, Equatable {
    package var command: Command

    /// Takes the command as it is.
    package init(_ command: Command) { self.command = command }

    private struct AnyKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Throws `UnknownCommand` for a case that this program lacks, and a `DecodingError` for everything else.
    package init(from decoder: any Decoder) throws {
        let keys = try decoder.container(keyedBy: AnyKey.self).allKeys.map(\.stringValue).sorted()
        if let name = keys.first, keys.count == 1, Command.CodingKeys(rawValue: name) == nil {
            throw UnknownCommand(name: name)
        }
        command = try Command(from: decoder)
    }

    package func encode(to encoder: any Encoder) throws { try command.encode(to: encoder) }
}

/// A command that only a newer program knows.
package struct UnknownCommand: Error, Sendable, Equatable, CustomStringConvertible {
    /// As it is stored.
    package var name: String

    package var description: String {
        "the command '\(name)' comes from a newer version of godwitd than this one (\(productVersion)); install the version that the "
            + "other nodes run, nothing is lost meanwhile"
    }
}

/// A job as it enters the cluster.
package struct Submission: Sendable, Codable, Equatable {
    package var id: JobID
    package var specification: JobSpecification
    package var submitter: UserID
    package var time: Timestamp
    /// At most 64 characters.
    package var idempotencyKey: String?
    package var admission: AdmissionSummary?

    /// Takes the values as they are; `apply(_:)` checks them.
    package init(
        id: JobID,
        specification: JobSpecification,
        submitter: UserID,
        time: Timestamp,
        idempotencyKey: String? = nil,
        admission: AdmissionSummary? = nil
    ) {
        self.id = id
        self.specification = specification
        self.submitter = submitter
        self.time = time
        self.idempotencyKey = idempotencyKey
        self.admission = admission
    }
}

/// What `job resize` changes; nil leaves a value as it is.
package struct Resize: Sendable, Codable, Equatable {
    /// The guarantee under contention.
    package enum Allocation: Sendable, Codable, Equatable {
        case pin(VCPUCount)
        /// The policy decides again.
        case release
    }

    package var job: JobID
    package var allocation: Allocation?
    package var cpuLimit: LimitOverride.CPU?
    package var memory: ByteCount?
    package var by: UserID
    package var time: Timestamp

    /// Takes the values as they are; `apply(_:)` checks them.
    package init(
        job: JobID,
        allocation: Allocation? = nil,
        cpuLimit: LimitOverride.CPU? = nil,
        memory: ByteCount? = nil,
        by: UserID,
        time: Timestamp
    ) {
        self.job = job
        self.allocation = allocation
        self.cpuLimit = cpuLimit
        self.memory = memory
        self.by = by
        self.time = time
    }
}

/// Why a checkpoint could not be restored.
package struct RestoreFailure: Sendable, Codable, Equatable {
    package var job: JobID
    package var incarnation: Incarnation
    package var generation: CheckpointGeneration
    /// A sentence for the job's story.
    package var reason: String
    /// Whether the images are at fault: the catalog marks them and no restore takes them again.
    package var isDamaged: Bool
    package var time: Timestamp

    /// Takes the values as they are.
    package init(
        job: JobID,
        incarnation: Incarnation,
        generation: CheckpointGeneration,
        reason: String,
        isDamaged: Bool,
        time: Timestamp
    ) {
        self.job = job
        self.incarnation = incarnation
        self.generation = generation
        self.reason = reason
        self.isDamaged = isDamaged
        self.time = time
    }
}

/// What a container's CPU time counter showed, counted from the container's start.
package struct LedgerReading: Sendable, Codable, Equatable {
    package var job: JobID
    package var incarnation: Incarnation
    package var consumed: Duration

    /// Takes the values as they are.
    package init(job: JobID, incarnation: Incarnation, consumed: Duration) {
        self.job = job
        self.incarnation = incarnation
        self.consumed = consumed
    }
}

/// A new guarantee for a job, with the decision when it is worth telling.
package struct AllocationChange: Sendable, Codable, Equatable {
    package var job: JobID
    package var allocation: VCPUCount
    package var decision: Decision?

    /// Takes the values as they are.
    package init(job: JobID, allocation: VCPUCount, decision: Decision? = nil) {
        self.job = job
        self.allocation = allocation
        self.decision = decision
    }
}

/// The bounds of the state.
package struct StateLimits: Sendable, Codable, Equatable {
    /// Jobs that have not ended; 1...100,000.
    package var liveJobs = 1000
    /// Ended jobs that are remembered; the oldest are forgotten first.
    package var endedJobs = 1000
    /// How long an ended job is remembered.
    package var endedRetention: Duration = .seconds(7 * 86400)

    /// The defaults.
    package init() {}
}

/// What became of a command.
package enum Outcome: Sendable, Equatable {
    case accepted(Acceptance)
    /// The state is as before.
    case refused(Refusal)

    /// The acceptance, or nil.
    package var acceptance: Acceptance? { if case .accepted(let acceptance) = self { acceptance } else { nil } }
    /// The refusal, or nil.
    package var refusal: Refusal? { if case .refused(let refusal) = self { refusal } else { nil } }
}

/// What a command changed; the decisions are to be made durable together with the command.
package struct Acceptance: Sendable, Equatable {
    /// In the order in which they were made.
    package var decisions: [NumberedDecision] = []
    /// Jobs whose records changed, sorted.
    package var changed: [JobID] = []
    /// Jobs that are forgotten: their history and folders can go.
    package var pruned: [JobID] = []
    /// The job that a submission made, or found when it was a repetition.
    package var submitted: JobID?
    /// Nodes whose records changed, sorted.
    package var changedNodes: [NodeID] = []
    /// Whether the cluster's name, keyring, trusted authorities or revocations changed.
    package var changedTrust = false
}

/// Why a command was not accepted: one line for people, with the remedy.
package struct Refusal: Error, Sendable, Equatable, CustomStringConvertible {
    /// What kind of refusal, for programs.
    package enum Code: String, Sendable, Equatable {
        case notFound, conflict, invalid, exhausted
        /// It speaks of an incarnation or generation that is past; nothing needs to be done.
        case stale
    }

    package var code: Code
    /// One line for people: what was refused, why, and what to do instead.
    package var message: String
    package var description: String { message }

    /// Takes the values as they are.
    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
