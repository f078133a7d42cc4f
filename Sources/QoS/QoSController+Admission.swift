package import ClusterModel

extension QoSController {
    /// Whether a job's deadline can be kept beside those already promised, on the declared work.
    ///
    /// The answer is a forecast, not a contract: declared work may be wrong. An `infeasible` job is not refused here; whoever asks decides.
    ///
    /// - Parameters:
    ///   - candidate: the job as it would be submitted.
    ///   - jobs: every job that runs on the node or is about to, without the candidate.
    ///   - capacity: vCPUs of the node that jobs may use; greater than 0.
    ///   - now: the present moment.
    /// - Returns: the verdict with its sentence and numbers.
    package func admit(
        _ candidate: JobView,
        among jobs: [JobView],
        capacity: VCPUCount,
        now: Timestamp
    ) -> Admission {
        let total = max(0.01, capacity.rawValue)
        let room = Room(jobs, capacity: total, now: now, controller: self)
        guard let deadline = candidate.deadline,
            let work = RemainingWork(
                candidate,
                width: candidate.limit(capacity: total),
                now: now,
                configuration: configuration
            )
        else {
            let available = room.leftNow
            return Admission(
                verdict: .bestEffort,
                reason:
                    "No deadline is asked for: the job gets what jobs with deadlines leave, \(VCPUCount(available)) of"
                    + " \(capacity) vCPUs now, and every idle cycle.",
                required: .zero,
                available: VCPUCount(available)
            )
        }
        guard work.left > 0 else {
            return Admission(
                verdict: .infeasible,
                reason: "The deadline, \(deadline), has already passed.",
                deadline: deadline,
                required: .zero,
                available: .zero
            )
        }
        let demand = work.demand(0.5)
        let end = room.earliestEnd(demand)
        let available = room.meanRate(until: demand.deadline, limit: demand.limit)
        let required = demand.work / demand.deadline
        let isFeasible = room.fits(demand)
        return Admission(
            verdict: isFeasible ? .feasible : .infeasible,
            reason: sentence(work, demand, end: end, available: available, room, isFeasible: isFeasible, now: now),
            predictedEnd: end.isFinite
                ? now + .seconds(isFeasible ? room.predictedEnd(demand) : end + configuration.deadlineGuard.inSeconds)
                : nil,
            deadline: deadline,
            required: VCPUCount(required),
            available: VCPUCount(available)
        )
    }

    private func sentence(
        _ work: RemainingWork,
        _ demand: FluidDemand,
        end: Double,
        available: Double,
        _ room: Room,
        isFeasible: Bool,
        now: Timestamp
    ) -> String {
        let needs =
            "\(demand.work.text(decimals: 0)) CPU s in \(Duration.seconds(work.left).text) need"
            + " \(VCPUCount(demand.work / demand.deadline)) vCPUs on average"
        if isFeasible {
            let worst = room.fits(work.demand(1))
            let doubt = (configuration.workUncertainty * 100).text(decimals: 0)
            return
                "The deadline can be kept: \(needs), and the deadlines already promised leave \(VCPUCount(available)); "
                + (worst
                    ? "it holds even if the work is \(doubt) % more than declared."
                    : "there is no room for \(doubt) % more work than declared.")
        }
        guard end.isFinite else {
            return "The deadline cannot be kept: \(needs), and the deadlines already promised leave nothing for a year."
        }
        let moment = now + .seconds(end + configuration.deadlineGuard.inSeconds)
        let earliest =
            "earliest end is \(moment) (\(Duration.seconds(end + configuration.deadlineGuard.inSeconds).text) from now)"
        if demand.work > demand.limit * demand.deadline {
            return "The deadline cannot be kept even on an empty node: \(needs), and the job can use at most"
                + " \(VCPUCount(demand.limit)); \(earliest)."
        }
        return "The deadline cannot be kept beside those already promised: \(needs), and they leave"
            + " \(VCPUCount(available)); \(earliest)."
    }
}

/// What the deadlines already promised leave.
private struct Room {
    let promised: [FluidDemand]
    let capacity: Double
    /// vCPUs that nobody must have now.
    let leftNow: Double

    init(_ jobs: [JobView], capacity total: Double, now: Timestamp, controller: QoSController) {
        var capacity = total
        var demands: [(demand: FluidDemand, weight: Double)] = []
        for job in jobs {
            if let pinned = job.pinnedAllocation {
                capacity -= min(pinned.rawValue, job.limit(capacity: total))
            } else if let work = RemainingWork(
                job,
                width: controller.memories[job.id]?.width ?? job.limit(capacity: total),
                now: now,
                configuration: controller.configuration
            ), work.left > 0 {
                demands.append((work.demand(0.5), job.weight))
            }
            if job.objective == nil, job.isRunning { capacity -= controller.configuration.minimumAllocation }
        }
        self.capacity = max(capacity, 0.05 * total)
        demands.sort { $0.demand.deadline < $1.demand.deadline }
        // Deadlines that are lost already do not count against a newcomer.
        let kept = DeadlineSelection.keep(
            demands.map(\.demand),
            weights: demands.map(\.weight),
            capacity: self.capacity
        )
        promised = zip(demands, kept).filter(\.1).map(\.0.demand)
        leftNow = max(0, self.capacity - FluidSchedule.latest(promised, capacity: self.capacity).rates.reduce(0, +))
    }

    private func with(_ demand: FluidDemand) -> (all: [FluidDemand], position: Int) {
        let position = promised.firstIndex { $0.deadline > demand.deadline } ?? promised.count
        var all = promised
        all.insert(demand, at: position)
        return (all, position)
    }

    func fits(_ demand: FluidDemand) -> Bool {
        FluidSchedule.latest(with(demand).all, capacity: capacity).isFeasible
    }

    /// Seconds until the earliest deadline that the job could be given; `infinity` beyond a year.
    func earliestEnd(_ demand: FluidDemand) -> Double {
        var high = max(1, demand.work / demand.limit)
        while !fits(demand.due(in: high)) {
            high *= 2
            if high > 366 * 86400 { return .infinity }
        }
        var low = demand.work / demand.limit
        if fits(demand.due(in: low)) { return low }
        for _ in 0..<40 {
            let middle = (low + high) / 2
            if fits(demand.due(in: middle)) { high = middle } else { low = middle }
        }
        return high
    }

    /// Mean vCPUs that a job could have until then without breaking a promise.
    func meanRate(until deadline: Double, limit: Double) -> Double {
        var (low, high) = (0.0, limit)
        for _ in 0..<30 {
            let middle = (low + high) / 2
            let demand = FluidDemand(work: middle * deadline, deadline: deadline, limit: limit)
            if fits(demand) { low = middle } else { high = middle }
        }
        return low
    }

    func predictedEnd(_ demand: FluidDemand) -> Double {
        let (all, position) = with(demand)
        return FluidSchedule.ends(all, last: all.map { _ in false }, capacity: capacity)[position]
    }
}

extension FluidDemand {
    fileprivate func due(in seconds: Double) -> FluidDemand {
        FluidDemand(work: work, deadline: seconds, limit: limit)
    }
}
