import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import ResourceSamples

/// What a node cannot keep, the cluster does: a job moves away in time, and one without a deadline makes room and comes back.
struct DeadlinesAreSaved: Scenario {
    static let name = "DeadlinesAreSaved"
    static let promise =
        "when a node cannot keep its deadlines a job moves to one that can, and says why; a job without a deadline makes room for one that has one, and comes "
        + "back with what it had"

    /// What each node has, by its configuration and by the kernel: two jobs of one node get half of that each.
    private static let capacity = 0.3
    /// CPU time of each of two jobs, and the time they have: beside each other they would need 120 s.
    private static let (amount, frame) = (18, 108)

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 3)
        let cluster = try AgentCluster(
            run,
            count: 3,
            partitionTimeout: .seconds(5),
            network: network,
            settings: ["qos.capacity=\(Self.capacity)"]
        )
        do {
            try await tell(run, cluster, root: try await run.makeRoot())
        } catch {
            cluster.showLogs()
            throw error
        }
    }

    private func tell(_ run: ScenarioRun, _ cluster: AgentCluster, root: String) async throws {
        let began = ContinuousClock.now
        func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }
        try await cluster.start()
        let (crowded, room, third) = (cluster.agents[0], cluster.agents[1], cluster.agents[2])
        for agent in [crowded, room] { try shrink(agent) }

        let patient = try await submitPatient(run, cluster, root: root, on: third)
        for agent in [room, third] { try await cluster.done("node cordon \(agent.name)", asking: crowded) }
        let jobs = try await submitPair(root: root, on: crowded)
        for job in jobs { try await expectRunning(run, job, on: crowded, asking: crowded) }
        for agent in [room, third] { try await cluster.done("node undrain \(agent.name)", asking: crowded) }
        chapter("two jobs that \(crowded.name) cannot keep the deadlines of together run there")
        let urgent = try await submitUrgent(cluster, root: root, on: third)
        chapter("a job with a deadline waits for memory of \(third.name) that one without has")

        async let saved: Void = expectSaved(run, cluster, jobs, chapter)
        async let cameBack: Void = expectReturn(run, cluster, patient, urgent, chapter)
        _ = try await (saved, cameBack)
        for job in jobs + [patient] { try await crowded.ask { try await $0.cancel(job) } }
        for agent in cluster.agents { try await agent.end(SIGTERM) }
    }

    /// Two jobs whose deadlines one of the small nodes cannot keep together.
    private func submitPair(root: String, on node: AgentProcess) async throws -> [String] {
        var jobs: [String] = []
        for name in ["first", "second"] {
            let document = """
                name: \(name)
                image: {rootfs: \(root)}
                command: [/counter, "1000", "1", "16"]
                resources: {cpus: 1, memory: 64MiB}
                objective: {cpuTime: \(Self.amount)s, frame: \(Self.frame)s}
                checkpoint: {recovery: restore}
                """
            jobs.append(
                try await node.ask { try await $0.submit(document, folder: "/", allowInfeasible: true) }
            )
        }
        return jobs
    }

    /// One of the two moves, in time for both.
    private func expectSaved(
        _ run: ScenarioRun,
        _ cluster: AgentCluster,
        _ jobs: [String],
        _ chapter: (String) -> Void
    ) async throws {
        let asked = cluster.agents[0]
        let (moved, place) = try await run.eventually("a job on another node", within: .seconds(90)) {
            for job in jobs {
                let shown = try await asked.ask { try await $0.job(job).job }
                if shown.state == "running", shown.node != asked.name { return (shown.name, shown.node) }
            }
            return nil
        }
        let text = try await cluster.done("job explain \(moved)", asking: asked)
        try expect(
            text.contains("Node \(asked.name) cannot keep all its deadlines") && text.contains("the cheapest way"),
            "the story of \(moved) does not say why it moved: \(text)"
        )
        let told = try await asked.ask { try await $0.decisions(moved) }
        chapter(
            "\(moved) is on \(place). " + (told.first { $0.sentence.contains("cannot keep") }?.sentence ?? "")
        )
        for job in jobs {
            let fate = try await run.eventually("the deadline of job \(job)", within: .seconds(90)) {
                let story = try await asked.ask { try await $0.decisions(job) }
                return story.last { $0.kind == "deadlineMet" || $0.kind == "deadlineMissed" }
            }
            try expect(fate.kind == "deadlineMet", fate.sentence)
            chapter(fate.sentence)
        }
    }

    /// The patient job ends with a checkpoint, the urgent one runs in its place, and the patient one goes on where it was.
    private func expectReturn(
        _ run: ScenarioRun,
        _ cluster: AgentCluster,
        _ patient: String,
        _ urgent: String,
        _ chapter: (String) -> Void
    ) async throws {
        let asked = cluster.agents[1]
        _ = try await run.eventually("the end of the urgent job", within: .seconds(100)) {
            let shown = try await asked.ask { try await $0.job(urgent).job }
            if shown.endedUnixSeconds > 0 {
                try expect(shown.state == "completed", "it ended as \(shown.state): \(shown.message)")
                return true
            }
            throw Broken("it is \(shown.state): \(shown.message)")
        }
        let before = try numbers(run).last ?? -1
        try await expectRunning(run, patient, on: cluster.agents[2], asking: asked)
        _ = try await run.eventually("further counts after \(before)") {
            try numbers(run).last.map { $0 > before + 3 } == true ? true : nil
        }
        let all = try numbers(run)
        for (number, next) in zip(all, all.dropFirst()) where next != number + 1 {
            throw Broken("after \(number) came \(next): the patient job did not go on where it was")
        }
        let told = try await asked.ask { try await $0.decisions(patient) }
        guard let yielded = told.first(where: { $0.kind == "preempted" }),
            told.contains(where: { $0.kind == "restored" })
        else { throw Broken("its story does not say that it made room and came back: \(told.map(\.sentence))") }
        chapter("the job without a deadline came back and counts on from \(before). \(yielded.sentence)")
    }

    // MARK: Jobs

    /// Holds most of a node's memory, and needs none of it; it can be nowhere else.
    private func submitPatient(
        _ run: ScenarioRun,
        _ cluster: AgentCluster,
        root: String,
        on node: AgentProcess
    ) async throws -> String {
        try FileSystem.createFolder(run.folder + "/given")
        let document = """
            name: patient
            image: {rootfs: \(root)}
            command: [/traveller, /given/counts, "8"]
            mounts: [{source: \(run.folder)/given, target: /given}]
            resources: {cpus: 0.2, memory: \(try memory(0.7))}
            constraints: {node: \(node.name)}
            checkpoint: {recovery: restore}
            """
        let job = try await cluster.agents[0].ask { try await $0.submit(document, folder: "/") }
        try await expectRunning(run, job, on: node, asking: cluster.agents[0])
        return job
    }

    private func submitUrgent(_ cluster: AgentCluster, root: String, on node: AgentProcess) async throws -> String {
        let document = """
            name: urgent
            image: {rootfs: \(root)}
            command: [/counter, "1", "1"]
            resources: {cpus: 1, memory: \(try memory(0.5))}
            constraints: {node: \(node.name)}
            objective: {cpuTime: 1s, frame: 300s}
            """
        return try await cluster.agents[0].ask {
            try await $0.submit(document, folder: "/", allowInfeasible: true)
        }
    }

    // MARK: Helpers

    /// A part of this machine's memory, as a document has it.
    private func memory(_ part: Double) throws -> String {
        "\(Int64(Double(try Machine.memory().total.rawValue) * part) >> 20)MiB"
    }

    /// Lets the kernel give an agent's containers no more than the agent believes to have, and that whatever else the machine does.
    private func shrink(_ agent: AgentProcess) throws {
        guard let controller = try CgroupHierarchy.detect().controller("cpu") else {
            throw Broken("there is no cpu controller")
        }
        let folder = controller.mountPoint + agent.cgroupParent
        let quota = Int(Self.capacity * 100_000)
        if controller.isUnified {
            try FileSystem.writeValue("\(quota) 100000", to: folder + "/cpu.max")
            try FileSystem.writeValue("10000", to: folder + "/cpu.weight")
        } else {
            try FileSystem.writeValue("100000", to: folder + "/cpu.cfs_period_us")
            try FileSystem.writeValue("\(quota)", to: folder + "/cpu.cfs_quota_us")
            try FileSystem.writeValue("32768", to: folder + "/cpu.shares")
        }
    }

    private func expectRunning(
        _ run: ScenarioRun,
        _ job: String,
        on node: AgentProcess,
        asking agent: AgentProcess
    ) async throws {
        _ = try await run.eventually("job \(job) running on \(node.name)", every: .milliseconds(200)) {
            let shown = try await agent.ask { try await $0.job(job).job }
            if shown.state == "running", shown.node == node.name { return true }
            throw Broken("it is \(shown.state) on '\(shown.node)': \(shown.message)")
        }
    }

    private func numbers(_ run: ScenarioRun) throws -> [Int] {
        let text = try FileSystem.readText(run.folder + "/given/counts", limit: 16 << 20)
        return text.split(separator: "\n").compactMap { $0.split(separator: " ").first.flatMap { Int($0) } }
    }
}
