package import ClusterModel

/// Allocations as cgroup weights: how a guarantee under contention is carried out without taking idle cycles away.
///
/// Sibling cgroups share CPU in proportion to their weights while they compete. The whole node stands for the largest weight, so a job's
/// weight follows from its own allocation alone (nobody else's must be written when it changes), and the scale is used in full:
/// steps of 0.0002 vCPUs on two vCPUs in version 2, finer in version 1.
package enum CgroupWeights {
    /// `cpu.shares` of version 1.
    package static let sharesRange = 2...262_144
    /// `cpu.weight` of version 2.
    package static let weightRange = 1...10_000

    /// The value of `cpu.shares` for an allocation on a node of this capacity; `capacity` is greater than 0.
    package static func shares(_ allocation: VCPUCount, capacity: VCPUCount) -> Int {
        scaled(allocation, capacity: capacity, into: sharesRange)
    }

    /// The value of `cpu.weight` for an allocation on a node of this capacity; `capacity` is greater than 0.
    package static func weight(_ allocation: VCPUCount, capacity: VCPUCount) -> Int {
        scaled(allocation, capacity: capacity, into: weightRange)
    }

    private static func scaled(_ allocation: VCPUCount, capacity: VCPUCount, into range: ClosedRange<Int>) -> Int {
        let fraction = allocation.rawValue / capacity.rawValue
        guard fraction.isFinite, fraction > 0 else { return range.lowerBound }
        let scaled = (min(1, fraction) * Double(range.upperBound)).rounded()
        return min(range.upperBound, max(range.lowerBound, Int(scaled)))
    }
}
