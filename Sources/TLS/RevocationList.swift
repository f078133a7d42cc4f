import COpenSSL
package import ClusterModel
import Synchronization

/// What is refused although its authority vouches for it.
package enum Revocation: Sendable, Hashable {
    /// One certificate, by its serial number in hexadecimal.
    case serial(String)
    /// Every certificate of an identity that was issued until then; one that is issued later is good again.
    ///
    /// The identity is a certificate's URI name.
    case identity(String, issuedUntil: Timestamp)

    /// Reads a serial number as people copy it from `godwit ca show`, `openssl` or a browser: colons and capitals do not matter.
    ///
    /// Nil when it is none.
    package init?(serial text: String) {
        let digits = text.lowercased().filter { $0 != ":" }
        // RFC 5280, section 4.1.2.2: at most 20 octets.
        guard (1...40).contains(digits.count), digits.allSatisfy({ $0.isASCII && $0.isHexDigit }) else { return nil }
        self = .serial(Self.canonical(digits))
    }

    /// Without zeros in front, which some programs write and others do not.
    static func canonical(_ serial: String) -> String {
        let digits = serial.drop { $0 == "0" }
        return digits.isEmpty ? "0" : String(digits)
    }
}

/// The revocations that handshakes consult; shared by all contexts of an agent.
///
/// An agent fills it from the replicated state whenever that changes. Connections that are open already are the business of
/// who holds them: `revokes(_:)` says which to close.
package final class RevocationList: Sendable {
    private struct Contents {
        var serials: Set<String> = []
        var identities: [String: Timestamp] = [:]
        /// Fingerprints of authorities that vouch for the nodes of one site and for nobody else.
        var sites: [String: SiteID] = [:]
    }
    private let contents = Mutex(Contents())

    /// Refuses nothing.
    package init() {}

    /// Refuses exactly these from now on.
    package func replace(with revocations: some Sequence<Revocation>) {
        var fresh = Contents()
        for revocation in revocations {
            switch revocation {
            case .serial(let serial): fresh.serials.insert(Revocation.canonical(serial))
            case .identity(let uri, let time):
                fresh.identities[uri] = max(fresh.identities[uri] ?? time, time)
            }
        }
        let replacement = fresh
        contents.withLock { ($0.serials, $0.identities) = (replacement.serials, replacement.identities) }
    }

    /// Lets each of these authorities, named by the digits of its fingerprint, vouch for the nodes of one site only.
    ///
    /// The ones of an earlier call are forgotten.
    package func bind(authorities sites: [String: SiteID]) { contents.withLock { $0.sites = sites } }

    /// Whether an authority may vouch for an identity; `authority` is the digits of its fingerprint.
    package func allows(_ identity: PeerIdentity, of authority: String) -> Bool {
        guard let bound = contents.withLock({ $0.sites[authority] }) else { return true }
        if case .node(_, let site, _, _) = identity { return site == bound }
        return false
    }

    /// Whether those above it in its chain may vouch for a peer's certificate.
    func allows(_ certificate: Certificate, issuer: Certificate, anchor: Certificate) -> Bool {
        // Who it is for is checked when the handshake is over; nobody is let in without an identity.
        guard let identity = try? certificate.identity else { return true }
        let isBound = contents.withLock { !$0.sites.isEmpty }
        if isBound, !allows(identity, of: anchor.fingerprintDigits) { return false }
        if issuer.isRoot { return true }
        return issuer.delegation?.allows(identity) ?? false
    }

    /// Whether a peer with this certificate is refused.
    package func revokes(_ certificate: CertificateSummary) -> Bool {
        contents.withLock { contents in
            if contents.serials.contains(Revocation.canonical(certificate.serial)) { return true }
            if !certificate.issuerSerial.isEmpty,
                contents.serials.contains(Revocation.canonical(certificate.issuerSerial))
            {
                return true
            }
            guard let time = contents.identities[certificate.identity.uri] else { return false }
            return certificate.issued <= time
        }
    }

    /// Whether a certificate of a peer's chain is refused.
    ///
    /// An authority has no identity; it can be revoked by its serial number.
    func revokes(_ certificate: Certificate) -> Bool {
        let isEmpty = contents.withLock { $0.serials.isEmpty && $0.identities.isEmpty }
        // Most clusters revoke nothing, most of the time.
        guard !isEmpty else { return false }
        if let summary = try? certificate.summary { return revokes(summary) }
        let serial = Revocation.canonical(certificate.serial)
        return contents.withLock { $0.serials.contains(serial) }
    }
}
