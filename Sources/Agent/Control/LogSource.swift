import ClusterModel
import ControlMessages

/// Which lines of a job's output are wanted.
struct LogQuery: Sendable {
    var job: JobID
    /// The newest lines to begin with; nil means all that are kept.
    var tailLineCount: Int?
    /// Whether lines that come later are wanted too, until the job has ended.
    var follows = false
    var includesOutput = true
    var includesErrors = true

    /// The most newest lines that can be asked for: they are held in memory while a client reads them.
    static let tailLimit: UInt32 = 10_000

    init(job: JobID) { self.job = job }
}

/// Where the output of jobs is kept.
protocol LogSource: Sendable {
    /// Hands out lines in batches, oldest first, through all incarnations of the job; returns at the end, or when it follows, when
    /// `isOver` says that the job has ended and all was handed out.
    func read(
        _ query: LogQuery,
        isOver: @escaping @Sendable () async -> Bool,
        _ emit: @escaping @Sendable ([WireLogLine]) async throws -> Void
    ) async throws
}
