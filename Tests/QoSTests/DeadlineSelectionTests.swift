import ClusterModel
import Testing

@testable import QoS

struct DeadlineSelectionTests {
    @Test("Everything is kept when everything fits")
    func keepsAll() {
        let demands = [FluidDemand(work: 5, deadline: 5, limit: 1), FluidDemand(work: 5, deadline: 5, limit: 1)]
        #expect(DeadlineSelection.keep(demands, weights: [1, 1], capacity: 2) == [true, true])
    }

    @Test("The lightest deadline is given up")
    func givesUpTheLightest() {
        let demands = [FluidDemand(work: 8, deadline: 5, limit: 2), FluidDemand(work: 8, deadline: 5, limit: 2)]
        #expect(DeadlineSelection.keep(demands, weights: [1, 2], capacity: 2) == [false, true])
        #expect(DeadlineSelection.keep(demands, weights: [2, 1], capacity: 2) == [true, false])
    }

    @Test("One large job is given up rather than two small ones")
    func missesTheFewest() {
        let demands = [
            FluidDemand(work: 5, deadline: 5, limit: 2),
            FluidDemand(work: 5, deadline: 5, limit: 2),
            FluidDemand(work: 9, deadline: 5, limit: 2),
        ]
        #expect(DeadlineSelection.keep(demands, weights: [1, 1, 1], capacity: 2) == [true, true, false])
    }

    @Test("A job that cannot make it alone takes nobody with it")
    func impossibleAlone() {
        let demands = [FluidDemand(work: 9, deadline: 5, limit: 1), FluidDemand(work: 5, deadline: 5, limit: 1)]
        #expect(DeadlineSelection.keep(demands, weights: [100, 1], capacity: 2) == [false, true])
    }

    @Test("Small sets are chosen as well as by trying every set", arguments: 0..<30)
    func exactAgreesWithBruteForce(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let demands = Self.demands(count: 7, &generator)
        let weights = demands.map { _ in Double(1 + generator.next() % 5) }
        let kept = DeadlineSelection.keep(demands, weights: weights, capacity: 2)
        #expect(Self.fits(demands, kept))
        #expect(Self.weight(kept, weights) == Self.best(demands, weights))
    }

    @Test("Large sets are chosen as well as by trying every set, for equal weights and wide jobs", arguments: 0..<10)
    func greedyIsOptimalForEqualWeights(seed: UInt64) {
        var generator = SeededGenerator(seed: 100 + seed)
        var demands = Self.demands(count: 12, &generator)
        for index in demands.indices { demands[index].limit = 2 }
        let weights = demands.map { _ in 1.0 }
        let kept = DeadlineSelection.keep(demands, weights: weights, capacity: 2)
        #expect(Self.fits(demands, kept))
        #expect(Self.weight(kept, weights) == Self.best(demands, weights))
    }

    private static func demands(count: Int, _ generator: inout SeededGenerator) -> [FluidDemand] {
        (0..<count).map { _ in
            FluidDemand(
                work: 1 + 12 * generator.unit(),
                deadline: Double(3 + generator.next() % 15),
                limit: generator.unit() < 0.5 ? 1 : 2
            )
        }.sorted { $0.deadline < $1.deadline }
    }

    private static func fits(_ demands: [FluidDemand], _ chosen: [Bool]) -> Bool {
        FluidSchedule.latest(zip(demands, chosen).filter(\.1).map(\.0), capacity: 2).isFeasible
    }

    private static func weight(_ chosen: [Bool], _ weights: [Double]) -> Double {
        zip(weights, chosen).reduce(0) { $0 + ($1.1 ? $1.0 : 0) }
    }

    private static func best(_ demands: [FluidDemand], _ weights: [Double]) -> Double {
        (0..<(1 << demands.count)).map { set in
            let chosen = demands.indices.map { set >> $0 & 1 == 1 }
            return fits(demands, chosen) ? weight(chosen, weights) : 0
        }.max() ?? 0
    }
}
