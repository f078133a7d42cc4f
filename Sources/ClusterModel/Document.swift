/// A configuration or job document as a tree that remembers where each part stands.
///
/// YAML and JSON are read into this by a shell (JSON is read as YAML, which contains it); the schemas that check it are pure.
package struct DocumentNode: Sendable, Equatable {
    /// What the node holds.
    ///
    /// Scalars keep their text; schemas decide what it means.
    package indirect enum Content: Sendable, Equatable {
        /// `isQuoted` distinguishes the text "no" from the word no.
        case scalar(text: String, isQuoted: Bool)
        case sequence([DocumentNode])
        /// In the order of the document.
        case mapping([(key: DocumentKey, value: DocumentNode)])

        package static func == (left: Content, right: Content) -> Bool {
            switch (left, right) {
            case (.scalar(let a, let b), .scalar(let c, let d)): a == c && b == d
            case (.sequence(let a), .sequence(let b)): a == b
            case (.mapping(let a), .mapping(let b)):
                a.count == b.count && zip(a, b).allSatisfy { $0.key == $1.key && $0.value == $1.value }
            default: false
            }
        }
    }

    package var content: Content
    package var place: DocumentPlace
    package init(content: Content, place: DocumentPlace) { (self.content, self.place) = (content, place) }
}

/// A key of a mapping and where it stands.
package struct DocumentKey: Sendable, Equatable {
    /// As written, without quotes.
    package var text: String
    package var place: DocumentPlace
    package init(text: String, place: DocumentPlace) { (self.text, self.place) = (text, place) }
}

/// Line and column, both from 1.
package struct DocumentPlace: Sendable, Equatable {
    /// From 1.
    package var line: Int
    /// In characters, from 1.
    package var column: Int
    package init(line: Int, column: Int) { (self.line, self.column) = (line, column) }
}

/// What is wrong with a document: where, what, and what to write instead.
package struct DocumentProblem: Error, Sendable, Equatable, CustomStringConvertible {
    package var place: DocumentPlace
    /// Dotted path of keys, for example `resources.memory`; empty for the whole document.
    package var path: String
    /// What is wrong and the remedy, one line without a full stop.
    package var message: String

    package init(place: DocumentPlace, path: String, message: String) {
        (self.place, self.path, self.message) = (place, path, message)
    }

    package var description: String {
        let path = path.isEmpty ? "" : "\(path): "
        return "line \(place.line), column \(place.column): \(path)\(message)"
    }
}
