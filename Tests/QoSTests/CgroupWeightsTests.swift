import ClusterModel
import Testing

@testable import QoS

struct CgroupWeightsTests {
    @Test("Weights are in proportion to allocations")
    func proportion() {
        let (one, other) = (
            CgroupWeights.shares(1.5, capacity: 2), CgroupWeights.shares(0.5, capacity: 2)
        )
        #expect(one == 196_608)
        #expect(one == 3 * other)
        #expect(CgroupWeights.weight(1.5, capacity: 2) == 7500)
    }

    @Test("Weights stay in the kernel's ranges, whatever is asked for")
    func ranges() {
        for allocation in [-1, 0, 1e-9, 1e-3, 1, 96, 1e9, .nan, .infinity] as [Double] {
            #expect(CgroupWeights.sharesRange.contains(CgroupWeights.shares(VCPUCount(allocation), capacity: 96)))
            #expect(CgroupWeights.weightRange.contains(CgroupWeights.weight(VCPUCount(allocation), capacity: 96)))
        }
    }

    @Test("A hundredth of a vCPU is told apart on nodes of up to a hundred")
    func resolution() {
        #expect(CgroupWeights.weight(0.01, capacity: 96) < CgroupWeights.weight(0.03, capacity: 96))
        #expect(CgroupWeights.shares(0.01, capacity: 96) < CgroupWeights.shares(0.02, capacity: 96))
    }

    @Test("A job with next to nothing keeps a minimum")
    func minimum() {
        #expect(CgroupWeights.weight(.zero, capacity: 2) == 1)
        #expect(CgroupWeights.shares(.zero, capacity: 2) == 2)
    }
}
