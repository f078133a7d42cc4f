package import ClusterModel

/// Which generations of a job's checkpoints stay.
///
/// One rule is above the others: the newest good generation of a job is never retired, whatever the bounds say. A bound that
/// cannot be kept without that is exceeded, and the store's own space check speaks before the disk is full.
package struct RetentionPolicy: Sendable, Equatable {
    /// Complete generations kept of each job; at least 1.
    package var generations: Int
    /// What all jobs' checkpoints together may occupy; nil means only the disk bounds them.
    package var totalLimit: ByteCount?

    /// Makes a policy; a count below 1 is taken as 1.
    package init(generations: Int = 2, totalLimit: ByteCount? = nil) {
        self.generations = max(1, generations)
        self.totalLimit = totalLimit
    }

    /// What to remove of one job's checkpoints, oldest first.
    ///
    /// Complete generations beyond `generations` go. A damaged one goes once a newer good one exists; until then it stays listed, so that
    /// its owner sees that the latest checkpoint was lost, and why.
    package func retired(among records: [CheckpointRecord]) -> [CheckpointGeneration] {
        let good = records.filter { $0.state == .complete }.map(\.generation).sorted()
        let kept = good.suffix(generations)
        return records.filter { record in
            switch record.state {
            case .complete: !kept.contains(record.generation)
            case .damaged: good.last.map { record.generation < $0 } ?? false
            }
        }.map(\.generation).sorted()
    }

    /// What to remove so that all checkpoints together keep `totalLimit` when `arriving` more bytes come, in the order of removal.
    ///
    /// First what each job's own rule retires, then the oldest checkpoints of any job, never a job's newest good one.
    package func retired(
        amongAll records: [CheckpointRecord],
        arriving: ByteCount = .zero
    ) -> [CheckpointRecord] {
        let byJob = Dictionary(grouping: records, by: \.job)
        var gone: [CheckpointRecord] = []
        var spare: [CheckpointRecord] = []
        for (_, own) in byJob.sorted(by: { $0.key < $1.key }) {
            let retired = retired(among: own)
            gone += own.filter { retired.contains($0.generation) }.sorted { $0.generation < $1.generation }
            let newest = own.filter { $0.state == .complete }.map(\.generation).max()
            spare += own.filter { !retired.contains($0.generation) && $0.generation != newest }
        }
        guard let totalLimit else { return gone }
        func occupied(_ records: [CheckpointRecord]) -> Int64 { records.reduce(0) { $0 + $1.storedBytes.rawValue } }
        var rest = occupied(records) - occupied(gone) + arriving.rawValue
        spare.sort { ($0.taken, $0.job, $0.generation) < ($1.taken, $1.job, $1.generation) }
        for record in spare where rest > totalLimit.rawValue {
            gone.append(record)
            rest -= record.storedBytes.rawValue
        }
        return gone
    }
}
