import Checkpointing
import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Metrics
import ResourceSamples

// Starting, stopping, adopting and losing containers.
extension NodeController {
    /// Begins a queued job when the node has room for it, and says why it waits when not.
    ///
    /// What has been said already is not said again: each pass comes by here, and the end of each operation begins one.
    func beginIfRoom(_ record: JobRecord, _ state: ClusterState) {
        guard fence.mayRun else { return }
        let moment = now()
        if let notBefore = record.notBefore, moment < notBefore { return }
        if let obstacle = obstacle(toBeginning: record, state) {
            guard record.message != obstacle else { return }
            operate(.report, on: record.id) { [self] in
                await report([.waiting(job: record.id, reason: obstacle, time: moment)])
            }
            return
        }
        claim(record.id, record.specification, memoryLimit: record.memoryLimit)
        operate(.report, on: record.id) { [self] in
            let outcomes = await report([beginning(record.id, record.specification, at: moment)])
            guard outcomes.contains(where: { $0.refusal != nil }) else { return }
            // Somebody was faster, and this node's state will soon say so.
            await releaseRoom(of: record.id)
            try? await Task.sleep(for: settings.writeRetry.first)
        }
    }

    /// Why a queued job does not begin now; nil when it does.
    private func obstacle(toBeginning record: JobRecord, _ state: ClusterState) -> String? {
        if let obstacle = roomObstacle(record.specification, memoryLimit: record.memoryLimit) { return obstacle }
        // Who has which address is known where the job begins; asked here for the words.
        guard state.nodes.isEmpty || record.assignedNode == node else { return nil }
        return state.addressObstacle(to: record, on: settings.network).map { "Waits for an address: \($0)." }
    }

    /// What begins a job on this node.
    nonisolated func beginning(_ job: JobID, _ specification: JobSpecification, at time: Timestamp) -> Command {
        .begin(job: job, node: node, time: time, network: specification.network == nil ? nil : settings.network)
    }

    /// Promises a job what it asks for, or says why that cannot be.
    ///
    /// The promise is made before anything is written, so that two jobs that come at once do not get the same room.
    func claimRoom(for job: JobID, _ specification: JobSpecification, memoryLimit: ByteCount?) -> String? {
        if let obstacle = roomObstacle(specification, memoryLimit: memoryLimit) { return obstacle }
        claim(job, specification, memoryLimit: memoryLimit)
        return nil
    }

    /// Takes a promise back that was made for a job that was not accepted.
    func releaseRoom(of job: JobID) { claims[job] = nil }

    @discardableResult
    private func claim(_ job: JobID, _ specification: JobSpecification, memoryLimit: ByteCount?) -> Claim {
        let claim = Claim(
            memory: memoryLimit ?? .zero,
            devices: Array(freeDevices().prefix(specification.resources.gpus))
        )
        claims[job] = claim
        return claim
    }

    /// Why a job cannot begin now; nil when it can.
    func roomObstacle(_ specification: JobSpecification, memoryLimit: ByteCount?) -> String? {
        guard settings.startsContainers else {
            return "Waits: this node starts no containers (limits.schedulesJobs), and there is no other."
        }
        if let problem = settings.diskProblem() { return "Waits for room on the disk. \(problem)" }
        guard claims.count < settings.containerLimit else {
            return "Waits: \(claims.count) jobs have containers here, which is the bound (limits.jobs)."
        }
        let promised = claims.values.reduce(ByteCount.zero) { $0 + $1.memory }
        let wanted = memoryLimit ?? .zero
        guard promised + wanted <= settings.memory else {
            return
                "Waits for memory: it asks for \(wanted), and \(promised) of \(settings.memory) are promised to other jobs."
        }
        let free = freeDevices().count
        guard specification.resources.gpus <= free else {
            return
                "Waits for GPUs: it asks for \(specification.resources.gpus), and \(free) of \(settings.devices.count) are free."
        }
        return nil
    }

    /// Why a job can never run on this node; nil when it can.
    func impossibility(_ specification: JobSpecification) -> String? {
        if let memory = specification.resources.memory, memory > settings.memory {
            return "it asks for \(memory) of memory, and the node has \(settings.memory) for jobs; ask for less"
        }
        if specification.resources.gpus > settings.devices.count {
            return "it asks for \(specification.resources.gpus) GPUs, and the node has \(settings.devices.count); "
                + "`godwit node show` lists them"
        }
        if let network = specification.network {
            guard let offered = settings.network else {
                return
                    "it asks for an address of its own, and the node has no bridge for that; set network.bridge and network.subnet, "
                    + "and see `godwitd doctor`"
            }
            if let wanted = network.text, !network.fits(offered) {
                return
                    "it asks for the address \(wanted), and the node's bridge is in \(offered.subnet); name one of that"
            }
        }
        return nil
    }

    private func freeDevices() -> [Int] {
        let used = Set(claims.values.flatMap(\.devices))
        return settings.devices.filter { !used.contains($0) }
    }

    func plan(_ record: JobRecord, _ key: ContainerKey) -> ContainerPlan {
        // An agent that was restarted between the decision and the start knows of no promise yet.
        let claim = claims[key.job] ?? claim(key.job, record.specification, memoryLimit: record.memoryLimit)
        return ContainerPlan(
            key: key,
            specification: record.specification,
            allocation: startAllocation(record),
            cpuLimit: record.cpuLimit,
            memoryLimit: record.memoryLimit,
            devices: claim.devices,
            network: record.address.map { ContainerNetwork(address: $0, gateway: settings.network?.gateway) },
            isFenced: record.specification.onPartition == .stop
        )
    }

    func start(_ record: JobRecord, _ key: ContainerKey) {
        operate(.start, on: record.id) { [self] in
            let began = ContinuousClock.now
            await decideNow()
            let plan = await plan(record, key)
            // A task of its own, so that a start that waits for an image can be given up.
            let making = Task(name: "container.start") { try await host.start(plan) }
            await offerGivingUp(of: key.job) { _ in making.cancel() }
            do {
                try await making.value
            } catch is StartFenced {
                await startFailed(key, .fenced)
                return
            } catch {
                if let problem = settings.diskProblem() {
                    await startWithoutRoom(key, "\(problem) (\(error))")
                } else {
                    await startFailed(key, error is CancellationError ? "it was being stopped" : "\(error)")
                }
                return
            }
            metrics.containerStart.record(duration: began.duration(to: .now))
            await running(plan)
        }
    }

    private func startFailed(_ key: ContainerKey, _ reason: String) async {
        await startFailed(key, .notStarted(reason: reason))
    }

    /// The disk became full while a container was made: that is the node's fault, and another may take the job.
    private func startWithoutRoom(_ key: ContainerKey, _ reason: String) async {
        let sentence = "It could not be started on node \(node): \(reason)"
        await report([.note([Decision(time: now(), job: key.job, kind: .warned, sentence: sentence)])])
        await startFailed(key, .lost)
    }

    private func startFailed(_ key: ContainerKey, _ exit: ContainerExit) async {
        logger.warning("job.start.failed", metadata: ["job": "\(key.job)", "reason": "\(exit.sentence)"])
        await report([
            .exited(job: key.job, incarnation: key.incarnation, exit: exit, consumed: nil, time: now())
        ])
    }

    /// Takes note of a container that runs, and reports it.
    func running(_ plan: ContainerPlan) async {
        watch(plan.key, allocation: plan.allocation, cpuLimit: plan.cpuLimit, memoryLimit: plan.memoryLimit)
        let outcome = await report([.started(job: plan.key.job, incarnation: plan.key.incarnation, time: now())])
        if let refusal = outcome.first?.refusal {
            // Somebody else's word is newer; this container has no right to run.
            logger.warning("job.start.stale", metadata: ["job": "\(plan.key)", "reason": "\(refusal)"])
            try? await host.stop(plan.key, grace: .zero)
        }
        await decideNow()
    }

    func watch(_ key: ContainerKey, allocation: VCPUCount, cpuLimit: VCPUCount?, memoryLimit: ByteCount?) {
        var status = ContainerStatus(key: key, allocation: allocation, cpuLimit: cpuLimit, memoryLimit: memoryLimit)
        if let sample = host.sample(key) { status.recent = [sample] }
        status.watch = Task(name: "job.exit") {
            let exit = await host.exit(of: key)
            if !Task.isCancelled { await ended(key, exit) }
        }
        containers[key.job] = status
    }

    /// A container has ended, whoever caused it: reports it, deletes what is left, and looks at the job again.
    private func ended(_ key: ContainerKey, _ exit: ContainerExit) async {
        guard let status = containers[key.job], status.key == key, status.exit == nil else { return }
        // What the node had no right to run any more was not ended by anything that the job did.
        let exit = status.isFenced ? .lost : exit
        containers[key.job]?.exit = exit
        // First, so that a generation that turned out to be damaged is not restored again.
        await arrivals[key]?.following.value
        operations[key.job]?.containerEnded?()
        let consumed = host.sample(key)?.cpuTime
        let available = containers[key.job].flatMap { status in
            status.watchedSeconds > 0 ? VCPUCount(status.availableSeconds / status.watchedSeconds) : nil
        }
        logger.info("container.ended", metadata: ["container": "\(key)", "exit": "\(exit.sentence)"])
        let outcomes = await report([
            .exited(
                job: key.job,
                incarnation: key.incarnation,
                exit: exit,
                consumed: consumed,
                time: now(),
                vcpus: available
            )
        ])
        if let refusal = outcomes.first?.refusal, refusal.code != .stale {
            logger.debug("container.exit.refused", metadata: ["container": "\(key)", "reason": "\(refusal)"])
        }
        await discard(key)
        await decideNow()
        await reconcile([key.job])
    }

    /// Deletes what is left of a container that has ended.
    private func discard(_ key: ContainerKey) async {
        do {
            try await host.remove(key)
        } catch {
            // The next adoption finds it and tries again.
            logger.warning("container.remove.failed", metadata: ["container": "\(key)", "error": "\(error)"])
        }
        arrivals[key] = nil
        if containers[key.job]?.key == key { containers[key.job] = nil }
    }

    /// Ends a container; its exit is reported by whoever watches it.
    func end(_ key: ContainerKey, grace: Duration) {
        let watch = containers[key.job]?.watch
        operate(.stop, on: key.job) { [self] in
            do {
                try await host.stop(key, grace: grace)
                await watch?.value
            } catch {
                logger.error("container.stop.failed", metadata: ["container": "\(key)", "error": "\(error)"])
                // Not in a tight loop: the operation ends after a pause and is tried again.
                try? await Task.sleep(for: settings.stopRetry)
            }
        }
    }

    /// Ends all containers that may not run while no leader can be reached: by then the leader may have given their jobs to others.
    ///
    /// Their shims do the same when this agent does not come to it.
    func endFenced(_ state: ClusterState) {
        for (job, status) in containers where status.exit == nil && operations[job] == nil {
            guard state.job(job)?.specification.onPartition != .continue else { continue }
            if !status.isFenced {
                logger.warning(
                    "container.fenced",
                    metadata: ["container": "\(status.key)", "reason": "no leader was heard from in time"]
                )
            }
            containers[job]?.isFenced = true
            end(status.key, grace: .zero)
        }
    }

    /// Reports that a container which should exist does not.
    func reportLost(_ key: ContainerKey) {
        operate(.report, on: key.job) { [self] in
            await report([
                .exited(job: key.job, incarnation: key.incarnation, exit: .lost, consumed: nil, time: now())
            ])
        }
    }

    /// Writes the limits of a record to its container, where they differ from what is written, and tells once what fails.
    ///
    /// What could not be written is tried again whenever the job is looked at.
    func applyLimits(_ record: JobRecord) {
        guard let status = containers[record.id], status.exit == nil else { return }
        let problem = writeLimits(record, status)
        containers[record.id]?.limitsProblem = problem
        guard let problem, problem != status.limitsProblem else { return }
        logger.warning("container.limits.failed", metadata: ["container": "\(status.key)", "error": "\(problem)"])
        let sentence = "A new limit could not be written to its cgroup: \(problem)"
        let decision = Decision(time: now(), job: record.id, kind: .warned, sentence: sentence)
        Task(name: "job.note") { await report([.note([decision])]) }
    }

    /// Writes each limit by itself, so that one that is refused does not keep the other back; returns the first refusal.
    private func writeLimits(_ record: JobRecord, _ status: ContainerStatus) -> String? {
        var problem: String?
        if status.cpuLimit != record.cpuLimit, !status.isFrozen {
            do {
                try host.setCPULimit(record.cpuLimit, of: status.key)
                containers[record.id]?.cpuLimit = record.cpuLimit
            } catch { problem = "\(error)" }
        }
        if let limit = record.memoryLimit, limit != status.memoryLimit {
            do {
                try host.setMemoryLimit(limit, of: status.key)
                containers[record.id]?.memoryLimit = limit
                claims[record.id]?.memory = limit
            } catch { problem = problem ?? "\(error)" }
        }
        return problem
    }

    // MARK: After a restart

    /// Finds what runs from before, takes over what belongs here, ends what does not, and reports what is gone.
    func open() async throws {
        let found = try await host.adopt()
        let stored = try await images.catalog()
        let state = await replica.state
        var seen: Set<JobID> = []
        for container in found {
            let record = state.job(container.key.job)
            if let number = container.heldMove, container.state == .running {
                // Whose it is, only the log can tell: what is known here may be older than what the agent before has done.
                if let record, record.node == node { seen.insert(record.id) }
                let claim = Claim(memory: record?.memoryLimit ?? .zero, devices: container.devices)
                claims[container.key.job] = claim
                watch(container.key, allocation: .zero, cpuLimit: record?.cpuLimit, memoryLimit: record?.memoryLimit)
                hold(container.key, move: number, record)
                continue
            }
            guard let record, record.incarnation == container.key.incarnation, record.state.mayHaveContainer,
                record.node == node
            else {
                await endStray(container, record)
                continue
            }
            if !container.mayHaveRun, record.migrationTask(on: node) == .receive(container.key.incarnation) {
                // Its restore was cut short by the end of the agent, and the source has all of it still: the move goes on.
                await endStray(container, record)
                continue
            }
            seen.insert(record.id)
            await adopt(container, record, stored: stored)
        }
        for record in state.liveJobs where record.node == node && !seen.contains(record.id) {
            if record.state.mayHaveContainer {
                claim(record.id, record.specification, memoryLimit: record.memoryLimit)
            }
            switch record.state {
            case .running, .checkpointing, .stopping:
                await settleInterruptedCheckpoint(record, stored: stored)
                await failInterruptedCheckpoint(record)
                await report([
                    .exited(
                        job: record.id,
                        incarnation: record.incarnation,
                        exit: .lost,
                        consumed: nil,
                        time: now()
                    )
                ])
            case .queued, .starting, .restoring, .migrating, .suspended, .completed, .failed, .cancelled: break
            }
        }
        await compareCatalog(await replica.state, stored: stored)
        await reconcile(await replica.state.liveJobs.map(\.id))
    }

    private func adopt(_ container: FoundContainer, _ record: JobRecord, stored: [CheckpointRecord]) async {
        let key = container.key
        claims[key.job] = Claim(memory: record.memoryLimit ?? .zero, devices: container.devices)
        switch container.state {
        case .ended(let exit):
            containers[key.job] = ContainerStatus(key: key, allocation: record.allocation)
            await settleInterruptedCheckpoint(record, stored: stored)
            await failInterruptedCheckpoint(record)
            await ended(key, exit)
        case .running:
            watch(key, allocation: .zero, cpuLimit: record.cpuLimit, memoryLimit: record.memoryLimit)
            await settleInterruptedCheckpoint(record, stored: stored)
            await failInterruptedCheckpoint(record)
            // A container whose checkpoint was to stop it, and is complete, does nothing more.
            guard await replica.state.job(key.job)?.state.mayHaveContainer == true else { return }
            // Whatever was being done with it when the last agent ended, it must not stand still.
            try? await host.thaw(key)
            try? host.setCPULimit(record.cpuLimit, of: key)
            if let limit = record.memoryLimit { try? host.setMemoryLimit(limit, of: key) }
            await report([.adopted(job: key.job, incarnation: key.incarnation, time: now())])
        }
    }

    private func endStray(_ container: FoundContainer, _ record: JobRecord?) async {
        let key = container.key
        logger.warning(
            "container.stray",
            metadata: ["container": "\(key)", "state": "\(record?.state.rawValue ?? "unknown job")"]
        )
        do {
            if container.state == .running { try await host.stop(key, grace: .zero) }
            try await host.remove(key)
        } catch {
            logger.error("container.stray.failed", metadata: ["container": "\(key)", "error": "\(error)"])
        }
    }
}
