import ClusterModel
import Foundation
import TLS
import Testing

struct CertificateAuthorityTests {
    static let now = Timestamp(seconds: 1_790_000_000)

    private func makeAuthority(_ cluster: String = "flock") throws -> CertificateAuthority {
        try CertificateAuthority.create(cluster: ClusterID(rawValue: cluster), now: Self.now)
    }

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "godwit-ca-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder.path)
    }

    private func mode(_ path: String) throws -> Int {
        try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    @Test func `An authority lives ten years and knows its cluster`() throws {
        let authority = try makeAuthority()
        #expect(authority.certificate.isAuthority)
        #expect(authority.certificate.authorityCluster == ClusterID(rawValue: "flock"))
        #expect(authority.certificate.notBefore <= Self.now)
        #expect(authority.certificate.notAfter == Self.now + .seconds(3650 * 86_400))
        #expect(authority.certificate.subject == "CN=flock certificate authority,O=flock")
        #expect(authority.certificate.issuer == authority.certificate.subject)
        #expect(throws: TLSError.self) { try authority.certificate.identity }
    }

    @Test func `A node's certificate says site, role and name, and lives a year`() throws {
        let bundle = try makeAuthority().issueNode(
            NodeID(rawValue: "knot"),
            site: SiteID(rawValue: "coast"),
            role: .worker,
            now: Self.now
        )
        #expect(bundle.certificate.subject == "CN=knot,OU=worker,O=flock")
        #expect(bundle.certificate.notAfter == Self.now + .seconds(365 * 86_400))
        #expect(!bundle.certificate.isAuthority)
        #expect(try bundle.certificate.identity == bundle.identity)
        #expect(bundle.identity.uri == "spiffe://flock/site/coast/node/knot")
        #expect(bundle.certificate.fingerprint.split(separator: ":").count == 32)
        #expect(bundle.certificate.serial.count > 20)
    }

    @Test func `No two certificates have the same serial number or fingerprint`() throws {
        let authority = try makeAuthority()
        let bundles = try (0..<8).map { _ in
            try authority.issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now)
        }
        #expect(Set(bundles.map(\.certificate.serial)).count == 8)
        #expect(Set(bundles.map(\.certificate.fingerprint)).count == 8)
    }

    @Test func `No certificate outlives its authority, and an expired one issues nothing`() throws {
        let authority = try CertificateAuthority.create(
            cluster: ClusterID(rawValue: "flock"),
            now: Self.now,
            lifetime: .seconds(86_400)
        )
        let bundle = try authority.issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now)
        #expect(bundle.certificate.notAfter == authority.certificate.notAfter)
        let error = #expect(throws: TLSError.self) {
            try authority.issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now + .seconds(2 * 86_400))
        }
        #expect(error?.code == .certificateExpired)
    }

    @Test(arguments: ["", "Flock", "a_b", "-a", "a.b", String(repeating: "a", count: 64)])
    func `A name that is not a label is refused`(name: String) throws {
        #expect(throws: TLSError.self) {
            try CertificateAuthority.create(cluster: ClusterID(rawValue: name), now: Self.now)
        }
        let authority = try makeAuthority()
        #expect(throws: TLSError.self) {
            try authority.issueUser(UserID(rawValue: name), right: .read, now: Self.now)
        }
        #expect(throws: TLSError.self) {
            try authority.issueNode(
                NodeID(rawValue: "knot"),
                site: SiteID(rawValue: name),
                role: .worker,
                now: Self.now
            )
        }
    }

    @Test func `Keys are readable by their owner only and never overwritten`() throws {
        try withFolder { folder in
            let authority = try makeAuthority()
            try authority.save(to: "\(folder)/ca")
            #expect(try mode("\(folder)/ca") == 0o700)
            #expect(try mode("\(folder)/ca/ca.key") == 0o600)
            #expect(try mode("\(folder)/ca/ca.crt") == 0o644)
            let before = try Data(contentsOf: URL(filePath: "\(folder)/ca/ca.key"))
            let again = #expect(throws: TLSError.self) { try makeAuthority().save(to: "\(folder)/ca") }
            #expect(again?.message.contains("there is an authority already") == true)
            #expect(try Data(contentsOf: URL(filePath: "\(folder)/ca/ca.key")) == before)

            let bundle = try CertificateAuthority.load(from: "\(folder)/ca").issueUser(
                UserID(rawValue: "ada"),
                right: .admin,
                now: Self.now
            )
            try bundle.save(to: "\(folder)/ada.pem")
            #expect(try mode("\(folder)/ada.pem") == 0o600)
            #expect(throws: TLSError.self) { try bundle.save(to: "\(folder)/ada.pem") }
            let read = try IdentityBundle.load("\(folder)/ada.pem")
            #expect(read.identity == bundle.identity)
            #expect(read.certificate.fingerprint == bundle.certificate.fingerprint)
            #expect(read.authorities.map(\.fingerprint) == [authority.certificate.fingerprint])
        }
    }

    @Test func `A bundle that others may read is refused with the remedy`() throws {
        try withFolder { folder in
            let path = "\(folder)/ada.pem"
            try makeAuthority().issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now).save(to: path)
            try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
            let error = #expect(throws: TLSError.self) { try IdentityBundle.load(path) }
            #expect(
                error?.message
                    == "\(path) holds a private key but others may read it (mode 640): run `chmod 600 \(path)`"
            )
        }
    }

    @Test func `Files that are missing, empty, folders or half are refused by name`() throws {
        try withFolder { folder in
            let authority = try makeAuthority()
            let pem = try authority.issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now).pem
            let other = try authority.issueUser(UserID(rawValue: "bob"), right: .read, now: Self.now).pem
            func blocks(_ text: String) -> [String] {
                text.components(separatedBy: "-----BEGIN").dropFirst().map { "-----BEGIN\($0)" }
            }
            let parts = blocks(pem)
            let cases: [(String, String, String)] = [
                ("empty.pem", "", "holds no private key"),
                ("key.pem", parts[0], "does not begin with the certificate"),
                ("leaf.pem", parts[0] + parts[1], "holds no certificate of an authority"),
                ("mixed.pem", parts[0] + blocks(other)[1] + parts[2], "does not belong to its certificate"),
                ("authority.pem", parts[0] + parts[2], "does not begin with the certificate"),
                ("cut.pem", String(pem.prefix(pem.count / 3)), "does not begin with the certificate"),
                ("noise.pem", String(repeating: "x", count: 9999), "holds no private key"),
            ]
            for (name, text, reason) in cases {
                let path = "\(folder)/\(name)"
                try Data(text.utf8).write(to: URL(filePath: path))
                try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
                let error = #expect(throws: TLSError.self, "\(name)") { try IdentityBundle.load(path) }
                #expect(error?.message.contains(reason) == true, "\(name): \(error?.message ?? "")")
                #expect(error?.message.contains(path) == true)
            }
            #expect(throws: TLSError.self) { try IdentityBundle.load("\(folder)/none.pem") }
            #expect(throws: TLSError.self) { try IdentityBundle.load(folder) }
        }
    }

    @Test func `A renewal is the same identity with a new end, and the same key unless told otherwise`() throws {
        let authority = try makeAuthority()
        let old = try authority.issueUser(
            UserID(rawValue: "ada"),
            right: .submit,
            now: Self.now,
            lifetime: .seconds(7 * 86_400)
        )
        let later = Self.now + .seconds(4 * 86_400)
        let renewed = try authority.renew(old, now: later)
        #expect(renewed.identity == old.identity)
        #expect(renewed.certificate.notAfter == later + .seconds(7 * 86_400))
        #expect(renewed.certificate.serial != old.certificate.serial)
        func key(_ bundle: IdentityBundle) throws -> Substring? {
            try bundle.pem.split(separator: "-----BEGIN C").first
        }
        #expect(try key(renewed) == key(old))
        let rekeyed = try authority.renew(old, now: later, lifetime: .seconds(60), hasNewKey: true)
        #expect(try key(rekeyed) != key(old))
        #expect(rekeyed.certificate.notAfter == later + .seconds(60))
        let foreign = try makeAuthority("swarm").issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now)
        let error = #expect(throws: TLSError.self) { try authority.renew(foreign, now: later) }
        #expect(error?.code == .wrongCluster)
    }

    @Test func `A bundle takes the place of the same identity only, at once and as secret as before`() throws {
        try withFolder { folder in
            let authority = try makeAuthority()
            let path = "\(folder)/ada.pem"
            let old = try authority.issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now)
            try old.save(to: path)
            let renewed = try authority.renew(old, now: Self.now)
            try renewed.replace(path)
            #expect(try mode(path) == 0o600)
            #expect(try IdentityBundle.load(path).certificate.serial == renewed.certificate.serial)
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["ada.pem"])
            let bob = try authority.issueUser(UserID(rawValue: "bob"), right: .read, now: Self.now)
            #expect(throws: TLSError.self) { try bob.replace(path) }
            #expect(throws: TLSError.self) { try renewed.replace("\(folder)/none.pem") }
            #expect(try IdentityBundle.load(path).identity == renewed.identity)
        }
    }

    @Test func `Half-way through its life a certificate asks to be renewed`() throws {
        let bundle = try makeAuthority().issueUser(
            UserID(rawValue: "ada"),
            right: .read,
            now: Self.now,
            lifetime: .seconds(1000)
        )
        let summary = try bundle.certificate.summary
        #expect(summary.issued == Self.now && summary.notAfter == Self.now + .seconds(1000))
        #expect(summary.renewal(at: Self.now + .seconds(500)) == .notDue)
        #expect(summary.renewalProblem(at: Self.now + .seconds(500), file: "/x.pem") == nil)
        #expect(summary.renewal(at: Self.now + .seconds(501)) == .due)
        #expect(summary.renewal(at: Self.now + .seconds(1001)) == .expired)
        for seconds in [501.0, 1001] {
            let problem = summary.renewalProblem(at: Self.now + .seconds(seconds), file: "/x.pem")
            #expect(problem?.contains("godwit ca renew") == true && problem?.contains("/x.pem") == true)
        }
    }

    @Test func `Certificates of any PEM file can be shown`() throws {
        try withFolder { folder in
            let authority = try makeAuthority()
            try authority.save(to: "\(folder)/ca")
            try authority.issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now).save(to: "\(folder)/ada.pem")
            #expect(try loadCertificates("\(folder)/ada.pem").map(\.isAuthority) == [false, true])
            #expect(try loadCertificates("\(folder)/ca/ca.crt").count == 1)
            #expect(throws: TLSError.self) { try loadCertificates("\(folder)/ca/ca.key") }
        }
    }

    @Test(arguments: 0..<6)
    func `Damaged PEM is refused, whatever the damage`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let pem = Array(
            try makeAuthority().issueUser(UserID(rawValue: "ada"), right: .read, now: Self.now).pem.utf8
        )
        for _ in 0..<200 {
            var bytes = pem
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            // Damage to a part that says nothing (a line end, the authority's signature) may pass; a crash or another error may not.
            do { _ = try IdentityBundle(pem: bytes, place: "test") } catch { #expect(error is TLSError) }
        }
    }
}
