import Checkpointing
import ClusterModel
import Logging
import QoS
import ResourceSamples

/// Carries out the effects of one checkpoint, in order, and answers its core.
actor CheckpointShell {
    private var core: CheckpointOperation
    private let record: CheckpointSubject
    private let host: any ContainerHost
    private let images: any CheckpointStore
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let events = OperationEvents<CheckpointEvent>()
    private let onFreeze: @Sendable (Bool) async -> Void
    private let onGrowing: @Sendable () -> Void
    private let onRecord: @Sendable (CheckpointRecord) async -> Void

    private var folders: CheckpointFolders?
    private var hasLayer = false
    private var taken: Timestamp?
    private var ledger: Duration = .zero
    private var step: Task<Void, Never>?
    private var outcome: CheckpointOutcome?

    /// What is checkpointed.
    struct CheckpointSubject: Sendable {
        var key: ContainerKey
        var specification: JobSpecification
        var cpuLimit: VCPUCount?
        /// CPU time of the containers before this one.
        var settled: Duration
    }

    /// `onFreeze` hears when the container stands still and when it runs again, `onGrowing` when other nodes can take in what is written;
    /// `onRecord` writes the catalog.
    init(
        _ request: CheckpointRequest,
        of subject: CheckpointSubject,
        limits: CheckpointLimits,
        host: any ContainerHost,
        images: any CheckpointStore,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp,
        onFreeze: @escaping @Sendable (Bool) async -> Void,
        onGrowing: @escaping @Sendable () -> Void = {},
        onRecord: @escaping @Sendable (CheckpointRecord) async -> Void
    ) {
        core = CheckpointOperation(request, limits: limits, now: .now)
        record = subject
        (self.host, self.images, self.logger, self.now) = (host, images, logger, now)
        (self.onFreeze, self.onGrowing, self.onRecord) = (onFreeze, onGrowing, onRecord)
    }

    /// Tells the core that the container is gone.
    nonisolated func containerEnded() { events.send(.containerEnded) }

    /// Tells the core to give up, if that is still possible; the container runs again then.
    nonisolated func giveUp(_ reason: String) { events.send(.cancelled(reason: reason)) }

    /// Runs the checkpoint to its end.
    func run() async -> CheckpointOutcome {
        await events.drive(deadline: { await self.core.deadline }) { event in await self.advance(event) }
        return outcome
            ?? .failed(
                CheckpointFailure(
                    cause: .cancelled,
                    phase: core.phase,
                    generation: core.request.generation,
                    reason: "the agent stops"
                )
            )
    }

    /// Takes an answer, or looks at the clock when there is none; returns whether it is over.
    private func advance(_ event: CheckpointEvent?) async -> Bool {
        if let event { core.receive(event, now: .now) } else { core.tick(now: .now) }
        for effect in core.drainEffects() { await carryOut(effect) }
        return outcome != nil
    }

    private func carryOut(_ effect: CheckpointEffect) async {
        let key = record.key
        switch effect {
        case .prepare:
            begin(.requested, then: .prepared) { [self] in
                await keep(try await host.prepareCheckpoint(key, specification: record.specification))
            }
        case .freeze:
            begin(.freezing, then: .frozen) { [self] in
                try await host.freeze(key)
                await stoodStill()
            }
        case .liftQuota:
            do { try host.setCPULimit(nil, of: key) } catch { warn("checkpoint.quota.lift.failed", error) }
        case .dump:
            begin(.dumping, then: .dumped) { [self] in
                guard let folders = await folders else { throw CancellationError() }
                try await host.dump(key, into: folders, specification: record.specification)
            }
        case .captureLayer:
            begin(.capturingLayer, then: .layerCaptured) { [self] in
                guard let folders = await folders else { throw CancellationError() }
                await keep(hasLayer: try await host.captureLayer(key, into: folders))
            }
        case .restoreQuota:
            do { try host.setCPULimit(record.cpuLimit, of: key) } catch { warn("checkpoint.quota.failed", error) }
        case .thaw:
            begin(core.phase, then: .thawed) { [self] in
                try await host.thaw(key)
                await onFreeze(false)
            }
        case .compress(let frozen, let elapsed):
            let moment = CheckpointMoment(taken: taken ?? now(), ledger: ledger, frozen: frozen, elapsed: elapsed)
            compress(moment)
        case .record(let stored): await onRecord(stored)
        case .stop:
            begin(.stopping, then: .stopped) { [self] in try await host.stop(key, grace: .zero) }
        case .cancelDump, .cancelCompression:
            step?.cancel()
            await step?.value
        case .removeWorkFiles:
            if let folders { await host.removeFolders(folders) }
        case .warn(let text): logger.warning("checkpoint.warning", metadata: ["job": "\(key.job)", "text": "\(text)"])
        case .finished(let end): outcome = end
        }
    }

    private func compress(_ moment: CheckpointMoment) {
        let request = core.request
        step = Task(name: "checkpoint.compressing") { [self] in
            do {
                guard let folders else { throw CancellationError() }
                let stored = try await images.store(
                    request,
                    folders: folders,
                    hasLayer: hasLayer,
                    moment: moment,
                    onGrowing: onGrowing
                )
                events.send(.stored(stored))
            } catch {
                events.send(.failed(during: .compressing, reason: "\(error)"))
            }
        }
    }

    /// Starts a step that takes time; its answer comes as an event.
    private func begin(
        _ phase: CheckpointPhase,
        then event: CheckpointEvent,
        _ body: @escaping @Sendable () async throws -> Void
    ) {
        step = Task(name: "checkpoint.\(phase.rawValue)") { [events] in
            do {
                try await body()
                events.send(event)
            } catch {
                events.send(.failed(during: phase, reason: "\(error)"))
            }
        }
    }

    private func keep(_ made: CheckpointFolders) { folders = made }
    private func keep(hasLayer captured: Bool) { hasLayer = captured }

    private func stoodStill() async {
        taken = now()
        ledger = record.settled + (host.sample(record.key)?.cpuTime ?? .zero)
        await onFreeze(true)
    }

    private func warn(_ message: Logger.Message, _ error: any Error) {
        logger.warning(message, metadata: ["job": "\(record.key.job)", "error": "\(error)"])
    }
}
