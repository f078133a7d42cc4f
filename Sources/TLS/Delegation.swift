package import ClusterModel

/// What an authority below the cluster's own may vouch for: nodes, of one site or of all, and never users.
///
/// It is the URI name of the delegate's certificate, `spiffe://CLUSTER/delegate` or `spiffe://CLUSTER/site/SITE/delegate`, and every handshake
/// holds the delegate to it.
package struct Delegation: Sendable, Hashable {
    /// Nil: nodes of every site.
    package let site: SiteID?

    /// Takes the value as it is.
    package init(site: SiteID?) { self.site = site }

    /// Reads a URI name; nil when it is not that of a delegate.
    init?(uri: String) {
        let scheme = "spiffe://"
        guard uri.hasPrefix(scheme) else { return nil }
        let parts = uri.dropFirst(scheme.count).split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.last == "delegate", isLabel(parts[0]) else { return nil }
        if parts.count == 2 {
            site = nil
        } else if parts.count == 4, parts[1] == "site", isLabel(parts[2]) {
            site = SiteID(rawValue: parts[2])
        } else {
            return nil
        }
    }

    func uri(in cluster: ClusterID) -> String {
        site.map { "spiffe://\(cluster)/site/\($0)/delegate" } ?? "spiffe://\(cluster)/delegate"
    }

    /// Whether a delegate may vouch for an identity.
    package func allows(_ identity: PeerIdentity) -> Bool {
        guard case .node(_, let site, _, _) = identity else { return false }
        return self.site == nil || self.site == site
    }
}
