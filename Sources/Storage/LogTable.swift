import ClusterModel
import Foundation
import GRDB

/// The replicated state: member, hard state, snapshot and log.
///
/// Numbers that a peer chose are kept by their bits: no number that it sends may stop this process.
enum LogTable {
    // MARK: Writing

    /// Writes one batch within a transaction, after the deletion that `LogRange` found necessary.
    static func write(_ batch: StateBatch, deleting deletion: LogRange.Deletion, to database: Database) throws {
        if let member = batch.member {
            try writeOnly("member (only, checksum, number)", bytes(of: member), to: database)
        }
        if let hardState = batch.hardState {
            try writeOnly("hardState (only, checksum, bytes)", hardState, to: database)
        }
        if let snapshot = batch.snapshot { try write(snapshot, to: database) }
        if let through = deletion.through { try delete("position <= ?", through, from: database) }
        if let from = deletion.from { try delete("position >= ?", from, from: database) }
        for entry in batch.entries {
            try database.cachedStatement(sql: "INSERT INTO log (position, term, checksum, command) VALUES (?, ?, ?, ?)")
                .execute(arguments: [
                    Int64(entry.index), Int64(bitPattern: entry.term.rawValue), Int64(Checksum.crc32c(entry.command)),
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

    /// Writes a snapshot and deletes the log up to an index.
    static func save(_ snapshot: StoredSnapshot, deletingThrough through: UInt64, to database: Database) throws {
        try write(snapshot, to: database)
        try delete("position <= ?", through, from: database)
    }

    private static func write(_ snapshot: StoredSnapshot, to database: Database) throws {
        try database.execute(sql: "DELETE FROM snapshot")
        try database.execute(
            sql: """
                INSERT INTO snapshot (position, term, checksum, state, metadataChecksum, metadata) VALUES (?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                Int64(snapshot.index), Int64(bitPattern: snapshot.term.rawValue),
                Int64(Checksum.crc32c(snapshot.state)), Data(snapshot.state),
                Int64(Checksum.crc32c(snapshot.metadata)), Data(snapshot.metadata),
            ]
        )
    }

    private static func writeOnly(_ columns: String, _ bytes: [UInt8], to database: Database) throws {
        try database.cachedStatement(sql: "INSERT OR REPLACE INTO \(columns) VALUES (1, ?, ?)")
            .execute(arguments: [Int64(Checksum.crc32c(bytes)), Data(bytes)])
    }

    private static func delete(_ condition: String, _ index: UInt64, from database: Database) throws {
        try database.cachedStatement(sql: "DELETE FROM log WHERE \(condition)").execute(arguments: [Int64(index)])
    }

    // MARK: Reading

    static func load(_ database: Database, file: String) throws -> StoredState {
        var stored = StoredState()
        let member = try Row.fetchOne(database, sql: "SELECT checksum, number FROM member")
        stored.member = try member.map { try number(of: checked($0, 0, 1, what: "the member number", file: file)) }
        let hardState = try Row.fetchOne(database, sql: "SELECT checksum, bytes FROM hardState")
        stored.hardState = try hardState.map { try checked($0, 0, 1, what: "the hard state", file: file) }
        let newest = """
            SELECT position, term, checksum, state, metadataChecksum, metadata FROM snapshot ORDER BY position DESC LIMIT 1
            """
        if let row = try Row.fetchOne(database, sql: newest) {
            let position: Int64 = row[0]
            let what = "the snapshot of log index \(position)"
            stored.snapshot = StoredSnapshot(
                index: UInt64(position),
                term: term(row),
                metadata: try checked(row, 4, 5, what: "the metadata of \(what)", file: file),
                state: try checked(row, 2, 3, what: what, file: file)
            )
        }
        let snapshotIndex = stored.snapshot?.index ?? 0
        var expected: UInt64?
        let log = "SELECT position, term, checksum, command FROM log ORDER BY position"
        let rows = try Row.fetchCursor(database, sql: log)
        while let row = try rows.next() {
            let index = UInt64(row[0] as Int64)
            // What was kept of the log before the snapshot may begin anywhere.
            let isFollowing = index == expected ?? min(index, snapshotIndex + 1)
            guard isFollowing else {
                let missing = expected ?? snapshotIndex + 1
                throw StorageError.damaged(file: file, detail: "log entry \(missing) is missing before \(index)")
            }
            let command = try checked(row, 2, 3, what: "log entry \(index)", file: file)
            let entry = LogEntry(index: index, term: term(row), command: command)
            if index <= snapshotIndex { stored.retained.append(entry) } else { stored.entries.append(entry) }
            expected = index + 1
        }
        if let expected, expected <= snapshotIndex {
            let detail = "log entry \(expected) is missing before the snapshot of log index \(snapshotIndex)"
            throw StorageError.damaged(file: file, detail: detail)
        }
        return stored
    }

    /// The term of a stored entry; nil when there is none.
    static func term(of index: UInt64, in database: Database) throws -> Term? {
        try Int64.fetchOne(database, sql: "SELECT term FROM log WHERE position = ?", arguments: [Int64(index)])
            .map { Term(rawValue: UInt64(bitPattern: $0)) }
    }

    private static func term(_ row: Row) -> Term { Term(rawValue: UInt64(bitPattern: row[1] as Int64)) }

    private static func checked(
        _ row: Row,
        _ checksumColumn: Int,
        _ bytesColumn: Int,
        what: String,
        file: String
    ) throws -> [UInt8] {
        let (checksum, data): (Int64, Data) = (row[checksumColumn], row[bytesColumn])
        let bytes = [UInt8](data)
        guard Int64(Checksum.crc32c(bytes)) == checksum else {
            throw StorageError.damaged(file: file, detail: "\(what) does not match its checksum")
        }
        return bytes
    }

    private static func bytes(of number: UInt64) -> [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
    }

    private static func number(of bytes: [UInt8]) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
}
