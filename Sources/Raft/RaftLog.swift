internal import ClusterModel

/// The part of the log that has not been compacted, in memory, and how much of it is on disk.
///
/// `entries` is contiguous; the entry before it, at `offset`, is known by its term only.
struct RaftLog: Sendable {
    private(set) var entries: [Entry]
    /// The last compacted entry.
    private(set) var offset: LogIndex
    private(set) var offsetTerm: Term
    /// The last entry that was given to the shell to persist.
    private(set) var handed: LogIndex
    /// The last entry that the shell has persisted.
    private(set) var persisted: LogIndex
    /// Bytes of all entries, as `Entry.byteCount` counts them.
    private(set) var byteCount: Int

    init(offset: LogIndex, offsetTerm: Term, entries: [Entry]) {
        (self.offset, self.offsetTerm, self.entries) = (offset, offsetTerm, entries)
        byteCount = entries.reduce(0) { $0 + $1.byteCount }
        handed = entries.last?.index ?? offset
        persisted = handed
    }

    var lastIndex: LogIndex { offset + LogIndex(entries.count) }
    var lastTerm: Term { entries.last?.term ?? offsetTerm }

    /// The term of an entry; nil when it was compacted or is not there yet.
    func term(at index: LogIndex) -> Term? {
        if index == offset { return offsetTerm }
        guard index > offset, index <= lastIndex else { return nil }
        return entries[position(index)].term
    }

    /// Whether a log that ends so is at least as up-to-date as this one (Raft, section 5.4.1).
    func isUpToDate(lastIndex index: LogIndex, term: Term) -> Bool {
        term > lastTerm || (term == lastTerm && index >= lastIndex)
    }

    /// Entries of a range that has not been compacted, from its start, up to a number of bytes and one at least.
    func slice(_ range: ClosedRange<LogIndex>, byteLimit: Int) -> ArraySlice<Entry> {
        let (first, last) = (position(range.lowerBound), position(range.upperBound))
        var (end, bytes) = (first, 0)
        while end <= last {
            bytes += entries[end].byteCount
            if bytes > byteLimit, end > first { break }
            end += 1
        }
        return entries[first..<end]
    }

    /// The last entry up to `index` whose term is at most `term`: where two logs may still agree (Raft, end of section 5.3).
    func lastIndex(upTo index: LogIndex, termAtMost term: Term) -> LogIndex {
        var index = min(index, lastIndex)
        while index > offset, let found = self.term(at: index), found > term { index -= 1 }
        return index
    }

    mutating func append(_ entry: Entry) {
        precondition(entry.index == lastIndex + 1, "entry \(entry.index) does not follow \(lastIndex)")
        entries.append(entry)
        byteCount += entry.byteCount
    }

    /// Removes an entry and all that follow it (Raft, figure 2, AppendEntries, rule 3).
    mutating func truncate(from index: LogIndex) {
        let first = position(index)
        byteCount -= entries[first...].reduce(0) { $0 + $1.byteCount }
        entries.removeSubrange(first...)
        handed = min(handed, index - 1)
        persisted = min(persisted, index - 1)
    }

    /// Forgets all entries up to one.
    mutating func compact(through index: LogIndex) {
        guard index > offset, let term = term(at: index) else { return }
        let count = Int(index - offset)
        byteCount -= entries[..<count].reduce(0) { $0 + $1.byteCount }
        entries.removeSubrange(..<count)
        (offset, offsetTerm) = (index, term)
    }

    /// Replaces everything by a snapshot that the shell has still to persist.
    mutating func reset(to metadata: SnapshotMetadata) {
        entries = []
        (offset, offsetTerm, byteCount) = (metadata.index, metadata.term, 0)
        (handed, persisted) = (metadata.index, min(persisted, metadata.index))
    }

    /// What the shell has not been given yet.
    mutating func takeUnhanded() -> [Entry] {
        guard handed < lastIndex else { return [] }
        let new = Array(entries[position(handed + 1)...])
        handed = lastIndex
        return new
    }

    /// Takes the shell's word for an entry and all before it; a word about an entry that was replaced since means nothing.
    mutating func notePersisted(_ index: LogIndex, term: Term) {
        if self.term(at: index) == term { persisted = max(persisted, index) }
    }

    private func position(_ index: LogIndex) -> Int {
        precondition(index > offset && index <= lastIndex + 1, "entry \(index) is not in \(offset + 1)...\(lastIndex)")
        return Int(index - offset) - 1
    }
}
