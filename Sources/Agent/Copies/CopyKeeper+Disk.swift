import Checkpointing
import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Placement
import ServiceLifecycle
import Synchronization

// What lies on the disk of this node, and whether it is good.
extension CopyKeeper {
    /// Not with the looks at what is wanted: large files take their time to be deleted.
    func sweepUntilCancelled() async {
        while !Task.isCancelled {
            await sweep()
            try? await Task.sleep(for: settings.sweepPeriod)
        }
    }

    /// Deletes files that nobody counts to this node, and tells of those that are gone.
    ///
    /// Either only when it was so at the last look too: what is under way between disk and catalog is set straight by then.
    func sweep() async {
        let stored: [CheckpointRecord]
        do { stored = try await images.catalog() } catch {
            logger.warning("checkpoint.catalog.failed", metadata: ["error": "\(error)"])
            return
        }
        let isFull = await images.isNearlyFull()
        full.withLock { $0 = isFull }
        let state = await replica.state
        guard !state.nodes.isEmpty else { return }
        let here = Set(stored.map { Key(job: $0.job, generation: $0.generation) })
        scrub.follow(here.map { "\($0.job)/\($0.generation)" }, now: .now)
        await deleteStrays(here, state)
        await tellMissing(here, state)
        await makeRoom(state)
    }

    /// Lets the oldest checkpoints go that nobody needs when all of them take more than they should.
    private func makeRoom(_ state: ClusterState) async {
        guard let space = await images.space() else { return }
        let plan = SpacePlan().commands(state, of: node, used: space.used, bound: space.bound, now: now())
        for command in plan { await propose(command) }
    }

    private func deleteStrays(_ here: Set<Key>, _ state: ClusterState) async {
        var found: Set<Key> = []
        for key in here where fetches[key] == nil {
            let job = state.job(key.job)
            let entry = job?.checkpoint(key.generation)
            if let entry, entry.holders.contains(node) || entry.wantedCopies.contains(node) { continue }
            // A checkpoint that is being taken is on the disk before it is in the catalog.
            if entry == nil, let job, job.node == node, !job.state.isFinal, key.generation >= job.lastGeneration {
                continue
            }
            found.insert(key)
        }
        for key in found.intersection(strays).sorted(by: { ($0.job, $0.generation) < ($1.job, $1.generation) }) {
            logger.info(
                "checkpoint.unknown.removed",
                metadata: ["job": "\(key.job)", "generation": "\(key.generation)"]
            )
            try? await images.remove(job: key.job, generation: key.generation)
        }
        strays = found
    }

    private func tellMissing(_ here: Set<Key>, _ state: ClusterState) async {
        var found: Set<Key> = []
        for job in state.jobs {
            for entry in job.catalog
            where entry.state == .complete && entry.copies != nil && entry.holders.contains(node) {
                let key = Key(job: job.id, generation: entry.generation)
                if !here.contains(key) { found.insert(key) }
            }
        }
        let reason = "Its files are gone from the store."
        for key in found.intersection(missing).sorted(by: { ($0.job, $0.generation) < ($1.job, $1.generation) }) {
            await propose(
                .copyDamaged(job: key.job, generation: key.generation, node: node, reason: reason, time: now())
            )
        }
        missing = found
    }

    // MARK: Reading everything once in a while

    func scrubUntilCancelled() async {
        guard settings.scrubPeriod != nil else { return }
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            await scrubOnce()
        }
    }

    /// Reads one checkpoint if one is due; what is damaged is told, and fetched again when the plan says so.
    func scrubOnce() async {
        guard let name = scrub.next(now: .now), let slash = name.lastIndex(of: "/"),
            let number = UInt32(name[name.index(after: slash)...])
        else { return }
        let key = Key(
            job: JobID(rawValue: String(name[..<slash])),
            generation: CheckpointGeneration(rawValue: number)
        )
        guard let entry = await replica.state.job(key.job)?.checkpoint(key.generation), entry.state == .complete,
            entry.holders.contains(node)
        else { return }
        do {
            try await images.verify(job: key.job, generation: key.generation, bytesPerSecond: settings.scrubRate)
            metrics?.checked.increment()
        } catch CopyProblem.damaged(let reason) {
            metrics?.checked.increment()
            await setStraight(key, reason)
        } catch {
            logger.info("checkpoint.scrub.postponed", metadata: ["job": "\(key.job)", "reason": "\(error)"])
        }
    }
}

// Checks that somebody asked for.
extension CopyKeeper {
    /// The check of a copy that is under way, or one that begins.
    func beginCheck(_ job: JobID, _ generation: CheckpointGeneration) -> RunningCheck {
        let key = Key(job: job, generation: generation)
        if let running = checks[key] { return running }
        let progress = CheckProgress()
        let task = Task(name: "copy.check") {
            defer { checks[key] = nil }
            let check = try await examine(job, generation, progress)
            metrics?.checked.increment()
            return check
        }
        let running = RunningCheck(task: task, progress: progress)
        checks[key] = running
        return running
    }

    /// Tells of damage and gives the files up for good ones of another holder; marks them when there are none.
    ///
    /// - Returns: whether another holder has them.
    func actOnDamage(_ job: JobID, _ generation: CheckpointGeneration, reason: String) async -> Bool {
        await setStraight(Key(job: job, generation: generation), reason)
    }

    @discardableResult
    private func setStraight(_ key: Key, _ reason: String) async -> Bool {
        logger.error(
            "checkpoint.damaged",
            metadata: ["job": "\(key.job)", "generation": "\(key.generation)", "reason": "\(reason)"]
        )
        metrics?.damaged.increment()
        if await foundDamage(key.job, key.generation, reason: reason) {
            metrics?.replaced.increment()
            return true
        }
        try? await images.markDamaged(job: key.job, generation: key.generation, reason: reason)
        await propose(.checkpointDamaged(job: key.job, generation: key.generation, reason: reason, time: now()))
        return false
    }

    /// The label by which the others know that this node has no room for their copies; none while it has.
    nonisolated var labels: [JobSpecification.Label] { isFull ? [CopyPlan.fullLabel] : [] }
}
