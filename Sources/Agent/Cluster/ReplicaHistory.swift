import ClusterModel
import ClusterState
import Logging
import Storage

/// The decisions and samples of applied entries on their way into the tables beside the log.
///
/// They ride with the next write of the log, or are written after a pause when none comes. Lost by a crash, they are made again when the
/// entries are applied again, so a snapshot waits for them. One replica uses it, and calls it from where it runs.
final class ReplicaHistory {
    private let store: any StateStoring
    private let logger: Logger
    private var batch = StateBatch()
    private var writes = 0
    private var waiters: [CheckedContinuation<Void, Never>] = []

    /// Begins with nothing that waits.
    init(store: any StateStoring, logger: Logger) {
        self.store = store
        self.logger = logger
    }

    /// Whether nothing waits to be written.
    var isEmpty: Bool { batch.isEmpty }

    /// Adds what an accepted command decided, and which jobs it forgot.
    func add(_ acceptance: Acceptance) {
        batch.decisions += acceptance.decisions
        batch.forgotten += acceptance.pruned
    }

    /// Adds samples of this node.
    func add(_ samples: [JobSample]) { batch.samples += samples }

    /// Takes all that waits, to ride with a write of the log; `ended` says what became of it.
    func take() -> StateBatch {
        defer { batch = StateBatch() }
        if !batch.isEmpty { writes += 1 }
        return batch
    }

    /// Says that the write with what `take` gave has ended; what is not written comes before what was added meanwhile.
    func ended(_ taken: StateBatch, isWritten: Bool) {
        guard !taken.isEmpty else { return }
        if !isWritten { batch.putBack(taken) }
        writes -= 1
        guard writes == 0 else { return }
        let waiting = waiters
        waiters = []
        for waiter in waiting { waiter.resume() }
    }

    /// Writes what waits, alone.
    ///
    /// - Throws: what the store threw, after it is logged; everything waits again then.
    func write() async throws {
        let taken = take()
        guard !taken.isEmpty else { return }
        do {
            try await store.commit(taken)
            ended(taken, isWritten: true)
        } catch {
            ended(taken, isWritten: false)
            logger.error("state.history.failed", metadata: ["error": "\(error)"])
            throw error
        }
    }

    /// Waits until no write is under way.
    func settled() async {
        while writes > 0 { await withCheckedContinuation { waiters.append($0) } }
    }
}
