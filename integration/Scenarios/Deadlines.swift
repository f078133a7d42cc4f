import ClusterModel
import ControlAPI
import ControlMessages
import LinuxSystem

/// A deadline is kept although neighbours want every cycle.
struct DeadlineBesideNeighbours: Scenario {
    static let name = "DeadlineBesideNeighbours"
    static let promise = "a job meets its deadline beside two neighbours that take all they can get"
    static let needsWholeMachine = true

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        let client = try await agent.connect()
        for number in 1...2 {
            try await client.submit(
                """
                name: greedy-\(number)
                image: {rootfs: \(root)}
                command: [/counter, "100000", "2"]
                resources: {cpus: 2}
                """,
                folder: "/"
            )
        }
        // Alone it would take half of its frame; beside the neighbours, with equal shares, half as much again as the frame.
        let processors = Double(min(2, Machine.processorCount))
        let amount = 10.0 * processors
        let job = try await client.submit(
            """
            name: solver
            image: {rootfs: \(root)}
            command: [/counter, "\(amount)", "\(Int(processors))"]
            resources: {cpus: \(processors)}
            objective: {cpuTime: \(amount)s, frame: 20s}
            """,
            folder: "/"
        )
        let ended = try await run.eventually("the end of the job", within: .seconds(90)) {
            let shown = try await client.job(job).job
            return shown.endedUnixSeconds > 0 ? shown : nil
        }
        try expect(ended.state == "completed", "it ended as \(ended.state): \(ended.message)")
        let story = try await client.decisions(job)
        let fate = story.last { $0.kind == "deadlineMet" || $0.kind == "deadlineMissed" }
        run.note(fate?.sentence ?? "the deadline was not settled")
        try expect(fate?.kind == "deadlineMet", "the deadline was missed: \(fate?.sentence ?? "nothing was decided")")
        try expect(story.contains { $0.kind == "resized" || $0.kind == "started" }, "nothing explains its allocation")
        // The neighbours lose their share, not their lives.
        for name in ["greedy-1", "greedy-2"] {
            try expect(try await client.job(name).job.state == "running", "\(name) does not run any more")
            try await client.cancel(name)
        }
        await client.close()
    }
}

/// A resize is a write to the cgroup: the process does not notice.
struct ResizeWithoutRestart: Scenario {
    static let name = "ResizeWithoutRestart"
    static let promise = "allocation, CPU limit and memory limit change while the same processes run on"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        let client = try await agent.connect()
        let job = try await client.submit(
            """
            name: resized
            image: {rootfs: \(root)}
            command: [/counter, "100000", "1"]
            resources: {cpus: 1, memory: 64MiB}
            """,
            folder: "/"
        )
        _ = try await run.eventually("a running job") { try await client.job(job).job.state == "running" ? true : nil }
        let before = try agent.processes(of: job).sorted()
        var request = WireJobResizeRequest()
        request.job.nameOrID = job
        request.vcpus = 0.5
        request.cpuLimitVcpus = 0.75
        request.memoryBytes = 128 << 20
        let reply = try await client.jobResize(request)
        run.note("resized in \(Duration.seconds(reply.seconds).text): \(reply.message)")
        let cgroup = try agent.cgroup(of: job)
        let quota = try cgroup.cpuQuota()
        try expect(
            quota.map { abs($0.rawValue - 0.75) < 0.01 } ?? false,
            "the quota in the cgroup is \(quota.map { "\($0)" } ?? "none")"
        )
        let limit = try cgroup.memoryLimit()
        try expect(limit == .mebibytes(128), "the memory limit in the cgroup is \(limit.map { "\($0)" } ?? "none")")
        try expect(abs(try await client.job(job).job.allocationVcpus - 0.5) < 0.01, "the allocation is not 0.5")
        try expect(try agent.processes(of: job).sorted() == before, "other processes run after the resize")
        try expect(try await client.job(job).job.incarnation == 1, "the container was started anew")

        request = WireJobResizeRequest()
        request.job.nameOrID = job
        request.memoryBytes = 1 << 10
        do {
            _ = try await client.jobResize(request)
            throw Broken("a memory limit of 1 KiB was accepted")
        } catch let error as Broken { throw error } catch { run.note("refused, as it should be: \(error)") }
        try await client.cancel(job)
        await client.close()
    }
}
