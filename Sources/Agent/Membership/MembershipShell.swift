import ClusterModel
import Logging
import Metrics
import NIO
import SWIM
import Transport
import WireFormat

/// What a node needs to take part in a pool.
struct MembershipSettings: Sendable {
    var cluster: ClusterID
    var pool = PoolName.common
    var node: NodeID
    /// Where the others reach this node, for datagrams and streams.
    var endpoint: MemberEndpoint
    /// Above those of earlier lives: seconds of wall time.
    var incarnation: MemberIncarnation
    var configuration = MembershipConfiguration.lan
    var keyring: GossipKeyring
    var life: GossipSeal.Life
    /// Of all that is random in the protocol.
    var seed: UInt64
    /// Probes and exchanges over streams at once; beyond it an exchange fails and a probe is not made.
    var streamLimit = 64

    init(
        cluster: ClusterID,
        node: NodeID,
        endpoint: MemberEndpoint,
        incarnation: MemberIncarnation,
        keyring: GossipKeyring,
        life: GossipSeal.Life,
        seed: UInt64
    ) {
        (self.cluster, self.node, self.endpoint, self.incarnation) = (cluster, node, endpoint, incarnation)
        (self.keyring, self.life, self.seed) = (keyring, life, seed)
    }
}

/// Why a node is not in a pool; the text says what to do.
enum MembershipShellError: Error, Equatable, CustomStringConvertible {
    /// No seed answered.
    case joinFailed(seeds: [MemberEndpoint], attempts: Int)
    /// It left, or was closed.
    case ended
    /// This node is not in the pool that a request is for.
    case otherPool

    var description: String {
        switch self {
        case .joinFailed(let seeds, let attempts):
            "none of \(seeds.map(\.description).joined(separator: ", ")) answered in \(attempts) attempts: check that agents of this"
                + " cluster run there, and that TCP and UDP reach their port"
        case .otherPool: "this node is not in that pool: the two agents' lists of nodes differ for a moment; try again"
        case .ended: "this node has left the pool: restart the agent to come back"
        }
    }
}

/// Drives one `SWIM.Membership`: seals and carries its datagrams, runs its streams and timers, and tells the agent what it reports.
///
/// Runs on an event loop, where the datagrams arrive and the timers fire: nothing waits for a thread of the pool that all tasks share, so
/// a tick is late only when the loop itself is. Give it a loop that does nothing slow.
actor MembershipShell {
    nonisolated let eventLoop: any EventLoop
    nonisolated private let executor: any SerialExecutor
    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe executor.asUnownedSerialExecutor() }

    nonisolated let pool: PoolName
    nonisolated private let events: MembershipEvents
    private let link: any GossipLink
    private let streams: any GossipStreams
    private let metrics: MembershipMetrics
    private let logger: Logger
    private let streamLimit: Int

    private var membership: SWIM.Membership
    private let seal: GossipSeal
    private var isOpen = false
    private var isClosed = false
    /// The one timer, and when it fires.
    private var timer: (task: Scheduled<Void>, at: NIODeadline)?
    private var openStreams: [UInt64: (task: Task<Void, Never>, limit: Scheduled<Void>)] = [:]
    private var nextNumber: UInt64 = 0
    private var seeds: [MemberEndpoint] = []
    private var joining: [UInt64: CheckedContinuation<Int, any Error>] = [:]
    private var leaving: [UInt64: CheckedContinuation<Void, Never>] = [:]
    private var pace = NodeFactsPace()
    private var refusals: [String: UInt64] = [:]
    private var refusalLine = SparseLine(period: .seconds(10))
    private var standstillLine = SparseLine(period: .seconds(10))
    private var counted: MembershipStatistics
    private var countedAt: ContinuousClock.Instant?

    private static let origin = ContinuousClock().systemEpoch

    /// Puts a shell together; nothing is sent or received before `start`.
    /// - Throws: `MembershipConfigurationError` for a value out of its range; `TLSError` when libcrypto has no memory.
    init(
        _ settings: MembershipSettings,
        link: any GossipLink,
        streams: any GossipStreams,
        eventLoop: any EventLoop,
        registry: MetricsRegistry,
        logger: Logger
    ) throws {
        self.eventLoop = eventLoop
        executor = eventLoop.executor
        (self.link, self.streams, self.logger) = (link, streams, logger)
        streamLimit = settings.streamLimit
        metrics = MembershipMetrics(registry: registry, pool: settings.pool)
        pool = settings.pool
        events = MembershipEvents(dropped: metrics.eventsDropped)
        membership = try SWIM.Membership(
            node: settings.node,
            endpoint: settings.endpoint,
            incarnation: settings.incarnation,
            configuration: settings.configuration.fitting(settings.pool),
            pool: settings.pool,
            seed: settings.seed,
            now: Self.instant(eventLoop.now)
        )
        counted = membership.statistics
        seal = try GossipSeal(
            cluster: settings.cluster,
            pool: settings.pool.rawValue,
            tag: settings.pool.tag,
            sender: membership.key.rawValue,
            keyring: settings.keyring,
            life: settings.life,
            senderLimit: 2 * settings.configuration.memberLimit
        )
    }

    /// The event loop's time as the membership counts it; only differences mean anything.
    private static func instant(_ deadline: NIODeadline) -> ContinuousClock.Instant {
        origin + .nanoseconds(Int64(clamping: deadline.uptimeNanoseconds))
    }

    private static func deadline(_ instant: ContinuousClock.Instant) -> NIODeadline {
        let (seconds, attoseconds) = (instant - origin).components
        return .uptimeNanoseconds(UInt64(max(0, seconds * 1_000_000_000 + attoseconds / 1_000_000_000)))
    }

    private var now: ContinuousClock.Instant { Self.instant(eventLoop.now) }

    // MARK: From begin to end

    /// Begins to answer others.
    func start() {
        guard !isOpen, !isClosed else { return }
        isOpen = true
        link.start { [weak self] bytes, source in
            self?.assumeIsolated { $0.receive(bytes, from: source) }
        }
        carryOut()
    }

    /// Looks for the pool at these addresses, for as long as the configuration says; without any it is a pool of one at once.
    ///
    /// - Returns: how many members live, this node included.
    /// - Throws: `MembershipShellError`; `CancellationError` when the task is cancelled, while the search goes on.
    @discardableResult
    func join(seeds: [MemberEndpoint]) async throws -> Int {
        guard isOpen, !isClosed, membership.state != .leaving, membership.state != .left else {
            throw MembershipShellError.ended
        }
        let number = makeNumber()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                guard !Task.isCancelled else { return continuation.resume(throwing: CancellationError()) }
                joining[number] = continuation
                self.seeds = seeds
                membership.join(seeds: seeds, now: now)
                carryOut()
            }
        } onCancel: {
            eventLoop.execute { self.assumeIsolated { $0.stopWaiting(number) } }
        }
    }

    private func stopWaiting(_ number: UInt64) {
        joining.removeValue(forKey: number)?.resume(throwing: CancellationError())
    }

    /// Says goodbye to all members and returns when they know, or when the configured time for it is over.
    func leave() async {
        guard isOpen, !isClosed, membership.state != .left else { return }
        let number = makeNumber()
        // The membership keeps the time itself, but its time stands still when the process does.
        let limit = eventLoop.scheduleTask(in: .nanoseconds(2 * membership.configuration.leaveTimeout.nanoseconds)) {
            self.assumeIsolated { $0.finishLeave() }
        }
        await withCheckedContinuation { continuation in
            leaving[number] = continuation
            membership.leave(now: now)
            carryOut()
        }
        limit.cancel()
    }

    private func finishLeave() {
        for continuation in leaving.values { continuation.resume() }
        leaving = [:]
    }

    /// Ends everything: timers, streams, events and the link.
    func close() async {
        guard !isClosed else { return }
        isClosed = true
        timer?.task.cancel()
        timer = nil
        for stream in openStreams.values { stream.task.cancel() }
        for continuation in joining.values { continuation.resume(throwing: MembershipShellError.ended) }
        joining = [:]
        finishLeave()
        publishMetrics()
        events.finish()
        await link.close()
    }

    // MARK: For the agent

    /// All members that are known, in the order of their keys, the dead and those who left included.
    var members: [Member] { membership.allMembers() }

    /// The member of this name.
    func member(_ node: NodeID) -> Member? { membership.member(node) }

    /// This node as others should see it.
    var own: Member { membership.own }

    /// All that is known here, of other pools as well.
    var snapshot: PoolSnapshot { PoolSnapshot(membership) }

    /// Where this node is in its own life.
    var state: SWIM.Membership.State { membership.state }

    /// Numbers that only grow.
    var statistics: MembershipStatistics { membership.statistics }

    /// Datagrams that were dropped, by reason: `GossipRefusal`, or `malformed`.
    var refusedCounts: [String: UInt64] { refusals }

    /// Probes and exchanges over streams that are under way.
    var openStreamCount: Int { openStreams.count }

    /// Every event from now on, up to `limit` of them waiting; of more the oldest are dropped.
    ///
    /// Ends when the shell is closed.
    nonisolated func subscribe(limit: Int = 1_024) -> AsyncStream<MembershipEvent> { events.subscribe(limit: limit) }

    /// Answers the request that another agent's shell sent over a stream, without the envelope that names the pool.
    /// - Throws: `DecodeError` for bytes that no shell writes; `MembershipShellError` when this node has left.
    func answerExchange(_ request: [UInt8]) throws -> [UInt8] {
        guard isOpen, !isClosed, membership.state != .left else { throw MembershipShellError.ended }
        defer { carryOut() }
        return try membership.answerExchange(request.span, now: now)
    }

    /// Tells all members these facts about this node, when `NodeFactsPace` says so.
    func setFacts(_ facts: NodeFactsSummary) {
        let now = now
        guard pace.mustTell(facts, memberCount: membership.liveCount, now: now) else { return }
        let bytes = facts.encoded()
        if !membership.publish(facts: bytes, now: now) {
            logger.error(
                "gossip.facts.tooLarge",
                metadata: ["bytes": "\(bytes.count)", "limit": "\(membership.configuration.factsByteLimit)"]
            )
        }
        carryOut()
    }

    /// Takes up other settings, as for wide-area networks once a second site is there.
    /// - Throws: `MembershipConfigurationError` for a value out of its range.
    func adopt(_ configuration: MembershipConfiguration) throws {
        try membership.adopt(configuration.fitting(pool), now: now)
        carryOut()
    }

    // MARK: Between the pools of one agent

    /// Whether what is known here is carried into the agent's other pool.
    func setBridging(_ isBridging: Bool) { membership.setBridging(isBridging) }

    /// What became known here since the last call, with facts as other pools get them.
    func takeChanges() -> [PoolEntry] {
        membership.takeChanges().map { claim in
            var claim = claim
            claim.entry.member.facts.bytes = NodeFactsSummary.shortened(claim.entry.member.facts.bytes)
            return claim
        }
    }

    /// Takes what the agent's other pool knows, and tells this one.
    func tell(_ entries: [PoolEntry]) {
        guard isOpen, !isClosed, !entries.isEmpty else { return }
        membership.tell(entries, now: now)
        carryOut()
    }

    /// Forgets what is known of all other pools but these.
    func keep(pools: Set<PoolName>) { membership.keep(pools: pools) }

    /// Seals and opens with these keys from now on.
    /// - Throws: `TLSError` when libcrypto has no memory; the old ones stay then.
    func setKeyring(_ keyring: GossipKeyring) throws {
        let before = seal.keyring
        guard keyring != before else { return }
        try seal.replaceKeyring(keyring)
        logger.notice("gossip.keyring.changed", metadata: ["keyring": "\(keyring)", "before": "\(before)"])
    }

    /// The keys as they are now.
    var keyring: GossipKeyring { seal.keyring }

    private func makeNumber() -> UInt64 {
        nextNumber += 1
        return nextNumber
    }

    // MARK: In

    private func receive(_ sealed: [UInt8], from source: MemberEndpoint) {
        guard isOpen, !isClosed else { return }
        metrics.packetsIn.increment()
        metrics.bytesIn.increment(by: Int64(sealed.count))
        let now = now
        let datagram: [UInt8]
        do { datagram = try seal.open(sealed, now: now) } catch { return refuse(error.rawValue, source, error.remedy) }
        do { try membership.receive(datagram.span, from: source, now: now) } catch {
            return refuse("malformed", source, "\(error): compare the versions of the agents")
        }
        carryOut()
    }

    private func refuse(_ reason: String, _ source: MemberEndpoint, _ remedy: String) {
        refusals[reason, default: 0] += 1
        metrics.refused(reason)
        guard let count = refusalLine.count(at: now) else { return }
        logger.warning(
            "gossip.refused",
            metadata: ["reason": "\(reason)", "source": "\(source)", "remedy": "\(remedy)", "count": "\(count)"]
        )
    }

    private func tick() {
        timer = nil
        guard isOpen, !isClosed else { return }
        membership.tick(now: now)
        carryOut()
    }

    /// Sets the timer to the membership's deadline; one that fires too early does no harm.
    private func schedule() {
        guard !isClosed, let deadline = membership.deadline else { return }
        let at = Self.deadline(deadline)
        if let timer {
            if timer.at <= at { return }
            timer.task.cancel()
        }
        let task = eventLoop.scheduleTask(deadline: at) { [weak self] in
            guard let self else { return }
            self.assumeIsolated { $0.tick() }
        }
        timer = (task, at)
    }

    // MARK: Out

    private func carryOut() {
        guard isOpen, !isClosed else { return }
        for effect in membership.drainEffects() {
            switch effect {
            case .send(let datagram, let endpoint): send(datagram, to: endpoint)
            case .probeStream(let number, let node, let endpoint): probe(number, node, endpoint)
            case .exchange(let number, let request, let endpoint): exchange(number, request, endpoint)
            case .report(let event): report(event)
            }
        }
        if countedAt.map({ now - $0 >= .seconds(1) }) ?? true { publishMetrics() }
        schedule()
    }

    private func send(_ datagram: [UInt8], to endpoint: MemberEndpoint) {
        do {
            let sealed = try seal.seal(datagram)
            metrics.packetsOut.increment()
            metrics.bytesOut.increment(by: Int64(sealed.count))
            link.send(sealed, to: endpoint)
        } catch {
            refuse("notSealed", endpoint, "\(error)")
        }
    }

    private func probe(_ number: UInt32, _ node: NodeID, _ endpoint: MemberEndpoint) {
        // Without an answer the membership gives up by itself.
        run { shell in
            do { try await shell.streams.probe(node: node, endpoint: endpoint) } catch { return }
            shell.membership.streamProbeSucceeded(number, now: shell.now)
            shell.carryOut()
        }
    }

    private func exchange(_ number: UInt32, _ request: [UInt8], _ endpoint: MemberEndpoint) {
        let node = membership.allMembers().first { $0.endpoint == endpoint && $0.status.isLive }?.node
        let isRunning = run { shell in
            do {
                let answer = try await shell.streams.exchange(
                    request: shell.pool.envelope + request,
                    node: node,
                    endpoint: endpoint
                )
                try shell.membership.exchangeSucceeded(number, answer: answer.span, now: shell.now)
            } catch {
                shell.logger.debug(
                    "gossip.exchange.failed",
                    metadata: ["endpoint": "\(endpoint)", "error": "\(error)"]
                )
                shell.membership.exchangeFailed(number, now: shell.now)
            }
            shell.carryOut()
        }
        if !isRunning { membership.exchangeFailed(number, now: now) }
    }

    /// Runs what may take long in a task of its own, which is cancelled when the time for an exchange is over.
    @discardableResult
    private func run(_ body: @escaping @Sendable (isolated MembershipShell) async -> Void) -> Bool {
        guard openStreams.count < streamLimit else { return false }
        let number = makeNumber()
        let limit = TimeAmount.nanoseconds(membership.configuration.exchangeTimeout.nanoseconds)
        let task = Task(name: "gossip stream") {
            await body(self)
            openStreams.removeValue(forKey: number)?.limit.cancel()
        }
        openStreams[number] = (task, eventLoop.scheduleTask(in: limit) { task.cancel() })
        return true
    }

    private func report(_ event: MembershipEvent) {
        log(event)
        switch event {
        case .joinSucceeded(let count):
            for continuation in joining.values { continuation.resume(returning: count) }
            joining = [:]
        case .joinFailed(let attempts):
            let error = MembershipShellError.joinFailed(seeds: seeds, attempts: attempts)
            for continuation in joining.values { continuation.resume(throwing: error) }
            joining = [:]
        case .leaveFinished: finishLeave()
        default: break
        }
        events.publish(event)
    }

    private func publishMetrics() {
        var counts: [MemberStatus: Int] = [:]
        for member in membership.allMembers() { counts[member.status, default: 0] += 1 }
        metrics.set(counts)
        metrics.add(membership.statistics, since: counted)
        (counted, countedAt) = (membership.statistics, now)
    }

    // MARK: One line for each thing that happened

    private func log(_ event: MembershipEvent) {
        switch event {
        case .changed(let member, let change): log(member, change)
        case .changedElsewhere(let pool, let member, let change): log(member, change, of: pool)
        case .nameConflict(let member, let claimant):
            logger.error(
                "member.nameConflict",
                metadata: [
                    "node": "\(member.node)", "endpoint": "\(member.endpoint)", "claimant": "\(claimant)",
                    "remedy": "two agents run with this node's certificate: stop one, and issue another for it",
                ]
            )
        case .keyConflict(let member, let refused):
            logger.error(
                "member.keyConflict",
                metadata: [
                    "node": "\(member.node)", "refused": "\(refused)",
                    "remedy": "the two names have the same hash: issue a certificate with another name",
                ]
            )
        case .tableFull(let refused):
            logger.error(
                "member.tableFull",
                metadata: ["refused": "\(refused)", "limit": "\(membership.configuration.memberLimit)"]
            )
        case .joinSucceeded(let count): logger.notice("gossip.joined", metadata: ["members": "\(count)"])
        case .joinFailed(let attempts):
            logger.warning(
                "gossip.join.failed",
                metadata: ["error": "\(MembershipShellError.joinFailed(seeds: seeds, attempts: attempts))"]
            )
        case .leaveFinished: logger.notice("gossip.left")
        case .refutedAccusation(let incarnation):
            logger.notice("gossip.refuted", metadata: ["incarnation": "\(incarnation)"])
        case .stoodStill(let duration):
            guard let count = standstillLine.count(at: now) else { return }
            logger.warning(
                "gossip.stoodStill",
                metadata: [
                    "duration": "\(duration)", "count": "\(count)",
                    "remedy": "the agent was not run for so long: give it more CPU time if that happens often",
                ]
            )
        }
    }

    private func log(_ member: Member, _ change: MemberChange, of other: PoolName? = nil) {
        let (level, message): (Logger.Level, Logger.Message) =
            switch change {
            case .joined: (.info, "member.joined")
            case .suspected: (.notice, "member.suspected")
            case .refuted: (.info, "member.refuted")
            case .died: (.warning, "member.died")
            case .left: (.notice, "member.left")
            case .returned: (.notice, "member.returned")
            case .factsChanged: (.trace, "member.factsChanged")
            case .forgotten: (.debug, "member.forgotten")
            }
        // Other sites' members come and go at their own place; here that is a detail.
        logger.log(
            level: other == nil ? level : min(level, .debug),
            message,
            metadata: [
                "node": "\(member.node)", "endpoint": "\(member.endpoint)", "incarnation": "\(member.incarnation)",
                "pool": "\(other ?? pool)",
            ]
        )
    }
}

/// Holds a line of the log back when it was written a moment ago, and counts how often.
private struct SparseLine {
    let period: Duration
    private var unsaid = 0
    private var saidAt: ContinuousClock.Instant?

    init(period: Duration) { self.period = period }

    /// How often it happened since the line was written last; nil while it must not be written.
    mutating func count(at now: ContinuousClock.Instant) -> Int? {
        unsaid += 1
        if let saidAt, now - saidAt < period { return nil }
        defer { (unsaid, saidAt) = (0, now) }
        return unsaid
    }
}

extension GossipRefusal {
    /// What an administrator can do about it.
    fileprivate var remedy: String {
        switch self {
        case .tooShort, .tooLong: "something that is no agent sends to this port"
        case .version: "an agent of another release: upgrade one of the two"
        case .otherPool:
            "an agent that takes this node for one of its own site: compare the sites in their certificates"
        case .unknownKey: "the keyrings differ: a rotation is under way, or that agent missed one and must join again"
        case .forged: "an agent of another cluster, or somebody who has no key: check who sends from there"
        case .replayed: "the network doubled it; when it goes on, compare that machine's clock, or look who sends again"
        case .ownName: "another agent has this node's name: issue a certificate of its own for it"
        }
    }
}

extension MembershipConfiguration {
    /// The same for a pool whose datagrams are longer by the tag of their pool: sealed they fit the same path.
    fileprivate func fitting(_ pool: PoolName) -> MembershipConfiguration {
        guard pool != .common else { return self }
        var configuration = self
        configuration.datagramByteLimit = max(768, datagramByteLimit - GossipSeal.poolTagByteCount)
        return configuration
    }
}

extension PoolName {
    /// What precedes a request for an exchange in a pool that has a name: 2, and the tag; in the common pool nothing does.
    fileprivate var envelope: [UInt8] {
        guard self != .common else { return [] }
        return [2] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: tag >> UInt32($0)) }
    }

    /// Which pool a request is for, by its tag, and the request without its envelope.
    static func opening(_ request: [UInt8]) -> (tag: UInt32, request: [UInt8]) {
        guard request.first == 2, request.count > 5 else { return (0, request) }
        return (request[1..<5].reduce(0) { $0 << 8 | UInt32($1) }, Array(request[5...]))
    }
}
