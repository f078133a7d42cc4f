import ClusterSim
import Foundation
import Testing

@testable import Raft

/// The simulation finds what it is there to find: each mistake, planted alone, shows within a bounded number of seeds.
struct PlantedClusterBugTests {
    /// No mistake may need more seeds than this.
    private static let seedLimit: UInt64 = 200

    struct Planted: Sendable, CustomStringConvertible {
        var description: String
        var bugs: ClusterBugs = []
        /// Inside Raft.
        var raft: PlantedBugs = []
        var profile = ClusterProfile.Name.mixed
        /// Agents; nil: drawn.
        var agents: Int?
        /// Where to begin: the seeds before are known to miss it, and time is short.
        var firstSeed: UInt64 = 0
        /// How the violation must begin; nil: any.
        var finding: String?
    }

    static let planted: [Planted] = [
        Planted(description: "forgotten sync", bugs: .forgetsSync, profile: .disks),
        Planted(
            description: "sends before it persists",
            bugs: .sendsEarly,
            profile: .disks,
            firstSeed: 65
        ),
        Planted(description: "term and vote not on disk", bugs: .losesHardState, profile: .crashes),
        Planted(description: "forgotten truncation on disk", bugs: .forgetsTruncation, profile: .storm, firstSeed: 8),
        Planted(description: "snapshot that is received and not taken", bugs: .forgetsRestore, profile: .storm),
        Planted(description: "snapshot without the last entries", bugs: .snapshotLacksLastEntries, profile: .crashes),
        Planted(
            description: "decisions stored twice",
            bugs: .storesDecisionsTwice,
            profile: .crashes,
            finding: "decisions"
        ),
        Planted(
            description: "clock read while a command is applied",
            bugs: .readsClockWhileApplying,
            profile: .calm,
            finding: "equal states"
        ),
        Planted(
            description: "answer before the commit",
            bugs: .acknowledgesBeforeCommit,
            profile: .elections,
            firstSeed: 40,
            finding: "acknowledged"
        ),
        Planted(
            description: "follower answers reads",
            bugs: .readsFromFollower,
            profile: .partitions,
            finding: "linearizability"
        ),
        Planted(
            description: "deposed leader answers reads",
            bugs: .readsWithoutConfirmation,
            profile: .pauses,
            firstSeed: 335,
            finding: "linearizability"
        ),
        Planted(
            description: "idempotency key dropped",
            bugs: .dropsIdempotencyKey,
            profile: .lossy,
            finding: "submission"
        ),
        Planted(
            description: "no fence",
            bugs: .ignoresFence,
            profile: .partitions,
            finding: "two at once"
        ),
        Planted(
            description: "fence in the agent only",
            bugs: .fencesInAgentOnly,
            profile: .pauses,
            firstSeed: 25,
            finding: "two at once"
        ),
        Planted(
            description: "authority counted from the answer",
            bugs: .countsAuthorityFromAnswer,
            profile: .pauses,
            finding: "two at once"
        ),
        Planted(
            description: "index of the grant ignored",
            bugs: .ignoresIndexOfGrant,
            profile: .disks,
            firstSeed: 250,
            finding: "two at once"
        ),
        Planted(
            description: "node lost too early",
            bugs: .declaresLostEarly,
            profile: .partitions,
            finding: "two at once"
        ),
        Planted(
            description: "silence counted from before the reign",
            bugs: .keepsLivenessOverReigns,
            profile: .elections,
            firstSeed: 8,
            finding: "two at once"
        ),
        Planted(
            description: "authority from a deposed leader",
            bugs: .grantsWithoutConfirmation,
            profile: .pauses,
            agents: 5,
            firstSeed: 275,
            finding: "two at once"
        ),
        Planted(
            description: "containers of the last life overlooked",
            bugs: .forgetsContainers,
            profile: .crashes,
            firstSeed: 18,
            finding: "two at once"
        ),
        Planted(
            description: "jobs of a silent node taken at once",
            bugs: .takesJobsOfSilentNode,
            profile: .partitions,
            finding: "two at once"
        ),
        Planted(
            description: "revoked node listened to",
            bugs: .listensToRevoked,
            profile: .partitions,
            finding: "revoked"
        ),
        Planted(
            description: "voters chosen without asking who answers",
            bugs: .choosesVotersBlindly,
            profile: .storm,
            agents: 5,
            firstSeed: 315,
            finding: "voters"
        ),
        Planted(description: "votes twice in a term", raft: .votesTwice, profile: .elections, firstSeed: 110),
        Planted(description: "keeps conflicting entries", raft: .keepsConflicts, profile: .partitions),
        Planted(description: "commits what it has not compared", raft: .commitsUnmatched, profile: .partitions),
        Planted(
            description: "reads without a quorum",
            raft: .readsWithoutQuorum,
            profile: .pauses,
            firstSeed: 290,
            finding: "linearizability"
        ),
        Planted(
            description: "lease without an end",
            raft: .staleLease,
            profile: .pauses,
            firstSeed: 145,
            finding: "linearizability"
        ),
    ]

    @Test(arguments: planted)
    func `Each planted mistake is found`(planted: Planted) {
        var options = ClusterSimulation.Options()
        (options.profile, options.bugs, options.agents) = (planted.profile, planted.bugs, planted.agents)
        // A mistake of the shell can break what a correct node traps on; the checkers are to find it instead.
        let raft = planted.bugs.isEmpty ? planted.raft : planted.raft.union(.ofShell)
        options.prepare = { $0.plantedBugs = raft }
        for seed in planted.firstSeed..<(planted.firstSeed + Self.seedLimit) {
            let report = ClusterSimulation(seed: seed, options: options, origin: ClusterSimulationTests.origin).run()
            guard let violation = report.violations.first, violation.hasPrefix(planted.finding ?? "") else { continue }
            if ProcessInfo.processInfo.environment["GODWIT_VERBOSE"] != nil {
                FileHandle.standardError.write(Data("\(planted): seed \(seed): \(violation.prefix(160))\n".utf8))
            }
            return
        }
        Issue.record("\(planted): not found by \(Self.seedLimit) seeds from \(planted.firstSeed) on")
    }
}
