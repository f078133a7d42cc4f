import ArgumentParser
import ControlMessages

/// What `godwit status` says of itself, under both of its names.
private let statusDiscussion = "Each problem is one line with its remedy. JSON: StatusReply."

/// `godwit status`.
struct StatusCommand: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "status",
        abstract: "Show whether the cluster is healthy, and what to do if not.",
        discussion: statusDiscussion
    )

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await options.printStatus(watching, in: surroundings)
    }
}

/// `godwit cluster`.
struct ClusterGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "Look at the cluster itself: members, voters, events, keys.",
        subcommands: [
            ClusterStatus.self, ClusterMembers.self, ClusterVoters.self, ClusterEvents.self, KeyringGroup.self,
        ]
    )
}

/// `godwit cluster status`.
struct ClusterStatus: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "status",
        abstract: "Show whether the cluster is healthy, and what to do if not; the same as 'godwit status'.",
        discussion: statusDiscussion
    )

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await options.printStatus(watching, in: surroundings)
    }
}

extension ClusterOptions {
    fileprivate func printStatus(_ watching: WatchOptions, in surroundings: Surroundings) async throws -> ExitStatus {
        try await printRepeatedly(every: watching.period, in: surroundings) {
            try await $0.status(WireStatusRequest())
        } table: {
            $1.status($0)
        }
        return .success
    }
}

/// `godwit cluster members`.
struct ClusterMembers: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "members",
        abstract: "List the nodes as the cluster's state, gossip and consensus see them.",
        discussion: """
            STATE is what the cluster has agreed on, GOSSIP what the agent that answers believes at this moment, HEARD how long \
            ago it heard from the node. JSON: ClusterMembersReply.
            """
    )

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await options.printRepeatedly(every: watching.period, in: surroundings) {
            try await $0.clusterMembers(WireClusterMembersRequest())
        } table: {
            $1.memberTable($0)
        }
        return .success
    }
}

/// `godwit cluster voters`.
struct ClusterVoters: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "voters",
        abstract: "Show consensus: leader, term, who votes, how far each has come.",
        discussion: "The leader promotes and replaces voters by itself, at most five. JSON: ClusterVotersReply."
    )

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await options.printRepeatedly(every: watching.period, in: surroundings) {
            try await $0.clusterVoters(WireClusterVotersRequest())
        } table: {
            $1.consensus($0)
        }
        return .success
    }
}

/// `godwit cluster events`.
struct ClusterEvents: GodwitCommand {
    /// How often an agent that went away is looked for, once a second.
    private static let reconnectLimit = 120

    static let configuration = CommandConfiguration.ofCommand(
        commandName: "events",
        abstract: "Tell what happened to the cluster: who asked for what, who came, who went, who led.",
        discussion: "JSON: one ClusterEvent on each line."
    )

    @Flag(name: [.customShort("w"), .long], help: "Go on with what happens.")
    var watch = false

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Begin with the newest so many.", valueName: "count"))
    var limit: UInt32 = 100

    @Option(help: ArgumentHelp("Only what is about this node.", valueName: "name"), completion: nodeCompletion)
    var node: String?

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        if limit == 0, !watch { throw ValidationError("--limit 0 without --watch would print nothing") }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireClusterEventsRequest()
        (request.limit, request.follow, request.node) = (max(1, limit), watch, node ?? "")
        if watch { surroundings.onInterrupt("") }
        let style = options.outputOptions.presentation(on: surroundings.output, in: surroundings)
        // What was told last: an agent that is asked again begins before that.
        var last: (time: Double, sentences: Set<String>) = (0, [])
        var attempts = 0
        while true {
            do {
                let question = request
                try await options.withConnection(in: surroundings) { connection in
                    try await connection.clusterEvents(question) { reply in
                        attempts = 0
                        for event in reply.events {
                            guard event.timeUnixSeconds >= last.time, !last.sentences.contains(event.sentence) else {
                                continue
                            }
                            if event.timeUnixSeconds > last.time { last = (event.timeUnixSeconds, []) }
                            last.sentences.insert(event.sentence)
                            if options.outputOptions.output == .json {
                                try surroundings.output.send(jsonText(event, isIndented: false))
                            } else {
                                try surroundings.output.send(style.eventLine(event) + "\n")
                            }
                        }
                    }
                }
                return .success
            } catch let failure as CommandFailure where watch && failure.status == .unreachable && last.time > 0 {
                if attempts == 0 {
                    surroundings.diagnostics.write("godwit: \(oneLine(failure.message)); looking for it again\n")
                }
                guard attempts < Self.reconnectLimit else { throw failure }
                attempts += 1
                request.limit = 100
                try await surroundings.sleep(.seconds(1))
            }
        }
    }
}

/// `godwit cluster keyring`.
struct KeyringGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keyring",
        abstract: "The keys that gossip between agents is sealed with.",
        subcommands: [KeyringList.self, KeyringRotate.self]
    )
}

/// `godwit cluster keyring list`.
struct KeyringList: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "list",
        abstract: "List the keys, without their secrets.",
        discussion: "JSON: KeyringListReply."
    )

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let reply = try await options.withConnection(in: surroundings) {
            try await $0.keyringList(WireKeyringListRequest())
        }
        try options.print(reply, in: surroundings) { $0.keyTable(reply) }
        return .success
    }
}

/// `godwit cluster keyring rotate`.
struct KeyringRotate: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "rotate",
        abstract: "Make a new key for gossip; the one before opens what is under way, older ones are forgotten.",
        discussion: "Needs the right admin. JSON: KeyringRotateReply."
    )

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let reply = try await options.withConnection(in: surroundings) {
            try await $0.keyringRotate(WireKeyringRotateRequest())
        }
        try options.print(reply, in: surroundings) { _ in
            let message = oneLine(reply.message)
            return ["made key \(reply.id)" + (message.isEmpty ? "" : ": \(message)")]
        }
        return .success
    }
}
