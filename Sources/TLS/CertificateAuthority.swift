import COpenSSL
import CShims
package import ClusterModel

/// A cluster's certificate authority: makes the certificates by which nodes and users are known.
///
/// Keys are ECDSA on P-256. The private key is in `ca.key`, mode 0600, and is needed only to issue. Agents never see it; an agent that renews
/// certificates is given a `delegate`, whose word counts for nodes only and can be taken back by revoking its serial number.
package struct CertificateAuthority: Sendable {
    /// Ten years.
    package static let defaultLifetime = Duration.seconds(3650 * 86_400)
    /// Five years.
    package static let defaultDelegateLifetime = Duration.seconds(5 * 365 * 86_400)
    /// One year, for the certificates of nodes and users.
    package static let defaultIssuedLifetime = Duration.seconds(365 * 86_400)
    /// Certificates are valid from this long before they were made, so that a clock that lags a little does not refuse them.
    static let clockTolerance = Duration.seconds(300)

    package let cluster: ClusterID
    package let certificate: Certificate
    /// Those above a delegate, the one that vouches for itself last; empty for an authority of its own.
    let above: [Certificate]
    let key: PrivateKey

    /// What it may vouch for; nil: everybody of its cluster.
    package var delegation: Delegation? { above.isEmpty ? nil : certificate.delegation }

    /// Makes a new authority for a cluster.
    package static func create(
        cluster: ClusterID,
        now: Timestamp,
        lifetime: Duration = defaultLifetime
    ) throws -> CertificateAuthority {
        guard isLabel(cluster.rawValue) else {
            throw TLSError(.argument, labelProblem("cluster", cluster.rawValue))
        }
        let key = try PrivateKey.random()
        let certificate = try CertificateDraft(
            subject: [(NID_organizationName, cluster.rawValue), (NID_commonName, "\(cluster) certificate authority")],
            notBefore: now - clockTolerance,
            notAfter: now + lifetime,
            extensions: [
                // One delegate may stand between it and the certificates of nodes.
                (NID_basic_constraints, "critical,CA:TRUE,pathlen:1"),
                (NID_key_usage, "critical,keyCertSign,cRLSign"),
                (NID_subject_key_identifier, "hash"),
                (NID_subject_alt_name, "URI:spiffe://\(cluster)"),
            ]
        ).signed(key: key, by: nil, issuerKey: key)
        return CertificateAuthority(cluster: cluster, certificate: certificate, above: [], key: key)
    }

    /// Makes an authority below this one that vouches for nodes only, of one site or of all: what an agent may be given, so that it
    /// renews certificates.
    ///
    /// It never outlives this one.
    ///
    /// - Throws: `TLSError` when this one is a delegate itself, or was made by a version that knew no delegates.
    package func delegate(
        site: SiteID? = nil,
        now: Timestamp,
        lifetime: Duration = defaultDelegateLifetime
    ) throws -> CertificateAuthority {
        if let site, !isLabel(site.rawValue) { throw TLSError(.argument, labelProblem("site", site.rawValue)) }
        guard above.isEmpty, certificate.authoritiesBelow > 0 else {
            throw TLSError(
                .argument,
                above.isEmpty
                    ? "the authority of cluster \(cluster) was made without room for a delegate: give its own folder to the agent that renews, "
                        + "or make a new authority with `godwit ca init`"
                    : "a delegate cannot delegate: name the folder of the cluster's authority"
            )
        }
        try requireValid(at: now)
        let key = try PrivateKey.random()
        let delegation = Delegation(site: site)
        let certificate = try CertificateDraft(
            subject: [
                (NID_organizationName, cluster.rawValue),
                (NID_commonName, "\(cluster) delegate for \(site.map { "site \($0)" } ?? "nodes")"),
            ],
            notBefore: now - Self.clockTolerance,
            notAfter: min(now + lifetime, self.certificate.notAfter),
            extensions: [
                (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
                (NID_key_usage, "critical,keyCertSign"),
                (NID_subject_key_identifier, "hash"),
                (NID_authority_key_identifier, "keyid:always"),
                (NID_subject_alt_name, "URI:\(delegation.uri(in: cluster))"),
            ]
        ).signed(key: key, by: self.certificate, issuerKey: self.key)
        return CertificateAuthority(cluster: cluster, certificate: certificate, above: [self.certificate], key: key)
    }

    /// Reads `ca.crt` and `ca.key` from a folder.
    package static func load(from folder: String) throws -> CertificateAuthority {
        let hint = "make an authority with `godwit ca init`, or name the folder that holds ca.crt and ca.key"
        let certificates = try PEMContents(
            SecretFile.read("\(folder)/ca.crt", isSecret: false, missingHint: hint)
        ).certificates
        let contents = try PEMContents(SecretFile.read("\(folder)/ca.key", isSecret: true, missingHint: hint))
        guard let certificate = certificates.first, let cluster = certificate.authorityCluster,
            certificate.isRoot || certificates.last?.isRoot == true
        else {
            throw TLSError(.file, "\(folder)/ca.crt is not the certificate of a Godwit authority: \(hint)")
        }
        guard let key = contents.key, certificate.matches(key) else {
            throw TLSError(.file, "\(folder)/ca.key is not the key of \(folder)/ca.crt: \(hint)")
        }
        return CertificateAuthority(
            cluster: cluster,
            certificate: certificate,
            above: certificate.isRoot ? [] : Array(certificates.dropFirst()),
            key: key
        )
    }

    /// Creates `ca.key` (mode 0600) and `ca.crt` in a folder, which is made with mode 0700 when missing.
    ///
    /// An existing authority is never overwritten: its key cannot be had again.
    package func save(to folder: String) throws {
        try SecretFile.makeFolder(folder, mode: 0o700)
        let hint = "there is an authority already; name another folder, or issue with the one that is there"
        try SecretFile.create("\(folder)/ca.key", mode: 0o600, Array(key.pem.utf8), replaceHint: hint)
        let certificates = try ([certificate] + above).map { try $0.pem }.joined()
        try SecretFile.create("\(folder)/ca.crt", mode: 0o644, Array(certificates.utf8), replaceHint: hint)
    }

    /// Issues a node's identity with a new key.
    package func issueNode(
        _ node: NodeID,
        site: SiteID,
        role: NodeRole,
        now: Timestamp,
        lifetime: Duration = defaultIssuedLifetime
    ) throws -> IdentityBundle {
        for (what, text) in [("node", node.rawValue), ("site", site.rawValue)] where !isLabel(text) {
            throw TLSError(.argument, labelProblem(what, text))
        }
        return try issue(
            .node(cluster: cluster, site: site, node: node, role: role),
            usage: Self.nodeUsage,
            now: now,
            lifetime: lifetime
        )
    }

    /// Issues a user's identity with a new key.
    ///
    /// It cannot pose as an agent.
    package func issueUser(
        _ user: UserID,
        right: UserRight,
        now: Timestamp,
        lifetime: Duration = defaultIssuedLifetime
    ) throws -> IdentityBundle {
        guard isLabel(user.rawValue) else { throw TLSError(.argument, labelProblem("user", user.rawValue)) }
        return try issue(
            .user(cluster: cluster, user: user, right: right),
            usage: Self.userUsage,
            now: now,
            lifetime: lifetime
        )
    }

    /// Issues the same identity again: a new certificate with a new end.
    ///
    /// The key stays unless `hasNewKey`. It lives as long as the old certificate did, unless told otherwise. The bundle's other
    /// authorities are kept, so that a renewal does not end the trust in another site's.
    ///
    /// - Throws: `TLSError` when the bundle is of another cluster.
    package func renew(
        _ bundle: IdentityBundle,
        now: Timestamp,
        lifetime: Duration? = nil,
        hasNewKey: Bool = false
    ) throws -> IdentityBundle {
        guard bundle.identity.cluster == cluster else {
            throw TLSError(
                .wrongCluster,
                "\(bundle.identity) is of cluster \(bundle.identity.cluster), this authority of cluster \(cluster):"
                    + " name the folder of that cluster's authority"
            )
        }
        let old = bundle.certificate
        let usage =
            switch bundle.identity {
            case .node: Self.nodeUsage
            case .user: Self.userUsage
            }
        let renewed = try issue(
            bundle.identity,
            usage: usage,
            now: now,
            lifetime: lifetime ?? old.notAfter - (old.notBefore + Self.clockTolerance),
            key: hasNewKey ? nil : bundle.key
        )
        return renewed.trusting(bundle.authorities)
    }

    /// Issues a node's certificate for the key in a request, which must ask for this identity.
    ///
    /// `identity` is who asks, as a handshake has shown it. Gives the certificate and those above it in PEM: no secret.
    ///
    /// - Throws: `TLSError`: with code `wrongPeer` when the request is for somebody else, or this authority may not vouch for the node.
    package func answer(
        _ request: [UInt8],
        from identity: PeerIdentity,
        now: Timestamp,
        lifetime: Duration
    ) throws -> (pem: [UInt8], certificate: Certificate) {
        let request = try CertificateRequest(pem: request)
        guard case .node = identity else {
            throw TLSError(.wrongPeer, "\(identity) is no node: only nodes' certificates are renewed by themselves")
        }
        guard try request.uri == identity.uri else {
            throw TLSError(
                .wrongPeer,
                "\(identity) asked for a certificate of \(quoted((try? request.uri) ?? "nobody")): a node may ask for its own only"
            )
        }
        guard identity.cluster == cluster, delegation?.allows(identity) ?? true else {
            throw TLSError(.wrongPeer, "this issuer (\(certificate.subject)) does not vouch for \(identity)")
        }
        let issued = try certify(identity, request.publicKey, Self.nodeUsage, now: now, lifetime: lifetime)
        let pem = try ([issued, certificate] + above).map { try $0.pem }.joined()
        return (Array(pem.utf8), issued)
    }

    private static let nodeUsage = "serverAuth,clientAuth"
    private static let userUsage = "clientAuth"

    private func issue(
        _ identity: PeerIdentity,
        usage: String,
        now: Timestamp,
        lifetime: Duration,
        key given: PrivateKey? = nil
    ) throws -> IdentityBundle {
        if let delegation, !delegation.allows(identity) {
            throw TLSError(.argument, "a delegate (\(certificate.subject)) cannot issue for \(identity)")
        }
        let key = try given ?? PrivateKey.random()
        let issued = try certify(identity, key, usage, now: now, lifetime: lifetime)
        let line = [certificate] + above
        return IdentityBundle(
            identity: identity,
            certificate: issued,
            chain: line.filter { !$0.isRoot },
            authorities: line.filter(\.isRoot),
            key: key
        )
    }

    private func requireValid(at now: Timestamp) throws {
        guard now <= certificate.notAfter else {
            throw TLSError(
                .certificateExpired,
                "the authority of cluster \(cluster) expired at \(certificate.notAfter): make a new one with `godwit ca init`"
            )
        }
    }

    private func certify(
        _ identity: PeerIdentity,
        _ key: PrivateKey,
        _ usage: String,
        now: Timestamp,
        lifetime: Duration
    ) throws -> Certificate {
        try requireValid(at: now)
        return try CertificateDraft(
            subject: [
                (NID_organizationName, cluster.rawValue), (NID_organizationalUnitName, identity.organizationalUnit),
                (NID_commonName, identity.commonName),
            ],
            notBefore: now - Self.clockTolerance,
            // A certificate that outlives its authority would be refused without anybody understanding why.
            notAfter: min(now + lifetime, certificate.notAfter),
            extensions: [
                (NID_basic_constraints, "critical,CA:FALSE"),
                (NID_key_usage, "critical,digitalSignature"),
                (NID_ext_key_usage, usage),
                (NID_subject_key_identifier, "hash"),
                (NID_authority_key_identifier, "keyid:always"),
                (NID_subject_alt_name, "critical,URI:\(identity.uri)"),
            ]
        ).signed(key: key, by: certificate, issuerKey: self.key)
    }
}

/// What a certificate shall say, before it is signed.
struct CertificateDraft {
    var subject: [(kind: Int32, text: String)]
    var notBefore: Timestamp
    var notAfter: Timestamp
    /// As written in openssl.cnf.
    var extensions: [(kind: Int32, value: String)]

    /// Signs the draft; without an issuer it signs itself.
    func signed(key: PrivateKey, by issuer: Certificate?, issuerKey: PrivateKey) throws -> Certificate {
        LibSSL.enter()
        let doing = "making a certificate"
        guard let pointer = unsafe X509_new() else { throw TLSError.library(doing) }
        let certificate = unsafe Certificate(owning: pointer)
        guard unsafe X509_set_version(pointer, 2) == 1, let name = unsafe X509_get_subject_name(pointer) else {
            throw TLSError.library(doing)
        }
        for (kind, text) in subject {
            let bytes = Array(text.utf8)
            guard
                unsafe X509_NAME_add_entry_by_NID(name, kind, MBSTRING_UTF8, bytes, Int32(bytes.count), -1, 0) == 1
            else { throw TLSError.library(doing) }
        }
        let issuerName = unsafe X509_get_subject_name(issuer?.pointer ?? pointer)
        guard unsafe X509_set_issuer_name(pointer, issuerName) == 1,
            unsafe ASN1_TIME_set(X509_getm_notBefore(pointer), Int(notBefore.rawValue / 1_000_000_000)) != nil,
            unsafe ASN1_TIME_set(X509_getm_notAfter(pointer), Int(notAfter.rawValue / 1_000_000_000)) != nil,
            unsafe X509_set_pubkey(pointer, key.pointer) == 1
        else { throw TLSError.library(doing) }
        try unsafe setRandomSerial(pointer)
        for (kind, value) in extensions {
            guard unsafe godwit_add_extension(pointer, issuer?.pointer ?? pointer, kind, value) == 1 else {
                throw TLSError.library("adding \(value) to a certificate")
            }
        }
        guard unsafe X509_sign(pointer, issuerKey.pointer, EVP_sha256()) > 0 else { throw TLSError.library(doing) }
        return certificate
    }

    /// 127 random bits: unique without a file that counts, and not predictable (CA/Browser Forum BR, section 7.1).
    private func setRandomSerial(_ pointer: OpaquePointer) throws {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard unsafe RAND_bytes(&bytes, 16) == 1 else { throw TLSError.library("drawing a serial number") }
        bytes[0] &= 0x7f
        guard let number = unsafe BN_bin2bn(bytes, 16, nil) else { throw TLSError.library("drawing a serial number") }
        defer { unsafe BN_free(number) }
        guard unsafe BN_to_ASN1_INTEGER(number, X509_get_serialNumber(pointer)) != nil else {
            throw TLSError.library("drawing a serial number")
        }
    }
}

extension Certificate {
    /// Whether the key is the one that the certificate speaks of.
    func matches(_ key: PrivateKey) -> Bool {
        defer { ERR_clear_error() }
        return unsafe X509_check_private_key(pointer, key.pointer) == 1
    }
}

private func labelProblem(_ what: String, _ text: String) -> String {
    "\(quoted(text)) cannot name a \(what): use 1 to 63 of a-z, 0-9 and -, not beginning or ending with -"
}
