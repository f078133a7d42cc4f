import ClusterModel
import ClusterState
import Storage
import Synchronization
import Testing

@testable import Agent

/// The only way to change the state: durable first, visible afterwards, never half.
@Suite(.timeLimit(.minutes(5)))
struct ReplicaTests {
    private static let start = Timestamp(seconds: 1_700_000_000)

    private static func submission(_ number: Int) -> Command {
        .submit(
            Submission(
                id: JobID(rawValue: "job\(number)aaaaaaaa"),
                specification: Bench.specification("job-\(number)"),
                submitter: Bench.user,
                time: start
            )
        )
    }

    private static func replica(
        _ store: InMemoryStateStore,
        snapshotInterval: Int = 2000
    ) async throws -> Replica {
        try await Replica(
            store: store,
            metrics: AgentMetrics(registry: MetricsRegistry()),
            logger: Bench().logger,
            snapshotInterval: snapshotInterval
        )
    }

    @Test func whatIsNotDurableIsNeitherAcknowledgedNorVisible() async throws {
        let store = InMemoryStateStore()
        let replica = try await Self.replica(store)
        try await replica.propose(Self.submission(1))
        let before = await replica.state
        store.fail(with: [StorageError(.full, "no space left")])
        await #expect(throws: StorageError.self) { try await replica.propose(Self.submission(2)) }
        #expect(await replica.state == before)
        // The next one takes the place of the one that was not kept.
        try await replica.propose(Self.submission(3))
        #expect(await replica.state.jobs.map(\.specification.name) == ["job-1", "job-3"])
        #expect(try await Self.replica(store).state == replica.state)
    }

    @Test func everyProposerOfAFailedWriteHearsOfIt() async throws {
        let store = InMemoryStateStore()
        let replica = try await Self.replica(store)
        store.fail(with: (1...100).map { _ in StorageError(.failed, "the disk is broken") })
        let failures = await withTaskGroup(of: Bool.self) { group in
            for number in 1...20 {
                group.addTask {
                    do {
                        try await replica.propose(Self.submission(number))
                        return false
                    } catch {
                        return true
                    }
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(failures == 20)
        #expect(await replica.state.jobCount == 0)
    }

    @Test func aRefusedCommandLeavesNoTrace() async throws {
        let store = InMemoryStateStore()
        let replica = try await Self.replica(store)
        let outcomes = try await replica.propose([Self.submission(1), Self.submission(1), Self.submission(2)])
        #expect(outcomes.map { $0.refusal == nil } == [true, false, true])
        #expect(await replica.state.jobCount == 2)
        #expect(try await Self.replica(store).state == replica.state)
    }

    @Test func proposalsThatComeAtOnceAreAllDoneInOneOrder() async throws {
        let store = InMemoryStateStore()
        let replica = try await Self.replica(store)
        await withTaskGroup(of: Void.self) { group in
            for number in 1...200 { group.addTask { _ = try? await replica.propose(Self.submission(number)) } }
        }
        #expect(await replica.state.jobCount == 200)
        let stored = try await store.load()
        // One for the beginning of the term.
        #expect(stored.entries.map(\.index) == (1...201).map(UInt64.init))
        #expect(try await store.statistics().batchCount <= 200)
        #expect(try await Self.replica(store).state == replica.state)
    }

    @Test func aSnapshotReplacesTheLogAndAFailedOneCostsNothing() async throws {
        let store = InMemoryStateStore()
        let replica = try await Self.replica(store, snapshotInterval: 10)
        for number in 1...25 { try await replica.propose(Self.submission(number)) }
        let stored = try await store.load()
        let last = try #require(stored.snapshot?.index)
        #expect(last >= 10)
        #expect(stored.entries.map(\.index) == Array(last + 1..<27))
        store.fail(with: [StorageError(.full, "no space left")])
        await replica.saveSnapshot()
        #expect(try await store.load() == stored)
        await replica.saveSnapshot()
        #expect(try await store.load().entries.isEmpty)
        let next = try await Self.replica(store)
        #expect(await next.state == replica.state)
        try await next.propose(Self.submission(26))
        #expect(await next.state.jobCount == 26)
        #expect(try await Self.replica(store).state == next.state)
    }

    @Test func aLargeStateIsSavedWhenTheLogHasGrownByAsMuch() async throws {
        let store = InMemoryStateStore()
        let replica = try await Self.replica(store, snapshotInterval: 10)
        var saved: [UInt64] = []
        for number in 1...300 {
            try await replica.propose(Self.submission(number))
            let index = try await store.load().snapshot?.index ?? 0
            if index > 0, index != saved.last { saved.append(index) }
        }
        #expect(saved.first.map { $0 < 15 } == true)
        #expect((3...10).contains(saved.count), "at every tenth entry it would be thirty times: \(saved)")
        // A restart counts what the log has grown by since.
        let next = try await Self.replica(store, snapshotInterval: 10)
        #expect(await next.state == replica.state)
    }

    @Test func decisionsGoOnBeingNumberedAfterARestart() async throws {
        let store = InMemoryStateStore()
        try await Self.replica(store).propose(Self.submission(1))
        let replica = try await Self.replica(store)
        try await replica.propose(Self.submission(2))
        let decisions = try await replica.decisions(of: nil, limit: 100)
        #expect(decisions.map(\.sequence) == [1, 2])
    }

    @Test func whoListensHearsBeforeTheProposer() async throws {
        let replica = try await Self.replica(InMemoryStateStore())
        let heard = Mutex<[JobID]>([])
        await replica.listen { jobs in heard.withLock { $0 += jobs } }
        try await replica.propose(Self.submission(1))
        #expect(heard.withLock { $0 } == [JobID(rawValue: "job1aaaaaaaa")])
    }

    @Test func aStateOfANewerFormatIsRefused() async throws {
        let snapshot = StoredSnapshot(index: 1, term: Term(rawValue: 1), state: Array(#"{"formatVersion":99}"#.utf8))
        let store = InMemoryStateStore(StoredState(snapshot: snapshot))
        await #expect { try await Self.replica(store) } throws: { "\($0)".contains("format 99") }
    }
}
