import ClusterSim
import Foundation
import Testing

/// One job moves about while everything fails: never two of it run, and in the end exactly one does.
struct MigrationSimulationTests {
    private static let origin = ContinuousClock().systemEpoch
    /// Seeds of one run; more with `GODWIT_SEEDS`.
    private static let seeds =
        UInt64(ProcessInfo.processInfo.environment["GODWIT_SEEDS"].flatMap { Int($0) } ?? 300)
    /// No mistake may need more seeds than this.
    private static let seedLimit: UInt64 = 2000

    @Test func neverTwoRunAndInTheEndOneDoes() {
        var (moved, kept, restarts, faults, filled, emptied) = (0, 0, 0, 0, 0, 0)
        for seed in 0..<Self.seeds {
            var simulation = MigrationSimulation(seed: seed, hasAddress: seed % 4 != 0, origin: Self.origin)
            let report = simulation.run()
            if let violation = report.violation {
                Issue.record("seed \(seed): \(violation)\n\(report.trace.joined(separator: "\n"))")
                return
            }
            (moved, kept, restarts, faults) = (
                moved + report.moved, kept + report.keptRunning, restarts + report.restarts, faults + report.faults
            )
            (filled, emptied) = (filled + report.filled, emptied + report.emptied)
        }
        print(
            "\(Self.seeds) seeds: \(moved) moved, \(kept) kept running, \(restarts) restarted, \(faults) faults; \(filled) got their memory later, "
                + "\(emptied) did not"
        )
        // A simulation in which nothing happens proves nothing.
        #expect(moved > 100 && kept > 100 && restarts > 10 && filled > 50 && emptied > 5)
    }

    @Test(arguments: MigrationSimulation.Mistake.allCases)
    func aPlantedMistakeIsFound(_ mistake: MigrationSimulation.Mistake) {
        for seed in 0..<Self.seedLimit {
            var simulation = MigrationSimulation(
                seed: seed,
                mistake: mistake,
                // Two that run are seen by the frames first, where there are any.
                hasAddress: mistake.symptom != "run at once",
                origin: Self.origin
            )
            if simulation.run().violation?.contains(mistake.symptom) == true {
                print("\(mistake): found by seed \(seed)")
                return
            }
        }
        Issue.record("\(mistake) was not found within \(Self.seedLimit) seeds")
    }

    /// Whoever sends to the job's address notices no move: all arrives, once and in order, though nobody sends again.
    @Test func withoutFaultsNoFrameIsLostOverAMove() {
        var (moved, frames) = (0, 0)
        for seed in 0..<Self.seeds / 3 {
            var simulation = MigrationSimulation(seed: seed, hasFaults: false, origin: Self.origin)
            let report = simulation.run()
            let isWhole = report.received == Array(0..<report.frames)
            #expect(report.violation == nil && isWhole, "seed \(seed): \(report)")
            (moved, frames) = (moved + report.moved, frames + report.frames)
        }
        print("\(moved) moves, \(frames) frames")
        #expect(moved > 100 && frames > 1000)
    }

    @Test func aSeedIsRepeated() {
        func run() -> MigrationSimulation.Report {
            var simulation = MigrationSimulation(seed: 42, origin: Self.origin)
            return simulation.run()
        }
        #expect(run() == run())
    }
}
