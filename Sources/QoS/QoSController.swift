package import ClusterModel

/// Decides what each job of one node is guaranteed, so that as many deadlines as possible are kept.
///
/// Values in, values out: `decide` is called once a second with everything that is known, `admit` once per submission. What the controller
/// remembers between calls only makes it calmer (what was told, how a job answered to its allocation); losing it costs a few seconds.
package struct QoSController: Sendable, Codable, Equatable {
    package var configuration: QoSConfiguration
    var memories: [JobID: Memory] = [:]
    /// Jobs, limits and running states at the last call: a change makes everything be computed anew at once.
    var signature: [Signature] = []
    var predicted: Timestamp?
    var selected: Timestamp?

    /// A controller that remembers nothing.
    package init(configuration: QoSConfiguration = QoSConfiguration()) { self.configuration = configuration }

    /// What is remembered about one job.
    struct Memory: Sendable, Codable, Equatable {
        var paperEvaluated: Timestamp?
        var paperCompleted = 0
        var paperCondition: JobCondition?
        /// vCPUs that the job can use at the moment, and over the long run, as far as its usage shows.
        var usable: Double
        var width: Double
        /// How much more than intended must be given so that the intended arrives.
        var boost = 1.0
        /// Since when an iterative job is between two iterations.
        var startingSince: Timestamp?
        var predictedEnd: Timestamp?
        var isSurrendered = false
        var isAhead = false
        var isAtRisk = false
        var riskSince: Timestamp?
        var safeSince: Timestamp?
        var isMissTold = false
        var isOverrunTold = false
        var told: Double?
        var toldAt: Timestamp?
    }

    struct Signature: Sendable, Codable, Equatable {
        var job: JobID
        var limit: Double
        var pinned: VCPUCount?
        var isRunning: Bool
        var isOverdue: Bool
    }

    /// What one call is about.
    struct Situation {
        let jobs: [JobView]
        let capacity: Double
        let now: Timestamp
        /// Whether jobs came, went, stopped or started since the call before.
        let isChanged: Bool
    }

    /// What every job is guaranteed from now on, in the order of `jobs`.
    ///
    /// - Parameters:
    ///   - jobs: every job that runs on the node or is about to; identities differ.
    ///   - capacity: vCPUs of the node that jobs may use; greater than 0.
    ///   - now: the present moment; never before that of the call before.
    /// - Returns: one allocation per job. Those of running jobs add up to the capacity whenever jobs could use it all (jobs under the
    ///   `paper` policy and pinned jobs get what their rules say, whatever the sum).
    package mutating func decide(jobs: [JobView], capacity: VCPUCount, now: Timestamp) -> [JobAllocation] {
        let situation = prepare(jobs, capacity: max(0.01, capacity.rawValue), now: now)
        var outcomes = jobs.map { Outcome(allocation: $0.allocation?.rawValue ?? 0, job: $0.id) }
        let isGoverned = jobs.map { $0.pinnedAllocation != nil || ($0.policy == .paper && $0.objective != nil) }
        var reserved = 0.0
        for (index, job) in jobs.enumerated() where isGoverned[index] {
            if let pinned = job.pinnedAllocation {
                outcomes[index].allocation = pinned.rawValue
                outcomes[index].cause = .pinned
            } else {
                paper(job, situation, &outcomes[index])
            }
            let limit = job.limit(capacity: situation.capacity)
            if job.isRunning { reserved += min(outcomes[index].allocation, limit) }
        }
        // Fixed shares come first, but never starve the others altogether.
        let free = max(situation.capacity - reserved, 0.05 * situation.capacity)
        let others = jobs.indices.filter { !isGoverned[$0] }
        plan(others, free: free, situation, &outcomes)
        report(situation, &outcomes, isGoverned: isGoverned)
        return jobs.indices.map { finish(jobs[$0], situation, outcomes[$0]) }
    }

    /// What is being put together for one job.
    struct Outcome {
        var allocation: Double
        let job: JobID
        var cause = Cause.paper
        var condition: JobCondition?
        var desired: Duration?
        var predictedEnd: Timestamp?
        var work: RemainingWork?
        var decisions: [Decision] = []
    }

    /// Why a job has the allocation that it has.
    enum Cause {
        /// Told by the published rule itself.
        case paper
        case pinned
        /// It must have `needed` now; the reserve in this stands for quantile `quantile` of its remaining work.
        case kept(needed: Double, quantile: Double)
        case surrendered
        case overdue
        /// Jobs with deadlines hold this many vCPUs.
        case bestEffort(held: Double)
    }

    private mutating func prepare(_ jobs: [JobView], capacity: Double, now: Timestamp) -> Situation {
        let present = Set(jobs.map(\.id))
        memories = memories.filter { present.contains($0.key) }
        let newSignature = jobs.map {
            Signature(
                job: $0.id,
                limit: $0.limit(capacity: capacity),
                pinned: $0.pinnedAllocation,
                isRunning: $0.isRunning,
                isOverdue: $0.deadline.map { $0 <= now } ?? false
            )
        }
        let isChanged = newSignature != signature
        signature = newSignature
        let situation = Situation(jobs: jobs, capacity: capacity, now: now, isChanged: isChanged)
        let usage = jobs.reduce(0) { $0 + ($1.recentUsage?.rawValue ?? 0) }
        for job in jobs { observe(job, situation, isSaturated: usage > 0.97 * capacity) }
        return situation
    }

    /// Learns from what a job made of its allocation.
    ///
    /// Weights guarantee only approximately. A job that gets less than its allocation although its tasks wait for CPU is given more
    /// until the intended arrives. A job that does not want what it has (it waits for a disk, or runs one thread) is believed, and the
    /// others get it; it is believed again as soon as it uses what it has.
    private mutating func observe(_ job: JobView, _ situation: Situation, isSaturated: Bool) {
        let limit = job.limit(capacity: situation.capacity)
        var memory = memories[job.id] ?? Memory(usable: limit, width: limit)
        let isBetween = job.isRunning && job.iterationStarted == nil
        memory.startingSince = isBetween ? memory.startingSince ?? situation.now : nil
        memory.usable = min(memory.usable, limit)
        memory.width = min(memory.width, limit)
        defer { memories[job.id] = memory }
        guard job.isRunning, let usage = job.recentUsage?.rawValue, let allocation = job.allocation?.rawValue,
            allocation >= 0.05
        else { return }
        let offered = min(allocation, memory.usable)
        if usage >= 0.85 * offered {
            memory.usable = min(limit, max(memory.usable, 2 * usage + 0.2))
            memory.width = min(limit, max(memory.width, 1.1 * usage))
            memory.boost = max(1, memory.boost * (usage >= 0.98 * min(allocation, limit) ? 0.98 : 1))
            return
        }
        let isStarved = job.cpuPressure.map { $0 > 0.3 } ?? false
        if isStarved {
            memory.boost = min(2, memory.boost * 1.05)
            return
        }
        // Without pressure figures a full node leaves open why the job got less: believe it more slowly.
        let pace = job.cpuPressure == nil && isSaturated ? 0.95 : 0.85
        memory.usable = max(0.05, min(memory.usable, max(1.2 * usage, pace * memory.usable)))
        // The speed model knows better how wide an iteration is than a second of it does.
        if case .iterations = job.objective { return }
        memory.width = max(0.05, min(memory.width, max(1.1 * usage, memory.width * 0.985)))
    }

    private mutating func paper(_ job: JobView, _ situation: Situation, _ outcome: inout Outcome) {
        guard let objective = job.objective, var memory = memories[job.id] else { return }
        defer { memories[job.id] = memory }
        let (now, start) = (situation.now, job.started ?? job.submitted)
        let share = job.allocation?.rawValue ?? configuration.paperStart
        outcome.allocation = share
        outcome.condition = memory.paperCondition ?? .ontime
        guard job.isRunning else { return }
        func move(to condition: JobCondition, because reason: String, numbers: [Decision.Number]) {
            memory.paperCondition = condition
            outcome.condition = condition
            outcome.allocation = PaperPolicy.share(after: share, condition: condition, configuration: configuration)
            guard outcome.allocation != share else { return }
            let verb = outcome.allocation > share ? "Raised" : "Lowered"
            outcome.decisions.append(
                Decision(
                    time: now,
                    job: job.id,
                    kind: .resized,
                    sentence:
                        "\(verb) from \(VCPUCount(share)) to \(VCPUCount(outcome.allocation)) vCPUs by the published rule: \(reason).",
                    numbers: numbers + [
                        .init(name: "previousVCPUs", value: share),
                        .init(name: "allocationVCPUs", value: outcome.allocation),
                    ]
                )
            )
        }
        switch objective {
        case .cpuTime(let amount, let frame):
            let desired = PaperPolicy.desired(now: now, start: start, amount: amount, frame: frame)
            let evaluated = memory.paperEvaluated ?? start
            guard now - evaluated >= configuration.paperInterval else { break }
            memory.paperEvaluated = now
            let performance = PaperPolicy.performance(consumed: job.consumed, desired: desired)
            let condition = PaperPolicy.condition(
                performance: performance,
                maxOverprogress: job.maxOverprogress,
                under: configuration.paperUnder
            )
            let bound =
                condition == .overprogress
                ? "over \(((1 + job.maxOverprogress) * 100).text(decimals: 0)) %"
                : "under \((configuration.paperUnder * 100).text(decimals: 0)) %"
            move(
                to: condition,
                because:
                    "\(job.consumed.inSeconds.text(decimals: 0)) of \(desired.inSeconds.text(decimals: 0)) desired CPU s"
                    + " were consumed (\((performance * 100).text(decimals: 0)) %), \(bound)",
                numbers: [
                    .init(name: "performance", value: performance),
                    .init(name: "consumedCPUSeconds", value: job.consumed.inSeconds),
                    .init(name: "desiredCPUSeconds", value: desired.inSeconds),
                ]
            )
        case .iterations(let count, let expected, let startOverhead, let frame):
            guard job.completedIterations > memory.paperCompleted, job.completedIterations < count else { break }
            memory.paperCompleted = job.completedIterations
            let end = PaperPolicy.predictedEnd(
                now: now,
                remainingIterations: count - job.completedIterations,
                expected: expected,
                startOverhead: startOverhead
            )
            let window = PaperPolicy.window(
                registered: job.submitted,
                frame: frame,
                maxOverprogress: job.maxOverprogress,
                configuration: configuration
            )
            let side = end > window.upperBound ? "later" : "earlier"
            move(
                to: PaperPolicy.condition(predictedEnd: end, window: window),
                because:
                    "the predicted end, \((end - job.submitted).text) after submission, is \(side) than its window of"
                    + " \((window.lowerBound - job.submitted).text) to \((window.upperBound - job.submitted).text)",
                numbers: [
                    .init(name: "predictedEndSeconds", value: (end - job.submitted).inSeconds),
                    .init(name: "remainingIterations", value: Double(count - job.completedIterations)),
                ]
            )
        }
    }
}
