import Raft

/// When a log is worth a snapshot: it has grown by as much as the last one took, so that a large state costs no more for each entry than a
/// small one; but not without bound.
struct SnapshotPace {
    /// Entries from one snapshot to the next, at least.
    private let interval: UInt64
    /// The last entry that the newest snapshot holds; later than that after a failure.
    private(set) var index: LogIndex
    /// Bytes of the newest snapshot, and of the entries that were applied since.
    private var byteCount: (last: Int, since: Int)

    private static let longestLog = 8 << 20

    init(interval: Int, after snapshot: Raft.Snapshot) {
        self.interval = UInt64(max(1, interval))
        (index, byteCount) = (snapshot.metadata.index, (snapshot.data.count, 0))
    }

    func isDue(at applied: LogIndex) -> Bool {
        applied >= index + interval && byteCount.since >= min(byteCount.last, Self.longestLog)
    }

    mutating func noteApplied(_ entry: Entry) { byteCount.since += entry.byteCount }

    /// Takes note of a snapshot that was saved, or came from the leader.
    mutating func noteSaved(_ snapshot: Raft.Snapshot) {
        (index, byteCount) = (snapshot.metadata.index, (snapshot.data.count, 0))
    }

    /// Has it tried again after half as many entries.
    mutating func noteFailure(at applied: LogIndex) { index = max(index, applied - min(applied, interval / 2)) }
}
