/// How well this node itself does: Lifeguard's local health multiplier (Lifeguard, section IV-A).
///
/// A node that is slow gets its answers late and takes others for dead. What tells it that the fault may be its own
/// raises the score; a higher score makes it probe less often and wait longer.
package struct LocalHealth: Sendable, Equatable {
    /// From 0, healthy, to `limit`.
    package private(set) var score = 0
    /// The paper's S: where the score saturates.
    package let limit: Int

    package init(limit: Int) { self.limit = limit }

    /// What intervals and timeouts are multiplied with: score + 1.
    package var multiplier: Int { score + 1 }

    /// What is evidence of one's own health.
    package enum Evidence: Sendable, Equatable {
        /// A probe was answered in time: -1.
        case probeSucceeded
        /// A probe failed.
        ///
        /// +1 for each helper that neither got an answer nor said so in time; +1 if no helper was asked at all.
        case probeFailed(helpers: Int, nacks: Int)
        /// Somebody suspected this node, which had to refute it: +1.
        case refutedSuspicion
        /// The node was not run when it should have been: +1.
        case stoodStill
    }

    /// Takes evidence into account.
    package mutating func note(_ evidence: Evidence) {
        let change =
            switch evidence {
            case .probeSucceeded: -1
            case .probeFailed(let helpers, let nacks): helpers == 0 ? 1 : max(0, helpers - nacks)
            case .refutedSuspicion, .stoodStill: 1
            }
        score = min(limit, max(0, score + change))
    }
}
