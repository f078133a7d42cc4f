import ArgumentParser
import ControlMessages

/// `godwit status`.
struct StatusCommand: GodwitCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the cluster: nodes, vCPUs, jobs, problems.",
        discussion: "Each problem is one line with its remedy. JSON: StatusReply."
    )

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await options.printRepeatedly(every: watching.period, in: surroundings) {
            try await $0.status(WireStatusRequest())
        } table: {
            $1.status($0)
        }
        return .success
    }
}

/// `godwit node`.
struct NodeGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node",
        abstract: "Look at the machines.",
        subcommands: [NodeList.self, NodeShow.self]
    )
}

/// `godwit node list`.
struct NodeList: GodwitCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the nodes: capacity, what is allocated, what is used.",
        discussion: "JSON: NodeListReply."
    )

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await options.printRepeatedly(every: watching.period, in: surroundings) {
            try await $0.nodeList(WireNodeListRequest())
        } table: {
            $1.nodeTable($0.nodes)
        }
        return .success
    }
}

/// `godwit node show`.
struct NodeShow: GodwitCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show one node: devices, capabilities with the remedy for each missing one, jobs.",
        discussion: "JSON: NodeShowReply."
    )

    @Argument(help: ArgumentHelp("The node's name. Default: the leader.", valueName: "node"))
    var node = ""

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await options.printRepeatedly(every: watching.period, in: surroundings) { connection in
            var request = WireNodeShowRequest()
            request.node = node.isEmpty ? try await connection.status(WireStatusRequest()).leader : node
            return try await connection.nodeShow(request)
        } table: {
            $1.nodeDetail($0)
        }
        return .success
    }
}
