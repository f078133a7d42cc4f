import ClusterSim
import Testing

/// What the shipped times promise; `godwit-sim leader` measures more runs.
struct LeaderStudyTests {
    private func study(
        _ measure: LeaderStudy.Measure,
        seeds: ClosedRange<UInt64> = 1...3,
        agents: Int = 5
    ) -> LeaderStudy {
        let origin = ClusterSimulationTests.origin
        let study = LeaderStudy(measure, seeds: seeds, agents: agents, voters: 3, minutes: 1, origin: origin)
        #expect(study.violations == [] && study.unfinished == 0 && study.values.count == seeds.count)
        return study
    }

    @Test func `Without its leader a cluster commits again within 0.8 s`() {
        let values = study(.kill).values
        #expect(values.allSatisfy { (0.1...0.8).contains($0) }, "\(values)")
    }

    @Test func `A leader whose disk stalls is replaced within 2 s, and does no harm when it goes on`() {
        let values = study(.diskStall).values
        #expect(values.allSatisfy { (0.5...2).contains($0) }, "\(values)")
    }

    @Test func `Leadership is handed over within 20 ms`() {
        let values = study(.handOver).values
        #expect(values.allSatisfy { (0.001...0.02).contains($0) }, "\(values)")
    }

    @Test func `A new leader has heard from every node of a large cluster within 2 s`() {
        let values = study(.rebuild, seeds: 1...1, agents: 64).values
        #expect(values.allSatisfy { (0...2).contains($0) }, "\(values)")
    }

    @Test(arguments: [LeaderStudy.Measure.spurious, .spuriousOnStreams])
    func `Loss and slow disks elect nobody`(measure: LeaderStudy.Measure) {
        #expect(study(measure, seeds: 1...1).values == [0])
    }
}
