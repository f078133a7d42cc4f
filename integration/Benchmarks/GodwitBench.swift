import ArgumentParser
import ClusterModel
import Glibc
import LinuxSystem
import ResourceSamples
import Synchronization

/// Measures Godwit beside its peers and holds the figures to its goals.
@main
struct GodwitBench: AsyncParsableCommand {
    static let benchmarks: [any Benchmark.Type] = [
        CommandLineBenchmark.self, ContainerStartBenchmark.self, ResizeBenchmark.self, MonitoringBenchmark.self,
        RestingAgentBenchmark.self, RPCBenchmark.self, ImageStoreBenchmark.self, CheckpointBenchmark.self,
        CopiesBenchmark.self, MigrationBenchmark.self, PolicyBenchmark.self, DeadlineBenchmark.self,
        GossipBenchmark.self,
        ConsensusBenchmark.self,
    ]

    static let configuration = CommandConfiguration(
        commandName: "godwit-bench",
        abstract: "Measure Godwit beside its peers, in the same run, and hold the figures to its goals.",
        discussion: """
            ours      Godwit's figure; median of all repetitions unless the row says p99
            peer      the same work by the tool that the row names
            verdict   whether the goal was reached; a row without a goal is for information

            Needs root, runc, CRIU and cc, for gossip also serf, for consensus also etcd, and the programs as `swift build -c release --static-swift-stdlib` makes them. Run it from the
            project's folder on a machine that does nothing else. What it makes carries its own name and is removed at the end.

            Exit status: 0 every benchmark ran, whatever the verdicts; 1 one could not be run.
            """
    )

    @Flag(help: "Name the benchmarks and what they measure; run nothing.")
    var list = false
    @Option(help: ArgumentHelp("Run only this benchmark; may be repeated.", valueName: "name"))
    var only: [String] = []
    @Option(help: ArgumentHelp("Rounds, each ours and then the peer.", valueName: "n"))
    var runs = 5
    @Option(help: ArgumentHelp("How long an agent's consumption is watched.", valueName: "n"))
    var seconds = 60
    @Option(
        help: ArgumentHelp(
            "How many agents gossip; may be repeated, one size after the other (default: 8, 16, 32; at most 64).",
            valueName: "n"
        )
    )
    var agents: [Int] = []
    @Flag(
        help:
            "Count rounds of gossip and consensus that begin while other work uses the machine, which are discarded else."
    )
    var anyLoad = false
    @Option(help: ArgumentHelp("Also write the figures to this file.", valueName: "file"))
    var json: String?
    @Option(
        help: ArgumentHelp(
            "Where godwitd, godwit and godwit-shim are (default: beside this program, then .build/release).",
            valueName: "folder"
        )
    )
    var programs: String?

    func validate() throws {
        guard (1...100).contains(runs) else { throw ValidationError("--runs must be 1 to 100.") }
        guard (5...3600).contains(seconds) else { throw ValidationError("--seconds must be 5 to 3600.") }
        guard agents.allSatisfy({ (4...64).contains($0) }) else { throw ValidationError("--agents must be 4 to 64.") }
        for name in only where !Self.benchmarks.contains(where: { $0.name == name }) {
            throw ValidationError("there is no benchmark '\(name)'; --list names them.")
        }
    }

    func run() async throws {
        if list {
            for benchmark in Self.benchmarks { say("\(benchmark.name): \(benchmark.summary)\n") }
            return
        }
        guard geteuid() == 0 else { throw BenchmarkFailure("containers and cgroups need root") }
        let load = try Machine.load().oneMinute
        say("load \(load.text(decimals: 2)) on \(Machine.processorCount) processors, \(runs) rounds\n")
        let criu = await NodeProbe().run().facts.criu
        var reports: [BenchmarkReport] = []
        for benchmark in Self.benchmarks where only.isEmpty || only.contains(benchmark.name) {
            var context = BenchmarkContext(
                rounds: runs,
                watch: .seconds(seconds),
                agents: agents.isEmpty ? [8, 16, 32] : agents,
                programs: programsFolder,
                criu: criu,
                benchmark: benchmark.name
            )
            context.anyLoad = anyLoad
            reports.append(try await measure(benchmark, context))
            if Interruption.hasHappened { break }
        }
        if let json {
            try BenchmarkRecord(
                time: WallClock.now().description,
                kernel: Machine.kernelRelease,
                processor: (try? Machine.processorName()).flatMap { $0 } ?? "unknown",
                processors: Machine.processorCount,
                loadAtStart: load,
                rounds: runs,
                reports: reports
            ).write(to: json)
        }
        let rows = reports.flatMap(\.rows)
        let (reached, missed) = (rows.count { $0.isReached == true }, rows.count { $0.isReached == false })
        say("\n\(reached) goals reached, \(missed) missed")
        say(
            reports.contains { $0.busyBefore > MachineLoad.tolerable }
                ? "; the machine was BUSY with other work, so do not trust the figures\n" : "\n"
        )
        if reports.contains(where: { $0.failure != nil }) { throw ExitCode(1) }
    }

    private func measure(_ benchmark: any Benchmark.Type, _ context: BenchmarkContext) async throws -> BenchmarkReport {
        let busy = try await MachineLoad.busy()
        if busy > MachineLoad.tolerable {
            say(
                "\(benchmark.name): other work uses \(figure(busy * 100)) % of the processors: do not trust what follows\n"
            )
        }
        var report = BenchmarkReport(benchmark: benchmark.name, busyBefore: busy, seconds: 0, rows: [])
        let began = ContinuousClock.now
        let task = Task(name: benchmark.name) { try await benchmark.init().run(context) }
        Interruption.cancels(task)
        do { report.rows = try await task.value } catch { report.failure = "\(error)\(context.lastWordsOfAgent)" }
        // In a task of its own: one that was cancelled could not wait for processes to end.
        await Task(name: "clean up") { await context.cleanUp() }.value
        report.seconds = began.duration(to: .now).inSeconds
        say(report.text)
        return report
    }

    private var programsFolder: String {
        if let programs { return programs }
        let beside = FileSystem.parent(of: (try? ownProgram()) ?? "")
        return FileSystem.isExecutable(beside + "/godwitd") ? beside : ".build/release"
    }

    private func ownProgram() throws -> String {
        var path = [CChar](repeating: 0, count: 4096)
        let count = unsafe readlink("/proc/self/exe", &path, path.count)
        return String(decoding: path.prefix(max(0, count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

/// Ctrl-C and SIGTERM end a benchmark the orderly way: it is cancelled, and what it made is removed.
enum Interruption {
    private static let task = Mutex<Task<[BenchmarkRow], any Error>?>(nil)
    private static let flag = Atomic<Bool>(false)
    private static let pipe = Atomic<Int32>(-1)

    static var hasHappened: Bool { flag.load(ordering: .relaxed) }

    /// Makes this task the one that a signal cancels.
    static func cancels(_ running: Task<[BenchmarkRow], any Error>) {
        task.withLock { $0 = running }
        if pipe.load(ordering: .relaxed) < 0 { install() }
        if hasHappened { running.cancel() }
    }

    /// The handler only writes a byte, which is all that one may do; a thread takes it from there.
    private static func install() {
        var ends: [Int32] = [-1, -1]
        guard unsafe Glibc.pipe(&ends) == 0 else { return }
        pipe.store(ends[1], ordering: .relaxed)
        let reading = ends[0]
        try? SystemThread.start(name: "interruption") {
            var byte: UInt8 = 0
            while unsafe read(reading, &byte, 1) == 1 {
                flag.store(true, ordering: .relaxed)
                task.withLock { $0?.cancel() }
            }
        }
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in
                var byte: UInt8 = 1
                _ = unsafe write(Interruption.pipe.load(ordering: .relaxed), &byte, 1)
            }
        }
    }
}
