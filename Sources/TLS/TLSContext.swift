import COpenSSL
import CShims
import Synchronization

/// Which end of a connection.
package enum TLSRole: Sendable {
    case client
    case server
}

/// One end's settings for all its connections: TLS 1.3 only, certificates on both sides, no tickets, no session cache.
///
/// No host name is checked: the identity in the peer's certificate is, by whoever uses the connection. Certificate, key and trusted
/// authorities can be exchanged while connections are open (`use`): those that are made later have the new ones.
package final class TLSContext: Sendable {
    package let role: TLSRole
    /// Who we are; stays the same when the certificate is exchanged.
    package let identity: PeerIdentity
    /// Whom no handshake lets in, whatever the authorities say.
    package let revocations: RevocationList
    private let settings: Mutex<LibSSLContext>

    /// Makes a context that shows the bundle's certificate and trusts the bundle's authorities and the further ones.
    package init(
        _ role: TLSRole,
        _ bundle: IdentityBundle,
        trusting authorities: [Certificate] = [],
        revocations: RevocationList = RevocationList()
    ) throws {
        (self.role, self.identity, self.revocations) = (role, bundle.identity, revocations)
        settings = Mutex(try LibSSLContext(role, bundle, authorities, revocations))
    }

    /// Shows another certificate of the same identity, and trusts these authorities only, in connections that are made from now on.
    ///
    /// - Throws: `TLSError`; the context is as it was then.
    package func use(_ bundle: IdentityBundle, trusting authorities: [Certificate] = []) throws {
        guard bundle.identity == identity else {
            throw TLSError(
                .argument,
                "the new certificate is of \(bundle.identity), this is \(identity): restart with it to become somebody else"
            )
        }
        let fresh = try LibSSLContext(role, bundle, authorities, revocations)
        settings.withLock { $0 = fresh }
    }

    /// A new connection of libssl, which the caller frees; it keeps the settings of this moment.
    func makeConnection() throws -> OpaquePointer {
        LibSSL.enter()
        let settings = settings.withLock { $0 }
        guard let connection = unsafe SSL_new(settings.pointer) else {
            throw TLSError.library("making a TLS connection")
        }
        return unsafe connection
    }
}

/// An `SSL_CTX`; never changed after it was made, so instances may be shared by threads.
@safe
private final class LibSSLContext: @unchecked Sendable {
    let pointer: OpaquePointer

    init(
        _ role: TLSRole,
        _ bundle: IdentityBundle,
        _ authorities: [Certificate],
        _ revocations: RevocationList
    ) throws {
        LibSSL.enter()
        guard let pointer = unsafe SSL_CTX_new(role == .server ? TLS_server_method() : TLS_client_method()) else {
            throw TLSError.library("making a TLS context")
        }
        unsafe self.pointer = pointer
        guard unsafe godwit_ctx_configure(pointer, role == .server ? 1 : 0) == 1 else {
            throw TLSError.library("configuring TLS 1.3")
        }
        // The TLSContext owns the list, and every handler its TLSContext: the list outlives all connections.
        let list = unsafe Unmanaged.passUnretained(revocations).toOpaque()
        guard unsafe godwit_ctx_set_revocations(pointer, isRevoked, list) == 1 else {
            throw TLSError.library("configuring TLS 1.3")
        }
        guard unsafe SSL_CTX_use_certificate(pointer, bundle.certificate.pointer) == 1,
            unsafe SSL_CTX_use_PrivateKey(pointer, bundle.key.pointer) == 1,
            unsafe SSL_CTX_check_private_key(pointer) == 1,
            let store = unsafe SSL_CTX_get_cert_store(pointer)
        else { throw TLSError.library("using the identity of \(bundle.identity)") }
        for certificate in bundle.chain {
            guard unsafe godwit_ctx_add_chain(pointer, certificate.pointer) == 1 else {
                throw TLSError.library("showing the chain of \(bundle.identity)")
            }
        }
        for authority in bundle.authorities + authorities {
            guard unsafe X509_STORE_add_cert(store, authority.pointer) == 1 else {
                throw TLSError.library("trusting \(authority.subject)")
            }
        }
    }

    deinit { unsafe SSL_CTX_free(pointer) }
}

/// Asks a `RevocationList` about a certificate that libssl verifies.
private func isRevoked(
    _ list: UnsafeMutableRawPointer?,
    _ certificate: OpaquePointer?,
    _ issuer: OpaquePointer?,
    _ anchor: OpaquePointer?
) -> Int32 {
    guard let list = unsafe list, let certificate = unsafe Certificate(borrowing: certificate) else {
        // What cannot be asked about is not believed.
        return 1
    }
    let revocations = unsafe Unmanaged<RevocationList>.fromOpaque(list).takeUnretainedValue()
    if revocations.revokes(certificate) { return 1 }
    guard let issuer = unsafe Certificate(borrowing: issuer), let anchor = unsafe Certificate(borrowing: anchor) else {
        return 0
    }
    return revocations.allows(certificate, issuer: issuer, anchor: anchor) ? 0 : 2
}
