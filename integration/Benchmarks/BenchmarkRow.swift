/// One measured figure, beside its peer's where there is one, taken in the same run.
struct BenchmarkRow: Sendable, Encodable {
    /// What was measured.
    var name: String
    /// Of both figures, for example `ms`.
    var unit: String
    var ours: Double
    /// The same work by the peer; nil when there is none.
    var peer: Double?
    /// What was to be reached; nil when the figure is for information only.
    var goal: BenchmarkGoal?

    init(_ name: String, unit: String, ours: Double, peer: Double? = nil, goal: BenchmarkGoal? = nil) {
        (self.name, self.unit, self.ours, self.peer, self.goal) = (name, unit, ours, peer, goal)
    }

    /// Times of several rounds, in seconds: the row holds their medians in milliseconds.
    init(_ name: String, seconds ours: [Double], peer: [Double]? = nil, goal: BenchmarkGoal? = nil) {
        self.init(name, unit: "ms", ours: ours.median * 1000, peer: peer.map { $0.median * 1000 }, goal: goal)
    }

    /// Ours over the peer's; nil without a peer.
    var ratio: Double? { peer.flatMap { $0 == 0 ? nil : ours / $0 } }

    /// Whether the goal was reached; nil without one, or when its peer's figure is missing.
    var isReached: Bool? {
        switch goal {
        case nil: nil
        case .atMost(let bound): ours <= bound
        case .atLeast(let bound): ours >= bound
        case .ratioAtMost(let bound): peer.map { ours <= bound * $0 }
        case .ratioAtLeast(let bound): peer.map { ours >= bound * $0 }
        }
    }

    /// For the table: what became of the goal.
    var verdict: String { isReached.map { $0 ? "reached" : "MISSED" } ?? "-" }

    private enum CodingKeys: String, CodingKey { case name, unit, ours, peer, ratio, goal, verdict }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(unit, forKey: .unit)
        try container.encode(ours, forKey: .ours)
        try container.encodeIfPresent(peer, forKey: .peer)
        try container.encodeIfPresent(ratio, forKey: .ratio)
        try container.encodeIfPresent(goal?.description, forKey: .goal)
        try container.encode(verdict, forKey: .verdict)
    }
}

/// A bound that a figure is held to.
enum BenchmarkGoal: Sendable, CustomStringConvertible {
    case atMost(Double)
    case atLeast(Double)
    /// Of the peer's figure in the same run.
    case ratioAtMost(Double)
    /// Of the peer's figure in the same run.
    case ratioAtLeast(Double)

    var description: String {
        switch self {
        case .atMost(let bound): "<= \(figure(bound))"
        case .atLeast(let bound): ">= \(figure(bound))"
        case .ratioAtMost(let bound): "<= \(figure(bound)) x peer"
        case .ratioAtLeast(let bound): ">= \(figure(bound)) x peer"
        }
    }
}

extension [Double] {
    /// The middle value, of an even number the upper of the two; NaN when there is none.
    var median: Double { percentile(0.5) }

    /// The smallest value that is not exceeded by this part of all (nearest rank); NaN when there is none.
    func percentile(_ part: Double) -> Double {
        guard !isEmpty else { return .nan }
        let rank = Int((part * Double(count)).rounded(.down))
        return sorted()[Swift.min(count - 1, rank)]
    }
}
