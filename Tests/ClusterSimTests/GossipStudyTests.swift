import ClusterSim
import Testing

struct GossipStudyTests {
    @Test func `A crash is known to all within seconds, at a small cost and without a false verdict`() throws {
        var shape = GossipStudy.Shape()
        (shape.members, shape.watched) = (40, .seconds(5))
        let study = try GossipStudy.run(seeds: 1...2, shape: shape, origin: ClusterSimulationTests.origin)
        #expect(study.runs == 2 && study.unfinished == 0 && study.falseVerdicts == 0)
        #expect(study.allSeconds.allSatisfy { (0.1...4).contains($0) }, "\(study.allSeconds)")
        #expect(zip(study.firstSeconds, study.allSeconds).allSatisfy { $0 <= $1 })
        #expect((50...500).contains(study.bytesPerSecond), "\(study.bytesPerSecond)")
    }
}
