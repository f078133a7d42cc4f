import Checkpointing
import ClusterModel
import ClusterState

// The shells of the simulation: what an agent does with a state, an answer and a step that ended.
extension MigrationSimulation {
    // MARK: Agents come and go

    mutating func startAgent(_ machine: Int) {
        machines[machine].life += 1
        // What it knew before may be older than what it has done since: the log says so only when a leader is heard.
        let applied = chance(50) ? log.count : below(log.count + 1)
        var state = ClusterState()
        for command in log[..<applied] { _ = state.apply(command) }
        machines[machine].agent = SimulatedMigrationAgent(state: state, applied: applied)
        tell("agent \(machine) starts with \(applied) of \(log.count) entries")
        adopt(machine)
        reconcile(machine)
    }

    mutating func stopAgent(_ machine: Int) {
        machines[machine].life += 1
        machines[machine].agent = nil
        report.emptied += machines[machine].containers.count { $0.lacksMemoryOf != nil }
        machines[machine].killIncomplete()
        // What it held was in its memory.
        for index in machines[machine].containers.indices { machines[machine].containers[index].hold = nil }
    }

    /// Takes over what runs, thaws what was never handed over, asks about the rest, ends what is not known.
    private mutating func adopt(_ machine: Int) {
        let node = machines[machine].node
        for container in machines[machine].containers {
            let incarnation = container.incarnation
            if let mark = machines[machine].mark, mark.incarnation == incarnation, mistake != .thawsWhatItFinds {
                let request = MigrationSourceRequest(
                    job: Self.job,
                    number: mark.number,
                    incarnation: incarnation,
                    hasAddress: hasAddress
                )
                if mistake == .opensWhatItFinds { open(machine, incarnation) }
                let operation = MigrationSourceOperation(resuming: request, now: instant)
                machines[machine].agent?.source = operation
                continue
            }
            machines[machine].freeze(incarnation, false)
            open(machine, incarnation)
            guard let record = machines[machine].agent?.state.job(Self.job), record.node == node,
                record.incarnation == incarnation, record.state.mayHaveContainer
            else {
                machines[machine].kill(incarnation)
                continue
            }
            propose(machine, .adopted(job: Self.job, incarnation: incarnation, time: now), .ordinary)
        }
        if machines[machine].agent?.source == nil {
            machines[machine].mark = nil
            // Only what a container stands still for is kept.
            machines[machine].dumps = []
        }
    }

    // MARK: The state has changed

    mutating func catchUp(_ machine: Int, to index: Int) {
        guard var agent = machines[machine].agent else { return }
        while agent.applied < min(index, log.count) {
            _ = agent.state.apply(log[agent.applied])
            agent.applied += 1
        }
        machines[machine].agent = agent
        reconcile(machine)
    }

    /// Holds what should be against what is, as the node controller does.
    mutating func reconcile(_ machine: Int) {
        guard let agent = machines[machine].agent, let record = agent.state.job(Self.job) else { return }
        tellCores(machine, record)
        if machines[machine].agent?.source == nil, machines[machine].agent?.destination == nil {
            begin(machine, record)
        }
        drainCores(machine)
        guard machines[machine].agent?.source == nil, machines[machine].agent?.destination == nil else { return }
        ordinary(machine, record)
    }

    private mutating func tellCores(_ machine: Int, _ record: JobRecord) {
        let node = machines[machine].node
        if let source = machines[machine].agent?.source {
            let request = source.request
            let verdict = record.verdict(on: request.incarnation, at: node, move: request.number)
            if source.phase == .holding || (source.phase == .handingOver && mistake == .trustsItsMemory) {
                judge(machine, verdict)
            }
            if let migration = record.migration, migration.number == request.number, migration.phase == .running {
                tellSource(machine, .destinationRuns)
            }
            if source.phase != .handingOver, record.state == .stopping || verdict == .isOurs || verdict == .released {
                tellSource(machine, .cancelled(reason: "The move is over"))
            }
        }
        if machines[machine].agent?.destination != nil, let number = machines[machine].agent?.destinationMove {
            let migration = record.migration
            let isMeant = migration?.number == number && migration?.destination == node
            if isMeant, migration?.isHandedOver == true {
                machines[machine].agent?.destinationIncarnation = migration?.next
                tellDestination(machine, .handedOver(isLazy: migration?.handover?.isLazy ?? false))
                if migration?.isSourceLost == true {
                    tellDestination(machine, .sourceLost)
                }
            } else if !isMeant {
                tellDestination(machine, .withdrawn(reason: "The move is over"))
            }
        }
    }

    private mutating func judge(_ machine: Int, _ verdict: MigrationVerdict) {
        switch verdict {
        case .handedOver: tellSource(machine, .handedOver)
        case .isOurs: tellSource(machine, .isOurs(reason: "The state says so"))
        case .released: tellSource(machine, .released)
        case .undecided: break
        }
    }

    /// Begins what the state asks of this machine.
    private mutating func begin(_ machine: Int, _ record: JobRecord) {
        let node = machines[machine].node
        guard let migration = record.migration, let task = record.migrationTask(on: node) else { return }
        switch task {
        case .prepare:
            let step = SimulatedStep.prepare(migration.number)
            if machines[machine].agent?.steps.contains(step) != true { machines[machine].agent?.steps.append(step) }
        case .handOver(let incarnation):
            guard let index = machines[machine].container(incarnation), !machines[machine].containers[index].isFrozen,
                machines[machine].containers[index].lacksMemoryOf == nil
            else { return }
            let request = MigrationSourceRequest(
                job: Self.job,
                number: migration.number,
                incarnation: incarnation,
                isLazy: chance(60),
                hasAddress: hasAddress
            )
            let operation = MigrationSourceOperation(request, now: instant)
            machines[machine].agent?.source = operation
        case .await, .receive:
            guard machines[machine].container(record.incarnation) == nil || !migration.isHandedOver else { return }
            var limits = MigrationDestinationLimits()
            // Time passes faster here than states reach agents.
            if !hasFaults { limits.takeFrames = .seconds(1000) }
            let operation = MigrationDestinationOperation(
                isHandedOver: migration.isHandedOver,
                isLazy: migration.handover?.isLazy ?? false,
                hasAddress: hasAddress,
                limits: limits,
                now: instant
            )
            machines[machine].agent?.destination = operation
            machines[machine].agent?.hasRun = false
            machines[machine].agent?.destinationMove = migration.number
            machines[machine].agent?.destinationIncarnation = migration.next
        case .drain(let incarnation):
            guard let index = machines[machine].container(incarnation) else { return }
            if machines[machine].containers[index].lacksMemoryOf != nil, mistake != .concludesEarly {
                let step = SimulatedStep.drain(incarnation)
                if machines[machine].agent?.steps.contains(step) != true { machines[machine].agent?.steps.append(step) }
                return
            }
            let drained = Command.migrationDrained(job: Self.job, number: migration.number, sent: .zero, time: now)
            propose(machine, drained, .ordinary)
        case .hold: break
        }
    }

    /// What has to be done about a job that is on no way.
    private mutating func ordinary(_ machine: Int, _ record: JobRecord) {
        let node = machines[machine].node
        for incarnation in machines[machine].agent?.ended ?? [] {
            let exited = Command.exited(job: Self.job, incarnation: incarnation, exit: .lost, consumed: nil, time: now)
            propose(machine, exited, .exit(incarnation))
        }
        guard machines[machine].agent?.ended.isEmpty == true, machines[machine].agent?.isReporting == false else {
            return
        }
        for container in machines[machine].containers
        where container.incarnation != record.incarnation || record.node != node || !record.state.mayHaveContainer {
            let step = SimulatedStep.kill(container.incarnation)
            if machines[machine].agent?.steps.contains(step) != true { machines[machine].agent?.steps.append(step) }
        }
        let mayRun = machines[machine].mayRun(at: clock)
        switch record.task {
        case .wait where record.assignedNode == node && mayRun:
            propose(machine, .begin(job: Self.job, node: node, time: now), .ordinary)
        case .start(let incarnation), .restore(let incarnation, _):
            let step = SimulatedStep.start(incarnation)
            if record.node == node, machines[machine].container(incarnation) != nil {
                return propose(machine, .adopted(job: Self.job, incarnation: incarnation, time: now), .ordinary)
            }
            guard record.node == node, machines[machine].containers.isEmpty,
                machines[machine].agent?.steps.contains(step) != true
            else { return }
            machines[machine].agent?.steps.append(step)
        case .run(let incarnation), .stop(let incarnation, _), .checkpoint(let incarnation, _):
            guard record.node == node, machines[machine].container(incarnation) == nil else { return }
            let exited = Command.exited(job: Self.job, incarnation: incarnation, exit: .lost, consumed: nil, time: now)
            propose(machine, exited, .ordinary)
        case .receive(let incarnation) where record.node == node && machines[machine].container(incarnation) != nil:
            propose(machine, .adopted(job: Self.job, incarnation: incarnation, time: now), .ordinary)
        case .wait, .receive, .none: break
        }
    }

    // MARK: Cores

    mutating func tick(_ machine: Int) {
        guard machines[machine].agent != nil else { return }
        for incarnation in machines[machine].agent?.ended ?? []
        where machines[machine].agent?.source?.request.incarnation == incarnation {
            tellSource(machine, .containerEnded)
        }
        let moment = instant
        machines[machine].agent?.source?.tick(now: moment)
        machines[machine].agent?.destination?.tick(now: moment)
        drainCores(machine)
        if let agent = machines[machine].agent, agent.source == nil, agent.destination == nil { reconcile(machine) }
    }

    mutating func tellSource(_ machine: Int, _ event: MigrationSourceEvent) {
        let moment = instant
        machines[machine].agent?.source?.receive(event, now: moment)
    }

    mutating func tellDestination(_ machine: Int, _ event: MigrationDestinationEvent) {
        let moment = instant
        machines[machine].agent?.destination?.receive(event, now: moment)
    }

    private mutating func drainCores(_ machine: Int) {
        for effect in machines[machine].agent?.source?.drainEffects() ?? [] { carryOut(machine, effect) }
        for effect in machines[machine].agent?.destination?.drainEffects() ?? [] { carryOut(machine, effect) }
    }

    private mutating func carryOut(_ machine: Int, _ effect: MigrationSourceEffect) {
        guard let request = machines[machine].agent?.source?.request else { return }
        switch effect {
        case .prepare, .freeze, .dump, .captureLayer, .mark, .thaw, .stop:
            machines[machine].agent?.steps.append(.source(effect))
        case .handOver(let stoodStill):
            let handover = Migration.Handover(
                frozen: now,
                stoodStill: stoodStill,
                bytes: .mebibytes(64),
                isLazy: request.isLazy
            )
            let command = Command.handOver(job: Self.job, number: request.number, handover: handover, time: now)
            propose(machine, command, .handOver)
        case .settle:
            propose(machine, .adopted(job: Self.job, incarnation: request.incarnation, time: now), .settle)
        case .giveUp(let reason):
            let abort = Command.abortMigration(
                job: Self.job,
                number: request.number,
                reason: reason,
                declinedBy: nil,
                time: now
            )
            propose(machine, abort, .giveUp)
        case .cancelDump:
            machines[machine].agent?.steps.removeAll { if case .source = $0 { true } else { false } }
        case .removeWorkFiles:
            machines[machine].dumps.remove(request.number)
            machines[machine].agent?.heldMemory.remove(request.number)
            if machines[machine].mark?.number == request.number { machines[machine].mark = nil }
        case .finished(let outcome):
            tell("source \(machine): \(outcome)")
            // A shell waits for what it began: a thaw that is late must not meet the next move.
            machines[machine].agent?.steps.removeAll { if case .source = $0 { true } else { false } }
            machines[machine].agent?.source = nil
            machines[machine].agent?.offer = nil
            machines[machine].agent?.given = nil
        case .offerNetwork:
            if let migration = machines[machine].agent?.state.job(Self.job)?.migration,
                migration.number == request.number
            {
                machines[machine].agent?.offer = (request.number, migration.destination)
            }
        case .leaveNetwork: giveFrames(machine, request.incarnation)
        case .takeNetworkBack: takeNetworkBack(machine, request.incarnation)
        case .liftQuota, .restoreQuota, .serve, .stopServing, .warn: break
        }
    }

    private mutating func carryOut(_ machine: Int, _ effect: MigrationDestinationEffect) {
        let number = machines[machine].agent?.destinationMove ?? 0
        let record = machines[machine].agent?.state.job(Self.job)
        switch effect {
        case .fetch, .restore, .takeFrames, .connect, .stop:
            machines[machine].agent?.steps.append(.destination(effect))
        case .cleanUp:
            // Whatever the attempt still does is ended and waited for first.
            machines[machine].agent?.steps.removeAll { $0 == .destination(.restore) }
            machines[machine].agent?.steps.append(.destination(.cleanUp))
        case .announce:
            guard let incarnation = machines[machine].agent?.destinationIncarnation else { return }
            propose(machine, .started(job: Self.job, incarnation: incarnation, time: now), .announce)
        case .conclude:
            let drained = Command.migrationDrained(job: Self.job, number: number, sent: .zero, time: now)
            propose(machine, drained, .conclude)
        case .tell(let reason):
            let isHandedOver = record?.migration?.number == number && record?.migration?.isHandedOver == true
            let node = machines[machine].node
            if machines[machine].agent?.hasRun == true, mistake != .saysThatItNeverRan,
                mistake != .forgetsToCleanUp,
                let incarnation = machines[machine].agent?.destinationIncarnation
            {
                return propose(
                    machine,
                    .exited(job: Self.job, incarnation: incarnation, exit: .lost, consumed: nil, time: now),
                    .tell
                )
            }
            propose(
                machine,
                isHandedOver
                    ? .migrationFailed(job: Self.job, number: number, reason: reason, time: now)
                    : .abortMigration(job: Self.job, number: number, reason: reason, declinedBy: node, time: now),
                .tell
            )
        case .hangUp:
            machines[machine].agent?.steps.removeAll {
                [.destination(.fetch), .destination(.takeFrames)].contains($0)
            }
        case .finished(let outcome):
            tell("destination \(machine): \(outcome)")
            machines[machine].agent?.steps.removeAll { if case .destination = $0 { true } else { false } }
            machines[machine].agent?.destination = nil
        case .restoreQuota, .removeWorkFiles, .warn: break
        }
    }
}
