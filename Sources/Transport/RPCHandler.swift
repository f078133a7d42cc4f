package import ControlMessages
package import NIO
package import SwiftProtobuf
import Synchronization
package import TLS

/// What an agent does with calls.
package protocol RPCHandler: Sendable {
    /// Answers a call: `reply` once, or `send` many times; returning ends the stream.
    ///
    /// Runs in a task of its own, which is cancelled when the caller cancels, its time limit is over or it is gone. A thrown
    /// `RPCFailure` reaches the caller as it is; any other error reaches it as `internal`.
    func handle(_ call: RPCCall) async throws

    /// Answers a cheap call on the event loop, without a task; nil hands it to `handle`.
    ///
    /// - Returns: the reply message's bytes. It must take microseconds and never wait: all connections of the loop wait with it.
    func answerAtOnce(_ request: RPCRequest) -> ByteBuffer?

    /// Whether what `answerAtOnce` gave may wait a tenth of a second for others that leave with it.
    ///
    /// For receipts that nobody waits for: a packet of its own costs both sides more than what is in it.
    func mayWait(_ request: RPCRequest) -> Bool
}

extension RPCHandler {
    /// Hands every call to `handle`.
    package func answerAtOnce(_ request: RPCRequest) -> ByteBuffer? { nil }

    /// Sends every answer at once.
    package func mayWait(_ request: RPCRequest) -> Bool { false }
}

/// A request as it arrived.
package struct RPCRequest: Sendable {
    package let method: WireMethod
    /// The request message.
    package let payload: ByteBuffer
    /// Who asks, by its certificate; it belongs to our cluster.
    package let peer: PeerIdentity
    /// What its certificate says besides; nil when somebody else passed the request on.
    package let certificate: CertificateSummary?

    package init(
        method: WireMethod,
        payload: ByteBuffer,
        peer: PeerIdentity,
        certificate: CertificateSummary? = nil
    ) {
        (self.method, self.payload, self.peer) = (method, payload, peer)
        self.certificate = certificate
    }

    /// Reads the request message.
    ///
    /// - Throws: `RPCFailure` with code `invalid`.
    package func decode<Request: Message>(_ type: Request.Type = Request.self) throws -> Request {
        do {
            return try Request(serializedBytes: payload.readableBytesSpan)
        } catch {
            throw RPCFailure(
                .invalid,
                "the request is not a \(Request.protoMessageName) message: the client's version does not fit, upgrade the older side"
            )
        }
    }

    /// Checks that the caller has the right, and says who could give it.
    package func require(_ right: UserRight) throws {
        guard peer.right >= right else {
            throw RPCFailure(
                .forbidden,
                "\(peer) may not do this: it takes the right \(right.rawValue);"
                    + " ask the cluster's administrator for a certificate made with `godwit ca issue --right \(right.rawValue)`"
            )
        }
    }
}

/// Where the answer to a call goes.
///
/// A connection is one; whoever passes calls on between agents, or runs a handler without a network, may be another.
package protocol RPCSink: Sendable {
    /// Takes the one answer of a unary call.
    func reply(_ bytes: ByteBuffer)

    /// Takes one message of a streamed answer; returns when its reader has room for it.
    ///
    /// - Throws: `CancellationError` when nobody reads any more.
    func send(_ bytes: ByteBuffer) async throws
}

/// A call in progress, as its handler sees it.
package final class RPCCall: Sendable {
    package let request: RPCRequest
    /// When the caller stops waiting; nil: never.
    ///
    /// The task is cancelled then.
    package let deadline: ContinuousClock.Instant?
    /// Where the answer goes.
    package let sink: any RPCSink
    private let hasReplied = Mutex(false)

    package init(request: RPCRequest, deadline: ContinuousClock.Instant?, sink: any RPCSink) {
        (self.request, self.deadline, self.sink) = (request, deadline, sink)
    }

    /// Which method is called; always one that this version knows.
    package var method: WireMethod { request.method }
    /// The request message.
    package var payload: ByteBuffer { request.payload }
    /// Who asks, by its certificate; it belongs to our cluster.
    package var peer: PeerIdentity { request.peer }

    /// Reads the request message; throws `RPCFailure` with code `invalid`.
    package func decode<Request: Message>(_ type: Request.Type = Request.self) throws -> Request {
        try request.decode(type)
    }

    /// Checks that the caller has the right; throws `RPCFailure` with code `forbidden`.
    package func require(_ right: UserRight) throws { try request.require(right) }

    /// Gives the one answer of a unary call.
    ///
    /// - Precondition: neither `reply` nor `send` was called before.
    package func reply(_ message: some Message) {
        let isFirst = hasReplied.withLock { hasReplied in
            defer { hasReplied = true }
            return !hasReplied
        }
        precondition(isFirst, "method \(method) was answered twice")
        sink.reply(ByteBuffer(message: message))
    }

    /// Gives one message of a stream.
    ///
    /// Returns when the caller's credit allowed to send it, so a slow reader slows the handler down.
    ///
    /// - Throws: `CancellationError` when nobody reads any more.
    package func send(_ message: some Message) async throws {
        hasReplied.withLock { $0 = true }
        try await sink.send(ByteBuffer(message: message))
    }
}

/// A stream of a connection.
struct ConnectionSink: RPCSink {
    let stream: UInt32
    let queue: LoopQueue<ServerEvent>

    func reply(_ bytes: ByteBuffer) { queue.push(.reply(stream: stream, bytes)) }

    func send(_ bytes: ByteBuffer) async throws {
        try Task.checkCancellation()
        // A cancelled task is not resumed by itself here: whatever cancels it on the loop (cancel frame, time limit, end of the
        // connection) also answers the waiting send.
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                queue.push(.send(stream: stream, bytes, continuation))
            }
        } onCancel: {
            queue.push(.stopSending(stream: stream))
        }
    }
}

/// What tasks tell a server connection.
enum ServerEvent: Sendable {
    case reply(stream: UInt32, ByteBuffer)
    case send(stream: UInt32, ByteBuffer, CheckedContinuation<Void, any Error>)
    /// The handler's task was cancelled; what it waits for is refused.
    case stopSending(stream: UInt32)
    case finished(stream: UInt32, RPCFailure?)
    /// The server stops: no new streams; close when the open ones are done.
    case drain
    /// The peer is sent away, with the reason.
    case disconnect(RPCFailure)
    /// The server stops now.
    case abort
}
