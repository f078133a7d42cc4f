/// Something that a machine can or cannot do, what its absence costs, and what to do about it.
package struct CapabilityReport: Sendable, Codable, Equatable {
    /// Lower case with dots from the general to the special: `criu.lazyPages`, `cgroup.memory`.
    package var name: String
    /// Whether it was found and can be used; something that is there but too old counts as absent.
    package var isPresent: Bool
    /// What was found: a version, a path, a mode.
    package var detail: String
    /// One sentence about what is lost without it; empty when it is present.
    package var cost: String
    /// One sentence about what to do; empty when it is present.
    package var remedy: String
    /// Whether jobs can run without it.
    package var isRequired: Bool

    /// Reports something that is there.
    package static func present(_ name: String, _ detail: String, isRequired: Bool = false) -> CapabilityReport {
        CapabilityReport(name: name, isPresent: true, detail: detail, cost: "", remedy: "", isRequired: isRequired)
    }

    /// Reports something that is missing.
    package static func absent(
        _ name: String,
        _ detail: String,
        cost: String,
        remedy: String,
        isRequired: Bool = false
    ) -> CapabilityReport {
        CapabilityReport(
            name: name,
            isPresent: false,
            detail: detail,
            cost: cost,
            remedy: remedy,
            isRequired: isRequired
        )
    }
}
