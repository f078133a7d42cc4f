package import ClusterModel

/// One message between two members.
///
/// `proto/raft.md` holds the layout. Where a message travels is the shell's concern; it may be lost, delayed, repeated or overtaken.
package struct Message: Sendable, Equatable {
    package var from: RaftMemberID
    package var to: RaftMemberID
    /// The sender's term; of a pre-vote and of a pre-vote that is granted, the term that the candidate would begin.
    package var term: Term
    package var body: Body

    package init(from: RaftMemberID, to: RaftMemberID, term: Term, body: Body) {
        (self.from, self.to, self.term, self.body) = (from, to, term, body)
    }

    /// What the sender says.
    package enum Body: Sendable, Equatable {
        /// RequestVote (Raft, figure 2).
        case voteRequest(VoteRequest)
        case voteResponse(kind: VoteRequest.Kind, isGranted: Bool)
        /// AppendEntries (Raft, figure 2).
        case append(Append)
        case appendResponse(round: UInt64, outcome: AppendOutcome)
        /// AppendEntries without a place: the leader lives, and the receiver has all entries up to `commit`.
        /// Round 0 tells the commit index alone and wants no answer.
        case heartbeat(commit: LogIndex, round: UInt64)
        case heartbeatResponse(round: UInt64)
        /// InstallSnapshot (Raft, figure 13).
        case snapshotChunk(SnapshotChunk)
        /// So many bytes of the snapshot up to `index` are there, without a hole.
        case snapshotResponse(index: LogIndex, byteCount: UInt64, round: UInt64)
        /// TimeoutNow: stand for election at once (thesis, section 3.10).
        case timeoutNow
        /// Proposals that a follower sends on.
        case proposals([[UInt8]])
    }
}

/// Asks for a vote.
package struct VoteRequest: Sendable, Equatable {
    /// Why the candidate stands.
    package enum Kind: UInt8, Sendable, CaseIterable {
        /// Would you vote for me? Nobody's term or vote changes (thesis, section 9.6).
        case preVote = 0
        case vote = 1
        /// The leader asked the candidate to stand, so its lease is no reason to refuse (thesis, section 4.2.3).
        case transfer = 2
    }

    package var kind: Kind
    /// The candidate's last entry (Raft, section 5.4.1).
    package var lastIndex: LogIndex
    package var lastTerm: Term
}

/// Entries for a follower's log.
package struct Append: Sendable, Equatable {
    /// The entry before the first; the follower must have it.
    package var previousIndex: LogIndex
    package var previousTerm: Term
    package var commit: LogIndex
    /// The newest round of heartbeats when this was sent; the answer proves that the leader was one after that round began.
    package var round: UInt64
    /// They follow each other without a gap, from `previousIndex + 1`.
    package var entries: [Entry]
}

/// What became of an append.
package enum AppendOutcome: Sendable, Equatable {
    /// The follower's log is the leader's up to this entry, on disk.
    case matches(LogIndex)
    /// The entry before the first is not there; the logs may agree at the hint, the follower's last entry whose term is not newer.
    case rejected(previousIndex: LogIndex, hintIndex: LogIndex, hintTerm: Term)
}

/// A part of a snapshot.
package struct SnapshotChunk: Sendable, Equatable {
    package var metadata: SnapshotMetadata
    /// Bytes of the whole snapshot.
    package var totalByteCount: UInt64
    /// Where the chunk begins.
    package var offset: UInt64
    /// The bytes from there on, at most a chunk's bound; empty only for an empty snapshot.
    package var bytes: [UInt8]
    /// The leader's heartbeat round in which it was sent; the answer returns it, which proves to the leader that it still leads.
    package var round: UInt64
}
