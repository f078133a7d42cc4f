import ClusterModel
import ControlAPI
import ControlMessages
import LinuxSystem
import Transport

/// A running container that moves from one agent to another and back, beside plain runc and CRIU with a full copy of the images.
///
/// How long it stood still is told by its own program, for both sides alike: the longest time in which it could not run. Both agents are on
/// this machine, so the way between them is the loopback, with TLS; the peer copies from memory to memory, without.
struct MigrationBenchmark: Benchmark {
    static let name = "migration"
    static let summary =
        "64 MiB, 1 and 4 GiB from agent to agent: downtime, total time, bytes sent; peer: runc checkpoint, copy, restore"

    private static let sizes = [64, 1024, 4096]

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        _ = try context.requireCRIU()
        let root = try await context.makeRoot()
        let agents = try BenchmarkAgents(context, ports: try freePorts(2))
        let processes = ProcessSet()
        defer {
            processes.endAll()
            agents.remove()
        }
        for number in 0..<2 {
            try processes.start(number, agents.command(number), log: agents.logPath(of: number))
            try await agents.waitForNodes(number + 1)
        }
        var rows: [BenchmarkRow] = []
        var downtime: Double?
        for size in Self.sizes {
            let ours = try await Traveller.run(context, agents, size: size, root: root)
            try processes.requireAll { agents.logPath(of: $0) }
            let peer = try await peer(context, size: size, plain: ours.plain)
            rows += Self.rows(size, ours, peer, smaller: downtime)
            downtime = ours.stoodStill.median
        }
        return rows
    }

    /// The figures of one side, by round.
    fileprivate struct Side {
        var stoodStill: [Double] = []
        var total: [Double] = []
    }

    private func peer(_ context: BenchmarkContext, size: Int, plain: PlainContainer) async throws -> Side {
        var side = Side()
        try plain.start()
        _ = try await context.eventually("filled memory of the peer", within: .seconds(120)) {
            plain.output.lines.contains("ready") ? true : nil
        }
        let (images, copy) = (context.memoryFolder + "/plain", context.memoryFolder + "/plain-copy")
        // Not counted: the first makes the host supply memory.
        for round in 0...context.rounds {
            let began = Gap.now
            _ = try plain.checkpoint(to: images, leavesRunning: false)
            let copying = try await ProcessRunner.run(
                ProgramCommand("cp", ["-r", images, copy]),
                timeout: .seconds(120)
            )
            guard copying.isSuccess else { throw BenchmarkFailure("the copy of the images: \(copying.complaint)") }
            // As at another node, which does not have the first one.
            try FileSystem.removeAll(images)
            _ = try plain.restore(from: copy)
            let total = Gap.now - began
            let gap = try await Gap.longest("the peer's move", after: began, context) { plain.output.lines }
            try FileSystem.removeAll(copy)
            guard round > 0 else { continue }
            side.total.append(total)
            side.stoodStill.append(gap.length)
        }
        try plain.remove()
        try plain.removeFolder()
        return side
    }

    private static func rows(_ size: Int, _ ours: Traveller, _ peer: Side, smaller: Double?) -> [BenchmarkRow] {
        let label = size < 1024 ? "\(size) MiB" : "\(size / 1024) GiB"
        let goal: BenchmarkGoal? =
            switch size {
            case 64: .atMost(300)
            case 1024: .atMost(450)
            // Independent of size.
            default: smaller.map { .atMost(1.2 * $0 * 1000) }
            }
        func row(_ name: String, _ ours: [Double], _ peer: [Double]?, goal: BenchmarkGoal? = nil) -> BenchmarkRow {
            BenchmarkRow("\(label): \(name)", seconds: ours, peer: peer, goal: goal)
        }
        return [
            row(
                "standing still by its own clock; peer: runc + CRIU + cp",
                ours.stoodStill,
                peer.stoodStill,
                goal: goal
            ),
            row("downtime as Godwit reports it", ours.reported, nil),
            row("request until the source holds nothing; peer: all three steps", ours.total, peer.total),
            BenchmarkRow(
                "\(label): bytes sent, mixed pages",
                unit: "x raw",
                ours: ours.sent / max(1, ours.raw),
                peer: 1
            ),
        ]
    }
}

/// A job that was moved to and fro, and what that took.
private struct Traveller {
    /// The bundle of the same container for the peer, not started.
    let plain: PlainContainer
    /// Seconds, by round.
    var stoodStill: [Double] = []
    var reported: [Double] = []
    var total: [Double] = []
    var raw = 0.0
    var sent = 0.0

    /// Submits a job that holds memory, moves it as often as there are rounds, and ends it.
    static func run(
        _ context: BenchmarkContext,
        _ agents: BenchmarkAgents,
        size: Int,
        root: String
    ) async throws -> Traveller {
        let connection = AgentConnection(context: context, client: try await agents.connect(0))
        defer { Task { await connection.client.close() } }
        let job = try await connection.submit("traveller-\(size)", ["hold", "\(size)"], root: root)
        let started = try await connection.waitForStart(of: job)
        let folder = "\(context.folder)/ours/\(started.node)/state/containers/\(job)-1"
        var traveller = Traveller(plain: try PlainContainer(copying: folder, of: context, image: root))
        _ = try await context.eventually("filled memory", within: .seconds(120)) {
            try await connection.output(of: job).contains("ready") ? true : nil
        }
        // Not counted: the first makes the host supply memory.
        for round in 0...context.rounds {
            var request = WireJobMigrateRequest()
            request.job.nameOrID = job
            let began = Gap.now
            let reply = try await connection.client.jobMigrate(request)
            let total = Gap.now - began
            let gap = try await connection.gap("our move", of: job, after: began)
            guard round > 0 else { continue }
            traveller.stoodStill.append(gap.length)
            traveller.reported.append(reply.downtimeSeconds)
            traveller.total.append(max(total, reply.totalSeconds))
            (traveller.raw, traveller.sent) = (Double(reply.rawBytes), Double(reply.sentBytes))
        }
        try await connection.cancel(job)
        _ = try await context.eventually("the end of the traveller") {
            try await connection.summary(job).endedUnixSeconds > 0 ? true : nil
        }
        return traveller
    }
}
