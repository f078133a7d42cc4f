import ClusterModel
import ControlAPI
import ControlMessages
import LinuxSystem

/// How long a running container waits for its new share, beside `runc update`.
struct ResizeBenchmark: Benchmark {
    static let name = "resize"
    static let summary = "decision to cgroup written, by an agent; peer: runc update"

    private static let repetitions = 40
    private static let peerRepetitions = 4

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        let root = try await context.makeRoot()
        let agent = try await BenchmarkAgent.start(context)
        let job = try await agent.submit("resized", ["wait"], root: root)
        _ = try await agent.waitForStart(of: job)
        let plain = try PlainContainer(copying: agent.containerFolder(of: job), of: context, image: root)
        try plain.start()
        let cgroup = try agent.cgroup(of: job)
        var (written, answered, peer): ([Double], [Double], [Double]) = ([], [], [])
        for _ in 0..<context.rounds {
            for number in 0..<Self.repetitions {
                let limit = number.isMultiple(of: 2) ? 0.5 : 0.75
                var request = WireJobResizeRequest()
                request.job.nameOrID = job
                request.vcpus = limit
                request.cpuLimitVcpus = limit
                let began = ContinuousClock.now
                let reply = try await agent.client.jobResize(request)
                answered.append(began.duration(to: .now).inSeconds * 1000)
                written.append(reply.seconds * 1000)
                let found = try cgroup.cpuQuota()?.rawValue ?? -1
                guard abs(found - limit) < 0.01, abs(reply.allocationVcpus - limit) < 0.01 else {
                    throw BenchmarkFailure("asked for \(limit) vCPUs, the cgroup has \(found)")
                }
            }
            for number in 0..<Self.peerRepetitions {
                let shares = number.isMultiple(of: 2) ? 512 : 768
                peer.append(try plain.update(shares: shares, quota: shares * 100_000 / 1024).inSeconds * 1000)
            }
        }
        try plain.remove()
        try await agent.cancel(job)
        try await agent.stop()
        return [
            BenchmarkRow(
                "decision to share and quota written to the cgroup, p99; peer: runc update",
                unit: "ms",
                ours: written.percentile(0.99),
                peer: peer.percentile(0.99),
                goal: .atMost(2)
            ),
            BenchmarkRow("the same, p50", unit: "ms", ours: written.median, peer: peer.median),
            BenchmarkRow(
                "request over TLS, durable, written and answered, p50",
                unit: "ms",
                ours: answered.median,
                peer: peer.median
            ),
        ]
    }
}
