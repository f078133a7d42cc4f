import ClusterModel

/// What of the log is stored, and the rule by which batches may change it; both stores go by it.
struct LogRange: Sendable, Equatable {
    var member: UInt64?
    /// Index and term of the stored snapshot; 0 when there is none.
    var snapshotIndex: UInt64 = 0
    var snapshotTerm = Term(rawValue: 0)
    /// The last index of the log, or the snapshot's.
    var lastIndex: UInt64 = 0

    init() {}

    init(_ stored: StoredState) {
        member = stored.member
        snapshotIndex = stored.snapshot?.index ?? 0
        snapshotTerm = stored.snapshot?.term ?? Term(rawValue: 0)
        lastIndex = stored.nextIndex - 1
    }

    /// What must be deleted of the log before a batch is written.
    struct Deletion: Sendable, Equatable {
        /// Everything up to here.
        var through: UInt64?
        /// Everything from here on.
        var from: UInt64?
    }

    /// Takes a batch, or throws and changes nothing; `term` tells that of a stored entry, nil when there is none.
    mutating func take(_ batch: StateBatch, term: (UInt64) throws -> Term?) throws -> Deletion {
        var next = self
        var deletion = Deletion()
        if let number = batch.member { try next.take(member: number) }
        if let snapshot = batch.snapshot {
            try refuse(snapshot.index < snapshotIndex || snapshot.index > UInt64(Int64.max)) {
                "A leader's snapshot of log index \(snapshot.index) came when one of \(snapshotIndex) was stored."
            }
            let isContinued = try continues(snapshot, term: term)
            deletion.through = isContinued ? snapshot.index : UInt64(Int64.max)
            (next.snapshotIndex, next.snapshotTerm) = (snapshot.index, snapshot.term)
            next.lastIndex = isContinued ? max(lastIndex, snapshot.index) : snapshot.index
        }
        if let first = batch.entries.first {
            try refuse(first.index <= next.snapshotIndex) {
                "Log entry \(first.index) came when the snapshot holds everything up to \(next.snapshotIndex)."
            }
            try refuse(first.index > next.lastIndex + 1) {
                "Log entry \(first.index) came when \(next.lastIndex + 1) was expected: an entry before it was not written. "
                    + "Go back to the last durable state and apply again."
            }
            for (offset, entry) in batch.entries.enumerated() where entry.index != first.index + UInt64(offset) {
                throw StorageError(
                    .outOfOrder,
                    "Log entry \(entry.index) came within a batch when \(first.index + UInt64(offset)) was expected."
                )
            }
            if first.index <= next.lastIndex, deletion.through != UInt64(Int64.max) { deletion.from = first.index }
            next.lastIndex = first.index + UInt64(batch.entries.count) - 1
        }
        self = next
        return deletion
    }

    /// Takes a snapshot that this member made itself.
    ///
    /// - Returns: up to where the log is to be deleted; nil when the stored snapshot is newer, and this one is not to be written.
    mutating func take(_ snapshot: StoredSnapshot, keeping count: Int) throws -> UInt64? {
        try refuse(snapshot.index > lastIndex) {
            "A snapshot of log index \(snapshot.index) came when \(lastIndex) was the last durable one."
        }
        guard snapshot.index >= snapshotIndex else { return nil }
        (snapshotIndex, snapshotTerm) = (snapshot.index, snapshot.term)
        return snapshot.index - min(snapshot.index, UInt64(max(0, count)))
    }

    private mutating func take(member number: UInt64) throws {
        guard number != 0, member == nil || member == number else {
            throw StorageError(
                .otherMember,
                "The log belongs to member \(member.map(String.init) ?? "none") of its cluster and cannot become that of member "
                    + "\(number). Start with an empty folder (folders.state), and join again."
            )
        }
        member = number
    }

    /// Whether the stored log holds the history that a snapshot ends.
    private func continues(_ snapshot: StoredSnapshot, term: (UInt64) throws -> Term?) throws -> Bool {
        if snapshot.index == snapshotIndex { return snapshotIndex == 0 || snapshot.term == snapshotTerm }
        guard snapshot.index <= lastIndex else { return false }
        return try term(snapshot.index) == snapshot.term
    }

    private func refuse(_ condition: Bool, _ sentence: () -> String) throws {
        if condition { throw StorageError(.outOfOrder, sentence()) }
    }
}
