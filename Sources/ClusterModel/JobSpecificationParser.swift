/// Every problem of a document.
package struct DocumentProblems: Error, Sendable, Equatable, CustomStringConvertible {
    /// At least one, in the order of the schema.
    package var problems: [DocumentProblem]

    /// Takes the problems as they are.
    package init(_ problems: [DocumentProblem]) { self.problems = problems }

    package var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// Turns a job document into a valid specification, or tells everything that is wrong with it.
///
/// The keys, their units, defaults and effects are in the article <doc:JobDocuments>.
package struct JobSpecificationParser {
    var reader = DocumentReader()
    private let folder: String
    private let now: Timestamp

    private init(folder: String, now: Timestamp) {
        self.folder = folder
        self.now = now
    }

    /// Reads a document.
    ///
    /// Relative image and mount paths start at `folder`, which is absolute; a deadline that is a moment counts from `now`, the time of the
    /// submission. Throws all problems at once.
    package static func parse(
        _ document: DocumentNode,
        folder: String,
        now: Timestamp
    ) throws(DocumentProblems) -> JobSpecification {
        var parser = JobSpecificationParser(folder: folder, now: now)
        let specification = parser.specification(document)
        guard parser.reader.problems.isEmpty, let specification else { throw DocumentProblems(parser.reader.problems) }
        return specification
    }

    private static let keys = [
        "name", "kind", "image", "command", "env", "workingDirectory", "user", "mounts", "resources", "network",
        "objective",
        "policy", "maxOverprogress", "weight", "retries", "checkpoint", "labels", "constraints",
        "spread", "onPartition",
    ]

    private mutating func specification(_ document: DocumentNode) -> JobSpecification? {
        guard let root = reader.mapping(document, path: "", keys: Self.keys) else { return nil }
        let name = name(root)
        let image = image(root)
        var result = JobSpecification(name: name ?? "", kind: .batch, image: image ?? .rootFolder(path: "/"))
        if let node = root["command"] { result.command = command(node) ?? [] }
        if let node = root["env"] { result.environment = environment(node) }
        if let node = root["workingDirectory"] { result.workingDirectory = containerPath(node, "workingDirectory") }
        if let node = root["user"] { result.user = user(node) }
        if let node = root["mounts"] { result.mounts = mounts(node) }
        let problemsBefore = reader.problems.count
        if let node = root["resources"] { result.resources = resources(node) }
        let resourcesAreRight = reader.problems.count == problemsBefore
        if let node = root["network"] { result.network = network(node) }
        if let node = root["objective"] {
            result.objective = objective(node, resourcesAreRight ? result.resources : nil)
        }
        result.kind = kind(root, objective: result.objective)
        if let node = root["policy"] { result.policy = reader.choice(node, path: "policy") ?? .deadline }
        if let node = root["maxOverprogress"] {
            result.maxOverprogress = reader.number(node, path: "maxOverprogress", in: 0...10) ?? 0
        }
        if let node = root["weight"] { result.weight = reader.number(node, path: "weight", in: 0.01...100) ?? 1 }
        if let node = root["retries"] { result.retries = retries(node) }
        if let node = root["checkpoint"] { result.checkpoint = checkpoint(node) }
        if let node = root["labels"] { result.labels = labels(node, "labels", example: "labels: {project: climate}") }
        if let node = root["constraints"] { result.constraints = constraints(node) }
        if let node = root["spread"] { result.spread = reader.choice(node, path: "spread") ?? .nodes }
        if let node = root["onPartition"] { result.onPartition = reader.choice(node, path: "onPartition") ?? .stop }
        return name == nil || image == nil ? nil : result
    }
}

// MARK: What runs

extension JobSpecificationParser {
    private mutating func name(_ root: DocumentMapping) -> String? {
        guard let node = root["name"] else {
            reader.report(root.place, "name", "the job has no name; add name: my-job")
            return nil
        }
        guard let text = reader.text(node, path: "name") else { return nil }
        guard !isLabel(text) else { return text }
        let repaired = String(text.lowercased().map { isLabel(String($0)) ? $0 : "-" }.prefix(63))
        let trimmed = String(repaired.drop { $0 == "-" }.reversed().drop { $0 == "-" }.reversed())
        let remedy = isLabel(trimmed) ? "; for example \(trimmed)" : ""
        reader.report(
            node.place,
            "name",
            "'\(text)' cannot be a name: use 1 to 63 of a-z, 0-9 and -, not - at either end\(remedy)"
        )
        return nil
    }

    private mutating func kind(_ root: DocumentMapping, objective: JobSpecification.Objective?) -> JobSpecification.Kind
    {
        var implied = JobSpecification.Kind.batch
        if case .iterations = objective { implied = .iterative }
        guard let node = root["kind"] else { return implied }
        guard let kind: JobSpecification.Kind = reader.choice(node, path: "kind") else { return implied }
        switch (kind, implied) {
        case (.iterative, .batch) where objective != nil || root["objective"] == nil:
            reader.report(
                node.place,
                "kind",
                "an iterative job needs objective.iterations, objective.iterationTime and objective.deadline"
            )
        case (.batch, .iterative):
            reader.report(
                node.place,
                "kind",
                "objective.iterations is for kind: iterative; write that, or leave kind out"
            )
        default: break
        }
        return kind
    }

    private static let imageKinds = ["ociLayout", "ociArchive", "rootfs", "rootfsArchive", "registry"]

    private mutating func image(_ root: DocumentMapping) -> JobSpecification.ImageSource? {
        guard let node = root["image"] else {
            reader.report(
                root.place,
                "image",
                "the job has no image; add for example image: docker://alpine:3.20, or image: ./folder-of-an-oci-layout"
            )
            return nil
        }
        if case .scalar(let text, _) = node.content { return shorthand(text, at: node.place) }
        guard let mapping = reader.mapping(node, path: "image", keys: Self.imageKinds + ["reference"]) else {
            return nil
        }
        let given = Self.imageKinds.filter { mapping[$0] != nil }
        guard let kind = given.first, given.count == 1, let value = mapping[kind] else {
            let found = given.isEmpty ? "none is there" : "found \(given.joined(separator: " and "))"
            reader.report(
                node.place,
                "image",
                "write exactly one of \(Self.imageKinds.joined(separator: ", ")); \(found)"
            )
            return nil
        }
        let reference = mapping["reference"].flatMap { reader.text($0, path: "image.reference") }
        if let node = mapping["reference"], kind != "ociLayout", kind != "ociArchive" {
            reader.report(node.place, "image.reference", "only ociLayout and ociArchive have a reference; remove it")
        }
        if kind == "registry" {
            guard let text = reader.text(value, path: "image.registry") else { return nil }
            return .registry(reference: text.contains("://") ? text : "docker://\(text)")
        }
        guard let path = nodePath(value, "image.\(kind)") else { return nil }
        switch kind {
        case "ociLayout": return .ociFolder(path: path, reference: reference)
        case "ociArchive": return .ociArchive(path: path, reference: reference)
        case "rootfs": return .rootFolder(path: path)
        default: return .rootArchive(path: path)
        }
    }

    /// Reads a registry reference with its transport, or a path of an OCI layout: a tar when it ends so, else a folder.
    private mutating func shorthand(_ text: String, at place: DocumentPlace) -> JobSpecification.ImageSource? {
        if text.contains("://") { return .registry(reference: text) }
        guard text.hasPrefix("/") || text.hasPrefix("./") || text.hasPrefix("../") || text == "." else {
            reader.report(
                place,
                "image",
                "'\(text)' is neither a path nor a reference; write docker://\(text) for a registry or ./\(text) for a folder"
            )
            return nil
        }
        var path = text
        var reference: String?
        let base = text.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
        if let colon = base.lastIndex(of: ":") {
            reference = String(base[base.index(after: colon)...])
            path = String(text.dropLast(base.count)) + base[..<colon]
        }
        guard let resolved = resolve(path, at: place, "image") else { return nil }
        let isArchive = [".tar", ".tar.gz", ".tgz"].contains { path.hasSuffix($0) }
        return isArchive
            ? .ociArchive(path: resolved, reference: reference) : .ociFolder(path: resolved, reference: reference)
    }

    private mutating func command(_ node: DocumentNode) -> [String]? {
        if case .scalar(let text, _) = node.content {
            let escaped =
                "\"\(text.flatMap { $0 == "\"" || $0 == "\\" ? ["\\", $0] : [$0] }.map(String.init).joined())\""
            reader.report(
                node.place,
                "command",
                "the command must be a list of program and arguments; write [sh, -c, \(escaped)] to let a shell split it"
            )
            return nil
        }
        guard let elements = reader.list(node, path: "command", expected: "a list such as [echo, hello]") else {
            return nil
        }
        var words: [String] = []
        for (index, element) in elements.enumerated() {
            let path = "command[\(index)]"
            if let word = reader.text(element, path: path), isPlain(word, at: element.place, path) {
                words.append(word)
            }
        }
        if words.first?.isEmpty == true { reader.report(node.place, "command", "the program's name is empty") }
        return words
    }

    private mutating func environment(_ node: DocumentNode) -> [JobSpecification.EnvironmentVariable] {
        var result: [JobSpecification.EnvironmentVariable] = []
        for (key, value) in pairs(node, "env", example: "env: {THREADS: 4}") {
            let path = "env.\(key.text)"
            guard !key.text.isEmpty, !key.text.contains("="), isPlain(key.text, at: key.place, path) else {
                reader.report(key.place, path, "a variable's name is not empty and has no =")
                continue
            }
            guard let text = reader.text(value, path: path), isPlain(text, at: value.place, path) else { continue }
            result.append(JobSpecification.EnvironmentVariable(name: key.text, value: value.isNull ? "" : text))
        }
        return result.sorted { $0.name < $1.name }
    }

    mutating func labels(_ node: DocumentNode, _ path: String, example: String) -> [JobSpecification.Label] {
        var result: [JobSpecification.Label] = []
        for (key, value) in pairs(node, path, example: example) {
            let path = "\(path).\(key.text)"
            guard (1...63).contains(key.text.utf8.count) else {
                reader.report(key.place, path, "a label's key has 1 to 63 characters")
                continue
            }
            guard let text = reader.text(value, path: path) else { continue }
            guard text.utf8.count <= 1024 else {
                reader.report(value.place, path, "a label's text has at most 1024 characters")
                continue
            }
            result.append(JobSpecification.Label(key: key.text, value: value.isNull ? "" : text))
        }
        return result.sorted { $0.key < $1.key }
    }

    /// The pairs of a mapping whose keys are the user's own; each key once.
    private mutating func pairs(
        _ node: DocumentNode,
        _ path: String,
        example: String
    ) -> [(key: DocumentKey, value: DocumentNode)] {
        guard case .mapping(let pairs) = node.content else {
            reader.report(node.place, path, "expected a mapping, found \(node.kindText); write it like \(example)")
            return []
        }
        var seen: Set<String> = []
        return pairs.filter { key, _ in
            if seen.insert(key.text).inserted { return true }
            reader.report(key.place, "\(path).\(key.text)", "'\(key.text)' occurs twice; keep one of them")
            return false
        }
    }

    private mutating func user(_ node: DocumentNode) -> String? {
        guard let text = reader.text(node, path: "user", expected: "a user such as 1000:1000") else { return nil }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let allowed = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-:".contains($0)) }
        guard allowed, (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 32 }) else {
            reader.report(
                node.place,
                "user",
                "'\(text)' is no user; write a uid, uid:gid, or a name that the image knows"
            )
            return nil
        }
        for part in parts where part.allSatisfy(\.isNumber) && UInt32(part) == nil {
            reader.report(node.place, "user", "\(part) is too large for a uid or gid; the largest is \(UInt32.max - 1)")
            return nil
        }
        return text
    }
}

// MARK: Paths

extension JobSpecificationParser {
    private mutating func mounts(_ node: DocumentNode) -> [JobSpecification.Mount] {
        let example = "a list such as [{source: ./data, target: /data, readOnly: true}]"
        guard let elements = reader.list(node, path: "mounts", expected: example) else { return [] }
        var result: [JobSpecification.Mount] = []
        for (index, element) in elements.enumerated() {
            let path = "mounts[\(index)]"
            guard let mapping = reader.mapping(element, path: path, keys: ["source", "target", "readOnly"]) else {
                continue
            }
            for key in ["source", "target"] where mapping[key] == nil {
                reader.report(element.place, "\(path).\(key)", "the mount has no \(key); \(example)")
            }
            let source = mapping["source"].flatMap { nodePath($0, "\(path).source") }
            let target = mapping["target"].flatMap { containerPath($0, "\(path).target") }
            let isReadOnly = mapping["readOnly"].map { reader.flag($0, path: "\(path).readOnly") ?? false } ?? false
            guard let source, let target else { continue }
            if target == "/" {
                reader.report(
                    element.place,
                    "\(path).target",
                    "a mount cannot cover the whole container; use rootfs: for that"
                )
            } else if result.contains(where: { $0.target == target }) {
                reader.report(element.place, "\(path).target", "\(target) is mounted twice; keep one of them")
            } else {
                result.append(JobSpecification.Mount(source: source, target: target, isReadOnly: isReadOnly))
            }
        }
        return result
    }

    /// An absolute path inside the container, without `.` and `..`.
    private mutating func containerPath(_ node: DocumentNode, _ path: String) -> String? {
        guard let text = reader.text(node, path: path, expected: "a path"), isPlain(text, at: node.place, path) else {
            return nil
        }
        guard text.hasPrefix("/") else {
            reader.report(node.place, path, "'\(text)' must be absolute inside the container; write /\(text)")
            return nil
        }
        guard !text.split(separator: "/").contains("..") else {
            reader.report(node.place, path, "'\(text)' has a .. in it; write the path without")
            return nil
        }
        return normalized(text)
    }

    private mutating func nodePath(_ node: DocumentNode, _ path: String) -> String? {
        guard let text = reader.text(node, path: path, expected: "a path") else { return nil }
        return resolve(text, at: node.place, path)
    }

    private mutating func resolve(_ text: String, at place: DocumentPlace, _ path: String) -> String? {
        guard !text.isEmpty else {
            reader.report(place, path, "the path is empty")
            return nil
        }
        guard isPlain(text, at: place, path) else { return nil }
        guard !text.hasPrefix("~") else {
            reader.report(place, path, "'\(text)': the agent does not know your home folder; write the whole path")
            return nil
        }
        guard !text.hasPrefix("/") else { return normalized(text) }
        guard folder.hasPrefix("/") else {
            reader.report(
                place,
                path,
                "'\(text)' is relative and no folder is known that it could start from; write the whole path"
            )
            return nil
        }
        return normalized("\(folder)/\(text)")
    }

    /// Without `.`, `..` and doubled slashes; `..` at the root stays there, as in the kernel.
    private func normalized(_ path: String) -> String {
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// Refuses what no kernel interface can carry.
    private mutating func isPlain(_ text: String, at place: DocumentPlace, _ path: String) -> Bool {
        guard text.utf8.contains(0) else { return true }
        reader.report(place, path, "the text contains a zero byte, which no program can receive; remove it")
        return false
    }
}

// MARK: What it may use and must reach

extension JobSpecificationParser {
    private mutating func resources(_ node: DocumentNode) -> JobSpecification.Resources {
        var result = JobSpecification.Resources()
        let keys = ["cpus", "cpuLimit", "memory", "gpus", "processes"]
        guard let mapping = reader.mapping(node, path: "resources", keys: keys) else { return result }
        let vcpus = VCPUCount(0.01)...VCPUCount(4096)
        if let node = mapping["cpus"] { result.cpus = reader.vcpus(node, path: "resources.cpus", in: vcpus) ?? 1 }
        if let node = mapping["cpuLimit"] {
            result.cpuLimit = reader.vcpus(node, path: "resources.cpuLimit", in: vcpus)
        }
        if let node = mapping["memory"] { result.memory = memory(node) }
        if let node = mapping["gpus"] { result.gpus = reader.integer(node, path: "resources.gpus", in: 0...64) ?? 0 }
        if let node = mapping["processes"] {
            result.processLimit = reader.integer(node, path: "resources.processes", in: 1...4_194_304) ?? 1
        }
        return result
    }

    private mutating func memory(_ node: DocumentNode) -> ByteCount? {
        if case .scalar(let text, _) = node.content, let number = decimalNumber(text), (1..<1_048_576).contains(number)
        {
            reader.report(
                node.place,
                "resources.memory",
                "\(text) without a unit means bytes, too few for any program; write \(text)MiB or \(text)GiB"
            )
            return nil
        }
        return reader.bytes(node, path: "resources.memory", in: .mebibytes(1)...ByteCount.bytes(1 << 60))
    }

    private mutating func objective(
        _ node: DocumentNode,
        _ resources: JobSpecification.Resources?
    ) -> JobSpecification.Objective? {
        let keys = ["cpuTime", "frame", "iterations", "iterationTime", "startOverhead", "deadline"]
        guard let mapping = reader.mapping(node, path: "objective", keys: keys) else { return nil }
        switch (mapping["cpuTime"], mapping["iterations"]) {
        case (let cpuTime?, nil):
            refuse(
                mapping,
                keys: ["iterationTime", "startOverhead"],
                "belongs to objective.iterations, not to objective.cpuTime"
            )
            return cpuTimeObjective(cpuTime, mapping, resources)
        case (nil, let iterations?):
            refuse(mapping, keys: ["frame"], "belongs to objective.cpuTime; an iterative job has objective.deadline")
            return iterationObjective(iterations, mapping)
        case (.some, .some):
            reader.report(
                node.place,
                "objective",
                "cpuTime and iterations are two kinds of objective; keep one of them"
            )
        case (nil, nil):
            reader.report(
                node.place,
                "objective",
                "write cpuTime and frame (so much CPU time within that time), or iterations, iterationTime and deadline; "
                    + "leave objective out for best effort"
            )
        }
        return nil
    }

    private mutating func refuse(_ mapping: DocumentMapping, keys: [String], _ why: String) {
        for key in keys {
            if let node = mapping[key] { reader.report(node.place, mapping.path(key), "\(key) \(why); remove it") }
        }
    }

    /// Lengths that an objective may ask for: a second to ten years.
    private static let spans: ClosedRange<Duration> = .seconds(1) ... .seconds(10 * 365 * 86400)

    private mutating func cpuTimeObjective(
        _ node: DocumentNode,
        _ mapping: DocumentMapping,
        _ resources: JobSpecification.Resources?
    ) -> JobSpecification.Objective? {
        let amount = reader.duration(
            node,
            path: "objective.cpuTime",
            in: .milliseconds(1) ... .seconds(4096 * 365 * 86400)
        )
        let frame: Duration?
        switch (mapping["frame"], mapping["deadline"]) {
        case (let value?, nil): frame = reader.duration(value, path: "objective.frame", in: Self.spans)
        case (nil, let value?): frame = deadline(value)
        case (let value?, .some):
            reader.report(value.place, "objective.frame", "frame and deadline say the same here; keep one of them")
            return nil
        case (nil, nil):
            reader.report(
                mapping.place,
                "objective.frame",
                "the time in which the CPU time is to be granted is missing; add frame: 10m"
            )
            return nil
        }
        guard let amount, let frame else { return nil }
        if let resources {
            let limit = resources.cpuLimit ?? resources.cpus
            let most = min(resources.cpus, limit)
            let needed = amount.inSeconds / frame.inSeconds
            // A rounding error of the division is no reason to refuse.
            guard needed <= most.rawValue * (1 + 1e-9) else {
                let key = limit < resources.cpus ? "resources.cpuLimit" : "resources.cpus"
                reader.report(
                    node.place,
                    "objective.cpuTime",
                    "impossible: \(amount.text) of CPU time within \(frame.text) needs \(VCPUCount(needed)) vCPUs, and the job can use "
                        + "at most \(most); raise \(key) or the frame, or lower cpuTime"
                )
                return nil
            }
        }
        return .cpuTime(amount: amount, frame: frame)
    }

    private mutating func iterationObjective(
        _ node: DocumentNode,
        _ mapping: DocumentMapping
    ) -> JobSpecification.Objective? {
        let count = reader.integer(node, path: "objective.iterations", in: 1...1_000_000)
        let expected = required(mapping, "iterationTime", "how long one iteration takes on one vCPU", "90s") {
            $0.reader.duration($1, path: "objective.iterationTime", in: .milliseconds(1) ... .seconds(365 * 86400))
        }
        let deadline = required(mapping, "deadline", "when all iterations must be done", "2h") { $0.deadline($1) }
        var overhead: Duration? = .zero
        if let node = mapping["startOverhead"] {
            overhead = reader.duration(node, path: "objective.startOverhead", in: .zero ... .seconds(86400))
        }
        guard let count, let expected, let overhead, let deadline else { return nil }
        return .iterations(count: count, expected: expected, startOverhead: overhead, deadline: deadline)
    }

    private mutating func required<Value>(
        _ mapping: DocumentMapping,
        _ key: String,
        _ meaning: String,
        _ example: String,
        _ read: (inout Self, DocumentNode) -> Value?
    ) -> Value? {
        if let node = mapping[key] { return read(&self, node) }
        reader.report(mapping.place, mapping.path(key), "\(key) is missing: \(meaning); add \(key): \(example)")
        return nil
    }

    /// A length of time from the submission, or a moment (RFC 3339) that is still to come.
    private mutating func deadline(_ node: DocumentNode) -> Duration? {
        if case .scalar(let text, _) = node.content, let moment = Timestamp(text: text) {
            let left = moment - now
            guard left >= .seconds(1) else {
                reader.report(
                    node.place,
                    "objective.deadline",
                    "\(text) has passed \((.zero - left).text) ago (now is \(now)); choose a later moment or write a length of time"
                )
                return nil
            }
            return left
        }
        return reader.duration(node, path: "objective.deadline", in: Self.spans)
    }

    private mutating func retries(_ node: DocumentNode) -> JobSpecification.Retries {
        var result = JobSpecification.Retries()
        let keys = ["limit", "backoff", "maximumBackoff"]
        guard let mapping = reader.mapping(node, path: "retries", keys: keys) else { return result }
        if let node = mapping["limit"] { result.limit = reader.integer(node, path: "retries.limit", in: 0...100) ?? 0 }
        if let node = mapping["backoff"] {
            result.backoff = reader.duration(node, path: "retries.backoff", in: .zero ... .seconds(86400)) ?? .zero
            result.maximumBackoff = max(result.maximumBackoff, result.backoff)
        }
        if let node = mapping["maximumBackoff"],
            let maximum = reader.duration(node, path: "retries.maximumBackoff", in: .zero ... .seconds(86400))
        {
            if maximum < result.backoff {
                reader.report(
                    node.place,
                    "retries.maximumBackoff",
                    "\(maximum.documentText) is shorter than retries.backoff (\(result.backoff.documentText)); raise it"
                )
            }
            result.maximumBackoff = maximum
        }
        return result
    }

    private mutating func checkpoint(_ node: DocumentNode) -> JobSpecification.CheckpointRules {
        var result = JobSpecification.CheckpointRules()
        let keys = ["interval", "generations", "recovery", "tcpEstablished", "replicas", "otherSite", "spaceLimit"]
        guard let mapping = reader.mapping(node, path: "checkpoint", keys: keys) else { return result }
        if let node = mapping["interval"] {
            result.interval = reader.duration(
                node,
                path: "checkpoint.interval",
                in: .seconds(1) ... .seconds(365 * 86400)
            )
        }
        if let node = mapping["generations"] {
            result.generations = reader.integer(node, path: "checkpoint.generations", in: 1...16) ?? 1
        }
        if let node = mapping["recovery"] {
            result.recovery = reader.choice(node, path: "checkpoint.recovery") ?? .restore
        }
        if let node = mapping["tcpEstablished"] {
            result.tcpEstablished = reader.flag(node, path: "checkpoint.tcpEstablished") ?? false
        }
        if let node = mapping["replicas"] {
            let range = 0...JobSpecification.CheckpointRules.replicaLimit
            result.replicas = reader.integer(node, path: "checkpoint.replicas", in: range) ?? 1
        }
        if let node = mapping["spaceLimit"] {
            let range = ByteCount.mebibytes(1)...ByteCount.bytes(1 << 60)
            result.spaceLimit = reader.bytes(node, path: "checkpoint.spaceLimit", in: range)
        }
        if let node = mapping["otherSite"] {
            result.otherSite = reader.flag(node, path: "checkpoint.otherSite") ?? false
            if result.otherSite, result.replicas == 0 {
                reader.report(
                    node.place,
                    "checkpoint.otherSite",
                    "a copy at another site needs `checkpoint.replicas` of at least 1; raise it"
                )
            }
        }
        return result
    }
}
