// Where a job may run.
extension JobSpecificationParser {
    private static let constraintKeys = ["site", "role", "node", "labels"]

    /// Names that one constraint may list.
    private static let nameLimit = 64

    mutating func constraints(_ node: DocumentNode) -> JobSpecification.Constraints {
        var result = JobSpecification.Constraints()
        guard let mapping = reader.mapping(node, path: "constraints", keys: Self.constraintKeys) else { return result }
        if let node = mapping["site"] {
            result.sites = names(node, "constraints.site", "north").map(SiteID.init(rawValue:))
        }
        if let node = mapping["node"] {
            result.nodes = names(node, "constraints.node", "node1").map(NodeID.init(rawValue:))
        }
        if let node = mapping["role"] {
            var roles: Set<NodeRole> = []
            for (element, path) in elements(node, "constraints.role") {
                if let role: NodeRole = reader.choice(element, path: path) { roles.insert(role) }
            }
            result.roles = roles.sorted { $0.rawValue < $1.rawValue }
        }
        if let node = mapping["labels"] {
            result.labels = labels(node, "constraints.labels", example: "constraints: {labels: {disk: ssd}}")
        }
        return result
    }

    /// Reads one name or a list of names, each of which may be a node's or site's.
    private mutating func names(_ node: DocumentNode, _ path: String, _ example: String) -> [String] {
        var names: Set<String> = []
        for (element, path) in elements(node, path) {
            guard let text = reader.text(element, path: path, expected: "a name such as \(example)") else { continue }
            guard isLabel(text) else {
                reader.report(
                    element.place,
                    path,
                    "'\(text)' cannot be a name here: names have 1 to 63 of a-z, 0-9 and -, not - at either end"
                )
                continue
            }
            names.insert(text)
        }
        return names.sorted()
    }

    /// The elements of a list with their paths, or the one value that stands in its place.
    private mutating func elements(_ node: DocumentNode, _ path: String) -> [(DocumentNode, String)] {
        guard case .sequence(let elements) = node.content else { return [(node, path)] }
        guard (1...Self.nameLimit).contains(elements.count) else {
            reader.report(
                node.place,
                path,
                elements.isEmpty
                    ? "the list is empty, so no node would do; name one, or leave the key out to allow all"
                    : "\(elements.count) entries are more than \(Self.nameLimit); give the nodes a label and ask for that"
            )
            return []
        }
        return elements.enumerated().map { ($1, "\(path)[\($0)]") }
    }
}
