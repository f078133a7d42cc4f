extension JobSpecification {
    /// The specification as a document that says everything that differs from the defaults, in the order of the schema.
    ///
    /// Parsing it gives the same specification again; a deadline that was a moment has become a length of time.
    package var document: DocumentNode {
        let defaults = JobSpecification(name: name, kind: kind, image: image)
        var pairs: [(String, DocumentNode?)] = [
            ("name", .text(name)),
            ("kind", .text(kind.rawValue)),
            ("image", imageDocument),
            ("command", command.isEmpty ? nil : .list(command.map(DocumentNode.text))),
            ("env", environment.isEmpty ? nil : .mapping(environment.map { ($0.name, .text($0.value)) })),
            ("workingDirectory", workingDirectory.map(DocumentNode.text)),
            ("user", user.map(DocumentNode.text)),
            ("mounts", mounts.isEmpty ? nil : .list(mounts.map(\.document))),
            ("resources", resources.document),
            ("network", network?.document),
            ("objective", objective?.document),
        ]
        pairs += [
            ("policy", policy == defaults.policy ? nil : .text(policy.rawValue)),
            ("maxOverprogress", maxOverprogress == defaults.maxOverprogress ? nil : .number(maxOverprogress)),
            ("weight", weight == defaults.weight ? nil : .number(weight)),
            ("retries", retries == defaults.retries ? nil : retries.document),
            ("checkpoint", checkpoint == defaults.checkpoint ? nil : checkpoint.document),
            ("labels", labels.isEmpty ? nil : .mapping(labels.map { ($0.key, .text($0.value)) })),
            ("constraints", constraints == defaults.constraints ? nil : constraints.document),
            ("spread", spread == defaults.spread ? nil : .text(spread.rawValue)),
            ("onPartition", onPartition == defaults.onPartition ? nil : .text(onPartition.rawValue)),
        ]
        return .mapping(pairs)
    }

    private var imageDocument: DocumentNode {
        switch image {
        case .ociFolder(let path, let reference):
            .mapping([("ociLayout", .text(path)), ("reference", reference.map(DocumentNode.text))])
        case .ociArchive(let path, let reference):
            .mapping([("ociArchive", .text(path)), ("reference", reference.map(DocumentNode.text))])
        case .rootFolder(let path): .mapping([("rootfs", .text(path))])
        case .rootArchive(let path): .mapping([("rootfsArchive", .text(path))])
        case .registry(let reference): .mapping([("registry", .text(reference))])
        }
    }
}

extension JobSpecification.Mount {
    fileprivate var document: DocumentNode {
        .mapping([("source", .text(source)), ("target", .text(target)), ("readOnly", isReadOnly ? .flag(true) : nil)])
    }
}

extension JobSpecification.Resources {
    fileprivate var document: DocumentNode {
        .mapping([
            ("cpus", .number(cpus.rawValue)),
            ("cpuLimit", cpuLimit.map { .number($0.rawValue) }),
            ("memory", memory.map { .plain($0.documentText) }),
            ("gpus", gpus == 0 ? nil : .plain("\(gpus)")),
            ("processes", processLimit == Self().processLimit ? nil : .plain("\(processLimit)")),
        ])
    }
}

extension JobSpecification.Network {
    fileprivate var document: DocumentNode { .mapping([("address", .text(text ?? "automatic"))]) }
}

extension JobSpecification.Objective {
    fileprivate var document: DocumentNode {
        switch self {
        case .cpuTime(let amount, let frame):
            .mapping([("cpuTime", .duration(amount)), ("frame", .duration(frame))])
        case .iterations(let count, let expected, let overhead, let deadline):
            .mapping([
                ("iterations", .plain("\(count)")),
                ("iterationTime", .duration(expected)),
                ("startOverhead", overhead == .zero ? nil : .duration(overhead)),
                ("deadline", .duration(deadline)),
            ])
        }
    }
}

extension JobSpecification.Retries {
    fileprivate var document: DocumentNode {
        .mapping([
            ("limit", .plain("\(limit)")), ("backoff", .duration(backoff)),
            ("maximumBackoff", .duration(maximumBackoff)),
        ])
    }
}

extension JobSpecification.CheckpointRules {
    fileprivate var document: DocumentNode {
        .mapping([
            ("interval", interval.map(DocumentNode.duration)),
            ("generations", .plain("\(generations)")),
            ("recovery", .text(recovery.rawValue)),
            ("tcpEstablished", tcpEstablished ? .flag(true) : nil),
            ("replicas", replicas == Self().replicas ? nil : .plain("\(replicas)")),
            ("otherSite", otherSite ? .flag(true) : nil),
            ("spaceLimit", spaceLimit.map { .plain($0.documentText) }),
        ])
    }
}

extension JobSpecification.Constraints {
    fileprivate var document: DocumentNode {
        func choice(_ words: [String]) -> DocumentNode? {
            words.isEmpty ? nil : words.count == 1 ? .text(words[0]) : .list(words.map(DocumentNode.text))
        }
        return .mapping([
            ("site", choice(sites.map(\.rawValue))),
            ("role", choice(roles.map(\.rawValue))),
            ("node", choice(nodes.map(\.rawValue))),
            ("labels", labels.isEmpty ? nil : .mapping(labels.map { ($0.key, .text($0.value)) })),
        ])
    }
}

// MARK: Making documents

extension DocumentNode {
    /// Where made nodes stand: nowhere in a file.
    private static let nowhere = DocumentPlace(line: 1, column: 1)

    fileprivate static func text(_ text: String) -> DocumentNode {
        DocumentNode(content: .scalar(text: text, isQuoted: true), place: nowhere)
    }
    fileprivate static func plain(_ text: String) -> DocumentNode {
        DocumentNode(content: .scalar(text: text, isQuoted: false), place: nowhere)
    }
    fileprivate static func number(_ value: Double) -> DocumentNode { plain(value.documentText) }
    fileprivate static func flag(_ value: Bool) -> DocumentNode { plain(value ? "true" : "false") }
    fileprivate static func duration(_ value: Duration) -> DocumentNode { plain(value.documentText) }
    fileprivate static func list(_ elements: [DocumentNode]) -> DocumentNode {
        DocumentNode(content: .sequence(elements), place: nowhere)
    }
    fileprivate static func mapping(_ pairs: [(String, DocumentNode?)]) -> DocumentNode {
        let pairs = pairs.compactMap { key, value in
            value.map { (key: DocumentKey(text: key, place: nowhere), value: $0) }
        }
        return DocumentNode(content: .mapping(pairs), place: nowhere)
    }
}
