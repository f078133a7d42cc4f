package import ClusterModel

/// Everything the cluster knows about one node: who it is, what it has, and whether it may be given work.
package struct NodeRecord: Sendable, Codable, Equatable {
    /// Where a node is in its life.
    package enum State: String, Sendable, Codable, CaseIterable {
        /// Admitted to the cluster; has not said yet that it is ready.
        case joining
        /// Ready; the only state in which containers may be begun there.
        case active
        /// Has not answered for so long that no container of the cluster runs there any more; may come back.
        case lost
        /// Gone for good; the name is free.
        case left

        /// Whether the node counts as there.
        package var isLive: Bool { self == .joining || self == .active }
    }

    package let node: NodeID
    /// The node's number in the Raft group; never 0.
    package internal(set) var member: UInt64
    package internal(set) var site: SiteID
    package internal(set) var role: NodeRole
    /// Where other agents reach it, as `host:port`.
    package internal(set) var address: String
    /// vCPUs that jobs may use.
    package internal(set) var vcpus: VCPUCount
    /// Memory that jobs may use.
    package internal(set) var memory: ByteCount
    /// GPU devices that jobs may use.
    package internal(set) var deviceCount: Int
    /// Whether it takes jobs that do not ask for it by node or role (`limits.schedulesJobs`).
    package internal(set) var takesJobs: Bool
    /// What it offers to containers with an address of their own; nil means nothing, as from agents before version 5.
    package internal(set) var network: NodeNetwork?
    /// What processes that ran there may depend on; nil when it did not say, as agents before version 6.
    package internal(set) var platform: NodePlatform?
    /// Sorted by key.
    package internal(set) var labels: [JobSpecification.Label]
    /// The version of the program, for people.
    package internal(set) var version: String
    /// The newest version of commands and state that its program knows.
    package internal(set) var speaks: Int
    package internal(set) var state: State
    /// Whether it is given no new jobs.
    package internal(set) var isCordoned = false
    /// Whether it is to become empty; a draining node is cordoned as well.
    package internal(set) var isDraining = false
    /// When it first registered.
    package internal(set) var joined: Timestamp
    /// Since when it is in its state.
    package internal(set) var since: Timestamp
    /// Why it is in its state, for people; empty when there is nothing to say.
    package internal(set) var reason = ""

    init(_ registration: NodeRegistration) {
        node = registration.node
        member = registration.member
        site = registration.site
        role = registration.role
        address = registration.address
        vcpus = registration.vcpus
        memory = registration.memory
        deviceCount = registration.deviceCount
        takesJobs = registration.takesJobs
        network = registration.network
        platform = registration.platform
        labels = registration.labels
        version = registration.version
        speaks = registration.speaks
        state = registration.isReady ? .active : .joining
        joined = registration.time
        since = registration.time
    }

    mutating func update(_ registration: NodeRegistration) {
        var updated = NodeRecord(registration)
        if state == .active { updated.state = .active }
        (updated.isCordoned, updated.isDraining) = (isCordoned, isDraining)
        if state != .left { updated.joined = joined }
        if state == .left { (updated.isCordoned, updated.isDraining) = (false, false) }
        if updated.state == state { (updated.since, updated.reason) = (since, reason) }
        self = updated
    }

    /// Whether new jobs may be assigned here.
    package var acceptsAssignments: Bool { state == .active && !isCordoned && !isDraining }

    /// The text of a label; nil when the node does not have it.
    package func label(_ key: String) -> String? { labels.first { $0.key == key }?.value }
}

/// What a node says about itself when it joins, when it is ready, and whenever something of it changes.
package struct NodeRegistration: Sendable, Codable, Equatable {
    package var node: NodeID
    /// Never 0; see `ClusterState.nextMember`.
    package var member: UInt64
    package var site: SiteID
    package var role: NodeRole
    /// `host:port`, at most 300 characters.
    package var address: String
    /// vCPUs that jobs may use.
    package var vcpus: VCPUCount
    /// Memory that jobs may use.
    package var memory: ByteCount
    /// GPU devices that jobs may use; at most 4096.
    package var deviceCount: Int
    /// Whether it takes jobs that do not ask for it by node or role.
    package var takesJobs: Bool
    /// What it offers to containers with an address of their own; version 5.
    package var network: NodeNetwork?
    /// What processes that run there may depend on; version 6.
    package var platform: NodePlatform?
    /// At most 64, each key once.
    package var labels: [JobSpecification.Label]
    /// The version of the program, for people.
    package var version: String
    /// `ClusterState.newestVersion` of the node's program.
    package var speaks: Int
    /// Whether it is caught up and can take jobs; one that was ready stays so.
    package var isReady: Bool
    package var time: Timestamp

    /// Takes the values as they are; `apply(_:)` checks them.
    package init(
        node: NodeID,
        member: UInt64,
        site: SiteID,
        role: NodeRole = .worker,
        address: String,
        vcpus: VCPUCount,
        memory: ByteCount,
        deviceCount: Int = 0,
        takesJobs: Bool = true,
        network: NodeNetwork? = nil,
        platform: NodePlatform? = nil,
        labels: [JobSpecification.Label] = [],
        version: String = productVersion,
        speaks: Int = ClusterState.newestVersion,
        isReady: Bool = true,
        time: Timestamp
    ) {
        self.node = node
        self.member = member
        self.site = site
        self.role = role
        self.address = address
        self.vcpus = vcpus
        self.memory = memory
        self.deviceCount = deviceCount
        self.takesJobs = takesJobs
        self.network = network
        self.platform = platform
        self.labels = labels.sorted { $0.key < $1.key }
        self.version = version
        self.speaks = speaks
        self.isReady = isReady
        self.time = time
    }
}

/// A node that goes for good.
package struct NodeDeparture: Sendable, Codable, Equatable {
    package var node: NodeID
    /// The administrator who removes it; nil when it leaves by itself.
    package var by: UserID?
    /// Whether it may take the only checkpoints of jobs with it.
    package var abandonsCheckpoints: Bool
    package var time: Timestamp

    /// Takes the values as they are.
    package init(node: NodeID, by: UserID? = nil, abandonsCheckpoints: Bool = false, time: Timestamp) {
        self.node = node
        self.by = by
        self.abandonsCheckpoints = abandonsCheckpoints
        self.time = time
    }
}

/// The node that a queued job is to be begun on, or that it was begun on.
package struct JobAssignment: Sendable, Codable, Equatable {
    package var node: NodeID
    package var time: Timestamp
    /// A sentence: why this node.
    package var reason: String
}

/// The nodes by name.
struct NodeTable: Sendable, Equatable {
    /// By name, so that who wants them all, which is often, gets them as they are.
    private(set) var all: [NodeRecord] = []

    subscript(node: NodeID) -> NodeRecord? {
        get {
            let place = place(of: node)
            return place < all.count && all[place].node == node ? all[place] : nil
        }
        set {
            let place = place(of: node)
            let isKnown = place < all.count && all[place].node == node
            switch (newValue, isKnown) {
            case (let record?, true): all[place] = record
            case (let record?, false): all.insert(record, at: place)
            case (nil, true): all.remove(at: place)
            case (nil, false): break
            }
        }
    }

    /// Where a node's record is or would be.
    private func place(of node: NodeID) -> Int { all.firstSortedIndex { $0.node >= node } }

    /// Whether files on this node can be had: of an agent that never registered, always.
    func holds(_ entry: CatalogEntry) -> Bool {
        all.isEmpty || entry.holders.contains { self[$0]?.state.isLive == true }
    }

    /// The nodes that are there and have the files.
    func liveHolders(of entry: CatalogEntry) -> [NodeID] {
        all.isEmpty ? entry.holders : entry.holders.filter { self[$0]?.state.isLive == true }
    }

    func isDraining(_ node: NodeID?) -> Bool { node.flatMap { self[$0]?.isDraining } ?? false }
}
