import ClusterModel

/// What is believed about the work that a job with a deadline still has before it.
///
/// Declared work is a guess. A batch job that was declared with `D` CPU seconds may need anything from `(1 - u) D` to `(1 + u) D`; having
/// consumed `x` without ending, it needs more than `x`. Quantile `q` of what remains is therefore taken between `max(x, (1 - u) D)` and
/// `(1 + u) D`, and a job that outruns even that is assumed to need a little more, again and again. Iterative jobs count iterations, so
/// their doubt is that of the speed model and shrinks with each iteration.
struct RemainingWork {
    /// CPU seconds at quantile 0.
    let least: Double
    /// CPU seconds at quantile 1.
    let most: Double
    /// vCPUs that the job can use at once.
    let width: Double
    /// Seconds from now to the moment that is aimed at.
    let due: Double
    /// Seconds from now to the deadline itself.
    let left: Double
    let speed: SpeedModel?
    /// CPU seconds consumed beyond the declared work.
    let overrun: Double
    private let iterations: Iterations?

    private struct Iterations {
        /// Iterations to do; the present one counts for the part that remains.
        var count: Double
        /// Starts that are still to come; one that is under way counts for the part that remains.
        var starts: Double
        var overhead: Double
        /// How far the parts that more vCPUs do not shorten may be from what is believed of them, as a fraction.
        var doubt: Double
    }

    /// Puts together what is known; nil for a job without objective.
    ///
    /// `width` is what the job can use at once as far as is known, `startingSince` when its last
    /// iteration ended.
    init?(
        _ view: JobView,
        width: Double,
        now: Timestamp,
        startingSince: Timestamp? = nil,
        configuration: QoSConfiguration
    ) {
        guard let deadline = view.deadline else { return nil }
        self.width = width
        left = (deadline - now).inSeconds
        due = max(left - configuration.deadlineGuard.inSeconds, left / 2)
        switch view.objective {
        case .cpuTime(let amount, _):
            let (declared, used) = (amount.inSeconds, view.consumed.inSeconds)
            let low = max(used, (1 - configuration.workUncertainty) * declared)
            let high = max(
                (1 + configuration.workUncertainty) * declared,
                used + configuration.overrunReserve * declared
            )
            least = low - used
            most = high - used
            overrun = max(0, used - declared)
            speed = nil
            iterations = nil
        case .iterations(let count, let expected, let startOverhead, _):
            let model = SpeedModel(
                declared: expected,
                uncertainty: configuration.workUncertainty,
                measured: view.iterations
            )
            let whole = Double(max(0, count - view.completedIterations - 1))
            // The present iteration, or the one that is about to start.
            let used = view.iterationConsumed.inSeconds
            var low = model.cpu * (1 - model.uncertainty)
            var high = model.cpu * (1 + model.uncertainty)
            let present = (low: max(0, low - used), high: max(high - used, configuration.overrunReserve * model.cpu))
            if model.observations == 0 {
                // All iterations are alike: what this one has used already, each of them needs at least.
                low = max(low, used)
                high = max(high, used * (1 + configuration.overrunReserve))
            }
            let isOver = view.completedIterations >= count
            least = isOver ? 0 : whole * low + present.low
            most = isOver ? 0 : whole * high + present.high
            overrun = 0
            speed = model
            let starting = startingSince.map { (now - $0).inSeconds } ?? 0
            let unstarted = startOverhead > .zero ? max(0, 1 - starting / startOverhead.inSeconds) : 0
            let expectedWork = (least + most) / 2
            iterations = Iterations(
                count: model.cpu > 0 ? expectedWork / model.cpu : whole,
                starts: isOver ? 0 : whole + (view.iterationStarted == nil ? unstarted : 0),
                overhead: startOverhead.inSeconds,
                doubt: model.uncertainty
            )
        case nil:
            return nil
        }
    }

    /// CPU seconds at a quantile, 0...1; never quite nothing, since the job has not ended.
    func work(_ quantile: Double) -> Double { max(0.25, least + quantile * (most - least)) }

    func demand(_ quantile: Double) -> FluidDemand {
        FluidDemand(work: work(quantile), deadline: due, limit: limit(quantile))
    }

    /// Mean vCPUs at full width: for an iterative job below its width, because of starts and of what cannot be divided.
    ///
    /// The start overhead is declared as an upper bound, so at quantile 0 half of it is thought to be enough; what cannot be divided is as
    /// doubtful as the whole model.
    func limit(_ quantile: Double) -> Double {
        guard let iterations, let speed, iterations.count > 0 else { return width }
        let work = work(quantile)
        let fixed = min(work, iterations.count * speed.fixed * (1 + (2 * quantile - 1) * iterations.doubt))
        let starts = iterations.starts * iterations.overhead * (0.5 + 0.5 * quantile)
        return max(0.01, min(width, work / (fixed + (work - fixed) / width + starts)))
    }

    /// The allocation with which a job comes to a mean rate of CPU use.
    ///
    /// For a batch job the two are the same. An iterative job uses little while it starts, so while it computes it needs more than its mean.
    func allocation(forRate rate: Double) -> Double {
        guard let iterations, let speed, rate > 0 else { return rate }
        guard iterations.count > 0, rate < limit(0.5) else { return width }
        let available = iterations.count * speed.cpu / rate - iterations.starts * iterations.overhead
        let divisible = available - iterations.count * speed.fixed
        guard available > 0, divisible > 0 else { return width }
        let needed = max(iterations.count * speed.divisible / divisible, iterations.count * speed.cpu / available)
        return min(width, needed)
    }

    /// Mean allocation from now to the deadline with which the expected work is just done; nil once the deadline has passed.
    var required: Double? { left > 0 ? allocation(forRate: min(limit(0.5), work(0.5) / due)) : nil }
}
