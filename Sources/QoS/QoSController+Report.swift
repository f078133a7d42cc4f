package import ClusterModel

extension QoSController {
    /// Conditions, predictions and what is worth telling, for every job.
    mutating func report(_ situation: Situation, _ outcomes: inout [Outcome], isGoverned: [Bool]) {
        for index in situation.jobs.indices {
            let job = situation.jobs[index]
            if outcomes[index].work == nil, job.objective != nil {
                let width = memories[job.id]?.width ?? job.limit(capacity: situation.capacity)
                outcomes[index].work = RemainingWork(
                    job,
                    width: width,
                    now: situation.now,
                    startingSince: memories[job.id]?.startingSince,
                    configuration: configuration
                )
            }
            guard var memory = memories[job.id] else { continue }
            outcomes[index].desired = desired(job, outcomes[index].work, situation.now)
            if isGoverned[index] { memory.predictedEnd = prediction(job, outcomes[index], situation) }
            outcomes[index].predictedEnd = memory.predictedEnd
            if let work = outcomes[index].work {
                judge(job, work, situation, &memory, &outcomes[index])
            }
            tell(job, situation, &memory, &outcomes[index])
            memories[job.id] = memory
        }
    }

    /// Whether a job that has ended met its deadline, with the time between them; nil for a job that had none.
    package static func verdict(
        on job: JobView,
        endedAt end: Timestamp
    ) -> (condition: JobCondition, decision: Decision)? {
        guard let deadline = job.deadline else { return nil }
        let slack = deadline - end
        let isMet = slack >= .zero
        let difference = Duration.seconds(abs(slack.inSeconds)).text
        let consumed = "\(job.consumed.inSeconds.text(decimals: 0)) CPU s were consumed"
        return (
            isMet ? .met : .missed,
            Decision(
                time: end,
                job: job.id,
                kind: isMet ? .deadlineMet : .deadlineMissed,
                sentence: isMet
                    ? "The deadline was met with \(difference) to spare; \(consumed)."
                    : "The deadline was missed by \(difference); \(consumed).",
                numbers: [
                    .init(name: "slackSeconds", value: slack.inSeconds),
                    .init(name: "consumedCPUSeconds", value: job.consumed.inSeconds),
                ]
            )
        )
    }

    func finish(_ job: JobView, _ situation: Situation, _ outcome: Outcome) -> JobAllocation {
        let slack = outcome.predictedEnd.flatMap { end in job.deadline.map { $0 - end } }
        return JobAllocation(
            job: job.id,
            allocation: VCPUCount(outcome.allocation),
            condition: outcome.condition,
            desired: outcome.desired,
            predictedEnd: outcome.predictedEnd,
            slack: slack,
            required: outcome.work?.required.map { VCPUCount($0) },
            speed: outcome.work?.speed,
            decisions: outcome.decisions
        )
    }

    private func desired(_ job: JobView, _ work: RemainingWork?, _ now: Timestamp) -> Duration? {
        switch job.objective {
        case .cpuTime(let amount, let frame):
            PaperPolicy.desired(now: now, start: job.submitted, amount: amount, frame: frame)
        case .iterations(let count, _, _, let deadline):
            PaperPolicy.desired(
                now: now,
                start: job.submitted,
                amount: .seconds(Double(count) * (work?.speed?.cpu ?? 0)),
                frame: deadline
            )
        case nil: nil
        }
    }

    /// The end of a job that does not follow the plan: at the rate it has.
    private func prediction(_ job: JobView, _ outcome: Outcome, _ situation: Situation) -> Timestamp? {
        if job.policy == .paper, case .iterations(let count, let expected, let startOverhead, _) = job.objective {
            return PaperPolicy.predictedEnd(
                now: situation.now,
                remainingIterations: max(0, count - job.completedIterations),
                expected: expected,
                startOverhead: startOverhead
            )
        }
        guard let work = outcome.work, job.isRunning else { return nil }
        let rate = min(work.width, max(job.recentUsage?.rawValue ?? 0, outcome.allocation))
        return rate > 0.001 ? situation.now + .seconds(work.work(0.5) / rate) : nil
    }

    /// Sets the condition, and says when a deadline comes into danger, is safe again, or has passed.
    private func judge(
        _ job: JobView,
        _ work: RemainingWork,
        _ situation: Situation,
        _ memory: inout Memory,
        _ outcome: inout Outcome
    ) {
        let now = situation.now
        if work.left <= 0 {
            outcome.condition = .missed
            guard !memory.isMissTold else { return }
            memory.isMissTold = true
            outcome.decisions.append(
                Decision(
                    time: now,
                    job: job.id,
                    kind: .deadlineMissed,
                    sentence: "The deadline has passed and the job has not ended: \(consumedText(job)).",
                    numbers: [.init(name: "consumedCPUSeconds", value: job.consumed.inSeconds)]
                )
            )
            return
        }
        if work.overrun > 0, !memory.isOverrunTold, job.policy == .deadline {
            memory.isOverrunTold = true
            outcome.decisions.append(
                Decision(
                    time: now,
                    job: job.id,
                    kind: .warned,
                    sentence: "The declared work is done but the job has not ended: \(consumedText(job)); up to"
                        + " \(work.most.text(decimals: 0)) CPU s more are planned for.",
                    numbers: [.init(name: "plannedCPUSeconds", value: work.most)]
                )
            )
        }
        let late = (memory.predictedEnd ?? now) - now > .seconds(work.left)
        let isDoubtful = memory.isSurrendered || (late && job.isRunning)
        if isDoubtful {
            memory.safeSince = nil
            let since = memory.riskSince ?? now
            memory.riskSince = since
            if !memory.isAtRisk, now - since >= configuration.riskDelay {
                memory.isAtRisk = true
                outcome.decisions.append(risk(job, work, situation, memory))
            }
        } else {
            memory.riskSince = nil
            let since = memory.safeSince ?? now
            memory.safeSince = since
            if memory.isAtRisk, now - since >= configuration.riskDelay * 2 {
                memory.isAtRisk = false
                outcome.decisions.append(safe(job, work, situation, memory))
            }
        }
        if memory.isAtRisk {
            outcome.condition = .atRisk
        } else if job.policy == .deadline {
            outcome.condition = pace(job, work, memory, now)
        }
    }

    /// Remaining times are compared, not timestamps: the quotient of two dates is 1 whatever they are.
    private func pace(_ job: JobView, _ work: RemainingWork, _ memory: Memory, _ now: Timestamp) -> JobCondition {
        guard let end = memory.predictedEnd else { return .ontime }
        let ratio = work.left / max((end - now).inSeconds, 1e-3)
        if ratio > 1 + job.maxOverprogress { return .overprogress }
        return ratio < 1 ? .underprogress : .ontime
    }

    private func risk(_ job: JobView, _ work: RemainingWork, _ situation: Situation, _ memory: Memory) -> Decision {
        let remaining = work.work(0.5)
        let fastest = remaining / work.limit(0.5)
        let late = memory.predictedEnd.map { ($0 - situation.now).inSeconds - work.left } ?? 0
        let lateText = late > 0 ? "about \(Duration.seconds(late).text) late" : "late"
        let sentence: String
        if fastest > work.left {
            sentence =
                "The deadline is out of reach: about \(remaining.text(decimals: 0)) CPU s remain and need"
                + " \(Duration.seconds(fastest).text) on the \(VCPUCount(work.limit(0.5))) vCPUs that the job can use, but only"
                + " \(Duration.seconds(work.left).text) are left; the job is expected to end \(lateText)."
        } else if memory.isSurrendered {
            sentence =
                "Not all deadlines of this node can be kept: about \(remaining.text(decimals: 0)) CPU s of this job remain for"
                + " the next \(Duration.seconds(work.left).text), beside jobs that weigh more or need less. Its deadline is the"
                + " one to give up (weight \(job.weight.text(decimals: 2))); the job is expected to end \(lateText)."
        } else {
            sentence =
                "The deadline is at risk: about \(remaining.text(decimals: 0)) CPU s remain for the next"
                + " \(Duration.seconds(work.left).text), and at the present pace the job ends \(lateText)."
        }
        return Decision(
            time: situation.now,
            job: job.id,
            kind: .deadlineAtRisk,
            sentence: sentence,
            numbers: [
                .init(name: "remainingCPUSeconds", value: remaining),
                .init(name: "deadlineSeconds", value: work.left),
                .init(name: "lateSeconds", value: max(0, late)),
                .init(name: "weight", value: job.weight),
            ]
        )
    }

    private func safe(_ job: JobView, _ work: RemainingWork, _ situation: Situation, _ memory: Memory) -> Decision {
        let early = work.left - (memory.predictedEnd.map { ($0 - situation.now).inSeconds } ?? work.left)
        return Decision(
            time: situation.now,
            job: job.id,
            kind: .deadlineSafe,
            sentence:
                "The deadline can be kept again: about \(work.work(0.5).text(decimals: 0)) CPU s remain for the next"
                + " \(Duration.seconds(work.left).text); the job is expected to end \(Duration.seconds(early).text) early.",
            numbers: [
                .init(name: "remainingCPUSeconds", value: work.work(0.5)),
                .init(name: "deadlineSeconds", value: work.left),
                .init(name: "slackSeconds", value: early),
            ]
        )
    }

    private func consumedText(_ job: JobView) -> String {
        switch job.objective {
        case .cpuTime(let amount, _):
            "\(job.consumed.inSeconds.text(decimals: 0)) of \(amount.inSeconds.text(decimals: 0)) declared CPU s are consumed"
        case .iterations(let count, _, _, _):
            "\(job.completedIterations) of \(count) iterations are done"
        case nil: "\(job.consumed.inSeconds.text(decimals: 0)) CPU s are consumed"
        }
    }

    // MARK: Changes of allocation

    /// Tells a change of allocation when it is large, and not too soon after the last one.
    private func tell(_ job: JobView, _ situation: Situation, _ memory: inout Memory, _ outcome: inout Outcome) {
        if case .paper = outcome.cause { return }
        guard job.isRunning else { return }
        let told = memory.told
        let change = abs(outcome.allocation - (told ?? 0))
        if let told {
            let isLarge = change >= max(configuration.toldChange, configuration.toldFraction * told)
            let isSoon = memory.toldAt.map { situation.now - $0 < configuration.toldInterval } ?? false
            guard isLarge, situation.isChanged || !isSoon else { return }
        }
        memory.told = outcome.allocation
        memory.toldAt = situation.now
        let amount = VCPUCount(outcome.allocation)
        let verb: String
        if let told {
            verb = "\(outcome.allocation > told ? "Raised" : "Lowered") from \(VCPUCount(told)) to \(amount) vCPUs"
        } else {
            verb = "Guaranteed \(amount) vCPUs to begin with"
        }
        var numbers: [Decision.Number] = [.init(name: "allocationVCPUs", value: outcome.allocation)]
        if let told { numbers.insert(.init(name: "previousVCPUs", value: told), at: 0) }
        if let work = outcome.work {
            numbers.append(.init(name: "remainingCPUSeconds", value: work.work(0.5)))
            numbers.append(.init(name: "deadlineSeconds", value: work.left))
            if let required = work.required { numbers.append(.init(name: "requiredVCPUs", value: required)) }
        }
        outcome.decisions.append(
            Decision(
                time: situation.now,
                job: job.id,
                kind: .resized,
                sentence: "\(verb): \(reason(outcome, situation)).",
                numbers: numbers
            )
        )
    }

    private func reason(_ outcome: Outcome, _ situation: Situation) -> String {
        switch outcome.cause {
        case .paper: return "the published rule says so"
        case .pinned: return "it was set by hand"
        case .bestEffort(let held):
            return "the job has no deadline, and jobs with deadlines are guaranteed \(VCPUCount(held)) of"
                + " \(VCPUCount(situation.capacity)) vCPUs; idle cycles stay usable"
        case .surrendered: return "its deadline cannot be kept beside the others, so it gets what they leave"
        case .overdue: return "its deadline has passed, so it gets what jobs with deadlines ahead leave"
        case .kept(let needed, let quantile):
            guard let work = outcome.work else { return "its deadline is kept" }
            let remaining = work.work(0.5)
            var text =
                "\(remaining.text(decimals: 0)) CPU s remain and the deadline is in \(Duration.seconds(work.left).text)"
            if let required = work.required { text += ", \(VCPUCount(required)) vCPUs on average" }
            let reserve = (work.work(quantile) / remaining - 1) * 100
            if reserve >= 1 {
                text += "; with a reserve of \(reserve.text(decimals: 0)) % it must have \(VCPUCount(needed)) now"
            } else {
                text += "; it must have \(VCPUCount(needed)) now"
            }
            if outcome.allocation > needed + 0.05 {
                text += ", and what is spare goes to the earliest deadlines"
            } else if outcome.allocation < (work.required ?? 0) - 0.05 {
                text += ", because earlier deadlines go first"
            }
            return text
        }
    }
}
