import TLS
package import WireFormat

/// The keys that seal the gossip of a cluster: one to send with, all to receive with.
///
/// A key is changed without a gap in three steps, each of which reaches every agent before the next begins: `addRandomKey` (all can
/// read what nobody sends yet), `use` (all send with it, some a moment before others), `remove` the old one. Never printed: neither
/// descriptions nor mirrors show a key.
package struct GossipKeyring: Sendable, Equatable {
    /// The most keys at once.
    package static let keyLimit = 8
    /// Bytes of a key.
    package static let keyByteCount = AuthenticatedCipher.keyByteCount
    /// The most bytes of `encoded`.
    package static let encodedByteLimit = 4 + keyLimit * (2 + keyByteCount)

    /// The number of the first key of a keyring.
    package static let firstNumber: UInt16 = 1

    private static let encodingVersion: UInt8 = 1

    /// Which key seals what is sent; always one of `keyNumbers`.
    package private(set) var sendingNumber: UInt16
    private var keys: [UInt16: [UInt8]]

    private init(sendingNumber: UInt16, keys: [UInt16: [UInt8]]) {
        (self.sendingNumber, self.keys) = (sendingNumber, keys)
    }

    /// A keyring of one key that the caller drew; only for keys that are as random as `SecureRandom`'s.
    ///
    /// - Precondition: `key` has `keyByteCount` bytes and `number` is not 0.
    package init(key: [UInt8], number: UInt16 = firstNumber) {
        precondition(key.count == Self.keyByteCount && number != 0, "a key of \(key.count) bytes, number \(number)")
        self.init(sendingNumber: number, keys: [number: key])
    }

    /// A keyring with one new random key, numbered `firstNumber`.
    /// - Throws: `TLSError` when there is no randomness.
    package static func random() throws -> GossipKeyring {
        GossipKeyring(key: try SecureRandom.bytes(keyByteCount))
    }

    /// The numbers of all keys, ascending.
    package var keyNumbers: [UInt16] { keys.keys.sorted() }

    /// The key with this number, for those who seal and open.
    func key(_ number: UInt16) -> [UInt8]? { keys[number] }

    /// Eight hexadecimal digits by which two keys can be told apart, and which say nothing about the key; nil for a number that is
    /// not there.
    package func fingerprint(of number: UInt16) -> String? {
        guard let key = keys[number],
            let derived = try? KeyDerivation.expand(key, info: Array("godwit gossip fingerprint".utf8))
        else { return nil }
        return derived.prefix(4).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    // MARK: Changing keys

    /// Adds a new random key to receive with.
    /// - Returns: its number, one above the highest.
    /// - Throws: `GossipKeyringError` when the keyring is full; `TLSError` when there is no randomness.
    @discardableResult
    package mutating func addRandomKey() throws -> UInt16 {
        let highest = keyNumbers.last ?? 0
        // The last number of all is followed by the lowest free one; 65,535 rotations later nobody remembers what it meant.
        let number = highest < .max ? highest + 1 : (1...UInt16.max).first { keys[$0] == nil } ?? 1
        try add(try SecureRandom.bytes(Self.keyByteCount), number: number)
        return number
    }

    /// Adds a key to receive with; once more the same changes nothing.
    /// - Throws: `GossipKeyringError` when the keyring is full or the number belongs to another key.
    package mutating func add(_ key: [UInt8], number: UInt16) throws(GossipKeyringError) {
        guard key.count == Self.keyByteCount, number != 0 else {
            throw .unusable(number: number, byteCount: key.count)
        }
        if let present = keys[number] {
            guard present == key else { throw .taken(number: number) }
            return
        }
        guard keys.count < Self.keyLimit else { throw .full(numbers: keyNumbers, sending: sendingNumber) }
        keys[number] = key
    }

    /// Sends with this key from now on.
    /// - Throws: `GossipKeyringError` when it was not added.
    package mutating func use(_ number: UInt16) throws(GossipKeyringError) {
        guard keys[number] != nil else { throw .unknown(number: number, numbers: keyNumbers) }
        sendingNumber = number
    }

    /// Forgets a key; what is sealed with it is refused from now on.
    /// - Throws: `GossipKeyringError` for the key that is in use, or one that is not there.
    package mutating func remove(_ number: UInt16) throws(GossipKeyringError) {
        guard keys[number] != nil else { throw .unknown(number: number, numbers: keyNumbers) }
        guard number != sendingNumber else { throw .inUse(number: number) }
        keys[number] = nil
    }

    // MARK: Bytes

    /// The keyring as it travels over mutual TLS and lies in a file: the layout in `proto/gossip.md`.
    ///
    /// Whoever has these bytes can read and write the cluster's gossip.
    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = [Self.encodingVersion, UInt8(keys.count)]
        bytes.appendInteger(sendingNumber)
        for (number, key) in keys.sorted(by: { $0.key < $1.key }) {
            bytes.appendInteger(number)
            bytes += key
        }
        return bytes
    }

    /// Reads what `encoded` wrote.
    /// - Throws: `DecodeError` for anything else.
    package static func decode(_ bytes: Span<UInt8>) throws(DecodeError) -> GossipKeyring {
        var offset = 0
        let version = try bytes.readInteger(UInt8.self, at: &offset)
        guard version == encodingVersion else {
            throw .invalid(field: "version of a keyring", value: UInt64(version))
        }
        let count = Int(try bytes.readInteger(UInt8.self, at: &offset))
        guard count > 0 else { throw .invalid(field: "keys of a keyring", value: 0) }
        guard count <= keyLimit else { throw .tooLong(field: "keys of a keyring", count: count, limit: keyLimit) }
        let sending = try bytes.readInteger(UInt16.self, at: &offset)
        var keys: [UInt16: [UInt8]] = [:]
        var last: UInt16 = 0
        for _ in 0..<count {
            let number = try bytes.readInteger(UInt16.self, at: &offset)
            // Ascending, so that one keyring has one form.
            guard number > last else { throw .invalid(field: "number of a key", value: UInt64(number)) }
            last = number
            keys[number] = try bytes.readBytes(keyByteCount, at: &offset)
        }
        try bytes.requireEnd(at: offset)
        guard keys[sending] != nil else { throw .invalid(field: "number of the sending key", value: UInt64(sending)) }
        return GossipKeyring(sendingNumber: sending, keys: keys)
    }

    /// Reads the keyring from a file that only its owner may read.
    /// - Throws: an error whose text says what to do.
    package static func load(_ path: String) throws -> GossipKeyring {
        let bytes = try SecretStore.read(path, missingHint: "join the cluster again to get the keyring")
        do { return try decode(bytes.span) } catch {
            throw TLSError(.file, "\(path) holds no keyring (\(error)): delete it and join the cluster again")
        }
    }

    /// Writes the keyring to a file of mode 0600, in place of the one that is there.
    /// - Throws: an error whose text says what to do.
    package func save(_ path: String) throws { try SecretStore.replace(path, with: encoded()) }
}

extension GossipKeyring: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Numbers only.
    package var description: String {
        "\(keys.count == 1 ? "one key" : "\(keys.count) keys"), sending with \(sendingNumber)"
    }

    package var debugDescription: String { description }

    /// Nothing: `dump` and test failures print mirrors.
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Why a keyring cannot be changed like that; the text says what to do.
package enum GossipKeyringError: Error, Sendable, Equatable, CustomStringConvertible {
    /// There is no room for a key.
    case full(numbers: [UInt16], sending: UInt16)
    /// Another key has this number.
    case taken(number: UInt16)
    /// No key has this number.
    case unknown(number: UInt16, numbers: [UInt16])
    /// The key is the one to send with.
    case inUse(number: UInt16)
    /// A key of a wrong length, or number 0.
    case unusable(number: UInt16, byteCount: Int)

    package var description: String {
        switch self {
        case .full(let numbers, let sending):
            "the keyring holds \(numbers.count) keys, as many as it may: remove one that is not in use ("
                + numbers.filter { $0 != sending }.map(String.init).joined(separator: ", ") + ") first"
        case .taken(let number):
            "another key has the number \(number): add the new one under a number that is free"
        case .unknown(let number, let numbers):
            "the keyring has no key \(number), only \(numbers.map(String.init).joined(separator: ", ")): add it first"
        case .inUse(let number):
            "gossip is sealed with key \(number): use another key on every agent, then remove this one"
        case .unusable(let number, let byteCount):
            "a key has \(GossipKeyring.keyByteCount) bytes and a number from 1; this has \(byteCount) bytes and the number \(number)"
        }
    }
}
