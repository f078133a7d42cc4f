import ArgumentParser
import Testing

@testable import godwit

/// What the program says about itself: help, completions, manual.
struct HelpTests {
    /// A command with the words that lead to it.
    struct Entry: Sendable, CustomTestStringConvertible {
        var words: [String]
        var command: any ParsableCommand.Type
        var testDescription: String { words.joined(separator: " ") }
    }

    static let entries = entries(of: Godwit.self, words: ["godwit"])

    private static func entries(of command: any ParsableCommand.Type, words: [String]) -> [Entry] {
        [Entry(words: words, command: command)]
            + command.configuration.subcommands.flatMap {
                entries(of: $0, words: words + [$0.configuration.commandName ?? "?"])
            }
    }

    @Test(arguments: entries) func helpIsAsRecorded(entry: Entry) async throws {
        let run = await execute(Array(entry.words.dropFirst()) + ["--help"])
        #expect(run.status == .success && run.diagnostics.isEmpty)
        try expectGolden(run.output, "help-\(entry.words.joined(separator: "-")).txt")
    }

    @Test func everyCommandSaysWhatItDoes() {
        for entry in Self.entries {
            let abstract = entry.command.configuration.abstract
            #expect(abstract.hasSuffix(".") && abstract.first?.isUppercase == true, "\(entry.testDescription)")
        }
    }

    @Test func groupsExplainThemselves() async {
        for group in [[], ["job"], ["checkpoint"], ["node"], ["cluster"], ["cluster", "keyring"], ["ca"]] {
            let run = await execute(group)
            #expect(run.status == .success && run.output.contains("SUBCOMMANDS:"))
        }
        #expect(await execute("--version").output == "\(Godwit.version)\n")
    }

    @Test(arguments: [("bash", "godwit.bash"), ("zsh", "_godwit"), ("fish", "godwit.fish")])
    func shippedCompletionsAreWhatTheProgramPrints(shell: String, file: String) async throws {
        let printed = await execute("completions", shell).output
        let path = "\(repository)/agents/completions/\(file)"
        if environment("GODWIT_RECORD") == "1" { try File.replace(path, with: Array(printed.utf8)) }
        let shipped = try String(decoding: File.read(path), as: UTF8.self)
        #expect(printed == shipped, "print them anew: godwit completions \(shell) > agents/completions/\(file)")
    }

    @Test func theManualKnowsEveryCommandAndOption() async throws {
        let manual = try String(decoding: File.read("\(repository)/agents/man/godwit.1"), as: UTF8.self)
        let written = Set(lines(manual).flatMap { $0.split(separator: " ").map(String.init) })
        for entry in Self.entries where entry.command.configuration.subcommands.isEmpty {
            let words = entry.words.dropFirst().joined(separator: " ")
            #expect(manual.contains(".It Cm \(words)"), "agents/man/godwit.1 has no entry for '\(words)'")
            let help = await execute(Array(entry.words.dropFirst()) + ["--help"]).output
            for word in help.split(whereSeparator: { " ,\n".contains($0) }) where word.hasPrefix("--") && word.count > 2
            {
                let option = word.dropFirst(2).prefix { $0.isLetter || $0 == "-" }
                #expect(
                    written.contains("-\(option)") || option.isEmpty,
                    "agents/man/godwit.1 does not know --\(option)"
                )
            }
        }
        for status in [0, 1, 2, 3, 4, 5, 6, 7, 130] { #expect(manual.contains("\n.It \(status)\n")) }
    }
}
