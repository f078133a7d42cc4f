import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import NIO
import TLS

/// Real agents with the settings that we ship, as many as are asked for: n1 founds a cluster, the others join it.
///
/// Certificates and configurations are made at once, processes when they are started.
struct BenchmarkAgents: Sendable {
    let context: BenchmarkContext
    /// Of the agents, from n1 on.
    let ports: [Int]
    /// Where each answers with its metrics; empty when they have none.
    let metricsPorts: [Int]
    private let program: String
    private let user: IdentityBundle

    /// Of all clients of this program; ends with it.
    static let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    /// With `metricsPorts`, one for each, they answer with their metrics there.
    init(_ context: BenchmarkContext, ports: [Int], metricsPorts: [Int] = []) throws {
        (self.context, self.ports, self.metricsPorts) = (context, ports, metricsPorts)
        program = try context.program("godwitd")
        _ = try context.program("godwit-shim")
        let authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: "bench"), now: WallClock.now())
        user = try authority.issueUser(UserID(rawValue: "bench"), right: .admin, now: WallClock.now())
        for (number, port) in ports.enumerated() {
            let folder = Self.folder(of: number, context)
            try FileSystem.removeAll(folder)
            try FileSystem.createFolder(folder, mode: 0o700)
            try authority.issueNode(
                NodeID(rawValue: Self.name(of: number)),
                site: SiteID(rawValue: "here"),
                role: .worker,
                now: WallClock.now()
            ).save(to: folder + "/node.pem")
            try FileSystem.writeAtomically(
                """
                identity: {bundle: \(folder)/node.pem}
                listen: {address: 127.0.0.1, port: \(port)}
                folders: {state: \(folder)/state, runtime: \(context.runtimeFolder)/\(Self.name(of: number))}
                cgroup: {parent: \(context.cgroupParent)}
                metrics: {\(metricsPorts.isEmpty ? "enabled: false" : "port: \(metricsPorts[number])")}
                checkpoints: {tmpfs: \(context.memoryFolder)/\(Self.name(of: number))}

                """,
                to: folder + "/agent.yaml"
            )
        }
    }

    static func name(of number: Int) -> String { "n\(number + 1)" }

    /// The number of the agent with a name; nil when it is none of ours.
    func number(of name: some StringProtocol) -> Int? {
        guard name.first == "n", let number = Int(name.dropFirst()), (1...ports.count).contains(number) else {
            return nil
        }
        return number - 1
    }

    private static func folder(of number: Int, _ context: BenchmarkContext) -> String {
        "\(context.folder)/ours/\(name(of: number))"
    }

    /// What starts an agent; all but the first join through the first.
    func command(_ number: Int) -> ProgramCommand {
        ProgramCommand(
            program,
            ["run", "--config", Self.folder(of: number, context) + "/agent.yaml"]
                + (number > 0 ? ["--join", "127.0.0.1:\(ports[0])"] : []),
            startsSession: true
        )
    }

    func logPath(of number: Int) -> String { Self.folder(of: number, context) + "/agent.log" }

    /// A connection of a user who may do everything; throws when the agent does not answer.
    func connect(_ number: Int) async throws -> ControlClient {
        try await ControlClient.connect(
            Credentials(identity: user, agents: [AgentAddress(host: "127.0.0.1", port: ports[number])]),
            software: "godwit-bench",
            connectTimeout: .seconds(1),
            group: Self.loops
        )
    }

    /// The sum of a metric without labels over all agents.
    func sum(of metric: String) throws -> Double {
        try metricsPorts.reduce(0) { sum, port in
            let text = try LoopbackListener.answer(
                of: port,
                to: "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            let line = text.split(whereSeparator: \.isNewline).first { $0.hasPrefix(metric + " ") }
            return sum + (line.flatMap { Double($0.dropFirst(metric.utf8.count + 1)) } ?? 0)
        }
    }

    /// Waits until so many nodes are alive.
    func waitForNodes(_ count: Int) async throws {
        _ = try await context.eventually("\(count) nodes that are alive", every: .milliseconds(50)) {
            () async throws -> Bool? in
            guard let client = try? await connect(0) else { return nil }
            let active = try? await client.nodeList().nodes.count { $0.state == "alive" }
            await client.close()
            return active == count ? true : nil
        }
    }

    /// Frees the disk of what they wrote; they have ended.
    func remove() {
        for folder in [context.folder + "/ours", context.runtimeFolder, context.memoryFolder] {
            try? FileSystem.removeAll(folder)
        }
    }
}

/// An agent as one asks it about jobs.
struct AgentConnection: JobClient {
    let context: BenchmarkContext
    let client: ControlClient
}

/// Processes of a benchmark, each with a log file, by number.
final class ProcessSet {
    private(set) var pids: [Int: Int32] = [:]

    /// Starts a process that appends what it says to a file.
    func start(_ number: Int, _ command: ProgramCommand, log: String) throws {
        let output = try OwnedDescriptor(opening: log, O_WRONLY | O_CREAT | O_APPEND, mode: 0o600)
        pids[number] = try ProcessRunner.spawn(
            command,
            standardOutput: output.rawValue,
            standardError: output.rawValue
        )
    }

    /// Sends a signal and returns; the process is waited for when it is needed gone.
    func signal(_ number: Int, _ signal: Int32) {
        if let pid = pids[number] { kill(pid, signal) }
    }

    /// Waits until a process that was told to end is gone; kills it when it takes more than half a minute.
    func wait(_ number: Int) async throws {
        guard let pid = pids[number] else { return }
        let began = ContinuousClock.now
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, WNOHANG) == 0 {
            if began.duration(to: .now) > .seconds(30) { kill(pid, SIGKILL) }
            try await Task.sleep(for: .milliseconds(2))
        }
        pids[number] = nil
    }

    /// Fails when one has ended by itself.
    func requireAll(logs: (Int) -> String) throws {
        for (number, pid) in pids.sorted(by: { $0.key < $1.key }) {
            var status: Int32 = 0
            guard unsafe waitpid(pid, &status, WNOHANG) == pid else { continue }
            pids[number] = nil
            let words = (try? FileSystem.readText(logs(number), limit: 64 << 20)) ?? ""
            throw BenchmarkFailure(
                "\(logs(number)): the process ended: "
                    + words.split(separator: "\n").suffix(3).joined(separator: " | ")
            )
        }
    }

    /// Kills all and waits for them; never fails, so that it can be the last thing done.
    func endAll() {
        for pid in pids.values { kill(pid, SIGKILL) }
        for pid in pids.values { _ = try? ProcessControl.waitForChild(pid) }
        pids = [:]
    }
}

/// Ports below the range from which the kernel takes those of outgoing connections, so that who starts again finds its own free.
func freePorts(_ count: Int) throws -> [Int] {
    var ports: Set<Int> = []
    for _ in 0..<10_000 where ports.count < count {
        let port = Int.random(in: 20_000..<32_000)
        guard let listener = try? LoopbackListener(port: port) else { continue }
        listener.close()
        ports.insert(port)
    }
    guard ports.count == count else { throw BenchmarkFailure("there are no \(count) free ports from 20000 to 31999") }
    return ports.sorted()
}

extension BenchmarkContext {
    /// Path of a peer, which is none of the project's prerequisites.
    func peer(_ name: String, package: String) throws -> String {
        guard let path = ProcessRunner.find(name) else {
            throw BenchmarkFailure("the peer \(name) is missing: install it with `apt-get install \(package)`")
        }
        return path
    }

    /// Waits a while for other work to end, and says whether a round that begins now is worth counting.
    ///
    /// A round is not when other work uses more than half of all processors. `own` is the part of them that the benchmark's own
    /// processes may use while nothing is asked of them.
    func isQuietEnough(for what: String, own: Double = 0) async throws -> Bool {
        var busy = 1.0
        for _ in 0..<(anyLoad ? 1 : 20) {
            busy = try await MachineLoad.busy()
            if busy <= MachineLoad.tolerable + own { return true }
        }
        let isCounted = anyLoad || busy <= 0.5
        say(
            "  \(what): other work uses about \(figure((busy - own) * 100)) % of the processors\(isCounted ? "" : ", so this round is discarded")\n"
        )
        return isCounted
    }
}
