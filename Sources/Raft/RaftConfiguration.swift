/// Times and bounds of one member; equal on all members, except while they are being changed.
package struct RaftConfiguration: Sendable, Equatable {
    /// How often a leader is heard from when it has nothing to say.
    ///
    /// Half of a round trip or more, and at most a third of `electionTimeout`.
    package var heartbeatInterval: Duration = .milliseconds(50)
    /// How often a learner hears from the leader when it has everything and knows what is committed.
    ///
    /// Entries and what is committed are told at once, and a learner that lacks something, or has not shown that it has it, hears from the
    /// leader as often as a voter. At least `heartbeatInterval`, of which it is a multiple (rounded down), and at most four times
    /// `electionTimeout`, so that those who look at the group see soon that a learner is gone.
    package var learnerHeartbeatInterval: Duration = .milliseconds(500)
    /// After so long without a leader, at least, an election begins; each wait is drawn from this to twice this (Raft, section 5.2).
    ///
    /// Also: for so long after it heard from a leader a member helps nobody else to become one, and after so long without
    /// a quorum a leader steps down (thesis, sections 4.2.3 and 6.2). Ten round trips or more, and longer than a usual stall of a disk.
    package var electionTimeout: Duration = .milliseconds(250)
    /// By how much the lease is shorter than `electionTimeout`.
    ///
    /// Lease reads are linearizable while no two clocks drift apart by more than this within one `electionTimeout`.
    package var leaseMargin: Duration = .milliseconds(25)
    /// A leader whose disk has not answered for so long steps down, since it cannot lead; a voter in that state does not stand.
    package var persistTimeout: Duration = .milliseconds(500)

    /// Bytes of entries in one append; a longer entry travels alone.
    package var appendByteLimit = 256 << 10
    /// Appends on the way to one follower.
    package var inflightLimit = 64
    /// Bytes of entries on the way to one follower.
    package var inflightByteLimit = 4 << 20
    /// Bytes of one proposal; above `absoluteProposalByteLimit` a message could not carry it.
    package var proposalByteLimit = absoluteProposalByteLimit
    /// Bytes that a leader takes before a quorum has them; beyond, proposals are refused until some are committed.
    package var uncommittedByteLimit = 16 << 20
    /// Reads that wait for a quorum; beyond, reads are refused.
    package var readLimit = 4096
    /// Bytes of committed entries handed out at once, one entry at least.
    package var applyByteLimit = 1 << 20
    /// Bytes of a snapshot in one message.
    package var snapshotChunkBytes = 256 << 10
    /// Chunks of a snapshot on the way to one follower.
    package var snapshotWindow = 4
    /// Learners that are being sent a snapshot at the same time; others wait, voters never do.
    package var snapshotReceiverLimit = 16
    /// Larger snapshots are refused by a follower, which could not hold them in memory.
    package var snapshotByteLimit = 512 << 20
    /// Bytes of log that compaction leaves for the sake of followers that are receiving a snapshot; beyond, it does not wait for them.
    package var retainedLogByteLimit = 64 << 20
    /// Whether a follower sends proposals on to the leader, once and without a promise, instead of refusing them.
    package var forwardsProposals = false

    /// No configuration allows longer proposals, because the largest control frame could not carry them.
    package static let absoluteProposalByteLimit = 1 << 20

    package init() {}

    /// Without a word of the leader for so long a learner knows of none.
    var learnerPatience: Duration { max(learnerHeartbeatInterval * 4, electionTimeout) }

    /// Of so many times for heartbeats a settled learner hears at one.
    var learnerHeartbeatTurns: UInt64 { UInt64(max(1, learnerHeartbeatInterval / heartbeatInterval)) }

    /// What is wrong with the values, in words; empty when they can work together.
    package var problems: [String] {
        var found: [String] = []
        if heartbeatInterval <= .zero { found.append("heartbeatInterval must be longer than zero") }
        if electionTimeout < heartbeatInterval * 3 {
            found.append("electionTimeout must be at least three heartbeatIntervals")
        }
        if learnerHeartbeatInterval < heartbeatInterval || learnerHeartbeatInterval > electionTimeout * 4 {
            found.append("learnerHeartbeatInterval must be between heartbeatInterval and four electionTimeouts")
        }
        if leaseMargin < .zero || leaseMargin >= electionTimeout {
            found.append("leaseMargin must be between zero and electionTimeout")
        }
        if persistTimeout < electionTimeout { found.append("persistTimeout must be at least electionTimeout") }
        let sizes = [
            appendByteLimit, inflightLimit, inflightByteLimit, proposalByteLimit, uncommittedByteLimit, readLimit,
            applyByteLimit, snapshotChunkBytes, snapshotWindow, snapshotByteLimit, snapshotReceiverLimit,
        ]
        if sizes.contains(where: { $0 < 1 }) { found.append("every limit must be at least 1") }
        if max(appendByteLimit, proposalByteLimit, snapshotChunkBytes) > Self.absoluteProposalByteLimit {
            found.append("appendByteLimit, proposalByteLimit and snapshotChunkBytes are at most 1 MiB")
        }
        return found
    }
}
