import ClusterModel
import ControlMessages

/// A job's story as a drawing: CPU time against the plan above, allocation and usage below, decisions between them.
///
/// The result is one SVG 1.1 document without references to anything else. It has its own background, so that it can be read on any
/// page, and turns dark where the reader prefers that.
struct Figure {
    /// The job, its samples and its decisions.
    var reply: WireJobExplainReply
    var style: Presentation

    // All lengths are in pixels of the drawing.
    private static let width = 960.0
    private static let left = 72.0
    private static let right = 936.0
    private static let labelRows = (upper: 98.0, lower: 113.0)
    private static let upperTop = 120.0
    private static let upperHeight = 260.0
    private static let laneHeight = 21.0
    private static let lowerHeight = 150.0
    private static let markRadius = 8.5
    /// The figure's fonts differ between readers; a wide one is assumed so that nothing overlaps.
    private static let characterWidth = 0.62

    /// The document.
    func svg() -> String {
        let scale = TimeScale(reply: reply, now: style.now, left: Self.left, right: Self.right)
        let steps = visibleSteps()
        let marks = MarkLayout(times: steps.map(\.time), scale: scale, spacing: Self.markRadius * 2 + 2)
        let laneTop = Self.upperTop + Self.upperHeight + 10
        let lowerTop = laneTop + Double(max(1, marks.laneCount)) * Self.laneHeight + 8
        let lowerBottom = lowerTop + Self.lowerHeight
        let legend = StoryLegend(steps: steps, top: lowerBottom + 72, style: style, origin: scale.origin)

        var canvas = SVGCanvas(
            width: Self.width,
            height: legend.bottom + 20,
            title: "CPU time of job \(reply.job.name)",
            summary: oneLine(style.plain.ending(reply.job))
        )
        drawHeading(&canvas)
        let bands = drawBands(
            &canvas,
            scale: scale,
            top: Self.upperTop,
            bottom: lowerBottom,
            laneTop: laneTop,
            lowerTop: lowerTop
        )
        drawKey(&canvas, hasBands: bands)
        drawTimeGrid(
            &canvas,
            scale: scale,
            panels: [(Self.upperTop, Self.upperTop + Self.upperHeight), (lowerTop, lowerBottom)]
        )
        drawUpper(&canvas, scale: scale)
        drawLower(&canvas, scale: scale, top: lowerTop)
        drawMoments(&canvas, scale: scale, bottom: lowerBottom)
        drawMarks(&canvas, steps: steps, marks: marks, laneTop: laneTop, lowerTop: lowerTop, lowerBottom: lowerBottom)
        let start = style.calendar.date(scale.origin)
        canvas.text(
            "time since submission at \(start.isoDay) \(start.time) \(start.zone)",
            x: (Self.left + Self.right) / 2,
            y: lowerBottom + 40,
            classes: "axis",
            anchor: "middle"
        )
        legend.draw(on: &canvas, left: 28, radius: Self.markRadius)
        return canvas.document
    }

    /// At most 40 steps: a legend longer than that is not read.
    private func visibleSteps() -> [StoryStep] {
        let steps = StoryStep.steps(reply.decisions, style: style.plain)
        guard steps.count > 40 else { return steps }
        let quiet: Set = [Decision.Kind.resized.rawValue, Decision.Kind.iterationCompleted.rawValue]
        let telling = steps.filter { !quiet.contains($0.kind) }
        return telling.count <= 40 ? telling : Array(telling.prefix(10) + telling.suffix(30))
    }

    private func drawHeading(_ canvas: inout SVGCanvas) {
        let job = reply.job
        canvas.text(job.name, x: 28, y: 34, classes: "title")
        let facts = [job.id, job.node, job.policy.isEmpty ? "" : "policy \(job.policy)"].filter { !$0.isEmpty }
        canvas.text(facts.joined(separator: " · "), x: Self.right, y: 34, classes: "subtitle", anchor: "end")
        canvas.text(oneLine(style.plain.ending(job)), x: 28, y: 55, classes: "subtitle", limit: Self.width - 56)
    }

    private func drawKey(_ canvas: inout SVGCanvas, hasBands: (checkpoint: Bool, pause: Bool)) {
        var x = Self.left
        func entry(_ text: String, _ width: Double, _ draw: (inout SVGCanvas, Double) -> Void) {
            draw(&canvas, x)
            canvas.text(text, x: x + 26, y: 78, classes: "key")
            x += 26 + Double(text.count) * 12 * Self.characterWidth + 18
        }
        func line(_ classes: String) -> (inout SVGCanvas, Double) -> Void {
            { canvas, x in canvas.path([(x, 74), (x + 20, 74)], classes: classes) }
        }
        func patch(_ classes: String) -> (inout SVGCanvas, Double) -> Void {
            { canvas, x in canvas.rectangle(x: x, y: 68, width: 20, height: 12, classes: classes) }
        }
        entry("consumed", 0, line("consumed"))
        if hasPlan { entry("desired", 0, line("desired")) }
        entry("allocation", 0, line("allocation"))
        entry("usage", 0) { canvas, x in
            canvas.rectangle(x: x, y: 68, width: 20, height: 12, classes: "usage-area")
            canvas.path([(x, 68), (x + 20, 68)], classes: "usage")
        }
        if hasBands.checkpoint { entry("frozen for a checkpoint", 0, patch("band-checkpoint")) }
        if hasBands.pause { entry("without a container", 0, patch("band-pause")) }
    }

    private var hasPlan: Bool { reply.samples.contains { $0.desiredCpuSeconds > 0 } }

    private func drawBands(
        _ canvas: inout SVGCanvas,
        scale: TimeScale,
        top: Double,
        bottom: Double,
        laneTop: Double,
        lowerTop: Double
    ) -> (checkpoint: Bool, pause: Bool) {
        func band(_ from: Double, _ to: Double, _ classes: String) {
            let (start, end) = (scale.x(from), scale.x(to))
            // A frozen moment of a few milliseconds shall still be seen.
            let width = max(3, end - start)
            let x = max(Self.left, min(start, Self.right - width))
            canvas.rectangle(x: x, y: top, width: width, height: Self.upperHeight, classes: classes)
            canvas.rectangle(x: x, y: lowerTop, width: width, height: Self.lowerHeight, classes: classes)
        }
        let pauses = pauses()
        for pause in pauses { band(pause.from, pause.to, "band-pause") }
        let freezes = freezes()
        for freeze in freezes { band(freeze.from, freeze.to, "band-checkpoint") }
        return (!freezes.isEmpty, !pauses.isEmpty)
    }

    /// Spans in which the job was frozen.
    ///
    /// A checkpoint is told when it is stored; it began `totalSeconds` before.
    private func freezes() -> [(from: Double, to: Double)] {
        reply.decisions.compactMap { decision in
            guard decision.kind == Decision.Kind.checkpointed.rawValue, let frozen = decision.numbers["frozenSeconds"]
            else { return nil }
            let from = decision.timeUnixSeconds - max(frozen, decision.numbers["totalSeconds"] ?? frozen)
            return (from, from + frozen)
        }
    }

    /// Spans in which the job had started and had no container: from its loss or suspension until it ran again.
    private func pauses() -> [(from: Double, to: Double)] {
        var result: [(from: Double, to: Double)] = []
        var from: Double?
        for decision in reply.decisions {
            switch Decision.Kind(rawValue: decision.kind) {
            case .suspended, .restarted, .retried: from = from ?? decision.timeUnixSeconds
            case .restored, .started, .completed, .failed, .cancelled:
                if let start = from { result.append((start, decision.timeUnixSeconds)) }
                from = nil
            default: break
            }
        }
        if let from, !reply.job.hasEnded { result.append((from, style.now)) }
        return result
    }

    private func drawTimeGrid(_ canvas: inout SVGCanvas, scale: TimeScale, panels: [(top: Double, bottom: Double)]) {
        for tick in scale.ticks {
            let x = scale.x(scale.origin + tick.seconds)
            for panel in panels { canvas.path([(x, panel.top), (x, panel.bottom)], classes: "grid") }
            if let bottom = panels.last?.bottom {
                canvas.text(tick.label, x: x, y: bottom + 18, classes: "tick", anchor: "middle")
            }
        }
    }

    private func drawUpper(_ canvas: inout SVGCanvas, scale: TimeScale) {
        let highest = reply.samples.reduce(reply.job.consumedCpuSeconds) {
            max($0, $1.consumedCpuSeconds, $1.desiredCpuSeconds)
        }
        let axis = ValueAxis(highest: highest, top: Self.upperTop, height: Self.upperHeight)
        drawAxis(&canvas, axis, label: "CPU time (s)")
        let samples = thinned(reply.samples)
        if hasPlan {
            let points = samples.map { (scale.x($0.timeUnixSeconds), axis.y($0.desiredCpuSeconds)) }
            canvas.path(points, classes: "desired")
        }
        var consumed = samples.map { (scale.x($0.timeUnixSeconds), axis.y($0.consumedCpuSeconds)) }
        let job = reply.job
        if job.hasEnded, let last = samples.last, last.timeUnixSeconds < job.endedUnixSeconds {
            // The last reading is a little older than the end, at which the ledger was settled.
            consumed.append((scale.x(job.endedUnixSeconds), axis.y(job.consumedCpuSeconds)))
        }
        canvas.path(consumed, classes: "consumed")
    }

    private func drawLower(_ canvas: inout SVGCanvas, scale: TimeScale, top: Double) {
        let highest = reply.samples.reduce(0.1) { max($0, $1.allocationVcpus, $1.usageVcpus) }
        let axis = ValueAxis(highest: highest, top: top, height: Self.lowerHeight)
        drawAxis(&canvas, axis, label: "vCPUs")
        let samples = thinned(reply.samples)
        let usage = samples.map { (scale.x($0.timeUnixSeconds), axis.y($0.usageVcpus)) }
        if let first = usage.first, let last = usage.last {
            canvas.path(
                [(first.0, axis.bottom)] + usage + [(last.0, axis.bottom)],
                classes: "usage-area",
                isClosed: true
            )
        }
        canvas.path(usage, classes: "usage")
        // An allocation holds until the next one: a staircase, not a slope.
        var stairs: [(Double, Double)] = []
        for sample in samples {
            let (x, y) = (scale.x(sample.timeUnixSeconds), axis.y(sample.allocationVcpus))
            if let last = stairs.last, abs(last.1 - y) > 0.01 { stairs.append((x, last.1)) }
            stairs.append((x, y))
        }
        canvas.path(stairs, classes: "allocation")
    }

    private func drawAxis(_ canvas: inout SVGCanvas, _ axis: ValueAxis, label: String) {
        for tick in axis.ticks {
            let y = axis.y(tick.value)
            canvas.path([(Self.left, y), (Self.right, y)], classes: tick.value == 0 ? "frame" : "grid")
            canvas.text(tick.label, x: Self.left - 8, y: y + 4, classes: "tick", anchor: "end")
        }
        canvas.verticalText(label, x: 22, y: axis.top + axis.height / 2, classes: "axis")
    }

    /// The deadline, and the job's end or where it is predicted: vertical lines with their names above.
    private func drawMoments(_ canvas: inout SVGCanvas, scale: TimeScale, bottom: Double) {
        let job = reply.job
        var moments: [(time: Double, name: String, classes: String)] = []
        if job.hasDeadline { moments.append((job.deadlineUnixSeconds, "deadline", "deadline")) }
        if job.endedUnixSeconds > 0 {
            moments.append((job.endedUnixSeconds, job.state, "end"))
        } else if job.predictedEndUnixSeconds > 0 {
            moments.append((job.predictedEndUnixSeconds, "predicted end", "end"))
        }
        for (index, moment) in moments.enumerated() {
            let x = scale.x(moment.time)
            // Each has a row of its own; the lower one leans away from the line that comes down from the upper one.
            let row = index == 0 ? Self.labelRows.upper : Self.labelRows.lower
            canvas.path([(x, row + 4), (x, bottom)], classes: moment.classes)
            let label = "\(moment.name) \(style.elapsed(moment.time - scale.origin))"
            let length = Double(label.count) * 12 * Self.characterWidth
            let prefersLeft = index == 0 ? x + length / 2 > Self.width - 8 : x <= scale.x(moments[0].time)
            let anchor =
                if index == 0, !prefersLeft { "middle" } else if prefersLeft, x - length > 8 {
                    "end"
                } else if x + length
                    < Self.width - 8
                { "start" } else { "end" }
            let offset = anchor == "start" ? 5.0 : anchor == "end" ? -5.0 : 0
            canvas.text(label, x: x + offset, y: row, classes: "\(moment.classes)-label", anchor: anchor)
        }
    }

    private func drawMarks(
        _ canvas: inout SVGCanvas,
        steps: [StoryStep],
        marks: MarkLayout,
        laneTop: Double,
        lowerTop: Double,
        lowerBottom: Double
    ) {
        for (index, step) in steps.enumerated() {
            let (x, lane) = (marks.places[index].x, marks.places[index].lane)
            let y = laneTop + (Double(lane) + 0.5) * Self.laneHeight
            let moment = marks.places[index].time
            canvas.path([(moment, Self.upperTop), (moment, Self.upperTop + Self.upperHeight)], classes: "mark-line")
            canvas.path([(moment, lowerTop), (moment, lowerBottom)], classes: "mark-line")
            canvas.path([(moment, Self.upperTop + Self.upperHeight), (x, y)], classes: "mark-line")
            canvas.mark(index + 1, x: x, y: y, radius: Self.markRadius, kind: FigureTone(step.kind).rawValue)
        }
    }

    /// At most about one sample for each pixel.
    private func thinned(_ samples: [WireSample]) -> [WireSample] {
        let stride = max(1, samples.count / Int(Self.right - Self.left))
        guard stride > 1, let last = samples.last else { return samples }
        return samples.enumerated().filter { $0.offset % stride == 0 }.map(\.element) + [last]
    }
}

/// The colours of marks; their names are CSS classes.
private enum FigureTone: String {
    case plain, good, notice, warning, bad

    init(_ kind: String) {
        self =
            switch StoryStep.tone(kind) {
            case .good: .good
            case .notice: .notice
            case .warning: .warning
            case .bad: .bad
            case .plain, .strong, .faint: .plain
            }
    }
}

extension Presentation {
    /// The same reader, without colours, widths and distances from now: for texts that are looked at later.
    var plain: Presentation {
        var copy = self
        copy.usesColor = false
        copy.usesUnicode = true
        copy.width = nil
        copy.tellsDistances = false
        return copy
    }
}
