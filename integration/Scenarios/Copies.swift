import ClusterModel
import ControlAPI
import ControlMessages
import FoundationEssentials
import Glibc
import LinuxSystem
import Transport

/// A checkpoint outlives the node that took it: no file system is shared, and no work but that since the checkpoint is lost.
struct CheckpointOutlivesNode: Scenario {
    static let name = "CheckpointOutlivesNode"
    static let promise =
        "a job whose node is killed with everything on it goes on elsewhere from the copy of its checkpoint, in memory, files and consumed CPU "
        + "time, and its story says what was lost"

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 3)
        let cluster = try AgentCluster(run, count: 3, partitionTimeout: .seconds(6), network: network)
        do {
            try await CopyStory(run: run, cluster: cluster, root: try await run.makeRoot()).tell()
        } catch {
            cluster.showLogs()
            throw error
        }
    }
}

/// The chapters of ``CheckpointOutlivesNode``, in order.
private struct CopyStory {
    let run: ScenarioRun
    let cluster: AgentCluster
    let root: String
    let began = ContinuousClock.now

    private func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }

    func tell() async throws {
        try await cluster.start()
        chapter("three agents in three network namespaces are members")
        let job = try await cluster.agents[0].ask { client in
            try await client.submit(
                """
                name: counting
                image: {rootfs: \(root)}
                command: [/counter, "100000", "0", "32"]
                resources: {cpus: 1}
                checkpoint: {replicas: 2, generations: 1}
                constraints: {node: [n2, n3]}
                """,
                folder: "/"
            )
        }
        // Not the founder, which for its first minute is the only voter: without it nothing could be agreed on.
        let home = try await holder(of: job, asking: cluster.agents[0])
        _ = try await run.eventually("ten counts") {
            try await home.ask { counts(try await $0.output(job)).count >= 10 ? true : nil }
        }
        let taken = try await home.ask { try await $0.checkpoint(job) }
        let atCheckpoint = try await home.ask { counts(try await $0.output(job)).last ?? 0 }
        try await expectCopies(of: taken.generation, of: job, on: 3, asking: home)
        chapter("checkpoint \(taken.generation) of \(ByteCount(rawValue: Int64(taken.storedBytes))) is on three nodes")
        try expectSealed(job, taken.generation)
        let damaged = try damage(job, taken.generation, besides: home)

        let ledger = try await home.ask { try await $0.job(job).job.consumedCpuSeconds }
        let (killed, next) = try await kill(home, of: job)
        try expect(next === damaged, "\(next.name) runs the job, not \(damaged.name)")
        let all = counts(try await next.ask { try await $0.output(job) })
        try expect(!all.contains(0), "it began anew on \(next.name): \(all.prefix(5)) ...")
        try expect(
            all.first.map { $0 <= atCheckpoint + 1 } ?? false,
            "it went on at \(all.first ?? -1), later than its checkpoint at \(atCheckpoint)"
        )
        let shown = try await next.ask { try await $0.job(job) }
        try expect(
            shown.job.consumedCpuSeconds <= ledger + 1 && shown.job.consumedCpuSeconds + 0.001 >= taken.cpuSeconds,
            "the ledger is \(shown.job.consumedCpuSeconds) s; it was \(taken.cpuSeconds) s at the checkpoint and \(ledger) s before the kill"
        )
        let story = try await next.ask { try await $0.decisions(job) }
        try expect(
            story.contains { $0.sentence.contains("on node \(damaged.name) is damaged") },
            "nothing tells of the damaged copy: \(story.map(\.sentence))"
        )
        let restart = story.last { $0.kind == "restarted" }
        try expect(
            restart?.sentence.contains("goes on from checkpoint \(taken.generation)") == true
                && restart?.numbers["lostSeconds"] != nil,
            "nothing says from where it went on and what was lost: \(story.map(\.sentence))"
        )
        chapter(
            "\(home.name) was killed with its containers; \(next.name) runs the job again after \(killed.text): \(restart?.sentence ?? "")"
        )

        try await bringBack(home, next, job, taken)
        try await exportAndImport(job, from: home, to: next)
        try await drain(next, of: job)
        try await home.ask { try await $0.cancel(job) }
        _ = try await run.eventually("no files of the job anywhere", within: .seconds(30), every: .milliseconds(250)) {
            cluster.agents.allSatisfy { generations(of: job, on: $0).isEmpty } ? true : nil
        }
        chapter("the job is cancelled, and its checkpoints are gone from every disk")
        for agent in cluster.agents { try await agent.end(SIGTERM) }
    }

    private func holder(of job: String, asking agent: AgentProcess) async throws -> AgentProcess {
        try await run.eventually("the start of the job", within: .seconds(30)) {
            let shown = try await agent.ask { try await $0.job(job).job }
            return shown.state == "running" ? cluster[shown.node] : nil
        }
    }

    private func generations(of job: String, on agent: AgentProcess) -> [String] {
        ((try? FileSystem.list("\(agent.stateFolder)/checkpoints/\(job)")) ?? []).filter { UInt32($0) != nil }
    }

    private func expectCopies(
        of generation: UInt32,
        of job: String,
        on count: Int,
        asking agent: AgentProcess
    ) async throws {
        _ = try await run.eventually("\(count) copies", within: .seconds(30), every: .milliseconds(100)) {
            let known = try await agent.ask { try await $0.job(job).checkpoints.last }
            guard known?.generation == generation, known?.holders.count == count else { return nil as Bool? }
            let onDisk = cluster.agents.filter { generations(of: job, on: $0).contains("\(generation)") }
            return onDisk.count == count ? true : nil
        }
    }

    /// All copies are the same bytes, and none of them shows what the container had in memory.
    private func expectSealed(_ job: String, _ generation: UInt32) throws {
        func bytes(_ agent: AgentProcess, _ file: String) throws -> [UInt8] {
            try FileSystem.read("\(agent.stateFolder)/checkpoints/\(job)/\(generation)/\(file)", limit: 1 << 30)
        }
        for file in ["index", "data"] {
            let first = try bytes(cluster.agents[0], file)
            for agent in cluster.agents.dropFirst() {
                try expect(try bytes(agent, file) == first, "the \(file) on \(agent.name) is another one")
            }
        }
        let index = String(decoding: try bytes(cluster.agents[0], "index"), as: UTF8.self)
        try expect(!index.contains("pages-1.img"), "the index can be read on the disk")
    }

    /// Puts a bit of the copy over that will be restored from: its node must find that out and take the third one.
    private func damage(_ job: String, _ generation: UInt32, besides home: AgentProcess) throws -> AgentProcess {
        guard let victim = cluster.others(than: home, cluster.agents[0]).first else {
            throw Broken("there is no third agent")
        }
        let path = "\(victim.stateFolder)/checkpoints/\(job)/\(generation)/data"
        var bytes = try FileSystem.read(path, limit: 1 << 30)
        var generator = run.generator()
        let at = Int.random(in: bytes.count / 2..<bytes.count, using: &generator)
        bytes[at] ^= 0x20
        try FileSystem.writeAtomically(bytes, to: path, mode: 0o600)
        chapter("flipped a bit of byte \(at) of the copy on \(victim.name)")
        return victim
    }

    /// A checkpoint goes through a tar, asked of one agent and given to another, and a second job counts on from it.
    private func exportAndImport(_ job: String, from: AgentProcess, to: AgentProcess) async throws {
        let tar = try await from.ask { try await $0.exportCheckpoint(job) }
        let refused = try await to.ask { client in
            do {
                _ = try await client.importCheckpoint(Array(tar.dropLast(tar.count / 3)), name: "counting-too")
                return ""
            } catch let failure as RPCFailure { return failure.message }
        }
        try expect(refused.contains("cut off"), "a tar that was cut off was not refused: '\(refused)'")
        let made = try await to.ask { try await $0.importCheckpoint(tar, name: "counting-too") }
        let before = try await to.ask { counts(try await $0.output(job)).last ?? 0 }
        try await to.ask { _ = try await $0.restore(made) }
        let first = try await run.eventually("the imported job's counting") {
            try await to.ask { counts(try await $0.output(made)).first }
        }
        try expect(
            first > 0 && first <= before + 1,
            "the imported job counts from \(first), the other one was at \(before)"
        )
        try await to.ask { try await $0.cancel(made) }
        chapter(
            "a tar of \(ByteCount(rawValue: Int64(tar.count))) became a job of its own, which counted on from \(first)"
        )
    }

    /// Kills a node as a power cut would, and waits until the job counts on elsewhere.
    private func kill(_ home: AgentProcess, of job: String) async throws -> (took: Duration, next: AgentProcess) {
        let cut = ContinuousClock.now
        try await home.end(SIGKILL)
        await AgentProcess.endProcesses(of: home)
        let others = cluster.others(than: home)
        let next = try await run.eventually("the job on another node", within: .seconds(60), every: .milliseconds(100))
        {
            for agent in others {
                guard let shown = try? await agent.ask({ try await $0.job(job).job }), shown.state == "running",
                    let place = cluster[shown.node], place !== home
                else { continue }
                return place
            }
            return nil as AgentProcess?
        }
        let took = cut.duration(to: .now)
        _ = try await run.eventually("counting on \(next.name)") {
            try await next.ask { counts(try await $0.output(job)).count > 5 ? true : nil }
        }
        return (took, next)
    }

    /// A node that is drained loses its job to the other, which goes on where it stood still.
    private func drain(_ node: AgentProcess, of job: String) async throws {
        let cut = ContinuousClock.now
        let count = try await node.ask { counts(try await $0.output(job)).last ?? 0 }
        try await node.ask { client in
            var request = WireNodeDrainRequest()
            request.node = node.name
            _ = try await client.nodeDrain(request)
        }
        let other = try await run.eventually("the job on another node", within: .seconds(30), every: .milliseconds(100))
        {
            let shown = try await cluster.agents[0].ask { try await $0.job(job).job }
            return shown.state == "running" && shown.node != node.name ? cluster[shown.node] : nil
        }
        let took = cut.duration(to: .now)
        let first = try await run.eventually("counting on \(other.name)") {
            try await other.ask { counts(try await $0.output(job)).first { $0 >= count } }
        }
        let story = try await other.ask {
            try await $0.decisions(job).filter { ["placed", "migrated"].contains($0.kind) }
        }
        try expect(
            story.contains { $0.kind == "migrated" } && story.contains { $0.sentence.contains("is being drained") },
            "it did not move while it ran: \(story.map(\.sentence))"
        )
        chapter("\(node.name) was drained: \(other.name) runs the job after \(took.text), and counts on from \(first)")
    }

    /// The killed node comes back: what it has is of use again, or goes.
    private func bringBack(
        _ home: AgentProcess,
        _ next: AgentProcess,
        _ job: String,
        _ taken: WireCheckpoint
    ) async throws {
        let generation = taken.generation
        try await home.start()
        let again = try await next.ask { try await $0.checkpoint(job) }
        try expect(
            again.storedBytes * 4 < taken.storedBytes,
            "the next checkpoint is stored as \(again.storedBytes) bytes; the first one took \(taken.storedBytes), and little has changed since"
        )
        try await expectCopies(of: again.generation, of: job, on: 3, asking: next)
        _ = try await run.eventually("checkpoint \(generation) gone", within: .seconds(30), every: .milliseconds(250)) {
            cluster.agents.allSatisfy { generations(of: job, on: $0) == ["\(again.generation)"] } ? true : nil
        }
        try expect(try home.containerNames().isEmpty, "\(home.name) runs a container that is another node's")
        chapter(
            "\(home.name) is back; checkpoint \(again.generation), \(again.storedBytes >> 10) KiB beside what it shares, is on three nodes, and \(generation) on none"
        )
    }
}
