import Checkpointing
import ClusterModel
import ClusterState

extension JobRecord {
    /// The interval that holds because the job gives none; nil for a job that never goes on from a checkpoint, and before anything is known.
    ///
    /// `memory` is what its container has in use.
    func costInterval(memory: ByteCount?, now: Timestamp) -> CostInterval? {
        guard specification.checkpoint.interval == nil, specification.checkpoint.recovery == .restore,
            let first = firstStarted
        else { return nil }
        let newest = catalog.last
        // A container each for the first start, retries and iterations; every other one follows a loss or a restore.
        let losses = Int(incarnation.rawValue) - 1 - retriesUsed - completedIterations
        return CostInterval(
            frozen: newest?.frozen,
            total: newest?.total,
            memory: memory,
            running: now - first,
            losses: losses
        )
    }
}
