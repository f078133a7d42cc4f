import ClusterModel
import Storage
import Synchronization

@testable import Agent

/// A store whose writes wait while the test says so.
final class HeldStateStore: StateStoring {
    private let store: InMemoryStateStore
    private let gate = Mutex<Gate?>(nil)
    private let loadGate = Mutex<Gate?>(nil)

    init(_ store: InMemoryStateStore) { self.store = store }

    /// Holds every write from now on until the gate is opened.
    func hold() -> Gate {
        let gate = Gate()
        self.gate.withLock { $0 = gate }
        return gate
    }

    func commit(_ batch: StateBatch) async throws {
        if let gate = gate.withLock({ $0 }) { try await gate.pass() }
        try await store.commit(batch)
    }

    /// Holds the next load until the gate is opened.
    func holdLoad() -> Gate {
        let gate = Gate()
        loadGate.withLock { $0 = gate }
        return gate
    }

    func load() async throws -> StoredState {
        let stored = try await store.load()
        let gate = loadGate.withLock { gate in
            defer { gate = nil }
            return gate
        }
        try await gate?.pass()
        return stored
    }
    func save(_ snapshot: StoredSnapshot, keeping count: Int) async throws {
        try await store.save(snapshot, keeping: count)
    }
    func decisions(of job: JobID?, after sequence: UInt64, limit: Int) async throws -> [NumberedDecision] {
        try await store.decisions(of: job, after: sequence, limit: limit)
    }
    func samples(of job: JobID, from: Timestamp, limit: Int) async throws -> [JobSample] {
        try await store.samples(of: job, from: from, limit: limit)
    }
    func maintain(now: Timestamp) async throws { try await store.maintain(now: now) }
    func statistics() async throws -> StorageStatistics { try await store.statistics() }
    func close() async throws { try await store.close() }
}
