import ClusterModel
import TLS
import Testing

/// A certificate that was revoked opens no connection, on either end.
struct RevocationListTests {
    private func serial(_ text: String) throws -> Revocation { try #require(Revocation(serial: text)) }

    /// A handshake in which both ends consult their own list.
    private func handshake(
        _ cluster: Cluster,
        user: IdentityBundle? = nil,
        client: [Revocation] = [],
        server: [Revocation] = []
    ) throws -> Pair {
        let (ofClient, ofServer) = (RevocationList(), RevocationList())
        ofClient.replace(with: client)
        ofServer.replace(with: server)
        return try connect(
            TLSContext(.client, user ?? cluster.user, revocations: ofClient),
            TLSContext(.server, cluster.node, revocations: ofServer)
        )
    }

    @Test func `A revoked user is refused, and both ends say why`() throws {
        let cluster = try Cluster()
        let pair = try handshake(cluster, server: [try serial(cluster.user.certificate.serial)])
        #expect(pair.server.witness.peers.isEmpty)
        let ofServer = try #require(pair.server.witness.errors.first as? TLSError)
        #expect(ofServer.code == .certificateRevoked)
        #expect(ofServer.message.contains("CN=ada,OU=submit,O=flock") && ofServer.message.contains("was revoked"))
        let ofClient = try #require(pair.client.witness.errors.first as? TLSError)
        #expect(ofClient.code == .certificateRevoked && ofClient.message.contains("an administrator can issue"))
    }

    @Test func `A revoked node is refused by its callers`() throws {
        let cluster = try Cluster()
        let uri = cluster.node.identity.uri
        let pair = try handshake(cluster, client: [.identity(uri, issuedUntil: thisSecond)])
        #expect(pair.client.witness.peers.isEmpty && pair.server.witness.peers.isEmpty)
        #expect((pair.client.witness.errors.first as? TLSError)?.code == .certificateRevoked)
        #expect((pair.server.witness.errors.first as? TLSError)?.code == .certificateRevoked)
    }

    @Test func `Others are let in as before`() throws {
        let cluster = try Cluster()
        let bob = try cluster.authority.issueUser(UserID(rawValue: "bob"), right: .read, now: thisSecond)
        let revoked: [Revocation] = [
            try serial(bob.certificate.serial), .identity(bob.identity.uri, issuedUntil: thisSecond),
        ]
        let pair = try handshake(cluster, client: revoked, server: revoked)
        #expect(try pair.server.witness.peers.map { try $0.get() } == [cluster.user.identity])
        #expect(pair.client.witness.errors.isEmpty && pair.server.witness.errors.isEmpty)
        #expect(try handshake(cluster, user: bob, server: revoked).server.witness.peers.isEmpty)
    }

    @Test func `An identity that was revoked is good again with a certificate issued later`() throws {
        let cluster = try Cluster(now: thisSecond - .seconds(60))
        let revoked: [Revocation] = [.identity(cluster.user.identity.uri, issuedUntil: thisSecond - .seconds(1))]
        #expect(try handshake(cluster, server: revoked).server.witness.peers.isEmpty)
        let renewed = try cluster.authority.renew(cluster.user, now: thisSecond)
        let pair = try handshake(cluster, user: renewed, server: revoked)
        #expect(try pair.server.witness.peers.map { try $0.get() } == [cluster.user.identity])
    }

    @Test func `A list that changes counts for the next handshake`() throws {
        let cluster = try Cluster()
        let list = RevocationList()
        let client = try TLSContext(.client, cluster.user)
        let server = try TLSContext(.server, cluster.node, revocations: list)
        #expect(try connect(client, server).server.witness.peers.count == 1)
        list.replace(with: [try serial(cluster.user.certificate.serial)])
        #expect(try connect(client, server).server.witness.peers.isEmpty)
        list.replace(with: [])
        #expect(try connect(client, server).server.witness.peers.count == 1)
    }

    @Test func `An authority is revoked by its serial number, and all that it issued with it`() throws {
        let cluster = try Cluster()
        let pair = try handshake(cluster, server: [try serial(cluster.authority.certificate.serial)])
        #expect(pair.server.witness.peers.isEmpty)
        #expect((pair.server.witness.errors.first as? TLSError)?.code == .certificateRevoked)
    }

    @Test func `Open connections know what they were opened with`() throws {
        let cluster = try Cluster()
        let pair = try handshake(cluster)
        let certificate = try #require(pair.server.witness.certificates.first)
        let shown = try cluster.user.certificate.summary
        #expect(certificate.identity == shown.identity && certificate.serial == shown.serial)
        #expect(certificate.issued == shown.issued && certificate.notAfter == shown.notAfter)
        #expect(certificate.authority == cluster.authority.certificate.fingerprintDigits)
        let list = RevocationList()
        #expect(!list.revokes(certificate))
        list.replace(with: [.identity(cluster.user.identity.uri, issuedUntil: thisSecond)])
        #expect(list.revokes(certificate))
        list.replace(with: [.identity(cluster.user.identity.uri, issuedUntil: thisSecond - .seconds(1))])
        #expect(!list.revokes(certificate))
    }

    @Test func `Serial numbers are read as people copy them`() throws {
        #expect(Revocation(serial: "0A:1b:FF") == Revocation(serial: "a1bff"))
        #expect(Revocation(serial: "00") == .serial("0"))
        for wrong in ["", ":", "xyz", "12 34", String(repeating: "a", count: 41)] {
            #expect(Revocation(serial: wrong) == nil, "\(wrong)")
        }
        let summary = try Cluster().user.certificate.summary
        let list = RevocationList()
        list.replace(with: [.serial("000" + summary.serial)])
        #expect(list.revokes(summary))
    }

    @Test func `Of two revocations of an identity the later one counts`() throws {
        let summary = try Cluster().user.certificate.summary
        let list = RevocationList()
        let uri = summary.identity.uri
        list.replace(with: [
            .identity(uri, issuedUntil: thisSecond), .identity(uri, issuedUntil: thisSecond - .seconds(86_400)),
        ])
        #expect(list.revokes(summary))
    }
}
