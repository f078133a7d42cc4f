import ClusterModel
import TLS
import Testing

/// A node's next certificate: its own identity, a key that never left it, an authority that it trusts already.
struct CertificateRequestTests {
    private let cluster: Cluster
    private let old: IdentityBundle
    private static let hour = Duration.seconds(3600)

    init() throws {
        cluster = try Cluster()
        old = try cluster.authority.issueNode(
            NodeID(rawValue: "ruff"),
            site: SiteID(rawValue: "coast"),
            role: .gateway,
            now: thisSecond - Self.hour,
            lifetime: Self.hour * 2
        )
    }

    private func renewed(by authority: CertificateAuthority) throws -> IdentityBundle {
        let pending = try PendingRenewal(of: old)
        let answer = try authority.answer(pending.request, from: old.identity, now: thisSecond, lifetime: Self.hour * 2)
        return try pending.completed(with: answer.pem, now: thisSecond)
    }

    @Test func `The new one is for the same node and lives as long again`() throws {
        for authority in [cluster.authority, try cluster.authority.delegate(now: thisSecond)] {
            let bundle = try renewed(by: authority)
            #expect(bundle.identity == old.identity)
            #expect(bundle.certificate.notAfter == thisSecond + Self.hour * 2)
            #expect(bundle.certificate.serial != old.certificate.serial)
            let read = try IdentityBundle(pem: Array(bundle.pem.utf8), place: "test")
            #expect(try connect(read, cluster.node).server.witness.peers.count == 1)
            #expect(try connect(cluster.user, read).client.witness.peers.count == 1)
        }
    }

    @Test func `A request for another identity is refused, whoever brings it`() throws {
        let pending = try PendingRenewal(of: cluster.node)
        let error = #expect(throws: TLSError.self) {
            try cluster.authority.answer(pending.request, from: old.identity, now: thisSecond, lifetime: Self.hour)
        }
        #expect(
            error?.code == .wrongPeer && error?.message.contains("node/knot") == true,
            "\(String(describing: error))"
        )
        let user = try PendingRenewal(of: cluster.user)
        #expect(throws: TLSError.self) {
            try cluster.authority.answer(
                user.request,
                from: cluster.user.identity,
                now: thisSecond,
                lifetime: Self.hour
            )
        }
        let elsewhere = try cluster.authority.delegate(site: SiteID(rawValue: "tundra"), now: thisSecond)
        #expect(throws: TLSError.self) { try renewed(by: elsewhere) }
    }

    @Test func `What is no request, or not signed by its key, is refused`() throws {
        var forged = try PendingRenewal(of: old).request
        // A digit of the signature, which stands at the end.
        let last = try #require(
            forged.lastIndex { $0 == UInt8(ascii: "=") || $0 == UInt8(ascii: "A") || $0 == UInt8(ascii: "g") }
        )
        forged[last] = forged[last] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
        for request in [[], Array("hello".utf8), [UInt8](repeating: 65, count: 20_000), forged] {
            #expect(throws: TLSError.self) {
                try cluster.authority.answer(request, from: old.identity, now: thisSecond, lifetime: Self.hour)
            }
        }
    }

    @Test func `An answer that is worse than what there is changes nothing`() throws {
        let stranger = try Cluster("flock", now: thisSecond - .seconds(1)).authority
        #expect(throws: TLSError.self) { try renewed(by: stranger) }
        let pending = try PendingRenewal(of: old)
        let short = try cluster.authority.answer(
            pending.request,
            from: old.identity,
            now: thisSecond,
            lifetime: .seconds(60)
        )
        #expect(throws: TLSError.self) { try pending.completed(with: short.pem, now: thisSecond) }
        let other = try PendingRenewal(of: old)
        let long = try cluster.authority.answer(
            other.request,
            from: old.identity,
            now: thisSecond,
            lifetime: Self.hour * 3
        )
        #expect(throws: TLSError.self) { try pending.completed(with: long.pem, now: thisSecond) }
        #expect(throws: TLSError.self) { try pending.completed(with: [], now: thisSecond) }
        #expect(try other.completed(with: long.pem, now: thisSecond).certificate.notAfter == thisSecond + Self.hour * 3)
    }

    @Test func `An issuer of an authority that was added later is believed, and the old ones stay`() throws {
        let second = try Cluster(now: thisSecond - .seconds(1)).authority
        let pending = try PendingRenewal(of: old)
        let answer = try second.answer(pending.request, from: old.identity, now: thisSecond, lifetime: Self.hour * 2)
        #expect(throws: TLSError.self) { try pending.completed(with: answer.pem, now: thisSecond) }
        let bundle = try pending.completed(with: answer.pem, trusting: [second.certificate], now: thisSecond)
        #expect(bundle.ownAuthority?.fingerprint == second.certificate.fingerprint)
        #expect(bundle.authorities.count == 2)
    }
}
