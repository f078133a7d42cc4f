/// News that waits to be sent, at most one piece per member: a newer one takes the place of the older.
///
/// What was sent least often goes first (SWIM, section 4.1), and each piece is sent a bounded number of times.
package struct DisseminationQueue: Sendable {
    private struct Update: Sendable {
        var bytes: [UInt8]
        /// Tells an entry of a level from those that were replaced.
        var stamp: UInt64
        var sendCount: Int
    }

    private struct Level: Sendable {
        var entries: [(key: MemberKey, stamp: UInt64)] = []
        var head = 0
        var isEmpty: Bool { head == entries.count }

        mutating func pop() -> (key: MemberKey, stamp: UInt64)? {
            guard head < entries.count else { return nil }
            defer {
                head += 1
                if head == entries.count {
                    entries.removeAll(keepingCapacity: false)
                    head = 0
                } else if head > 64, head * 2 > entries.count {
                    entries.removeSubrange(..<head)
                    head = 0
                }
            }
            return entries[head]
        }
    }

    /// Pieces that do not fit a packet and are passed over before the packet counts as full.
    private static let misfitLimit = 8

    private var updates: [MemberKey: Update] = [:]
    private var levels: [Level] = []
    private var entryCount = 0
    private var stamp: UInt64 = 0
    private let limit: Int
    /// Pieces that were given up because the queue was full.
    package private(set) var droppedCount = 0

    package init(limit: Int) { self.limit = limit }

    /// Pieces that wait.
    package var count: Int { updates.count }
    /// Whether nothing waits.
    package var isEmpty: Bool { updates.isEmpty }

    /// Whether news of this member waits.
    package func contains(_ key: MemberKey) -> Bool { updates[key] != nil }

    /// Puts a message about a member first in line; what was said of it before is no longer sent.
    package mutating func add(_ message: GossipMessage, about key: MemberKey) {
        var bytes: [UInt8] = []
        message.encode(into: &bytes)
        if updates[key] == nil, updates.count >= limit { dropOldest() }
        stamp += 1
        updates[key] = Update(bytes: bytes, stamp: stamp, sendCount: 0)
        append(key, stamp: stamp, level: 0)
    }

    /// Forgets news of a member.
    package mutating func remove(_ key: MemberKey) { updates[key] = nil }

    /// Appends what fits into `packet` until it holds `byteLimit` bytes, least often sent first.
    ///
    /// - Returns: how many pieces were appended.
    @discardableResult
    package mutating func take(into packet: inout [UInt8], byteLimit: Int, transmitLimit: Int) -> Int {
        var taken: [(key: MemberKey, update: Update)] = []
        var misfits: [(key: MemberKey, stamp: UInt64, level: Int)] = []
        var level = 0
        while level < levels.count, misfits.count < Self.misfitLimit, packet.count + 13 <= byteLimit {
            guard let entry = levels[level].pop() else {
                level += 1
                continue
            }
            guard let update = updates[entry.key], update.stamp == entry.stamp else { continue }
            guard packet.count + update.bytes.count <= byteLimit else {
                misfits.append((entry.key, entry.stamp, level))
                continue
            }
            packet.append(contentsOf: update.bytes)
            taken.append((entry.key, update))
        }
        for misfit in misfits { append(misfit.key, stamp: misfit.stamp, level: misfit.level) }
        for (key, var update) in taken {
            update.sendCount += 1
            if update.sendCount >= transmitLimit {
                updates[key] = nil
            } else {
                updates[key] = update
                append(key, stamp: update.stamp, level: update.sendCount)
            }
        }
        if updates.isEmpty {
            levels.removeAll(keepingCapacity: false)
            entryCount = 0
        }
        return taken.count
    }

    private mutating func append(_ key: MemberKey, stamp: UInt64, level: Int) {
        while levels.count <= level { levels.append(Level()) }
        levels[level].entries.append((key, stamp))
        entryCount += 1
        // Entries of replaced news stay where they are; more than three of them per piece are not worth their memory.
        guard entryCount > 4 * updates.count + 64 else { return }
        for index in levels.indices {
            levels[index].entries.removeSubrange(..<levels[index].head)
            levels[index].head = 0
            levels[index].entries.removeAll { updates[$0.key]?.stamp != $0.stamp }
        }
        entryCount = levels.reduce(0) { $0 + $1.entries.count }
    }

    /// Gives up the piece that was sent most often: most members have heard it.
    private mutating func dropOldest() {
        for level in levels.indices.reversed() {
            while let entry = levels[level].pop() {
                guard let update = updates[entry.key], update.stamp == entry.stamp else { continue }
                updates[entry.key] = nil
                droppedCount += 1
                return
            }
        }
    }
}
