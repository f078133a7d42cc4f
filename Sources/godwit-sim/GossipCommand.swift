import ArgumentParser
import ClusterModel
import ClusterSim

/// Pools of gossiping members.
struct GossipCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gossip",
        abstract: "Run pools of gossiping members, and measure detection, cost and false verdicts.",
        discussion: """
            Each run lets a pool settle, watches it while nothing happens, then crashes one member and waits until all others hold it for dead.

            first      seconds from the crash to the first verdict
            all        seconds from the crash until all members know
            B/s        bytes that one member sends in a second while nothing happens, sealed
            false      verdicts about members that were well, by members that were well
            suspected  suspicions of members that were well; each is refuted
            """
    )

    @Option(help: "Members, 2 to 10000; several with commas.")
    var members = "100"
    @Option(help: "One seed or a range: each is a run.")
    var seeds = "1..3"
    @Option(help: "Part of all datagrams that is lost, 0 to 0.9.")
    var loss = 0.0
    @Option(help: "One-way delay in milliseconds.")
    var delay = 1
    @Option(help: "Members that get 100 ms of each 2 s only.")
    var starved = 0
    @Option(help: "Seconds that the pool is watched before the crash.")
    var watch = 20
    @Flag(help: "Use the settings for wide areas.")
    var wan = false
    @Option(name: .shortAndLong, help: "table or json.")
    var output = OutputFormat.table

    private var sizes: [Int?] { members.split(separator: ",").map { Int($0) } }

    func validate() throws {
        guard !sizes.isEmpty, sizes.allSatisfy({ $0.map { (2...10_000).contains($0) } ?? false }) else {
            throw ValidationError("--members is one or more numbers from 2 to 10000, such as 100,1000.")
        }
        guard ClusterCommand.range(seeds) != nil else {
            throw ValidationError("--seeds is a number or a range such as 1..3.")
        }
        guard (0...0.9).contains(loss) else { throw ValidationError("--loss must be 0 to 0.9.") }
        guard (0...10_000).contains(delay) else { throw ValidationError("--delay must be 0 to 10000.") }
        guard (1...3600).contains(watch) else { throw ValidationError("--watch must be 1 to 3600.") }
        guard starved >= 0 else { throw ValidationError("--starved must be at least 0.") }
    }

    private struct Line: Encodable {
        var members: Int
        var bytesPerSecond: Double
        var packetsPerSecond: Double
        var study: GossipStudy
    }

    func run() throws {
        guard let range = ClusterCommand.range(seeds) else { throw ExitCode.failure }
        var lines: [Line] = []
        for size in sizes.compactMap({ $0 }) {
            var shape = GossipStudy.Shape()
            (shape.members, shape.loss, shape.starved, shape.isWide) = (size, loss, starved, wan)
            (shape.delay, shape.watched) = (.milliseconds(delay), .seconds(watch))
            let study = try GossipStudy.run(seeds: range, shape: shape, origin: ContinuousClock().systemEpoch)
            lines.append(
                Line(
                    members: size,
                    bytesPerSecond: study.bytesPerSecond,
                    packetsPerSecond: study.packetsPerSecond,
                    study: study
                )
            )
        }
        guard output == .table else { return try printJSON(lines) }
        printTable(
            [
                "members", "runs", "first, median", "worst", "all, median", "worst", "packets/s", "B/s", "false",
                "suspected",
            ],
            lines.map { line in
                let study = line.study
                return [
                    "\(line.members)", "\(study.runs)", median(study.firstSeconds), worst(study.firstSeconds),
                    median(study.allSeconds), study.unfinished > 0 ? "never" : worst(study.allSeconds),
                    line.packetsPerSecond.text(decimals: 2), line.bytesPerSecond.text(decimals: 0),
                    "\(study.falseVerdicts)", "\(study.falseSuspicions)",
                ]
            }
        )
    }

    private func median(_ values: [Double]) -> String {
        values.isEmpty ? "-" : "\(values.sorted()[values.count / 2].text(decimals: 2)) s"
    }

    private func worst(_ values: [Double]) -> String { values.max().map { "\($0.text(decimals: 2)) s" } ?? "-" }
}
