import ArgumentParser

/// The program's entry.
@main
enum Program {
    static func main() async {
        let status = await execute(Array(CommandLine.arguments.dropFirst()), in: .live())
        endProcess(status)
    }

    /// Runs one command line; what goes wrong is printed on standard error in one line.
    static func execute(_ arguments: [String], in surroundings: Surroundings) async -> ExitStatus {
        do {
            if arguments == ["--version"] {
                try surroundings.output.send("\(Godwit.version)\n")
                return .success
            }
            let arguments = hoistingGlobalOptions(arguments)
            if let command = direct(arguments) { return try await command.run(in: surroundings) }
            let parsed = try Godwit.parseAsRoot(arguments)
            guard let command = parsed as? any GodwitCommand else {
                var group = parsed
                try group.run()
                return .success
            }
            return try await command.run(in: surroundings)
        } catch let failure as CommandFailure {
            surroundings.diagnostics.write(failure.excerpt)
            surroundings.diagnostics.write("godwit: \(oneLine(failure.message))\n")
            return failure.status
        } catch is OutputClosed {
            // The reader went away (`godwit job list | head -1`): nobody is left to tell.
            return .success
        } catch {
            return finish(error, in: surroundings)
        }
    }

    /// The command that the first words name, parsed by itself, without the groups above it; nil when anything is wrong or help is wanted.
    ///
    /// People wait for every start, and the tree of all commands takes its time. Whatever does not succeed here goes through the
    /// tree, which knows how to say it.
    private static func direct(_ arguments: [String]) -> (any GodwitCommand)? {
        var found: any ParsableCommand.Type = Godwit.self
        var rest = arguments[...]
        while let word = rest.first,
            let next = found.configuration.subcommands.first(where: { $0.configuration.commandName == word })
        {
            found = next
            rest = rest.dropFirst()
        }
        guard let command = found as? any GodwitCommand.Type else { return nil }
        return try? command.parseAsRoot(Array(rest)) as? any GodwitCommand
    }

    /// Ends what ArgumentParser reports as an error: a request for help, or wrong usage.
    private static func finish(_ error: any Error, in surroundings: Surroundings) -> ExitStatus {
        if Godwit.exitCode(for: error) == .success {
            let text = Godwit.fullMessage(for: error, columns: surroundings.output.width.map { min($0, 120) } ?? 100)
            surroundings.output.write(HelpText.arranged(text))
            return .success
        }
        let message = oneLine(Godwit.message(for: error))
        let help = helpCommand(in: Godwit.fullMessage(for: error)) ?? "godwit --help"
        let lowered = message.prefix(1).lowercased() + message.dropFirst()
        let trimmed = lowered.hasSuffix(".") ? String(lowered.dropLast()) : lowered
        surroundings.diagnostics.write("godwit: \(trimmed); see '\(help)'\n")
        return .usage
    }

    /// The command that explains the one that was used wrongly, as ArgumentParser names it: `See 'godwit job --help' for ...`.
    private static func helpCommand(in text: String) -> String? {
        let marker = "See '"
        guard let start = text.firstRange(of: marker) else { return nil }
        let rest = text[start.upperBound...]
        return rest.firstIndex(of: "'").map { String(rest[..<$0]) }
    }

    /// Moves options that stand before the first command word behind the last one.
    ///
    /// ArgumentParser gives a command only the options that follow its name; people also write `godwit -o json job list`.
    static func hoistingGlobalOptions(_ arguments: [String]) -> [String] {
        guard arguments.first?.hasPrefix("-") == true else { return arguments }
        let valued = ["--agent", "--identity", "--timeout", "--color", "--output", "-o"]
        var hoisted: [String] = []
        var rest = arguments[...]
        while let first = rest.first, first.hasPrefix("-") {
            let name = first.firstIndex(of: "=").map { String(first[..<$0]) } ?? first
            guard valued.contains(name) else { break }
            hoisted.append(first)
            rest = rest.dropFirst()
            if name == first, let value = rest.first {
                hoisted.append(value)
                rest = rest.dropFirst()
            }
        }
        guard !hoisted.isEmpty else { return arguments }
        let end = rest.firstIndex(of: "--") ?? rest.endIndex
        return Array(rest[..<end]) + hoisted + Array(rest[end...])
    }
}

extension String {
    /// The first place of `other`, byte by byte; Foundation's version is not wanted here.
    fileprivate func firstRange(of other: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(other) { return start..<index(start, offsetBy: other.count) }
            start = index(after: start)
        }
        return nil
    }
}
