import ClusterModel
import ControlMessages
import LinuxSystem

/// Checkpoints and restores by an agent, beside plain runc with the same CRIU into memory.
///
/// How long a container stands still is told by its own program, for both sides alike: the longest time in which it could not run.
struct CheckpointBenchmark: Benchmark {
    static let name = "checkpoint"
    static let summary =
        "64 and 512 MiB: time frozen, total time, size, restore; peer: runc checkpoint and restore in memory"

    private static let sizes = [64, 512]

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        _ = try context.requireCRIU()
        let root = try await context.makeRoot()
        var rows: [BenchmarkRow] = []
        for size in Self.sizes {
            // A folder, an agent and a peer for each size, as on a node where nothing was before.
            let agent = try await BenchmarkAgent.start(context)
            let job = try await agent.submit("holder-\(size)", ["hold", "\(size)"], root: root)
            _ = try await agent.waitForStart(of: job)
            try await run(context, agent, job, size: size, root: root, into: &rows)
            try await agent.cancel(job)
            try await agent.stop()
            await context.cleanUpState()
        }
        return rows
    }

    /// The figures of one side, by round.
    private struct Side {
        var frozen: [Double] = []
        var total: [Double] = []
        var restored: [Double] = []
    }

    private func run(
        _ context: BenchmarkContext,
        _ agent: BenchmarkAgent,
        _ job: String,
        size: Int,
        root: String,
        into rows: inout [BenchmarkRow]
    ) async throws {
        let plain = try PlainContainer(copying: agent.containerFolder(of: job), of: context, image: root)
        try plain.start()
        let images = context.memoryFolder + "/plain"
        _ = try await context.eventually("filled memory") {
            try await agent.output(of: job).contains("ready") ? true : nil
        }
        _ = try await context.eventually("filled memory of the peer") {
            plain.output.lines.contains("ready") ? true : nil
        }

        var (ours, peer) = (Side(), Side())
        var reported: [Double] = []
        var sizes: (raw: Double, stored: Double, peer: Double) = (0, 0, 0)
        // Not counted: the first of each side makes the host supply memory.
        var warmUp = Side()
        _ = try await measureOurs(agent, job, &warmUp)
        _ = try plain.checkpoint(to: images, leavesRunning: true)
        try FileSystem.removeAll(images)
        for _ in 0..<context.rounds {
            let checkpoint = try await measureOurs(agent, job, &ours)
            reported.append(checkpoint.frozenSeconds)
            (sizes.raw, sizes.stored) = (Double(checkpoint.rawBytes), Double(checkpoint.storedBytes))

            let began = Gap.now
            let took = try plain.checkpoint(to: images, leavesRunning: true)
            peer.total.append(took.inSeconds)
            peer.frozen.append(
                try await Gap.longest("the peer's checkpoint", after: began, context) { plain.output.lines }.length
            )
            sizes.peer = Self.bytes(in: images)
            // The agent has let go of its images by now, too: on a virtual machine, memory that was just freed is several times cheaper to
            // fill again than memory that the host must supply first.
            try FileSystem.removeAll(images)
        }
        for _ in 0..<context.rounds {
            ours.restored.append(try await agent.restart(job))

            _ = try plain.checkpoint(to: images, leavesRunning: false)
            let began = Gap.now
            _ = try plain.restore(from: images)
            peer.restored.append(
                try await Gap.longest("the peer's restore", after: began, context) { plain.output.lines }.end - began
            )
        }
        try plain.remove()
        rows += Self.rows(size, ours, peer, reported, sizes)
    }

    private func measureOurs(
        _ agent: BenchmarkAgent,
        _ job: String,
        _ side: inout Side
    ) async throws -> WireCheckpoint {
        let began = Gap.now
        let checkpoint = try await agent.checkpoint(job)
        side.total.append(Gap.now - began)
        side.frozen.append(try await agent.gap("our checkpoint", of: job, after: began).length)
        return checkpoint
    }

    private static func rows(
        _ size: Int,
        _ ours: Side,
        _ peer: Side,
        _ reported: [Double],
        _ sizes: (raw: Double, stored: Double, peer: Double)
    ) -> [BenchmarkRow] {
        func row(_ name: String, _ ours: [Double], _ peer: [Double]?, goal: BenchmarkGoal? = nil) -> BenchmarkRow {
            BenchmarkRow("\(size) MiB: \(name)", seconds: ours, peer: peer, goal: goal)
        }
        return [
            row(
                "standing still by its own clock; peer: runc + CRIU",
                ours.frozen,
                peer.frozen,
                goal: .ratioAtMost(1.1)
            ),
            row(
                "frozen as Godwit reports it; peer: all of runc checkpoint",
                reported,
                peer.total,
                goal: .ratioAtMost(1.1)
            ),
            row("request to checkpoint on disk; peer: raw in memory", ours.total, peer.total),
            row("restore from disk until it runs; peer: raw from memory", ours.restored, peer.restored),
            BenchmarkRow(
                "\(size) MiB: stored size, mixed pages; peer: CRIU's images",
                unit: "x raw",
                ours: sizes.stored / sizes.raw,
                peer: sizes.peer / sizes.raw,
                goal: .atMost(0.45)
            ),
        ]
    }

    private static func bytes(in folder: String) -> Double {
        ((try? FileSystem.list(folder)) ?? []).reduce(0) {
            $0 + Double(FileSystem.status("\(folder)/\($1)")?.size.rawValue ?? 0)
        }
    }
}
