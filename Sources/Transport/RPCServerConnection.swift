import ClusterModel
import ControlMessages
import NIO
import SwiftProtobuf
import TLS
import WireFormat

/// One accepted connection: frames in, frames out, all its state on its event loop.
final class RPCServerConnection: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case handshaking
        case awaitingHello(PeerIdentity, timeout: Scheduled<Void>)
        case open(PeerIdentity)
        /// Takes no new streams and closes when the last one ends.
        case draining(PeerIdentity)
        /// Nothing is read any more.
        case ended
    }

    /// A call that is not answered at once.
    private struct Stream {
        var task: Task<Void, Never>?
        /// Bytes that the caller takes; a message may be sent while this is above zero and may make it negative.
        var credit: Int
        var deadline: NIODeadline?
        var requestByteCount: Int
        var waiting: [(bytes: ByteBuffer, sent: CheckedContinuation<Void, any Error>?)] = []
        /// The last frame was sent, or the caller wants none; the entry stays until the handler has returned, so that the bound on
        /// streams bounds the work as well.
        var isSilent = false
        /// What the handler ended with while messages were still waiting.
        var ending: RPCFailure??
    }

    private let server: RPCServer
    /// Those of the server until the peer is known, then those that hold for it.
    private var limits: RPCLimits
    private var state = State.handshaking
    private var certificate: CertificateSummary?
    private var reader = FrameReader(payloadLimit: helloPayloadLimit)
    private var streams: [UInt32: Stream] = [:]
    private var outbound = ByteBuffer()
    /// Answers that wait for others to leave with.
    private var patient = (frames: ByteBuffer(), count: 0)
    private var patienceEnd: Scheduled<Void>?
    private var queue: LoopQueue<ServerEvent>?
    private var context: ChannelHandlerContext?
    private var initialCredit = 0
    private var peerFrameLimit = 1 << 20
    private var heldByteCount = 0
    private var requestByteCount = 0
    private var lastFrameAt = NIODeadline.now()
    private var wakeUpAt: NIODeadline?
    private var slowReaderCheck: Scheduled<Void>?
    private var idleCheck: Scheduled<Void>?
    private var isReadHeldBack = false

    init(server: RPCServer) {
        self.server = server
        limits = server.configuration.limits
    }

    // MARK: Life

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let queue = LoopQueue<ServerEvent>(context.eventLoop) { [weak self] events in
            guard let self else {
                Self.answerAfterEnd(events)
                return
            }
            self.receive(events)
        }
        self.queue = queue
        server.register(queue, for: context.channel)
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelInactive(context: ChannelHandlerContext) {
        if case .awaitingHello(_, let timeout) = state { timeout.cancel() }
        end()
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let completion = event as? TLSHandshakeCompletion { finishHandshake(context, completion) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if case .handshaking = state, let error = error as? TLSError {
            report(.refused(address: address, error.message))
        }
        // TLS closes the channel by itself after a failed handshake, when the peer had time to read the alert.
        if let error = error as? TLSError, error.code != .truncated { return }
        context.close(promise: nil)
    }

    private func finishHandshake(_ context: ChannelHandlerContext, _ completion: TLSHandshakeCompletion) {
        server.handshakeEnded(context.channel, completion.certificate)
        certificate = completion.certificate
        switch completion.peer {
        case .failure(let error): refuse(RPCFailure(.forbidden, error.message))
        case .success(let peer) where peer.cluster != server.cluster:
            refuse(
                RPCFailure(
                    .forbidden,
                    "this agent belongs to cluster \(server.cluster), but the certificate is for cluster \(peer.cluster):"
                        + " use the identity file of cluster \(server.cluster)"
                )
            )
        case .success(let peer):
            limits = limits.fitting(peer)
            let timeout = context.eventLoop.assumeIsolated().scheduleTask(in: limits.handshakeTimeout) {
                [weak self] () -> Void in
                self?.refuse(
                    RPCFailure(.deadlineExceeded, "the client did not say hello in time: it is not a Godwit client")
                )
            }
            state = .awaitingHello(peer, timeout: timeout)
            outbound.writeFrame(
                .hello,
                stream: 0,
                ByteBuffer(
                    message: WireHello.with { hello in
                        hello.minimumVersion = server.configuration.versions.lowerBound.rawValue
                        hello.maximumVersion = server.configuration.versions.upperBound.rawValue
                        hello.cluster = server.cluster.rawValue
                        hello.software = server.configuration.software
                        hello.maximumFrameBytes = UInt32(clamping: limits.maximumFrameBytes)
                        hello.maximumStreams = UInt32(clamping: limits.maximumStreamsPerConnection)
                    }
                )
            )
            flushFrames()
        }
    }

    // MARK: Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .ended = state { return }
        reader.append(unwrapInboundIn(data))
        receiveFrames(context)
    }

    /// Takes in what has arrived, as long as the peer takes the answers: one read can hold a thousand requests.
    private func receiveFrames(_ context: ChannelHandlerContext) {
        do {
            while context.channel.isWritable, let (header, payload) = try reader.next() {
                receive(header, payload)
                if case .ended = state { return }
                if outbound.readableBytes > gatherLimit { flushFrames() }
            }
        } catch {
            refuse(
                RPCFailure(
                    .invalid,
                    "the connection carries something that is not a frame of the Godwit protocol (\(error)):"
                        + " use a `godwit` command that fits this agent's version"
                )
            )
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flushFrames()
        context.fireChannelReadComplete()
    }

    /// Reads no more from a peer that does not take what it asked for.
    ///
    /// Messages that wait for credit do not count: the credit they wait for has to be read.
    func read(context: ChannelHandlerContext) {
        if case .ended = state {
            // What a refused peer still sends is thrown away, or its end would not be seen.
            context.read()
        } else if context.channel.isWritable {
            context.read()
        } else {
            isReadHeldBack = true
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            slowReaderCheck?.cancel()
            slowReaderCheck = nil
            for stream in streams.keys.sorted() { sendWaiting(stream) }
            flushFrames()
            resumeReading()
        } else if slowReaderCheck == nil {
            slowReaderCheck = context.eventLoop.assumeIsolated().scheduleTask(in: limits.slowReaderTimeout) {
                [weak self] in
                self?.giveUpSlowReader("it took nothing for \(self?.limits.slowReaderTimeout.seconds ?? 0) s")
            }
        }
        context.fireChannelWritabilityChanged()
    }

    private func resumeReading() {
        guard let context, context.channel.isWritable else { return }
        receiveFrames(context)
        flushFrames()
        guard isReadHeldBack, context.channel.isWritable else { return }
        isReadHeldBack = false
        context.read()
    }

    private func receive(_ header: FrameHeader, _ payload: ByteBuffer) {
        lastFrameAt = .now()
        switch (state, header.kind) {
        case (.awaitingHello(let peer, let timeout), .hello):
            timeout.cancel()
            receiveHello(peer, payload)
        case (.open(let peer), .request): receiveRequest(peer, header.stream, payload)
        case (.draining, .request):
            var refusal = Self.stopping
            refusal.wasNotBegun = true
            outbound.writeTrailer(stream: header.stream, refusal)
        case (.open, .cancel), (.draining, .cancel): cancel(header.stream)
        case (.open, .credit), (.draining, .credit):
            guard let bytes = payload.getInteger(at: payload.readerIndex, as: UInt32.self) else { return }
            addCredit(Int(bytes), to: header.stream)
        case (.open, .ping), (.draining, .ping): outbound.writeFrame(.pong, stream: 0, payload)
        case (.open, .pong), (.draining, .pong): break
        case (.open, .goodbye), (.draining, .goodbye): break
        default:
            refuse(
                RPCFailure(
                    .invalid,
                    "a \(header.kind) frame has no place here: the client does not follow the Godwit protocol"
                )
            )
        }
    }

    private func receiveHello(_ peer: PeerIdentity, _ payload: ByteBuffer) {
        guard let hello = try? WireHello(serializedBytes: payload.readableBytesSpan),
            hello.minimumVersion <= hello.maximumVersion
        else {
            refuse(RPCFailure(.invalid, "the first frame is not a Hello message: the client is not a Godwit client"))
            return
        }
        let theirs = ProtocolVersion(rawValue: hello.minimumVersion)...ProtocolVersion(rawValue: hello.maximumVersion)
        let ours = server.configuration.versions
        guard ProtocolVersion.agreed(ours, theirs) != nil else {
            let older = theirs.upperBound < ours.lowerBound ? "client" : "agent"
            refuse(
                RPCFailure(
                    .unimplemented,
                    "\(quoted(hello.software)) speaks protocol versions \(theirs.text), this agent"
                        + " (\(server.configuration.software)) \(ours.text): upgrade the \(older), which is older"
                )
            )
            return
        }
        guard hello.cluster == server.cluster.rawValue else {
            refuse(
                RPCFailure(
                    .forbidden,
                    "this agent belongs to cluster \(server.cluster), the client wants cluster \(quoted(hello.cluster)):"
                        + " use the identity file and the address of the same cluster"
                )
            )
            return
        }
        initialCredit = Int(hello.receiveWindowBytes)
        peerFrameLimit = hello.maximumFrameBytes == 0 ? 1 << 20 : Int(hello.maximumFrameBytes)
        peerFrameLimit = min(peerFrameLimit, FrameHeader.absolutePayloadLimit)
        reader.payloadLimit = limits.maximumFrameBytes
        state = .open(peer)
        report(.opened(peer, address: address))
        watchIdleness()
    }

    private func receiveRequest(_ peer: PeerIdentity, _ stream: UInt32, _ payload: ByteBuffer) {
        guard let prefix = try? RequestPrefix.decode(payload.readableBytesUInt8Span) else { return }
        var message = payload
        message.moveReaderIndex(forwardBy: RequestPrefix.byteCount)
        guard let method = WireMethod(rawValue: Int(prefix.method)), WireMethod.allCases.contains(method) else {
            outbound.writeTrailer(
                stream: stream,
                RPCFailure(
                    .unimplemented,
                    "this agent (\(server.configuration.software)) does not know method \(prefix.method): upgrade the agent"
                )
            )
            return
        }
        // EchoRequest and EchoReply have the same form, so the answer to the one is the other's bytes.
        if method == .echo {
            outbound.writeFrame(.message, flags: FrameHeader.endFlag, stream: stream, message)
            return
        }
        let request = RPCRequest(method: method, payload: message, peer: peer, certificate: certificate)
        if let answer = server.handler.answerAtOnce(request) {
            if server.handler.mayWait(request) { return writePatiently(answer, stream) }
            outbound.writeFrame(.message, flags: FrameHeader.endFlag, stream: stream, answer)
            return
        }
        if let refusal = refusal(of: stream, message.readableBytes) {
            outbound.writeTrailer(stream: stream, refusal)
            return
        }
        open(stream, request, timeoutMilliseconds: prefix.timeoutMilliseconds)
    }

    private func refusal(of stream: UInt32, _ byteCount: Int) -> RPCFailure? {
        if streams[stream] != nil {
            return RPCFailure(.invalid, "stream \(stream) is open already: the client uses a stream number twice")
        }
        if streams.count >= limits.maximumStreamsPerConnection {
            return RPCFailure(
                .exhausted,
                "\(streams.count) calls are in progress on this connection, the most that this agent takes: wait for one to end",
                wasNotBegun: true
            )
        }
        if requestByteCount + byteCount > limits.maximumRequestBytesInProgress {
            return RPCFailure(
                .exhausted,
                "the requests in progress on this connection hold \(requestByteCount) bytes: wait for one to end",
                wasNotBegun: true
            )
        }
        return nil
    }

    private func open(_ stream: UInt32, _ request: RPCRequest, timeoutMilliseconds: UInt32) {
        guard let queue else { return }
        let byteCount = request.payload.readableBytes
        let timeout = Duration.milliseconds(Int64(timeoutMilliseconds))
        let call = RPCCall(
            request: request,
            deadline: timeoutMilliseconds == 0 ? nil : .now + timeout,
            sink: ConnectionSink(stream: stream, queue: queue)
        )
        var opened = Stream(credit: initialCredit, requestByteCount: byteCount)
        requestByteCount += byteCount
        if timeoutMilliseconds > 0 {
            let deadline = NIODeadline.now() + .milliseconds(Int64(timeoutMilliseconds))
            opened.deadline = deadline
            wakeUp(at: deadline)
        }
        opened.task = Self.start(server.handler, call, stream, queue)
        streams[stream] = opened
    }

    private static func start(
        _ handler: any RPCHandler,
        _ call: RPCCall,
        _ stream: UInt32,
        _ queue: LoopQueue<ServerEvent>
    ) -> Task<Void, Never> {
        Task(name: "rpc \(call.method)") {
            let failure: RPCFailure?
            do {
                try await handler.handle(call)
                failure = nil
            } catch let error as RPCFailure {
                failure = error
            } catch is CancellationError {
                failure = RPCFailure(.cancelled, "the call was cancelled")
            } catch {
                failure = RPCFailure(.internal, "the agent failed to answer: \(error); look at its log")
            }
            queue.push(.finished(stream: stream, failure))
        }
    }

    // MARK: What tasks tell

    private func receive(_ events: [ServerEvent]) {
        for event in events {
            switch event {
            case .reply(let stream, let bytes): send(bytes, on: stream, sent: nil, isLast: true)
            case .send(let stream, let bytes, let sent): send(bytes, on: stream, sent: sent, isLast: false)
            case .stopSending(let stream): stopSending(stream)
            case .finished(let stream, let failure): finish(stream, failure)
            case .drain: drain()
            case .disconnect(let failure): refuse(failure)
            case .abort: abort()
            }
        }
        flushFrames()
        resumeReading()
    }

    /// Answers those who still wait for a connection that is gone.
    private static func answerAfterEnd(_ events: [ServerEvent]) {
        for case .send(_, _, let sent) in events { sent.resume(throwing: CancellationError()) }
    }

    private func send(
        _ bytes: ByteBuffer,
        on stream: UInt32,
        sent: CheckedContinuation<Void, any Error>?,
        isLast: Bool
    ) {
        guard let entry = streams[stream], !entry.isSilent else {
            sent?.resume(throwing: CancellationError())
            return
        }
        guard bytes.readableBytes <= peerFrameLimit else {
            let failure = RPCFailure(
                .exhausted,
                "the answer is \(bytes.readableBytes) bytes long, more than the \(peerFrameLimit) that the client accepts: ask for less"
            )
            silence(stream, failure)
            sent?.resume(throwing: failure)
            return
        }
        if isLast { streams[stream]?.ending = .some(nil) }
        streams[stream]?.waiting.append((bytes, sent))
        heldByteCount += bytes.readableBytes
        sendWaiting(stream)
        if heldByteCount > limits.maximumHeldBytes { giveUpSlowReader("\(heldByteCount) bytes wait for it") }
    }

    /// Sends what credit and the connection allow.
    private func sendWaiting(_ stream: UInt32) {
        guard let context, var entry = streams[stream], !entry.isSilent else { return }
        while let (bytes, sent) = entry.waiting.first {
            let isLast = sent == nil && entry.waiting.count == 1
            // The one message of a unary answer needs no credit: its caller waits for it and can do nothing else.
            guard context.channel.isWritable, isLast || entry.credit > 0 else { break }
            outbound.writeFrame(.message, flags: isLast ? FrameHeader.endFlag : 0, stream: stream, bytes)
            heldByteCount -= bytes.readableBytes
            entry.waiting.removeFirst()
            if isLast {
                entry.isSilent = true
            } else {
                entry.credit -= bytes.readableBytes
            }
            // A flush can make the connection writable once more, which sends what waits: it must not find this message again.
            streams[stream] = entry
            sent?.resume()
            guard outbound.readableBytes > gatherLimit else { continue }
            flushFrames()
            guard let again = streams[stream] else { return }
            entry = again
        }
        if entry.waiting.isEmpty, case .some(let failure) = entry.ending, !entry.isSilent, entry.task == nil {
            outbound.writeTrailer(stream: stream, failure)
            entry.isSilent = true
        }
        streams[stream] = entry
        removeIfDone(stream)
    }

    private func finish(_ stream: UInt32, _ failure: RPCFailure?) {
        guard var entry = streams[stream] else { return }
        entry.task = nil
        if entry.ending == nil || failure != nil { entry.ending = .some(failure) }
        streams[stream] = entry
        sendWaiting(stream)
        removeIfDone(stream)
    }

    private func removeIfDone(_ stream: UInt32) {
        guard let entry = streams[stream], entry.task == nil, entry.isSilent else { return }
        streams[stream] = nil
        requestByteCount -= entry.requestByteCount
        if streams.isEmpty, case .draining = state { closeGently() }
    }

    private func cancel(_ stream: UInt32) {
        guard streams[stream] != nil else { return }
        silence(stream, nil)
    }

    private func stopSending(_ stream: UInt32) {
        guard let waiting = streams[stream]?.waiting, !waiting.isEmpty else { return }
        streams[stream]?.waiting = []
        for (bytes, sent) in waiting {
            heldByteCount -= bytes.readableBytes
            sent?.resume(throwing: CancellationError())
        }
    }

    /// Cancels the handler and sends nothing more on the stream than the failure.
    private func silence(_ stream: UInt32, _ failure: RPCFailure?) {
        stopSending(stream)
        if let failure, streams[stream]?.isSilent == false { outbound.writeTrailer(stream: stream, failure) }
        streams[stream]?.isSilent = true
        streams[stream]?.deadline = nil
        streams[stream]?.task?.cancel()
        removeIfDone(stream)
    }

    private func addCredit(_ bytes: Int, to stream: UInt32) {
        guard let credit = streams[stream]?.credit else { return }
        // Credit never adds up to more than the largest window anybody may ask for.
        streams[stream]?.credit = min(credit + bytes, 64 << 20)
        sendWaiting(stream)
        resumeReading()
    }

    // MARK: Time

    /// Wakes the connection when the earliest call runs out of time; exact, and one timer however many calls there are.
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
        for stream in streams.filter({ $0.value.deadline.map { $0 <= now } ?? false }).keys.sorted() {
            silence(
                stream,
                RPCFailure(
                    .deadlineExceeded,
                    "the agent did not finish in the time that the caller gave: allow more time, or look at the agent's load"
                )
            )
        }
        flushFrames()
        if let next = streams.values.compactMap(\.deadline).min() { wakeUp(at: next) }
    }

    /// Closes the connection when nobody has used it for the idle time.
    private func watchIdleness() {
        let deadline = streams.isEmpty ? lastFrameAt + limits.idleTimeout : .now() + limits.idleTimeout
        idleCheck = context?.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [weak self] () -> Void in
            guard let self else { return }
            if self.streams.isEmpty, self.lastFrameAt + self.limits.idleTimeout <= .now() {
                self.drain()
            } else {
                self.watchIdleness()
            }
        }
    }

    // MARK: End

    private static let stopping = RPCFailure(
        .unavailable,
        "this agent is stopping: ask another agent, or this one again in a moment"
    )

    private func drain() {
        switch state {
        case .open(let peer):
            state = .draining(peer)
            outbound.writeFrame(.goodbye, stream: 0)
            flushFrames()
            if streams.isEmpty { closeGently() }
        case .handshaking, .awaitingHello: context?.close(promise: nil)
        case .draining, .ended: break
        }
    }

    private func abort() {
        for stream in streams.keys.sorted() { silence(stream, Self.stopping) }
        flushFrames()
        closeGently()
    }

    private func closeGently() {
        if case .ended = state { return }
        flushFrames()
        end()
        context?.close(promise: nil)
    }

    /// Tells the peer why and closes, leaving it time to read that.
    private func refuse(_ failure: RPCFailure) {
        if case .ended = state { return }
        if case .awaitingHello(_, let timeout) = state { timeout.cancel() }
        report(.refused(address: address, failure.message))
        let goodbye = WireGoodbye.with { $0.failure = failure.bounded.wire }
        outbound.writeFrame(.goodbye, stream: 0, ByteBuffer(message: goodbye))
        flushFrames()
        end()
        guard let context else { return }
        context.close(mode: .output, promise: nil)
        context.eventLoop.assumeIsolated().scheduleTask(in: lingerTime) { context.close(promise: nil) }
        context.read()
    }

    private func giveUpSlowReader(_ why: String) {
        if case .ended = state { return }
        report(.refused(address: address, "the client reads too slowly: \(why)"))
        end()
        context?.close(promise: nil)
    }

    private func end() {
        state = .ended
        for stream in streams.keys.sorted() {
            stopSending(stream)
            streams[stream]?.task?.cancel()
        }
        streams.removeAll()
        heldByteCount = 0
        slowReaderCheck?.cancel()
        idleCheck?.cancel()
        idleCheck = nil
        patienceEnd?.cancel()
        reader = FrameReader(payloadLimit: 0)
    }

    private func writePatiently(_ answer: ByteBuffer, _ stream: UInt32) {
        patient.frames.writeFrame(.message, flags: FrameHeader.endFlag, stream: stream, answer)
        patient.count += 1
        guard patient.count < patientAnswerLimit else { return takePatient() }
        guard patienceEnd == nil else { return }
        patienceEnd = context?.eventLoop.assumeIsolated().scheduleTask(in: patience) { [weak self] in
            guard let self else { return }
            patienceEnd = nil
            takePatient()
            flushFrames()
        }
    }

    private func takePatient() {
        guard patient.count > 0 else { return }
        outbound.writeBuffer(&patient.frames)
        patient.frames.clear()
        patient.count = 0
    }

    private func flushFrames() {
        if outbound.readableBytes > 0 { takePatient() }
        guard outbound.readableBytes > 0, let context else { return }
        let frames = outbound
        outbound = context.channel.allocator.buffer(capacity: min(frames.readableBytes, 4096))
        context.writeAndFlush(wrapOutboundOut(frames), promise: nil)
    }

    private var address: String { context?.remoteAddress?.description ?? "unknown address" }

    private func report(_ event: RPCServerEvent) { server.configuration.observe(event) }
}

extension ClosedRange<ProtocolVersion> {
    /// `1` or `1 to 3`.
    var text: String { lowerBound == upperBound ? "\(lowerBound)" : "\(lowerBound) to \(upperBound)" }
}

extension TimeAmount {
    var seconds: Int64 { nanoseconds / 1_000_000_000 }
}
