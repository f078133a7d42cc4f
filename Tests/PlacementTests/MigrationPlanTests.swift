import ClusterModel
import ClusterState
import Placement
import Testing

extension Bench {
    /// Two nodes in the north and one in the south, with jobs of 1 GiB that run on the first.
    fileprivate static func threeNodes(
        jobs: Int = 1,
        speaks: Int = ClusterState.newestVersion,
        _ change: (inout JobSpecification) -> Void = { _ in }
    ) -> Bench {
        var bench = Bench()
        for number in 1...3 {
            bench.node(number) {
                $0.site = SiteID(rawValue: number == 3 ? "south" : "north")
                $0.memory = .gibibytes(4)
                $0.speaks = speaks
            }
        }
        for number in 1...jobs {
            bench.runningJob(number, on: 1) {
                $0.resources.memory = .gibibytes(1)
                change(&$0)
            }
        }
        return bench
    }

    fileprivate func views(at seconds: Double) -> [NodeView] {
        NodeView.all(of: state, suspects: [], now: Self.at(seconds))
    }

    fileprivate func move(_ number: Int, to wish: String = "") -> MigrationPlan.Choice? {
        state.job(Self.id(number)).map {
            MigrationPlan().choose($0, to: wish, among: views(at: 3), now: Self.at(3))
        }
    }

    fileprivate func departures(at seconds: Double) -> [String] {
        let nodes = views(at: seconds)
        return state.liveJobs.map { MigrationPlan().departure(of: $0, among: nodes, now: Self.at(seconds)).message }
    }
}

/// Which jobs move where, and what is said when they cannot.
struct MigrationPlanTests {
    @Test func aWishIsANodeOrASiteOrNothing() {
        let bench = Bench.threeNodes()
        #expect(bench.move(1, to: "node2")?.to == Bench.node(2))
        #expect(bench.move(1, to: "south")?.to == Bench.node(3))
        #expect([Bench.node(2), Bench.node(3)].contains(bench.move(1)?.to))
        #expect(bench.move(1, to: "node1")?.reason == "It runs on node node1 already; choose another node.")
        let unknown = bench.move(1, to: "node4")?.reason
        #expect(unknown?.hasPrefix("There is no node and no site 'node4'. Did you mean 'node") == true)
    }

    @Test func whatStandsInTheWayIsSaid() {
        var bench = Bench.threeNodes()
        bench.apply(.cordon(node: Bench.node(2), by: Bench.user, time: Bench.at(3)))
        #expect(bench.move(1, to: "node2")?.reason == "Node node2 cannot take it: it is cordoned.")
        #expect(bench.move(1)?.to == Bench.node(3))
        bench.apply(.cordon(node: Bench.node(3), by: Bench.user, time: Bench.at(3)))
        #expect(bench.move(1)?.reason == "No other node can take it: node2 is cordoned; node3 is cordoned.")
    }

    @Test func someJobsCannotMoveAtAll() {
        let failing = Bench.threeNodes { $0.checkpoint.recovery = .fail }
        #expect(failing.move(1)?.to == nil && failing.move(1)?.reason.contains("`checkpoint.recovery: fail`") == true)
        var accelerated = Bench()
        for number in 1...2 { accelerated.node(number) { $0.deviceCount = 1 } }
        accelerated.runningJob(1, on: 1) { $0.resources.gpus = 1 }
        #expect(accelerated.move(1)?.to == nil && accelerated.move(1)?.reason.contains("it uses GPUs") == true)
        var waiting = Bench.threeNodes()
        waiting.job(2)
        #expect(waiting.move(2)?.reason.contains("only a running job moves") == true)
    }

    @Test func aDrainMovesAFewAtATimeAndAbortsWhatTakesTooLong() {
        var bench = Bench.threeNodes(jobs: 4)
        let plan = MigrationPlan()
        #expect(plan.commands(bench.state, now: Bench.at(2)).isEmpty)
        bench.apply(.drain(node: Bench.node(1), restartsJobs: false, by: Bench.user, time: Bench.at(3)))
        for command in plan.commands(bench.state, now: Bench.at(3)) { bench.apply(command) }
        #expect(bench.state.liveJobs.count { $0.migration != nil } == 2)
        #expect(plan.commands(bench.state, now: Bench.at(4)).isEmpty, "two are on their way")
        #expect(DrainPlan().commands(bench.state, now: Bench.at(4)).isEmpty, "who can move needs no checkpoint")
        let messages = bench.departures(at: 4)
        #expect(messages.prefix(2).allSatisfy { $0.hasSuffix(" prepares for it") })
        #expect(messages.suffix(2) == ["waits for its turn", "waits for its turn"])
        let late = plan.commands(bench.state, now: Bench.at(3) + Migration.preparationLimit + .seconds(1))
        #expect(late.count { if case .abortMigration = $0 { true } else { false } } == 2)
    }

    @Test func movesThatBeginTogetherDoNotTakeTheSameRoom() {
        var bench = Bench.threeNodes(jobs: 2) { $0.resources.memory = .gibibytes(2) }
        bench.runningJob(3, on: 3) { $0.resources.memory = .gibibytes(4) }
        bench.runningJob(4, on: 2) { $0.resources.memory = .gibibytes(1) }
        bench.apply(.drain(node: Bench.node(1), restartsJobs: false, by: Bench.user, time: Bench.at(3)))
        for command in MigrationPlan().commands(bench.state, now: Bench.at(3)) { bench.apply(command) }
        #expect(bench.state.liveJobs.count { $0.migration?.destination == Bench.node(2) } == 1)
        #expect(bench.state.liveJobs.count { $0.migration != nil } == 1)
    }

    @Test func nothingMovesBeforeAllNodesKnowHow() {
        var bench = Bench.threeNodes(speaks: 5)
        bench.apply(.drain(node: Bench.node(1), restartsJobs: false, by: Bench.user, time: Bench.at(3)))
        #expect(MigrationPlan().commands(bench.state, now: Bench.at(3)).isEmpty)
    }
}
