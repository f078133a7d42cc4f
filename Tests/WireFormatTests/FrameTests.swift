import ClusterModel
import Foundation
import Testing
import WireFormat

/// The frame layout of `proto/wire.md`.
struct FrameTests {
    private struct Meaning: Decodable {
        var kind: String
        var flags: UInt8
        var stream: UInt32
        var payloadBytes: Int
        var method: UInt16?
        var timeoutMilliseconds: UInt32?
    }

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "proto/vectors/frame")

    private static func bytes(ofHex name: String) throws -> [UInt8] {
        let digits = try String(contentsOf: folder.appending(path: "\(name).hex"), encoding: .utf8).filter(\.isHexDigit)
        return stride(from: 0, to: digits.count, by: 2).compactMap { offset in
            let start = digits.index(digits.startIndex, offsetBy: offset)
            return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
        }
    }

    @Test(arguments: [
        "hello", "request", "message", "message-end", "trailer-success", "trailer-failure", "cancel", "credit",
        "goodbye", "ping", "pong",
    ])
    func `Golden bytes mean what their JSON says, and are written again alike`(name: String) throws {
        let bytes = try Self.bytes(ofHex: name)
        let meaning = try JSONDecoder().decode(
            Meaning.self,
            from: Data(contentsOf: Self.folder.appending(path: "\(name).json"))
        )
        let header = try #require(try FrameHeader.decode(bytes.span, payloadLimit: 4 << 20))
        #expect("\(header.kind)" == meaning.kind)
        #expect(header.flags == meaning.flags)
        #expect(header.stream == meaning.stream)
        #expect(header.payloadByteCount == meaning.payloadBytes)
        #expect(bytes.count == FrameHeader.byteCount + meaning.payloadBytes)
        var written: [UInt8] = []
        header.encode(into: &written)
        if let method = meaning.method, let timeout = meaning.timeoutMilliseconds {
            let prefix = RequestPrefix(method: method, timeoutMilliseconds: timeout)
            #expect(try RequestPrefix.decode(bytes.span.extracting(FrameHeader.byteCount...)) == prefix)
            prefix.encode(into: &written)
        }
        #expect(Array(bytes.prefix(written.count)) == written)
    }

    @Test func `Every file of vectors is tested`() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(names.filter { $0.hasSuffix(".hex") }.count == 11)
        #expect(names.filter { $0.hasSuffix(".json") }.count == 11)
    }

    private func header(_ bytes: [UInt8], limit: Int = 1 << 20) throws -> FrameHeader? {
        try FrameHeader.decode(bytes.span, payloadLimit: limit)
    }

    @Test func `A header is read only when it is whole`() throws {
        let bytes: [UInt8] = [0, 0, 0, 0, 5, 0, 0, 0, 0, 9]
        for count in 0..<10 { #expect(try header(Array(bytes.prefix(count))) == nil) }
        #expect(try header(bytes) == FrameHeader(kind: .cancel, stream: 9, payloadByteCount: 0))
    }

    @Test(
        arguments: [
            // length, type, flags, stream
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "frame type is 0, which means nothing"),
            ([0, 0, 0, 0, 10, 0, 0, 0, 0, 1], "frame type is 10, which means nothing"),
            ([0, 0, 0, 0, 3, 2, 0, 0, 0, 1], "frame flags is 2, which means nothing"),
            ([0, 0, 0, 0, 4, 1, 0, 0, 0, 1], "frame flags is 1, which means nothing"),
            ([0, 16, 0, 1, 3, 0, 0, 0, 0, 1], "frame is 1048577 bytes long, more than 1048576"),
            ([255, 255, 255, 255, 3, 0, 0, 0, 0, 1], "frame is 4294967295 bytes long, more than 1048576"),
            ([0, 0, 0, 0, 3, 0, 0, 0, 0, 0], "stream of a message frame is 0, which means nothing"),
            ([0, 0, 0, 0, 1, 0, 0, 0, 0, 1], "stream of a hello frame is 1, which means nothing"),
            ([0, 0, 0, 3, 6, 0, 0, 0, 0, 1], "length of a credit frame is 3, which means nothing"),
            ([0, 0, 0, 9, 8, 0, 0, 0, 0, 0], "length of a ping frame is 9, which means nothing"),
            ([0, 0, 0, 5, 2, 0, 0, 0, 0, 1], "length of a request frame is 5, which means nothing"),
            // What an HTTP client and a TLS client say first.
            (Array("GET / HTTP/1.1\r\n".utf8), "frame type is 47, which means nothing"),
            ([22, 3, 1, 2, 0, 1, 0, 1, 252, 3], "frame type is 0, which means nothing"),
        ] as [([UInt8], String)]
    )
    func `What no correct sender writes is refused`(bytes: [UInt8], reason: String) {
        let error = #expect(throws: DecodeError.self) { try header(bytes) }
        #expect(error?.description == reason)
    }

    @Test(arguments: 0..<8)
    func `Any bytes are either refused or read within the bounds`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var readCount = 0
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 0...24, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            // Random bytes are nearly never a frame: steer half of them close to one.
            if bytes.count > 10, Bool.random(using: &generator) {
                bytes.replaceSubrange(0..<3, with: [0, 0, 0])
                bytes[4] = UInt8.random(in: 0...10, using: &generator)
                bytes[5] &= 1
                if Bool.random(using: &generator) { bytes.replaceSubrange(6..<10, with: [0, 0, 0, 0]) }
            }
            guard let header = try? header(bytes, limit: 200) else { continue }
            readCount += 1
            #expect(header.payloadByteCount <= 200)
            #expect((header.stream == 0) == header.kind.belongsToConnection)
            var written: [UInt8] = []
            header.encode(into: &written)
            #expect(written == Array(bytes.prefix(10)))
        }
        #expect(readCount > 100)
    }

    @Test func `Headers survive a round trip`() throws {
        var generator = SeededGenerator(seed: 42)
        for _ in 0..<2000 {
            let kind = try #require(FrameKind.allCases.randomElement(using: &generator))
            let header = FrameHeader(
                kind: kind,
                flags: kind == .message && Bool.random(using: &generator) ? FrameHeader.endFlag : 0,
                stream: kind.belongsToConnection ? 0 : UInt32.random(in: 1...UInt32.max, using: &generator),
                payloadByteCount: kind.fixedPayloadByteCount ?? Int.random(in: 6...(4 << 20), using: &generator)
            )
            var bytes: [UInt8] = []
            header.encode(into: &bytes)
            #expect(try FrameHeader.decode(bytes.span, payloadLimit: FrameHeader.absolutePayloadLimit) == header)
        }
    }

    @Test func `A stream ends with a trailer or a flagged message`() {
        #expect(FrameHeader(kind: .trailer, stream: 1, payloadByteCount: 0).endsStream)
        #expect(FrameHeader(kind: .message, flags: FrameHeader.endFlag, stream: 1, payloadByteCount: 0).endsStream)
        #expect(!FrameHeader(kind: .message, stream: 1, payloadByteCount: 0).endsStream)
        #expect(!FrameHeader(kind: .cancel, stream: 1, payloadByteCount: 0).endsStream)
    }
}
