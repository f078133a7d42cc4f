import ClusterModel
import Testing

@testable import QoS

struct FluidScheduleTests {
    @Test("Without parallel limits, jobs fit exactly when the work due by each deadline does")
    func processorDemand() {
        let demands = [
            FluidDemand(work: 10, deadline: 5, limit: 2),
            FluidDemand(work: 10, deadline: 10, limit: 2),
        ]
        #expect(FluidSchedule.latest(demands, capacity: 2).isFeasible)
        let more = demands + [FluidDemand(work: 0.1, deadline: 10, limit: 2)]
        #expect(!FluidSchedule.latest(more, capacity: 2).isFeasible)
        #expect(abs(FluidSchedule.latest(more, capacity: 2).excess - 0.1) < 1e-9)
    }

    @Test("A job alone needs its work over the time that is left")
    func laxityRate() {
        let latest = FluidSchedule.latest([FluidDemand(work: 120, deadline: 90, limit: 2)], capacity: 2)
        #expect(abs(latest.rates[0] - 120.0 / 90) < 1e-12)
    }

    @Test(
        "A later deadline needs nothing now while it can wait, and exactly as much as its width demands when it cannot"
    )
    func necessaryRates() {
        let patient = [
            FluidDemand(work: 10, deadline: 10, limit: 1),
            FluidDemand(work: 10, deadline: 100, limit: 1),
        ]
        #expect(FluidSchedule.latest(patient, capacity: 2).rates == [1, 0])
        let pressed = [
            FluidDemand(work: 10, deadline: 10, limit: 1),
            FluidDemand(work: 95, deadline: 100, limit: 1),
        ]
        let rates = FluidSchedule.latest(pressed, capacity: 2).rates
        #expect(abs(rates[1] - 0.5) < 1e-12)
    }

    @Test("Earliest deadline first would fail here: two short jobs and one that has no time to lose")
    func widthMatters() {
        let demands = [
            FluidDemand(work: 5, deadline: 10, limit: 1),
            FluidDemand(work: 5, deadline: 10, limit: 1),
            FluidDemand(work: 11, deadline: 11, limit: 1),
        ]
        let latest = FluidSchedule.latest(demands, capacity: 2)
        #expect(latest.isFeasible)
        #expect(abs(latest.rates[2] - 1) < 1e-9)
    }

    @Test("Agrees with a maximum flow on random demands", arguments: 0..<40)
    func agreesWithMaximumFlow(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<100 {
            let capacity = Double(1 + generator.next() % 4)
            var demands = (0..<(1 + Int(generator.next() % 7))).map { _ in
                let limit = [0.5, 1, 1, 2, 4][Int(generator.next() % 5)]
                let deadline = Double(1 + generator.next() % 12)
                return FluidDemand(
                    work: generator.unit() * limit * deadline * 1.05,
                    deadline: deadline,
                    limit: limit
                )
            }
            demands.sort { $0.deadline < $1.deadline }
            // Scaled to the border, where the two could disagree.
            let border = demands.reduce(0) { $0 + $1.work } / (capacity * (demands.last?.deadline ?? 1))
            if border > 0.8 {
                for index in demands.indices { demands[index].work *= (0.85 + 0.2 * generator.unit()) / border }
            }
            let latest = FluidSchedule.latest(demands, capacity: capacity)
            let total = demands.reduce(0) { $0 + $1.work }
            let flow = MaximumFlow.placed(demands, capacity: capacity)
            #expect(latest.isFeasible == (flow >= total - 1e-7), "\(demands) on \(capacity): \(flow) of \(total)")
            #expect(abs(latest.excess - (total - flow)) < 1e-6, "\(demands) on \(capacity)")
            guard latest.isFeasible else { continue }
            // The least that must be done before the first deadline: with less capacity there, something has no room.
            let least = latest.rates.reduce(0, +)
            #expect(MaximumFlow.placed(demands, capacity: capacity, first: least) >= total - 1e-6)
            if least > 0.01 {
                #expect(MaximumFlow.placed(demands, capacity: capacity, first: 0.99 * least) < total - 1e-9)
            }
        }
    }

    @Test("Sharing gives by weight, stops at limits, and leaves nothing that anybody could use")
    func sharing() {
        #expect(FluidSchedule.share(2, weights: [1, 3], limits: [2, 2]) == [0.5, 1.5])
        #expect(FluidSchedule.share(2, weights: [1, 3], limits: [2, 1]) == [1, 1])
        #expect(FluidSchedule.share(2, weights: [1, 0], limits: [0.5, 2]) == [0.5, 0])
        #expect(FluidSchedule.share(2, weights: [], limits: []) == [])
    }

    @Test("Predicted ends follow the deadlines, and those given up come last")
    func ends() {
        let demands = [
            FluidDemand(work: 10, deadline: 10, limit: 2),
            FluidDemand(work: 10, deadline: 20, limit: 2),
            FluidDemand(work: 10, deadline: 30, limit: 2),
        ]
        #expect(FluidSchedule.ends(demands, last: [false, false, false], capacity: 2) == [5, 10, 15])
        #expect(FluidSchedule.ends(demands, last: [true, false, false], capacity: 2) == [15, 5, 10])
    }
}

/// The obvious solver: a flow from jobs through the intervals between deadlines, by augmenting paths.
enum MaximumFlow {
    /// CPU seconds that can be placed in time.
    ///
    /// `first` replaces the capacity before the first deadline, in vCPUs.
    static func placed(_ demands: [FluidDemand], capacity: Double, first: Double? = nil) -> Double {
        let ends = Array(Set(demands.map(\.deadline))).sorted()
        let (jobs, intervals) = (demands.count, ends.count)
        let (source, sink) = (jobs + intervals, jobs + intervals + 1)
        var residual = [[Double]](repeating: [Double](repeating: 0, count: sink + 1), count: sink + 1)
        var start = 0.0
        for (index, end) in ends.enumerated() {
            residual[jobs + index][sink] = (index == 0 ? first ?? capacity : capacity) * (end - start)
            for (job, demand) in demands.enumerated() where demand.deadline >= end {
                residual[job][jobs + index] = demand.limit * (end - start)
            }
            start = end
        }
        for (job, demand) in demands.enumerated() { residual[source][job] = demand.work }
        var total = 0.0
        while true {
            var parent = [Int?](repeating: nil, count: sink + 1)
            var queue = [source]
            while let node = queue.first, parent[sink] == nil {
                queue.removeFirst()
                for next in 0...sink where residual[node][next] > 1e-10 && parent[next] == nil && next != source {
                    parent[next] = node
                    queue.append(next)
                }
            }
            guard parent[sink] != nil else { return total }
            var (amount, node) = (Double.infinity, sink)
            while let before = parent[node] {
                amount = min(amount, residual[before][node])
                node = before
            }
            node = sink
            while let before = parent[node] {
                residual[before][node] -= amount
                residual[node][before] += amount
                node = before
            }
            total += amount
        }
    }
}
