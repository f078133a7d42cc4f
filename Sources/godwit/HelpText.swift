/// Arranges ArgumentParser's help: a command's own options stand before those that every command has.
enum HelpText {
    private static let common = "GLOBAL OPTIONS:\n"
    private static let own = "OPTIONS:\n"

    /// The same help, its sections reordered and the usage line without the common options.
    static func arranged(_ text: String) -> String {
        guard text.hasSuffix("\n") else { return arranged(text + "\n") }
        var sections = sections(of: String(text.dropLast()))
        if let common = sections.firstIndex(where: { $0.hasPrefix(common) }),
            let own = sections.firstIndex(where: { $0.hasPrefix(own) }), common < own
        {
            let moved = sections.remove(at: common)
            sections.insert(moved, at: own)
        }
        guard let usage = sections.firstIndex(where: { $0.hasPrefix("USAGE: ") }) else {
            return sections.joined(separator: "\n\n") + "\n"
        }
        for first in [" [--agent <host:port> ...]", " [--output <format>]"] {
            let parts = split(sections[usage], at: first)
            guard parts.count == 2 else { continue }
            sections[usage] = parts[0] + " [<global options>]"
            break
        }
        return sections.joined(separator: "\n\n") + "\n"
    }

    /// The parts between empty lines.
    private static func sections(of text: String) -> [String] {
        var sections: [String] = []
        var lines: [Substring] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.isEmpty, !lines.isEmpty {
                sections.append(lines.joined(separator: "\n"))
                lines = []
            } else {
                lines.append(line)
            }
        }
        return sections + [lines.joined(separator: "\n")]
    }

    private static func split(_ text: String, at separator: String) -> [String] {
        var start = text.startIndex
        while start < text.endIndex {
            if text[start...].hasPrefix(separator) {
                return [String(text[..<start]), String(text[start...].dropFirst(separator.count))]
            }
            start = text.index(after: start)
        }
        return [text]
    }
}
