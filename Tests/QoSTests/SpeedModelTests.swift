import ClusterModel
import Testing

@testable import QoS

struct SpeedModelTests {
    private func measured(_ pairs: [(vcpus: Double, seconds: Double)], cpu: Double = 0) -> [MeasuredIteration] {
        pairs.map {
            MeasuredIteration(duration: .seconds($0.seconds), vcpus: VCPUCount($0.vcpus), consumed: .seconds(cpu))
        }
    }

    private func model(
        declared: Double = 400,
        _ pairs: [(vcpus: Double, seconds: Double)],
        cpu: Double = 0
    ) -> SpeedModel {
        SpeedModel(declared: .seconds(declared), uncertainty: 0.5, measured: measured(pairs, cpu: cpu))
    }

    @Test("Without measurements the user's guess holds on one vCPU")
    func declared() {
        let model = model([])
        #expect(abs(model.seconds(on: 1) - 400) < 1e-9)
        #expect(model.observations == 0)
        #expect(model.uncertainty == 0.5)
        #expect(model.seconds(on: 2) < 400)
    }

    @Test("One measurement is met exactly, and doubted less than the guess")
    func one() {
        let model = model([(1, 480.4)], cpu: 480.4)
        #expect(abs(model.seconds(on: 1) - 480.4) < 1)
        #expect(model.uncertainty < 0.2)
    }

    @Test("Two measurements at different vCPUs find both constants")
    func two() {
        // The published LINPACK applications: 480.4 s on one vCPU, 362.2 s on two.
        let model = model([(1, 480.4), (2, 362.2)], cpu: 480.4)
        #expect(abs(model.fixed - 244) < 15)
        #expect(abs(model.divisible - 236.4) < 15)
        #expect(abs(model.seconds(on: 1.5) - (244 + 236.4 / 1.5)) < 6)
    }

    @Test("Many measurements with noise and one outlier still find the constants")
    func many() {
        var generator = SeededGenerator(seed: 3)
        var pairs = (0..<20).map { _ -> (vcpus: Double, seconds: Double) in
            let vcpus = 0.8 + 1.2 * generator.unit()
            return (vcpus, (60 + 100 / vcpus) * (0.98 + 0.04 * generator.unit()))
        }
        pairs[15].seconds *= 3
        let model = model(declared: 100, pairs, cpu: 160)
        for vcpus in [1.0, 1.5, 2.0] {
            #expect(abs(model.seconds(on: vcpus) / (60 + 100 / vcpus) - 1) < 0.05)
        }
        #expect(model.uncertainty < 0.1)
    }

    @Test("Measurements at one level keep the guess of how the time divides")
    func oneLevel() {
        let model = model(declared: 100, [(1, 150), (1, 152), (1, 148)], cpu: 150)
        #expect(abs(model.seconds(on: 1) - 150) < 2)
        #expect(model.seconds(on: 2) < 130)
        #expect(model.seconds(on: 2) > 75)
    }

    @Test("A job that gets no faster is not believed to")
    func serial() {
        let model = model([(1, 100), (2, 100), (1, 101), (2, 99)], cpu: 100)
        #expect(abs(model.seconds(on: 2) - 100) < 5)
    }

    @Test("Constants never become negative, whatever is measured", arguments: 0..<50)
    func sane(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let pairs = (0..<(1 + Int(generator.next() % 5))).map { _ in
            (vcpus: 0.05 + 4 * generator.unit(), seconds: 0.001 + 1000 * generator.unit())
        }
        let model = model(declared: 1 + 500 * generator.unit(), pairs)
        #expect(model.fixed >= 0 && model.divisible >= 0 && model.cpu >= 0)
        #expect(model.seconds(on: 0.5) >= model.seconds(on: 1) - 1e-9)
        #expect(model.seconds(on: 1).isFinite)
    }

    @Test("Under one vCPU an iteration takes at least its CPU time over the vCPUs")
    func underOne() {
        let model = model([(1, 480.4), (2, 362.2)], cpu: 480.4)
        #expect(model.seconds(on: 0.5) >= 480.4 / 0.5 - 1e-9)
    }
}
