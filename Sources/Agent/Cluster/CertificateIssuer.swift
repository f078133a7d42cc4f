import ClusterModel
import ClusterState
import Logging
import TLS
import Transport

/// Renews the certificates of nodes, on an agent that an administrator gave an issuer.
///
/// It signs for whom the connection has shown and for nobody else: the same node, site, role and lifetime, a new key. The files are read for each
/// request, so that an issuer can be exchanged under a running agent, and their modes are checked each time.
struct CertificateIssuer: Sendable {
    /// Of the agent that signs.
    let node: NodeID
    /// Where `ca.crt` and `ca.key` are.
    let folder: String
    let replica: Replica
    let revocations: RevocationList
    let logger: Logger
    let now: @Sendable () -> Timestamp

    /// Before so much of its life is over a certificate is not renewed; nodes ask half-way.
    private static let earliest = 0.4

    /// The next certificate and those above it, in PEM.
    ///
    /// - Throws: `RPCFailure`; nothing was signed then that anybody has seen.
    func answer(
        _ request: [UInt8],
        from identity: PeerIdentity,
        _ certificate: CertificateSummary?
    ) async throws -> [UInt8] {
        guard let certificate, case .node(_, _, let asking, _) = identity else {
            throw RPCFailure(
                .forbidden,
                "a certificate is renewed over a connection that shows the old one, and for nodes only"
            )
        }
        let moment = now()
        let record = await replica.state.node(asking)
        if let objection = Self.objection(
            to: identity,
            certificate,
            record,
            isSelf: asking == node,
            isRevoked: revocations.revokes(certificate),
            now: moment
        ) {
            logger.warning("certificate.renewal.refused", metadata: ["node": "\(asking)", "reason": "\(objection)"])
            throw RPCFailure(.forbidden, objection)
        }
        let signed: (pem: [UInt8], certificate: Certificate)
        do {
            signed = try CertificateAuthority.load(from: folder).answer(
                request,
                from: identity,
                now: moment,
                lifetime: certificate.lifetime
            )
        } catch let error as TLSError {
            logger.warning("certificate.renewal.refused", metadata: ["node": "\(asking)", "reason": "\(error)"])
            throw RPCFailure(
                error.code == .wrongPeer || error.code == .argument ? .forbidden : .unavailable,
                error.message
            )
        }
        try await tell(asking, signed.certificate)
        return signed.pem
    }

    /// Why a node's certificate is not renewed; nil when it is.
    ///
    /// `record` is the node as the cluster knows it; only an agent alone, which renews its own, has none.
    static func objection(
        to identity: PeerIdentity,
        _ certificate: CertificateSummary,
        _ record: NodeRecord?,
        isSelf: Bool,
        isRevoked: Bool,
        now: Timestamp
    ) -> String? {
        guard case .node(_, let site, let node, let role) = identity, certificate.identity == identity else {
            return "\(identity) is no node that shows its own certificate"
        }
        if isRevoked { return "the certificate of node \(node) was revoked" }
        if now > certificate.notAfter {
            return "the certificate of node \(node) has expired: renew it with `godwit ca renew`"
        }
        if certificate.issued + certificate.lifetime * earliest > now {
            return "the certificate of node \(node) is not half-way through its life yet"
        }
        guard let record else { return isSelf ? nil : "node \(node) is not of this cluster yet" }
        guard record.state.isLive else { return "node \(node) is \(record.state.rawValue)" }
        guard record.site == site, record.role == role else {
            return
                "node \(node) is known as \(record.role.rawValue) of site \(record.site), and its certificate says \(role.rawValue) of site \(site)"
        }
        return nil
    }

    /// Puts it into the audit before anybody has the certificate.
    private func tell(_ asking: NodeID, _ certificate: Certificate) async throws {
        let sentence =
            "Renewed the certificate of node \(asking) until \(certificate.notAfter) (serial \(certificate.serial))."
        logger.notice(
            "certificate.renewed",
            metadata: ["node": "\(asking)", "expires": "\(certificate.notAfter)", "serial": "\(certificate.serial)"]
        )
        do {
            let outcome = try await replica.propose(.auditEntry(by: "node:\(node)", what: sentence, time: now()))
            // While some node runs a version without this entry, the log alone has it.
            if let refusal = outcome.refusal {
                logger.info("certificate.renewal.unaudited", metadata: ["reason": "\(refusal)"])
            }
        } catch let error as ReplicationError {
            throw RPCFailure(.unavailable, "the renewal cannot be put into the audit now: \(error)")
        }
    }
}
