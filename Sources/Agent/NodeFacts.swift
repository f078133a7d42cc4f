import ClusterModel
import ControlMessages
import LinuxSystem
import ResourceSamples

/// What does not change about a node while its agent runs.
struct NodeFacts: Sendable {
    var cluster: ClusterID
    var site: SiteID
    var node: NodeID
    var role: NodeRole
    var kernel: String
    var capabilities: [CapabilityReport]
    var startedAt: ContinuousClock.Instant

    init(
        cluster: ClusterID,
        site: SiteID,
        node: NodeID,
        role: NodeRole,
        kernel: String,
        capabilities: [CapabilityReport],
        startedAt: ContinuousClock.Instant
    ) {
        (self.cluster, self.site, self.node, self.role) = (cluster, site, node, role)
        (self.kernel, self.capabilities, self.startedAt) = (kernel, capabilities, startedAt)
    }
}
