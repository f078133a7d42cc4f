import ArgumentParser
import ControlMessages

/// `godwit completions`.
struct CompletionsCommand: GodwitCommand {
    /// What can be printed.
    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case bash, zsh, fish
        /// Names of jobs and of nodes, which the scripts ask for.
        case jobs, nodes

        static var allValueStrings: [String] { ["bash", "zsh", "fish"] }
    }

    static let configuration = CommandConfiguration.ofCommand(
        commandName: "completions",
        abstract: "Print a script that completes commands, names of jobs and of nodes in a shell.",
        discussion: """
            bash: godwit completions bash > /usr/share/bash-completion/completions/godwit
            zsh:  godwit completions zsh > /usr/share/zsh/vendor-completions/_godwit
            fish: godwit completions fish > /usr/share/fish/vendor_completions.d/godwit.fish
            """
    )

    @Argument(help: ArgumentHelp("The shell.", valueName: "shell"))
    var kind: Kind

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        if let script = Self.script(for: kind) {
            try surroundings.output.send(script)
            return .success
        }
        var asking = options
        // A shell waits for this; no names are better than late ones.
        asking.timeout = asking.timeout ?? .milliseconds(500)
        let found = try await asking.withConnection(in: surroundings) { connection in
            guard kind != .nodes else {
                return try await connection.nodeList(WireNodeListRequest()).nodes.map(\.name)
            }
            var request = WireJobListRequest()
            request.includeEnded = true
            return try await connection.jobList(request).jobs.map(\.name)
        }
        let names = Set(found.map(printable)).sorted()
        if !names.isEmpty { try surroundings.output.send(names.joined(separator: "\n") + "\n") }
        return .success
    }

    /// The script for a shell, as agents/completions holds it.
    static func script(for kind: Kind) -> String? {
        let shell: CompletionShell? =
            switch kind {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            case .jobs, .nodes: nil
            }
        return shell.map { Godwit.completionScript(for: $0) + "\n" }
    }
}
