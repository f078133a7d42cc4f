import ClusterModel
import Foundation
import Testing

@testable import Raft

/// Whole groups under faults; the seed of a failure repeats it: `RAFT_SEED=n swift test --filter SimulationTests`.
struct SimulationTests {
    /// Seeds in one quick run, in parts that run beside each other; `RAFT_SEEDS` asks for more.
    private static let seedsPerPart = (ProcessInfo.processInfo.environment["RAFT_SEEDS"].flatMap(Int.init) ?? 200) / 4

    @Test(arguments: 0..<4)
    func `Every promise of figure 3 holds, reads are linearizable, and all agree when the faults end`(part: Int) {
        let first = UInt64(part * Self.seedsPerPart)
        var total = SimulationStatistics()
        for seed in first..<(first + UInt64(Self.seedsPerPart)) {
            let simulation = Simulation(seed: seed)
            simulation.run()
            #expect(simulation.checkers.violations == [], "seed \(seed)")
            total.acknowledged += simulation.statistics.acknowledged
            total.reads += simulation.statistics.reads
            total.snapshots += simulation.statistics.snapshots
            total.membershipChanges += simulation.statistics.membershipChanges
            total.transfers += simulation.statistics.transfers
            total.crashes += simulation.statistics.crashes
        }
        // A run in which nothing happens proves nothing.
        #expect(total.acknowledged > 10 * Self.seedsPerPart && total.reads > 10 * Self.seedsPerPart)
        if Self.seedsPerPart >= 40 {
            #expect(total.snapshots > 0 && total.membershipChanges > 0 && total.transfers > 0 && total.crashes > 0)
        }
    }

    @Test func `The same seed gives the same run twice`() {
        for seed in UInt64(0)..<6 {
            let runs = (0..<2).map { _ in
                let simulation = Simulation(seed: seed)
                simulation.run()
                return [simulation.trace, UInt64(simulation.eventCount), UInt64(simulation.checkers.committed.count)]
            }
            #expect(runs[0] == runs[1], "seed \(seed)")
        }
    }

    @Test(.enabled(if: ProcessInfo.processInfo.environment["RAFT_SEED"] != nil))
    func `The seed that was asked for`() throws {
        let seed = try #require(ProcessInfo.processInfo.environment["RAFT_SEED"].flatMap(UInt64.init))
        let simulation = Simulation(seed: seed)
        simulation.run()
        #expect(simulation.checkers.violations == [])
    }
}
