import ClusterModel
import ControlMessages

extension WireJobSummary {
    /// Whether the job has ended for ever.
    var hasEnded: Bool { JobState(rawValue: state)?.isFinal ?? (endedUnixSeconds > 0) }
    var hasDeadline: Bool { deadlineUnixSeconds > 0 }
    /// Seconds between predicted end and deadline; nil unless both are known.
    var slack: Double? { hasDeadline && predictedEndUnixSeconds > 0 ? slackSeconds : nil }
    /// How many CPU seconds the job is ahead of its plan, negative when behind; nil without a plan.
    var lead: Double? { hasDeadline && desiredCpuSeconds > 0 ? consumedCpuSeconds - desiredCpuSeconds : nil }

    /// What the state means to a reader.
    var stateTone: Presentation.Tone {
        switch JobState(rawValue: state) {
        case .running, .completed: .good
        case .failed: .bad
        case .checkpointing, .migrating, .restoring, .starting, .stopping: .notice
        case .suspended, .queued: .warning
        case .cancelled, nil: .faint
        }
    }

    /// The condition in words.
    var conditionText: String {
        switch condition.lowercased() {
        case "ontime": "on time"
        case "atrisk": "at risk"
        default: condition
        }
    }

    /// What the condition means to a reader.
    var conditionTone: Presentation.Tone {
        switch condition.lowercased() {
        case "ontime", "met": .good
        case "overprogress": .notice
        case "underprogress": .warning
        case "atrisk", "missed": .bad
        default: .plain
        }
    }

    /// `3 of 10`, or nothing for a job that is not iterative.
    var iterationText: String { totalIterations > 0 ? "\(completedIterations) of \(totalIterations)" : "" }
}

extension Presentation {
    /// Jobs as a table.
    func jobTable(_ jobs: [WireJobSummary]) -> [String] {
        guard !jobs.isEmpty else { return [] }
        var table = Table(columns: [
            .init(title: "NAME", minimumWidth: 10),
            .init(title: "ID", dropOrder: 5),
            .init(title: "STATE"),
            .init(title: "PROGRESS", isRight: true),
            .init(title: "VCPUS", isRight: true, dropOrder: 0),
            .init(title: "USED", isRight: true, dropOrder: 2),
            .init(title: "CPU TIME", isRight: true, dropOrder: 4),
            .init(title: "DEADLINE", isRight: true, dropOrder: 1, isOptional: true),
            .init(title: "SLACK", isRight: true, isOptional: true),
            .init(title: "CONDITION", isOptional: true),
            .init(title: "NODE", minimumWidth: 6, dropOrder: 3, isOptional: true),
            .init(title: "AGE", isRight: true, dropOrder: 6),
            .init(title: "ENDED", isRight: true, dropOrder: 4, isOptional: true),
            .init(title: "NOTE", minimumWidth: 12, dropOrder: 7, isOptional: true),
        ])
        table.rows = jobs.map { job in
            let isPlaced = JobState(rawValue: job.state)?.mayHaveContainer ?? false
            return [
                .init(job.name, .strong),
                .init(job.id, .faint),
                .init(job.state, job.stateTone),
                .init(job.progress >= 0 ? percent(job.progress) : unknown),
                .init(isPlaced ? vcpus(job.allocationVcpus) : unknown),
                .init(isPlaced ? vcpus(job.usageVcpus) : unknown),
                .init(length(job.consumedCpuSeconds)),
                .init(job.hasDeadline ? distance(to: job.deadlineUnixSeconds) : ""),
                .init(job.slack.map(length) ?? "", (job.slack ?? 0) < 0 ? .bad : .plain),
                .init(job.conditionText, job.conditionTone),
                .init(job.node),
                .init(length(max(0, now - job.submittedUnixSeconds).rounded())),
                .init(job.endedUnixSeconds > 0 ? distance(to: job.endedUnixSeconds) : ""),
                .init(job.state == "running" ? "" : job.message, .faint),
            ]
        }
        return table.lines(self)
    }

    /// One job with everything that is known of it.
    func jobDetail(_ reply: WireJobShowReply) -> [String] {
        let job = reply.job
        var lines = [jobTitle(job)]
        var fields = FieldList()
        fields.add("id", job.id)
        let kind = [job.kind, job.policy.isEmpty ? "" : "policy \(job.policy)"].filter { !$0.isEmpty }
        fields.add("kind", kind.joined(separator: dot))
        // "running: Runs." says nothing twice.
        let says = job.message.isEmpty || job.message == "Runs." ? job.state : "\(job.state): \(job.message)"
        fields.add("state", says, job.stateTone)
        fields.add("node", job.node.isEmpty ? "" : job.node + dot + "incarnation \(job.incarnation)")
        if reply.hasMigration {
            let migration = reply.migration
            let by = migration.by.isEmpty ? "" : " for \(migration.by)"
            let phase =
                switch migration.phase {
                case "preparing": "is being prepared there"
                case "prepared": "is being dumped"
                case "handedOver": "is about to run there"
                default: "fetches the rest"
                }
            fields.add(
                "move",
                "from \(migration.from) to \(migration.to)\(by) since \(moment(migration.beganUnixSeconds))\(dot)\(phase)",
                .notice
            )
        }
        fields.add("address", job.address)
        fields.add("retries", job.retries > 0 ? String(job.retries) : "")
        fields.add("submitted", moment(job.submittedUnixSeconds) + (job.user.isEmpty ? "" : " by \(job.user)"))
        fields.add("started", job.startedUnixSeconds > 0 ? moment(job.startedUnixSeconds) : "")
        fields.add("ended", job.endedUnixSeconds > 0 ? moment(job.endedUnixSeconds) : "")
        fields.add("exit", reply.exit)
        lines += fields.lines(self)

        var progress = FieldList()
        if job.progress >= 0 {
            let done = job.iterationText.isEmpty ? "" : "\(dot)iteration \(job.iterationText)"
            progress.add("progress", "\(bar(job.progress, width: 24)) \(percent(job.progress))\(done)")
        }
        progress.add("CPU time", cpuTimeText(job))
        if job.hasDeadline {
            progress.add("deadline", moment(job.deadlineUnixSeconds))
            if !job.hasEnded, job.predictedEndUnixSeconds > 0 {
                progress.add("predicted end", moment(job.predictedEndUnixSeconds))
            }
            if let slack = job.slack { progress.add("slack", length(slack), slack < 0 ? .bad : .plain) }
            progress.add("condition", job.conditionText, job.conditionTone)
        }
        if reply.hasAdmission {
            progress.add("admission", admissionWord(reply.admission.verdict) + ": " + reply.admission.reason)
        }
        lines += [""] + progress.lines(self)
        let resources = resourceFields(reply).lines(self)
        if !resources.isEmpty { lines += [""] + resources }
        if !reply.checkpoints.isEmpty {
            lines += ["", paint("checkpoints", .strong)] + checkpointTable(reply.checkpoints)
        }
        if !reply.recentDecisions.isEmpty {
            lines += ["", paint("latest decisions", .strong)] + decisionLines(reply.recentDecisions, showsJob: false)
        }
        return lines
    }

    /// For example `name · running · on time`.
    func jobTitle(_ job: WireJobSummary) -> String {
        var parts = [paint(printable(job.name), .strong), paint(printable(job.state), job.stateTone)]
        if !job.condition.isEmpty { parts.append(paint(printable(job.conditionText), job.conditionTone)) }
        return parts.joined(separator: dot)
    }

    /// For example `31.0 s consumed, 29.1 s desired: 1.9 s ahead`.
    func cpuTimeText(_ job: WireJobSummary) -> String {
        let consumed = "\(length(job.consumedCpuSeconds)) consumed"
        guard let lead = job.lead else { return consumed }
        let standing =
            abs(lead) < 0.05 ? "exactly on plan" : lead > 0 ? "\(length(lead)) ahead" : "\(length(-lead)) behind"
        return "\(consumed), \(length(job.desiredCpuSeconds)) desired: \(standing)"
    }

    private func resourceFields(_ reply: WireJobShowReply) -> FieldList {
        let job = reply.job
        var fields = FieldList()
        if JobState(rawValue: job.state)?.mayHaveContainer ?? false {
            fields.add("allocation", "\(vcpus(job.allocationVcpus)) vCPUs, \(vcpus(job.usageVcpus)) used")
        }
        if job.memoryBytes > 0 || reply.memoryPeakBytes > 0 {
            let limit = reply.memoryLimitBytes > 0 ? " of \(bytes(reply.memoryLimitBytes))" : ""
            let peak = reply.memoryPeakBytes > 0 ? ", at most \(bytes(reply.memoryPeakBytes)) so far" : ""
            fields.add("memory", "\(bytes(job.memoryBytes))\(limit)\(peak)")
        } else if reply.memoryLimitBytes > 0 {
            fields.add("memory", "at most \(bytes(reply.memoryLimitBytes))")
        }
        if reply.cpuPressure > 0 {
            fields.add("CPU pressure", "waited for CPU in \(percent(reply.cpuPressure)) of the time")
        }
        fields.add("throttled", reply.throttledSeconds > 0 ? length(reply.throttledSeconds) : "")
        if reply.hasSpeed, reply.speed.iterationsSeen > 0 {
            let (fixed, divisible) = (reply.speed.fixedSeconds, reply.speed.divisibleCpuSeconds)
            fields.add(
                "speed",
                "an iteration takes \(length(fixed)) + \(length(divisible)) / vCPUs, learned from "
                    + count(reply.speed.iterationsSeen, "iteration")
            )
        }
        return fields
    }

    /// Checkpoints as a table, oldest first.
    func checkpointTable(_ checkpoints: [WireCheckpoint]) -> [String] {
        var table = Table(columns: [
            .init(title: "GENERATION", isRight: true),
            .init(title: "TAKEN"),
            .init(title: "STATE"),
            .init(title: "CPU TIME", isRight: true, dropOrder: 0),
            .init(title: "FROZEN", isRight: true),
            .init(title: "TOTAL", isRight: true, dropOrder: 1),
            .init(title: "MEMORY", isRight: true, dropOrder: 2),
            .init(title: "STORED", isRight: true),
            .init(title: "NODE", minimumWidth: 6, dropOrder: 3),
        ])
        table.rows = checkpoints.map { checkpoint in
            [
                .init(String(checkpoint.generation)),
                .init(moment(checkpoint.takenUnixSeconds)),
                .init(checkpoint.state, checkpoint.state == "damaged" ? .bad : .plain),
                .init(length(checkpoint.cpuSeconds)),
                .init(length(checkpoint.frozenSeconds)),
                .init(length(checkpoint.totalSeconds)),
                .init(bytes(checkpoint.rawBytes)),
                .init(bytes(checkpoint.storedBytes)),
                .init(checkpoint.holders.isEmpty ? checkpoint.node : checkpoint.holders.joined(separator: ",")),
            ]
        }
        return table.lines(self)
    }

    /// Decisions, one below the other, sentences wrapped below themselves.
    func decisionLines(_ decisions: [WireDecision], showsJob: Bool) -> [String] {
        decisions.flatMap { decision in
            let time = clock(decision.timeUnixSeconds)
            let job = showsJob ? "\(printable(decision.jobName)): " : ""
            let room = width.map { max(20, $0 - time.count - 4) }
            return wrapped(job + printable(decision.sentence), to: room).enumerated().map { index, part in
                let start = index == 0 ? paint(time, .faint) : String(repeating: " ", count: time.count)
                return "  \(start)  \(part)"
            }
        }
    }

    /// The verdict in one or two words.
    func admissionWord(_ verdict: WireAdmission.Verdict) -> String {
        switch verdict {
        case .feasible: "feasible"
        case .feasibleAfterScaling: "feasible after scaling out"
        case .infeasible: "infeasible"
        case .bestEffort: "best effort"
        case .unspecified, .UNRECOGNIZED: "unknown"
        }
    }

    /// What `job plan` says.
    func admissionLines(name: String, _ admission: WireAdmission, node: String) -> [String] {
        let tone: Tone =
            switch admission.verdict {
            case .feasible: .good
            case .feasibleAfterScaling: .warning
            case .infeasible: .bad
            case .bestEffort, .unspecified, .UNRECOGNIZED: .notice
            }
        var fields = FieldList()
        fields.add("why", admission.reason)
        fields.add("node", node)
        if admission.deadlineUnixSeconds > 0 { fields.add("deadline", moment(admission.deadlineUnixSeconds)) }
        if admission.predictedEndUnixSeconds > 0 {
            fields.add("predicted end", moment(admission.predictedEndUnixSeconds))
            if admission.deadlineUnixSeconds > 0 {
                let slack = admission.deadlineUnixSeconds - admission.predictedEndUnixSeconds
                fields.add("slack", length(slack), slack < 0 ? .bad : .plain)
            }
        }
        if admission.requiredVcpus > 0 {
            let (needed, free) = (vcpus(admission.requiredVcpus), vcpus(admission.availableVcpus))
            fields.add("vCPUs", "\(needed) needed, \(free) available")
        }
        return [paint(printable(name), .strong) + dot + paint(admissionWord(admission.verdict), tone)]
            + fields.lines(self)
    }
}
