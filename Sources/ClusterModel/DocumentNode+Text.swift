// Writing documents: as YAML for people, as JSON for programs.
extension DocumentNode {
    /// The document as YAML, ending with a newline; lists of scalars and small mappings of a list stay on one line.
    package var yamlText: String {
        var lines: [String] = []
        writeBlock(indent: 0, into: &lines)
        return lines.joined(separator: "\n") + "\n"
    }

    /// The document as JSON on one line: numbers and flags bare, every other scalar as a string.
    package var jsonText: String {
        switch content {
        case .scalar(let text, let isQuoted):
            if isNull { return "null" }
            return !isQuoted && (text == "true" || text == "false" || isJSONNumber(text)) ? text : jsonString(text)
        case .sequence(let elements): return "[" + elements.map(\.jsonText).joined(separator: ",") + "]"
        case .mapping(let pairs):
            return "{" + pairs.map { "\(jsonString($0.key.text)):\($0.value.jsonText)" }.joined(separator: ",") + "}"
        }
    }

    private func writeBlock(indent: Int, into lines: inout [String]) {
        let space = String(repeating: " ", count: indent)
        switch content {
        case .mapping(let pairs) where !pairs.isEmpty:
            for (key, value) in pairs {
                let name = yamlScalar(key.text, isQuoted: true)
                if value.isFlow {
                    lines.append("\(space)\(name): \(value.flowText)")
                } else {
                    lines.append("\(space)\(name):")
                    value.writeBlock(indent: indent + 2, into: &lines)
                }
            }
        case .sequence(let elements) where !elements.isEmpty:
            for element in elements { lines.append("\(space)- \(element.flowText)") }
        default: lines.append(space + flowText)
        }
    }

    private var isFlow: Bool {
        switch content {
        case .scalar: true
        case .sequence(let elements):
            elements.allSatisfy { if case .scalar = $0.content { true } else { false } }
        case .mapping(let pairs): pairs.isEmpty
        }
    }

    private var flowText: String {
        switch content {
        case .scalar(let text, let isQuoted): yamlScalar(text, isQuoted: isQuoted)
        case .sequence(let elements): "[" + elements.map(\.flowText).joined(separator: ", ") + "]"
        case .mapping(let pairs):
            "{"
                + pairs.map { "\(yamlScalar($0.key.text, isQuoted: true)): \($0.value.flowText)" }.joined(
                    separator: ", "
                ) + "}"
        }
    }
}

/// A scalar as YAML reads it back: plain where no reader can take it for something else, else in double quotes.
package func yamlScalar(_ text: String, isQuoted: Bool) -> String {
    guard isQuoted else { return text }
    let isWord =
        text.first.map { $0.isASCII && ($0.isLetter || $0 == "/" || $0 == "_" || $0 == ".") } ?? false
        && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "_./-+=%@".contains($0)) }
    // Words that YAML 1.1 or 1.2 takes for a flag or for nothing.
    let taken = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"]
    let isNumberLike = decimalNumber(text) != nil || text.hasPrefix(".")
    return isWord && !isNumberLike && !taken.contains(text.lowercased()) || isPath(text) ? text : jsonString(text)
}

private func isPath(_ text: String) -> Bool {
    (text.hasPrefix("./") || text.hasPrefix("/"))
        && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "_./-+=%@".contains($0)) }
}

/// Whether a text is a number in JSON's spelling (RFC 8259, section 6).
private func isJSONNumber(_ text: String) -> Bool {
    guard decimalNumber(text) != nil, !text.contains("_"), !text.hasPrefix("+"), !text.hasPrefix("."),
        !text.contains("+.")
    else {
        return false
    }
    let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
    let whole = digits.prefix { $0.isNumber }
    return !whole.isEmpty && (whole.count == 1 || whole.first != "0") && !digits.contains(".e")
        && !digits.contains(".E")
}
