import Checkpointing
import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Metrics
import QoS
import ResourceSamples
import Storage

// Reading the counters, deciding allocations, and writing both down.
extension NodeController {
    /// One pass: reads every container, decides, carries out, and looks at what waits.
    func tick() async {
        let moment = now()
        let began = ContinuousClock.now
        sample(at: moment)
        metrics.samplingPass.record(duration: began.duration(to: .now))
        let state = await replica.state
        var changes: [AllocationChange] = []
        if isDue(lastControlPass, every: settings.controlPeriod) {
            lastControlPass = steady()
            changes = decide(state)
        } else {
            for record in state.liveJobs { measure(record) }
        }
        remember(state, at: moment)
        await propose(changes, state: state, at: moment)
        for record in state.liveJobs where operations[record.id] == nil {
            if let due = checkpointDue(record, moment), due <= moment, let status = containers[record.id],
                status.exit == nil, record.request == nil, record.node == node
            {
                checkpoint(record, status.key)
            } else if record.state == .queued || (containers[record.id] == nil && record.node == node)
                || record.migration != nil
            {
                await reconcile([record.id])
            }
        }
    }

    /// When the next automatic checkpoint is due, by the interval that the job gives or else by what one costs.
    private func checkpointDue(_ record: JobRecord, _ moment: Timestamp) -> Timestamp? {
        guard settings.intervalByCost, record.specification.checkpoint.interval == nil else {
            return record.nextCheckpointDue(now: moment)
        }
        let memory = containers[record.id]?.recent.last?.memory
        return record.nextCheckpointDue(
            now: moment,
            everyNow: record.costInterval(memory: memory, now: moment)?.interval
        )
    }

    /// Whether a period has passed; half a reading early counts, since ticks do not come to the nanosecond.
    private func isDue(_ last: ContinuousClock.Instant?, every period: Duration) -> Bool {
        last.map { $0.duration(to: steady()) >= period - settings.period / 2 } ?? true
    }

    /// The time as the policy sees it: the wall clock, which for the policy never goes back.
    ///
    /// After the clock was set back, it runs at half speed until the clock has caught up: what the policy does from time to time
    /// goes on, and deadlines are met rather too early than too late.
    private func policyMoment() -> Timestamp {
        let (moment, instant) = (now(), steady())
        let told =
            if let last = policyTime, moment <= last.moment {
                max(moment, last.moment + last.at.duration(to: instant) / 2)
            } else {
                moment
            }
        policyTime = (told, instant)
        return told
    }

    private func sample(at moment: Timestamp) {
        for (job, status) in containers where status.exit == nil {
            guard let sample = host.sample(status.key) else { continue }
            var recent = status.recent
            let period = max(0, recent.last.map { (sample.time - $0.time).inSeconds } ?? 0)
            recent.append(sample)
            recent.removeFirst(max(0, recent.count - 6))
            containers[job]?.recent = recent
            containers[job]?.watchedSeconds += period
        }
        let used = containers.values.reduce(0) { $0 + (usage($1)?.rawValue ?? 0) }
        let idle = max(0, settings.capacity.rawValue - used)
        for (job, status) in containers where status.exit == nil && status.recent.count >= 2 {
            let last = status.recent[status.recent.count - 1]
            let period = max(0, (last.time - status.recent[status.recent.count - 2].time).inSeconds)
            let own = usage(status)?.rawValue ?? 0
            containers[job]?.availableSeconds += max(status.allocation.rawValue, own + idle) * period
        }
    }

    /// vCPUs that a container used between its last two samples.
    private func usage(_ status: ContainerStatus) -> VCPUCount? {
        guard status.recent.count >= 2 else { return nil }
        return status.recent[status.recent.count - 1].usage(since: status.recent[status.recent.count - 2])
    }

    /// What the policy is told about a job.
    func view(_ record: JobRecord) -> JobView {
        var view = JobView(id: record.id, specification: record.specification, submitted: record.submitted)
        view.cpuLimit = record.cpuLimit
        view.pinnedAllocation = record.pinnedAllocation
        view.started = record.firstStarted
        view.consumed = consumed(record)
        view.completedIterations = record.completedIterations
        view.iterations = record.measuredIterations.map {
            MeasuredIteration(duration: $0.duration, vcpus: $0.vcpus, consumed: $0.consumed)
        }
        if record.specification.kind == .iterative, let started = record.incarnationStarted {
            view.iterationStarted = started
            view.iterationConsumed = max(.zero, consumed(record) - record.iterationBase)
        }
        guard let status = containers[record.id], status.exit == nil else {
            // A container that is being made will want its share within milliseconds.
            let kind = operations[record.id]?.kind
            view.isRunning = kind == .start || kind == .restore || kind == .migrate
            return view
        }
        view.isRunning = !status.isFrozen && (record.state == .running || record.state == .checkpointing)
        view.recentUsage = usage(status)
        view.cpuPressure = status.recent.last?.cpuPressure.map { $0.some.tenSeconds / 100 }
        view.allocation = status.allocation > .zero ? status.allocation : nil
        return view
    }

    /// The ledger with the newest reading of the present container.
    func consumed(_ record: JobRecord) -> Duration {
        guard let status = containers[record.id], status.key.incarnation == record.incarnation,
            let reading = status.recent.last?.cpuTime
        else { return record.ledger.total }
        return record.ledger.settled + max(reading, record.ledger.current)
    }

    /// The jobs whose shares of this node the policy decides about.
    private func jobsHere(_ state: ClusterState) -> [JobRecord] {
        state.liveJobs.filter { record in
            guard record.state != .suspended else { return false }
            return record.state.mayHaveContainer ? record.node == node : isHere(record)
        }
    }

    /// Asks the policy about this node's jobs, writes what it says to the cgroups, and returns what is worth keeping.
    private func decide(_ state: ClusterState) -> [AllocationChange] {
        let began = ContinuousClock.now
        let records = jobsHere(state)
        let allocations = qos.decide(jobs: records.map(view), capacity: settings.capacity, now: policyMoment())
        metrics.controlPass.record(duration: began.duration(to: .now))
        var changes: [AllocationChange] = []
        for (record, allocation) in zip(records, allocations) {
            carryOut(allocation, decidedAt: began)
            updateStanding(record, allocation)
            let isNew = abs(allocation.allocation.rawValue - record.allocation.rawValue) >= 0.05
            for decision in allocation.decisions {
                logger.info(
                    "job.decision",
                    metadata: ["job": "\(record.specification.name)", "reason": "\(decision.sentence)"]
                )
                changes.append(
                    AllocationChange(job: record.id, allocation: allocation.allocation, decision: decision)
                )
            }
            if allocation.decisions.isEmpty, isNew, isHistoryDue {
                changes.append(AllocationChange(job: record.id, allocation: allocation.allocation))
            }
        }
        return changes
    }

    private func carryOut(_ allocation: JobAllocation, decidedAt began: ContinuousClock.Instant) {
        guard let status = containers[allocation.job], status.exit == nil else { return }
        guard status.allocation != allocation.allocation else {
            containers[allocation.job]?.allocationProblem = nil
            return
        }
        do {
            try host.setAllocation(allocation.allocation, of: status.key)
            containers[allocation.job]?.allocation = allocation.allocation
            containers[allocation.job]?.allocationProblem = nil
            metrics.resize.record(duration: began.duration(to: .now))
        } catch {
            containers[allocation.job]?.allocationProblem = "\(error)"
            logger.warning("job.resize.failed", metadata: ["container": "\(status.key)", "error": "\(error)"])
        }
    }

    private func updateStanding(_ record: JobRecord, _ allocation: JobAllocation) {
        var standing = standings[record.id] ?? JobStanding()
        standing.allocation = allocation.allocation
        standing.condition = allocation.condition?.rawValue ?? ""
        standing.desired = allocation.desired
        standing.predictedEnd = allocation.predictedEnd
        if let speed = allocation.speed, record.specification.kind == .iterative {
            standing.speed = (speed.fixed, speed.divisible, record.measuredIterations.count)
        }
        standings[record.id] = standing
        measure(record)
    }

    /// Takes the newest readings into what is known of a job.
    private func measure(_ record: JobRecord) {
        guard var standing = standings[record.id] else { return }
        standing.consumed = consumed(record)
        standing.usage = .zero
        standing.memory = .zero
        standing.cpuPressure = nil
        if let status = containers[record.id], let last = status.recent.last {
            if let first = status.recent.first, status.recent.count >= 2 {
                standing.usage = last.usage(since: first) ?? .zero
            }
            standing.memory = last.memory
            standing.memoryPeak = last.memoryPeak ?? last.memory
            standing.throttled = last.throttledTime
            standing.cpuPressure = last.cpuPressure.map { $0.some.tenSeconds / 100 }
        }
        standings[record.id] = standing
        metrics.setJob(
            name: record.specification.name,
            allocation: standing.allocation,
            usage: standing.usage,
            consumed: standing.consumed ?? .zero,
            memory: standing.memory,
            checkpointAge: record.newestSafeCheckpoint.map { max(.zero, now() - $0.taken) }
        )
    }

    /// Decides about all jobs now, since one more is about to run or has just ended.
    func decideNow() async {
        let state = await replica.state
        let changes = decide(state)
        guard !changes.isEmpty else { return }
        await write([.allocate(changes: changes, time: now())])
    }

    /// The weight that a container is made with: never less than one vCPU's.
    ///
    /// The runtime's last steps and the program's first ones run inside the cgroup; with the weight of a best-effort job beside
    /// busy neighbours they would take seconds. The policy's own allocation follows as soon as the container runs.
    func startAllocation(_ record: JobRecord) -> VCPUCount {
        max(standings[record.id]?.allocation ?? .zero, min(settings.capacity, 1))
    }

    // MARK: History

    private var isHistoryDue: Bool {
        lastHistoryWrite.map { $0.duration(to: steady()) >= settings.historyPeriod } ?? true
    }

    /// Keeps a point of each running job's history until the next write.
    private func remember(_ state: ClusterState, at moment: Timestamp) {
        guard isDue(lastHistoryPoint, every: settings.recordPeriod) else { return }
        lastHistoryPoint = steady()
        for record in state.liveJobs {
            guard let standing = standings[record.id], containers[record.id] != nil else { continue }
            unwrittenSamples.append(
                JobSample(
                    job: record.id,
                    time: moment,
                    consumed: standing.consumed ?? .zero,
                    desired: standing.desired ?? .zero,
                    allocation: standing.allocation,
                    usage: containers[record.id].flatMap { usage($0) } ?? .zero,
                    memory: standing.memory
                )
            )
        }
        // While nothing can be written, the oldest points go first.
        unwrittenSamples.removeFirst(max(0, unwrittenSamples.count - 100_000))
    }

    private func propose(_ changes: [AllocationChange], state: ClusterState, at moment: Timestamp) async {
        var commands: [Command] = changes.isEmpty ? [] : [.allocate(changes: changes, time: moment)]
        let isDue = isHistoryDue
        var readings: [LedgerReading] = []
        for record in state.liveJobs where isDue || isGrantNews(record) {
            guard let status = containers[record.id], status.exit == nil, let reading = status.recent.last?.cpuTime,
                record.incarnationStarted != nil, reading > record.ledger.current
            else { continue }
            readings.append(
                LedgerReading(job: record.id, incarnation: status.key.incarnation, consumed: reading)
            )
        }
        if !readings.isEmpty { commands.append(.ledger(readings: readings, time: moment)) }
        guard isDue || !commands.isEmpty else { return }
        if isDue { lastHistoryWrite = steady() }
        await write(commands)
    }

    /// Whether a job has just consumed what its objective grants: told at once, since the moment counts.
    private func isGrantNews(_ record: JobRecord) -> Bool {
        guard case .cpuTime(let amount, _) = record.specification.objective, consumed(record) >= amount else {
            return false
        }
        return grantsReported.insert(record.id).inserted
    }

    private func write(_ commands: [Command]) async {
        let samples = unwrittenSamples
        guard !commands.isEmpty || !samples.isEmpty else { return }
        unwrittenSamples = []
        do {
            try await replica.propose(commands, samples: samples)
            noteStorageProblem(nil)
        } catch {
            unwrittenSamples = samples + unwrittenSamples
            noteStorageProblem("State cannot be written: \(error)")
            logger.error("state.write.failed", metadata: ["error": "\(error)"])
        }
    }

    /// Writes what is in memory: at the end of the agent.
    func writeHistory(at moment: Timestamp) async {
        let state = await replica.state
        lastHistoryWrite = nil
        await propose([], state: state, at: moment)
    }

    // MARK: Asked by the control plane

    /// What admission control says about a job that is not submitted yet, on another node or, with nil, on this one.
    func admission(
        of specification: JobSpecification,
        on other: NodeRecord? = nil,
        at moment: Timestamp
    ) async -> AdmissionSummary {
        let candidate = JobView(id: JobID(rawValue: "candidate"), specification: specification, submitted: moment)
        let state = await replica.state
        // Of jobs elsewhere the ledger is known, which is seconds old.
        let others =
            other.map { record in
                state.liveJobs.filter {
                    $0.state != .suspended && ($0.state.mayHaveContainer ? $0.node : $0.assignedNode) == record.node
                }
            } ?? jobsHere(state)
        let answer = qos.admit(
            candidate,
            among: others.map(view),
            capacity: other?.vcpus ?? settings.capacity,
            now: moment
        )
        return AdmissionSummary(
            verdict: AdmissionSummary.Verdict(rawValue: answer.verdict.rawValue) ?? .infeasible,
            reason: answer.reason,
            predictedEnd: answer.predictedEnd,
            deadline: answer.deadline,
            required: answer.required,
            available: answer.available
        )
    }

    /// What is known of a job beyond its record.
    func standing(of job: JobID) -> JobStanding? { standings[job] }

    /// What is known of all jobs beyond their records.
    var allStandings: [JobID: JobStanding] { standings }

    /// vCPUs and memory that the containers of this node use.
    var use: (vcpus: VCPUCount, memory: ByteCount) {
        containers.values.reduce(into: (.zero, .zero)) { sum, status in
            sum.vcpus += usage(status) ?? .zero
            sum.memory = sum.memory + (status.recent.last?.memory ?? .zero)
        }
    }

    /// Containers that run, and the vCPUs that are promised to them.
    var running: (count: Int, allocated: VCPUCount) {
        containers.values.reduce(into: (0, .zero)) { sum, status in
            guard status.exit == nil else { return }
            sum.count += 1
            sum.allocated += status.allocation
        }
    }

    /// Carries out a new record at once, without waiting for the next pass.
    ///
    /// - Returns: how long the cgroup writes took, and what the kernel refused; nil when all is written, or nothing runs yet.
    func applyNow(_ job: JobID) async -> (duration: Duration, problem: String?) {
        // A container that is just being made gets its limits when it is there; whoever asked wants to see them.
        let patience = ContinuousClock.now + .seconds(5)
        while let operation = operations[job], operation.kind == .start || operation.kind == .restore,
            ContinuousClock.now < patience
        {
            try? await Task.sleep(for: .milliseconds(5))
        }
        let state = await replica.state
        let began = ContinuousClock.now
        let changes = decide(state)
        if let record = state.job(job) { applyLimits(record) }
        let duration = began.duration(to: .now)
        let status = containers[job]
        if !changes.isEmpty { await write([.allocate(changes: changes, time: now())]) }
        return (duration, status?.limitsProblem ?? status?.allocationProblem)
    }
}
