import Checkpointing
import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Placement
import ServiceLifecycle
import Synchronization

/// Brings a checkpoint here from another node that has it.
protocol CopySource: Sendable {
    /// Returns when the files of a generation are here and fit each other; throws a `RestoreProblem`.
    func obtain(_ job: JobID, _ generation: CheckpointGeneration) async throws
    /// The files here are not what was written: returns whether another node has them.
    func foundDamage(_ job: JobID, _ generation: CheckpointGeneration, reason: String) async -> Bool
    /// A checkpoint is being written here: tells the nodes that will be asked to keep it, so that they can begin.
    func offer(_ job: JobID, _ generation: CheckpointGeneration) async
}

/// What a copy keeper goes by.
struct CopySettings: Sendable {
    /// Copies that are fetched at once for no job that waits.
    var fetchLimit = 2
    var limits = CopyTransferLimits()
    /// Between two looks at what lies on the disk.
    var sweepPeriod: Duration = .seconds(60)
    /// In which each checkpoint is read once, whether anyone wants it or not; nil: never.
    var scrubPeriod: Duration? = .seconds(7 * 86400)
    /// Bytes a second that are read for that; 0 means no bound.
    var scrubRate: Int64 = 32 << 20
    /// Wait before a copy is tried again that no holder could give.
    var retry: Duration = .seconds(10)
    /// How long it is tried before it is declined, so that another node is asked for it.
    var retryPatience: Duration = .seconds(120)
    /// The longest that a node is told of a checkpoint that is being written.
    var offerTimeout: Duration = .seconds(5)
    /// How long what came of such a checkpoint waits to be asked for.
    var earlyPatience: Duration = .seconds(30)
}

/// Holds the copies that this node should have against those that it has, and carries out the difference.
///
/// What should be here is in the replicated state. It fetches what is wanted of it, deletes what nobody counts to it any more, reads everything once in
/// a while, and reports what came of it; an agent that was killed in between finds the same in the state and on the disk.
actor CopyKeeper: CopySource, Service {
    typealias Key = JobGeneration

    let node: NodeID
    let replica: Replica
    let images: any CheckpointStore
    nonisolated let link: any PeerLink
    private let hub: ChangeHub
    let settings: CopySettings
    let metrics: CopyMetrics?
    let logger: Logger
    let now: @Sendable () -> Timestamp

    var fetches: [Key: (fetch: CopyFetch, isUrgent: Bool)] = [:] {
        didSet { metrics?.underWay.set(fetches.count) }
    }
    private var retries: CopyRetries
    /// What is here is damaged and about to be deleted: until then it is not taken for a copy, though one may be wanted again already.
    var condemned: Set<Key> = []
    /// Files that nobody knew at the last look.
    var strays: Set<Key> = []
    /// Files that were missing at the last look.
    var missing: Set<Key> = []
    var scrub: ScrubPlan
    /// Copies that are being read because somebody asked for it.
    var checks: [Key: RunningCheck] = [:]
    nonisolated let full = Mutex(false)
    /// What comes of checkpoints that are still being written where they are taken.
    let early: EarlyCopies

    init(
        node: NodeID,
        replica: Replica,
        images: any CheckpointStore,
        link: any PeerLink,
        hub: ChangeHub,
        settings: CopySettings = CopySettings(),
        metrics: CopyMetrics? = nil,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) {
        (self.node, self.replica, self.images, self.link, self.hub) = (node, replica, images, link, hub)
        (self.settings, self.metrics, self.logger, self.now) = (settings, metrics, logger, now)
        scrub = ScrubPlan(period: settings.scrubPeriod)
        retries = CopyRetries(pause: settings.retry, patience: settings.retryPatience)
        early = EarlyCopies(
            images: images,
            link: link,
            limit: settings.fetchLimit,
            longest: settings.limits.store,
            patience: settings.earlyPatience,
            metrics: metrics,
            logger: logger
        )
    }

    /// Whether this node has no room for copies of others, as of the last look.
    nonisolated var isFull: Bool { full.withLock { $0 } }

    nonisolated func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            async let scrubbing: Void = scrubUntilCancelled()
            async let sweeping: Void = sweepUntilCancelled()
            await hub.follow("copies", period: .seconds(1)) { jobs in
                await self.look(after: jobs)
            } regularly: {
                await self.look()
            }
            _ = await (scrubbing, sweeping)
            await end()
        }
    }

    private func end() async {
        for (_, running) in fetches { await running.fetch.cancel() }
        early.end()
    }

    // MARK: What is wanted here

    /// Looks only when a job changed that has to do with copies here: jobs change all the time.
    private func look(after changed: [JobID]) async {
        let state = await replica.state
        let isAsked = changed.contains { id in
            fetches.keys.contains { $0.job == id }
                || state.job(id)?.catalog.contains { $0.wantedCopies.contains(node) } == true
        }
        if isAsked { await look() }
    }

    /// Begins to fetch what this node is asked to keep, and gives up what it is not asked for any more.
    func look() async {
        let state = await replica.state
        var wanted: [(job: JobRecord, entry: CatalogEntry)] = []
        for job in state.liveJobs {
            for entry in job.catalog where entry.state == .complete && entry.wantedCopies.contains(node) {
                wanted.append((job, entry))
            }
        }
        let keys = Set(wanted.map { Key(job: $0.job.id, generation: $0.entry.generation) })
        early.dropUnclaimed(except: keys)
        retries.keep(only: keys)
        for (key, running) in fetches where !running.isUrgent && !keys.contains(key) { await running.fetch.cancel() }
        for (job, entry) in wanted {
            let key = Key(job: job.id, generation: entry.generation)
            guard fetches.count(where: { !$0.value.isUrgent }) < settings.fetchLimit else { return }
            guard retries.mayTry(key, now: .now) else { continue }
            start(key, entry, state)
        }
    }

    private func start(_ key: Key, _ entry: CatalogEntry, _ state: ClusterState) {
        guard fetches[key] == nil, !condemned.contains(key), let fetch = makeFetch(key, entry, state, isUrgent: false)
        else { return }
        fetches[key] = (fetch, false)
        Task(name: "copy.keep") {
            let outcome: CopyTransferOutcome
            // It may have come, and the report of that not.
            let isHere = await isHereAndGood(key)
            outcome = isHere ? .held(from: []) : await fetch.run()
            // Until that is known to all it is wanted still, and would be begun again.
            await report(outcome, key)
            fetches[key] = nil
            await look()
        }
    }

    /// Whether the files are here with every byte as it was written; what is here otherwise is deleted.
    private func isHereAndGood(_ key: Key) async -> Bool {
        guard await images.contains(job: key.job, generation: key.generation) else { return false }
        do {
            try await images.verify(job: key.job, generation: key.generation, bytesPerSecond: 0)
            return true
        } catch CopyProblem.damaged {
            await delete(key)
            return false
        } catch {
            return false
        }
    }

    /// Deletes the files of a generation; waits a while for those who read them.
    func delete(_ key: Key) async {
        for _ in 0..<50 {
            do { return try await images.remove(job: key.job, generation: key.generation) } catch {
                try? await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private func makeFetch(_ key: Key, _ entry: CatalogEntry, _ state: ClusterState, isUrgent: Bool) -> CopyFetch? {
        guard let seal = entry.seal else { return nil }
        let sources = entry.holders.filter { $0 != node && state.node($0)?.state.isLive == true }
        return CopyFetch(
            job: key.job,
            generation: key.generation,
            seal: seal,
            raw: entry.raw,
            sources: sources,
            arrival: early.claim(key),
            isUrgent: isUrgent,
            limits: settings.limits,
            images: images,
            link: link,
            metrics: metrics,
            onBlame: { [self] holder, reason in await blame(holder, key, reason) }
        )
    }

    /// What a holder sent is not what the catalog knows.
    ///
    /// Left to it: it reads its disk itself at once, and the line could lie as well as that.
    private func blame(_ holder: NodeID, _ key: Key, _ reason: String) {
        logger.warning(
            "checkpoint.copy.wrong",
            metadata: [
                "job": "\(key.job)", "generation": "\(key.generation)", "on": "\(holder)", "reason": "\(reason)",
            ]
        )
        haveChecked(holder, key.job, key.generation)
    }

    private func report(_ outcome: CopyTransferOutcome, _ key: Key) async {
        switch outcome {
        case .held(let sources):
            metrics?.copied.increment()
            logger.info(
                "checkpoint.copied",
                metadata: [
                    "job": "\(key.job)", "generation": "\(key.generation)",
                    "from": "\(sources.map(\.rawValue).joined(separator: ","))",
                ]
            )
            await tellHeld(key)
        case .failed(.declined(let reason)), .failed(.damaged(let reason)): await decline(key, because: reason)
        case .failed(.unreachable(let reason)):
            let state = await replica.state
            let holders = state.job(key.job)?.checkpoint(key.generation)?.holders ?? []
            let hasHolder = holders.contains { state.node($0)?.state.isLive == true }
            guard retries.failed(key, hasHolder: hasHolder, now: .now) else {
                return await decline(key, because: "No node that has it could give it: \(reason).")
            }
            logger.info(
                "checkpoint.copy.postponed",
                metadata: ["job": "\(key.job)", "generation": "\(key.generation)", "reason": "\(reason)"]
            )
        case .failed(.cancelled): break
        }
    }

    /// Gives the place among those that are asked back; the leader asks another node, and this one again later.
    private func decline(_ key: Key, because reason: String) async {
        metrics?.declined.increment()
        logger.warning(
            "checkpoint.copy.declined",
            metadata: ["job": "\(key.job)", "generation": "\(key.generation)", "reason": "\(reason)"]
        )
        await propose(
            .copyDeclined(job: key.job, generation: key.generation, node: node, reason: reason, time: now())
        )
    }

    /// Says that the files are here; when nobody wants to know any more, they go.
    private func tellHeld(_ key: Key) async {
        let outcome = await propose(
            .copyHeld(job: key.job, generation: key.generation, node: node, time: now())
        )
        guard let refusal = outcome?.refusal, await replica.state.job(key.job)?.checkpoint(key.generation) == nil else {
            return
        }
        logger.debug("checkpoint.copy.unwanted", metadata: ["reason": "\(refusal)"])
        try? await images.remove(job: key.job, generation: key.generation)
    }

    /// Proposes until it is known what became of it, or the agent stops.
    @discardableResult
    func propose(_ command: Command) async -> Outcome? {
        var pause = Duration.milliseconds(200)
        while !Task.isCancelled {
            do { return try await replica.propose(command) } catch {
                logger.debug("checkpoint.copy.report.failed", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(10))
        }
        return nil
    }

    // MARK: Checkpoints that are still being written

    func offer(_ job: JobID, _ generation: CheckpointGeneration) async {
        let state = await replica.state
        guard let record = state.job(job) else { return }
        for holder in CopyPlan().likelyHolders(of: record, taking: generation, in: state, now: now()) {
            Task(name: "copy.offer") {
                do { try await link.offerCopy(job, generation, to: holder, timeout: settings.offerTimeout) } catch {
                    logger.debug("checkpoint.offer.failed", metadata: ["to": "\(holder)", "error": "\(error)"])
                }
            }
        }
    }

    /// Another node writes a checkpoint that this one will probably be asked to keep: takes in what there is of it.
    ///
    /// Nothing comes of an offer that is out of place, or one too many.
    func takeOffer(_ job: JobID, _ generation: CheckpointGeneration, from source: NodeID) async {
        let key = Key(job: job, generation: generation)
        guard let record = await replica.state.job(job), record.node == source, !record.state.isFinal,
            record.checkpoint(generation) == nil, fetches[key] == nil, !isFull
        else { return }
        early.begin(key, from: source)
    }

    // MARK: For a restore

    func obtain(_ job: JobID, _ generation: CheckpointGeneration) async throws {
        let key = Key(job: job, generation: generation)
        // What is on its way already is waited for: two could not write the same.
        while fetches[key] != nil { try await Task.sleep(for: .milliseconds(20)) }
        if await images.contains(job: job, generation: generation) { return }
        let state = await replica.state
        guard let entry = state.job(job)?.checkpoint(generation) else {
            throw RestoreProblem.damaged(reason: "it is not in the catalog")
        }
        guard entry.holders != [node], let fetch = makeFetch(key, entry, state, isUrgent: true) else {
            throw RestoreProblem.damaged(reason: "its files are not on node \(node)")
        }
        fetches[key] = (fetch, true)
        let outcome = await fetch.run()
        fetches[key] = nil
        switch outcome {
        case .held: await tellHeld(key)
        case .failed(.damaged(let reason)): throw RestoreProblem.damaged(reason: reason)
        case .failed(let failure): throw RestoreProblem.unavailable(reason: failure.reason)
        }
    }

    func foundDamage(_ job: JobID, _ generation: CheckpointGeneration, reason: String) async -> Bool {
        guard let entry = await replica.state.job(job)?.checkpoint(generation), entry.state == .complete,
            entry.holders.contains(where: { $0 != node })
        else { return false }
        let key = Key(job: job, generation: generation)
        condemned.insert(key)
        defer { condemned.remove(key) }
        guard entry.holders.contains(node) else {
            await delete(key)
            return true
        }
        let outcome = await propose(
            .copyDamaged(job: job, generation: generation, node: node, reason: reason, time: now())
        )
        guard outcome?.acceptance != nil else {
            // Where the leader had just taken it off this node, the others' copies are none the worse; what is seen here may be a moment old.
            for _ in 0..<50 {
                guard let now = await replica.state.job(job)?.checkpoint(generation), now.state == .complete else {
                    return false
                }
                if !now.holders.contains(node) {
                    await delete(key)
                    return !now.holders.isEmpty
                }
                try? await Task.sleep(for: .milliseconds(20))
            }
            return false
        }
        await delete(key)
        return await replica.state.job(job)?.checkpoint(generation)?.state == .complete
    }
}
