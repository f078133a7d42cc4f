import ArgumentParser
import ClusterModel
import ClusterSim

/// How long a cluster is without a leader.
struct LeaderCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leader",
        abstract: "Measure how long a cluster is without a leader, and how often for no reason.",
        discussion: """
            Clusters with the shipped times, 1 ms between nodes and about 1 ms for a sync, on virtual time. Clients write ten times a second. The
            promises that `cluster` checks are checked here as well.

            kill               the leader's process ends: seconds until a client's write is committed again
            diskStall          the leader's disk finishes nothing for 5 s: seconds until somebody else leads
            handOver           the leader hands over: seconds until the next has committed its first entry
            rebuild            seconds from a new leader's election until it has answered every node
            spurious           elections without a reason while 5 % of all messages is lost and 5 % of all syncs takes 200 ms
            spuriousOnStreams  the same where messages travel on streams, on which loss is delay
            """
    )

    @Option(help: "What to measure; all without it.")
    var measure: LeaderStudy.Measure?
    @Option(help: "One seed or a range: each is a run.")
    var seeds = "1..20"
    @Option(help: "Agents, 3 to 1024.")
    var agents = 5
    @Option(help: "Agents that vote, 3 to 5.")
    var voters = 5
    @Option(help: "Minutes for which a cluster is watched that nothing is done to.")
    var minutes = 60
    @Option(name: .shortAndLong, help: "table or json.")
    var output = OutputFormat.table

    func validate() throws {
        guard ClusterCommand.range(seeds) != nil else {
            throw ValidationError("--seeds is a number or a range such as 1..20.")
        }
        guard (3...1024).contains(agents) else { throw ValidationError("--agents must be 3 to 1024.") }
        guard (3...min(5, agents)).contains(voters) else {
            throw ValidationError("--voters must be 3 to 5, and no more than the agents.")
        }
        guard (1...1440).contains(minutes) else { throw ValidationError("--minutes must be 1 to 1440.") }
    }

    func run() throws {
        guard let range = ClusterCommand.range(seeds) else { throw ExitCode.failure }
        let studies = (measure.map { [$0] } ?? LeaderStudy.Measure.allCases).map {
            LeaderStudy(
                $0,
                seeds: range,
                agents: agents,
                voters: voters,
                minutes: minutes,
                origin: ContinuousClock().systemEpoch
            )
        }
        switch output {
        case .json: try printJSON(studies)
        case .table:
            printTable(
                ["measure", "agents", "voters", "runs", "median", "p99", "worst", "unfinished", "violations"],
                studies.map { study in
                    let values = study.values.sorted()
                    let isCount = study.measure == .spurious || study.measure == .spuriousOnStreams
                    func text(_ value: Double?) -> String {
                        guard let value else { return "-" }
                        return isCount ? value.text(decimals: 0) : "\((value * 1000).text(decimals: 1)) ms"
                    }
                    return [
                        study.measure.rawValue, "\(study.agents)", "\(study.voters)", "\(values.count)",
                        text(values.isEmpty ? nil : values[values.count / 2]),
                        text(values.isEmpty ? nil : values[min(values.count - 1, values.count * 99 / 100)]),
                        text(values.last), "\(study.unfinished)", "\(study.violations.count)",
                    ]
                }
            )
            for study in studies { for violation in study.violations { print("  \(violation)") } }
        }
        if studies.contains(where: { !$0.violations.isEmpty }) { throw ExitCode.failure }
    }
}

extension LeaderStudy.Measure: ExpressibleByArgument {}
