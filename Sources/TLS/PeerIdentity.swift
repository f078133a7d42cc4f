package import ClusterModel

/// What a user may do.
///
/// A right includes the ones before it.
package enum UserRight: String, Sendable, CaseIterable, Comparable {
    /// Look: status, lists, explanations, logs.
    case read
    /// Also submit jobs and act on them.
    case submit
    /// Everything.
    case admin

    package static func < (left: Self, right: Self) -> Bool { left.rank < right.rank }
    private var rank: Int {
        switch self {
        case .read: 0
        case .submit: 1
        case .admin: 2
        }
    }
}

/// Who is at the other end of a connection: what its certificate says, not what it claims.
///
/// A certificate carries exactly one URI name (SPIFFE-ID, section 2) and repeats nothing of it elsewhere; role and right are the
/// subject's organizational unit:
///
/// - `spiffe://CLUSTER/site/SITE/node/NODE`, OU `worker` or `gateway`
/// - `spiffe://CLUSTER/user/USER`, OU `admin`, `submit` or `read`
package enum PeerIdentity: Sendable, Hashable, CustomStringConvertible {
    case node(cluster: ClusterID, site: SiteID, node: NodeID, role: NodeRole)
    case user(cluster: ClusterID, user: UserID, right: UserRight)

    /// The cluster that the certificate belongs to.
    package var cluster: ClusterID {
        switch self {
        case .node(let cluster, _, _, _): cluster
        case .user(let cluster, _, _): cluster
        }
    }

    /// The certificate's URI name.
    package var uri: String {
        switch self {
        case .node(let cluster, let site, let node, _): "spiffe://\(cluster)/site/\(site)/node/\(node)"
        case .user(let cluster, let user, _): "spiffe://\(cluster)/user/\(user)"
        }
    }

    /// The subject's organizational unit: the role of a node, the right of a user.
    package var organizationalUnit: String {
        switch self {
        case .node(_, _, _, let role): role.rawValue
        case .user(_, _, let right): right.rawValue
        }
    }

    /// The subject's common name.
    package var commonName: String {
        switch self {
        case .node(_, _, let node, _): node.rawValue
        case .user(_, let user, _): user.rawValue
        }
    }

    /// The identity as people read it: `node knot of site home (worker)`.
    package var description: String {
        switch self {
        case .node(_, let site, let node, let role): "node \(node) of site \(site) (\(role.rawValue))"
        case .user(_, let user, let right): "user \(user) (\(right.rawValue))"
        }
    }

    /// The right that the identity has on the control plane.
    ///
    /// Nodes speak for the cluster itself and may do everything.
    package var right: UserRight {
        switch self {
        case .node: .admin
        case .user(_, _, let right): right
        }
    }

    /// The node; nil for a user.
    package var node: NodeID? {
        guard case .node(_, _, let node, _) = self else { return nil }
        return node
    }

    /// The node that a URI names; nil when it names none.
    package static func node(inURI uri: String) -> NodeID? {
        // The role is no part of the name.
        (try? PeerIdentity(uri: uri, organizationalUnit: NodeRole.worker.rawValue))?.node
    }

    /// Reads an identity from a certificate's URI name and organizational unit.
    ///
    /// - Throws: `TLSError` with code `identityInvalid`.
    package init(uri: String, organizationalUnit: String) throws {
        let scheme = "spiffe://"
        guard uri.hasPrefix(scheme) else {
            throw TLSError(.identityInvalid, "its name \(quoted(uri)) does not begin with \(scheme)")
        }
        let parts = uri.dropFirst(scheme.count).split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let labels = parts.enumerated().filter { $0.offset != 1 && $0.offset != 3 }.map(\.element)
        guard labels.allSatisfy(isLabel) else {
            throw TLSError(.identityInvalid, "its name \(quoted(uri)) holds a part that is not a lower-case DNS label")
        }
        if parts.count == 5, parts[1] == "site", parts[3] == "node" {
            guard let role = NodeRole(rawValue: organizationalUnit) else {
                throw TLSError(
                    .identityInvalid,
                    "its organizational unit \(quoted(organizationalUnit)) is not a role (worker or gateway)"
                )
            }
            self = .node(
                cluster: ClusterID(rawValue: parts[0]),
                site: SiteID(rawValue: parts[2]),
                node: NodeID(rawValue: parts[4]),
                role: role
            )
        } else if parts.count == 3, parts[1] == "user" {
            guard let right = UserRight(rawValue: organizationalUnit) else {
                throw TLSError(
                    .identityInvalid,
                    "its organizational unit \(quoted(organizationalUnit)) is not a right (admin, submit or read)"
                )
            }
            self = .user(cluster: ClusterID(rawValue: parts[0]), user: UserID(rawValue: parts[2]), right: right)
        } else {
            throw TLSError(
                .identityInvalid,
                "its name \(quoted(uri)) is neither spiffe://CLUSTER/site/SITE/node/NODE nor spiffe://CLUSTER/user/USER"
            )
        }
    }
}

/// Text from outside in quotation marks, printable and bounded, so that it can stand in a message or a log line.
package func quoted(_ text: String) -> String {
    let shown = text.unicodeScalars.prefix(200).map { scalar in
        (0x20..<0x7f).contains(scalar.value) && scalar != "\""
            ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
    }
    return "\"\(shown.joined())\(text.unicodeScalars.count > 200 ? "..." : "")\""
}
