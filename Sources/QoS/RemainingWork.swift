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
    /// Mean vCPUs at full width: for an iterative job below its parallelism, because of starts and of what cannot be divided.
    let limit: Double
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
        /// Starts that are still to come.
        var starts: Double
        var overhead: Double
        /// The most vCPUs that the job can use at once.
        var width: Double
    }

    /// nil for a job without objective. `width` is what the job can use at once as far as is known.
    init?(_ view: JobView, width: Double, now: Timestamp, configuration: QoSConfiguration) {
        guard let deadline = view.deadline else { return nil }
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
            limit = width
            overrun = max(0, used - declared)
            speed = nil
            iterations = nil
        case .iterations(let count, let expected, let startOverhead, _):
            let model = SpeedModel(
                declared: expected,
                uncertainty: configuration.workUncertainty,
                measured: view.iterations
            )
            var remaining = Double(max(0, count - view.completedIterations))
            var starts = remaining
            if let began = view.iterationStarted, remaining > 0 {
                let running = model.seconds(on: max(0.05, min(width, view.allocation?.rawValue ?? width)))
                remaining -= min(0.95, max(0, (now - began).inSeconds) / running)
                starts -= 1
            }
            let overhead = startOverhead.inSeconds
            least = remaining * model.cpu * (1 - model.uncertainty)
            most = remaining * model.cpu * (1 + model.uncertainty)
            let fastest = remaining * model.seconds(on: width) + starts * overhead
            limit = fastest > 0 ? max(0.01, min(width, remaining * model.cpu / fastest)) : width
            overrun = 0
            speed = model
            iterations = Iterations(count: remaining, starts: starts, overhead: overhead, width: width)
        case nil:
            return nil
        }
    }

    /// CPU seconds at a quantile, 0...1; never quite nothing, since the job has not ended.
    func work(_ quantile: Double) -> Double { max(0.25, least + quantile * (most - least)) }

    func demand(_ quantile: Double) -> FluidDemand {
        FluidDemand(work: work(quantile), deadline: due, limit: limit)
    }

    /// The allocation with which a job comes to a mean rate of CPU use.
    ///
    /// For a batch job the two are the same. An iterative job uses little while it starts, so while it computes it needs more than its mean.
    func allocation(forRate rate: Double) -> Double {
        guard let iterations, let speed, rate > 0 else { return rate }
        guard iterations.count > 0, rate < limit else { return iterations.width }
        let available = iterations.count * speed.cpu / rate - iterations.starts * iterations.overhead
        let divisible = available - iterations.count * speed.fixed
        guard available > 0, divisible > 0 else { return iterations.width }
        let needed = max(iterations.count * speed.divisible / divisible, iterations.count * speed.cpu / available)
        return min(iterations.width, needed)
    }

    /// Mean allocation from now to the deadline with which the expected work is just done; nil once the deadline has passed.
    var required: Double? { left > 0 ? allocation(forRate: min(limit, work(0.5) / due)) : nil }
}
