import Checkpointing
import ClusterModel

/// Where complete checkpoints are kept: the boundary between the agent and its image store.
protocol CheckpointStore: Sendable {
    /// Compresses images and layer from memory and makes them durable; all or nothing. Cancelling the task forgets what it wrote.
    ///
    /// `onGrowing` is called when `growing` begins to give what is written; never for what is not sealed.
    func store(
        _ request: CheckpointRequest,
        folders: CheckpointFolders,
        hasLayer: Bool,
        moment: CheckpointMoment,
        onGrowing: @escaping @Sendable () -> Void
    ) async throws -> CheckpointRecord
    /// Every complete generation, by job.
    func catalog() async throws -> [CheckpointRecord]
    /// Looks whether index and data are there and fit each other; throws a `RestoreProblem`.
    func check(job: JobID, generation: CheckpointGeneration) async throws
    /// Brings images and layer back, every byte checked, and says what there is; throws a `RestoreProblem`.
    ///
    /// `lazily`: memory may be left out that can come after the restore.
    func extract(
        job: JobID,
        generation: CheckpointGeneration,
        into folders: CheckpointFolders,
        lazily: Bool
    ) async throws -> ExtractedImages
    func markDamaged(job: JobID, generation: CheckpointGeneration, reason: String) async throws
    /// Deletes a generation; one that is not there is no error. Throws an `ImageStoreError`; `busy` while it is being read.
    func remove(job: JobID, generation: CheckpointGeneration) async throws
    /// Whether the files of a generation are here, good or not.
    func contains(job: JobID, generation: CheckpointGeneration) async -> Bool
    /// Reads every byte, no faster than that; 0 means no bound. Throws a `CopyProblem`.
    func verify(job: JobID, generation: CheckpointGeneration, bytesPerSecond: Int64) async throws
    /// Reads every byte and names all damage, no faster than that; throws a `CopyProblem` when it is not here or cannot be read now.
    func examine(
        job: JobID,
        generation: CheckpointGeneration,
        bytesPerSecond: Int64,
        progress: @escaping @Sendable (ReadingProgress) -> Void
    ) async throws -> ImageExamination
    /// Opens a sealed generation for another node; throws a `CopyProblem`.
    ///
    /// What the other one holds of earlier generations is not sent.
    func outgoing(
        job: JobID,
        generation: CheckpointGeneration,
        held: [CheckpointGeneration]
    ) async throws -> any OutgoingCopy
    /// What there is of a generation that is being written now; nil when none is.
    func growing(job: JobID, generation: CheckpointGeneration) -> (any CopyData)?
    /// Begins to take in a copy; it and what it gives throw a `CopyProblem`.
    ///
    /// With `sharing`, data of earlier generations that is here need not come.
    func incoming(
        job: JobID,
        generation: CheckpointGeneration,
        sharing: Bool
    ) async throws -> any IncomingCopy
    /// Opens a generation to be written as a tar; it throws an `ImageStoreError`, and what it gives does.
    func export(
        job: JobID,
        generation: CheckpointGeneration,
        description: [UInt8],
        document: [UInt8]
    ) async throws -> any OutgoingArchive
    /// Begins to take in a tar; throws a `CopyProblem` when there is no room, and what it gives an `ImageStoreError`.
    func receiveArchive() async throws -> any IncomingArchive
    /// What all checkpoints here take and may take; nil when that cannot be told now.
    func space() async -> (used: ByteCount, bound: ByteCount)?
    /// Whether there is too little room left to keep copies for other nodes.
    func isNearlyFull() async -> Bool
}

/// One generation of the checkpoints of one job.
struct JobGeneration: Hashable, Sendable {
    var job: JobID
    var generation: CheckpointGeneration
}

/// What an extraction brought back.
struct ExtractedImages: Sendable {
    /// Whether the writable layer was not empty.
    var hasLayer: Bool
    /// The memory that was left out; nil when all of it is there.
    var pages: (any PageSource)?

    init(hasLayer: Bool, pages: (any PageSource)? = nil) { (self.hasLayer, self.pages) = (hasLayer, pages) }
}

/// When and in what state a checkpoint found the job.
struct CheckpointMoment: Sendable, Equatable {
    var taken: Timestamp
    /// CPU time of the ledger while the container stood still.
    var ledger: Duration
    var frozen: Duration
    /// From the request until now.
    var elapsed: Duration

    init(taken: Timestamp, ledger: Duration, frozen: Duration, elapsed: Duration) {
        (self.taken, self.ledger, self.frozen, self.elapsed) = (taken, ledger, frozen, elapsed)
    }
}

extension RestoreProblem: Error {}
