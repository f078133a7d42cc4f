import ClusterModel
import ClusterState
import ControlMessages

/// What the agent knows of a job beyond its record: the last samples and the last word of the policy.
///
/// It is not replicated.
struct JobStanding: Sendable, Equatable {
    /// `ontime`, `overprogress`, `underprogress`, `atrisk`, or empty when there is nothing to say.
    var condition = ""
    /// What the job is guaranteed, newer than the record's.
    var allocation: VCPUCount = .zero
    /// CPU time that the objective asks for by now.
    var desired: Duration?
    var predictedEnd: Timestamp?
    /// vCPUs in use over the last samples.
    var usage: VCPUCount = .zero
    var memory: ByteCount = .zero
    var memoryPeak: ByteCount = .zero
    var throttled: Duration = .zero
    /// Share of the last ten seconds in which some task waited for CPU, 0...1; nil when the kernel does not tell.
    var cpuPressure: Double?
    /// The ledger, newer than the record's.
    var consumed: Duration?
    /// Seconds of an iteration on top of what CPUs shorten, and CPU seconds that they do.
    var speed: (fixedSeconds: Double, divisibleSeconds: Double, iterations: Int)?

    init() {}

    static func == (left: JobStanding, right: JobStanding) -> Bool {
        left.condition == right.condition && left.desired == right.desired && left.predictedEnd == right.predictedEnd
            && left.usage == right.usage && left.memory == right.memory && left.consumed == right.consumed
    }
}

extension JobRecord {
    /// The summary that lists and watches show.
    func wireSummary(standing: JobStanding?, now: Timestamp) -> WireJobSummary {
        var summary = WireJobSummary()
        summary.id = id.rawValue
        summary.name = specification.name
        summary.kind = specification.kind.rawValue
        summary.state = state.rawValue
        summary.node = node?.rawValue ?? ""
        summary.address = address?.description ?? ""
        summary.policy = specification.policy.rawValue
        summary.submittedUnixSeconds = submitted.seconds
        summary.startedUnixSeconds = firstStarted?.seconds ?? 0
        summary.endedUnixSeconds = ended?.seconds ?? 0
        summary.message = message
        summary.incarnation = incarnation.rawValue
        summary.user = submitter.rawValue
        summary.retries = UInt32(retriesUsed)
        summary.checkpointCount = UInt32(goodCheckpoints.count)
        let consumed = standing?.consumed ?? ledger.total
        summary.consumedCpuSeconds = consumed.inSeconds
        if specification.kind == .iterative {
            summary.completedIterations = UInt32(completedIterations)
            summary.totalIterations = UInt32(totalIterations)
        }
        summary.progress = progress(consumed: consumed)
        if !state.isFinal {
            summary.allocationVcpus = (standing?.allocation ?? allocation).rawValue
            summary.usageVcpus = state.mayHaveContainer ? standing?.usage.rawValue ?? 0 : 0
            summary.memoryBytes = state.mayHaveContainer ? UInt64(max(0, standing?.memory.rawValue ?? 0)) : 0
        }
        if let deadline {
            summary.deadlineUnixSeconds = deadline.seconds
            summary.desiredCpuSeconds = (standing?.desired ?? .zero).inSeconds
            let predictedEnd = ended ?? standing?.predictedEnd
            summary.predictedEndUnixSeconds = predictedEnd?.seconds ?? 0
            if let predictedEnd { summary.slackSeconds = (deadline - predictedEnd).inSeconds }
            summary.condition = condition(standing: standing, deadline: deadline, now: now)
        }
        return summary
    }

    private func progress(consumed: Duration) -> Double {
        if state == .completed { return 1 }
        switch specification.objective {
        case .cpuTime(let amount, _): return min(1, consumed.inSeconds / max(amount.inSeconds, 1e-9))
        case .iterations(let count, _, _, _): return Double(completedIterations) / Double(max(count, 1))
        case nil: return -1
        }
    }

    private func condition(standing: JobStanding?, deadline: Timestamp, now: Timestamp) -> String {
        // CPU time may have been granted in time by a job that then ran on.
        if let metDeadline { return metDeadline ? "met" : "missed" }
        if let ended { return state == .completed && ended <= deadline ? "met" : "missed" }
        if now > deadline { return "missed" }
        return standing?.condition ?? ""
    }
}

extension AdmissionSummary {
    /// The answer as it travels.
    var wire: WireAdmission {
        var admission = WireAdmission()
        admission.verdict =
            switch verdict {
            case .feasible: .feasible
            case .feasibleAfterScaling: .feasibleAfterScaling
            case .infeasible: .infeasible
            case .bestEffort: .bestEffort
            }
        admission.reason = reason
        admission.predictedEndUnixSeconds = predictedEnd?.seconds ?? 0
        admission.deadlineUnixSeconds = deadline?.seconds ?? 0
        admission.requiredVcpus = required.rawValue
        admission.availableVcpus = available.rawValue
        return admission
    }
}

extension CatalogEntry {
    /// The entry as it travels.
    var wire: WireCheckpoint {
        var checkpoint = WireCheckpoint()
        checkpoint.generation = generation.rawValue
        checkpoint.takenUnixSeconds = taken.seconds
        checkpoint.frozenSeconds = frozen.inSeconds
        checkpoint.totalSeconds = total.inSeconds
        checkpoint.rawBytes = UInt64(max(0, raw.rawValue))
        checkpoint.storedBytes = UInt64(max(0, stored.rawValue))
        checkpoint.cpuSeconds = consumed.inSeconds
        checkpoint.state = state.rawValue
        checkpoint.node = node.rawValue
        checkpoint.holders = holders.map(\.rawValue)
        return checkpoint
    }
}

extension NumberedDecision {
    /// The decision as it travels, with the job's name.
    func wire(jobName: String) -> WireDecision {
        var message = WireDecision()
        message.sequence = sequence
        message.timeUnixSeconds = decision.time.seconds
        message.jobID = decision.job.rawValue
        message.jobName = jobName
        message.kind = decision.kind.rawValue
        message.sentence = decision.sentence
        for number in decision.numbers { message.numbers[number.name] = number.value }
        return message
    }
}

extension JobSample {
    /// The point as it travels.
    var wire: WireSample {
        var sample = WireSample()
        sample.timeUnixSeconds = time.seconds
        sample.consumedCpuSeconds = consumed.inSeconds
        sample.desiredCpuSeconds = desired.inSeconds
        sample.allocationVcpus = allocation.rawValue
        sample.usageVcpus = usage.rawValue
        sample.memoryBytes = UInt64(max(0, memory.rawValue))
        return sample
    }
}

extension DocumentProblem {
    /// The problem as it travels.
    var wire: WireDocumentProblem {
        var problem = WireDocumentProblem()
        problem.line = UInt32(place.line)
        problem.column = UInt32(place.column)
        problem.path = path
        problem.message = message
        return problem
    }
}

extension ContainerExit {
    /// How a container ended, for people; empty when it has not.
    var sentence: String {
        switch self {
        case .exited(let code): "exit code \(code)"
        case .signalled(let number, let isOutOfMemory):
            isOutOfMemory ? "ended by the kernel: over its memory limit" : "ended by signal \(number)"
        case .notStarted(let reason): "not started: \(reason)"
        case .fenced: "ended by its node, which was out of touch with the cluster"
        case .lost: "lost: nobody saw it end"
        }
    }
}
