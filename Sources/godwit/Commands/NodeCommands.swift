import ArgumentParser
import ControlMessages

/// `godwit node`.
struct NodeGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node",
        abstract: "Look at the machines, and take them out of service.",
        subcommands: [
            NodeList.self, NodeShow.self, NodeCordon.self, NodeDrain.self, NodeUndrain.self, NodeLeave.self,
            NodeRemove.self,
        ]
    )
}

/// `godwit node list`.
struct NodeList: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
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
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "show",
        abstract: "Show one node: devices, capabilities with the remedy for each missing one, jobs.",
        discussion: "JSON: NodeShowReply."
    )

    @Argument(
        help: ArgumentHelp("The node's name. Default: the leader.", valueName: "node"),
        completion: nodeCompletion
    )
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

/// The node that a command is about.
struct NodeArgument: ParsableArguments {
    @Argument(help: ArgumentHelp("The node's name.", valueName: "node"), completion: nodeCompletion)
    var node: String

    func validate() throws {
        if node.isEmpty { throw ValidationError("The node's name is empty") }
    }
}

/// `godwit node cordon`.
struct NodeCordon: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "cordon",
        abstract: "Let a node take no new jobs; those that it has run on.",
        discussion: "Ends with 'node undrain'. JSON: NodeCordonReply."
    )

    @OptionGroup var node: NodeArgument
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireNodeCordonRequest()
        request.node = node.node
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.nodeCordon(question) }
        try options.print(reply, in: surroundings) { style in
            let count = reply.node.runningJobs
            let rest = count == 0 ? "" : "; \(style.count(count, "job")) on it \(count == 1 ? "runs" : "run") on"
            return ["\(node.node) takes no new jobs\(rest)"]
        }
        return .success
    }
}

/// `godwit node drain`.
struct NodeDrain: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "drain",
        abstract: "Let a node take no new jobs and hand over those that it has.",
        discussion: """
            Its jobs move to other nodes while they run, a few at a time; one that cannot move leaves with a last checkpoint and goes on from it, or runs to \
            its end. Returns at once and says what becomes of each; 'node show --watch' follows it. JSON: NodeDrainReply.
            """
    )

    @OptionGroup var node: NodeArgument

    @Flag(help: "Stop the jobs at once instead of moving them.")
    var now = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireNodeDrainRequest()
        request.node = node.node
        request.now = now
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.nodeDrain(question) }
        try options.print(reply, in: surroundings) { style in
            guard reply.jobsLeaving > 0 else { return ["\(node.node) takes no new jobs and has none"] }
            return [
                "\(node.node) takes no new jobs, and \(style.count(reply.jobsLeaving, "job")) will leave it; follow with "
                    + "'godwit node show \(node.node) --watch'"
            ] + style.departureTable(reply.departures)
        }
        return .success
    }
}

/// `godwit node undrain`.
struct NodeUndrain: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "undrain",
        abstract: "Let a node take jobs again: ends a cordon or a drain.",
        discussion: "Jobs that have left do not come back by themselves. JSON: NodeUndrainReply."
    )

    @OptionGroup var node: NodeArgument
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireNodeUndrainRequest()
        request.node = node.node
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.nodeUndrain(question) }
        try options.print(reply, in: surroundings) { _ in ["\(node.node) takes jobs again"] }
        return .success
    }
}

/// `godwit node leave`.
struct NodeLeave: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "leave",
        abstract: "Let a drained node leave the cluster for good; its agent ends.",
        discussion: """
            The node hands over the lead if it has it, gives up its vote, and is forgotten by the others at once: nobody waits for it. Its agent \
            starts again only when the file 'left' in its state folder is removed; then it may join anew. Needs the right admin. \
            JSON: NodeLeaveReply.
            """
    )

    @OptionGroup var node: NodeArgument

    @Flag(help: "Let the node go although it has the only checkpoints of some jobs.")
    var force = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireNodeLeaveRequest()
        (request.node, request.abandonCheckpoints) = (node.node, force)
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.nodeLeave(question) }
        try options.print(reply, in: surroundings) { _ in ["\(node.node) has left the cluster, and its agent ends"] }
        return .success
    }
}

/// `godwit node remove`.
struct NodeRemove: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "remove",
        abstract: "Take a node out of the cluster that does not come back.",
        discussion: """
            For a machine that is broken or was stopped for good. A node that answers is not removed unless it was drained; let it leave \
            by itself with 'node leave'. Its certificate stays good, so that the machine may join anew, unless --revoke. Needs the right \
            admin. JSON: NodeRemoveReply.
            """
    )

    @OptionGroup var node: NodeArgument

    @Flag(help: "Refuse the node's certificates from now on as well.")
    var revoke = false

    @Flag(help: "Remove it although it has the only checkpoints of some jobs.")
    var force = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireNodeRemoveRequest()
        (request.node, request.abandonCheckpoints, request.revoke) = (node.node, force, revoke)
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.nodeRemove(question) }
        try options.print(reply, in: surroundings) { _ in
            [
                reply.revoked
                    ? "\(node.node) is no node of the cluster any more, and its certificates are refused"
                    : "\(node.node) is no node of the cluster any more; its certificate is still good"
            ]
        }
        return .success
    }
}
