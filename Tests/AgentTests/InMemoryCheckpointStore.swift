import Checkpointing
import ClusterModel
import Synchronization

@testable import Agent

/// Checkpoints without a disk; each generation can be damaged, and storing can be made to fail or to wait.
final class InMemoryCheckpointStore: CheckpointStore {
    private struct Key: Hashable {
        var job: JobID
        var generation: CheckpointGeneration
    }

    private struct State {
        var records: [Key: CheckpointRecord] = [:]
        var layers: Set<Key> = []
        var indexDamage: [Key: String] = [:]
        var dataDamage: [Key: String] = [:]
        var storeFailures: [String] = []
        var extractFailures: [RestoreProblem] = []
        var removeFailures: [String] = []
        var gate: Gate?
    }

    private let state = Mutex(State())

    // MARK: What a test plants and reads

    func put(_ record: CheckpointRecord, hasLayer: Bool = false) {
        state.withLock { state in
            let key = Key(job: record.job, generation: record.generation)
            state.records[key] = record
            if hasLayer { state.layers.insert(key) }
        }
    }

    func generations(of job: JobID) -> [UInt32] {
        state.withLock { $0.records.keys.filter { $0.job == job }.map(\.generation.rawValue).sorted() }
    }

    func record(_ job: JobID, _ generation: UInt32) -> CheckpointRecord? {
        state.withLock { $0.records[Key(job: job, generation: .init(rawValue: generation))] }
    }

    /// A damage that a look at the index finds.
    func damageIndex(_ job: JobID, _ generation: UInt32, _ reason: String) {
        state.withLock { $0.indexDamage[Key(job: job, generation: .init(rawValue: generation))] = reason }
    }

    /// A damage that is found when the data are read.
    func damageData(_ job: JobID, _ generation: UInt32, _ reason: String) {
        state.withLock { $0.dataDamage[Key(job: job, generation: .init(rawValue: generation))] = reason }
    }

    func failStoring(_ reasons: String...) { state.withLock { $0.storeFailures += reasons } }
    func failExtracting(_ problems: RestoreProblem...) { state.withLock { $0.extractFailures += problems } }
    func failRemoving(_ reasons: String...) { state.withLock { $0.removeFailures += reasons } }

    /// Holds every store until the gate is opened.
    func holdStoring() -> Gate {
        let gate = Gate()
        state.withLock { $0.gate = gate }
        return gate
    }

    // MARK: CheckpointStore

    func store(
        _ request: CheckpointRequest,
        folders: CheckpointFolders,
        hasLayer: Bool,
        moment: CheckpointMoment
    ) async throws -> CheckpointRecord {
        if let gate = state.withLock({ $0.gate }) { try await gate.pass() }
        let failure = state.withLock { $0.storeFailures.isEmpty ? nil : $0.storeFailures.removeFirst() }
        if let failure { throw SimulatedContainerHost.PlantedFailure(description: failure) }
        let record = CheckpointRecord(
            job: request.job,
            incarnation: request.incarnation,
            generation: request.generation,
            taken: moment.taken,
            frozen: moment.frozen,
            total: moment.elapsed,
            rawBytes: .mebibytes(64),
            storedBytes: .mebibytes(20),
            ledger: moment.ledger
        )
        put(record, hasLayer: hasLayer)
        return record
    }

    func catalog() async throws -> [CheckpointRecord] {
        state.withLock { $0.records.values.sorted { ($0.job, $0.generation) < ($1.job, $1.generation) } }
    }

    func check(job: JobID, generation: CheckpointGeneration) async throws {
        let key = Key(job: job, generation: generation)
        let (record, damage) = state.withLock { ($0.records[key], $0.indexDamage[key]) }
        if let damage { throw RestoreProblem.damaged(reason: damage) }
        if record == nil { throw RestoreProblem.damaged(reason: "its files are gone") }
    }

    func extract(
        job: JobID,
        generation: CheckpointGeneration,
        into folders: CheckpointFolders
    ) async throws -> Bool {
        let key = Key(job: job, generation: generation)
        let (damage, problem) = state.withLock { state in
            (state.dataDamage[key], state.extractFailures.isEmpty ? nil : state.extractFailures.removeFirst())
        }
        if let problem { throw problem }
        if let damage { throw RestoreProblem.damaged(reason: damage) }
        return state.withLock { $0.layers.contains(key) }
    }

    func markDamaged(job: JobID, generation: CheckpointGeneration, reason: String) async throws {
        state.withLock { $0.records[Key(job: job, generation: generation)]?.damage = reason }
    }

    func remove(job: JobID, generation: CheckpointGeneration) async throws {
        let failure = state.withLock { $0.removeFailures.isEmpty ? nil : $0.removeFailures.removeFirst() }
        if let failure { throw SimulatedContainerHost.PlantedFailure(description: failure) }
        state.withLock { $0.records[Key(job: job, generation: generation)] = nil }
    }
}
