import ClusterModel
import ClusterState
import Storage
import Testing

@testable import Agent

/// What a job may expect of the node that runs it, from its start to its end.
@Suite(.timeLimit(.minutes(5)))
struct NodeControllerTests {
    // MARK: The usual life

    @Test func aJobIsStartedAndCompletes() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(
            Bench.specification { specification in
                specification.resources.memory = .gibibytes(1)
                specification.resources.cpuLimit = 1.5
            }
        )
        let container = try #require(bench.host.container(bench.key(id)))
        #expect(container.plan.specification.command == ["work"])
        #expect(container.memoryLimit == .gibibytes(1))
        #expect(container.quota == 1.5)
        await bench.advance(10)
        bench.host.end(bench.key(id), .exited(code: 0))
        let record = try await bench.until(id, "it completed") { $0.state == .completed }
        #expect(record.ledger.total == .seconds(10))
        #expect(record.message == "Completed after 10 s with 10 s of CPU time.")
        await bench.gone(id)
        #expect(bench.host.container(bench.key(id)) == nil)
        try await bench.unclaimed()
        #expect(bench.registry.render().contains("godwit_jobs_completed_total 1.0\n"))
        await bench.stop()
    }

    @Test func aJobThatFailsIsTriedAgainAfterItsBackOffAndThenFailsWithASentence() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(
            Bench.specification { specification in
                specification.retries.limit = 1
                specification.retries.backoff = .seconds(10)
            }
        )
        bench.host.end(bench.key(id), .exited(code: 3))
        let waiting = try await bench.until(id, "it waits for its retry") { $0.state == .queued }
        #expect(waiting.message.contains("'work' ended with exit code 3"))
        #expect(waiting.message.hasSuffix("Retry 1 of 1 in 10 s."))
        await bench.gone(id)
        await bench.advance(9)
        await bench.quiet()
        #expect(try await bench.job(id).state == .queued, "it was started before its back-off was over")
        await bench.advance(1)
        try await bench.until(id, "the retry runs") { $0.state == .running && $0.incarnation.rawValue == 2 }
        bench.host.end(bench.key(id, 2), .exited(code: 3))
        let record = try await bench.until(id, "it failed") { $0.state == .failed }
        #expect(record.message.contains("'work' ended with exit code 3"))
        #expect(record.message.hasSuffix("All 1 retries are used."))
        await bench.gone(id)
        #expect(bench.registry.render().contains("godwit_jobs_failed_total 1.0\n"))
        await bench.stop()
    }

    @Test func aJobOverItsMemoryIsToldWhatToRaise() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.resources.memory = .gibibytes(1) })
        bench.host.end(bench.key(id), .signalled(number: 9, isOutOfMemory: true))
        let record = try await bench.until(id, "it failed") { $0.state == .failed }
        #expect(
            record.message
                == "The kernel ended it with SIGKILL because it needed more than its memory limit of 1 GiB. Raise `resources.memory`, "
                + "or make the program use less."
        )
        await bench.stop()
    }

    @Test func aContainerThatCannotBeMadeFailsWithTheReason() async throws {
        let bench = try await Bench.started()
        bench.host.fail(.start, "the image /r is missing")
        let id = try await bench.submit()
        let record = try await bench.until(id, "it failed") { $0.state == .failed }
        #expect(record.message == "It could not be started: the image /r is missing.")
        await bench.quiet()
        #expect(bench.host.running.isEmpty)
        try await bench.unclaimed()
        await bench.stop()
    }

    @Test func aContainerThatCannotBeMadeOnceIsMadeByTheRetry() async throws {
        let bench = try await Bench.started()
        bench.host.fail(.start, "no inodes are left")
        let id = try await bench.submit(
            Bench.specification { specification in
                specification.retries.limit = 1
                specification.retries.backoff = .seconds(1)
            }
        )
        try await bench.until(id, "it waits") { $0.state == .queued && $0.retriesUsed == 1 }
        await bench.quiet()
        await bench.advance(1)
        try await bench.until(id, "it runs") { $0.state == .running }
        await bench.stop()
    }

    @Test func aForgottenJobLeavesNothing() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        bench.host.end(bench.key(id), .exited(code: 0))
        try await bench.until(id, "it completed") { $0.state == .completed }
        await bench.gone(id)
        bench.time.advance(.seconds(30 * 86400))
        let acceptance = try await bench.propose(.prune(time: bench.time.now))
        #expect(acceptance.pruned == [id])
        #expect(await bench.replica.state.job(id) == nil)
        await bench.quiet()
        #expect(try await bench.sentences(id) == [])
        await bench.stop()
    }

    // MARK: Iterations

    @Test func eachIterationHasAContainerOfItsOwnAndIsMeasured() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.iterative(count: 3))
        for iteration in 1...3 {
            try await bench.until(id, "iteration \(iteration) runs") {
                $0.state == .running && $0.incarnation.rawValue == UInt32(iteration)
            }
            await bench.quiet()
            #expect(bench.host.running == [bench.key(id, UInt32(iteration))])
            await bench.advance(10)
            bench.host.end(bench.key(id, UInt32(iteration)), .exited(code: 0))
        }
        let record = try await bench.until(id, "it completed") { $0.state == .completed }
        #expect(record.message == "Completed all 3 iterations with 30 s of CPU time.")
        #expect(record.completedIterations == 3)
        #expect(record.measuredIterations.map(\.duration) == [.seconds(10), .seconds(10), .seconds(10)])
        #expect(record.measuredIterations.map(\.consumed) == [.seconds(10), .seconds(10), .seconds(10)])
        // One vCPU was used, another one was idle: two it could have run on.
        for measurement in record.measuredIterations { #expect(abs(measurement.vcpus.rawValue - 2) < 0.01) }
        await bench.gone(id)
        #expect(bench.host.running.isEmpty)
        await bench.stop()
    }

    @Test func aFailedIterationIsRepeatedAndTheOthersCount() async throws {
        let bench = try await Bench.started()
        var specification = Bench.iterative(count: 2)
        specification.retries.limit = 1
        specification.retries.backoff = .seconds(1)
        let id = try await bench.running(specification)
        await bench.advance(4)
        bench.host.end(bench.key(id), .exited(code: 0))
        try await bench.until(id, "the second runs") { $0.state == .running && $0.incarnation.rawValue == 2 }
        await bench.quiet()
        await bench.advance(3)
        bench.host.end(bench.key(id, 2), .exited(code: 1))
        let waiting = try await bench.until(id, "it waits") { $0.state == .queued }
        #expect(waiting.completedIterations == 1)
        #expect(waiting.ledger.total == .seconds(4))
        #expect(waiting.lost == .seconds(3))
        await bench.gone(id)
        await bench.advance(1)
        try await bench.until(id, "it runs again") { $0.state == .running && $0.incarnation.rawValue == 3 }
        await bench.quiet()
        await bench.advance(4)
        bench.host.end(bench.key(id, 3), .exited(code: 0))
        let record = try await bench.until(id, "it completed") { $0.state == .completed }
        #expect(record.ledger.total == .seconds(8))
        await bench.stop()
    }

    // MARK: Cancelling

    /// Where a job can be when somebody cancels it.
    enum Place: String, CaseIterable {
        case waitingForRoom, waitingForItsRetry, starting, pulling, running, freezing, dumping, storing,
            stoppingWithACheckpoint
        case suspended, restoring, waitingForRestoreSpace, stubborn
    }

    @Test(arguments: Place.allCases)
    func aJobIsCancelledWhereverItIs(place: Place) async throws {
        let bench = try await Bench.started()
        let id = try await bring(to: place, bench)
        bench.time.advance(.seconds(1))
        try await bench.propose(.requestCancel(job: id, grace: .seconds(5), by: Bench.user, time: bench.time.now))
        let record = try await bench.until(id, "it is cancelled") { $0.state == .cancelled }
        #expect(record.message == "Cancelled by ada.")
        await bench.gone(id)
        #expect(!bench.host.running.contains { $0.job == id })
        await bench.released(id)
        try await bench.until(id, "its checkpoints are deleted") { $0.catalog.isEmpty }
        #expect(bench.images.generations(of: id) == [], "checkpoints of an ended job stayed")
        await bench.stop()
    }

    private func bring(to place: Place, _ bench: Bench) async throws -> JobID {
        switch place {
        case .waitingForRoom:
            _ = try await bench.running(Bench.specification("big") { $0.resources.memory = .gibibytes(4) })
            let id = try await bench.submit(Bench.specification { $0.resources.memory = .gibibytes(1) })
            try await bench.until(id, "it waits") { $0.message.hasPrefix("Waits for memory") }
            return id
        case .waitingForItsRetry:
            let id = try await bench.running(Bench.specification { $0.retries.limit = 1 })
            bench.host.end(bench.key(id), .exited(code: 1))
            try await bench.until(id, "it waits") { $0.state == .queued }
            return id
        case .starting:
            let gate = bench.host.hold(.start)
            let id = try await bench.submit()
            await gate.reached()
            defer { gate.open() }
            try await bench.propose(.requestCancel(job: id, grace: .zero, by: Bench.user, time: bench.time.now))
            return id
        case .pulling:
            // Nobody opens this gate: the start ends because it is given up.
            let gate = bench.host.hold(.start)
            let id = try await bench.submit()
            await gate.reached()
            return id
        case .running: return try await bench.running()
        case .stubborn:
            let id = try await bench.running()
            bench.host.fail(.stop, "runc does not answer", "runc does not answer")
            return id
        case .freezing, .dumping, .storing, .stoppingWithACheckpoint:
            let id = try await bench.running()
            let gate =
                switch place {
                case .freezing: bench.host.hold(.freeze)
                case .dumping: bench.host.hold(.dump)
                default: bench.images.holdStoring()
                }
            let stops = place == .stoppingWithACheckpoint
            try await bench.propose(
                .requestCheckpoint(job: id, stops: stops, by: Bench.user, time: bench.time.now)
            )
            await gate.reached()
            return id
        case .suspended, .restoring, .waitingForRestoreSpace:
            let id = try await bench.running()
            try await bench.checkpoint(id, stops: true)
            await bench.gone(id)
            if place == .suspended { return id }
            var gate: Gate?
            if place == .restoring {
                gate = bench.host.hold(.restore)
            } else {
                bench.host.failAlways(.makeRestoreFolders, "no room in memory")
            }
            try await bench.propose(
                .requestRestore(job: id, generation: nil, by: Bench.user, time: bench.time.now)
            )
            if let gate {
                await gate.reached()
            } else {
                try await bench.untilTold(id, .warned)
            }
            return id
        }
    }

    // MARK: Resizing

    @Test func resizingIsNothingButAWriteToTheCgroup() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.resources.cpus = 2 })
        await bench.quiet()
        bench.host.forgetJournal()
        try await bench.propose(
            .requestResize(Resize(job: id, allocation: .pin(0.5), by: Bench.user, time: bench.time.now))
        )
        _ = await bench.controller.applyNow(id)
        #expect(bench.host.container(bench.key(id))?.weight == 0.5)
        #expect(bench.host.journal == ["setAllocation \(bench.key(id)) 0.50"])
        #expect(try await bench.job(id).allocation == 0.5)

        // A pass of the policy does not take it back.
        await bench.advance(3)
        #expect(bench.host.container(bench.key(id))?.weight == 0.5)

        bench.host.forgetJournal()
        try await bench.propose(
            .requestResize(Resize(job: id, allocation: .release, by: Bench.user, time: bench.time.now))
        )
        _ = await bench.controller.applyNow(id)
        let weight = try #require(bench.host.container(bench.key(id))?.weight)
        #expect(weight > 0.5, "the only job of the node gets what the node has")
        #expect(bench.host.journal.allSatisfy { $0.hasPrefix("setAllocation") })
        await bench.stop()
    }

    @Test func limitsAreWrittenAtOnceAndKept() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification { $0.resources.memory = .gibibytes(1) })
        await bench.quiet()
        try await bench.propose(
            .requestResize(
                Resize(job: id, cpuLimit: .limit(0.75), memory: .gibibytes(2), by: Bench.user, time: bench.time.now)
            )
        )
        _ = await bench.controller.applyNow(id)
        #expect(bench.host.container(bench.key(id))?.quota == 0.75)
        #expect(bench.host.container(bench.key(id))?.memoryLimit == .gibibytes(2))
        // The promise to the job grows with its limit.
        #expect(await bench.controller.claims[id]?.memory == .gibibytes(2))
        try await bench.restart()
        #expect(bench.host.container(bench.key(id))?.quota == 0.75)
        await bench.stop()
    }

    @Test func aLimitThatCannotBeWrittenIsTold() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        bench.host.failAlways(.setCPULimit, "cpu.max: permission denied")
        try await bench.propose(
            .requestResize(Resize(job: id, cpuLimit: .limit(0.75), by: Bench.user, time: bench.time.now))
        )
        try await bench.untilTold(id, .warned)
        #expect(
            try await bench.sentences(id, .warned).first
                == "A new limit could not be written to its cgroup: cpu.max: permission denied"
        )
        #expect(try await bench.job(id).state == .running)
        await bench.stop()
    }

    // MARK: The disk

    @Test func whatHappenedIsReportedUntilItIsDurable() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        let full = StorageError(.full, "no space left on the disk")
        bench.store.fail(with: [full, full, full])
        bench.host.end(bench.key(id), .exited(code: 0))
        try await bench.until(id, "it completed") { $0.state == .completed }
        await bench.gone(id)
        #expect(await bench.controller.storageProblem == nil, "the problem is over and still told")
        #expect(bench.log.text.contains("state.write.failed"))
        await bench.stop()
    }

    @Test func aDiskThatCannotBeWrittenIsToldAndNothingIsLost() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        await bench.advance(5)
        let before = try await bench.store.samples(of: id, from: .epoch, limit: 100).count
        bench.store.fail(with: [StorageError(.full, "no space left on the disk")])
        await bench.advance(5)
        #expect(await bench.controller.storageProblem == "State cannot be written: no space left on the disk")
        await bench.advance(5)
        #expect(await bench.controller.storageProblem == nil)
        let after = try await bench.store.samples(of: id, from: .epoch, limit: 100).count
        #expect(after == before + 10, "\(before) points before, \(after) after")
        #expect(try await bench.job(id).ledger.total >= .seconds(15))
        await bench.stop()
    }

    @Test func nothingSecretIsLogged() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(
            Bench.specification { specification in
                specification.environment = [.init(name: "TOKEN", value: "hunter2")]
                specification.command = ["work", "--password", "swordfish"]
                specification.labels = [.init(key: "note", value: "opensesame")]
                specification.retries.limit = 1
            }
        )
        try await bench.checkpoint(id)
        bench.host.fail(.dump, "CRIU failed")
        try await bench.propose(.requestCheckpoint(job: id, stops: false, by: Bench.user, time: bench.time.now))
        try await bench.until(id, "the checkpoint failed") { $0.request == nil && $0.state == .running }
        await bench.advance(6)
        bench.host.end(bench.key(id), .exited(code: 2))
        try await bench.until(id, "it waits") { $0.state == .queued }
        await bench.stop()
        #expect(bench.log.text.contains("checkpoint.failed"))
        for secret in ["hunter2", "swordfish", "opensesame"] {
            #expect(!bench.log.text.contains(secret))
            #expect(!bench.registry.render().contains(secret))
        }
    }
}
