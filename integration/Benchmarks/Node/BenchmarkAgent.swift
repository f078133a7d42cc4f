import ClusterModel
import ControlAPI
import ControlMessages
import FoundationEssentials
import Glibc
import LinuxSystem
import NIO
import TLS
import Transport

/// A private cluster of one with the settings that we ship: a real agent, and a connection to it.
struct BenchmarkAgent: JobClient {
    let context: BenchmarkContext
    let pid: Int32
    let port: Int
    let client: ControlClient
    /// What `godwit --identity` takes.
    let identityPath: String
    /// When it was started until it first answered.
    let startTime: Duration

    /// One event loop for all clients of this program; ends with it.
    private static let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    /// Starts an agent and returns when it answers.
    ///
    /// - Parameters:
    ///   - context: names its folders and cgroups.
    ///   - settings: further lines of its configuration.
    ///   - processors: confines it and its containers to the first processors of the machine.
    /// - Returns: the agent; end it with `stop()`.
    /// - Throws: ``BenchmarkFailure`` with the agent's last words when it does not come up.
    static func start(
        _ context: BenchmarkContext,
        settings: String = "",
        processors: Int? = nil
    ) async throws -> BenchmarkAgent {
        let program = try context.program("godwitd")
        _ = try context.program("godwit-shim")
        let folder = context.folder
        let listener = try LoopbackListener()
        let port = listener.port
        listener.close()
        try FileSystem.createFolder(folder, mode: 0o700)
        let authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: "bench"), now: WallClock.now())
        let node = try authority.issueNode(
            NodeID(rawValue: "n1"),
            site: SiteID(rawValue: "here"),
            role: .worker,
            now: WallClock.now()
        )
        let user = try authority.issueUser(UserID(rawValue: "bench"), right: .admin, now: WallClock.now())
        for file in ["node.pem", "user.pem"] { try FileSystem.removeAll("\(folder)/\(file)") }
        try node.save(to: folder + "/node.pem")
        try user.save(to: folder + "/user.pem")
        try FileSystem.writeAtomically(
            """
            identity: {bundle: \(folder)/node.pem}
            listen: {address: 127.0.0.1, port: \(port)}
            folders: {state: \(folder)/state, runtime: \(context.runtimeFolder)}
            cgroup: {parent: \(context.cgroupParent)}
            metrics: {port: 0}
            checkpoints: {tmpfs: \(context.memoryFolder)}
            \(settings)

            """,
            to: folder + "/agent.yaml"
        )
        let log = try OwnedDescriptor(opening: folder + "/agent.log", O_WRONLY | O_CREAT | O_APPEND, mode: 0o600)
        let began = ContinuousClock.now
        var command = ProgramCommand(program, ["run", "--config", folder + "/agent.yaml"], startsSession: true)
        if let processors {
            command.arguments = ["-c", "0-\(processors - 1)", command.program] + command.arguments
            command.program = "taskset"
        }
        let pid = try ProcessRunner.spawn(command, standardOutput: log.rawValue, standardError: log.rawValue)
        let credentials = Credentials(identity: user, agents: [AgentAddress(host: "127.0.0.1", port: port)])
        do {
            let client = try await context.eventually("an answer of the agent") { () async throws -> ControlClient? in
                guard Self.isRunning(pid) else { throw BenchmarkFailure("the agent ended") }
                return try? await ControlClient.connect(credentials, software: "godwit-bench", group: loops)
            }
            return BenchmarkAgent(
                context: context,
                pid: pid,
                port: port,
                client: client,
                identityPath: folder + "/user.pem",
                startTime: began.duration(to: .now)
            )
        } catch {
            let words = (try? FileSystem.readText(folder + "/agent.log", limit: 8 << 20)) ?? ""
            throw BenchmarkFailure("\(error): \(words.split(separator: "\n").suffix(3).joined(separator: " | "))")
        }
    }

    private static func isRunning(_ pid: Int32) -> Bool {
        var status: Int32 = 0
        return unsafe waitpid(pid, &status, WNOHANG) == 0
    }

    /// Ends the agent; containers that still run are the clean-up's.
    func stop() async throws {
        await client.close()
        kill(pid, SIGTERM)
        _ = try await context.eventually("the end of the agent") { Self.isRunning(pid) ? nil : true }
    }

    /// The folder of a job's first container, with the bundle that runc was given.
    func containerFolder(of job: String) -> String { "\(context.folder)/state/containers/\(job)-1" }

    /// The cgroup of a job's first container.
    func cgroup(of job: String) throws -> Cgroup {
        try CgroupSlice(in: try CgroupHierarchy.detect(), path: context.cgroupParent).cgroup("\(job)-1")
    }
}

/// What another process consumes.
enum ProcessUse {
    /// CPU time of all its threads, those that have ended too, to the nanosecond.
    static func cpuTime(of pid: Int32) throws -> Duration {
        var clock = clockid_t()
        var time = timespec()
        guard unsafe clock_getcpuclockid(pid, &clock) == 0, unsafe clock_gettime(clock, &time) == 0 else {
            throw BenchmarkFailure("the CPU clock of process \(pid) cannot be read: it has ended")
        }
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }

    /// Memory in use: all of it (`VmRSS`), or what is not a part of files (`RssAnon`).
    static func residentBytes(of pid: Int32, _ key: String = "VmRSS") throws -> ByteCount {
        let text = try FileSystem.readText("/proc/\(pid)/status")
        let line = text.split(separator: "\n").first { $0.hasPrefix(key + ":") } ?? ""
        guard let kibibytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int64($0) }) else {
            throw BenchmarkFailure("/proc/\(pid)/status has no \(key)")
        }
        return .kibibytes(kibibytes)
    }
}

/// A TCP socket that listens on a port of the loopback.
struct LoopbackListener: Sendable {
    let descriptor: Int32
    let port: Int

    /// Takes the port that is named, or with 0 any that is free.
    init(port wanted: Int = 0) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(clamping: wanted).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                unsafe bind(descriptor, raw, length) == 0 && listen(descriptor, 8) == 0
                    && getsockname(descriptor, raw, &length) == 0
            }
        }
        guard isBound else {
            let reason = errno
            Glibc.close(descriptor)
            throw BenchmarkFailure("port \(wanted) is not free on the loopback (errno \(reason))")
        }
        self.descriptor = descriptor
        port = Int(UInt16(bigEndian: address.sin_port))
    }

    /// Waits for a caller's first byte and hangs up; returns when the byte came, in nanoseconds of the monotonic clock.
    func firstByte() throws -> Int64 {
        var query = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&query, 1, 5000) == 1 else { throw BenchmarkFailure("nobody called within 5 s") }
        let call = accept(descriptor, nil, nil)
        defer { Glibc.close(call) }
        var byte: UInt8 = 0
        guard unsafe read(call, &byte, 1) == 1 else { throw BenchmarkFailure("the caller said nothing") }
        return MonotonicClock.nanoseconds()
    }

    func close() { Glibc.close(descriptor) }

    /// All that a server on a port of the loopback says to a request until it hangs up.
    static func answer(of port: Int, to request: String) throws -> String {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { Glibc.close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(clamping: port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let isConnected = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                unsafe connect(descriptor, raw, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        let bytes = Array(request.utf8)
        guard isConnected, unsafe write(descriptor, bytes, bytes.count) == bytes.count else {
            throw BenchmarkFailure("nobody answers on port \(port) (errno \(errno))")
        }
        var (answer, buffer): ([UInt8], [UInt8]) = ([], [UInt8](repeating: 0, count: 65536))
        while true {
            let count = unsafe read(descriptor, &buffer, buffer.count)
            guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
            answer += buffer[..<count]
        }
    }
}
