package import ClusterModel

// Reading a configuration from its three sources, and writing the files that are shipped.
extension AgentConfiguration {
    /// A value given outside the file, with where it came from: `GODWIT_LISTEN_PORT`, `--set listen.port`.
    package struct Override: Sendable, Equatable {
        /// `section.key`.
        package var path: String
        /// The value as it would stand in the file.
        package var value: String
        /// What the user wrote, for messages.
        package var origin: String

        /// Takes the values as they are.
        package init(path: String, value: String, origin: String) {
            self.path = path
            self.value = value
            self.origin = origin
        }
    }

    /// Reads the file, then the environment, then flags; each overrides the one before.
    ///
    /// A nil document means the defaults of the role. Variables that do not begin with `GODWIT_` are left alone; flags are
    /// `section.key=value`, as given to `--set`. Throws all problems at once.
    package static func read(
        _ document: DocumentNode?,
        role: NodeRole,
        environment: [String: String] = [:],
        flags: [String] = []
    ) throws(DocumentProblems) -> AgentConfiguration {
        var configuration = AgentConfiguration(role: role)
        var reader = DocumentReader()
        if let document, !document.isNull { configuration.read(document, reader: &reader) }
        var problems = reader.problems
        let (fromEnvironment, unknown) = overrides(environment: environment)
        let (fromFlags, malformed) = overrides(flags: flags)
        problems += unknown + malformed
        for override in fromEnvironment + fromFlags { problems += configuration.apply(override) }
        // Only what each key says alone can be compared with the others.
        if problems.isEmpty { problems += configuration.network.problems }
        guard problems.isEmpty else { throw DocumentProblems(problems) }
        return configuration
    }

    private mutating func read(_ document: DocumentNode, reader: inout DocumentReader) {
        let sections = ConfigurationSection.allCases
        guard let root = reader.mapping(document, path: "", keys: sections.map(\.rawValue)) else { return }
        for section in sections {
            guard let node = root[section.rawValue] else { continue }
            let fields = ConfigurationField.all.filter { $0.section == section }
            guard let mapping = reader.mapping(node, path: section.rawValue, keys: fields.map(\.key)) else { continue }
            for field in fields {
                if let value = mapping[field.key] { field.set(value, in: &self, reader: &reader) }
            }
        }
    }

    /// Sets one value; the problems name where it came from.
    package mutating func apply(_ override: Override) -> [DocumentProblem] {
        let place = DocumentPlace(line: 1, column: 1)
        guard let field = ConfigurationField.all.first(where: { $0.path == override.path }) else {
            let closest = closestText(to: override.path, among: ConfigurationField.all.map(\.path))
            let remedy = closest.map { "did you mean '\($0)'?" } ?? "`godwitd config default` lists every key"
            return [
                DocumentProblem(
                    place: place,
                    path: override.origin,
                    message: "unknown key '\(override.path)'; \(remedy)"
                )
            ]
        }
        var reader = DocumentReader()
        let node = DocumentNode(content: .scalar(text: override.value, isQuoted: false), place: place)
        field.set(node, in: &self, reader: &reader)
        return reader.problems.map { DocumentProblem(place: place, path: override.origin, message: $0.message) }
    }

    /// The environment's overrides, sorted by variable, and variables that look mistyped.
    package static func overrides(environment: [String: String]) -> ([Override], [DocumentProblem]) {
        let fields = ConfigurationField.all
        let prefix = "GODWIT_"
        var overrides: [Override] = []
        var problems: [DocumentProblem] = []
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) where name.hasPrefix(prefix) {
            if let field = fields.first(where: { $0.variable == name }) {
                overrides.append(Override(path: field.path, value: value, origin: name))
                continue
            }
            // Other programs of ours have variables too; only one that names a section, or nearly a key, is meant for us.
            let isOurs = ConfigurationSection.allCases.contains { name.hasPrefix($0.variablePrefix) }
            let bare = closestText(
                to: String(name.dropFirst(prefix.count)),
                among: fields.map { String($0.variable.dropFirst(prefix.count)) },
                takesBeginnings: false
            )
            let closest = bare.map { prefix + $0 }
            guard isOurs || closest != nil else { continue }
            let remedy = closest.map { "did you mean \($0)?" } ?? "`godwitd config default` lists every key"
            problems.append(
                DocumentProblem(
                    place: DocumentPlace(line: 1, column: 1),
                    path: name,
                    message: "unknown variable of the environment; \(remedy)"
                )
            )
        }
        return (overrides, problems)
    }

    /// The overrides of `--set section.key=value`, in order.
    package static func overrides(flags: [String]) -> ([Override], [DocumentProblem]) {
        var overrides: [Override] = []
        var problems: [DocumentProblem] = []
        for flag in flags {
            guard let equals = flag.firstIndex(of: "="), equals != flag.startIndex else {
                problems.append(
                    DocumentProblem(
                        place: DocumentPlace(line: 1, column: 1),
                        path: "--set \(flag)",
                        message: "expected section.key=value, for example listen.port=7420"
                    )
                )
                continue
            }
            let path = String(flag[..<equals])
            overrides.append(
                Override(path: path, value: String(flag[flag.index(after: equals)...]), origin: "--set \(path)")
            )
        }
        return (overrides, problems)
    }

    /// The file that is shipped for a role: every key with its meaning and its default.
    package static func defaultDocument(role: NodeRole) -> String {
        AgentConfiguration(role: role).documentText(role: role)
    }

    /// This configuration as a commented file.
    package func documentText(role: NodeRole) -> String {
        let defaults = AgentConfiguration(role: role)
        var lines = wrapped(
            "Configuration of godwitd on a \(role.rawValue). Every key is written with its default; a key that is left out has it too. "
                + "The environment overrides this file (GODWIT_LISTEN_PORT for listen.port), and --set listen.port=7420 overrides both. "
                + "`godwitd config check FILE` tells what is wrong with a file. Lengths of time: 500ms, 90s, 1h30m. Bytes: 512MiB, 2GiB.",
            prefix: "# "
        )
        for section in ConfigurationSection.allCases {
            lines.append("")
            lines += wrapped(section.summary, prefix: "# ")
            lines.append("\(section.rawValue):")
            for field in ConfigurationField.all where field.section == section {
                let value = field.text(in: self)
                let standard = field.text(in: defaults)
                let facts = [field.unit, field.range, "default \(standard)"].filter { !$0.isEmpty }.joined(
                    separator: "; "
                )
                lines += wrapped("\(field.effect) (\(facts))", prefix: "  # ")
                lines.append("  \(field.key): \(value)")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }
}

/// Breaks a text into lines of at most 100 characters.
private func wrapped(_ text: String, prefix: String) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
        if !line.isEmpty, prefix.count + line.count + 1 + word.count > 100 {
            lines.append(prefix + line)
            line = ""
        }
        line += line.isEmpty ? String(word) : " \(word)"
    }
    return lines + [prefix + line]
}
