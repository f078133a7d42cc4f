import ClusterModel
import LinuxSystem

/// How long a user waits for `godwit`, beside what starting any program costs.
struct CommandLineBenchmark: Benchmark {
    static let name = "cli"
    static let summary = "start of godwit: to its first byte on the network, and whole commands; floor: /bin/true"

    private static let repetitions = 10

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        let program = try context.program("godwit")
        let agent = try await BenchmarkAgent.start(context)
        let listener = try LoopbackListener()
        defer { listener.close() }
        let identity = ["--identity", agent.identityPath]
        let status = ["status", "--agent", "127.0.0.1:\(agent.port)"] + identity
        let nobody = ["status", "--agent", "127.0.0.1:\(listener.port)"] + identity
        var (floor, version, whole, firstByte): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
        for _ in 0..<context.rounds * Self.repetitions {
            floor.append(try milliseconds("/bin/true", []))
            version.append(try milliseconds(program, ["--version"]))
            whole.append(try milliseconds(program, status))
            let began = MonotonicClock.nanoseconds()
            let pid = try ProcessRunner.spawn(ProgramCommand(program, nobody))
            let came = try listener.firstByte()
            // It fails, since nobody answers it.
            _ = try ProcessControl.waitForChild(pid)
            firstByte.append(Double(came - began) / 1e6)
        }
        try await agent.stop()
        return [
            BenchmarkRow(
                "godwit status: start to first byte sent, p50; peer: /bin/true from start to end",
                unit: "ms",
                ours: firstByte.median,
                peer: floor.median,
                goal: .atMost(10)
            ),
            BenchmarkRow("the same, p99", unit: "ms", ours: firstByte.percentile(0.99), peer: floor.percentile(0.99)),
            BenchmarkRow(
                "godwit --version, start to end, p50",
                unit: "ms",
                ours: version.median,
                peer: floor.median,
                goal: .atMost(10)
            ),
            BenchmarkRow(
                "godwit status, start to end with TLS and the agent's answer, p50",
                unit: "ms",
                ours: whole.median,
                peer: floor.median
            ),
        ]
    }

    private func milliseconds(_ program: String, _ arguments: [String]) throws -> Double {
        let began = MonotonicClock.nanoseconds()
        let pid = try ProcessRunner.spawn(ProgramCommand(program, arguments))
        let exit = try ProcessControl.waitForChild(pid)
        let took = MonotonicClock.nanoseconds() - began
        guard exit.isSuccess else {
            throw BenchmarkFailure("\(program) \(arguments.joined(separator: " ")): \(exit)")
        }
        return Double(took) / 1e6
    }
}
