import Checkpointing
import ClusterModel
import ClusterState
import struct Containers.HeldFrames
import ImageStore
import Logging
import Transport

/// Carries out the effects of the destination's side of one move, in order, and answers its core.
actor MigrationDestinationShell {
    /// What the destination says to the replicated state; each returns when the answer is known, however long that takes.
    struct Voice: Sendable {
        /// Says that the container runs; false when it has no right to.
        var announce: @Sendable () async -> Bool
        /// Says that nothing is missing, and how much went across.
        var conclude: @Sendable (ByteCount) async -> Void
        /// Says that nothing of the job is here, and why; and whether it may have run for a moment, so that nobody else may go on where it was.
        var tell: @Sendable (_ reason: String, _ hasRun: Bool) async -> Void
    }

    private var core: MigrationDestinationOperation
    private let plan: ContainerPlan
    private let number: UInt64
    private let source: NodeID
    private let voice: Voice
    private let host: any ContainerHost
    private let link: any MigrationLink
    private let mayRun: @Sendable () -> Bool
    private let logger: Logger
    private let isLazy: @Sendable () async -> Bool
    private let onRunning: @Sendable (RemoteMemory?, _ sent: ByteCount) async -> Void
    private let events = OperationEvents<MigrationDestinationEvent>()

    private var folders: CheckpointFolders?
    private var writer: DumpWriter?
    /// Regions that have come.
    private var skip = 0
    private var sent: ByteCount = .zero
    private var lastProgress: ContinuousClock.Instant?
    private static let progressPeriod: Duration = .milliseconds(500)
    /// Memory that comes after the container runs.
    private var memory: RemoteMemory?
    /// Whether the container has run here, if only for a moment.
    private var hasRun = false
    private var step: Task<Void, Never>?
    private var outcome: MigrationDestinationOutcome?

    /// Takes what the effects need.
    ///
    /// `isLazy` asks the state whether the dump lacks the memory; `onRunning` hears of the container as soon as it runs, and of what is still to come.
    init(
        _ core: MigrationDestinationOperation,
        plan: ContainerPlan,
        move number: UInt64,
        from source: NodeID,
        voice: Voice,
        host: any ContainerHost,
        link: any MigrationLink,
        mayRun: @escaping @Sendable () -> Bool,
        logger: Logger,
        isLazy: @escaping @Sendable () async -> Bool,
        onRunning: @escaping @Sendable (RemoteMemory?, _ sent: ByteCount) async -> Void
    ) {
        self.core = core
        (self.plan, self.number, self.source, self.voice) = (plan, number, source, voice)
        (self.host, self.link, self.mayRun, self.logger) = (host, link, mayRun, logger)
        (self.isLazy, self.onRunning) = (isLazy, onRunning)
    }

    /// Tells the core something that it has not asked for.
    nonisolated func tell(_ event: MigrationDestinationEvent) { events.send(event) }

    /// Runs the destination's side to its end.
    func run() async -> MigrationDestinationOutcome {
        await events.drive(deadline: { await self.core.deadline }) { event in await self.advance(event) }
        await step?.value
        if let folders { await host.removeFolders(folders) }
        return outcome ?? .failed(reason: "the agent stops")
    }

    private func advance(_ event: MigrationDestinationEvent?) async -> Bool {
        if let event { core.receive(event, now: .now) } else { core.tick(now: .now) }
        while true {
            let effects = core.drainEffects()
            if effects.isEmpty { return outcome != nil }
            for effect in effects { await carryOut(effect) }
        }
    }

    private func carryOut(_ effect: MigrationDestinationEffect) async {
        logger.debug("migration.destination", metadata: ["container": "\(plan.key)", "does": "\(effect)"])
        switch effect {
        case .fetch: fetch()
        case .hangUp:
            step?.cancel()
            await step?.value
        case .restore:
            begin(.restoring, then: .restored) { [self] in try await restore() }
        case .takeFrames:
            begin(.connecting, then: .framesTaken) { [self] in
                let request = MigrationRequest(job: plan.key.job, number: number)
                try await link.fetchFrames(request, from: source) { [host, logger, key = plan.key] held in
                    try await host.inject(held, into: key)
                    logger.info(
                        "migration.frames",
                        metadata: [
                            "container": "\(key)", "frames": "\(held.frames.count)", "dropped": "\(held.droppedCount)",
                        ]
                    )
                }
            }
        case .connect:
            begin(.connecting, then: .connected) { [self] in
                try await host.announce(plan.key)
                try await host.unlockNetwork(plan.key)
            }
        case .restoreQuota:
            do { try host.setCPULimit(plan.cpuLimit, of: plan.key) } catch {
                logger.warning("migration.quota.failed", metadata: ["container": "\(plan.key)", "error": "\(error)"])
            }
        case .announce:
            say { await $0.announce() ? .accepted : .refused }
        case .conclude:
            let sent = sent
            say {
                await $0.conclude(sent)
                return .accepted
            }
        case .tell(let reason):
            let hasRun = hasRun
            say {
                await $0.tell(reason, hasRun)
                return .accepted
            }
        case .cleanUp:
            step?.cancel()
            begin(.cleaningUp, then: .cleanedUp) { [self] in
                try? await host.cutNetwork(plan.key)
                try await host.remove(plan.key)
                await removeFiles()
            }
        case .stop:
            begin(.stopping, then: .stopped) { [self] in
                try? await host.cutNetwork(plan.key)
                try await host.stop(plan.key, grace: .zero)
            }
        case .removeWorkFiles: await removeFiles()
        case .warn(let text):
            logger.warning("migration.warning", metadata: ["container": "\(plan.key)", "text": "\(text)"])
        case .finished(let end): outcome = end
        }
    }

    private func restore() async throws {
        guard mayRun() else { throw RestoreProblem.unavailable(reason: "the node may run nothing at the moment") }
        guard let folders else { throw CancellationError() }
        let layer = host.hasLayer(folders) ? folders.layer : nil
        memory = await isLazy() ? try findMemory(folders.images) : nil
        do { try await host.restore(plan, images: folders.images, layer: layer, pages: memory) } catch {
            hasRun = host.mayHaveRun(plan.key)
            memory?.close()
            throw error
        }
        hasRun = true
        await onRunning(memory, sent)
    }

    /// What the dump lacks, by its own page maps.
    private func findMemory(_ images: String) throws -> RemoteMemory {
        if let obstacle = host.lazyRestoreObstacle { throw RestoreProblem.unavailable(reason: obstacle) }
        let (link, source) = (link, source)
        return try RemoteMemory(try host.dumpedMemory(in: images), of: (plan.key.job, number)) { request in
            try await link.fetchPages(request, from: source)
        }
    }

    private func removeFiles() async {
        writer = nil
        if let folders { await host.removeFolders(folders) }
        folders = nil
    }

    private func fetch() {
        step = Task(name: "migration.fetch") { [step] in
            await step?.value
            do {
                let request = MigrationRequest(job: plan.key.job, number: number, skip: skip)
                try await link.fetchMigration(request, from: source) { part in try await self.take(part) }
                events.send(.fetched(bytes: fetchedBytes))
            } catch let error as ImageStoreError {
                let isFinal = error.code != .damaged
                events.send(.failed(during: .fetching, reason: "\(error)", isFinal: isFinal))
            } catch {
                // A dump without memory does not outlive its agent.
                let isGone = (error as? RPCFailure)?.code == .notFound
                let isFinal = isGone ? await isLazy() : false
                events.send(.failed(during: .fetching, reason: "\(error)", isFinal: isFinal))
            }
        }
    }

    private var fetchedBytes: ByteCount {
        ByteCount(rawValue: writer?.files.reduce(0) { $0 + Int64(clamping: $1.size) } ?? 0)
    }

    private func take(_ part: MigrationPart) async throws {
        try Task.checkCancellation()
        if writer == nil, !part.files.isEmpty {
            let made = try await host.makeRestoreFolders(plan.key)
            folders = made
            writer = try DumpWriter(part.files, imagesFolder: made.images, layerArchive: made.layer)
        } else if !part.files.isEmpty, writer?.files != part.files {
            throw ImageStoreError(.unsuitable, "The source has another dump now than the one that was being fetched.")
        }
        if !part.pieces.isEmpty {
            guard let writer else { throw ImageStoreError(.damaged, "The source sent data before its list of files.") }
            try await writer.write(part.pieces)
            sent = sent + ByteCount(rawValue: Int64(part.pieces.reduce(0) { $0 + $1.stored.count }))
        }
        skip = max(skip, part.next)
        // A large dump has many parts, and its events must not push others out.
        guard lastProgress.map({ .now - $0 >= Self.progressPeriod }) ?? true else { return }
        lastProgress = .now
        events.send(.progressed)
    }

    private func say(_ body: @escaping @Sendable (Voice) async -> MigrationDestinationEvent) {
        let voice = voice
        step = Task(name: "migration.say") { [events, step] in
            await step?.value
            events.send(await body(voice))
        }
    }

    /// Starts a step that takes time, after the one before; its answer comes as an event.
    private func begin(
        _ phase: MigrationDestinationPhase,
        then event: MigrationDestinationEvent,
        _ body: @escaping @Sendable () async throws -> Void
    ) {
        step = Task(name: "migration.\(phase.rawValue)") { [events, step] in
            await step?.value
            do {
                try await body()
                events.send(event)
            } catch let problem as RestoreProblem {
                events.send(.failed(during: phase, reason: problem.reason, isFinal: true))
            } catch {
                events.send(.failed(during: phase, reason: "\(error)", isFinal: true))
            }
        }
    }
}
