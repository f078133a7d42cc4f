package import ClusterModel
import Yams

/// Reads YAML, and JSON, which YAML contains, into a document that remembers where each part stands.
///
/// What comes in over the network is bounded before it is believed: bytes, depth, parts, aliases. Keys are texts and occur once
/// in a mapping; the tags of YAML's own schema are accepted, others are refused, since they would mean nothing here.
package enum YAMLDocument {
    /// Bytes of a document.
    package static let byteLimit = 1 << 20
    /// Lists and mappings inside one another.
    package static let depthLimit = 32
    /// Scalars, lists and mappings of a document, with what aliases repeat.
    package static let nodeLimit = 100_000
    /// Uses of `*name`; with these bounds no repetition of repetitions can grow beyond what is read in milliseconds.
    package static let aliasLimit = 32

    /// Reads the only document of a text; an empty text is an empty scalar.
    ///
    /// - Throws: `DocumentProblems` with the place and the remedy.
    package static func read(_ bytes: [UInt8]) throws -> DocumentNode {
        let text = try checkedText(bytes)
        do {
            guard let root = try Parser(yaml: text, encoding: .utf8).singleRoot() else {
                return DocumentNode(
                    content: .scalar(text: "", isQuoted: false),
                    place: DocumentPlace(line: 1, column: 1)
                )
            }
            var bridge = Bridge()
            return try bridge.node(root, depth: 1, path: "")
        } catch let error as YamlError {
            throw DocumentProblems([problem(error, in: text)])
        }
    }

    private static func checkedText(_ bytes: [UInt8]) throws -> String {
        let start = DocumentPlace(line: 1, column: 1)
        guard bytes.count <= byteLimit else {
            throw DocumentProblems(
                start,
                "the document has \(ByteCount.bytes(Int64(bytes.count))), more than the \(ByteCount.bytes(Int64(byteLimit))) that are read; "
                    + "put large data into the image or a mount"
            )
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let bad = firstInvalid(bytes)
            throw DocumentProblems(place(ofByte: bad, in: bytes), "the text is not UTF-8 here; save the file as UTF-8")
        }
        if let zero = bytes.firstIndex(of: 0) {
            throw DocumentProblems(place(ofByte: zero, in: bytes), "there is a zero byte here; is this a text file?")
        }
        try checkAliases(text)
        return text
    }

    /// Counts what looks like `*name`, in documents that have something like `&name`, before the parser follows them.
    ///
    /// The parser compares keys while it reads, so a bomb of aliases in keys must be found before.
    private static func checkAliases(_ text: String) throws {
        var (anchors, aliases) = (0, 0)
        var before: UInt8 = UInt8(ascii: " ")
        var mark: UInt8 = 0
        for byte in text.utf8 {
            let isName = byte >= 0x80 || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-") || isLetterOrDigit(byte)
            if isName, mark == UInt8(ascii: "&") { anchors += 1 }
            if isName, mark == UInt8(ascii: "*") { aliases += 1 }
            let opens = " \t\r\n[]{},:?-".utf8.contains(before)
            mark = opens && (byte == UInt8(ascii: "&") || byte == UInt8(ascii: "*")) ? byte : 0
            before = byte
        }
        guard anchors > 0, aliases > aliasLimit else { return }
        throw DocumentProblems(
            DocumentPlace(line: 1, column: 1),
            "the document uses \(aliases) aliases (*name), more than the \(aliasLimit) that are followed; write the values out"
        )
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
            || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
    }

    private static func firstInvalid(_ bytes: [UInt8]) -> Int {
        // The longest prefix that is valid but for a character cut in two at its end.
        var length = bytes.indices.firstSortedIndex { last in
            !(0...3).contains { cut in
                cut <= last + 1 && String(validating: bytes[..<(last + 1 - cut)], as: UTF8.self) != nil
            }
        }
        while length > 0, String(validating: bytes[..<length], as: UTF8.self) == nil { length -= 1 }
        return length
    }

    private static func place(ofByte index: Int, in bytes: [UInt8]) -> DocumentPlace {
        let newline = UInt8(ascii: "\n")
        let before = bytes[..<min(index, bytes.count)]
        let line = before.count { $0 == newline } + 1
        let start = before.lastIndex(of: newline).map { $0 + 1 } ?? 0
        return DocumentPlace(line: line, column: index - start + 1)
    }
}

extension DocumentProblems {
    fileprivate init(_ place: DocumentPlace, path: String = "", _ message: String) {
        self.init([DocumentProblem(place: place, path: path, message: message)])
    }
}

// MARK: From Yams' nodes to ours

/// Copies a tree, counting what it copies.
private struct Bridge {
    private var count = 0

    mutating func node(_ node: Node, depth: Int, path: String) throws -> DocumentNode {
        let place =
            node.mark.map { DocumentPlace(line: $0.line, column: $0.column) } ?? DocumentPlace(line: 1, column: 1)
        count += 1
        guard count <= YAMLDocument.nodeLimit else {
            throw DocumentProblems(
                place,
                path: path,
                "the document has more than \(YAMLDocument.nodeLimit) parts, counting what its aliases repeat; make it smaller"
            )
        }
        guard depth <= YAMLDocument.depthLimit else {
            throw DocumentProblems(
                place,
                path: path,
                "lists and mappings are nested more than \(YAMLDocument.depthLimit) deep; make them flatter"
            )
        }
        switch node {
        case .scalar(let scalar):
            try check(
                scalar.tag,
                allowed: [.implicit, .nonSpecific, .str, .int, .float, .bool, .null, .timestamp],
                place,
                path
            )
            let isText =
                scalar.style != .plain && scalar.style != .any || scalar.tag.description == Tag.Name.str.rawValue
            return DocumentNode(content: .scalar(text: scalar.string, isQuoted: isText), place: place)
        case .sequence(let sequence):
            try check(sequence.tag, allowed: [.implicit, .nonSpecific, .seq], place, path)
            var elements: [DocumentNode] = []
            elements.reserveCapacity(sequence.count)
            for (index, element) in sequence.enumerated() {
                elements.append(try self.node(element, depth: depth + 1, path: "\(path)[\(index)]"))
            }
            return DocumentNode(content: .sequence(elements), place: place)
        case .mapping(let mapping):
            try check(mapping.tag, allowed: [.implicit, .nonSpecific, .map], place, path)
            var pairs: [(key: DocumentKey, value: DocumentNode)] = []
            pairs.reserveCapacity(mapping.count)
            for (key, value) in mapping {
                let keyPlace = key.mark.map { DocumentPlace(line: $0.line, column: $0.column) } ?? place
                guard case .scalar(let scalar) = key else {
                    throw DocumentProblems(keyPlace, path: path, "a key must be a text, not a list or a mapping")
                }
                let full = path.isEmpty ? scalar.string : "\(path).\(scalar.string)"
                guard scalar.string != "<<" || scalar.style != .plain else {
                    throw DocumentProblems(
                        keyPlace,
                        path: full,
                        "merge keys (<<) are not supported; write the keys out"
                    )
                }
                let child = try self.node(value, depth: depth + 1, path: full)
                pairs.append((DocumentKey(text: scalar.string, place: keyPlace), child))
            }
            return DocumentNode(content: .mapping(pairs), place: place)
        case .alias:
            // The parser puts the anchor's node in place of its alias.
            throw DocumentProblems(place, path: path, "an alias cannot be followed here; write the value out")
        }
    }

    private func check(_ tag: Tag, allowed: [Tag.Name], _ place: DocumentPlace, _ path: String) throws {
        guard !allowed.contains(where: { $0.rawValue == tag.description }) else { return }
        throw DocumentProblems(place, path: path, "the tag \(tag.description) is not supported; remove it")
    }
}

// MARK: What the parser complains about

extension YAMLDocument {
    private static func problem(_ error: YamlError, in text: String) -> DocumentProblem {
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let place = DocumentPlace(line: mark.line, column: mark.column)
            return DocumentProblem(place: place, path: "", message: explained(problem, context, place, text))
        case .reader(let problem, let offset, _, _):
            let place = place(ofByte: offset ?? 0, in: Array(text.utf8))
            return DocumentProblem(place: place, path: "", message: "\(problem); remove the character")
        case .duplicatedKeysInMapping(let duplicates, _):
            let key = duplicates.first ?? ""
            return DocumentProblem(
                place: secondPlace(of: key, in: text),
                path: key,
                message: "the key '\(key)' occurs twice in one mapping; keep one of them"
            )
        default:
            return DocumentProblem(
                place: DocumentPlace(line: 1, column: 1),
                path: "",
                message: "this is not YAML: \(error)"
            )
        }
    }

    private static func explained(
        _ problem: String,
        _ context: YamlError.Context?,
        _ place: DocumentPlace,
        _ text: String
    ) -> String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let line = place.line <= lines.count ? lines[place.line - 1] : ""
        if line.prefix(while: { $0 == " " || $0 == "\t" }).contains("\t")
            || problem.contains("cannot start any token") && line.contains("\t")
        {
            return "there is a tab here, and YAML is indented with spaces; replace it by spaces"
        }
        if problem.contains("mapping values are not allowed") {
            return "a colon is not expected here; put a text with a colon into quotes, and check the indentation"
        }
        if problem.contains("did not find expected key") || problem.contains("expected <block end>") {
            return "the indentation does not fit the lines above; keys of one mapping begin in the same column"
        }
        if problem.contains("did not find expected ',' or") {
            let opened = context.map { " (opened in line \($0.mark.line), column \($0.mark.column))" } ?? ""
            return "a bracket\(opened) is not closed, or a comma is missing before this"
        }
        if problem.contains("another document") {
            return "a second document begins here; a file holds one, remove the rest from ---"
        }
        if problem.contains("nesting level") { return "lists and mappings are nested too deep; make them flatter" }
        if problem.contains("unexpected end of stream"), context?.text.contains("quoted scalar") == true {
            return "the quotes opened in line \(context?.mark.line ?? 1) are not closed; close them"
        }
        let context = context.map { " \($0.text) that begins in line \($0.mark.line), column \($0.mark.column)" } ?? ""
        return "this is not YAML: \(problem)\(context)"
    }

    /// Where a key occurs for the second time at one indentation; the parser tells only that it does.
    private static func secondPlace(of key: String, in text: String) -> DocumentPlace {
        var seen: [Int: Int] = [:]
        var last = DocumentPlace(line: 1, column: 1)
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let indent = line.prefix { $0 == " " || $0 == "-" }.count
            let rest = line.dropFirst(indent)
            // A line further out ends every mapping further in.
            if !rest.isEmpty, !rest.hasPrefix("#") { seen = seen.filter { $0.key <= indent } }
            let names = [key, "\"\(key)\"", "'\(key)'"]
            guard
                names.contains(where: { rest.hasPrefix($0) && rest.dropFirst($0.count).drop { $0 == " " }.first == ":" }
                )
            else {
                continue
            }
            last = DocumentPlace(line: number + 1, column: indent + 1)
            if seen[indent] != nil { return last }
            seen[indent] = number
        }
        return last
    }
}
