import ClusterModel
import ClusterState
import Storage
import Testing

@testable import Agent

/// What is measured reaches the policy, the cgroups, and the history.
@Suite(.timeLimit(.minutes(5)))
struct NodeControllerSamplingTests {
    static func deadline(_ name: String, cpuTime: Int, within frame: Int) -> JobSpecification {
        Bench.specification(name) { specification in
            specification.resources.cpus = 2
            specification.objective = .cpuTime(amount: .seconds(cpuTime), frame: .seconds(frame))
        }
    }

    @Test func aDeadlineIsKeptByWeightsBesideGreedyNeighbours() async throws {
        let bench = try await Bench.started()
        _ = try await bench.running(Bench.specification("greedy") { $0.resources.cpus = 2 })
        let id = try await bench.running(Self.deadline("urgent", cpuTime: 150, within: 100))
        await bench.quiet()
        await bench.advance(3)
        let urgent = try #require(bench.host.container(bench.key(id)))
        let greedy = try #require(bench.host.running.first { $0.job != id }.flatMap { bench.host.container($0) })
        #expect(urgent.weight.rawValue >= 1.4, "150 CPU seconds in 100 s take 1.5 vCPUs")
        #expect(greedy.weight < urgent.weight)
        #expect(urgent.quota == nil && greedy.quota == nil, "a share is a weight, never a quota")
        #expect(bench.host.journal.allSatisfy { !$0.hasPrefix("setCPULimit") })
        await bench.stop()
    }

    @Test func theMomentInWhichAnObjectiveIsGrantedIsKeptAtOnce() async throws {
        let bench = try await Bench.started { $0.historyPeriod = .seconds(3000) }
        let id = try await bench.running(Self.deadline("solver", cpuTime: 10, within: 100))
        await bench.quiet()
        await bench.advance(9)
        #expect(try await bench.job(id).metDeadline == nil)
        await bench.advance(1)
        let record = try await bench.job(id)
        #expect(record.metDeadline == true)
        #expect(record.state == .running, "a job may run on after its objective")
        #expect(
            try await bench.sentences(id, .deadlineMet) == [
                "All \(Duration.seconds(10).text) of CPU time were granted \(Duration.seconds(90).text) before the deadline."
            ]
        )
        bench.host.end(bench.key(id), .exited(code: 0))
        try await bench.until(id, "it completed") { $0.state == .completed }
        await bench.gone(id)
        #expect(bench.registry.render().contains("godwit_deadlines_met_total 1.0\n"))
        await bench.stop()
    }

    @Test func aDeadlineThatWasMetIsCountedAsMetHoweverTheJobEnds() async throws {
        let bench = try await Bench.started()
        for (name, exit) in [("late", ContainerExit.exited(code: 0)), ("failing", .exited(code: 1))] {
            let id = try await bench.running(Self.deadline(name, cpuTime: 10, within: 100))
            await bench.quiet()
            await bench.advance(20)
            #expect(try await bench.job(id).metDeadline == true)
            await bench.advance(100)
            bench.host.end(bench.key(id), exit)
            try await bench.until(id, "it ended") { $0.state.isFinal }
            await bench.gone(id)
        }
        #expect(bench.registry.render().contains("godwit_deadlines_met_total 2.0\n"))
        #expect(!bench.registry.render().contains("godwit_deadlines_missed_total 1.0\n"))
        await bench.stop()
    }

    @Test func eachPassLeavesAPointOfHistory() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running()
        await bench.quiet()
        await bench.advance(20)
        await bench.stop()
        let samples = try await bench.store.samples(of: id, from: .epoch, limit: 100)
        #expect(samples.count >= 20)
        let last = try #require(samples.last)
        #expect(last.consumed == .seconds(20))
        #expect(last.usage == 1)
        #expect(last.memory == .mebibytes(100))
        #expect(zip(samples, samples.dropFirst()).allSatisfy { $0.time < $1.time && $0.consumed <= $1.consumed })
    }

    @Test func historyIsAsDenseAsItIsSetAndTheLastReadingIsWrittenAtTheEnd() async throws {
        let bench = try await Bench.started { settings in
            settings.period = .seconds(1000)
            settings.recordPeriod = .seconds(5000)
        }
        let id = try await bench.running()
        await bench.quiet()
        for _ in 1...20 {
            bench.time.advance(.seconds(1000))
            await bench.controller.tick()
        }
        await bench.stop()
        let samples = try await bench.store.samples(of: id, from: .epoch, limit: 100)
        #expect((4...5).contains(samples.count), "\(samples.count) points")
        try await bench.start()
        #expect(try await bench.job(id).ledger.total == .seconds(20_000))
        await bench.stop()
    }

    @Test func thePolicyIsAskedAsOftenAsItIsSet() async throws {
        func passes(controlPeriod: Duration) async throws -> Int {
            let bench = try await Bench.started { settings in
                settings.period = .seconds(1000)
                settings.controlPeriod = controlPeriod
            }
            let id = try await bench.running()
            await bench.quiet()
            let before = Self.count(of: "godwit_control_seconds_count", in: bench.registry.render())
            for _ in 1...12 {
                bench.time.advance(.seconds(1000))
                await bench.controller.tick()
            }
            // What is known of the job follows its readings, whether the policy was asked or not.
            #expect(await bench.controller.standing(of: id)?.consumed == .seconds(12_000))
            let after = Self.count(of: "godwit_control_seconds_count", in: bench.registry.render())
            await bench.stop()
            return after - before
        }
        #expect(try await passes(controlPeriod: .seconds(1000)) == 12)
        #expect((3...5).contains(try await passes(controlPeriod: .seconds(3000))))
    }

    @Test func aClockThatIsSetBackStopsNothing() async throws {
        let bench = try await Bench.started()
        _ = try await bench.running(Bench.specification("greedy") { $0.resources.cpus = 2 })
        let id = try await bench.running(Self.deadline("urgent", cpuTime: 150, within: 100))
        await bench.quiet()
        await bench.advance(10)
        let metric = "godwit_control_seconds_count"
        let passes = Self.count(of: metric, in: bench.registry.render())
        let points = try await bench.store.samples(of: id, from: .epoch, limit: 1000).count
        let used = try await bench.job(id).ledger.total
        bench.time.set(by: .seconds(-3600))
        await bench.advance(20)
        #expect(Self.count(of: metric, in: bench.registry.render()) >= passes + 20)
        #expect(try await bench.store.samples(of: id, from: .epoch, limit: 1000).count >= points + 15)
        #expect(try await bench.job(id).ledger.total >= used + .seconds(15))
        #expect(await bench.controller.standing(of: id)?.consumed == .seconds(30))
        #expect(await bench.controller.standing(of: id)?.usage == 1)
        // The policy still takes the job for one that needs more than its half.
        let urgent = try #require(bench.host.container(bench.key(id)))
        #expect(urgent.weight > 1)
        await bench.stop()
    }

    @Test func theTimeOfThePolicyNeverGoesBackAndMeetsTheClockAgain() async throws {
        let bench = try await Bench.started()
        await bench.controller.decideNow()
        let start = try #require(await bench.controller.policyTime?.moment)
        bench.time.set(by: .seconds(-10))
        var last = start
        for _ in 1...30 {
            await bench.advance(1)
            let told = try #require(await bench.controller.policyTime?.moment)
            #expect(told > last)
            last = told
        }
        #expect(last == bench.time.now, "20 s after a step of 10 s they agree")
        await bench.stop()
    }

    private static func count(of metric: String, in text: String) -> Int {
        text.split(separator: "\n").first { $0.hasPrefix(metric + " ") }
            .flatMap { Int($0.dropFirst(metric.count + 1)) } ?? 0
    }

    @Test func aJobThatHasEndedLeavesNoGauges() async throws {
        let bench = try await Bench.started()
        let id = try await bench.running(Bench.specification("solver"))
        await bench.quiet()
        await bench.advance(2)
        #expect(bench.registry.render().contains("godwit_job_cpu_seconds{job=\"solver\"} 2.0\n"))
        bench.host.end(bench.key(id), .exited(code: 0))
        try await bench.until(id, "it completed") { $0.state == .completed }
        await bench.gone(id)
        #expect(!bench.registry.render().contains("solver"))
        await bench.stop()
    }

    @Test func admissionCountsWhatIsPromisedAlready() async throws {
        let bench = try await Bench.started()
        let candidate = Self.deadline("candidate", cpuTime: 100, within: 100)
        let alone = await bench.controller.admission(of: candidate, at: bench.time.now)
        #expect(alone.verdict == .feasible)
        #expect(alone.deadline == bench.time.now + .seconds(100))
        _ = try await bench.running(Self.deadline("first", cpuTime: 170, within: 100))
        let beside = await bench.controller.admission(of: candidate, at: bench.time.now)
        #expect(beside.verdict == .infeasible)
        #expect(beside.available < alone.available)
        #expect(beside.reason.hasSuffix("."))
        let bestEffort = await bench.controller.admission(of: Bench.specification(), at: bench.time.now)
        #expect(bestEffort.verdict == .bestEffort)
        await bench.stop()
    }

    @Test func whatContainersUseAddsUp() async throws {
        let bench = try await Bench.started()
        let first = try await bench.running(Bench.specification("first"))
        _ = try await bench.running(Bench.specification("second"))
        await bench.quiet()
        bench.host.change(bench.key(first)) { $0.appetite = 0.25 }
        await bench.advance(2)
        let use = await bench.controller.use
        #expect(use.vcpus == 1.25)
        #expect(use.memory == .mebibytes(200))
        await bench.stop()
    }
}
