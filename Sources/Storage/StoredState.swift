package import ClusterModel

/// What a store holds of the replicated state.
package struct StoredState: Sendable, Equatable {
    /// The member of the Raft group that the log belongs to; nil before `StateStoring.found(member:)`.
    package var member: UInt64?
    /// The newest hard state in the caller's encoding; nil when none was written.
    package var hardState: [UInt8]?
    /// nil in a new folder, or before the first snapshot.
    package var snapshot: StoredSnapshot?
    /// What a compaction kept of the log that the snapshot replaces: by rising index, without gaps, up to the snapshot's index.
    package var retained: [LogEntry]
    /// By rising index, without gaps, from the snapshot's index + 1 (or 1).
    package var entries: [LogEntry]

    /// Takes the values as they are.
    package init(
        member: UInt64? = nil,
        hardState: [UInt8]? = nil,
        snapshot: StoredSnapshot? = nil,
        retained: [LogEntry] = [],
        entries: [LogEntry] = []
    ) {
        self.member = member
        self.hardState = hardState
        self.snapshot = snapshot
        self.retained = retained
        self.entries = entries
    }

    /// The index that the next entry gets.
    package var nextIndex: UInt64 { (entries.last?.index ?? snapshot?.index ?? 0) + 1 }
}

/// The state as of a log index.
package struct StoredSnapshot: Sendable, Equatable {
    /// 0 where nothing was replaced yet, and only the metadata means something: the membership that a group was founded with.
    package var index: UInt64
    package var term: Term
    /// What the group must know about the snapshot, its membership above all, in the caller's encoding; opaque here.
    package var metadata: [UInt8]
    /// The whole state in the caller's encoding; opaque here.
    package var state: [UInt8]

    /// Takes the values as they are.
    package init(index: UInt64, term: Term, metadata: [UInt8] = [], state: [UInt8]) {
        self.index = index
        self.term = term
        self.metadata = metadata
        self.state = state
    }
}

/// One command of the log.
package struct LogEntry: Sendable, Equatable {
    /// From 1, without gaps.
    package var index: UInt64
    package var term: Term
    /// In the caller's encoding; opaque here.
    package var command: [UInt8]

    /// Takes the values as they are.
    package init(index: UInt64, term: Term, command: [UInt8]) {
        self.index = index
        self.term = term
        self.command = command
    }
}

/// What is written together.
package struct StateBatch: Sendable, Equatable {
    /// Says which member the log belongs to; see `StateStoring.found(member:)`.
    package var member: UInt64?
    /// Replaces the stored hard state.
    package var hardState: [UInt8]?
    /// A leader's snapshot: replaces the stored one and the log.
    ///
    /// Entries after its index stay when the log holds the entry at its index with the same term, so that they follow from the same
    /// history (Raft, section 7 and figure 13); otherwise the whole log goes. It must not be older than the stored snapshot.
    package var snapshot: StoredSnapshot?
    /// Without gaps; they replace everything of the log from the first one's index on (Raft, section 5.3).
    ///
    /// The first index is above that of the snapshot, and at most one above the last of the log.
    package var entries: [LogEntry] = []
    /// Each replaces what was written under its number, as happens when entries are applied again after a crash.
    package var decisions: [NumberedDecision] = []
    /// Each replaces the sample of the same job and time.
    package var samples: [JobSample] = []
    /// Jobs whose decisions and samples are deleted.
    package var forgotten: [JobID] = []

    /// Writes nothing.
    package init(
        member: UInt64? = nil,
        hardState: [UInt8]? = nil,
        snapshot: StoredSnapshot? = nil,
        entries: [LogEntry] = [],
        decisions: [NumberedDecision] = [],
        samples: [JobSample] = [],
        forgotten: [JobID] = []
    ) {
        self.member = member
        self.hardState = hardState
        self.snapshot = snapshot
        self.entries = entries
        self.decisions = decisions
        self.samples = samples
        self.forgotten = forgotten
    }
}
