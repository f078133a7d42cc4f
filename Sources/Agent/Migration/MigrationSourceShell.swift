import Checkpointing
import ClusterModel
import ClusterState
import struct Containers.HeldFrames
import ImageStore
import Logging
import ResourceSamples

/// Carries out the effects of the source's side of one move, in order, and answers its core.
actor MigrationSourceShell {
    /// What is moved.
    struct Subject: Sendable {
        var key: ContainerKey
        var specification: JobSpecification
        var cpuLimit: VCPUCount?
        /// Where it goes, as the state says; nil when an agent before this one knew.
        var destination: NodeID?
    }

    /// What the source says to the replicated state; each returns what is true when the answer to a proposal is known, however long that takes.
    struct Voice: Sendable {
        var handOver: @Sendable (Migration.Handover) async -> MigrationVerdict
        /// Ends what an agent before this one may have proposed.
        var settle: @Sendable () async -> MigrationVerdict
        var giveUp: @Sendable (String) async -> Void
    }

    private enum Event: Sendable {
        case core(MigrationSourceEvent)
        case state(MigrationVerdict)
    }

    private var core: MigrationSourceOperation
    private let subject: Subject
    private let voice: Voice
    private let host: any ContainerHost
    private let desk: MigrationDesk
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let onFreeze: @Sendable (Bool) async -> Void
    private let events = OperationEvents<Event>()

    private var folders: CheckpointFolders?
    private var dump: DumpReader?
    /// What is left in the container, when it was dumped without its memory.
    private var memory: (any HeldMemory)?
    private var frozen: Timestamp?
    private var consumed: Duration?
    private var step: Task<Void, Never>?
    private var outcome: MigrationSourceOutcome?
    /// What was given of the container's network.
    private var given = HeldFrames()

    /// `onFreeze` hears when the container stands still and when it runs again.
    init(
        _ core: MigrationSourceOperation,
        of subject: Subject,
        voice: Voice,
        host: any ContainerHost,
        desk: MigrationDesk,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp,
        onFreeze: @escaping @Sendable (Bool) async -> Void
    ) {
        self.core = core
        (self.subject, self.voice, self.host, self.desk) = (subject, voice, host, desk)
        (self.logger, self.now, self.onFreeze) = (logger, now, onFreeze)
    }

    private var place: MigrationDesk.Key { MigrationDesk.Key(job: subject.key.job, number: core.request.number) }

    /// Tells the core that the container is gone.
    nonisolated func containerEnded() { events.send(.core(.containerEnded)) }

    /// Tells the core to give up, if that is still possible; the container runs again then.
    nonisolated func giveUp(_ reason: String) { events.send(.core(.cancelled(reason: reason))) }

    /// Tells what the state says now.
    nonisolated func stateChanged(_ verdict: MigrationVerdict) { events.send(.state(verdict)) }

    /// Tells that the destination's container runs.
    nonisolated func destinationRuns() { events.send(.core(.destinationRuns)) }

    /// Whether the container would stand still with nobody to thaw it, if the agent ended now.
    var isUnsafeToLeave: Bool {
        switch core.phase {
        case .freezing, .dumping, .capturingLayer, .thawing: true
        // The next agent finds the mark; but memory that the destination still lacks is gone with this one.
        case .handingOver, .holding: memory != nil
        case .preparing, .givingUp, .releasing, .finished: false
        }
    }

    /// Runs the source's side to its end.
    func run() async -> MigrationSourceOutcome {
        if core.request.hasAddress { desk.frames.expect(place) }
        await events.drive(deadline: { await self.core.deadline }) { event in await self.advance(event) }
        // A thaw that comes late must not meet the next move.
        await step?.value
        desk.withdraw(place)
        _ = await desk.frames.withdraw(place)
        return outcome ?? .keptRunning(reason: "the agent stops")
    }

    private func advance(_ event: Event?) async -> Bool {
        switch event {
        case .core(let event): core.receive(event, now: .now)
        case .state(let verdict):
            // Before, only the answer to a proposal counts.
            if core.phase == .holding { tell(verdict, known: "the move is over") }
        case nil: core.tick(now: .now)
        }
        while true {
            let effects = core.drainEffects()
            if effects.isEmpty { return outcome != nil }
            for effect in effects { await carryOut(effect) }
        }
    }

    private func tell(_ verdict: MigrationVerdict, known reason: String) {
        switch verdict {
        case .handedOver: core.receive(.handedOver, now: .now)
        case .isOurs: core.receive(.isOurs(reason: reason), now: .now)
        case .released: core.receive(.released, now: .now)
        case .undecided: break
        }
    }

    private func carryOut(_ effect: MigrationSourceEffect) async {
        let key = subject.key
        logger.debug("migration.source", metadata: ["container": "\(key)", "does": "\(effect)"])
        switch effect {
        case .prepare:
            begin(.preparing, then: .prepared) { [self] in
                let isLazy = await core.request.isLazy
                await keep(
                    try await host.prepareMigration(key, specification: subject.specification, isLazy: isLazy)
                )
            }
        case .freeze:
            begin(.freezing, then: .frozen) { [self] in
                try await host.freeze(key)
                await stoodStill()
            }
        case .liftQuota:
            do { try host.setCPULimit(nil, of: key) } catch { warn("migration.quota.lift.failed", error) }
        case .dump(let isLazy):
            begin(.dumping, then: .dumped) { [self] in
                guard let folders = await folders else { throw CancellationError() }
                if isLazy {
                    await keep(try await host.dumpLazily(key, into: folders, specification: subject.specification))
                } else {
                    try await host.dump(key, into: folders, specification: subject.specification)
                }
            }
        case .captureLayer:
            begin(.capturingLayer, then: .layerCaptured) { [self] in
                guard let folders = await folders else { throw CancellationError() }
                _ = try await host.captureLayer(key, into: folders)
                try await open()
            }
        case .mark:
            let number = core.request.number
            begin(.capturingLayer, then: .marked) { [self] in
                guard let folders = await folders else { throw CancellationError() }
                try host.markHeld(folders, move: number)
            }
        case .serve: serve()
        case .stopServing:
            desk.withdraw(place)
            given = await desk.frames.withdraw(place)
        case .offerNetwork:
            if let destination = subject.destination {
                desk.frames.offer(place, to: destination) { [host] in try await host.handOverNetwork(key) }
            }
        case .leaveNetwork: desk.frames.leave(place)
        case .takeNetworkBack:
            do {
                try await host.announce(key)
                try await host.inject(given, into: key)
            } catch { warn("migration.network.failed", error) }
        case .handOver(let stoodStill):
            let handover = Migration.Handover(
                frozen: frozen ?? now(),
                stoodStill: stoodStill,
                bytes: (dump?.bytes ?? .zero) + (memory?.byteCount ?? .zero),
                isLazy: core.request.isLazy,
                consumed: consumed
            )
            ask("it was refused") { await $0.handOver(handover) }
        case .settle: ask("the agent was restarted") { await $0.settle() }
        case .giveUp(let reason):
            let voice = voice
            step = Task(name: "migration.give-up") { [events, step] in
                await step?.value
                await voice.giveUp(reason)
                events.send(.core(.isOurs(reason: reason)))
            }
        case .restoreQuota:
            do { try host.setCPULimit(subject.cpuLimit, of: key) } catch { warn("migration.quota.failed", error) }
        case .thaw:
            begin(core.phase, then: .thawed) { [self] in
                await takeMemory()?.abort()
                try await host.thaw(key)
                await onFreeze(false)
            }
        case .stop:
            begin(.releasing, then: .stopped) { [self] in
                do { try await takeMemory()?.complete() } catch { await warn("migration.memory.release.failed", error) }
                try await host.stop(key, grace: .zero)
            }
        case .cancelDump:
            step?.cancel()
            await step?.value
        case .removeWorkFiles:
            dump = nil
            // After a restart of the agent they are known only once they were served.
            if let folders = folders ?? host.heldFolders(key) { await host.removeFolders(folders) }
        case .warn(let text): logger.warning("migration.warning", metadata: ["job": "\(key.job)", "text": "\(text)"])
        case .finished(let end): outcome = end
        }
    }

    /// Gives the destination what there is; after a restart of the agent that is what the one before left.
    private func serve() {
        if dump == nil, let held = host.heldFolders(subject.key) {
            folders = held
            // The memory went with the agent before; whoever asks is to know at once that it cannot be had.
            if host.lacksMemory(held) { return desk.withdraw(place) }
            do { try open() } catch { warn("migration.dump.unreadable", error) }
        }
        if let dump { desk.offer(dump, memory: memory, place) }
    }

    private func open() throws {
        guard let folders else { return }
        let layer = host.hasLayer(folders) ? folders.layer : nil
        dump = try DumpReader(imagesFolder: folders.images, layerArchive: layer)
    }

    private func ask(_ reason: String, _ body: @escaping @Sendable (Voice) async -> MigrationVerdict) {
        let voice = voice
        step = Task(name: "migration.ask") { [events, step] in
            await step?.value
            switch await body(voice) {
            case .handedOver: events.send(.core(.handedOver))
            case .isOurs: events.send(.core(.isOurs(reason: reason)))
            case .released: events.send(.core(.released))
            // The agent stops: the next one asks.
            case .undecided: break
            }
        }
    }

    /// Starts a step that takes time, after the one before; its answer comes as an event.
    private func begin(
        _ phase: MigrationSourcePhase,
        then event: MigrationSourceEvent,
        _ body: @escaping @Sendable () async throws -> Void
    ) {
        step = Task(name: "migration.\(phase.rawValue)") { [events, step] in
            await step?.value
            do {
                try await body()
                events.send(.core(event))
            } catch {
                events.send(.core(.failed(during: phase, reason: "\(error)")))
            }
        }
    }

    private func keep(_ made: CheckpointFolders) { folders = made }
    private func keep(_ held: any HeldMemory) { memory = held }

    private func takeMemory() -> (any HeldMemory)? {
        defer { memory = nil }
        return memory
    }

    private func stoodStill() async {
        frozen = now()
        consumed = host.sample(subject.key)?.cpuTime
        await onFreeze(true)
    }

    private func warn(_ message: Logger.Message, _ error: any Error) {
        logger.warning(message, metadata: ["job": "\(subject.key.job)", "error": "\(error)"])
    }
}
