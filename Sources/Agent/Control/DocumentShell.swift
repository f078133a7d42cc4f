import ClusterModel
import LinuxSystem

/// Reads documents that users wrote: bytes in, valid values or every problem out.
struct DocumentShell: Sendable {
    init() {}

    /// Reads a job document; relative paths in it start at `baseFolder`.
    ///
    /// - Throws: `DocumentProblems`.
    func jobSpecification(_ bytes: [UInt8], name: String, baseFolder: String) throws -> JobSpecification {
        let document: DocumentNode
        do {
            document = try YAMLDocument.read(bytes)
        } catch let problem as DocumentProblem {
            throw DocumentProblems([problem])
        }
        return try JobSpecificationParser.parse(
            document,
            folder: baseFolder.hasPrefix("/") ? baseFolder : "/",
            now: WallClock.now()
        )
    }
}

extension DocumentNode {
    /// The document as JSON text (RFC 8259), keys in their order; scalars that look like numbers or truth values are written as such.
    var jsonText: String {
        switch content {
        case .scalar(let text, let isQuoted):
            if !isQuoted, text == "true" || text == "false" || text == "null" || Double(text)?.isFinite == true,
                !text.hasPrefix("+"), !text.hasPrefix(".")
            {
                return text
            }
            return Agent.jsonText(text)
        case .sequence(let items): return "[\(items.map(\.jsonText).joined(separator: ","))]"
        case .mapping(let pairs):
            return "{\(pairs.map { "\(Agent.jsonText($0.key.text)):\($0.value.jsonText)" }.joined(separator: ","))}"
        }
    }
}
