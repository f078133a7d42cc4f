import Checkpointing
import ClusterModel
import Testing

struct PageServerMessageTests {
    @Test("golden bytes: a request and its answer are what CRIU 4.2 sends and takes")
    func golden() throws {
        let request = PageServerMessage(.get, pageCount: 1, address: 0x7FFF_918C_7000, owner: 1)
        #expect(
            hexadecimal(request.encoded())
                == "0700000000000000" + "0100000000000000" + "00708c91ff7f0000" + "0100000000000000"
        )
        #expect(
            hexadecimal(request.answer(pageCount: 1).encoded())
                == "0600040000000000" + "0100000000000000" + "00708c91ff7f0000" + "0100000000000000"
        )
    }

    @Test(
        "every command is read back as it was written, whatever the padding holds",
        arguments: PageServerMessage.Command.allCases
    )
    func roundTrip(command: PageServerMessage.Command) throws {
        let message = PageServerMessage(
            command,
            flags: [.lazy, .present],
            pageCount: 1024,
            address: 1 << 46,
            owner: .max
        )
        var bytes = message.encoded()
        bytes[4...7] = [1, 2, 3, 4]
        #expect(bytes.count == PageServerMessage.byteCount)
        #expect(try PageServerMessage.decode(bytes.span) == message)
    }

    @Test("pages that no address space has, and lengths that no message has, are refused")
    func refusals() {
        func refuses(_ message: PageServerMessage, line: SourceLocation = #_sourceLocation) {
            #expect(throws: CRIUImageError.self, sourceLocation: line) {
                try PageServerMessage.decode(message.encoded().span)
            }
        }
        refuses(PageServerMessage(.get, pageCount: 0, address: 4096))
        refuses(PageServerMessage(.get, pageCount: .max, address: 4096))
        refuses(PageServerMessage(.get, pageCount: 1, address: 4097))
        refuses(PageServerMessage(.addWithFlags, pageCount: 2, address: .max - 4095))
        for count in 0..<PageServerMessage.byteCount {
            #expect(throws: CRIUImageError.self) {
                try PageServerMessage.decode([UInt8](repeating: 7, count: count).span)
            }
        }
    }

    @Test("any bytes are refused or within bounds", arguments: 1...4 as ClosedRange<UInt64>)
    func fuzz(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<5000 {
            var bytes = PageServerMessage(.get, pageCount: 16, address: 1 << 30, owner: 1).encoded()
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                bytes[Int.random(in: bytes.indices, using: &generator)] = .random(in: 0...255, using: &generator)
            }
            guard let message = try? PageServerMessage.decode(bytes.span), message.command == .get else { continue }
            #expect((1...PageServerMessage.pageLimit).contains(message.pageCount))
            #expect(message.address % 4096 == 0)
        }
    }
}
