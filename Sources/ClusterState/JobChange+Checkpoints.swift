import ClusterModel

// Taking, keeping and losing checkpoints.
extension JobChange {
    mutating func beginCheckpoint(_ incarnation: Incarnation) throws(Refusal) {
        try require(incarnation)
        guard record.state == .running else { throw refuse("only a running job can be checkpointed", "Try again.") }
        var stops = false
        var isRequested = false
        if case .checkpoint(let wish, _, _, _) = record.request { (stops, isRequested) = (wish, true) }
        record.lastGeneration = record.lastGeneration.next
        record.openCheckpoint = OpenCheckpoint(
            generation: record.lastGeneration,
            began: time,
            stops: stops,
            isRequested: isRequested
        )
        enter(.checkpointing, "Checkpoint \(record.lastGeneration) is being taken.")
    }

    mutating func recordCheckpoint(_ entry: CatalogEntry) throws(Refusal) {
        guard entry.generation <= record.lastGeneration, entry.generation > CheckpointGeneration(rawValue: 0) else {
            throw Refusal(.invalid, "Checkpoint \(entry.generation) of job \(record.id) was never begun.")
        }
        guard record.checkpoint(entry.generation) == nil else {
            throw Refusal(.stale, "Checkpoint \(entry.generation) of job \(record.id) is known.")
        }
        var entry = entry
        entry.state = .complete
        entry.damage = nil
        entry.copies = nil
        entry.platform = nodes[entry.node]?.platform
        // Of a past iteration, or of a job that has ended: nobody can use it.
        if record.state.isFinal || entry.completedIterations != record.completedIterations { entry.state = .retiring }
        record.catalog.append(entry)
        record.catalog.sort { $0.generation < $1.generation }
        let open = record.openCheckpoint?.generation == entry.generation ? record.openCheckpoint : nil
        retireSurplus()
        record.lastCheckpointAttempt = time
        record.failedCheckpoints = nil
        decide(
            .checkpointed,
            "Checkpoint \(entry.generation): frozen for \(entry.frozen.text), \(entry.raw) stored as \(entry.stored) in "
                + "\(entry.total.text), with \(entry.consumed.text) of CPU time done.",
            [
                .init(name: "generation", value: Double(entry.generation.rawValue)),
                .init(name: "frozenSeconds", value: entry.frozen.inSeconds),
                .init(name: "totalSeconds", value: entry.total.inSeconds),
                .init(name: "rawBytes", value: Double(entry.raw.rawValue)),
                .init(name: "storedBytes", value: Double(entry.stored.rawValue)),
            ]
        )
        guard let open, record.state == .checkpointing else { return }
        record.openCheckpoint = nil
        var moves = false
        var yieldsTo: JobID?
        if open.isRequested, case .checkpoint(let stops, _, let wish, let other) = record.request, !stops || open.stops
        {
            (moves, yieldsTo) = (wish ?? false, other)
            record.request = nil
        }
        guard open.stops else { return enter(.running, record.runningMessage) }
        record.lastExit = open.exit ?? record.lastExit
        record.ledger.settle()
        fallBack(to: entry)
        record.incarnationStarted = nil
        record.resumption = nil
        record.quickLosses = 0
        if moves {
            let place =
                yieldsTo.map { ", to make room for job \($0)" }
                ?? record.node.map { ", because node \($0) is being drained" } ?? ""
            return goOn(from: entry, because: "It was stopped with checkpoint \(entry.generation)\(place).")
        }
        let what =
            "Stopped with checkpoint \(entry.generation); `godwit job restore \(record.specification.name)` continues it."
        enter(.suspended, what)
        decide(.suspended, what)
    }

    mutating func checkpointFailed(
        _ generation: CheckpointGeneration,
        reason: String,
        isInterrupted: Bool
    ) throws(Refusal) {
        guard let open = record.openCheckpoint, open.generation == generation, record.state == .checkpointing else {
            throw Refusal(.stale, "Checkpoint \(generation) of job \(record.id) is not being taken.")
        }
        record.openCheckpoint = nil
        record.lastCheckpointAttempt = time
        if !isInterrupted { record.failedCheckpoints = (record.failedCheckpoints ?? 0) + 1 }
        if open.isRequested, !isInterrupted { record.request = nil }
        decide(
            .warned,
            "Checkpoint \(generation) failed: \(reason)",
            [.init(name: "generation", value: Double(generation.rawValue))]
        )
        if let exit = open.exit {
            // The dump ended the container without leaving usable images: its work since the last good one is lost.
            if case .signalled(9, false) = exit { ended(.lost) } else { ended(exit) }
        } else {
            enter(.running, record.runningMessage)
        }
    }

    mutating func checkpointDamaged(_ generation: CheckpointGeneration, reason: String) throws(Refusal) {
        guard let index = record.catalog.firstIndex(where: { $0.generation == generation }) else {
            throw Refusal(.stale, "Checkpoint \(generation) of job \(record.id) is not in the catalog.")
        }
        guard record.catalog[index].state == .complete else { return }
        record.catalog[index].state = .damaged
        record.catalog[index].damage = reason
        decide(.warned, "Checkpoint \(generation) is damaged: \(reason)")
        if record.state == .queued, let resumption = record.resumption, resumption.generation == generation {
            next(after: resumption, because: "Checkpoint \(generation) is damaged: \(reason)")
        }
    }

    mutating func checkpointRetired(_ generation: CheckpointGeneration) throws(Refusal) {
        guard let index = record.catalog.firstIndex(where: { $0.generation == generation }) else {
            throw Refusal(.stale, "Checkpoint \(generation) of job \(record.id) is not in the catalog.")
        }
        guard record.catalog[index].state == .retiring else {
            throw refuse("checkpoint \(generation) is still wanted", "Delete only what is retiring.")
        }
        guard record.catalog[index].copies == nil else {
            throw refuse("checkpoint \(generation) has copies", "Say for each node that it has deleted its own.")
        }
        record.catalog.remove(at: index)
    }

    mutating func restoreFailed(_ failure: RestoreFailure) throws(Refusal) {
        try require(failure.incarnation)
        guard record.state == .restoring || (record.state == .stopping && record.resumption != nil),
            let resumption = record.resumption, resumption.generation == failure.generation
        else { throw Refusal(.stale, "Job \(record.id) is not being restored from checkpoint \(failure.generation).") }
        if failure.isDamaged, let index = record.catalog.firstIndex(where: { $0.generation == failure.generation }) {
            record.catalog[index].state = .damaged
            record.catalog[index].damage = failure.reason
        }
        let why = "Checkpoint \(failure.generation) could not be restored: \(failure.reason)"
        if record.request?.isCancel == true {
            decide(.warned, why)
            return ended(.notStarted(reason: failure.reason))
        }
        next(after: resumption, because: why)
    }

    /// Gives up a checkpoint that no node can take.
    mutating func passOver(_ generation: CheckpointGeneration, because reason: String) throws(Refusal) {
        guard record.state == .queued, let resumption = record.resumption, resumption.generation == generation else {
            throw Refusal(.stale, "Job \(record.id) does not wait to go on from checkpoint \(generation).")
        }
        record.assignment = nil
        next(after: resumption, because: reason)
    }

    /// Chooses what follows a checkpoint that cannot be used.
    mutating func next(after failed: Resumption, because why: String) {
        record.failedRestores.append(failed.generation)
        record.incarnationStarted = nil
        if failed.origin != .named, let entry = restorable(before: failed.generation) {
            fallBack(to: entry)
            record.resumption = Resumption(generation: entry.generation, origin: failed.origin)
            let what = "\(why) Checkpoint \(entry.generation) is tried next."
            decide(.warned, what)
            return requeue(what)
        }
        record.resumption = nil
        if failed.origin == .recovery {
            let lost = lostWork(since: record.iterationBase)
            fallBack(to: record.iterationBase)
            let what = "\(why) No older checkpoint is left, so it starts from the beginning.\(lost.text)"
            decide(.restarted, what, [lost.number])
            requeue(what)
        } else {
            let good = record.goodCheckpoints.map { "\($0.generation)" }.joined(separator: ", ")
            let remedy =
                good.isEmpty
                ? "No complete checkpoint is left; cancel the job and submit it again."
                : "Restore another one (\(good)) with `godwit job restore --generation`."
            decide(.warned, "\(why) \(remedy)")
            enter(.suspended, "\(why) \(remedy)")
        }
    }

    /// The newest complete generation on a node that is there and that was not tried in vain, older than `bound` if there is one.
    func restorable(before bound: CheckpointGeneration?) -> CatalogEntry? {
        record.catalog.last { entry in
            entry.state == .complete && nodes.holds(entry) && !record.failedRestores.contains(entry.generation)
                && entry.completedIterations == record.completedIterations
                && bound.map { entry.generation < $0 } ?? true
        }
    }

    /// Retires what is over the number of generations kept: the oldest complete ones and every damaged one before them.
    ///
    /// Kept besides: the newest one that outlives its node, and a newer one whose copies are under way. So a node's end costs no more work than
    /// copies take, and checkpoints that come faster than they can be copied do not keep each other from being copied.
    mutating func retireSurplus() {
        let rules = record.specification.checkpoint
        let complete = record.catalog.filter { $0.state == .complete }
        let surplus = complete.count - rules.generations
        guard surplus > 0 || rules.spaceLimit != nil else { return }
        let newestSafe = complete.last { $0.isSafe(replicas: rules.replicas) }?.generation
        let underWay = complete.first { entry in
            !entry.wantedCopies.isEmpty && newestSafe.map { $0 < entry.generation } ?? true
        }?.generation
        // The one that a waiting job goes on from is kept whatever its age.
        let kept = [record.resumption?.generation, newestSafe, underWay].compactMap { $0 }
        if surplus > 0 {
            let oldestKept = complete[surplus].generation
            for index in record.catalog.indices
            where record.catalog[index].generation < oldestKept && !kept.contains(record.catalog[index].generation) {
                retire(index)
            }
        }
        guard let limit = rules.spaceLimit else { return }
        for index in record.catalog.indices where CatalogEntry.occupied(by: record.goodCheckpoints) > limit {
            let entry = record.catalog[index]
            guard entry.state == .complete, entry.generation != record.newestGoodCheckpoint?.generation,
                !kept.contains(entry.generation)
            else { continue }
            retire(index)
        }
    }

    /// Lets a generation go that nobody needs, because a node that holds it has no room.
    mutating func release(_ generation: CheckpointGeneration, from node: NodeID, because why: String) throws(Refusal) {
        guard let index = record.catalog.firstIndex(where: { $0.generation == generation }),
            record.catalog[index].state == .complete, record.catalog[index].holders.contains(node)
        else { throw Refusal(.stale, "Node \(node) does not hold checkpoint \(generation) of job \(record.id).") }
        guard !record.isNeeded(record.catalog[index]) else {
            throw refuse("checkpoint \(generation) is needed", "Let another one go.")
        }
        retire(index)
        decide(.warned, "Checkpoint \(generation) was let go, newer ones are kept: \(why)")
    }

    /// Lets a generation go: its holders delete it, and nobody fetches it any more.
    mutating func retire(_ index: Int) {
        record.catalog[index].state = .retiring
        if record.catalog[index].copies != nil { record.catalog[index].changeCopies { $0.wanted = [] } }
    }
}
