import COpenSSL
import CShims

/// Which end of a connection.
package enum TLSRole: Sendable {
    case client
    case server
}

/// One end's settings for all its connections: TLS 1.3 only, certificates on both sides, no tickets, no session cache.
///
/// No host name is checked: the identity in the peer's certificate is, by whoever uses the connection.
@safe
package final class TLSContext: @unchecked Sendable {
    package let role: TLSRole
    /// Who we are.
    package let identity: PeerIdentity
    let pointer: OpaquePointer

    /// Makes a context that shows the bundle's certificate and trusts the bundle's authorities.
    package init(_ role: TLSRole, _ bundle: IdentityBundle) throws {
        LibSSL.enter()
        guard let pointer = unsafe SSL_CTX_new(role == .server ? TLS_server_method() : TLS_client_method()) else {
            throw TLSError.library("making a TLS context")
        }
        (self.role, self.identity) = (role, bundle.identity)
        unsafe self.pointer = pointer
        guard unsafe godwit_ctx_configure(pointer, role == .server ? 1 : 0) == 1 else {
            throw TLSError.library("configuring TLS 1.3")
        }
        guard unsafe SSL_CTX_use_certificate(pointer, bundle.certificate.pointer) == 1,
            unsafe SSL_CTX_use_PrivateKey(pointer, bundle.key.pointer) == 1,
            unsafe SSL_CTX_check_private_key(pointer) == 1,
            let store = unsafe SSL_CTX_get_cert_store(pointer)
        else { throw TLSError.library("using the identity of \(bundle.identity)") }
        for authority in bundle.authorities {
            guard unsafe X509_STORE_add_cert(store, authority.pointer) == 1 else {
                throw TLSError.library("trusting \(authority.subject)")
            }
        }
    }

    deinit { unsafe SSL_CTX_free(pointer) }
}
