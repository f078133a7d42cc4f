package import ClusterModel
package import QoS

/// The same mixes under one policy, added up.
package struct MixStudy: Sendable, Codable, Equatable {
    package var policy: JobSpecification.Policy
    /// Runs added.
    package var mixes = 0
    /// Jobs with a deadline, over all runs.
    package var deadlines = 0
    /// Those of them that missed it.
    package var misses = 0
    /// See ``MixResult/reserved``; vCPU seconds.
    package var reserved = 0.0
    /// See ``MixResult/used``; CPU seconds.
    package var used = 0.0
    /// See ``MixResult/wasted``; vCPU seconds.
    package var wasted = 0.0
    /// See ``MixResult/unassigned``; vCPU seconds.
    package var unassigned = 0.0
    /// See ``MixResult/offered``; vCPU seconds, and what fractions of the node are taken of.
    package var offered = 0.0
    /// See ``MixResult/bestEffort``; CPU seconds.
    package var bestEffort = 0.0
    /// See ``MixResult/decisions``.
    package var decisions = 0
    /// Seeds of mixes with a missed deadline, rising.
    package var failedSeeds: [UInt64] = []

    /// An empty study.
    package init(policy: JobSpecification.Policy) { self.policy = policy }

    /// Fraction of deadlines missed.
    package var missRate: Double { deadlines > 0 ? Double(misses) / Double(deadlines) : 0 }
    /// Guaranteed over used: 1 for an oracle.
    package var reservedRatio: Double { used > 0 ? reserved / used : 1 }
    /// Fraction of the node left idle although a job with a deadline could have used it.
    package var wastedFraction: Double { offered > 0 ? wasted / offered : 0 }
    /// Fraction of the node guaranteed to nobody although jobs could have used it.
    package var unassignedFraction: Double { offered > 0 ? unassigned / offered : 0 }

    /// Adds one run; runs come in the order of their seeds.
    package mutating func add(_ result: MixResult) {
        mixes += 1
        deadlines += result.jobs.count
        misses += result.misses
        reserved += result.reserved
        used += result.used
        wasted += result.wasted
        unassigned += result.unassigned
        offered += result.offered
        bestEffort += result.bestEffort
        decisions += result.decisions
        if result.misses > 0 { failedSeeds.append(result.seed) }
    }

    /// Runs the mixes of these seeds.
    package static func run(
        seeds: Range<UInt64>,
        policy: JobSpecification.Policy,
        shape: JobMix.Shape = JobMix.Shape(),
        configuration: QoSConfiguration = QoSConfiguration(),
        isClairvoyant: Bool = false
    ) -> MixStudy {
        var study = MixStudy(policy: policy)
        for seed in seeds {
            var run = MixRun(mix: JobMix(seed: seed, shape: shape), policy: policy, configuration: configuration)
            run.isClairvoyant = isClairvoyant
            study.add(run.result())
        }
        return study
    }
}
