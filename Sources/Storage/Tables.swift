import ClusterModel
import Foundation
import GRDB

/// The layout of the file, and its growth from version to version.
enum Schema {
    /// Checks the file and brings it to the present layout.
    static func bringUp(_ pool: DatabasePool, file: String) async throws {
        let verdict = try await pool.writeWithoutTransaction { database in
            try String.fetchOne(database, sql: "PRAGMA quick_check(1)") ?? "no answer"
        }
        guard verdict == "ok" else { throw StorageError.damaged(file: file, detail: verdict) }
        let isNewer = try await pool.read { try migrator.hasBeenSuperseded($0) }
        guard !isNewer else {
            throw StorageError(
                .tooNew,
                "\(file) was written by a newer version of godwitd than this one. Start that version, or restore a copy of the "
                    + "folder from before the upgrade."
            )
        }
        try migrator.migrate(pool)
    }

    /// Migrations are never edited once they are released, only followed by new ones.
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1: log, snapshot, decisions, samples") { database in
            try database.execute(
                sql: """
                    CREATE TABLE log (
                        position INTEGER PRIMARY KEY,
                        term INTEGER NOT NULL,
                        checksum INTEGER NOT NULL,
                        command BLOB NOT NULL
                    );
                    CREATE TABLE snapshot (
                        position INTEGER PRIMARY KEY,
                        term INTEGER NOT NULL,
                        checksum INTEGER NOT NULL,
                        state BLOB NOT NULL
                    );
                    CREATE TABLE decision (
                        sequence INTEGER PRIMARY KEY,
                        job TEXT NOT NULL,
                        time INTEGER NOT NULL,
                        kind TEXT NOT NULL,
                        sentence TEXT NOT NULL,
                        numbers TEXT NOT NULL
                    );
                    CREATE INDEX decision_of_job ON decision (job, sequence);
                    CREATE TABLE sample (
                        job TEXT NOT NULL,
                        time INTEGER NOT NULL,
                        consumed INTEGER NOT NULL,
                        desired INTEGER NOT NULL,
                        allocation REAL NOT NULL,
                        usage REAL NOT NULL,
                        memory INTEGER NOT NULL,
                        PRIMARY KEY (job, time)
                    ) WITHOUT ROWID;
                    """
            )
        }
        return migrator
    }
}

/// Writes one batch within a transaction.
enum BatchWriter {
    static func write(_ batch: StateBatch, to database: Database) throws {
        for entry in batch.entries {
            try database.cachedStatement(sql: "INSERT INTO log (position, term, checksum, command) VALUES (?, ?, ?, ?)")
                .execute(arguments: [
                    Int64(entry.index), Int64(entry.term.rawValue), Int64(Checksum.crc32c(entry.command)),
                    Data(entry.command),
                ])
        }
        for numbered in batch.decisions { try DecisionTable.write(numbered, to: database) }
        for sample in batch.samples { try SampleTable.write(sample, to: database) }
        for job in batch.forgotten {
            try database.execute(sql: "DELETE FROM decision WHERE job = ?", arguments: [job.rawValue])
            try database.execute(sql: "DELETE FROM sample WHERE job = ?", arguments: [job.rawValue])
        }
    }
}

/// The replicated state: snapshot and log.
enum LogTable {
    static func load(_ database: Database, file: String) throws -> StoredState {
        var stored = StoredState()
        let newest = "SELECT position, term, checksum, state FROM snapshot ORDER BY position DESC LIMIT 1"
        if let row = try Row.fetchOne(database, sql: newest) {
            let position: Int64 = row[0]
            let bytes = try checked(row, what: "the snapshot of log index \(position)", file: file)
            stored.snapshot = StoredSnapshot(index: UInt64(position), term: term(row), state: bytes)
        }
        let from = stored.snapshot?.index ?? 0
        let log = "SELECT position, term, checksum, command FROM log WHERE position > ? ORDER BY position"
        let rows = try Row.fetchCursor(database, sql: log, arguments: [Int64(from)])
        while let row = try rows.next() {
            let position: Int64 = row[0]
            guard UInt64(position) == stored.nextIndex else {
                throw StorageError.damaged(
                    file: file,
                    detail: "log entry \(stored.nextIndex) is missing before \(position)"
                )
            }
            let bytes = try checked(row, what: "log entry \(position)", file: file)
            stored.entries.append(LogEntry(index: UInt64(position), term: term(row), command: bytes))
        }
        return stored
    }

    static func save(_ snapshot: StoredSnapshot, to database: Database) throws {
        try database.execute(
            sql: "INSERT OR REPLACE INTO snapshot (position, term, checksum, state) VALUES (?, ?, ?, ?)",
            arguments: [
                Int64(snapshot.index), Int64(snapshot.term.rawValue), Int64(Checksum.crc32c(snapshot.state)),
                Data(snapshot.state),
            ]
        )
        try database.execute(sql: "DELETE FROM snapshot WHERE position < ?", arguments: [Int64(snapshot.index)])
        try database.execute(sql: "DELETE FROM log WHERE position <= ?", arguments: [Int64(snapshot.index)])
    }

    private static func term(_ row: Row) -> Term {
        let term: Int64 = row[1]
        return Term(rawValue: UInt64(term))
    }

    private static func checked(_ row: Row, what: String, file: String) throws -> [UInt8] {
        let (checksum, data): (Int64, Data) = (row[2], row[3])
        let bytes = [UInt8](data)
        guard Int64(Checksum.crc32c(bytes)) == checksum else {
            throw StorageError.damaged(file: file, detail: "\(what) does not match its checksum")
        }
        return bytes
    }
}

/// Decisions with their reasons.
enum DecisionTable {
    static func write(_ numbered: NumberedDecision, to database: Database) throws {
        let decision = numbered.decision
        // A number that JSON cannot hold tells nobody anything.
        let numbers = decision.numbers.filter(\.value.isFinite)
        try database.cachedStatement(
            sql: """
                INSERT OR IGNORE INTO decision (sequence, job, time, kind, sentence, numbers) VALUES (?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            Int64(numbered.sequence), decision.job.rawValue, decision.time.rawValue, decision.kind.rawValue,
            decision.sentence, String(decoding: try StateCoding.encode(numbers), as: UTF8.self),
        ])
    }

    static func read(
        _ database: Database,
        of job: JobID?,
        after sequence: UInt64,
        limit: Int
    ) throws -> [NumberedDecision] {
        let condition = job == nil ? "sequence > ?" : "sequence > ? AND job = ?"
        let sql = """
            SELECT sequence, job, time, kind, sentence, numbers FROM decision WHERE \(condition) ORDER BY sequence DESC LIMIT ?
            """
        var arguments: StatementArguments = [Int64(clamping: sequence)]
        if let job { arguments += [job.rawValue] }
        arguments += [min(max(0, limit), HistoryBounds.rowsPerQuery)]
        let newestFirst = try Row.fetchAll(database, sql: sql, arguments: arguments).map { row in
            let (sequence, job, time): (Int64, String, Int64) = (row[0], row[1], row[2])
            let (kind, sentence, numbers): (String, String, String) = (row[3], row[4], row[5])
            return NumberedDecision(
                sequence: UInt64(sequence),
                decision: Decision(
                    time: Timestamp(rawValue: time),
                    job: JobID(rawValue: job),
                    // A kind that only a newer version knows is still a sentence worth reading.
                    kind: Decision.Kind(rawValue: kind) ?? .warned,
                    sentence: sentence,
                    numbers: try StateCoding.decode([Decision.Number].self, from: Array(numbers.utf8))
                )
            )
        }
        return newestFirst.reversed()
    }

    static func jobs(_ database: Database) throws -> [JobID] { try distinctJobs(database, table: "decision") }

    /// Deletes all but the newest decisions of a job.
    static func trim(_ database: Database, of job: JobID, to count: Int) throws {
        try database.execute(
            sql: """
                DELETE FROM decision WHERE job = ?1 AND sequence <=
                    (SELECT sequence FROM decision WHERE job = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)
                """,
            arguments: [job.rawValue, count]
        )
    }
}

/// Samples, thinned with age.
enum SampleTable {
    static func write(_ sample: JobSample, to database: Database) throws {
        try database.cachedStatement(
            sql: """
                INSERT OR REPLACE INTO sample (job, time, consumed, desired, allocation, usage, memory)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            sample.job.rawValue, sample.time.rawValue, sample.consumed.nanoseconds, sample.desired.nanoseconds,
            sample.allocation.rawValue, sample.usage.rawValue, sample.memory.rawValue,
        ])
    }

    static func read(_ database: Database, of job: JobID, from: Timestamp, limit: Int) throws -> [JobSample] {
        let sql = """
            SELECT time, consumed, desired, allocation, usage, memory FROM sample
            WHERE job = ? AND time >= ? ORDER BY time DESC LIMIT ?
            """
        let limit = min(max(0, limit), HistoryBounds.rowsPerQuery)
        let newestFirst = try Row.fetchAll(database, sql: sql, arguments: [job.rawValue, from.rawValue, limit]).map {
            row in
            JobSample(
                job: job,
                time: Timestamp(rawValue: row[0]),
                consumed: .nanoseconds(row[1] as Int64),
                desired: .nanoseconds(row[2] as Int64),
                allocation: VCPUCount(row[3] as Double),
                usage: VCPUCount(row[4] as Double),
                memory: ByteCount(rawValue: row[5])
            )
        }
        return newestFirst.reversed()
    }

    static func jobs(_ database: Database) throws -> [JobID] { try distinctJobs(database, table: "sample") }

    /// Keeps the first sample of each span of a job's history between two moments.
    static func thin(_ database: Database, of job: JobID, from: Timestamp, to: Timestamp, spacing: Duration) throws {
        // The span that `from` falls into began before it, and its first sample must still be found.
        try database.cachedStatement(
            sql: """
                DELETE FROM sample WHERE job = ?1 AND time >= ?2 AND time < ?3 AND EXISTS (
                    SELECT 1 FROM sample AS earlier
                    WHERE earlier.job = ?1 AND earlier.time < sample.time AND earlier.time >= sample.time - sample.time % ?4)
                """
        ).execute(arguments: [job.rawValue, from.rawValue, to.rawValue, spacing.nanoseconds])
    }
}

/// The jobs of a table whose primary or secondary key begins with `job`, sorted; one seek for each, not a scan.
private func distinctJobs(_ database: Database, table: String) throws -> [JobID] {
    try String.fetchAll(
        database,
        sql: """
            WITH RECURSIVE found (job) AS (
                SELECT min(job) FROM \(table)
                UNION ALL
                SELECT (SELECT min(job) FROM \(table) WHERE job > found.job) FROM found WHERE found.job IS NOT NULL)
            SELECT job FROM found WHERE job IS NOT NULL
            """
    ).map { JobID(rawValue: $0) }
}
