import ClusterModel
import ClusterState
import Foundation
import Testing

struct TrustTests {
    private static let identity = "spiffe://home/site/north/node/n1"
    private static let fingerprint = String(repeating: "ab", count: 32)

    @Test func aCertificateIsRevokedBySerialAndIssuer() {
        var bench = Bench()
        let revocation = Revocation(.certificate(serial: "0a1b", issuer: "ca1"), by: Bench.user, time: Bench.at(1))
        #expect(bench.apply(.revoke(revocation))?.changedTrust == true)
        func found(_ serial: String, _ issuer: String) -> Revocation? {
            bench.state.revocation(ofSerial: serial, issuer: issuer, identity: Self.identity, issued: Bench.at(0))
        }
        #expect(found("0a1b", "ca1") == revocation)
        #expect(found("0a1b", "ca2") == nil)
        #expect(found("0a1c", "ca1") == nil)
        #expect(bench.apply(.revoke(revocation))?.changedTrust == false)
        #expect(bench.state.audit.map(\.what) == ["Revoked certificate 0a1b."])
    }

    /// A node whose certificate was stolen gets a new one for the same name.
    @Test func anIdentityIsRevokedUpToAMoment() {
        var bench = Bench()
        func revoked(issued seconds: Double) -> Bool {
            bench.state.revocation(ofSerial: "1", issuer: "x", identity: Self.identity, issued: Bench.at(seconds))
                != nil
        }
        bench.apply(.revoke(Revocation(.identity(Self.identity), by: Bench.user, time: Bench.at(10))))
        #expect(revoked(issued: 9))
        #expect(revoked(issued: 10))
        #expect(!revoked(issued: 11))
        bench.apply(.revoke(Revocation(.identity(Self.identity), by: Bench.user, time: Bench.at(20))))
        #expect(revoked(issued: 11))
        #expect(bench.state.revocations.count == 1)
    }

    @Test func whatHasExpiredIsForgotten() {
        var bench = Bench()
        let revocation = Revocation(
            .certificate(serial: "1", issuer: "x"),
            by: Bench.user,
            time: Bench.at(1),
            expires: Bench.at(50)
        )
        bench.apply(.revoke(revocation))
        bench.apply(.prune(time: Bench.at(49)))
        #expect(bench.state.revocations.count == 1)
        #expect(bench.apply(.prune(time: Bench.at(50)))?.changedTrust == true)
        #expect(bench.state.revocations.isEmpty)
    }

    @Test func ofTwoRotationsAtOnceOneIsTold() {
        var bench = Bench()
        func keyring(_ version: UInt64, _ byte: UInt8) -> Command {
            .setKeyring(
                StoredKeyring(version: version, secret: SecretBytes([byte, 2, 3]), by: Bench.user, time: Bench.at(1))
            )
        }
        bench.apply(keyring(1, 1))
        bench.apply(keyring(2, 7))
        #expect(bench.refusal(keyring(2, 9))?.message.contains("somebody else changed it") == true)
        #expect(bench.state.keyring?.secret.bytes == [7, 2, 3])
    }

    @Test func theKeyringIsNeverShown() throws {
        var bench = Bench()
        let secret = Array("correct horse battery".utf8)
        let command = Command.setKeyring(StoredKeyring(version: 1, secret: SecretBytes(secret), time: Bench.at(1)))
        bench.apply(command)
        var dumped = ""
        dump(bench.state, to: &dumped)
        dump(command, to: &dumped)
        dumped += "\(bench.state) \(command) \(String(reflecting: bench.state.keyring))"
        for entry in bench.state.audit { dumped += entry.what }
        // As numbers, as text, and in the stored form.
        for trace in ["111, 114, 114", "correct", "636f7272"] { #expect(!dumped.contains(trace)) }
        #expect(dumped.contains("<21 secret bytes>"))
        let stored = try JSONEncoder().encode(bench.state)
        #expect(try JSONDecoder().decode(ClusterState.self, from: stored).keyring?.secret.bytes == secret)
    }

    @Test(arguments: [#""0""#, #""0g""#, #""AB""#, "4", #"["00"]"#])
    func damagedSecretsAreNotRead(stored: String) {
        #expect(throws: DecodingError.self) { try JSONDecoder().decode(SecretBytes.self, from: Data(stored.utf8)) }
    }

    @Test func authoritiesComeAndGo() {
        var bench = Bench()
        let authority = TrustedAuthority(
            site: SiteID(rawValue: "south"),
            fingerprint: Self.fingerprint,
            pem: "PEM",
            by: Bench.user,
            time: Bench.at(1)
        )
        #expect(bench.apply(.trust(authority))?.changedTrust == true)
        #expect(bench.apply(.trust(authority))?.changedTrust == false)
        #expect(bench.state.authorities == [authority])
        var other = authority
        other.site = nil
        #expect(bench.refusal(.trust(other))?.message.contains("is trusted for site south") == true)
        bench.apply(.distrust(fingerprint: Self.fingerprint, by: Bench.user, time: Bench.at(2)))
        #expect(bench.state.authorities.isEmpty)
        let again = Command.distrust(fingerprint: Self.fingerprint, by: Bench.user, time: Bench.at(3))
        #expect(bench.refusal(again)?.code == .notFound)
        other.fingerprint = "short"
        #expect(bench.refusal(.trust(other))?.code == .invalid)
    }

    @Test func aClusterIsNamedOnce() {
        var bench = Bench()
        bench.apply(.nameCluster(ClusterID(rawValue: "home"), time: Bench.at(1)))
        #expect(bench.state.clusterID == ClusterID(rawValue: "home"))
        bench.apply(.nameCluster(ClusterID(rawValue: "home"), time: Bench.at(2)))
        #expect(bench.refusal(.nameCluster(ClusterID(rawValue: "work"), time: Bench.at(3)))?.code == .conflict)
        #expect(bench.refusal(.nameCluster(ClusterID(rawValue: "No"), time: Bench.at(3)))?.code == .invalid)
        #expect(bench.state.audit.count == 1)
    }

    @Test func theAuditKeepsTheNewest() {
        var bench = Bench()
        bench.register(1)
        for round in 0..<ClusterState.auditLimit {
            let time = Bench.at(Double(round))
            bench.apply(
                round % 2 == 0
                    ? .cordon(node: Bench.nodeID(1), by: Bench.user, time: time)
                    : .undrain(node: Bench.nodeID(1), by: Bench.user, time: time)
            )
        }
        let audit = bench.state.audit
        #expect(audit.count == ClusterState.auditLimit)
        #expect(audit.first?.sequence == 2)
        #expect(audit.last?.sequence == UInt64(ClusterState.auditLimit + 1))
    }
}
