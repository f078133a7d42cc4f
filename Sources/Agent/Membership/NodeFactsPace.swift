import ClusterModel

/// When a node's facts are told again.
///
/// One piece of news costs every member ten sends or so, and all nodes have loads: at two hundred nodes that each told a load every
/// ten seconds, gossip would need twenty kilobytes a second of each. So only what is so and remains so is told: anything but a load at
/// once; a load that moved by a fifth of the whole when that has lasted for a while; and a smaller move once an hour. Who needs loads
/// by the second has them from the reports that the leader gets.
struct NodeFactsPace: Sendable {
    /// How long a move of the load must last.
    static let holding: Duration = .seconds(5)
    /// The least between two tellings of a load in a pool of up to a hundred; in a larger one that much longer.
    static let loadPeriod: Duration = .seconds(20)
    /// The same for moves of less than a fifth.
    static let smallMovePeriod: Duration = .seconds(3_600)
    /// Smaller moves are never told.
    static let leastMove = 0.05

    private var told: NodeFactsSummary?
    private var toldAt: ContinuousClock.Instant?
    private var movedAt: ContinuousClock.Instant?

    /// Whether the others should be told these facts now; they count as told then.
    mutating func mustTell(_ facts: NodeFactsSummary, memberCount: Int, now: ContinuousClock.Instant) -> Bool {
        guard let told, let toldAt else { return tell(facts, now) }
        guard !facts.differsBesideLoad(from: told) else { return tell(facts, now) }
        let move = facts.largestMove(from: told)
        let share = max(1, Double(memberCount) / 100)
        guard move >= 0.2 else {
            movedAt = nil
            guard move >= Self.leastMove, now - toldAt >= Self.smallMovePeriod * share else { return false }
            return tell(facts, now)
        }
        let since = movedAt ?? now
        movedAt = since
        guard now - since >= Self.holding, now - toldAt >= Self.loadPeriod * share else { return false }
        return tell(facts, now)
    }

    private mutating func tell(_ facts: NodeFactsSummary, _ now: ContinuousClock.Instant) -> Bool {
        (told, toldAt, movedAt) = (facts, now, nil)
        return true
    }
}

extension NodeFactsSummary {
    /// Whether something else differs than loads.
    func differsBesideLoad(from told: NodeFactsSummary) -> Bool { short != told.short }

    /// How far the load moved, as part of the whole; of several loads the one that moved most.
    ///
    /// A first container, or the last one gone, is a move of the whole: an idle node is another than one that works.
    func largestMove(from told: NodeFactsSummary) -> Double {
        func part(_ new: Double, _ old: Double, of whole: Double) -> Double { whole > 0 ? abs(new - old) / whole : 0 }
        let vcpus = load.capacity.rawValue
        var moves = [
            part(load.allocated.rawValue, told.load.allocated.rawValue, of: vcpus),
            part(load.used.rawValue, told.load.used.rawValue, of: vcpus),
            part(
                Double(load.memoryUsed.rawValue),
                Double(told.load.memoryUsed.rawValue),
                of: Double(load.memoryTotal.rawValue)
            ),
            part(
                Double(load.containerCount),
                Double(told.load.containerCount),
                of: Double(max(load.containerCount, told.load.containerCount))
            ),
        ]
        for (new, old) in zip(devices, told.devices) {
            moves.append(part(new.utilization ?? -1, old.utilization ?? -1, of: 1))
            moves.append(
                part(
                    Double(new.memoryUsed.rawValue),
                    Double(old.memoryUsed.rawValue),
                    of: Double(new.memoryTotal.rawValue)
                )
            )
        }
        return moves.max() ?? 0
    }
}
