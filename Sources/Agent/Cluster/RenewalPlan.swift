import ClusterModel
import TLS

/// When a node asks for its next certificate, and whom: values in, decisions out, no clock and no chance of its own.
///
/// It is time half-way through the certificate's life, for each node a little later than for another, so that nodes whose certificates were
/// made together do not ask together. What fails is tried again with growing pauses, each time at the next issuer.
struct RenewalPlan: Sendable, Equatable {
    /// What to do now.
    enum Step: Sendable, Equatable {
        case wait(until: Timestamp)
        case ask(NodeID)
        /// It is time, and no agent has an issuer.
        case nobody
    }

    /// Nodes ask spread over so much of the certificate's life after its half.
    static let spread = 0.05
    /// The first pause after a failure, and the longest.
    static let pauses = (first: Duration.seconds(60), longest: Duration.seconds(3600))

    /// This node's place among the others, 0..<1; drawn once.
    let share: Double
    /// Attempts that failed since the last one that did not.
    private(set) var failureCount = 0
    private var pausedUntil: Timestamp?

    init(share: Double) { self.share = share }

    /// When the certificate is to be replaced.
    func due(_ certificate: CertificateSummary) -> Timestamp {
        certificate.issued + certificate.lifetime * (0.5 + Self.spread * share)
    }

    /// What to do now.
    ///
    /// `issuers` are the nodes that have said that they renew certificates; their order does not matter.
    func next(_ certificate: CertificateSummary, issuers: [NodeID], now: Timestamp) -> Step {
        let time = max(due(certificate), pausedUntil ?? .distantPast)
        guard now >= time else { return .wait(until: time) }
        guard !issuers.isEmpty else { return .nobody }
        let first = Int(share * Double(issuers.count))
        return .ask(issuers.sorted()[(first + failureCount) % issuers.count])
    }

    /// Takes note that an attempt failed; `chance` is in 0..<1.
    ///
    /// The pause doubles from a minute to an hour, half of it drawn, but is never more than an eighth of the time that is left.
    mutating func failed(_ certificate: CertificateSummary, now: Timestamp, chance: Double) {
        let left = max(.seconds(8), certificate.notAfter - now)
        let pause = min(Self.pauses.first * (1 << min(failureCount, 10)), Self.pauses.longest, left / 8)
        failureCount += 1
        pausedUntil = now + pause * (0.5 + chance / 2)
    }

    /// Takes note that the certificate was replaced.
    mutating func succeeded() { (failureCount, pausedUntil) = (0, nil) }

    /// What an administrator should know, with the remedy; nil while all is well.
    ///
    /// Without an issuer that is half-way through the certificate's life; with one only when less than a quarter is left, because until then
    /// the agents try by themselves. `failure` is why the last attempt did not succeed, `file` where the agent reads its identity.
    static func problem(
        _ certificate: CertificateSummary,
        hasIssuer: Bool,
        failure: String?,
        now: Timestamp,
        file: String
    ) -> String? {
        guard let problem = certificate.renewalProblem(at: now, file: file) else { return nil }
        guard hasIssuer else {
            return problem
                + " An agent with an issuer (`identity.issuer`, from `godwit ca delegate`) would renew it by itself."
        }
        guard now > certificate.notAfter - certificate.lifetime / 4 else { return nil }
        return problem + " No issuer of the cluster has renewed it: \(failure ?? "none was asked yet")."
    }
}

extension Timestamp {
    /// Before every time that a plan can name.
    fileprivate static let distantPast = Timestamp(rawValue: .min)
}
