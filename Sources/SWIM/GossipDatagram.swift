package import ClusterModel

/// Bounds that are part of the layout in `proto/gossip.md`, the same in every pool.
package enum GossipLimits {
    /// What the first byte of every datagram and exchange says.
    package static let version: UInt8 = 1
    /// The longest name of a node, a DNS label.
    package static let nameByteCount = 63
    /// The largest facts of a node.
    package static let factsByteCount = 512
    /// Accusers that one suspicion names.
    package static let accuserCount = 8
    /// Other pools that are remembered.
    package static let poolCount = 1_024
    /// Fingerprints of other pools in one message.
    package static let digestCount = 60
    /// The largest message of a kind that is not known.
    package static let unknownByteCount = 8_192
    /// Kinds from here on carry their length, so that a member that does not know them passes over them.
    package static let firstSkippableKind: UInt8 = 32
}

/// One thing that a datagram says.
package enum GossipMessage: Sendable, Hashable {
    /// Asks `target` for an ack; `target` is the lower half of its key, so that a node that took over an address does
    /// not answer for another.
    case probe(sequence: UInt32, target: UInt32)
    /// Answers a probe, directly or through the member that was asked to try.
    case ack(sequence: UInt32)
    /// Says that the indirect probe has no answer yet, and so that the way to here works (Lifeguard, section IV-A).
    case nack(sequence: UInt32)
    /// Asks to probe another member on the sender's behalf (SWIM, section 3.1: ping-req).
    case indirectProbe(sequence: UInt32, target: MemberKey, endpoint: MemberEndpoint)
    /// A member with where it is and what it says; only the member itself originates one, to introduce itself and to
    /// refute.
    ///
    /// With its address also in a refutation: a node that came back elsewhere must not be taken to live at its old place.
    case alive(GossipEntry)
    /// These members could not reach it; 1 to `GossipLimits.accuserCount` of them.
    case suspect(MemberKey, MemberIncarnation, accusers: [MemberKey])
    /// Nobody could reach it; `accuser` was first to say so.
    case dead(MemberKey, MemberIncarnation, accuser: MemberKey)
    /// It goes by its own will.
    case left(MemberKey, MemberIncarnation)
    /// A node's new facts.
    case facts(MemberKey, NodeFacts)
    /// The fingerprint of the sender's view and the number of live members in it; asks for `viewsAreEqual` or `buckets`.
    case digest(root: UInt64, liveCount: UInt32)
    /// The fingerprint was the same.
    case viewsAreEqual
    /// The fingerprints of all 256 parts of the view, each cut to 32 bits.
    case buckets([UInt32])
    /// A member of another pool, as that pool sees it.
    case poolEntry(PoolEntry)
    /// Fingerprints of other pools, 1 to `GossipLimits.digestCount`; `isWhole` when the sender knows no others.
    case poolDigest([PoolFingerprint], isWhole: Bool)
    /// The fingerprints of all 256 parts of what is known of another pool, each cut to 32 bits.
    case poolBuckets(tag: UInt32, [UInt32])
    /// Something that a newer member says; passed over.
    case unknown(kind: UInt8, [UInt8])
}

/// What is said of a member to one who may never have heard of it.
package struct GossipEntry: Sendable, Hashable {
    /// A DNS label.
    package var node: NodeID
    package var endpoint: MemberEndpoint
    package var incarnation: MemberIncarnation
    package var facts: NodeFacts

    package init(node: NodeID, endpoint: MemberEndpoint, incarnation: MemberIncarnation, facts: NodeFacts = .none) {
        (self.node, self.endpoint, self.incarnation, self.facts) = (node, endpoint, incarnation, facts)
    }

    init(_ member: Member) {
        self.init(node: member.node, endpoint: member.endpoint, incarnation: member.incarnation, facts: member.facts)
    }
}

/// What one member says to another at once.
package struct GossipDatagram: Sendable, Hashable {
    package var sender: MemberKey
    /// In the order in which they are to be taken.
    package var messages: [GossipMessage]

    package init(sender: MemberKey, messages: [GossipMessage]) { (self.sender, self.messages) = (sender, messages) }
}
