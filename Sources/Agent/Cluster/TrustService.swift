import ClusterModel
import ClusterState
import Logging
import ServiceLifecycle
import Synchronization
import TLS
import Transport

/// Brings what the cluster decided about certificates to where they are checked, and takes over a renewed identity file.
struct TrustService: Service {
    let replica: Replica
    let tls: ReloadableTLSContext
    let server: RPCServer
    /// The connections that this agent has made.
    let peers: PeerConnections?
    let logger: Logger
    let now: @Sendable () -> Timestamp
    /// A revocation is in force everywhere after so long, on open connections too.
    let period: Duration = .seconds(1)

    /// What of the replicated state is in force here.
    struct Known {
        var revocations: [ClusterState::Revocation] = []
        var authorities: [TrustedAuthority] = []
        /// All fingerprints that were trusted at the last look, those of the file too.
        var trusted: Set<String> = []
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var known = Known()
            while !Task.isCancelled {
                await look(&known)
                try? await Task.sleep(for: period)
            }
        }
    }

    /// Takes over what has changed, and ends connections that would not be let in any more.
    func look(_ known: inout Known) async {
        let state = await replica.state
        takeOverIdentity()
        var mustJudge = false
        if state.revocations != known.revocations {
            known.revocations = state.revocations
            refuse(state.revocations)
            mustJudge = true
        }
        if state.authorities != known.authorities, trust(state.authorities) {
            known.authorities = state.authorities
            mustJudge = true
        }
        let trusted = tls.trusted
        if trusted != known.trusted {
            known.trusted = trusted
            mustJudge = true
        }
        if mustJudge { await judgeAgain(trusted) }
        // A handshake cannot know what expires while the connection is open.
        let moment = now()
        server.disconnect { $0.notAfter < moment }
    }

    private func refuse(_ revocations: [ClusterState::Revocation]) {
        tls.revocations.replace(
            with: revocations.map { revocation in
                switch revocation.subject {
                case .certificate(let serial, _): TLS::Revocation.serial(serial)
                case .identity(let identity): TLS::Revocation.identity(identity, issuedUntil: revocation.time)
                }
            }
        )
    }

    /// Whether the authorities are in force now.
    private func trust(_ authorities: [TrustedAuthority]) -> Bool {
        do {
            let certificates = try authorities.flatMap {
                try readAuthorities(pem: Array($0.pem.utf8), place: "authority \($0.fingerprint.prefix(16))")
            }
            let bounds = authorities.compactMap { authority in authority.site.map { (authority.fingerprint, $0) } }
            // The bounds first: nobody is let in before they hold.
            tls.revocations.bind(authorities: Dictionary(bounds) { first, _ in first })
            try tls.trust(certificates)
            logger.notice("trust.changed", metadata: ["authorities": "\(authorities.count)"])
            return true
        } catch {
            logger.error("trust.failed", metadata: ["error": "\(error)"])
            return false
        }
    }

    /// Ends every connection whose peer would be refused now.
    private func judgeAgain(_ trusted: Set<String>) async {
        let list = tls.revocations
        let isRefused: @Sendable (CertificateSummary) -> Bool = { certificate in
            list.revokes(certificate)
                || !certificate.authority.isEmpty
                    && (!trusted.contains(certificate.authority)
                        || !list.allows(certificate.identity, of: certificate.authority))
        }
        var ended = server.disconnect(where: isRefused)
        ended += await peers?.disconnect(where: isRefused) ?? 0
        guard ended > 0 else { return }
        logger.notice("trust.connections.ended", metadata: ["count": "\(ended)"])
    }

    private func takeOverIdentity() {
        do {
            if try tls.reloadIfChanged() {
                logger.notice("identity.reloaded", metadata: ["expires": "\(tls.certificate.notAfter)"])
            }
        } catch {
            logger.error("identity.reload.failed", metadata: ["error": "\(error)"])
        }
    }
}

/// What the control plane tells about authorities: those of this agent, and who is connected by which.
struct TrustView: Sendable {
    let tls: ReloadableTLSContext
    /// Certificates of those who are connected to this agent.
    let connected: @Sendable () -> [CertificateSummary]

    /// The node that is connected with a certificate; nil when none is.
    func node(ofSerial serial: String) -> NodeID? {
        connected().first { $0.serial == serial }?.identity.node
    }

    /// Nodes that are connected with certificates of an authority, by name.
    func nodes(of authority: String) -> [NodeID] {
        let nodes = connected().compactMap { certificate -> NodeID? in
            guard certificate.authority == authority, case .node(_, _, let node, _) = certificate.identity else {
                return nil
            }
            return node
        }
        return Set(nodes).sorted()
    }

    /// Why the trust in an authority must stay; nil when it may go.
    ///
    /// `own` is the fingerprint of the authority that this agent lives on, `nodes` are those that live on the one in question.
    static func objection(
        toRemoving fingerprint: String,
        own: String?,
        nodes: [NodeID],
        isForced: Bool
    ) -> String? {
        if fingerprint == own {
            return
                "the agent that answers, which leads the cluster, lives on this authority itself: renew its certificate from another one "
                + "that is trusted, then remove this one"
        }
        guard !nodes.isEmpty, !isForced else { return nil }
        return
            "\(nodes.count == 1 ? "node" : "nodes") \(nodes.map(\.rawValue).joined(separator: ", ")) would be shut out: issue them certificates of "
            + "another authority first, or use --force"
    }
}

/// The server, known to those who are made before it.
final class LateServer: Sendable {
    private let server = Mutex<RPCServer?>(nil)

    func connect(_ server: RPCServer) { self.server.withLock { $0 = server } }

    var certificates: [CertificateSummary] { server.withLock { $0 }?.certificates ?? [] }
}
