import ClusterModel
import ClusterState
import Testing

extension Bench {
    static func nodeID(_ number: Int) -> NodeID { NodeID(rawValue: "n\(number)") }

    static func registration(
        _ number: Int,
        at seconds: Double = 0,
        _ change: (inout NodeRegistration) -> Void = { _ in }
    ) -> NodeRegistration {
        var registration = NodeRegistration(
            node: nodeID(number),
            member: UInt64(number),
            site: SiteID(rawValue: "north"),
            address: "10.0.0.\(number):7420",
            vcpus: 4,
            memory: .gibibytes(8),
            time: at(seconds)
        )
        change(&registration)
        return registration
    }

    mutating func register(_ numbers: Int...) {
        for number in numbers { apply(.registerNode(Self.registration(number))) }
    }

    mutating func assign(_ number: Int = 1, to node: Int, at seconds: Double = 0.5) {
        apply(.assign(job: Self.id(number), node: Self.nodeID(node), reason: "It fits.", time: Self.at(seconds)))
    }

    mutating func begin(on node: Int, at seconds: Double = 1) {
        apply(.begin(job: Self.id(1), node: Self.nodeID(node), time: Self.at(seconds)))
    }

    mutating func lose(_ node: Int, at seconds: Double) {
        apply(.nodeLost(node: Self.nodeID(node), reason: "no answer for 40 s", time: Self.at(seconds)))
    }

    /// Takes a checkpoint on the node that runs job 1.
    mutating func checkpoint(on node: Int, consumed: Duration, at seconds: Double) {
        apply(.beginCheckpoint(job: Self.id(1), incarnation: job.incarnation, time: Self.at(seconds)))
        var entry = entry(consumed: consumed, at: seconds)
        entry.node = Self.nodeID(node)
        apply(.checkpointRecorded(job: Self.id(1), entry: entry, time: Self.at(seconds + 0.5)))
    }

    mutating func reading(_ consumed: Duration, at seconds: Double) {
        let reading = LedgerReading(job: Self.id(1), incarnation: job.incarnation, consumed: consumed)
        apply(.ledger(readings: [reading], time: Self.at(seconds)))
    }

    /// A job that runs on node 1 of three since second 2.
    static func onNodeOne(_ change: (inout JobSpecification) -> Void = { _ in }) -> Bench {
        var bench = Bench()
        bench.register(1, 2, 3)
        bench.submit(specification("job", change))
        bench.assign(to: 1)
        bench.begin(on: 1)
        bench.started()
        return bench
    }

    func record(_ number: Int) -> NodeRecord? { state.node(Self.nodeID(number)) }
}

struct NodeTests {
    @Test func registeringAgainChangesNothing() {
        var bench = Bench()
        bench.register(1)
        let before = bench.state
        #expect(bench.apply(.registerNode(Bench.registration(1, at: 60)))?.changedNodes == [])
        #expect(bench.state == before)
        #expect(bench.state.nextMember == 2)
        #expect(
            bench.state.audit.map(\.what) == [
                "Node n1 joined the cluster (member 1, site north, worker, 10.0.0.1:7420)."
            ]
        )
    }

    @Test func aNodeJoinsAndIsReadyLater() {
        var bench = Bench()
        bench.apply(.registerNode(Bench.registration(1) { $0.isReady = false }))
        #expect(bench.record(1)?.state == .joining)
        bench.submit()
        #expect(bench.refusal(.assign(job: Bench.id(1), node: Bench.nodeID(1), reason: "r.", time: Bench.at(1))) != nil)
        bench.apply(.registerNode(Bench.registration(1, at: 5)))
        #expect(bench.record(1)?.state == .active)
        #expect(bench.record(1)?.joined == Bench.at(0))
        #expect(bench.record(1)?.since == Bench.at(5))
        // A repeated JOIN does not take back that it is ready.
        bench.apply(.registerNode(Bench.registration(1, at: 6) { $0.isReady = false }))
        #expect(bench.record(1)?.state == .active)
    }

    @Test func aNodeThatComesBackElsewhereIsUpdated() {
        var bench = Bench()
        bench.register(1)
        bench.apply(.registerNode(Bench.registration(1, at: 9) { $0.address = "10.0.0.99:7420" }))
        #expect(bench.record(1)?.address == "10.0.0.99:7420")
        #expect(bench.state.audit.last?.what == "Node n1 moved to 10.0.0.99:7420.")
        bench.lose(1, at: 50)
        bench.apply(.registerNode(Bench.registration(1, at: 90) { $0.member = 7 }))
        #expect(bench.record(1)?.member == 7)
        #expect(bench.record(1)?.state == .active)
        #expect(bench.state.nextMember == 8)
    }

    @Test func aNameInUseIsRefusedInWords() {
        var bench = Bench()
        bench.register(1, 2)
        let refusal = bench.refusal(.registerNode(Bench.registration(1) { $0.member = 9 }))
        #expect(refusal?.code == .conflict)
        #expect(refusal?.message.contains("is active as member 1") == true)
        #expect(refusal?.message.contains("godwit node remove n1") == true)
        #expect(
            bench.refusal(.registerNode(Bench.registration(3) { $0.member = 2 }))?.message.contains("is node n2")
                == true
        )
    }

    @Test(
        arguments: [
            { $0.member = 0 }, { $0.address = "" }, { $0.vcpus = VCPUCount(.nan) }, { $0.memory = .bytes(-1) },
            { $0.deviceCount = -1 }, { $0.labels = [.init(key: "a", value: "1"), .init(key: "a", value: "2")] },
            { $0.node = NodeID(rawValue: "No") }, { $0.site = SiteID(rawValue: "") },
        ] as [@Sendable (inout NodeRegistration) -> Void]
    )
    func whatCannotBeIsRefused(change: @Sendable (inout NodeRegistration) -> Void) {
        var bench = Bench()
        #expect(bench.refusal(.registerNode(Bench.registration(1, at: 0, change)))?.code == .invalid)
    }

    @Test func moreNodesThanTheGroupHoldsAreRefused() {
        var bench = Bench()
        for number in 1...ClusterState.nodeLimit { bench.register(number) }
        #expect(bench.refusal(.registerNode(Bench.registration(ClusterState.nodeLimit + 1)))?.code == .exhausted)
        bench.apply(.nodeLeft(NodeDeparture(node: Bench.nodeID(5), by: Bench.user, time: Bench.at(1))))
        bench.register(ClusterState.nodeLimit + 1)
        #expect(bench.state.nodes.count == ClusterState.nodeLimit + 1)
        #expect(bench.state.nodes.map(\.node) == bench.state.nodes.map(\.node).sorted())
    }

    @Test func anOlderProgramIsRefusedOnceAllKnowMore() {
        var bench = Bench()
        let newer = ClusterState.newestVersion + 1
        bench.apply(.registerNode(Bench.registration(1) { $0.speaks = newer }))
        #expect(bench.state.version == newer)
        #expect(
            bench.refusal(.registerNode(Bench.registration(2)))?.message.contains("Install a newer godwitd") == true
        )
        bench.apply(.registerNode(Bench.registration(2) { $0.speaks = newer + 1 }))
        #expect(bench.state.version == newer)
        bench.apply(.registerNode(Bench.registration(1) { $0.speaks = newer + 1 }))
        #expect(bench.state.version == newer + 1)
    }

    @Test func theVersionWaitsForTheLastNode() {
        var bench = Bench()
        bench.apply(.registerNode(Bench.registration(1) { $0.speaks = 2 }))
        bench.apply(.registerNode(Bench.registration(2) { $0.speaks = 2 }))
        bench.apply(.registerNode(Bench.registration(1) { $0.speaks = 3 }))
        #expect(bench.state.version == 2)
        let entry = Command.auditEntry(by: "node:n1", what: "Renewed a certificate.", time: Bench.at(9))
        #expect(bench.refusal(entry)?.message.contains("upgrade all nodes first") == true)
        bench.lose(2, at: 10)
        #expect(bench.state.version == 3)
        bench.apply(entry)
        #expect(bench.state.audit.last?.by == "node:n1" && bench.state.audit.last?.what == "Renewed a certificate.")
        #expect(bench.refusal(.auditEntry(by: "", what: "x", time: Bench.at(9)))?.code == .invalid)
    }
}

struct AssignmentTests {
    @Test func onlyTheAssignedNodeBeginsAJob() {
        var bench = Bench()
        bench.register(1, 2)
        bench.submit()
        func begin(_ node: Int) -> Command { .begin(job: Bench.id(1), node: Bench.nodeID(node), time: Bench.at(1)) }
        #expect(bench.refusal(begin(1))?.message.contains("not assigned to a node yet") == true)
        bench.assign(to: 2)
        #expect(bench.job.assignedNode == Bench.nodeID(2))
        #expect(bench.decisions.last?.kind == .placed)
        #expect(bench.refusal(begin(1))?.message.contains("assigned to node n2, not to n1") == true)
        #expect(bench.refusal(begin(9))?.message.contains("not registered") == true)
        bench.apply(begin(2))
        #expect(bench.job.node == Bench.nodeID(2))
        #expect(bench.state.jobsLeft(on: Bench.nodeID(2)).map(\.id) == [Bench.id(1)])
    }

    @Test func anAgentAloneBeginsWhatItLikes() {
        var bench = Bench()
        bench.submit()
        bench.begin()
        #expect(bench.job.node == Bench.node)
    }

    @Test func assigningAgainSaysNothing() {
        var bench = Bench()
        bench.register(1, 2)
        bench.submit()
        bench.assign(to: 1)
        let before = bench.state
        bench.assign(to: 1, at: 9)
        #expect(bench.state == before)
        bench.assign(to: 2, at: 10)
        #expect(bench.job.assignedNode == Bench.nodeID(2))
        bench.apply(.unassign(job: Bench.id(1), reason: "Node n2 is slow.", time: Bench.at(11)))
        #expect(bench.job.assignedNode == nil)
        #expect(bench.job.message == "Node n2 is slow.")
        #expect(bench.refusal(.unassign(job: Bench.id(1), reason: "r.", time: Bench.at(12))) != nil)
    }

    @Test func nodesThatTakeNothingAreRefused() {
        var bench = Bench()
        bench.register(1, 2, 3)
        bench.submit()
        bench.apply(.cordon(node: Bench.nodeID(1), by: Bench.user, time: Bench.at(1)))
        bench.apply(.drain(node: Bench.nodeID(2), restartsJobs: false, by: Bench.user, time: Bench.at(1)))
        bench.lose(3, at: 1)
        for (node, word) in [(1, "cordoned"), (2, "draining"), (3, "lost"), (4, "no node")] {
            let assign = Command.assign(job: Bench.id(1), node: Bench.nodeID(node), reason: "r.", time: Bench.at(2))
            #expect(bench.refusal(assign)?.message.contains(word) == true)
        }
    }

    @Test func aRetryIsPlacedAnew() {
        var bench = Bench.onNodeOne { $0.retries.limit = 1 }
        bench.exited(.exited(code: 1), at: 5)
        #expect(bench.job.state == .queued)
        #expect(bench.job.assignedNode == nil)
    }
}

struct NodeLossTests {
    @Test func aJobGoesOnFromACheckpointThatIsLeft() {
        var bench = Bench.onNodeOne()
        bench.checkpoint(on: 2, consumed: .seconds(5), at: 10)
        bench.checkpoint(on: 1, consumed: .seconds(9), at: 20)
        bench.reading(.seconds(12), at: 30)
        bench.lose(1, at: 70)
        #expect(bench.job.state == .queued)
        #expect(bench.job.resumption?.generation == CheckpointGeneration(rawValue: 1))
        #expect(bench.job.ledger.total == .seconds(5))
        #expect(bench.job.lost == .seconds(7))
        #expect(bench.job.assignedNode == nil)
        #expect(bench.job.retriesUsed == 0)
        #expect(
            bench.job.message
                == "Node n1 is lost: no answer for 40 s. It goes on from checkpoint 1 on node n2. 7.0 s of CPU time are lost."
        )
        // It can only be restored where the checkpoint is.
        let elsewhere = Command.assign(job: Bench.id(1), node: Bench.nodeID(3), reason: "r.", time: Bench.at(71))
        #expect(bench.refusal(elsewhere)?.message.contains("on node n2") == true)
        bench.assign(to: 2, at: 72)
        bench.begin(on: 2, at: 73)
        #expect(bench.job.state == .restoring)
        #expect(bench.job.incarnation.rawValue == 2)
    }

    @Test func withoutOneItBeginsAnewAndSaysWhatIsLost() {
        var bench = Bench.onNodeOne()
        bench.checkpoint(on: 1, consumed: .seconds(9), at: 20)
        bench.reading(.seconds(12), at: 30)
        bench.lose(1, at: 70)
        #expect(bench.job.resumption == nil)
        #expect(bench.job.ledger.total == .zero)
        #expect(bench.job.lost == .seconds(12))
        #expect(
            bench.job.message
                == "Node n1 is lost: no answer for 40 s. Checkpoint 1 is on node n1, so it starts from the beginning. 12 s of CPU time are lost."
        )
        // The files are there when the node comes back, so the catalog keeps them.
        #expect(bench.job.goodCheckpoints.count == 1)
    }

    @Test(arguments: [JobSpecification.CheckpointRules.Recovery.restart, .fail])
    func theRecoveryRuleDecides(rule: JobSpecification.CheckpointRules.Recovery) {
        var bench = Bench.onNodeOne {
            $0.checkpoint.recovery = rule
            $0.retries.limit = 0
        }
        bench.checkpoint(on: 2, consumed: .seconds(9), at: 20)
        bench.lose(1, at: 70)
        #expect(bench.job.state == (rule == .restart ? .queued : .failed))
        #expect(bench.job.resumption == nil)
    }

    @Test func whatTheLostNodeStillSaysIsPast() {
        var bench = Bench.onNodeOne()
        bench.lose(1, at: 70)
        let old = Incarnation(rawValue: 1)
        let exited = Command.exited(
            job: Bench.id(1),
            incarnation: old,
            exit: .exited(code: 0),
            consumed: .seconds(60),
            time: Bench.at(80)
        )
        #expect(bench.refusal(exited)?.code == .stale)
        #expect(bench.refusal(.started(job: Bench.id(1), incarnation: old, time: Bench.at(80)))?.code == .stale)
        #expect(bench.refusal(.adopted(job: Bench.id(1), incarnation: old, time: Bench.at(80))) != nil)
        bench.assign(to: 2, at: 81)
        bench.begin(on: 2, at: 82)
        bench.started(at: 83)
        #expect(bench.refusal(exited)?.code == .stale)
        #expect(bench.job.state == .running)
        #expect(bench.refusal(.begin(job: Bench.id(1), node: Bench.nodeID(1), time: Bench.at(84))) != nil)
    }

    @Test func aCancelIsDoneWithTheNode() {
        var bench = Bench.onNodeOne()
        bench.apply(.requestCancel(job: Bench.id(1), grace: .seconds(5), by: Bench.user, time: Bench.at(10)))
        bench.lose(1, at: 70)
        #expect(bench.job.state == .cancelled)
    }

    @Test func aQueuedJobLosesItsNode() {
        var bench = Bench()
        bench.register(1, 2)
        bench.submit()
        bench.assign(to: 1)
        bench.lose(1, at: 70)
        #expect(bench.job.state == .queued)
        #expect(bench.job.assignedNode == nil)
        #expect(bench.decisions.last?.sentence.contains("waits for another node") == true)
    }

    @Test func aQueuedRestoreTakesAnotherCheckpointOrBeginsAnew() {
        var bench = Bench.onNodeOne()
        bench.checkpoint(on: 2, consumed: .seconds(5), at: 10)
        bench.checkpoint(on: 1, consumed: .seconds(9), at: 20)
        bench.exited(.lost, at: 90)
        #expect(bench.job.resumption?.generation.rawValue == 2)
        bench.lose(1, at: 91)
        #expect(bench.job.resumption?.generation.rawValue == 1)
        bench.lose(2, at: 92)
        #expect(bench.job.resumption == nil)
        #expect(bench.job.state == .queued)
        #expect(bench.job.ledger.total == .zero)
        #expect(bench.job.lost == .seconds(9))
    }

    @Test func aSuspendedJobWaitsForTheNodeWithItsCheckpoint() {
        var bench = Bench.onNodeOne()
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: true, by: Bench.user, time: Bench.at(9)))
        bench.checkpoint(on: 1, consumed: .seconds(5), at: 10)
        #expect(bench.job.state == .suspended)
        bench.lose(1, at: 60)
        #expect(bench.job.state == .suspended)
        #expect(bench.job.ledger.total == .seconds(5))
        #expect(bench.job.message.contains("so the job waits for that node"))
        let restore = Command.requestRestore(job: Bench.id(1), generation: nil, by: Bench.user, time: Bench.at(61))
        #expect(bench.refusal(restore)?.message.contains("on node n1, which is not there") == true)
        bench.apply(.registerNode(Bench.registration(1, at: 100)))
        bench.apply(restore)
        #expect(bench.job.state == .queued)
        #expect(bench.job.resumption?.generation.rawValue == 1)
    }

    @Test func anIterationThatWasDoneStaysDone() {
        var bench = Bench.onNodeOne {
            $0.kind = .iterative
            $0.objective = .iterations(count: 3, expected: .seconds(5), startOverhead: .zero, deadline: .seconds(600))
        }
        bench.exited(.exited(code: 0), consumed: .seconds(5), at: 10)
        bench.apply(.started(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(11)))
        bench.reading(.seconds(2), at: 20)
        bench.lose(1, at: 70)
        #expect(bench.job.completedIterations == 1)
        #expect(bench.job.ledger.total == .seconds(5))
        #expect(bench.job.lost == .seconds(2))
    }

    @Test func losingANodeTwiceIsStale() {
        var bench = Bench()
        bench.register(1)
        bench.lose(1, at: 10)
        let again = Command.nodeLost(node: Bench.nodeID(1), reason: "again", time: Bench.at(11))
        #expect(bench.refusal(again)?.code == .stale)
        #expect(bench.refusal(.nodeLost(node: Bench.nodeID(8), reason: "", time: Bench.at(11)))?.code == .notFound)
    }
}

struct DrainTests {
    private func drain(_ node: Int, now: Bool = false, at seconds: Double = 20) -> Command {
        .drain(node: Bench.nodeID(node), restartsJobs: now, by: Bench.user, time: Bench.at(seconds))
    }

    @Test func runningJobsEndAndQueuedOnesGoElsewhere() {
        var bench = Bench.onNodeOne()
        bench.submit(Bench.specification("other"), number: 2)
        bench.assign(2, to: 1)
        bench.apply(drain(1))
        #expect(bench.job.state == .running)
        #expect(bench.state.job(Bench.id(2))?.assignedNode == nil)
        #expect(bench.state.jobsLeft(on: Bench.nodeID(1)).map(\.id) == [Bench.id(1)])
        #expect(bench.state.audit.last?.what == "Node n1 is being drained; one job is left there.")
        #expect(bench.state.audit.last?.by == "ada")
        bench.exited(.exited(code: 0), at: 30)
        #expect(bench.state.jobsLeft(on: Bench.nodeID(1)).isEmpty)
        bench.apply(.undrain(node: Bench.nodeID(1), by: Bench.user, time: Bench.at(31)))
        #expect(bench.record(1)?.acceptsAssignments == true)
        bench.assign(2, to: 1, at: 32)
    }

    @Test func withNowJobsBeginAnewElsewhere() {
        var bench = Bench.onNodeOne()
        bench.reading(.seconds(8), at: 19)
        bench.apply(drain(1, now: true))
        #expect(bench.job.state == .stopping)
        #expect(bench.job.task == .stop(Incarnation(rawValue: 1), grace: .seconds(10)))
        bench.exited(.signalled(number: 15, isOutOfMemory: false), consumed: .seconds(9), at: 25)
        #expect(bench.job.state == .queued)
        #expect(bench.job.lost == .seconds(9))
        #expect(bench.job.retriesUsed == 0)
        #expect(
            bench.job.message
                == "ada had it stopped on node n1. It begins anew elsewhere. 9.0 s of CPU time are lost."
        )
    }

    @Test func withNowAJobThatMayNotStartAgainIsLeftAlone() {
        var bench = Bench.onNodeOne { $0.checkpoint.recovery = .fail }
        bench.apply(drain(1, now: true))
        #expect(bench.job.state == .running)
    }

    /// A program that ends well when it is told to stop has not done its work.
    @Test func aStopIsNoSuccess() {
        var bench = Bench.onNodeOne()
        bench.apply(drain(1, now: true))
        bench.exited(.exited(code: 0), at: 25)
        #expect(bench.job.state == .queued)
    }

    @Test func aStopDuringACheckpointMovesToo() {
        var bench = Bench.onNodeOne()
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(15)))
        bench.apply(drain(1, now: true))
        #expect(bench.job.state == .stopping)
        bench.lose(1, at: 80)
        #expect(bench.job.state == .queued)
    }

    @Test func iterationsGoOnElsewhere() {
        var bench = Bench.onNodeOne {
            $0.kind = .iterative
            $0.objective = .iterations(count: 3, expected: .seconds(5), startOverhead: .zero, deadline: .seconds(600))
        }
        bench.apply(drain(1))
        bench.exited(.exited(code: 0), consumed: .seconds(5), at: 30)
        #expect(bench.job.state == .queued)
        #expect(bench.job.assignedNode == nil)
        #expect(bench.job.completedIterations == 1)
        #expect(bench.job.lost == .zero)
        bench.assign(to: 2, at: 31)
        bench.begin(on: 2, at: 32)
        #expect(bench.job.state == .starting)
    }

    @Test func cordoningKeepsWhatIsThere() {
        var bench = Bench.onNodeOne()
        bench.apply(.cordon(node: Bench.nodeID(1), by: Bench.user, time: Bench.at(5)))
        #expect(bench.job.state == .running)
        #expect(bench.record(1)?.isCordoned == true)
        #expect(bench.record(1)?.isDraining == false)
        let audited = bench.state.audit.count
        bench.apply(.cordon(node: Bench.nodeID(1), by: Bench.user, time: Bench.at(6)))
        #expect(bench.state.audit.count == audited)
    }

    @Test func anUnknownNodeIsNamedWithTheClosest() {
        var bench = Bench()
        bench.apply(.registerNode(Bench.registration(1) { $0.node = NodeID(rawValue: "worker-1") }))
        let refusal = bench.refusal(.cordon(node: NodeID(rawValue: "worker1"), by: Bench.user, time: Bench.at(1)))
        #expect(refusal?.message.contains("Did you mean 'worker-1'?") == true)
    }
}

struct DepartureTests {
    private func leave(_ node: Int, by user: UserID? = Bench.user, force: Bool = false) -> Command {
        .nodeLeft(
            NodeDeparture(node: Bench.nodeID(node), by: user, abandonsCheckpoints: force, time: Bench.at(100))
        )
    }

    @Test func aNodeWithContainersCannotLeave() {
        var bench = Bench.onNodeOne()
        #expect(bench.refusal(leave(1))?.message.contains("still runs 'job'") == true)
        bench.exited(.exited(code: 0), at: 50)
        bench.apply(leave(1, by: nil))
        #expect(bench.record(1)?.state == .left)
        #expect(bench.state.audit.last?.by == "node:n1")
    }

    @Test func theOnlyCheckpointOfAJobIsNotTakenAwaySilently() {
        var bench = Bench.onNodeOne()
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: true, by: Bench.user, time: Bench.at(9)))
        bench.checkpoint(on: 1, consumed: .seconds(5), at: 10)
        bench.lose(1, at: 60)
        #expect(bench.refusal(leave(1))?.message.contains("the only checkpoints of 'job'") == true)
        bench.apply(leave(1, force: true))
        #expect(bench.job.state == .suspended)
        #expect(bench.job.catalog.isEmpty)
    }

    /// Nobody will report that the files of a node that is gone are deleted.
    @Test func endedJobsOfANodeThatLeftCanBeForgotten() {
        var bench = Bench.onNodeOne()
        bench.checkpoint(on: 1, consumed: .seconds(5), at: 10)
        bench.exited(.exited(code: 0), at: 50)
        #expect(bench.job.catalog.count == 1)
        bench.apply(leave(1))
        #expect(bench.job.catalog.isEmpty)
        let later = Bench.at(101) + bench.state.limits.endedRetention
        #expect(bench.apply(.prune(time: later))?.pruned == [Bench.id(1)])
        #expect(bench.record(1) == nil)
        #expect(bench.state.nodes.count == 2)
    }

    @Test func aNameThatLeftIsFree() {
        var bench = Bench()
        bench.register(1, 2)
        bench.apply(.cordon(node: Bench.nodeID(1), by: Bench.user, time: Bench.at(1)))
        bench.apply(leave(1))
        #expect(bench.refusal(leave(1))?.code == .stale)
        bench.apply(.registerNode(Bench.registration(1, at: 200) { $0.member = 3 }))
        #expect(bench.record(1)?.state == .active)
        #expect(bench.record(1)?.isCordoned == false)
        #expect(bench.record(1)?.joined == Bench.at(200))
    }
}
