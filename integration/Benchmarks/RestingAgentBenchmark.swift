import ClusterModel
import LinuxSystem

/// What an agent takes that has nothing to do.
struct RestingAgentBenchmark: Benchmark {
    static let name = "agent-at-rest"
    static let summary = "memory and CPU of an idle agent, and how soon it answers after its start"

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        let agent = try await BenchmarkAgent.start(context)
        // A connection that nobody uses is part of rest; the start is not.
        try await Task.sleep(for: .seconds(3))
        let (before, start) = (try ProcessUse.cpuTime(of: agent.pid), ContinuousClock.now)
        try await Task.sleep(for: context.watch)
        let used = try ProcessUse.cpuTime(of: agent.pid) - before
        let share = used.inSeconds / start.duration(to: .now).inSeconds
        let memory = try ProcessUse.residentBytes(of: agent.pid)
        let own = try ProcessUse.residentBytes(of: agent.pid, "RssAnon")
        try await agent.stop()
        return [
            BenchmarkRow(
                "agent at rest: resident memory",
                unit: "MB",
                ours: Double(memory.rawValue) / 1e6,
                goal: .atMost(40)
            ),
            BenchmarkRow(
                "agent at rest: of this not a part of its program file",
                unit: "MB",
                ours: Double(own.rawValue) / 1e6
            ),
            BenchmarkRow(
                "agent at rest: CPU over \(context.watch.text)",
                unit: "% of a core",
                ours: share * 100,
                goal: .atMost(0.2)
            ),
            BenchmarkRow(
                "agent: start to first answer over TLS",
                unit: "ms",
                ours: agent.startTime.inSeconds * 1000
            ),
        ]
    }
}
