import ClusterModel
import Storage
import Testing

/// What every store promises; the one on disk and its twin run the same tests.
enum StoreKind: String, CaseIterable, Sendable {
    case disk, memory

    func open(_ scratch: Scratch) async throws -> any StateStoring {
        switch self {
        case .disk: try await StateStore.open(folder: scratch.path).store
        case .memory: InMemoryStateStore()
        }
    }
}

@Suite struct StorageConformance {
    let scratch = Scratch()

    @Test(arguments: StoreKind.allCases)
    func aNewStoreIsEmpty(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        let stored = try await store.load()
        #expect(stored == StoredState())
        #expect(stored.nextIndex == 1)
        #expect(try await store.decisions(of: nil, after: 0, limit: 10) == [])
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func whatIsCommittedIsRead(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        let batch = StateBatch(entries: [entry(1), entry(2)], decisions: [decision(1)], samples: [sample(at: 1)])
        try await store.commit(batch)
        try await store.commit(StateBatch(entries: [LogEntry(index: 3, term: term, command: [])]))
        try await store.commit(StateBatch())
        let stored = try await store.load()
        #expect(stored.entries.map(\.index) == [1, 2, 3])
        #expect(stored.entries.prefix(2) == [entry(1), entry(2)])
        #expect(try await store.decisions(of: jobA, after: 0, limit: 10) == [decision(1)])
        #expect(try await store.samples(of: jobA, from: .epoch, limit: 10) == [sample(at: 1)])
        let statistics = try await store.statistics()
        #expect(statistics.lastIndex == 3 && statistics.logEntryCount == 3 && statistics.decisionCount == 1)
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aBatchThatDoesNotContinueTheLogIsRefusedWhole(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        try await store.commit(StateBatch(entries: [entry(1)]))
        for wrong in [[entry(0)], [entry(3)], [entry(2), entry(4)], [entry(2), entry(2)]] {
            let batch = StateBatch(hardState: [9], entries: wrong, decisions: [decision(9)])
            #expect(await code { try await store.commit(batch) } == .outOfOrder)
        }
        #expect(try await store.load() == StoredState(entries: [entry(1)]))
        #expect(try await store.decisions(of: nil, after: 0, limit: 10) == [])
        try await store.commit(StateBatch(entries: [entry(2)]))
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aSnapshotReplacesTheLogBeforeIt(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        try await store.commit(StateBatch(entries: (1...10).map { entry($0) }))
        try await store.save(StoredSnapshot(index: 7, term: term, state: [1, 2, 3]))
        var stored = try await store.load()
        #expect(stored.snapshot == StoredSnapshot(index: 7, term: term, state: [1, 2, 3]))
        #expect(stored.entries.map(\.index) == [8, 9, 10])
        try await store.save(StoredSnapshot(index: 10, term: term, state: [4]))
        stored = try await store.load()
        #expect(stored.entries == [])
        #expect(stored.nextIndex == 11)
        try await store.commit(StateBatch(entries: [entry(11)]))
        #expect(await code { try await store.save(StoredSnapshot(index: 12, term: term, state: [])) } == .outOfOrder)
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func decisionsAreReadInOrderAndKeptOnce(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        try await store.commit(StateBatch(decisions: [decision(1), decision(2, of: jobB), decision(3)]))
        var changed = decision(3)
        changed.decision.sentence = "Another."
        try await store.commit(StateBatch(decisions: [changed, decision(4)]))
        #expect(try await store.decisions(of: nil, after: 0, limit: 100).map(\.sequence) == [1, 2, 3, 4])
        // Entries that are applied again after a crash write their decisions again.
        #expect(try await store.decisions(of: jobA, after: 1, limit: 100) == [changed, decision(4)])
        #expect(try await store.decisions(of: nil, after: 0, limit: 2).map(\.sequence) == [3, 4])
        #expect(try await store.decisions(of: nil, after: .max, limit: 2) == [])
        #expect(try await store.decisions(of: nil, after: 0, limit: -1) == [])
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aNumberThatJSONLacksIsLeftOut(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        var odd = decision(1)
        odd.decision.numbers = [
            .init(name: "a", value: .infinity), .init(name: "b", value: .nan), .init(name: "c", value: 1),
        ]
        try await store.commit(StateBatch(decisions: [odd]))
        #expect(
            try await store.decisions(of: nil, after: 0, limit: 9)[0].decision.numbers == [.init(name: "c", value: 1)]
        )
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aForgottenJobLeavesNothing(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        let samples = [sample(at: 1), sample(of: jobB, at: 1)]
        try await store.commit(StateBatch(decisions: [decision(1), decision(2, of: jobB)], samples: samples))
        try await store.commit(StateBatch(forgotten: [jobA]))
        #expect(try await store.decisions(of: nil, after: 0, limit: 9).map(\.decision.job) == [jobB])
        #expect(try await store.samples(of: jobA, from: .epoch, limit: 9) == [])
        #expect(try await store.samples(of: jobB, from: .epoch, limit: 9).count == 1)
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func samplesThinOutWithAge(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        let end = 100_000
        for start in stride(from: 0, to: end, by: 5000) {
            try await store.commit(StateBatch(samples: (start..<start + 5000).map { sample(at: Double($0)) }))
            // Upkeep in between must come to the same as upkeep at the end.
            if start % 20000 == 0 { try await store.maintain(now: Timestamp(seconds: Double(start))) }
        }
        try await store.maintain(now: Timestamp(seconds: Double(end)))
        let times = try await store.samples(of: jobA, from: .epoch, limit: 100_000).map { Int($0.time.seconds) }
        #expect(times.filter { $0 >= end - 300 } == Array((end - 300)..<end))
        #expect(
            times.filter { (end - 3600..<end - 300).contains($0) }
                == Array(stride(from: end - 3600, to: end - 300, by: 10))
        )
        let middle = times.filter { (end - 86400..<end - 3600).contains($0) }
        #expect(middle.allSatisfy { $0 % 60 == 0 } && middle.count == (86400 - 3600) / 60)
        #expect(times.filter { $0 < end - 86400 }.allSatisfy { $0 % 600 == 0 })
        try await store.maintain(now: Timestamp(seconds: Double(end)))
        #expect(try await store.samples(of: jobA, from: .epoch, limit: 100_000).count == times.count)
        #expect(try await store.samples(of: jobA, from: .epoch, limit: 5).count == 5)
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func eachJobKeepsItsNewestDecisions(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        let surplus = UInt64(HistoryBounds.decisionsPerJob) + 50
        try await store.commit(
            StateBatch(decisions: (1...surplus).map { decision($0) } + [decision(surplus + 1, of: jobB)])
        )
        try await store.maintain(now: .epoch)
        let kept = try await store.decisions(of: jobA, after: 0, limit: 100_000)
        #expect(kept.count == HistoryBounds.decisionsPerJob && kept.first?.sequence == 51)
        #expect(try await store.decisions(of: jobB, after: 0, limit: 9).count == 1)
        // And again, when only the new ones are looked at.
        try await store.commit(StateBatch(decisions: [decision(surplus + 2)]))
        try await store.maintain(now: .epoch)
        #expect(try await store.decisions(of: jobA, after: 0, limit: 100_000).first?.sequence == 52)
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func manyWritersKeepTheirOrder(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        let writer = OrderedWriter(store)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<400 { group.addTask { try await writer.write() } }
            try await group.waitForAll()
        }
        #expect(try await store.load().entries.map(\.index) == Array(1...400))
        let statistics = try await store.statistics()
        #expect(statistics.batchCount == 400)
        if kind == .disk { #expect(statistics.transactionCount < 400, "nothing was shared") }
        try await store.close()
    }

    @Test(arguments: StoreKind.allCases)
    func aClosedStoreRefuses(kind: StoreKind) async throws {
        let store = try await kind.open(scratch)
        try await store.close()
        try await store.close()
        #expect(await code { try await store.commit(StateBatch(entries: [entry(1)])) } == .closed)
    }
}

/// Numbers entries and commits them, as the agent's replica does: the number and the call are one step.
actor OrderedWriter {
    private let store: any StateStoring
    private var next: UInt64

    init(_ store: any StateStoring, next: UInt64 = 1) {
        self.store = store
        self.next = next
    }

    @discardableResult
    func write(bytes: Int = 100) async throws -> UInt64 {
        let index = next
        next += 1
        var command = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: bytes)
        command.append(contentsOf: "#\(index)".utf8)
        try await store.commit(StateBatch(entries: [LogEntry(index: index, term: term, command: command)]))
        return index
    }
}
