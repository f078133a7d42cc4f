import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// The main promise: what a job has done survives its container.
struct CheckpointKillRestore: Scenario {
    static let name = "CheckpointKillRestore"
    static let promise = "a killed container goes on from its checkpoint, in memory, files and consumed CPU time"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        let client = try await agent.connect()
        let job = try await client.submit(
            """
            name: counting
            image: {rootfs: \(root)}
            command: [/counter, "100000", "0", "32"]
            resources: {cpus: 1, cpuLimit: 0.5}
            """,
            folder: "/"
        )
        _ = try await run.eventually("ten counts") { counts(try await client.output(job)).count >= 10 ? true : nil }
        let checkpoint = try await client.checkpoint(job)
        run.note(
            "frozen \(Duration.seconds(checkpoint.frozenSeconds).text), "
                + "\(ByteCount(rawValue: Int64(checkpoint.rawBytes))) stored as \(ByteCount(rawValue: Int64(checkpoint.storedBytes)))"
        )
        try expect(checkpoint.storedBytes < checkpoint.rawBytes, "the stored images are not smaller than the raw ones")
        let atCheckpoint = counts(try await client.output(job)).last ?? 0
        try await Self.killAndExpect(run, agent, client, job, counting: atCheckpoint)
        let quota = try agent.cgroup(of: job).cpuQuota()
        try expect(
            quota.map { abs($0.rawValue - 0.5) < 0.01 } ?? false,
            "the CPU limit was not put back after the restore"
        )

        // On demand: stop with a checkpoint, look, and go on.
        _ = try await client.checkpoint(job, stop: true)
        try expect(try await client.job(job).job.state == "suspended", "it is not suspended")
        _ = try await run.eventually("the end of the container") { try agent.containerNames().isEmpty ? true : nil }
        let stopped = counts(try await client.output(job)).last ?? 0
        try await Self.expectGoingOn(run, client, fromTarOf: job, at: stopped)
        try await client.restore(job)
        _ = try await run.eventually("counting after the restore") {
            (counts(try await client.output(job)).last ?? 0) > stopped + 5 ? true : nil
        }
        let all = counts(try await client.output(job))
        try expect(all.filter { $0 == 0 }.count == 1, "it counted from the beginning: \(all.prefix(5)) ...")
        try await client.cancel(job)
        await client.close()
    }

    /// Makes a second job of the first one's checkpoint, and expects it to go on where that stands.
    private static func expectGoingOn(
        _ run: ScenarioRun,
        _ client: ControlClient,
        fromTarOf job: String,
        at stopped: Int
    ) async throws {
        let tar = try await client.exportCheckpoint(job)
        let other = try await client.importCheckpoint(tar, name: "counting-too")
        try await client.restore(other)
        let first = try await run.eventually("the imported job's counting") {
            counts(try await client.output(other)).first
        }
        try expect(
            abs(first - stopped) <= 1,
            "the imported job counts from \(first), the first one stopped at \(stopped)"
        )
        try await client.cancel(other)
    }

    /// Kills a container from outside and expects it to go on where it was.
    static func killAndExpect(
        _ run: ScenarioRun,
        _ agent: AgentProcess,
        _ client: ControlClient,
        _ job: String,
        counting atLeast: Int
    ) async throws {
        let before = try await client.job(job).job
        for process in try agent.processes(of: job) { kill(process, SIGKILL) }
        let after = try await run.eventually("a restored container") {
            let shown = try await client.job(job).job
            return shown.state == "running" && shown.incarnation > before.incarnation ? shown : nil
        }
        _ = try await run.eventually("counting after the restore") {
            (counts(try await client.output(job)).last ?? 0) > atLeast + 5 ? true : nil
        }
        let all = counts(try await client.output(job))
        try expect(all.filter { $0 == 0 }.count == 1, "it counted from the beginning")
        try expect(after.consumedCpuSeconds <= before.consumedCpuSeconds + 1, "the ledger grew by the restore")
        let story = try await client.decisions(job).map(\.kind)
        try expect(story.contains("restored"), "nothing tells of the restore: \(story)")
    }
}

/// A bit that fell over on the disk costs one generation, not the job.
struct DamagedCheckpoint: Scenario {
    static let name = "DamagedCheckpoint"
    static let promise = "a damaged checkpoint is refused by name and the generation before it is taken"

    func run(_ run: ScenarioRun) async throws {
        let root = try await run.makeRoot()
        let agent = try AgentProcess(run)
        try await agent.start()
        let client = try await agent.connect()
        let job = try await client.submit(
            """
            name: counting
            image: {rootfs: \(root)}
            command: [/counter, "100000", "0", "8"]
            checkpoint: {generations: 3}
            """,
            folder: "/"
        )
        _ = try await run.eventually("five counts") { counts(try await client.output(job)).count >= 5 ? true : nil }
        let first = try await client.checkpoint(job)
        let atFirst = counts(try await client.output(job)).last ?? 0
        let second = try await client.checkpoint(job)
        let data = "\(agent.folder)/state/checkpoints/\(job)/\(second.generation)/data"
        var generator = run.generator()
        var bytes = try FileSystem.read(data, limit: 1 << 30)
        let at = Int.random(in: bytes.count / 2..<bytes.count, using: &generator)
        bytes[at] ^= 0x10
        try FileSystem.writeAtomically(bytes, to: data, mode: 0o600)
        run.note("flipped a bit of byte \(at) of generation \(second.generation)")
        try await CheckpointKillRestore.killAndExpect(run, agent, client, job, counting: atFirst)
        let shown = try await client.job(job)
        try expect(
            shown.checkpoints.contains { $0.generation == second.generation && $0.state == "damaged" },
            "generation \(second.generation) is not marked as damaged"
        )
        let story = try await client.decisions(job)
        try expect(
            story.contains { $0.kind == "restored" && $0.numbers["generation"] == Double(first.generation) },
            "it was not restored from generation \(first.generation)"
        )
        run.note(story.last { $0.sentence.contains("damaged") }?.sentence ?? "")
        try await client.cancel(job)
        await client.close()
    }
}
