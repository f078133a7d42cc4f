import ClusterModel
import ControlMessages

/// One step of a job's story: a decision, or several of one kind told as one.
struct StoryStep: Equatable {
    /// In the order in which they were taken; never empty.
    var decisions: [WireDecision]
    var sentence: String

    /// Seconds since 1970 of the first decision.
    var time: Double { decisions.first?.timeUnixSeconds ?? 0 }
    var endTime: Double { decisions.last?.timeUnixSeconds ?? 0 }
    var kind: String { decisions.first?.kind ?? "" }

    /// Tells runs of more than three decisions of a repetitive kind as one step, so that a story stays readable.
    static func steps(_ decisions: [WireDecision], style: Presentation) -> [StoryStep] {
        let repetitive: Set = [Decision.Kind.resized.rawValue, Decision.Kind.iterationCompleted.rawValue]
        var steps: [StoryStep] = []
        var run: [WireDecision] = []
        func endRun() {
            if run.count > 3 {
                steps.append(StoryStep(decisions: run, sentence: summary(run, style)))
            } else {
                steps += run.map { StoryStep(decisions: [$0], sentence: $0.sentence) }
            }
            run = []
        }
        for decision in decisions {
            if !run.isEmpty, run[0].kind != decision.kind || !repetitive.contains(decision.kind) { endRun() }
            run.append(decision)
        }
        endRun()
        return steps
    }

    private static func summary(_ run: [WireDecision], _ style: Presentation) -> String {
        let span = style.length((run.last?.timeUnixSeconds ?? 0) - (run.first?.timeUnixSeconds ?? 0))
        let last = oneLine(run.last?.sentence ?? "")
        if run[0].kind == Decision.Kind.iterationCompleted.rawValue {
            let lengths = run.compactMap { $0.numbers["iterationSeconds"] }
            let range = lengths.min().flatMap { low in lengths.max().map { (low, $0) } }
            let took = range.map { ", each in \(style.length($0)) to \(style.length($1))" } ?? ""
            return "\(run.count) iterations were completed within \(span)\(took). The last: \(last)"
        }
        let sizes = run.compactMap { $0.numbers["allocationVCPUs"] }
        let range = sizes.min().flatMap { low in sizes.max().map { (low, $0) } }
        let between = range.map { " between \(style.vcpus($0)) and \(style.vcpus($1)) vCPUs" } ?? ""
        return "Resized \(run.count) times within \(span)\(between). The last: \(last)"
    }
}

extension Presentation {
    /// A job's story in plain sentences: what was asked, what happened, how it stands.
    func story(_ reply: WireJobExplainReply) -> [String] {
        let job = reply.job
        // A story is read, so its lines are not endless even where nothing limits them.
        let width = width ?? 100
        var lines = [jobTitle(job), ""]
        lines += wrapped(opening(job), to: width)
        let steps = StoryStep.steps(reply.decisions, style: self)
        if !steps.isEmpty {
            lines.append("")
            let origin = job.submittedUnixSeconds
            let relative = steps.map { elapsed($0.time - origin) }
            let clocks = steps.map { clock($0.time) }
            let relativeWidth = relative.reduce(0) { max($0, $1.count) }
            let clockWidth = clocks.reduce(0) { max($0, $1.count) }
            let margin = clockWidth + relativeWidth + 6
            for (index, step) in steps.enumerated() {
                let padding = String(repeating: " ", count: relativeWidth - relative[index].count)
                let time = clocks[index] + String(repeating: " ", count: clockWidth - clocks[index].count)
                let room = max(24, width - margin)
                for (row, part) in wrapped(oneLine(step.sentence), to: room).enumerated() {
                    let start =
                        row == 0
                        ? "  \(paint(time, .faint))  \(padding)\(paint(relative[index], .faint))  "
                        : String(repeating: " ", count: margin)
                    lines.append(start + paint(part, StoryStep.tone(step.kind)))
                }
            }
        }
        lines.append("")
        lines += wrapped(balance(reply), to: width)
        if !reply.checkpointRule.isEmpty { lines += wrapped(oneLine(reply.checkpointRule), to: width) }
        lines += wrapped(ending(job), to: width)
        return lines
    }

    /// How long after the submission: `+41.2 s`, `+3 min 20 s`.
    func elapsed(_ seconds: Double) -> String {
        let size = abs(seconds)
        // In the first minutes decisions follow each other within a second.
        let text = size < 99.95 ? "\(size.text(decimals: 1)) s" : length(size)
        return size < 0.05 ? "+0 s" : "\(seconds < 0 ? "-" : "+")\(text)"
    }

    private func opening(_ job: WireJobSummary) -> String {
        let who = job.user.isEmpty ? "" : " by \(printable(job.user))"
        let what = job.kind.isEmpty ? "Job" : "\(job.kind == "iterative" ? "Iterative" : "Batch") job"
        var text = "\(what) \(printable(job.name)) (\(printable(job.id))) was submitted\(who) at "
        text += "\(moment(job.submittedUnixSeconds))"
        if job.hasDeadline {
            let allowed = length(job.deadlineUnixSeconds - job.submittedUnixSeconds)
            text += " and has \(allowed), until \(clock(job.deadlineUnixSeconds))."
        } else {
            text += " without a deadline: it gets what jobs with deadlines leave."
        }
        return text
    }

    /// What the samples add up to.
    private func balance(_ reply: WireJobExplainReply) -> String {
        let job = reply.job
        var sentences = ["It has consumed \(length(job.consumedCpuSeconds)) of CPU time"]
        if let lead = job.lead, !job.hasEnded {
            sentences[0] +=
                abs(lead) < 0.05
                ? ", as planned" : ", \(length(abs(lead))) \(lead > 0 ? "ahead of" : "behind") its plan"
        }
        let running = reply.samples.filter { $0.allocationVcpus > 0 }
        if let low = running.map(\.allocationVcpus).min(), let high = running.map(\.allocationVcpus).max() {
            let usage = averageUsage(reply.samples)
            sentences[0] +=
                abs(high - low) < 0.01
                ? "; its allocation was \(vcpus(high)) vCPUs all the time"
                : "; its allocation was between \(vcpus(low)) and \(vcpus(high)) vCPUs"
            if let usage { sentences[0] += ", its usage \(vcpus(usage)) on average" }
        }
        if job.totalIterations > 0 {
            sentences.append("\(job.completedIterations) of \(job.totalIterations) iterations are complete")
        }
        if job.checkpointCount > 0 {
            sentences.append(
                "\(count(job.checkpointCount, "good checkpoint")) \(job.checkpointCount == 1 ? "is" : "are") kept"
            )
        }
        return sentences.joined(separator: ". ") + "."
    }

    /// The mean of the usage over time; samples are thinned out, so they do not weigh the same.
    private func averageUsage(_ samples: [WireSample]) -> Double? {
        guard let first = samples.first, let last = samples.last, last.timeUnixSeconds > first.timeUnixSeconds else {
            return nil
        }
        var area = 0.0
        for (before, after) in zip(samples, samples.dropFirst()) {
            area += after.usageVcpus * (after.timeUnixSeconds - before.timeUnixSeconds)
        }
        return area / (last.timeUnixSeconds - first.timeUnixSeconds)
    }

    /// How it stands now, or how it ended.
    func ending(_ job: WireJobSummary) -> String {
        if job.hasEnded {
            let end = job.endedUnixSeconds
            var text = "It \(job.state == "cancelled" ? "was cancelled" : job.state) at \(moment(end))"
            if job.hasDeadline, job.state == "completed" {
                let spare = job.deadlineUnixSeconds - end
                text += spare >= 0 ? ", \(length(spare)) before its deadline" : ", \(length(-spare)) after its deadline"
            }
            let reason = oneLine(job.message)
            return text + "." + (job.state == "completed" || reason.isEmpty ? "" : " \(reason)")
        }
        var text = "It is \(printable(job.state))"
        if job.state == "running" { text += " with \(vcpus(job.allocationVcpus)) vCPUs" }
        if let slack = job.slack {
            let distance = slack >= 0 ? "\(length(slack)) before" : "\(length(-slack)) after"
            text += "; it is predicted to end at \(moment(job.predictedEndUnixSeconds)), \(distance) its deadline"
        } else if job.predictedEndUnixSeconds > 0 {
            text += "; it is predicted to end at \(moment(job.predictedEndUnixSeconds))"
        }
        let reason = job.state == "running" ? "" : oneLine(job.message)
        return text + "." + (reason.isEmpty ? "" : " \(reason)")
    }
}

extension StoryStep {
    /// What a kind of decision means to a reader.
    static func tone(_ kind: String) -> Presentation.Tone {
        switch Decision.Kind(rawValue: kind) {
        case .failed, .refused, .deadlineMissed, .deadlineAtRisk: .bad
        case .warned, .retried, .restarted: .warning
        case .completed, .deadlineMet, .deadlineSafe: .good
        case .checkpointed, .restored, .suspended, .adopted, .migrated, .preempted: .notice
        default: .plain
        }
    }
}
