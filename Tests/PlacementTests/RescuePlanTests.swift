import ClusterModel
import ClusterState
import Placement
import Testing

extension Bench {
    /// A job that runs on a node since second 2, with so much work to do by a deadline.
    fileprivate mutating func dueJob(
        _ number: Int,
        on node: Int,
        work: Double,
        within frame: Double,
        _ change: (inout JobSpecification) -> Void = { _ in }
    ) {
        runningJob(number, on: node) {
            $0.resources.cpus = 4
            $0.resources.memory = .mebibytes(100)
            $0.objective = .cpuTime(amount: .seconds(work), frame: .seconds(frame))
            change(&$0)
        }
    }

    /// A job without a deadline that holds memory.
    fileprivate mutating func holder(
        _ number: Int,
        on node: Int,
        _ memory: ByteCount,
        _ change: (inout JobSpecification) -> Void = { _ in }
    ) {
        runningJob(number, on: node) {
            $0.resources.memory = memory
            change(&$0)
        }
    }

    /// A job with a deadline that waits for 6 GiB.
    fileprivate mutating func waitingJob(_ number: Int, weight: Double = 1) {
        job(number, at: 100) {
            $0.weight = weight
            $0.resources.memory = .gibibytes(6)
            $0.objective = .cpuTime(amount: .seconds(60), frame: .seconds(600))
        }
    }

    /// What the plan does when the trouble has lasted long enough.
    fileprivate func rescue(suspects: Set<NodeID> = [], at seconds: Double = 100) -> [RescuePlan.Step] {
        var plan = RescuePlan()
        _ = plan.steps(state, suspects: suspects, now: Self.at(seconds))
        return plan.steps(state, suspects: suspects, now: Self.at(seconds + 6))
    }

    fileprivate static func with(nodes count: Int) -> Bench {
        var bench = Bench()
        for number in 1...count { bench.node(number) }
        return bench
    }
}

struct RescuePlanTests {
    @Test("a node whose deadlines do not fit together gives a job to one that keeps it, after a while of trouble")
    func overload() {
        var bench = Bench.with(nodes: 2)
        bench.dueJob(1, on: 1, work: 1000, within: 400)
        bench.dueJob(2, on: 1, work: 1000, within: 400) { $0.resources.memory = .gibibytes(4) }
        var plan = RescuePlan()
        #expect(plan.steps(bench.state, now: Bench.at(100)).isEmpty)
        #expect(plan.steps(bench.state, now: Bench.at(104)).isEmpty)
        let steps = plan.steps(bench.state, now: Bench.at(105))
        // The smaller one has the shorter pause.
        #expect(steps.map(\.job) == [Bench.id(1)])
        #expect(steps.map(\.way) == [.move(to: Bench.node(2))])
        #expect(
            steps.first?.reason
                == "Node node1 cannot keep all its deadlines, 828 CPU s have no room there whatever the allocations are. This job moves to"
                + " node node2, which keeps its deadline: the cheapest way, with a pause of about 2.0 s for 100 MiB."
        )
    }

    @Test("trouble that passes is forgotten")
    func passing() {
        var bench = Bench.with(nodes: 2)
        bench.dueJob(1, on: 1, work: 1000, within: 400)
        var calm = bench
        bench.dueJob(2, on: 1, work: 1000, within: 400)
        calm.apply(.requestCancel(job: Bench.id(1), grace: .zero, by: Bench.user, time: Bench.at(3)))
        var plan = RescuePlan()
        #expect(plan.steps(bench.state, now: Bench.at(100)).isEmpty)
        #expect(plan.steps(calm.state, now: Bench.at(103)).isEmpty)
        #expect(plan.steps(bench.state, now: Bench.at(106)).isEmpty)
        #expect(!plan.steps(bench.state, now: Bench.at(111)).isEmpty)
    }

    @Test("a node that keeps its deadlines is left alone, however full it is")
    func calm() {
        var bench = Bench.with(nodes: 2)
        bench.dueJob(1, on: 1, work: 700, within: 400)
        bench.dueJob(2, on: 1, work: 700, within: 400)
        for number in 3...8 { bench.holder(number, on: 1, .gibibytes(1)) }
        #expect(bench.rescue(at: 10).isEmpty)
    }

    @Test("nothing moves where no node keeps the deadline, the pause included")
    func noDestination() {
        var full = Bench.with(nodes: 2)
        full.dueJob(1, on: 1, work: 1000, within: 400)
        full.dueJob(2, on: 1, work: 1000, within: 400)
        full.dueJob(3, on: 2, work: 1200, within: 400)
        #expect(full.rescue(at: 70).isEmpty)
        // 3 s of pause are more than is left beside the work.
        var tight = Bench.with(nodes: 2)
        tight.dueJob(1, on: 1, work: 1194, within: 400)
        tight.dueJob(2, on: 1, work: 1194, within: 400)
        #expect(tight.rescue(at: 95).isEmpty)
        #expect(!tight.rescue(at: 90).isEmpty)
        // And nobody goes to a node that hardly answers, or from one that must not be asked.
        #expect(tight.rescue(suspects: [Bench.node(2)], at: 90).isEmpty)
    }

    @Test("a deadline that is out of reach even alone makes nobody move")
    func outOfReach() {
        var bench = Bench.with(nodes: 2)
        bench.dueJob(1, on: 1, work: 4000, within: 400)
        bench.dueJob(2, on: 1, work: 400, within: 400)
        #expect(bench.rescue().isEmpty)
    }

    @Test("a job that has just begun stays, and so does one that cannot be moved")
    func undisturbed() {
        var bench = Bench.with(nodes: 2)
        bench.dueJob(1, on: 1, work: 1000, within: 400)
        bench.dueJob(2, on: 1, work: 1000, within: 400)
        #expect(bench.rescue(at: 40).isEmpty)
        var rules = Bench.with(nodes: 2)
        for number in 1...2 {
            rules.dueJob(number, on: 1, work: 1000, within: 400) { $0.checkpoint.recovery = .fail }
        }
        #expect(rules.rescue().isEmpty)
        var alone = Bench.with(nodes: 1)
        for number in 1...2 { alone.dueJob(number, on: 1, work: 1000, within: 400) }
        #expect(alone.rescue().isEmpty)
    }

    @Test("a move that failed is not tried again at once, nor to the node that declined it")
    func declined() {
        var bench = Bench.with(nodes: 3)
        bench.dueJob(1, on: 1, work: 1000, within: 400)
        bench.dueJob(2, on: 1, work: 1000, within: 400) { $0.checkpoint.recovery = .fail }
        guard case .move(let first) = bench.rescue().first?.way else {
            Issue.record("nothing moves")
            return
        }
        for command in RescuePlan.commands(bench.rescue(), now: Bench.at(106)) { bench.apply(command) }
        #expect(bench.rescue(at: 107).isEmpty, "it is on its way")
        bench.apply(.abortMigration(job: Bench.id(1), number: 1, reason: "No.", declinedBy: first, time: Bench.at(108)))
        #expect(bench.rescue(at: 105).isEmpty)
        let again = bench.rescue(at: 114).first?.way
        #expect(again != nil && again != .move(to: first))
    }

    @Test("room for a job with a deadline is made by moving one without, where it can go on elsewhere")
    func moveAside() {
        var bench = Bench.with(nodes: 2)
        bench.holder(1, on: 1, .gibibytes(3))
        bench.holder(2, on: 2, .gibibytes(4))
        bench.waitingJob(3)
        let steps = bench.rescue()
        #expect(steps.map(\.job) == [Bench.id(1)])
        #expect(steps.map(\.way) == [.move(to: Bench.node(2))])
        #expect(
            steps.first?.reason
                == "job-3 (job3aaaaaaaa) waits with a deadline and needs the room that this job has on node node1 without one. It moves to"
                + " node node2, with a pause of about 32 s."
        )
    }

    @Test("where there is no room elsewhere, the least weighty end with a checkpoint")
    func preemption() {
        var bench = Bench.with(nodes: 2)
        bench.dueJob(1, on: 2, work: 100, within: 4000) { $0.resources.memory = .gibibytes(8) }
        bench.holder(2, on: 1, .gibibytes(3)) { $0.weight = 0.5 }
        bench.holder(3, on: 1, .gibibytes(4)) { $0.weight = 0.1 }
        bench.holder(4, on: 1, .gibibytes(1)) { $0.weight = 1 }
        bench.waitingJob(5)
        let steps = bench.rescue()
        #expect(steps.map(\.job) == [Bench.id(3), Bench.id(2)])
        #expect(steps.allSatisfy { $0.way == .preempt(for: Bench.id(5)) })
        #expect(
            steps.last?.reason.hasSuffix("It ends with a checkpoint and goes on from that when there is room again.")
                == true
        )
    }

    @Test("nobody yields to a job of less weight, and nobody with a deadline yields at all")
    func weights() {
        var bench = Bench.with(nodes: 2)
        bench.holder(1, on: 1, .gibibytes(8)) { $0.weight = 2 }
        bench.dueJob(2, on: 2, work: 100, within: 4000) { $0.resources.memory = .gibibytes(8) }
        bench.waitingJob(3)
        #expect(bench.rescue().isEmpty)
        bench.waitingJob(4, weight: 2)
        #expect(bench.rescue().map(\.job) == [Bench.id(1)])
    }

    @Test("a job that has room somewhere disturbs nobody: it is placed")
    func placed() {
        var bench = Bench.with(nodes: 3)
        bench.holder(1, on: 1, .gibibytes(8))
        bench.holder(2, on: 2, .gibibytes(8))
        bench.waitingJob(3)
        #expect(bench.rescue().isEmpty)
    }

    @Test("the size that counts is the last checkpoint's, once there is one")
    func measured() {
        var bench = Bench.with(nodes: 2)
        bench.dueJob(1, on: 1, work: 1000, within: 400)
        bench.dueJob(2, on: 1, work: 1000, within: 400) { $0.resources.memory = .gibibytes(4) }
        bench.sealed(2, at: 50)
        let steps = bench.rescue()
        #expect(steps.map(\.job) == [Bench.id(2)])
        #expect(steps.first?.reason.hasSuffix("with a pause of about 1.6 s for 64 MiB.") == true)
    }
}
