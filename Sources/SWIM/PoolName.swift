package import ClusterModel

/// Names a pool of a cluster: that of a site, or the common one.
///
/// Pools share the agents' ports. A datagram says which one it belongs to, and its seal proves it.
package struct PoolName: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// A DNS label; empty for the common pool.
    package let rawValue: String

    /// The pool of this name; nil when it is neither empty nor a DNS label.
    package init?(rawValue: String) {
        guard rawValue.isEmpty || isLabel(rawValue) else { return nil }
        self.rawValue = rawValue
    }

    /// The pool of a site.
    ///
    /// - Precondition: the site's name is a DNS label, as that of every site is.
    package init(_ site: SiteID) {
        precondition(isLabel(site.rawValue), "'\(site)' is not a DNS label")
        rawValue = site.rawValue
    }

    private init() { rawValue = "" }

    /// That of the gateways, and of all whose site has no gateway; in a cluster without gateways that of all.
    package static let common = PoolName()

    /// Four bytes that stand for the name in datagrams; 0 for the common pool, never 0 for another.
    package var tag: UInt32 {
        guard !rawValue.isEmpty else { return 0 }
        return max(1, UInt32(truncatingIfNeeded: hash))
    }

    /// The same hash as that of a member's name.
    var hash: UInt64 { MemberKey(NodeID(rawValue: rawValue)).rawValue }

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package var description: String { rawValue.isEmpty ? "common" : rawValue }
}

/// One member as its own pool sees it, on its way through other pools.
package struct PoolEntry: Sendable, Hashable {
    /// The pool that judges the member.
    package var pool: PoolName
    package var entry: MemberExchange.Entry

    /// Puts it together.
    package init(pool: PoolName, entry: MemberExchange.Entry) { (self.pool, self.entry) = (pool, entry) }
}

/// The fingerprint of all that is known of one other pool.
package struct PoolFingerprint: Sendable, Hashable {
    /// `PoolName.tag`.
    package var tag: UInt32
    /// The exclusive or of the fingerprints of its live members.
    package var root: UInt64

    /// Puts it together.
    package init(tag: UInt32, root: UInt64) { (self.tag, self.root) = (tag, root) }
}
