package import ClusterModel

/// Where a node keeps what must survive: the log and snapshot of the replicated state, decisions and samples.
///
/// Commands, hard state and snapshots are opaque bytes here. Everything is durable when the call that wrote it returns. There is one
/// writer that numbers the log; any number of tasks may read.
package protocol StateStoring: Sendable {
    /// Everything of the replicated state: who the log belongs to, hard state, snapshot and log.
    func load() async throws -> StoredState

    /// Writes a batch, all of it or nothing, and returns when it is durable.
    ///
    /// Batches become durable in the order of the calls: the place in the order is taken before the first suspension.
    /// Concurrent calls share a transaction; when that fails, it throws to each of them, and nothing of any of them is kept. A batch
    /// that cannot follow what was written before it is refused alone (`outOfOrder`, `otherMember`), as a whole.
    func commit(_ batch: StateBatch) async throws

    /// Replaces the log before and at the snapshot's index by the snapshot; what follows stays.
    ///
    /// Takes its place among the batches as `commit` does. One that is older than the stored snapshot changes nothing.
    ///
    /// - Parameters:
    ///   - snapshot: of an index that the log holds already. One from a leader belongs into a batch.
    ///   - keeping: how many of the replaced entries stay nevertheless, the newest: followers that are a little behind need them.
    /// - Throws: `outOfOrder` when the log does not reach the snapshot's index.
    func save(_ snapshot: StoredSnapshot, keeping: Int) async throws

    /// Decisions with a number above `sequence`, oldest first; the newest `limit` of them.
    func decisions(of job: JobID?, after sequence: UInt64, limit: Int) async throws -> [NumberedDecision]

    /// Samples of a job from a moment on, oldest first; the newest `limit` of them.
    func samples(of job: JobID, from: Timestamp, limit: Int) async throws -> [JobSample]

    /// Thins old samples by `SampleBand.all` and bounds the decisions kept for each job.
    func maintain(now: Timestamp) async throws

    /// Sizes and counts, for metrics and `godwit status`.
    func statistics() async throws -> StorageStatistics

    /// Waits for what is being written, then gives the folder free; later calls throw.
    func close() async throws
}

extension StateStoring {
    /// Replaces the log before and at the snapshot's index by the snapshot and keeps nothing of it.
    package func save(_ snapshot: StoredSnapshot) async throws { try await save(snapshot, keeping: 0) }

    /// Says which member of the Raft group the log belongs to, once and for ever.
    ///
    /// The same number again changes nothing. Two members that share a log would vote twice.
    ///
    /// - Parameter member: not 0.
    /// - Throws: `otherMember` when it is another one than before.
    package func found(member: UInt64) async throws { try await commit(StateBatch(member: member)) }
}

/// How much a store holds.
package struct StorageStatistics: Sendable, Equatable {
    /// Entries after the snapshot, and those before it that were kept.
    package var logEntryCount = 0
    /// Decisions of all jobs that are not forgotten.
    package var decisionCount = 0
    /// Samples of those jobs that thinning has left.
    package var sampleCount = 0
    package var diskUse = ByteCount.zero
    /// Transactions since the store was opened.
    package var transactionCount = 0
    /// Batches since the store was opened: divided by `transactionCount`, the gain of group commit.
    package var batchCount = 0
    /// The last index that is durable.
    package var lastIndex: UInt64 = 0

    /// Counts nothing.
    package init() {}
}

/// How densely samples of an age are kept.
package struct SampleBand: Sendable, Equatable {
    /// The band begins at this age.
    package var age: Duration
    /// One sample is kept in each span of this length; the first.
    package var spacing: Duration

    /// All samples for five minutes, then one in 10 s for an hour, one a minute for a day, one in 10 min for ever.
    package static let all = [
        SampleBand(age: .seconds(300), spacing: .seconds(10)),
        SampleBand(age: .seconds(3600), spacing: .seconds(60)),
        SampleBand(age: .seconds(86400), spacing: .seconds(600)),
    ]
}

/// Bounds of what is kept for one job.
package enum HistoryBounds {
    /// Newest decisions of a job that `maintain(now:)` keeps.
    package static let decisionsPerJob = 2000
    /// Most rows that one query returns.
    package static let rowsPerQuery = 100_000
}

/// What went wrong with the stored state, for the operator: what failed, why, and what to do.
package struct StorageError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure, for programs.
    package enum Code: String, Sendable, Equatable {
        /// The folder cannot be made, read or written.
        case folder
        /// Another agent uses the folder.
        case inUse
        /// The file is not what was written.
        case damaged
        /// No space is left, or a quota is reached. Nothing of the batch was kept.
        case full
        /// The file was written by a newer version.
        case tooNew
        /// A batch does not continue the log.
        case outOfOrder
        /// The log belongs to another member of the group.
        case otherMember
        case closed
        /// Reading or writing failed otherwise.
        case failed
    }

    package var code: Code
    package var description: String

    /// Takes the values as they are.
    package init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
