import Checkpointing
import ClusterModel
import ClusterState
import ControlMessages
import Storage
import Transport

// Everything that changes nothing.
extension ControlService {
    func status(_ call: RPCCall) async throws {
        let age = await age()
        let state = await replica.state
        let jobs = state.jobs
        let standings = await controller.allStandings
        let group = await replica.status
        var reply = WireStatusReply()
        reply.ageSeconds = age
        reply.cluster = node.cluster.rawValue
        reply.agentVersion = AgentProgram.version
        reply.leader = name(of: group.leader, state) ?? ""
        reply.term = group.term.rawValue
        reply.nodeCount = UInt32(max(1, state.nodes.count { $0.state != .left }))
        reply.jobsRunning = UInt32(jobs.count { $0.state.mayHaveContainer })
        reply.jobsQueued = UInt32(jobs.count { $0.state == .queued })
        reply.jobsSuspended = UInt32(jobs.count { $0.state == .suspended })
        reply.jobsEnded = UInt32(jobs.count { $0.state.isFinal })
        reply.jobsAtRisk = UInt32(jobs.count { !$0.state.isFinal && standings[$0.id]?.condition == "atrisk" })
        let live = state.nodes.filter(\.state.isLive)
        reply.capacityVcpus =
            live.isEmpty ? controller.settings.capacity.rawValue : live.reduce(0) { $0 + $1.vcpus.rawValue }
        reply.allocatedVcpus = allocated(jobs, standings)
        if !group.isAlone { reply.health = await health(state, group) }
        reply.problems = await problems()
        reply.uptimeSeconds = node.startedAt.duration(to: .now).inSeconds
        call.reply(reply)
    }

    private func allocated(_ jobs: [JobRecord], _ standings: [JobID: JobStanding]) -> Double {
        jobs.filter { $0.state.mayHaveContainer }.reduce(0) {
            $0 + (standings[$1.id]?.allocation ?? $1.allocation).rawValue
        }
    }

    /// What is wrong with this agent, one line each, with the remedy.
    func problems() async -> [String] {
        var lines: [String] = []
        if let problem = await controller.storageProblem { lines.append(problem) }
        if let problem = await replica.standstill { lines.append(problem) }
        if let problem = certificateProblem() { lines.append(problem) }
        lines += refusals.problems
        lines += node.capabilities.filter { !$0.isPresent && $0.isRequired }.map { "\($0.cost) \($0.remedy)" }
        let risky = await replica.state.liveJobs
        let standings = await controller.allStandings
        for record in risky where standings[record.id]?.condition == "atrisk" {
            lines.append(
                "Job '\(record.specification.name)' is expected to miss its deadline; `godwit job explain "
                    + "\(record.specification.name)` says why."
            )
        }
        return lines
    }

    func nodeList(_ call: RPCCall) async throws {
        var reply = WireNodeListReply()
        reply.ageSeconds = await age()
        let own = await wireNode()
        let state = await replica.state
        let told = await toldFacts()
        reply.nodes =
            state.nodes.isEmpty
            ? [own]
            : state.nodes.filter { $0.state != .left }.map { record in
                record.node == node.node ? own : wire(record, state, told[record.node])
            }
        call.reply(reply)
    }

    func nodeShow(_ call: RPCCall) async throws {
        let request = try call.decode(WireNodeShowRequest.self)
        guard request.node.isEmpty || request.node == node.node.rawValue else {
            // Its agent could not be asked: what the cluster knows has to do.
            let state = await replica.state
            if let record = state.node(NodeID(rawValue: request.node)) {
                var reply = WireNodeShowReply()
                reply.ageSeconds = await age()
                reply.node = wire(record, state, await toldFacts()[record.node])
                if let platform = record.platform { reply.node.processor = platform.wire }
                for job in state.liveJobs where job.node == record.node { reply.jobs.append(await summary(job)) }
                reply.departures = departures(from: record, state)
                return call.reply(reply)
            }
            throw RPCFailure(.notFound, "there is no node '\(request.node)'; `godwit node list` shows every node")
        }
        var reply = WireNodeShowReply()
        reply.ageSeconds = await age()
        reply.node = await wireNode()
        for record in await replica.state.liveJobs where record.node == node.node {
            reply.jobs.append(await summary(record))
        }
        let state = await replica.state
        if let record = state.node(node.node) {
            if let platform = record.platform { reply.node.processor = platform.wire }
            reply.departures = departures(from: record, state)
        }
        call.reply(reply)
    }

    private func wireNode() async -> WireNode {
        let jobs = await replica.state.liveJobs
        let standings = await controller.allStandings
        let use = await controller.use
        let reading = await resources.reading
        var wire = WireNode()
        wire.name = node.node.rawValue
        wire.site = node.site.rawValue
        wire.role = node.role.rawValue
        let record = await replica.state.node(node.node)
        wire.state = record.map(Self.word) ?? "alive"
        wire.address = record?.address ?? ""
        wire.version = AgentProgram.version
        wire.capacityVcpus = controller.settings.capacity.rawValue
        wire.allocatedVcpus = allocated(jobs.filter { $0.node == node.node }, standings)
        wire.usedVcpus = use.vcpus.rawValue
        wire.memoryBytes = UInt64(max(0, reading.memoryTotal.rawValue))
        wire.memoryUsedBytes = UInt64(max(0, reading.memoryUsed.rawValue))
        wire.gpus = reading.devices.map(\.wire)
        wire.capabilities = node.capabilities.map(\.wire)
        wire.runningJobs = UInt32(jobs.count { $0.state.mayHaveContainer && $0.node == node.node })
        wire.uptimeSeconds = node.startedAt.duration(to: .now).inSeconds
        wire.kernel = node.kernel
        return wire
    }

    func list(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobListRequest.self)
        let states = Set(request.states)
        if let unknown = states.first(where: { JobState(rawValue: $0) == nil }) {
            let known = JobState.allCases.map(\.rawValue).joined(separator: ", ")
            throw RPCFailure(.invalid, "there is no state '\(unknown)'; the states are \(known)")
        }
        var reply = WireJobListReply()
        reply.ageSeconds = await age()
        for record in await replica.state.jobs
        where (states.isEmpty ? request.includeEnded || !record.state.isFinal : states.contains(record.state.rawValue))
        {
            reply.jobs.append(await summary(record))
        }
        call.reply(reply)
    }

    func show(_ call: RPCCall) async throws {
        let age = await age()
        let record = try await job(try call.decode(WireJobShowRequest.self).job)
        let standing = await controller.standing(of: record.id)
        var reply = WireJobShowReply()
        reply.ageSeconds = age
        reply.job = await summary(record)
        reply.specificationJson = record.specification.document.jsonText
        reply.checkpoints = record.catalog.filter { $0.state != .retiring }.map(\.wire)
        reply.recentDecisions = try await replica.decisions(of: record.id, after: 0, limit: 20).map {
            $0.wire(jobName: record.specification.name)
        }
        reply.exit = record.lastExit?.sentence ?? ""
        if let speed = standing?.speed {
            reply.speed.fixedSeconds = speed.fixedSeconds
            reply.speed.divisibleCpuSeconds = speed.divisibleSeconds
            reply.speed.iterationsSeen = UInt32(speed.iterations)
        }
        reply.throttledSeconds = (standing?.throttled ?? .zero).inSeconds
        reply.cpuPressure = standing?.cpuPressure ?? -1
        if let admission = record.admission { reply.admission = admission.wire }
        if let migration = record.migration { reply.migration = migration.wire }
        reply.memoryLimitBytes = UInt64(max(0, record.memoryLimit?.rawValue ?? 0))
        reply.memoryPeakBytes = UInt64(max(0, standing?.memoryPeak.rawValue ?? 0))
        call.reply(reply)
    }

    func explain(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobExplainRequest.self)
        let age = await age()
        let record = try await job(request.job)
        let limit = request.limit == 0 ? 1000 : Int(min(request.limit, 10_000))
        var reply = WireJobExplainReply()
        reply.ageSeconds = age
        reply.job = await summary(record)
        reply.decisions = try await replica.decisions(of: record.id, after: 0, limit: limit).map {
            $0.wire(jobName: record.specification.name)
        }
        reply.checkpointRule = await checkpointRule(record)
        // A figure has room for some thousand points; the thinned history of a long job has not many more.
        let samples = try await store.samples(of: record.id, from: .epoch, limit: 20_000)
        let stride = max(1, samples.count / 4000)
        reply.samples = samples.enumerated().filter { $0.offset % stride == 0 || $0.offset == samples.count - 1 }
            .map(\.element.wire)
        call.reply(reply)
    }

    /// Which interval between checkpoints holds, and why.
    private func checkpointRule(_ record: JobRecord) async -> String {
        guard !record.state.isFinal else { return "" }
        if let interval = record.specification.checkpoint.interval {
            return "Checkpoints are taken every \(interval.text), as the job says."
        }
        guard controller.settings.intervalByCost else { return "" }
        let memory = await controller.standing(of: record.id)?.memory
        return record.costInterval(memory: memory, now: now())?.reason ?? ""
    }

    func watch(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobWatchRequest.self)
        let id = request.job.nameOrID.isEmpty ? nil : try await job(request.job).id
        let interval = Duration.milliseconds(
            request.intervalMilliseconds == 0 ? 1000 : Int(max(100, min(request.intervalMilliseconds, 3_600_000)))
        )
        var lastDecision: UInt64?
        while true {
            try Task.checkCancellation()
            let state = await replica.state
            let records = id.map { id in [state.job(id)].compactMap { $0 } } ?? state.liveJobs
            var message = WireJobWatchReply()
            for record in records { message.jobs.append(await summary(record)) }
            // The first message brings the last few decisions, so that a watcher knows what has led here.
            let decisions = try await replica.decisions(
                of: id,
                after: lastDecision ?? 0,
                limit: lastDecision == nil ? 5 : 200
            )
            lastDecision = decisions.last?.sequence ?? lastDecision ?? state.lastDecision
            message.decisions = decisions.map { decision in
                decision.wire(jobName: state.job(decision.decision.job)?.specification.name ?? "")
            }
            message.timeUnixSeconds = now().seconds
            try await call.send(message)
            // A watched job that has ended has nothing more to tell.
            if id != nil, records.allSatisfy(\.state.isFinal) { return }
            try await Task.sleep(for: interval)
        }
    }

    func logs(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobLogsRequest.self)
        let record = try await job(request.job)
        guard request.tailLines <= LogQuery.tailLimit else {
            throw RPCFailure(
                .invalid,
                "\(request.tailLines) lines are more than the \(LogQuery.tailLimit) that --tail can ask for; leave it out to get everything "
                    + "from the beginning"
            )
        }
        var query = LogQuery(job: record.id)
        query.tailLineCount = request.tailLines == 0 ? nil : Int(request.tailLines)
        query.follows = request.follow
        query.includesOutput = !request.noStdout
        query.includesErrors = !request.noStderr
        let replica = replica
        try await containerLogs.read(query, isOver: { await replica.state.job(record.id)?.state.isFinal ?? true }) {
            lines in
            var message = WireJobLogsReply()
            message.lines = lines
            try await call.send(message)
        }
    }
}
