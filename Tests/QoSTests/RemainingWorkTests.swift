import ClusterModel
import Testing

@testable import QoS

struct RemainingWorkTests {
    private let now = Timestamp(seconds: 1000)
    private let configuration = QoSConfiguration()

    private func batch(consumed: Double, declared: Double = 100, frame: Double = 200) throws -> RemainingWork {
        var view = JobView(
            id: JobID(rawValue: "a"),
            objective: .cpuTime(amount: .seconds(declared), frame: .seconds(frame)),
            submitted: now
        )
        view.consumed = .seconds(consumed)
        return try #require(RemainingWork(view, width: 1, now: now, configuration: configuration))
    }

    @Test("Declared work may turn out half or one and a half times as large")
    func range() throws {
        let work = try batch(consumed: 0)
        #expect(work.least == 50)
        #expect(work.most == 150)
        #expect(work.work(0.5) == 100)
    }

    @Test("What a job has consumed without ending, it needed")
    func conditional() throws {
        let work = try batch(consumed: 80)
        #expect(work.least == 0)
        #expect(work.most == 70)
    }

    @Test("A job beyond its declared work is still given what the worst case needs")
    func overrun() throws {
        let work = try batch(consumed: 120)
        #expect(work.overrun == 20)
        #expect(work.work(1) == 30)
        let beyond = try batch(consumed: 400)
        #expect(beyond.work(1) == 10)
        #expect(beyond.work(0) > 0)
    }

    @Test("The aim lies before the deadline, but never before now")
    func due() throws {
        #expect(try batch(consumed: 0).due == 198)
        #expect(try batch(consumed: 0, frame: 1).due == 0.5)
    }

    private func iterative(completed: Int, used: Double, starting: Bool) throws -> RemainingWork {
        var view = JobView(
            id: JobID(rawValue: "a"),
            objective: .iterations(
                count: 10,
                expected: .seconds(100),
                startOverhead: .seconds(20),
                deadline: .seconds(3000)
            ),
            submitted: now
        )
        view.parallelism = 2
        view.completedIterations = completed
        view.iterations = (0..<completed).map { _ in
            MeasuredIteration(duration: .seconds(100), vcpus: 1, consumed: .seconds(100))
        }
        view.iterationConsumed = .seconds(used)
        view.iterationStarted = starting ? nil : now
        return try #require(RemainingWork(view, width: 2, now: now, configuration: configuration))
    }

    @Test("Doubt shrinks with measured iterations")
    func doubtShrinks() throws {
        let before = try iterative(completed: 0, used: 0, starting: true)
        let after = try iterative(completed: 5, used: 0, starting: true)
        #expect(before.most / before.work(0.5) > 1.4)
        #expect(after.most / after.work(0.5) < 1.1)
    }

    @Test("What the present iteration has used is done; what the first one uses, all of them need")
    func presentIteration() throws {
        let fresh = try iterative(completed: 5, used: 0, starting: false)
        let half = try iterative(completed: 5, used: 50, starting: false)
        #expect(abs(fresh.work(0.5) - half.work(0.5) - 50) < 1e-9)
        let first = try iterative(completed: 0, used: 140, starting: false)
        #expect(first.least >= 9 * 140)
    }

    @Test("Starts and what cannot be divided lower the mean rate, and raise the allocation that a rate needs")
    func ratesAndAllocations() throws {
        let work = try iterative(completed: 5, used: 0, starting: true)
        #expect(work.limit(0.5) < 2)
        let rate = work.limit(0.5) * 0.8
        #expect(work.allocation(forRate: rate) > rate)
        #expect(work.allocation(forRate: rate) <= 2)
        #expect(work.allocation(forRate: work.limit(0.5)) == 2)
        #expect(work.allocation(forRate: 0) == 0)
    }

    @Test("More doubt never makes a demand easier", arguments: 0..<20)
    func monotone(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let work = try iterative(
            completed: Int(generator.next() % 10),
            used: 150 * generator.unit(),
            starting: generator.unit() < 0.3
        )
        var last = 0.0
        for step in 0...10 {
            let demand = work.demand(Double(step) / 10)
            #expect(demand.work / demand.limit >= last - 1e-9)
            last = demand.work / demand.limit
        }
    }
}
