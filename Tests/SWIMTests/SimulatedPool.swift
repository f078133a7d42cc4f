import ClusterSim
import SWIM

extension SimulatedPool {
    /// An empty pool whose clocks start where those of the other tests do.
    init(seed: UInt64, configuration: MembershipConfiguration = .lan) {
        self.init(seed: seed, configuration: configuration, origin: origin)
    }

    /// A pool whose members know each other from the start.
    init(seed: UInt64, settled count: Int, configuration: MembershipConfiguration = .lan) throws {
        try self.init(seed: seed, settled: count, configuration: configuration, origin: origin)
    }
}
