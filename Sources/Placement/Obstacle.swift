package import ClusterModel
package import ClusterState

/// Why a node cannot take a job.
package enum Obstacle: Sendable, Equatable {
    /// The node is not active.
    case absent(NodeRecord.State)
    case suspect, cordoned, draining
    /// The job asks for other sites, roles, nodes or labels.
    case site, role, name
    case label(key: String, wanted: String, found: String?)
    /// The node takes only jobs that name it or its role.
    case takesNoJobs
    /// The checkpoint that the job goes on from is elsewhere.
    case checkpoint([NodeID])
    /// The job's memory cannot go on there.
    case platform(PlatformObstacle)
    case vcpus
    case memory(free: ByteCount, wanted: ByteCount)
    case devices(free: Int, wanted: Int)
    /// The job has an address of its own, and the node no bridge for that.
    case bridge
    /// The address that the job has, or asks for, is not of the network of the node's bridge.
    case subnet(IPv4Prefix, wanted: String)
    /// Jobs have all addresses of the node's range.
    case addresses(IPv4Range)

    /// Whether it can pass by itself, when another job ends or the node comes back.
    package var isPassing: Bool {
        switch self {
        case .absent, .suspect, .memory, .devices, .addresses: true
        case .cordoned, .draining, .site, .role, .name, .label, .takesNoJobs, .checkpoint, .platform, .vcpus, .bridge,
            .subnet:
            false
        }
    }

    /// What is said about one node, after its name.
    package var text: String {
        switch self {
        case .absent(.joining): "is joining"
        case .absent(.lost): "is lost"
        case .absent(let state): "is \(state.rawValue)"
        case .suspect: "does not answer at the moment"
        case .cordoned: "is cordoned"
        case .draining: "is being drained"
        case .site: "is at a site that the job does not allow"
        case .role: "has a role that the job does not allow"
        case .name: "is not among the nodes that the job names"
        case .label(let key, let wanted, let found):
            "has \(found.map { "\(key): \($0)" } ?? "no label \(key)"), the job wants \(key): \(wanted)"
        case .takesNoJobs: "takes only jobs that name it or its role, or has no room on its disk"
        case .checkpoint(let holders):
            "does not have the job's checkpoint, which is on \(holders.map { "node \($0)" }.joined(separator: " and "))"
        case .platform(let obstacle): obstacle.text
        case .vcpus: "has no vCPUs for jobs"
        case .memory(let free, let wanted): "has \(free) of memory free, \(wanted) asked"
        case .devices(let free, let wanted): "has \(free) GPUs free, \(wanted) asked"
        case .bridge: "has no bridge for containers with an address of their own (network.bridge)"
        case .subnet(let subnet, let wanted): "has its bridge in \(subnet), where \(wanted) is not to be had"
        case .addresses(let range): "has given away all addresses of its range \(range)"
        }
    }

    /// What is said about several nodes: the same for all obstacles of a kind.
    var summary: String {
        switch self {
        case .absent: "not active"
        case .suspect: "not answering"
        case .cordoned: "cordoned"
        case .draining: "being drained"
        case .site: "at other sites"
        case .role: "of another role"
        case .name: "not named by the job"
        case .label(let key, let wanted, _): "without label \(key): \(wanted)"
        case .takesNoJobs: "taking only jobs that name them"
        case .checkpoint: "without its checkpoint"
        case .platform(let obstacle): obstacle.summary
        case .vcpus: "without vCPUs for jobs"
        case .memory(_, let wanted): "without \(wanted) of free memory"
        case .devices(_, let wanted): "without \(wanted) free GPUs"
        case .bridge: "without a bridge for containers (network.bridge)"
        case .subnet(_, let wanted): "with a bridge where \(wanted) is not to be had"
        case .addresses: "without a free address"
        }
    }

    /// Whether two obstacles to one job have the same summary.
    func isLike(_ other: Obstacle) -> Bool {
        switch (self, other) {
        case (.absent, .absent), (.memory, .memory), (.devices, .devices), (.checkpoint, .checkpoint),
            (.subnet, .subnet), (.addresses, .addresses):
            true
        case (.platform(let one), .platform(let other)): one.isLike(other)
        case (.label(let key, _, _), .label(let otherKey, _, _)): key == otherKey
        default: self == other
        }
    }

    /// Whether a node that takes no jobs of its own accord refuses one, because it names neither the node nor its role.
    static func isRefused(_ specification: JobSpecification, by record: NodeRecord) -> Bool {
        let constraints = specification.constraints
        return !record.takesJobs && constraints.roles.isEmpty && constraints.nodes.isEmpty
    }

    /// What keeps a job that has an address of its own from a node.
    private static func network(to job: PlacementCandidate, on node: NodeView) -> Obstacle? {
        guard let wanted = job.specification.network else { return nil }
        guard let network = node.record.network else { return .bridge }
        if let address = job.address {
            let isThere = network.subnet == address.network && network.hasRoom(for: address.address)
            return isThere ? nil : .subnet(network.subnet, wanted: "\(address)")
        }
        if let text = wanted.text { return wanted.fits(network) ? nil : .subnet(network.subnet, wanted: text) }
        return node.freeAddresses > 0 ? nil : .addresses(network.range)
    }

    /// The first reason why the node cannot take the job: what the administrator and the job say comes before what is free.
    static func first(to job: PlacementCandidate, on node: NodeView) -> Obstacle? {
        let record = node.record
        let constraints = job.specification.constraints
        guard record.state == .active else { return .absent(record.state) }
        if !constraints.sites.isEmpty, !constraints.sites.contains(record.site) { return .site }
        if !constraints.roles.isEmpty, !constraints.roles.contains(record.role) { return .role }
        if !constraints.nodes.isEmpty, !constraints.nodes.contains(record.node) { return .name }
        for label in constraints.labels {
            let found = record.label(label.key)
            if found != label.value { return .label(key: label.key, wanted: label.value, found: found) }
        }
        if isRefused(job.specification, by: record) { return .takesNoJobs }
        if let checkpoint = job.checkpoint, !checkpoint.travels, !checkpoint.holders.contains(record.node) {
            return .checkpoint(checkpoint.holders)
        }
        if let obstacle = job.platformObstacle(on: record) { return .platform(obstacle) }
        if let obstacle = network(to: job, on: node) { return obstacle }
        if record.isDraining { return .draining }
        if record.isCordoned { return .cordoned }
        if node.isSuspect { return .suspect }
        if record.vcpus <= .zero { return .vcpus }
        let free = record.memory - node.memory
        if job.memory > free, job.memory > .zero { return .memory(free: max(.zero, free), wanted: job.memory) }
        let devices = record.deviceCount - node.deviceCount
        let wanted = job.specification.resources.gpus
        if wanted > devices, wanted > 0 { return .devices(free: max(0, devices), wanted: wanted) }
        return nil
    }
}
