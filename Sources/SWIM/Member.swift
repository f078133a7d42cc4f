package import ClusterModel

/// What is known of a member's health.
package enum MemberStatus: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    case alive = 1
    /// Somebody could not reach it; it has time to refute that (SWIM, section 4.2).
    case suspect = 2
    /// Nobody could reach it for the length of a suspicion; comes back only with a higher incarnation.
    case dead = 3
    /// It said that it goes; comes back only with a higher incarnation.
    case left = 4

    /// Whether it takes part: it is probed, gets news and counts.
    package var isLive: Bool { self == .alive || self == .suspect }

    package var description: String {
        switch self {
        case .alive: "alive"
        case .suspect: "suspect"
        case .dead: "dead"
        case .left: "left"
        }
    }
}

/// What a node tells all others about itself, as bytes whose meaning is the agent's.
package struct NodeFacts: Hashable, Sendable {
    /// Raised by the node with every change; 0 before it said anything.
    package var version: UInt32
    /// At most `MembershipConfiguration.factsByteLimit` of them.
    package var bytes: [UInt8]

    package init(version: UInt32, bytes: [UInt8]) { (self.version, self.bytes) = (version, bytes) }

    /// Nothing said yet.
    package static let none = NodeFacts(version: 0, bytes: [])
}

/// One member, as this node sees it.
package struct Member: Hashable, Sendable {
    package let key: MemberKey
    package let node: NodeID
    package var endpoint: MemberEndpoint
    package var incarnation: MemberIncarnation
    package var status: MemberStatus
    package var facts: NodeFacts
    /// When the status last changed, in nanoseconds of the instance's own time.
    var changedAt: Int64 = 0

    package init(
        node: NodeID,
        endpoint: MemberEndpoint,
        incarnation: MemberIncarnation,
        status: MemberStatus = .alive,
        facts: NodeFacts = .none
    ) {
        key = MemberKey(node)
        (self.node, self.endpoint, self.incarnation) = (node, endpoint, incarnation)
        (self.status, self.facts) = (status, facts)
    }

    /// What anti-entropy compares: two views are equal when their live members, incarnations and versions of facts are.
    ///
    /// Without the dead, which nodes forget at different moments, and without suspicion, which passes.
    var fingerprint: UInt64 {
        guard status.isLive else { return 0 }
        return mixed(key.rawValue ^ mixed(UInt64(incarnation.rawValue) << 32 | UInt64(facts.version)))
    }
}
