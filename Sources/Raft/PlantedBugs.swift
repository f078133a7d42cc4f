/// Mistakes that people have made in Raft, to be planted one by one by tests, which prove that the simulator finds each.
///
/// Not visible outside this module and its tests; a node has none unless a test sets them.
struct PlantedBugs: OptionSet, Sendable {
    let rawValue: UInt32

    /// A voter forgets whom it voted for in this term.
    static let votesTwice = PlantedBugs(rawValue: 1 << 0)
    /// Votes are given to candidates with older logs.
    static let ignoresOlderLog = PlantedBugs(rawValue: 1 << 1)
    /// Entries of earlier terms are committed by counting (Raft, section 5.4.2, figure 8).
    static let commitsOldTermByCounting = PlantedBugs(rawValue: 1 << 2)
    /// A leader counts its own entries before they are on its disk.
    static let countsItselfEarly = PlantedBugs(rawValue: 1 << 3)
    /// A follower keeps entries that conflict with the leader's.
    static let keepsConflicts = PlantedBugs(rawValue: 1 << 4)
    /// A leader's heartbeat names entries that the follower has not been compared on.
    static let commitsUnmatched = PlantedBugs(rawValue: 1 << 5)
    /// Reads are answered without asking a quorum.
    static let readsWithoutQuorum = PlantedBugs(rawValue: 1 << 6)
    /// Reads are answered before an entry of the leader's term is committed.
    static let readsBeforeFirstCommit = PlantedBugs(rawValue: 1 << 7)
    /// The lease never ends.
    static let staleLease = PlantedBugs(rawValue: 1 << 8)
    /// The lease survives the request to another member to stand.
    static let leaseSurvivesTransfer = PlantedBugs(rawValue: 1 << 9)
    /// Only the incoming voters of a joint membership are counted.
    static let ignoresOutgoingVoters = PlantedBugs(rawValue: 1 << 11)
    /// A second change of the membership begins before the first is committed.
    static let overlapsChanges = PlantedBugs(rawValue: 1 << 12)
    /// The members that a snapshot names are not taken over.
    static let forgetsMembershipOfSnapshot = PlantedBugs(rawValue: 1 << 14)
    /// Members without a vote are counted for the quorum that a leader must hear from, and for the lease.
    static let countsLearners = PlantedBugs(rawValue: 1 << 13)
    /// The node is correct, its shell is not: broken invariants are not to end the test.
    static let ofShell = PlantedBugs(rawValue: 1 << 15)
}
