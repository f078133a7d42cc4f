/// One Raft log on one disk, for ever: drawn at random when the log is created, never used again.
///
/// A node that lost its disk lost its votes with it, and under the old number it could vote a second time in the same term. So it
/// comes back as a new member, and the number belongs to the log and not to the node. Zero names nobody.
package struct RaftMemberID: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package var description: String { String(rawValue, radix: 16) }

    /// Draws a new number, which is not zero.
    package static func random(using generator: inout some RandomNumberGenerator) -> RaftMemberID {
        RaftMemberID(rawValue: .random(in: 1...UInt64.max, using: &generator))
    }
}
