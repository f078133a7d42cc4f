import ClusterModel
import Foundation
import NIO
import TLS
import Testing

/// An agent takes a renewed certificate and another authority without a restart.
struct ReloadableTLSContextTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "godwit-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder.path)
    }

    private func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
    }

    @Test func `A renewed certificate is shown by the next connection, the open one stays`() throws {
        try withFolder { folder in
            let cluster = try Cluster()
            let path = "\(folder)/node.pem"
            try cluster.node.save(to: path)
            let agent = try ReloadableTLSContext(path: path)
            let user = try TLSContext(.client, cluster.user)
            let first = try connect(user, agent.server)
            #expect(try !agent.reloadIfChanged())

            let renewed = try cluster.authority.renew(cluster.node, now: thisSecond, hasNewKey: true)
            try renewed.replace(path)
            #expect(try agent.reloadIfChanged())
            #expect(try !agent.reloadIfChanged())
            #expect(agent.certificate == (try renewed.certificate.summary))
            #expect(agent.problem == nil)

            let second = try connect(user, agent.server)
            #expect(first.client.witness.certificates.map(\.serial) == [cluster.node.certificate.serial])
            #expect(second.client.witness.certificates.map(\.serial) == [renewed.certificate.serial])
            // The client's end as well: what the agent shows when it calls.
            let called = try connect(agent.client, TLSContext(.server, cluster.node))
            #expect(called.server.witness.certificates.map(\.serial) == [renewed.certificate.serial])
            // The connection from before still carries bytes.
            first.client.channel.writeAndFlush(first.client.channel.allocator.buffer(string: "on"), promise: nil)
            try first.exchange()
            #expect(String(buffer: first.server.witness.received) == "on")
        }
    }

    @Test func `A file that cannot be used changes nothing and is complained about once`() throws {
        try withFolder { folder in
            let (cluster, other) = (try Cluster(), try Cluster("swarm"))
            let path = "\(folder)/node.pem"
            try cluster.node.save(to: path)
            let agent = try ReloadableTLSContext(path: path)
            let before = agent.certificate
            let neighbour = try cluster.authority.issueNode(
                NodeID(rawValue: "dunlin"),
                site: SiteID(rawValue: "coast"),
                role: .worker,
                now: thisSecond
            )
            for (text, reason) in [
                ("", "holds no private key"), (try neighbour.pem, "restart with it"),
                (try other.node.pem, "restart with it"),
            ] {
                try write(text, to: path)
                let error = #expect(throws: TLSError.self) { try agent.reloadIfChanged() }
                #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
                #expect(agent.problem?.contains(reason) == true)
                #expect(try !agent.reloadIfChanged())
                #expect(agent.certificate == before)
            }
            try FileManager.default.removeItem(atPath: path)
            #expect(throws: TLSError.self) { try agent.reloadIfChanged() }
            #expect(try connect(TLSContext(.client, cluster.user), agent.server).server.witness.peers.count == 1)
            // The old file again: nothing to do, and nothing to complain about.
            try write(cluster.node.pem, to: path)
            #expect(try !agent.reloadIfChanged())
            #expect(agent.problem == nil)
        }
    }

    @Test func `Several authorities are trusted at once, and no longer when they are taken away`() throws {
        try withFolder { folder in
            let (here, there) = (try Cluster(), try Cluster(now: thisSecond - .seconds(1)))
            let path = "\(folder)/node.pem"
            try here.node.save(to: path)
            let agent = try ReloadableTLSContext(path: path)
            let both = try readAuthorities(
                pem: Array((here.authority.certificate.pem + there.authority.certificate.pem).utf8),
                place: "test"
            )
            #expect(both.count == 2)
            let visitor = try TLSContext(.client, there.user, trusting: both)
            #expect(try connect(visitor, agent.server).server.witness.peers.isEmpty)
            try agent.trust(both)
            #expect(
                try connect(visitor, agent.server).server.witness.peers.map { try $0.get() } == [there.user.identity]
            )
            // A renewal keeps them.
            try here.authority.renew(here.node, now: thisSecond).replace(path)
            #expect(try agent.reloadIfChanged())
            #expect(try connect(visitor, agent.server).server.witness.peers.count == 1)
            try agent.trust([])
            let refused = try connect(visitor, agent.server)
            #expect(refused.server.witness.peers.isEmpty)
            #expect((refused.server.witness.errors.first as? TLSError)?.code == .authorityUnknown)
            #expect(try connect(TLSContext(.client, here.user), agent.server).server.witness.peers.count == 1)
        }
    }

    @Test func `Authorities in the file are several as well, and a renewal keeps them`() throws {
        try withFolder { folder in
            let (here, there) = (try Cluster(), try Cluster(now: thisSecond - .seconds(1)))
            let path = "\(folder)/node.pem"
            try write(here.node.pem + there.authority.certificate.pem, to: path)
            let agent = try ReloadableTLSContext(path: path)
            let visitor = try TLSContext(.client, there.user, trusting: [here.authority.certificate])
            #expect(try connect(visitor, agent.server).server.witness.peers.count == 1)
            try here.authority.renew(IdentityBundle.load(path), now: thisSecond).replace(path)
            #expect(try agent.reloadIfChanged())
            #expect(try connect(visitor, agent.server).server.witness.peers.count == 1)
        }
    }

    @Test func `Its revocations hold on both ends`() throws {
        try withFolder { folder in
            let cluster = try Cluster()
            let path = "\(folder)/node.pem"
            try cluster.node.save(to: path)
            let agent = try ReloadableTLSContext(path: path)
            agent.revocations.replace(with: [
                .identity(cluster.user.identity.uri, issuedUntil: thisSecond),
                .identity(cluster.node.identity.uri, issuedUntil: thisSecond),
            ])
            #expect(try connect(TLSContext(.client, cluster.user), agent.server).server.witness.peers.isEmpty)
            #expect(try connect(agent.client, TLSContext(.server, cluster.node)).client.witness.peers.isEmpty)
        }
    }

    @Test func `Without its file an agent does not start`() {
        let error = #expect(throws: TLSError.self) { try ReloadableTLSContext(path: "/nowhere/node.pem") }
        #expect(error?.message.contains("godwit ca issue") == true)
    }
}
