import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// An upgrade of the agent is no event for a container.
struct RestartOfTheAgent: Scenario {
    static let name = "RestartOfTheAgent"
    static let promise = "containers run on while the agent is stopped and started, and an end in between is noticed"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        var client = try await agent.connect()
        let long = try await client.submit(
            "{name: long, image: {rootfs: \(root)}, command: [/counter, '100000', '0']}",
            folder: "/"
        )
        let short = try await client.submit(
            "{name: short, image: {rootfs: \(root)}, command: [/counter, '1', '1']}",
            folder: "/"
        )
        for job in [long, short] {
            _ = try await run.eventually("a running job") {
                let state = try await client.job(job).job.state
                return state == "running" || state == "completed" ? true : nil
            }
        }
        let before = try agent.processes(of: long).sorted()
        await client.close()
        try await agent.end(SIGTERM)
        _ = try await run.eventually("the end of the short job, unseen") {
            try agent.processes(of: short).isEmpty ? true : nil
        }
        try expect(try agent.processes(of: long).sorted() == before, "stopping the agent disturbed a container")
        try await agent.start()
        client = try await agent.connect()
        try expect(try agent.processes(of: long).sorted() == before, "starting the agent disturbed a container")
        let ended = try await run.eventually("the short job's end") {
            let shown = try await client.job(short).job
            return shown.endedUnixSeconds > 0 ? shown : nil
        }
        try expect(ended.state == "completed", "the short job is \(ended.state): \(ended.message)")
        try expect(ended.consumedCpuSeconds > 0.9, "its CPU time was lost: \(ended.consumedCpuSeconds) s")
        try expect(
            try await client.decisions(long).contains { $0.kind == "adopted" },
            "nothing tells that the container was adopted"
        )
        let counted = counts(try await client.output(long))
        try expect(
            zip(counted, counted.dropFirst()).allSatisfy { $1 == $0 + 1 },
            "counts are missing: \(counted.suffix(20))"
        )
        try await client.cancel(long)
        await client.close()
    }
}

/// Everything of the machine is gone at once, but the disk.
struct CrashOfTheMachine: Scenario {
    static let name = "CrashOfTheMachine"
    static let promise = "after a crash of everything each job does what it says: restores, restarts or fails"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        var client = try await agent.connect()
        for recovery in ["restore", "restart", "fail"] {
            try await client.submit(
                """
                name: \(recovery)
                image: {rootfs: \(root)}
                command: [/counter, "100000", "0", "4"]
                checkpoint: {recovery: \(recovery)}
                """,
                folder: "/"
            )
        }
        for job in ["restore", "restart", "fail"] {
            _ = try await run.eventually("counts of \(job)") {
                counts(try await client.output(job)).count >= 5 ? true : nil
            }
        }
        _ = try await client.checkpoint("restore")
        _ = try await client.checkpoint("restart")
        let atCheckpoint = counts(try await client.output("restore")).last ?? 0
        await client.close()

        try await agent.end(SIGKILL)
        await AgentProcess.endProcesses(of: agent)
        try await agent.start()
        client = try await agent.connect()
        _ = try await run.eventually("the restored job") {
            (counts(try await client.output("restore")).last ?? 0) > atCheckpoint + 3 ? true : nil
        }
        try expect(
            counts(try await client.output("restore")).filter { $0 == 0 }.count == 1,
            "the job 'restore' began anew"
        )
        _ = try await run.eventually("the restarted job") {
            counts(try await client.output("restart")).filter { $0 == 0 }.count == 2 ? true : nil
        }
        let failed = try await run.eventually("the failed job") {
            let shown = try await client.job("fail").job
            return shown.state == "failed" ? shown : nil
        }
        run.note(failed.message)
        for job in ["restore", "restart"] { try await client.cancel(job) }
        await client.close()
    }
}

extension AgentProcess {
    /// Kills every process of an agent's containers and their shims at once, as a power cut would.
    static func endProcesses(of agent: AgentProcess) async {
        for name in (try? FileSystem.list("/proc")) ?? [] {
            guard let pid = Int32(name), let words = try? FileSystem.readText("/proc/\(name)/cmdline"),
                words.contains("godwit-shim"), words.contains(agent.folder)
            else { continue }
            kill(pid, SIGKILL)
        }
        for name in (try? agent.containerNames()) ?? [] {
            let slice = try? CgroupSlice(in: try CgroupHierarchy.detect(), path: agent.cgroupParent)
            try? slice?.cgroup(name).killAll()
        }
    }
}

/// Nothing that was acknowledged is lost, whenever the agent dies.
struct KillNine: Scenario {
    static let name = "KillNine"
    static let promise =
        "killed at random moments, the agent loses no acknowledged job, decision or checkpoint and disturbs no container"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        var generator = run.generator()
        var client = try await agent.connect()
        var steady: [String: [Int32]] = [:]
        for number in 1...3 {
            let job = try await client.submit(
                """
                name: steady-\(number)
                image: {rootfs: \(root)}
                command: [/counter, "100000", "0", "2"]
                checkpoint: {generations: 2\(number == 1 ? ", interval: 1s" : "")}
                """,
                folder: "/"
            )
            // Before that, the processes in its cgroup are those of runc at work.
            _ = try await run.eventually("a running job") {
                try await client.job(job).job.state == "running" ? true : nil
            }
            steady[job] = try agent.processes(of: job).sorted()
        }
        await client.close()

        var acknowledged: [String] = []
        var generations: [String: UInt32] = [:]
        var decisions: UInt64 = 0
        let began = ContinuousClock.now
        for kill in 1...run.options.killCount {
            // What is under way when the agent dies: submissions, cancellations, checkpoints, and whatever it does by itself.
            let load = Task { [steady, kill] in
                await Self.load(agent, root: root, steady: steady.keys.sorted(), kill: kill)
            }
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...600, using: &generator)))
            try await agent.end(SIGKILL)
            let done = await load.value
            acknowledged += done.submitted
            for (job, generation) in done.checkpoints { generations[job] = max(generations[job] ?? 0, generation) }
            decisions = max(decisions, done.lastDecision)

            try await agent.start()
            client = try await agent.connect()
            let known = Dictionary(uniqueKeysWithValues: try await client.allJobs().map { ($0.id, $0) })
            for job in acknowledged { try expect(known[job] != nil, "kill \(kill): acknowledged job \(job) is gone") }
            for (job, processes) in steady {
                let now = try await Self.thawed(agent, job)
                try expect(
                    now == processes,
                    "kill \(kill): container of \(job) was disturbed: \(processes) became \(now)"
                )
                let shown = try await client.job(job)
                try expect(
                    shown.job.incarnation == 1,
                    "kill \(kill): \(job) is at incarnation \(shown.job.incarnation)"
                )
                if let generation = generations[job] {
                    let newest = shown.checkpoints.filter { $0.state == "complete" }.map(\.generation).max() ?? 0
                    try expect(newest >= generation, "kill \(kill): checkpoint \(generation) of \(job) is gone")
                }
            }
            let story = try await client.decisions(steady.keys.sorted()[0])
            try expect(
                story.map(\.sequence) == story.map(\.sequence).sorted(),
                "kill \(kill): decisions are out of order"
            )
            await client.close()
        }
        client = try await agent.connect()
        run.note(
            "\(run.options.killCount) kills in \(began.duration(to: .now).text): \(acknowledged.count) jobs and "
                + "\(generations.count) jobs' checkpoints acknowledged, newest generations \(generations.values.sorted())"
        )
        // Every acknowledged job comes to its end.
        for job in acknowledged {
            let shown = try await run.eventually("the end of \(job)", within: .seconds(120)) {
                let shown = try await client.job(job).job
                return shown.endedUnixSeconds > 0 ? shown : nil
            }
            try expect(shown.state == "completed", "\(job) ended as \(shown.state): \(shown.message)")
        }
        for job in steady.keys.sorted() {
            let counted = counts(try await client.output(job))
            try expect(
                zip(counted, counted.dropFirst()).allSatisfy { $1 == $0 + 1 },
                "\(job) lost output or began anew"
            )
            try await client.cancel(job)
        }
        await client.close()
        try expect(acknowledged.count > 0, "no submission was ever acknowledged: nothing was proved")
    }

    /// The processes of a container, once it is not frozen any more.
    private static func thawed(_ agent: AgentProcess, _ job: String) async throws -> [Int32] {
        let cgroup = try agent.cgroup(of: job)
        let end = ContinuousClock.now + .seconds(10)
        while try cgroup.isFrozen(), ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(20)) }
        return try agent.processes(of: job).sorted()
    }

    private struct Done: Sendable {
        var submitted: [String] = []
        var checkpoints: [String: UInt32] = [:]
        var lastDecision: UInt64 = 0
    }

    /// Works until the agent is gone; what is returned was acknowledged.
    private static func load(_ agent: AgentProcess, root: String, steady: [String], kill: Int) async -> Done {
        var done = Done()
        guard let client = try? await agent.connect() else { return done }
        do {
            for number in 0..<100 {
                let id = try await client.submit(
                    "{name: brief-\(kill)-\(number), image: {rootfs: \(root)}, command: [/ends, 'code:0']}",
                    folder: "/"
                )
                done.submitted.append(id)
                let job = steady[number % steady.count]
                done.checkpoints[job] = try await client.checkpoint(job).generation
                done.lastDecision = try await client.decisions(job).last?.sequence ?? done.lastDecision
            }
        } catch {}
        await client.close()
        return done
    }
}
