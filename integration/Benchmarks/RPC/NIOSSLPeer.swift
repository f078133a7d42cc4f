import NIO
import NIOSSL
import NIOTLS
import TLS

/// The peer: the same echo over the same frames with swift-nio-ssl, written the way NIO programs usually are.
///
/// Frames are cut by a `ByteToMessageHandler`, each answer is one write, and the burst ends with one flush.
enum NIOSSLPeer {
    /// A frame's payload and what an answer needs of its header.
    private struct Frame {
        var kind: UInt8
        var stream: UInt32
        var payload: ByteBuffer

        func encoded(_ allocator: ByteBufferAllocator) -> ByteBuffer {
            var buffer = allocator.buffer(capacity: 10 + payload.readableBytes)
            buffer.writeMultipleIntegers(UInt32(payload.readableBytes), kind, UInt8(1), stream)
            buffer.writeImmutableBuffer(payload)
            return buffer
        }
    }

    private struct FrameDecoder: ByteToMessageDecoder {
        typealias InboundOut = Frame

        mutating func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
            guard let length: UInt32 = buffer.getInteger(at: buffer.readerIndex), length <= 1 << 20,
                buffer.readableBytes >= 10 + Int(length),
                let (_, kind, _, stream) = buffer.readMultipleIntegers(as: (UInt32, UInt8, UInt8, UInt32).self),
                let payload = buffer.readSlice(length: Int(length))
            else { return .needMoreData }
            context.fireChannelRead(wrapInboundOut(Frame(kind: kind, stream: stream, payload: payload)))
            return .continue
        }
    }

    private final class Echo: ChannelInboundHandler {
        typealias InboundIn = Frame
        typealias OutboundOut = ByteBuffer

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var frame = unwrapInboundIn(data)
            frame.kind = 3
            context.write(wrapOutboundOut(frame.encoded(context.channel.allocator)), promise: nil)
        }
        func channelReadComplete(context: ChannelHandlerContext) { context.flush() }
    }

    /// Keeps a number of requests in flight until told to stop.
    private final class Load: ChannelInboundHandler {
        typealias InboundIn = Frame
        typealias OutboundOut = ByteBuffer

        private let payload: ByteBuffer
        private let inFlight: Int
        private let ready: EventLoopPromise<Void>
        private var stream: UInt32 = 0
        private(set) var answerCount = 0

        init(payload: ByteBuffer, inFlight: Int, ready: EventLoopPromise<Void>) {
            (self.payload, self.inFlight, self.ready) = (payload, inFlight, ready)
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard case .handshakeCompleted = event as? TLSUserEvent else { return }
            for _ in 0..<inFlight { send(context) }
            context.flush()
            ready.succeed()
        }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            precondition(unwrapInboundIn(data).payload.readableBytes == payload.readableBytes)
            answerCount += 1
            send(context)
        }
        func channelReadComplete(context: ChannelHandlerContext) { context.flush() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { ready.fail(error) }

        private func send(_ context: ChannelHandlerContext) {
            stream &+= 1
            let frame = Frame(kind: 2, stream: stream, payload: payload)
            context.write(wrapOutboundOut(frame.encoded(context.channel.allocator)), promise: nil)
        }
    }

    private static func configuration(_ bundle: IdentityBundle, isServer: Bool) throws -> TLSConfiguration {
        let pem = Array(try bundle.pem.utf8)
        let certificates = try NIOSSLCertificate.fromPEMBytes(pem)
        let key = try NIOSSLPrivateKey(bytes: pem, format: .pem)
        var configuration =
            isServer
            ? TLSConfiguration.makeServerConfiguration(
                certificateChain: [.certificate(certificates[0])],
                privateKey: .privateKey(key)
            ) : TLSConfiguration.makeClientConfiguration()
        configuration.certificateChain = [.certificate(certificates[0])]
        configuration.privateKey = .privateKey(key)
        configuration.trustRoots = .certificates(Array(certificates.dropFirst()))
        configuration.certificateVerification = .noHostnameVerification
        configuration.minimumTLSVersion = .tlsv13
        return configuration
    }

    /// Round trips per second over one connection.
    static func measure(
        server: IdentityBundle,
        client: IdentityBundle,
        payload: ByteBuffer,
        inFlight: Int,
        serverGroup: any EventLoopGroup,
        clientGroup: any EventLoopGroup,
        time: Duration
    ) async throws -> Double {
        let serverContext = try NIOSSLContext(configuration: configuration(server, isServer: true))
        let clientContext = try NIOSSLContext(configuration: configuration(client, isServer: false))
        let listener = try await ServerBootstrap(group: serverGroup)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        NIOSSLServerHandler(context: serverContext),
                        ByteToMessageHandler(FrameDecoder()), Echo(),
                    ])
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let eventLoop = clientGroup.next()
        let ready = eventLoop.makePromise(of: Void.self)
        let load = NIOLoopBoundBox<Load?>.makeEmptyBox(valueType: Load.self, eventLoop: eventLoop)
        let channel = try await ClientBootstrap(group: eventLoop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = Load(payload: payload, inFlight: inFlight, ready: ready)
                    load.value = handler
                    try channel.pipeline.syncOperations.addHandlers([
                        NIOSSLClientHandler(context: clientContext, serverHostname: nil),
                        ByteToMessageHandler(FrameDecoder()), handler,
                    ])
                }
            }
            .connect(host: "127.0.0.1", port: listener.localAddress?.port ?? 0).get()
        try await ready.futureResult.get()
        let rate = try await rate(time) { try await eventLoop.submit { load.value?.answerCount ?? 0 }.get() }
        try? await channel.close()
        try await listener.close()
        return rate
    }
}

/// Answers per second between two readings of a counter, after a tenth of the time to warm up.
func rate(_ time: Duration, _ count: () async throws -> Int) async throws -> Double {
    try await Task.sleep(for: time / 10)
    let (before, start) = (try await count(), ContinuousClock.now)
    try await Task.sleep(for: time)
    let (after, end) = (try await count(), ContinuousClock.now)
    let (seconds, attoseconds) = (end - start).components
    return Double(after - before) / (Double(seconds) + Double(attoseconds) / 1e18)
}
