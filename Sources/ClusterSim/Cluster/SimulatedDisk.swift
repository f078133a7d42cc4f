import ClusterModel
import Raft

/// A disk that loses or tears what was not synced when its machine crashes.
struct SimulatedDisk {
    /// What one `Ready` wants persisted.
    private struct Write {
        var snapshot: Snapshot?
        var hardState: HardState?
        var entries: [Entry]
    }

    /// What survives a crash.
    private(set) var durable: PersistedState
    private var unsynced: [Write] = []
    private let bugs: ClusterBugs

    init(founding membership: Membership, bugs: ClusterBugs) {
        durable = PersistedState(founding: membership)
        self.bugs = bugs
    }

    mutating func write(_ ready: Ready) {
        unsynced.append(Write(snapshot: ready.snapshot, hardState: ready.hardState, entries: ready.entries))
    }

    /// Makes the oldest write durable.
    mutating func syncOldest() {
        guard !unsynced.isEmpty else { return }
        store(unsynced.removeFirst())
    }

    /// Loses what was not synced, except for a part at the front: whole writes first, then records of the next one.
    ///
    /// - Returns: the writes that were not finished.
    mutating func crash(using generator: inout SeededGenerator) -> Int {
        let unfinished = unsynced.count
        if !unsynced.isEmpty, Bool.random(using: &generator) {
            for _ in 0..<Int.random(in: 0..<unsynced.count, using: &generator) { syncOldest() }
            var torn = unsynced[0]
            if torn.snapshot == nil || torn.hardState == nil {
                torn.entries = Array(torn.entries.prefix(Int.random(in: 0...torn.entries.count, using: &generator)))
                store(torn)
            }
        }
        unsynced = []
        return unfinished
    }

    /// The log as it will be when everything is synced, and the entry before its first.
    var log: (base: LogIndex, entries: [Entry]) {
        var (base, entries) = (durable.snapshot.metadata.index, durable.entries)
        for write in unsynced {
            if let snapshot = write.snapshot { (base, entries) = (snapshot.metadata.index, []) }
            guard let first = write.entries.first else { continue }
            entries.removeAll { $0.index >= first.index }
            entries += write.entries
        }
        return (base, entries)
    }

    /// The term of an entry of that log; nil where it is compacted, or not there.
    func term(at index: LogIndex) -> Term? {
        func term(_ entries: [Entry], after base: LogIndex) -> Term? {
            guard index > base, index - base <= LogIndex(entries.count) else { return nil }
            return entries[Int(index - base) - 1].term
        }
        for write in unsynced.reversed() {
            if let first = write.entries.first, index >= first.index {
                return term(write.entries, after: first.index - 1)
            }
            if write.snapshot != nil { return nil }
        }
        return term(durable.entries, after: durable.snapshot.metadata.index)
    }

    /// Replaces the log up to a snapshot of this member, in one transaction.
    mutating func compact(to snapshot: Snapshot) {
        durable.snapshot = snapshot
        durable.entries.removeAll { $0.index <= snapshot.metadata.index }
    }

    private mutating func store(_ write: Write) {
        if let snapshot = write.snapshot {
            durable.snapshot = snapshot
            durable.entries = []
        }
        if let hardState = write.hardState {
            if bugs.contains(.losesHardState) {
                durable.hardState.commit = hardState.commit
            } else {
                durable.hardState = hardState
            }
        }
        guard let first = write.entries.first else { return }
        if bugs.contains(.forgetsTruncation) {
            let last = durable.entries.last?.index ?? durable.snapshot.metadata.index
            durable.entries += write.entries.filter { $0.index > last }
        } else {
            while let last = durable.entries.last, last.index >= first.index { durable.entries.removeLast() }
            durable.entries += write.entries
        }
    }
}
