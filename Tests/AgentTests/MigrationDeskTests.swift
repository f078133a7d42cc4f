import ClusterModel
import ImageStore
import LinuxSystem
import Testing
import Transport

@testable import Agent
@testable import ClusterState

/// What a destination hears that asks for a dump before it is there.
@Suite(.timeLimit(.minutes(5)))
struct MigrationDeskTests {
    private static let destination = NodeID(rawValue: "b")
    private static let stranger = NodeID(rawValue: "c")
    private static let key = MigrationDesk.Key(job: JobID(rawValue: "job1aaaaaaaa"), number: 3)
    private static let move = Migration.sample(key.number, of: key.job, to: destination)
    /// Longer than any test.
    private static let forever: Duration = .seconds(3600)

    private func makeDesk(patience: Duration = forever, knownWithin: Duration = forever) -> MigrationDesk {
        MigrationDesk(bytesPerSecond: 0, patience: patience, knownWithin: knownWithin, facts: { _ in MigrationFacts() })
    }

    /// nil when all was sent.
    private func ask(_ desk: MigrationDesk, by node: NodeID = destination) async -> RPCFailure.Code? {
        do {
            try await desk.send(MigrationRequest(job: Self.key.job, number: Self.key.number), to: node) { _ in }
            return nil
        } catch { return (error as? RPCFailure)?.code }
    }

    /// Waits until somebody has asked and waits himself.
    private func whenAsked(_ desk: MigrationDesk) async { while desk.waitingCount == 0 { await Task.yield() } }

    private func withDump(_ body: (DumpReader) async throws -> Void) async throws {
        let folder = "/tmp/godwit-desk-test-\(UInt64.random(in: 0 ... .max))"
        try FileSystem.createFolder(folder, mode: 0o700)
        try await body(try DumpReader(imagesFolder: folder, layerArchive: nil))
        try FileSystem.removeAll(folder)
    }

    @Test func `A dump that takes long is not one that is gone`() async {
        let desk = makeDesk(patience: .milliseconds(5))
        #expect(await ask(desk) == .notFound)
        desk.learn(Self.move, of: Self.key.job)
        #expect(await ask(desk) == .unavailable)
        desk.withdraw(Self.key)
        #expect(await ask(desk) == .notFound)
    }

    @Test func `Who asks before the state names the move waits for that, and then for the dump`() async throws {
        try await withDump { dump in
            let desk = makeDesk()
            async let answer = ask(desk)
            await whenAsked(desk)
            desk.learn(Self.move, of: Self.key.job)
            await whenAsked(desk)
            desk.offer(dump, memory: nil, Self.key)
            #expect(await answer == nil)
        }
    }

    @Test func `A move that the state does not name in time is none`() async {
        #expect(await ask(makeDesk(knownWithin: .milliseconds(5))) == .notFound)
    }

    @Test func `Who waits for a dump hears at once when it does not come`() async {
        let desk = makeDesk()
        desk.learn(Self.move, of: Self.key.job)
        async let answer = ask(desk)
        await whenAsked(desk)
        desk.withdraw(Self.key)
        #expect(await answer == .notFound)
        // The state, which says the same as before, does not bring it back.
        desk.learn(Self.move, of: Self.key.job)
        #expect(await ask(desk) == .notFound)
    }

    @Test(arguments: [nil, Migration.sample(4, of: key.job, to: destination)])
    func `Who waits hears at once when the state has given the move up`(next: Migration?) async {
        let desk = makeDesk(knownWithin: .milliseconds(5))
        desk.learn(Self.move, of: Self.key.job)
        async let answer = ask(desk)
        await whenAsked(desk)
        desk.learn(next, of: Self.key.job)
        #expect(await answer == .notFound)
    }

    @Test func `Only the destination that the state names gets a dump`() async throws {
        try await withDump { dump in
            let desk = makeDesk(knownWithin: .milliseconds(5))
            // An agent that was restarted may hold the container before its state names the move.
            desk.offer(dump, memory: nil, Self.key)
            desk.learn(nil, of: Self.key.job)
            #expect(await ask(desk) == .notFound)
            desk.learn(Self.move, of: Self.key.job)
            #expect(await ask(desk) == nil)
            #expect(await ask(desk, by: Self.stranger) == .notFound)
            let pages = PagesRequest(job: Self.key.job, number: Self.key.number, process: 1, runs: [])
            let failure = await #expect(throws: RPCFailure.self) { try await desk.pages(pages, to: Self.stranger) }
            #expect(failure?.message.contains("does not move") == true)
            desk.learn(nil, of: Self.key.job)
            #expect(await ask(desk) == .notFound)
        }
    }
}

extension Migration {
    /// A move from node `a` that has begun.
    static func sample(_ number: UInt64, of job: JobID, to node: NodeID) -> Migration {
        Migration(
            MigrationOrder(job: job, to: node, by: nil, reason: "because", time: .epoch),
            number: number,
            source: NodeID(rawValue: "a"),
            incarnation: Incarnation(rawValue: 1)
        )
    }
}
