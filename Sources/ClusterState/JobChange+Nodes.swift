import ClusterModel

// Which node runs the job, and what follows when that node is gone.
extension JobChange {
    mutating func assign(to node: NodeID, because reason: String) throws(Refusal) {
        guard record.state == .queued else {
            throw refuse("only a queued job is assigned to a node", "Nothing is to be done.")
        }
        guard let target = nodes[node] else {
            throw Refusal(.notFound, "There is no node \(node). `godwit node list` shows those there are.")
        }
        guard target.acceptsAssignments else {
            let what = target.state == .active ? (target.isDraining ? "draining" : "cordoned") : target.state.rawValue
            throw refuse("node \(node) is \(what) and takes no new jobs", "Choose another node.")
        }
        if let resumption = record.resumption, let entry = record.checkpoint(resumption.generation),
            !nodes.canRestore(entry, on: node)
        {
            throw refuse(
                "it goes on from checkpoint \(entry.generation), which is on \(Self.names(entry.holders)) alone",
                "Assign it there."
            )
        }
        guard record.assignedNode != node else { return }
        record.assignment = JobAssignment(node: node, time: time, reason: reason)
        enter(.queued, reason)
        decide(.placed, reason)
    }

    mutating func unassign(because reason: String) throws(Refusal) {
        guard record.state == .queued, record.assignment != nil else {
            throw refuse("only a queued job that has a node can be taken from it", "Nothing is to be done.")
        }
        record.assignment = nil
        enter(.queued, reason)
        decide(.placed, reason)
    }

    /// Lets only the assigned node begin the job; an agent that never registered is alone and begins what it likes.
    func requireAssigned(to node: NodeID) throws(Refusal) {
        guard !nodes.all.isEmpty else { return }
        guard let target = nodes[node] else {
            throw refuse("node \(node) is not registered", "Register it first; its agent does so by itself.")
        }
        guard target.state == .active else {
            throw refuse("node \(node) is \(target.state.rawValue)", "It may begin jobs when it is active again.")
        }
        guard record.assignedNode == node else {
            let place = record.assignedNode.map { "it is assigned to node \($0), not to \(node)" }
            throw refuse(place ?? "it is not assigned to a node yet", "Wait for the leader's choice.")
        }
    }

    /// Whether what is known of the job ties it to a node.
    func depends(on node: NodeID) -> Bool {
        if let migration = record.migration, migration.source == node || migration.destination == node { return true }
        if record.state.mayHaveContainer { return record.node == node }
        if record.assignedNode == node { return true }
        guard !record.state.isFinal else { return false }
        return record.catalog.contains { $0.holders.contains(node) && $0.state == .complete }
    }

    /// Goes on without a node that is gone; `cause` is a sentence that says so.
    mutating func nodeGone(_ node: NodeID, cause: String) {
        if migrationNodeGone(node, cause: cause) { return }
        if record.state.mayHaveContainer, record.node == node { return ended(.lost, cause: cause) }
        guard record.state == .queued || record.state == .suspended else { return }
        if record.assignedNode == node {
            record.assignment = nil
            enter(.queued, cause)
            decide(.placed, "\(cause) The job waits for another node.")
        }
        guard let entry = chosenEntry, entry.holders.contains(node), !nodes.holds(entry) else { return }
        if record.state == .queued, let resumption = record.resumption {
            next(after: resumption, because: cause + " Checkpoint \(entry.generation) is there.")
        } else {
            let other = restorable(before: nil)
            let rest =
                other.map {
                    "; checkpoint \($0.generation) on \(Self.names(nodes.liveHolders(of: $0))) can be restored"
                }
                ?? ", so the job waits for that node"
            let what = "\(cause) Checkpoint \(entry.generation) is there\(rest)."
            decide(.warned, what)
            enter(record.state, what)
        }
    }

    /// The checkpoint that the job goes on from, or would.
    private var chosenEntry: CatalogEntry? {
        if record.state == .queued { return record.resumption.flatMap { record.checkpoint($0.generation) } }
        return record.state == .suspended ? record.newestGoodCheckpoint : nil
    }

    /// The newest checkpoint that would do if its node were there.
    var unreachable: CatalogEntry? {
        record.catalog.last {
            $0.state == .complete && !nodes.holds($0) && $0.completedIterations == record.completedIterations
        }
    }

    /// Whether the job would lose work if this node's files were gone.
    func needsFiles(of node: NodeID) -> Bool {
        guard record.state == .suspended || (record.state == .queued && record.resumption != nil) else { return false }
        let usable = record.goodCheckpoints.filter { $0.completedIterations == record.completedIterations }
        return usable.contains { $0.holders.contains(node) }
            && !usable.contains { entry in nodes.liveHolders(of: entry).contains { $0 != node } }
    }

    /// Asks for a stop and a new start elsewhere; whether the job may be started anew is its own rule.
    mutating func requestMove(grace: Duration, by user: UserID) -> Bool {
        guard record.specification.checkpoint.recovery != .fail else { return false }
        // It is about to end with a checkpoint, as its user asked.
        if case .checkpoint(stops: true, _, let moves, _) = record.request, moves != true { return false }
        switch record.state {
        case .starting, .restoring, .running, .checkpointing: break
        case .queued, .migrating, .suspended, .stopping, .completed, .failed, .cancelled: return false
        }
        record.request = .move(grace: grace, requested: time, by: user)
        let open = record.openCheckpoint
        record.openCheckpoint = nil
        enter(.stopping, "Is being stopped, to begin anew on another node: \(user) drains this one.")
        if let exit = open?.exit { ended(exit) }
        return true
    }

    /// Asks for a last checkpoint of a job on a node that is being drained, from which it goes on elsewhere.
    mutating func moveAway() throws(Refusal) {
        guard nodes.isDraining(record.node) else {
            throw refuse("its node is not being drained", "Nothing is to be done.")
        }
        guard record.mayMoveAway(at: time) else {
            throw refuse("it cannot leave its node with a checkpoint now", "Wait.")
        }
        record.request = .checkpoint(stops: true, requested: time, moves: true)
    }

    /// Asks for a last checkpoint of a job whose place another one needs; it goes on from it when there is room.
    mutating func preempt(for other: JobID, because reason: String) throws(Refusal) {
        guard other != record.id, record.mayMoveAway(at: time), record.migration == nil else {
            throw refuse("it cannot leave its place with a checkpoint now", "Wait.")
        }
        record.request = .checkpoint(stops: true, requested: time, moves: true, yieldsTo: other)
        decide(.preempted, reason)
    }

    /// Lets a job stay that was to leave its node, unless its last checkpoint is being taken.
    mutating func stay() {
        if let migration = record.migration, migration.by == nil, !migration.isHandedOver {
            abandonMigration(because: "node \(migration.source) is not being drained any more")
        }
        guard record.state == .running, record.request?.isMovingAway == true else { return }
        record.request = nil
    }

    mutating func moved(by user: UserID, cause: String?) {
        record.quickLosses = 0
        let place = record.node.map { " on node \($0)" } ?? ""
        let why = cause ?? "\(user) had it stopped\(place)."
        // Only what another node can have: this one is to become empty.
        if record.specification.checkpoint.recovery == .restore, let entry = restorable(before: nil), entry.seal != nil
        {
            return goOn(from: entry, because: why)
        }
        let lost = lostWork(since: record.iterationBase)
        fallBack(to: record.iterationBase)
        record.resumption = nil
        let what = "\(why) It begins anew elsewhere.\(lost.text)"
        decide(.restarted, what, [lost.number])
        requeue(what)
    }
}
