import ClusterModel
import Foundation
import GRDB
import Storage
import Testing

@Suite struct StateStoreTests {
    let scratch = Scratch()

    private func reopen(_ store: StateStore) async throws -> (store: StateStore, state: StoredState) {
        try await store.close()
        return try await StateStore.open(folder: scratch.path)
    }

    @Test func everythingIsThereAfterReopening() async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path)
        try await store.commit(
            StateBatch(entries: [entry(1), entry(2)], decisions: [decision(1)], samples: [sample(at: 3)])
        )
        try await store.save(StoredSnapshot(index: 1, term: term, state: Array("state".utf8)))
        let (again, stored) = try await reopen(store)
        #expect(stored.snapshot == StoredSnapshot(index: 1, term: term, state: Array("state".utf8)))
        #expect(stored.entries == [entry(2)])
        #expect(try await again.decisions(of: nil, after: 0, limit: 9) == [decision(1)])
        #expect(try await again.samples(of: jobA, from: .epoch, limit: 9) == [sample(at: 3)])
        try await again.commit(StateBatch(entries: [entry(3)]))
        try await again.close()
    }

    @Test func oneAgentHoldsAFolder() async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path)
        let error = await #expect(throws: StorageError.self) { try await StateStore.open(folder: scratch.path) }
        #expect(error?.code == .inUse)
        #expect(error?.description.contains("process \(ProcessInfo.processInfo.processIdentifier)") == true)
        let (again, _) = try await reopen(store)
        try await again.close()
    }

    @Test func aFolderThatCannotBeMadeIsNamed() async throws {
        let error = await #expect(throws: StorageError.self) {
            try await StateStore.open(folder: "/proc/nowhere/state")
        }
        #expect(error?.code == .folder)
        #expect(error?.description.contains("/proc/nowhere") == true)
        // A file stands in its place.
        try FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        try Data().write(to: URL(filePath: scratch.path + "/taken"))
        let taken = await #expect(throws: StorageError.self) {
            try await StateStore.open(folder: scratch.path + "/taken")
        }
        #expect(taken?.code == .folder)
    }

    @Test func folderAndFileAreForTheirOwnerOnly() async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path + "/deep/er")
        let attributes = try FileManager.default.attributesOfItem(atPath: scratch.path + "/deep/er")
        #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o700)
        try await store.close()
    }

    @Test func changedBytesAreFound() async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path)
        try await store.commit(StateBatch(entries: [entry(1), entry(2)]))
        try await store.close()
        // SQLite itself has no objection to other bytes in a cell.
        let database = try DatabaseQueue(path: scratch.file)
        try await database.write { try $0.execute(sql: "UPDATE log SET command = x'00' WHERE position = 2") }
        try database.close()
        let error = await #expect(throws: StorageError.self) { try await StateStore.open(folder: scratch.path) }
        #expect(error?.code == .damaged)
        #expect(error?.description.contains("log entry 2 does not match its checksum") == true)
        #expect(error?.description.contains("Move the folder aside") == true)
    }

    @Test func aGapInTheLogIsFound() async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path)
        try await store.commit(StateBatch(entries: [entry(1), entry(2), entry(3)]))
        try await store.close()
        let database = try DatabaseQueue(path: scratch.file)
        try await database.write { try $0.execute(sql: "DELETE FROM log WHERE position = 2") }
        try database.close()
        let error = await #expect(throws: StorageError.self) { try await StateStore.open(folder: scratch.path) }
        #expect(error?.description.contains("log entry 2 is missing") == true)
    }

    @Test func aFileThatIsNoDatabaseIsFound() async throws {
        try FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        try Data(repeating: 0x5A, count: 8192).write(to: URL(filePath: scratch.file))
        let error = await #expect(throws: StorageError.self) { try await StateStore.open(folder: scratch.path) }
        #expect(error?.code == .damaged)
        // The lock is free again.
        try FileManager.default.removeItem(atPath: scratch.file)
        try await StateStore.open(folder: scratch.path).store.close()
    }

    @Test func overwrittenPagesNeverServeOtherBytes() async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path)
        let entries = (1...300).map { entry($0, String(repeating: "x", count: 200)) }
        try await store.commit(StateBatch(entries: entries))
        try await store.close()
        let whole = try Data(contentsOf: URL(filePath: scratch.file))
        #expect(whole.count > 60_000, "the file alone holds the log")
        var generator = SeededGenerator(seed: 5)
        var found = 0
        for _ in 0..<60 {
            var bytes = whole
            let at = Int(generator.next() % UInt64(bytes.count - 64))
            for offset in 0..<64 { bytes[at + offset] = UInt8(truncatingIfNeeded: generator.next()) }
            try bytes.write(to: URL(filePath: scratch.file))
            for suffix in ["-wal", "-shm"] { try? FileManager.default.removeItem(atPath: scratch.file + suffix) }
            do {
                let (damaged, stored) = try await StateStore.open(folder: scratch.path)
                // Free space and the tables of samples may take harm unseen; the log may not.
                #expect(stored.entries.count == entries.count && stored.entries == entries)
                try await damaged.close()
            } catch {
                found += 1
                #expect(error is StorageError)
            }
        }
        #expect(found > 30)
    }

    @Test func aNewerLayoutIsRefused() async throws {
        try await StateStore.open(folder: scratch.path).store.close()
        let database = try DatabaseQueue(path: scratch.file)
        try await database.write { try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('99: from the future')") }
        try database.close()
        let error = await #expect(throws: StorageError.self) { try await StateStore.open(folder: scratch.path) }
        #expect(error?.code == .tooNew)
    }

    /// A file as the first version left it.
    private static let firstLayout = """
        CREATE TABLE grdb_migrations (identifier TEXT NOT NULL PRIMARY KEY);
        INSERT INTO grdb_migrations VALUES ('1: log, snapshot, decisions, samples');
        CREATE TABLE log (position INTEGER PRIMARY KEY, term INTEGER NOT NULL, checksum INTEGER NOT NULL, command BLOB NOT NULL);
        CREATE TABLE snapshot (position INTEGER PRIMARY KEY, term INTEGER NOT NULL, checksum INTEGER NOT NULL, state BLOB NOT NULL);
        CREATE TABLE decision (sequence INTEGER PRIMARY KEY, job TEXT NOT NULL, time INTEGER NOT NULL, kind TEXT NOT NULL,
            sentence TEXT NOT NULL, numbers TEXT NOT NULL);
        CREATE INDEX decision_of_job ON decision (job, sequence);
        CREATE TABLE sample (job TEXT NOT NULL, time INTEGER NOT NULL, consumed INTEGER NOT NULL, desired INTEGER NOT NULL,
            allocation REAL NOT NULL, usage REAL NOT NULL, memory INTEGER NOT NULL, PRIMARY KEY (job, time)) WITHOUT ROWID;
        -- The checksums are CRC-32C of the texts.
        INSERT INTO snapshot VALUES (7, 1, 1386080436, CAST('the state' AS BLOB));
        INSERT INTO log VALUES (8, 1, 1674111824, CAST('command 8' AS BLOB)), (9, 1, 2443405395, CAST('command 9' AS BLOB));
        INSERT INTO decision VALUES (3, 'aaaaaaaaaaaa', 0, 'resized', 'Decision 3.', '[{"name":"slackSeconds","value":1}]');
        INSERT INTO sample VALUES ('aaaaaaaaaaaa', 3000000000, 1500000000, 7000000000, 1.25, 0.75, 67108864);
        """

    @Test func aFileOfTheFirstLayoutKeepsWhatItHolds() async throws {
        try FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        let database = try DatabaseQueue(path: scratch.file)
        try await database.write { try $0.execute(sql: Self.firstLayout) }
        try database.close()
        let (store, stored) = try await StateStore.open(folder: scratch.path)
        let snapshot = StoredSnapshot(index: 7, term: term, state: Array("the state".utf8))
        #expect(stored == StoredState(snapshot: snapshot, entries: [entry(8), entry(9)]))
        #expect(try await store.decisions(of: nil, after: 0, limit: 9) == [decision(3)])
        #expect(try await store.samples(of: jobA, from: .epoch, limit: 9) == [sample(at: 3)])
        // And goes on as a member of a group.
        let metadata = Array("members".utf8)
        let founding = StoredSnapshot(index: 9, term: term, metadata: metadata, state: Array("later".utf8))
        try await store.commit(StateBatch(member: 12, hardState: [1], snapshot: founding, entries: [entry(10)]))
        let (again, later) = try await reopen(store)
        #expect(later == StoredState(member: 12, hardState: [1], snapshot: founding, entries: [entry(10)]))
        try await again.close()
    }

    @Test(arguments: [
        ("UPDATE hardState SET bytes = x'00'", "the hard state does not match"),
        ("UPDATE member SET number = x'0000000000000006'", "the member number does not match"),
        ("UPDATE snapshot SET metadata = x'00'", "the metadata of the snapshot of log index 3 does not match"),
        ("UPDATE snapshot SET state = x'00'", "the snapshot of log index 3 does not match"),
        ("DELETE FROM log WHERE position = 2", "log entry 2 is missing before 3"),
        ("DELETE FROM log WHERE position = 3", "log entry 3 is missing before 4"),
        ("DELETE FROM log WHERE position IN (1, 2, 3, 4)", "log entry 4 is missing before 5"),
        ("DELETE FROM log WHERE position > 2", "log entry 3 is missing before the snapshot"),
    ])
    func changesOfWhatRaftRestsOnAreFound(change: String, finding: String) async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path)
        let entries = (1...5).map { entry($0) }
        try await store.commit(StateBatch(member: 5, hardState: [1, 2], entries: entries))
        try await store.save(StoredSnapshot(index: 3, term: term, metadata: [3], state: [4]), keeping: 3)
        try await store.close()
        let database = try DatabaseQueue(path: scratch.file)
        try await database.write { try $0.execute(sql: change) }
        try database.close()
        let error = await #expect(throws: StorageError.self) { try await StateStore.open(folder: scratch.path) }
        #expect(error?.code == .damaged)
        #expect(error?.description.contains(finding) == true, "\(error?.description ?? "")")
    }

    @Test func aWALCutAnywhereLeavesABeginningOfTheLog() async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path)
        for index in 1...40 {
            try await store.commit(StateBatch(entries: [entry(UInt64(index))], decisions: [decision(UInt64(index))]))
        }
        // As a power cut leaves them: the file as it was, the newest pages of the WAL missing or torn.
        let file = try Data(contentsOf: URL(filePath: scratch.file))
        // Without the zeros that are room for later.
        let room = try Data(contentsOf: URL(filePath: scratch.file + "-wal"))
        let wal = room.prefix((room.lastIndex { $0 != 0 } ?? 0) + 1)
        try await store.close()
        var generator = SeededGenerator(seed: 3)
        var lengths: Set<Int> = []
        for _ in 0..<60 {
            let torn = Scratch()
            try FileManager.default.createDirectory(atPath: torn.path, withIntermediateDirectories: true)
            try file.write(to: URL(filePath: torn.file))
            var rest = wal.prefix(Int(generator.next() % UInt64(wal.count + 1)))
            if generator.next() % 2 == 0 {
                rest.append(Data((0..<500).map { _ in UInt8(truncatingIfNeeded: generator.next()) }))
            }
            try rest.write(to: URL(filePath: torn.file + "-wal"))
            let (cut, stored) = try await StateStore.open(folder: torn.path)
            #expect(stored.entries == (0..<stored.entries.count).map { entry(UInt64($0 + 1)) })
            #expect(try await cut.decisions(of: nil, after: 0, limit: 99).count == stored.entries.count)
            lengths.insert(stored.entries.count)
            try await cut.close()
        }
        #expect(lengths.count > 10)
    }

    @Test func aFullDiskKeepsNothingOfTheBatchAndRecovers() async throws {
        try FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        try run("mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", scratch.path)
        defer { try? run("umount", "-l", scratch.path) }
        let (store, _) = try await StateStore.open(folder: scratch.path + "/state")
        var last: UInt64 = 0
        var full: StorageError?
        while full == nil {
            do {
                let command = [UInt8](repeating: 7, count: 20_000)
                try await store.commit(StateBatch(entries: [LogEntry(index: last + 1, term: term, command: command)]))
                last += 1
            } catch { full = error as? StorageError }
            try #require(last < 1000, "the disk never filled")
        }
        #expect(full?.code == .full)
        #expect(full?.description.contains("Free some space") == true)
        #expect(try await store.load().entries.count == Int(last))
        // Space comes back when a snapshot replaces the log, or an operator frees some.
        try run("mount", "-o", "remount,size=8m", scratch.path)
        try await store.commit(StateBatch(entries: [entry(last + 1)]))
        try await store.close()
        let (again, stored) = try await StateStore.open(folder: scratch.path + "/state")
        #expect(stored.entries.count == Int(last) + 1)
        try await again.close()
    }

    private func run(_ words: String...) throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = words
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "'\(words.joined(separator: " "))' failed: this test must run as root")
    }
}
