import Checkpointing
import ClusterModel

/// Where complete checkpoints are kept: the boundary between the agent and its image store.
protocol CheckpointStore: Sendable {
    /// Compresses images and layer from memory and makes them durable; all or nothing. Cancelling the task forgets what it wrote.
    func store(
        _ request: CheckpointRequest,
        folders: CheckpointFolders,
        hasLayer: Bool,
        moment: CheckpointMoment
    ) async throws -> CheckpointRecord
    /// Every complete generation, by job.
    func catalog() async throws -> [CheckpointRecord]
    /// Looks whether index and data are there and fit each other; throws a `RestoreProblem`.
    func check(job: JobID, generation: CheckpointGeneration) async throws
    /// Brings images and layer back, every byte checked, and says whether there is a layer; throws a `RestoreProblem`.
    func extract(job: JobID, generation: CheckpointGeneration, into folders: CheckpointFolders) async throws -> Bool
    func markDamaged(job: JobID, generation: CheckpointGeneration, reason: String) async throws
    /// Deletes a generation; one that is not there is no error.
    func remove(job: JobID, generation: CheckpointGeneration) async throws
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
