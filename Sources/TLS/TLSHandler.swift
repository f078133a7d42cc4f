import COpenSSL
import CShims
package import NIO

/// Tells the handlers behind a `TLSHandler` that the handshake is done.
package struct TLSHandshakeCompletion: Sendable {
    /// Who the peer's certificate says it is; its authority was checked, its cluster was not.
    package let peer: Result<PeerIdentity, TLSError>
    /// SHA-256 of the peer's certificate.
    package let fingerprint: String
    /// What else the peer's certificate says; nil when it is nobody's.
    package let certificate: CertificateSummary?
}

/// TLS 1.3 on libssl for one NIO channel.
///
/// Writes are gathered until the flush and sealed together, so that many small messages become one record: with 64 requests in
/// flight that is worth a factor of two over one record per message. libssl reads and writes the channel's own buffers through a
/// window (see `c.h`) instead of copying through a BIO of its own.
///
/// The handler answers a closing message with its own. A connection that ends without one is reported as `TLSError.truncated`. When
/// the peer's certificate is refused, the alert that says why is sent, and the line is kept open for reading until the peer has closed
/// it or `lingerTime` is over: closing at once would make the kernel send a reset that can overtake the alert.
@safe
package final class TLSHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    private enum State {
        /// Not in an active channel yet.
        case idle
        case handshaking(timeout: Scheduled<Void>)
        case open
        /// Refused; what still arrives is thrown away until the peer closes.
        case lingering
        /// Our closing message is out, or there is nothing to say it to.
        case closed
    }

    /// How long a refused peer may take to read why.
    private static let lingerTime = TimeAmount.seconds(1)
    /// Header, content type and tag of a TLS 1.3 record (RFC 8446, section 5.2).
    private static let recordOverhead = 5 + 1 + 16
    private static let recordPlaintextLimit = 16_384

    private let context: TLSContext
    private let handshakeTimeout: TimeAmount
    private let ssl: OpaquePointer
    private let window: UnsafeMutablePointer<godwit_window>
    private var state = State.idle
    private var pending: ByteBuffer?
    private var promises: [EventLoopPromise<Void>] = []

    /// Makes a handler for a new connection.
    package init(context: TLSContext, handshakeTimeout: TimeAmount) throws {
        LibSSL.enter()
        let ssl = unsafe try context.makeConnection()
        let window = UnsafeMutablePointer<godwit_window>.allocate(capacity: 1)
        unsafe window.initialize(to: godwit_window())
        guard let bio = unsafe godwit_window_bio(window) else {
            unsafe window.deallocate()
            unsafe SSL_free(ssl)
            throw TLSError.library("making a TLS connection")
        }
        // One BIO for both directions; libssl takes over one reference for each when they are the same.
        unsafe SSL_set_bio(ssl, bio, bio)
        if context.role == .server { unsafe SSL_set_accept_state(ssl) } else { unsafe SSL_set_connect_state(ssl) }
        (self.context, self.handshakeTimeout) = (context, handshakeTimeout)
        unsafe (self.ssl, self.window) = (ssl, window)
    }

    deinit {
        unsafe SSL_free(ssl)
        unsafe godwit_window_discard(window)
        unsafe window.deallocate()
    }

    // MARK: Life of the channel

    package func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { start(context) }
    }

    package func channelActive(context: ChannelHandlerContext) {
        start(context)
        context.fireChannelActive()
    }

    package func channelInactive(context: ChannelHandlerContext) {
        switch state {
        case .handshaking(let timeout):
            timeout.cancel()
            fail(
                context,
                TLSError(
                    .truncated,
                    "the \(peerName) closed the connection during the TLS handshake: it may have too many connections,"
                        + " or not be a Godwit agent; try again, then look at its log"
                )
            )
        case .open:
            context.fireErrorCaught(TLSError(.truncated, "the \(peerName) dropped the connection"))
        case .idle, .lingering, .closed: break
        }
        state = .closed
        failPending(ChannelError.ioOnClosedChannel)
        context.fireChannelInactive()
    }

    package func handlerRemoved(context: ChannelHandlerContext) { failPending(ChannelError.ioOnClosedChannel) }

    private func start(_ context: ChannelHandlerContext) {
        guard case .idle = state else { return }
        let timeout = context.eventLoop.assumeIsolated().scheduleTask(in: handshakeTimeout) { [weak self] in
            guard let self, case .handshaking = self.state else { return }
            self.fail(
                context,
                TLSError(
                    .handshakeTimedOut,
                    "the \(self.peerName) did not finish the TLS handshake in time: it is overloaded, or not a Godwit agent"
                )
            )
            context.close(promise: nil)
        }
        state = .handshaking(timeout: timeout)
        continueHandshake(context)
        context.flush()
    }

    // MARK: Reading

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var input = unwrapInboundIn(data)
        switch state {
        case .handshaking, .open:
            let plaintext = decrypt(context, &input)
            if let plaintext, plaintext.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(plaintext)) }
        case .idle, .lingering, .closed: break
        }
    }

    /// Feeds ciphertext to libssl; returns what became readable.
    private func decrypt(_ context: ChannelHandlerContext, _ input: inout ByteBuffer) -> ByteBuffer? {
        var plaintext: ByteBuffer?
        unsafe input.readWithUnsafeReadableBytes { bytes in
            unsafe window.pointee.in = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
            unsafe window.pointee.in_count = bytes.count
            unsafe window.pointee.in_used = 0
            if case .handshaking = state { continueHandshake(context) }
            if case .open = state { plaintext = readRecords(context) }
            unsafe window.pointee.in = nil
            unsafe window.pointee.in_count = 0
            unsafe window.pointee.in_used = 0
            return bytes.count
        }
        return plaintext
    }

    private func readRecords(_ context: ChannelHandlerContext) -> ByteBuffer? {
        var ciphertextLeft: Int { unsafe window.pointee.in_count - window.pointee.in_used }
        guard ciphertextLeft > 0 else { return nil }
        // Plaintext is never longer than its ciphertext; a record of which the beginning came earlier may still need more room.
        var plaintext = context.channel.allocator.buffer(capacity: ciphertextLeft)
        var result: Int32 = 1
        repeat {
            let room = max(1, Int(unsafe SSL_pending(ssl)), min(ciphertextLeft, Self.recordPlaintextLimit))
            ERR_clear_error()
            unsafe plaintext.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { bytes in
                var count = 0
                unsafe result = SSL_read_ex(ssl, bytes.baseAddress, bytes.count, &count)
                return result == 1 ? count : 0
            }
        } while unsafe result == 1 && (ciphertextLeft > 0 || SSL_pending(ssl) > 0)
        sendSpill(context)
        if result != 1 { finishReading(context, result) }
        return plaintext
    }

    private func finishReading(_ context: ChannelHandlerContext, _ result: Int32) {
        switch unsafe SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: break
        case SSL_ERROR_ZERO_RETURN:
            // The peer has said that it will send no more. Answer and close after what was read has been handed on.
            context.eventLoop.assumeIsolated().execute { [weak self] in
                guard let self, case .open = self.state else { return }
                self.close(context: context, mode: .all, promise: nil)
            }
        default:
            let error = TLSError.handshake(ERR_get_error(), peer: peerName)
            fail(context, error)
            linger(context)
        }
    }

    // MARK: Handshake

    private func continueHandshake(_ context: ChannelHandlerContext) {
        guard case .handshaking(let timeout) = state else { return }
        ERR_clear_error()
        let result = unsafe SSL_do_handshake(ssl)
        sendSpill(context)
        if result == 1 {
            timeout.cancel()
            state = .open
            // Certificates and key shares are behind us; the connection keeps no room for more of them.
            unsafe godwit_window_discard(window)
            context.fireUserInboundEventTriggered(completion())
            if pending != nil { flush(context: context) }
            return
        }
        switch unsafe SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: break
        default:
            timeout.cancel()
            fail(context, handshakeError())
            linger(context)
        }
    }

    private func handshakeError() -> TLSError {
        let code = ERR_get_error()
        let verification = unsafe SSL_get_verify_result(ssl)
        if godwit_error_reason(code) == SSL_R_CERTIFICATE_VERIFY_FAILED, verification != Int(X509_V_OK) {
            let subject = refusedCertificate?.subject ?? "not shown"
            return TLSError.verification(verification, of: peerName, subject: subject)
        }
        return TLSError.handshake(code, peer: peerName)
    }

    private var refusedCertificate: Certificate? {
        guard let pointer = unsafe window.pointee.refused else { return nil }
        unsafe window.pointee.refused = nil
        return unsafe Certificate(owning: pointer)
    }

    private var peerCertificate: Certificate? {
        guard let pointer = unsafe SSL_get1_peer_certificate(ssl) else { return nil }
        return unsafe Certificate(owning: pointer)
    }

    private func completion() -> TLSHandshakeCompletion {
        guard let certificate = peerCertificate else {
            let error = TLSError(.certificateRefused, "the \(peerName) showed no certificate")
            return TLSHandshakeCompletion(peer: .failure(error), fingerprint: "", certificate: nil)
        }
        var (issuer, anchor): (OpaquePointer?, OpaquePointer?)
        unsafe godwit_verified_chain(ssl, &issuer, &anchor)
        let above = (unsafe Certificate(borrowing: issuer), unsafe Certificate(borrowing: anchor))
        let summary = Result { try certificate.summary(issuer: above.0, anchor: above.1) }.mapError { error in
            error as? TLSError ?? TLSError(.identityInvalid, "\(error)")
        }
        return TLSHandshakeCompletion(
            peer: summary.map(\.identity),
            fingerprint: certificate.fingerprint,
            certificate: try? summary.get()
        )
    }

    private var peerName: String { context.role == .client ? "agent" : "client" }

    // MARK: Writing

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        var buffer = unwrapOutboundIn(data)
        switch state {
        case .lingering, .closed:
            promise?.fail(ChannelError.ioOnClosedChannel)
        case .idle, .handshaking, .open:
            if pending == nil { pending = buffer } else { pending?.writeBuffer(&buffer) }
            if let promise { promises.append(promise) }
        }
    }

    package func flush(context: ChannelHandlerContext) {
        encrypt(context)
        context.flush()
    }

    /// Seals what was written since the last flush and hands it on as one buffer.
    private func encrypt(_ context: ChannelHandlerContext) {
        guard case .open = state, let plaintext = pending else { return }
        pending = nil
        let count = plaintext.readableBytes
        guard count > 0 else {
            finishPromises(nil, context)
            return
        }
        let records = (count + Self.recordPlaintextLimit - 1) / Self.recordPlaintextLimit
        let capacity = count + records * Self.recordOverhead
        var sealed = context.channel.allocator.buffer(capacity: capacity)
        var result: Int32 = 0
        ERR_clear_error()
        unsafe sealed.writeWithUnsafeMutableBytes(minimumWritableBytes: capacity) { room in
            unsafe window.pointee.out = room.baseAddress?.assumingMemoryBound(to: UInt8.self)
            unsafe window.pointee.out_capacity = room.count
            unsafe window.pointee.out_count = 0
            unsafe plaintext.withUnsafeReadableBytes { bytes in
                var written = 0
                // Without SSL_MODE_ENABLE_PARTIAL_WRITE and with a BIO that takes everything, this is all or nothing.
                unsafe result = SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &written)
            }
            let count = unsafe window.pointee.out_count
            unsafe window.pointee.out = nil
            unsafe window.pointee.out_capacity = 0
            unsafe window.pointee.out_count = 0
            return count
        }
        takeSpill(into: &sealed)
        guard result == 1 else {
            let error = TLSError.handshake(ERR_get_error(), peer: peerName)
            failPending(error)
            fail(context, error)
            context.close(promise: nil)
            return
        }
        finishPromises(sealed, context)
    }

    private func finishPromises(_ sealed: ByteBuffer?, _ context: ChannelHandlerContext) {
        guard !promises.isEmpty else {
            if let sealed { context.write(wrapOutboundOut(sealed), promise: nil) }
            return
        }
        let waiting = promises
        promises.removeAll()
        guard let sealed else {
            for promise in waiting { promise.succeed() }
            return
        }
        let first = waiting[0]
        for promise in waiting.dropFirst() { first.futureResult.cascade(to: promise) }
        context.write(wrapOutboundOut(sealed), promise: first)
    }

    private func failPending(_ error: any Error) {
        pending = nil
        let waiting = promises
        promises.removeAll()
        for promise in waiting { promise.fail(error) }
    }

    /// Sends what libssl wrote outside of `encrypt`: handshake messages, key updates, alerts.
    private func sendSpill(_ context: ChannelHandlerContext) {
        guard unsafe window.pointee.spill_count > 0 else { return }
        var buffer = context.channel.allocator.buffer(capacity: unsafe window.pointee.spill_count)
        takeSpill(into: &buffer)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    private func takeSpill(into buffer: inout ByteBuffer) {
        let count = unsafe window.pointee.spill_count
        guard count > 0, let start = unsafe window.pointee.spill else { return }
        unsafe buffer.writeBytes(UnsafeRawBufferPointer(start: start, count: count))
        unsafe window.pointee.spill_count = 0
    }

    // MARK: Closing

    package func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard mode != .input else {
            context.close(mode: mode, promise: promise)
            return
        }
        if case .open = state {
            encrypt(context)
            sendClosingMessage(context)
        }
        if case .handshaking(let timeout) = state { timeout.cancel() }
        if mode == .output, case .open = state {
            state = .lingering
        } else if mode == .all {
            state = .closed
        }
        failPending(ChannelError.ioOnClosedChannel)
        context.close(mode: mode, promise: promise)
    }

    private func sendClosingMessage(_ context: ChannelHandlerContext) {
        ERR_clear_error()
        _ = unsafe SSL_shutdown(ssl)
        ERR_clear_error()
        sendSpill(context)
    }

    private func fail(_ context: ChannelHandlerContext, _ error: TLSError) {
        if case .handshaking(let timeout) = state { timeout.cancel() }
        state = .closed
        failPending(error)
        context.fireErrorCaught(error)
    }

    /// Lets the peer read the alert before the line is cut.
    private func linger(_ context: ChannelHandlerContext) {
        sendSpill(context)
        guard context.channel.isActive else { return }
        state = .lingering
        context.close(mode: .output, promise: nil)
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.lingerTime) {
            context.close(promise: nil)
        }
    }
}
