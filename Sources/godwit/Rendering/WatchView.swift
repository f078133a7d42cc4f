import ClusterModel
import ControlMessages

/// What `job watch` shows: gathers the messages of a watch and draws them.
struct WatchView {
    /// What the view remembers of a job to draw its recent past.
    private struct Trace {
        var allocation: [Double] = []
        var usage: [Double] = []
        var printed: (state: String, condition: String, allocation: Double, time: Double)?
    }

    private static let traceLimit = 40
    private static let decisionLimit = 200
    /// A line for an unchanged job is printed this often when the output is not a terminal.
    private static let quietSeconds = 10.0

    private var traces: [String: Trace] = [:]
    private(set) var jobs: [WireJobSummary] = []
    private(set) var decisions: [WireDecision] = []
    private var newDecisions: [WireDecision] = []
    private var newest: UInt64 = 0

    /// Takes in one message.
    mutating func receive(_ reply: WireJobWatchReply) {
        jobs = reply.jobs
        let known = Set(jobs.map(\.id))
        traces = traces.filter { known.contains($0.key) }
        for job in jobs {
            traces[job.id, default: Trace()].allocation.append(job.allocationVcpus)
            traces[job.id, default: Trace()].usage.append(job.usageVcpus)
            if let count = traces[job.id]?.usage.count, count > Self.traceLimit {
                traces[job.id]?.allocation.removeFirst()
                traces[job.id]?.usage.removeFirst()
            }
        }
        newDecisions = reply.decisions.filter { $0.sequence == 0 || $0.sequence > newest }
        newest = newDecisions.reduce(newest) { max($0, $1.sequence) }
        decisions = Array((decisions + newDecisions).suffix(Self.decisionLimit))
    }

    /// The picture for a terminal.
    func lines(_ style: Presentation, height: Int) -> [String] {
        let clock = style.paint(style.clock(style.now), .faint)
        guard jobs.count == 1, let job = jobs.first else {
            if jobs.isEmpty { return ["no jobs" + style.dot + clock] }
            let running = jobs.filter { $0.state == "running" }.count
            let table = style.jobTable(jobs)
            let title = "\(style.count(jobs.count, "job")), \(running) running"
            return [style.paint(title, .strong) + style.dot + clock, ""] + table
                + latestDecisions(style, room: height - table.count - 5, showsJob: true)
        }
        let picture = jobLines(job, style)
        return [style.jobTitle(job) + style.dot + clock, ""] + picture
            + latestDecisions(style, room: height - picture.count - 5, showsJob: false)
    }

    private func jobLines(_ job: WireJobSummary, _ style: Presentation) -> [String] {
        let barWidth = min(40, max(10, (style.width ?? 80) - 48))
        var fields = FieldList()
        if job.progress >= 0 {
            let done = job.iterationText.isEmpty ? "" : "\(style.dot)iteration \(job.iterationText)"
            fields.add(
                "progress",
                "\(style.bar(job.progress, width: barWidth)) \(style.percent(job.progress))\(done)",
                .good
            )
        }
        if let lead = job.lead, job.progress > 0, job.consumedCpuSeconds > 0, !job.hasEnded {
            // The same scale as the bar above: where the plan wants the job to be by now.
            let planned = min(1, job.progress * job.desiredCpuSeconds / job.consumedCpuSeconds)
            fields.add(
                "plan",
                "\(style.bar(planned, width: barWidth)) \(style.percent(planned))",
                lead < 0 ? .warning : .faint
            )
        }
        fields.add("CPU time", style.cpuTimeText(job))
        if !job.hasEnded {
            let trace = traces[job.id] ?? Trace()
            let highest = max(trace.allocation.max() ?? 0, trace.usage.max() ?? 0)
            let room = max(8, min(Self.traceLimit, (style.width ?? 80) - 34))
            for (name, value, past) in [
                ("allocation", job.allocationVcpus, trace.allocation), ("usage", job.usageVcpus, trace.usage),
            ] {
                let line = style.sparkline(past.suffix(room), highest: highest)
                fields.add(name, "\(style.vcpus(value)) vCPUs\(line.isEmpty ? "" : "  \(line)")")
            }
            fields.add("memory", job.memoryBytes > 0 ? style.bytes(job.memoryBytes) : "")
        }
        if job.hasDeadline { fields.add("deadline", style.moment(job.deadlineUnixSeconds)) }
        if job.hasEnded {
            fields.add("ended", job.endedUnixSeconds > 0 ? style.moment(job.endedUnixSeconds) : "")
        } else if job.predictedEndUnixSeconds > 0 {
            fields.add("predicted end", style.moment(job.predictedEndUnixSeconds))
        }
        if let slack = job.slack { fields.add("slack", style.length(slack), slack < 0 ? .bad : .good) }
        if job.checkpointCount > 0 { fields.add("checkpoints", String(job.checkpointCount)) }
        if job.retries > 0 { fields.add("retries", String(job.retries)) }
        fields.add("state", job.message == "Runs." ? "" : job.message)
        return fields.lines(style)
    }

    /// As many of the newest decisions as there is room for, newest last.
    private func latestDecisions(_ style: Presentation, room: Int, showsJob: Bool) -> [String] {
        guard !decisions.isEmpty, room > 2 else { return [] }
        var lines: [String] = []
        for decision in decisions.reversed() {
            let more = style.decisionLines([decision], showsJob: showsJob)
            guard lines.count + more.count <= min(room - 2, 12) else { break }
            lines = more + lines
        }
        return lines.isEmpty ? [] : ["", style.paint("latest decisions", .strong)] + lines
    }

    /// What is new since the last call, for an output that is not a terminal: decisions, and jobs that changed.
    mutating func newLines(_ style: Presentation) -> [String] {
        let told = newDecisions.map {
            "\(style.clock($0.timeUnixSeconds)) \(printable($0.jobName)): \(oneLine($0.sentence))"
        }
        newDecisions = []
        var lines = told
        for job in jobs {
            if let last = traces[job.id]?.printed, last.state == job.state, last.condition == job.condition,
                abs(last.allocation - job.allocationVcpus) < 0.05, style.now - last.time < Self.quietSeconds
            {
                continue
            }
            traces[job.id, default: Trace()].printed = (job.state, job.condition, job.allocationVcpus, style.now)
            lines.append("\(style.clock(style.now)) \(plainLine(job, style))")
        }
        return lines
    }

    private func plainLine(_ job: WireJobSummary, _ style: Presentation) -> String {
        var parts = ["\(printable(job.name)) \(printable(job.state))"]
        if !job.condition.isEmpty { parts.append(printable(job.conditionText)) }
        if job.progress >= 0 { parts.append("progress \(style.percent(job.progress))") }
        if !job.hasEnded {
            parts.append("\(style.vcpus(job.allocationVcpus)) vCPUs, \(style.vcpus(job.usageVcpus)) used")
        }
        parts.append(style.cpuTimeText(job))
        if let slack = job.slack { parts.append("slack \(style.length(slack))") }
        return parts.joined(separator: "; ")
    }
}
