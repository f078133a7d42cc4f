package import ClusterModel

/// Where a node keeps what must survive: the log and snapshot of the replicated state, decisions and samples.
///
/// Commands and snapshots are opaque bytes here. Everything is durable when the call that wrote it returns. There is one writer
/// that numbers the log; any number of tasks may read.
package protocol StateStoring: Sendable {
    /// The newest snapshot and every log entry after it, in order.
    func load() async throws -> StoredState

    /// Writes a batch, all of it or nothing, and returns when it is durable.
    ///
    /// Batches become durable in the order of the calls: the place in the order is taken before the first suspension.
    /// Concurrent calls share a transaction; when that fails, it throws to each of them, and nothing of any of them is kept.
    func commit(_ batch: StateBatch) async throws

    /// Replaces the log up to the snapshot's index by the snapshot.
    func save(_ snapshot: StoredSnapshot) async throws

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

/// What a store holds of the replicated state.
package struct StoredState: Sendable, Equatable {
    /// nil in a new folder, or before the first snapshot.
    package var snapshot: StoredSnapshot?
    /// By rising index, without gaps, from the snapshot's index + 1 (or 1).
    package var entries: [LogEntry]

    /// Takes the values as they are.
    package init(snapshot: StoredSnapshot? = nil, entries: [LogEntry] = []) {
        self.snapshot = snapshot
        self.entries = entries
    }

    /// The index that the next entry gets.
    package var nextIndex: UInt64 { (entries.last?.index ?? snapshot?.index ?? 0) + 1 }
}

/// The state as of a log index.
package struct StoredSnapshot: Sendable, Equatable {
    package var index: UInt64
    package var term: Term
    /// The whole state in the caller's encoding; opaque here.
    package var state: [UInt8]

    /// Takes the values as they are.
    package init(index: UInt64, term: Term, state: [UInt8]) {
        self.index = index
        self.term = term
        self.state = state
    }
}

/// One command of the log.
package struct LogEntry: Sendable, Equatable {
    /// From 1, without gaps.
    package var index: UInt64
    package var term: Term
    /// In the caller's encoding; opaque here.
    package var command: [UInt8]

    /// Takes the values as they are.
    package init(index: UInt64, term: Term, command: [UInt8]) {
        self.index = index
        self.term = term
        self.command = command
    }
}

/// What is written together.
package struct StateBatch: Sendable, Equatable {
    /// Each index is one above the last of the log.
    package var entries: [LogEntry] = []
    /// Numbers rise; one that is known already is left as it is, as happens when a log is replayed.
    package var decisions: [NumberedDecision] = []
    package var samples: [JobSample] = []
    /// Jobs whose decisions and samples are deleted.
    package var forgotten: [JobID] = []

    /// Writes nothing.
    package init(
        entries: [LogEntry] = [],
        decisions: [NumberedDecision] = [],
        samples: [JobSample] = [],
        forgotten: [JobID] = []
    ) {
        self.entries = entries
        self.decisions = decisions
        self.samples = samples
        self.forgotten = forgotten
    }
}

/// How much a store holds.
package struct StorageStatistics: Sendable, Equatable {
    /// Entries after the snapshot.
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
