import ClusterModel

/// A node of the cluster as one agent sees it, over all pools.
package struct SeenMember: Sendable, Hashable {
    /// As its own pool sees it.
    package var member: Member
    /// The pool that says so.
    package var pool: PoolName
    /// Whether this agent is in that pool.
    package var isDirect: Bool
    /// Whether somebody of its pool takes part in the common pool: when nobody does, a whole site is cut off, and what
    /// is known of its members is old.
    package var isReachable: Bool

    /// Whether nothing new should be placed there.
    package var isDoubted: Bool { !isReachable || member.status == .suspect || member.status == .dead }
}

/// All that one of a node's pools knows.
package struct PoolSnapshot: Sendable {
    package var pool: PoolName
    package var members: [Member]
    /// What is known of the members of other pools.
    package var elsewhere: [PoolName: [Member]]

    /// What this membership knows now.
    package init(_ membership: Membership) {
        pool = membership.pool
        members = membership.allMembers()
        elsewhere = membership.otherPools.reduce(into: [:]) { $0[$1] = membership.members(of: $1) }
    }

    /// One line for each node that is known in any of an agent's pools, in the order of their keys.
    ///
    /// Who is in two pools, as gateways are, is what its site's pool says: that one looks from near and often. What an
    /// agent's own pool says goes before what was carried to it, and where a node has gone counts less than where it is.
    package static func combined(_ snapshots: [PoolSnapshot]) -> [SeenMember] {
        let home = snapshots.map(\.pool).max() ?? .common
        var best: [MemberKey: SeenMember] = [:]
        var nodes: [PoolName: Set<NodeID>] = [:]
        var common: Set<NodeID> = []
        func take(_ member: Member, _ pool: PoolName, isDirect: Bool) {
            if member.status != .left { nodes[pool, default: []].insert(member.node) }
            if pool == .common, member.status.isLive { common.insert(member.node) }
            let seen = SeenMember(member: member, pool: pool, isDirect: isDirect, isReachable: true)
            guard let known = best[member.key] else { return best[member.key] = seen }
            if seen.rank > known.rank { best[member.key] = seen }
        }
        let direct = Set(snapshots.map(\.pool))
        for snapshot in snapshots {
            for member in snapshot.members { take(member, snapshot.pool, isDirect: true) }
            for (pool, members) in snapshot.elsewhere.sorted(by: { $0.key < $1.key }) where !direct.contains(pool) {
                for member in members { take(member, pool, isDirect: false) }
            }
        }
        let cutOff = Set(nodes.filter { $0.key != .common && $0.key != home && $0.value.isDisjoint(with: common) }.keys)
        return best.sorted { $0.key < $1.key }.map { _, seen in
            var seen = seen
            seen.isReachable = !cutOff.contains(seen.pool)
            return seen
        }
    }
}

extension SeenMember {
    /// Of two things that are said about a node the one with the higher rank counts.
    fileprivate var rank: Int {
        (member.status == .left ? 0 : 4) + (pool == .common ? 0 : 2) + (isDirect ? 1 : 0)
    }
}
