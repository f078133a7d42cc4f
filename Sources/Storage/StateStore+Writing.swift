import GRDB
import Synchronization

/// What waits for the disk.
struct WriteQueue: Sendable {
    enum Work: Sendable {
        case batch(StateBatch)
        case compaction(StoredSnapshot, keeping: Int)
    }

    struct Waiter: Sendable {
        var work: Work
        var continuation: CheckedContinuation<Void, any Error>
    }

    var waiting: [Waiter] = []
    var isWriting = false
    var isClosed = false
    /// What is durable.
    var range: LogRange
    var transactions = 0
    var batches = 0

    init(range: LogRange) { self.range = range }
}

extension StateStore {
    /// Batches that one transaction takes at most: bounds how long the first waits for the last.
    private static let batchesPerTransaction = 1024

    /// Joins the batches that wait for the disk; the next transaction takes them all.
    package func commit(_ batch: StateBatch) async throws { try await write(.batch(batch)) }

    /// Waits among the batches, and shares a transaction with them.
    package func save(_ snapshot: StoredSnapshot, keeping count: Int) async throws {
        try await write(.compaction(snapshot, keeping: count))
    }

    private func write(_ work: WriteQueue.Work) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            enum Next { case nothing, write, refuse }
            let next = queue.withLock { queue -> Next in
                guard !queue.isClosed else { return .refuse }
                queue.waiting.append(WriteQueue.Waiter(work: work, continuation: continuation))
                guard !queue.isWriting else { return .nothing }
                queue.isWriting = true
                return .write
            }
            switch next {
            case .nothing: break
            case .refuse: continuation.resume(throwing: StorageError(.closed, "The store is closed."))
            case .write: pool.asyncWriteWithoutTransaction { [self] in writeWaiting($0) }
            }
        }
    }

    /// Writes what waits in one transaction.
    private func writeWaiting(_ database: Database) {
        let (taken, durable) = queue.withLock { queue in
            let taken = queue.waiting.prefix(Self.batchesPerTransaction)
            queue.waiting.removeFirst(taken.count)
            return (Array(taken), queue.range)
        }
        var range = durable
        var outcomes: [StorageError?] = []
        do {
            try database.inTransaction(.immediate) {
                for waiter in taken { outcomes.append(try write(waiter.work, following: &range, to: database)) }
                return .commit
            }
            let batches = zip(taken, outcomes).compactMap { waiter, outcome -> StateBatch? in
                guard outcome == nil, case .batch(let batch) = waiter.work else { return nil }
                return batch
            }
            queue.withLock { queue in
                queue.range = range
                queue.transactions += 1
                queue.batches += batches.count
            }
            upkeep.withLock { upkeep in
                for batch in batches { upkeep.note(batch) }
            }
        } catch {
            let failure = StorageError.from(error, doing: "write", file: file)
            // What was refused is its caller's mistake, whatever became of the others.
            outcomes = taken.indices.map { $0 < outcomes.count ? outcomes[$0] ?? failure : failure }
        }
        for (waiter, outcome) in zip(taken, outcomes) {
            if let outcome { waiter.continuation.resume(throwing: outcome) } else { waiter.continuation.resume() }
        }
        let isMore = queue.withLock { queue in
            queue.isWriting = !queue.waiting.isEmpty
            return queue.isWriting
        }
        // Behind whatever else waits for the connection: upkeep and the end get their turn under any load.
        if isMore { pool.asyncWriteWithoutTransaction { [self] in writeWaiting($0) } }
    }

    /// Writes one piece of work within a transaction.
    ///
    /// - Returns: why it was refused, and nothing of it written; nil when it was written.
    /// - Throws: when the transaction must be given up.
    private func write(
        _ work: WriteQueue.Work,
        following range: inout LogRange,
        to database: Database
    ) throws -> StorageError? {
        switch work {
        case .batch(let batch):
            let deletion: LogRange.Deletion
            do {
                deletion = try range.take(batch) { try LogTable.term(of: $0, in: database) }
            } catch let refusal as StorageError {
                return refusal
            }
            try LogTable.write(batch, deleting: deletion, to: database)
        case .compaction(let snapshot, let count):
            let through: UInt64?
            do {
                through = try range.take(snapshot, keeping: count)
            } catch let refusal as StorageError {
                return refusal
            }
            if let through { try LogTable.save(snapshot, deletingThrough: through, to: database) }
        }
        return nil
    }

    /// Writes what was accepted, moves the WAL into the file, and drops the lock.
    package func close() async throws {
        let wasOpen = queue.withLock { queue in
            defer { queue.isClosed = true }
            return !queue.isClosed
        }
        guard wasOpen else { return }
        // The connection's queue is in order: once this has run, everything that was accepted is written.
        var isDone = false
        while !isDone {
            try await pool.writeWithoutTransaction { _ in }
            isDone = queue.withLock { !$0.isWriting && $0.waiting.isEmpty }
        }
        // So that the file alone is the whole state, for whoever copies it. What cannot be moved now stays durable in the WAL.
        try? await pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
        do {
            try pool.close()
        } catch {
            throw StorageError.from(error, doing: "close", file: file)
        }
        lock.release()
    }
}
