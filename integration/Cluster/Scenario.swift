import ClusterModel
import Glibc
import LinuxSystem

/// A promise of the product, kept on real kernels under the faults that its name says.
protocol Scenario: Sendable {
    init()
    static var name: String { get }
    /// One sentence: what a user may rely on.
    static var promise: String { get }
    /// Whether it measures what the machine gives, so that nothing else may run meanwhile.
    static var needsWholeMachine: Bool { get }
    func run(_ run: ScenarioRun) async throws
}

extension Scenario {
    static var needsWholeMachine: Bool { false }
}

/// What a run of scenarios is told.
struct ScenarioOptions: Sendable {
    var seed = UInt64(truncatingIfNeeded: MonotonicClock.nanoseconds())
    var killCount = 200
    /// How often NetworkedContainers moves its container, and during how many moves MigrationUnderFaults kills agents.
    var moveCount = 4
    var keepsFolders = false
    var programsFolder: String?
    /// Programs of another build, from which RollingUpgrade upgrades.
    var programsBefore: String?
    /// How long EverythingAtOnce goes on.
    var stormLength = Duration.seconds(45)
}

/// A promise that was not kept.
struct Broken: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// Fails the scenario when a condition does not hold.
func expect(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw Broken(message()) }
}

/// Prints at once, whatever comes after.
func say(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let count = unsafe bytes.withUnsafeBytes { unsafe write(STDOUT_FILENO, $0.baseAddress, $0.count) }
        guard count > 0 else { return }
        bytes = bytes.dropFirst(count)
    }
}

/// One scenario with a folder of its own; everything that it starts ends with it.
final class ScenarioRun: Sendable {
    /// How it went.
    enum Outcome { case passed, failed(reason: String, folder: String) }

    let options: ScenarioOptions
    let folder: String
    let name: String

    init(options: ScenarioOptions, name: String) {
        self.options = options
        self.name = name
        folder = "/tmp/godwit-scenario-\(getpid())-\(name)"
    }

    /// Random choices of this scenario; the same for the same seed.
    func generator() -> SeededGenerator {
        SeededGenerator(
            seed: options.seed ^ name.utf8.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
        )
    }

    func note(_ text: String) { say("    \(text)\n") }

    func run(_ scenario: any Scenario) async -> Outcome {
        do {
            try FileSystem.createFolder(folder, mode: 0o700)
            try await scenario.run(self)
            await removeEverything()
            if !options.keepsFolders { try FileSystem.removeAll(folder) }
            return .passed
        } catch {
            await removeEverything()
            return .failed(reason: "\(error)", folder: folder)
        }
    }

    private func removeEverything() async {
        await AgentProcess.endAll(below: folder)
        await ScenarioNetwork.removeAll(of: getpid())
    }

    /// Ends and removes what runs left that were killed; their folders with the logs stay.
    static func removeLeftovers() async {
        var makers = ScenarioNetwork.deadMakers()
        for name in (try? FileSystem.list("/tmp")) ?? [] where name.hasPrefix("godwit-scenario-") {
            let digits = name.dropFirst("godwit-scenario-".count).prefix { $0.isNumber }
            guard let maker = Int32(digits), !isAtWork(maker) else { continue }
            await AgentProcess.endAll(below: "/tmp/" + name, of: maker)
            makers.insert(maker)
        }
        for maker in makers { await ScenarioNetwork.removeAll(of: maker) }
    }

    /// Whether a process runs scenarios now.
    static func isAtWork(_ pid: Int32) -> Bool {
        (try? FileSystem.readLine("/proc/\(pid)/comm")) == "integration"
    }

    /// Where the programs are.
    var programs: String {
        options.programsFolder ?? FileSystem.parent(of: ownProgram)
    }

    /// A root file system with the workloads, compiled for this machine; made once.
    func makeRoot() async throws -> String {
        let root = folder + "/root"
        guard !FileSystem.exists(root) else { return root }
        try FileSystem.createFolder(root)
        for workload in ["counter", "echo", "ends", "traveller", "witness"] {
            let result = try await ProcessRunner.run(
                ProgramCommand(
                    "cc",
                    ["-O1", "-static", "-pthread", "-o", "\(root)/\(workload)", "integration/workloads/\(workload).c"]
                ),
                timeout: .seconds(60)
            )
            try expect(
                result.isSuccess,
                "\(workload).c could not be compiled (run from the project's folder): \(result.complaint)"
            )
        }
        return root
    }

    /// Asks until the answer is there; every wait has an end.
    func eventually<Value>(
        _ what: String,
        within limit: Duration = .seconds(30),
        every pause: Duration = .milliseconds(50),
        _ ask: () async throws -> Value?
    ) async throws -> Value {
        let end = ContinuousClock.now + limit
        var last = "nothing was answered"
        while ContinuousClock.now < end {
            do {
                if let value = try await ask() { return value }
            } catch { last = "\(error)" }
            try await Task.sleep(for: pause)
        }
        throw Broken("\(what) did not happen within \(limit.text) (\(last))")
    }
}

/// The path of this very program.
let ownProgram: String = {
    var path = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &path, path.count)
    return String(decoding: path.prefix(max(0, count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
}()
