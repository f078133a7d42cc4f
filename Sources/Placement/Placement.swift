package import ClusterModel
import ClusterState

/// Chooses nodes for jobs: what must hold first, then deadlines, then what is best, and always the reason.
package enum Placement {
    /// Nodes for which one choice asks the exact question about deadlines, when none keeps it surely.
    static let exactLimit = 8
}

/// Which node a job should run on, and why; or why it can run nowhere now.
package struct PlacementChoice: Sendable, Equatable {
    /// What is said about one node that cannot take the job.
    package struct Refusal: Sendable, Equatable, CustomStringConvertible {
        package var node: NodeID
        package var obstacle: Obstacle
        /// One line: the node and why not.
        package var description: String { "\(node) \(obstacle.text)" }
    }

    /// nil when no node can take the job now.
    package var node: NodeID?
    /// Whether the deadline is expected to hold there; nil without one, and without a node.
    package var keepsDeadline: Bool?
    /// One sentence: why this node, or why none.
    package var reason: String
    /// The nodes that cannot take it, by name.
    package var refusals: [Refusal]
}

extension Placement {
    /// Chooses the node for one job.
    ///
    /// - Parameters:
    ///   - job: what is to be placed.
    ///   - nodes: every node, with what it has promised; see `NodeView.all(of:suspects:now:)`.
    /// - Returns: the same for the same arguments, in whatever order the nodes are.
    package static func choose(_ job: PlacementCandidate, among nodes: [NodeView]) -> PlacementChoice {
        var budget = exactLimit
        let selection = select(job, among: nodes, exactBudget: &budget)
        let refusals = nodes.compactMap { node in
            Obstacle.first(to: job, on: node).map { PlacementChoice.Refusal(node: node.record.node, obstacle: $0) }
        }
        return PlacementChoice(
            node: selection.map { nodes[$0.index].record.node },
            keepsDeadline: job.deadline == nil ? nil : selection?.keepsDeadline,
            reason: selection.map { sentence(job, $0, among: nodes) } ?? obstacles(to: job, among: nodes),
            refusals: refusals.sorted { $0.node < $1.node }
        )
    }

    /// A node, and what was found on the way to it.
    struct Selection {
        var index: Int
        /// Whether the deadline is expected to hold there; true without one.
        var keepsDeadline: Bool
        /// Nodes that could take the job.
        var possibleCount: Int
        /// Of them, those that keep its deadline as far as was asked.
        var keepingCount: Int
    }

    static func select(
        _ job: PlacementCandidate,
        among nodes: [NodeView],
        exactBudget: inout Int
    ) -> Selection? {
        var best: Ranked?
        var possible: [Int] = []
        var keepingCount = 0
        let sites = job.spread == .sites ? counts(like: job, among: nodes) : [:]
        let isLate = job.deadline != nil && job.pinned == nil && job.demand == nil
        for index in nodes.indices where canTake(job, index, of: nodes) {
            possible.append(index)
            guard !isLate, nodes[index].means.keepsDeadlineSurely(of: job) else { continue }
            keepingCount += 1
            let ranked = Ranked(job, index, of: nodes, sites: sites)
            if best.map({ ranked.isBetter(than: $0) }) ?? true { best = ranked }
        }
        guard !possible.isEmpty else { return nil }
        if let best {
            return Selection(
                index: best.index,
                keepsDeadline: true,
                possibleCount: possible.count,
                keepingCount: keepingCount
            )
        }
        // No node keeps it surely. Where the schedule can be tight it is asked exactly, in the order of preference.
        let ranked = possible.map { Ranked(job, $0, of: nodes, sites: sites) }.sorted { $0.isBetter(than: $1) }
        if !isLate {
            for candidate in ranked.prefix(exactLimit) where exactBudget > 0 {
                exactBudget -= 1
                if nodes[candidate.index].keepsDeadline(of: job) {
                    return Selection(
                        index: candidate.index,
                        keepsDeadline: true,
                        possibleCount: possible.count,
                        keepingCount: 1
                    )
                }
            }
        }
        // It will be late wherever it is: where it disturbs least it is least late.
        let least = ranked.min { ($0.load, $0.tie) < ($1.load, $1.tie) } ?? ranked[0]
        return Selection(index: least.index, keepsDeadline: false, possibleCount: possible.count, keepingCount: 0)
    }

    /// The same as having no obstacle, but quick where there is one of the node's own or the job asks for nothing particular.
    private static func canTake(_ job: PlacementCandidate, _ index: Int, of nodes: [NodeView]) -> Bool {
        let means = nodes[index].means
        guard means.hasRoom(for: job) else { return false }
        return job.isUnconstrained ? means.takesJobs : Obstacle.first(to: job, on: nodes[index]) == nil
    }

    private static func counts(like job: PlacementCandidate, among nodes: [NodeView]) -> [SiteID: Int] {
        guard !job.likeness.isEmpty else { return [:] }
        var counts: [SiteID: Int] = [:]
        for index in nodes.indices {
            if let count = nodes[index].likenesses[job.likeness] {
                counts[nodes[index].record.site, default: 0] += count
            }
        }
        return counts
    }
}

/// How good a node is for a job.
private struct Ranked {
    let index: Int
    let load: Double
    let tie: UInt64
    /// How far the job's checkpoint is; comes before everything else.
    private let distance: Double
    /// Smaller is better; compared from the first.
    private let keys: (Double, Double, Double)

    init(_ job: PlacementCandidate, _ index: Int, of nodes: [NodeView], sites: [SiteID: Int]) {
        self.index = index
        let means = nodes[index].means
        load = means.load(for: job)
        tie = TieBreak.mix(job.seed, means.seed)
        distance = job.checkpoint?.distance(to: nodes[index].record) ?? 0
        let alike = job.likeness.isEmpty ? 0 : Double(nodes[index].likenesses[job.likeness] ?? 0)
        switch job.spread {
        case .nodes: keys = (alike, load, 0)
        case .sites: keys = (sites.isEmpty ? 0 : Double(sites[nodes[index].record.site] ?? 0), alike, load)
        case .pack:
            let wanted = job.isBestEffort ? job.width : job.rate
            let capacity = max(0.01, means.vcpus)
            // The fullest that has room; of those that have none, the emptiest.
            let hasRoom = load + min(wanted, capacity) / capacity <= 1 + 1e-9
            keys = hasRoom ? (0, -load, 0) : (1, load, 0)
        }
    }

    func isBetter(than other: Ranked) -> Bool {
        if distance != other.distance { return distance < other.distance }
        if keys != other.keys { return keys < other.keys }
        return (tie, UInt64(index)) < (other.tie, UInt64(other.index))
    }
}

// MARK: Words

extension Placement {
    static func sentence(_ job: PlacementCandidate, _ selection: Selection, among nodes: [NodeView]) -> String {
        let node = nodes[selection.index]
        let record = node.record
        var promise = "\(node.promised) of \(record.vcpus) vCPUs are promised there"
        if job.memory > .zero { promise += ", \(node.memory) of \(record.memory) of memory" }
        let count = selection.possibleCount
        let why: String
        if let checkpoint = job.checkpoint, checkpoint.holders == [record.node] {
            why = "its checkpoint is there, on node \(record.node) alone"
        } else if let checkpoint = job.checkpoint, selection.keepsDeadline {
            why =
                checkpoint.holders.contains(record.node)
                ? "its checkpoint is there" : "no node that has its checkpoint can take it, so it is fetched"
        } else if count == 1 {
            why = "it is the only node that can take the job now"
        } else if !selection.keepsDeadline {
            why = "none of \(count) nodes can keep its deadline, and this one is the least late"
        } else {
            let what = job.deadline == nil || job.pinned != nil ? "can take the job" : "keep its deadline"
            switch job.spread {
            case .nodes: why = "the least taken of \(selection.keepingCount) that \(what)"
            case .sites:
                why =
                    "the least taken, at the site with the fewest such jobs, of \(selection.keepingCount) that \(what)"
            case .pack: why = "the fullest of \(selection.keepingCount) that \(what)"
            }
        }
        let late = count == 1 && !selection.keepsDeadline ? " Its deadline is not expected to hold." : ""
        return "Goes to node \(record.node): \(why); \(promise).\(late)"
    }

    /// Why no node can take a job, with the nodes counted by reason.
    static func obstacles(to job: PlacementCandidate, among nodes: [NodeView]) -> String {
        guard !nodes.isEmpty else { return "Waits for a node: the cluster has none yet." }
        var counts: [(obstacle: Obstacle, count: Int)] = []
        for node in nodes {
            guard let obstacle = Obstacle.first(to: job, on: node) else { continue }
            if let index = counts.firstIndex(where: { $0.obstacle.isLike(obstacle) }) {
                counts[index].count += 1
            } else {
                counts.append((obstacle, 1))
            }
        }
        if counts.count == 1, let only = counts.first, only.count == 1, let node = nodes.first {
            return "Waits for a node: \(node.record.node) \(only.obstacle.text)."
        }
        let parts = counts.map { "\($0.count) \($0.obstacle.summary)" }.joined(separator: ", ")
        let remedy =
            counts.contains(where: \.obstacle.isPassing)
            ? "" : " None of this passes by itself: change the job's constraints, or undrain or add a node."
        return "Waits for a node: of \(nodes.count), \(parts).\(remedy)"
    }
}
