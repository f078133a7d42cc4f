import ClusterModel
package import QoS

/// One node: jobs share its vCPUs in proportion to their cgroup weights, none beyond what it can use, and nothing is left idle.
///
/// Fluid: no quanta, no caches, no migration between CPUs. Weights are the whole numbers that the kernel would be given. Time advances from event
/// to event, so results do not depend on the length of the steps that the caller takes.
package struct NodeSimulator: Sendable {
    /// One job's life on the node.
    package struct Resident: Sendable {
        package let job: SimulatedJob
        /// CPU seconds since it arrived on its first node.
        package fileprivate(set) var consumed = 0.0
        /// Virtual time at which its last segment was over; nil while it runs.
        package fileprivate(set) var ended: Double?
        package fileprivate(set) var iterations: [MeasuredIteration] = []
        /// Virtual time at which the present iteration began, after its start; nil outside of iterations.
        package fileprivate(set) var iterationBegan: Double?
        /// CPU seconds that it used in the last step.
        package fileprivate(set) var stepUsage = 0.0
        /// Seconds of the last step in which it got less CPU than it wanted: what a pressure file would count.
        package fileprivate(set) var stepStarved = 0.0
        /// vCPUs that it is guaranteed under contention; `weight` follows from it.
        package var allocation: Double
        var weight: Double
        /// A ceiling: nil where the allocation is only a guarantee.
        var ceiling: Double?
        fileprivate var segment = 0
        /// Of the present segment: CPU seconds or seconds.
        fileprivate var remaining = 0.0
        fileprivate var iterationConsumed = 0.0
        fileprivate var iterationAvailable = 0.0

        fileprivate var width: Double {
            guard ended == nil, segment < job.segments.count,
                case .compute(_, let width) = job.segments[segment]
            else { return 0 }
            return ceiling.map { min($0, width) } ?? width
        }
    }

    /// vCPUs.
    package let capacity: Double
    package private(set) var residents: [Resident] = []
    /// Virtual seconds, from whatever moment it was made with.
    package private(set) var time: Double
    /// vCPU seconds of the last step that nobody used.
    package private(set) var stepIdle = 0.0
    /// Those of `stepIdle` that a job with a deadline could have used.
    package private(set) var stepWasted = 0.0

    /// An empty node at a moment.
    package init(capacity: Double, time: Double = 0) {
        self.capacity = capacity
        self.time = time
    }

    /// A job arrives; it competes with the given allocation from now on.
    package mutating func add(_ job: SimulatedJob, allocation: Double) {
        residents.append(Resident(job: job, allocation: allocation, weight: 0))
        enter(residents.count - 1)
        set(allocation: allocation, of: residents.count - 1)
    }

    /// Takes a job off the node as it is, to go on elsewhere; the jobs behind it move up.
    package mutating func remove(_ index: Int) -> Resident { residents.remove(at: index) }

    /// Continues a job that was taken off another node at the same moment.
    package mutating func insert(_ resident: Resident) { residents.append(resident) }

    /// Writes a job's cgroup weight; with `isCeiling` its quota too.
    package mutating func set(allocation: Double, of index: Int, isCeiling: Bool = false) {
        residents[index].allocation = allocation
        residents[index].weight = Double(
            CgroupWeights.shares(VCPUCount(allocation), capacity: VCPUCount(capacity))
        )
        let quota = residents[index].job.declared.cpuLimit?.rawValue
        residents[index].ceiling = isCeiling ? min(allocation, quota ?? allocation) : quota
    }

    /// Lets so many seconds pass.
    package mutating func advance(_ seconds: Double) {
        for index in residents.indices {
            residents[index].stepUsage = 0
            residents[index].stepStarved = 0
        }
        (stepIdle, stepWasted) = (0, 0)
        var left = seconds
        while left > 1e-12 {
            let widths = residents.map(\.width)
            let rates = FluidSchedule.share(capacity, weights: residents.map(\.weight), limits: widths)
            var step = left
            for index in residents.indices where residents[index].ended == nil {
                if widths[index] == 0 {
                    step = min(step, max(residents[index].remaining, 0))
                } else if rates[index] > 0 {
                    step = min(step, residents[index].remaining / rates[index])
                }
            }
            account(step, rates: rates, widths: widths)
            time += step
            left -= step
            for index in residents.indices where residents[index].ended == nil && residents[index].remaining <= 1e-9 {
                residents[index].segment += 1
                enter(index)
            }
        }
    }

    private mutating func account(_ step: Double, rates: [Double], widths: [Double]) {
        let idle = max(0, capacity - rates.reduce(0, +))
        stepIdle += idle * step
        var couldUse = 0.0
        for index in residents.indices where residents[index].ended == nil {
            let (rate, width) = (rates[index], widths[index])
            residents[index].consumed += rate * step
            residents[index].stepUsage += rate * step
            residents[index].iterationConsumed += rate * step
            let parallelism = residents[index].job.declared.parallelism.rawValue
            residents[index].iterationAvailable +=
                min(parallelism, residents[index].ceiling ?? .infinity, max(residents[index].allocation, rate + idle))
                * step
            if width > 0 {
                residents[index].remaining -= rate * step
                if rate < width - 1e-9 { residents[index].stepStarved += step }
                if residents[index].job.declared.objective != nil { couldUse += width - rate }
            } else {
                residents[index].remaining -= step
            }
        }
        stepWasted += min(idle, couldUse) * step
    }

    /// Begins the present segment, and passes over those without length.
    private mutating func enter(_ index: Int) {
        while residents[index].segment < residents[index].job.segments.count {
            switch residents[index].job.segments[residents[index].segment] {
            case .compute(let cpuSeconds, _) where cpuSeconds > 1e-9:
                residents[index].remaining = cpuSeconds
                return
            case .wait(let seconds) where seconds > 1e-9:
                residents[index].remaining = seconds
                return
            case .compute, .wait: break
            case .iterationBegins:
                residents[index].iterationBegan = time
                residents[index].iterationConsumed = 0
                residents[index].iterationAvailable = 0
            case .iterationEnds:
                let began = residents[index].iterationBegan ?? time
                let duration = max(time - began, 1e-6)
                residents[index].iterations.append(
                    MeasuredIteration(
                        duration: .seconds(duration),
                        vcpus: VCPUCount(residents[index].iterationAvailable / duration),
                        consumed: .seconds(residents[index].iterationConsumed)
                    )
                )
                residents[index].iterationBegan = nil
            }
            residents[index].segment += 1
        }
        residents[index].ended = time
        residents[index].iterationBegan = nil
    }

    /// What the policy is told about a job after the last step; `step` is its length in seconds, nil before the first.
    package func view(_ index: Int, step: Double?, tellsPressure: Bool) -> JobView {
        let resident = residents[index]
        var view = resident.job.declared
        view.started = view.submitted
        view.consumed = .seconds(resident.consumed)
        view.completedIterations = resident.iterations.count
        view.iterations = resident.iterations.suffix(32)
        view.iterationStarted = resident.iterationBegan.map { Timestamp(seconds: $0) }
        view.iterationConsumed = resident.iterationBegan == nil ? .zero : .seconds(resident.iterationConsumed)
        view.allocation = VCPUCount(resident.allocation)
        view.isRunning = resident.ended == nil
        if let step {
            view.recentUsage = VCPUCount(resident.stepUsage / step)
            if tellsPressure { view.cpuPressure = resident.stepStarved / step }
        }
        return view
    }
}
