import ArgumentParser
import ClusterModel

// `godwit`, the command line of the cluster. Its shape:
//
//     Program        turns arguments into one command, its result into an exit status and at most one line of error
//     Commands/      one file per noun; a command asks the agent for one thing and hands the answer to a renderer
//     Rendering/     pure functions from messages of proto/control.proto to tables, JSON, stories and figures
//     Surroundings   everything a command takes from outside (terminal, clock, files, connection), so that tests can replace it
//
// The program is thin: the agent parses documents, checks rights and decides. It does not use Foundation beyond what
// ArgumentParser and SwiftProtobuf need of FoundationEssentials, because people wait for it to start.

/// The root of all commands.
struct Godwit: ParsableCommand {
    /// The product's version, as `--version` prints it and as the agent sees it in its log.
    static let version = productVersion

    static let configuration = CommandConfiguration(
        commandName: "godwit",
        abstract: "Run containers to their deadlines.",
        discussion: """
            Every command that talks to the cluster takes --agent, --identity, --timeout, --output and --color, before or after \
            its own words.

            ENVIRONMENT
              GODWIT_AGENT     agents to ask, HOST:PORT, separated by commas; --agent overrides it
              GODWIT_IDENTITY  file with certificate, key and authority; --identity overrides it
              NO_COLOR         no colours unless --color always

            EXIT STATUS
              0    done
              1    the agent said no, or the job did not complete
              2    wrong usage
              3    no such job or node
              4    refused: the deadline cannot be met
              5    no agent could be reached, or none could serve the request now
              6    the certificate is not accepted, or lacks the right
              7    timed out
              130  interrupted
            """,
        version: version,
        subcommands: [
            JobGroup.self, CheckpointGroup.self, NodeGroup.self, ClusterGroup.self, StatusCommand.self, TopCommand.self,
            AuthorityGroup.self,
            CompletionsCommand.self,
        ]
    )
}

/// A command that does something, as opposed to a group that only holds others.
protocol GodwitCommand: ParsableCommand {
    /// Does what the user asked for. Problems are thrown as `CommandFailure`.
    func run(in surroundings: Surroundings) async throws -> ExitStatus
}

extension CommandConfiguration {
    /// What a command says of itself; as a group's is made with `init`.
    static func ofCommand(commandName: String, abstract: String, discussion: String = "") -> CommandConfiguration {
        var configuration = CommandConfiguration(commandName: commandName, abstract: abstract, discussion: discussion)
        // A command that is parsed by itself (`Program.direct`) then skips what only a program's root is asked for:
        // ArgumentParser looks for --generate-completion-script by parsing twice more.
        configuration._superCommandName = "godwit"
        return configuration
    }
}
