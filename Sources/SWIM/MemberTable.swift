import ClusterModel

/// All members in the order of their keys, with constant-time access and a running fingerprint.
///
/// A value with structural sharing: records lie in chunks, so that ten thousand simulated nodes that start from one
/// table share what they have not changed.
package struct MemberTable: Sendable {
    private static let chunkSize = 64
    /// The parts of the key space whose fingerprints are compared one by one.
    static let bucketCount = 256

    private var chunks: [[Member]] = []
    private var slots: [MemberKey: UInt32] = [:]
    private var vacantSlots: [UInt32] = []
    private var slotCount: UInt32 = 0
    /// The keys in ascending order; read as a ring, they say who observes whom.
    private(set) var ring: [MemberKey] = []
    /// Members that are alive or suspect.
    private(set) var liveCount = 0
    /// Members that are dead, in no order that means anything.
    private(set) var deadKeys: [MemberKey] = []
    /// Members that left, in no order that means anything.
    private(set) var leftKeys: [MemberKey] = []
    /// The exclusive or of the live members' fingerprints, for each 256th of the key space.
    private(set) var buckets = [UInt64](repeating: 0, count: bucketCount)
    /// The exclusive or of all buckets.
    private(set) var root: UInt64 = 0
    /// Members that came or changed since this was emptied; nil when nobody wants to know.
    var changes: Set<MemberKey>?

    /// An empty table.
    package init() {}

    /// A table of these members; of two with the same key the first counts.
    package init(_ members: [Member]) {
        for member in members.sorted(by: { $0.key < $1.key }) where slots[member.key] == nil { insert(member) }
    }

    /// Members of every status.
    package var count: Int { ring.count }

    /// The member with this key.
    package subscript(key: MemberKey) -> Member? {
        guard let slot = slots[key] else { return nil }
        return self[slot: slot]
    }

    private subscript(slot slot: UInt32) -> Member {
        chunks[Int(slot) / Self.chunkSize][Int(slot) % Self.chunkSize]
    }

    /// The slot of a member, a small number that stays with it until it is removed.
    func slot(of key: MemberKey) -> UInt32? { slots[key] }

    /// The member in a slot, unless the slot is vacant.
    func member(inSlot slot: UInt32) -> Member? {
        let member = self[slot: slot]
        return slots[member.key] == slot ? member : nil
    }

    static func bucket(of key: MemberKey) -> Int { Int(key.rawValue >> 56) }

    /// Adds a member whose key is not there yet.
    mutating func insert(_ member: Member) {
        precondition(slots[member.key] == nil, "\(member.node) is in the table already")
        let slot = vacantSlots.popLast() ?? slotCount
        if slot == slotCount {
            slotCount += 1
            if Int(slot) / Self.chunkSize == chunks.count { chunks.append([]) }
            chunks[chunks.count - 1].append(member)
        } else {
            chunks[Int(slot) / Self.chunkSize][Int(slot) % Self.chunkSize] = member
        }
        slots[member.key] = slot
        ring.insert(member.key, at: lowerBound(of: member.key))
        account(for: member, before: nil)
    }

    /// Changes a member in place.
    mutating func update(_ key: MemberKey, _ change: (inout Member) -> Void) {
        guard let slot = slots[key] else { return }
        let before = self[slot: slot]
        change(&chunks[Int(slot) / Self.chunkSize][Int(slot) % Self.chunkSize])
        account(for: self[slot: slot], before: before)
    }

    /// Forgets a member.
    mutating func remove(_ key: MemberKey) {
        guard let slot = slots[key] else { return }
        // Takes it out of what is counted of the living and the dead.
        update(key) { $0.status = .left }
        Self.remove(key, from: &leftKeys)
        slots[key] = nil
        vacantSlots.append(slot)
        let index = lowerBound(of: key)
        ring.remove(at: index)
    }

    private mutating func account(for member: Member, before: Member?) {
        let change = member.fingerprint ^ (before?.fingerprint ?? 0)
        buckets[Self.bucket(of: member.key)] ^= change
        root ^= change
        liveCount += (member.status.isLive ? 1 : 0) - (before?.status.isLive == true ? 1 : 0)
        if change != 0 || member.status != before?.status { changes?.insert(member.key) }
        guard member.status != before?.status else { return }
        switch before?.status {
        case .dead: Self.remove(member.key, from: &deadKeys)
        case .left: Self.remove(member.key, from: &leftKeys)
        case .alive, .suspect, nil: break
        }
        switch member.status {
        case .dead: deadKeys.append(member.key)
        case .left: leftKeys.append(member.key)
        case .alive, .suspect: break
        }
    }

    private static func remove(_ key: MemberKey, from keys: inout [MemberKey]) {
        guard let index = keys.firstIndex(of: key) else { return }
        keys.swapAt(index, keys.count - 1)
        keys.removeLast()
    }

    /// The place of the first key that is not below this one.
    func lowerBound(of key: MemberKey) -> Int { ring.firstSortedIndex { $0 >= key } }

    /// The members of one bucket, which lie side by side in the ring.
    func members(inBucket bucket: Int) -> [Member] {
        var members: [Member] = []
        var index = lowerBound(of: MemberKey(rawValue: UInt64(bucket) << 56))
        while index < ring.count, Self.bucket(of: ring[index]) == bucket {
            if let member = self[ring[index]] { members.append(member) }
            index += 1
        }
        return members
    }

    /// A live member other than these, each with the same chance; nil when a few draws find none.
    ///
    /// Where more than half of the table is dead a draw may fail although somebody lives; the callers try again later.
    func randomLiveMember(
        besides excluded: [MemberKey],
        using generator: inout SeededGenerator
    ) -> Member? {
        guard liveCount > 0 else { return nil }
        for _ in 0..<16 {
            let key = ring[Int(truncatingIfNeeded: generator.next() % UInt64(ring.count))]
            guard !excluded.contains(key), let member = self[key], member.status.isLive else { continue }
            return member
        }
        return nil
    }
}
