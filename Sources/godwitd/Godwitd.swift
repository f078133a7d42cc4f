import Agent
import AgentConfiguration
import ArgumentParser
import ClusterModel

/// The agent's command line.
///
/// Everything it does lives in the `Agent` target; here are the words only.
@main
struct Godwitd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "godwitd",
        abstract: "Runs containers to their deadlines on this node.",
        discussion: """
            One agent runs on every worker and gateway. It reads the CPU time of its containers from their cgroups, gives each
            the allocation that its deadline needs, checkpoints and restores them through CRIU, and answers `godwit` over TLS.

            First steps: `godwitd doctor` says what this machine can do, `godwitd config default --role worker` prints a
            configuration to start from, `godwit ca init` and `godwit ca issue` make the certificates.
            """,
        version: AgentProgram.version,
        subcommands: [RunCommand.self, ConfigCommand.self, DoctorCommand.self, RecoverCommand.self]
    )
}

/// `godwitd run`.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run the agent until SIGTERM or SIGINT.",
        discussion: """
            Containers keep running when the agent stops; the next agent with the same state folder adopts them. After a crash
            of the machine each job continues from its last good checkpoint or from the beginning, as the job says.

            Without --join, and without cluster.join in the configuration, an agent that is a member of no cluster yet makes a
            new one of itself. One that is a member already finds the others again by itself.

            Every key of the configuration can be set by the environment as GODWIT_<SECTION>_<KEY>, for example
            GODWIT_LOG_LEVEL=debug. Exit codes: 0 stopped on request, 1 failed, 64 wrong use, 78 configuration refused.
            """
    )

    @Option(name: .long, help: "The configuration file (YAML or JSON).")
    var config = "/etc/godwit/agent.yaml"

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp(
            "Overrides a key of the file and of the environment; may be repeated.",
            valueName: "section.key=value"
        )
    )
    var settings: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Join the cluster of these agents, any that answers; overrides cluster.join. May be repeated.",
            valueName: "host[:port],..."
        )
    )
    var join: [String] = []

    func run() async throws {
        // An address stands in the same place, with the same checks, wherever it is written.
        let joining = join.isEmpty ? [] : ["cluster.join=\(join.joined(separator: ","))"]
        try await AgentProgram.exitOnFailure {
            try await AgentProgram.run(configurationPath: config, settings: settings + joining)
        }
    }
}

/// `godwitd config`.
struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Print or check configurations.",
        subcommands: [DefaultCommand.self, CheckCommand.self]
    )

    /// `godwitd config default`.
    struct DefaultCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "default",
            abstract: "Print the commented default configuration of a role."
        )

        @Option(name: .long, help: "worker or gateway.")
        var role: NodeRole

        func run() throws { AgentProgram.printDefaultConfiguration(role: role) }
    }

    /// `godwitd config check`.
    struct CheckCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract: "Check a configuration file and say everything that is wrong with it.",
            discussion: "Exit codes: 0 the file is good, 78 it is not."
        )

        @Argument(help: "The configuration file.")
        var file: String

        func run() async throws {
            try await AgentProgram.exitOnFailure { try await AgentProgram.checkConfiguration(path: file) }
        }
    }
}

/// `godwitd doctor`.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "List what this machine can do, what each missing capability costs, and the remedy.",
        discussion: "Exit codes: 0 the agent can run containers here, 1 it cannot; missing extras do not count."
    )

    @Option(name: .long, help: "The configuration whose program paths are tried; the defaults when left out.")
    var config: String?

    @Option(name: [.customShort("o"), .long], help: "table or json.")
    var output: DoctorOutput = .table

    func run() async throws {
        try await AgentProgram.exitOnFailure {
            try await AgentProgram.doctor(configurationPath: config, asJSON: output == .json)
        }
    }
}

/// `godwitd recover`.
struct RecoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recover",
        abstract: "Make this node's log a new cluster of one, after a majority of voters was lost for good.",
        discussion: """
            What the lost voters had accepted and this one had not is gone; stop every other agent of the old cluster first and let
            them join anew.

            Choose the node whose log goes furthest: the command prints its last entry before it asks. The old log is kept beside
            the new one. Agents of the old cluster that come back are refused until the folder 'state' within their folders.state
            was moved aside and they were started with --join. Their jobs are queued again when their containers cannot run
            any more.

            It is refused while an agent runs on this state or one of the old cluster answers, when the state is damaged, and
            when the node is a cluster of its own already. Exit codes: 0 done, 1 refused or failed, 64 not confirmed, 78
            configuration refused.
            """
    )

    @Option(name: .long, help: "The configuration file of this node's agent (YAML or JSON).")
    var config = "/etc/godwit/agent.yaml"

    @Flag(name: .long, help: "Do not ask for a confirmation.")
    var yes = false

    func run() async throws {
        try await AgentProgram.exitOnFailure {
            try await AgentProgram.recover(configurationPath: config, isConfirmed: yes)
        }
    }
}

/// How `doctor` prints.
enum DoctorOutput: String, ExpressibleByArgument, CaseIterable { case table, json }

extension NodeRole: ExpressibleByArgument {}
