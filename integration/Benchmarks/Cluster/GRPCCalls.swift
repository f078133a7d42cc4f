import NIO

/// gRPC calls with one message each way over one HTTP/2 connection without TLS: as little as etcd's own clients do, and less.
///
/// What a peer's client costs is taken from the peer on a machine that runs both, so it had better be small. Windows are opened wide
/// once; answers' headers are not looked at, since a call that failed is one that ends without a message.
final class GRPCCalls: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct Call {
        var answer: [UInt8] = []
        var promise: EventLoopPromise<[UInt8]>
    }

    private enum Kind: UInt8 {
        case data = 0
        case headers, priority, reset, settings, push, ping, goAway, window, continuation
    }

    private var received = ByteBuffer()
    private var calls: [UInt32: Call] = [:]
    private var nextStream: UInt32 = 1
    /// Bytes of data that the server still takes on this connection, and what waits for more.
    private var window = 65_535
    private var waiting: [ByteBuffer] = []
    private var context: ChannelHandlerContext?

    private static let openWindow: UInt32 = 1 << 30

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        var buffer = context.channel.allocator.buffer(capacity: 64)
        buffer.writeString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        // SETTINGS_INITIAL_WINDOW_SIZE
        Self.writeHeader(of: .settings, flags: 0, stream: 0, length: 6, to: &buffer)
        buffer.writeMultipleIntegers(UInt16(4), Self.openWindow)
        Self.writeHeader(of: .window, flags: 0, stream: 0, length: 4, to: &buffer)
        buffer.writeInteger(Self.openWindow)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// Sends a request; fails the promise when the connection ends first or the server refuses.
    func begin(_ path: String, _ message: [UInt8], timeout: TimeAmount, promise: EventLoopPromise<[UInt8]>) {
        guard let context, context.channel.isActive else { return promise.fail(ChannelError.ioOnClosedChannel) }
        let stream = nextStream
        nextStream += 2
        calls[stream] = Call(promise: promise)
        var block = ByteBuffer()
        // Of HPACK's static table: POST, http; then literals that are not remembered.
        block.writeBytes([0x83, 0x86])
        for (name, value) in [([0x04], path), ([0x01], "127.0.0.1"), ([0x0f, 0x10], "application/grpc")] {
            block.writeBytes(name.map(UInt8.init))
            block.writeInteger(UInt8(value.utf8.count))
            block.writeString(value)
        }
        block.writeBytes([0x00, 2] + Array("te".utf8) + [8] + Array("trailers".utf8))
        var buffer = context.channel.allocator.buffer(capacity: 256)
        Self.writeHeader(of: .headers, flags: 4, stream: stream, length: block.readableBytes, to: &buffer)
        buffer.writeBuffer(&block)
        context.write(wrapOutboundOut(buffer), promise: nil)
        var data = context.channel.allocator.buffer(capacity: 256)
        Self.writeHeader(of: .data, flags: 1, stream: stream, length: message.count + 5, to: &data)
        data.writeInteger(UInt8(0))
        data.writeInteger(UInt32(message.count))
        data.writeBytes(message)
        waiting.append(data)
        sendWaiting(context)
        context.eventLoop.assumeIsolated().scheduleTask(in: timeout) {
            guard let call = self.calls.removeValue(forKey: stream) else { return }
            var buffer = ByteBuffer()
            Self.writeHeader(of: .reset, flags: 0, stream: stream, length: 4, to: &buffer)
            buffer.writeInteger(UInt32(8))
            self.context?.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
            call.promise.fail(BenchmarkFailure("the peer did not answer \(path) in time"))
        }
    }

    private func sendWaiting(_ context: ChannelHandlerContext) {
        while let next = waiting.first, next.readableBytes - 9 <= window {
            window -= next.readableBytes - 9
            waiting.removeFirst()
            context.write(wrapOutboundOut(next), promise: nil)
        }
        context.flush()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        received.writeBuffer(&buffer)
        while received.readableBytes >= 9,
            let (high, low, kind, flags, stream) = received.getMultipleIntegers(
                at: received.readerIndex,
                as: (UInt8, UInt16, UInt8, UInt8, UInt32).self
            ),
            received.readableBytes >= 9 + (Int(high) << 16 | Int(low))
        {
            received.moveReaderIndex(forwardBy: 9)
            guard let payload = received.readSlice(length: Int(high) << 16 | Int(low)) else { return }
            take(Kind(rawValue: kind), flags, stream & 0x7fff_ffff, payload, context)
        }
        received.discardReadBytes()
    }

    private func take(
        _ kind: Kind?,
        _ flags: UInt8,
        _ stream: UInt32,
        _ payload: ByteBuffer,
        _ context: ChannelHandlerContext
    ) {
        var payload = payload
        switch kind {
        case .data:
            calls[stream]?.answer += payload.readableBytesView
            if flags & 1 != 0 { end(stream) }
        case .headers where flags & 1 != 0: end(stream)
        case .reset: end(stream)
        case .settings where flags & 1 == 0: acknowledge(.settings, ByteBuffer(), context)
        case .ping where flags & 1 == 0: acknowledge(.ping, payload, context)
        case .window where stream == 0:
            window += Int(payload.readInteger(as: UInt32.self) ?? 0)
            sendWaiting(context)
        case .goAway: context.close(promise: nil)
        default: break
        }
    }

    private func acknowledge(_ kind: Kind, _ payload: ByteBuffer, _ context: ChannelHandlerContext) {
        var buffer = ByteBuffer()
        Self.writeHeader(of: kind, flags: 1, stream: 0, length: payload.readableBytes, to: &buffer)
        buffer.writeImmutableBuffer(payload)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    private func end(_ stream: UInt32) {
        guard let call = calls.removeValue(forKey: stream) else { return }
        // A byte that says whether it is compressed, four for the length.
        guard call.answer.count >= 5 else { return call.promise.fail(BenchmarkFailure("the peer refused the call")) }
        call.promise.succeed(Array(call.answer.dropFirst(5)))
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        for call in calls.values { call.promise.fail(ChannelError.eof) }
        calls = [:]
        waiting = []
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private static func writeHeader(
        of kind: Kind,
        flags: UInt8,
        stream: UInt32,
        length: Int,
        to buffer: inout ByteBuffer
    ) {
        buffer.writeMultipleIntegers(UInt8(length >> 16), UInt16(length & 0xffff), kind.rawValue, flags, stream)
    }
}
