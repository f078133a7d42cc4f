package import ClusterModel

/// When automatic checkpoints are due.
package struct CheckpointSchedule: Sendable, Equatable {
    /// Time between automatic checkpoints; nil means only on demand.
    package var interval: Duration?
    /// The first wait after a failed checkpoint; doubles with each further failure.
    package var failureBackoff: Duration
    /// The longest wait after failed checkpoints.
    package var maximumFailureBackoff: Duration

    package init(
        interval: Duration?,
        failureBackoff: Duration = .seconds(5),
        maximumFailureBackoff: Duration = .seconds(600)
    ) {
        self.interval = interval
        self.failureBackoff = failureBackoff
        self.maximumFailureBackoff = maximumFailureBackoff
    }

    /// What happened so far in the life of the present container.
    package struct History: Sendable, Equatable {
        /// When the container began to run; after a restore, when it ran again.
        package var running: Timestamp
        /// When its newest checkpoint was taken.
        package var lastTaken: Timestamp?
        /// When its newest checkpoint was durable.
        package var lastFinished: Timestamp?
        /// When a checkpoint failed last.
        package var lastFailed: Timestamp?
        /// Failures since the last success.
        package var consecutiveFailures: Int

        package init(
            running: Timestamp,
            lastTaken: Timestamp? = nil,
            lastFinished: Timestamp? = nil,
            lastFailed: Timestamp? = nil,
            consecutiveFailures: Int = 0
        ) {
            self.running = running
            self.lastTaken = lastTaken
            self.lastFinished = lastFinished
            self.lastFailed = lastFailed
            self.consecutiveFailures = consecutiveFailures
        }
    }

    /// When the next automatic checkpoint is due; nil when there is none.
    ///
    /// A moment that has passed means now. The interval counts from the moment the images show, since that bounds the work
    /// that a crash costs. A checkpoint that takes longer than the interval is followed by a pause as long as itself, so that at
    /// least half of the time is left to other work.
    package func nextDue(after history: History) -> Timestamp? {
        guard let interval else { return nil }
        var due = history.running + interval
        if let taken = history.lastTaken {
            due = max(due, taken + interval)
            if let finished = history.lastFinished, finished - taken > interval {
                due = max(due, finished + (finished - taken))
            }
        }
        if history.consecutiveFailures > 0, let failed = history.lastFailed {
            due = max(due, failed + backoff(afterFailures: history.consecutiveFailures))
        }
        return due
    }

    private func backoff(afterFailures count: Int) -> Duration {
        var wait = failureBackoff
        for _ in 1..<max(2, min(count, 32)) where count > 1 && wait < maximumFailureBackoff { wait = wait * 2 }
        return min(wait, maximumFailureBackoff)
    }

    /// The interval that loses least time to checkpoints and to work done again.
    ///
    /// J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", 2006, equation 37: the
    /// square root of J. W. Young (1974) with two further terms; where a checkpoint costs more than twice the time between failures, that time itself.
    ///
    /// - Parameters:
    ///   - cost: What one checkpoint takes from the job; above zero.
    ///   - meanTimeBetweenFailures: Above zero.
    /// - Returns: The interval between the ends of two checkpoints.
    package static func dalyInterval(cost: Duration, meanTimeBetweenFailures: Duration) -> Duration {
        let (cost, mean) = (cost.inSeconds, meanTimeBetweenFailures.inSeconds)
        guard cost > 0, mean > 0 else { return meanTimeBetweenFailures }
        guard cost < 2 * mean else { return meanTimeBetweenFailures }
        let ratio = cost / (2 * mean)
        let interval = (2 * cost * mean).squareRoot() * (1 + ratio.squareRoot() / 3 + ratio / 9) - cost
        return .seconds(interval)
    }
}
