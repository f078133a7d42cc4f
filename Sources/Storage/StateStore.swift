package import ClusterModel
import Foundation
import GRDB
import Synchronization

/// The store on disk: one SQLite file, written ahead of every effect.
///
/// WAL with `synchronous=FULL`: a commit returns after its pages are on the disk. One writer at a time takes everything that waits
/// into one transaction (group commit), so that the cost of a flush is shared; readers never wait for it.
package final class StateStore: StateStoring {
    let pool: DatabasePool
    let file: String
    let lock: FolderLock
    let queue: Mutex<WriteQueue>
    let upkeep = Mutex(Upkeep())

    private init(pool: DatabasePool, file: String, lock: FolderLock, range: LogRange) {
        self.pool = pool
        self.file = file
        self.lock = lock
        queue = Mutex(WriteQueue(range: range))
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
            try await flushEveryCommit(pool, file: file)
            try await Schema.bringUp(pool, file: file)
            try await pool.writeWithoutTransaction { _ in WALReserve.fill(database: file) }
            let state = try await pool.read { try LogTable.load($0, file: file) }
            return (StateStore(pool: pool, file: file, lock: lock, range: LogRange(state)), state)
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
            // 2 MiB of cache: the log is written, hardly read.
            try database.execute(sql: "PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY")
        }
        return configuration
    }

    /// FULL: each commit is flushed, not only each WAL checkpoint.
    ///
    /// Only once the pool is there: GRDB sets NORMAL when it turns the WAL on, after it has prepared the connection.
    private static func flushEveryCommit(_ pool: DatabasePool, file: String) async throws {
        let level = try await pool.writeWithoutTransaction { database in
            try database.execute(sql: "PRAGMA synchronous = FULL")
            try database.execute(sql: "PRAGMA journal_size_limit = \(WALReserve.byteLimit)")
            return try Int.fetchOne(database, sql: "PRAGMA synchronous")
        }
        guard level == 2 else {
            throw StorageError(
                .failed,
                "SQLite does not flush each commit of \(file): this build of it cannot be used."
            )
        }
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
            statistics.lastIndex = queue.range.lastIndex
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
