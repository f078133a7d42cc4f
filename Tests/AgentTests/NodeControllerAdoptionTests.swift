import Checkpointing
import ClusterModel
import ClusterState
import Testing

@testable import Agent

/// An agent that starts takes over what it finds, whatever the one before it was doing.
@Suite(.timeLimit(.minutes(5)))
struct NodeControllerAdoptionTests {
    static let specification = Bench.specification { specification in
        specification.resources.cpuLimit = 0.5
        specification.resources.memory = .gibibytes(1)
    }

    static func plan(_ key: ContainerKey) -> ContainerPlan {
        ContainerPlan(
            key: key,
            specification: specification,
            allocation: 1,
            cpuLimit: 0.5,
            memoryLimit: .gibibytes(1)
        )
    }

    /// A bench on which an agent has left a job that was starting, or was running when `isRunning`.
    private func left(
        isRunning: Bool = true,
        _ specification: JobSpecification = specification
    ) async throws -> (
        Bench, JobID
    ) {
        let bench = Bench()
        let id = bench.newID()
        try await bench.write([
            bench.submission(id, specification), .begin(job: id, node: Bench.node, time: bench.time.now),
        ])
        if isRunning {
            try await bench.write([.started(job: id, incarnation: bench.key(id).incarnation, time: bench.time.now)])
        }
        bench.time.advance(.seconds(60))
        return (bench, id)
    }

    // MARK: Containers

    @Test func aRunningContainerIsTakenOver() async throws {
        let (bench, id) = try await left()
        bench.host.plant(Self.plan(bench.key(id)), consumed: .seconds(30))
        try await bench.start()
        let record = try await bench.job(id)
        #expect(record.state == .running)
        #expect(record.incarnation.rawValue == 1)
        #expect(try await bench.sentences(id, .adopted).count == 1)
        #expect(!bench.host.journal.contains { $0.hasPrefix("start") })
        #expect(await bench.controller.claims[id]?.memory == .gibibytes(1))
        await bench.advance(6)
        // Every other pass writes it down, and the agent makes passes of its own between those of the test.
        let total = try await bench.job(id).ledger.total
        #expect(total >= .seconds(32) && total <= .seconds(33), "it is counted on from what it had consumed")
        bench.host.end(bench.key(id), .exited(code: 0))
        try await bench.until(id, "it completed") { $0.state == .completed }
        await bench.stop()
    }

    @Test func aContainerThatStandsStillIsSetGoingWithItsLimits() async throws {
        let (bench, id) = try await left()
        var plan = Self.plan(bench.key(id))
        (plan.cpuLimit, plan.memoryLimit) = (nil, nil)
        bench.host.plant(plan, isFrozen: true)
        try await bench.start()
        let container = try #require(bench.host.container(bench.key(id)))
        #expect(!container.isFrozen)
        #expect(container.quota == 0.5)
        #expect(container.memoryLimit == .gibibytes(1))
        await bench.stop()
    }

    @Test func whatChangesBeforeTheControllerRunsIsCarriedOut() async throws {
        let (bench, id) = try await left()
        bench.host.plant(Self.plan(bench.key(id)))
        try await bench.start(meanwhile: [
            .requestCancel(job: id, grace: .seconds(3), by: Bench.user, time: bench.time.now)
        ])
        try await bench.until(id, "it was cancelled") { $0.state == .cancelled }
        await bench.stop()
    }

    @Test func aContainerThatEndedMeanwhileIsReported() async throws {
        let (bench, id) = try await left()
        bench.host.plant(Self.plan(bench.key(id)), consumed: .seconds(42), exit: .exited(code: 0))
        try await bench.start()
        let record = try await bench.until(id, "it completed") { $0.state == .completed }
        #expect(record.ledger.total == .seconds(42))
        await bench.gone(id)
        #expect(bench.host.container(bench.key(id)) == nil)
        await bench.stop()
    }

    @Test func aContainerThatFailedMeanwhileIsTriedAgain() async throws {
        var specification = Self.specification
        specification.retries.limit = 1
        let (bench, id) = try await left(specification)
        bench.host.plant(Self.plan(bench.key(id)), exit: .exited(code: 9))
        try await bench.start()
        try await bench.until(id, "it waits for its retry") { $0.state == .queued && $0.retriesUsed == 1 }
        await bench.gone(id)
        await bench.advance(1)
        try await bench.until(id, "it runs again") { $0.state == .running && $0.incarnation.rawValue == 2 }
        await bench.stop()
    }

    @Test func aContainerThatIsGoneIsStartedAnew() async throws {
        let (bench, id) = try await left()
        try await bench.start()
        let record = try await bench.until(id, "it runs again") {
            $0.state == .running && $0.incarnation.rawValue == 2
        }
        #expect(record.lastExit == .lost)
        await bench.stop()
    }

    @Test func aContainerThatIsGoneGoesOnFromItsCheckpoint() async throws {
        let (bench, id) = try await left()
        try await recordCheckpoint(bench, id, generation: 1, consumed: .seconds(20))
        try await bench.start()
        let record = try await bench.until(id, "it runs on") { $0.state == .running && $0.incarnation.rawValue == 2 }
        #expect(record.ledger.total == .seconds(20))
        #expect(bench.host.container(bench.key(id, 2))?.images != nil)
        await bench.stop()
    }

    /// A bench whose agent was killed while it restored a job that another node had handed over to it.
    private func cutShort(mayHaveRun: Bool) async throws -> (Bench, JobID) {
        let bench = Bench()
        let (id, far, now) = (bench.newID(), NodeID(rawValue: "far"), bench.time.now)
        func registered(_ node: NodeID, _ member: UInt64) -> Command {
            .registerNode(
                NodeRegistration(
                    node: node,
                    member: member,
                    site: SiteID(rawValue: "here"),
                    address: "\(node):7420",
                    vcpus: 2,
                    memory: .gibibytes(4),
                    time: now
                )
            )
        }
        try await bench.write([
            registered(Bench.node, 1), registered(far, 2),
            bench.submission(id, Self.specification), .assign(job: id, node: far, reason: "It fits.", time: now),
            .begin(job: id, node: far, time: now),
            .started(job: id, incarnation: bench.key(id).incarnation, time: now),
            .beginMigration(MigrationOrder(job: id, to: Bench.node, by: nil, reason: "It is drained.", time: now)),
            .migrationPrepared(job: id, number: 1, time: now),
            .handOver(
                job: id,
                number: 1,
                handover: Migration.Handover(frozen: now, stoodStill: .milliseconds(200), bytes: .mebibytes(64)),
                time: now
            ),
        ])
        bench.host.plantCutShort(Self.plan(bench.key(id, 2)), mayHaveRun: mayHaveRun)
        return (bench, id)
    }

    @Test func aMoveWhoseRestoreWasCutShortGoesOn() async throws {
        let (bench, id) = try await cutShort(mayHaveRun: false)
        try await bench.start()
        let record = try await bench.job(id)
        #expect(record.state == .migrating)
        #expect(record.migrationTask(on: Bench.node) == .receive(bench.key(id, 2).incarnation))
        #expect(bench.host.container(bench.key(id, 2)) == nil, "it is in the way of the next attempt")
        await bench.stop()
    }

    @Test func aMoveWhoseContainerMayHaveRunForAMomentDoesNot() async throws {
        let (bench, id) = try await cutShort(mayHaveRun: true)
        try await bench.start()
        // What it did in that moment cannot be taken back.
        try await bench.until(id, "it begins anew") { $0.incarnation.rawValue == 3 || $0.state == .queued }
        await bench.stop()
    }

    @Test func aStartThatWasCutShortIsDoneAgain() async throws {
        let (bench, id) = try await left(isRunning: false)
        try await bench.start()
        let record = try await bench.until(id, "it runs") { $0.state == .running }
        #expect(record.incarnation.rawValue == 1, "nothing of it existed, so it is the same start")
        #expect(bench.host.running == [bench.key(id)])
        await bench.stop()
    }

    @Test func aStartThatSucceededUnseenIsTakenOver() async throws {
        let (bench, id) = try await left(isRunning: false)
        bench.host.plant(Self.plan(bench.key(id)))
        try await bench.start()
        let record = try await bench.until(id, "it runs") { $0.state == .running }
        #expect(record.incarnation.rawValue == 1)
        #expect(!bench.host.journal.contains { $0.hasPrefix("start") })
        await bench.stop()
    }

    @Test func whatNobodyAskedForIsEndedAndRemoved() async throws {
        let (bench, id) = try await left()
        bench.host.plant(Self.plan(bench.key(id)))
        let stranger = bench.key(JobID(rawValue: "strangeraaaa"))
        bench.host.plant(Self.plan(stranger))
        bench.host.plant(Self.plan(bench.key(bench.newID())), exit: .exited(code: 0))
        try await bench.start()
        #expect(bench.host.running == [bench.key(id)])
        #expect(bench.host.container(stranger) == nil)
        #expect(bench.host.journal.contains("stop \(stranger) \(Duration.zero.text)"))
        await bench.stop()
    }

    @Test func aContainerOfAnOlderIncarnationIsNotTheJobs() async throws {
        let (bench, id) = try await left()
        try await bench.write([
            .exited(
                job: id,
                incarnation: bench.key(id).incarnation,
                exit: .lost,
                consumed: nil,
                time: bench.time.now
            ), .begin(job: id, node: Bench.node, time: bench.time.now),
        ])
        bench.host.plant(Self.plan(bench.key(id)))
        try await bench.start()
        try await bench.until(id, "the second runs") { $0.state == .running && $0.incarnation.rawValue == 2 }
        #expect(bench.host.running == [bench.key(id, 2)])
        await bench.stop()
    }

    @Test func aJobThatWasToBeStoppedIsStopped() async throws {
        let (bench, id) = try await left()
        try await bench.write([
            .requestCancel(job: id, grace: .seconds(3), by: Bench.user, time: bench.time.now)
        ])
        bench.host.plant(Self.plan(bench.key(id)), isFrozen: true)
        try await bench.start()
        try await bench.until(id, "it is cancelled") { $0.state == .cancelled }
        #expect(bench.host.journal.contains("stop \(bench.key(id)) \(Duration.seconds(3).text)"))
        await bench.stop()
    }

    // MARK: Checkpoints and restores that were interrupted

    private func recordCheckpoint(
        _ bench: Bench,
        _ id: JobID,
        generation: UInt32,
        consumed: Duration
    ) async throws {
        try await bench.write([
            .beginCheckpoint(job: id, incarnation: bench.key(id).incarnation, time: bench.time.now)
        ])
        let stored = Self.stored(bench, id, generation, consumed)
        bench.images.put(stored)
        let entry = CatalogEntry(
            generation: stored.generation,
            taken: stored.taken,
            node: Bench.node,
            incarnation: stored.incarnation,
            frozen: stored.frozen,
            total: stored.total,
            raw: stored.rawBytes,
            stored: stored.storedBytes,
            consumed: consumed,
            completedIterations: 0
        )
        try await bench.write([.checkpointRecorded(job: id, entry: entry, time: bench.time.now)])
    }

    private static func stored(
        _ bench: Bench,
        _ id: JobID,
        _ generation: UInt32,
        _ consumed: Duration
    ) -> CheckpointRecord {
        CheckpointRecord(
            job: id,
            incarnation: bench.key(id).incarnation,
            generation: .init(rawValue: generation),
            taken: bench.time.now,
            frozen: .milliseconds(20),
            total: .milliseconds(90),
            rawBytes: .mebibytes(64),
            storedBytes: .mebibytes(20),
            ledger: consumed
        )
    }

    /// A job in the middle of the checkpoint that a user asked for.
    private func interrupted(stops: Bool) async throws -> (Bench, JobID) {
        let (bench, id) = try await left()
        try await bench.write([
            .requestCheckpoint(job: id, stops: stops, by: Bench.user, time: bench.time.now),
            .beginCheckpoint(job: id, incarnation: bench.key(id).incarnation, time: bench.time.now),
        ])
        return (bench, id)
    }

    @Test func anInterruptedCheckpointIsTakenAgain() async throws {
        let (bench, id) = try await interrupted(stops: false)
        bench.host.plant(Self.plan(bench.key(id)), isFrozen: true)
        try await bench.start()
        let record = try await bench.until(id, "it is there") {
            $0.newestGoodCheckpoint != nil && $0.state == .running
        }
        #expect(record.newestGoodCheckpoint?.generation.rawValue == 2, "a generation is never used twice")
        #expect(record.request == nil)
        #expect(
            try await bench.sentences(id, .warned) == [
                "Checkpoint 1 failed: the agent ended while it was being taken"
            ]
        )
        await bench.quiet()
        #expect(bench.host.container(bench.key(id))?.isFrozen == false)
        await bench.stop()
    }

    @Test func aCheckpointThatBecameCompleteIsWorthItsRecord() async throws {
        let (bench, id) = try await interrupted(stops: false)
        bench.images.put(Self.stored(bench, id, 1, .seconds(12)))
        bench.host.plant(Self.plan(bench.key(id)), isFrozen: true)
        try await bench.start()
        let record = try await bench.job(id)
        #expect(record.newestGoodCheckpoint?.consumed == .seconds(12))
        #expect(record.request == nil)
        #expect(record.state == .running)
        #expect(bench.host.container(bench.key(id))?.isFrozen == false)
        await bench.stop()
    }

    @Test func aStopThatIsCompleteLetsTheContainerRunNoMore() async throws {
        let (bench, id) = try await interrupted(stops: true)
        bench.images.put(Self.stored(bench, id, 1, .seconds(12)))
        bench.host.plant(Self.plan(bench.key(id)), consumed: .seconds(12), isFrozen: true)
        try await bench.start()
        await bench.gone(id)
        let record = try await bench.job(id)
        #expect(record.state == .suspended)
        #expect(record.ledger.total == .seconds(12))
        #expect(bench.host.running.isEmpty)
        #expect(!bench.host.journal.contains { $0.hasPrefix("thaw") })
        await bench.stop()
    }

    @Test func aStopWhoseImagesAreCompleteIsASuspensionAlsoWhenTheContainerIsGone() async throws {
        let (bench, id) = try await interrupted(stops: true)
        bench.images.put(Self.stored(bench, id, 1, .seconds(12)))
        try await bench.start()
        await bench.quiet()
        #expect(try await bench.job(id).state == .suspended)
        #expect(bench.host.running.isEmpty)
        await bench.stop()
    }

    @Test func aStopWithoutImagesWhoseContainerIsGoneIsALoss() async throws {
        let (bench, id) = try await interrupted(stops: true)
        try await bench.start()
        let record = try await bench.until(id, "it runs anew") {
            $0.state == .running && $0.incarnation.rawValue == 2
        }
        #expect(record.lastExit == .lost)
        await bench.stop()
    }

    @Test func aJobThatEndedWhileItWasToBeStoppedHasEnded() async throws {
        let (bench, id) = try await interrupted(stops: true)
        bench.host.plant(Self.plan(bench.key(id)), consumed: .seconds(9), exit: .exited(code: 0))
        try await bench.start()
        let record = try await bench.until(id, "it has ended") { $0.state.isFinal }
        #expect(record.state == .completed)
        #expect(record.lastExit == .exited(code: 0))
        await bench.stop()
    }

    @Test func anInterruptedRestoreIsDoneAgain() async throws {
        let (bench, id) = try await left()
        try await recordCheckpoint(bench, id, generation: 1, consumed: .seconds(20))
        try await bench.write([
            .exited(
                job: id,
                incarnation: bench.key(id).incarnation,
                exit: .lost,
                consumed: nil,
                time: bench.time.now
            ), .begin(job: id, node: Bench.node, time: bench.time.now),
        ])
        try await bench.start()
        let record = try await bench.until(id, "it runs on") { $0.state == .running }
        #expect(record.incarnation.rawValue == 2)
        #expect(record.ledger.total == .seconds(20))
        #expect(bench.host.container(bench.key(id, 2))?.images != nil)
        await bench.stop()
    }

    // MARK: Catalog and store

    @Test func filesThatNobodyKnowsAreDeletedAndEntriesWithoutFilesAreDamaged() async throws {
        let (bench, id) = try await left()
        try await recordCheckpoint(bench, id, generation: 1, consumed: .seconds(5))
        try await recordCheckpoint(bench, id, generation: 2, consumed: .seconds(9))
        try await bench.images.remove(job: id, generation: .init(rawValue: 1))
        var damaged = Self.stored(bench, id, 2, .seconds(9))
        damaged.damage = "region 3 has a wrong checksum"
        bench.images.put(damaged)
        let stranger = JobID(rawValue: "strangeraaaa")
        bench.images.put(Self.stored(bench, stranger, 4, .zero))
        bench.host.plant(Self.plan(bench.key(id)))
        try await bench.start()
        let record = try await bench.job(id)
        #expect(record.catalog.map(\.state) == [.damaged, .damaged])
        #expect(
            record.catalog.map(\.damage) == ["its files are gone from the store", "region 3 has a wrong checksum"]
        )
        #expect(bench.images.generations(of: stranger).isEmpty)
        await bench.stop()
    }

    // MARK: The ledger

    @Test func theLedgerAddsUpOverRestartsOfTheAgent() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        await bench.advance(10)
        for _ in 1...3 {
            await bench.stop()
            bench.time.advance(.seconds(5))
            try await bench.start()
            await bench.advance(5)
        }
        bench.host.end(bench.key(id), .exited(code: 0))
        let record = try await bench.until(id, "it completed") { $0.state == .completed }
        #expect(record.ledger.total == .seconds(40))
        #expect(record.incarnation.rawValue == 1)
        await bench.stop()
    }

    @Test func theLedgerAddsUpOverLossesRestoresAndRestarts() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        var used = Duration.zero
        for incarnation in 1...3 as ClosedRange<UInt32> {
            await bench.advance(60)
            try await bench.checkpoint(id)
            await bench.advance(4)
            used += .seconds(64)
            await bench.stop()
            bench.host.lose(bench.key(id, incarnation))
            try await bench.start()
            try await bench.until(id, "it runs on") {
                $0.state == .running && $0.incarnation.rawValue == incarnation + 1
            }
            await bench.quiet()
            let record = try await bench.job(id)
            #expect(record.ledger.total == .seconds(60 * Int64(incarnation)))
        }
        let record = try await bench.job(id)
        #expect(record.ledger.total + record.lost <= used)
        #expect(record.ledger.total + record.lost >= used - .seconds(12), "at most a write's period is unknown")
        await bench.stop()
    }
}
