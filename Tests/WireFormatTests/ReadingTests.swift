import ClusterModel
import Testing
import WireFormat

struct ReadingTests {
    @Test func `Integers are read and written most significant byte first`() throws {
        var bytes: [UInt8] = []
        bytes.appendInteger(UInt8(0x01))
        bytes.appendInteger(UInt16(0x0203))
        bytes.appendInteger(UInt32(0x0405_0607))
        bytes.appendInteger(UInt64(0x0809_0a0b_0c0d_0e0f))
        #expect(bytes == Array(1...15))
        var offset = 0
        #expect(try bytes.span.readInteger(UInt8.self, at: &offset) == 0x01)
        #expect(try bytes.span.readInteger(UInt16.self, at: &offset) == 0x0203)
        #expect(try bytes.span.readInteger(UInt32.self, at: &offset) == 0x0405_0607)
        #expect(try bytes.span.readInteger(UInt64.self, at: &offset) == 0x0809_0a0b_0c0d_0e0f)
        try bytes.span.requireEnd(at: offset)
    }

    @Test func `A read beyond the end says how much was missing and moves nothing`() {
        let bytes: [UInt8] = [1, 2, 3]
        var offset = 1
        #expect(throws: DecodeError.truncated(offset: 1, wanted: 4, available: 2)) {
            try bytes.span.readInteger(UInt32.self, at: &offset)
        }
        #expect(throws: DecodeError.truncated(offset: 1, wanted: 3, available: 2)) {
            try bytes.span.readBytes(3, at: &offset)
        }
        #expect(throws: DecodeError.truncated(offset: 1, wanted: -1, available: 2)) {
            try bytes.span.readBytes(-1, at: &offset)
        }
        #expect(offset == 1)
        #expect(throws: DecodeError.trailing(count: 2)) { try bytes.span.requireEnd(at: offset) }
        offset = 7
        #expect(throws: DecodeError.truncated(offset: 7, wanted: 1, available: 0)) {
            try bytes.span.readInteger(UInt8.self, at: &offset)
        }
    }

    @Test func `Short texts keep their bound and must be UTF-8`() throws {
        var bytes: [UInt8] = []
        bytes.appendShortText("Ärger")
        bytes.appendShortBytes([0xff])
        var offset = 0
        #expect(throws: DecodeError.tooLong(field: "name", count: 6, limit: 5)) {
            try bytes.span.readShortText("name", limit: 5, at: &offset)
        }
        #expect(offset == 0)
        #expect(try bytes.span.readShortText("name", limit: 6, at: &offset) == "Ärger")
        let before = offset
        #expect(throws: DecodeError.notText(field: "name")) {
            try bytes.span.readShortText("name", limit: 6, at: &offset)
        }
        #expect(offset == before)
        #expect(try bytes.span.readShortBytes("name", limit: 6, at: &offset) == [0xff])
    }

    @Test(arguments: 0..<4)
    func `Any bytes are read without leaving them`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<5000 {
            let bytes = (0..<Int.random(in: 0...40, using: &generator)).map { _ in
                UInt8.random(in: 0...12, using: &generator)
            }
            var offset = 0
            readAll: while true {
                let before = offset
                do {
                    switch Int.random(in: 0..<4, using: &generator) {
                    case 0: _ = try bytes.span.readInteger(UInt16.self, at: &offset)
                    case 1: _ = try bytes.span.readBytes(Int.random(in: 0...8, using: &generator), at: &offset)
                    case 2: _ = try bytes.span.readShortText("text", limit: 20, at: &offset)
                    default: _ = try bytes.span.readInteger(UInt64.self, at: &offset)
                    }
                    #expect(offset >= before && offset <= bytes.count)
                    if offset == bytes.count { break readAll }
                } catch {
                    #expect(offset == before)
                    break readAll
                }
            }
        }
    }
}
