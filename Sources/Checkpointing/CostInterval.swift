package import ClusterModel

/// The interval between automatic checkpoints of a job that gives none: what loses least, by what a checkpoint costs and how often containers are lost.
///
/// The interval is Daly's (`CheckpointSchedule.dalyInterval`). What it rests on is measured as far as there is something to measure: the cost at the
/// newest checkpoint, the losses over the life of the job. Both are blended with what is true of most, so that the first hours are not left to chance.
package struct CostInterval: Sendable, Equatable {
    /// Between the ends of two checkpoints; within `bounds`.
    package var interval: Duration
    /// What one checkpoint takes from the job.
    package var cost: Duration
    /// Whether that was measured, at its newest checkpoint, or is expected of its memory.
    package var isMeasured: Bool
    /// Between two losses of the container.
    package var meanTimeBetweenLosses: Duration
    /// Losses so far.
    package var losses: Int

    /// No job is checkpointed more often than each minute, or less often than each six hours, unless it says so.
    package static let bounds: ClosedRange<Duration> = .seconds(60) ... .seconds(6 * 3600)
    /// What is expected of a node of which nothing is known: one loss in thirty days.
    package static let expectedTimeBetweenLosses: Duration = .seconds(30 * 86400)
    /// Compressing and storing run beside the job, at a lower priority: so much of that time is taken to be the job's.
    package static let shareOfStoring = 0.2
    /// Bytes a second that a dump to memory writes on one core, for a job that never had a checkpoint.
    package static let dumpRate: Double = 1.4e9

    /// Chooses an interval.
    ///
    /// `frozen` and `total` are those of the newest checkpoint, `memory` what the container has in use now; with neither there is no interval yet.
    /// `running` is how long the job's containers have run, `losses` how often one was lost in that time.
    package init?(
        frozen: Duration?,
        total: Duration?,
        memory: ByteCount?,
        running: Duration,
        losses: Int
    ) {
        if let frozen, let total {
            cost = frozen + max(.zero, total - frozen) * Self.shareOfStoring
            isMeasured = true
        } else if let memory {
            let dump = Duration.milliseconds(100) + .seconds(Double(max(0, memory.rawValue)) / Self.dumpRate)
            cost = dump + dump * Self.shareOfStoring
            isMeasured = false
        } else {
            return nil
        }
        cost = max(cost, .milliseconds(1))
        self.losses = max(0, losses)
        // As if one loss had been seen in the expected time before the job began: a Gamma prior with one event.
        let seen = Self.expectedTimeBetweenLosses + max(.zero, running)
        meanTimeBetweenLosses = seen / (1 + self.losses)
        let best = CheckpointSchedule.dalyInterval(cost: cost, meanTimeBetweenFailures: meanTimeBetweenLosses)
        interval = min(max(best, Self.bounds.lowerBound), Self.bounds.upperBound)
    }

    /// Why it is this interval, one sentence.
    package var reason: String {
        let measured = isMeasured ? "takes" : "is expected to take"
        let seen =
            losses == 0
            ? "none was lost so far" : "\(losses) \(losses == 1 ? "was" : "were") lost so far"
        return
            "Checkpoints are taken every \(interval.text), since the job gives no interval: one \(measured) \(cost.text) from it, and a "
            + "container is expected to be lost every \(meanTimeBetweenLosses.text) (\(seen))."
    }
}
