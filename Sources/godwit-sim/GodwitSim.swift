import ArgumentParser

/// Runs the real policies over virtual time.
@main
struct GodwitSim: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "godwit-sim",
        abstract: "Try Godwit's policies over virtual time, before buying a node.",
        discussion: """
            The code that decides here is the code that decides in the agent; only the node is simulated: jobs share its
            vCPUs by cgroup weight, each as far as it can use them, and nothing is left idle. The same seed gives the same run.
            """,
        subcommands: [
            ClusterCommand.self, GossipCommand.self, LeaderCommand.self, QoSCommand.self, LinpackCommand.self,
            PassCommand.self, TraceCommand.self,
        ]
    )
}

/// How results are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case table, json
}
