import ClusterModel
import ClusterState
import Placement
import Testing

struct ChoiceTests {
    // MARK: What must hold

    @Test func everyNodeIsToldWhyNot() {
        var bench = Bench()
        bench.node(1) { $0.memory = .gibibytes(2) }
        bench.node(2) { $0.site = SiteID(rawValue: "south") }
        bench.node(3) { $0.isReady = false }
        bench.node(4)
        bench.node(5)
        bench.node(6) { $0.takesJobs = false }
        bench.node(7)
        bench.apply(.cordon(node: Bench.node(4), by: Bench.user, time: Bench.at(0)))
        bench.apply(.drain(node: Bench.node(5), restartsJobs: false, by: Bench.user, time: Bench.at(0)))
        let choice = bench.choice(
            {
                $0.resources.memory = .gibibytes(4)
                $0.constraints.sites = [SiteID(rawValue: "north")]
            },
            suspects: [Bench.node(7)]
        )
        #expect(choice.node == nil)
        #expect(
            choice.refusals.map(\.description) == [
                "node1 has 2 GiB of memory free, 4 GiB asked",
                "node2 is at a site that the job does not allow",
                "node3 is joining",
                "node4 is cordoned",
                "node5 is being drained",
                "node6 takes only jobs that name it or its role, or has no room on its disk",
                "node7 does not answer at the moment",
            ]
        )
        #expect(choice.reason.hasPrefix("Waits for a node: of 7, 1 without 4 GiB of free memory, 1 at other sites"))
    }

    @Test func labelsRolesNamesAndDevicesAreAsked() {
        var bench = Bench()
        bench.node(1) { $0.labels = [.init(key: "disk", value: "hdd")] }
        bench.node(2) { $0.labels = [.init(key: "disk", value: "ssd")] }
        bench.node(3) {
            $0.role = .gateway
            $0.takesJobs = false
            $0.deviceCount = 2
        }
        #expect(bench.choice { $0.constraints.labels = [.init(key: "disk", value: "ssd")] }.node == Bench.node(2))
        #expect(
            bench.choice { $0.constraints.labels = [.init(key: "disk", value: "ssd")] }.refusals.map(\.description)
                == ["node1 has disk: hdd, the job wants disk: ssd", "node3 has no label disk, the job wants disk: ssd"]
        )
        // A gateway takes a job that asks for gateways, or for it by name.
        #expect(bench.choice { $0.constraints.roles = [.gateway] }.node == Bench.node(3))
        #expect(bench.choice { $0.constraints.nodes = [Bench.node(3)] }.node == Bench.node(3))
        #expect(bench.choice { $0.resources.gpus = 1 }.node == nil)
        let many = bench.choice {
            $0.constraints.nodes = [Bench.node(3)]
            $0.resources.gpus = 3
        }
        #expect(many.refusals.last?.description == "node3 has 2 GPUs free, 3 asked")
    }

    @Test func aRestoreGoesWhereItsCheckpointIs() {
        var bench = Bench()
        for number in 1...3 { bench.node(number) }
        bench.job(1)
        bench.apply(.assign(job: Bench.id(1), node: Bench.node(2), reason: "r.", time: Bench.at(0)))
        bench.run(1)
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: Incarnation(rawValue: 1), time: Bench.at(3)))
        let entry = CatalogEntry(
            generation: CheckpointGeneration(rawValue: 1),
            taken: Bench.at(3),
            node: Bench.node(2),
            incarnation: Incarnation(rawValue: 1),
            frozen: .zero,
            total: .zero,
            raw: .zero,
            stored: .zero,
            consumed: .zero,
            completedIterations: 0
        )
        bench.apply(.checkpointRecorded(job: Bench.id(1), entry: entry, time: Bench.at(4)))
        bench.apply(
            .exited(
                job: Bench.id(1),
                incarnation: Incarnation(rawValue: 1),
                exit: .lost,
                consumed: nil,
                time: Bench.at(90)
            )
        )
        bench.plan(at: 100)
        #expect(bench.place(of: 1) == Bench.node(2))
        #expect(bench.state.job(Bench.id(1))?.message.contains("its checkpoint is there") == true)
    }

    // MARK: Deadlines

    @Test func aDeadlineGoesWhereItIsKept() {
        var bench = Bench()
        bench.node(1)
        bench.node(2) { $0.vcpus = 2 }
        // 3 vCPUs for a minute: only node 1 has them.
        bench.job(1) {
            $0.resources.cpus = 4
            $0.objective = .cpuTime(amount: .seconds(180), frame: .seconds(60))
        }
        bench.plan()
        #expect(bench.place(of: 1) == Bench.node(1))
        // Another one is nowhere in time; it goes where it is least late, and says so.
        let choice = bench.choice {
            $0.resources.cpus = 4
            $0.objective = .cpuTime(amount: .seconds(180), frame: .seconds(60))
        }
        #expect(choice.node == Bench.node(2))
        #expect(choice.keepsDeadline == false)
        #expect(choice.reason.contains("none of 2 nodes can keep its deadline"))
    }

    /// Mean rates say no, the schedule says yes: the short one first, then the long one.
    @Test func aTightScheduleIsFoundExactly() {
        var bench = Bench()
        bench.node(1) { $0.vcpus = 1 }
        bench.job(1) {
            $0.resources.cpus = 1
            $0.objective = .cpuTime(amount: .seconds(600), frame: .seconds(1200))
        }
        bench.plan()
        let choice = bench.choice {
            $0.resources.cpus = 1
            $0.objective = .cpuTime(amount: .seconds(60), frame: .seconds(90))
        }
        #expect(choice.keepsDeadline == true)
        #expect(
            choice.reason
                == "Goes to node node1: it is the only node that can take the job now; 0.50 of 1.00 vCPUs are promised there."
        )
    }

    @Test func bestEffortDoesNotStandInTheWayOfDeadlines() {
        var bench = Bench()
        bench.node(1)
        for number in 1...20 { bench.job(number) { $0.resources.cpus = 4 } }
        bench.plan()
        let choice = bench.choice {
            $0.resources.cpus = 4
            $0.objective = .cpuTime(amount: .seconds(180), frame: .seconds(60))
        }
        #expect(choice.keepsDeadline == true)
    }

    // MARK: What is best

    private func nodesUsed(_ bench: Bench, _ jobs: ClosedRange<Int>) -> [NodeID: Int] {
        jobs.reduce(into: [:]) { counts, number in
            if let node = bench.place(of: number) { counts[node, default: 0] += 1 }
        }
    }

    @Test func jobsAreSpreadOverNodes() {
        var bench = Bench()
        for number in 1...4 { bench.node(number) }
        for number in 1...8 { bench.job(number) }
        bench.plan()
        #expect(nodesUsed(bench, 1...8).values.sorted() == [2, 2, 2, 2])
    }

    @Test func jobsWithTheSameLabelsAreKeptApart() {
        var bench = Bench()
        bench.node(1) { $0.vcpus = 64 }
        bench.node(2)
        bench.node(3)
        for number in 1...3 { bench.job(number) { $0.labels = [.init(key: "app", value: "db")] } }
        bench.plan()
        #expect(nodesUsed(bench, 1...3).count == 3)
    }

    @Test func sitesShareJobsWithTheSameLabels() {
        var bench = Bench()
        bench.node(1) { $0.site = SiteID(rawValue: "south") }
        for number in 2...9 { bench.node(number) }
        for number in 1...6 {
            bench.job(number) {
                $0.labels = [.init(key: "app", value: "db")]
                $0.spread = .sites
            }
        }
        bench.plan()
        #expect(nodesUsed(bench, 1...6)[Bench.node(1)] == 3)
    }

    @Test func packedJobsFillOneNodeAfterTheOther() {
        var bench = Bench()
        for number in 1...4 { bench.node(number) }
        for number in 1...8 { bench.job(number) { $0.spread = .pack } }
        bench.plan()
        #expect(nodesUsed(bench, 1...8).values.sorted() == [4, 4])
    }

    @Test func nodesWithDevicesStayFreeForJobsThatNeedThem() {
        var bench = Bench()
        bench.node(1) { $0.deviceCount = 1 }
        bench.node(2)
        for number in 1...4 { bench.job(number) }
        bench.job(5) { $0.resources.gpus = 1 }
        bench.plan()
        #expect(nodesUsed(bench, 1...4) == [Bench.node(2): 4])
        #expect(bench.place(of: 5) == Bench.node(1))
        // When the others are full that is no reason to leave it idle.
        for number in 6...9 { bench.job(number) }
        bench.plan()
        #expect(nodesUsed(bench, 6...9)[Bench.node(1)] != nil)
    }

    @Test func theOrderOfTheNodesDoesNotMatter() {
        var bench = Bench()
        for number in 1...9 { bench.node(number) }
        for number in 1...5 { bench.job(number) }
        bench.plan()
        let nodes = NodeView.all(of: bench.state, suspects: [], now: Bench.at(5))
        for number in 10...40 {
            let specification = JobSpecification(name: "new", kind: .batch, image: .rootFolder(path: "/r"))
            let job = PlacementCandidate(id: Bench.id(number), specification: specification, now: Bench.at(5))
            let choice = Placement.choose(job, among: nodes)
            #expect(choice == Placement.choose(job, among: nodes.reversed()))
            #expect(choice.node != nil)
        }
    }

    @Test func tiesFallOnDifferentNodes() {
        var bench = Bench()
        for number in 1...8 { bench.node(number) }
        let nodes = NodeView.all(of: bench.state, suspects: [], now: Bench.at(5))
        let chosen = Set(
            (1...64).compactMap { number in
                Placement.choose(
                    PlacementCandidate(
                        id: Bench.id(number),
                        specification: JobSpecification(name: "new", kind: .batch, image: .rootFolder(path: "/r")),
                        now: Bench.at(5)
                    ),
                    among: nodes
                ).node
            }
        )
        #expect(chosen.count == 8)
    }
}
