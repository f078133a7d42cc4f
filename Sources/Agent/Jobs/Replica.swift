import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Metrics
import ResourceSamples
import Storage

/// This node's copy of the replicated state, and the only way to change it.
///
/// A command is applied to a copy, made durable, and only then visible and acknowledged: nothing that a caller saw can be lost
/// by a crash, and a disk that is full leaves the state as it was. Commands that arrive while a write is under way share the next
/// one (group commit). In a cluster of one the log of this node is the cluster's log.
actor Replica {
    /// The state as of the last durable command.
    private(set) var state: ClusterState
    private var nextIndex: UInt64
    private var entriesSinceSnapshot: Int
    private let store: any StateStoring
    private let metrics: AgentMetrics
    private let logger: Logger
    private var queue: [Proposal] = []
    private var isWriting = false
    private var listener: (@Sendable (Acceptance) async -> Void)?
    /// Log entries between two snapshots.
    private let snapshotInterval: Int
    /// Proposals that may wait; more are refused at once.
    private let queueLimit = 10_000

    private struct Proposal {
        let commands: [Command]
        let samples: [JobSample]
        let continuation: CheckedContinuation<[Outcome], any Error>
    }

    /// The term of a cluster of one.
    private let term = Term(rawValue: 1)

    /// Reads what the store holds; throws when it cannot be read or was written by a newer version.
    init(
        store: any StateStoring,
        metrics: AgentMetrics,
        logger: Logger,
        snapshotInterval: Int = 2000
    ) async throws {
        let stored = try await store.load()
        var state = ClusterState()
        if let snapshot = stored.snapshot {
            state = try StateCoding.decode(ClusterState.self, from: snapshot.state)
        }
        for entry in stored.entries {
            // A refused command never reaches the log, so every entry is accepted again; its outcome is known already.
            _ = state.apply(try StateCoding.decode(Command.self, from: entry.command))
        }
        self.state = state
        nextIndex = stored.nextIndex
        entriesSinceSnapshot = stored.entries.count
        self.store = store
        self.metrics = metrics
        self.logger = logger
        self.snapshotInterval = snapshotInterval
    }

    /// Says who hears of every acceptance, after it is durable and before the proposer does.
    func listen(_ listener: @escaping @Sendable (Acceptance) async -> Void) { self.listener = listener }

    /// Proposes one command; returns what became of it once that is durable.
    @discardableResult
    func propose(_ command: Command) async throws -> Outcome {
        try await propose([command])[0]
    }

    /// Proposes commands that are written together, in order; each is accepted or refused on its own.
    @discardableResult
    func propose(_ commands: [Command], samples: [JobSample] = []) async throws -> [Outcome] {
        guard queue.count < queueLimit else {
            throw StorageError(.failed, "\(queueLimit) changes wait for the disk; try again when it keeps up.")
        }
        return try await withCheckedThrowingContinuation { continuation in
            queue.append(Proposal(commands: commands, samples: samples, continuation: continuation))
            if !isWriting {
                isWriting = true
                Task(name: "replica.write") { await writeQueue() }
            }
        }
    }

    private func writeQueue() async {
        while !queue.isEmpty {
            let proposals = queue
            queue = []
            await write(proposals)
        }
        isWriting = false
    }

    private func write(_ proposals: [Proposal]) async {
        let began = ContinuousClock.now
        var copy = state
        var batch = StateBatch()
        var index = nextIndex
        var outcomes: [[Outcome]] = []
        do {
            for proposal in proposals {
                var own: [Outcome] = []
                for command in proposal.commands {
                    let outcome = copy.apply(command)
                    own.append(outcome)
                    guard let acceptance = outcome.acceptance else { continue }
                    batch.entries.append(
                        LogEntry(index: index, term: term, command: try StateCoding.encode(command))
                    )
                    index += 1
                    batch.decisions += acceptance.decisions
                    batch.forgotten += acceptance.pruned
                }
                batch.samples += proposal.samples
                outcomes.append(own)
            }
            if batch != StateBatch() { try await store.commit(batch) }
        } catch {
            logger.error("state.commit.failed", metadata: ["error": "\(error)"])
            for proposal in proposals { proposal.continuation.resume(throwing: error) }
            return
        }
        state = copy
        nextIndex = index
        entriesSinceSnapshot += batch.entries.count
        metrics.commit.record(duration: began.duration(to: .now))
        for (proposal, own) in zip(proposals, outcomes) {
            if let listener {
                for acceptance in own.compactMap(\.acceptance) { await listener(acceptance) }
            }
            proposal.continuation.resume(returning: own)
        }
        if entriesSinceSnapshot >= snapshotInterval { await saveSnapshot() }
    }

    /// Replaces the log by a snapshot; a failure is logged and tried again later, since the log still holds everything.
    func saveSnapshot() async {
        do {
            let bytes = try StateCoding.encode(state)
            try await store.save(StoredSnapshot(index: nextIndex - 1, term: term, state: bytes))
            entriesSinceSnapshot = 0
        } catch {
            logger.warning("state.snapshot.failed", metadata: ["error": "\(error)"])
        }
    }
}
