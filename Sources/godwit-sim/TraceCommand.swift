import ArgumentParser
import ClusterModel
import ClusterSim
import FoundationEssentials
import QoS

/// What both replay commands can be told.
struct ReplayOptions: ParsableArguments {
    @Option(help: "Number of nodes.")
    var nodes = 5
    @Option(help: "vCPUs of each node.")
    var vcpus = 2.0
    @Option(help: "Seconds that each start takes.")
    var overhead = 45.0
    @Option(help: "deadline, paper or both.")
    var policy = QoSCommand.Choice.both
    @Option(name: .shortAndLong, help: "table or json.")
    var output = OutputFormat.table
    @Flag(
        help:
            "Keep each application on its first node; otherwise each iteration starts on the node that has promised the least."
    )
    var fixed = false
    @Flag(help: "Tell every decision.")
    var explain = false

    func validate() throws {
        guard nodes >= 1, nodes <= 10_000 else { throw ValidationError("--nodes must be 1 to 10000.") }
        guard vcpus > 0, vcpus <= 4096 else { throw ValidationError("--vcpus must be above 0 and at most 4096.") }
        guard overhead >= 0 else { throw ValidationError("--overhead must be at least 0.") }
    }

    /// One replay of the trace.
    struct Replay: Encodable {
        var name: String
        var met: Int
        var results: [TraceResult]
    }

    /// The nodes of the iterations: `1 2x3` is one iteration on node 1, then two on node 3.
    private func runs(_ nodes: [Int]) -> String {
        var parts: [(node: Int, count: Int)] = []
        for node in nodes {
            if parts.last?.node == node { parts[parts.count - 1].count += 1 } else { parts.append((node, 1)) }
        }
        return parts.map { $0.count == 1 ? "\($0.node + 1)" : "\($0.count)x\($0.node + 1)" }.joined(separator: " ")
    }

    func replay(_ trace: IterativeTrace) throws {
        var kinds: [(name: String, policy: JobSpecification.Policy, isCapped: Bool)] = []
        if policy != .paper { kinds.append(("deadline", .deadline, false)) }
        if policy != .deadline { kinds += [("paper", .paper, false), ("paper, shares as ceilings", .paper, true)] }
        var replays: [Replay] = []
        for kind in kinds {
            var run = IterativeTraceRun(trace: trace, policy: kind.policy)
            (run.nodes, run.capacity, run.startOverhead, run.isCapped) = (nodes, vcpus, overhead, kind.isCapped)
            run.placesEachIteration = !fixed
            let (results, decisions) = run.run()
            replays.append(Replay(name: kind.name, met: results.count(where: \.isMet), results: results))
            guard output == .table else { continue }
            print("\(kind.name): \(results.count(where: \.isMet)) of \(results.count) deadlines met\n")
            if explain {
                for decision in decisions {
                    print(
                        "\(decision.time.seconds.text(decimals: 0)) s  \(decision.job)  \(decision.kind.rawValue)  \(decision.sentence)"
                    )
                }
                print()
            }
            printTable(
                ["app", "nodes", "deadline", "ended", "end - deadline", "mean iteration", "published"],
                results.map {
                    [
                        $0.application, runs($0.nodes), "\($0.deadline.text(decimals: 0)) s",
                        "\($0.ended.text(decimals: 0)) s", "\($0.late.text(decimals: 0)) s",
                        "\($0.meanIteration.text(decimals: 1)) s",
                        $0.published.map { "\($0.text(decimals: 0)) s" } ?? "-",
                    ]
                }
            )
            print()
        }
        if output == .json { try printJSON(replays) }
    }
}

/// The published experiment.
struct LinpackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "linpack",
        abstract: "Replay the six published LINPACK applications.",
        discussion: """
            López-Huguet et al., J. Parallel Distrib. Comput. 133 (2019): six iterative applications, five nodes of two vCPUs, 45 s for
            each start; four of six deadlines were met. Deadlines here are iterations * (declared iteration + 45 s), since the
            paper does not print its own. The paper policy is shown twice: with shares as guarantees, and with shares as ceilings.
            """
    )

    @OptionGroup var options: ReplayOptions

    func run() throws { try options.replay(.linpack) }
}

/// A trace of one's own.
struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Replay iterative applications from a file.",
        discussion: """
            The file is comma-separated. Its first line names the columns, in any order:

            app                         a name
            iterations                  how many
            iteration_s_at_1_vcpu       measured seconds of one iteration on one vCPU
            iteration_s_at_2_vcpus      the same on two; between half and all of the former
            declared_iteration_s        what the user said
            deadline_s                  seconds after submission
            paper_end_minus_deadline_s  optional: a published result to print beside
            """
    )

    @Argument(help: "The trace.", completion: .file(extensions: ["csv"]))
    var file: String
    @OptionGroup var options: ReplayOptions

    func run() throws {
        let text: String
        do {
            text = try String(contentsOfFile: file, encoding: .utf8)
        } catch {
            throw ValidationError("Cannot read \(file): check that it exists, is readable and is UTF-8 text.")
        }
        let trace: IterativeTrace
        do {
            trace = try IterativeTrace(text: text)
        } catch {
            throw ValidationError("\(file), \(error)")
        }
        try options.replay(trace)
    }
}
