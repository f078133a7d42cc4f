import COpenSSL
import CShims
package import ClusterModel
import Glibc

/// An X.509 certificate.
///
/// libcrypto counts the references and never changes a certificate that was finished, so instances may be shared by threads.
@safe
package final class Certificate: @unchecked Sendable {
    let pointer: OpaquePointer

    /// Takes over one reference.
    init(owning pointer: OpaquePointer) { unsafe self.pointer = pointer }

    /// Takes a reference of its own to what libssl lends; nil when it lends nothing.
    init?(borrowing pointer: OpaquePointer?) {
        guard let pointer = unsafe pointer, unsafe X509_up_ref(pointer) == 1 else { return nil }
        unsafe self.pointer = pointer
    }

    deinit { unsafe X509_free(pointer) }

    /// The certificate in PEM, ending in a newline.
    package var pem: String {
        get throws {
            try unsafe withTextBIO("writing a certificate") { bio in unsafe PEM_write_bio_X509(bio, pointer) == 1 }
        }
    }

    /// The subject as RFC 2253 writes it, for example `CN=ada,OU=submit,O=flock`.
    package var subject: String { unsafe name(X509_get_subject_name(pointer)) }

    /// The issuer, written as `subject` is.
    package var issuer: String { unsafe name(X509_get_issuer_name(pointer)) }

    /// First moment at which it is valid.
    package var notBefore: Timestamp { unsafe timestamp(X509_get0_notBefore(pointer)) }

    /// Last moment at which it is valid.
    package var notAfter: Timestamp { unsafe timestamp(X509_get0_notAfter(pointer)) }

    /// Whether it may sign others.
    package var isAuthority: Bool { unsafe X509_check_ca(pointer) == 1 }

    /// SHA-256 over the DER form, as hexadecimal pairs with colons between.
    package var fingerprint: String {
        var digest = [UInt8](repeating: 0, count: 32)
        var count: UInt32 = 32
        guard unsafe X509_digest(pointer, EVP_sha256(), &digest, &count) == 1 else { return "" }
        return digest.map(hexadecimal).joined(separator: ":")
    }

    /// The serial number in hexadecimal.
    package var serial: String {
        guard let number = unsafe ASN1_INTEGER_to_BN(X509_get0_serialNumber(pointer), nil) else { return "" }
        defer { unsafe BN_free(number) }
        guard let text = unsafe BN_bn2hex(number) else { return "" }
        defer { unsafe CRYPTO_free(text, nil, 0) }
        return unsafe String(cString: text).lowercased()
    }

    /// Who the certificate is for.
    ///
    /// - Throws: `TLSError` with code `identityInvalid` when the certificate does not say it in exactly the form that `PeerIdentity` reads.
    package var identity: PeerIdentity {
        get throws {
            LibSSL.enter()
            guard let uri = try uriName else {
                throw TLSError(
                    .identityInvalid,
                    "the certificate (\(subject)) has no identity: it needs exactly one URI name; make it with `godwit ca issue`"
                )
            }
            do {
                return try PeerIdentity(uri: uri, organizationalUnit: entry(NID_organizationalUnitName) ?? "")
            } catch let error as TLSError {
                throw TLSError(
                    .identityInvalid,
                    "the certificate (\(subject)) has no valid identity: \(error.message); make it with `godwit ca issue`"
                )
            }
        }
    }

    /// The fingerprint without colons: 64 digits, as the replicated state has it.
    package var fingerprintDigits: String { fingerprint.filter { $0 != ":" } }

    /// Whether it vouches for itself, as an authority at the end of a chain does.
    var isRoot: Bool { isAuthority && subject == issuer }

    /// The cluster that an authority's certificate is for, from its URI name; also that of a delegate.
    package var authorityCluster: ClusterID? {
        guard isAuthority, let uri = try? uriName else { return nil }
        let scheme = "spiffe://"
        guard uri.hasPrefix(scheme) else { return nil }
        let parts = uri.dropFirst(scheme.count).split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard isLabel(parts[0]), parts.count == 1 || Delegation(uri: uri) != nil else { return nil }
        return ClusterID(rawValue: parts[0])
    }

    /// What an authority below another may vouch for; nil for any other certificate.
    package var delegation: Delegation? {
        guard isAuthority, let uri = try? uriName else { return nil }
        return Delegation(uri: uri)
    }

    /// The one URI name; nil when there is none.
    private var uriName: String? {
        get throws {
            var text = [CChar](repeating: 0, count: 1024)
            let count = unsafe godwit_uri_names(pointer, &text, text.count)
            let lines = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                .split(separator: "\n")
            if count == 0 { return nil }
            guard count == 1, lines.count == 1 else {
                throw TLSError(
                    .identityInvalid,
                    "the certificate (\(subject)) must have exactly one name, a URI; make it with `godwit ca issue`"
                )
            }
            return String(lines[0])
        }
    }

    /// The only entry of a kind in the subject; nil when there is none or more than one.
    private func entry(_ kind: Int32) -> String? {
        guard let subject = unsafe X509_get_subject_name(pointer) else { return nil }
        let first = unsafe X509_NAME_get_index_by_NID(subject, kind, -1)
        guard first >= 0, unsafe X509_NAME_get_index_by_NID(subject, kind, first) < 0,
            let entry = unsafe X509_NAME_get_entry(subject, first),
            let value = unsafe X509_NAME_ENTRY_get_data(entry)
        else { return nil }
        var utf8: UnsafeMutablePointer<UInt8>?
        let count = unsafe ASN1_STRING_to_UTF8(&utf8, value)
        guard count >= 0, let bytes = unsafe utf8 else { return nil }
        defer { unsafe CRYPTO_free(bytes, nil, 0) }
        return unsafe String(decoding: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
    }

    private func name(_ name: OpaquePointer?) -> String {
        (try? unsafe withTextBIO("writing a name") { bio in unsafe godwit_print_name(bio, name) == 1 }) ?? ""
    }

    private func timestamp(_ time: UnsafePointer<ASN1_TIME>?) -> Timestamp {
        var parts = unsafe tm()
        guard unsafe ASN1_TIME_to_tm(time, &parts) == 1 else { return .epoch }
        // "No expiry" is written as the year 9999 (RFC 5280, section 4.1.2.5), beyond what nanoseconds can count.
        let seconds = unsafe Int64(timegm(&parts))
        return Timestamp(rawValue: min(max(seconds, -4_000_000_000), 9_000_000_000) * 1_000_000_000)
    }
}

/// A private key; never printed, never logged.
@safe
final class PrivateKey: @unchecked Sendable {
    let pointer: OpaquePointer

    /// Takes over one reference.
    init(owning pointer: OpaquePointer) { unsafe self.pointer = pointer }

    deinit { unsafe EVP_PKEY_free(pointer) }

    /// A new ECDSA key on P-256: the curve whose signatures libcrypto makes fastest, which is most of a handshake's cost.
    static func random() throws -> PrivateKey {
        LibSSL.enter()
        guard let pointer = unsafe godwit_new_p256_key() else { throw TLSError.library("making a P-256 key") }
        return unsafe PrivateKey(owning: pointer)
    }

    /// The key in PKCS #8 PEM, not encrypted.
    var pem: String {
        get throws {
            try unsafe withTextBIO("writing a private key") { bio in
                unsafe PEM_write_bio_PrivateKey(bio, pointer, nil, nil, 0, nil, nil) == 1
            }
        }
    }
}

/// What a PEM text holds: at most one private key, and certificates in their order.
struct PEMContents {
    var key: PrivateKey?
    var certificates: [Certificate]

    /// Reads all blocks of the text; other kinds of blocks are passed over.
    ///
    /// An encrypted key is refused like a missing one: an agent starts without anybody to type a passphrase.
    init(_ text: [UInt8]) throws {
        LibSSL.enter()
        (key, certificates) = (nil, [])
        try unsafe text.withUnsafeBufferPointer { bytes in
            guard let forKey = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)) else {
                throw TLSError.library("reading PEM")
            }
            defer { unsafe BIO_free(forKey) }
            let refusePassphrase:
                @convention(c) (UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?) -> Int32 =
                    { _, _, _, _ in -1 }
            if let pointer = unsafe PEM_read_bio_PrivateKey(forKey, nil, refusePassphrase, nil) {
                unsafe key = PrivateKey(owning: pointer)
            }
            guard let forCertificates = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)) else {
                throw TLSError.library("reading PEM")
            }
            defer { unsafe BIO_free(forCertificates) }
            while certificates.count < 64, let pointer = unsafe PEM_read_bio_X509(forCertificates, nil, nil, nil) {
                unsafe certificates.append(Certificate(owning: pointer))
            }
        }
        ERR_clear_error()
    }
}

/// Lets libcrypto write text into memory and returns it.
func withTextBIO(_ doing: String, _ write: (OpaquePointer) -> Bool) throws -> String {
    LibSSL.enter()
    guard let bio = unsafe BIO_new(BIO_s_mem()) else { throw TLSError.library(doing) }
    defer { unsafe BIO_free(bio) }
    guard unsafe write(bio) else { throw TLSError.library(doing) }
    var text: UnsafePointer<CChar>?
    let count = unsafe godwit_bio_text(bio, &text)
    guard count > 0, let start = unsafe text else { return "" }
    return unsafe start.withMemoryRebound(to: UInt8.self, capacity: count) { bytes in
        unsafe String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}

/// Two hexadecimal digits.
func hexadecimal(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return digits.count == 1 ? "0" + digits : digits
}
