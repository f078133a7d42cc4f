/// What a shell must do now, in the order of the fields.
///
/// Carry out one after the other: send `prompt`; persist `snapshot`, `hardState` and `entries` in one transaction; call
/// `RaftNode.persisted(_:now:)`; send `messages`; let the state machine take `snapshot`, then `committed`, and call `RaftNode.applied(through:)`;
/// answer `reads`. A shell that persists in the background may ask for further `Ready` values meanwhile, provided that everything except
/// `prompt` is carried out in the order in which the values came: no message, no apply and no read before what was to be persisted earlier.
package struct Ready: Sendable, Equatable {
    /// Counts the values of one node, from 1; `persisted` takes it back.
    package var number: UInt64
    /// Messages of a leader that promise nothing about its own disk: they may leave while it writes (thesis, section 10.2.1).
    package var prompt: [Message] = []
    /// Replaces the stored snapshot and the whole stored log.
    package var snapshot: Snapshot?
    /// Replaces the stored hard state.
    package var hardState: HardState?
    /// Replace whatever is stored from the first one's index on.
    package var entries: [Entry] = []
    /// Messages that promise what was persisted: votes, acknowledgements, requests for votes.
    package var messages: [Message] = []
    /// Follow the last ones without a gap, or follow `snapshot`; each is handed out once.
    package var committed: [Entry] = []
    package var reads: [ReadAnswer] = []

    /// Whether there is something to persist; it must be synced before `persisted` is called.
    package var needsPersisting: Bool { snapshot != nil || hardState != nil || !entries.isEmpty }
}

/// The answer to `RaftNode.requestRead`.
package struct ReadAnswer: Sendable, Equatable {
    /// What the caller named the read.
    package var context: UInt64
    /// Serve the read from a state machine that has applied this entry; nil: leadership was lost, ask the new leader.
    package var index: LogIndex?

    package init(context: UInt64, index: LogIndex?) { (self.context, self.index) = (context, index) }
}

/// What a member finds on its disk when it starts.
package struct PersistedState: Sendable, Equatable {
    package var hardState: HardState
    /// At index 0 where nothing was compacted yet: then only its membership means something.
    package var snapshot: Snapshot
    /// A log without a gap that reaches back to `snapshot.metadata.index` or further; what lies before is ignored.
    package var entries: [Entry]

    package init(hardState: HardState, snapshot: Snapshot, entries: [Entry]) {
        (self.hardState, self.snapshot, self.entries) = (hardState, snapshot, entries)
    }

    /// The disk of a new member.
    ///
    /// - Parameter membership: the same voters on every founding member; empty on a member that joins later, which learns from the log who
    ///   the others are and does not stand for election before.
    package init(founding membership: Membership) {
        let metadata = SnapshotMetadata(index: 0, term: .zero, membership: membership)
        self.init(hardState: HardState(), snapshot: Snapshot(metadata: metadata, data: []), entries: [])
    }
}

/// Why a disk cannot be started from: what is on it was not written by a correct shell, or was damaged.
package enum RestartError: Error, Sendable, Equatable, CustomStringConvertible {
    /// An entry is missing between the snapshot and the log, or within the log.
    case gap(expected: LogIndex, found: LogIndex)
    /// An entry's term is older than that of the entry before it, or newer than the hard state's.
    case disorder(LogIndex)
    /// The state machine has applied more than the log holds.
    case appliedBeyondLog(applied: LogIndex, last: LogIndex)

    package var description: String {
        switch self {
        case .gap(let expected, let found):
            "the log on disk goes on with entry \(found) where \(expected) was expected: remove this member and add it again as a new one"
        case .disorder(let index):
            "entry \(index) on disk has a term that it cannot have: remove this member and add it again as a new one"
        case .appliedBeyondLog(let applied, let last):
            "entry \(applied) was applied, but the log on disk ends at \(last): remove this member and add it again as a new one"
        }
    }
}
