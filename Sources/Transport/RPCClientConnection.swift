import ClusterModel
import ControlMessages
import NIO
import SwiftProtobuf
import TLS
import WireFormat

/// What becomes of a call's answer.
enum ClientReceiver: Sendable {
    /// Exactly one message.
    case unary(@Sendable (Result<ByteBuffer, RPCFailure>) -> Void)
    case stream(RPCStreamStorage)
}

/// What tasks tell a client connection.
enum ClientEvent: Sendable {
    case call(stream: UInt32, method: UInt16, ByteBuffer, timeoutMilliseconds: UInt32, ClientReceiver)
    case cancel(stream: UInt32)
    case credit(stream: UInt32, bytes: Int)
    case close
}

/// What both sides said when a connection was made.
struct ClientGreeting: Sendable {
    let peer: PeerIdentity
    let certificate: CertificateSummary?
    let version: ProtocolVersion
    let software: String
}

/// One connection to an agent: all its state on its event loop.
final class RPCClientConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case handshaking
        case awaitingHello(PeerIdentity, timeout: Scheduled<Void>)
        case open
        case ended(RPCFailure)
    }

    private struct Call {
        let receiver: ClientReceiver
        let deadline: NIODeadline?
        var answer: ByteBuffer?
    }

    private let configuration: RPCClientConfiguration
    private let cluster: ClusterID
    private let place: String
    private let greeting: EventLoopPromise<ClientGreeting>
    private var state = State.handshaking
    private var certificate: CertificateSummary?
    private var reader = FrameReader(payloadLimit: helloPayloadLimit)
    private var calls: [UInt32: Call] = [:]
    private var outbound = ByteBuffer()
    private var isReading = false
    private var isFlushScheduled = false
    private var isDraining = false
    private var context: ChannelHandlerContext?
    private var agentFrameLimit = 1 << 20
    private var agentStreamLimit = 128
    private var wakeUpAt: NIODeadline?
    private var hasHeardSinceCheck = true
    private var lifeCheck: Scheduled<Void>?
    private var hasGreeted = false

    init(
        configuration: RPCClientConfiguration,
        cluster: ClusterID,
        place: String,
        greeting: EventLoopPromise<ClientGreeting>
    ) {
        (self.configuration, self.cluster, self.place, self.greeting) = (configuration, cluster, place, greeting)
    }

    // MARK: Life

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        end(RPCFailure(.unavailable, "the connection to \(place) was closed"))
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(
            RPCFailure(
                .unavailable,
                "the agent at \(place) closed the connection: it stopped, or its machine did; try again, or ask another agent"
            )
        )
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case let error as TLSError:
            let code: RPCFailure.Code =
                switch error.code {
                case .truncated, .handshakeTimedOut, .notTLS, .library: .unavailable
                default: .forbidden
                }
            end(RPCFailure(code, "\(place): \(error.message)"))
            if error.code == .truncated { context.close(promise: nil) }
        default:
            end(
                RPCFailure(.unavailable, "the connection to \(place) broke (\(error)): try again, or ask another agent")
            )
            context.close(promise: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let completion = event as? TLSHandshakeCompletion { finishHandshake(context, completion) }
        context.fireUserInboundEventTriggered(event)
    }

    private func finishHandshake(_ context: ChannelHandlerContext, _ completion: TLSHandshakeCompletion) {
        certificate = completion.certificate
        switch completion.peer {
        case .failure(let error): abandon(RPCFailure(.forbidden, "\(place): \(error.message)"))
        case .success(let peer) where peer.cluster != cluster:
            abandon(
                RPCFailure(
                    .forbidden,
                    "the agent at \(place) belongs to cluster \(peer.cluster), our certificate to cluster \(cluster):"
                        + " use the identity file of cluster \(peer.cluster), or another address"
                )
            )
        case .success(.user(_, let user, _)):
            abandon(
                RPCFailure(
                    .forbidden,
                    "what answers at \(place) shows the certificate of user \(user), not of an agent: do not trust this address"
                )
            )
        case .success(let peer):
            let timeout = context.eventLoop.assumeIsolated().scheduleTask(in: configuration.limits.handshakeTimeout) {
                [weak self] () -> Void in
                guard let self else { return }
                self.abandon(
                    RPCFailure(.unavailable, "the agent at \(self.place) did not say hello in time: ask another agent")
                )
            }
            state = .awaitingHello(peer, timeout: timeout)
            let versions = configuration.versions
            outbound.writeFrame(
                .hello,
                stream: 0,
                ByteBuffer(
                    message: WireHello.with { hello in
                        hello.minimumVersion = versions.lowerBound.rawValue
                        hello.maximumVersion = versions.upperBound.rawValue
                        hello.cluster = cluster.rawValue
                        hello.software = configuration.software
                        hello.receiveWindowBytes = UInt32(clamping: configuration.limits.receiveWindowBytes)
                        hello.maximumFrameBytes = UInt32(clamping: configuration.limits.maximumFrameBytes)
                    }
                )
            )
            flushFrames()
        }
    }

    // MARK: Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .ended = state { return }
        isReading = true
        hasHeardSinceCheck = true
        reader.append(unwrapInboundIn(data))
        do {
            while let (header, payload) = try reader.next() {
                receive(header, payload)
                if case .ended = state { return }
                if outbound.readableBytes > gatherLimit { flushFrames() }
            }
        } catch {
            abandon(
                RPCFailure(
                    .unavailable,
                    "what answers at \(place) does not follow the Godwit protocol (\(error)): check the address and the versions"
                )
            )
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        flushFrames()
        context.fireChannelReadComplete()
    }

    private func receive(_ header: FrameHeader, _ payload: ByteBuffer) {
        switch (state, header.kind) {
        case (.awaitingHello(let peer, let timeout), .hello): receiveHello(peer, timeout, payload)
        case (.open, .message): receiveMessage(header, payload)
        case (.open, .trailer): receiveTrailer(header.stream, payload)
        case (_, .goodbye): receiveGoodbye(payload)
        case (.open, .ping): outbound.writeFrame(.pong, stream: 0, payload)
        case (.open, .pong): break
        default:
            abandon(
                RPCFailure(
                    .unavailable,
                    "the agent at \(place) sent a \(header.kind) frame out of place: the versions do not fit, upgrade the older side"
                )
            )
        }
    }

    private func receiveHello(_ peer: PeerIdentity, _ timeout: Scheduled<Void>, _ payload: ByteBuffer) {
        timeout.cancel()
        guard let hello = try? WireHello(serializedBytes: payload.readableBytesSpan),
            hello.minimumVersion <= hello.maximumVersion
        else {
            abandon(
                RPCFailure(.unavailable, "the agent at \(place) did not say hello: check the address and the versions")
            )
            return
        }
        let theirs = ProtocolVersion(rawValue: hello.minimumVersion)...ProtocolVersion(rawValue: hello.maximumVersion)
        guard let version = ProtocolVersion.agreed(configuration.versions, theirs) else {
            let older = theirs.upperBound < configuration.versions.lowerBound ? "agent" : "client"
            abandon(
                RPCFailure(
                    .unimplemented,
                    "the agent at \(place) (\(quoted(hello.software))) speaks protocol versions \(theirs.text), this client"
                        + " (\(configuration.software)) \(configuration.versions.text): upgrade the \(older), which is older"
                )
            )
            return
        }
        agentFrameLimit = hello.maximumFrameBytes == 0 ? 1 << 20 : Int(hello.maximumFrameBytes)
        agentStreamLimit = hello.maximumStreams == 0 ? 128 : Int(hello.maximumStreams)
        reader.payloadLimit = configuration.limits.maximumFrameBytes
        state = .open
        greetOnce(
            .success(ClientGreeting(peer: peer, certificate: certificate, version: version, software: hello.software))
        )
        watchLife()
    }

    private func receiveMessage(_ header: FrameHeader, _ payload: ByteBuffer) {
        // A message for a call that was given up here crossed its cancel frame.
        guard let call = calls[header.stream] else { return }
        switch call.receiver {
        case .unary(let complete):
            if header.endsStream {
                calls[header.stream] = nil
                complete(.success(payload))
            } else {
                calls[header.stream]?.answer = payload
            }
        case .stream(let storage):
            guard storage.receive(payload) else {
                abandon(RPCFailure(.unavailable, "the agent at \(place) sends more than it was asked to: upgrade it"))
                return
            }
            if header.endsStream {
                calls[header.stream] = nil
                storage.finish(.success(()))
            }
        }
    }

    private func receiveTrailer(_ stream: UInt32, _ payload: ByteBuffer) {
        guard let call = calls.removeValue(forKey: stream) else { return }
        guard let trailer = try? WireTrailer(serializedBytes: payload.readableBytesSpan) else {
            answer(
                call,
                .failure(RPCFailure(.internal, "the agent at \(place) ended the call with an unreadable trailer"))
            )
            return
        }
        if trailer.hasFailure {
            answer(call, .failure(RPCFailure(trailer.failure)))
        } else {
            answer(call, .success(()))
        }
    }

    private func receiveGoodbye(_ payload: ByteBuffer) {
        let goodbye = try? WireGoodbye(serializedBytes: payload.readableBytesSpan)
        if let goodbye, goodbye.hasFailure {
            abandon(RPCFailure(goodbye.failure))
        } else {
            isDraining = true
            if calls.isEmpty { close() }
        }
    }

    // MARK: Calls

    /// Handles what tasks asked for, on the loop.
    func receive(_ events: [ClientEvent]) {
        for event in events { handle(event) }
        flushFrames()
    }

    /// Handles one event from code that runs on the loop; what it writes goes out with the burst that is being read.
    func receiveOnLoop(_ event: ClientEvent) {
        handle(event)
        guard !isReading, !isFlushScheduled, let context else { return }
        isFlushScheduled = true
        context.eventLoop.assumeIsolated().execute { [weak self] in
            self?.isFlushScheduled = false
            self?.flushFrames()
        }
    }

    private func handle(_ event: ClientEvent) {
        switch event {
        case .call(let stream, let method, let payload, let timeout, let receiver):
            start(stream, method, payload, timeout, receiver)
        case .cancel(let stream):
            guard let call = calls.removeValue(forKey: stream) else { return }
            answer(call, .failure(RPCFailure(.cancelled, "the call was cancelled")))
            outbound.writeFrame(.cancel, stream: stream)
            closeIfDrained()
        case .credit(let stream, let bytes):
            guard calls[stream] != nil else { return }
            outbound.writeCredit(stream: stream, bytes: UInt32(clamping: bytes))
        case .close: close()
        }
    }

    private func start(
        _ stream: UInt32,
        _ method: UInt16,
        _ payload: ByteBuffer,
        _ timeoutMilliseconds: UInt32,
        _ receiver: ClientReceiver
    ) {
        let deadline = timeoutMilliseconds == 0 ? nil : NIODeadline.now() + .milliseconds(Int64(timeoutMilliseconds))
        let call = Call(receiver: receiver, deadline: deadline)
        if let refusal = refusal(of: stream, payload) {
            answer(call, .failure(refusal))
            return
        }
        calls[stream] = call
        outbound.writeRequest(
            stream: stream,
            method: method,
            timeoutMilliseconds: timeoutMilliseconds,
            payload
        )
        if let deadline { wakeUp(at: deadline) }
        if outbound.readableBytes > gatherLimit { flushFrames() }
    }

    private func refusal(of stream: UInt32, _ payload: ByteBuffer) -> RPCFailure? {
        if case .ended(var failure) = state {
            failure.wasNotBegun = true
            return failure
        }
        if isDraining {
            return RPCFailure(
                .unavailable,
                "the agent at \(place) is stopping: ask another agent, or again in a moment",
                wasNotBegun: true
            )
        }
        if payload.readableBytes + RequestPrefix.byteCount > agentFrameLimit {
            return RPCFailure(
                .exhausted,
                "the request is \(payload.readableBytes) bytes long, more than the \(agentFrameLimit) that the agent takes: shorten it",
                wasNotBegun: true
            )
        }
        if calls.count >= agentStreamLimit || calls[stream] != nil {
            return RPCFailure(
                .exhausted,
                "\(calls.count) calls are in progress on this connection, the most that the agent takes: wait for one to end",
                wasNotBegun: true
            )
        }
        return nil
    }

    private func answer(_ call: Call, _ result: Result<Void, RPCFailure>) {
        switch (call.receiver, result) {
        case (.unary(let complete), .failure(let failure)): complete(.failure(failure))
        case (.unary(let complete), .success):
            if let answer = call.answer {
                complete(.success(answer))
            } else {
                complete(.failure(RPCFailure(.internal, "the agent at \(place) ended the call without an answer")))
            }
        case (.stream(let storage), .failure(let failure)): storage.finish(.failure(failure))
        case (.stream(let storage), .success): storage.finish(.success(()))
        }
        closeIfDrained()
    }

    private func closeIfDrained() {
        if isDraining, calls.isEmpty { close() }
    }

    // MARK: Time

    private func wakeUp(at deadline: NIODeadline) {
        if let wakeUpAt, wakeUpAt <= deadline { return }
        wakeUpAt = deadline
        context?.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [weak self] in
            guard let self, self.wakeUpAt == deadline else { return }
            self.wakeUpAt = nil
            self.expire(.now())
        }
    }

    private func expire(_ now: NIODeadline) {
        for stream in calls.filter({ $0.value.deadline.map { $0 <= now } ?? false }).keys.sorted() {
            guard let call = calls.removeValue(forKey: stream) else { continue }
            answer(
                call,
                .failure(
                    RPCFailure(
                        .deadlineExceeded,
                        "the agent at \(place) did not answer in time: allow more time, or look at its load with `godwit status`"
                    )
                )
            )
            outbound.writeFrame(.cancel, stream: stream)
        }
        flushFrames()
        if let next = calls.values.compactMap(\.deadline).min() { wakeUp(at: next) }
    }

    /// Asks an agent that has been silent whether it is there, and gives up when it stays silent.
    private func watchLife() {
        let interval = configuration.lifeCheckInterval
        lifeCheck = context?.eventLoop.assumeIsolated().scheduleTask(in: interval) { [weak self] () -> Void in
            guard let self else { return }
            if self.calls.isEmpty || self.hasHeardSinceCheck {
                self.hasHeardSinceCheck = self.calls.isEmpty
                if !self.calls.isEmpty {
                    self.outbound.writeFrame(.ping, stream: 0, ByteBuffer(integer: UInt64(0)))
                    self.flushFrames()
                }
                self.watchLife()
            } else {
                self.abandon(
                    RPCFailure(
                        .unavailable,
                        "the agent at \(self.place) has not answered for \(interval.seconds) s: its machine or the network is"
                            + " down; ask another agent"
                    )
                )
            }
        }
    }

    // MARK: End

    private func close() {
        flushFrames()
        end(RPCFailure(.unavailable, "the connection to \(place) was closed"))
        context?.close(promise: nil)
    }

    private func abandon(_ failure: RPCFailure) {
        end(failure)
        context?.close(promise: nil)
    }

    private func end(_ failure: RPCFailure) {
        if case .ended = state { return }
        if case .awaitingHello(_, let timeout) = state { timeout.cancel() }
        state = .ended(failure)
        lifeCheck?.cancel()
        lifeCheck = nil
        reader = FrameReader(payloadLimit: 0)
        greetOnce(.failure(failure))
        let open = calls
        calls = [:]
        for stream in open.keys.sorted() {
            if let call = open[stream] { answer(call, .failure(failure)) }
        }
    }

    private func greetOnce(_ result: Result<ClientGreeting, RPCFailure>) {
        guard !hasGreeted else { return }
        hasGreeted = true
        greeting.completeWith(result.mapError { $0 as any Error })
    }

    private func flushFrames() {
        guard outbound.readableBytes > 0, let context else { return }
        let frames = outbound
        outbound = context.channel.allocator.buffer(capacity: min(frames.readableBytes, 4096))
        context.writeAndFlush(wrapOutboundOut(frames), promise: nil)
    }
}
