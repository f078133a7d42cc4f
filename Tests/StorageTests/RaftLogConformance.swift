import ClusterModel
import Storage
import Testing

/// What Raft asks of its disk; the store on disk and its twin run the same tests.
@Suite struct RaftLogConformance {
    let scratch = Scratch()

    /// A store that holds entries 1 to `count` of term 1.
    private func open(_ kind: StoreKind, holding count: UInt64) async throws -> any StateStoring {
        let store = try await kind.open(scratch)
        if count > 0 { try await store.commit(StateBatch(entries: (1...count).map { entry($0) })) }
        return store
    }

    private func newer(_ index: UInt64, term number: UInt64 = 2) -> LogEntry {
        LogEntry(index: index, term: Term(rawValue: number), command: Array("newer \(index)".utf8))
    }

    // MARK: Entries

    @Test(arguments: StoreKind.allCases, [UInt64(1), 4, 10, 11])
    func entriesReplaceTheLogFromTheFirstOneOn(kind: StoreKind, first: UInt64) async throws {
        let store = try await open(kind, holding: 10)
        try await store.commit(StateBatch(entries: [newer(first), newer(first + 1)]))
        let stored = try await store.load()
        #expect(stored.entries == (1..<first).map { entry($0) } + [newer(first), newer(first + 1)])
        #expect(stored.nextIndex == first + 2)
        #expect(try await store.statistics().lastIndex == first + 1)
        // The log goes on from there, and nowhere else.
        #expect(await code { try await store.commit(StateBatch(entries: [newer(first + 3)])) } == .outOfOrder)
        try await store.commit(StateBatch(entries: [newer(first + 2)]))
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func whatASnapshotReplacedIsNotOverwritten(kind: StoreKind) async throws {
        let store = try await open(kind, holding: 10)
        try await store.save(StoredSnapshot(index: 6, term: term, state: [6]), keeping: 3)
        let before = try await store.load()
        for first in [UInt64(4), 5, 6] {
            #expect(await code { try await store.commit(StateBatch(entries: [newer(first)])) } == .outOfOrder)
        }
        #expect(try await store.load() == before)
        try await store.commit(StateBatch(entries: [newer(7)]))
        #expect(try await store.load().entries == [newer(7)])
        #expect(try await store.load().retained == [entry(4), entry(5), entry(6)])
        try await store.close()
    }

    // MARK: Hard state and member

    @Test(arguments: StoreKind.allCases)
    func theHardStateIsWrittenAlone(kind: StoreKind) async throws {
        let store = try await open(kind, holding: 2)
        try await store.commit(StateBatch(hardState: [1, 2, 3]))
        #expect(try await store.load() == StoredState(hardState: [1, 2, 3], entries: [entry(1), entry(2)]))
        try await store.commit(StateBatch(hardState: []))
        try await store.commit(StateBatch(entries: [entry(3)]))
        #expect(try await store.load().hardState == [])
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aLogBelongsToOneMember(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        #expect(await code { try await store.found(member: 0) } == .otherMember)
        #expect(try await store.load().member == nil)
        try await store.found(member: .max)
        try await store.found(member: .max)
        let other = StateBatch(member: 7, hardState: [1], entries: [entry(1)])
        #expect(await code { try await store.commit(other) } == .otherMember)
        #expect(try await store.load() == StoredState(member: .max))
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aGroupIsFoundedInOneBatch(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        let founding = StoredSnapshot(index: 0, term: Term(rawValue: 0), metadata: Array("members".utf8), state: [])
        try await store.commit(StateBatch(member: 5, hardState: [1], snapshot: founding, entries: [entry(1)]))
        #expect(
            try await store.load()
                == StoredState(member: 5, hardState: [1], snapshot: founding, entries: [entry(1)])
        )
        try await store.close()
    }

    // MARK: A leader's snapshot

    @Test(arguments: StoreKind.allCases)
    func aLeadersSnapshotKeepsWhatContinuesIt(kind: StoreKind) async throws {
        let store = try await open(kind, holding: 10)
        let snapshot = StoredSnapshot(index: 7, term: term, metadata: [7, 7], state: [1])
        try await store.commit(StateBatch(snapshot: snapshot))
        let entries = [entry(8), entry(9), entry(10)]
        #expect(try await store.load() == StoredState(snapshot: snapshot, entries: entries))
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aLeadersSnapshotDropsAnotherHistory(kind: StoreKind) async throws {
        let store = try await open(kind, holding: 10)
        let snapshot = StoredSnapshot(index: 7, term: Term(rawValue: 2), metadata: [], state: [1])
        try await store.commit(StateBatch(snapshot: snapshot))
        #expect(try await store.load() == StoredState(snapshot: snapshot))
        #expect(await code { try await store.commit(StateBatch(entries: [newer(9)])) } == .outOfOrder)
        try await store.commit(StateBatch(entries: [newer(8)]))
        #expect(try await store.load().entries == [newer(8)])
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aLeadersSnapshotMayLiePastTheEnd(kind: StoreKind) async throws {
        let store = try await open(kind, holding: 10)
        try await store.save(StoredSnapshot(index: 5, term: term, state: [5]), keeping: 2)
        let snapshot = StoredSnapshot(index: 1000, term: Term(rawValue: 3), metadata: [1], state: [2])
        let batch = StateBatch(hardState: [3], snapshot: snapshot, entries: [newer(1001), newer(1002)])
        try await store.commit(batch)
        let expected = StoredState(hardState: [3], snapshot: snapshot, entries: [newer(1001), newer(1002)])
        #expect(try await store.load() == expected)
        #expect(try await store.statistics().lastIndex == 1002)
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func entriesBesideASnapshotReplaceWhatContinuedIt(kind: StoreKind) async throws {
        let store = try await open(kind, holding: 10)
        let snapshot = StoredSnapshot(index: 4, term: term, state: [])
        try await store.commit(StateBatch(snapshot: snapshot, entries: [newer(7)]))
        #expect(try await store.load() == StoredState(snapshot: snapshot, entries: [entry(5), entry(6), newer(7)]))
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func anOlderSnapshotNeverReplacesANewerOne(kind: StoreKind) async throws {
        let store = try await open(kind, holding: 10)
        try await store.save(StoredSnapshot(index: 8, term: term, state: [8]))
        let before = try await store.load()
        let older = StoredSnapshot(index: 6, term: term, state: [6])
        #expect(await code { try await store.commit(StateBatch(snapshot: older)) } == .outOfOrder)
        let beyond = StoredSnapshot(index: .max, term: term, state: [])
        #expect(await code { try await store.commit(StateBatch(snapshot: beyond)) } == .outOfOrder)
        // One that was made while a leader's newer one came: nothing is lost by leaving it out.
        try await store.save(older)
        #expect(try await store.load() == before)
        try await store.close()
    }

    // MARK: Compaction

    @Test(arguments: StoreKind.allCases)
    func aCompactionKeepsTheEndOfWhatItReplaces(kind: StoreKind) async throws {
        let store = try await open(kind, holding: 10)
        let first = StoredSnapshot(index: 6, term: term, metadata: [1], state: [6])
        try await store.save(first, keeping: 2)
        var expected = StoredState(
            snapshot: first,
            retained: [entry(5), entry(6)],
            entries: (7...10).map { entry($0) }
        )
        #expect(try await store.load() == expected)
        #expect(try await store.statistics().logEntryCount == 6)
        // What was kept before counts for the next one.
        expected.snapshot = StoredSnapshot(index: 8, term: term, state: [8])
        (expected.retained, expected.entries) = ((5...8).map { entry($0) }, [entry(9), entry(10)])
        try await store.save(StoredSnapshot(index: 8, term: term, state: [8]), keeping: 100)
        #expect(try await store.load() == expected)
        try await store.save(StoredSnapshot(index: 8, term: term, state: [8]), keeping: -1)
        #expect(try await store.load().retained == [])
        #expect(try await store.load().entries == [entry(9), entry(10)])
        try await store.close()
    }

    // MARK: Order

    @Test(arguments: StoreKind.allCases)
    func overwritingBatchesThatRaceKeepTheOrderOfTheirCalls(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        let twin = InMemoryStateStore()
        let writer = ScriptedWriter(store, twin: twin, script: BatchScript(seed: 11))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<400 { group.addTask { _ = try await writer.write() } }
            try await group.waitForAll()
        }
        #expect(try await store.load() == twin.load())
        #expect(
            try await store.decisions(of: nil, after: 0, limit: 1000)
                == twin.decisions(of: nil, after: 0, limit: 1000)
        )
        try await store.close()
    }

    @Test(arguments: 1...20)
    func theStoreOnDiskAndItsTwinAgree(seed: UInt64) async throws {
        let (store, _) = try await StateStore.open(folder: scratch.path)
        let twin = InMemoryStateStore()
        var script = BatchScript(seed: seed, mistakes: true)
        for step in 0..<150 {
            let work = script.next()
            let (ours, theirs) = (
                await code { try await work.write(to: store) }, await code { try await work.write(to: twin) }
            )
            try #require(ours == theirs, "step \(step): \(work)")
            if step % 10 == 9 { try await #require(store.load() == twin.load(), "step \(step): \(work)") }
        }
        try await store.close()
        let (again, stored) = try await StateStore.open(folder: scratch.path)
        #expect(try await stored == twin.load())
        try await again.close()
    }
}
