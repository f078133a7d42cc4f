import ClusterModel
import ClusterState
import Placement
import Testing

struct SpacePlanTests {
    private static func bench() -> Bench {
        var bench = Bench()
        for number in 1...3 { bench.node(number) }
        for job in 1...2 {
            bench.runningJob(job, on: job) {
                $0.checkpoint.generations = 4
                $0.checkpoint.replicas = 1
            }
            for number in 0..<4 { bench.sealed(job, at: Double(10 + 10 * number + job)) }
        }
        return bench
    }

    private static func released(_ commands: [Command]) -> [(job: JobID, generation: UInt32)] {
        commands.compactMap {
            guard case .releaseCheckpoint(let release) = $0 else { return nil }
            return (release.job, release.generation.rawValue)
        }
    }

    @Test("there is room: nothing goes")
    func room() {
        let bench = Self.bench()
        let plan = SpacePlan().commands(
            bench.state,
            of: Bench.node(1),
            used: .mebibytes(80),
            bound: .mebibytes(100),
            now: Bench.at(60)
        )
        #expect(plan.isEmpty)
    }

    @Test("the oldest that nobody needs go until there is room, and those of other nodes stay")
    func oldest() {
        var bench = Self.bench()
        let plan = SpacePlan().commands(
            bench.state,
            of: Bench.node(1),
            used: .mebibytes(100),
            bound: .mebibytes(100),
            now: Bench.at(60)
        )
        #expect(Self.released(plan).map(\.generation) == [1])
        #expect(Self.released(plan).allSatisfy { $0.job == Bench.id(1) })
        for command in plan { bench.apply(command) }
        #expect(bench.state.job(Bench.id(1))?.goodCheckpoints.map(\.generation.rawValue) == [2, 3, 4])
    }

    @Test("what a job needs stays, however full the node is")
    func needed() {
        let bench = Self.bench()
        let plan = SpacePlan().commands(
            bench.state,
            of: Bench.node(2),
            used: .gibibytes(100),
            bound: .mebibytes(1),
            now: Bench.at(60)
        )
        #expect(Self.released(plan).map(\.generation) == [1, 2, 3])
        let needed = CheckpointRelease(
            job: Bench.id(2),
            generation: CheckpointGeneration(rawValue: 4),
            node: Bench.node(2),
            reason: "full.",
            time: Bench.at(61)
        )
        var state = bench.state
        #expect(state.apply(.releaseCheckpoint(needed)).refusal?.code == .conflict)
    }
}
