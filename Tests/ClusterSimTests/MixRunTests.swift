import ClusterModel
import QoS
import Testing

@testable import ClusterSim

struct MixRunTests {
    @Test("The same seed gives the same run", arguments: [JobSpecification.Policy.deadline, .paper])
    func deterministic(policy: JobSpecification.Policy) {
        let mix = JobMix(seed: 5)
        #expect(MixRun(mix: mix, policy: policy).result() == MixRun(mix: mix, policy: policy).result())
    }

    @Test(
        "On random feasible mixes the deadline policy reaches its figures, beside the published policy on the same mixes"
    )
    func figures() {
        let seeds: Range<UInt64> = 1..<41
        let ours = MixStudy.run(seeds: seeds, policy: .deadline)
        let theirs = MixStudy.run(seeds: seeds, policy: .paper)
        #expect(ours.deadlines == 400)
        #expect(ours.missRate <= 0.02, "seeds \(ours.failedSeeds)")
        #expect(ours.missRate <= theirs.missRate / 5)
        #expect(ours.reservedRatio <= 1.15)
        #expect(ours.wastedFraction <= 0.01)
        #expect(ours.unassignedFraction <= 0.01)
    }

    @Test("Mixes with room to spare are all met, although declared work is wrong by half")
    func roomy() {
        var shape = JobMix.Shape()
        shape.slack = 1...1
        let study = MixStudy.run(seeds: 1..<21, policy: .deadline, shape: shape)
        #expect(study.misses == 0, "seeds \(study.failedSeeds)")
    }
}
