import ClusterModel
import Foundation
import NIO
import TLS

/// Keeps what the handler behind TLS is told.
final class Witness: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    var peers: [Result<PeerIdentity, TLSError>] = []
    var certificates: [CertificateSummary] = []
    var errors: [any Error] = []
    var received = ByteBuffer()
    var isInactive = false

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let completion = event as? TLSHandshakeCompletion else { return }
        peers.append(completion.peer)
        if let certificate = completion.certificate { certificates.append(certificate) }
    }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received.writeImmutableBuffer(unwrapInboundIn(data))
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { errors.append(error) }
    func channelInactive(context: ChannelHandlerContext) { isInactive = true }
}

/// One end of a connection in memory.
final class End {
    let channel = EmbeddedChannel()
    let witness = Witness()
    var sentByteCount = 0
    var sentBufferCount = 0

    init(_ context: TLSContext) throws {
        try channel.pipeline.syncOperations.addHandlers(
            TLSHandler(context: context, handshakeTimeout: .seconds(5)),
            witness
        )
    }
    func connect() throws { try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait() }

    func takeOutbound() throws -> [ByteBuffer] {
        var all: [ByteBuffer] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) { all.append(buffer) }
        sentBufferCount += all.count
        sentByteCount += all.reduce(0) { $0 + $1.readableBytes }
        return all
    }
}

/// Two ends, with nothing between them but the bytes that the test carries over.
struct Pair {
    let client: End
    let server: End

    /// Carries bytes until both ends are silent; `chunk` cuts them into pieces.
    func exchange(chunk: Int = .max) throws {
        var isMoving = true
        while isMoving {
            isMoving = false
            for (from, to) in [(client, server), (server, client)] {
                for var buffer in try from.takeOutbound() {
                    isMoving = true
                    while let part = buffer.readSlice(length: min(chunk, buffer.readableBytes)),
                        part.readableBytes > 0
                    {
                        if to.channel.isActive { to.channel.pipeline.fireChannelRead(part) }
                    }
                }
            }
            for end in [client, server] { end.channel.embeddedEventLoop.run() }
        }
    }
}

/// This second.
let thisSecond = Timestamp(seconds: Double(Int(Date().timeIntervalSince1970)))

/// A cluster of one node and one user.
struct Cluster {
    let authority: CertificateAuthority
    let node: IdentityBundle
    let user: IdentityBundle

    init(_ name: String = "flock", now: Timestamp = thisSecond, lifetime: Duration = .seconds(3600)) throws {
        authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: name), now: now)
        node = try authority.issueNode(
            NodeID(rawValue: "knot"),
            site: SiteID(rawValue: "coast"),
            role: .worker,
            now: now,
            lifetime: lifetime
        )
        user = try authority.issueUser(UserID(rawValue: "ada"), right: .submit, now: now, lifetime: lifetime)
    }
}

/// Two ends after their handshake, however it ended.
func connect(_ client: IdentityBundle, _ server: IdentityBundle, chunk: Int = .max) throws -> Pair {
    try connect(TLSContext(.client, client), TLSContext(.server, server), chunk: chunk)
}

/// Two ends after their handshake, however it ended.
func connect(_ client: TLSContext, _ server: TLSContext, chunk: Int = .max) throws -> Pair {
    let pair = Pair(client: try End(client), server: try End(server))
    try pair.server.connect()
    try pair.client.connect()
    try pair.exchange(chunk: chunk)
    return pair
}
