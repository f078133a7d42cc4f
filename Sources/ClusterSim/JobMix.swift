import ClusterModel
import QoS

/// Random jobs that one node can finish in time: there is a schedule that does, and it is known.
package struct JobMix: Sendable {
    /// What it was drawn from.
    package let seed: UInt64
    /// vCPUs of the node.
    package let capacity: Double
    package let jobs: [SimulatedJob]
    /// Whether the kernel of this node tells pressure.
    package let tellsPressure: Bool

    /// What mixes are drawn from.
    package struct Shape: Sendable, Equatable {
        /// vCPUs of the node.
        package var capacity = 2.0
        /// Jobs with a deadline; every mix has exactly as many.
        package var deadlineJobs = 10
        /// Best-effort jobs that would use the whole node, 0 to this many.
        package var greedyNeighbours = 2
        /// Actual work is the declared work times `1 - error ... 1 + error`.
        package var error = 0.5
        /// Fraction of the jobs that are iterative.
        package var iterative = 0.3
        /// Fraction of the jobs that arrive while others run.
        package var late = 0.5
        /// Fraction of the batch jobs that have serial parts or wait between computing.
        package var uneven = 0.4
        /// CPU seconds of one job.
        package var work = 60.0...600.0
        /// A deadline lies this fraction of the witness's own time after the moment at which the witness ends the job.
        package var slack = 0.05...0.6

        /// The mixes of the published figures.
        package init() {}
    }

    /// Draws the mix of a seed; equal seeds and shapes give equal mixes.
    ///
    /// First the jobs are drawn as they really are. Then a witness, strict random priorities, runs them on the node, and each deadline is set a random
    /// time after the witness ended the job. So the mix is feasible, however tight, and whatever the jobs do between computing.
    package init(seed: UInt64, shape: Shape = Shape()) {
        self.seed = seed
        capacity = shape.capacity
        var generator = SeededGenerator(seed: seed)
        tellsPressure = generator.unit() < 0.5
        let tightness = generator.between(shape.slack)
        let horizon = Double(shape.deadlineJobs) * (shape.work.lowerBound + shape.work.upperBound) / 2 / shape.capacity
        var drawn: [SimulatedJob] = []
        for number in 0..<shape.deadlineJobs {
            let arrival = generator.unit() < shape.late ? (generator.unit() * 0.6 * horizon).rounded() : 0
            let isIterative = generator.unit() < shape.iterative
            drawn.append(
                isIterative
                    ? Self.iterative(number, arrival, shape, &generator)
                    : Self.batch(number, arrival, shape, &generator)
            )
        }
        let ends = Self.witness(drawn, capacity: shape.capacity, &generator)
        for index in drawn.indices {
            let arrival = drawn[index].declared.submitted.seconds
            let slack = tightness * (0.5 + generator.unit())
            let frame = ((ends[index] - arrival) * (1 + slack)).rounded(.up) + 5
            drawn[index].declared.objective = drawn[index].declared.objective?.within(.seconds(frame))
        }
        let neighbours = Int(generator.unit() * Double(shape.greedyNeighbours + 1))
        for number in 0..<neighbours {
            var view = JobView(
                id: JobID(rawValue: "greedy-\(number)"),
                submitted: Timestamp(seconds: (generator.unit() * 0.3 * horizon).rounded())
            )
            view.parallelism = VCPUCount(shape.capacity)
            drawn.append(
                SimulatedJob(declared: view, segments: [.compute(cpuSeconds: 1e7, width: shape.capacity)])
            )
        }
        jobs = drawn
    }

    private static func batch(
        _ number: Int,
        _ arrival: Double,
        _ shape: Shape,
        _ generator: inout SeededGenerator
    ) -> SimulatedJob {
        let work = generator.between(shape.work)
        let width = generator.unit() < 0.5 ? 1.0 : shape.capacity
        var view = JobView(id: JobID(rawValue: "batch-\(number)"), submitted: Timestamp(seconds: arrival))
        view.parallelism = VCPUCount(width)
        let declared = work / (1 - shape.error + 2 * shape.error * generator.unit())
        view.objective = .cpuTime(amount: .seconds(declared), frame: .zero)
        let kind = generator.unit()
        if kind >= shape.uneven {
            return SimulatedJob(declared: view, segments: [.compute(cpuSeconds: work, width: width)])
        }
        var segments: [SimulatedJob.Segment] = []
        let parts = 3 + Int(generator.unit() * 6)
        for _ in 0..<parts {
            let part = work / Double(parts)
            if kind < shape.uneven / 2 {
                let serial = generator.unit() * 0.4
                segments.append(.compute(cpuSeconds: part * serial, width: 1))
                segments.append(.compute(cpuSeconds: part * (1 - serial), width: width))
            } else {
                segments.append(.compute(cpuSeconds: part, width: width))
                segments.append(.wait(seconds: generator.unit() * 0.15 * part / width))
            }
        }
        return SimulatedJob(declared: view, segments: segments)
    }

    private static func iterative(
        _ number: Int,
        _ arrival: Double,
        _ shape: Shape,
        _ generator: inout SeededGenerator
    ) -> SimulatedJob {
        let work = generator.between(shape.work)
        let count = 3 + Int(generator.unit() * 8)
        let width = generator.unit() < 0.5 ? 1.0 : shape.capacity
        let serial = width == 1 ? 1 : 0.1 + 0.4 * generator.unit()
        let overhead = 2 + generator.unit() * 10
        var view = JobView(id: JobID(rawValue: "iterative-\(number)"), submitted: Timestamp(seconds: arrival))
        view.parallelism = VCPUCount(width)
        let one = work / Double(count)
        let expected = one / (1 - shape.error + 2 * shape.error * generator.unit())
        view.objective = .iterations(
            count: count,
            expected: .seconds(expected),
            startOverhead: .seconds(overhead),
            deadline: .zero
        )
        var segments: [SimulatedJob.Segment] = []
        for _ in 0..<count {
            segments.append(.wait(seconds: overhead * (0.6 + 0.4 * generator.unit())))
            segments.append(.iterationBegins)
            segments.append(.compute(cpuSeconds: one * serial, width: 1))
            segments.append(.compute(cpuSeconds: one * (1 - serial), width: width))
            segments.append(.iterationEnds)
        }
        return SimulatedJob(declared: view, segments: segments)
    }

    /// When each job ends under strict random priorities.
    private static func witness(
        _ jobs: [SimulatedJob],
        capacity: Double,
        _ generator: inout SeededGenerator
    ) -> [Double] {
        var node = NodeSimulator(capacity: capacity)
        let order = jobs.indices.sorted { (jobs[$0].declared.submitted, $0) < (jobs[$1].declared.submitted, $1) }
        var ranks = Array(jobs.indices)
        ranks.shuffle(using: &generator)
        var ends = [Double](repeating: 0, count: jobs.count)
        var arrived: [Int] = []
        while arrived.count < jobs.count || node.residents.contains(where: { $0.ended == nil }) {
            while arrived.count < jobs.count, jobs[order[arrived.count]].declared.submitted.seconds <= node.time {
                let index = order[arrived.count]
                // Weights a factor 20 apart are as good as priorities for the purpose: any schedule may be the witness.
                var share = capacity
                for _ in 0..<min(3, ranks[index]) { share /= 20 }
                node.add(jobs[index], allocation: share)
                arrived.append(index)
            }
            node.advance(1)
        }
        for (position, index) in arrived.enumerated() { ends[index] = node.residents[position].ended ?? node.time }
        return ends
    }
}

extension SeededGenerator {
    mutating func between(_ range: ClosedRange<Double>) -> Double {
        range.lowerBound + unit() * (range.upperBound - range.lowerBound)
    }
}

extension JobSpecification.Objective {
    /// The same objective with another time to reach it.
    func within(_ time: Duration) -> Self {
        switch self {
        case .cpuTime(let amount, _): .cpuTime(amount: amount, frame: time)
        case .iterations(let count, let expected, let startOverhead, _):
            .iterations(count: count, expected: expected, startOverhead: startOverhead, deadline: time)
        }
    }
}
