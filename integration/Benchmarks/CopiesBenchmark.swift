import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import Transport

/// Checkpoints that two other agents keep copies of, over generations, beside plain runc and CRIU with two full copies of the images.
///
/// How long a container stood still, and when it ran again, is told by its own program, for both sides alike. The three agents are on this machine: the way
/// between them is the loopback, with TLS, and they share its processors; the peer copies from memory to memory.
struct CopiesBenchmark: Benchmark {
    static let name = "checkpoints"
    static let summary =
        "64 MiB, 512 MiB and 1 GiB with two replicas: time frozen, to quorum, to running again, bytes stored and sent by generation; peer: runc, CRIU, cp"

    private static let sizes = [64, 512, 1024]
    private static let replicas = 2

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        _ = try context.requireCRIU()
        let root = try await context.makeRoot()
        let count = Self.replicas + 1
        let ports = try freePorts(2 * count)
        let agents = try BenchmarkAgents(
            context,
            ports: Array(ports.prefix(count)),
            metricsPorts: Array(ports.suffix(count))
        )
        let processes = ProcessSet()
        defer {
            processes.endAll()
            agents.remove()
        }
        for number in 0..<count {
            try processes.start(number, agents.command(number), log: agents.logPath(of: number))
            try await agents.waitForNodes(number + 1)
        }
        var rows: [BenchmarkRow] = []
        for size in Self.sizes {
            let ours = try await Holder.run(context, agents, size: size, root: root)
            try processes.requireAll { agents.logPath(of: $0) }
            guard let plain = ours.plain else { continue }
            rows += Self.rows(size, ours, try await peer(context, size: size, plain))
        }
        return rows
    }

    /// What the peer took, by round; seconds.
    private struct Peer {
        var frozen: [Double] = []
        var copied: [Double] = []
        var restored: [Double] = []
    }

    private func peer(_ context: BenchmarkContext, size: Int, _ plain: PlainContainer) async throws -> Peer {
        var peer = Peer()
        try plain.start()
        _ = try await context.eventually("filled memory of the peer", within: .seconds(120)) {
            plain.output.lines.contains("ready") ? true : nil
        }
        let images = context.memoryFolder + "/plain"
        // Not counted: the first makes the host supply memory.
        for round in 0...context.rounds {
            let began = Gap.now
            _ = try plain.checkpoint(to: images, leavesRunning: true)
            let gap = try await Gap.longest("the peer's checkpoint", after: began, context) { plain.output.lines }
            for copy in 0..<Self.replicas {
                let copying = try await ProcessRunner.run(
                    ProgramCommand("cp", ["-r", images, "\(images)-\(copy)"]),
                    timeout: .seconds(120)
                )
                guard copying.isSuccess else { throw BenchmarkFailure("the copy of the images: \(copying.complaint)") }
            }
            let copied = Gap.now - gap.end
            for copy in 0..<Self.replicas { try FileSystem.removeAll("\(images)-\(copy)") }
            _ = try plain.checkpoint(to: images, leavesRunning: false)
            let asked = Gap.now
            _ = try plain.restore(from: images)
            let restored = try await Gap.longest("the peer's restore", after: asked, context) { plain.output.lines }
            try FileSystem.removeAll(images)
            guard round > 0 else { continue }
            peer.frozen.append(gap.length)
            peer.copied.append(copied)
            peer.restored.append(restored.end - asked)
        }
        try plain.remove()
        try plain.removeFolder()
        return peer
    }

    private static func rows(_ size: Int, _ ours: Holder, _ peer: Peer) -> [BenchmarkRow] {
        let label = size < 1024 ? "\(size) MiB" : "\(size / 1024) GiB"
        var rows: [BenchmarkRow] = []
        for kind in Holder.Kind.allCases {
            guard let taken = ours.taken[kind] else { continue }
            rows += [
                BenchmarkRow(
                    "\(label), \(kind.rawValue): standing still by its own clock; peer: runc + CRIU",
                    seconds: taken.frozen,
                    peer: peer.frozen,
                    goal: size == 512 ? .atMost(450) : .ratioAtMost(1.1)
                ),
                BenchmarkRow(
                    "\(label), \(kind.rawValue): running again until on its own disk",
                    seconds: taken.stored
                ),
                BenchmarkRow(
                    "\(label), \(kind.rawValue): running again until two nodes have it",
                    seconds: taken.safe
                ),
                BenchmarkRow(
                    "\(label), \(kind.rawValue): running again until all three have it; peer: two copies in memory",
                    seconds: taken.complete,
                    peer: peer.copied
                ),
                BenchmarkRow(
                    "\(label), \(kind.rawValue): stored; peer: CRIU's images",
                    unit: "x raw",
                    ours: taken.storedShare.median,
                    peer: 1,
                    goal: .atMost(kind == .first ? 0.45 : 0.1)
                ),
                BenchmarkRow(
                    "\(label), \(kind.rawValue): sent for one copy; peer: all of it",
                    unit: "x raw",
                    ours: taken.sentShare.median,
                    peer: 1,
                    goal: .atMost(kind == .first ? 0.45 : 0.1)
                ),
            ]
        }
        return rows + [
            BenchmarkRow(
                "\(label): restart from the store until it runs; peer: runc restore from memory",
                seconds: ours.restored,
                peer: peer.restored,
                goal: .atMost(600)
            )
        ]
    }
}

/// Jobs that hold memory and change it, and what their checkpoints took.
private struct Holder {
    /// What a generation has in common with the one before.
    enum Kind: String, CaseIterable {
        case first = "first generation"
        case stretch = "5 % changed in one stretch"
        case scattered = "every 20th page changed"

        /// What makes the program change its memory so.
        var signal: Int32? {
            switch self {
            case .first: nil
            case .stretch: SIGUSR1
            case .scattered: SIGUSR2
            }
        }
    }

    /// By round; seconds from when the container ran again, and parts of the size.
    struct Taken {
        var frozen: [Double] = []
        var stored: [Double] = []
        var safe: [Double] = []
        var complete: [Double] = []
        var storedShare: [Double] = []
        var sentShare: [Double] = []
    }

    /// The bundle of such a container for the peer, not started.
    var plain: PlainContainer?
    var taken: [Kind: Taken] = [:]
    /// Seconds.
    var restored: [Double] = []

    private static let received = "godwit_checkpoint_copy_received_bytes_total"

    /// Submits a job for each round, takes its checkpoints, restarts it, and ends it.
    static func run(
        _ context: BenchmarkContext,
        _ agents: BenchmarkAgents,
        size: Int,
        root: String
    ) async throws -> Holder {
        let connection = AgentConnection(context: context, client: try await agents.connect(0))
        defer { Task { await connection.client.close() } }
        var holder = Holder()
        // Not counted: the first makes the host supply memory.
        for round in 0...context.rounds {
            let job = try await connection.submit(
                "holder-\(size)-\(round)",
                ["hold", "\(size)"],
                root: root,
                more: "checkpoint: {interval: 10h, replicas: 2}"
            )
            let started = try await connection.waitForStart(of: job)
            if holder.plain == nil {
                let folder = "\(context.folder)/ours/\(started.node)/state/containers/\(job)-1"
                holder.plain = try PlainContainer(copying: folder, of: context, image: root)
            }
            _ = try await context.eventually("filled memory", within: .seconds(120)) {
                try await connection.output(of: job).contains("ready") ? true : nil
            }
            for (number, kind) in Kind.allCases.enumerated() {
                if let signal = kind.signal { try await change(job, signal, times: number, connection) }
                var taken = holder.taken[kind] ?? Taken()
                try await take(job, &taken, connection, agents)
                if round > 0 { holder.taken[kind] = taken }
            }
            let restored = try await connection.restart(job)
            if round > 0 { holder.restored.append(restored) }
            try await connection.cancel(job)
            _ = try await context.eventually("the end of the holder") {
                try await connection.summary(job).endedUnixSeconds > 0 ? true : nil
            }
        }
        return holder
    }

    private static func change(
        _ job: String,
        _ signal: Int32,
        times: Int,
        _ connection: AgentConnection
    ) async throws {
        let context = connection.context
        let cgroup = try CgroupSlice(in: try CgroupHierarchy.detect(), path: context.cgroupParent).cgroup("\(job)-1")
        for pid in try cgroup.processes() { kill(pid, signal) }
        _ = try await context.eventually("changed memory", within: .seconds(60)) {
            try await connection.output(of: job).count { $0 == "changed" } == times ? true : nil
        }
    }

    private static func take(
        _ job: String,
        _ taken: inout Taken,
        _ connection: AgentConnection,
        _ agents: BenchmarkAgents
    ) async throws {
        let context = connection.context
        let before = try agents.sum(of: received)
        let began = Gap.now
        let checkpoint = try await connection.checkpoint(job)
        let stored = Gap.now
        func holders(_ count: Int) async throws -> Double {
            try await context.eventually("a checkpoint on \(count) nodes", within: .seconds(120)) {
                var show = WireCheckpointShowRequest()
                show.job.nameOrID = job
                show.generation = checkpoint.generation
                let reply = try await connection.client.checkpointShow(show)
                return reply.checkpoint.checkpoint.holders.count >= count ? Gap.now : nil
            }
        }
        let (safe, complete) = (try await holders(2), try await holders(3))
        let gap = try await connection.gap("our checkpoint", of: job, after: began)
        let raw = Double(checkpoint.rawBytes)
        taken.frozen.append(gap.length)
        taken.stored.append(stored - gap.end)
        taken.safe.append(safe - gap.end)
        taken.complete.append(complete - gap.end)
        taken.storedShare.append(Double(checkpoint.storedBytes) / raw)
        taken.sentShare.append((try agents.sum(of: received) - before) / 2 / raw)
    }
}
