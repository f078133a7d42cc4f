/// Work that must be done by a deadline, by a job that can use only so many vCPUs at once.
package struct FluidDemand: Sendable, Equatable {
    /// CPU seconds.
    package var work: Double
    /// Seconds from now.
    package var deadline: Double
    /// vCPUs; greater than 0.
    package var limit: Double

    /// Takes the values as they are.
    package init(work: Double, deadline: Double, limit: Double) {
        (self.work, self.deadline, self.limit) = (work, deadline, limit)
    }
}

/// Processor sharing without quanta: every job runs at some rate, rates add up to at most the capacity.
package enum FluidSchedule {
    /// The schedule that does everything as late as it can.
    package struct Latest: Sendable, Equatable {
        /// vCPUs that each demand must have until the first deadline; with less of them, some deadline is lost.
        package var rates: [Double]
        /// CPU seconds for which there is no room; 0 when every deadline can be kept.
        package var excess: Double
        /// Whether every deadline can be kept, errors of rounding aside; `excess` is 0 then.
        package var isFeasible: Bool
    }

    /// Whether all demands fit, and the least that each must be given now.
    ///
    /// Exact, in O(n^2 log n). Demands are sorted by deadline. Between two deadlines the jobs that are still due differ only in how long they
    /// would need at full width, `work / limit`, so, going backwards in time, each interval takes as much work as it can hold and levels
    /// those lengths from the top: what is left for the earlier intervals is then the least possible, in sum and in its longest part
    /// (the fluid form of Horvath, Lam and Sethi's level algorithm, J. ACM 24 (1977), run backwards). What remains before the first
    /// interval has no room. For demands without parallel limits this is the test of processor demand: the work due by `d` is at most
    /// `capacity * d`.
    package static func latest(_ demands: [FluidDemand], capacity: Double) -> Latest {
        let count = demands.count
        var levels = demands.map { max(0, $0.work) / $0.limit }
        var rates = [Double](repeating: 0, count: count)
        var breakpoints: [(level: Double, slope: Double)] = []
        breakpoints.reserveCapacity(2 * count)
        var index = count - 1
        while index >= 0 {
            let end = demands[index].deadline
            var first = index
            while first > 0, demands[first - 1].deadline >= end { first -= 1 }
            let start = first > 0 ? max(0, demands[first - 1].deadline) : 0
            let length = end - start
            if length > 0 {
                let floor = water(&breakpoints, levels, demands, from: first, length: length, budget: capacity * length)
                for active in first..<count {
                    let lowered = max(levels[active] - length, min(levels[active], floor))
                    if start == 0 { rates[active] = demands[active].limit * (levels[active] - lowered) / length }
                    levels[active] = lowered
                }
            }
            index = first - 1
        }
        var (excess, total) = (0.0, 0.0)
        for active in 0..<count {
            excess += demands[active].limit * levels[active]
            total += demands[active].work
        }
        let isFeasible = excess <= 1e-9 * (1 + total)
        return Latest(rates: rates, excess: isFeasible ? 0 : excess, isFeasible: isFeasible)
    }

    /// The level down to which an interval of this length and budget can lower the active demands.
    private static func water(
        _ breakpoints: inout [(level: Double, slope: Double)],
        _ levels: [Double],
        _ demands: [FluidDemand],
        from first: Int,
        length: Double,
        budget: Double
    ) -> Double {
        var possible = 0.0
        for active in first..<levels.count { possible += demands[active].limit * min(length, levels[active]) }
        guard possible > budget else { return 0 }
        breakpoints.removeAll(keepingCapacity: true)
        for active in first..<levels.count where levels[active] > 0 {
            breakpoints.append((levels[active], demands[active].limit))
            breakpoints.append((max(0, levels[active] - length), -demands[active].limit))
        }
        breakpoints.sort { $0.level > $1.level }
        var (used, slope, height) = (0.0, 0.0, breakpoints.first?.level ?? 0)
        for breakpoint in breakpoints {
            let step = slope * (height - breakpoint.level)
            if used + step >= budget, slope > 0 { return height - (budget - used) / slope }
            used += step
            height = breakpoint.level
            slope += breakpoint.slope
        }
        return 0
    }

    /// Divides an amount by weight among jobs with limits; nobody gets more than his limit, and what one cannot take goes to the others.
    ///
    /// This is what a kernel's fair scheduler does with cgroup weights, in the long run. Entries with zero weight get nothing.
    package static func share(_ amount: Double, weights: [Double], limits: [Double]) -> [Double] {
        var shares = [Double](repeating: 0, count: weights.count)
        var isOpen = weights.indices.map { weights[$0] > 0 && limits[$0] > 0 }
        var left = amount
        while left > 1e-12 {
            var total = 0.0
            for index in weights.indices where isOpen[index] { total += weights[index] }
            guard total > 0 else { break }
            let unit = left / total
            var isAnyFull = false
            for index in weights.indices where isOpen[index] && unit * weights[index] >= limits[index] {
                shares[index] = limits[index]
                left -= limits[index]
                isOpen[index] = false
                isAnyFull = true
            }
            if isAnyFull { continue }
            for index in weights.indices where isOpen[index] { shares[index] = unit * weights[index] }
            break
        }
        return shares
    }

    /// Rates in the order of the demands: first what each must have, then the rest to the earliest deadline.
    ///
    /// `demands` are sorted by deadline; `limits` may be below the demands' own, for jobs that cannot use more at the moment.
    static func rates(_ demands: [FluidDemand], floors: [Double], limits: [Double], capacity: Double) -> [Double] {
        var rates = [Double](repeating: 0, count: demands.count)
        let wanted = demands.indices.map { min(floors[$0], limits[$0]) }
        let sum = wanted.reduce(0, +)
        let scale = sum > capacity ? capacity / sum : 1
        var left = capacity
        for index in demands.indices {
            rates[index] = wanted[index] * scale
            left -= rates[index]
        }
        for index in demands.indices where left > 0 {
            let more = min(left, max(0, limits[index] - rates[index]))
            rates[index] += more
            left -= more
        }
        return rates
    }

    /// When each demand ends, in seconds from now, if nothing else comes: the policy run forward on expected work.
    ///
    /// `demands` are sorted by deadline; those in `last` run only on what the others leave. A demand that never ends within a year is `infinity`.
    static func ends(_ demands: [FluidDemand], last: [Bool], capacity: Double) -> [Double] {
        var ends = [Double](repeating: .infinity, count: demands.count)
        var remaining = demands.map(\.work)
        for index in demands.indices where remaining[index] <= 0 { ends[index] = 0 }
        var time = 0.0
        for _ in 0..<(4 * demands.count + 4) {
            let kept = demands.indices.filter { remaining[$0] > 0 && !last[$0] && demands[$0].deadline > time }
            let others = demands.indices.filter { remaining[$0] > 0 && (last[$0] || demands[$0].deadline <= time) }
            guard !kept.isEmpty || !others.isEmpty else { break }
            let now = kept.map {
                FluidDemand(work: remaining[$0], deadline: demands[$0].deadline - time, limit: demands[$0].limit)
            }
            let floors = latest(now, capacity: capacity).rates
            let keptRates = rates(now, floors: floors, limits: now.map(\.limit), capacity: capacity)
            var left = capacity - keptRates.reduce(0, +)
            var step = 365.0 * 86400
            if let first = now.first { step = min(step, max(1e-6, first.deadline)) }
            var rateOf = zip(kept, keptRates).map { (index: $0, rate: $1) }
            for index in others {
                let rate = min(left, demands[index].limit)
                left -= rate
                rateOf.append((index, rate))
            }
            for (index, rate) in rateOf where rate > 1e-12 { step = min(step, remaining[index] / rate) }
            time += step
            for (index, rate) in rateOf {
                remaining[index] -= rate * step
                if remaining[index] <= 1e-9 * (1 + demands[index].work) {
                    remaining[index] = 0
                    ends[index] = time
                }
            }
        }
        return ends
    }
}
