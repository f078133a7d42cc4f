import COpenSSL
import CShims

/// Why a certificate, a file or a handshake was refused.
///
/// `message` is a sentence for people: what failed, why, and what to do next.
package struct TLSError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What a program can tell apart.
    package enum Code: String, Sendable {
        /// The certificate does not say who it is for.
        case identityInvalid
        /// The certificate is not signed by an authority that this side trusts.
        case authorityUnknown
        /// The certificate is not valid at this time.
        case certificateExpired
        /// The certificate was revoked.
        case certificateRevoked
        /// The certificate was refused for another reason.
        case certificateRefused
        /// The certificate belongs to another cluster.
        case wrongCluster
        /// The other side is not what was expected, for example a user where an agent should be.
        case wrongPeer
        /// The other side does not speak TLS 1.3.
        case notTLS
        /// The handshake was not finished in time.
        case handshakeTimedOut
        /// The connection ended without the closing message, so something may be missing.
        case truncated
        /// A file cannot be used.
        case file
        /// An argument is not acceptable.
        case argument
        /// libssl or libcrypto failed.
        case library
    }

    package var code: Code
    /// One sentence for people: what failed, why, and what to do next.
    package var message: String

    package init(_ code: Code, _ message: String) { (self.code, self.message) = (code, message) }

    package var description: String { message }
}

extension TLSError {
    /// The oldest error in libcrypto's queue of this thread, which holds the cause; empties the queue.
    static func library(_ doing: String) -> TLSError {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return TLSError(.library, "\(doing) failed without telling why") }
        return TLSError(.library, "\(doing) failed: \(libraryText(code))")
    }

    static func libraryText(_ code: UInt) -> String {
        var text = [CChar](repeating: 0, count: 256)
        unsafe ERR_error_string_n(code, &text, text.count)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The sentence for a handshake that failed on this side because of the other side's certificate.
    static func verification(_ result: Int, of peer: String, subject: String) -> TLSError {
        let who = "the certificate of the \(peer) (\(subject))"
        switch Int32(truncatingIfNeeded: result) {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_AKID_SKID_MISMATCH,
            X509_V_ERR_AKID_ISSUER_SERIAL_MISMATCH, X509_V_ERR_SUBJECT_ISSUER_MISMATCH:
            return TLSError(
                .authorityUnknown,
                "\(who) was issued by another cluster's authority: use an identity file of the cluster you want to reach"
            )
        case X509_V_ERR_CERT_SIGNATURE_FAILURE, X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE:
            return TLSError(.certificateRefused, "\(who) carries a forged signature: do not trust this address")
        case X509_V_ERR_CERT_HAS_EXPIRED:
            return TLSError(
                .certificateExpired,
                "\(who) has expired: issue a new one with `godwit ca issue`, or correct this machine's clock"
            )
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return TLSError(
                .certificateExpired,
                "\(who) is not valid yet: compare the clocks of both machines, one of them is wrong"
            )
        case X509_V_ERR_CERT_REVOKED:
            return TLSError(
                .certificateRevoked,
                "\(who) was revoked: if that was a mistake, issue a new one with `godwit ca issue`"
            )
        case X509_V_ERR_PERMITTED_VIOLATION:
            return TLSError(
                .authorityUnknown,
                "\(who) comes from an authority that may not vouch for it: a delegate vouches for nodes only, and one that is trusted for a "
                    + "site for nodes of that site; `godwit ca trust list` shows for which"
            )
        case X509_V_ERR_INVALID_PURPOSE:
            return TLSError(
                .wrongPeer,
                "\(who) is not made for this end of a connection: an agent needs a node certificate, a user a user certificate"
            )
        default:
            let reason = unsafe String(cString: X509_verify_cert_error_string(result))
            return TLSError(.certificateRefused, "\(who) was refused: \(reason)")
        }
    }

    /// The sentence for an error of libssl itself, among them the alerts that the other side sends when it refuses us.
    static func handshake(_ code: UInt, peer: String) -> TLSError {
        let reason = godwit_error_reason(code)
        switch reason {
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
            return TLSError(
                .authorityUnknown,
                "the \(peer) refused our certificate: the certificate was issued by another cluster's authority;"
                    + " use the identity file of the cluster you want to reach"
            )
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
            return TLSError(
                .certificateExpired,
                "the \(peer) refused our certificate: it has expired (or a clock is wrong);"
                    + " ask for a new one, made with `godwit ca issue`"
            )
        case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
            return TLSError(
                .certificateRevoked,
                "the \(peer) refused our certificate: it was revoked; an administrator can issue a new one with `godwit ca issue`"
            )
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
            return TLSError(
                .certificateRefused,
                "the \(peer) wants a certificate and got none: give an identity file, made with `godwit ca issue`"
            )
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
            SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
            SSL_R_TLSV1_ALERT_DECRYPT_ERROR, SSL_R_TLSV1_ALERT_ACCESS_DENIED:
            return TLSError(
                .certificateRefused,
                "the \(peer) refused our certificate (\(libraryText(code))): issue a new one with `godwit ca issue`"
            )
        case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_VERSION_NUMBER,
            SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST, SSL_R_BAD_PROTOCOL_VERSION_NUMBER,
            SSL_R_UNEXPECTED_MESSAGE, SSL_R_PACKET_LENGTH_TOO_LONG:
            return TLSError(
                .notTLS,
                "the \(peer) does not speak TLS 1.3: check that the address and port are a Godwit agent's"
            )
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return TLSError(
                .certificateRefused,
                "the \(peer) showed no certificate: it needs an identity file, made with `godwit ca issue`"
            )
        default:
            return TLSError(.library, "the TLS connection to the \(peer) failed: \(libraryText(code))")
        }
    }
}
