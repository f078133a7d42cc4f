import Checkpointing
import ClusterModel
import ClusterState

// What takes time: steps of the shells, and answers to proposals.
extension MigrationSimulation {
    /// Lets some step of some machine end, well or not.
    mutating func answerSomething() {
        let machine = below(3)
        guard machines[machine].isUp, let steps = machines[machine].agent?.steps, !steps.isEmpty else { return }
        let step = steps[below(steps.count)]
        if let index = machines[machine].agent?.steps.firstIndex(of: step) {
            machines[machine].agent?.steps.remove(at: index)
        }
        let fails = hasFaults && !isCalm && chance(12)
        switch step {
        case .source(let effect): end(machine, effect, fails: fails)
        case .destination(let effect): end(machine, effect, fails: fails)
        case .prepare(let number):
            let node = machines[machine].node
            propose(
                machine,
                fails
                    ? .abortMigration(job: Self.job, number: number, reason: "No room.", declinedBy: node, time: now)
                    : .migrationPrepared(job: Self.job, number: number, time: now),
                .ordinary
            )
        case .kill(let incarnation): machines[machine].kill(incarnation)
        case .drain(let incarnation): drain(machine, incarnation, isCut: fails)
        case .start(let incarnation):
            // Another one may be wanted by now.
            let task = machines[machine].agent?.state.job(Self.job)?.task
            guard machines[machine].mayRun(at: clock), machines[machine].containers.isEmpty, task == .start(incarnation)
            else { return }
            machines[machine].containers.append(.init(incarnation: incarnation))
            propose(machine, .started(job: Self.job, incarnation: incarnation, time: now), .ordinary)
        }
        reconcile(machine)
    }

    /// Memory comes from the node that still has it; the shim ends what cannot get it.
    private mutating func drain(_ machine: Int, _ incarnation: Incarnation, isCut: Bool) {
        guard let index = machines[machine].container(incarnation),
            let number = machines[machine].containers[index].lacksMemoryOf
        else { return }
        if !isCut, machines[machine].isReached, giver(of: number, to: machine) != nil {
            machines[machine].containers[index].lacksMemoryOf = nil
            report.filled += 1
        } else if giver(of: number, to: machine, isReached: false) == nil || chance(30) {
            // The agent that could read it is gone, or nothing has come for too long.
            tell("\(incarnation) on \(machine) does not get its memory")
            machines[machine].kill(incarnation)
            report.emptied += 1
        }
    }

    /// The machine whose agent can read the memory that was left out of a move's dump.
    private func giver(of number: UInt64, to machine: Int, isReached: Bool = true) -> Int? {
        machines.indices.first {
            $0 != machine && machines[$0].agent?.heldMemory.contains(number) == true
                && (machines[$0].isReached || !isReached)
        }
    }

    private mutating func end(_ machine: Int, _ effect: MigrationSourceEffect, fails: Bool) {
        guard let source = machines[machine].agent?.source else { return }
        let incarnation = source.request.incarnation
        var event: MigrationSourceEvent? =
            fails ? .failed(during: source.phase, reason: "It broke") : nil
        switch effect {
        case .prepare: event = event ?? .prepared
        case .freeze:
            // One that fails may have frozen all the same.
            if hasAddress, let index = machines[machine].container(incarnation),
                machines[machine].containers[index].hold == nil
            {
                machines[machine].containers[index].hold = []
            }
            machines[machine].freeze(incarnation, true)
            event = event ?? .frozen
        case .dump:
            if !fails {
                machines[machine].dumps.insert(source.request.number)
                if source.request.isLazy { machines[machine].agent?.heldMemory.insert(source.request.number) }
            }
            if hasAddress, let index = machines[machine].container(incarnation) {
                machines[machine].containers[index].isOpen = false
                dumped[source.request.number] = machines[machine].containers[index].received
            }
            event = event ?? .dumped
        case .captureLayer: event = event ?? .layerCaptured
        case .mark:
            if !fails { machines[machine].mark = (incarnation, source.request.number) }
            event = event ?? .marked
        case .thaw:
            // What is let go of cannot be read any more.
            machines[machine].agent?.heldMemory.remove(source.request.number)
            if !fails {
                machines[machine].freeze(incarnation, false)
                if mistake != .thawsLocked, let index = machines[machine].container(incarnation) {
                    machines[machine].unlock(index)
                }
            }
            event = event ?? .thawed
        case .stop:
            if !fails { machines[machine].kill(incarnation) }
            event = event ?? .stopped
        default: return
        }
        if let event { tellSource(machine, event) }
    }

    private mutating func end(_ machine: Int, _ effect: MigrationDestinationEffect, fails: Bool) {
        guard let destination = machines[machine].agent?.destination else { return }
        let record = machines[machine].agent?.state.job(Self.job)
        let failed = MigrationDestinationEvent.failed(
            during: destination.phase,
            reason: "It broke",
            isFinal: chance(30)
        )
        var event: MigrationDestinationEvent = failed
        switch effect {
        case .fetch:
            let number = machines[machine].agent?.destinationMove ?? 0
            let giver = machines.first { $0.node == record?.migration?.source }
            if !fails, machines[machine].isReached, let giver, giver.isReached, giver.agent != nil,
                giver.dumps.contains(number),
                record?.migration?.handover?.isLazy != true || giver.agent?.heldMemory.contains(number) == true
            {
                event = .fetched(bytes: .mebibytes(64))
            } else {
                // Memory that was left out of a dump goes with the agent that could read it.
                let isGone =
                    record?.migration?.handover?.isLazy == true && giver?.isReached == true
                    && giver?.agent?.heldMemory.contains(number) == false
                event = .failed(during: .fetching, reason: "It cannot be reached", isFinal: isGone)
            }
            if mistake == .restoresEarly, case .fetched = event {
                tellDestination(machine, .handedOver(isLazy: false))
            }
        case .restore:
            guard let incarnation = restoredIncarnation(machine, record) else { return }
            let number = machines[machine].agent?.destinationMove ?? 0
            let isLazy = record?.migration?.handover?.isLazy == true
            let mayRun = machines[machine].mayRun(at: clock) && (!isLazy || giver(of: number, to: machine) != nil)
            // What fails may have left a container behind that runs.
            if mayRun, !fails || chance(50), machines[machine].container(incarnation) == nil {
                machines[machine].agent?.hasRun = true
                if fails { ranInVain.insert(incarnation) }
                var container = SimulatedMachine.Container(incarnation: incarnation, move: number)
                container.received = dumped[number] ?? []
                if isLazy { container.lacksMemoryOf = number }
                if hasAddress { container.hold = [] }
                machines[machine].containers.append(container)
            }
            if mayRun, !fails { event = .restored }
        case .takeFrames:
            // Who asks before the hand-over is known there waits.
            if !fails, isFrameSourceComing(machine, record) {
                machines[machine].agent?.steps.append(.destination(.takeFrames))
                return
            }
            if !fails, takeFrames(machine, record) { event = .framesTaken }
        case .connect:
            if !fails, let incarnation = restoredIncarnation(machine, record),
                let index = machines[machine].container(incarnation)
            {
                machines[machine].unlock(index)
                way = machine
                event = .connected
            }
        case .cleanUp:
            let incarnation = restoredIncarnation(machine, record)
            if !fails || mistake == .forgetsToCleanUp {
                if let incarnation, mistake != .forgetsToCleanUp { machines[machine].kill(incarnation) }
                machines[machine].agent?.ended.removeAll { $0 == incarnation }
                event = .cleanedUp
            }
        case .stop:
            if let incarnation = restoredIncarnation(machine, record) { machines[machine].kill(incarnation) }
            event = .stopped
        default: return
        }
        tellDestination(machine, event)
    }

    /// The container that the destination makes; before the hand-over there is none, but with a mistake there may be.
    func restoredIncarnation(_ machine: Int, _ record: JobRecord?) -> Incarnation? {
        guard let record else { return nil }
        if let next = machines[machine].agent?.destinationIncarnation { return next }
        return mistake == .restoresEarly ? record.incarnation.next : nil
    }

    // MARK: Proposals

    mutating func propose(_ machine: Int, _ command: Command, _ purpose: SimulatedProposal.Purpose) {
        let life = machines[machine].life
        let isKnown = proposals.contains { $0.machine == machine && $0.life == life && $0.purpose == purpose }
        guard !isKnown else { return }
        if purpose == .ordinary { machines[machine].agent?.isReporting = true }
        proposals.append(SimulatedProposal(machine: machine, life: life, command: command, purpose: purpose))
    }

    /// Nobody knows what became of it: the shell proposes it again.
    mutating func answerUnknown(_ proposal: SimulatedProposal) {
        guard machines[proposal.machine].life == proposal.life, machines[proposal.machine].agent != nil else { return }
        if mistake == .thawsWithoutAsking, proposal.purpose == .handOver {
            tellSource(proposal.machine, .isOurs(reason: "No answer"))
            return reconcile(proposal.machine)
        }
        proposals.append(proposal)
    }

    /// The proposer has applied the log up to its command, and knows the outcome.
    mutating func answer(_ proposal: SimulatedProposal, _ outcome: Outcome) {
        let machine = proposal.machine
        guard let record = machines[machine].agent?.state.job(Self.job) else { return }
        switch proposal.purpose {
        case .ordinary: machines[machine].agent?.isReporting = false
        case .exit(let incarnation): machines[machine].agent?.ended.removeAll { $0 == incarnation }
        case .handOver, .settle:
            guard let request = machines[machine].agent?.source?.request else { break }
            switch record.verdict(on: request.incarnation, at: machines[machine].node, move: request.number) {
            case .handedOver: tellSource(machine, .handedOver)
            case .isOurs: tellSource(machine, .isOurs(reason: "The state says so"))
            case .released: tellSource(machine, .released)
            case .undecided:
                // Refused although the move goes on: nothing will be accepted of it after it is given up.
                let abort = Command.abortMigration(
                    job: Self.job,
                    number: request.number,
                    reason: "It was refused.",
                    declinedBy: nil,
                    time: now
                )
                propose(machine, abort, proposal.purpose)
            }
        case .giveUp: tellSource(machine, .isOurs(reason: "It was given up"))
        case .announce:
            let isKnown = record.state == .running && record.migration?.phase == .running
            tellDestination(machine, outcome.acceptance != nil || isKnown ? .accepted : .refused)
        case .conclude: tellDestination(machine, .accepted)
        case .tell:
            let number = machines[machine].agent?.destinationMove ?? 0
            if let migration = record.migration, migration.number == number, migration.phase == .handedOver {
                // It was handed over between the failure and its news.
                let failed = Command.migrationFailed(job: Self.job, number: number, reason: "It broke", time: now)
                propose(machine, failed, .tell)
            } else {
                tellDestination(machine, .accepted)
            }
        }
        reconcile(machine)
    }
}
