import ClusterModel
import ClusterSim
import QoS

/// Both policies on the same random feasible mixes: the controller of the agent over virtual time.
struct PolicyBenchmark: Benchmark {
    static let name = "policy"
    static let summary = "deadlines of random feasible mixes of ten on two cores, SIMULATED; peer: the published policy"

    private static let mixesPerRound: UInt64 = 40

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        let seeds = 1..<(1 + UInt64(context.rounds) * Self.mixesPerRound)
        var (ours, paper) = (MixStudy(policy: .deadline), MixStudy(policy: .paper))
        for seed in seeds {
            try Task.checkCancellation()
            let mix = JobMix(seed: seed)
            ours.add(MixRun(mix: mix, policy: .deadline).result())
            paper.add(MixRun(mix: mix, policy: .paper).result())
        }
        let what = "simulated, \(ours.mixes) mixes, \(ours.deadlines) deadlines"
        return [
            BenchmarkRow(
                "deadlines missed, work known to +-50 %; peer: paper (\(what))",
                unit: "%",
                ours: ours.missRate * 100,
                peer: paper.missRate * 100,
                goal: .atMost(2)
            ),
            BenchmarkRow(
                "the same, held to a fifth of paper's",
                unit: "%",
                ours: ours.missRate * 100,
                peer: paper.missRate * 100,
                goal: .ratioAtMost(0.2)
            ),
            BenchmarkRow(
                "CPU reserved over CPU used (an oracle: 1); peer: paper",
                unit: "x",
                ours: ours.reservedRatio,
                peer: paper.reservedRatio,
                goal: .atMost(1.15)
            ),
            BenchmarkRow(
                "CPU left idle while a deadline job could use it; peer: paper",
                unit: "%",
                ours: ours.wastedFraction * 100,
                peer: paper.wastedFraction * 100,
                goal: .atMost(1)
            ),
        ]
    }
}
