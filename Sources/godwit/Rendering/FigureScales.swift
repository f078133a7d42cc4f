import ClusterModel
import ControlMessages

/// The figure's horizontal axis: time since the submission.
struct TimeScale {
    /// Seconds since 1970 at which the axis begins.
    let origin: Double
    /// Length of the axis in seconds.
    let span: Double
    let left: Double
    let right: Double

    /// Spans everything that the figure shows: samples, decisions, deadline and end.
    init(reply: WireJobExplainReply, now: Double, left: Double, right: Double) {
        let job = reply.job
        var end = max(reply.samples.last?.timeUnixSeconds ?? 0, reply.decisions.last?.timeUnixSeconds ?? 0)
        end = max(end, job.deadlineUnixSeconds, job.endedUnixSeconds)
        if !job.hasEnded { end = max(end, job.predictedEndUnixSeconds) }
        if end <= 0 { end = now }
        let start =
            job.submittedUnixSeconds > 0 ? job.submittedUnixSeconds : reply.samples.first?.timeUnixSeconds ?? end
        origin = start
        span = max(1, (end - start) * 1.03)
        (self.left, self.right) = (left, right)
    }

    /// Where a moment is; moments outside the axis are at its ends.
    func x(_ time: Double) -> Double {
        left + min(max((time - origin) / span, 0), 1) * (right - left)
    }

    /// Round moments, about eight.
    var ticks: [(seconds: Double, label: String)] {
        let steps: [Double] = [
            0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400,
        ]
        let step = steps.first { span / $0 <= 9 } ?? (span / 8 / 86400).rounded(.up) * 86400
        return stride(from: 0, through: span, by: step).map { ($0, Self.label($0, step: step)) }
    }

    private static func label(_ seconds: Double, step: Double) -> String {
        if seconds == 0 { return "0" }
        switch step {
        case ..<1: return "\(seconds.text(decimals: 1)) s"
        case ..<60 where seconds < 60: return "\(seconds.text(decimals: 0)) s"
        case ..<3600 where seconds < 3600 || step < 60:
            let (minutes, rest) = (Int(seconds) / 60, Int(seconds) % 60)
            return rest == 0 ? "\(minutes) min" : "\(minutes):\(rest < 10 ? "0" : "")\(rest) min"
        case ..<86400:
            let (hours, rest) = (Int(seconds) / 3600, Int(seconds) % 3600 / 60)
            return rest == 0 ? "\(hours) h" : "\(hours):\(rest < 10 ? "0" : "")\(rest) h"
        default: return "\(Int(seconds) / 86400) d"
        }
    }
}

/// A vertical axis from zero to a round number.
struct ValueAxis {
    let highest: Double
    let step: Double
    let top: Double
    let height: Double

    var bottom: Double { top + height }

    init(highest: Double, top: Double, height: Double) {
        let wanted = max(highest * 1.05, 0.01)
        // 1, 2, 5 and their multiples by ten: the steps that people read without thinking.
        var magnitude = 0.001
        while magnitude * 10 <= wanted / 4 { magnitude *= 10 }
        let choices = [1, 2, 5, 10].map { $0 * magnitude }
        step = choices.first { wanted / $0 <= 5 } ?? magnitude * 20
        self.highest = (wanted / step).rounded(.up) * step
        (self.top, self.height) = (top, height)
    }

    /// Where a value is; values outside the axis are at its ends.
    func y(_ value: Double) -> Double {
        let part = value.isFinite ? min(max(value / highest, 0), 1) : 0
        return bottom - part * height
    }

    /// Zero to the highest, inclusive.
    var ticks: [(value: Double, label: String)] {
        let decimals = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3
        return (0...Int((highest / step).rounded())).map { index in
            let value = Double(index) * step
            return (value, value.text(decimals: decimals))
        }
    }
}

/// Places for numbered marks at given moments, in lanes so that no two touch.
struct MarkLayout {
    /// Where one mark is: its centre, its lane, and the true place of its moment on the axis.
    struct Place: Equatable {
        var x: Double
        var lane: Int
        var time: Double
    }

    private(set) var places: [Place] = []
    private(set) var laneCount = 0

    private static let laneLimit = 5

    /// Each mark takes the first lane in which it does not touch the one before; with all lanes taken it moves right in the lane that
    /// has room first.
    init(times: [Double], scale: TimeScale, spacing: Double) {
        var ends: [Double] = []
        for time in times {
            let x = scale.x(time)
            if let lane = ends.firstIndex(where: { $0 + spacing <= x }) {
                ends[lane] = x
                places.append(Place(x: x, lane: lane, time: x))
            } else if ends.count < Self.laneLimit {
                ends.append(x)
                places.append(Place(x: x, lane: ends.count - 1, time: x))
            } else {
                let lane = ends.indices.min { ends[$0] < ends[$1] } ?? 0
                ends[lane] += spacing
                places.append(Place(x: ends[lane], lane: lane, time: x))
            }
        }
        laneCount = ends.count
        // Marks pushed beyond the axis come back, tightly packed, each still right of the one before in its lane.
        for lane in 0..<laneCount {
            var limit = scale.right + spacing / 2
            for index in places.indices.reversed() where places[index].lane == lane {
                if places[index].x > limit { places[index].x = limit }
                limit = places[index].x - spacing
            }
        }
    }
}

/// The numbered sentences below the figure.
struct StoryLegend {
    private let rows: [(number: Int, time: String, lines: [String], tone: Presentation.Tone)]
    private let top: Double
    private let timeWidth: Double
    private static let lineHeight = 17.0

    init(steps: [StoryStep], top: Double, style: Presentation, origin: Double) {
        self.top = top
        let times = steps.map { style.elapsed($0.time - origin) }
        timeWidth = times.reduce(0) { max($0, Double($1.count)) } * 12 * 0.62 + 14
        let room = Int((960 - 52 - timeWidth - 28) / (12 * 0.58))
        rows = zip(steps, times).enumerated().map { index, step in
            (index + 1, step.1, wrapped(oneLine(step.0.sentence), to: room), StoryStep.tone(step.0.kind))
        }
    }

    /// The lower end of the last row.
    var bottom: Double { rows.reduce(top) { $0 + Double($1.lines.count) * Self.lineHeight + 7 } }

    func draw(on canvas: inout SVGCanvas, left: Double, radius: Double) {
        var y = top
        for row in rows {
            let kind =
                switch row.tone {
                case .good: "good"
                case .notice: "notice"
                case .warning: "warning"
                case .bad: "bad"
                case .plain, .strong, .faint: "plain"
                }
            canvas.mark(row.number, x: left + radius, y: y - 4, radius: radius, kind: kind)
            canvas.text(row.time, x: left + 24 + timeWidth - 12, y: y, classes: "time", anchor: "end")
            for line in row.lines {
                canvas.text(line, x: left + 24 + timeWidth, y: y, classes: "sentence")
                y += Self.lineHeight
            }
            y += 7
        }
    }
}
