import Foundation
import Testing
import Transport
import WireFormat

/// A keyring changes in steps that leave no gap, travels as bytes, and is never printed.
struct GossipKeyringTests {
    private static let key: [UInt8] = Array("0123456789abcdefghijklmnopqrstuv".utf8)

    @Test func keysAreAddedUsedAndRemoved() throws {
        var keyring = try GossipKeyring.random()
        #expect(keyring.keyNumbers == [1])
        #expect(try keyring.addRandomKey() == 2)
        #expect(keyring.sendingNumber == 1)
        try keyring.use(2)
        try keyring.remove(1)
        #expect(keyring.keyNumbers == [2])
        #expect(keyring.sendingNumber == 2)
        #expect(try keyring.addRandomKey() == 3)
    }

    @Test func mistakesAreRefusedWithTheRemedy() throws {
        var keyring = GossipKeyring(key: Self.key)
        #expect(throws: GossipKeyringError.inUse(number: 1)) { try keyring.remove(1) }
        #expect(throws: GossipKeyringError.unknown(number: 4, numbers: [1])) { try keyring.use(4) }
        #expect(throws: GossipKeyringError.unknown(number: 4, numbers: [1])) { try keyring.remove(4) }
        #expect(throws: GossipKeyringError.unusable(number: 2, byteCount: 16)) {
            try keyring.add(Array(repeating: 0, count: 16), number: 2)
        }
        #expect(throws: GossipKeyringError.taken(number: 1)) {
            try keyring.add(Array(repeating: 0, count: 32), number: 1)
        }
        try keyring.add(Self.key, number: 1)
        for _ in 1..<GossipKeyring.keyLimit { try keyring.addRandomKey() }
        #expect(throws: GossipKeyringError.full(numbers: [1, 2, 3, 4, 5, 6, 7, 8], sending: 1)) {
            try keyring.addRandomKey()
        }
        #expect(
            GossipKeyringError.full(numbers: [1, 2], sending: 1).description
                == "the keyring holds 2 keys, as many as it may: remove one that is not in use (2) first"
        )
    }

    @Test func theHighestNumberIsFollowedByAFreeOne() throws {
        var keyring = GossipKeyring(key: Self.key, number: .max)
        #expect(try keyring.addRandomKey() == 1)
    }

    @Test func bytesGiveTheSameKeyring() throws {
        var keyring = GossipKeyring(key: Self.key, number: 258)
        for _ in 1..<GossipKeyring.keyLimit { try keyring.addRandomKey() }
        try keyring.use(260)
        let bytes = keyring.encoded()
        #expect(bytes.count == GossipKeyring.encodedByteLimit)
        #expect(try GossipKeyring.decode(bytes.span) == keyring)
        for count in 0..<bytes.count {
            let part = Array(bytes[..<count])
            #expect(throws: DecodeError.self) { try GossipKeyring.decode(part.span) }
        }
    }

    @Test(
        "what no agent writes is refused",
        arguments: [
            ("version", 0, 2), ("no keys", 1, 0), ("too many keys", 1, 9),
            ("sending with a key that is not there", 3, 9),
            ("number 0", 5, 0), ("numbers that do not ascend", 5, 3),
        ] as [(String, Int, UInt8)]
    )
    func refused(what: String, offset: Int, value: UInt8) throws {
        var keyring = GossipKeyring(key: Self.key)
        try keyring.addRandomKey()
        var bytes = keyring.encoded()
        bytes[offset] = value
        #expect(throws: DecodeError.self, "\(what)") { try GossipKeyring.decode(bytes.span) }
    }

    @Test func nothingThatPrintsShowsAKey() throws {
        let keyring = GossipKeyring(key: Self.key)
        var dumped = ""
        dump(keyring, to: &dumped)
        for text in [
            "\(keyring)", String(reflecting: keyring), dumped, "\([keyring])",
            "\(Mirror(reflecting: keyring).children.map(\.value))",
        ] {
            #expect(!text.contains("48"), "the first byte of the key")
            #expect(!text.contains("0123"), "\(text)")
            #expect(!text.contains("3031"), "\(text)")
        }
        #expect("\(keyring)" == "one key, sending with 1")
    }

    @Test func fingerprintsTellKeysApart() throws {
        var keyring = GossipKeyring(key: Self.key)
        let number = try keyring.addRandomKey()
        let (one, two) = (keyring.fingerprint(of: 1), keyring.fingerprint(of: number))
        #expect(one?.count == 8)
        #expect(one != two)
        #expect(one == GossipKeyring(key: Self.key, number: 7).fingerprint(of: 7))
        #expect(keyring.fingerprint(of: 9) == nil)
    }

    @Test func filesAreForTheirOwner() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "keyring-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        let keyring = try GossipKeyring.random()
        try keyring.save(path)
        #expect(try GossipKeyring.load(path) == keyring)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        #expect(throws: (any Error).self) { try GossipKeyring.load(path) }
        try FileManager.default.removeItem(atPath: path)
        try Data([1, 2, 3]).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        #expect(throws: (any Error).self) { try GossipKeyring.load(path) }
    }
}
