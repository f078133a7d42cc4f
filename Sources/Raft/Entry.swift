package import ClusterModel

/// The place of an entry in the log, from 1; 0 is the place before the first (Raft, section 5.3).
package typealias LogIndex = UInt64

extension Term {
    /// Before the first election.
    package static let zero = Term(rawValue: 0)
    /// The term that a candidate begins.
    var next: Term { Term(rawValue: rawValue + 1) }
}

/// One entry of the replicated log (Raft, section 5.3).
package struct Entry: Sendable, Equatable {
    /// What an entry holds.
    package enum Payload: Sendable, Equatable {
        /// Nothing: what a new leader appends in order to commit what its predecessors left (Raft, section 8).
        case empty
        /// Bytes that only the state machine understands.
        case proposal([UInt8])
        /// The members from this entry on, with bytes for the shell: names, addresses.
        case membership(Membership, context: [UInt8])
    }

    /// The term of the leader that appended the entry.
    package let term: Term
    /// The place in the log, from 1.
    package let index: LogIndex
    package let payload: Payload

    package init(term: Term, index: LogIndex, payload: Payload) {
        (self.term, self.index, self.payload) = (term, index, payload)
    }

    /// Bytes that count against every limit: the payload's, and 24 for what surrounds it.
    package var byteCount: Int { 24 + payload.byteCount }
}

extension Entry.Payload {
    /// Bytes of the payload, as limits count them.
    package var byteCount: Int {
        switch self {
        case .empty: 0
        case .proposal(let bytes): bytes.count
        case .membership(let membership, let context): context.count + 8 * membership.sizeOfLists
        }
    }
}

/// What must be on disk before a member may speak (Raft, figure 2, "persistent state on all servers").
package struct HardState: Sendable, Equatable {
    package var term: Term
    package var vote: RaftMemberID?
    /// A hint that lets a restarted member apply at once what it knew to be committed; it may lag behind.
    package var commit: LogIndex

    package init(term: Term = .zero, vote: RaftMemberID? = nil, commit: LogIndex = 0) {
        (self.term, self.vote, self.commit) = (term, vote, commit)
    }
}

/// Which prefix of the log a snapshot replaces (Raft, section 7).
package struct SnapshotMetadata: Sendable, Equatable {
    /// The last entry that the snapshot replaces, "last included index".
    package var index: LogIndex
    /// That entry's term.
    package var term: Term
    /// The members at that entry.
    package var membership: Membership

    package init(index: LogIndex, term: Term, membership: Membership) {
        (self.index, self.term, self.membership) = (index, term, membership)
    }
}

/// The state machine's state after `metadata.index`.
package struct Snapshot: Sendable, Equatable {
    package var metadata: SnapshotMetadata
    /// Bytes that only the state machine understands; at most `RaftConfiguration.snapshotByteLimit`.
    package var data: [UInt8]

    package init(metadata: SnapshotMetadata, data: [UInt8]) { (self.metadata, self.data) = (metadata, data) }
}
