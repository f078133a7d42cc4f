/// Whether this node has the right to run containers.
protocol Fence: Sendable {
    /// Whether containers may be started, restored and left running now.
    var mayRun: Bool { get }
}

/// The fence of a node that nobody else could take the jobs of.
struct NoFence: Fence {
    var mayRun: Bool { true }
}
