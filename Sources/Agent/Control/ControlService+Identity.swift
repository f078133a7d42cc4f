import ClusterModel
import ClusterState
import ControlMessages
import TLS
import Transport

// Who is of the cluster and who vouches for it: nodes that go for good, and authorities.
extension ControlService {
    /// Takes a node out that does not come back by itself; the leader answers.
    func remove(_ call: RPCCall) async throws {
        try call.require(.admin)
        let request = try call.decode(WireNodeRemoveRequest.self)
        let id = NodeID(rawValue: request.node)
        let state = await replica.state
        if let record = state.node(id), record.state.isLive {
            let contact = await leader?.lastContact(with: id)
            let isAnswering = contact.map { $0.duration(to: .now) < .seconds(4) } ?? false
            if id == node.node {
                throw RPCFailure(
                    .conflict,
                    "node \(id) leads the cluster at this moment: let it go by itself with `godwit node leave \(id)`"
                )
            }
            guard !isAnswering || record.isDraining else {
                throw RPCFailure(
                    .conflict,
                    "node \(id) answers. Let it go by itself: `godwit node drain \(id)`, then `godwit node leave \(id)`; removing is for nodes "
                        + "that do not come back"
                )
            }
        }
        _ = try await propose(
            .nodeLeft(
                NodeDeparture(
                    node: id,
                    by: user(call),
                    abandonsCheckpoints: request.abandonCheckpoints,
                    time: now()
                )
            )
        )
        guard let record = await replica.state.node(id) else {
            throw RPCFailure(.notFound, "there is no node '\(id)'; `godwit node list` shows every node")
        }
        var reply = WireNodeRemoveReply()
        if request.revoke {
            try await takeVote(of: id, isForced: true)
            let identity = PeerIdentity.node(cluster: node.cluster, site: record.site, node: id, role: record.role)
            _ = try await propose(
                .revoke(ClusterState::Revocation(.identity(identity.uri), by: user(call), time: now()))
            )
            reply.revoked = true
        }
        reply.node = wire(record, await replica.state)
        call.reply(reply)
    }

    /// Lets this node leave; its own agent answers, and ends after that.
    func leave(_ call: RPCCall) async throws {
        try call.require(.admin)
        let request = try call.decode(WireNodeLeaveRequest.self)
        guard request.node == node.node.rawValue, let departure else {
            throw RPCFailure(.invalid, "this agent is node \(node.node), and only a node itself can leave")
        }
        let record = try await departure.leave(by: user(call), abandonsCheckpoints: request.abandonCheckpoints)
        var reply = WireNodeLeaveReply()
        reply.node = wire(record, await replica.state)
        call.reply(reply)
        departure.end(because: "Node \(node.node) has left the cluster, because \(user(call)) told it to.")
    }

    // MARK: Authorities

    /// Trusts an authority besides those in the agents' identity files.
    func addAuthority(_ call: RPCCall) async throws {
        try call.require(.admin)
        let request = try call.decode(WireAuthorityAddRequest.self)
        let certificates: [Certificate]
        do {
            certificates = try readAuthorities(pem: Array(request.pem.utf8), place: "the file")
        } catch let error as TLSError {
            throw RPCFailure(.invalid, error.message)
        }
        guard let certificate = certificates.first, certificates.count == 1 else {
            throw RPCFailure(.invalid, "the file holds \(certificates.count) authorities; add one after the other")
        }
        guard certificate.authorityCluster == node.cluster, certificate.delegation == nil else {
            throw RPCFailure(
                .invalid,
                "\(certificate.subject) is no authority of cluster \(node.cluster): make one for a site with `godwit ca init --cluster "
                    + "\(node.cluster) --folder ...`; a delegate is trusted by itself"
            )
        }
        guard certificate.notAfter > now() else {
            throw RPCFailure(.invalid, "\(certificate.subject) expired at \(certificate.notAfter)")
        }
        let authority = TrustedAuthority(
            site: request.site.isEmpty ? nil : SiteID(rawValue: request.site),
            fingerprint: certificate.fingerprintDigits,
            pem: try certificate.pem,
            by: user(call),
            time: now()
        )
        if let site = authority.site, !isLabel(site.rawValue) {
            throw RPCFailure(
                .invalid,
                "'\(site)' cannot name a site: use 1 to 63 of a-z, 0-9 and -, not - at either end"
            )
        }
        if authority.site != nil, trust?.tls.bundle.ownAuthority?.fingerprintDigits == authority.fingerprint {
            throw RPCFailure(
                .conflict,
                "the agent that answers lives on this authority: bound to a site it would shut others out"
            )
        }
        _ = try await propose(.trust(authority))
        var reply = WireAuthorityAddReply()
        reply.authority = try wire(authority)
        call.reply(reply)
    }

    /// Trusts an authority no longer; the leader answers.
    func removeAuthority(_ call: RPCCall) async throws {
        try call.require(.admin)
        let request = try call.decode(WireAuthorityRemoveRequest.self)
        let digits = request.fingerprint.lowercased().filter { $0 != ":" }
        guard digits.count >= 8 else {
            throw RPCFailure(
                .invalid,
                "name the authority by at least 8 digits of its fingerprint; `godwit ca trust list` shows them"
            )
        }
        let found = await replica.state.authorities.filter { $0.fingerprint.hasPrefix(digits) }
        guard let authority = found.first, found.count == 1 else {
            let inFile = trust?.tls.bundle.authorities.contains { $0.fingerprintDigits.hasPrefix(digits) } ?? false
            throw RPCFailure(
                found.isEmpty ? .notFound : .invalid,
                !found.isEmpty
                    ? "\(found.count) authorities begin with \(digits): write more digits"
                    : inFile
                        ? "that authority is trusted because it is in the agents' identity files: it goes when they are replaced by files without it"
                        : "no authority that was added begins with \(digits); `godwit ca trust list` shows them"
            )
        }
        let nodes = trust?.nodes(of: authority.fingerprint) ?? []
        if let objection = TrustView.objection(
            toRemoving: authority.fingerprint,
            own: trust?.tls.bundle.ownAuthority?.fingerprintDigits,
            nodes: nodes,
            isForced: request.force
        ) {
            throw RPCFailure(.conflict, objection)
        }
        var reply = WireAuthorityRemoveReply()
        reply.authority = try wire(authority)
        _ = try await propose(.distrust(fingerprint: authority.fingerprint, by: user(call), time: now()))
        call.reply(reply)
    }

    /// Whom the agents trust: those in this agent's file first.
    func authorities(_ call: RPCCall) async throws {
        let added = await replica.state.authorities
        var reply = WireAuthorityListReply()
        for certificate in trust?.tls.bundle.authorities ?? []
        where !added.contains(where: { $0.fingerprint == certificate.fingerprintDigits }) {
            var wire = wire(certificate)
            wire.isInFile = true
            reply.authorities.append(wire)
        }
        for authority in added { reply.authorities.append(try wire(authority)) }
        call.reply(reply)
    }

    private func wire(_ certificate: Certificate) -> WireAuthority {
        var wire = WireAuthority()
        wire.fingerprint = certificate.fingerprintDigits
        wire.subject = certificate.subject
        wire.expiresUnixSeconds = certificate.notAfter.seconds
        wire.nodes = trust?.nodes(of: wire.fingerprint).map(\.rawValue) ?? []
        return wire
    }

    private func wire(_ authority: TrustedAuthority) throws -> WireAuthority {
        var wire = WireAuthority()
        if let certificate = try readAuthorities(pem: Array(authority.pem.utf8), place: "an authority").first {
            wire = self.wire(certificate)
        }
        wire.site = authority.site?.rawValue ?? ""
        wire.isReplicated = true
        wire.isInFile =
            trust?.tls.bundle.authorities.contains { $0.fingerprintDigits == authority.fingerprint } ?? false
        wire.timeUnixSeconds = authority.time.seconds
        wire.by = authority.by.rawValue
        return wire
    }
}
