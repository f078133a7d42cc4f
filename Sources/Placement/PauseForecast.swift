import ClusterModel
import ClusterState

/// How long jobs will stand still when they move, from how long they did.
///
/// A move that takes all memory along while the job stands still takes longer the more there is; one that leaves memory to be fetched later does
/// not. What counts is how the newest moves went. The job's own last one comes first, then those of all jobs; before there are any, an assumption holds.
struct PauseForecast: Sendable {
    /// A pause, and what it rests on.
    struct Pause: Sendable, Equatable {
        var duration: Duration
        /// Words that follow the duration in a sentence; empty for an assumption.
        var source: String
    }

    /// What a full move would take by assumption: seconds whatever the size, and seconds for each byte.
    private let assumed: (base: Double, perByte: Double)
    /// Full moves: what went across, and how long they took as part of what was assumed.
    private let moves: [(bytes: Double, part: Double)]
    /// The median of moves that left memory behind; nil when the newest move took everything along, or there was none.
    private let lazy: Duration?
    /// Moves that are known, one of each job.
    private let count: Int

    /// Learns from the last move of each job.
    ///
    /// - Parameters:
    ///   - jobs: also those that have ended.
    ///   - base: what a full move takes besides its bytes, before anything was measured.
    ///   - bytesPerSecond: what dump, transfer and restore manage together, before anything was measured.
    init(_ jobs: [JobRecord], base: Duration, bytesPerSecond: Int64) {
        let assumed = (base: base.inSeconds, perByte: 1 / Double(max(1, bytesPerSecond)))
        let known = jobs.compactMap(\.lastMove).sorted { ($0.at, $0.bytes) < ($1.at, $1.bytes) }.suffix(Self.limit)
        let isLazy = known.last?.isLazy ?? false
        let alike = known.filter { $0.isLazy == isLazy }
        count = alike.count
        lazy = isLazy ? alike.map(\.stoodStill).sorted()[alike.count / 2] : nil
        moves = (isLazy ? [] : alike).map { move in
            let bytes = Double(move.bytes.rawValue)
            return (bytes, move.stoodStill.inSeconds / max(0.001, assumed.base + bytes * assumed.perByte))
        }
        self.assumed = assumed
    }

    /// Moves that are looked at: the newest.
    private static let limit = 50

    /// What a job of this size would stand still.
    func pause(of job: JobRecord, size: ByteCount) -> Pause {
        let bytes = Double(size.rawValue)
        if let own = job.lastMove, own.isLazy == (lazy != nil) {
            // More than it had then takes longer, unless it need not come along.
            let more = own.isLazy ? 0 : max(0, full(bytes) - full(Double(own.bytes.rawValue)))
            return Pause(duration: own.stoodStill + .seconds(more), source: ", by its own last move,")
        }
        let by = count == 1 ? ", by the one move there was," : ", by the last \(count) moves,"
        if let lazy { return Pause(duration: lazy, source: by) }
        guard count > 0 else {
            return Pause(duration: .seconds(full(bytes)) + (job.newestGoodCheckpoint?.frozen ?? .zero), source: "")
        }
        return Pause(duration: .seconds(full(bytes)), source: by)
    }

    /// Seconds of a full move: what is assumed, corrected by how far that was wrong, for moves of about this size above all.
    private func full(_ bytes: Double) -> Double {
        // The assumption counts like half a move of this size, so that one odd measurement does not decide.
        var (sum, weights) = (0.5, 0.5)
        for move in moves {
            let weight = min(max(1, bytes), max(1, move.bytes)) / max(1, bytes, move.bytes)
            sum += weight * move.part
            weights += weight
        }
        return sum / weights * (assumed.base + bytes * assumed.perByte)
    }
}
