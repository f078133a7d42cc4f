import COpenSSL
import CShims
package import ClusterModel

/// A request for a certificate (PKCS #10, RFC 2986): a public key, signed with its private half, and one URI name.
@safe
final class CertificateRequest {
    private let pointer: OpaquePointer

    private init(owning pointer: OpaquePointer) { unsafe self.pointer = pointer }

    deinit { unsafe X509_REQ_free(pointer) }

    /// Asks for a certificate of this identity for a key.
    init(for identity: PeerIdentity, key: PrivateKey) throws {
        LibSSL.enter()
        guard let pointer = unsafe godwit_new_request(key.pointer, identity.uri) else {
            throw TLSError.library("asking for a certificate")
        }
        unsafe self.pointer = pointer
    }

    /// Reads a request and makes sure that whoever made it has the key.
    ///
    /// - Throws: `TLSError` with code `argument`.
    convenience init(pem: [UInt8]) throws {
        LibSSL.enter()
        guard pem.count <= 16 << 10 else {
            throw TLSError(.argument, "the request for a certificate has \(pem.count) bytes; the most is 16 KiB")
        }
        let read = unsafe pem.withUnsafeBufferPointer { bytes -> OpaquePointer? in
            guard let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)) else { return nil }
            defer { unsafe BIO_free(bio) }
            return unsafe PEM_read_bio_X509_REQ(bio, nil, nil, nil)
        }
        guard let pointer = unsafe read else {
            throw TLSError(.argument, "the request for a certificate cannot be read: upgrade the older agent")
        }
        unsafe self.init(owning: pointer)
        let key = try publicKey
        guard unsafe X509_REQ_verify(pointer, key.pointer) == 1 else {
            throw TLSError(
                .argument,
                "the request for a certificate is not signed with its own key: do not trust who sent it"
            )
        }
    }

    /// The request in PEM.
    var pem: [UInt8] {
        get throws {
            Array(
                try unsafe withTextBIO("asking for a certificate") { bio in
                    unsafe PEM_write_bio_X509_REQ(bio, pointer) == 1
                }.utf8
            )
        }
    }

    /// The public half of the key.
    var publicKey: PrivateKey {
        get throws {
            LibSSL.enter()
            guard let key = unsafe X509_REQ_get_pubkey(pointer) else {
                throw TLSError(.argument, "the request for a certificate holds no key: upgrade the older agent")
            }
            return unsafe PrivateKey(owning: key)
        }
    }

    /// The one URI name that is asked for.
    ///
    /// - Throws: `TLSError` with code `identityInvalid` when there is not exactly one.
    var uri: String {
        get throws {
            LibSSL.enter()
            var text = [CChar](repeating: 0, count: 1024)
            let count = unsafe godwit_request_uri_names(pointer, &text, text.count)
            let lines = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                .split(separator: "\n")
            guard count == 1, lines.count == 1 else {
                throw TLSError(.identityInvalid, "a request for a certificate must have exactly one name, a URI")
            }
            return String(lines[0])
        }
    }
}

/// A renewal under way: the new key, which never leaves the node, and the request for its certificate.
package struct PendingRenewal: Sendable {
    /// PKCS #10 in PEM: for an agent that has an issuer.
    package let request: [UInt8]
    private let old: IdentityBundle
    private let key: PrivateKey

    /// Makes a new key for the identity of a bundle.
    package init(of bundle: IdentityBundle) throws {
        (old, key) = (bundle, try PrivateKey.random())
        request = try CertificateRequest(for: bundle.identity, key: key).pem
    }

    /// The new bundle with what an issuer answered.
    ///
    /// It must be better than the old one in every respect: the same identity, for the new key, from an authority that is trusted already,
    /// valid now, and for longer. The authorities that the old bundle trusts stay.
    ///
    /// `authorities` are trusted besides those in the old bundle.
    ///
    /// - Throws: `TLSError`, which says what does not fit; nothing was changed.
    package func completed(
        with pem: [UInt8],
        trusting authorities: [Certificate] = [],
        now: Timestamp
    ) throws -> IdentityBundle {
        func refuse(_ what: String) -> TLSError {
            TLSError(
                .certificateRefused,
                "the issuer's answer is not used: \(what); look at the issuer of the agent that answered"
            )
        }
        let certificates = try PEMContents(pem).certificates
        guard let certificate = certificates.first, !certificate.isAuthority else {
            throw refuse("it has no certificate")
        }
        guard certificate.matches(key) else { throw refuse("its certificate is for another key") }
        let identity = try certificate.identity
        guard identity == old.identity else { throw refuse("its certificate is of \(identity)") }
        guard certificate.notAfter > old.certificate.notAfter, certificate.notAfter > now else {
            throw refuse("its certificate ends at \(certificate.notAfter), no later than the one that there is")
        }
        let above = certificates.dropFirst().filter(\.isAuthority)
        let chain = above.filter { !$0.isRoot }
        guard let authority = certificate.authority(among: old.authorities + authorities, through: chain) else {
            throw refuse("its certificate comes from no authority that this node trusts")
        }
        return IdentityBundle(
            identity: identity,
            certificate: certificate,
            chain: chain,
            authorities: [authority],
            key: key
        ).trusting(old.authorities)
    }
}

extension Certificate {
    /// The one of these authorities at which its chain ends, whatever the time is; nil when none is.
    func authority(among authorities: [Certificate], through chain: [Certificate]) -> Certificate? {
        LibSSL.enter()
        let between = unsafe chain.map { unsafe Optional($0.pointer) }
        let anchors = unsafe authorities.map { unsafe Optional($0.pointer) }
        var found: OpaquePointer?
        let result = unsafe between.withUnsafeBufferPointer { between in
            unsafe anchors.withUnsafeBufferPointer { anchors in
                unsafe godwit_find_anchor(
                    pointer,
                    between.baseAddress,
                    between.count,
                    anchors.baseAddress,
                    anchors.count,
                    &found
                )
            }
        }
        guard result == X509_V_OK else { return nil }
        return authorities.first { unsafe $0.pointer == found }
    }

    /// How many authorities may stand between it and the certificate of a node or user.
    var authoritiesBelow: Int { unsafe Int(X509_get_pathlen(pointer)) }
}
