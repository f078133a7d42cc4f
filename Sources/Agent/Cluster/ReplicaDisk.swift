import ClusterModel
import ClusterState
import Raft
import Storage

/// What a replica's log and snapshots look like in the store.
enum ReplicaDisk {
    /// Entries and bytes of log that compaction leaves, so that a member that was away for a moment needs no snapshot.
    static let keptEntries = 1000
    static let keptBytes = 1 << 20

    /// A store that was read.
    struct Opened {
        var member: RaftMemberID
        var persisted: PersistedState
        var state: ClusterState
    }

    /// Reads a store, and makes a member of an empty one.
    static func open(_ store: any StateStoring, founds: Bool) async throws -> Opened {
        var stored = try await store.load()
        let member: RaftMemberID
        if let number = stored.member {
            member = RaftMemberID(rawValue: number)
        } else {
            var generator = SystemRandomNumberGenerator()
            member = .random(using: &generator)
            try await store.found(member: member.rawValue)
        }
        if stored.hardState == nil {
            // Either nothing was ever written, or by a version that kept its log alone: its commands become the state that the group begins with.
            let (state, last) = try alone(stored)
            if founds || last > 0 {
                let metadata = SnapshotMetadata(
                    index: last,
                    term: Term(rawValue: last == 0 ? 0 : 1),
                    membership: Raft.Membership(voters: [member])
                )
                let first = Snapshot(metadata: metadata, data: try StateCoding.encode(state))
                let term = HardState(term: metadata.term, vote: nil, commit: last)
                try await store.commit(StateBatch(hardState: term.encoded(), snapshot: Self.stored(first)))
                stored = try await store.load()
            }
        }
        let persisted = try persisted(stored)
        return Opened(member: member, persisted: persisted, state: try state(of: persisted.snapshot))
    }

    /// The state of a cluster of one whose log held bare commands.
    private static func alone(_ stored: StoredState) throws -> (ClusterState, LogIndex) {
        var state = ClusterState()
        if let snapshot = stored.snapshot { state = try StateCoding.decode(ClusterState.self, from: snapshot.state) }
        for entry in stored.entries {
            // A refused command never reached such a log.
            _ = state.apply(try StateCoding.decode(Command.self, from: entry.command))
        }
        return (state, stored.nextIndex - 1)
    }

    static func persisted(_ stored: StoredState) throws -> PersistedState {
        var persisted = PersistedState(founding: Raft.Membership())
        if let bytes = stored.hardState { persisted.hardState = try reading { try HardState.decode(bytes.span) } }
        if let snapshot = stored.snapshot {
            let metadata = try reading { try SnapshotMetadata.decode(snapshot.metadata.span) }
            persisted.snapshot = Snapshot(metadata: metadata, data: snapshot.state)
        }
        persisted.entries = try stored.entries.map { entry in try reading { try Entry.decode(entry.command.span) } }
        return persisted
    }

    private static func reading<Value>(_ decode: () throws -> Value) throws -> Value {
        do { return try decode() } catch {
            throw StorageError(
                .damaged,
                "The replicated log on this disk cannot be read: \(error). Take the node out of the cluster and let it join again with an "
                    + "empty state folder; the other agents have everything."
            )
        }
    }

    static func state(of snapshot: Snapshot) throws -> ClusterState {
        snapshot.data.isEmpty ? ClusterState() : try StateCoding.decode(ClusterState.self, from: snapshot.data)
    }

    static func stored(_ snapshot: Snapshot) -> StoredSnapshot {
        StoredSnapshot(
            index: snapshot.metadata.index,
            term: snapshot.metadata.term,
            metadata: snapshot.metadata.encoded(),
            state: snapshot.data
        )
    }

    /// Everything that several values want written, as one write: a later one's word counts.
    static func batch(of values: [Ready]) -> StateBatch {
        var batch = StateBatch()
        for ready in values {
            if let snapshot = ready.snapshot {
                batch.snapshot = stored(snapshot)
                batch.entries = []
            }
            if let hardState = ready.hardState { batch.hardState = hardState.encoded() }
            guard let first = ready.entries.first else { continue }
            batch.entries.removeAll { $0.index >= first.index }
            batch.entries += ready.entries.map { LogEntry(index: $0.index, term: $0.term, command: $0.encoded()) }
        }
        return batch
    }
}

extension StateBatch {
    var isEmpty: Bool { self == StateBatch() }

    /// Takes over the history of another.
    mutating func add(_ other: StateBatch) {
        decisions += other.decisions
        samples += other.samples
        forgotten += other.forgotten
    }

    /// Takes back what could not be written, before what came meanwhile.
    mutating func putBack(_ other: StateBatch) {
        decisions = other.decisions + decisions
        samples = other.samples + samples
        forgotten = other.forgotten + forgotten
    }
}
