/// Reads values out of a document and gathers every problem on the way, so that a user sees all of them at once.
///
/// A schema asks for each key once; a key that nobody asked for is refused by `finish()` with the closest known one.
package struct DocumentReader {
    /// What was found wrong so far, in the order of the document's schema.
    package private(set) var problems: [DocumentProblem] = []

    /// Has found nothing yet.
    package init() {}

    /// Adds a problem.
    package mutating func report(_ place: DocumentPlace, _ path: String, _ message: String) {
        problems.append(DocumentProblem(place: place, path: path, message: message))
    }

    /// Opens a mapping that may have the given keys; any other is a problem, as is a key that occurs twice.
    ///
    /// Returns nil, with a problem, when the node is no mapping.
    package mutating func mapping(_ node: DocumentNode, path: String, keys: [String]) -> DocumentMapping? {
        guard case .mapping(let pairs) = node.content else {
            report(node.place, path, "expected a mapping with keys such as \(keys.prefix(3).joined(separator: ", "))")
            return nil
        }
        var mapping = DocumentMapping(place: node.place, path: path, values: [:])
        for (key, value) in pairs {
            let full = path.isEmpty ? key.text : "\(path).\(key.text)"
            guard keys.contains(key.text) else {
                let remedy =
                    closestText(to: key.text, among: keys).map { "did you mean '\($0)'?" }
                    ?? "known keys here: \(keys.joined(separator: ", "))"
                report(key.place, full, "unknown key '\(key.text)'; \(remedy)")
                continue
            }
            guard mapping.values[key.text] == nil else {
                report(key.place, full, "the key occurs twice; keep one of them")
                continue
            }
            mapping.values[key.text] = value
        }
        return mapping
    }

    /// The text of a scalar; nil with a problem when it is a list or mapping.
    package mutating func text(_ node: DocumentNode, path: String, expected: String = "a text") -> String? {
        guard case .scalar(let text, _) = node.content else {
            report(node.place, path, "expected \(expected), found \(node.kindText)")
            return nil
        }
        return text
    }

    /// Reads `true` or `false`.
    package mutating func flag(_ node: DocumentNode, path: String) -> Bool? {
        guard case .scalar(let text, let isQuoted) = node.content else {
            report(node.place, path, "expected true or false, found \(node.kindText)")
            return nil
        }
        switch (text, isQuoted) {
        case ("true", false): return true
        case ("false", false): return false
        default:
            report(node.place, path, "expected true or false, found '\(text)'\(isQuoted ? "; remove the quotes" : "")")
            return nil
        }
    }

    /// Reads a whole number of a range.
    package mutating func integer(_ node: DocumentNode, path: String, in range: ClosedRange<Int>) -> Int? {
        guard let text = text(node, path: path, expected: "a whole number") else { return nil }
        guard let number = decimalNumber(text) else {
            report(node.place, path, "expected a whole number, found '\(text)'")
            return nil
        }
        guard number == number.rounded() else {
            report(node.place, path, "expected a whole number, found '\(text)'; write \(number.rounded().documentText)")
            return nil
        }
        guard number >= Double(range.lowerBound), number <= Double(range.upperBound) else {
            report(node.place, path, "\(text) is outside \(range.lowerBound)...\(range.upperBound)")
            return nil
        }
        return Int(number)
    }

    /// Reads a number of a range.
    package mutating func number(_ node: DocumentNode, path: String, in range: ClosedRange<Double>) -> Double? {
        guard let text = text(node, path: path, expected: "a number") else { return nil }
        guard let number = decimalNumber(text) else {
            let remedy = text.hasSuffix("%") ? "; write a fraction: 20% is 0.2" : ""
            report(node.place, path, "expected a number, found '\(text)'\(remedy)")
            return nil
        }
        guard range.contains(number) else {
            let bounds = "\(range.lowerBound.documentText)...\(range.upperBound.documentText)"
            report(node.place, path, "\(text) is outside \(bounds)")
            return nil
        }
        return number
    }

    /// Reads a length of time of a range.
    package mutating func duration(_ node: DocumentNode, path: String, in range: ClosedRange<Duration>) -> Duration? {
        quantity(node, path, "a length of time such as 90s or 1h30m", range, \.documentText) {
            text throws(QuantityTextError) in
            try Duration(text: text)
        }
    }

    /// Reads an amount of memory or storage of a range.
    package mutating func bytes(_ node: DocumentNode, path: String, in range: ClosedRange<ByteCount>) -> ByteCount? {
        quantity(node, path, "an amount such as 512MiB", range, \.documentText) { text throws(QuantityTextError) in
            try ByteCount(text: text)
        }
    }

    /// Reads an amount of processor of a range.
    package mutating func vcpus(_ node: DocumentNode, path: String, in range: ClosedRange<VCPUCount>) -> VCPUCount? {
        quantity(node, path, "a number of vCPUs", range, \.rawValue.documentText) { text throws(QuantityTextError) in
            try VCPUCount(text: text)
        }
    }

    private mutating func quantity<Value: Comparable>(
        _ node: DocumentNode,
        _ path: String,
        _ expected: String,
        _ range: ClosedRange<Value>,
        _ show: (Value) -> String,
        _ read: (String) throws(QuantityTextError) -> Value
    ) -> Value? {
        guard let text = text(node, path: path, expected: expected) else { return nil }
        do throws(QuantityTextError) {
            let value = try read(text)
            guard range.contains(value) else {
                report(node.place, path, "\(text) is outside \(show(range.lowerBound))...\(show(range.upperBound))")
                return nil
            }
            return value
        } catch {
            report(node.place, path, error.description)
            return nil
        }
    }

    /// Reads one of some words.
    package mutating func choice<Value: RawRepresentable<String> & CaseIterable>(
        _ node: DocumentNode,
        path: String,
        of type: Value.Type = Value.self
    ) -> Value? {
        let words = Value.allCases.map(\.rawValue)
        let list = words.joined(separator: ", ")
        guard let text = text(node, path: path, expected: "one of \(list)") else { return nil }
        if let value = Value(rawValue: text) { return value }
        let remedy = closestText(to: text, among: words).map { "did you mean '\($0)'?" } ?? "write one of \(list)"
        report(node.place, path, "'\(text)' is not known here; \(remedy)")
        return nil
    }

    /// Reads a list.
    package mutating func list(_ node: DocumentNode, path: String, expected: String) -> [DocumentNode]? {
        guard case .sequence(let elements) = node.content else {
            report(node.place, path, "expected \(expected), found \(node.kindText)")
            return nil
        }
        return elements
    }
}

/// A mapping whose keys are known to be right.
package struct DocumentMapping {
    package var place: DocumentPlace
    /// Dotted path of the mapping.
    package var path: String
    fileprivate(set) var values: [String: DocumentNode]

    /// The value of a key, unless it is missing or empty (`key:` without a value, `null`, `~`).
    package subscript(key: String) -> DocumentNode? {
        guard let node = values[key] else { return nil }
        return node.isNull ? nil : node
    }

    /// The dotted path of a key.
    package func path(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
}

extension DocumentNode {
    /// Whether nothing is written here.
    package var isNull: Bool {
        guard case .scalar(let text, false) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    /// What stands here, for messages.
    package var kindText: String {
        switch content {
        case .scalar(let text, _): text.isEmpty ? "nothing" : "'\(text)'"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }
}
