import Checkpointing
import ClusterModel
import ClusterState
import Logging
import Metrics
import ResourceSamples
import Transport

// Moving jobs to other nodes and taking them from there.
extension NodeController {
    /// Does what a job's move asks of this node; false when the job is to be looked at as any other.
    func carryOut(_ task: MigrationTask, _ record: JobRecord, _ migration: Migration) -> Bool {
        let status = containers[record.id]
        switch task {
        case .prepare, .await:
            // Of an earlier stay; it must be gone before the job comes back.
            if let status {
                if status.exit == nil { end(status.key, grace: .zero) }
            } else if task == .prepare {
                if fence.mayRun { prepareArrival(record, migration) }
            } else {
                receive(record, migration)
            }
            return true
        case .handOver(let incarnation):
            // A checkpoint that somebody waits for comes first.
            guard record.request == nil, let status, status.key.incarnation == incarnation, status.exit == nil else {
                return false
            }
            // One whose memory still comes from its checkpoint cannot be dumped yet.
            if arrivals[status.key] == nil { handOver(record, status.key, migration) }
            return true
        case .hold(let incarnation):
            if let status, status.key.incarnation == incarnation, status.exit == nil {
                hold(status.key, move: migration.number, record)
            }
            return true
        case .receive(let incarnation):
            if let status {
                if status.key.incarnation != incarnation {
                    if status.exit == nil { end(status.key, grace: .zero) }
                } else if status.exit == nil {
                    // An agent before this one made it and could not tell.
                    let started = Command.started(job: record.id, incarnation: incarnation, time: now())
                    operate(.report, on: record.id) { [self] in await report([started]) }
                }
            } else if fence.mayRun {
                receive(record, migration)
            }
            return true
        case .drain(let incarnation):
            guard let status, status.key.incarnation == incarnation, status.exit == nil else { return false }
            // Its memory still comes: it is a job like any other until whoever follows that concludes.
            guard arrivals[status.key] == nil else { return false }
            let sent = arrivedBytes.removeValue(forKey: record.id) ?? migration.handover?.bytes ?? .zero
            operate(.report, on: record.id) { [self] in
                await report([
                    .migrationDrained(job: record.id, number: migration.number, sent: sent, time: now())
                ])
            }
            return true
        }
    }

    /// Calls a job's operation whenever its record changes, and at once.
    private func follow(_ job: JobID, _ changed: @escaping @Sendable (JobRecord?) -> Void) async {
        operations[job]?.recordChanged = changed
        changed(await replica.state.job(job))
    }

    // MARK: The source

    private func handOver(_ record: JobRecord, _ key: ContainerKey, _ migration: Migration) {
        // Of now: one that has just arrived had little when it was last looked at.
        let memory = host.sample(key)?.memory ?? containers[key.job]?.recent.last?.memory ?? .zero
        let place = MigrationDesk.Key(job: key.job, number: migration.number)
        let request = MigrationSourceRequest(
            job: key.job,
            number: migration.number,
            incarnation: key.incarnation,
            isLazy: MigrationFacts.isLazy(memory, obstacle: host.lazyRestoreObstacle) && desk.takesLazily(place),
            hasAddress: record.address != nil,
            expectedBytes: memory
        )
        let core = MigrationSourceOperation(request, limits: settings.checkpointLimits, now: .now)
        leave(core, key, record, to: migration.destination)
    }

    /// Goes on with a container that stands still because an agent before this one handed it over, or may have.
    func hold(_ key: ContainerKey, move number: UInt64, _ record: JobRecord?) {
        containers[key.job]?.isFrozen = true
        let request = MigrationSourceRequest(
            job: key.job,
            number: number,
            incarnation: key.incarnation,
            hasAddress: record?.address != nil
        )
        let core = MigrationSourceOperation(resuming: request, limits: settings.checkpointLimits, now: .now)
        leave(core, key, record, to: record?.migration.flatMap { $0.number == number ? $0.destination : nil })
    }

    private func leave(
        _ core: MigrationSourceOperation,
        _ key: ContainerKey,
        _ record: JobRecord?,
        to destination: NodeID?
    ) {
        let cpuLimit = record?.cpuLimit
        let number = core.request.number
        let unknown = JobSpecification(name: "forgotten", kind: .batch, image: .rootFolder(path: "/"))
        operate(.migrate, on: key.job) { [self] in
            let shell = MigrationSourceShell(
                core,
                of: .init(
                    key: key,
                    specification: record?.specification ?? unknown,
                    cpuLimit: cpuLimit,
                    destination: destination
                ),
                voice: voice(of: key, move: number),
                host: host,
                desk: desk,
                logger: logger,
                now: now,
                onFreeze: { [self] isFrozen in await setFrozen(key, isFrozen, cpuLimit: cpuLimit) }
            )
            await lend(key.job, shell, move: number)
            switch await shell.run() {
            case .released: logger.info("migration.left", metadata: ["container": "\(key)", "move": "\(number)"])
            case .keptRunning(let reason):
                logger.warning("migration.kept", metadata: ["container": "\(key)", "reason": "\(reason)"])
                await setFrozen(key, false, cpuLimit: cpuLimit)
            case .containerEnded:
                logger.warning("migration.container.ended", metadata: ["container": "\(key)"])
            }
        }
    }

    /// Lets the rest of the controller speak to the source's side of a move.
    private func lend(_ job: JobID, _ shell: MigrationSourceShell, move number: UInt64) async {
        guard let key = containers[job]?.key else { return shell.containerEnded() }
        operations[job]?.containerEnded = { shell.containerEnded() }
        operations[job]?.isUnsafeToLeave = { await shell.isUnsafeToLeave }
        await offerGivingUp(of: job) { shell.giveUp($0) }
        let node = node
        await follow(job) { record in
            let verdict = record?.verdict(on: key.incarnation, at: node, move: number) ?? .released
            shell.stateChanged(verdict)
            // The leader, a user or the destination has given it up.
            if verdict == .isOurs || verdict == .released { shell.giveUp("the move was given up") }
            if let migration = record?.migration, migration.number == number, migration.phase == .running {
                shell.destinationRuns()
            }
        }
        if containers[job]?.exit != nil { shell.containerEnded() }
    }

    private nonisolated func voice(of key: ContainerKey, move number: UInt64) -> MigrationSourceShell.Voice {
        MigrationSourceShell.Voice(
            handOver: { [self] handover in
                let command = Command.handOver(job: key.job, number: number, handover: handover, time: now())
                return await judge([command], key, move: number)
            },
            settle: { [self] in
                let command = Command.adopted(job: key.job, incarnation: key.incarnation, time: now())
                return await judge([command], key, move: number)
            },
            giveUp: { [self] reason in
                await report([
                    .abortMigration(job: key.job, number: number, reason: reason, declinedBy: nil, time: now())
                ])
            }
        )
    }

    /// Proposes until the outcome is known, and says what is true then.
    private func judge(_ commands: [Command], _ key: ContainerKey, move number: UInt64) async -> MigrationVerdict {
        var commands = commands
        while true {
            let outcomes = await report(commands)
            if outcomes.isEmpty { return .undecided }
            let record = await replica.state.job(key.job)
            let verdict = record?.verdict(on: key.incarnation, at: node, move: number) ?? .released
            guard verdict == .undecided else { return verdict }
            // It was refused and the move goes on: once that is given up, no hand-over of it can be accepted any more.
            let reason = outcomes.first?.refusal?.message ?? "the hand-over was not accepted"
            commands = [.abortMigration(job: key.job, number: number, reason: reason, declinedBy: nil, time: now())]
        }
    }

    /// Calls off what would leave containers frozen with nobody to thaw them, and waits until none is.
    func endMigrations() async {
        let end = ContinuousClock.now + settings.checkpointPatience
        while ContinuousClock.now < end {
            var isOpen = false
            for operation in operations.values where operation.kind == .migrate {
                guard await operation.isUnsafeToLeave?() == true else { continue }
                isOpen = true
                operation.giveUp?("the agent stops")
            }
            if !isOpen { return }
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    // MARK: The destination

    /// Finds out whether the job can come here, and gets what it needs.
    private func prepareArrival(_ record: JobRecord, _ migration: Migration) {
        let (job, number) = (record.id, migration.number)
        if claims[job] == nil, let obstacle = claimRoom(for: job, record.specification, memoryLimit: record.memoryLimit)
        {
            return operate(.migrate, on: job) { [self] in await decline(job, number, obstacle) }
        }
        operate(.migrate, on: job) { [self] in
            let preparing = Task(name: "migration.prepare") {
                let facts = try await factsOfSource(job, migration)
                try await host.prepareArrival(record.specification, of: job, facts)
            }
            await offerGivingUp(of: job) { _ in preparing.cancel() }
            await follow(job) { record in if record?.migration?.number != number { preparing.cancel() } }
            let limit = Task(name: "migration.prepare.limit") {
                try? await Task.sleep(for: Migration.preparationLimit)
                if !Task.isCancelled { preparing.cancel() }
            }
            defer { limit.cancel() }
            do { try await preparing.value } catch {
                let isLate = error is CancellationError
                return await decline(job, number, isLate ? "it was not ready in time" : "\(error)")
            }
            await report([.migrationPrepared(job: job, number: number, time: now())])
        }
    }

    private func factsOfSource(_ job: JobID, _ migration: Migration) async throws -> MigrationFacts {
        let request = MigrationRequest(
            job: job,
            number: migration.number,
            isInquiry: true,
            takesLazily: host.lazyRestoreObstacle == nil
        )
        let answer = Answer()
        try await link.fetchMigration(request, from: migration.source) { part in await answer.set(part.facts) }
        return await answer.facts
    }

    private actor Answer {
        private(set) var facts = MigrationFacts()
        func set(_ facts: MigrationFacts) { self.facts = facts }
    }

    private func decline(_ job: JobID, _ number: UInt64, _ reason: String) async {
        guard await replica.state.job(job)?.migration?.number == number else { return }
        await report([
            .abortMigration(job: job, number: number, reason: reason, declinedBy: node, time: now())
        ])
    }

    /// Takes the job in: its files come while the source still dumps, its container when it is handed over.
    private func receive(_ record: JobRecord, _ migration: Migration) {
        let (job, number) = (record.id, migration.number)
        let key = ContainerKey(job: job, incarnation: migration.next ?? record.nextIncarnation)
        operate(.migrate, on: job) { [self] in
            var plan = await plan(record, key)
            plan.staysLocked = plan.network != nil
            let planned = plan
            let shell = MigrationDestinationShell(
                MigrationDestinationOperation(
                    isHandedOver: migration.isHandedOver,
                    isLazy: migration.handover?.isLazy ?? false,
                    hasAddress: planned.network != nil,
                    now: .now
                ),
                plan: planned,
                move: number,
                from: migration.source,
                voice: voice(of: planned, move: number),
                host: host,
                link: link,
                mayRun: { [fence] in fence.mayRun },
                logger: logger,
                isLazy: { [self] in await replica.state.job(job)?.migration?.handover?.isLazy ?? false },
                onRunning: { [self] memory, sent in
                    await watch(
                        key,
                        allocation: planned.allocation,
                        cpuLimit: planned.cpuLimit,
                        memoryLimit: planned.memoryLimit
                    )
                    if let memory { await follow(key, memory, from: migration.source, sent: sent) }
                }
            )
            await offerGivingUp(of: job) { shell.tell(.cancelled(reason: $0)) }
            let node = node
            await follow(job) { record in
                guard let migration = record?.migration, migration.number == number, migration.destination == node
                else {
                    return shell.tell(.withdrawn(reason: "the move is over"))
                }
                if let handover = migration.handover { shell.tell(.handedOver(isLazy: handover.isLazy)) }
                if migration.isSourceLost { shell.tell(.sourceLost) }
            }
            if case .failed(let reason) = await shell.run() {
                logger.warning("migration.failed", metadata: ["container": "\(key)", "reason": "\(reason)"])
            } else {
                logger.info("migration.arrived", metadata: ["container": "\(key)", "from": "\(migration.source)"])
                await decideNow()
            }
        }
    }

    private nonisolated func voice(of plan: ContainerPlan, move number: UInt64) -> MigrationDestinationShell.Voice {
        let key = plan.key
        return MigrationDestinationShell.Voice(
            announce: { [self] in
                let started = Command.started(job: key.job, incarnation: key.incarnation, time: now())
                if await report([started]).first?.acceptance != nil { return true }
                // It may have been told before, by an answer that got lost.
                let record = await replica.state.job(key.job)
                return record?.incarnation == key.incarnation && record?.state == .running
            },
            conclude: { [self] sent in
                await report([.migrationDrained(job: key.job, number: number, sent: sent, time: now())])
            },
            tell: { [self] reason, hasRun in
                if hasRun {
                    // What it did in that moment cannot be taken back, so the source's container must not go on either.
                    await report([
                        .exited(
                            job: key.job,
                            incarnation: key.incarnation,
                            exit: .lost,
                            consumed: nil,
                            time: now()
                        )
                    ])
                }
                while let migration = await replica.state.job(key.job)?.migration, migration.number == number,
                    migration.phase != .running
                {
                    // A hand-over that came between failure and news is seen in the second round.
                    let outcomes = await report([
                        migration.isHandedOver
                            ? .migrationFailed(job: key.job, number: number, reason: reason, time: now())
                            : .abortMigration(
                                job: key.job,
                                number: number,
                                reason: reason,
                                declinedBy: node,
                                time: now()
                            )
                    ])
                    if outcomes.isEmpty { return }
                }
            }
        )
    }
}
