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
        migrator.registerMigration("2: hard state, member, metadata of snapshots") { database in
            // The checksum of no bytes is 0.
            try database.execute(
                sql: """
                    ALTER TABLE snapshot ADD COLUMN metadata BLOB NOT NULL DEFAULT x'';
                    ALTER TABLE snapshot ADD COLUMN metadataChecksum INTEGER NOT NULL DEFAULT 0;
                    CREATE TABLE hardState (
                        only INTEGER PRIMARY KEY CHECK (only = 1),
                        checksum INTEGER NOT NULL,
                        bytes BLOB NOT NULL
                    );
                    CREATE TABLE member (
                        only INTEGER PRIMARY KEY CHECK (only = 1),
                        checksum INTEGER NOT NULL,
                        number BLOB NOT NULL
                    );
                    """
            )
        }
        return migrator
    }
}
