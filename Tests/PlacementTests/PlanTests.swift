import ClusterModel
import ClusterState
import Placement
import QoS
import Testing

struct PlanTests {
    @Test func aPlanThatIsCarriedOutIsEmpty() {
        var bench = Bench()
        for number in 1...3 { bench.node(number) }
        for number in 1...10 { bench.job(number) { $0.resources.memory = .gibibytes(3) } }
        #expect(bench.plan().count == 10)
        #expect(bench.plan(at: 2) == [])
        let waiting = bench.state.jobs.filter { $0.assignedNode == nil }
        #expect(waiting.count == 4)
        #expect(waiting.map(\.message).allSatisfy { $0 == "Waits for a node: of 3, 3 without 3 GiB of free memory." })
    }

    @Test func withoutNodesThereIsNoPlan() {
        var bench = Bench()
        bench.job(1)
        #expect(bench.plan() == [])
    }

    @Test func deadlinesComeFirstThenWeightThenAge() {
        var bench = Bench()
        bench.node(1) { $0.memory = .gibibytes(1) }
        bench.job(1, at: 0) { $0.resources.memory = .gibibytes(1) }
        bench.job(2, at: 1) {
            $0.resources.memory = .gibibytes(1)
            $0.weight = 5
        }
        bench.job(3, at: 2) {
            $0.resources.memory = .gibibytes(1)
            $0.objective = .cpuTime(amount: .seconds(10), frame: .seconds(900))
        }
        bench.job(4, at: 3) {
            $0.resources.memory = .gibibytes(1)
            $0.objective = .cpuTime(amount: .seconds(10), frame: .seconds(600))
        }
        var order: [JobID] = []
        for _ in 1...4 {
            bench.plan(at: 10)
            guard let job = bench.state.jobs.first(where: { $0.assignedNode != nil }) else { break }
            order.append(job.id)
            bench.apply(.requestCancel(job: job.id, grace: .zero, by: Bench.user, time: Bench.at(11)))
        }
        #expect(order == [4, 3, 2, 1].map(Bench.id))
    }

    @Test func aJobThatHasNotBegunLeavesANodeThatTakesNoJobsAnyMore() {
        var bench = Bench()
        bench.node(1)
        bench.node(2)
        for number in 1...4 { bench.job(number) }
        bench.job(5) { $0.constraints.nodes = [Bench.node(1)] }
        bench.plan()
        let held = (1...5).filter { bench.place(of: $0) == Bench.node(1) }
        #expect(held.contains(5) && held.count > 1)
        // As a node says of itself when its disk is full.
        bench.node(1) { $0.takesJobs = false }
        bench.plan(at: 2)
        #expect((1...4).allSatisfy { bench.place(of: $0) == Bench.node(2) })
        #expect(bench.place(of: 5) == Bench.node(1), "a job that names the node waits there")
        #expect(bench.plan(at: 3) == [])
        // Where nobody else can take it, a job stays rather than go round in circles.
        bench.node(2) { $0.takesJobs = false }
        #expect(bench.plan(at: 4) == [])
        #expect((1...4).allSatisfy { bench.place(of: $0) == Bench.node(2) })
    }

    @Test func aJobThatHasNotBegunLeavesASuspectNode() {
        var bench = Bench()
        bench.node(1)
        bench.node(2)
        bench.job(1)
        bench.job(2)
        bench.plan()
        let (first, second) = (bench.place(of: 1), bench.place(of: 2))
        bench.run(2)
        #expect(first != second)
        let commands = bench.plan(suspects: Set([first].compactMap { $0 }))
        #expect(commands.count == 1)
        #expect(bench.place(of: 1) == second)
        // What runs there stays, and a node that only hesitates keeps what no other can take.
        #expect(bench.plan(suspects: [Bench.node(1), Bench.node(2)]) == [])
        #expect(bench.place(of: 2) == second)
    }

    @Test func aJobThatHasNotBegunLeavesACordonedNode() {
        var bench = Bench()
        bench.node(1)
        bench.job(1)
        bench.plan()
        bench.apply(.cordon(node: Bench.node(1), by: Bench.user, time: Bench.at(2)))
        bench.plan(at: 3)
        #expect(bench.place(of: 1) == nil)
        #expect(bench.state.job(Bench.id(1))?.message == "Waits for a node: node1 is cordoned.")
        #expect(bench.plan(at: 4) == [])
        bench.node(2)
        bench.plan(at: 5)
        #expect(bench.place(of: 1) == Bench.node(2))
    }

    @Test func aRetryIsPlacedWhenItIsDue() {
        var bench = Bench()
        bench.node(1)
        bench.job(1) {
            $0.retries.limit = 1
            $0.retries.backoff = .seconds(60)
        }
        bench.plan()
        bench.run(1)
        bench.apply(
            .exited(
                job: Bench.id(1),
                incarnation: Incarnation(rawValue: 1),
                exit: .exited(code: 1),
                consumed: nil,
                time: Bench.at(10)
            )
        )
        #expect(bench.plan(at: 69) == [])
        #expect(bench.plan(at: 70).count == 1)
    }

    @Test func jobsOfALostNodeAreStartedElsewhere() {
        var bench = Bench()
        for number in 1...4 { bench.node(number) }
        for number in 1...8 { bench.job(number) }
        bench.plan()
        for number in 1...8 { bench.run(number) }
        bench.apply(.nodeLost(node: Bench.node(1), reason: "no answer for 40 s", time: Bench.at(60)))
        #expect(bench.plan(at: 61).count == 2)
        let places = (1...8).map { bench.place(of: $0) }
        #expect(!places.contains(nil) && !places.contains(Bench.node(1)))
    }

    @Test func onePlanIsBounded() {
        var bench = Bench()
        bench.node(1)
        for number in 1...30 { bench.job(number) }
        let commands = Placement.plan(bench.state, now: Bench.at(1), limit: 7)
        #expect(commands.count == 7)
        for command in commands { bench.apply(command) }
        #expect(bench.plan().count == 23)
    }

    // MARK: Random clusters

    /// Draws clusters and what happens to them.
    private struct Source {
        var generator: SeededGenerator
        mutating func below(_ bound: Int) -> Int { Int(generator.next() % UInt64(bound)) }
        mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }

        mutating func node(_ registration: inout NodeRegistration) {
            registration.site = SiteID(rawValue: pick(["north", "south", "west"]))
            registration.vcpus = VCPUCount(Double(pick([1, 2, 4, 8])))
            registration.memory = .gibibytes(Int64(pick([1, 4, 16])))
            registration.deviceCount = pick([0, 0, 0, 2])
            registration.takesJobs = below(6) > 0
            registration.role = below(5) == 0 ? .gateway : .worker
            registration.labels = below(2) == 0 ? [] : [.init(key: "disk", value: pick(["ssd", "hdd"]))]
        }

        mutating func job(_ specification: inout JobSpecification) {
            specification.resources.cpus = VCPUCount(Double(pick([1, 2, 4])))
            specification.resources.memory = pick([nil, .mebibytes(256), .gibibytes(1), .gibibytes(3)])
            specification.resources.gpus = pick([0, 0, 0, 0, 1, 2])
            specification.spread = pick([.nodes, .nodes, .sites, .pack])
            specification.labels = below(3) == 0 ? [.init(key: "app", value: pick(["a", "b"]))] : []
            if below(4) == 0 { specification.constraints.sites = [SiteID(rawValue: pick(["north", "south"]))] }
            if below(6) == 0 { specification.constraints.roles = [pick([.gateway, .worker])] }
            if below(6) == 0 { specification.constraints.labels = [.init(key: "disk", value: "ssd")] }
            if below(9) == 0 { specification.constraints.nodes = [Bench.node(1 + below(6)), Bench.node(1 + below(6))] }
            if below(2) == 0 {
                let frame = 60 + below(600)
                specification.objective = .cpuTime(
                    amount: .seconds(max(1, frame * (1 + below(100)) / 100)),
                    frame: .seconds(frame)
                )
            }
        }
    }

    /// What `choose` means, in the plainest words: sums over the jobs of each node, one list, one sort.
    private static func obvious(_ job: PlacementCandidate, _ state: ClusterState, now: Timestamp) -> NodeID? {
        struct Option {
            var node: NodeRecord
            var alike = 0
            var load = 0.0
            var keeps = true
            var wanted = 0.0
        }
        func rate(_ job: PlacementCandidate) -> Double {
            job.demand.map { min($0.limit, $0.work / $0.deadline) } ?? 0
        }
        let wishes = job.specification.constraints
        var options: [Option] = []
        for node in state.nodes {
            let jobs = state.liveJobs.filter { $0.assignedNode == node.node }.map { PlacementCandidate($0, now: now) }
            let memory = jobs.reduce(Int64(0)) { $0 + $1.memory.rawValue }
            let devices = jobs.reduce(0) { $0 + $1.specification.resources.gpus }
            let named = !wishes.nodes.isEmpty || !wishes.roles.isEmpty
            guard node.state == .active, !node.isCordoned, !node.isDraining, node.takesJobs || named,
                wishes.sites.isEmpty || wishes.sites.contains(node.site),
                wishes.roles.isEmpty || wishes.roles.contains(node.role),
                wishes.nodes.isEmpty || wishes.nodes.contains(node.node),
                wishes.labels.allSatisfy({ node.labels.contains($0) }),
                job.memory == .zero || memory + job.memory.rawValue <= node.memory.rawValue,
                devices + job.specification.resources.gpus <= node.deviceCount || job.specification.resources.gpus == 0
            else { continue }
            var option = Option(node: node)
            let capacity = node.vcpus.rawValue
            let promised = jobs.reduce(0) { $0 + rate($1) }
            let others = jobs.filter { $0.demand == nil }.reduce(0) {
                $0 + min($1.specification.resources.cpus.rawValue, capacity)
            }
            option.alike =
                job.specification.labels.isEmpty
                ? 0 : jobs.count { $0.specification.labels == job.specification.labels }
            option.load = max(
                (promised + others * (job.demand == nil ? 1 : 0.1)) / capacity,
                Double(memory) / Double(node.memory.rawValue)
            )
            if job.specification.resources.gpus == 0, node.deviceCount > 0 { option.load += 1 }
            option.wanted = job.demand == nil ? job.specification.resources.cpus.rawValue : rate(job)
            if let demand = job.demand {
                option.keeps =
                    demand.work <= min(demand.limit, capacity) * demand.deadline
                    && promised + rate(job) <= capacity * (1 + 1e-9)
            }
            options.append(option)
        }
        let keeping = options.filter(\.keeps)
        // Which of several that cannot surely keep it is best is another question.
        guard !keeping.isEmpty else { return nil }
        let sites = Dictionary(grouping: state.nodes, by: \.site).mapValues { nodes in
            state.liveJobs.count { other in
                !job.specification.labels.isEmpty && other.specification.labels == job.specification.labels
                    && nodes.contains { $0.node == other.assignedNode }
            }
        }
        func keys(_ option: Option) -> [Double] {
            switch job.specification.spread {
            case .nodes: return [Double(option.alike), option.load]
            case .sites: return [Double(sites[option.node.site] ?? 0), Double(option.alike), option.load]
            case .pack:
                let capacity = option.node.vcpus.rawValue
                let hasRoom = option.load + min(option.wanted, capacity) / capacity <= 1 + 1e-9
                return hasRoom ? [0, -option.load] : [1, option.load]
            }
        }
        let best = keeping.map(keys).min { $0.lexicographicallyPrecedes($1) }
        // Any of the equally good: the tie is decided by a hash.
        return keeping.first { option in
            zip(keys(option), best ?? []).allSatisfy { abs($0 - $1) < 1e-9 }
                && option.node.node == chosen(job, state, now)
        }?.node.node
    }

    private static func chosen(_ job: PlacementCandidate, _ state: ClusterState, _ now: Timestamp) -> NodeID? {
        Placement.choose(job, among: NodeView.all(of: state, suspects: [], now: now)).node
    }

    @Test(arguments: UInt64(1)...30)
    func theFastChoiceIsTheObviousOne(seed: UInt64) throws {
        var source = Source(generator: SeededGenerator(seed: seed))
        var bench = Bench()
        for number in 1...6 { bench.node(number) { source.node(&$0) } }
        var compared = 0
        for number in 1...40 {
            bench.job(number, at: Double(number)) { source.job(&$0) }
            let now = Bench.at(Double(number) + 0.5)
            let record = try #require(bench.state.job(Bench.id(number)))
            let job = PlacementCandidate(record, now: now)
            let choice = Placement.choose(job, among: NodeView.all(of: bench.state, suspects: [], now: now))
            if let expected = Self.obvious(job, bench.state, now: now) {
                compared += 1
                #expect(choice.node == expected, "seed \(seed), job \(number): \(choice.reason)")
            } else {
                #expect(
                    choice.node == nil || choice.keepsDeadline != nil,
                    "seed \(seed), job \(number): \(choice.reason)"
                )
            }
            for command in Placement.plan(bench.state, now: now) { bench.apply(command) }
            if source.below(4) == 0, let old = bench.state.liveJobs.first {
                bench.apply(.requestCancel(job: old.id, grace: .zero, by: Bench.user, time: now))
            }
        }
        #expect(compared > 10)
    }

    /// Whatever happens, no node is promised more memory or devices than it has, every assignment is allowed, and plans come to rest.
    @Test(arguments: UInt64(1)...30)
    func randomClustersComeToRest(seed: UInt64) throws {
        var source = Source(generator: SeededGenerator(seed: 1000 + seed))
        var bench = Bench()
        var seconds = 0.0
        for number in 1...6 { bench.node(number) { source.node(&$0) } }
        for number in 1...60 {
            seconds += Double(source.below(20))
            let node = Bench.node(1 + source.below(6))
            switch source.below(8) {
            case 0: _ = bench.state.apply(.cordon(node: node, by: Bench.user, time: Bench.at(seconds)))
            case 1, 2: _ = bench.state.apply(.undrain(node: node, by: Bench.user, time: Bench.at(seconds)))
            case 3: _ = bench.state.apply(.nodeLost(node: node, reason: "silent", time: Bench.at(seconds)))
            case 4: bench.node(1 + source.below(6)) { source.node(&$0) }
            default: bench.job(number, at: seconds) { source.job(&$0) }
            }
            let suspects: Set<NodeID> = source.below(3) == 0 ? [Bench.node(1 + source.below(6))] : []
            let plan = bench.plan(suspects: suspects, at: seconds)
            #expect(bench.plan(suspects: suspects, at: seconds) == [], "seed \(seed), step \(number)")
            for case .assign(let job, let node, let reason, _) in plan {
                #expect(!suspects.contains(node) && reason.hasSuffix("."), "seed \(seed): \(job) \(reason)")
            }
            if source.below(2) == 0,
                let job = bench.state.liveJobs.first(where: { $0.state == .queued && $0.assignedNode != nil })
            {
                _ = bench.state.apply(.begin(job: job.id, node: job.assignedNode ?? node, time: Bench.at(seconds)))
            }
        }
    }
}
