import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// A job moves from node to node while it runs, and whatever is killed on the way, never two of it run and nothing of it is lost.
struct Migration: Scenario {
    static let name = "Migration"
    static let promise =
        "a job moves between nodes with its memory, which follows it, files, deleted files, pipes, threads and timers; what fails or is killed on the way "
        + "leaves it running somewhere, once, or it goes on from its checkpoint"

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 3)
        let cluster = try AgentCluster(run, count: 3, partitionTimeout: .seconds(5), network: network)
        do {
            try await MigrationStory(run: run, cluster: cluster, root: try await run.makeRoot()).tell()
        } catch {
            cluster.showLogs()
            throw error
        }
    }
}

/// The chapters of ``Migration``, in order.
private struct MigrationStory {
    let run: ScenarioRun
    let cluster: AgentCluster
    let root: String
    let began = ContinuousClock.now

    private func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }

    private var record: String { run.folder + "/given/counts" }

    func tell() async throws {
        try await cluster.start()
        chapter("three agents in three network namespaces are members")
        let job = try await submit("travelling", recovery: "restore")
        try await expectRefusals(job)
        try await moveAbout(job)
        try await fail(job)
        try await killOnTheWay(job)
        try await killWhileMemoryArrives(job)
        try await drain(job)
        try await cluster.agents[0].ask { try await $0.cancel(job) }
        for agent in cluster.agents {
            _ = try await run.eventually("the end of all containers of \(agent.name)") {
                try agent.containerNames().isEmpty ? true : nil
            }
            let left = try scratch(of: agent)
            try expect(left.isEmpty, "\(agent.name) keeps \(left) in memory")
        }
        chapter("the job is cancelled, and nothing of it is left on any node")
        for agent in cluster.agents { try await agent.end(SIGTERM) }
    }

    // MARK: Chapters

    private func submit(_ name: String, recovery: String) async throws -> String {
        try FileSystem.createFolder(run.folder + "/given")
        let document = """
            name: \(name)
            image: {rootfs: \(root)}
            command: [/traveller, /given/\(name == "travelling" ? "counts" : name), "64"]
            mounts: [{source: \(run.folder)/given, target: /given}]
            resources: {cpus: 0.5, memory: 256MiB}
            checkpoint: {replicas: 0, recovery: \(recovery)}
            """
        let job = try await cluster.agents[0].ask { try await $0.submit(document, folder: "/") }
        _ = try await home(of: job)
        return job
    }

    /// What cannot move says so before anything stands still.
    private func expectRefusals(_ job: String) async throws {
        let home = try await home(of: job)
        let asked = cluster.agents[0]
        try await cluster.refused(
            "job migrate travelling --to \(home.name)",
            asking: asked,
            because: "runs on node \(home.name) already"
        )
        try await cluster.refused("job migrate travelling --to n8", asking: asked, because: "no node and no site 'n8'")
        let other = cluster.others(than: home)[0]
        try await cluster.done("node cordon \(other.name)", asking: asked)
        try await cluster.refused("job migrate travelling --to \(other.name)", asking: asked, because: "it is cordoned")
        try await cluster.done("node undrain \(other.name)", asking: asked)
        let stubborn = try await submit("stubborn", recovery: "fail")
        try await cluster.refused("job migrate stubborn", asking: asked, because: "checkpoint.recovery: fail")
        try await asked.ask { try await $0.cancel(stubborn) }
        try await expectCounting(job)
    }

    private func moveAbout(_ job: String) async throws {
        var downtimes: [Double] = []
        for round in 1...4 {
            let from = try await home(of: job)
            let to = cluster.others(than: from)[round % 2]
            let told = try await move(job, to: to)
            try expect(told.from == from.name && told.to == to.name, "it moved from \(told.from) to \(told.to)")
            let place = try await home(of: job)
            try expect(place === to, "it is on \(place.name), not on \(to.name)")
            try await expectCounting(job)
            downtimes.append(told.downtimeSeconds)
            run.note(
                "  \(from.name) to \(to.name): stood still for \(seconds(told.downtimeSeconds)), \(seconds(told.totalSeconds)) in all, "
                    + "\(told.rawBytes >> 20) MiB sent as \(told.sentBytes >> 20) MiB"
            )
        }
        let worst = downtimes.max() ?? 0
        try expect(worst < 10, "it stood still for \(seconds(worst))")
        let text = try await cluster.done("job explain travelling", asking: cluster.agents[1])
        try expect(text.contains("it stood still for"), "the story does not tell of the moves: \(text)")
        chapter("four moves of 64 MiB, downtime \(downtimes.sorted().map(seconds).joined(separator: ", "))")
    }

    /// A destination without room in memory: found out before anything stands still; the job runs on where it is.
    private func fail(_ job: String) async throws {
        let from = try await home(of: job)
        let to = cluster.others(than: from)[0]
        let folder = "/dev/shm/godwit-scenario-\(getpid())-\(to.name)"
        try await mount(folder, size: "24m")
        defer { Task { try? await self.unmount(folder) } }
        try await cluster.refused(
            "job migrate travelling --to \(to.name)",
            asking: cluster.agents[0],
            because: "has room for"
        )
        try await unmount(folder)
        let place = try await home(of: job)
        try expect(place === from, "it is on \(place.name), not on \(from.name) any more")
        try await expectCounting(job)
        chapter("a destination without memory for it refused it")
        // Its memory follows without lying there.
        try await mount(folder, size: "56m")
        let told = try await move(job, to: to)
        try await unmount(folder)
        try expect(told.to == to.name, "it moved to \(told.to)")
        try await expectCounting(job)
        chapter("with room for 56 MiB it took the job with its \(told.rawBytes >> 20) MiB")
    }

    /// Kills agents at drawn moments of a move, and starts them again at once, as systemd would.
    private func killOnTheWay(_ job: String) async throws {
        var generator = run.generator()
        for victim in ["source", "destination", "leader", "source", "destination"] {
            try await keepCheckpoint(job)
            let from = try await home(of: job)
            let to = cluster.others(than: from)[Int.random(in: 0...1, using: &generator)]
            let leader = try cluster.leader() ?? from
            let killed = victim == "source" ? from : victim == "destination" ? to : leader
            let asked = cluster.others(than: killed)[0]
            let pause = Duration.milliseconds(Int64.random(in: 20...700, using: &generator))
            try await asked.ask { client in
                var request = WireJobMigrateRequest()
                (request.job.nameOrID, request.to, request.noWait) = (job, to.name, true)
                _ = try await client.jobMigrate(request)
            }
            try await Task.sleep(for: pause)
            try await killed.end(SIGKILL)
            let cut = ContinuousClock.now
            try await killed.start()
            let (place, outcome) = try await outcome(job, asked)
            chapter(
                "the \(victim)'s agent, killed \(pause.text) after the order to move from \(from.name) to \(to.name): the job is on \(place.name) "
                    + "\(cut.duration(to: .now).text) later. \(outcome)"
            )
        }
    }

    /// Kills an agent, or the CRIU that holds the memory, when the job runs at its destination already and most of its memory is still with the source: what it
    /// lacks is lost with any of them, so it goes on from its checkpoint; never from the source, which stands still.
    private func killWhileMemoryArrives(_ job: String) async throws {
        for victim in ["the source's agent", "the destination's agent", "the source's CRIU"] {
            try await stopInBetween(job)
            let from = try await home(of: job)
            let to = cluster.others(than: from)[0]
            let killed = victim.hasPrefix("the source") ? from : to
            let asked = cluster.others(than: killed).first { $0 !== to } ?? from
            try await asked.ask { client in
                var request = WireJobMigrateRequest()
                (request.job.nameOrID, request.to, request.noWait) = (job, to.name, true)
                _ = try await client.jobMigrate(request)
            }
            let isArriving = try await run.eventually("the job at its destination", every: .milliseconds(10)) {
                let shown = try await asked.ask { try await $0.job(job) }
                if !shown.hasMigration { return shown.job.node == to.name ? false : nil }
                return shown.migration.phase == "running" ? true : nil
            }
            if victim.hasSuffix("CRIU") {
                try killCRIU(of: from)
            } else {
                try await killed.end(SIGKILL)
                try await killed.start()
            }
            let (place, outcome) = try await outcome(job, asked)
            chapter(
                "\(victim), killed \(isArriving ? "while" : "just after") memory of the job arrived: the job is on \(place.name). \(outcome)"
            )
        }
    }

    /// Kills what runc has begun to dump a container of an agent; nothing when it has ended.
    private func killCRIU(of agent: AgentProcess) throws {
        let folder = "/dev/shm/godwit-scenario-\(getpid())-\(agent.name)/"
        for name in try FileSystem.list("/proc") {
            guard Int32(name) != nil, let words = try? FileSystem.read("/proc/\(name)/cmdline") else { continue }
            let command = String(decoding: words, as: UTF8.self)
            guard command.contains(folder), command.contains("checkpoint"),
                let children = try? FileSystem.readText("/proc/\(name)/task/\(name)/children")
            else { continue }
            for child in children.split(separator: " ").compactMap({ Int32($0) }) { _ = kill(child, SIGKILL) }
        }
    }

    /// So that there is something to go on from.
    private func keepCheckpoint(_ job: String) async throws {
        _ = try await run.eventually("a checkpoint", every: .milliseconds(100)) {
            try? await cluster.agents[0].ask { try await $0.checkpoint(job) }
        }
    }

    /// The same for a job that has been lost often: each loss in a row has it wait longer, until somebody stops it with a checkpoint.
    private func stopInBetween(_ job: String) async throws {
        _ = try await run.eventually("its last checkpoint", every: .milliseconds(100)) {
            try? await cluster.agents[0].ask { try await $0.checkpoint(job, stop: true) }
        }
        _ = try await cluster.agents[0].ask { try await $0.restore(job) }
    }

    /// Waits until the job runs in one place, and says where and what was said of it last.
    private func outcome(_ job: String, _ asked: AgentProcess) async throws -> (AgentProcess, String) {
        let (place, outcome) = try await run.eventually(
            "the end of the move",
            within: .seconds(60),
            every: .milliseconds(100)
        ) {
            let shown = try await asked.ask { try await $0.job(job) }
            guard shown.job.state == "running", !shown.hasMigration, let place = cluster[shown.job.node] else {
                throw Broken("\(shown.job.state) on \(shown.job.node), \(shown.migration)")
            }
            let told = try await asked.ask { try await $0.decisions(job) }
            return (place, told.last { ["migrated", "warned", "restarted"].contains($0.kind) }?.sentence ?? "")
        }
        _ = try await run.eventually("one container", within: .seconds(20)) {
            let all = try cluster.agents.flatMap { agent in
                try agent.containerNames().map { "\(agent.name): \($0)" }
            }
            if all.count == 1, all[0].hasPrefix(place.name) { return true }
            throw Broken("there are \(all)")
        }
        try await expectCounting(job)
        return (place, outcome)
    }

    private func drain(_ job: String) async throws {
        let from = try await home(of: job)
        let asked = cluster.others(than: from)[0]
        let text = try await cluster.done("node drain \(from.name)", asking: asked)
        try expect(text.contains("travelling"), "`node drain` does not say what becomes of the job: \(text)")
        _ = try await run.eventually("the job on another node", every: .milliseconds(100)) {
            let shown = try await asked.ask { try await $0.job(job) }
            return shown.job.state == "running" && shown.job.node != from.name && !shown.hasMigration ? true : nil
        }
        try await expectCounting(job)
        let shown = try await cluster.done("node show \(from.name)", asking: asked)
        try expect(shown.contains("no job is left"), "`node show` does not say that the node is empty: \(shown)")
        try await cluster.done("node undrain \(from.name)", asking: asked)
        chapter("\(from.name) was drained; the job moved by itself and lost nothing")
    }

    // MARK: Helpers

    private func move(_ job: String, to node: AgentProcess) async throws -> WireJobMigrateReply {
        var request = WireJobMigrateRequest()
        (request.job.nameOrID, request.to) = (job, node.name)
        let question = request
        return try await cluster.agents[0].ask { try await $0.jobMigrate(question) }
    }

    private func home(of job: String) async throws -> AgentProcess {
        try await run.eventually("the job running", within: .seconds(30)) {
            let shown = try await cluster.agents[0].ask { try await $0.job(job).job }
            return shown.state == "running" ? cluster[shown.node] : nil
        }
    }

    /// Waits for further counts and looks at all that was counted: each number once and in order, whoever counted it, except that it goes back to an earlier
    /// one as often as the job went on from a checkpoint.
    private func expectCounting(_ job: String) async throws {
        let before = try numbers().last ?? -1
        _ = try await run.eventually("further counts after \(before)", within: .seconds(20)) {
            try numbers().last.map { $0 > before + 3 } == true ? true : nil
        }
        let decisions = try await cluster.agents[1].ask { try await $0.decisions(job) }
        var allowed = decisions.count { $0.kind == "restored" && $0.sentence.hasPrefix("Restored from") }
        // What was stopped with a checkpoint has done nothing since.
        allowed -= decisions.count { $0.kind == "suspended" }
        let all = try numbers()
        for (number, next) in zip(all, all.dropFirst()) where next != number + 1 {
            allowed -= 1
            guard next <= number, next > 0, allowed >= 0 else {
                throw Broken(
                    "after \(number) came \(next): \(next <= number ? "two of it ran, or work was lost" : "a count is missing")"
                )
            }
        }
    }

    private func numbers() throws -> [Int] {
        let text = try FileSystem.readText(record, limit: 16 << 20)
        return text.split(separator: "\n").compactMap { $0.split(separator: " ").first.flatMap { Int($0) } }
    }

    private func scratch(of agent: AgentProcess) throws -> [String] {
        try FileSystem.list("/dev/shm/godwit-scenario-\(getpid())-\(agent.name)")
    }

    private func mount(_ folder: String, size: String) async throws {
        try await must("mount", ["-t", "tmpfs", "-o", "size=\(size),mode=0700", "tmpfs", folder])
    }

    private func unmount(_ folder: String) async throws { try await must("umount", ["--lazy", folder]) }

    private func must(_ program: String, _ words: [String]) async throws {
        let result = try await ProcessRunner.run(ProgramCommand(program, words), timeout: .seconds(10))
        try expect(result.isSuccess, "\(program) failed: \(result.complaint)")
    }

    private func seconds(_ value: Double) -> String { Duration.seconds(value).text }
}
