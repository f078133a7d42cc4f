package import ClusterModel
import GRDB
import Synchronization

/// What upkeep has to look at, so that it does not read everything each time.
struct Upkeep: Sendable {
    /// Up to where each band is thinned; nil before the first run, which looks at everything.
    var thinned: [Timestamp]?
    /// Jobs with new decisions; nil before the first run.
    var decided: Set<JobID>?
    /// The oldest sample that was written since the last run: a late one must be thinned too.
    var oldestSample: Timestamp?

    mutating func note(_ batch: StateBatch) {
        if decided != nil { decided?.formUnion(batch.decisions.map(\.decision.job)) }
        for sample in batch.samples { oldestSample = min(oldestSample ?? sample.time, sample.time) }
    }
}

extension StateStore {
    /// Looks at what is new since the last run, and at everything on the first.
    package func maintain(now: Timestamp) async throws {
        let work = upkeep.withLock { upkeep in
            let work = upkeep
            upkeep.thinned = SampleBand.all.map { now - $0.age }
            upkeep.decided = []
            upkeep.oldestSample = nil
            return work
        }
        let decided = work.decided.map { $0.sorted() }
        let bands = SampleBand.all.enumerated().map { rank, band in
            var from = work.thinned?[rank] ?? Timestamp(rawValue: .min)
            if let oldest = work.oldestSample { from = min(from, oldest) }
            return (band: band, from: from)
        }
        do {
            try await pool.write { database in
                for job in try SampleTable.jobs(database) {
                    for (band, from) in bands {
                        try SampleTable.thin(database, of: job, from: from, to: now - band.age, spacing: band.spacing)
                    }
                }
                for job in try decided ?? DecisionTable.jobs(database) {
                    try DecisionTable.trim(database, of: job, to: HistoryBounds.decisionsPerJob)
                }
            }
        } catch {
            // Nothing was thinned, so the next run must look at everything.
            upkeep.withLock { $0 = Upkeep() }
            throw StorageError.from(error, doing: "tidy up", file: file)
        }
    }
}
