package import ClusterModel
package import TLS
import WireFormat

/// Seals what a node says in one pool and opens what the others say: AES-256-GCM, the layout in `proto/gossip.md`.
///
/// The first nine bytes of a datagram, its version and its sender, travel in the clear, so that a seal costs 30 bytes. Each sender has
/// a key of its own, derived from the keyring's: nonces of different nodes never meet. Not for two threads at once.
package final class GossipSeal {
    /// Bytes of a datagram that travel in the clear.
    package static let clearByteCount = 9
    /// Bytes that a sealed datagram is longer than the datagram.
    package static let overheadByteCount = 2 + 4 + 8 + AuthenticatedCipher.tagByteCount
    /// What it is longer by when it belongs to a pool that has a name: that name's tag travels with it.
    package static let poolTagByteCount = 4
    /// The largest sealed datagram.
    package static let sealedByteLimit = 8_192 + overheadByteCount
    /// How long a sender must have been silent before another life of it may begin with lower counters than the last one had.
    package static let lifeTimeout: Duration = .seconds(300)

    private static let version: UInt8 = 1
    /// Of a datagram of a pool that has a name.
    private static let namedVersion: UInt8 = 2

    /// Which pool a sealed datagram says it belongs to: 0 for that of all agents; nil when it is no datagram of a version that is known.
    package static func poolTag(of sealed: [UInt8]) -> UInt32? {
        guard let version = sealed.first else { return nil }
        if version == Self.version { return 0 }
        guard version == namedVersion, sealed.count >= clearByteCount + poolTagByteCount else { return nil }
        return integer(sealed, clearByteCount, UInt32.self)
    }

    /// What separates one life of a node from the next: where its nonces begin.
    package struct Life: Sendable, Equatable {
        /// Random.
        package var salt: UInt32
        /// The counter of the first datagram; above all those of earlier lives.
        package var firstCounter: UInt64

        /// Puts it together.
        package init(salt: UInt32, firstCounter: UInt64) { (self.salt, self.firstCounter) = (salt, firstCounter) }

        /// A new life that begins now, with microseconds of wall time as its first counter.
        ///
        /// Nobody sends a million datagrams a second for long, so lives do not overlap; should a clock be set back, they still differ
        /// by their salts.
        /// - Throws: `TLSError` when there is no randomness.
        package static func random(now: Timestamp) throws(TLSError) -> Life {
            let salt = try SecureRandom.bytes(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return Life(salt: salt, firstCounter: UInt64(max(1, now.rawValue / 1_000)))
        }
    }

    /// One sender as it is known here.
    private final class Sender {
        var ciphers: [UInt16: AuthenticatedCipher] = [:]
        var salt: UInt32
        var window: ReplayWindow
        var heardAt: ContinuousClock.Instant

        init(salt: UInt32, window: ReplayWindow, heardAt: ContinuousClock.Instant) {
            (self.salt, self.window, self.heardAt) = (salt, window, heardAt)
        }
    }

    private let scope: [UInt8]
    /// Empty for the pool of all agents.
    private let tag: [UInt8]
    /// Where the number of the key lies, and where the ciphertext begins.
    private let (keyOffset, headerByteCount): (Int, Int)
    private let own: UInt64
    private let salt: UInt32
    private var counter: UInt64
    private let senderLimit: Int
    package private(set) var keyring: GossipKeyring
    private var sending: AuthenticatedCipher
    /// Senders heard since the last turn, and those before: when the first half is full the second is forgotten, so that what is heard
    /// stays and what a table of any size costs is bounded.
    private var recent: [UInt64: Sender] = [:]
    private var older: [UInt64: Sender] = [:]

    /// Seals for `sender`, the key of this node in the pool, from the life's first counter on.
    ///
    /// `pool` is empty for the pool of all agents of a cluster; else `tag` says in clear text which pool it is, and is not 0. `senderLimit` bounds what is remembered of others, 16 or more.
    /// - Throws: `TLSError` when libcrypto has no memory.
    package init(
        cluster: ClusterID,
        pool: String = "",
        tag: UInt32 = 0,
        sender: UInt64,
        keyring: GossipKeyring,
        life: Life,
        senderLimit: Int = 40_000
    ) throws(TLSError) {
        precondition(senderLimit >= 16 && cluster.rawValue.utf8.count + pool.utf8.count < 255)
        precondition(pool.isEmpty == (tag == 0), "the pool '\(pool)' has the tag \(tag)")
        var bytes: [UInt8] = []
        if tag != 0 { bytes.appendInteger(tag) }
        self.tag = bytes
        keyOffset = Self.clearByteCount + bytes.count
        headerByteCount = keyOffset + 2 + 4 + 8
        scope = Array((pool.isEmpty ? cluster.rawValue : "\(cluster)/\(pool)").utf8)
        own = sender
        (salt, counter) = (life.salt, life.firstCounter)
        self.senderLimit = senderLimit
        self.keyring = keyring
        sending = try Self.cipher(keyring, keyring.sendingNumber, sender, scope)
    }

    /// Seals and opens with these keys from now on; what was sealed with a key that is in both is still opened.
    /// - Throws: `TLSError` when libcrypto has no memory; nothing is changed then.
    package func replaceKeyring(_ keyring: GossipKeyring) throws(TLSError) {
        guard keyring != self.keyring else { return }
        sending = try Self.cipher(keyring, keyring.sendingNumber, own, scope)
        for table in [recent, older] {
            for sender in table.values {
                sender.ciphers = sender.ciphers.filter { keyring.key($0.key) == self.keyring.key($0.key) }
            }
        }
        self.keyring = keyring
    }

    // MARK: Sealing

    /// Seals a datagram whose first nine bytes are its version and this node's key.
    /// - Throws: `GossipSealError`; nothing may be sent then.
    package func seal(_ datagram: [UInt8]) throws(GossipSealError) -> [UInt8] {
        guard datagram.count >= Self.clearByteCount,
            datagram.count + Self.overheadByteCount + tag.count <= Self.sealedByteLimit
        else { throw .size(datagram.count) }
        guard counter < .max else { throw .countersSpent }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(datagram.count + Self.overheadByteCount + tag.count)
        bytes += datagram[..<Self.clearByteCount]
        if !tag.isEmpty {
            bytes[0] = Self.namedVersion
            bytes += tag
        }
        bytes.appendInteger(keyring.sendingNumber)
        bytes.appendInteger(salt)
        bytes.appendInteger(counter)
        counter += 1
        let (nonce, additional) = (nonce(bytes), additional(bytes))
        bytes += datagram[Self.clearByteCount...]
        do {
            try sending.seal(&bytes, from: headerByteCount, nonce: nonce, additional: additional)
        } catch { throw .library(error.message) }
        return bytes
    }

    // MARK: Opening

    /// Opens what arrived.
    ///
    /// - Returns: the datagram, sealed by the sender that it names, of this cluster and pool, and never returned before.
    /// - Throws: why it is dropped; nothing is remembered of it.
    package func open(_ sealed: [UInt8], now: ContinuousClock.Instant) throws(GossipRefusal) -> [UInt8] {
        guard sealed.count >= headerByteCount + AuthenticatedCipher.tagByteCount else { throw .tooShort }
        guard sealed.count <= Self.sealedByteLimit else { throw .tooLong }
        guard sealed[0] == (tag.isEmpty ? Self.version : Self.namedVersion) else { throw .version }
        guard sealed[Self.clearByteCount..<keyOffset].elementsEqual(tag) else { throw .otherPool }
        let name = Self.integer(sealed, 1, UInt64.self)
        guard name != own else { throw .ownName }
        let number = Self.integer(sealed, keyOffset, UInt16.self)
        let salt = Self.integer(sealed, keyOffset + 2, UInt32.self)
        let counter = Self.integer(sealed, keyOffset + 6, UInt64.self)
        guard keyring.key(number) != nil else { throw .unknownKey }
        let sender = find(name)
        if let sender {
            // Before the bytes are looked at: what is refused here costs next to nothing.
            guard Self.isNew(salt, counter, to: sender, now: now) else { throw .replayed }
        }
        let cipher: AuthenticatedCipher
        if let known = sender?.ciphers[number] {
            cipher = known
        } else {
            do { cipher = try Self.cipher(keyring, number, name, scope) } catch { throw .forged }
        }
        var bytes = sealed
        guard
            cipher.open(
                &bytes,
                from: headerByteCount,
                nonce: nonce(sealed),
                additional: additional(sealed)
            )
        else { throw .forged }
        remember(name, sender, salt, counter, cipher, number, now: now)
        bytes.removeSubrange(Self.clearByteCount..<headerByteCount)
        // The version is that of the seal; the datagram inside is the same in every pool.
        bytes[0] = Self.version
        return bytes
    }

    /// Whether a sealed datagram can be one that was not seen before.
    ///
    /// A life that is unknown must begin above the last one: otherwise whoever kept the datagrams of an earlier life could send them
    /// again. The exception is for a node whose clock was set back before it started anew.
    private static func isNew(
        _ salt: UInt32,
        _ counter: UInt64,
        to sender: Sender,
        now: ContinuousClock.Instant
    ) -> Bool {
        if salt == sender.salt { return sender.window.accepts(counter) }
        return counter > sender.window.highest || now - sender.heardAt >= lifeTimeout
    }

    private func find(_ name: UInt64) -> Sender? {
        recent[name] ?? older[name]
    }

    private func remember(
        _ name: UInt64,
        _ known: Sender?,
        _ salt: UInt32,
        _ counter: UInt64,
        _ cipher: AuthenticatedCipher,
        _ number: UInt16,
        now: ContinuousClock.Instant
    ) {
        let sender = known ?? Sender(salt: salt, window: ReplayWindow(first: counter), heardAt: now)
        if sender.salt == salt {
            sender.window.note(counter)
        } else {
            (sender.salt, sender.window) = (salt, ReplayWindow(first: counter))
        }
        sender.heardAt = now
        sender.ciphers[number] = cipher
        guard recent[name] == nil else { return }
        if recent.count >= senderLimit / 2 { (older, recent) = (recent, [:]) }
        older[name] = nil
        recent[name] = sender
    }

    /// Senders of whom something is remembered.
    package var senderCount: Int { recent.count + older.count }

    // MARK: Parts of the layout

    private static func cipher(
        _ keyring: GossipKeyring,
        _ number: UInt16,
        _ sender: UInt64,
        _ scope: [UInt8]
    ) throws(TLSError) -> AuthenticatedCipher {
        guard let key = keyring.key(number) else { preconditionFailure("key \(number) is not in the keyring") }
        var info = Array("godwit gossip 1".utf8) + [0] + scope + [0]
        info.appendInteger(sender)
        return try AuthenticatedCipher(key: try KeyDerivation.expand(key, info: info))
    }

    /// Salt and counter.
    private func nonce(_ sealed: [UInt8]) -> [UInt8] { Array(sealed[(keyOffset + 2)..<headerByteCount]) }

    /// The scope with its length, and the whole header.
    private func additional(_ sealed: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = [UInt8(scope.count)]
        bytes.reserveCapacity(1 + scope.count + headerByteCount)
        bytes += scope
        bytes += sealed[..<headerByteCount]
        return bytes
    }

    private static func integer<Value: FixedWidthInteger & UnsignedInteger>(
        _ bytes: [UInt8],
        _ offset: Int,
        _ type: Value.Type
    ) -> Value {
        bytes[offset..<(offset + Value.bitWidth / 8)].reduce(0) { $0 << 8 | Value($1) }
    }
}

/// Why something cannot be sealed.
package enum GossipSealError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Shorter than what travels in the clear, or longer than a datagram may be.
    case size(Int)
    /// Every counter was used; only a new life has new ones.
    case countersSpent
    /// libcrypto failed.
    case library(String)

    package var description: String {
        switch self {
        case .size(let count):
            "a datagram of \(count) bytes cannot be sealed: \(GossipSeal.clearByteCount) to"
                + " \(GossipSeal.sealedByteLimit - GossipSeal.overheadByteCount) are possible"
        case .countersSpent: "all nonces of this process are used: restart the agent"
        case .library(let text): text
        }
    }
}

/// Why a datagram that arrived is dropped.
package enum GossipRefusal: String, Error, Sendable, CaseIterable {
    case tooShort
    case tooLong
    /// Of another version.
    case version
    /// Of a pool that this node is not in.
    case otherPool
    /// Sealed with a key that is not in the keyring.
    case unknownKey
    /// Not sealed with the key that it names, of another cluster or pool, or changed on the way.
    case forged
    /// Seen before, or too old to know.
    case replayed
    /// It names this node as its sender: an echo, or another node with the same name.
    case ownName
}
