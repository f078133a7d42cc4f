package import ClusterModel
import Foundation
import GRDB
import Synchronization

/// The store on disk: one SQLite file, written ahead of every effect.
///
/// WAL with `synchronous=FULL`: a commit returns after its pages are on the disk. One writer at a time takes everything that waits
/// into one transaction (group commit), so that the cost of a flush is shared; readers never wait for it.
package final class StateStore: StateStoring {
    private let pool: DatabasePool
    private let file: String
    private let lock: FolderLock
    private let queue: Mutex<WriteQueue>
    private let upkeep = Mutex(Upkeep())

    /// Batches that one transaction takes at most: bounds how long the first waits for the last.
    private static let batchesPerTransaction = 1024

    private init(pool: DatabasePool, file: String, lock: FolderLock, lastIndex: UInt64) {
        self.pool = pool
        self.file = file
        self.lock = lock
        queue = Mutex(WriteQueue(lastIndex: lastIndex))
    }

    /// Opens the store of a folder, which is made when it is missing, checks it, and returns what it holds.
    ///
    /// Throws a `StorageError` that says what to do when the folder is in use, unwritable, damaged or newer than this program.
    @concurrent
    package static func open(folder: String) async throws -> (store: StateStore, state: StoredState) {
        let lock = try FolderLock(folder: folder)
        let file = "\(folder)/state.sqlite"
        do {
            let pool = try DatabasePool(path: file, configuration: configuration)
            try await Schema.bringUp(pool, file: file)
            let state = try await pool.read { try LogTable.load($0, file: file) }
            return (StateStore(pool: pool, file: file, lock: lock, lastIndex: state.nextIndex - 1), state)
        } catch {
            throw StorageError.from(error, doing: "open", file: file)
        }
    }

    private static var configuration: Configuration {
        var configuration = Configuration()
        configuration.label = "godwit.state"
        configuration.maximumReaderCount = 2
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { database in
            // FULL: each commit is flushed, not only each WAL checkpoint. 2 MiB of cache: the log is written, hardly read.
            try database.execute(
                sql: "PRAGMA synchronous = FULL; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY"
            )
        }
        return configuration
    }
}

// MARK: Writing

/// What waits for the disk.
private struct WriteQueue: Sendable {
    struct Waiter: Sendable {
        var batch: StateBatch
        var continuation: CheckedContinuation<Void, any Error>
    }

    var waiting: [Waiter] = []
    var isWriting = false
    var isClosed = false
    /// The last index that is durable.
    var lastIndex: UInt64
    var transactions = 0
    var batches = 0

    init(lastIndex: UInt64) { self.lastIndex = lastIndex }
}

extension StateStore {
    package func commit(_ batch: StateBatch) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            enum Next { case nothing, write, refuse }
            let next = queue.withLock { queue -> Next in
                guard !queue.isClosed else { return .refuse }
                queue.waiting.append(WriteQueue.Waiter(batch: batch, continuation: continuation))
                guard !queue.isWriting else { return .nothing }
                queue.isWriting = true
                return .write
            }
            switch next {
            case .nothing: break
            case .refuse: continuation.resume(throwing: StorageError(.closed, "The store is closed."))
            case .write:
                pool.asyncWriteWithoutTransaction { [self] database in
                    while writeWaiting(database) {}
                }
            }
        }
    }

    /// Writes what waits in one transaction; false when nothing did.
    private func writeWaiting(_ database: Database) -> Bool {
        let (taken, lastIndex) = queue.withLock { queue in
            let taken = queue.waiting.prefix(Self.batchesPerTransaction)
            queue.waiting.removeFirst(taken.count)
            if taken.isEmpty { queue.isWriting = false }
            return (Array(taken), queue.lastIndex)
        }
        guard !taken.isEmpty else { return false }
        // A batch that does not continue the log is its caller's mistake and must not fail the others.
        var next = lastIndex + 1
        var group: [WriteQueue.Waiter] = []
        for waiter in taken {
            if let problem = waiter.batch.problem(expecting: next) {
                waiter.continuation.resume(throwing: problem)
            } else {
                next += UInt64(waiter.batch.entries.count)
                group.append(waiter)
            }
        }
        guard !group.isEmpty else { return true }
        do {
            try database.inTransaction(.immediate) {
                for waiter in group { try BatchWriter.write(waiter.batch, to: database) }
                return .commit
            }
            queue.withLock { queue in
                queue.lastIndex = next - 1
                queue.transactions += 1
                queue.batches += group.count
            }
            upkeep.withLock { upkeep in
                for waiter in group { upkeep.note(waiter.batch) }
            }
            for waiter in group { waiter.continuation.resume() }
        } catch {
            let error = StorageError.from(error, doing: "write", file: file)
            for waiter in group { waiter.continuation.resume(throwing: error) }
        }
        return true
    }

    package func save(_ snapshot: StoredSnapshot) async throws {
        let last = try queue.withLock { queue in
            if queue.isClosed { throw StorageError(.closed, "The store is closed.") }
            return queue.lastIndex
        }
        guard snapshot.index <= last else {
            throw StorageError(
                .outOfOrder,
                "A snapshot of log index \(snapshot.index) came when \(last) was the last durable one."
            )
        }
        do {
            try await pool.write { try LogTable.save(snapshot, to: $0) }
        } catch {
            throw StorageError.from(error, doing: "write the snapshot to", file: file)
        }
    }

    package func close() async throws {
        let wasOpen = queue.withLock { queue in
            defer { queue.isClosed = true }
            return !queue.isClosed
        }
        guard wasOpen else { return }
        // The writer's queue is in order: once this has run, everything that was accepted is written.
        var isDone = false
        while !isDone {
            try await pool.writeWithoutTransaction { _ in }
            isDone = queue.withLock { !$0.isWriting && $0.waiting.isEmpty }
        }
        // So that the file alone is the whole state, for whoever copies it. What cannot be moved now stays durable in the WAL.
        try? await pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
        do {
            try pool.close()
        } catch {
            throw StorageError.from(error, doing: "close", file: file)
        }
        lock.release()
    }
}

extension StateBatch {
    /// Why this batch cannot follow, or nil.
    func problem(expecting next: UInt64) -> StorageError? {
        for (offset, entry) in entries.enumerated() where entry.index != next + UInt64(offset) {
            return StorageError(
                .outOfOrder,
                "Log entry \(entry.index) came when \(next + UInt64(offset)) was expected: an entry before it was not written. "
                    + "Go back to the last durable state and apply again."
            )
        }
        return nil
    }
}

// MARK: Reading

extension StateStore {
    package func load() async throws -> StoredState {
        try await reading { [file] in try LogTable.load($0, file: file) }
    }

    package func decisions(of job: JobID?, after sequence: UInt64, limit: Int) async throws -> [NumberedDecision] {
        try await reading { try DecisionTable.read($0, of: job, after: sequence, limit: limit) }
    }

    package func samples(of job: JobID, from: Timestamp, limit: Int) async throws -> [JobSample] {
        try await reading { try SampleTable.read($0, of: job, from: from, limit: limit) }
    }

    package func statistics() async throws -> StorageStatistics {
        var statistics = try await reading { database in
            var statistics = StorageStatistics()
            statistics.logEntryCount = try Int.fetchOne(database, sql: "SELECT count(*) FROM log") ?? 0
            statistics.decisionCount = try Int.fetchOne(database, sql: "SELECT count(*) FROM decision") ?? 0
            statistics.sampleCount = try Int.fetchOne(database, sql: "SELECT count(*) FROM sample") ?? 0
            let pages = try Int64.fetchOne(database, sql: "PRAGMA page_count") ?? 0
            let pageBytes = try Int64.fetchOne(database, sql: "PRAGMA page_size") ?? 0
            statistics.diskUse = .bytes(pages * pageBytes)
            return statistics
        }
        queue.withLock { queue in
            statistics.transactionCount = queue.transactions
            statistics.batchCount = queue.batches
            statistics.lastIndex = queue.lastIndex
        }
        return statistics
    }

    private func reading<Value: Sendable>(_ body: @Sendable @escaping (Database) throws -> Value) async throws -> Value
    {
        do {
            return try await pool.read(body)
        } catch {
            throw StorageError.from(error, doing: "read", file: file)
        }
    }
}

// MARK: Upkeep

/// What upkeep has to look at, so that it does not read everything each time.
private struct Upkeep: Sendable {
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
