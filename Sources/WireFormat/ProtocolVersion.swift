/// The version of the control protocol, separate from the product's version.
///
/// Each side names a range; both speak the newest version that lies in both ranges.
package struct ProtocolVersion: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// What this program speaks.
    package static let supported = ProtocolVersion(rawValue: 1)...ProtocolVersion(rawValue: 1)

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    package var description: String { String(rawValue) }

    /// The newest version in both ranges; nil when there is none.
    package static func agreed(
        _ ours: ClosedRange<ProtocolVersion>,
        _ theirs: ClosedRange<ProtocolVersion>
    ) -> ProtocolVersion? {
        let newest = min(ours.upperBound, theirs.upperBound)
        return newest >= max(ours.lowerBound, theirs.lowerBound) ? newest : nil
    }
}
