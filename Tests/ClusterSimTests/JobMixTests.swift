import ClusterModel
import QoS
import Testing

@testable import ClusterSim

struct JobMixTests {
    @Test("The same seed gives the same mix, another seed another")
    func seeds() {
        #expect(JobMix(seed: 7).jobs == JobMix(seed: 7).jobs)
        #expect(JobMix(seed: 7).jobs != JobMix(seed: 8).jobs)
    }

    @Test("Ten jobs have deadlines, and declared work is wrong by at most half", arguments: 0..<50)
    func shape(seed: UInt64) {
        let jobs = JobMix(seed: seed).jobs.filter { $0.declared.objective != nil }
        #expect(jobs.count == 10)
        for job in jobs {
            let ratio = job.cpuSeconds / job.declared.declaredCPUSeconds
            #expect(ratio > 0.499 && ratio < 1.501)
        }
    }

    @Test("Mixes of batch jobs that all arrive at once pass the exact test on their actual work", arguments: 0..<100)
    func feasible(seed: UInt64) {
        var shape = JobMix.Shape()
        (shape.iterative, shape.late, shape.uneven) = (0, 0, 0)
        let demands = JobMix(seed: seed, shape: shape).jobs.compactMap { job in
            job.declared.deadline.map {
                FluidDemand(work: job.cpuSeconds, deadline: $0.seconds, limit: job.declared.parallelism.rawValue)
            }
        }.sorted { $0.deadline < $1.deadline }
        #expect(FluidSchedule.latest(demands, capacity: shape.capacity).isFeasible)
    }
}
