import ClusterModel
import ClusterState
import ControlMessages
import CoreMetrics
import Placement
import Storage
import TLS
import Transport

// Submitting jobs and acting on them.
extension ControlService {
    func submit(_ call: RPCCall) async throws {
        try call.require(.submit)
        let request = try call.decode(WireJobSubmitRequest.self)
        let specification = try specification(request.document)
        if await replica.state.nodes.isEmpty, let impossible = await controller.impossibility(specification) {
            throw RPCFailure(.invalid, "job '\(specification.name)' can never run here: \(impossible)")
        }
        // A job without an objective is promised nothing, so nobody needs to see it first, and many share one write.
        let reply =
            specification.objective == nil
            ? try await submit(specification, request, by: user(call))
            : try await controller.submissions.run { try await submit(specification, request, by: user(call)) }
        call.reply(reply)
    }

    /// Asks admission control and makes the submission durable.
    private func submit(
        _ specification: JobSpecification,
        _ request: WireJobSubmitRequest,
        by user: UserID
    ) async throws -> WireJobSubmitReply {
        let moment = now()
        let place = await place(for: specification, at: moment)
        let admission = await controller.admission(of: specification, on: place?.record, at: moment)
        // A repetition is not judged against the job that it made itself.
        let isRepeated = await replica.state.job(submittedBy: user, withKey: request.idempotencyKey) != nil
        guard admission.verdict != .infeasible || request.allowInfeasible || isRepeated else {
            throw RPCFailure(
                .conflict,
                "the deadline of '\(specification.name)' cannot be kept: \(admission.reason) Ask for less or for more time, or "
                    + "submit with --allow-infeasible to have it tried all the same"
            )
        }
        var generator = SystemRandomNumberGenerator()
        let submission = Submission(
            id: JobID.random(using: &generator),
            specification: specification,
            submitter: user,
            time: moment,
            idempotencyKey: request.idempotencyKey.isEmpty ? nil : request.idempotencyKey,
            admission: admission
        )
        // Submission and first start are one write to the disk when there is room at once.
        var commands: [Command] = [.submit(submission)]
        let memory = specification.resources.memory
        if let place {
            commands.append(.assign(job: submission.id, node: place.record.node, reason: place.reason, time: moment))
        } else if await replica.state.nodes.isEmpty,
            await controller.claimRoom(for: submission.id, specification, memoryLimit: memory) == nil
        {
            commands.append(controller.beginning(submission.id, specification, at: moment))
        }
        let outcome: Outcome
        do {
            outcome = try await replica.propose(commands)[0]
        } catch {
            await controller.releaseRoom(of: submission.id)
            throw error
        }
        // A repetition found the job that it made before; this one's identity is not used.
        if outcome.acceptance?.submitted != submission.id { await controller.releaseRoom(of: submission.id) }
        guard let id = outcome.acceptance?.submitted else {
            throw outcome.refusal ?? Refusal(.conflict, "Not accepted.")
        }
        if id == submission.id { metrics.jobsSubmitted.increment() }
        var reply = WireJobSubmitReply()
        reply.id = id.rawValue
        reply.name = specification.name
        reply.admission = admission.wire
        return reply
    }

    /// Where the cluster would put a job now; nil when it has no list of nodes, or no node can take it.
    private func place(
        for specification: JobSpecification,
        at moment: Timestamp
    ) async -> (record: NodeRecord, reason: String)? {
        let choice = await choice(for: specification, at: moment)
        guard let choice, let node = choice.node, let record = await replica.state.node(node) else { return nil }
        return (record, choice.reason)
    }

    private func choice(for specification: JobSpecification, at moment: Timestamp) async -> PlacementChoice? {
        let state = await replica.state
        guard !state.nodes.isEmpty else { return nil }
        let candidate = PlacementCandidate(id: JobID(rawValue: "candidate"), specification: specification, now: moment)
        return Placement.choose(candidate, among: NodeView.all(of: state, suspects: [], now: moment))
    }

    func plan(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobPlanRequest.self)
        let specification = try specification(request.document)
        let moment = now()
        let choice = await choice(for: specification, at: moment)
        let place = await place(for: specification, at: moment)
        var admission = await controller.admission(of: specification, on: place?.record, at: moment)
        if let choice {
            admission.reason += " " + choice.reason
            if choice.node == nil { admission.verdict = .infeasible }
        } else if let impossible = await controller.impossibility(specification) {
            admission.verdict = .infeasible
            admission.reason = "It can never run here: \(impossible)."
        } else if let obstacle = await controller.roomObstacle(
            specification,
            memoryLimit: specification.resources.memory
        ) {
            admission.reason += " " + obstacle
        }
        var reply = WireJobPlanReply()
        reply.name = specification.name
        reply.admission = admission.wire
        reply.node = choice.map { $0.node?.rawValue ?? "" } ?? node.node.rawValue
        call.reply(reply)
    }

    private func specification(_ document: WireDocument) throws -> JobSpecification {
        do {
            return try documents.jobSpecification(
                [UInt8](document.content),
                name: document.name,
                baseFolder: document.workingDirectory
            )
        } catch let error as DocumentProblems {
            let count = error.problems.count
            throw RPCFailure(
                .invalid,
                "\(document.name.isEmpty ? "the document" : document.name) has \(count) problem\(count == 1 ? "" : "s")",
                problems: error.problems
            )
        }
    }

    func cancel(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobCancelRequest.self)
        let record = try await ownJob(request.job, call)
        let grace: Duration = request.graceSeconds > 0 ? .seconds(min(request.graceSeconds, 86400)) : .seconds(10)
        _ = try await propose(.requestCancel(job: record.id, grace: grace, by: user(call), time: now()))
        let ended = try await wait(for: record.id) { $0.state.isFinal }
        var reply = WireJobCancelReply()
        reply.state = ended.state.rawValue
        call.reply(reply)
    }

    func checkpoint(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobCheckpointRequest.self)
        let record = try await ownJob(request.job, call)
        let before = record.lastGeneration
        let lastDecision = await replica.state.lastDecision
        _ = try await propose(
            .requestCheckpoint(job: record.id, stops: request.stop, by: user(call), time: now())
        )
        let after = try await wait(for: record.id) { current in
            guard current.state.mayHaveContainer || current.state == .suspended else { return true }
            if case .checkpoint = current.request { return false }
            return current.openCheckpoint == nil
        }
        guard let entry = after.catalog.last(where: { $0.generation > before && $0.state == .complete }) else {
            let decisions = try await replica.decisions(of: record.id, after: lastDecision, limit: 100)
            let reason = decisions.last { $0.decision.kind == .warned }?.decision.sentence ?? after.message
            throw RPCFailure(.conflict, "no checkpoint was taken of '\(record.specification.name)': \(reason)")
        }
        var reply = WireJobCheckpointReply()
        reply.checkpoint = entry.wire
        call.reply(reply)
    }

    func restore(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobRestoreRequest.self)
        let record = try await ownJob(request.job, call)
        let began = ContinuousClock.now
        let lastDecision = await replica.state.lastDecision
        let generation = request.generation == 0 ? nil : CheckpointGeneration(rawValue: request.generation)
        _ = try await propose(
            .requestRestore(job: record.id, generation: generation, by: user(call), time: now())
        )
        let after = try await wait(for: record.id) { current in
            current.state.isFinal || current.state == .suspended
                || (current.state == .running && current.incarnation > record.incarnation)
        }
        let decisions = try await replica.decisions(of: record.id, after: lastDecision, limit: 100)
        // A sentence on its memory follows soon, and is another one.
        let restored = decisions.last { decision in
            decision.decision.kind == .restored && decision.decision.numbers.contains { $0.name == "generation" }
        }
        guard after.state == .running, let restored else {
            throw RPCFailure(.conflict, "'\(record.specification.name)' was not restored: \(after.message)")
        }
        var reply = WireJobRestoreReply()
        reply.generation = UInt32(restored.decision.numbers.first { $0.name == "generation" }?.value ?? 0)
        reply.seconds = began.duration(to: .now).inSeconds
        reply.message = restored.decision.sentence
        call.reply(reply)
    }

    func resize(_ call: RPCCall) async throws {
        let request = try call.decode(WireJobResizeRequest.self)
        let record = try await ownJob(request.job, call)
        var resize = Resize(job: record.id, by: user(call), time: now())
        if request.hasVcpus { resize.allocation = request.vcpus > 0 ? .pin(VCPUCount(request.vcpus)) : .release }
        if request.cpuLimitVcpus != 0 {
            resize.cpuLimit =
                request.cpuLimitVcpus < 0 ? LimitOverride.CPU.none : .limit(VCPUCount(request.cpuLimitVcpus))
        }
        if request.memoryBytes > 0 { resize.memory = ByteCount(rawValue: request.memoryBytes) }
        if let memory = resize.memory, memory > controller.settings.memory {
            throw RPCFailure(
                .invalid,
                "'\(record.specification.name)' cannot have \(memory) of memory: the node has "
                    + "\(controller.settings.memory) for jobs; ask for less"
            )
        }
        let acceptance = try await propose(.requestResize(resize))
        let (took, problem) = await controller.applyNow(record.id)
        if let problem {
            throw RPCFailure(
                .conflict,
                "'\(record.specification.name)' was not resized: \(problem). The new size is kept and tried again whenever the job "
                    + "changes; resize it to what it had to take that back"
            )
        }
        let after = await replica.state.job(record.id) ?? record
        var reply = WireJobResizeReply()
        reply.allocationVcpus = (await controller.standing(of: record.id)?.allocation ?? after.allocation).rawValue
        reply.seconds = took.inSeconds
        reply.message = acceptance.decisions.map(\.decision.sentence).joined(separator: " ")
        call.reply(reply)
    }
}
