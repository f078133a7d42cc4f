import ArgumentParser
import ClusterModel
import ClusterSim

/// Whole clusters under faults, seed by seed.
struct ClusterCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "Run whole clusters under faults, and check every promise.",
        discussion: """
            Real Raft, real replicated state and the real fencing rule of each agent, on virtual time: messages are lost, late, doubled and
            overtaken, links are cut in one direction or both, agents are killed, stopped and cut off, machines lose their power and
            what their disks had not synced, clocks drift. Clients submit, resize, cancel and read jobs meanwhile. Then all is repaired.

            Checked: one leader a term; equal logs give equal states; decisions are numbered without a gap; no job runs twice at the same
            moment; what was acknowledged exists and ends; clients' histories are linearizable; everything ends.

            profiles: mixed (each seed draws one of the others), calm, lossy, partitions, pauses, crashes, disks, elections, storm, clocks

            Replay a seed: godwit-sim cluster --seeds SEED --profile PROFILE
            """
    )

    @Option(help: "One seed or a range: 7, or 0..999.")
    var seeds = "0..99"
    @Option(help: "The kind of faults.")
    var profile = ClusterProfile.Name.mixed
    @Option(help: "Agents, 1 to 9; without it, 3 to 9 by the seed.")
    var agents: Int?
    @Flag(help: "Print failed seeds only, and a summary at the end.")
    var quiet = false
    @Flag(help: "Run each seed in a second process as well, and compare everything that happened.")
    var twice = false
    @Flag(help: .hidden)
    var digests = false

    func validate() throws {
        guard Self.range(seeds) != nil else { throw ValidationError("--seeds is a number or a range such as 0..999.") }
        guard agents.map({ (1...9).contains($0) }) ?? true else { throw ValidationError("--agents must be 1 to 9.") }
    }

    /// The seeds that a text names.
    static func range(_ text: String) -> ClosedRange<UInt64>? {
        if let one = UInt64(text) { return one...one }
        guard let dots = text.firstRange(of: ".."), let first = UInt64(text[..<dots.lowerBound]),
            let last = UInt64(text[dots.upperBound...]), first <= last
        else { return nil }
        return first...last
    }

    func run() throws {
        guard let range = Self.range(seeds) else { throw ExitCode.failure }
        var options = ClusterSimulation.Options()
        (options.profile, options.agents) = (profile, agents)
        var total = ClusterStatistics()
        var failed: [UInt64] = []
        var events = 0
        let other = twice ? try SecondRun(seeds: seeds, profile: profile, agents: agents) : nil
        for seed in range {
            let report = ClusterSimulation(seed: seed, options: options, origin: ContinuousClock().systemEpoch).run()
            events += report.events
            total += report.statistics
            if digests {
                print("\(seed) \(report.digest)")
                continue
            }
            if let digest = try other?.digest(of: seed), digest != report.digest {
                print("seed \(seed)  differs in a second process: \(report.digest) here, \(digest) there")
                failed.append(seed)
                continue
            }
            if !report.violations.isEmpty { failed.append(seed) }
            guard !quiet || !report.violations.isEmpty else { continue }
            let verdict = report.violations.isEmpty ? "holds" : "VIOLATED"
            print(
                "seed \(seed)  \(report.profile.rawValue)  \(report.voters) voters of \(report.agents)  \(verdict)  digest "
                    + "\(String(report.digest, radix: 16))  \(report.statistics.summary)"
            )
            for violation in report.violations { print("  \(violation)") }
        }
        if digests { return }
        let count = range.upperBound - range.lowerBound + 1
        print("\(count) seeds, \(failed.count) violated, \(events) events: \(total.summary)")
        print(total.faultSummary)
        if !failed.isEmpty { throw ExitCode.failure }
    }
}

extension ClusterProfile.Name: ExpressibleByArgument {}

extension ClusterStatistics {
    fileprivate var summary: String {
        "\(jobs) jobs, \(acknowledged) acknowledged, \(reads) reads, \(containers) containers, \(fenced) fenced, \(lost) lost, "
            + "\(reigns) reigns, \(voterChanges) voter changes, \(crashes) crashes, \(snapshots) snapshots, \(committed) entries, \(milliseconds / 1000) s"
    }

    /// What was inflicted, kind by kind.
    fileprivate var faultSummary: String {
        let inflicted = faults.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        return "faults: \(inflicted)\n"
            + "network: \(messages) messages, \(lostMessages) lost, \(cut) cut off, \(repeated) doubled, \(late) late by up to 3 s\n"
            + "disks: \(stalls) stalls of 0.2 to 1.5 s, \(tornWrites) writes lost or torn by crashes\n"
            + "checks: \(leaseReads) times a lease was relied on, \(undecided) histories undecided"
    }

    fileprivate static func += (left: inout Self, right: Self) {
        left.jobs += right.jobs
        left.acknowledged += right.acknowledged
        left.reads += right.reads
        left.containers += right.containers
        left.fenced += right.fenced
        left.lost += right.lost
        left.reigns += right.reigns
        left.voterChanges += right.voterChanges
        left.crashes += right.crashes
        left.snapshots += right.snapshots
        left.committed += right.committed
        left.milliseconds += right.milliseconds
        left.faults.merge(right.faults) { $0 + $1 }
        left.messages += right.messages
        left.cut += right.cut
        left.lostMessages += right.lostMessages
        left.repeated += right.repeated
        left.late += right.late
        left.stalls += right.stalls
        left.tornWrites += right.tornWrites
        left.leaseReads += right.leaseReads
        left.undecided += right.undecided
    }
}
