import ClusterModel
import Containers
import ControlMessages
import LinuxSystem

/// How soon a container runs after it was asked for, beside `runc run --detach` of the same bundle.
struct ContainerStartBenchmark: Benchmark {
    static let name = "container-start"
    static let summary = "submission to container running, and the runtime's own part; peer: runc run --detach"

    private static let repetitions = 8

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        let root = try await context.makeRoot()
        let agent = try await BenchmarkAgent.start(context)
        let model = try await agent.submit("model", ["wait"], root: root)
        _ = try await agent.waitForStart(of: model)
        let plain = try PlainContainer(copying: agent.containerFolder(of: model), of: context, image: root)
        try await agent.cancel(model)
        let (runtime, image) = try await ownRuntime(context, root: root)

        var (submitted, started, peer): ([Double], [Double], [Double]) = ([], [], [])
        // The first of each is only to warm the caches.
        for number in 0...context.rounds * Self.repetitions {
            let asked = WallClock.now().seconds
            let job = try await agent.submit("start-\(number)", ["wait"], root: root)
            let shown = try await agent.waitForStart(of: job)
            try await agent.cancel(job)

            let alone = try plain.start()
            try plain.remove()

            var request = StartRequest(id: ContainerID(rawValue: "direct-\(number)"), image: image)
            request.command = ["/bench", "wait"]
            let began = ContinuousClock.now
            let container = try await runtime.start(request)
            let direct = began.duration(to: .now)
            try await runtime.remove(container.id)

            guard number > 0 else { continue }
            submitted.append((shown.startedUnixSeconds - asked) * 1000)
            peer.append(alone.inSeconds * 1000)
            started.append(direct.inSeconds * 1000)
        }
        try await agent.stop()
        return [
            BenchmarkRow(
                "submission over TLS to container running, durable, p50; peer: runc run",
                unit: "ms",
                ours: submitted.median,
                peer: peer.median,
                goal: .ratioAtMost(1.4)
            ),
            BenchmarkRow("the same, p99", unit: "ms", ours: submitted.percentile(0.99), peer: peer.percentile(0.99)),
            BenchmarkRow(
                "decision to container running: folder, overlay, shim and runc, p50",
                unit: "ms",
                ours: started.median,
                peer: peer.median,
                goal: .ratioAtMost(1.4)
            ),
            BenchmarkRow("the same, p99", unit: "ms", ours: started.percentile(0.99), peer: peer.percentile(0.99)),
        ]
    }

    /// The agent's container runtime in this process, in folders of its own.
    private func ownRuntime(
        _ context: BenchmarkContext,
        root: String
    ) async throws -> (ContainerRuntime, PreparedImage) {
        var configuration = ContainersConfiguration(
            stateFolder: context.folder + "/direct",
            runtimeFolder: context.runtimeFolder + "/direct"
        )
        configuration.shim = try context.program("godwit-shim")
        let slice = try CgroupSlice(in: try CgroupHierarchy.detect(), path: context.cgroupParent)
        let runtime = try ContainerRuntime(configuration, slice: slice, criu: context.criu)
        return (runtime, try await ImageCache(configuration).prepare(.rootFolder(path: root), pinned: nil))
    }
}
