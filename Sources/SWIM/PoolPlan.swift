package import ClusterModel

/// Which pools a node takes part in: of its site, of the gateways, or of all.
///
/// A site that has a gateway, in a cluster of more than one site, gossips in a pool of its own, so that what it notices
/// about its members does not depend on the ways between sites. The common pool holds the gateways of such sites and
/// everybody else: a cluster without gateways, or of one site, is one pool. Who is in both carries what each knows into
/// the other. All nodes that have the same list of nodes come to the same plan.
package struct PoolPlan: Sendable, Equatable {
    /// A node of the cluster; its site and role are those of its certificate.
    package struct Node: Sendable, Hashable {
        package var node: NodeID
        package var site: SiteID
        /// Whether its role is `gateway`.
        package var isGateway: Bool

        /// Puts it together.
        package init(node: NodeID, site: SiteID, isGateway: Bool) {
            (self.node, self.site, self.isGateway) = (node, site, isGateway)
        }
    }

    /// The pool that judges this node.
    package let home: PoolName
    /// Whether it is a gateway whose home is not the common pool, and so is in both.
    package let isGateway: Bool
    /// The members of each pool that has any, in the order of the list.
    package let members: [PoolName: [NodeID]]
    /// Whether members of the common pool are at more than one site.
    package let commonSpansSites: Bool

    /// The plan for `own` in a cluster of these nodes; `own` need not be among them.
    package init(own: Node, nodes: [Node]) {
        let all = nodes.contains { $0.node == own.node } ? nodes : nodes + [own]
        let sites = Set(all.map(\.site))
        let withGateway = sites.count > 1 ? Set(all.filter(\.isGateway).map(\.site)) : []
        func home(_ node: Node) -> PoolName { withGateway.contains(node.site) ? PoolName(node.site) : .common }
        var members: [PoolName: [NodeID]] = [:]
        var commonSites: Set<SiteID> = []
        for node in all {
            members[home(node), default: []].append(node.node)
            guard home(node) == .common || node.isGateway else { continue }
            commonSites.insert(node.site)
            if home(node) != .common { members[.common, default: []].append(node.node) }
        }
        self.home = home(own)
        isGateway = own.isGateway && home(own) != .common
        self.members = members
        commonSpansSites = commonSites.count > 1
    }

    /// Whether this node must stand in for its site's gateways, none of which lives.
    ///
    /// Then the first of the others that live, in the order of their keys, is in the common pool as well; `view` is
    /// what is known of the home pool.
    package func mustStandIn(own: MemberKey, view: [Member], gateways: Set<NodeID>) -> Bool {
        guard home != .common, !isGateway else { return false }
        let living = view.filter { $0.status == .alive }
        guard !living.contains(where: { gateways.contains($0.node) }) else { return false }
        return living.map(\.key).min() == own
    }
}
