import ControlMessages
import NIO
import SwiftProtobuf
import WireFormat

extension ByteBuffer {
    /// Appends a frame.
    ///
    /// One reservation for the header: this runs once for every message.
    @inline(__always)
    mutating func writeFrame(_ kind: FrameKind, flags: UInt8 = 0, stream: UInt32, _ payload: ByteBuffer) {
        writeMultipleIntegers(UInt32(payload.readableBytes), kind.rawValue, flags, stream)
        writeImmutableBuffer(payload)
    }

    /// Appends a frame without payload.
    mutating func writeFrame(_ kind: FrameKind, stream: UInt32) {
        writeMultipleIntegers(UInt32(0), kind.rawValue, UInt8(0), stream)
    }

    /// Appends a request frame.
    mutating func writeRequest(stream: UInt32, method: UInt16, timeoutMilliseconds: UInt32, _ payload: ByteBuffer) {
        writeMultipleIntegers(
            UInt32(payload.readableBytes + RequestPrefix.byteCount),
            FrameKind.request.rawValue,
            UInt8(0),
            stream,
            method,
            timeoutMilliseconds
        )
        writeImmutableBuffer(payload)
    }

    /// Appends a frame with credit.
    mutating func writeCredit(stream: UInt32, bytes: UInt32) {
        writeMultipleIntegers(UInt32(4), FrameKind.credit.rawValue, UInt8(0), stream, bytes)
    }

    /// Appends a trailer; without a failure it is empty.
    mutating func writeTrailer(stream: UInt32, _ failure: RPCFailure?) {
        guard let failure else {
            writeFrame(.trailer, stream: stream)
            return
        }
        writeFrame(
            .trailer,
            stream: stream,
            ByteBuffer(message: WireTrailer.with { $0.failure = failure.bounded.wire })
        )
    }

    /// A message in its binary form.
    ///
    /// Only a proto2 message with missing required fields cannot be written, and there are none in `proto/`.
    init(message: some Message) {
        guard let bytes = try? message.serializedBytes() as [UInt8] else {
            preconditionFailure("a proto3 message cannot be written: \(type(of: message).protoMessageName)")
        }
        self.init(bytes: bytes)
    }
}

extension RPCFailure {
    /// The failure cut to what fits any frame: a document with a thousand mistakes is told its first hundred.
    var bounded: RPCFailure {
        var bounded = self
        if bounded.message.utf8.count > 8192 { bounded.message = String(bounded.message.prefix(2000)) + "..." }
        if bounded.problems.count > 100 { bounded.problems.removeSubrange(100...) }
        return bounded
    }
}

/// Cuts a stream of bytes into frames.
struct FrameReader {
    private var buffer = ByteBuffer()
    /// Largest payload accepted; raised once the peer is believed.
    var payloadLimit: Int

    init(payloadLimit: Int) { self.payloadLimit = payloadLimit }

    mutating func append(_ bytes: ByteBuffer) {
        guard buffer.readableBytes > 0 else {
            buffer = bytes
            return
        }
        // Without this the buffer would keep every frame that it ever held.
        buffer.discardReadBytes()
        buffer.writeImmutableBuffer(bytes)
    }

    /// The next whole frame; nil until more bytes arrive.
    mutating func next() throws(DecodeError) -> (header: FrameHeader, payload: ByteBuffer)? {
        guard let header = try FrameHeader.decode(buffer.readableBytesUInt8Span, payloadLimit: payloadLimit) else {
            return nil
        }
        let whole = FrameHeader.byteCount + header.payloadByteCount
        guard buffer.readableBytes >= whole else {
            buffer.reserveCapacity(minimumWritableBytes: whole - buffer.readableBytes)
            return nil
        }
        buffer.moveReaderIndex(forwardBy: FrameHeader.byteCount)
        guard let payload = buffer.readSlice(length: header.payloadByteCount) else { return nil }
        return (header, payload)
    }
}
