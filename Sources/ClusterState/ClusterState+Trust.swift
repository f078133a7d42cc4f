package import ClusterModel

/// Who is trusted, and the secret that gossip is sealed with.
struct TrustRecords: Sendable, Codable, Equatable {
    var clusterID: ClusterID?
    var keyring: StoredKeyring?
    /// In the order in which they came.
    var authorities: [TrustedAuthority] = []
    var revocations = RevocationList()
}

/// Revocations in the order in which they came, each subject once; its stored form is the plain list.
struct RevocationList: Sendable, Codable, Equatable {
    private(set) var all: [Revocation] = []
    /// Whether a subject is among thousands must not take a look at each of them, on every member, for each that comes.
    private var subjects: Set<Revocation.Subject> = []

    init() {}

    init(from decoder: any Decoder) throws {
        all = try decoder.singleValueContainer().decode([Revocation].self)
        subjects = Set(all.map(\.subject))
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(all)
    }

    subscript(subject: Revocation.Subject) -> Revocation? {
        subjects.contains(subject) ? all.first { $0.subject == subject } : nil
    }

    /// Adds a revocation, or puts it in the place of an older one about the same subject, at the end.
    mutating func set(_ revocation: Revocation) {
        if !subjects.insert(revocation.subject).inserted { all.removeAll { $0.subject == revocation.subject } }
        all.append(revocation)
    }

    /// Forgets what is over; says whether anything was.
    mutating func prune(at time: Timestamp) -> Bool {
        let count = all.count
        all.removeAll { revocation in revocation.expires.map { $0 <= time } ?? false }
        guard all.count < count else { return false }
        subjects = Set(all.map(\.subject))
        return true
    }
}

/// The newest audit entries, oldest first.
struct AuditLog: Sendable, Codable, Equatable {
    var entries: [AuditEntry] = []
    var last: UInt64 = 0
}

extension ClusterState {
    /// Audit entries that are kept; the oldest go first.
    package static let auditLimit = 10_000
    /// Authorities beside the first one.
    package static let authorityLimit = 256
    /// Revocations that are kept; they go when what they are about has expired.
    package static let revocationLimit = 10_000
    /// Bytes of a stored keyring.
    package static let keyringByteLimit = 65_536

    /// The cluster's name; nil until it is given one.
    package var clusterID: ClusterID? { trustRecords.clusterID }

    /// The present keyring; nil before the first.
    package var keyring: StoredKeyring? { trustRecords.keyring }

    /// Authorities that are trusted beside the one that the cluster began with, oldest first.
    package var authorities: [TrustedAuthority] { trustRecords.authorities }

    /// What is revoked, oldest first.
    package var revocations: [Revocation] { trustRecords.revocations.all }

    /// The newest entries of the audit, oldest first, at most `auditLimit`.
    package var audit: [AuditEntry] { auditLog.entries }

    /// The revocation of a subject; nil when it is not revoked.
    package func revocation(of subject: Revocation.Subject) -> Revocation? { trustRecords.revocations[subject] }

    /// Why a certificate is not to be trusted; nil when it is not revoked.
    ///
    /// - Parameters:
    ///   - serial: its serial number in lower-case hexadecimal digits.
    ///   - issuer: the SHA-256 fingerprint of its issuer in lower-case hexadecimal digits.
    ///   - identity: its URI SAN.
    ///   - issued: when its validity began; one that was issued after its identity was revoked is good.
    /// - Returns: the first revocation that the certificate falls under.
    package func revocation(ofSerial serial: String, issuer: String, identity: String, issued: Timestamp) -> Revocation?
    {
        trustRecords.revocations.all.first { revocation in
            switch revocation.subject {
            case .certificate(let known, let knownIssuer): known == serial && knownIssuer == issuer
            case .identity(let known): known == identity && issued <= revocation.time
            }
        }
    }

    mutating func audit(_ what: String, by: String, at time: Timestamp) {
        auditLog.last += 1
        auditLog.entries.append(AuditEntry(sequence: auditLog.last, time: time, by: by, what: what))
        let surplus = auditLog.entries.count - Self.auditLimit
        if surplus > 0 { auditLog.entries.removeFirst(surplus) }
    }

    mutating func note(_ sentence: String, by author: String, at time: Timestamp) throws(Refusal) -> Acceptance {
        for text in [sentence, author] where !(1...512).contains(text.utf8.count) {
            throw Refusal(.invalid, "An entry of the audit has 1 to 512 characters, and so has who made it.")
        }
        audit(sentence, by: author, at: time)
        return Acceptance()
    }

    mutating func nameCluster(_ id: ClusterID, at time: Timestamp) throws(Refusal) -> Acceptance {
        guard isLabel(id.rawValue) else {
            throw Refusal(
                .invalid,
                "'\(id)' cannot name a cluster: use 1 to 63 of a-z, 0-9 and -, not - at either end."
            )
        }
        var acceptance = Acceptance()
        if let known = trustRecords.clusterID {
            guard known == id else { throw Refusal(.conflict, "This cluster is '\(known)', for ever.") }
            return acceptance
        }
        trustRecords.clusterID = id
        acceptance.changedTrust = true
        audit("The cluster is named \(id).", by: "leader", at: time)
        return acceptance
    }

    mutating func revoke(_ revocation: Revocation) throws(Refusal) -> Acceptance {
        var acceptance = Acceptance()
        let known = trustRecords.revocations[revocation.subject]
        if let known {
            // A certificate stays revoked; an identity may have been given new certificates since, which go now too.
            guard case .identity = revocation.subject, known.time < revocation.time else { return acceptance }
        }
        guard known != nil || trustRecords.revocations.all.count < Self.revocationLimit else {
            throw Refusal(
                .exhausted,
                "\(Self.revocationLimit) revocations are kept, which is the bound. Replace the authority instead of revoking one by one."
            )
        }
        try checkText(revocation.subject.description, "what is revoked")
        if let reason = revocation.reason { try checkText(reason, "why it is revoked") }
        trustRecords.revocations.set(revocation)
        acceptance.changedTrust = true
        let why = revocation.reason.map { ": \($0)" } ?? ""
        audit("Revoked \(revocation.subject)\(why).", by: revocation.by.rawValue, at: revocation.time)
        return acceptance
    }

    mutating func pruneRevocations(at time: Timestamp, into acceptance: inout Acceptance) {
        if trustRecords.revocations.prune(at: time) { acceptance.changedTrust = true }
    }

    mutating func setKeyring(_ keyring: StoredKeyring) throws(Refusal) -> Acceptance {
        let present = trustRecords.keyring?.version ?? 0
        guard keyring.version == present + 1 else {
            throw Refusal(
                .conflict,
                "The keyring is at version \(present), so version \(keyring.version) does not follow it: somebody else changed it. Read "
                    + "it again and repeat the rotation."
            )
        }
        guard (1...Self.keyringByteLimit).contains(keyring.secret.bytes.count) else {
            throw Refusal(.invalid, "A keyring has 1 to \(Self.keyringByteLimit) bytes.")
        }
        trustRecords.keyring = keyring
        var acceptance = Acceptance()
        acceptance.changedTrust = true
        audit(
            "The gossip keyring is at version \(keyring.version).",
            by: keyring.by?.rawValue ?? "leader",
            at: keyring.time
        )
        return acceptance
    }

    mutating func trust(_ authority: TrustedAuthority) throws(Refusal) -> Acceptance {
        guard authority.fingerprint.utf8.count == 64, authority.fingerprint.utf8.allSatisfy(Self.isHexadecimal) else {
            throw Refusal(
                .invalid,
                "An authority's fingerprint is the SHA-256 of its certificate: 64 hexadecimal digits."
            )
        }
        guard (1...65_536).contains(authority.pem.utf8.count) else {
            throw Refusal(.invalid, "An authority's certificate has at most 64 KiB.")
        }
        var acceptance = Acceptance()
        if let known = trustRecords.authorities.first(where: { $0.fingerprint == authority.fingerprint }) {
            guard known.site == authority.site else {
                throw Refusal(
                    .conflict,
                    "That authority is trusted for \(Self.scope(known.site)). Remove it first, then add it for "
                        + "\(Self.scope(authority.site))."
                )
            }
            return acceptance
        }
        guard trustRecords.authorities.count < Self.authorityLimit else {
            throw Refusal(
                .exhausted,
                "\(Self.authorityLimit) authorities are trusted, which is the bound. Remove one first."
            )
        }
        trustRecords.authorities.append(authority)
        acceptance.changedTrust = true
        audit(
            "Trusts authority \(authority.fingerprint.prefix(16)) for \(Self.scope(authority.site)).",
            by: authority.by.rawValue,
            at: authority.time
        )
        return acceptance
    }

    mutating func distrust(
        _ fingerprint: String,
        by user: UserID,
        at time: Timestamp
    ) throws(Refusal) -> Acceptance {
        guard let index = trustRecords.authorities.firstIndex(where: { $0.fingerprint == fingerprint }) else {
            throw Refusal(.notFound, "No trusted authority has the fingerprint \(fingerprint.prefix(64)).")
        }
        trustRecords.authorities.remove(at: index)
        var acceptance = Acceptance()
        acceptance.changedTrust = true
        audit("Does not trust authority \(fingerprint.prefix(16)) any more.", by: user.rawValue, at: time)
        return acceptance
    }

    private func checkText(_ text: String, _ what: String) throws(Refusal) {
        guard (1...512).contains(text.utf8.count) else {
            throw Refusal(.invalid, "The name of \(what) has 1 to 512 characters.")
        }
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }

    private static func scope(_ site: SiteID?) -> String { site.map { "site \($0)" } ?? "every site" }
}
