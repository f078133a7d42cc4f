/// Mistakes that people make around a correct Raft, to be planted one by one by tests, which prove that the simulation finds each.
package struct ClusterBugs: OptionSet, Sendable {
    package let rawValue: UInt64
    /// Takes the bits as they are.
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    // The log on its disk.
    /// Says that it persisted before the disk has synced.
    package static let forgetsSync = ClusterBugs(rawValue: 1 << 0)
    /// Sends everything before it persists.
    package static let sendsEarly = ClusterBugs(rawValue: 1 << 1)
    /// Does not store term and vote.
    package static let losesHardState = ClusterBugs(rawValue: 1 << 2)
    /// Adds entries behind the stored ones without removing those that they replace.
    package static let forgetsTruncation = ClusterBugs(rawValue: 1 << 3)

    // The state machine.
    /// Does not take the state of a snapshot that it receives.
    package static let forgetsRestore = ClusterBugs(rawValue: 1 << 8)
    /// A snapshot lacks what the last applied batch changed.
    package static let snapshotLacksLastEntries = ClusterBugs(rawValue: 1 << 9)
    /// A replay after a restart stores its decisions once more.
    package static let storesDecisionsTwice = ClusterBugs(rawValue: 1 << 10)
    /// Reads its own clock while it applies a command.
    package static let readsClockWhileApplying = ClusterBugs(rawValue: 1 << 11)

    // Clients.
    /// Answers a submission when it is in the leader's log.
    package static let acknowledgesBeforeCommit = ClusterBugs(rawValue: 1 << 16)
    /// A follower answers reads from what it has.
    package static let readsFromFollower = ClusterBugs(rawValue: 1 << 17)
    /// Who believes that he leads answers reads from what he has.
    package static let readsWithoutConfirmation = ClusterBugs(rawValue: 1 << 18)
    /// A repeated submission loses the mark by which it is recognised.
    package static let dropsIdempotencyKey = ClusterBugs(rawValue: 1 << 19)

    // Fencing.
    /// A node runs containers whether or not it has the authority.
    package static let ignoresFence = ClusterBugs(rawValue: 1 << 24)
    /// Only the agent holds the deadline, not the containers' supervisors.
    package static let fencesInAgentOnly = ClusterBugs(rawValue: 1 << 25)
    /// Authority counts from when the answer came, not from when the request was sent.
    package static let countsAuthorityFromAnswer = ClusterBugs(rawValue: 1 << 26)
    /// Authority counts before the entries that the answer names are applied.
    package static let ignoresIndexOfGrant = ClusterBugs(rawValue: 1 << 27)
    /// A node is declared lost after half of the time.
    package static let declaresLostEarly = ClusterBugs(rawValue: 1 << 28)
    /// A new leader counts silence from before its reign.
    package static let keepsLivenessOverReigns = ClusterBugs(rawValue: 1 << 29)
    /// Who believes that he leads grants authority.
    package static let grantsWithoutConfirmation = ClusterBugs(rawValue: 1 << 30)
    /// A restarted agent does not look for containers of its last life.
    package static let forgetsContainers = ClusterBugs(rawValue: 1 << 31)
    /// A leader gives the jobs of a silent node to others without waiting.
    package static let takesJobsOfSilentNode = ClusterBugs(rawValue: 1 << 32)

    // Who takes part.
    /// A node that was revoked is still listened to.
    package static let listensToRevoked = ClusterBugs(rawValue: 1 << 40)
    /// The voter plan is told that all members answer.
    package static let choosesVotersBlindly = ClusterBugs(rawValue: 1 << 41)
}
