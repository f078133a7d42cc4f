import Checkpointing
import ClusterModel
import ClusterState
import ImageStore
import Testing

@testable import Agent

/// Checkpoints are taken without harm to the job, and restores bring back what is good, or say why not.
@Suite(.timeLimit(.minutes(5)))
struct NodeControllerCheckpointTests {
    static let limited = Bench.specification { specification in
        specification.resources.cpuLimit = 0.5
        specification.resources.memory = .gibibytes(1)
    }

    // MARK: Taking

    @Test func aCheckpointFreezesLiftsTheQuotaDumpsAndPutsAllBack() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Self.limited)
        await bench.quiet()
        await bench.advance(10)
        bench.host.forgetJournal()
        try await bench.checkpoint(id)
        let key = bench.key(id)
        #expect(
            bench.host.journal == [
                "prepareCheckpoint \(key)", "freeze \(key)", "setCPULimit \(key) none", "dump \(key)",
                "captureLayer \(key)", "setCPULimit \(key) 0.50", "thaw \(key)", "removeFolders",
            ]
        )
        let record = try await bench.job(id)
        let entry = try #require(record.newestGoodCheckpoint)
        #expect(entry.generation.rawValue == 1)
        #expect(entry.consumed == .seconds(5), "half a vCPU for ten seconds")
        #expect(entry.node == Bench.node)
        #expect(record.request == nil)
        #expect(try await bench.sentences(id, .checkpointed).count == 1)
        #expect(bench.registry.render().contains("godwit_checkpoints_total 1.0\n"))
        await bench.stop()
    }

    /// Where a checkpoint can fail.
    enum FailingStep: String, CaseIterable { case prepareCheckpoint, freeze, dump, captureLayer, storing }

    @Test(arguments: FailingStep.allCases, [false, true])
    func aCheckpointThatFailsLeavesTheJobRunningWithItsQuota(step: FailingStep, stops: Bool) async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Self.limited)
        await bench.quiet()
        if let step = SimulatedContainerHost.Step(rawValue: step.rawValue) {
            bench.host.fail(step, "it went wrong here")
        } else {
            bench.images.failStoring("it went wrong here")
        }
        try await bench.propose(.requestCheckpoint(job: id, stops: stops, by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "the failure is told") {
            $0.lastCheckpointAttempt != nil && $0.state == .running
        }
        await bench.quiet()
        let container = try #require(bench.host.container(bench.key(id)))
        #expect(container.exit == nil)
        #expect(!container.isFrozen)
        #expect(container.quota == 0.5)
        #expect(record.request == nil, "a failed request is not repeated without end")
        #expect(record.catalog.isEmpty)
        #expect(bench.images.generations(of: id).isEmpty)
        let warning = try #require(try await bench.sentences(id, .warned).first)
        #expect(warning.hasPrefix("Checkpoint 1 failed: "))
        #expect(warning.contains("it went wrong here"))
        #expect(bench.registry.render().contains("godwit_checkpoints_failed_total 1.0\n"))
        // The job can be checkpointed and can end as if nothing had been.
        try await bench.checkpoint(id)
        bench.host.end(bench.key(id), .exited(code: 0))
        try await bench.until(id, "it completed") { $0.state == .completed }
        await bench.stop()
    }

    @Test(arguments: [SimulatedContainerHost.Step.freeze, .dump, .captureLayer])
    func aStepThatNeverEndsIsGivenUp(step: SimulatedContainerHost.Step) async throws {
        let bench = try await Bench.started { settings in
            settings.checkpointLimits.freeze = .milliseconds(20)
            settings.checkpointLimits.dump = .milliseconds(20)
            settings.checkpointLimits.dumpPerGibibyte = .zero
            settings.checkpointLimits.captureLayer = .milliseconds(20)
        }
        let id = try await bench.running(Self.limited)
        await bench.quiet()
        _ = bench.host.hold(step)
        try await bench.propose(.requestCheckpoint(job: id, stops: false, by: Bench.user, time: bench.time.now))
        try await bench.until(id, "it is given up") { $0.lastCheckpointAttempt != nil && $0.state == .running }
        await bench.quiet()
        #expect(bench.host.container(bench.key(id))?.isFrozen == false)
        #expect(bench.host.container(bench.key(id))?.quota == 0.5)
        #expect(try await bench.sentences(id, .warned).first?.contains("did not end within its limit") == true)
        await bench.stop()
    }

    @Test func aThawIsTriedAsOftenAsItTakes() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Self.limited)
        await bench.quiet()
        bench.host.fail(.thaw, "busy", "busy", "busy")
        try await bench.checkpoint(id)
        #expect(bench.host.container(bench.key(id))?.isFrozen == false)
        #expect(bench.host.journal.count { $0.hasPrefix("thaw") } == 4)
        #expect(bench.log.text.contains("could not be thawed"))
        await bench.stop()
    }

    @Test func aContainerThatEndsMeanwhileEndsTheCheckpointToo() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        let gate = bench.host.hold(.dump)
        try await bench.propose(.requestCheckpoint(job: id, stops: false, by: Bench.user, time: bench.time.now))
        await gate.reached()
        bench.host.end(bench.key(id), .exited(code: 0))
        let record = try await bench.until(id, "it completed") { $0.state == .completed }
        await bench.gone(id)
        #expect(record.catalog.isEmpty)
        #expect(bench.images.generations(of: id).isEmpty)
        await bench.stop()
    }

    @Test(arguments: [SimulatedContainerHost.Step.freeze, .dump, .captureLayer], [false, true])
    func anAgentThatStopsLeavesNoContainerFrozen(step: SimulatedContainerHost.Step, stops: Bool) async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Self.limited)
        await bench.quiet()
        let gate = bench.host.hold(step)
        try await bench.propose(.requestCheckpoint(job: id, stops: stops, by: Bench.user, time: bench.time.now))
        await gate.reached()
        await bench.stop()
        let container = try #require(bench.host.container(bench.key(id)))
        #expect(container.exit == nil)
        #expect(!container.isFrozen)
        #expect(container.quota == 0.5)
        // What the user asked for is done by the next agent.
        gate.open()
        try await bench.start()
        let record = try await bench.until(id, "it is there") {
            $0.newestGoodCheckpoint != nil && $0.state == (stops ? .suspended : .running)
        }
        #expect(record.newestGoodCheckpoint?.generation.rawValue == 2)
        #expect(try await bench.sentences(id, .warned) == ["Checkpoint 1 failed: the agent stops"])
        await bench.stop()
    }

    @Test func anAgentThatStopsWaitsForNoCheckpointWithoutEnd() async throws {
        let bench = try await Bench.started { $0.checkpointPatience = .milliseconds(50) }
        let id = try await bench.running(Self.limited)
        await bench.quiet()
        bench.host.failAlways(.thaw, "busy")
        let gate = bench.host.hold(.dump)
        try await bench.propose(.requestCheckpoint(job: id, stops: false, by: Bench.user, time: bench.time.now))
        await gate.reached()
        let replica = bench.replica
        await bench.stop()
        let record = try #require(await replica.state.job(id))
        #expect(record.state == .running)
        #expect(record.request != nil, "the next agent has nothing to do")
        #expect(bench.log.text.contains("checkpoint.abandoned"))
        #expect(bench.log.text.contains("container.thaw.failed"))
        // The operation still tries, and ends when it can.
        bench.host.heal(.thaw)
        while bench.host.container(bench.key(id))?.isFrozen == true {
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    @Test func anAgentThatStopsDuringARestoreLosesNoWork() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        await bench.advance(10)
        try await bench.checkpoint(id)
        await bench.advance(10)
        try await bench.checkpoint(id, stops: true)
        await bench.gone(id)
        bench.host.failAlways(.makeRestoreFolders, "no room in memory")
        try await bench.propose(.requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now))
        try await bench.untilTold(id, .warned)
        let controller = bench.controller
        await bench.stop()
        while await controller.operations[id] != nil {
            try Task.checkCancellation()
            await Task.yield()
        }
        bench.host.heal(.makeRestoreFolders)
        try await bench.start()
        let record = try await bench.until(id, "it runs on") { $0.state == .running }
        #expect(record.ledger.total == .seconds(20), "it fell back to an older checkpoint")
        await bench.stop()
    }

    @Test func aLimitThatChangesDuringACheckpointHoldsAfterIt() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Self.limited)
        await bench.quiet()
        let gate = bench.host.hold(.prepareCheckpoint)
        try await bench.propose(.requestCheckpoint(job: id, stops: false, by: Bench.user, time: bench.time.now))
        await gate.reached()
        try await bench.propose(
            .requestResize(Resize(job: id, cpuLimit: .limit(0.25), by: Bench.user, time: bench.time.now))
        )
        _ = await bench.controller.applyNow(id)
        gate.open()
        try await bench.until(id, "it is there") { $0.newestGoodCheckpoint != nil && $0.state == .running }
        await bench.quiet()
        #expect(bench.host.container(bench.key(id))?.quota == 0.25)
        await bench.stop()
    }

    @Test func checkpointsOverTheBoundWaitForOthers() async throws {
        let bench = try await Bench.started { $0.checkpointLimit = 1 }
        let first = try await bench.running(Bench.specification("first"))
        let second = try await bench.running(Bench.specification("second"))
        await bench.quiet()
        let gate = bench.host.hold(.dump)
        for id in [first, second] {
            try await bench.propose(.requestCheckpoint(job: id, stops: false, by: Bench.user, time: bench.time.now))
        }
        await gate.reached()
        await bench.advance(2)
        #expect(gate.arrivals == 1)
        #expect(bench.host.container(bench.key(second))?.isFrozen == false)
        gate.open()
        for id in [first, second] {
            try await bench.until(id, "it is there") { $0.newestGoodCheckpoint != nil && $0.state == .running }
        }
        await bench.stop()
    }

    @Test func checkpointsAreTakenByIntervalAndOldGenerationsGo() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(
            Bench.specification { specification in
                specification.checkpoint.interval = .seconds(10)
                specification.checkpoint.generations = 2
            }
        )
        await bench.quiet()
        for generation in 1...4 as ClosedRange<UInt32> {
            await bench.advance(9)
            await bench.quiet()
            #expect(try await bench.job(id).lastGeneration.rawValue == generation - 1, "taken before it was due")
            await bench.advance(1)
            try await bench.until(id, "generation \(generation)") {
                $0.newestGoodCheckpoint?.generation.rawValue == generation && $0.state == .running
            }
            await bench.quiet()
        }
        try await bench.until(id, "the old ones are forgotten") { $0.catalog.count == 2 }
        #expect(bench.images.generations(of: id) == [3, 4])
        await bench.stop()
    }

    @Test func checkpointsThatFailAreTriedAtLongerAndLongerIntervals() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.checkpoint.interval = .seconds(10) })
        await bench.quiet()
        bench.host.failAlways(.prepareCheckpoint, "CRIU is missing")
        bench.host.forgetJournal()
        for _ in 1...15 {
            await bench.advance(10)
            await bench.quiet()
        }
        // Due after 10 s, then after pauses of 20, 40 and 80 s.
        #expect(bench.host.journal.count { $0.hasPrefix("prepareCheckpoint") } == 4)
        #expect(!bench.host.journal.contains { $0.hasPrefix("freeze") })
        bench.host.heal(.prepareCheckpoint)
        await bench.advance(160)
        try await bench.until(id, "it is there") { $0.newestGoodCheckpoint != nil && $0.state == .running }
        await bench.quiet()
        await bench.advance(10)
        try await bench.until(id, "the next") { $0.newestGoodCheckpoint?.generation.rawValue == 6 }
        await bench.stop()
    }

    @Test func aClockThatIsSetBackPutsNoCheckpointOff() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.checkpoint.interval = .seconds(10) })
        await bench.quiet()
        for generation in 1...3 as ClosedRange<UInt32> {
            if generation == 2 { bench.time.set(by: .seconds(-3600)) }
            await bench.advance(10)
            try await bench.until(id, "generation \(generation)") {
                ($0.newestGoodCheckpoint?.generation.rawValue ?? 0) >= generation && $0.state == .running
            }
            await bench.quiet()
        }
        #expect(try await bench.job(id).lastGeneration.rawValue <= 4, "it is taken without a pause")
        await bench.stop()
    }

    @Test func aGenerationThatCannotBeDeletedIsTriedAgain() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.checkpoint.generations = 1 })
        let failure = SimulatedContainerHost.PlantedFailure(description: "read-only file system")
        bench.images.failRemoving([failure, failure])
        try await bench.checkpoint(id)
        try await bench.checkpoint(id)
        try await bench.checkpoint(id)
        try await bench.until(id, "only the newest is left") { $0.catalog.count == 1 }
        #expect(bench.images.generations(of: id) == [3])
        #expect(bench.log.text.split(separator: "\n").count { $0.contains("checkpoint.remove.failed") } == 1)
        await bench.stop()
    }

    @Test func aGenerationThatIsBeingReadIsDeletedLaterAndNobodyIsWarned() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.checkpoint.generations = 1 })
        await bench.quiet()
        try await bench.checkpoint(id)
        await bench.quiet()
        // More often than there are changes.
        bench.images.failRemoving(Array(repeating: ImageStoreError(.busy, "it is being read"), count: 100))
        try await bench.checkpoint(id)
        await bench.quiet()
        while !bench.log.text.contains("checkpoint.remove.postponed"), !Task.isCancelled { await Task.yield() }
        #expect(bench.images.generations(of: id) == [1, 2])
        bench.images.failRemoving([])
        await bench.controller.collectRetired(await bench.replica.state)
        #expect(bench.images.generations(of: id) == [2])
        #expect(!bench.log.text.contains("checkpoint.remove.failed"))
        await bench.stop()
    }

    @Test func aRemovalThatTakesLongHoldsUpNothingElse() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.checkpoint.generations = 1 })
        let gate = bench.images.holdRemoving()
        try await bench.checkpoint(id)
        try await bench.checkpoint(id)
        await gate.reached()
        _ = try await bench.running(Bench.specification("another"))
        try await bench.checkpoint(id)
        #expect(bench.images.generations(of: id) == [1, 2, 3])
        gate.open()
        try await bench.until(id, "only the newest is left") { $0.catalog.count == 1 }
        #expect(bench.images.generations(of: id) == [3])
        await bench.stop()
    }

    // MARK: Stopping with a checkpoint, and going on

    @Test func aJobStopsWithACheckpointAndGoesOnFromIt() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Self.limited)
        await bench.quiet()
        await bench.advance(10)
        bench.host.forgetJournal()
        try await bench.checkpoint(id, stops: true)
        await bench.gone(id)
        #expect(bench.host.running.isEmpty)
        #expect(!bench.host.journal.contains { $0.hasPrefix("thaw") }, "it ran on after its checkpoint")
        #expect(try await bench.job(id).ledger.total == .seconds(5))
        await bench.advance(100)
        try await bench.propose(.requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "it runs on") { $0.state == .running }
        #expect(record.incarnation.rawValue == 2)
        #expect(record.ledger.total == .seconds(5))
        let container = try #require(bench.host.container(bench.key(id, 2)))
        #expect(container.images == "/memory/\(id)-2-restore/images")
        #expect(container.quota == 0.5)
        #expect(bench.host.journal.contains("restore \(id)-2 with layer"))
        #expect(
            try await bench.sentences(id, .restored).first?.contains(
                "goes on with \(Duration.seconds(5).text) of CPU time"
            ) == true
        )
        await bench.quiet()
        await bench.advance(10)
        bench.host.end(bench.key(id, 2), .exited(code: 0))
        let ended = try await bench.until(id, "it completed") { $0.state == .completed }
        #expect(ended.ledger.total == .seconds(10))
        #expect(ended.lost == .zero)
        await bench.stop()
    }

    @Test func anEmptyLayerIsNeitherStoredNorRestored() async throws {
        let bench = try await Bench.started()
        bench.host.leaveLayersEmpty()
        let id = try await bench.running()
        try await bench.checkpoint(id, stops: true)
        await bench.gone(id)
        try await bench.propose(.requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now))
        try await bench.until(id, "it runs on") { $0.state == .running }
        #expect(bench.host.journal.contains("restore \(id)-2"))
        await bench.stop()
    }

    @Test func aRestoreOfARunningJobStopsItFirst() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        await bench.advance(10)
        try await bench.checkpoint(id)
        await bench.advance(7)
        try await bench.propose(.requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "it runs again") {
            $0.state == .running && $0.incarnation.rawValue == 2
        }
        #expect(record.ledger.total == .seconds(10))
        #expect(record.lost == .seconds(7))
        await bench.stop()
    }

    // MARK: Losses

    @Test func aLostContainerIsRestoredFromItsCheckpoint() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        await bench.advance(10)
        try await bench.checkpoint(id)
        await bench.advance(5)
        bench.host.lose(bench.key(id))
        let record = try await bench.until(id, "it runs on") { $0.state == .running && $0.incarnation.rawValue == 2 }
        #expect(record.ledger.total == .seconds(10))
        #expect(record.lost == .seconds(5))
        #expect(
            try await bench.sentences(id, .restarted) == [
                "Its container is gone without a trace: the machine, its disk or the container's supervisor failed. It goes on from checkpoint 1."
            ]
        )
        #expect(bench.registry.render().contains("godwit_restores_total 1.0\n"))
        await bench.stop()
    }

    @Test(arguments: JobSpecification.CheckpointRules.Recovery.allCases)
    func aLostContainerIsTreatedAsTheJobSays(rule: JobSpecification.CheckpointRules.Recovery) async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.checkpoint.recovery = rule })
        if rule != .restore { try await bench.checkpoint(id) }
        await bench.quiet()
        bench.host.end(bench.key(id), .signalled(number: 9, isOutOfMemory: false))
        try await bench.until(id, "the loss is known") { $0.lastExit != nil }
        guard rule != .fail else {
            await bench.gone(id)
            let record = try await bench.job(id)
            #expect(record.state == .failed)
            #expect(record.message.hasSuffix("The job says `checkpoint.recovery: fail`."))
            return await bench.stop()
        }
        try await bench.until(id, "it runs anew") { $0.state == .running && $0.incarnation.rawValue == 2 }
        #expect(bench.host.container(bench.key(id, 2))?.images == nil, "it was to start from its beginning")
        let sentence = try #require(try await bench.sentences(id, .restarted).first)
        #expect(
            sentence.contains(
                rule == .restart ? "As the job says, it starts from the beginning." : "There is no good checkpoint"
            )
        )
        await bench.stop()
    }

    // MARK: Images that cannot be used

    /// A job that is suspended and has checkpoints 1 and 2.
    private func suspended(_ bench: Bench) async throws -> JobID {
        let id = try await bench.running()
        await bench.quiet()
        await bench.advance(10)
        try await bench.checkpoint(id)
        await bench.advance(10)
        try await bench.checkpoint(id, stops: true)
        await bench.gone(id)
        return id
    }

    @Test(arguments: ["index", "data"])
    func aDamagedNewestCheckpointIsNamedAndTheOneBeforeIsTaken(part: String) async throws {
        let bench = try await Bench.started()
        let id = try await suspended(bench)
        if part == "index" {
            bench.images.damageIndex(id, 2, "its index has a wrong checksum")
        } else {
            bench.images.damageData(id, 2, "region 7 of pages-1.img has a wrong checksum")
        }
        try await bench.propose(.requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "it runs on") { $0.state == .running }
        #expect(record.ledger.total == .seconds(10))
        #expect(record.catalog.map(\.state) == [.complete, .damaged])
        #expect(bench.images.record(id, 2)?.damage?.contains("wrong checksum") == true)
        let warnings = try await bench.sentences(id, .warned)
        #expect(warnings.contains { $0.hasPrefix("Checkpoint 2 is damaged: ") && $0.contains("wrong checksum") })
        #expect(warnings.contains { $0.hasSuffix("Checkpoint 1 is tried next.") })
        // How its memory came is told after that.
        let restored = try await bench.sentences(id, .restored).last { $0.hasPrefix("Restored ") }
        #expect(restored?.contains("from checkpoint 1") == true)
        await bench.stop()
    }

    @Test func aJobWithoutAGoodCheckpointStaysSuspendedAndSaysWhatToDo() async throws {
        let bench = try await Bench.started()
        let id = try await suspended(bench)
        bench.images.damageIndex(id, 1, "its index is empty")
        bench.images.damageIndex(id, 2, "its index is empty")
        try await bench.propose(.requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "it is suspended") { $0.state == .suspended }
        #expect(record.message.contains("Checkpoint 1"))
        #expect(record.message.hasSuffix("No complete checkpoint is left; cancel the job and submit it again."))
        await bench.gone(id)
        #expect(bench.host.running.isEmpty)
        await bench.released(id)
        await bench.stop()
    }

    @Test func aLostJobWithoutAGoodCheckpointStartsFromItsBeginning() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        await bench.advance(10)
        try await bench.checkpoint(id)
        bench.images.damageIndex(id, 1, "its index is empty")
        bench.host.lose(bench.key(id))
        let record = try await bench.until(id, "it runs anew") { $0.state == .running && $0.incarnation.rawValue > 1 }
        #expect(record.ledger.total == .zero)
        #expect(record.lost == .seconds(10))
        #expect(
            try await bench.sentences(id, .restarted).last?.hasSuffix(
                "No older checkpoint is left, so it starts from the beginning."
            ) == true
        )
        await bench.stop()
    }

    @Test func imagesThatCRIURefusesAreTriedTwiceAndNothingOfTheFirstAttemptIsLeft() async throws {
        let bench = try await Bench.started()
        let id = try await suspended(bench)
        bench.host.fail(.restore, "pid 7 is taken")
        bench.host.forgetJournal()
        try await bench.propose(.requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "it runs on") { $0.state == .running }
        #expect(record.ledger.total == .seconds(20))
        let key = bench.key(id, 2)
        #expect(
            bench.host.journal.filter { $0.contains("\(key)") && !$0.hasPrefix("setAllocation") } == [
                "makeRestoreFolders \(key)", "restore \(key) with layer", "remove \(key)",
                "makeRestoreFolders \(key)", "restore \(key) with layer", "setCPULimit \(key) none",
            ]
        )
        await bench.stop()
    }

    @Test func aNamedCheckpointIsTakenOrNone() async throws {
        let bench = try await Bench.started()
        let id = try await suspended(bench)
        bench.host.failAlways(.restore, "this CPU lacks avx512")
        let two = CheckpointGeneration(rawValue: 2)
        try await bench.propose(.requestRestore(job: id, generation: two, by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "it is suspended again") {
            $0.state == .suspended && $0.incarnation.rawValue == 2
        }
        #expect(
            record.message
                == "Checkpoint 2 could not be restored: this CPU lacks avx512 Restore another one (1, 2) with "
                + "`godwit job restore --generation`."
        )
        await bench.quiet()
        #expect(bench.host.running.isEmpty)
        await bench.stop()
    }

    @Test func noWorkIsThrownAwayForALackThatPasses() async throws {
        let bench = try await Bench.started()
        let id = try await suspended(bench)
        bench.images.failExtracting(
            .unavailable(reason: "no room in memory"),
            .unavailable(reason: "no room in memory")
        )
        try await bench.propose(.requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "it runs on") { $0.state == .running }
        #expect(record.ledger.total == .seconds(20), "the newest checkpoint was given up for a lack of room")
        #expect(record.catalog.map(\.state) == [.complete, .complete])
        #expect(
            try await bench.sentences(id, .warned) == [
                "Checkpoint 2 cannot be restored yet: no room in memory. It is tried again until that works or the job is cancelled."
            ]
        )
        await bench.stop()
    }
}
