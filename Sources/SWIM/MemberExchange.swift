package import WireFormat

/// Which of the 256 parts of the view are meant.
package struct BucketSet: Sendable, Hashable {
    private var words: [UInt64]

    private init(words: [UInt64]) { self.words = words }

    /// No part.
    package static let none = BucketSet(words: [0, 0, 0, 0])
    /// The whole view.
    package static let all = BucketSet(words: [.max, .max, .max, .max])

    /// Adds a part, 0 to 255.
    package mutating func insert(_ bucket: Int) { words[bucket >> 6] |= 1 << UInt64(bucket & 63) }
    /// Whether the part is meant.
    package func contains(_ bucket: Int) -> Bool { words[bucket >> 6] & 1 << UInt64(bucket & 63) != 0 }
    /// Whether no part is meant.
    package var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

    fileprivate func encode(into bytes: inout [UInt8]) {
        for word in words { bytes.appendInteger(word) }
    }

    fileprivate static func decode(_ bytes: Span<UInt8>, at offset: inout Int) throws(DecodeError) -> BucketSet {
        var words: [UInt64] = []
        for _ in 0..<4 { words.append(try bytes.readInteger(at: &offset)) }
        return BucketSet(words: words)
    }
}

/// What two members tell each other over a stream when their views differ, and what a joining member asks its seed.
///
/// The request holds the asker's entries of the buckets that differ, the answer those of the answerer that are newer or
/// unknown to the asker.
package struct MemberExchange: Sendable, Hashable {
    /// Whose turn it is.
    package enum Part: UInt8, Sendable {
        case request = 1
        case answer = 2
        /// The same about another pool.
        case poolRequest = 3
        case poolAnswer = 4

        var isAboutOtherPool: Bool { self == .poolRequest || self == .poolAnswer }
    }

    /// One member as the sender sees it.
    package struct Entry: Sendable, Hashable {
        package var member: GossipEntry
        package var status: MemberStatus
        /// For the dead and those who left: since how many seconds, so that all forget them at about the same time.
        package var ageSeconds: UInt32

        package init(_ member: GossipEntry, status: MemberStatus, ageSeconds: UInt32 = 0) {
            (self.member, self.status, self.ageSeconds) = (member, status, ageSeconds)
        }
    }

    package var part: Part
    package var sender: MemberKey
    package var buckets: BucketSet
    /// The first is the sender itself; empty when it is about another pool.
    package var entries: [Entry]
    /// The other pool that it is about, `PoolName.tag`; 0 when it is about none, or about the common one.
    package var tag: UInt32 = 0
    /// What the sender knows of the other pool.
    package var pools: [PoolEntry] = []

    package init(part: Part, sender: MemberKey, buckets: BucketSet, entries: [Entry]) {
        (self.part, self.sender, self.buckets, self.entries) = (part, sender, buckets, entries)
    }

    /// An exchange about another pool.
    package init(part: Part, sender: MemberKey, tag: UInt32, buckets: BucketSet, pools: [PoolEntry]) {
        precondition(part.isAboutOtherPool)
        (self.part, self.sender, self.buckets, entries) = (part, sender, buckets, [])
        (self.tag, self.pools) = (tag, pools)
    }

    /// The document as bytes, without the last entries if it would otherwise be longer than `limit`.
    package func encoded(limit: Int) -> [UInt8] {
        var bytes = GossipDatagram.header(sender: sender)
        bytes.append(part.rawValue)
        if part.isAboutOtherPool { bytes.appendInteger(tag) }
        buckets.encode(into: &bytes)
        let countOffset = bytes.count
        bytes.appendInteger(UInt32(0))
        var count: UInt32 = 0
        func add(_ write: (inout [UInt8]) -> Void) -> Bool {
            let end = bytes.count
            write(&bytes)
            guard bytes.count <= limit else {
                bytes.removeSubrange(end...)
                return false
            }
            count += 1
            return true
        }
        for entry in entries {
            let fits = add { bytes in
                bytes.append(entry.member)
                bytes.append(entry.status.rawValue)
                bytes.appendInteger(entry.ageSeconds)
            }
            guard fits else { break }
        }
        for claim in pools {
            guard add({ $0.append(claim) }) else { break }
        }
        for index in 0..<4 { bytes[countOffset + index] = UInt8(truncatingIfNeeded: count >> UInt32(24 - 8 * index)) }
        return bytes
    }

    /// Reads a whole document, or nothing of it.
    ///
    /// `expected` is the part about the sender's own pool; the same about another pool is taken as well.
    package static func decode(
        _ bytes: Span<UInt8>,
        expecting expected: Part
    ) throws(DecodeError) -> MemberExchange {
        var offset = 0
        let sender = try GossipDatagram.readHeader(bytes, at: &offset)
        let number = try bytes.readInteger(UInt8.self, at: &offset)
        guard let part = Part(rawValue: number), part == expected || part.rawValue == expected.rawValue + 2 else {
            throw .invalid(field: "part of an exchange", value: UInt64(number))
        }
        let tag = part.isAboutOtherPool ? try bytes.readInteger(UInt32.self, at: &offset) : 0
        let buckets = try BucketSet.decode(bytes, at: &offset)
        let count = Int(try bytes.readInteger(UInt32.self, at: &offset))
        // An entry takes at least 24 bytes, so this bounds what a false count can make us reserve.
        guard count <= bytes.count / 24 else {
            throw .tooLong(field: "entries", count: count, limit: bytes.count / 24)
        }
        if part.isAboutOtherPool {
            var pools: [PoolEntry] = []
            pools.reserveCapacity(count)
            for _ in 0..<count {
                let claim = try bytes.readPoolEntry(at: &offset)
                guard claim.pool.tag == tag else { throw .invalid(field: "pool of an entry", value: UInt64(tag)) }
                pools.append(claim)
            }
            try bytes.requireEnd(at: offset)
            return MemberExchange(part: part, sender: sender, tag: tag, buckets: buckets, pools: pools)
        }
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        for _ in 0..<count { entries.append(try bytes.readStatusEntry(at: &offset)) }
        try bytes.requireEnd(at: offset)
        guard let first = entries.first, MemberKey(first.member.node) == sender else {
            throw .invalid(field: "first entry of an exchange", value: sender.rawValue)
        }
        return MemberExchange(part: part, sender: sender, buckets: buckets, entries: entries)
    }
}
