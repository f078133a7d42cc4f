import ClusterModel
import ClusterSim
import QoS
var shape = JobMix.Shape()
let n = UInt64(CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "50") ?? 50
for policy in [JobSpecification.Policy.deadline, .paper] {
    let s = MixStudy.run(seeds: 1..<(1 + n), policy: policy, shape: shape)
    print(policy, s.mixes, "miss", s.misses, "of", s.deadlines, s.missRate.text(decimals: 4), "reserved", s.reservedRatio.text(decimals: 3), "wasted", s.wastedFraction.text(decimals: 4), "unassigned", s.unassignedFraction.text(decimals: 4), "decisions/job", Double(s.decisions) / Double(s.deadlines), "be", s.bestEffort / s.offered, s.failedSeeds.prefix(20))
}
let s = MixStudy.run(seeds: 1..<(1 + n), policy: .deadline, shape: shape, isClairvoyant: true)
print("clairvoyant", s.misses, s.failedSeeds)
