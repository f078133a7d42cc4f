import ClusterModel
import Glibc
import LinuxSystem
import ResourceSamples

/// Something that is measured, in one run beside its peer.
protocol Benchmark: Sendable {
    init()
    /// What `--only` takes.
    static var name: String { get }
    /// One line for `--list`.
    static var summary: String { get }
    /// Measures; what it started ends with it, whatever happens.
    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow]
}

/// A benchmark could not be run: what failed, and the remedy.
struct BenchmarkFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// What a benchmark is told, and the places that are its own.
struct BenchmarkContext: Sendable {
    /// Rounds, each of them ours and then the peer; what takes milliseconds is done several times in a round.
    var rounds: Int
    /// How long the consumption of an agent is watched.
    var watch: Duration
    /// How many agents gossip, one size after the other.
    var agents: [Int]
    /// Whether rounds count that begin while other work uses the machine.
    var anyLoad = false
    /// Where godwitd, godwit and godwit-shim are.
    var programs: String
    /// The CRIU that an agent would use here; nil when there is none that works.
    var criu: CRIUFacts?
    /// Names folders and cgroups, so that nothing of anybody else's can be meant.
    let label: String

    init(rounds: Int, watch: Duration, agents: [Int], programs: String, criu: CRIUFacts?, benchmark: String) {
        (self.rounds, self.watch, self.agents) = (rounds, watch, agents)
        (self.programs, self.criu) = (programs, criu)
        label = "godwit-bench-\(getpid())-\(benchmark)"
    }

    /// On the disk that usually holds an agent's state.
    var folder: String { "/var/tmp/\(label)" }
    /// Where an agent and runc keep what a boot may take away.
    var runtimeFolder: String { "/run/\(label)" }
    /// In memory, as checkpoints under way are.
    var memoryFolder: String { "/dev/shm/\(label)" }
    /// Parent of all cgroups, ours and the peer's.
    var cgroupParent: String { "/\(label)" }

    /// `PATH` with the CRIU that was chosen before all others, as the agent gives it to runc.
    var searchPath: String {
        (criu.map { FileSystem.parent(of: $0.tool.path) + ":" } ?? "")
            + (ProcessRunner.environmentVariable("PATH")
                ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    }

    /// Path of a program, which must be there.
    func program(_ name: String) throws -> String {
        let path = "\(programs)/\(name)"
        guard FileSystem.isExecutable(path) else {
            throw BenchmarkFailure(
                "\(path) is missing: build it with `swift build -c release --static-swift-stdlib --product \(name)`, or name the "
                    + "folder with --programs"
            )
        }
        return path
    }

    func requireCRIU() throws -> CRIUFacts {
        guard let criu, criu.works else {
            throw BenchmarkFailure(
                "no CRIU works here\(criu.map { " (\($0.tool.path): \($0.complaint))" } ?? ""): run agents/packaging/install-criu"
            )
        }
        return criu
    }

    /// A root file system with the program that containers of benchmarks run, compiled once.
    func makeRoot() async throws -> String {
        let root = folder + "/root"
        if FileSystem.exists(root + "/bench") { return root }
        try FileSystem.createFolder(root)
        let source = "integration/Benchmarks/workloads/bench.c"
        guard FileSystem.exists(source) else {
            throw BenchmarkFailure("\(source) is not here: run the benchmarks from the project's folder")
        }
        let result = try await ProcessRunner.run(
            ProgramCommand("cc", ["-O2", "-static", "-pthread", "-o", root + "/bench", source]),
            timeout: .seconds(60)
        )
        guard result.isSuccess else { throw BenchmarkFailure("\(source) could not be compiled: \(result.complaint)") }
        return root
    }

    /// Asks until the answer is there; every wait has an end.
    func eventually<Value>(
        _ what: String,
        within limit: Duration = .seconds(30),
        every pause: Duration = .milliseconds(5),
        _ ask: () async throws -> Value?
    ) async throws -> Value {
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end {
            if let value = try await ask() { return value }
            try await Task.sleep(for: pause)
        }
        throw BenchmarkFailure("\(what) did not happen within \(limit.text)")
    }

    /// The end of the agent's log, for the report of a failure; empty without an agent.
    var lastWordsOfAgent: String {
        guard let text = try? FileSystem.readText(folder + "/agent.log", limit: 64 << 20) else { return "" }
        return text.split(separator: "\n").suffix(5).map { "\n    agent: \($0)" }.joined()
    }

    // MARK: The end

    /// Ends what still runs and forgets all state, for a second agent that starts like the first.
    func cleanUpState() async {
        await endContainers()
        for folder in [folder + "/state", folder + "/plain", runtimeFolder, memoryFolder] {
            try? FileSystem.removeAll(folder)
        }
    }

    /// Ends every process, container, mount and cgroup that carries this benchmark's label, and removes its folders.
    func cleanUp() async {
        await endContainers()
        for folder in [folder, runtimeFolder, memoryFolder] { try? FileSystem.removeAll(folder) }
    }

    private func endContainers() async {
        for name in (try? FileSystem.list("/proc")) ?? [] {
            guard let pid = Int32(name), pid != getpid(),
                let words = try? FileSystem.readText("/proc/\(name)/cmdline"), words.contains(label)
            else { continue }
            kill(pid, SIGKILL)
        }
        if let hierarchy = try? CgroupHierarchy.detect(),
            let slice = try? CgroupSlice(in: hierarchy, path: cgroupParent)
        {
            for name in (try? slice.names()) ?? [] {
                guard let cgroup = try? slice.cgroup(name) else { continue }
                try? await cgroup.kill()
                try? await cgroup.remove()
            }
            try? await slice.remove()
        }
        for mount in ((try? Machine.mounts()) ?? []).reversed() where mount.mountPoint.contains("/\(label)/") {
            try? Mounts.unmount(mount.mountPoint, isLazy: true)
        }
    }
}
