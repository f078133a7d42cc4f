package import ClusterModel
package import QoS

/// What became of one job in a run.
package struct JobResult: Sendable, Equatable, Codable {
    package var job: JobID
    /// Seconds after submission.
    package var frame: Double
    /// Seconds after submission; nil when it had not ended when the run was over.
    package var ended: Double?
    /// Whether it ended after its deadline, or not at all.
    package var isMissed: Bool
    /// The work that the user declared: all that the controller knew, unless it was told the truth.
    package var declaredCPUSeconds: Double
    /// The work that it really was.
    package var actualCPUSeconds: Double
}

/// What one run measured.
package struct MixResult: Sendable, Equatable, Codable {
    /// Of the mix.
    package var seed: UInt64
    package var policy: JobSpecification.Policy
    package var jobs: [JobResult]
    /// vCPU seconds guaranteed to jobs with deadlines while they ran.
    package var reserved: Double
    /// CPU seconds that those jobs used.
    ///
    /// What an oracle would have reserved, which knows at each moment what each job is about to use.
    package var used: Double
    /// vCPU seconds that nobody used although a job with a deadline could have.
    package var wasted: Double
    /// vCPU seconds that were guaranteed to nobody although jobs could have used them.
    package var unassigned: Double
    /// Capacity times length of the run.
    package var offered: Double
    /// CPU seconds that best-effort jobs got.
    package var bestEffort: Double
    /// Decisions that the controller found worth telling.
    package var decisions: Int

    /// Deadlines missed.
    package var misses: Int { jobs.count(where: \.isMissed) }
}

/// Drives the real controller over virtual time, once a second, as an agent does.
package struct MixRun: Sendable {
    /// The mix with every job under one policy.
    package var mix: JobMix
    package var policy: JobSpecification.Policy
    package var configuration: QoSConfiguration
    /// Tells the policy the actual work: how much of what is missed is missed for want of knowledge.
    package var isClairvoyant = false

    /// A run with the default configuration.
    package init(
        mix: JobMix,
        policy: JobSpecification.Policy,
        configuration: QoSConfiguration = QoSConfiguration()
    ) {
        (self.mix, self.policy, self.configuration) = (mix, policy, configuration)
    }

    /// Runs until every job with a deadline has ended or every deadline has passed.
    ///
    /// `watch` sees each second's allocations.
    package func result(watch: (Double, [JobView], [JobAllocation]) -> Void = { _, _, _ in }) -> MixResult {
        var configuration = configuration
        if isClairvoyant { (configuration.workUncertainty, configuration.overrunReserve) = (0.02, 0.02) }
        var controller = QoSController(configuration: configuration)
        var node = NodeSimulator(capacity: mix.capacity)
        let jobs = mix.jobs.map(prepared).sorted {
            ($0.declared.submitted, $0.declared.id) < ($1.declared.submitted, $1.declared.id)
        }
        let last = jobs.compactMap { $0.declared.deadline?.seconds }.max() ?? 0
        var result = MixResult(
            seed: mix.seed,
            policy: policy,
            jobs: [],
            reserved: 0,
            used: 0,
            wasted: 0,
            unassigned: 0,
            offered: 0,
            bestEffort: 0,
            decisions: 0
        )
        var isStarted = false
        while node.time < last {
            while node.residents.count < jobs.count,
                jobs[node.residents.count].declared.submitted.seconds <= node.time
            {
                node.add(jobs[node.residents.count], allocation: policy == .paper ? configuration.paperStart : 0)
            }
            if node.residents.count == jobs.count,
                node.residents.allSatisfy({ $0.ended != nil || $0.job.declared.objective == nil })
            {
                break
            }
            let active = node.residents.indices.filter { node.residents[$0].ended == nil }
            let views = active.map { node.view($0, step: isStarted ? 1 : nil, tellsPressure: mix.tellsPressure) }
            let allocations = controller.decide(
                jobs: views,
                capacity: VCPUCount(mix.capacity),
                now: Timestamp(seconds: node.time)
            )
            var (assigned, usable) = (0.0, 0.0)
            for (index, allocation) in zip(active, allocations) {
                node.set(allocation: allocation.allocation.rawValue, of: index)
                result.decisions += allocation.decisions.count
                assigned += allocation.allocation.rawValue
                usable += node.residents[index].job.declared.parallelism.rawValue
            }
            watch(node.time, views, allocations)
            let before = active.map { node.residents[$0].consumed }
            node.advance(1)
            isStarted = true
            for (position, index) in active.enumerated() {
                let resident = node.residents[index]
                let lived = (resident.ended ?? node.time) - (node.time - 1)
                if resident.job.declared.objective == nil {
                    result.bestEffort += resident.consumed - before[position]
                } else {
                    result.reserved += resident.allocation * lived
                    result.used += resident.consumed - before[position]
                }
            }
            result.wasted += node.stepWasted
            result.unassigned += max(0, min(mix.capacity, usable) - assigned)
            result.offered += mix.capacity
        }
        result.jobs = jobs.enumerated().compactMap { index, job in
            guard let deadline = job.declared.deadline else { return nil }
            let ended = index < node.residents.count ? node.residents[index].ended : nil
            return JobResult(
                job: job.declared.id,
                frame: (deadline - job.declared.submitted).inSeconds,
                ended: ended.map { $0 - job.declared.submitted.seconds },
                isMissed: ended.map { $0 > deadline.seconds } ?? true,
                declaredCPUSeconds: job.declared.declaredCPUSeconds,
                actualCPUSeconds: job.cpuSeconds
            )
        }
        return result
    }

    private func prepared(_ job: SimulatedJob) -> SimulatedJob {
        var job = job
        job.declared.policy = policy
        guard isClairvoyant else { return job }
        switch job.declared.objective {
        case .cpuTime(_, let frame):
            job.declared.objective = .cpuTime(amount: .seconds(job.cpuSeconds), frame: frame)
        case .iterations(let count, _, let startOverhead, let deadline):
            job.declared.objective = .iterations(
                count: count,
                expected: .seconds(job.cpuSeconds / Double(count)),
                startOverhead: startOverhead,
                deadline: deadline
            )
        case nil: break
        }
        return job
    }
}

extension JobView {
    /// What the user said that the job needs.
    var declaredCPUSeconds: Double {
        switch objective {
        case .cpuTime(let amount, _): amount.inSeconds
        case .iterations(let count, let expected, _, _): Double(count) * expected.inSeconds
        case nil: 0
        }
    }
}
