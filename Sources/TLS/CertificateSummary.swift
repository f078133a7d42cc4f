package import ClusterModel

/// What a certificate says, without the certificate: whose it is, and from when until when.
package struct CertificateSummary: Sendable, Hashable {
    package let identity: PeerIdentity
    /// Hexadecimal, lower case.
    package let serial: String
    /// When it was made.
    ///
    /// An authority lets certificates begin a little early (`CertificateAuthority.clockTolerance`), which is taken back here.
    package let issued: Timestamp
    /// Last moment at which it is valid.
    package let notAfter: Timestamp
    /// The authority at the end of the chain that a handshake has verified: SHA-256 of its certificate, 64 digits.
    ///
    /// Empty when the certificate was read from a file.
    package let authority: String
    /// The serial number of the certificate above it in that chain.
    package let issuerSerial: String

    /// Takes the values as they are.
    package init(
        identity: PeerIdentity,
        serial: String,
        issued: Timestamp,
        notAfter: Timestamp,
        authority: String = "",
        issuerSerial: String = ""
    ) {
        (self.identity, self.serial, self.issued, self.notAfter) = (identity, serial, issued, notAfter)
        (self.authority, self.issuerSerial) = (authority, issuerSerial)
    }

    /// How long it was issued for.
    package var lifetime: Duration { notAfter - issued }

    /// Whether it is time to renew.
    package enum Renewal: Sendable, Equatable {
        case notDue
        /// Half of its life is over.
        case due
        case expired
    }

    /// Half-way through its life a certificate is to be renewed: as much time is left to do it as has passed without need.
    package func renewal(at now: Timestamp) -> Renewal {
        if now > notAfter { return .expired }
        return now - issued > (notAfter - issued) / 2 ? .due : .notDue
    }

    /// One sentence for `status` and the log, with the remedy; nil while nothing is to be done.
    ///
    /// `file` is where the agent reads its identity.
    package func renewalProblem(at now: Timestamp, file: String) -> String? {
        let remedy =
            "renew it with `godwit ca renew` where the authority is, and put the file in the place of \(file); the agent takes it "
            + "without a restart"
        switch renewal(at: now) {
        case .notDue: return nil
        case .due:
            return "The certificate of \(identity) is past half of its life and expires at \(notAfter): \(remedy)."
        case .expired:
            return
                "The certificate of \(identity) expired at \(notAfter), so nobody lets this agent in any more: \(remedy)."
        }
    }
}

extension Certificate {
    /// Whose the certificate is, and from when until when.
    ///
    /// - Throws: `TLSError` with code `identityInvalid`.
    package var summary: CertificateSummary {
        get throws {
            try summary(issuer: nil, anchor: nil)
        }
    }

    /// The same with what a handshake has verified above it.
    func summary(issuer: Certificate?, anchor: Certificate?) throws -> CertificateSummary {
        CertificateSummary(
            identity: try identity,
            serial: serial,
            issued: notBefore + CertificateAuthority.clockTolerance,
            notAfter: notAfter,
            authority: anchor?.fingerprintDigits ?? "",
            issuerSerial: issuer?.serial ?? ""
        )
    }
}
