import Metrics
import Synchronization

/// Keeps every metric in memory and renders them as Prometheus text (exposition format 0.0.4).
///
/// The registry is the swift-metrics backend of the agent, so libraries that emit through swift-metrics appear beside the
/// agent's own. A metric keeps at most `seriesLimit` label sets; further ones are counted in `godwit_metrics_dropped_total`.
final class MetricsRegistry: MetricsFactory, Sendable {
    /// The most label sets over all metrics.
    let seriesLimit: Int
    private let state = Mutex(State())

    private struct State {
        var series: [SeriesKey: Series] = [:]
        var help: [String: String] = [:]
        var droppedCount: Int64 = 0
    }

    /// Makes an empty registry.
    init(seriesLimit: Int = 4096) { self.seriesLimit = seriesLimit }

    /// Declares what a metric means: the `# HELP` line.
    func describe(_ name: String, _ sentence: String) {
        state.withLock { $0.help[sanitized(name)] = sentence }
    }

    /// Declares a counter without labels, with its `# HELP` line.
    func counter(_ name: String, _ sentence: String) -> Counter {
        describe(name, sentence)
        return Counter(label: name, dimensions: [], factory: self)
    }

    /// Declares a timer without labels, with its `# HELP` line.
    func timer(_ name: String, _ sentence: String) -> Timer {
        describe(name, sentence)
        return Timer(label: name, dimensions: [], factory: self)
    }

    /// Declares a gauge without labels, with its `# HELP` line.
    func meter(_ name: String, _ sentence: String) -> Meter {
        describe(name, sentence)
        return Meter(label: name, dimensions: [], factory: self)
    }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions, .counter)
    }

    func makeFloatingPointCounter(
        label: String,
        dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions, .counter)
    }

    func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(label, dimensions, .gauge)
    }

    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        series(label, dimensions, aggregate ? .histogram : .gauge)
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, dimensions, .histogram)
    }

    func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
    func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { remove(handler) }
    func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
    func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
    func destroyTimer(_ handler: any TimerHandler) { remove(handler) }

    /// The text that a Prometheus server scrapes, sorted by name and labels.
    func render() -> String {
        let (series, help, dropped) = state.withLock { ($0.series, $0.help, $0.droppedCount) }
        var text = ""
        var lastName = ""
        for (key, one) in series.sorted(by: { $0.key < $1.key }) {
            if key.name != lastName {
                lastName = key.name
                if let sentence = help[key.name] { text += "# HELP \(key.name) \(escapedHelp(sentence))\n" }
                text += "# TYPE \(key.name) \(one.kind.rawValue)\n"
            }
            text += one.render(name: key.name, labels: key.labels)
        }
        text += "# TYPE godwit_metrics_dropped_total counter\ngodwit_metrics_dropped_total \(dropped)\n"
        return text
    }

    private func series(_ label: String, _ dimensions: [(String, String)], _ kind: Series.Kind) -> Series {
        let key = SeriesKey(
            name: sanitized(label),
            labels: dimensions.map { "\(sanitized($0.0))=\(escaped($0.1))" }.sorted()
        )
        return state.withLock { state in
            if let existing = state.series[key] { return existing }
            let made = Series(kind: kind, key: key)
            if state.series.count < seriesLimit { state.series[key] = made } else { state.droppedCount += 1 }
            return made
        }
    }

    private func remove(_ handler: AnyObject) {
        guard let series = handler as? Series else { return }
        state.withLock { state in
            if state.series[series.key] === series { state.series[series.key] = nil }
        }
    }
}

/// Name and labels, in the order in which they are printed.
private struct SeriesKey: Hashable, Comparable, Sendable {
    let name: String
    let labels: [String]

    static func < (left: Self, right: Self) -> Bool {
        left.name != right.name ? left.name < right.name : left.labels.lexicographicallyPrecedes(right.labels)
    }
}

/// One metric with one set of labels.
private final class Series: CounterHandler, FloatingPointCounterHandler, MeterHandler, RecorderHandler, TimerHandler {
    enum Kind: String { case counter, gauge, histogram }

    /// Upper bounds in seconds, from a cgroup write (0.1 ms) to a large restore (30 s).
    static let bounds: [Double] = [0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

    let kind: Kind
    let key: SeriesKey
    private let values = Mutex(Values())

    private struct Values {
        var value = 0.0
        var count = 0
        var buckets = [Int](repeating: 0, count: Series.bounds.count)
    }

    init(kind: Kind, key: SeriesKey) { (self.kind, self.key) = (kind, key) }

    func increment(by amount: Int64) { add(Double(amount)) }
    func increment(by amount: Double) { add(amount) }
    func decrement(by amount: Double) { add(-amount) }
    func reset() { values.withLock { $0 = Values() } }
    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { values.withLock { $0.value = value } }
    func record(_ value: Int64) { record(Double(value)) }
    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

    func record(_ value: Double) {
        guard kind == .histogram else { return set(value) }
        values.withLock { values in
            values.value += value
            values.count += 1
            if let index = Self.bounds.firstIndex(where: { value <= $0 }) { values.buckets[index] += 1 }
        }
    }

    private func add(_ amount: Double) { values.withLock { $0.value += amount } }

    func render(name: String, labels: [String]) -> String {
        let values = values.withLock { $0 }
        func line(_ suffix: String, _ extra: [String], _ value: String) -> String {
            let all = labels + extra
            return "\(name)\(suffix)\(all.isEmpty ? "" : "{\(all.joined(separator: ","))}") \(value)\n"
        }
        guard kind == .histogram else { return line("", [], "\(values.value)") }
        var text = ""
        var cumulative = 0
        for (bound, count) in zip(Self.bounds, values.buckets) {
            cumulative += count
            text += line("_bucket", ["le=\"\(bound)\""], "\(cumulative)")
        }
        return text + line("_bucket", ["le=\"+Inf\""], "\(values.count)") + line("_sum", [], "\(values.value)")
            + line("_count", [], "\(values.count)")
    }
}

/// A name as Prometheus allows it: letters, digits, `_` and `:`, no digit first.
private func sanitized(_ name: String) -> String {
    let text = String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == ":") ? $0 : "_" })
    return text.first?.isNumber == true ? "_" + text : text
}

private func escapedHelp(_ sentence: String) -> String {
    sentence.map { $0 == "\\" ? "\\\\" : $0.isNewline ? "\\n" : String($0) }.joined()
}

private func escaped(_ value: String) -> String {
    var text = "\""
    for character in value {
        switch character {
        case "\\": text += "\\\\"
        case "\"": text += "\\\""
        case "\n": text += "\\n"
        default: text.append(character)
        }
    }
    return text + "\""
}
