import Glibc
package import ControlMessages
package import NIO
package import SwiftProtobuf
import Synchronization
package import TLS
package import WireFormat

/// How an RPC client behaves.
package struct RPCClientConfiguration: Sendable {
    package var limits: RPCLimits
    /// Name and version for people: `godwit 1.0.0`.
    package var software: String
    /// Protocol versions spoken.
    package var versions: ClosedRange<ProtocolVersion>
    /// Time for the TCP connection.
    package var connectTimeout: TimeAmount
    /// While calls are open, an agent that is silent for so long is asked whether it is there; after as long again it is given up.
    package var lifeCheckInterval: TimeAmount

    package init(
        software: String,
        limits: RPCLimits = .client,
        versions: ClosedRange<ProtocolVersion> = ProtocolVersion.supported,
        connectTimeout: TimeAmount = .seconds(5),
        lifeCheckInterval: TimeAmount = .seconds(10)
    ) {
        (self.software, self.limits, self.versions) = (software, limits, versions)
        (self.connectTimeout, self.lifeCheckInterval) = (connectTimeout, lifeCheckInterval)
    }
}

/// A connection to an agent, on which any number of tasks may call at once.
///
/// Answers may arrive in any order. When the connection ends, every open call fails with `unavailable`; connect anew.
package final class RPCClient: Sendable {
    /// The agent, by its certificate.
    package let peer: PeerIdentity
    /// What the agent's certificate says besides.
    package let certificate: CertificateSummary?
    /// The agent's software: `godwitd 1.0.0`.
    package let agentSoftware: String
    /// The protocol version that both sides agreed on.
    package let version: ProtocolVersion
    /// Where all of this connection's work is done.
    package let eventLoop: any EventLoop

    private let channel: any Channel
    private let queue: LoopQueue<ClientEvent>
    private let connection: NIOLoopBound<RPCClientConnection>
    private let window: Int
    private let nextStream = Atomic<UInt32>(1)
    private let isClosed = Atomic(false)

    private init(
        _ channel: any Channel,
        _ queue: LoopQueue<ClientEvent>,
        _ connection: NIOLoopBound<RPCClientConnection>,
        _ greeting: ClientGreeting,
        window: Int
    ) {
        (self.channel, self.queue, self.connection, self.window) = (channel, queue, connection, window)
        (peer, agentSoftware, version) = (greeting.peer, greeting.software, greeting.version)
        certificate = greeting.certificate
        eventLoop = channel.eventLoop
    }

    deinit {
        // After `close` the event loop may be gone already.
        if !isClosed.load(ordering: .acquiring) { channel.close(promise: nil) }
    }

    /// Connects, shakes hands and exchanges hellos.
    ///
    /// - Throws: `RPCFailure`: `unavailable` when another agent may do, `forbidden` when the certificates do not fit, `unimplemented`
    ///   when the versions do not.
    package static func connect(
        host: String,
        port: Int,
        tls: TLSContext,
        configuration: RPCClientConfiguration,
        group: any EventLoopGroup
    ) async throws -> RPCClient {
        precondition(tls.role == .client, "an RPC client needs a client's TLS context")
        let place = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        let eventLoop = group.next()
        let greeting = eventLoop.makePromise(of: ClientGreeting.self)
        let connection = NIOLoopBoundBox<RPCClientConnection?>.makeEmptyBox(
            valueType: RPCClientConnection.self,
            eventLoop: eventLoop
        )
        let cluster = tls.identity.cluster
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(configuration.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.writeBufferWaterMark, value: .init(low: 64 << 10, high: 512 << 10))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = RPCClientConnection(
                        configuration: configuration,
                        cluster: cluster,
                        place: place,
                        greeting: greeting
                    )
                    connection.value = handler
                    let tlsHandler = try TLSHandler(
                        context: tls,
                        handshakeTimeout: configuration.limits.handshakeTimeout
                    )
                    try channel.pipeline.syncOperations.addHandlers(tlsHandler, handler)
                }
            }
        let channel: any Channel
        do {
            // A literal address needs no resolver, and no thread for it.
            if let address = try? SocketAddress(ipAddress: host, port: port) {
                channel = try await bootstrap.connect(to: address).get()
            } else {
                channel = try await bootstrap.connect(host: host, port: port).get()
            }
        } catch {
            let failure = connectFailure(error, place: place, timeout: configuration.connectTimeout)
            greeting.fail(failure)
            throw failure
        }
        let hello = try await withTaskCancellationHandler {
            try await greeting.futureResult.get()
        } onCancel: {
            channel.close(promise: nil)
        }
        return try await eventLoop.submit {
            guard let handler = connection.value else {
                throw RPCFailure(.unavailable, "the connection to \(place) was closed")
            }
            let queue = LoopQueue<ClientEvent>(eventLoop) { handler.receive($0) }
            return RPCClient(
                channel,
                queue,
                NIOLoopBound(handler, eventLoop: eventLoop),
                hello,
                window: configuration.limits.receiveWindowBytes
            )
        }.get()
    }

    /// Calls a method that answers once.
    ///
    /// After `timeout`, rounded up to milliseconds, both sides give up; nil waits as long as it takes. Throws `RPCFailure`; also for a
    /// cancelled task, with code `cancelled`.
    package func call<Reply: Message>(
        _ method: WireMethod,
        _ request: some Message,
        timeout: Duration?,
        reply: Reply.Type = Reply.self
    ) async throws -> Reply {
        let answer = try await call(method, payload: ByteBuffer(message: request), timeout: timeout)
        do {
            return try Reply(serializedBytes: answer.readableBytesSpan)
        } catch {
            throw RPCFailure(
                .internal,
                "the agent's answer is not a \(Reply.protoMessageName) message: the versions do not fit, upgrade the older side"
            )
        }
    }

    /// Calls a method that answers once, with messages that are in their binary form already.
    ///
    /// Otherwise like `call` with messages.
    package func call(_ method: WireMethod, payload: ByteBuffer, timeout: Duration?) async throws -> ByteBuffer {
        let stream = takeStream()
        let milliseconds = Self.milliseconds(timeout)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<ByteBuffer, any Error>) in
                queue.push(
                    .call(
                        stream: stream,
                        method: UInt16(method.rawValue),
                        payload,
                        timeoutMilliseconds: milliseconds,
                        .unary { result in continuation.resume(with: result.mapError { $0 as any Error }) }
                    )
                )
            }
        } onCancel: {
            queue.push(.cancel(stream: stream))
        }
    }

    /// Calls a method that answers once, from any thread and without a task; `complete` is called on `eventLoop`, later.
    ///
    /// Calls made from one thread reach the agent in their order.
    package func call(
        _ method: WireMethod,
        payload: ByteBuffer,
        timeout: Duration?,
        _ complete: @escaping @Sendable (Result<ByteBuffer, RPCFailure>) -> Void
    ) {
        queue.push(
            .call(
                stream: takeStream(),
                method: UInt16(method.rawValue),
                payload,
                timeoutMilliseconds: Self.milliseconds(timeout),
                .unary(complete)
            )
        )
    }

    /// Calls a method that answers with a stream.
    ///
    /// `timeout` is for the whole stream; nil lets it run until one side ends it.
    package func stream<Reply: Message>(
        _ method: WireMethod,
        _ request: some Message,
        timeout: Duration? = nil,
        reply: Reply.Type = Reply.self
    ) -> RPCStream<Reply> {
        RPCStream(bytes: stream(method, payload: ByteBuffer(message: request), timeout: timeout))
    }

    /// Calls a method that answers with a stream, with messages in their binary form.
    package func stream(_ method: WireMethod, payload: ByteBuffer, timeout: Duration? = nil) -> RPCByteStream {
        let stream = takeStream()
        let storage = RPCStreamStorage(stream: stream, window: window, queue: queue)
        queue.push(
            .call(
                stream: stream,
                method: UInt16(method.rawValue),
                payload,
                timeoutMilliseconds: Self.milliseconds(timeout),
                .stream(storage)
            )
        )
        return RPCByteStream(storage)
    }

    /// Calls a method from code that runs on `eventLoop`, without a task; `complete` is called there.
    ///
    /// This is the way for a proxy that forwards messages it need not read. Calls made while an answer is handed over go out together.
    package func callOnLoop(
        _ method: WireMethod,
        payload: ByteBuffer,
        timeout: Duration?,
        _ complete: @escaping @Sendable (Result<ByteBuffer, RPCFailure>) -> Void
    ) {
        connection.value.receiveOnLoop(
            .call(
                stream: takeStream(),
                method: UInt16(method.rawValue),
                payload,
                timeoutMilliseconds: Self.milliseconds(timeout),
                .unary(complete)
            )
        )
    }

    /// Calls `body` on the event loop when the connection has ended, for whatever reason; at once if it has already.
    package func whenClosed(_ body: @escaping @Sendable () -> Void) {
        channel.closeFuture.whenComplete { _ in body() }
    }

    /// Closes the connection; open calls fail.
    ///
    /// Returns when it is closed.
    package func close() async {
        queue.push(.close)
        _ = try? await channel.closeFuture.get()
        isClosed.store(true, ordering: .releasing)
    }

    /// A number that no open call has: it would have to stay open for four billion others.
    private func takeStream() -> UInt32 {
        while true {
            let stream = nextStream.wrappingAdd(1, ordering: .relaxed).oldValue
            if stream != 0 { return stream }
        }
    }

    private static func milliseconds(_ timeout: Duration?) -> UInt32 {
        guard let timeout else { return 0 }
        let (seconds, attoseconds) = timeout.components
        let whole = seconds.multipliedReportingOverflow(by: 1000)
        let part = (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        return whole.overflow ? .max : max(1, UInt32(clamping: whole.partialValue + part))
    }

    private static func connectFailure(_ error: any Error, place: String, timeout: TimeAmount) -> RPCFailure {
        let why: String
        switch error {
        case let error as RPCFailure: return error
        case let error as TLSError: return RPCFailure(.forbidden, "\(place): \(error.message)")
        case let error as IOError where error.errnoCode == ECONNREFUSED:
            why = "connection refused: is godwitd running there?"
        case let error as IOError where [EHOSTUNREACH, ENETUNREACH].contains(error.errnoCode):
            why = "no way to that machine: check the address and the network"
        case let error as IOError: why = "\(error.description)"
        case let error as ChannelError:
            if case .connectTimeout = error {
                why = "nothing answered within \(timeout.seconds) s: check the address, the firewall and the machine"
            } else {
                why = "\(error)"
            }
        case let error as NIOConnectionError:
            if error.dnsAError != nil || error.dnsAAAAError != nil, error.connectionErrors.isEmpty {
                why = "the name is not known: check it, or use the machine's address"
            } else if let first = error.connectionErrors.first {
                return connectFailure(first.error, place: place, timeout: timeout)
            } else {
                why = "no address could be reached"
            }
        default: why = "\(error)"
        }
        return RPCFailure(.unavailable, "no agent answers at \(place): \(why)")
    }
}
