package import ClusterModel

/// One key of the configuration: where it stands, what it means, and how it is read and written.
package struct ConfigurationField: Sendable {
    package let section: ConfigurationSection
    /// Its name within the section, as documents spell it: `controlPeriod`.
    package let key: String
    /// What a value is, for people: `a path`, `TCP port`, `length of time`.
    package let unit: String
    /// Which values are allowed; empty when the unit says it.
    package let range: String
    /// What the value changes, one sentence.
    package let effect: String
    private let show: @Sendable (AgentConfiguration) -> String
    private let read: @Sendable (DocumentNode, String, inout AgentConfiguration, inout DocumentReader) -> Void

    /// `section.key`.
    package var path: String { "\(section.rawValue).\(key)" }

    /// The variable of the environment that overrides the key: `GODWIT_QOS_CONTROL_PERIOD`.
    package var variable: String { section.variablePrefix + screaming(key) }

    /// The value of a configuration as it stands in a document.
    package func text(in configuration: AgentConfiguration) -> String { show(configuration) }

    /// Reads a value into a configuration, or reports what is wrong with it.
    package func set(_ node: DocumentNode, in configuration: inout AgentConfiguration, reader: inout DocumentReader) {
        read(node, path, &configuration, &reader)
    }
}

/// A section of the configuration, in the order of the file.
package enum ConfigurationSection: String, Sendable, CaseIterable {
    case identity, listen, cluster, gossip, folders, cgroup, network, programs, metrics, sampling, qos, checkpoints,
        images,
        containerLogs, log
    case shutdown, limits

    /// How variables of the environment for this section begin: `GODWIT_CONTAINER_LOGS_`.
    var variablePrefix: String { "GODWIT_\(screaming(rawValue))_" }

    /// What the section is about, one line.
    package var summary: String {
        switch self {
        case .identity: "Who this agent is. Site and role are what the certificate says, not what is written here."
        case .listen: "Where the control plane listens, for users and for other agents (TLS 1.3, client certificates)."
        case .cluster: "The cluster that this agent belongs to. Which one it is says the certificate."
        case .gossip: "How agents notice that one of them is gone (UDP, the port of the control plane)."
        case .folders: "Where the agent keeps things. Folders are made when they are missing."
        case .cgroup: "Where containers stand in the cgroup tree."
        case .network: "The network of containers that ask for an address of their own (`network` in a job)."
        case .programs: "Programs that the agent runs. A name without / is looked for in PATH."
        case .metrics: "Prometheus metrics. They are not protected: keep them on a loopback address."
        case .sampling: "How often CPU time, memory and devices are read."
        case .qos: "How CPU is given to jobs."
        case .checkpoints: "Checkpoints that are kept on this node."
        case .images: "Container images that are kept on this node."
        case .containerLogs: "Standard output and error of containers."
        case .log: "The agent's own log, on standard error."
        case .shutdown: "How the agent ends. Containers outlive it; its next start takes them over."
        case .limits: "Bounds of what the agent takes on."
        }
    }
}

/// A key in capitals with `_` between its words: `controlPeriod` -> `CONTROL_PERIOD`.
private func screaming(_ key: String) -> String {
    key.map { $0.isUppercase ? "_\($0)" : $0.uppercased() }.joined()
}

private typealias Path<Value> = WritableKeyPath<AgentConfiguration, Value> & Sendable

// MARK: Kinds of field

extension ConfigurationField {
    fileprivate static func path(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<String>,
        _ effect: String,
        isAbsolute: Bool = true
    ) -> Self {
        let unit = isAbsolute ? "absolute path" : "absolute path, or a name in PATH"
        return Self(section: section, key: key, unit: unit, range: "", effect: effect) {
            yamlScalar($0[keyPath: property], isQuoted: true)
        } read: { node, path, configuration, reader in
            guard let text = reader.text(node, path: path, expected: "a path") else { return }
            let isName = !isAbsolute && !text.contains("/")
            guard !text.utf8.contains(0), text.hasPrefix("/") || isName else {
                return reader.report(node.place, path, "'\(text)' must be an absolute path; write /\(text)")
            }
            configuration[keyPath: property] = text
        }
    }

    fileprivate static func optional<Value: CustomStringConvertible & SendableMetatype>(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<Value?>,
        unit: String,
        example: String,
        _ effect: String,
        _ parse: @escaping @Sendable (String) -> Value?
    ) -> Self {
        Self(section: section, key: key, unit: unit, range: "or nothing", effect: effect) {
            $0[keyPath: property].map { yamlScalar($0.description, isQuoted: true) } ?? "\"\""
        } read: { node, path, configuration, reader in
            guard let text = reader.text(node, path: path, expected: "\(unit), such as \(example)") else { return }
            let value = parse(text)
            guard value != nil || text.isEmpty else {
                return reader.report(node.place, path, "'\(text)' is not \(unit); write for example \(example)")
            }
            configuration[keyPath: property] = value
        }
    }

    fileprivate static func address(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<String>,
        _ effect: String
    ) -> Self {
        Self(section: section, key: key, unit: "IP address", range: "IPv4 or IPv6", effect: effect) {
            yamlScalar($0[keyPath: property], isQuoted: true)
        } read: { node, path, configuration, reader in
            guard let text = reader.text(node, path: path, expected: "an IP address") else { return }
            guard isAddress(text) else {
                let remedy = "write an address such as 0.0.0.0, 127.0.0.1 or \"::\", without a port"
                return reader.report(node.place, path, "'\(text)' is no IP address; \(remedy)")
            }
            configuration[keyPath: property] = text
        }
    }

    fileprivate static func integer(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<Int>,
        _ range: ClosedRange<Int>,
        _ unit: String,
        _ effect: String
    ) -> Self {
        let bounds = "\(range.lowerBound)...\(range.upperBound)"
        return Self(section: section, key: key, unit: unit, range: bounds, effect: effect) {
            "\($0[keyPath: property])"
        } read: { node, path, configuration, reader in
            if let value = reader.integer(node, path: path, in: range) { configuration[keyPath: property] = value }
        }
    }

    fileprivate static func number(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<Double>,
        _ range: ClosedRange<Double>,
        _ unit: String,
        _ effect: String
    ) -> Self {
        let bounds = "\(range.lowerBound.documentText)...\(range.upperBound.documentText)"
        return Self(section: section, key: key, unit: unit, range: bounds, effect: effect) {
            $0[keyPath: property].documentText
        } read: { node, path, configuration, reader in
            if let value = reader.number(node, path: path, in: range) { configuration[keyPath: property] = value }
        }
    }

    fileprivate static func vcpus(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<VCPUCount>,
        _ range: ClosedRange<VCPUCount>,
        _ effect: String
    ) -> Self {
        let bounds = "\(range.lowerBound.rawValue.documentText)...\(range.upperBound.rawValue.documentText)"
        return Self(section: section, key: key, unit: "vCPUs", range: bounds, effect: effect) {
            $0[keyPath: property].rawValue.documentText
        } read: { node, path, configuration, reader in
            if let value = reader.vcpus(node, path: path, in: range) { configuration[keyPath: property] = value }
        }
    }

    fileprivate static func duration(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<Duration>,
        _ range: ClosedRange<Duration>,
        _ effect: String
    ) -> Self {
        let bounds = "\(range.lowerBound.documentText)...\(range.upperBound.documentText)"
        return Self(section: section, key: key, unit: "length of time", range: bounds, effect: effect) {
            $0[keyPath: property].documentText
        } read: { node, path, configuration, reader in
            if let value = reader.duration(node, path: path, in: range) { configuration[keyPath: property] = value }
        }
    }

    fileprivate static func bytes(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<ByteCount>,
        _ range: ClosedRange<ByteCount>,
        _ effect: String
    ) -> Self {
        let bounds = "\(range.lowerBound.documentText)...\(range.upperBound.documentText)"
        return Self(section: section, key: key, unit: "bytes", range: bounds, effect: effect) {
            $0[keyPath: property].documentText
        } read: { node, path, configuration, reader in
            if let value = reader.bytes(node, path: path, in: range) { configuration[keyPath: property] = value }
        }
    }

    fileprivate static func flag(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<Bool>,
        _ effect: String
    ) -> Self {
        Self(section: section, key: key, unit: "true or false", range: "", effect: effect) {
            $0[keyPath: property] ? "true" : "false"
        } read: { node, path, configuration, reader in
            if let value = reader.flag(node, path: path) { configuration[keyPath: property] = value }
        }
    }

    fileprivate static func choice<Value: RawRepresentable<String> & CaseIterable & Sendable>(
        _ section: ConfigurationSection,
        _ key: String,
        _ property: any Path<Value>,
        _ effect: String
    ) -> Self {
        let words = Value.allCases.map(\.rawValue).joined(separator: ", ")
        return Self(section: section, key: key, unit: "one of \(words)", range: "", effect: effect) {
            $0[keyPath: property].rawValue
        } read: { node, path, configuration, reader in
            if let value: Value = reader.choice(node, path: path) { configuration[keyPath: property] = value }
        }
    }
}

/// Addresses of agents: a list, or one text with commas, as the environment and flags have it.
private func addresses(_ node: DocumentNode, _ path: String, _ reader: inout DocumentReader) -> [PeerAddress]? {
    var elements: [(text: String, place: DocumentPlace)] = []
    switch node.content {
    case .sequence(let nodes):
        for node in nodes {
            guard let text = reader.text(node, path: path, expected: "HOST or HOST:PORT") else { return nil }
            elements.append((text, node.place))
        }
    case .scalar(let text, _):
        // `[]` is how a file, and so a flag, says none.
        guard text != "[]" else { return [] }
        elements = text.split { $0 == "," || $0.isWhitespace }.map { (String($0), node.place) }
    case .mapping:
        reader.report(node.place, path, "expected a list such as [10.0.0.1, 10.0.0.2:7420], found \(node.kindText)")
        return nil
    }
    guard elements.count <= ClusterConfiguration.joinLimit else {
        reader.report(
            node.place,
            path,
            "\(elements.count) addresses are too many; \(ClusterConfiguration.joinLimit) will do, any one is enough"
        )
        return nil
    }
    var addresses: [PeerAddress] = []
    var isGood = true
    for (text, place) in elements {
        do throws(PeerAddress.Problem) { addresses.append(try PeerAddress(text)) } catch {
            reader.report(place, path, error.message)
            isGood = false
        }
    }
    return isGood ? addresses : nil
}

/// Whether a text looks like an IP address; the system call that uses it has the last word.
func isAddress(_ text: String) -> Bool {
    if text.contains(":") {
        let isHexadecimal = text.allSatisfy { $0.isHexDigit || $0 == ":" || $0 == "." }
        return isHexadecimal && text.count <= 45
            && text.split(separator: ":", omittingEmptySubsequences: false).count >= 3
    }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil && $0.allSatisfy(\.isNumber) }
}

// MARK: Every field

extension ConfigurationField {
    private static let day: Duration = .seconds(86400)
    private static let disk: ClosedRange<ByteCount> = .zero ... .bytes(1 << 60)

    /// Every field, in the order of the file.
    package static let all: [ConfigurationField] =
        identity + cluster + folders + system + decisions + keeping + ending

    private static let identity: [ConfigurationField] = [
        .path(
            .identity,
            "bundle",
            \.identity.bundle,
            "Private key, certificate and trusted authorities in one PEM file, from `godwit ca issue`; only root may read it."
        ),
        Self(
            section: .identity,
            key: "issuer",
            unit: "absolute path",
            range: "or nothing",
            effect:
                "Folder with ca.crt and ca.key, from `godwit ca delegate`, with which this agent renews the certificates of nodes half-way "
                + "through their lives; only root may read it. On one or two well-kept agents, gateways or voters; nothing on all others."
        ) {
            $0.identity.issuer.isEmpty ? "\"\"" : yamlScalar($0.identity.issuer, isQuoted: true)
        } read: { node, path, configuration, reader in
            guard let text = reader.text(node, path: path, expected: "a path") else { return }
            guard text.isEmpty || text.hasPrefix("/") else {
                return reader.report(node.place, path, "'\(text)' must be an absolute path; write /\(text)")
            }
            configuration.identity.issuer = text
        },
        .address(
            .listen,
            "address",
            \.listen.address,
            "The address to listen on; \"::\" takes every one, of IPv4 as well."
        ),
        .integer(
            .listen,
            "port",
            \.listen.port,
            0...65535,
            "TCP port",
            "The port to listen on; 0 takes a free one and logs it."
        ),
    ]

    private static let cluster: [ConfigurationField] = [
        Self(
            section: .cluster,
            key: "join",
            unit: "list of HOST[:PORT]",
            range: "at most \(ClusterConfiguration.joinLimit)",
            effect: "Agents of the cluster to join, any that answers will do; none makes a new cluster of one. "
                + "A member finds the others again by itself."
        ) {
            "[" + $0.cluster.join.map { yamlScalar($0.description, isQuoted: true) }.joined(separator: ", ") + "]"
        } read: { node, path, configuration, reader in
            if let addresses = addresses(node, path, &reader) { configuration.cluster.join = addresses }
        },
        Self(
            section: .cluster,
            key: "advertise",
            unit: "HOST[:PORT]",
            range: "or nothing",
            effect:
                "Where the others reach this agent, when that is not the listen address; nothing means that address, "
                + "or the machine's first that is not loopback."
        ) {
            $0.cluster.advertise.map { yamlScalar($0.description, isQuoted: true) } ?? "\"\""
        } read: { node, path, configuration, reader in
            guard let text = reader.text(node, path: path, expected: "an address") else { return }
            guard !text.isEmpty else {
                configuration.cluster.advertise = nil
                return
            }
            do throws(PeerAddress.Problem) { configuration.cluster.advertise = try PeerAddress(text) } catch {
                reader.report(node.place, path, error.message)
            }
        },
        .duration(
            .cluster,
            "partitionTimeout",
            \.cluster.partitionTimeout,
            .seconds(5) ... .seconds(3600),
            "How long jobs run on a node that hears no leader, unless they say `onPartition: continue`; a lost node's jobs "
                + "start elsewhere a little later. The same on every node."
        ),
        .choice(
            .cluster,
            "voter",
            \.cluster.voter,
            "Whether this agent may vote; never for machines that come and go, or have a slow disk."
        ),
        .choice(
            .gossip,
            "profile",
            \.gossip.profile,
            "What the network between agents is like; auto takes lan while all are of one site, else wan."
        ),
    ]

    private static let folders: [ConfigurationField] = [
        .path(
            .folders,
            "state",
            \.folders.state,
            "Jobs, decisions, checkpoints, images, containers and their output; must survive a reboot, so put it on a disk."
        ),
        .path(.folders, "runtime", \.folders.runtime, "The runtime's state of running containers; a tmpfs is best."),
    ]

    private static let system: [ConfigurationField] = [
        .path(
            .cgroup,
            "parent",
            \.cgroup.parent,
            "Path of the cgroup that all containers stand in, below each controller's root."
        ),
        .optional(
            .network,
            "bridge",
            \.network.bridge,
            unit: "name of an interface",
            example: "br0",
            "The bridge that these containers join. You make it, and it may join machines; the agent adds the containers' interfaces and "
                + "changes nothing else of it. Without one, such jobs go to other nodes."
        ) { isInterfaceName($0) ? $0 : nil },
        .optional(
            .network,
            "subnet",
            \.network.subnet,
            unit: "ADDRESS/LENGTH",
            example: "10.42.0.0/16",
            "The IPv4 network that the bridge is in; the same on all nodes that it joins, so that jobs can move."
        ) { text in IPv4Prefix(text).flatMap { (8...30).contains($0.length) && $0.network == $0 ? $0 : nil } },
        .optional(
            .network,
            "range",
            \.network.range,
            unit: "FIRST-LAST",
            example: "10.42.1.0-10.42.1.255",
            "Addresses of the subnet that jobs get that name none; nothing means the whole subnet. Nobody else may use them."
        ) { IPv4Range($0) },
        .optional(
            .network,
            "gateway",
            \.network.gateway,
            unit: "IPv4 address",
            example: "10.42.0.1",
            "The containers' way to other networks, within the subnet; nothing means that they reach the subnet only."
        ) { IPv4Address($0) },
        .bytes(
            .network,
            "holdBuffer",
            \.network.holdBuffer,
            .kibibytes(64) ... .gibibytes(1),
            "What arrives for a container while a checkpoint has it frozen is held in this much memory and given to it afterwards; over that "
                + "the oldest is dropped."
        ),
        .path(.programs, "runc", \.programs.runc, "The OCI runtime, 1.1 or newer.", isAbsolute: false),
        .path(
            .programs,
            "criu",
            \.programs.criu,
            "Checkpoint and restore, 4.2 or newer; `godwitd doctor` says what it can do.",
            isAbsolute: false
        ),
        Self(
            section: .programs,
            key: "shim",
            unit: "absolute path",
            range: "or nothing",
            effect: "The supervisor of one container; nothing means godwit-shim beside godwitd."
        ) {
            $0.programs.shim.isEmpty ? "\"\"" : yamlScalar($0.programs.shim, isQuoted: true)
        } read: { node, path, configuration, reader in
            guard let text = reader.text(node, path: path, expected: "a path") else { return }
            guard text.isEmpty || text.hasPrefix("/") else {
                return reader.report(node.place, path, "'\(text)' must be an absolute path; write /\(text)")
            }
            configuration.programs.shim = text
        },
        .path(.programs, "umoci", \.programs.umoci, "Unpacks OCI images.", isAbsolute: false),
        .path(.programs, "skopeo", \.programs.skopeo, "Fetches images from registries.", isAbsolute: false),
        .flag(.metrics, "enabled", \.metrics.isEnabled, "Whether metrics are served at http://ADDRESS:PORT/metrics."),
        .address(.metrics, "address", \.metrics.address, "The address to serve metrics on."),
        .integer(
            .metrics,
            "port",
            \.metrics.port,
            0...65535,
            "TCP port",
            "The port to serve metrics on; 0 takes a free one and logs it."
        ),
    ]

    private static let decisions: [ConfigurationField] = [
        .duration(
            .sampling,
            "period",
            \.sampling.period,
            .milliseconds(100) ... .seconds(60),
            "Time between two readings of a container; shorter reacts sooner and costs more CPU."
        ),
        .duration(
            .sampling,
            "recordPeriod",
            \.sampling.recordPeriod,
            .milliseconds(100) ... .seconds(3600),
            "Time between two samples that are kept for `job explain`; they thin out with age."
        ),
        .duration(
            .qos,
            "controlPeriod",
            \.qos.controlPeriod,
            .milliseconds(100) ... .seconds(3600),
            "Time between two decisions about all jobs; a start, an end or a resize is decided at once."
        ),
        .vcpus(
            .qos,
            "capacity",
            \.qos.capacity,
            0...4096,
            "vCPUs that jobs may be given; 0 means every one of the node, less the reserve."
        ),
        .vcpus(.qos, "reserve", \.qos.reserve, 0...4096, "vCPUs kept for the system and the agent."),
        .number(
            .qos,
            "workUncertainty",
            \.qos.workUncertainty,
            0...0.95,
            "fraction of the declared work",
            "How wrong declared work may be; more keeps more deadlines and promises fewer."
        ),
        .duration(
            .qos,
            "deadlineGuard",
            \.qos.deadlineGuard,
            .zero ... .seconds(3600),
            "How much earlier than its deadline a job is planned to end."
        ),
        .vcpus(
            .qos,
            "minimumAllocation",
            \.qos.minimumAllocation,
            0.01...64,
            "What every running job is guaranteed, so that it can answer, flush and end."
        ),
        .duration(
            .qos,
            "paperInterval",
            \.qos.paperInterval,
            .seconds(1) ... .seconds(3600),
            "Time between two evaluations of a job with `policy: paper`."
        ),
    ]

    private static let keeping: [ConfigurationField] = [
        .path(
            .checkpoints,
            "tmpfs",
            \.checkpoints.tmpfs,
            "Where images are dumped before they are compressed; in memory, so that the container is frozen briefly."
        ),
        .bytes(
            .checkpoints,
            "spaceLimit",
            \.checkpoints.spaceLimit,
            disk,
            "Compressed images that may be kept. From nine tenths on the oldest that nobody needs go; a checkpoint over it is refused."
        ),
        .bytes(
            .checkpoints,
            "minimumFree",
            \.checkpoints.minimumFree,
            disk,
            "Free space that a checkpoint leaves on the disk of the state folder."
        ),
        .integer(
            .checkpoints,
            "compressionThreads",
            \.checkpoints.compressionThreads,
            0...256,
            "threads",
            "Threads that compress one checkpoint; 0 means one per vCPU."
        ),
        .integer(
            .checkpoints,
            "concurrency",
            \.checkpoints.concurrency,
            1...64,
            "checkpoints",
            "Checkpoints that may be taken at once; others wait."
        ),
        .bytes(
            .checkpoints,
            "copyRate",
            \.checkpoints.copyRate,
            disk,
            "Sent to other nodes that keep copies of checkpoints, each second and all together; 0 means no bound. A job that waits for one is not held back."
        ),
        .bytes(
            .checkpoints,
            "migrationRate",
            \.checkpoints.migrationRate,
            disk,
            "Sent for jobs that move to other nodes while they run, each second and all together; 0 means no bound."
        ),
        .duration(
            .checkpoints,
            "scrubPeriod",
            \.checkpoints.scrubPeriod,
            .zero ... .seconds(366 * 86400),
            "In which every checkpoint is read once, so that one that a disk has damaged is found and fetched anew; 0s means never."
        ),
        .bytes(
            .checkpoints,
            "scrubRate",
            \.checkpoints.scrubRate,
            disk,
            "Read for that each second; 0 means no bound."
        ),
        .bytes(
            .images,
            "cacheLimit",
            \.images.cacheLimit,
            disk,
            "Unpacked images that may be kept; the longest unused go first."
        ),
        .duration(
            .images,
            "pullTimeout",
            \.images.pullTimeout,
            .seconds(1)...day,
            "Longest that fetching and unpacking one image may take."
        ),
        .bytes(
            .containerLogs,
            "fileSize",
            \.containerLogs.fileSize,
            .kibibytes(64) ... .gibibytes(16),
            "Size at which a log file is rotated."
        ),
        .integer(
            .containerLogs,
            "fileCount",
            \.containerLogs.fileCount,
            1...100,
            "files",
            "Log files kept for each container, the present one included."
        ),
    ]

    private static let ending: [ConfigurationField] = [
        .choice(.log, "level", \.log.level, "The least important messages that are written."),
        .choice(.log, "format", \.log.format, "Lines for people, or one JSON object a line for programs."),
        .duration(
            .shutdown,
            "grace",
            \.shutdown.grace,
            .zero ... .seconds(600),
            "Longest that requests in flight may take to end."
        ),
        .flag(.limits, "schedulesJobs", \.limits.schedulesJobs, "Whether containers are started on this node."),
        .integer(
            .limits,
            "jobs",
            \.limits.jobs,
            1...100_000,
            "jobs",
            "Jobs that have not ended; a submission over it is refused."
        ),
        .integer(
            .limits,
            "endedJobs",
            \.limits.endedJobs,
            0...1_000_000,
            "jobs",
            "Ended jobs that are remembered; the oldest are forgotten first."
        ),
        .duration(
            .limits,
            "endedRetention",
            \.limits.endedRetention,
            .zero ... .seconds(3650 * 86400),
            "How long an ended job is remembered."
        ),
        .integer(
            .limits,
            "connections",
            \.limits.connections,
            1...65536,
            "connections",
            "Open connections of the control plane; one more is refused."
        ),
        .integer(
            .limits,
            "snapshotEntries",
            \.limits.snapshotEntries,
            16...1_000_000,
            "log entries",
            "Changes after which the whole state is written anew; fewer start faster, more write less."
        ),
    ]
}
