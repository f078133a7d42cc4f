import Foundation
import Testing

@testable import Raft

/// The simulator finds what it is there to find: each mistake, planted alone, shows within a bounded number of seeds.
struct PlantedBugTests {
    /// No mistake may need more seeds than this.
    private static let seedLimit: UInt64 = 600

    struct Planted: Sendable, CustomStringConvertible {
        var description: String
        var bugs: PlantedBugs = []
        var shell: ShellBugs = []
        /// The kind of bad luck that the mistake needs; nil: any.
        var theme: Profile.Theme?
    }

    static let planted: [Planted] = [
        Planted(description: "votes twice in a term", bugs: .votesTwice),
        Planted(description: "votes for an older log", bugs: .ignoresOlderLog),
        Planted(
            description: "counts its own entries before they are on disk",
            bugs: .countsItselfEarly,
            theme: .slowDisks
        ),
        Planted(description: "keeps conflicting entries", bugs: .keepsConflicts),
        Planted(description: "commits what it has not compared", bugs: .commitsUnmatched),
        Planted(description: "reads without a quorum", bugs: .readsWithoutQuorum),
        Planted(description: "reads before its first commit", bugs: .readsBeforeFirstCommit),
        Planted(description: "lease without an end", bugs: .staleLease),
        Planted(description: "lease survives a hand-over", bugs: .leaseSurvivesTransfer, theme: .handOvers),
        Planted(
            description: "counts one majority of a joint membership",
            bugs: .ignoresOutgoingVoters,
            theme: .jointHalves
        ),
        Planted(
            description: "overlapping changes of the membership",
            bugs: .overlapsChanges,
            theme: .jointHalves
        ),
        Planted(description: "learners count for the lease", bugs: .countsLearners, theme: .learnerFriends),
        Planted(description: "forgets the membership of a snapshot", bugs: .forgetsMembershipOfSnapshot),
        Planted(description: "forgotten sync", shell: .forgetsSync),
        Planted(description: "sends before it persists", shell: .sendsEarly),
        Planted(description: "term and vote not on disk", shell: .losesHardState),
        Planted(description: "forgotten truncation on disk", shell: .forgetsTruncation),
        Planted(description: "state machine not restored from a snapshot", shell: .forgetsRestore),
    ]

    @Test(arguments: planted)
    func `Each planted mistake is found`(planted: Planted) {
        for seed in 0..<Self.seedLimit {
            let simulation = Simulation(seed: seed, bugs: planted.bugs, shellBugs: planted.shell, theme: planted.theme)
            simulation.run()
            guard let violation = simulation.checkers.violations.first else { continue }
            if ProcessInfo.processInfo.environment["RAFT_VERBOSE"] != nil {
                FileHandle.standardError.write(Data("\(planted): seed \(seed): \(violation.prefix(200))\n".utf8))
            }
            return
        }
        Issue.record("\(planted): not found by \(Self.seedLimit) seeds")
    }

    @Test func `An old term's entry that is committed by counting shows in figure 8`() {
        for bugs in [[], PlantedBugs.commitsOldTermByCounting] {
            var group = Group(3)
            group.disks[id(1)]?.entries = [1, 2].map { Entry(term: term($0), index: $0, payload: .empty) }
            group.disks[id(1)]?.hardState = HardState(term: term(2))
            group.restart(1)
            group[1].plantedBugs = bugs
            group[1].campaign(.vote)
            _ = group.deliver(.voteResponse(kind: .vote, isGranted: true), from: 3, to: 1, term: 3)
            _ = group.deliver(.appendResponse(round: 1, outcome: .matches(2)), from: 2, to: 1, term: 3)
            #expect(group[1].commitIndex == (bugs.isEmpty ? 0 : 2))
        }
    }

    @Test func `A voter that forgets the lease when it restarts elects a second leader within it`() throws {
        for isForgotten in [false, true] {
            var group = Group(3)
            group.elect(1)
            group.pass(.milliseconds(100))
            group.isolated = [id(1)]
            group.restart(2)
            if isForgotten { group[2].leaderContact = nil }
            group[3].leaderContact = nil
            group[3].campaign(.preVote)
            group.settle()
            #expect(group[3].isLeader == isForgotten && group[1].holdsLease)
        }
    }

    @Test(arguments: [(margin: 25, isStale: false), (margin: 0, isStale: true)])
    func `A lease bears clocks that drift by its margin, and without a margin it does not`(
        margin: Int,
        isStale: Bool
    )
        throws
    {
        var configuration = RaftConfiguration()
        configuration.leaseMargin = .milliseconds(margin)
        var group = Group(3, configuration: configuration)
        group.elect(1)
        group.pass(.milliseconds(100))
        group.isolated = [id(1)]
        let contact = try #require(group[2].leaderContact)
        // The earliest moment at which the others may elect somebody else.
        group.now = contact + configuration.electionTimeout
        (group[2].now, group[3].now) = (group.now, group.now)
        group[2].campaign(.preVote)
        group.settle()
        #expect(group[2].isLeader)
        // The old leader's clock has lost 8 % meanwhile.
        group[1].now = contact + configuration.electionTimeout * 0.92
        #expect(group[1].isLeader && group[1].holdsLease == isStale)
    }
}
