import ClusterModel
import ControlMessages
import Foundation
import NIO
import SwiftProtobuf
import Synchronization
import TLS
import Transport

/// A cluster's certificates, made anew for each test.
struct TestCluster: Sendable {
    static let now = Timestamp(seconds: Double(Int(Date().timeIntervalSince1970)))
    let authority: CertificateAuthority
    let node: IdentityBundle

    init(_ name: String = "flock") throws {
        authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: name), now: Self.now)
        node = try authority.issueNode(
            NodeID(rawValue: "knot"),
            site: SiteID(rawValue: "coast"),
            role: .worker,
            now: Self.now
        )
    }

    func user(_ right: UserRight = .admin, lifetime: Duration = .seconds(3600)) throws -> IdentityBundle {
        try authority.issueUser(UserID(rawValue: "ada"), right: right, now: Self.now, lifetime: lifetime)
    }
}

/// Waits for a value that other tasks give: what replaces sleeping in these tests.
///
/// A value that never comes is ended by the suite's time limit, which cancels the wait.
final class Signal<Value: Sendable>: Sendable {
    private let values: AsyncStream<Value>
    private let continuation: AsyncStream<Value>.Continuation
    private let last = Mutex<Value?>(nil)

    init() { (values, continuation) = AsyncStream.makeStream() }

    func give(_ value: Value) {
        last.withLock { $0 = $0 ?? value }
        continuation.yield(value)
        continuation.finish()
    }

    func wait() async throws -> Value {
        for await _ in values {}
        guard let value = last.withLock({ $0 }) else { throw CancellationError() }
        return value
    }
}

/// Waits until the calling task is cancelled: a handler that works until nobody wants its answer.
func untilCancelled() async {
    let (events, continuation) = AsyncStream.makeStream(of: Void.self)
    for await _ in events {}
    withExtendedLifetime(continuation) {}
}

/// Waits until the server's own figures say what the test expects; they change on another thread and tell nobody.
func until(_ what: String, _ isTrue: () -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while !isTrue() {
        guard ContinuousClock.now < deadline else { throw RPCFailure(.deadlineExceeded, "never came true: \(what)") }
        try await Task.sleep(for: .milliseconds(1))  // polls: figures that sockets change on the server's event loops
    }
}

/// A handler made of a closure.
struct ClosureHandler: RPCHandler {
    var body: @Sendable (RPCCall) async throws -> Void
    var atOnce: @Sendable (RPCRequest) -> ByteBuffer? = { _ in nil }
    func handle(_ call: RPCCall) async throws { try await body(call) }
    var patiently: @Sendable (RPCRequest) -> Bool = { _ in false }
    func answerAtOnce(_ request: RPCRequest) -> ByteBuffer? { atOnce(request) }
    func mayWait(_ request: RPCRequest) -> Bool { patiently(request) }
}

/// Runs a server for the length of a test.
func withServer(
    _ cluster: TestCluster,
    configuration: RPCServerConfiguration = RPCServerConfiguration(software: "godwitd test"),
    handle: @escaping @Sendable (RPCCall) async throws -> Void = { _ in },
    atOnce: @escaping @Sendable (RPCRequest) -> ByteBuffer? = { _ in nil },
    patiently: @escaping @Sendable (RPCRequest) -> Bool = { _ in false },
    body: (RPCServer, Int) async throws -> Void
) async throws {
    let server = RPCServer(
        configuration: configuration,
        tls: try TLSContext(.server, cluster.node),
        group: MultiThreadedEventLoopGroup.singleton,
        handler: ClosureHandler(body: handle, atOnce: atOnce, patiently: patiently)
    )
    let address = try await server.start(host: "127.0.0.1", port: 0)
    do {
        try await body(server, address.port ?? 0)
    } catch {
        await server.shutdown(grace: .zero)
        throw error
    }
    await server.shutdown(grace: .zero)
}

func connect(
    _ bundle: IdentityBundle,
    _ port: Int,
    configuration: RPCClientConfiguration = RPCClientConfiguration(software: "godwit test")
) async throws -> RPCClient {
    try await RPCClient.connect(
        host: "127.0.0.1",
        port: port,
        tls: TLSContext(.client, bundle),
        configuration: configuration,
        group: MultiThreadedEventLoopGroup.singleton
    )
}

/// The failure of a call that must fail.
func failure(of body: () async throws -> Void) async -> RPCFailure? {
    do {
        try await body()
        return nil
    } catch {
        return error as? RPCFailure
    }
}

extension WireJobLogsReply {
    /// One line of the given length.
    static func line(_ count: Int, number: Int = 0) -> WireJobLogsReply {
        WireJobLogsReply.with { reply in
            reply.lines = [
                WireLogLine.with {
                    $0.text = Data(repeating: 120, count: count)
                    $0.timeUnixSeconds = Double(number)
                }
            ]
        }
    }
}

/// Speaks raw frames over TLS: a client that can misbehave.
struct RawClient: Sendable {
    let channel: any Channel
    private let received: AsyncStream<ByteBuffer>

    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let continuation: AsyncStream<ByteBuffer>.Continuation
        init(_ continuation: AsyncStream<ByteBuffer>.Continuation) { self.continuation = continuation }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) { continuation.yield(unwrapInboundIn(data)) }
        func channelInactive(context: ChannelHandlerContext) { continuation.finish() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) {}
    }

    /// Connects; when `reads` is false the client never takes a byte after the handshake.
    init(_ bundle: IdentityBundle, _ port: Int) async throws {
        let tls = try TLSContext(.client, bundle)
        let (received, continuation) = AsyncStream.makeStream(of: ByteBuffer.self)
        self.received = received
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.socketOption(.so_rcvbuf), value: 4096)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try TLSHandler(context: tls, handshakeTimeout: .seconds(5))
                    try channel.pipeline.syncOperations.addHandlers(handler, Collector(continuation))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
    }

    func send(_ bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)) }

    /// All that the other side sends until it closes.
    func readToEnd() async -> [UInt8] {
        var all: [UInt8] = []
        for await part in received { all.append(contentsOf: part.readableBytesView) }
        return all
    }
}
