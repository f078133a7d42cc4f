import ClusterModel
import ClusterState
import Placement
import Testing

extension Bench {
    /// A node of a kind: 1 is plain, 2 knows AVX-512 and has a newer kernel.
    fileprivate mutating func node(_ number: Int, kind: Int, _ change: (inout NodePlatform) -> Void = { _ in }) {
        let features = kind == 2 ? ["sse2", "avx2", "avx512f", "avx512vl"] : ["sse2", "avx2"]
        var platform = NodePlatform(
            architecture: "amd64",
            features: ProcessorFeatures(features, architecture: "amd64"),
            stateSize: kind == 2 ? 2696 : 832,
            kernel: kind == 2 ? NodePlatform.Version(6, 12) : NodePlatform.Version(6, 1),
            criu: NodePlatform.Version(4, 2)
        )
        change(&platform)
        // The cluster knows what that is when its nodes have said that they do.
        node(number)
        node(number) { $0.platform = platform }
    }

    /// A cluster whose checkpoints leave their nodes, with a node 1 of a kind.
    fileprivate static func with(kind: Int) -> Bench {
        var bench = Bench()
        bench.node(1, kind: kind)
        let secret = SecretBytes([UInt8](repeating: 7, count: ClusterState.checkpointKeyByteCount))
        bench.apply(.addCheckpointKey(CheckpointKey(number: 1, secret: secret, gossipKey: 1, time: at(0))))
        return bench
    }

    /// A job of node 2 that left checkpoint 1 there and on node 1, and lost its node in second 100.
    fileprivate mutating func orphan(_ number: Int, _ change: (inout JobSpecification) -> Void = { _ in }) {
        runningJob(number, on: 2, change)
        sealed(number, at: 50)
        let generation = CheckpointGeneration(rawValue: 1)
        apply(.placeCopies(job: Self.id(number), generation: generation, nodes: [Self.node(1)], time: Self.at(52)))
        apply(.copyHeld(job: Self.id(number), generation: generation, node: Self.node(1), time: Self.at(53)))
        apply(.nodeLost(node: Self.node(2), reason: "silent", time: Self.at(100)))
    }

    fileprivate func move(_ number: Int, to wish: String = "") -> MigrationPlan.Choice {
        guard let job = state.job(Self.id(number)) else { preconditionFailure("job \(number) is not there") }
        return MigrationPlan().choose(job, to: wish, among: views, now: Self.at(20))
    }

    fileprivate var views: [NodeView] { NodeView.all(of: state, suspects: [], now: Self.at(20)) }
}

/// A job's memory goes only where it can go on.
struct PlatformPlacementTests {
    @Test func aMoveNeverGoesToLessThanTheJobMayUse() {
        var bench = Bench.with(kind: 2)
        bench.node(2, kind: 1)
        bench.runningJob(1, on: 1)
        #expect(
            bench.move(1, to: "node2").reason
                == "Node node2 cannot take it: it has processors without avx512f, avx512vl, which the job may be using."
        )
        #expect(bench.move(1).reason.hasPrefix("No other node can take it: node2 has processors without avx512f"))
        // The other way round it can.
        bench.runningJob(2, on: 2)
        #expect(bench.move(2).to == Bench.node(1))
        // A drain says why, and stops nobody for nothing.
        bench.apply(.drain(node: Bench.node(1), restartsJobs: false, by: Bench.user, time: Bench.at(10)))
        #expect(MigrationPlan().commands(bench.state, now: Bench.at(20)).isEmpty)
        #expect(DrainPlan().commands(bench.state, now: Bench.at(20)).isEmpty)
        let job = bench.state.job(Bench.id(1))
        let message = job.map { MigrationPlan().departure(of: $0, among: bench.views, now: Bench.at(20)).message }
        #expect(message?.contains("avx512f") == true)
    }

    @Test("each thing that keeps a job's memory from a node is named", arguments: 0..<6)
    func obstacles(_ number: Int) {
        var bench = Bench.with(kind: 2)
        var text = ""
        bench.node(2, kind: 2) { platform in
            switch number {
            case 0:
                (platform.architecture, text) = ("arm64", "has arm64 processors, and the job's memory is of amd64")
            case 1: (platform.stateSize, text) = (1000, "saves 1000 bytes of a processor's state")
            case 2: (platform.criu, text) = (nil, "has no CRIU that works")
            case 3: (platform.criu, text) = (.init(3, 17), "has CRIU 3.17, which is older than the 4.2")
            case 4: (platform.kernel, text) = (.init(5, 15), "runs kernel 5.15, and the job began under 6.12")
            default:
                platform.features = ProcessorFeatures(["fpu"], architecture: "amd64")
                text = "has processors without sse2, avx2, avx512f, avx512vl"
            }
        }
        bench.runningJob(1, on: 1)
        let reason = bench.move(1).reason
        #expect(reason.contains(text), "\(reason)")
    }

    @Test func whereNothingCanBeDumpedNothingMoves() {
        var bench = Bench()
        bench.node(1, kind: 1) { $0.criu = nil }
        bench.node(2, kind: 1)
        bench.runningJob(1, on: 1)
        #expect(bench.move(1).reason.hasPrefix("It cannot be moved: node node1 has no CRIU that works"))
    }

    @Test func whoSaysNothingIsNotCompared() {
        var bench = Bench.with(kind: 2)
        bench.node(2)
        bench.runningJob(1, on: 1)
        #expect(bench.move(1).to == Bench.node(2))
        let bare = NodePlatform(architecture: "amd64", features: ProcessorFeatures(), criu: .init(4, 2))
        bench.node(2) { $0.platform = bare }
        #expect(bench.move(1).to == Bench.node(2))
    }

    @Test func aRestartGoesWhereTheMemoryCanGoOn() {
        var bench = Bench.with(kind: 1)
        for number in 2...3 { bench.node(number, kind: 2) }
        bench.orphan(1)
        bench.plan(at: 101)
        // Node 1 has the copy, but not the processor.
        #expect(bench.place(of: 1) == Bench.node(3))
    }

    @Test func copiesGoWhereTheMemoryCanGoOn() {
        var bench = Bench.with(kind: 2)
        for number in 2...4 { bench.node(number, kind: number == 3 ? 2 : 1) }
        for number in 1...4 {
            bench.runningJob(number, on: 1)
            bench.sealed(number, at: 10)
            bench.copyPlan(at: 11)
            #expect(bench.newest(number)?.wantedCopies == [Bench.node(3)])
            bench.fetchAll(at: 12)
        }
        // A copy that must be fetched from there for a restore is better than none.
        bench.apply(.drain(node: Bench.node(3), restartsJobs: false, by: Bench.user, time: Bench.at(30)))
        bench.sealed(1, at: 40)
        bench.copyPlan(at: 41)
        #expect(bench.newest(1)?.wantedCopies.count == 1)
    }

    @Test func anOlderKernelIsTheLastResortOfARestart() {
        var bench = Bench.with(kind: 2)
        bench.node(1, kind: 2) { $0.kernel = .init(5, 15) }
        for number in 2...3 { bench.node(number, kind: 2) }
        var other = bench
        bench.orphan(1)
        bench.plan(at: 101)
        #expect(bench.place(of: 1) == Bench.node(3), "the copy is fetched from node 1")
        other.apply(.cordon(node: Bench.node(3), by: Bench.user, time: Bench.at(2)))
        other.orphan(1)
        other.plan(at: 101)
        #expect(other.place(of: 1) == Bench.node(1))
    }

    @Test func aJobThatCanGoOnNowhereBeginsAnewAndSaysWhy() {
        var bench = Bench.with(kind: 1)
        bench.node(2, kind: 2)
        bench.orphan(1)
        // Node 2 may come back, and with it what was done.
        bench.plan(at: 101)
        #expect(bench.place(of: 1) == nil)
        let waiting = bench.state.job(Bench.id(1))
        #expect(waiting?.resumption?.generation == CheckpointGeneration(rawValue: 1))
        #expect(waiting?.message.contains("1 with processors that lack what the job may be using") == true)
        bench.plan(at: 699)
        #expect(bench.state.job(Bench.id(1))?.resumption != nil)
        let commands = bench.plan(at: 701)
        let reason =
            "No node can go on from checkpoint 1: node1 has processors without avx512f, avx512vl, which the job may be using."
        let generation = CheckpointGeneration(rawValue: 1)
        #expect(
            commands == [.passOver(job: Bench.id(1), generation: generation, reason: reason, time: Bench.at(701))]
        )
        let begun = bench.state.job(Bench.id(1))
        #expect(begun?.resumption == nil)
        #expect(begun?.message == reason + " No older checkpoint is left, so it starts from the beginning.")
        bench.plan(at: 702)
        #expect(bench.place(of: 1) == Bench.node(1))
    }

    @Test func whoHasADeadlineWaitsForNobodyToComeBack() {
        var bench = Bench.with(kind: 1)
        bench.node(2, kind: 2)
        bench.orphan(1) {
            $0.resources.cpus = 1
            $0.objective = .cpuTime(amount: .seconds(60), frame: .seconds(600))
        }
        #expect(bench.plan(at: 101).count == 1)
        bench.plan(at: 102)
        #expect(bench.place(of: 1) == Bench.node(1))
    }

    @Test func whoCouldGoOnWhereThereIsNoRoomNowWaits() {
        var bench = Bench.with(kind: 1)
        for number in 2...3 { bench.node(number, kind: 2) }
        bench.runningJob(2, on: 3) { $0.resources.memory = .gibibytes(6) }
        bench.orphan(1) {
            $0.resources.memory = .gibibytes(4)
            $0.objective = .cpuTime(amount: .seconds(60), frame: .seconds(6000))
        }
        bench.plan(at: 101)
        #expect(bench.state.job(Bench.id(1))?.resumption != nil)
        #expect(bench.place(of: 1) == nil)
    }

    @Test func aUsersOwnRestoreIsNotTurnedIntoABeginning() {
        var bench = Bench.with(kind: 1)
        bench.node(2, kind: 2)
        bench.orphan(1)
        let generation = CheckpointGeneration(rawValue: 1)
        bench.apply(
            .requestRestore(job: Bench.id(1), generation: generation, by: Bench.user, time: Bench.at(110))
        )
        bench.plan(at: 800)
        let job = bench.state.job(Bench.id(1))
        #expect(job?.state == .suspended)
        #expect(job?.message.hasPrefix("No node can go on from checkpoint 1: node1 has processors without") == true)
    }
}
