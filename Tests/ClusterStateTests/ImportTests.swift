import ClusterModel
import ClusterState
import Testing

/// Checkpoints that users bring and take away.
struct ImportTests {
    private static func entry(
        _ generation: UInt32,
        consumed: Duration = .seconds(40),
        iterations: Int = 0
    ) -> CatalogEntry {
        CatalogEntry(
            generation: CheckpointGeneration(rawValue: generation),
            taken: Bench.at(5),
            node: Bench.nodeID(1),
            incarnation: Incarnation(rawValue: 1),
            frozen: .milliseconds(100),
            total: .milliseconds(900),
            raw: .mebibytes(64),
            stored: .mebibytes(20),
            consumed: consumed,
            completedIterations: iterations,
            seal: Bench.seal
        )
    }

    private static func importing(_ number: Int, _ entry: CatalogEntry, makes: Bool) -> Command {
        let submission = Submission(
            id: Bench.id(number),
            specification: Bench.specification("imported"),
            submitter: Bench.user,
            time: Bench.at(20)
        )
        let imported = CheckpointImport(
            submission: makes ? submission : nil,
            job: Bench.id(number),
            entry: entry,
            by: Bench.user,
            time: Bench.at(20)
        )
        return .importCheckpoint(imported)
    }

    private static func removal(_ generation: UInt32, isForced: Bool = false) -> Command {
        .removeCheckpoint(
            CheckpointRemoval(
                job: Bench.id(1),
                generation: CheckpointGeneration(rawValue: generation),
                isForced: isForced,
                by: Bench.user,
                time: Bench.at(30)
            )
        )
    }

    @Test("an imported checkpoint is a suspended job, which a restore continues with its ledger")
    func makesJob() throws {
        var bench = Bench.onNodeOne()
        bench.apply(Self.importing(2, Self.entry(1), makes: true))
        let job = try #require(bench.state.job(Bench.id(2)))
        #expect(job.state == .suspended && job.ledger.total == .seconds(40))
        #expect(job.catalog.map(\.generation.rawValue) == [1] && job.lastGeneration.rawValue == 1)
        #expect(bench.decisions.last?.sentence.contains("Imported by ada") == true)
        bench.apply(.requestRestore(job: job.id, generation: nil, by: Bench.user, time: Bench.at(21)))
        let restored = try #require(bench.state.job(Bench.id(2)))
        #expect(restored.state == .queued && restored.resumption?.generation.rawValue == 1)
        // Its name is taken, so the same again makes nothing.
        #expect(bench.refusal(Self.importing(3, Self.entry(1), makes: true))?.code == .conflict)
    }

    @Test("an agent alone takes one in and gives one up, and whoever joins it then knows the same")
    func alone() throws {
        var bench = Bench()
        bench.apply(Self.importing(1, Self.entry(1), makes: true))
        #expect(bench.job.state == .suspended && bench.state.nodes.isEmpty)
        #expect(bench.state.version == 6)
        bench.apply(Self.removal(1, isForced: true))
        #expect(bench.job.goodCheckpoints.isEmpty)
        #expect(bench.refusal(.registerNode(Bench.registration(1) { $0.speaks = 5 })) != nil)
        bench.register(1)
    }

    @Test("a checkpoint of an iteration that the job does not have is refused, and leaves no job")
    func foreignIteration() {
        var bench = Bench.onNodeOne()
        #expect(bench.refusal(Self.importing(2, Self.entry(1, iterations: 4), makes: true))?.code == .invalid)
    }

    @Test("a job takes an imported checkpoint as its newest, and only as that")
    func added() throws {
        var bench = Bench.onNodeOne()
        let own = bench.sealed(on: 1, consumed: .seconds(50), at: 10)
        #expect(bench.refusal(Self.importing(1, Self.entry(own.rawValue), makes: false))?.code == .stale)
        bench.apply(Self.importing(1, Self.entry(own.rawValue + 1), makes: false))
        #expect(bench.job.newestGoodCheckpoint?.generation == own.next && bench.job.lastGeneration == own.next)
        #expect(bench.job.state == .running)
    }

    @Test("a checkpoint goes when a user wants it, but not what a job waits for")
    func removed() throws {
        var bench = Bench.onNodeOne()
        let first = bench.sealed(on: 1, consumed: .seconds(50), at: 10)
        #expect(bench.refusal(Self.removal(99))?.code == .notFound)
        bench.apply(Self.removal(first.rawValue))
        #expect(bench.job.checkpoint(first)?.state == .retiring)
        let second = bench.sealed(on: 1, consumed: .seconds(60), at: 12)
        bench.place(second, on: 2, at: 13)
        bench.held(second, by: 2, at: 14)
        bench.lose(1, at: 20)
        #expect(bench.job.state == .queued && bench.job.resumption?.generation == second)
        let refusal = bench.refusal(Self.removal(second.rawValue))
        #expect(refusal?.message.contains("waits to go on from checkpoint") == true, "\(refusal as Any)")
        bench.apply(Self.removal(second.rawValue, isForced: true))
        #expect(bench.job.state == .queued && bench.job.resumption == nil, "\(bench.job.message)")
        #expect(bench.job.checkpoint(second)?.state == .retiring)
    }

    @Test("nodes of an earlier release never hear of it")
    func version() {
        #expect(Self.removal(1).requiredVersion == 6)
        #expect(Self.importing(1, Self.entry(1), makes: false).requiredVersion == 6)
    }
}
