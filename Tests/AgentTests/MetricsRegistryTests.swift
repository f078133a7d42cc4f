import ClusterModel
import CoreMetrics
import Metrics
import Testing

@testable import Agent

/// Metrics as a Prometheus server reads them (text exposition format 0.0.4).
struct MetricsRegistryTests {
    @Test func countersGaugesAndHistogramsAreWrittenByName() {
        let registry = MetricsRegistry()
        registry.describe("b_total", "What was counted.")
        Counter(label: "b_total", dimensions: [], factory: registry).increment(by: 3)
        Meter(label: "a_vcpus", dimensions: [("job", "x")], factory: registry).set(1.5)
        Meter(label: "a_vcpus", dimensions: [("job", "a")], factory: registry).set(0.25)
        #expect(
            registry.render() == """
                # TYPE a_vcpus gauge
                a_vcpus{job="a"} 0.25
                a_vcpus{job="x"} 1.5
                # HELP b_total What was counted.
                # TYPE b_total counter
                b_total 3.0
                # TYPE godwit_metrics_dropped_total counter
                godwit_metrics_dropped_total 0

                """
        )
    }

    @Test func bucketsOfAHistogramAreCumulative() {
        let registry = MetricsRegistry()
        let timer = Timer(label: "godwit_start_seconds", dimensions: [], factory: registry)
        timer.recordNanoseconds(300_000)
        timer.recordNanoseconds(40_000_000)
        timer.recordNanoseconds(90_000_000_000)
        let text = registry.render()
        for line in [
            "godwit_start_seconds_bucket{le=\"0.0001\"} 0", "godwit_start_seconds_bucket{le=\"0.0005\"} 1",
            "godwit_start_seconds_bucket{le=\"0.01\"} 1", "godwit_start_seconds_bucket{le=\"0.05\"} 2",
            "godwit_start_seconds_bucket{le=\"30.0\"} 2", "godwit_start_seconds_bucket{le=\"+Inf\"} 3",
            "godwit_start_seconds_count 3",
        ] {
            #expect(text.contains(line + "\n"), "\(line) is missing in\n\(text)")
        }
        #expect(text.contains("# TYPE godwit_start_seconds histogram\n"))
        let sum = text.split(separator: "\n").first { $0.hasPrefix("godwit_start_seconds_sum ") }
            .flatMap { Double($0.split(separator: " ")[1]) }
        #expect(abs((sum ?? 0) - 90.0403) < 1e-6)
    }

    @Test func whatUsersNamedIsEscaped() {
        let registry = MetricsRegistry()
        registry.describe("weird-name", "A \\ and\na new line.")
        Meter(label: "weird-name", dimensions: [("job.name", "a\"b\\c\nd")], factory: registry).set(1)
        Meter(label: "1st", dimensions: [], factory: registry).set(2)
        let lines = registry.render().split(separator: "\n")
        #expect(lines.contains("# HELP weird_name A \\\\ and\\na new line."))
        #expect(lines.contains("weird_name{job_name=\"a\\\"b\\\\c\\nd\"} 1.0"))
        #expect(lines.contains("_1st 2.0"))
    }

    @Test func labelSetsAreBoundedAndWhatIsLeftOutIsCounted() {
        let registry = MetricsRegistry(seriesLimit: 3)
        for number in 0..<10 {
            Counter(label: "c_total", dimensions: [("n", "\(number)")], factory: registry).increment()
        }
        let text = registry.render()
        #expect(text.split(separator: "\n").count { $0.hasPrefix("c_total{") } == 3)
        #expect(text.contains("godwit_metrics_dropped_total 7\n"))
        // One that is known is found again, whatever is full.
        Counter(label: "c_total", dimensions: [("n", "0")], factory: registry).increment()
        #expect(registry.render().contains("c_total{n=\"0\"} 2.0\n"))
    }

    @Test func whatIsDestroyedIsGoneAndLeavesRoom() {
        let registry = MetricsRegistry(seriesLimit: 1)
        let meter = Meter(label: "g", dimensions: [("job", "a")], factory: registry)
        meter.set(1)
        meter.destroy()
        #expect(!registry.render().contains("job"))
        Meter(label: "g", dimensions: [("job", "b")], factory: registry).set(2)
        #expect(registry.render().contains("g{job=\"b\"} 2.0\n"))
    }

    @Test func everyMetricOfTheAgentIsDeclaredWithASentence() {
        let registry = MetricsRegistry()
        let metrics = AgentMetrics(registry: registry)
        metrics.setJob(name: "j", allocation: 1, usage: 0.5, consumed: .seconds(3), memory: .mebibytes(1))
        let lines = registry.render().split(separator: "\n")
        let types = lines.filter { $0.hasPrefix("# TYPE godwit_") && !$0.contains("godwit_metrics_dropped") }
        #expect(types.count >= 20)
        for type in types {
            let name = type.split(separator: " ")[2]
            let help = lines.first { $0.hasPrefix("# HELP \(name) ") }
            #expect(help?.hasSuffix(".") == true, "\(name) has no sentence")
            #expect(
                name.hasSuffix("_total") == type.hasSuffix(" counter"),
                "\(type): names of counters, and of nothing else, end with _total"
            )
        }
        metrics.removeJob(name: "j")
        #expect(!registry.render().contains("job="))
    }

    @Test func everyLineIsOneThatPrometheusReads() throws {
        let registry = MetricsRegistry()
        let metrics = AgentMetrics(registry: registry)
        metrics.setJob(name: "solver", allocation: 1, usage: 0.5, consumed: .seconds(3), memory: .mebibytes(1))
        metrics.commit.recordNanoseconds(1_000_000)
        let text = registry.render()
        #expect(text.hasSuffix("\n"))
        let name = "[a-zA-Z_:][a-zA-Z0-9_:]*"
        let label = #"[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*""#
        let sample = try Regex("\(name)(?:\\{\(label)(?:,\(label))*\\})? [-+0-9.eE]+(?:Inf)?")
        let comment = try Regex("# (?:HELP \(name) .+|TYPE \(name) (?:counter|gauge|histogram))")
        for line in text.split(separator: "\n") {
            #expect(try sample.wholeMatch(in: line) != nil || comment.wholeMatch(in: line) != nil, "\(line)")
        }
    }
}
