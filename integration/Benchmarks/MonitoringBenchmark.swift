import ClusterModel
import Glibc
import LinuxSystem

/// What it costs to know what fifty containers consume, once a second.
struct MonitoringBenchmark: Benchmark {
    static let name = "monitoring"
    static let summary = "CPU cost of fifty containers at 1 Hz: the readings alone, and a whole agent that runs them"

    private static let containers = 50

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        let root = try await context.makeRoot()
        let agent = try await BenchmarkAgent.start(context)
        var jobs: [String] = []
        for number in 0..<Self.containers {
            jobs.append(try await agent.submit("watched-\(number)", ["wait"], root: root))
        }
        for job in jobs { _ = try await agent.waitForStart(of: job) }
        try await Task.sleep(for: .seconds(5))

        let cgroups = try jobs.map { try agent.cgroup(of: $0) }
        let (before, start) = (try ProcessUse.cpuTime(of: agent.pid), ContinuousClock.now)
        let readings = try await Self.readings(of: cgroups, for: context.watch)
        let elapsed = start.duration(to: .now)
        let agentShare = (try ProcessUse.cpuTime(of: agent.pid) - before).inSeconds / elapsed.inSeconds
        let memory = try ProcessUse.residentBytes(of: agent.pid)
        for job in jobs { try await agent.cancel(job) }
        try await agent.stop()
        return [
            BenchmarkRow(
                "reading the counters of 50 containers and the node at 1 Hz, of a core",
                unit: "%",
                ours: readings * 100,
                goal: .atMost(0.1)
            ),
            BenchmarkRow(
                "an agent with 50 jobs: readings, policy, predictions, durable history, of a core",
                unit: "%",
                ours: agentShare * 100
            ),
            BenchmarkRow("an agent with 50 jobs: resident memory", unit: "MB", ours: Double(memory.rawValue) / 1e6),
        ]
    }

    /// The part of a core that the agent's readings take: every counter of every container each second, the node's memory every five.
    private static func readings(of cgroups: [Cgroup], for time: Duration) async throws -> Double {
        let samplers = try cgroups.map { try $0.makeSampler() }
        let seconds = max(5, Int(time.inSeconds))
        return try await withCheckedThrowingContinuation { continuation in
            // A thread of its own, since its CPU clock is what is read.
            do {
                try SystemThread.start(name: "readings") {
                    continuation.resume(
                        with: Result {
                            for sampler in samplers { _ = try sampler.sample() }
                            let (before, start) = (Self.threadTime(), MonotonicClock.nanoseconds())
                            for second in 1...seconds {
                                let next = start + Int64(second) * 1_000_000_000
                                MonotonicClock.sleepThread(for: .nanoseconds(next - MonotonicClock.nanoseconds()))
                                for sampler in samplers { _ = try sampler.sample() }
                                if second.isMultiple(of: 5) { _ = try Machine.memory() }
                            }
                            return (Self.threadTime() - before) / (Double(MonotonicClock.nanoseconds() - start) / 1e9)
                        }
                    )
                }
            } catch { continuation.resume(throwing: error) }
        }
    }

    private static func threadTime() -> Double {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
