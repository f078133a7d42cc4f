import ClusterModel
import QoS
import Testing

@testable import ClusterSim

struct NodeSimulatorTests {
    private func job(_ name: String, _ segments: [SimulatedJob.Segment], deadline: Bool = true) -> SimulatedJob {
        var view = JobView(id: JobID(rawValue: name), submitted: .epoch)
        view.parallelism = 2
        if deadline { view.objective = .cpuTime(amount: .seconds(10), frame: .seconds(100)) }
        return SimulatedJob(declared: view, segments: segments)
    }

    @Test("Competing jobs share in proportion to their weights")
    func proportion() {
        var node = NodeSimulator(capacity: 2)
        node.add(job("a", [.compute(cpuSeconds: 100, width: 2)]), allocation: 1.5)
        node.add(job("b", [.compute(cpuSeconds: 100, width: 2)]), allocation: 0.5)
        node.advance(10)
        #expect(abs(node.residents[0].consumed - 15) < 1e-6)
        #expect(abs(node.residents[1].consumed - 5) < 1e-6)
        #expect(node.stepIdle < 1e-9)
    }

    @Test("What one job cannot use, another gets; what nobody can use is idle")
    func workConserving() {
        var node = NodeSimulator(capacity: 2)
        node.add(job("wide", [.compute(cpuSeconds: 100, width: 1)]), allocation: 1.9)
        node.add(job("narrow", [.compute(cpuSeconds: 100, width: 0.5)]), allocation: 0.1)
        node.advance(10)
        #expect(abs(node.residents[0].consumed - 10) < 1e-6)
        #expect(abs(node.residents[1].consumed - 5) < 1e-6)
        #expect(abs(node.stepIdle - 5) < 1e-6)
        #expect(node.stepWasted == 0)
    }

    @Test("A job that ends within a step leaves the rest of it to the others")
    func eventsWithinAStep() {
        var node = NodeSimulator(capacity: 2)
        node.add(job("short", [.compute(cpuSeconds: 1, width: 2)]), allocation: 1)
        node.add(job("long", [.compute(cpuSeconds: 100, width: 2)]), allocation: 1)
        node.advance(10)
        #expect(abs((node.residents[0].ended ?? 0) - 1) < 1e-6)
        #expect(abs(node.residents[1].consumed - 19) < 1e-6)
    }

    @Test("The length of the caller's steps does not change the result")
    func stepsDoNotMatter() {
        func end(step: Double) -> Double {
            var node = NodeSimulator(capacity: 2)
            node.add(
                job("a", [.compute(cpuSeconds: 7, width: 1), .wait(seconds: 2.5), .compute(cpuSeconds: 9, width: 2)]),
                allocation: 0.7
            )
            node.add(job("b", [.compute(cpuSeconds: 100, width: 2)]), allocation: 1.3)
            while node.residents[0].ended == nil { node.advance(step) }
            return node.residents[0].ended ?? 0
        }
        #expect(abs(end(step: 1) - end(step: 0.13)) < 1e-6)
    }

    @Test("A ceiling holds on an idle node")
    func ceiling() {
        var node = NodeSimulator(capacity: 2)
        node.add(job("a", [.compute(cpuSeconds: 100, width: 2)]), allocation: 2)
        node.set(allocation: 0.5, of: 0, isCeiling: true)
        node.advance(10)
        #expect(abs(node.residents[0].consumed - 5) < 1e-6)
    }

    @Test("Iterations are measured: duration without the start, vCPUs that they could have used, CPU time")
    func iterations() throws {
        var node = NodeSimulator(capacity: 2)
        let segments: [SimulatedJob.Segment] = [
            .wait(seconds: 5), .iterationBegins, .compute(cpuSeconds: 4, width: 1), .compute(cpuSeconds: 6, width: 2),
            .iterationEnds,
        ]
        node.add(job("a", segments + segments), allocation: 1)
        for _ in 0..<12 { node.advance(1) }
        let view = node.view(0, step: 1, tellsPressure: true)
        let one = try #require(view.iterations.first)
        #expect(abs(one.duration.inSeconds - 7) < 1e-6)
        #expect(abs(one.consumed.inSeconds - 10) < 1e-6)
        #expect(abs(one.vcpus.rawValue - 2) < 1e-6)
        #expect(view.completedIterations == 1)
        #expect(view.iterationStarted == nil)
    }
}
