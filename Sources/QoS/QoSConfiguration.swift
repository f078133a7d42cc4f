/// Every number that the two policies use, with the reason for its default.
package struct QoSConfiguration: Sendable, Codable, Equatable {
    // MARK: The published policy

    /// Time between two evaluations of a `cputime` job; the published prototype used 120 s.
    package var paperInterval: Duration = .seconds(120)
    /// vCPUs added or taken away at once.
    package var paperStep = 0.4
    /// Performance below this is underprogress.
    package var paperUnder = 0.9
    /// vCPUs below which no share falls.
    package var paperMinimum = 0.1
    /// vCPUs above which no share rises; the published nodes had two.
    package var paperMaximum = 2.0
    /// vCPUs of a job that was not evaluated yet.
    package var paperStart = 1.0
    /// Part of the time frame that the window of an iterative job ends before its deadline.
    package var paperWindowEnd = 0.05

    // MARK: The deadline policy

    /// How wrong declared work may be: 0.5 means that 100 CPU seconds may turn out to be anything from 50 to 150.
    package var workUncertainty = 0.5
    /// Once a job has consumed more than was thought possible, this fraction of its declared work is assumed to remain, again and again.
    package var overrunReserve = 0.1
    /// Deadlines are aimed at this much early: one sample, one decision, and one scheduling delay fit into it.
    package var deadlineGuard: Duration = .seconds(2)
    /// Every running job is guaranteed this much, so that it can answer, flush and end.
    package var minimumAllocation = 0.01
    /// Allocations that would change by less than this many vCPUs stay as they are.
    package var holdBand = 0.05
    /// A change of allocation is told only when it is at least this many vCPUs.
    package var toldChange = 0.1
    /// It must also be at least this part of what was told last.
    package var toldFraction = 0.2
    /// It is not told sooner than this after the last time, unless jobs came or went.
    package var toldInterval: Duration = .seconds(15)
    /// Predicted ends are computed anew this often, and whenever jobs come or go; allocations at every call.
    package var predictionInterval: Duration = .seconds(5)
    /// How long a deadline must look lost, or safe again, before that is said.
    package var riskDelay: Duration = .seconds(5)
    /// The set of deadlines that are given up is computed anew this often while not all can be kept.
    package var selectionInterval: Duration = .seconds(5)
    /// Deadlines are given up only when not even this quantile of the remaining work fits.
    package var surrenderQuantile = 0.0
    /// Once some are given up, as many are kept as fit at this quantile.
    package var keepQuantile = 0.1
    /// A job shares spare CPU with best-effort jobs while it is ahead by this factor.
    ///
    /// Ahead means: it has this many times `1 + maxOverprogress` the time that it needs in the worst case. Infinity means that deadlines
    /// always come first. Simulated mixes miss 0.1 % more deadlines at 3 than at infinity, 0.4 % at 1.
    package var aheadFactor = 3.0

    /// The defaults.
    package init() {}
}
