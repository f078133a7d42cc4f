import ClusterModel
import ClusterSim
import ControlMessages
import LinuxSystem
import QoS
import ResourceSamples

/// A random feasible mix of ten jobs on two cores, run for real under each policy.
///
/// Jobs have a tenth of the usual length, so the published policy evaluates ten times as often as published (12 s instead of 120 s).
struct DeadlineBenchmark: Benchmark {
    static let name = "deadlines"
    static let summary = "one random feasible mix of ten, run by real agents on two cores; peer: the published policy"

    private static let processors = 2
    private static let seed: UInt64 = 1

    func run(_ context: BenchmarkContext) async throws -> [BenchmarkRow] {
        guard Machine.processorCount >= Self.processors else {
            throw BenchmarkFailure("the mix is for two processors, and this machine has one")
        }
        let root = try await context.makeRoot()
        var shape = JobMix.Shape()
        shape.capacity = Double(Self.processors)
        shape.work = 4...20
        // Waits and start overheads of the generator are not scaled with the work.
        (shape.iterative, shape.uneven) = (0, 0)
        let mix = JobMix(seed: Self.seed, shape: shape)
        let ours = try await run(mix, .deadline, context, root)
        let paper = try await run(mix, .paper, context, root)
        let count = ours.met + ours.missed
        return [
            BenchmarkRow(
                "deadlines met of \(count), real containers; peer: paper",
                unit: "deadlines",
                ours: Double(ours.met),
                peer: Double(paper.met),
                goal: .atLeast(Double(count))
            ),
            BenchmarkRow(
                "CPU left idle while a deadline job could use it; peer: paper",
                unit: "%",
                ours: ours.idle * 100,
                peer: paper.idle * 100,
                goal: .atMost(1)
            ),
        ]
    }

    private struct Outcome {
        var met = 0
        var missed = 0
        var idle = 0.0
    }

    private func run(
        _ mix: JobMix,
        _ policy: JobSpecification.Policy,
        _ context: BenchmarkContext,
        _ root: String
    ) async throws -> Outcome {
        let agent = try await BenchmarkAgent.start(
            context,
            settings: "qos: {paperInterval: 12s}",
            processors: Machine.processorCount > Self.processors ? Self.processors : nil
        )
        let start = ContinuousClock.now
        var watch = IdleWatch(processors: Self.processors)
        var waiting = mix.jobs.sorted {
            ($0.declared.submitted, $0.declared.id) < ($1.declared.submitted, $1.declared.id)
        }
        var (open, ended, greedy): ([String], [WireJobSummary], [String]) = ([], [], [])
        var next = start
        while !open.isEmpty || waiting.contains(where: { $0.declared.objective != nil }) {
            while let job = waiting.first, start.duration(to: .now).inSeconds >= job.declared.submitted.seconds {
                waiting.removeFirst()
                let id = try await submit(job, policy, agent, root)
                if job.declared.objective == nil {
                    greedy.append(id)
                } else {
                    open.append(id)
                    watch.add(job: id, cgroup: try agent.cgroup(of: id), width: job.declared.parallelism.rawValue)
                }
            }
            watch.look()
            for job in open {
                let shown = try await agent.summary(job)
                guard shown.endedUnixSeconds > 0 else { continue }
                guard shown.state == "completed" else {
                    throw BenchmarkFailure("job \(shown.name) ended as \(shown.state): \(shown.message)")
                }
                open.removeAll { $0 == job }
                ended.append(shown)
            }
            next = max(next + .milliseconds(500), .now)
            try await Task.sleep(until: next, clock: .continuous)
        }
        for job in greedy { try await agent.cancel(job) }
        try await agent.stop()
        // The second policy starts with the same empty state.
        await context.cleanUpState()
        let met = ended.count { $0.endedUnixSeconds <= $0.deadlineUnixSeconds }
        return Outcome(met: met, missed: ended.count - met, idle: watch.share)
    }

    private func submit(
        _ job: SimulatedJob,
        _ policy: JobSpecification.Policy,
        _ agent: BenchmarkAgent,
        _ root: String
    ) async throws -> String {
        let width = Int(job.declared.parallelism.rawValue.rounded())
        var more = "policy: \(policy.rawValue)\nresources: {cpus: \(width)}\n"
        if case .cpuTime(let amount, let frame) = job.declared.objective {
            more += "objective: {cpuTime: \(amount.inSeconds)s, frame: \(frame.inSeconds)s}\n"
        }
        return try await agent.submit(
            job.declared.id.rawValue,
            ["spin", "\(job.cpuSeconds)", "\(width)"],
            root: root,
            more: more
        )
    }
}

/// Adds up processor time that nobody used although a job with a deadline could have.
private struct IdleWatch {
    private struct Job {
        var cgroup: Cgroup
        var width: Double
        var sampler: CgroupSampler?
        var last: CgroupSample?
    }

    private let processors: Int
    private var jobs: [String: Job] = [:]
    private var before: (time: ContinuousClock.Instant, idle: Double)?
    private var wasted = 0.0
    private var offered = 0.0

    init(processors: Int) { self.processors = processors }

    mutating func add(job: String, cgroup: Cgroup, width: Double) { jobs[job] = Job(cgroup: cgroup, width: width) }

    /// Part of the processor time offered so far.
    var share: Double { offered > 0 ? wasted / offered : 0 }

    /// Compares with the last look; a job counts only when it ran at both.
    mutating func look() {
        guard let sample = try? Machine.processors() else { return }
        let time = ContinuousClock.now
        let idle = sample.each.prefix(processors).reduce(0) { $0 + ($1.idle + $1.ioWait).inSeconds }
        let elapsed = before.map { $0.time.duration(to: time).inSeconds }
        var couldUse = 0.0
        for (id, job) in jobs {
            var job = job
            if job.sampler == nil { job.sampler = try? job.cgroup.makeSampler() }
            let reading = try? job.sampler?.sample()
            // Gone, or only being made: neither could use a processor all the time.
            if let reading, (reading.processes ?? 1) > 0, let last = job.last, let elapsed {
                couldUse += max(0, job.width * elapsed - (reading.cpuTime - last.cpuTime).inSeconds)
            }
            job.last = (reading?.processes ?? 0) > 0 ? reading : nil
            jobs[id] = job
        }
        if let before, let elapsed {
            wasted += min(max(0, idle - before.idle), couldUse)
            offered += elapsed * Double(processors)
        }
        before = (time, idle)
    }
}
