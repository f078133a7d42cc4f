import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import ServiceLifecycle
import Synchronization
import TLS
import Transport

/// Renews this node's certificate half-way through its life, with the help of an agent that was given an issuer.
final class RenewalService: Service {
    private let node: NodeID
    private let replica: Replica
    private let tls: ReloadableTLSContext
    private let peers: any PeerLink
    /// This agent's own issuer; nil on most agents.
    private let issuer: CertificateIssuer?
    private let metrics: AgentMetrics
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let chance: @Sendable () -> Double
    private let period: Duration = .seconds(1)

    private struct State {
        var plan: RenewalPlan
        var hasIssuer = false
        var lastFailure: String?
    }
    private let state: Mutex<State>

    /// `chance` draws numbers in 0..<1.
    init(
        node: NodeID,
        replica: Replica,
        tls: ReloadableTLSContext,
        peers: any PeerLink,
        issuer: CertificateIssuer?,
        metrics: AgentMetrics,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp,
        chance: @escaping @Sendable () -> Double = { .random(in: 0..<1) }
    ) {
        (self.node, self.replica, self.tls, self.peers, self.issuer) = (node, replica, tls, peers, issuer)
        (self.metrics, self.logger, self.now, self.chance) = (metrics, logger, now, chance)
        state = Mutex(State(plan: RenewalPlan(share: chance())))
    }

    /// What is wrong with this agent's certificate, with the remedy; nil when nothing is.
    var problem: String? {
        if let problem = tls.problem { return problem }
        let (hasIssuer, failure) = state.withLock { ($0.hasIssuer, $0.lastFailure) }
        return RenewalPlan.problem(
            tls.certificate,
            hasIssuer: hasIssuer,
            failure: failure,
            now: now(),
            file: tls.path
        )
    }

    func run() async throws {
        await repeatUntilShutdown(every: period) { await self.look() }
    }

    /// Asks for the next certificate if it is time.
    func look() async {
        let certificate = tls.certificate
        metrics.certificateExpiry.set(certificate.notAfter.seconds)
        let issuers = await issuers()
        let step = state.withLock { state in
            state.hasIssuer = !issuers.isEmpty
            return state.plan.next(certificate, issuers: issuers, now: now())
        }
        if case .ask(let issuer) = step { await renew(certificate, from: issuer) }
    }

    /// Nodes that renew certificates, as they have told the cluster.
    private func issuers() async -> [NodeID] {
        var nodes = Set(await replica.state.nodes.filter { $0.state.isLive && $0.isIssuer }.map(\.node))
        if issuer == nil { nodes.remove(node) } else { nodes.insert(node) }
        return nodes.sorted()
    }

    private func renew(_ certificate: CertificateSummary, from other: NodeID) async {
        do {
            let pending = try PendingRenewal(of: tls.bundle)
            let answer =
                if let issuer, other == node {
                    try await issuer.answer(pending.request, from: tls.identity, certificate)
                } else {
                    try await peers.renew(pending.request, from: other, timeout: .seconds(15))
                }
            let bundle = try pending.completed(with: answer, trusting: tls.furtherAuthorities, now: now())
            try tls.replace(with: bundle)
            state.withLock { state in
                state.plan.succeeded()
                state.lastFailure = nil
            }
            metrics.certificateRenewals.increment()
            metrics.certificateExpiry.set(tls.certificate.notAfter.seconds)
            logger.notice(
                "identity.renewed",
                metadata: ["issuer": "\(other)", "expires": "\(tls.certificate.notAfter)", "file": "\(tls.path)"]
            )
        } catch {
            let reason = (error as? RPCFailure)?.message ?? "\(error)"
            let count = state.withLock { state in
                state.plan.failed(certificate, now: now(), chance: chance())
                state.lastFailure = "node \(other): \(reason)"
                return state.plan.failureCount
            }
            metrics.certificateRenewalsFailed.increment()
            logger.warning(
                "identity.renewal.failed",
                metadata: ["issuer": "\(other)", "attempts": "\(count)", "error": "\(reason)"]
            )
        }
    }
}

extension NodeRecord {
    /// Whether the node has said that it renews certificates.
    var isIssuer: Bool { label(NodeOffer.issues.key) == NodeOffer.issues.value }
}
