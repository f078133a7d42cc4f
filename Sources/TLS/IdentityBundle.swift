/// All that a node or user needs to be believed: its private key, its certificate and the authorities it trusts.
///
/// It is one PEM file, so that an administrator has one thing to copy: key first, then the certificate, then the authorities'.
package struct IdentityBundle: Sendable {
    /// Who the certificate is for.
    package let identity: PeerIdentity
    package let certificate: Certificate
    /// Authorities whose certificates are accepted from others; at least one.
    package let authorities: [Certificate]
    /// The delegates between the certificate and its authority, which are shown with it; usually none.
    package let chain: [Certificate]
    let key: PrivateKey

    init(
        identity: PeerIdentity,
        certificate: Certificate,
        chain: [Certificate] = [],
        authorities: [Certificate],
        key: PrivateKey
    ) {
        (self.identity, self.certificate, self.authorities, self.key) = (identity, certificate, authorities, key)
        self.chain = chain
    }

    /// Reads a bundle from PEM text; `place` names it in errors.
    ///
    /// - Throws: `TLSError` when a part is missing or the parts do not belong together.
    package init(pem: [UInt8], place: String) throws {
        let contents = try PEMContents(pem)
        guard let key = contents.key else {
            throw TLSError(
                .file,
                "\(place) holds no private key that can be read: make the file with `godwit ca issue`"
            )
        }
        guard let certificate = contents.certificates.first, !certificate.isAuthority else {
            throw TLSError(
                .file,
                "\(place) does not begin with the certificate of a node or user: make the file with `godwit ca issue`"
            )
        }
        guard certificate.matches(key) else {
            throw TLSError(
                .file,
                "the private key in \(place) does not belong to its certificate: make the file again with `godwit ca issue`"
            )
        }
        let above = contents.certificates.dropFirst().filter(\.isAuthority)
        let authorities = above.filter(\.isRoot)
        guard !authorities.isEmpty else {
            throw TLSError(
                .file,
                "\(place) holds no certificate of an authority: make the file with `godwit ca issue`, or append ca.crt to it"
            )
        }
        self.init(
            identity: try certificate.identity,
            certificate: certificate,
            chain: above.filter { !$0.isRoot },
            authorities: authorities,
            key: key
        )
    }

    /// The authority of this bundle that vouches for its certificate; nil when none does.
    package var ownAuthority: Certificate? { certificate.authority(among: authorities, through: chain) }

    /// The same bundle, which trusts these authorities as well.
    package func trusting(_ more: [Certificate]) -> IdentityBundle {
        var known = Set(authorities.map(\.fingerprint))
        let added = more.filter { known.insert($0.fingerprint).inserted }
        return IdentityBundle(
            identity: identity,
            certificate: certificate,
            chain: chain,
            authorities: authorities + added,
            key: key
        )
    }

    /// Reads a bundle file.
    ///
    /// One that others than its owner could read is refused.
    package static func load(_ path: String) throws -> IdentityBundle {
        let bytes = try SecretFile.read(
            path,
            isSecret: true,
            missingHint: "make an identity file with `godwit ca issue` and name it"
        )
        return try IdentityBundle(pem: bytes, place: path)
    }

    /// The bundle as PEM text.
    ///
    /// It holds the private key: keep it secret.
    package var pem: String {
        get throws {
            try key.pem + certificate.pem + (chain + authorities).map { try $0.pem }.joined()
        }
    }

    /// Puts the bundle in the place of an existing file at once: a reader sees the old one or the new one.
    ///
    /// The file keeps its owner and gets mode 0600. A bundle of another identity is never replaced.
    package func replace(_ path: String) throws {
        let old = try IdentityBundle.load(path)
        guard old.identity == identity else {
            throw TLSError(
                .argument,
                "\(path) holds the identity of \(old.identity), not of \(identity): name the file that is to be renewed"
            )
        }
        try SecretFile.replace(path, mode: 0o600, Array(pem.utf8))
    }

    /// Creates the bundle file with mode 0600; an existing file is never overwritten.
    package func save(to path: String) throws {
        try SecretFile.create(
            path,
            mode: 0o600,
            Array(pem.utf8),
            replaceHint: "remove it first if you want to replace that identity"
        )
    }
}

/// The certificates of authorities in a PEM text; other certificates are passed over.
///
/// `place` names the text in errors.
///
/// - Throws: `TLSError` when there is none.
package func readAuthorities(pem: [UInt8], place: String) throws -> [Certificate] {
    let authorities = try PEMContents(pem).certificates.filter(\.isAuthority)
    guard !authorities.isEmpty else {
        throw TLSError(.file, "\(place) holds no certificate of an authority: give it the ca.crt of one")
    }
    return authorities
}

/// Reads the certificates of a PEM file that may hold anything else besides, for showing them.
///
/// - Throws: `TLSError` when there is none.
package func loadCertificates(_ path: String) throws -> [Certificate] {
    let bytes = try SecretFile.read(path, isSecret: false, missingHint: "name a PEM file that exists")
    let certificates = try PEMContents(bytes).certificates
    guard !certificates.isEmpty else {
        throw TLSError(.file, "\(path) holds no certificate: name a PEM file with one")
    }
    return certificates
}
