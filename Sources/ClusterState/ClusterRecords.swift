package import ClusterModel

/// Bytes that nobody may see: they print, log and mirror as their count only.
///
/// Their stored form is hexadecimal text, so they stand in the log, in snapshots and in backups of both, which are as secret as they are.
package struct SecretBytes: Sendable, Codable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// The secret itself: only for whoever uses it, never for a message.
    package var bytes: [UInt8]

    /// Takes the bytes as they are.
    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package var description: String { "<\(bytes.count) secret bytes>" }
    package var debugDescription: String { description }
    /// Shows no children.
    package var customMirror: Mirror { Mirror(self, children: []) }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let digits = Array(try container.decode(String.self).utf8)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(digits.count / 2)
        guard digits.count % 2 == 0 else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "an odd count of digits")
        }
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(digits[index]), let low = Self.value(digits[index + 1]) else {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "not hexadecimal")
            }
            bytes.append(high << 4 | low)
        }
        self.bytes = bytes
    }

    package func encode(to encoder: any Encoder) throws {
        let alphabet = Array("0123456789abcdef".utf8)
        var digits: [UInt8] = []
        digits.reserveCapacity(2 * bytes.count)
        for byte in bytes {
            digits.append(alphabet[Int(byte >> 4)])
            digits.append(alphabet[Int(byte & 15)])
        }
        var container = encoder.singleValueContainer()
        try container.encode(String(decoding: digits, as: UTF8.self))
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}

/// The gossip keyring as the cluster agreed on it; only the gossip's own code reads the bytes.
package struct StoredKeyring: Sendable, Codable, Equatable {
    /// Rises by one with each change, from 1.
    package var version: UInt64
    package var secret: SecretBytes
    package var by: UserID?
    package var time: Timestamp

    /// Takes the values as they are.
    package init(version: UInt64, secret: SecretBytes, by: UserID? = nil, time: Timestamp) {
        self.version = version
        self.secret = secret
        self.by = by
        self.time = time
    }
}

/// Certificates that are not to be trusted any more.
package struct Revocation: Sendable, Codable, Equatable {
    /// What is revoked.
    package enum Subject: Sendable, Codable, Hashable, CustomStringConvertible {
        /// One certificate, by its serial number in lower-case hexadecimal digits and the fingerprint of its issuer.
        case certificate(serial: String, issuer: String)
        /// Every certificate of an identity (a URI SAN) that was issued up to the moment of the revocation.
        case identity(String)

        package var description: String {
            switch self {
            case .certificate(let serial, _): "certificate \(serial)"
            case .identity(let identity): identity
            }
        }
    }

    package var subject: Subject
    package var by: UserID
    package var time: Timestamp
    /// Why, in the words of whoever revoked it; nil when nothing was said.
    package var reason: String?
    /// When the last certificate that this is about expires, and it can be forgotten; nil keeps it for ever.
    package var expires: Timestamp?

    /// Takes the values as they are.
    package init(
        _ subject: Subject,
        by: UserID,
        time: Timestamp,
        reason: String? = nil,
        expires: Timestamp? = nil
    ) {
        self.subject = subject
        self.by = by
        self.time = time
        self.reason = reason
        self.expires = expires
    }
}

/// A certificate authority that the cluster trusts beside the one it began with.
package struct TrustedAuthority: Sendable, Codable, Equatable {
    /// The site whose nodes it may certify; nil allows every site.
    package var site: SiteID?
    /// SHA-256 of the certificate in lower-case hexadecimal digits: 64 characters.
    package var fingerprint: String
    /// One certificate, at most 64 KiB.
    package var pem: String
    package var by: UserID
    package var time: Timestamp

    /// Takes the values as they are; `apply(_:)` checks them.
    package init(site: SiteID?, fingerprint: String, pem: String, by: UserID, time: Timestamp) {
        self.site = site
        self.fingerprint = fingerprint
        self.pem = pem
        self.by = by
        self.time = time
    }
}

/// Something that an administrator, or the cluster itself, did to the cluster.
package struct AuditEntry: Sendable, Codable, Equatable {
    /// Rises by one with each entry, from 1.
    package var sequence: UInt64
    package var time: Timestamp
    /// A user, a node as `node:NAME`, or `leader`.
    package var by: String
    /// One sentence; never a secret.
    package var what: String
}
