import Checkpointing
import ClusterModel
import CoreMetrics
import Logging
import Synchronization
import Transport

/// What came of a checkpoint while it was being written elsewhere.
struct EarlyCopy: Sendable {
    var incoming: any IncomingCopy
    /// Where it is written.
    var source: NodeID
    /// Bytes of its own data, from the first on.
    var byteCount: UInt64
}

/// Takes in checkpoints that are still being written elsewhere, until this node is asked to keep them or they are of no use.
final class EarlyCopies: Sendable {
    private struct Arrival {
        let task: Task<EarlyCopy?, Never>
        /// When it goes unless it was claimed.
        var end: ContinuousClock.Instant
    }

    private let images: any CheckpointStore
    private let link: any PeerLink
    private let limit: Int
    private let longest: Duration
    private let patience: Duration
    private let metrics: CopyMetrics?
    private let logger: Logger
    private let arrivals = Mutex<[JobGeneration: Arrival]>([:])

    /// At most `limit` come or lie here at once, none comes for longer than `longest`, and what has come waits for `patience` to be claimed.
    init(
        images: any CheckpointStore,
        link: any PeerLink,
        limit: Int,
        longest: Duration,
        patience: Duration,
        metrics: CopyMetrics?,
        logger: Logger
    ) {
        (self.images, self.link, self.limit) = (images, link, limit)
        (self.longest, self.patience) = (longest, patience)
        (self.metrics, self.logger) = (metrics, logger)
    }

    /// Begins to take in what there is of a checkpoint; nothing comes of one that comes already, or is one too many.
    func begin(_ key: JobGeneration, from source: NodeID) {
        arrivals.withLock { arrivals in
            guard arrivals[key] == nil, arrivals.count < limit else { return }
            arrivals[key] = Arrival(
                task: Task(name: "copy.early") {
                    let copy = await receive(key, from: source)
                    let end = ContinuousClock.now + patience
                    self.arrivals.withLock { $0[key]?.end = end }
                    return copy
                },
                end: .now + longest
            )
        }
    }

    /// Gives what comes of a checkpoint to who goes on with it: cancelled, the task ends with what has come by then.
    func claim(_ key: JobGeneration) -> Task<EarlyCopy?, Never>? {
        arrivals.withLock { $0.removeValue(forKey: key)?.task }
    }

    /// Lets go of what nobody has asked for in time.
    func dropUnclaimed(except wanted: Set<JobGeneration>) {
        let now = ContinuousClock.now
        let late = arrivals.withLock { arrivals in
            let late = arrivals.filter { !wanted.contains($0.key) && $0.value.end <= now }
            for key in late.keys { arrivals[key] = nil }
            return late
        }
        // What still comes is from a node that says nothing any more.
        for arrival in late.values { arrival.task.cancel() }
    }

    /// Takes nothing in any more.
    func end() {
        for arrival in arrivals.withLock({ $0.values.map(\.task) }) { arrival.cancel() }
    }

    /// What came until it was whole, or the line to its node broke; nil when it cannot be taken in.
    private func receive(_ key: JobGeneration, from source: NodeID) async -> EarlyCopy? {
        let received = Mutex(UInt64(0))
        do {
            let incoming = try await images.incoming(job: key.job, generation: key.generation, sharing: true)
            let request = CopyRequest(
                job: key.job,
                generation: key.generation,
                digest: "",
                offset: 0,
                isUrgent: false,
                isGrowing: true
            )
            do {
                try await link.fetchCopy(request, from: source) { [metrics] piece in
                    try Task.checkCancellation()
                    try await incoming.write(piece.data, at: received.withLock { $0 })
                    received.withLock { $0 += UInt64(piece.data.count) }
                    metrics?.received.increment(by: piece.data.count)
                }
            } catch let problem as CopyProblem {
                throw problem
            } catch {
                logger.debug("checkpoint.early.ended", metadata: ["job": "\(key.job)", "reason": "\(error)"])
            }
            let count = received.withLock { $0 }
            logger.debug(
                "checkpoint.early",
                metadata: [
                    "job": "\(key.job)", "generation": "\(key.generation)", "from": "\(source)", "bytes": "\(count)",
                ]
            )
            return count == 0 ? nil : EarlyCopy(incoming: incoming, source: source, byteCount: count)
        } catch {
            logger.debug("checkpoint.early.declined", metadata: ["job": "\(key.job)", "reason": "\(error)"])
            return nil
        }
    }
}
