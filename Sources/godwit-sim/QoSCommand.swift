import ArgumentParser
import ClusterModel
import ClusterSim
import QoS

/// Random feasible mixes under one policy or both.
struct QoSCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "qos",
        abstract: "Run random mixes of jobs with deadlines on one node, and count the misses.",
        discussion: """
            Each mix can be finished in time: its deadlines are set from a schedule that was run first, on what the jobs really do. The policies
            are told declared work, which is wrong by up to --error. Half of the jobs arrive while others run; some are iterative, some wait or
            have serial parts; up to two greedy best-effort jobs run beside them.

            missed      deadlines missed
            reserved    vCPU seconds guaranteed to jobs with deadlines over CPU seconds that they used; an oracle has 1
            idle        part of the node left idle although a job with a deadline could have used it
            unassigned  part of the node guaranteed to nobody although jobs could have used it
            oracle      the deadline policy told the actual work: what it misses is missed for not knowing who comes next

            Replay a seed: godwit-sim qos --mixes 1 --seed SEED --explain
            """
    )

    /// Which policies to run.
    enum Choice: String, ExpressibleByArgument, CaseIterable {
        case deadline, paper, both
    }

    @Option(help: "Number of mixes; each has a seed of its own.")
    var mixes = 200
    @Option(help: "Seed of the first mix; the others follow.")
    var seed: UInt64 = 1
    @Option(help: "deadline, paper or both.")
    var policy = Choice.both
    @Option(help: "Jobs with deadlines in a mix.")
    var jobs = 10
    @Option(help: "vCPUs of the node.")
    var vcpus = 2.0
    @Option(help: "Actual work is declared work times 1 - error ... 1 + error.")
    var error = 0.5
    @Option(
        help:
            "Tightness: deadlines lie this part of the witness's time after its ends. A number; without it, 0.05 to 0.6 mix by mix."
    )
    var slack: Double?
    @Option(name: .shortAndLong, help: "table or json.")
    var output = OutputFormat.table
    @Flag(help: "Also run the deadline policy on the actual work.")
    var oracle = false
    @Flag(help: "Tell every decision, for a single mix.")
    var explain = false
    @Flag(help: "Exit with 1 unless the deadline policy misses at most 2 %, and a fifth of what paper misses.")
    var check = false

    func validate() throws {
        guard mixes >= 1, mixes <= 1_000_000 else { throw ValidationError("--mixes must be 1 to 1000000.") }
        guard jobs >= 1, jobs <= 1000 else { throw ValidationError("--jobs must be 1 to 1000.") }
        guard vcpus > 0, vcpus <= 4096 else { throw ValidationError("--vcpus must be above 0 and at most 4096.") }
        guard error >= 0, error < 1 else { throw ValidationError("--error must be at least 0 and below 1.") }
        guard slack.map({ $0 >= 0 }) ?? true else { throw ValidationError("--slack must be at least 0.") }
        guard !explain || mixes == 1 else { throw ValidationError("--explain tells one mix: add --mixes 1.") }
        guard !check || policy == .both else { throw ValidationError("--check compares: use --policy both.") }
        guard !seed.addingReportingOverflow(UInt64(mixes)).overflow else {
            throw ValidationError("--seed is too large.")
        }
    }

    /// One line of the result.
    struct Line: Encodable {
        var name: String
        var study: MixStudy
        var missRate: Double
        var reservedRatio: Double
        var idleFraction: Double
        var unassignedFraction: Double

        init(_ name: String, _ study: MixStudy) {
            self.name = name
            self.study = study
            missRate = study.missRate
            reservedRatio = study.reservedRatio
            idleFraction = study.wastedFraction
            unassignedFraction = study.unassignedFraction
        }
    }

    func run() throws {
        var shape = JobMix.Shape()
        shape.capacity = vcpus
        shape.deadlineJobs = jobs
        shape.error = error
        if let slack { shape.slack = slack...slack }
        if explain { return tell(shape) }
        let seeds = seed..<(seed + UInt64(mixes))
        var lines: [Line] = []
        if policy != .paper {
            lines.append(Line("deadline", MixStudy.run(seeds: seeds, policy: .deadline, shape: shape)))
        }
        if policy != .deadline { lines.append(Line("paper", MixStudy.run(seeds: seeds, policy: .paper, shape: shape))) }
        if oracle {
            lines.append(
                Line("oracle", MixStudy.run(seeds: seeds, policy: .deadline, shape: shape, isClairvoyant: true))
            )
        }
        switch output {
        case .json: try printJSON(lines)
        case .table: show(lines)
        }
        if check {
            let (ours, theirs) = (lines[0].missRate, lines[1].missRate)
            guard ours <= 0.02, ours <= theirs / 5 else { throw ExitCode.failure }
        }
    }

    private func show(_ lines: [Line]) {
        func percent(_ value: Double) -> String { "\((value * 100).text(decimals: 2)) %" }
        printTable(
            [
                "policy", "mixes", "deadlines", "missed", "", "reserved", "idle", "unassigned", "best effort",
                "decisions/job",
            ],
            lines.map { line in
                let study = line.study
                return [
                    line.name, "\(study.mixes)", "\(study.deadlines)", "\(study.misses)", percent(line.missRate),
                    line.reservedRatio.text(decimals: 3), percent(line.idleFraction), percent(line.unassignedFraction),
                    percent(study.offered > 0 ? study.bestEffort / study.offered : 0),
                    (Double(study.decisions) / Double(max(1, study.deadlines))).text(decimals: 1),
                ]
            }
        )
        for line in lines where !line.study.failedSeeds.isEmpty {
            let shown = line.study.failedSeeds.prefix(40).map(String.init).joined(separator: " ")
            let more = line.study.failedSeeds.count > 40 ? " ... (\(line.study.failedSeeds.count) in all)" : ""
            print("\nseeds with a miss, \(line.name): \(shown)\(more)")
        }
    }

    private func tell(_ shape: JobMix.Shape) {
        let mix = JobMix(seed: seed, shape: shape)
        for name in policy == .both
            ? [JobSpecification.Policy.deadline, .paper] : [policy == .paper ? .paper : .deadline]
        {
            print("policy \(name.rawValue), seed \(seed)\n")
            let result = MixRun(mix: mix, policy: name).result { time, _, allocations in
                for decision in allocations.flatMap(\.decisions) {
                    print(
                        "\(time.text(decimals: 0)) s  \(decision.job)  \(decision.kind.rawValue)  \(decision.sentence)"
                    )
                }
            }
            print()
            printTable(
                ["job", "deadline", "ended", "declared CPU s", "actual CPU s", ""],
                result.jobs.map {
                    [
                        $0.job.rawValue, "\($0.frame.text(decimals: 0)) s",
                        $0.ended.map { "\($0.text(decimals: 0)) s" } ?? "not yet",
                        $0.declaredCPUSeconds.text(decimals: 0), $0.actualCPUSeconds.text(decimals: 0),
                        $0.isMissed ? "missed" : "met",
                    ]
                }
            )
            print()
        }
    }
}
