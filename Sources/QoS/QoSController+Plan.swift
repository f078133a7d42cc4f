import ClusterModel

extension QoSController {
    /// A job with a deadline that is still ahead, as the plan sees it.
    private struct Candidate {
        /// Into the jobs of the situation.
        let index: Int
        let work: RemainingWork
        var isKept: Bool
    }

    /// Sets the allocations of the jobs that follow the deadline policy.
    ///
    /// 1. Find the largest quantile of remaining work at which all deadlines fit together: the reserve against work that was declared
    ///    too small is then the same for everybody, and as large as the node can afford.
    /// 2. Give everybody what the latest schedule of that work says he must have now.
    /// 3. Give the rest to the earliest deadline; then to deadlines that are lost; then to best-effort jobs by weight.
    mutating func plan(_ indices: [Int], free: Double, _ situation: Situation, _ outcomes: inout [Outcome]) {
        let jobs = situation.jobs
        var candidates: [Candidate] = []
        var overdue: [Int] = []
        var bestEffort: [Int] = []
        for index in indices {
            guard let memory = memories[jobs[index].id] else { continue }
            let work = RemainingWork(
                jobs[index],
                width: memory.width,
                now: situation.now,
                startingSince: memory.startingSince,
                configuration: configuration
            )
            outcomes[index].work = work
            guard let work else {
                bestEffort.append(index)
                continue
            }
            if work.left > 0 {
                candidates.append(Candidate(index: index, work: work, isKept: true))
            } else {
                overdue.append(index)
            }
        }
        candidates.sort { ($0.work.due, jobs[$0.index].id) < ($1.work.due, jobs[$1.index].id) }

        let minimum = configuration.minimumAllocation
        let unkept = (bestEffort + overdue).filter { jobs[$0].isRunning }.count
        var capacity = max(free - minimum * Double(unkept), 0.5 * free)
        select(&candidates, capacity: capacity, situation)
        let surrendered = candidates.filter { !$0.isKept }
        capacity = max(capacity - minimum * Double(surrendered.filter { jobs[$0.index].isRunning }.count), 0.5 * free)
        let kept = candidates.filter(\.isKept)
        let quantile = largestQuantile(kept, capacity: capacity)
        let needed = FluidSchedule.latest(kept.map { $0.work.demand(quantile) }, capacity: capacity).rates

        var given = [Double](repeating: 0, count: jobs.count)
        var left = free
        for index in indices where jobs[index].isRunning {
            given[index] = min(minimum, free / Double(max(1, indices.count)))
            left -= given[index]
        }
        func limit(_ index: Int) -> Double { jobs[index].limit(capacity: situation.capacity) }
        func usable(_ index: Int) -> Double { min(limit(index), memories[jobs[index].id]?.usable ?? limit(index)) }
        func give(_ amount: Double, to index: Int) {
            let more = min(amount, left)
            guard more > 0 else { return }
            given[index] += more
            left -= more
        }

        let running = kept.indices.filter { jobs[kept[$0].index].isRunning }
        let floors = running.map { position in
            let boost = memories[jobs[kept[position].index].id]?.boost ?? 1
            return max(
                0,
                min(limit(kept[position].index), boost * kept[position].work.allocation(forRate: needed[position]))
                    - given[kept[position].index]
            )
        }
        let sum = floors.reduce(0, +)
        let scale = sum > left ? left / sum : 1
        for (position, floor) in zip(running, floors) { give(floor * scale, to: kept[position].index) }

        // Those that are kept have their reserve; what is spare does most good where it may still avert a miss.
        for index in surrendered.map(\.index) where jobs[index].isRunning {
            give(usable(index) - given[index], to: index)
        }
        let sharing = quantile >= 1 && bestEffort.contains { jobs[$0].isRunning }
        var ahead: [Int] = []
        for position in running {
            let index = kept[position].index
            let wasAhead = memories[jobs[index].id]?.isAhead ?? false
            let isAhead = sharing && isAhead(jobs[index], kept[position].work, wasAhead: wasAhead)
            memories[jobs[index].id]?.isAhead = isAhead
            if isAhead {
                ahead.append(index)
                continue
            }
            give(usable(index) - given[index], to: index)
        }
        for index in overdue where jobs[index].isRunning {
            give(usable(index) - given[index], to: index)
        }
        let sharers = (ahead + bestEffort).filter { jobs[$0].isRunning }
        share(left, among: sharers, limits: sharers.map { usable($0) - given[$0] }, jobs, &given, &left)
        // What nobody seems able to use is still better promised than not: the next second may be different.
        let everybody = indices.filter { jobs[$0].isRunning }
        share(left, among: everybody, limits: everybody.map { limit($0) - given[$0] }, jobs, &given, &left)

        apply(given, to: indices, free: free, situation, &outcomes)
        for (position, candidate) in kept.enumerated() {
            outcomes[candidate.index].cause = .kept(
                needed: candidate.work.allocation(forRate: needed[position]),
                quantile: quantile
            )
        }
        for candidate in surrendered { outcomes[candidate.index].cause = .surrendered }
        for index in overdue { outcomes[index].cause = .overdue }
        let held = candidates.reduce(0) { $0 + outcomes[$1.index].allocation }
        for index in bestEffort { outcomes[index].cause = .bestEffort(held: held) }
        predict(candidates.map { ($0.index, $0.work, $0.isKept) }, overdue, capacity: capacity, situation, outcomes)
    }

    private func share(
        _ amount: Double,
        among indices: [Int],
        limits: [Double],
        _ jobs: [JobView],
        _ given: inout [Double],
        _ left: inout Double
    ) {
        guard amount > 0 else { return }
        let shares = FluidSchedule.share(amount, weights: indices.map { jobs[$0].weight }, limits: limits)
        for (index, share) in zip(indices, shares) {
            given[index] += share
            left -= share
        }
    }

    /// Whether a job has so much more time than it needs that it can let best-effort jobs have some of what is spare.
    ///
    /// Measured in time, so that it means the same for every kind of job: the time that is left over the time that the worst case takes at
    /// full width. Unexpected arrivals are what makes sharing dear, so the bound is far above 1.
    private func isAhead(_ job: JobView, _ work: RemainingWork, wasAhead: Bool) -> Bool {
        let ratio = work.left * work.limit(1) / work.work(1)
        let bound = configuration.aheadFactor * (1 + job.maxOverprogress)
        return ratio > (wasAhead ? 0.7 * bound : bound)
    }

    /// The largest quantile of remaining work at which all of them fit, to 1/64; 0 when none does.
    private func largestQuantile(_ kept: [Candidate], capacity: Double) -> Double {
        func fits(_ quantile: Double) -> Bool {
            FluidSchedule.latest(kept.map { $0.work.demand(quantile) }, capacity: capacity).isFeasible
        }
        if kept.isEmpty || fits(1) { return 1 }
        var (low, high) = (0.0, 1.0)
        for _ in 0..<6 {
            let middle = (low + high) / 2
            if fits(middle) { low = middle } else { high = middle }
        }
        return low
    }

    /// Gives up deadlines when not all can be kept, as few as possible by weight, and takes them back when there is room again.
    private mutating func select(_ candidates: inout [Candidate], capacity: Double, _ situation: Situation) {
        let jobs = situation.jobs
        func fits(_ chosen: [Candidate], _ quantile: Double) -> Bool {
            FluidSchedule.latest(chosen.map { $0.work.demand(quantile) }, capacity: capacity).isFeasible
        }
        for position in candidates.indices {
            candidates[position].isKept = !(memories[jobs[candidates[position].index].id]?.isSurrendered ?? false)
        }
        let isAllKept = candidates.allSatisfy(\.isKept)
        if isAllKept, fits(candidates, configuration.surrenderQuantile) { return }
        let isDue =
            situation.isChanged || selected.map { situation.now - $0 >= configuration.selectionInterval } ?? true
        if !isDue, fits(candidates.filter(\.isKept), configuration.surrenderQuantile) { return }
        selected = situation.now
        if fits(candidates, configuration.keepQuantile) {
            for position in candidates.indices { candidates[position].isKept = true }
        } else {
            let kept = DeadlineSelection.keep(
                candidates.map { $0.work.demand(configuration.keepQuantile) },
                // A deadline that was given up needs a little more to be taken back, so that two jobs do not change places for ever.
                weights: candidates.map { jobs[$0.index].weight * ($0.isKept ? 1.05 : 1) },
                capacity: capacity
            )
            for position in candidates.indices { candidates[position].isKept = kept[position] }
        }
        for candidate in candidates { memories[jobs[candidate.index].id]?.isSurrendered = !candidate.isKept }
    }

    /// Takes the new allocations over, unless they hardly differ from the present ones.
    private func apply(
        _ given: [Double],
        to indices: [Int],
        free: Double,
        _ situation: Situation,
        _ outcomes: inout [Outcome]
    ) {
        let jobs = situation.jobs
        let running = indices.filter { jobs[$0].isRunning }
        let present = running.map { jobs[$0].allocation?.rawValue ?? -1 }
        let isQuiet =
            !situation.isChanged
            && zip(running, present).allSatisfy { abs(given[$0] - $1) < configuration.holdBand }
            && abs(present.reduce(0, +) - running.reduce(0) { $0 + given[$1] }) < 1e-6
        guard !isQuiet else { return }
        for index in running { outcomes[index].allocation = given[index] }
    }

    private mutating func predict(
        _ candidates: [(index: Int, work: RemainingWork, isKept: Bool)],
        _ overdue: [Int],
        capacity: Double,
        _ situation: Situation,
        _ outcomes: [Outcome]
    ) {
        let jobs = situation.jobs
        let isDue =
            situation.isChanged || predicted.map { situation.now - $0 >= configuration.predictionInterval } ?? true
        guard isDue else { return }
        predicted = situation.now
        var all = candidates
        for index in overdue {
            if let work = outcomes[index].work { all.append((index, work, false)) }
        }
        all.sort { ($0.work.due, jobs[$0.index].id) < ($1.work.due, jobs[$1.index].id) }
        let ends = FluidSchedule.ends(
            all.map { $0.work.demand(0.5) },
            last: all.map { !$0.isKept },
            capacity: capacity
        )
        for (one, end) in zip(all, ends) {
            memories[jobs[one.index].id]?.predictedEnd = end.isFinite ? situation.now + .seconds(end) : nil
        }
    }
}
