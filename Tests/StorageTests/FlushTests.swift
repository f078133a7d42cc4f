import ClusterModel
import Foundation
import Storage
import Testing

/// A power cut takes whatever was not flushed, which `kill -9` leaves: acknowledged batches must be in what was flushed.
@Suite struct FlushTests {
    let scratch = Scratch()

    /// What the store would find if the power were cut now.
    private func openAfterPowerCut() async throws -> (store: StateStore, state: StoredState) {
        let folder = "\(scratch.path)/cut-\(UUID().uuidString)"
        try FlushRecorder.cutPower(of: scratch.path, into: folder)
        return try await StateStore.open(folder: folder)
    }

    @Test(arguments: [UInt64(1), 2, 3])
    func whatIsAcknowledgedSurvivesAPowerCut(seed: UInt64) async throws {
        FlushRecorder.watch(scratch.path)
        let (store, _) = try await StateStore.open(folder: scratch.path)
        var script = BatchScript(seed: seed)
        for step in 0..<25 {
            try await script.next().write(to: store)
            let (left, state) = try await openAfterPowerCut()
            try await #require(state == store.load(), "step \(step)")
            let decisions = try await left.decisions(of: nil, after: 0, limit: 1000)
            #expect(try await decisions == store.decisions(of: nil, after: 0, limit: 1000))
            try await left.close()
        }
        try await store.close()
    }

    /// Enough to make SQLite move pages from the WAL to the database, which it does within a commit.
    @Test func aPowerCutAfterTheWALBeganAnewLosesNothing() async throws {
        FlushRecorder.watch(scratch.path)
        let (store, _) = try await StateStore.open(folder: scratch.path)
        var index: UInt64 = 0
        for _ in 0..<12 {
            let entries = (1...20).map {
                LogEntry(index: index + $0, term: term, command: Array(repeating: 7, count: 40_000))
            }
            index += 20
            try await store.commit(StateBatch(entries: entries))
            try await store.commit(StateBatch(hardState: [UInt8(index)]))
            let (left, state) = try await openAfterPowerCut()
            try #require(state.entries.count == Int(index) && state.hardState == [UInt8(index)])
            try await left.close()
        }
        try await store.close()
    }

    @Test func aBatchWhoseFlushFailsIsNotAcknowledged() async throws {
        FlushRecorder.watch(scratch.path)
        let (store, _) = try await StateStore.open(folder: scratch.path)
        try await store.commit(StateBatch(hardState: [1], entries: [entry(1)]))
        FlushRecorder.breakFlushes(true, in: scratch.path)
        let error = await #expect(throws: StorageError.self) {
            try await store.commit(StateBatch(hardState: [2], entries: [entry(2)]))
        }
        #expect(error?.code == .failed)
        #expect(error?.description.contains("Check the disk") == true)
        #expect(try await store.load() == StoredState(hardState: [1], entries: [entry(1)]))
        FlushRecorder.breakFlushes(false, in: scratch.path)
        // Another batch takes its place, and nothing of the failed one comes back.
        try await store.commit(StateBatch(entries: [entry(2, "another")]))
        let (left, state) = try await openAfterPowerCut()
        #expect(state == StoredState(hardState: [1], entries: [entry(1), entry(2, "another")]))
        try await left.close()
        try await store.close()
    }

    @Test func concurrentBatchesShareAFlush() async throws {
        FlushRecorder.watch(scratch.path)
        let (store, _) = try await StateStore.open(folder: scratch.path)
        let before = FlushRecorder.flushes(in: scratch.path)
        let writer = OrderedWriter(store)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<200 { group.addTask { try await writer.write() } }
            try await group.waitForAll()
        }
        let flushes = FlushRecorder.flushes(in: scratch.path) - before
        #expect(flushes > 0 && flushes < 200)
        #expect(try await flushes >= store.statistics().transactionCount, "a transaction was not flushed")
        try await store.close()
    }
}
