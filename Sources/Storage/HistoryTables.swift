import ClusterModel
import GRDB

/// Decisions with their reasons.
enum DecisionTable {
    static func write(_ numbered: NumberedDecision, to database: Database) throws {
        let decision = numbered.decision
        // A number that JSON cannot hold tells nobody anything.
        let numbers = decision.numbers.filter(\.value.isFinite)
        try database.cachedStatement(
            sql: """
                INSERT OR REPLACE INTO decision (sequence, job, time, kind, sentence, numbers) VALUES (?, ?, ?, ?, ?, ?)
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
