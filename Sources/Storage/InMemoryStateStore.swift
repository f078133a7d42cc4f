package import ClusterModel
import Synchronization

/// The twin without a disk: the same promises while the process lives, for tests and simulation.
package final class InMemoryStateStore: StateStoring {
    private struct Contents: Sendable {
        var stored: StoredState
        var decisions: [UInt64: Decision] = [:]
        var samples: [JobID: [Timestamp: JobSample]] = [:]
        var statistics = StorageStatistics()
        var isClosed = false
        var failures: [StorageError] = []
    }

    private let contents: Mutex<Contents>

    /// Starts from what another store held.
    package init(_ stored: StoredState = StoredState()) { contents = Mutex(Contents(stored: stored)) }

    /// Makes the next writes fail, one for each error, as a full or broken disk would.
    package func fail(with errors: [StorageError]) {
        contents.withLock { $0.failures += errors }
    }

    private func writing<Value: Sendable>(_ body: (inout Contents) throws -> Value) throws -> Value {
        try contents.withLock { contents in
            if contents.isClosed { throw StorageError(.closed, "The store is closed.") }
            if !contents.failures.isEmpty { throw contents.failures.removeFirst() }
            return try body(&contents)
        }
    }

    private func reading<Value: Sendable>(_ body: (Contents) -> Value) throws -> Value {
        try contents.withLock { contents in
            if contents.isClosed { throw StorageError(.closed, "The store is closed.") }
            return body(contents)
        }
    }

    package func load() async throws -> StoredState { try reading { $0.stored } }

    package func commit(_ batch: StateBatch) async throws {
        try writing { contents in
            let entries = contents.stored.entries
            var range = LogRange(contents.stored)
            let deletion = try range.take(batch) { index in entries.first { $0.index == index }?.term }
            contents.stored.member = range.member
            if let hardState = batch.hardState { contents.stored.hardState = hardState }
            if let snapshot = batch.snapshot { contents.stored.snapshot = snapshot }
            if let through = deletion.through {
                contents.stored.retained = []
                contents.stored.entries.removeAll { $0.index <= through }
            }
            if let from = deletion.from { contents.stored.entries.removeAll { $0.index >= from } }
            contents.stored.entries += batch.entries
            for numbered in batch.decisions {
                var decision = numbered.decision
                decision.numbers.removeAll { !$0.value.isFinite }
                contents.decisions[numbered.sequence] = decision
            }
            for sample in batch.samples { contents.samples[sample.job, default: [:]][sample.time] = sample }
            for job in batch.forgotten {
                contents.samples[job] = nil
                contents.decisions = contents.decisions.filter { $0.value.job != job }
            }
            contents.statistics.batchCount += 1
            contents.statistics.transactionCount += 1
        }
    }

    package func save(_ snapshot: StoredSnapshot, keeping count: Int) async throws {
        try writing { contents in
            var range = LogRange(contents.stored)
            guard let through = try range.take(snapshot, keeping: count) else { return }
            let log = contents.stored.retained + contents.stored.entries
            contents.stored.snapshot = snapshot
            contents.stored.retained = log.filter { $0.index > through && $0.index <= snapshot.index }
            contents.stored.entries = log.filter { $0.index > snapshot.index }
        }
    }

    package func decisions(of job: JobID?, after sequence: UInt64, limit: Int) async throws -> [NumberedDecision] {
        try reading { contents in
            contents.decisions.filter { $0.key > sequence && (job == nil || $0.value.job == job) }
                .map { NumberedDecision(sequence: $0.key, decision: $0.value) }
                .sorted { $0.sequence < $1.sequence }
                .suffix(min(max(0, limit), HistoryBounds.rowsPerQuery))
        }
    }

    package func samples(of job: JobID, from: Timestamp, limit: Int) async throws -> [JobSample] {
        try reading { contents in
            (contents.samples[job] ?? [:]).values.filter { $0.time >= from }.sorted { $0.time < $1.time }
                .suffix(min(max(0, limit), HistoryBounds.rowsPerQuery))
        }
    }

    package func maintain(now: Timestamp) async throws {
        try writing { contents in
            for job in contents.samples.keys.sorted() {
                for band in SampleBand.all {
                    var seen: Set<Int64> = []
                    for time in (contents.samples[job] ?? [:]).keys.sorted() {
                        let isFirst = seen.insert(time.rawValue / band.spacing.nanoseconds).inserted
                        if !isFirst, time < now - band.age { contents.samples[job]?[time] = nil }
                    }
                }
            }
            let byJob = Dictionary(grouping: contents.decisions.keys) { contents.decisions[$0]?.job }
            for sequences in byJob.values {
                for old in sequences.sorted().dropLast(HistoryBounds.decisionsPerJob) { contents.decisions[old] = nil }
            }
        }
    }

    package func statistics() async throws -> StorageStatistics {
        try reading { contents in
            var statistics = contents.statistics
            statistics.logEntryCount = contents.stored.retained.count + contents.stored.entries.count
            statistics.decisionCount = contents.decisions.count
            statistics.sampleCount = contents.samples.values.reduce(0) { $0 + $1.count }
            statistics.lastIndex = contents.stored.nextIndex - 1
            return statistics
        }
    }

    package func close() async throws {
        contents.withLock { $0.isClosed = true }
    }
}
