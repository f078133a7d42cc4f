import Checkpointing
import ClusterModel
import Logging

/// Carries out the effects of one restore, in order, and answers its core.
actor RestoreShell {
    private var core: RestoreOperation
    private let plan: ContainerPlan
    private let host: any ContainerHost
    private let images: any CheckpointStore
    private let logger: Logger
    private let events = OperationEvents<RestoreEvent>()
    private let onDamage: @Sendable (CheckpointGeneration, String) async -> Void

    private var folders: CheckpointFolders?
    private var extracted = ExtractedImages(hasLayer: false)
    /// Why all memory has to be there before the container runs; nil when it need not.
    private(set) var lazyObstacle: String?
    private var step: Task<Void, Never>?
    private var outcome: RestoreOutcome?

    /// `onDamage` writes into the catalog that a generation is damaged.
    init(
        _ request: RestoreRequest,
        plan: ContainerPlan,
        limits: RestoreLimits,
        host: any ContainerHost,
        images: any CheckpointStore,
        logger: Logger,
        onDamage: @escaping @Sendable (CheckpointGeneration, String) async -> Void
    ) {
        core = RestoreOperation(request, limits: limits, now: .now)
        (self.plan, self.host, self.images, self.logger, self.onDamage) = (plan, host, images, logger, onDamage)
        lazyObstacle = host.lazyRestoreObstacle
    }

    /// Tells the core to give up, if that is still possible; nothing of the container is left then.
    nonisolated func giveUp(_ reason: String) { events.send(.cancelled(reason: reason)) }

    /// Memory that was still to come when the container ran; nil when all of it was there.
    var awaitedMemory: ByteCount? { extracted.pages?.byteCount }

    /// Runs the restore to its end.
    func run() async -> RestoreOutcome {
        await events.drive(deadline: { await self.core.deadline }) { event in await self.advance(event) }
        return outcome ?? .failed(reason: "the agent stops", passedOver: [])
    }

    private func advance(_ event: RestoreEvent?) async -> Bool {
        if let event { core.receive(event, now: .now) } else { core.tick(now: .now) }
        for effect in core.drainEffects() { await carryOut(effect) }
        return outcome != nil
    }

    private func carryOut(_ effect: RestoreEffect) async {
        let job = plan.key.job
        switch effect {
        case .verify(let generation):
            begin(.verifying, then: .verified) { [self] in try await images.check(job: job, generation: generation) }
        case .extract(let generation):
            let lazily = lazyObstacle == nil
            begin(.extracting, then: .extracted) { [self] in
                let made = try await host.makeRestoreFolders(plan.key)
                await keep(made)
                await keep(try await images.extract(job: job, generation: generation, into: made, lazily: lazily))
            }
        case .restore:
            begin(.restoring, then: .restored) { [self] in
                guard let folders = await folders else { throw CancellationError() }
                let extracted = await extracted
                try await host.restore(
                    plan,
                    images: folders.images,
                    layer: extracted.hasLayer ? folders.layer : nil,
                    pages: extracted.pages
                )
            }
        case .restoreQuota:
            do { try host.setCPULimit(plan.cpuLimit, of: plan.key) } catch {
                logger.warning("restore.quota.failed", metadata: ["job": "\(job)", "error": "\(error)"])
            }
        case .markDamaged(let generation, let reason):
            try? await images.markDamaged(job: job, generation: generation, reason: reason)
            await onDamage(generation, reason)
        case .cleanUp:
            step?.cancel()
            await step?.value
            extracted.pages?.close()
            // What CRIU could not do so, it may be able to do with all memory in place.
            if extracted.pages != nil { lazyObstacle = "an attempt without all of its memory failed" }
            extracted = ExtractedImages(hasLayer: false)
            begin(.cleaningUp, then: .cleanedUp) { [self] in
                try await host.remove(plan.key)
                if let folders = await folders { await host.removeFolders(folders) }
            }
        case .removeWorkFiles:
            if let folders { await host.removeFolders(folders) }
        case .warn(let text): logger.warning("restore.warning", metadata: ["job": "\(job)", "text": "\(text)"])
        case .finished(let end): outcome = end
        }
    }

    private func begin(
        _ phase: RestorePhase,
        then event: RestoreEvent,
        _ body: @escaping @Sendable () async throws -> Void
    ) {
        step = Task(name: "restore.\(phase.rawValue)") { [events] in
            do {
                try await body()
                events.send(event)
            } catch let problem as RestoreProblem {
                events.send(.failed(during: phase, problem))
            } catch {
                let reason = "\(error)"
                events.send(
                    .failed(
                        during: phase,
                        phase == .restoring ? .refused(reason: reason) : .unavailable(reason: reason)
                    )
                )
            }
        }
    }

    private func keep(_ made: CheckpointFolders) { folders = made }
    private func keep(_ images: ExtractedImages) { extracted = images }
}
