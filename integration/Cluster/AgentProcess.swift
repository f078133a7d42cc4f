import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import NIO
import ResourceSamples
import TLS

/// What makes an agent one of several.
struct AgentMembership: Sendable {
    /// Issues the certificates of all of them.
    var authority: CertificateAuthority
    /// HOST:PORT of the agent through which it joins; nil founds a cluster.
    var seed: String?
    var partitionTimeout: Duration
    /// Where it runs; nil for the loopback of this machine.
    var place: AgentPlace?
    var site = SiteID(rawValue: "here")
    var role = NodeRole.worker
    /// Of its certificate.
    var lifetime = CertificateAuthority.defaultIssuedLifetime
    /// The folder of an authority from which it renews the certificates of nodes.
    var issuer: String?
    /// Issues the users, and is trusted by the agent too, when that is not the agent's own authority.
    var users: CertificateAuthority?
    /// Words `section.key=value` that override the configuration.
    var settings: [String] = []
}

/// An agent with folders, ports, certificates and a cgroup of its own: a private cluster of one unless it is told otherwise.
actor AgentProcess {
    /// Its folder's name; with a membership its node's name, too.
    nonisolated let name: String
    nonisolated let folder: String
    nonisolated let host: String
    nonisolated let port: Int
    nonisolated let stateFolder: String
    nonisolated let cgroupParent: String
    nonisolated let authority: CertificateAuthority
    /// Who issues users; the agent's own authority unless it was told otherwise.
    nonisolated let users: CertificateAuthority
    nonisolated let run: ScenarioRun
    private let arguments: [String]
    private let namespace: String?
    /// Where its program and that of its containers are; another folder is another build.
    private var programs: String
    private var pid: Int32?

    /// Makes certificates and configuration; starts nothing.
    init(
        _ run: ScenarioRun,
        name: String = "agent",
        stateFolder: String? = nil,
        membership: AgentMembership? = nil
    ) throws {
        self.run = run
        self.name = name
        folder = run.folder + "/" + name
        (host, namespace) = (membership?.place?.address ?? "127.0.0.1", membership?.place?.namespace)
        // In a namespace of its own nothing else has ports.
        port = namespace == nil ? try Self.freePort() : 7420
        programs = run.programs
        cgroupParent = "/godwit-scenario-\(getpid())-\(name)"
        try FileSystem.createFolder(folder, mode: 0o700)
        if let membership {
            authority = membership.authority
        } else {
            authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: "scenario"), now: WallClock.now())
            try authority.save(to: folder + "/ca")
        }
        users = membership?.users ?? authority
        try authority.issueNode(
            NodeID(rawValue: membership == nil ? "n1" : name),
            site: membership?.site ?? SiteID(rawValue: "here"),
            role: membership?.role ?? .worker,
            now: WallClock.now(),
            lifetime: membership?.lifetime ?? CertificateAuthority.defaultIssuedLifetime
        ).trusting([users.certificate]).save(to: folder + "/node.pem")
        self.stateFolder = stateFolder ?? folder + "/state"
        try FileSystem.writeAtomically(
            """
            identity: {bundle: \(folder)/node.pem\(membership?.issuer.map { ", issuer: \($0)" } ?? "")}
            listen: {address: \(host), port: \(port)}
            folders: {state: \(self.stateFolder), runtime: \(folder)/run}
            cgroup: {parent: \(cgroupParent)}
            metrics: {enabled: false}
            checkpoints: {tmpfs: /dev/shm/godwit-scenario-\(getpid())-\(name), minimumFree: 1MiB}
            log: {level: debug}
            \(membership.map { "cluster: {partitionTimeout: \($0.partitionTimeout.inSeconds)s}" } ?? "")

            """,
            to: folder + "/agent.yaml"
        )
        arguments =
            ["run", "--config", folder + "/agent.yaml"] + (membership?.seed.map { ["--join", $0] } ?? [])
            + (membership?.settings ?? []).flatMap { ["--set", $0] }
    }

    /// Uses the programs of another build from its next start on.
    func use(programs: String) { self.programs = programs }

    /// Starts the agent and returns when it answers.
    func start(within limit: Duration = .seconds(20)) async throws {
        try launch()
        _ = try await run.eventually("an answer of the agent \(name)", within: limit) {
            try self.requireAlive()
            let client = try await self.connect()
            _ = try await client.status()
            await client.close()
            return true
        }
    }

    /// Starts the agent and waits for nothing.
    func launch() throws {
        let log = try OwnedDescriptor(opening: folder + "/agent.log", O_WRONLY | O_CREAT | O_APPEND)
        // nsenter(1) becomes the agent; ip-netns(8) would also make a mount namespace, which CRIU refuses.
        let enter = namespace.map { ["nsenter", "--net=/run/netns/\($0)"] } ?? []
        let words = enter + [programs + "/godwitd"] + arguments
        pid = try ProcessRunner.spawn(
            ProgramCommand(words[0], Array(words.dropFirst()), startsSession: true),
            standardOutput: log.rawValue,
            standardError: log.rawValue
        )
    }

    /// Waits until the agent ends by itself; returns its exit status.
    func ending(within limit: Duration) async throws -> Int32 {
        guard let pid else { throw Broken("the agent \(name) was not started") }
        let status: Int32 = try await run.eventually("the end of the agent \(name) by itself", within: limit) {
            var status: Int32 = 0
            return unsafe waitpid(pid, &status, WNOHANG) == pid ? status : nil
        }
        self.pid = nil
        // As wait(2) tells it: a signal in the lowest seven bits, else the exit status above them.
        try expect(status & 0x7f == 0, "the agent \(name) ended by signal \(status & 0x7f)")
        return status >> 8 & 0xff
    }

    private func requireAlive() throws {
        guard let pid else { throw Broken("the agent \(name) was not started") }
        var status: Int32 = 0
        if unsafe waitpid(pid, &status, WNOHANG) == pid {
            self.pid = nil
            let log = (try? logLines()) ?? []
            throw Broken("the agent \(name) ended: \(log.suffix(3).joined(separator: " | "))")
        }
    }

    /// Stops the process where it is, as a machine that is overwhelmed would, until it is told to go on.
    func pause() throws {
        try requireAlive()
        if let pid { kill(pid, SIGSTOP) }
    }

    /// Lets the process go on.
    func goOn() throws {
        try requireAlive()
        if let pid { kill(pid, SIGCONT) }
    }

    /// What it has logged since its first start.
    nonisolated func logLines() throws -> [Substring] {
        try FileSystem.readText(folder + "/agent.log", limit: 256 << 20).split(separator: "\n")
    }

    /// Sends a signal and waits until the process is gone.
    func end(_ signal: Int32) async throws {
        guard let pid else { return }
        kill(pid, signal)
        let began = ContinuousClock.now
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, WNOHANG) == 0 {
            guard began.duration(to: .now) < .seconds(30) else {
                throw Broken("the agent \(name) did not end within 30 s")
            }
            try await Task.sleep(for: .milliseconds(2))
        }
        self.pid = nil
    }

    /// Credentials of a new user.
    nonisolated func credentials(
        _ user: String = "tester",
        _ right: UserRight = .admin,
        of authority: CertificateAuthority? = nil
    ) throws -> Credentials {
        let issuer = authority ?? users
        return Credentials(
            identity: try issuer.issueUser(UserID(rawValue: user), right: right, now: WallClock.now()).trusting([
                self.authority.certificate
            ]),
            agents: [AgentAddress(host: host, port: port)]
        )
    }

    /// A connection; close it.
    nonisolated func connect(
        _ user: String = "tester",
        _ right: UserRight = .admin,
        within limit: Duration = .seconds(5)
    ) async throws -> ControlClient {
        try await ControlClient.connect(
            try credentials(user, right),
            software: "integration",
            connectTimeout: limit,
            group: Self.group
        )
    }

    static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    /// The cgroups of this agent's containers, by name.
    nonisolated func containerNames() throws -> [String] {
        let slice = try CgroupSlice(in: try CgroupHierarchy.detect(), path: cgroupParent)
        return try slice.names()
    }

    /// The processes of one of this agent's containers.
    nonisolated func processes(in container: String) throws -> [Int32] {
        try CgroupSlice(in: try CgroupHierarchy.detect(), path: cgroupParent).cgroup(container).processes()
    }

    /// The processes of a job's container.
    nonisolated func processes(of job: String) throws -> [Int32] {
        let slice = try CgroupSlice(in: try CgroupHierarchy.detect(), path: cgroupParent)
        return try slice.names().filter { $0.hasPrefix(job + "-") }.flatMap { try slice.cgroup($0).processes() }
    }

    /// The cgroup of a job's only container.
    nonisolated func cgroup(of job: String) throws -> Cgroup {
        let slice = try CgroupSlice(in: try CgroupHierarchy.detect(), path: cgroupParent)
        let names = try slice.names().filter { $0.hasPrefix(job + "-") }
        guard let name = names.first, names.count == 1 else { throw Broken("job \(job) has \(names.count) containers") }
        return try slice.cgroup(name)
    }

    /// A port that nothing uses, for TCP and UDP.
    ///
    /// Below the range from which the kernel takes ports of outgoing connections, so that an agent that starts again finds its own free.
    private static func freePort() throws -> Int {
        for _ in 0..<1000 {
            let port = UInt16.random(in: 20_000..<32_000)
            if isFree(port, Int32(SOCK_STREAM.rawValue)), isFree(port, Int32(SOCK_DGRAM.rawValue)) { return Int(port) }
        }
        throw Broken("there is no free port from 20000 to 31999")
    }

    private static func isFree(_ port: UInt16, _ kind: Int32) -> Bool {
        let descriptor = socket(AF_INET, kind, 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                unsafe bind(descriptor, raw, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    /// Ends every process, mount and cgroup that belongs to agents below a folder which this process made, or another that is gone.
    static func endAll(below folder: String, of maker: Int32 = getpid()) async {
        for name in (try? FileSystem.list("/proc")) ?? [] {
            guard let pid = Int32(name), pid != getpid(),
                let words = try? FileSystem.readText("/proc/\(name)/cmdline"), words.contains(folder)
            else { continue }
            kill(pid, SIGKILL)
        }
        for agent in (try? FileSystem.list(folder)) ?? [] {
            let parent = "/godwit-scenario-\(maker)-\(agent)"
            if let slice = try? CgroupSlice(in: try CgroupHierarchy.detect(), path: parent) {
                for name in (try? slice.names()) ?? [] {
                    guard let cgroup = try? slice.cgroup(name) else { continue }
                    try? cgroup.killAll()
                    try? cgroup.thaw()
                    try? await cgroup.remove()
                }
                try? await slice.remove()
            }
            try? FileSystem.removeAll("/dev/shm/godwit-scenario-\(maker)-\(agent)")
            for name in (try? FileSystem.list("\(folder)/\(agent)/state/containers")) ?? [] {
                await ScenarioNetwork.removeNamespace(ofContainer: name)
            }
        }
        for mount in ((try? Machine.mounts()) ?? []).reversed() where mount.mountPoint.hasPrefix(folder + "/") {
            try? Mounts.unmount(mount.mountPoint, isLazy: true)
        }
        var status: Int32 = 0
        while unsafe waitpid(-1, &status, WNOHANG) > 0 {}
    }
}
