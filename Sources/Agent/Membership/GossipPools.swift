import ClusterModel
import Logging
import NIO
import SWIM
import Transport

/// A node of the cluster as the replicated state lists it, for the plan of the pools.
struct GossipNode: Sendable, Hashable {
    var plan: PoolPlan.Node
    /// Where it is reached; nil while its name cannot be resolved.
    var endpoint: MemberEndpoint?
}

/// The pools that an agent takes part in, and what it carries between them.
///
/// A shell for each pool on one event loop and one port. Follows the plan: a pool that the node should be in is opened and joined, and
/// one that it should be in no longer is left, but only after the others had time to do the same.
actor GossipPools {
    nonisolated let eventLoop: any EventLoop
    nonisolated private let executor: any SerialExecutor
    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe executor.asUnownedSerialExecutor() }

    /// How long a node stays in a pool that it is to leave, and how long a site must be without a gateway before another stands in.
    static let patience: Duration = .seconds(5)
    /// How often the list of nodes is looked through for members that the pool does not know.
    private static let seekPeriod: Duration = .seconds(60)
    /// How often what changed in one pool is carried into the other.
    private static let carryPeriod: TimeAmount = .milliseconds(100)

    /// What is the same in all pools.
    struct Base: Sendable {
        var own: PoolPlan.Node
        var cluster: ClusterID
        var endpoint: MemberEndpoint
        /// The incarnation and the life of a pool that is opened now.
        var begin: @Sendable () throws -> (incarnation: MemberIncarnation, life: GossipSeal.Life)
        var profile: GossipProfile
    }

    /// Settings by name; `auto` takes those for wide-area networks where a pool spans sites.
    enum GossipProfile: Sendable { case lan, wan, auto }

    private struct Pool {
        let shell: MembershipShell
        var settings: MembershipConfiguration
        var leavingSince: ContinuousClock.Instant?
        var joining: Task<Void, Never>?
        /// When members that the list has and the pool does not were looked for.
        var soughtAt = ContinuousClock.now
    }

    private let base: Base
    private let port: GossipPort
    private let streams: any GossipStreams
    private let registry: MetricsRegistry
    private let logger: Logger
    private var keyring: GossipKeyring
    private var pools: [PoolName: Pool] = [:]
    private var facts: NodeFactsSummary?
    private var withoutGatewaySince: ContinuousClock.Instant?
    private var withGatewaySince: ContinuousClock.Instant?
    private var standsIn = false
    private var carrying: RepeatedTask?
    private var isClosed = false

    init(
        _ base: Base,
        keyring: GossipKeyring,
        port: GossipPort,
        streams: any GossipStreams,
        eventLoop: any EventLoop,
        registry: MetricsRegistry,
        logger: Logger
    ) {
        self.eventLoop = eventLoop
        executor = eventLoop.executor
        (self.base, self.keyring, self.port, self.streams) = (base, keyring, port, streams)
        (self.registry, self.logger) = (registry, logger)
    }

    // MARK: The plan

    /// Takes part in the pools that this list of the cluster's nodes asks for; called whenever it may have changed, and now and then.
    /// - Throws: `MembershipConfigurationError`, `TLSError`; what was opened stays.
    func follow(_ nodes: [GossipNode]) async throws {
        guard !isClosed else { return }
        let plan = PoolPlan(own: base.own, nodes: nodes.map(\.plan))
        let now = ContinuousClock.now
        standsIn = await mustStandIn(plan, nodes, now)
        var wanted: Set<PoolName> = [plan.home]
        if plan.isGateway || standsIn { wanted.insert(.common) }
        for name in wanted.sorted() {
            let settings = configuration(of: name, plan)
            if pools[name] == nil {
                try await open(name, settings, nodes, plan)
            } else if pools[name]?.settings != settings {
                try await pools[name]?.shell.adopt(settings)
                pools[name]?.settings = settings
            }
            pools[name]?.leavingSince = nil
            await seek(name, nodes, plan, now)
        }
        let existing = Set(plan.members.keys)
        for (name, pool) in pools {
            if wanted.contains(name) {
                await pool.shell.keep(pools: existing)
                continue
            }
            // The others find out about the new plan at their own pace; until then this node is to be seen here.
            let since = pool.leavingSince ?? now
            pools[name]?.leavingSince = since
            if now - since >= Self.patience { await leave(name) }
        }
        await setBridging(pools.count > 1)
    }

    private func configuration(of pool: PoolName, _ plan: PoolPlan) -> MembershipConfiguration {
        switch base.profile {
        case .lan: .lan
        case .wan: .wan
        case .auto: pool == .common && plan.commonSpansSites ? .wan : .lan
        }
    }

    /// Whether this node has had to take a gateway's part for long enough, or must go on with it.
    private func mustStandIn(_ plan: PoolPlan, _ nodes: [GossipNode], _ now: ContinuousClock.Instant) async -> Bool {
        guard plan.home != .common, !plan.isGateway, let home = pools[plan.home]?.shell else { return false }
        let gateways = Set(nodes.filter(\.plan.isGateway).map(\.plan.node))
        guard await home.state == .running else { return standsIn }
        if plan.mustStandIn(own: MemberKey(base.own.node), view: await home.members, gateways: gateways) {
            withGatewaySince = nil
            withoutGatewaySince = withoutGatewaySince ?? now
        } else {
            withoutGatewaySince = nil
            withGatewaySince = withGatewaySince ?? now
        }
        if let since = withoutGatewaySince, now - since >= Self.patience {
            if !standsIn { logger.notice("gossip.standsIn", metadata: ["pool": "\(plan.home)"]) }
            return true
        }
        if let since = withGatewaySince, now - since >= Self.patience { return false }
        return standsIn
    }

    private func open(
        _ name: PoolName,
        _ configuration: MembershipConfiguration,
        _ nodes: [GossipNode],
        _ plan: PoolPlan
    ) async throws {
        let (incarnation, life) = try base.begin()
        var settings = MembershipSettings(
            cluster: base.cluster,
            node: base.own.node,
            endpoint: base.endpoint,
            incarnation: incarnation,
            keyring: keyring,
            life: life,
            seed: .random(in: .min ... .max)
        )
        (settings.pool, settings.configuration) = (name, configuration)
        let shell = try MembershipShell(
            settings,
            link: port.lane(for: name),
            streams: streams,
            eventLoop: eventLoop,
            registry: registry,
            logger: logger
        )
        pools[name] = Pool(shell: shell, settings: configuration)
        await shell.start()
        if let facts { await shell.setFacts(facts) }
        let seeds = seeds(of: name, nodes, plan, besides: [])
        let logger = logger
        pools[name]?.joining = Task(name: "gossip.join \(name)") {
            while !Task.isCancelled {
                do {
                    try await shell.join(seeds: seeds)
                    return
                } catch is CancellationError { return } catch MembershipShellError.ended { return } catch {
                    logger.warning("gossip.failed", metadata: ["pool": "\(name)", "error": "\(error)"])
                }
            }
        }
    }

    private func seeds(
        of name: PoolName,
        _ nodes: [GossipNode],
        _ plan: PoolPlan,
        besides known: Set<NodeID>
    ) -> [MemberEndpoint] {
        let members = Set(plan.members[name, default: []]).subtracting(known).subtracting([base.own.node])
        return nodes.filter { members.contains($0.plan.node) }.compactMap(\.endpoint)
    }

    /// Asks members that the list has and the pool does not, as after a partition that lasted until the dead were forgotten.
    private func seek(_ name: PoolName, _ nodes: [GossipNode], _ plan: PoolPlan, _ now: ContinuousClock.Instant) async {
        guard let pool = pools[name], now - pool.soughtAt >= Self.seekPeriod else { return }
        pools[name]?.soughtAt = now
        guard await pool.shell.state == .running else { return }
        let known = Set(await pool.shell.members.map(\.node))
        let seeds = seeds(of: name, nodes, plan, besides: known)
        guard !seeds.isEmpty else { return }
        let shell = pool.shell
        pools[name]?.joining?.cancel()
        pools[name]?.joining = Task(name: "gossip.seek \(name)") { _ = try? await shell.join(seeds: seeds) }
    }

    private func leave(_ name: PoolName) async {
        guard let pool = pools.removeValue(forKey: name) else { return }
        pool.joining?.cancel()
        await pool.shell.leave()
        await pool.shell.close()
    }

    // MARK: Between the pools

    private func setBridging(_ isBridging: Bool) async {
        for pool in pools.values { await pool.shell.setBridging(isBridging) }
        guard isBridging != (carrying != nil), !isClosed else { return }
        carrying?.cancel()
        carrying = nil
        guard isBridging else { return }
        carrying = eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: Self.carryPeriod) { [weak self] _ in
            guard let self else { return }
            self.assumeIsolated { $0.carry() }
        }
    }

    /// Carries what each pool learned into the others; all shells are on this loop, so nothing waits.
    private func carry() {
        let shells = pools.sorted { $0.key < $1.key }.map(\.value.shell)
        for shell in shells {
            let changes = shell.assumeIsolated { $0.takeChanges() }
            guard !changes.isEmpty else { continue }
            for other in shells where other !== shell { other.assumeIsolated { $0.tell(changes) } }
        }
    }

    // MARK: For the agent

    /// All nodes that any of the pools knows, in the order of their keys.
    func view() -> [SeenMember] {
        PoolSnapshot.combined(pools.values.map { $0.shell.assumeIsolated { $0.snapshot } })
    }

    /// The pools that this node is in, in the order of their names.
    var names: [PoolName] { pools.keys.sorted() }

    /// The shell of a pool, while this node is in it.
    func shell(of pool: PoolName) -> MembershipShell? { pools[pool]?.shell }

    /// Tells all members of its pools these facts about this node.
    func setFacts(_ facts: NodeFactsSummary) async {
        self.facts = facts
        for pool in pools.values { await pool.shell.setFacts(facts) }
    }

    /// Seals and opens with these keys from now on.
    /// - Throws: `TLSError` when libcrypto has no memory.
    func setKeyring(_ keyring: GossipKeyring) async throws {
        self.keyring = keyring
        for pool in pools.values { try await pool.shell.setKeyring(keyring) }
    }

    /// Answers the request that another agent's shell sent over a stream.
    /// - Throws: `DecodeError` for bytes that no shell writes; `MembershipShellError` when this node is not in that pool.
    func answerExchange(_ envelope: [UInt8]) async throws -> [UInt8] {
        let (tag, request) = PoolName.opening(envelope)
        guard let shell = pools.first(where: { $0.key.tag == tag })?.value.shell else {
            throw MembershipShellError.otherPool
        }
        return try await shell.answerExchange(request)
    }

    /// Says goodbye in all pools, and returns when the others know or the time for it is over.
    func leave() async {
        carrying?.cancel()
        carrying = nil
        // At home first: it tells the others through the gateways as long as there are any.
        for pool in pools.sorted(by: { $0.key > $1.key }) {
            pool.value.joining?.cancel()
            await pool.value.shell.leave()
            if pools.count > 1 { carry() }
        }
    }

    /// Ends everything; without `leave` before, the others find it out by themselves.
    func close() async {
        guard !isClosed else { return }
        isClosed = true
        carrying?.cancel()
        carrying = nil
        for pool in pools.values {
            pool.joining?.cancel()
            await pool.shell.close()
        }
        pools = [:]
        await port.close()
    }
}
