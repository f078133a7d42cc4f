import ClusterModel
import Foundation
import Testing

@testable import TLS

/// A delegate's word counts for nodes, of its site if it has one, and is taken back by its serial number.
struct DelegationTests {
    private let cluster: Cluster
    private let delegate: CertificateAuthority

    init() throws {
        cluster = try Cluster()
        delegate = try cluster.authority.delegate(site: SiteID(rawValue: "coast"), now: thisSecond)
    }

    private func node(_ name: String, _ site: String = "coast") throws -> IdentityBundle {
        try delegate.issueNode(NodeID(rawValue: name), site: SiteID(rawValue: site), role: .worker, now: thisSecond)
    }

    @Test func `Whoever trusts the authority believes what its delegate issued`() throws {
        let ruff = try node("ruff")
        #expect(ruff.chain.map(\.fingerprint) == [delegate.certificate.fingerprint])
        #expect(ruff.ownAuthority?.fingerprint == cluster.authority.certificate.fingerprint)
        // From the file, as the agent reads it.
        let read = try IdentityBundle(pem: Array(ruff.pem.utf8), place: "test")
        for pair in [try connect(read, cluster.node), try connect(cluster.user, read), try connect(cluster.node, read)]
        {
            #expect(pair.server.witness.peers.count == 1 && pair.client.witness.peers.count == 1)
        }
        let seen = try connect(read, cluster.node).server.witness.certificates
        #expect(seen.map(\.authority) == [cluster.authority.certificate.fingerprintDigits])
        #expect(seen.map(\.issuerSerial) == [delegate.certificate.serial])
    }

    @Test func `It issues for nobody but nodes of its site, and makes no delegate`() throws {
        #expect(throws: TLSError.self) { try node("ruff", "tundra") }
        #expect(throws: TLSError.self) {
            try delegate.issueUser(UserID(rawValue: "eve"), right: .admin, now: thisSecond)
        }
        #expect(throws: TLSError.self) { try delegate.delegate(now: thisSecond) }
        #expect(delegate.certificate.authorityCluster == ClusterID(rawValue: "flock"))
        #expect(delegate.delegation == Delegation(site: SiteID(rawValue: "coast")))
        #expect(cluster.authority.delegation == nil)
    }

    /// What a thief with the delegate's key would make: the delegate's signature under an identity that is not its to give.
    private func stolen(_ make: (CertificateAuthority) throws -> IdentityBundle) throws -> IdentityBundle {
        // Held for an authority of its own, it asks itself nothing.
        let thief = CertificateAuthority(
            cluster: delegate.cluster,
            certificate: delegate.certificate,
            above: [],
            key: delegate.key
        )
        let forged = try make(thief)
        return IdentityBundle(
            identity: forged.identity,
            certificate: forged.certificate,
            chain: [delegate.certificate],
            authorities: [cluster.authority.certificate],
            key: forged.key
        )
    }

    @Test func `What it has no right to is refused by every handshake, whoever signed it`() throws {
        for forged in [
            try stolen { try $0.issueUser(UserID(rawValue: "eve"), right: .admin, now: thisSecond) },
            try stolen {
                try $0.issueNode(
                    NodeID(rawValue: "knot"),
                    site: SiteID(rawValue: "tundra"),
                    role: .worker,
                    now: thisSecond
                )
            },
        ] {
            let pair = try connect(forged, cluster.node)
            #expect(pair.server.witness.peers.isEmpty)
            let error = pair.server.witness.errors.first as? TLSError
            #expect(
                error?.code == .authorityUnknown && error?.message.contains("may not vouch") == true,
                "\(String(describing: error))"
            )
        }
    }

    @Test func `Revoked, it takes all that it has issued with it`() throws {
        let ruff = try node("ruff")
        let list = RevocationList()
        let server = try TLSContext(.server, cluster.node, revocations: list)
        let open = try connect(TLSContext(.client, ruff), server).server.witness.certificates
        #expect(open.count == 1)
        let serial = try #require(Revocation(serial: delegate.certificate.serial))
        list.replace(with: [serial])
        #expect(try connect(TLSContext(.client, ruff), server).server.witness.peers.isEmpty)
        // On connections that are open already, too.
        #expect(open.allSatisfy { list.revokes($0) })
        #expect(try connect(TLSContext(.client, cluster.node), server).server.witness.peers.count == 1)
    }

    @Test func `An authority that is bound to a site vouches for its nodes only`() throws {
        let second = try Cluster(now: thisSecond - .seconds(1))
        let list = RevocationList()
        let server = try TLSContext(
            .server,
            cluster.node,
            trusting: [second.authority.certificate],
            revocations: list
        )
        func isLetIn(_ identity: IdentityBundle) throws -> Bool {
            let client = try TLSContext(.client, identity, trusting: [cluster.authority.certificate])
            return try connect(client, server).server.witness.peers.count == 1
        }
        #expect(try isLetIn(second.node) && isLetIn(second.user))
        let digits = second.authority.certificate.fingerprintDigits
        list.bind(authorities: [digits: SiteID(rawValue: "tundra")])
        #expect(try !isLetIn(second.node) && !isLetIn(second.user))
        list.bind(authorities: [digits: SiteID(rawValue: "coast")])
        #expect(try isLetIn(second.node) && !isLetIn(second.user))
        #expect(try isLetIn(cluster.user))
    }

    @Test func `Its files are read like those of any authority`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "godwit-delegate-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        try delegate.save(to: "\(folder.path)/issuer")
        let read = try CertificateAuthority.load(from: "\(folder.path)/issuer")
        #expect(read.delegation == delegate.delegation)
        let ruff = try read.issueNode(
            NodeID(rawValue: "ruff"),
            site: SiteID(rawValue: "coast"),
            role: .worker,
            now: thisSecond
        )
        #expect(try connect(ruff, cluster.node).server.witness.peers.count == 1)
    }
}
