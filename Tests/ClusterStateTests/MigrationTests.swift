import ClusterModel
import ClusterState
import Testing

extension Bench {
    /// Three nodes; job 1 runs on the first since second 2.
    static func onThreeNodes(_ change: (inout JobSpecification) -> Void = { _ in }) -> Bench {
        var bench = Bench()
        for number in 1...3 { bench.apply(.registerNode(registration(number) { _ in })) }
        bench.submit(specification("job", change))
        bench.apply(.assign(job: id(1), node: nodeID(1), reason: "It fits.", time: at(0.5)))
        bench.apply(.begin(job: id(1), node: nodeID(1), time: at(1)))
        bench.started()
        return bench
    }

    func order(to node: Int, by user: UserID? = user, at seconds: Double = 10) -> Command {
        .beginMigration(
            MigrationOrder(
                job: Self.id(1),
                to: Self.nodeID(node),
                by: user,
                reason: "ada asked.",
                time: Self.at(seconds)
            )
        )
    }

    var number: UInt64 { job.lastMigration ?? 0 }

    func prepared(at seconds: Double = 11) -> Command {
        .migrationPrepared(job: Self.id(1), number: number, time: Self.at(seconds))
    }

    func handOver(consumed: Duration? = .seconds(7), isLazy: Bool = false, at seconds: Double = 12) -> Command {
        .handOver(
            job: Self.id(1),
            number: number,
            handover: Migration.Handover(
                frozen: Self.at(seconds - 0.2),
                stoodStill: .milliseconds(200),
                bytes: .mebibytes(64),
                isLazy: isLazy,
                consumed: consumed
            ),
            time: Self.at(seconds)
        )
    }

    func failed(_ reason: String = "CRIU failed.", at seconds: Double = 13) -> Command {
        .migrationFailed(job: Self.id(1), number: number, reason: reason, time: Self.at(seconds))
    }

    func task(_ node: Int) -> MigrationTask? { job.migrationTask(on: Self.nodeID(node)) }
}

/// A job moves from node to node and is never two nodes' at once.
struct MigrationTests {
    private static let (one, two) = (Incarnation(rawValue: 1), Incarnation(rawValue: 2))

    @Test func aMoveFromBeginToEnd() {
        var bench = Bench.onThreeNodes()
        bench.apply(bench.order(to: 2))
        #expect(bench.task(2) == .prepare && bench.task(1) == nil && bench.task(3) == nil)
        #expect(bench.job.occupiedNodes == [Bench.nodeID(1), Bench.nodeID(2)])
        bench.apply(bench.prepared())
        #expect(bench.task(1) == .handOver(Self.one) && bench.task(2) == .await && bench.job.state == .running)
        bench.apply(bench.handOver())
        #expect(bench.job.state == .migrating && bench.job.node == Bench.nodeID(2))
        #expect(bench.task(1) == .hold(Self.one) && bench.task(2) == .receive(Self.two))
        #expect(bench.job.verdict(on: Self.one, at: Bench.nodeID(1), move: bench.number) == .handedOver)
        #expect(bench.state.jobsLeft(on: Bench.nodeID(1)).count == 1)
        bench.apply(.started(job: Bench.id(1), incarnation: Self.two, time: Bench.at(12.3)))
        #expect(bench.job.state == .running && bench.task(1) == .hold(Self.one) && bench.task(2) == .drain(Self.two))
        bench.apply(
            .migrationDrained(job: Bench.id(1), number: bench.number, sent: .mebibytes(20), time: Bench.at(12.4))
        )
        #expect(bench.job.migration == nil && bench.state.jobsLeft(on: Bench.nodeID(1)).isEmpty)
        #expect(bench.job.ledger.total == .seconds(7))
        #expect(bench.job.verdict(on: Self.one, at: Bench.nodeID(1), move: bench.number) == .released)
        let told = bench.decisions.filter { $0.kind == .migrated }.map(\.sentence)
        #expect(told.first == "Moved from node n1 to node n2; it stood still for 0.50 s.")
        #expect(told.last?.contains("64 MiB of memory and files went across as 20 MiB") == true)
    }

    @Test func beforeTheHandOverAnybodyMayGiveItUp() {
        var bench = Bench.onThreeNodes()
        for isPrepared in [false, true] {
            bench.apply(bench.order(to: 2))
            if isPrepared { bench.apply(bench.prepared()) }
            bench.apply(
                .abortMigration(
                    job: Bench.id(1),
                    number: bench.number,
                    reason: "it has no room",
                    declinedBy: Bench.nodeID(2),
                    time: Bench.at(12)
                )
            )
            #expect(bench.job.state == .running && bench.job.migration == nil && bench.job.incarnation == Self.one)
            // What was proposed before and comes late is refused, whatever move is under way by then.
            let late = bench.handOver()
            #expect(bench.refusal(late)?.code == .stale)
            bench.apply(bench.order(to: 3))
            bench.apply(bench.prepared())
            #expect(bench.refusal(late)?.code == .stale)
            bench.apply(.adopted(job: Bench.id(1), incarnation: Self.one, time: Bench.at(13)))
            #expect(bench.job.migration == nil, "an agent that was restarted hands nothing over")
        }
        #expect(bench.job.failedMigrations?.nodes == [Bench.nodeID(2)])
        #expect(!bench.job.mayMigrate(at: Bench.at(13)) && bench.job.mayMigrate(at: Bench.at(400)))
    }

    @Test func aDestinationThatFailsGivesTheJobBackAndItsNumberIsNotUsedAgain() {
        var bench = Bench.onThreeNodes()
        bench.apply(bench.order(to: 2))
        bench.apply(bench.prepared())
        bench.apply(bench.handOver())
        let abort = Command.abortMigration(
            job: Bench.id(1),
            number: bench.number,
            reason: "too late",
            declinedBy: nil,
            time: Bench.at(12)
        )
        #expect(bench.refusal(abort)?.code == .conflict)
        bench.apply(bench.failed())
        #expect(bench.job.state == .running && bench.job.node == Bench.nodeID(1) && bench.job.incarnation == Self.one)
        #expect(bench.job.ledger.total == .seconds(7) && bench.job.ledger.current == .seconds(7))
        #expect(bench.job.verdict(on: Self.one, at: Bench.nodeID(1), move: bench.number) == .isOurs)
        let stale = Command.started(job: Bench.id(1), incarnation: Self.two, time: Bench.at(14))
        #expect(bench.refusal(stale)?.code == .stale)
        bench.apply(bench.order(to: 3, at: 20))
        bench.apply(bench.prepared(at: 21))
        bench.apply(bench.handOver(at: 22))
        #expect(bench.job.incarnation == Incarnation(rawValue: 3))
    }

    @Test func aLostDestinationGivesTheJobBack() {
        var bench = Bench.onThreeNodes()
        bench.apply(bench.order(to: 2))
        bench.apply(bench.prepared())
        bench.apply(bench.handOver())
        bench.apply(.nodeLost(node: Bench.nodeID(2), reason: "silent", time: Bench.at(60)))
        #expect(bench.job.state == .running && bench.job.node == Bench.nodeID(1) && bench.job.incarnation == Self.one)
    }

    @Test func aLostSourceLeavesItToTheDestination() {
        var bench = Bench.onThreeNodes()
        bench.apply(bench.order(to: 2))
        bench.apply(bench.prepared())
        bench.apply(bench.handOver())
        bench.apply(.nodeLost(node: Bench.nodeID(1), reason: "silent", time: Bench.at(60)))
        #expect(bench.job.state == .migrating && bench.job.migration?.isSourceLost == true)
        var other = bench
        bench.apply(.started(job: Bench.id(1), incarnation: Self.two, time: Bench.at(61)))
        #expect(bench.job.state == .running && bench.job.node == Bench.nodeID(2))
        other.apply(other.failed(at: 61))
        #expect(other.job.state == .queued && other.decisions.last?.kind == .restarted)
    }

    @Test func aCancelledJobRunsNowhere() {
        var bench = Bench.onThreeNodes()
        bench.apply(bench.order(to: 2))
        bench.apply(bench.prepared())
        bench.apply(bench.handOver())
        bench.apply(.requestCancel(job: Bench.id(1), grace: .seconds(5), by: Bench.user, time: Bench.at(13)))
        #expect(bench.job.state == .stopping && bench.job.migration == nil)
        #expect(bench.job.verdict(on: Self.one, at: Bench.nodeID(1), move: 1) == .released)
        bench.exited(.lost, at: 14)
        #expect(bench.job.state == .cancelled)
    }

    @Test func whatCannotBeginIsRefused() {
        var bench = Bench.onThreeNodes()
        #expect(bench.refusal(bench.order(to: 1))?.message.contains("runs on node n1 already") == true)
        #expect(bench.refusal(bench.order(to: 9))?.code == .notFound)
        bench.apply(.cordon(node: Bench.nodeID(2), by: Bench.user, time: Bench.at(3)))
        #expect(bench.refusal(bench.order(to: 2))?.message.contains("cordoned") == true)
        bench.apply(bench.order(to: 3))
        #expect(bench.refusal(bench.order(to: 3))?.message.contains("on its way from n1 to n3") == true)
    }

    @Test func undrainingEndsMovesThatTheDrainBegan() {
        var bench = Bench.onThreeNodes()
        bench.apply(.drain(node: Bench.nodeID(1), restartsJobs: false, by: Bench.user, time: Bench.at(9)))
        bench.apply(bench.order(to: 2, by: nil))
        bench.apply(.undrain(node: Bench.nodeID(1), by: Bench.user, time: Bench.at(11)))
        #expect(bench.job.migration == nil && bench.job.state == .running)
    }
}
