import Checkpointing
import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Metrics
import ResourceSamples

// Taking checkpoints, restoring from them, and setting straight what a crash interrupted.
extension NodeController {
    /// Takes a checkpoint: the one a user asked for, or the one that is due.
    func checkpoint(_ record: JobRecord, _ key: ContainerKey) {
        guard operations.count(where: { $0.value.kind == .checkpoint }) < settings.checkpointLimit else {
            waitingCheckpoints.insert(record.id)
            return
        }
        // CRIU cannot dump pages that are not there; ``follow(_:)`` looks at the job again.
        guard arrivals[key] == nil else { return }
        operate(.checkpoint, on: record.id) { [self] in
            let outcome = await report([
                .beginCheckpoint(job: key.job, incarnation: key.incarnation, time: now())
            ])
            guard outcome.first?.acceptance != nil, let begun = await replica.state.job(key.job),
                let open = begun.openCheckpoint
            else { return }
            await take(open, of: begun, key)
        }
    }

    private func take(_ open: OpenCheckpoint, of record: JobRecord, _ key: ContainerKey) async {
        let request = CheckpointRequest(
            job: key.job,
            incarnation: key.incarnation,
            generation: open.generation,
            stopsContainer: open.stops,
            expectedBytes: containers[key.job]?.recent.last?.memory ?? .zero
        )
        let shell = CheckpointShell(
            request,
            of: .init(
                key: key,
                specification: record.specification,
                cpuLimit: record.cpuLimit,
                settled: record.ledger.settled
            ),
            limits: settings.checkpointLimits,
            host: host,
            images: images,
            logger: logger,
            now: now,
            onFreeze: { [self] isFrozen in await setFrozen(key, isFrozen, cpuLimit: record.cpuLimit) },
            onGrowing: { [copies] in
                Task(name: "checkpoint.offer") { await copies.offer(key.job, request.generation) }
            },
            onRecord: { [self] stored in
                let entry = catalogEntry(stored, completedIterations: record.completedIterations)
                await report([.checkpointRecorded(job: key.job, entry: entry, time: now())])
            }
        )
        operations[key.job]?.containerEnded = { shell.containerEnded() }
        await offerGivingUp(of: key.job) { shell.giveUp($0) }
        if containers[key.job]?.key != key || containers[key.job]?.exit != nil { shell.containerEnded() }
        switch await shell.run() {
        case .recorded(let stored):
            metrics.checkpointsTaken.increment()
            metrics.checkpointFrozen.record(duration: stored.frozen)
            metrics.checkpointTotal.record(duration: stored.total)
        case .failed(let failure):
            metrics.checkpointsFailed.increment()
            logger.warning("checkpoint.failed", metadata: ["job": "\(key.job)", "reason": "\(failure)"])
            await report([
                .checkpointFailed(
                    job: key.job,
                    generation: open.generation,
                    reason: failure.reason,
                    isInterrupted: isStopping && failure.cause == .cancelled,
                    time: now()
                )
            ])
        }
        await setFrozen(key, false, cpuLimit: record.cpuLimit)
    }

    /// Calls off every checkpoint, waits until none is being taken, and sets going what still stands still.
    ///
    /// Nobody would thaw a container between the end of this agent and the start of the next one. A user's request stays in the
    /// record, so that the next agent serves it.
    func endCheckpoints() async {
        let clock = ContinuousClock()
        let end = clock.now + settings.checkpointPatience
        var nextCall = clock.now
        while clock.now < end {
            let open = operations.filter { $0.value.kind == .checkpoint }
            if open.isEmpty { return }
            if clock.now >= nextCall {
                // Said again each second: an operation hears nothing while it thaws, and could be called off after that.
                for operation in open.values { operation.giveUp?(Self.stopReason) }
                nextCall = clock.now + .seconds(1)
            }
            try? await clock.sleep(for: .milliseconds(10))
        }
        for job in operations.filter({ $0.value.kind == .checkpoint }).keys.sorted() {
            await abandonCheckpoint(of: job)
        }
    }

    private static let stopReason = "the agent stops"

    /// Lets a container go on whose checkpoint could not be called off in time.
    private func abandonCheckpoint(of job: JobID) async {
        guard let status = containers[job], status.exit == nil, let record = await replica.state.job(job),
            record.state.mayHaveContainer
        else { return }
        logger.warning("checkpoint.abandoned", metadata: ["container": "\(status.key)"])
        do {
            try host.setCPULimit(record.cpuLimit, of: status.key)
            try await host.thaw(status.key)
        } catch {
            logger.error("container.thaw.failed", metadata: ["container": "\(status.key)", "error": "\(error)"])
        }
        await failInterruptedCheckpoint(record)
    }

    /// Notes that a container stands still or goes on; a thaw puts the CPU limit back that held when the checkpoint began.
    func setFrozen(_ key: ContainerKey, _ isFrozen: Bool, cpuLimit: VCPUCount?) async {
        guard containers[key.job]?.key == key else { return }
        containers[key.job]?.isFrozen = isFrozen
        guard !isFrozen else { return }
        containers[key.job]?.cpuLimit = cpuLimit
        if let record = await replica.state.job(key.job), record.incarnation == key.incarnation { applyLimits(record) }
    }

    private nonisolated func catalogEntry(_ stored: CheckpointRecord, completedIterations: Int) -> CatalogEntry {
        CatalogEntry(
            generation: stored.generation,
            taken: stored.taken,
            node: node,
            incarnation: stored.incarnation,
            frozen: stored.frozen,
            total: stored.total,
            raw: stored.rawBytes,
            stored: stored.storedBytes,
            consumed: stored.ledger,
            completedIterations: completedIterations,
            seal: stored.seal,
            shared: stored.sharedBytes > .zero ? stored.sharedBytes : nil
        )
    }

    /// Makes the container of an incarnation from a checkpoint.
    func restore(_ record: JobRecord, _ key: ContainerKey, from generation: CheckpointGeneration) {
        let began = ContinuousClock.now
        operate(.restore, on: record.id) { [self] in
            await decideNow()
            let plan = await plan(record, key)
            guard let entry = record.checkpoint(generation) else {
                return await restoreFailed(key, generation, "it is not in the catalog")
            }
            let candidate = CheckpointRecord(
                job: key.job,
                incarnation: entry.incarnation,
                generation: generation,
                taken: entry.taken,
                frozen: entry.frozen,
                total: entry.total,
                rawBytes: entry.raw,
                storedBytes: entry.stored,
                ledger: entry.consumed
            )
            var pause = settings.restoreRetry.first
            var otherCopies = Self.copyTries
            var isTold = false
            while true {
                let (outcome, awaited, obstacle) = await restoreOnce(candidate, plan)
                switch outcome {
                case .startOver(let passedOver) where await isStillGood(key, generation, passedOver, tries: otherCopies):
                    otherCopies -= 1
                case .failed(_, let passedOver) where await isStillGood(key, generation, passedOver, tries: otherCopies):
                    otherCopies -= 1
                case .running:
                    metrics.restores.increment()
                    metrics.restoreRunning.record(duration: began.duration(to: .now))
                    if let awaited { await follow(key, candidate, awaited) }
                    let duration = began.duration(to: .now)
                    await running(plan)
                    return await tellRestore(key, candidate, awaited, obstacle, after: duration)
                case .startOver(let passedOver):
                    return await restoreFailed(key, generation, passedOver.last?.reason ?? "it failed")
                case .failed(let reason, let passedOver):
                    // Nothing is known against the images: no work is thrown away for a lack that passes.
                    // The next agent finds the job as it is and restores it.
                    if await isStopping { return }
                    guard passedOver.isEmpty, await isStillWanted(key), !Task.isCancelled else {
                        return await restoreFailed(key, generation, passedOver.last?.reason ?? reason)
                    }
                    if !isTold { await tellPostponement(key, generation, reason) }
                    isTold = true
                    await rest(pause, of: key.job)
                    pause = min(pause * 2, settings.restoreRetry.maximum)
                }
            }
        }
    }

    /// Whether only this node's copy was bad, and another one can be fetched.
    private func isStillGood(
        _ key: ContainerKey,
        _ generation: CheckpointGeneration,
        _ passedOver: [RestoreOutcome.PassedOver],
        tries: Int
    ) async -> Bool {
        guard tries > 0, !passedOver.isEmpty, !isStopping, await isStillWanted(key),
            let entry = await replica.state.job(key.job)?.checkpoint(generation)
        else { return false }
        return entry.state == .complete && damagedHere.remove(key.job) != nil
    }

    /// How often a restore takes another copy of the same generation, when the one that is here turns out to be bad.
    private static let copyTries = 3

    /// Restores once; with it the memory that is still to come, and why it had to be there at once if it had to.
    private func restoreOnce(
        _ candidate: CheckpointRecord,
        _ plan: ContainerPlan
    ) async -> (outcome: RestoreOutcome, awaited: ByteCount?, obstacle: String?) {
        do { try await copies.obtain(candidate.job, candidate.generation) } catch let problem as RestoreProblem {
            if case .unavailable(let reason) = problem { return (.failed(reason: reason, passedOver: []), nil, nil) }
            let passedOver = RestoreOutcome.PassedOver(generation: candidate.generation, reason: problem.reason)
            return (.failed(reason: problem.reason, passedOver: [passedOver]), nil, nil)
        } catch {
            return (.failed(reason: "\(error)", passedOver: []), nil, nil)
        }
        // Which generation is tried when this one fails is the replicated state's to say, not this node's.
        let shell = RestoreShell(
            RestoreRequest(job: plan.key.job, candidates: [candidate], startsOver: false),
            plan: plan,
            limits: settings.restoreLimits,
            host: host,
            images: images,
            logger: logger,
            onDamage: { generation, reason in await self.noteDamage(candidate.job, generation, reason) }
        )
        await offerGivingUp(of: plan.key.job) { shell.giveUp($0) }
        let outcome = await shell.run()
        return (outcome, await shell.awaitedMemory, await shell.lazyObstacle)
    }

    /// Writes into the catalog that a generation is damaged, or only that this node's copy of it is.
    func noteDamage(_ job: JobID, _ generation: CheckpointGeneration, _ reason: String) async {
        if await copies.foundDamage(job, generation, reason: reason) {
            damagedHere.insert(job)
            return
        }
        await report([.checkpointDamaged(job: job, generation: generation, reason: reason, time: now())])
    }

    private func isStillWanted(_ key: ContainerKey) async -> Bool {
        guard let record = await replica.state.job(key.job) else { return false }
        return record.state == .restoring && record.incarnation == key.incarnation
    }

    private func tellPostponement(_ key: ContainerKey, _ generation: CheckpointGeneration, _ reason: String) async {
        let sentence =
            "Checkpoint \(generation) cannot be restored yet: \(reason). It is tried again until that works or the job is cancelled."
        logger.warning("restore.postponed", metadata: ["container": "\(key)", "reason": "\(reason)"])
        await report([.note([Decision(time: now(), job: key.job, kind: .warned, sentence: sentence)])])
    }

    /// Waits, unless the job is to be stopped.
    private func rest(_ pause: Duration, of job: JobID) async {
        let nap = Task(name: "restore.pause") { try? await Task.sleep(for: pause) }
        await offerGivingUp(of: job) { _ in nap.cancel() }
        await nap.value
    }

    /// Lets the operation of a job be ended early, at once when the job is being stopped already.
    func offerGivingUp(of job: JobID, _ giveUp: @escaping @Sendable (String) -> Void) async {
        operations[job]?.giveUp = giveUp
        if isStopping, operations[job]?.kind == .checkpoint { return giveUp(Self.stopReason) }
        if await replica.state.job(job)?.state == .stopping { giveUp("the job is being stopped") }
    }

    private func restoreFailed(
        _ key: ContainerKey,
        _ generation: CheckpointGeneration,
        _ reason: String
    ) async {
        logger.warning("restore.failed", metadata: ["container": "\(key)", "reason": "\(reason)"])
        await report([
            .restoreFailed(
                RestoreFailure(
                    job: key.job,
                    incarnation: key.incarnation,
                    generation: generation,
                    reason: reason,
                    isDamaged: false,
                    time: now()
                )
            )
        ])
    }

    // MARK: After a restart

    /// A checkpoint whose images became complete before the agent ended is worth its record.
    func settleInterruptedCheckpoint(_ record: JobRecord, stored: [CheckpointRecord]) async {
        guard record.state == .checkpointing, let open = record.openCheckpoint,
            let complete = stored.first(where: {
                $0.job == record.id && $0.generation == open.generation && $0.state == .complete
            })
        else { return }
        let entry = catalogEntry(complete, completedIterations: record.completedIterations)
        await report([.checkpointRecorded(job: record.id, entry: entry, time: now())])
    }

    /// A checkpoint that was not complete is none; a user's request for it is tried again.
    func failInterruptedCheckpoint(_ record: JobRecord) async {
        guard let current = await replica.state.job(record.id), current.state == .checkpointing,
            let open = current.openCheckpoint
        else { return }
        await report([
            .checkpointFailed(
                job: record.id,
                generation: open.generation,
                reason: "the agent ended while it was being taken",
                isInterrupted: true,
                time: now()
            )
        ])
    }

    /// Sets catalog and store straight: files nobody knows are deleted, entries without files are damaged.
    func compareCatalog(_ state: ClusterState, stored: [CheckpointRecord]) async {
        for one in stored {
            let entry = state.job(one.job)?.checkpoint(one.generation)
            if let entry, entry.holders.contains(node) || entry.wantedCopies.contains(node) { continue }
            logger.info(
                "checkpoint.unknown.removed",
                metadata: ["job": "\(one.job)", "generation": "\(one.generation)"]
            )
            try? await images.remove(job: one.job, generation: one.generation)
        }
        for record in state.jobs {
            for entry in record.catalog where entry.state == .complete && entry.holders.contains(node) {
                let onDisk = stored.first { $0.job == record.id && $0.generation == entry.generation }
                let reason = onDisk == nil ? "its files are gone from the store" : onDisk?.damage
                guard let reason else { continue }
                if await copies.foundDamage(record.id, entry.generation, reason: reason) { continue }
                await report([
                    .checkpointDamaged(job: record.id, generation: entry.generation, reason: reason, time: now())
                ])
            }
        }
    }
}
