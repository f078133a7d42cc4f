package import ClusterModel

/// The order in which all members are probed: round-robin over a shuffled list (SWIM, section 4.3).
///
/// So a member is probed at the latest in period 2n - 1 after the last time, not only on average in period n.
package struct ProbeOrder: Sendable {
    private var slots: [UInt32]
    private var position = 0

    /// Starts with these slots of a table in random order.
    package init(slots: [UInt32], using generator: inout SeededGenerator) {
        self.slots = slots
        self.slots.shuffle(using: &generator)
    }

    /// Entries of the list.
    package var count: Int { slots.count }

    /// Puts a new member at a random place.
    package mutating func insert(_ slot: UInt32, using generator: inout SeededGenerator) {
        slots.append(slot)
        slots.swapAt(Int(truncatingIfNeeded: generator.next() % UInt64(slots.count)), slots.count - 1)
    }

    /// Takes a forgotten member out.
    package mutating func remove(_ slot: UInt32) {
        guard let index = slots.firstIndex(of: slot) else { return }
        slots.remove(at: index)
        if index < position { position -= 1 }
    }

    /// The next one; at the end of the list it is shuffled again.
    package mutating func next(using generator: inout SeededGenerator) -> UInt32? {
        guard !slots.isEmpty else { return nil }
        if position >= slots.count {
            slots.shuffle(using: &generator)
            position = 0
        }
        defer { position += 1 }
        return slots[position]
    }
}
