package import ClusterModel
package import ClusterState

extension Placement {
    /// Exact questions about deadlines that one plan asks at most.
    static let exactBudget = 500

    /// What the leader has to propose so that every queued job has the node that it should have.
    ///
    /// Nothing, when nothing has changed. Jobs are taken by deadline, then weight, then age. Call it when jobs or nodes have changed, and once a
    /// second besides: a job that waits for its next try is placed when that is due.
    ///
    /// - Parameters:
    ///   - state: as of the last applied command; propose only as its leader.
    ///   - suspects: nodes that gossip suspects or that the leader does not hear from.
    ///   - now: goes into the commands.
    ///   - limit: commands at most; what is left comes with the next call.
    /// - Returns: `assign`, `unassign` and `waiting`, in the order in which they are to be proposed.
    package static func plan(
        _ state: ClusterState,
        suspects: Set<NodeID> = [],
        now: Timestamp,
        limit: Int = 512
    ) -> [Command] {
        guard state.nodes.contains(where: { $0.state != .left }) else { return [] }
        let jobs = state.liveJobs
        let open = jobs.indices.filter { index in
            guard jobs[index].state == .queued else { return false }
            guard let node = jobs[index].assignment?.node else {
                return jobs[index].notBefore.map { $0 <= now } ?? true
            }
            guard !suspects.contains(node), let record = state.node(node), record.acceptsAssignments else {
                return true
            }
            return Obstacle.isRefused(jobs[index].specification, by: record)
                || (jobs[index].resumption != nil
                    && PlacementCandidate(jobs[index], now: now).platformObstacle(on: record) != nil)
        }
        guard !open.isEmpty else { return [] }
        // What a job holds where it cannot stay counts against nobody.
        let isOpen = Set(open)
        let others = jobs.indices.filter { !isOpen.contains($0) }.map { jobs[$0] }
        var nodes = NodeView.all(of: state, with: others, suspects: suspects, now: now)
        var commands: [Command] = []
        var waiting: [(record: JobRecord, job: PlacementCandidate)] = []
        var budget = exactBudget
        let order = open.map { Urgency(jobs[$0], index: $0) }.sorted()
        for urgency in order {
            guard commands.count < limit else { break }
            let record = jobs[urgency.index]
            let job = PlacementCandidate(record, now: now)
            guard let selection = select(job, among: nodes, exactBudget: &budget) else {
                waiting.append((record, job))
                continue
            }
            let reason = sentence(job, selection, among: nodes)
            let node = nodes[selection.index].record.node
            nodes[selection.index].add(job)
            commands.append(.assign(job: record.id, node: node, reason: reason, time: now))
        }
        // Why the others wait is told when all is placed that can be: the next plan would say the same.
        for (record, job) in waiting where commands.count < limit {
            commands += command(withoutNodeFor: record, job, among: nodes, state, now: now)
        }
        return commands
    }

    private static func command(
        withoutNodeFor record: JobRecord,
        _ job: PlacementCandidate,
        among nodes: [NodeView],
        _ state: ClusterState,
        now: Timestamp
    ) -> [Command] {
        if let command = passingOver(job, of: record, among: nodes, state, now: now) { return [command] }
        let reason = obstacles(to: job, among: nodes)
        guard let node = record.assignedNode else {
            return record.message == reason ? [] : [.waiting(job: record.id, reason: reason, time: now)]
        }
        // A node that only hesitates may keep what nobody else can take.
        guard state.node(node)?.acceptsAssignments != true else { return [] }
        return [.unassign(job: record.id, reason: reason, time: now)]
    }
}

/// When nobody can go on from the checkpoint that a job waits with.
extension Placement {
    /// How long a job without a deadline waits for a node that was lost and could go on with its memory.
    static let returnLimit: Duration = .seconds(600)

    /// Gives up a checkpoint that no node can take, though some could take the job without it.
    ///
    /// Who has a deadline waits for nobody to come back: what is begun now may still be done in time.
    private static func passingOver(
        _ job: PlacementCandidate,
        of record: JobRecord,
        among nodes: [NodeView],
        _ state: ClusterState,
        now: Timestamp
    ) -> Command? {
        guard state.version >= 6, let resumption = record.resumption, job.platform != nil else { return nil }
        var unfit: [String] = []
        for node in nodes {
            let fits = job.platformObstacle(on: node.record) == nil
            switch Obstacle.first(to: job, on: node) {
            case .platform(let obstacle): unfit.append("\(node.record.node) \(obstacle.text)")
            case nil, .suspect, .memory, .devices, .addresses, .absent(.joining): if fits { return nil }
            case .cordoned: if fits, job.deadline == nil { return nil }
            case .absent(.lost):
                if fits, job.deadline == nil, now - node.record.since < returnLimit { return nil }
            default: break
            }
        }
        guard !unfit.isEmpty else { return nil }
        let others = unfit.count > 3 ? "; so it is with \(unfit.count - 3) more" : ""
        let list = unfit.prefix(3).joined(separator: "; ") + others
        let reason = "No node can go on from checkpoint \(resumption.generation): \(list)."
        return .passOver(job: record.id, generation: resumption.generation, reason: reason, time: now)
    }
}

/// Deadlines first, by time; then weight, then age.
private struct Urgency: Comparable {
    let deadline: Timestamp
    let weight: Double
    /// Among the live jobs by age.
    let index: Int

    init(_ job: JobRecord, index: Int) {
        deadline = job.deadline ?? Timestamp(rawValue: .max)
        weight = job.specification.weight
        self.index = index
    }

    static func < (left: Self, right: Self) -> Bool {
        (left.deadline, -left.weight, left.index) < (right.deadline, -right.weight, right.index)
    }
}
