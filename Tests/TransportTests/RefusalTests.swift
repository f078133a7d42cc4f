import ClusterModel
import ControlMessages
import Foundation
import NIO
import SwiftProtobuf
import Synchronization
import TLS
import Testing
import Transport
import WireFormat

/// Whoever does not belong here, or misbehaves, gets a sentence and costs next to nothing.
@Suite(.timeLimit(.minutes(5)))
struct RefusalTests {
    private func frame(_ kind: FrameKind, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
        var bytes: [UInt8] = []
        FrameHeader(kind: kind, stream: stream, payloadByteCount: payload.count).encode(into: &bytes)
        return bytes + payload
    }

    private func hello(_ change: (inout WireHello) -> Void = { _ in }) throws -> [UInt8] {
        var hello = WireHello()
        (hello.minimumVersion, hello.maximumVersion, hello.cluster) = (1, 1, "flock")
        change(&hello)
        return frame(.hello, try hello.serializedBytes())
    }

    /// The failure of the goodbye that ends the connection.
    private func goodbye(_ bytes: [UInt8]) throws -> RPCFailure? {
        var rest = bytes[...]
        while let header = try FrameHeader.decode(Array(rest).span, payloadLimit: 4 << 20) {
            let payload = rest.dropFirst(FrameHeader.byteCount).prefix(header.payloadByteCount)
            if header.kind == .goodbye {
                return RPCFailure(try WireGoodbye(serializedBytes: Array(payload)).failure)
            }
            rest = rest.dropFirst(FrameHeader.byteCount + header.payloadByteCount)
        }
        return nil
    }

    @Test func `A certificate of another cluster's authority`() async throws {
        let (ours, theirs) = (try TestCluster(), try TestCluster("other"))
        try await withServer(ours) { _, port in
            let refusal = await failure { _ = try await connect(theirs.user(), port) }
            #expect(refusal?.code == .forbidden)
            #expect(refusal?.message.contains("was issued by another cluster's authority") == true)
        }
    }

    @Test func `A certificate that the agent does not trust, although the client trusts the agent`() async throws {
        let (ours, theirs) = (try TestCluster(), try TestCluster())
        let stranger = try theirs.user().pem
        let leafEnd = try #require(stranger.range(of: "-----END CERTIFICATE-----\n"))
        let mixed = String(stranger[..<leafEnd.upperBound]) + (try ours.authority.certificate.pem)
        let bundle = try IdentityBundle(pem: Array(mixed.utf8), place: "test")
        let refused = Signal<String>()
        let configuration = RPCServerConfiguration(software: "x") { event in
            if case .refused(_, let reason) = event { refused.give(reason) }
        }
        try await withServer(ours, configuration: configuration) { _, port in
            let refusal = await failure { _ = try await connect(bundle, port) }
            #expect(refusal?.code == .forbidden)
            #expect(refusal?.message.contains("the agent refused our certificate") == true)
            let reason = try await refused.wait()
            #expect(reason.contains("CN=ada,OU=admin,O=flock"))
        }
    }

    @Test func `An expired certificate`() async throws {
        let cluster = try TestCluster()
        let old = try cluster.authority.issueUser(
            UserID(rawValue: "ada"),
            right: .admin,
            now: TestCluster.now - .seconds(100),
            lifetime: .seconds(50)
        )
        try await withServer(cluster) { _, port in
            let refusal = await failure { _ = try await connect(old, port) }
            #expect(refusal?.code == .forbidden)
            #expect(refusal?.message.contains("it has expired") == true)
        }
    }

    @Test func `A hello for another cluster`() async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { _, port in
            let raw = try await RawClient(cluster.user(), port)
            try await raw.send(hello { $0.cluster = "other" })
            let failure = try goodbye(await raw.readToEnd())
            #expect(failure?.code == .forbidden)
            #expect(failure?.message.contains("this agent belongs to cluster flock") == true)
        }
    }

    @Test func `No common version, told on both sides with the side to upgrade`() async throws {
        let cluster = try TestCluster()
        let newer = ProtocolVersion(rawValue: 7)...ProtocolVersion(rawValue: 9)
        try await withServer(
            cluster,
            configuration: RPCServerConfiguration(software: "godwitd 9.0.0", versions: newer)
        ) { _, port in
            let refusal = await failure { _ = try await connect(cluster.user(), port) }
            #expect(refusal?.code == .unimplemented)
            #expect(refusal?.message.contains("upgrade the client, which is older") == true)
            let raw = try await RawClient(cluster.user(), port)
            try await raw.send(hello())
            let told = try goodbye(await raw.readToEnd())
            #expect(told?.code == .unimplemented)
            #expect(told?.message.contains("7 to 9: upgrade the client, which is older") == true)
        }
    }

    @Test(arguments: [
        "not a frame", "frame of an unknown kind", "request before hello", "hello of noise", "hello beyond its bound",
        "second hello", "message from the caller", "request beyond the bound", "request without prefix",
    ])
    func `Frames out of place, garbage and oversize`(what: String) async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { _, port in
            let raw = try await RawClient(cluster.user(), port)
            switch what {
            case "not a frame": try await raw.send(Array("GET / HTTP/1.1\r\nHost: agent\r\n\r\n".utf8))
            case "frame of an unknown kind": try await raw.send(hello() + [0, 0, 0, 0, 77, 0, 0, 0, 0, 1])
            case "request before hello": try await raw.send(frame(.request, stream: 1, [0, 64, 0, 0, 0, 0]))
            case "hello of noise": try await raw.send(frame(.hello, [255, 255, 255, 255]))
            case "hello beyond its bound": try await raw.send(frame(.hello, Array(repeating: 0, count: 5000)))
            case "second hello": try await raw.send(hello() + hello())
            case "message from the caller": try await raw.send(hello() + frame(.message, stream: 1, [1]))
            case "request beyond the bound": try await raw.send(hello() + [0, 32, 0, 0, 2, 0, 0, 0, 0, 1])
            default: try await raw.send(hello() + frame(.request, stream: 1, [0, 64]))
            }
            let failure = try goodbye(await raw.readToEnd())
            #expect(failure?.code == .invalid, "\(what)")
            #expect(failure?.message.isEmpty == false)
        }
    }

    @Test func `A request cut off in the middle reaches no handler`() async throws {
        let cluster = try TestCluster()
        let closed = Signal<Void>()
        try await withServer(cluster) { _ in
            Issue.record("the handler was called")
        } body: { server, port in
            let raw = try await RawClient(cluster.user(), port)
            let whole = frame(.request, stream: 1, [0, 1, 0, 0, 0, 0] + Array(repeating: 7, count: 100))
            try await raw.send(hello() + whole.dropLast(1))
            try await raw.channel.close()
            try await until("all connections are closed") { server.statistics.connectionCount == 0 }
            closed.give(())
        }
        try await closed.wait()
    }

    @Test func `Those who say nothing are sent away`() async throws {
        let cluster = try TestCluster()
        var limits = RPCLimits.agent
        limits.handshakeTimeout = .milliseconds(500)
        try await withServer(cluster, configuration: RPCServerConfiguration(software: "x", limits: limits)) {
            server,
            port in
            // TCP only.
            let silent = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: port).get()
            try await silent.closeFuture.get()
            try await until("all connections are closed") { server.statistics.connectionCount == 0 }
            #expect(server.statistics.handshakeCount == 0)
        }
        // Its TLS is to be in time, also on a busy machine.
        limits.handshakeTimeout = .seconds(5)
        try await withServer(cluster, configuration: RPCServerConfiguration(software: "x", limits: limits)) {
            server,
            port in
            // TLS, then no hello.
            let raw = try await RawClient(cluster.user(), port)
            let failure = try goodbye(await raw.readToEnd())
            #expect(failure?.code == .deadlineExceeded)
            try await until("all connections are closed") { server.statistics.connectionCount == 0 }
            #expect(server.statistics.handshakeCount == 0)
        }
    }

    @Test func `A flood of connections is turned away before it costs anything, and passes`() async throws {
        let cluster = try TestCluster()
        var limits = RPCLimits.agent
        limits.maximumHandshakes = 8
        // Within it 8 at a time of the flood are let in, and afterwards one that does say something.
        limits.handshakeTimeout = .seconds(5)
        try await withServer(cluster, configuration: RPCServerConfiguration(software: "x", limits: limits)) {
            server,
            port in
            let flood = try await withThrowingTaskGroup { group in
                for _ in 0..<200 {
                    group.addTask {
                        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                            .connect(host: "127.0.0.1", port: port).get()
                    }
                }
                return try await group.reduce(into: [any Channel]()) { $0.append($1) }
            }
            try await until("nearly all were turned away") { server.statistics.turnedAwayCount >= 150 }
            #expect(server.statistics.handshakeCount <= 8)
            for channel in flood { try await channel.closeFuture.get() }
            try await until("all connections are closed") { server.statistics.connectionCount == 0 }
            let client = try await connect(cluster.user(), port)
            let _: WireEchoReply = try await client.call(.echo, WireEchoRequest(), timeout: .seconds(30))
            #expect(server.statistics.connectionCount == 1)
            await client.close()
        }
    }

    @Test func `A reader that takes nothing holds bounded memory and is given up`() async throws {
        let cluster = try TestCluster()
        var limits = RPCLimits.agent
        limits.slowReaderTimeout = .milliseconds(300)
        let answered = Mutex(0)
        let refused = Signal<String>()
        let configuration = RPCServerConfiguration(software: "x", limits: limits) { event in
            if case .refused(_, let reason) = event { refused.give(reason) }
        }
        try await withServer(cluster, configuration: configuration) { _ in
            Issue.record("the handler was called")
        } atOnce: { _ in
            answered.withLock { $0 += 1 }
            return ByteBuffer(repeating: 0, count: 100_000)
        } body: { _, port in
            let raw = try await RawClient(cluster.user(), port)
            try await raw.send(hello())
            try await raw.channel.setOption(.autoRead, value: false).get()
            let requests = (1...2000 as ClosedRange<UInt32>).flatMap {
                frame(.request, stream: $0, [0, 1, 0, 0, 0, 0])
            }
            raw.channel.writeAndFlush(ByteBuffer(bytes: requests), promise: nil)
            let reason = try await refused.wait()
            #expect(reason.contains("reads too slowly"))
            // 200 MB were asked for. The socket's buffers, the water mark and one burst of requests bound what was made.
            #expect(answered.withLock { $0 } < 700)
            try? await raw.channel.close()
        }
    }

    @Test(arguments: 0..<10)
    func `Random bytes after a genuine hello never stop the server`(seed: UInt64) async throws {
        let cluster = try TestCluster()
        try await withServer(cluster) { call in
            call.reply(WireStatusReply())
        } body: { _, port in
            var generator = SeededGenerator(seed: seed)
            for _ in 0..<10 {
                let raw = try await RawClient(cluster.user(), port)
                var bytes = try hello()
                for _ in 0..<20 {
                    let kind = FrameKind.allCases.randomElement(using: &generator) ?? .request
                    var part = frame(
                        kind,
                        stream: kind.belongsToConnection ? 0 : UInt32.random(in: 1...5, using: &generator),
                        (0..<Int.random(in: 0...30, using: &generator)).map { _ in
                            UInt8.random(in: 0...255, using: &generator)
                        }
                    )
                    if Int.random(in: 0..<4, using: &generator) == 0 {
                        part[Int.random(in: 0..<part.count, using: &generator)] = UInt8.random(
                            in: 0...255,
                            using: &generator
                        )
                    }
                    bytes += part
                }
                try? await raw.send(bytes)
                try? await raw.channel.close()
            }
            let client = try await connect(cluster.user(), port)
            let _: WireStatusReply = try await client.call(.status, WireStatusRequest(), timeout: .seconds(30))
            await client.close()
        }
    }
}
