import ClusterModel
import Storage

/// One call of a store that changes its log.
enum LogWork: Sendable {
    case batch(StateBatch)
    case compaction(StoredSnapshot, keeping: Int)

    func write(to store: some StateStoring) async throws {
        switch self {
        case .batch(let batch): try await store.commit(batch)
        case .compaction(let snapshot, let count): try await store.save(snapshot, keeping: count)
        }
    }
}

/// What a follower with changing leaders writes: appends, overwritten ends, a leader's snapshots, compactions; the same for the
/// same seed and beginning.
///
/// The hard state of each batch names its generation, so that what is stored says how far the script has come.
struct BatchScript: Sendable {
    private var generator: SeededGenerator
    /// Of the last batch.
    private(set) var generation: UInt64
    private var term: UInt64
    private var snapshotIndex: UInt64
    private var lastIndex: UInt64
    /// Of the snapshot and the entries after it.
    private var terms: [UInt64: UInt64]
    /// Whether some batches are ones that a store must refuse.
    private let mistakes: Bool

    init(seed: UInt64, after stored: StoredState = StoredState(), mistakes: Bool = false) {
        generator = SeededGenerator(seed: seed)
        generation = Self.generation(of: stored)
        term = generation + 1
        snapshotIndex = stored.snapshot?.index ?? 0
        lastIndex = stored.nextIndex - 1
        terms = Dictionary(uniqueKeysWithValues: stored.entries.map { ($0.index, $0.term.rawValue) })
        terms[snapshotIndex] = stored.snapshot?.term.rawValue
        self.mistakes = mistakes
    }

    /// How many batches were written, as their hard state tells.
    static func generation(of stored: StoredState) -> UInt64 {
        (stored.hardState ?? []).reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func next() -> LogWork {
        if lastIndex > snapshotIndex, chance(of: 12) {
            snapshotIndex += 1 + generator.next() % (lastIndex - snapshotIndex)
            // Without its generation, so that it is the next batch that says so.
            let own = snapshot(at: snapshotIndex, term: terms[snapshotIndex] ?? term)
            return .compaction(own, keeping: Int(generator.next() % 8))
        }
        generation += 1
        var batch = StateBatch(hardState: (0..<8).reversed().map { UInt8(truncatingIfNeeded: generation >> (8 * $0)) })
        batch.decisions = [decision(generation)]
        if mistakes, chance(of: 10) {
            batch.entries = [LogEntry(index: lastIndex + 100_000, term: Term(rawValue: term), command: [])]
            return .batch(batch)
        }
        if chance(of: 20) { batch.snapshot = leadersSnapshot() }
        if chance(of: 4) { term += 1 }
        let back = chance(of: 3) ? generator.next() % (lastIndex - snapshotIndex + 1) : 0
        let first = lastIndex - back + 1
        let count = generator.next() % 6
        guard count > 0 else { return .batch(batch) }
        batch.entries = (first..<first + count).map { index in
            let bytes = Int(generator.next() % 400)
            let command = Array("generation \(generation), entry \(index)".utf8) + [UInt8](repeating: 7, count: bytes)
            terms[index] = term
            return LogEntry(index: index, term: Term(rawValue: term), command: command)
        }
        lastIndex = first + count - 1
        return .batch(batch)
    }

    /// One that the log continues, or one of a leader that is ahead or has another history.
    private mutating func leadersSnapshot() -> StoredSnapshot {
        snapshotIndex += generator.next() % 20
        if snapshotIndex <= lastIndex, let known = terms[snapshotIndex], chance(of: 2) {
            return snapshot(at: snapshotIndex, term: known)
        }
        term += 1
        lastIndex = snapshotIndex
        terms[snapshotIndex] = term
        return snapshot(at: snapshotIndex, term: term)
    }

    private mutating func snapshot(at index: UInt64, term number: UInt64) -> StoredSnapshot {
        StoredSnapshot(
            index: index,
            term: Term(rawValue: number),
            metadata: Array("metadata \(index)".utf8),
            state: [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: Int(generator.next() % 20_000))
        )
    }

    private mutating func chance(of one: UInt64) -> Bool { generator.next() % one == 0 }
}

/// Writes a script to a store and its twin: the next piece of work and its call are one step.
actor ScriptedWriter {
    private let store: any StateStoring
    private let twin: InMemoryStateStore
    private var script: BatchScript

    init(_ store: any StateStoring, twin: InMemoryStateStore, script: BatchScript) {
        self.store = store
        self.twin = twin
        self.script = script
    }

    func write() async throws {
        let work = script.next()
        try await work.write(to: twin)
        try await work.write(to: store)
    }
}
