import ClusterModel
import Testing

@testable import QoS

struct QoSControllerTests {
    private let start = Timestamp(seconds: 1_000_000)

    private func job(
        _ name: String,
        _ objective: JobSpecification.Objective? = nil,
        cpus: Double = 2,
        weight: Double = 1
    ) -> JobView {
        var view = JobView(id: JobID(rawValue: name), objective: objective, submitted: start)
        view.parallelism = VCPUCount(cpus)
        view.weight = weight
        view.started = start
        view.isRunning = true
        return view
    }

    private func cpuTime(_ amount: Double, within frame: Double) -> JobSpecification.Objective {
        .cpuTime(amount: .seconds(amount), frame: .seconds(frame))
    }

    @Test("A deadline job goes before best-effort jobs, which keep a minimum")
    func deadlineFirst() {
        var controller = QoSController()
        let jobs = [job("urgent", cpuTime(150, within: 100)), job("greedy")]
        let allocations = controller.decide(jobs: jobs, capacity: 2, now: start)
        #expect(allocations[0].allocation.rawValue > 1.9)
        #expect(allocations[1].allocation.rawValue >= 0.01)
        #expect(allocations[1].condition == nil)
    }

    @Test("Spare CPU goes to the earliest deadline")
    func earliestDeadlineFirst() {
        var controller = QoSController()
        let jobs = [job("late", cpuTime(50, within: 400)), job("soon", cpuTime(50, within: 200))]
        let allocations = controller.decide(jobs: jobs, capacity: 2, now: start)
        #expect(allocations[1].allocation.rawValue > 1.9)
    }

    @Test("A narrow job with no time to lose gets its width although others are due earlier")
    func laxity() {
        var controller = QoSController()
        let jobs = [
            job("soon", cpuTime(10, within: 100), cpus: 2),
            job("narrow", cpuTime(100, within: 152), cpus: 1),
        ]
        let allocations = controller.decide(jobs: jobs, capacity: 2, now: start)
        #expect(allocations[1].allocation.rawValue > 0.9)
    }

    @Test("A deadline job that is far ahead shares with best-effort jobs; one that is not does not")
    func sharesFromFarAhead() {
        var controller = QoSController()
        let far = controller.decide(
            jobs: [job("far", cpuTime(10, within: 10_000)), job("greedy")],
            capacity: 2,
            now: start
        )
        #expect(far[1].allocation.rawValue > 0.9)
        let near = controller.decide(
            jobs: [job("near", cpuTime(100, within: 200)), job("greedy")],
            capacity: 2,
            now: start
        )
        #expect(near[1].allocation.rawValue < 0.05)
    }

    @Test("Best-effort jobs divide by weight")
    func weights() {
        var controller = QoSController()
        let allocations = controller.decide(
            jobs: [job("one"), job("three", weight: 3)],
            capacity: 2,
            now: start
        )
        #expect(abs(allocations[0].allocation.rawValue - 0.5) < 0.02)
        #expect(abs(allocations[1].allocation.rawValue - 1.5) < 0.02)
    }

    @Test("A pinned allocation is carried out, and the others divide the rest")
    func pinned() {
        var controller = QoSController()
        var pinned = job("pinned", cpuTime(100, within: 100))
        pinned.pinnedAllocation = 0.5
        let allocations = controller.decide(jobs: [pinned, job("other")], capacity: 2, now: start)
        #expect(allocations[0].allocation == 0.5)
        #expect(abs(allocations[1].allocation.rawValue - 1.5) < 1e-9)
    }

    @Test("A quota bounds what a job is given")
    func quota() {
        var controller = QoSController()
        var limited = job("limited", cpuTime(1000, within: 100))
        limited.cpuLimit = 0.75
        let allocations = controller.decide(jobs: [limited, job("other")], capacity: 2, now: start)
        #expect(allocations[0].allocation.rawValue <= 0.75)
        #expect(abs(allocations[0].allocation.rawValue + allocations[1].allocation.rawValue - 2) < 1e-9)
    }

    @Test("Frozen jobs keep what they had and count as work to come")
    func notRunning() {
        var controller = QoSController()
        var frozen = job("frozen", cpuTime(100, within: 200))
        frozen.isRunning = false
        frozen.allocation = 1.2
        let allocations = controller.decide(jobs: [frozen, job("other")], capacity: 2, now: start)
        #expect(allocations[0].allocation == 1.2)
        #expect(allocations[1].allocation == 2)
        #expect(allocations[0].decisions.isEmpty)
    }

    @Test(
        "Random jobs: allocations add up to the capacity whenever jobs could use it, within limits",
        arguments: 0..<200
    )
    func addsUp(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let capacity = [1.0, 2, 4, 8][Int(generator.next() % 4)]
        var controller = QoSController()
        var jobs = (0..<(1 + Int(generator.next() % 12))).map { number in
            var view = job(
                "job-\(number)",
                cpus: [0.5, 1, 2, 8][Int(generator.next() % 4)],
                weight: 0.1 + 5 * generator.unit()
            )
            switch generator.next() % 3 {
            case 0: view.objective = cpuTime(1 + 500 * generator.unit(), within: 10 + 500 * generator.unit())
            case 1:
                view.objective = .iterations(
                    count: 1 + Int(generator.next() % 9),
                    expected: .seconds(1 + 90 * generator.unit()),
                    startOverhead: .seconds(20 * generator.unit()),
                    deadline: .seconds(10 + 900 * generator.unit())
                )
            default: break
            }
            if generator.unit() < 0.2 { view.cpuLimit = VCPUCount(0.1 + generator.unit()) }
            return view
        }
        for second in stride(from: 0, to: 120, by: 1) {
            let allocations = controller.decide(
                jobs: jobs,
                capacity: VCPUCount(capacity),
                now: start + .seconds(second)
            )
            let sum = allocations.reduce(0) { $0 + $1.allocation.rawValue }
            let usable = jobs.reduce(0) { $0 + $1.limit(capacity: capacity) }
            #expect(abs(sum - min(capacity, usable)) < 0.02 * Double(jobs.count), "second \(second)")
            #expect(sum <= capacity + 1e-6)
            for (view, one) in zip(jobs, allocations) {
                #expect(one.allocation.rawValue <= view.limit(capacity: capacity) + 0.01)
                #expect(one.allocation > .zero)
                for decision in one.decisions { #expect(decision.sentence.hasSuffix(".")) }
            }
            for index in jobs.indices {
                jobs[index].allocation = allocations[index].allocation
                let usage = allocations[index].allocation.rawValue * generator.unit()
                jobs[index].recentUsage = VCPUCount(usage)
                jobs[index].consumed += .seconds(usage)
                if generator.unit() < 0.5 { jobs[index].cpuPressure = generator.unit() }
            }
        }
    }

    @Test("The same calls give the same answers, and a controller that was stored goes on alike")
    func deterministic() {
        func run() -> [JobAllocation] {
            var controller = QoSController()
            var jobs = [job("a", cpuTime(100, within: 90)), job("b", cpuTime(90, within: 120), cpus: 1), job("c")]
            var all: [JobAllocation] = []
            for second in 0..<60 {
                let some = controller.decide(jobs: jobs, capacity: 2, now: start + .seconds(second))
                for index in jobs.indices {
                    jobs[index].allocation = some[index].allocation
                    jobs[index].consumed += .seconds(some[index].allocation.rawValue)
                    jobs[index].recentUsage = some[index].allocation
                }
                all += some
            }
            return all
        }
        #expect(run() == run())
    }

    @Test("Steady jobs are told about once, not every second")
    func calm() {
        var controller = QoSController()
        var jobs = [job("a", cpuTime(100, within: 100)), job("b", cpuTime(100, within: 150)), job("c")]
        var told = 0
        for second in 0..<40 {
            let allocations = controller.decide(jobs: jobs, capacity: 2, now: start + .seconds(second))
            told += allocations.reduce(0) { $0 + $1.decisions.count }
            for index in jobs.indices {
                jobs[index].allocation = allocations[index].allocation
                jobs[index].consumed += .seconds(allocations[index].allocation.rawValue)
                jobs[index].recentUsage = allocations[index].allocation
            }
        }
        #expect(told <= 7)
    }

    @Test("A raise is told with its numbers")
    func sentence() throws {
        var controller = QoSController()
        var rival = job("rival", cpuTime(200, within: 101), cpus: 1)
        var late = job("late", cpuTime(120, within: 400), cpus: 2)
        for second in 0..<3 {
            let allocations = controller.decide(jobs: [rival, late], capacity: 2, now: start + .seconds(second))
            rival.allocation = allocations[0].allocation
            late.allocation = allocations[1].allocation
        }
        let after = controller.decide(jobs: [late], capacity: 2, now: start + .seconds(3))
        let decision = try #require(after[0].decisions.first)
        #expect(decision.kind == .resized)
        #expect(
            decision.sentence.hasPrefix(
                "Raised from 1.00 to 2.00 vCPUs: 120 CPU s remain and the deadline is in 6 min 37 s"
            )
        )
        #expect(decision.numbers.contains { $0.name == "remainingCPUSeconds" && $0.value == 120 })
    }

    @Test("A deadline that is out of reach is told once, after a delay, and its end once")
    func atRisk() throws {
        var controller = QoSController()
        var view = job("slow", cpuTime(300, within: 100), cpus: 1)
        var kinds: [Decision.Kind] = []
        for second in 0..<20 {
            view.recentUsage = view.allocation
            let one = try #require(controller.decide(jobs: [view], capacity: 2, now: start + .seconds(second)).first)
            view.allocation = one.allocation
            kinds += one.decisions.map(\.kind)
            if second == 19 { #expect(one.condition == .atRisk) }
        }
        #expect(kinds == [.resized, .deadlineAtRisk])
        // Its user lets it run wider.
        view.parallelism = 4
        kinds = []
        for second in 20..<60 {
            view.recentUsage = view.allocation
            let one = try #require(controller.decide(jobs: [view], capacity: 8, now: start + .seconds(second)).first)
            view.allocation = one.allocation
            view.consumed += .seconds(one.allocation.rawValue)
            kinds += one.decisions.map(\.kind).filter { $0 != .resized && $0 != .warned }
        }
        #expect(kinds == [.deadlineSafe])
    }

    @Test("When not all deadlines fit, the lightest is given up and says so")
    func givesUpTheLightest() {
        var controller = QoSController()
        var jobs = [
            job("light", cpuTime(360, within: 100), weight: 1),
            job("heavy", cpuTime(360, within: 100), weight: 2),
        ]
        var sentences: [String] = []
        for second in 0..<15 {
            let allocations = controller.decide(jobs: jobs, capacity: 2, now: start + .seconds(second))
            for index in jobs.indices { jobs[index].allocation = allocations[index].allocation }
            sentences += allocations[0].decisions.filter { $0.kind == .deadlineAtRisk }.map(\.sentence)
            if second == 14 {
                #expect(allocations[1].allocation.rawValue > 1.9)
                #expect(allocations[0].condition == .atRisk)
            }
        }
        #expect(sentences.count == 1)
    }

    @Test("A deadline that passes is told once")
    func missed() {
        var controller = QoSController()
        let view = job("late", cpuTime(100, within: 10))
        var kinds: [Decision.Kind] = []
        for second in 0..<20 {
            let one = controller.decide(jobs: [view], capacity: 2, now: start + .seconds(second))[0]
            kinds += one.decisions.map(\.kind).filter { $0 == .deadlineMissed }
            if second > 10 { #expect(one.condition == .missed) }
        }
        #expect(kinds == [.deadlineMissed])
    }

    @Test("Work beyond what was declared is warned about once, and the job keeps what its deadline may need")
    func overrun() {
        var controller = QoSController()
        var view = job("more", cpuTime(50, within: 80), cpus: 1)
        var warnings = 0
        for second in 0..<70 {
            let allocations = controller.decide(
                jobs: [view, job("rival", cpuTime(10, within: 90), cpus: 2)],
                capacity: 2,
                now: start + .seconds(second)
            )
            view.allocation = allocations[0].allocation
            view.recentUsage = allocations[0].allocation
            view.consumed += .seconds(allocations[0].allocation.rawValue)
            warnings += allocations[0].decisions.count { $0.kind == .warned }
        }
        #expect(view.consumed > .seconds(52))
        #expect(warnings == 1)
    }

    @Test("A job that does not use its allocation is believed, and gets it back when it does")
    func feedback() {
        var controller = QoSController()
        var (idle, rival) = (job("idle", cpuTime(30, within: 120)), job("rival", cpuTime(100, within: 200)))
        func step(_ second: Int, usage: Double) {
            idle.recentUsage = VCPUCount(usage)
            idle.cpuPressure = 0
            let allocations = controller.decide(jobs: [idle, rival], capacity: 2, now: start + .seconds(second))
            idle.allocation = allocations[0].allocation
            rival.allocation = allocations[1].allocation
            rival.recentUsage = allocations[1].allocation
        }
        step(0, usage: 0)
        #expect((idle.allocation?.rawValue ?? 0) > 1.5)
        for second in 1..<15 { step(second, usage: 0.3) }
        #expect((idle.allocation?.rawValue ?? 2) < 0.8)
        for second in 15..<22 { step(second, usage: idle.allocation?.rawValue ?? 0) }
        #expect((idle.allocation?.rawValue ?? 0) > 1.5)
    }

    @Test("A job that waits for CPU although it is guaranteed more is given more")
    func starved() {
        func allocation(pressure: Double?) -> Double {
            var controller = QoSController()
            var first = job("first", cpuTime(40, within: 100), cpus: 1)
            var second = job("second", cpuTime(60, within: 99), cpus: 2)
            for time in 0..<12 {
                let allocations = controller.decide(jobs: [first, second], capacity: 2, now: start + .seconds(time))
                first.allocation = allocations[0].allocation
                second.allocation = allocations[1].allocation
                first.recentUsage = VCPUCount(0.6 * allocations[0].allocation.rawValue)
                first.cpuPressure = pressure
                second.recentUsage = VCPUCount(2 - (first.recentUsage?.rawValue ?? 0))
            }
            return first.allocation?.rawValue ?? 0
        }
        #expect(allocation(pressure: 0.9) > 1.3 * allocation(pressure: 0))
    }
}
