import ClusterModel
import Foundation
import NIO
import TLS
import Testing

/// Two TLS ends in memory, with nothing between them but the bytes that the test carries over.
struct TLSHandlerTests {
    @Test(arguments: [Int.max, 1, 7, 500])
    func `Both ends learn who the other is, however the bytes arrive`(chunk: Int) throws {
        let cluster = try Cluster()
        let pair = try connect(cluster.user, cluster.node, chunk: chunk)
        #expect(try pair.client.witness.peers.map { try $0.get() } == [cluster.node.identity])
        #expect(try pair.server.witness.peers.map { try $0.get() } == [cluster.user.identity])
        #expect(pair.client.witness.errors.isEmpty && pair.server.witness.errors.isEmpty)
    }

    @Test func `Many small writes become one record at the flush`() throws {
        let cluster = try Cluster()
        let pair = try connect(cluster.user, cluster.node)
        let (buffers, bytes) = (pair.client.sentBufferCount, pair.client.sentByteCount)
        for number in 0..<100 as Range<UInt8> {
            pair.client.channel.write(ByteBuffer(repeating: number, count: 10), promise: nil)
        }
        pair.client.channel.flush()
        try pair.exchange()
        #expect(pair.client.sentBufferCount - buffers == 1)
        #expect(pair.client.sentByteCount - bytes == 1000 + 22)
        #expect(pair.server.witness.received.readableBytes == 1000)
        #expect(Array(pair.server.witness.received.readableBytesView.suffix(10)) == Array(repeating: 99, count: 10))
    }

    @Test(arguments: [Int.max, 1000, 16_401])
    func `A message of many records arrives whole and in order`(chunk: Int) throws {
        let cluster = try Cluster()
        let pair = try connect(cluster.user, cluster.node)
        var generator = SeededGenerator(seed: 7)
        let bytes = (0..<300_000).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        let promise = pair.client.channel.eventLoop.makePromise(of: Void.self)
        pair.client.channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: promise)
        try pair.exchange(chunk: chunk)
        try promise.futureResult.wait()
        #expect(Array(pair.server.witness.received.readableBytesView) == bytes)
    }

    @Test func `What is written before the handshake goes out after it`() throws {
        let cluster = try Cluster()
        let pair = Pair(
            client: try End(TLSContext(.client, cluster.user)),
            server: try End(TLSContext(.server, cluster.node))
        )
        try pair.server.connect()
        try pair.client.connect()
        pair.client.channel.writeAndFlush(ByteBuffer(string: "early"), promise: nil)
        try pair.exchange()
        #expect(String(buffer: pair.server.witness.received) == "early")
    }

    @Test func `Closing says so, and the other end answers and closes`() throws {
        let cluster = try Cluster()
        let pair = try connect(cluster.user, cluster.node)
        pair.client.channel.close(promise: nil)
        try pair.exchange()
        #expect(!pair.server.channel.isActive)
        #expect(pair.server.witness.isInactive)
        #expect(pair.server.witness.errors.isEmpty)
    }

    @Test func `A line that is cut without a closing message is told apart`() throws {
        let cluster = try Cluster()
        let pair = try connect(cluster.user, cluster.node)
        pair.server.channel.pipeline.fireChannelInactive()
        #expect((pair.server.witness.errors.first as? TLSError)?.code == .truncated)
    }

    @Test func `A certificate of another authority is refused on both ends with the remedy`() throws {
        let (ours, theirs) = (try Cluster(), try Cluster())
        let refusedByClient = try connect(ours.user, theirs.node)
        let error = try #require(refusedByClient.client.witness.errors.first as? TLSError)
        #expect(error.code == .authorityUnknown)
        #expect(error.message.contains("another cluster's authority"))
        #expect(refusedByClient.client.witness.peers.isEmpty)

        // The server's authority is known to this client, but not the client's to the server.
        let mixed = try IdentityBundle(
            pem: Array(
                (ours.user.pem.components(separatedBy: "-----BEGIN CERTIFICATE-----").prefix(2)
                    .joined(separator: "-----BEGIN CERTIFICATE-----") + theirs.authority.certificate.pem).utf8
            ),
            place: "test"
        )
        let refusedByServer = try connect(mixed, theirs.node)
        #expect((refusedByServer.server.witness.errors.first as? TLSError)?.code == .authorityUnknown)
        #expect(refusedByServer.server.witness.peers.isEmpty)
        let alert = try #require(refusedByServer.client.witness.errors.first as? TLSError)
        #expect(alert.code == .authorityUnknown)
        #expect(alert.message.contains("the agent refused our certificate"))
    }

    @Test func `An expired certificate is refused`() throws {
        let cluster = try Cluster()
        let old = try cluster.authority.issueUser(
            UserID(rawValue: "ada"),
            right: .submit,
            now: thisSecond - .seconds(200),
            lifetime: .seconds(100)
        )
        let pair = try connect(old, cluster.node)
        #expect((pair.server.witness.errors.first as? TLSError)?.code == .certificateExpired)
        #expect((pair.client.witness.errors.first as? TLSError)?.code == .certificateExpired)
    }

    @Test func `A user's certificate cannot serve`() throws {
        let cluster = try Cluster()
        let pair = try connect(cluster.user, cluster.user)
        #expect((pair.client.witness.errors.first as? TLSError)?.code == .wrongPeer)
    }

    @Test func `A forged certificate is refused`() throws {
        // Same names everywhere, other keys: what somebody makes who saw the cluster's certificates.
        let (real, forged) = (try Cluster(), try Cluster())
        #expect(real.authority.certificate.subject == forged.authority.certificate.subject)
        let pair = try connect(forged.user, real.node)
        #expect(pair.server.witness.peers.isEmpty)
        #expect(!pair.client.witness.errors.isEmpty)
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
        "\u{0}\u{0}\u{0}\u{0}\u{1}\u{0}\u{0}\u{0}\u{0}\u{0}",
    ])
    func `Something that is not TLS is refused at its first bytes`(text: String) throws {
        let cluster = try Cluster()
        let server = try End(TLSContext(.server, cluster.node))
        try server.connect()
        server.channel.pipeline.fireChannelRead(ByteBuffer(string: text))
        let error = try #require(server.witness.errors.first as? TLSError)
        #expect(error.code == .notTLS, "\(error)")
    }

    @Test func `A silent peer is given up after the handshake time`() throws {
        let cluster = try Cluster()
        let server = try End(TLSContext(.server, cluster.node))
        try server.connect()
        server.channel.embeddedEventLoop.advanceTime(by: .milliseconds(4999))
        #expect(server.channel.isActive)
        server.channel.embeddedEventLoop.advanceTime(by: .milliseconds(2))
        #expect(!server.channel.isActive)
        #expect((server.witness.errors.first as? TLSError)?.code == .handshakeTimedOut)
    }

    @Test(arguments: 0..<20)
    func `A damaged handshake or record never crashes and never passes`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let cluster = try Cluster()
        let pair = Pair(
            client: try End(TLSContext(.client, cluster.user)),
            server: try End(TLSContext(.server, cluster.node))
        )
        try pair.server.connect()
        try pair.client.connect()
        pair.client.channel.writeAndFlush(ByteBuffer(string: "genuine"), promise: nil)
        let damagedAt = Int.random(in: 0..<4, using: &generator)
        var number = 0
        var isMoving = true
        while isMoving {
            isMoving = false
            for (from, to) in [(pair.client, pair.server), (pair.server, pair.client)] {
                for var buffer in try from.takeOutbound() where to.channel.isActive {
                    isMoving = true
                    if number == damagedAt {
                        let index = Int.random(in: 0..<buffer.readableBytes, using: &generator)
                        let old = try #require(buffer.getInteger(at: index, as: UInt8.self))
                        buffer.setInteger(old ^ UInt8.random(in: 1...255, using: &generator), at: index)
                    }
                    number += 1
                    to.channel.pipeline.fireChannelRead(buffer)
                }
            }
        }
        let received = String(buffer: pair.server.witness.received)
        #expect(received == "" || received == "genuine")
    }
}
