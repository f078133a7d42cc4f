import ClusterModel
import ClusterState
import Placement
import Testing

extension Bench {
    /// A job that runs on a node since second 2.
    mutating func runningJob(_ number: Int, on node: Int, _ change: (inout JobSpecification) -> Void = { _ in }) {
        job(number, change)
        apply(.assign(job: Self.id(number), node: Self.node(node), reason: "r.", time: Self.at(0)))
        run(number)
    }

    mutating func sealed(_ number: Int, at seconds: Double) {
        guard let record = state.job(Self.id(number)), let node = record.node else { return }
        apply(.beginCheckpoint(job: record.id, incarnation: record.incarnation, time: Self.at(seconds)))
        let entry = CatalogEntry(
            generation: record.lastGeneration.next,
            taken: Self.at(seconds),
            node: node,
            incarnation: record.incarnation,
            frozen: .zero,
            total: .zero,
            raw: .mebibytes(64),
            stored: .mebibytes(20),
            consumed: .zero,
            completedIterations: 0,
            seal: ImageSeal(key: 1, digest: String(repeating: "0", count: 64))
        )
        apply(.checkpointRecorded(job: record.id, entry: entry, time: Self.at(seconds)))
    }

    /// Plans copies, applies, and gives the plan.
    @discardableResult
    mutating func copyPlan(
        _ plan: CopyPlan = CopyPlan(),
        suspects: Set<NodeID> = [],
        at seconds: Double
    ) -> [Command] {
        let commands = plan.commands(state, suspects: suspects, now: Self.at(seconds))
        for command in commands { apply(command) }
        return commands
    }

    /// Every node that is to fetch a copy has it.
    mutating func fetchAll(at seconds: Double) {
        for job in state.jobs {
            for entry in job.catalog {
                for node in entry.wantedCopies {
                    apply(.copyHeld(job: job.id, generation: entry.generation, node: node, time: Self.at(seconds)))
                }
            }
        }
    }

    /// A node has no room for the first checkpoint of the first job.
    mutating func decline(by node: NodeID, at seconds: Double) {
        apply(
            .copyDeclined(
                job: Self.id(1),
                generation: CheckpointGeneration(rawValue: 1),
                node: node,
                reason: "No room.",
                time: Self.at(seconds)
            )
        )
    }

    func newest(_ number: Int) -> CatalogEntry? { state.job(Self.id(number))?.catalog.last }
}

struct CopyPlanTests {
    @Test("a checkpoint gets as many copies as its job asks for, and then the plan is silent")
    func count() {
        var bench = Bench()
        for number in 1...4 { bench.node(number) }
        bench.runningJob(1, on: 1) { $0.checkpoint.replicas = 2 }
        bench.sealed(1, at: 10)
        bench.copyPlan(at: 11)
        #expect(bench.newest(1)?.wantedCopies.count == 2)
        #expect(bench.newest(1)?.wantedCopies.contains(Bench.node(1)) == false)
        #expect(bench.copyPlan(at: 12).isEmpty)
        bench.fetchAll(at: 13)
        #expect(bench.copyPlan(at: 14).isEmpty)
        #expect(bench.newest(1)?.holders.count == 3)
    }

    @Test("copies go where the fewest are, and the same state gives the same plan")
    func spread() {
        var bench = Bench()
        for number in 1...4 { bench.node(number) }
        for number in 1...6 {
            bench.runningJob(number, on: 1)
            bench.sealed(number, at: 10)
            bench.copyPlan(at: 11)
            bench.fetchAll(at: 12)
        }
        let holders = (1...6).compactMap { bench.newest($0)?.holders.last }
        for node in 2...4 { #expect(holders.count { $0 == Bench.node(node) } == 2) }
        let plan = CopyPlan()
        bench.sealed(1, at: 20)
        #expect(plan.commands(bench.state, now: Bench.at(21)) == plan.commands(bench.state, now: Bench.at(21)))
    }

    private func record(_ bench: Bench) throws -> JobRecord { try #require(bench.state.job(Bench.id(1))) }

    @Test("the next generation goes where the one before is, which is known before it is stored")
    func sameHolders() throws {
        var bench = Bench()
        for number in 1...6 { bench.node(number) }
        bench.runningJob(1, on: 1) { $0.checkpoint.replicas = 2 }
        let first = CopyPlan().likelyHolders(
            of: try record(bench),
            taking: CheckpointGeneration(rawValue: 1),
            in: bench.state,
            now: Bench.at(9)
        )
        #expect(first.count == 2 && !first.contains(Bench.node(1)))
        bench.sealed(1, at: 10)
        bench.copyPlan(at: 11)
        #expect(bench.newest(1)?.wantedCopies == first.sorted())
        bench.fetchAll(at: 12)
        // These two keep most by now.
        for second in [20.0, 30.0] {
            let likely = CopyPlan().likelyHolders(
                of: try record(bench),
                taking: try record(bench).lastGeneration.next,
                in: bench.state,
                now: Bench.at(second)
            )
            bench.sealed(1, at: second)
            bench.copyPlan(at: second + 1)
            #expect(bench.newest(1)?.wantedCopies == first.sorted() && likely.sorted() == first.sorted())
            bench.fetchAll(at: second + 2)
        }
        bench.apply(.drain(node: first[0], restartsJobs: false, by: Bench.user, time: Bench.at(40)))
        bench.sealed(1, at: 41)
        bench.copyPlan(at: 42)
        #expect(bench.newest(1)?.wantedCopies.contains(first[1]) == true)
        #expect(bench.newest(1)?.wantedCopies.contains(first[0]) == false)
    }

    @Test("copies stay at their site unless the job asks for another one, which then comes first")
    func sites() {
        var bench = Bench()
        bench.node(1)
        bench.node(2)
        bench.node(3) { $0.site = SiteID(rawValue: "south") }
        bench.runningJob(1, on: 1) { $0.checkpoint.replicas = 2 }
        bench.sealed(1, at: 10)
        bench.copyPlan(at: 11)
        #expect(bench.newest(1)?.wantedCopies == [Bench.node(2)])
        bench.runningJob(2, on: 1) { $0.checkpoint.otherSite = true }
        bench.sealed(2, at: 10)
        bench.copyPlan(at: 11)
        #expect(bench.newest(2)?.wantedCopies == [Bench.node(3)])
    }

    @Test("nodes that are full, draining, suspected or have declined are not asked")
    func unfit() {
        var bench = Bench()
        bench.node(1)
        bench.node(2) { $0.labels = [CopyPlan.fullLabel] }
        for number in 3...6 { bench.node(number) }
        bench.apply(.drain(node: Bench.node(3), restartsJobs: false, by: Bench.user, time: Bench.at(0)))
        bench.runningJob(1, on: 1)
        bench.sealed(1, at: 10)
        let suspects: Set = [Bench.node(4), Bench.node(5)]
        bench.copyPlan(suspects: suspects, at: 11)
        #expect(bench.newest(1)?.wantedCopies == [Bench.node(6)])
        bench.decline(by: Bench.node(6), at: 12)
        #expect(bench.copyPlan(suspects: suspects, at: 13).isEmpty)
        bench.copyPlan(suspects: [Bench.node(4)], at: 14)
        #expect(bench.newest(1)?.wantedCopies == [Bench.node(5)])
    }

    @Test("a node that declined is asked again after a while, ever more rarely, and after those that did not decline")
    func declinedForNow() {
        var bench = Bench()
        for number in 1...3 { bench.node(number) }
        bench.runningJob(1, on: 1)
        bench.sealed(1, at: 10)
        bench.copyPlan(at: 11)
        let first = bench.newest(1)?.wantedCopies.first ?? Bench.node(9)
        let second = first == Bench.node(2) ? Bench.node(3) : Bench.node(2)
        bench.decline(by: first, at: 12)
        bench.copyPlan(at: 13)
        #expect(bench.newest(1)?.wantedCopies == [second])
        bench.decline(by: second, at: 14)
        #expect(bench.copyPlan(at: 71.9).isEmpty)
        bench.copyPlan(at: 72)
        #expect(bench.newest(1)?.wantedCopies == [first])
        // The other may be asked again as well by now, and the one that declined twice may not.
        bench.decline(by: first, at: 100)
        bench.copyPlan(at: 101)
        #expect(bench.newest(1)?.wantedCopies == [second])
        bench.copyPlan(suspects: [second], at: 219.9)
        #expect(bench.newest(1)?.wantedCopies == [])
        bench.copyPlan(suspects: [second], at: 220)
        #expect(bench.newest(1)?.wantedCopies == [first])
        // However often it declines, the pause has an end.
        var moment = 230.0
        for _ in 0..<20 {
            bench.decline(by: first, at: moment)
            #expect(bench.copyPlan(suspects: [second], at: moment + 239).isEmpty)
            bench.copyPlan(suspects: [second], at: moment + 600)
            #expect(bench.newest(1)?.wantedCopies == [first])
            moment += 601
        }
        // Who was never asked comes first, wherever it stands otherwise.
        bench.node(4)
        bench.decline(by: first, at: moment)
        bench.copyPlan(at: moment + 700)
        #expect(bench.newest(1)?.wantedCopies == [Bench.node(4)])
    }

    @Test("a node that stops while it fetches is replaced")
    func replaced() {
        var bench = Bench()
        for number in 1...3 { bench.node(number) }
        bench.runningJob(1, on: 1)
        bench.sealed(1, at: 10)
        bench.copyPlan(at: 11)
        guard let first = bench.newest(1)?.wantedCopies.first else { return #expect(Bool(false)) }
        bench.copyPlan(suspects: [first], at: 12)
        #expect(bench.newest(1)?.wantedCopies.count == 1)
        #expect(bench.newest(1)?.wantedCopies != [first])
    }

    @Test("a node fetches no more copies at once than it may")
    func bound() {
        var bench = Bench()
        for number in 1...2 { bench.node(number) }
        for number in 1...5 {
            bench.runningJob(number, on: 1)
            bench.sealed(number, at: 10)
        }
        bench.copyPlan(at: 11)
        #expect((1...5).count { bench.newest($0)?.wantedCopies.isEmpty == false } == 2)
        var rounds = 0
        while (1...5).contains(where: { bench.newest($0)?.holders.count == 1 }), rounds < 10 {
            bench.fetchAll(at: 12)
            bench.copyPlan(at: 13)
            rounds += 1
        }
        #expect(rounds == 3)
    }

    @Test("one generation of a job is copied at a time, the newest first")
    func newestFirst() {
        var bench = Bench()
        for number in 1...3 { bench.node(number) }
        bench.runningJob(1, on: 1)
        bench.sealed(1, at: 10)
        bench.sealed(1, at: 20)
        bench.copyPlan(at: 21)
        #expect(bench.state.job(Bench.id(1))?.catalog.map(\.wantedCopies.count) == [0, 1])
        bench.fetchAll(at: 22)
        bench.copyPlan(at: 23)
        #expect(bench.state.job(Bench.id(1))?.catalog.map(\.wantedCopies.count) == [1, 0])
    }

    @Test(
        "a lost node's copies are made anew after a while, those of one that left at once, and its old ones are forgotten"
    )
    func repair() {
        var bench = Bench()
        for number in 1...4 { bench.node(number) }
        bench.runningJob(1, on: 1)
        bench.sealed(1, at: 10)
        bench.copyPlan(at: 11)
        bench.fetchAll(at: 12)
        guard let second = bench.newest(1)?.holders.last else { return #expect(Bool(false)) }
        bench.apply(.nodeLost(node: second, reason: "silent", time: Bench.at(20)))
        #expect(bench.copyPlan(at: 30).isEmpty)
        bench.copyPlan(at: 20 + 601)
        #expect(bench.newest(1)?.wantedCopies.count == 1)
        bench.fetchAll(at: 630)
        bench.copyPlan(at: 631)
        #expect(bench.newest(1)?.holders.count == 2)
        #expect(bench.newest(1)?.holders.contains(second) == false)
        guard let third = bench.newest(1)?.holders.last else { return #expect(Bool(false)) }
        bench.apply(.nodeLeft(NodeDeparture(node: third, time: Bench.at(640))))
        bench.copyPlan(at: 641)
        #expect(bench.newest(1)?.wantedCopies.count == 1)
    }

    @Test("copies leave a node that is drained before it goes")
    func drained() {
        var bench = Bench()
        for number in 1...4 { bench.node(number) }
        bench.runningJob(1, on: 1)
        bench.sealed(1, at: 10)
        bench.copyPlan(at: 11)
        bench.fetchAll(at: 12)
        guard let second = bench.newest(1)?.holders.last else { return #expect(Bool(false)) }
        bench.apply(.drain(node: second, restartsJobs: false, by: Bench.user, time: Bench.at(20)))
        bench.copyPlan(at: 21)
        bench.fetchAll(at: 22)
        bench.copyPlan(at: 23)
        #expect(bench.newest(1)?.holders.contains(second) == false)
        #expect(bench.newest(1)?.holders.count == 2)
    }

    @Test("a restore goes where the job ran, else where a copy is, else anywhere that can fetch one")
    func restart() {
        var bench = Bench()
        for number in 1...4 { bench.node(number) }
        bench.runningJob(1, on: 1)
        bench.sealed(1, at: 10)
        bench.copyPlan(at: 11)
        bench.fetchAll(at: 12)
        guard let second = bench.newest(1)?.holders.last else { return #expect(Bool(false)) }
        var crashed = bench
        crashed.apply(
            .exited(
                job: Bench.id(1),
                incarnation: Incarnation(rawValue: 1),
                exit: .lost,
                consumed: nil,
                time: Bench.at(90)
            )
        )
        crashed.plan(at: 91)
        #expect(crashed.place(of: 1) == Bench.node(1))
        bench.apply(.nodeLost(node: Bench.node(1), reason: "silent", time: Bench.at(90)))
        var cordoned = bench
        bench.plan(at: 91)
        #expect(bench.place(of: 1) == second)
        cordoned.apply(.cordon(node: second, by: Bench.user, time: Bench.at(91)))
        cordoned.plan(at: 92)
        #expect(cordoned.place(of: 1) != nil)
        #expect(cordoned.state.job(Bench.id(1))?.message.contains("it is fetched") == true)
    }
}

struct DrainPlanTests {
    private static func key(_ bench: inout Bench) {
        let secret = SecretBytes([UInt8](repeating: 1, count: 32))
        bench.apply(.addCheckpointKey(CheckpointKey(number: 1, secret: secret, gossipKey: 1, time: Bench.at(0))))
    }

    @Test("jobs leave a drained node a few at a time, as long as another node can take them")
    func few() {
        var bench = Bench()
        // Of before jobs could move while they run.
        bench.node(1) { $0.speaks = 5 }
        bench.node(2) { ($0.memory, $0.speaks) = (.gibibytes(2), 5) }
        for number in 1...4 { bench.runningJob(number, on: 1) { $0.resources.memory = .gibibytes(1) } }
        bench.runningJob(5, on: 1) { $0.resources.memory = .gibibytes(3) }
        bench.runningJob(6, on: 1) { $0.checkpoint.recovery = .fail }
        bench.apply(.drain(node: Bench.node(1), restartsJobs: false, by: Bench.user, time: Bench.at(5)))
        let plan = DrainPlan()
        #expect(plan.commands(bench.state, now: Bench.at(6)).isEmpty, "without a key no checkpoint leaves its node")
        Self.key(&bench)
        #expect(plan.commands(bench.state, suspects: [Bench.node(2)], now: Bench.at(6)).isEmpty)
        for command in plan.commands(bench.state, now: Bench.at(6)) { bench.apply(command) }
        let asked = bench.state.liveJobs.filter { $0.request?.isMovingAway == true }.map(\.id)
        #expect(asked == [Bench.id(1), Bench.id(2)])
        #expect(plan.commands(bench.state, now: Bench.at(7)).isEmpty)
    }
}
