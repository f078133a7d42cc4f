/// Which deadlines to keep when not all can be kept.
enum DeadlineSelection {
    /// Up to this many demands the best set is searched for exactly; beyond, greedily.
    static let exactLimit = 10

    /// The set with the largest sum of weights that fits.
    ///
    /// `demands` are sorted by deadline. Demands that do not fit alone are never kept.
    ///
    /// The problem is NP-hard in general (it contains knapsack). Small sets are searched exactly. Larger ones go by Moore and Hodgson's rule
    /// (Management Science 15 (1968)), which is optimal for equal weights on one processor: take demands in the order of their
    /// deadlines and, whenever they do not fit, give up the one with the least weight per CPU second; then try the given up ones again.
    static func keep(_ demands: [FluidDemand], weights: [Double], capacity: Double) -> [Bool] {
        func fits(_ chosen: [Bool]) -> Bool {
            FluidSchedule.latest(demands.indices.filter { chosen[$0] }.map { demands[$0] }, capacity: capacity)
                .isFeasible
        }
        var alone = [Bool](repeating: false, count: demands.count)
        for index in demands.indices {
            alone[index] = FluidSchedule.latest([demands[index]], capacity: capacity).isFeasible
        }
        if fits(alone) { return alone }
        let candidates = demands.indices.filter { alone[$0] }
        return candidates.count <= exactLimit
            ? exact(candidates, count: demands.count, weights: weights, fits: fits)
            : greedy(candidates, demands: demands, weights: weights, fits: fits)
    }

    private static func exact(
        _ candidates: [Int],
        count: Int,
        weights: [Double],
        fits: ([Bool]) -> Bool
    ) -> [Bool] {
        var best = [Bool](repeating: false, count: count)
        var bestWeight = -1.0
        var chosen = [Bool](repeating: false, count: count)
        // Heavier ones first, so that good sets come early and bound the rest.
        let order = candidates.sorted { (weights[$0], $1) > (weights[$1], $0) }
        var suffix = [Double](repeating: 0, count: order.count + 1)
        for position in order.indices.reversed() { suffix[position] = suffix[position + 1] + weights[order[position]] }
        func search(_ position: Int, _ weight: Double) {
            guard weight + suffix[position] > bestWeight + 1e-12 else { return }
            guard position < order.count else {
                (best, bestWeight) = (chosen, weight)
                return
            }
            chosen[order[position]] = true
            if fits(chosen) { search(position + 1, weight + weights[order[position]]) }
            chosen[order[position]] = false
            search(position + 1, weight)
        }
        search(0, 0)
        return best
    }

    private static func greedy(
        _ candidates: [Int],
        demands: [FluidDemand],
        weights: [Double],
        fits: ([Bool]) -> Bool
    ) -> [Bool] {
        var chosen = [Bool](repeating: false, count: demands.count)
        var dropped: [Int] = []
        for candidate in candidates {
            chosen[candidate] = true
            while !fits(chosen) {
                let worst = candidates.filter { chosen[$0] }.min {
                    (weights[$0] / max(demands[$0].work, 1e-9), $0) < (weights[$1] / max(demands[$1].work, 1e-9), $1)
                }
                guard let worst else { break }
                chosen[worst] = false
                dropped.append(worst)
            }
        }
        for candidate in dropped.sorted(by: { (weights[$0], $1) > (weights[$1], $0) }) {
            chosen[candidate] = true
            if !fits(chosen) { chosen[candidate] = false }
        }
        return chosen
    }
}
