/// What a frame of a control connection means.
///
/// `proto/wire.md` holds the layouts as tables.
package enum FrameKind: UInt8, Sendable, CaseIterable {
    /// The first frame of each side: who speaks, which protocol versions, how large frames may be.
    case hello = 1
    /// Opens a stream: method, time limit and request message.
    case request = 2
    /// One message of an answer.
    case message = 3
    /// Ends a stream; the payload says why it failed, and is empty when it did not.
    case trailer = 4
    /// The caller no longer wants the answer.
    case cancel = 5
    /// The caller takes that many more bytes on a stream.
    case credit = 6
    /// The connection takes no new streams; the payload says why when that is a refusal.
    case goodbye = 7
    /// Asks for a `pong` with the same eight bytes.
    case ping = 8
    /// Answers a `ping`.
    case pong = 9
}

/// Ten bytes in front of every frame.
package struct FrameHeader: Sendable, Equatable {
    /// Bytes that the header takes.
    package static let byteCount = 10
    /// No frame is ever larger than this, whatever the two sides agree on.
    package static let absolutePayloadLimit = 4 << 20

    /// Marks the last message of a stream, which then needs no trailer.
    package static let endFlag: UInt8 = 1

    /// Bytes that follow the header.
    package var payloadByteCount: Int
    package var kind: FrameKind
    /// `endFlag` or nothing; other bits are refused, so that they can be given a meaning in a later version.
    package var flags: UInt8
    /// Zero for frames of the connection; else a number that the caller chose and used once, counting up from 1.
    package var stream: UInt32

    package init(kind: FrameKind, flags: UInt8 = 0, stream: UInt32 = 0, payloadByteCount: Int) {
        (self.kind, self.flags, self.stream, self.payloadByteCount) = (kind, flags, stream, payloadByteCount)
    }

    /// Whether this is the last frame that its sender sends on the stream.
    package var endsStream: Bool { kind == .trailer || (kind == .message && flags & Self.endFlag != 0) }

    /// Reads and checks a header at the start of `bytes`.
    ///
    /// - Returns: nil while fewer than `byteCount` bytes are there.
    /// - Throws: `DecodeError` when no correct sender could have written it; the connection cannot be read any further.
    package static func decode(_ bytes: Span<UInt8>, payloadLimit: Int) throws(DecodeError) -> FrameHeader? {
        guard bytes.count >= byteCount else { return nil }
        // Written out instead of four calls of `readInteger`: this runs once per frame, and the bound is checked above.
        let length = UInt32(bytes[0]) << 24 | UInt32(bytes[1]) << 16 | UInt32(bytes[2]) << 8 | UInt32(bytes[3])
        let stream = UInt32(bytes[6]) << 24 | UInt32(bytes[7]) << 16 | UInt32(bytes[8]) << 8 | UInt32(bytes[9])
        guard let kind = FrameKind(rawValue: bytes[4]) else {
            throw .invalid(field: "frame type", value: UInt64(bytes[4]))
        }
        let flags = bytes[5]
        guard flags & ~(kind == .message ? endFlag : 0) == 0 else {
            throw .invalid(field: "frame flags", value: UInt64(flags))
        }
        guard length <= payloadLimit else {
            throw .tooLong(field: "frame", count: Int(length), limit: payloadLimit)
        }
        guard (stream == 0) == kind.belongsToConnection else {
            throw .invalid(field: "stream of a \(kind) frame", value: UInt64(stream))
        }
        if let exact = kind.fixedPayloadByteCount, Int(length) != exact {
            throw .invalid(field: "length of a \(kind) frame", value: UInt64(length))
        }
        if kind == .request, length < RequestPrefix.byteCount {
            throw .invalid(field: "length of a request frame", value: UInt64(length))
        }
        return FrameHeader(kind: kind, flags: flags, stream: stream, payloadByteCount: Int(length))
    }

    /// Appends the header.
    package func encode(into bytes: inout [UInt8]) {
        bytes.appendInteger(UInt32(payloadByteCount))
        bytes.append(kind.rawValue)
        bytes.append(flags)
        bytes.appendInteger(stream)
    }
}

extension FrameKind {
    /// Whether the frame speaks about the connection and not about a stream.
    package var belongsToConnection: Bool {
        switch self {
        case .hello, .goodbye, .ping, .pong: true
        case .request, .message, .trailer, .cancel, .credit: false
        }
    }

    /// The payload's length where it is always the same.
    package var fixedPayloadByteCount: Int? {
        switch self {
        case .cancel: 0
        case .credit: 4
        case .ping, .pong: 8
        case .hello, .request, .message, .trailer, .goodbye: nil
        }
    }
}

/// The first six bytes of a request frame's payload; the request message follows.
package struct RequestPrefix: Sendable, Equatable {
    /// Bytes that the prefix takes.
    package static let byteCount = 6

    /// The number of the method in `control.proto`.
    package var method: UInt16
    /// After so long the callee gives up and says so; 0: no limit.
    package var timeoutMilliseconds: UInt32

    package init(method: UInt16, timeoutMilliseconds: UInt32) {
        (self.method, self.timeoutMilliseconds) = (method, timeoutMilliseconds)
    }

    /// Reads the prefix at the start of a request's payload.
    package static func decode(_ bytes: Span<UInt8>) throws(DecodeError) -> RequestPrefix {
        guard bytes.count >= byteCount else {
            throw .truncated(offset: 0, wanted: byteCount, available: bytes.count)
        }
        return RequestPrefix(
            method: UInt16(bytes[0]) << 8 | UInt16(bytes[1]),
            timeoutMilliseconds: UInt32(bytes[2]) << 24 | UInt32(bytes[3]) << 16 | UInt32(bytes[4]) << 8
                | UInt32(bytes[5])
        )
    }

    /// Appends the prefix.
    package func encode(into bytes: inout [UInt8]) {
        bytes.appendInteger(method)
        bytes.appendInteger(timeoutMilliseconds)
    }
}
