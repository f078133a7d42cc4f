import ClusterModel
import Foundation
import Testing
import Transport
import WireFormat

/// The seal and the keyring are as `proto/gossip.md` says; the vectors were made by another implementation.
struct GossipVectorTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "proto/vectors/gossip-seal")

    private struct Case: Decodable {
        var cluster: String
        var pool: String
        var sender: String
        var number: UInt16
        var key: String
        var salt: UInt32
        var counter: UInt64
        var datagram: String
    }

    private struct Ring: Decodable {
        var sending: UInt16
        var keys: [String: String]
    }

    private static func bytes(_ digits: String) -> [UInt8] {
        stride(from: 0, to: digits.count, by: 2).compactMap { offset in
            let start = digits.index(digits.startIndex, offsetBy: offset)
            return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
        }
    }

    private static func vector(_ name: String) throws -> [UInt8] {
        bytes(
            try String(contentsOf: folder.appending(path: "\(name).hex"), encoding: .utf8).filter { !$0.isWhitespace }
        )
    }

    private static func meaning<Value: Decodable>(_ name: String, _ type: Value.Type) throws -> Value {
        try JSONDecoder().decode(type, from: Data(contentsOf: folder.appending(path: "\(name).json")))
    }

    @Test(arguments: ["probe", "coast", "buckets"])
    func datagramsAreSealedAndOpened(name: String) throws {
        let meaning = try Self.meaning(name, Case.self)
        let datagram = Self.bytes(meaning.datagram)
        let sender = datagram[1..<9].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        func seal(_ name: UInt64) throws -> GossipSeal {
            try GossipSeal(
                cluster: ClusterID(rawValue: meaning.cluster),
                pool: meaning.pool,
                tag: meaning.pool.isEmpty ? 0 : 0xF808_B448,
                sender: name,
                keyring: GossipKeyring(key: Self.bytes(meaning.key), number: meaning.number),
                life: .init(salt: meaning.salt, firstCounter: meaning.counter)
            )
        }
        #expect(try seal(sender).seal(datagram) == Self.vector(name))
        #expect(try seal(sender &+ 1).open(Self.vector(name), now: ContinuousClock().systemEpoch) == datagram)
    }

    @Test func keyringsAreWrittenAndRead() throws {
        let meaning = try Self.meaning("keyring", Ring.self)
        var keyring = GossipKeyring(key: Self.bytes(try #require(meaning.keys["1"])), number: 1)
        for (number, key) in meaning.keys where number != "1" {
            try keyring.add(Self.bytes(key), number: try #require(UInt16(number)))
        }
        try keyring.use(meaning.sending)
        let bytes = try Self.vector("keyring")
        #expect(keyring.encoded() == bytes)
        #expect(try GossipKeyring.decode(bytes.span) == keyring)
    }

    @Test func everyVectorIsHeldByATest() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).filter {
            $0.hasSuffix(".hex")
        }
        #expect(names.sorted() == ["buckets.hex", "coast.hex", "keyring.hex", "probe.hex"])
    }
}
