import AgentConfiguration
import ClusterModel
import ClusterState
import Logging
import NIO
import SWIM
import ServiceLifecycle
import Synchronization
import Transport

/// Takes part in the gossip of the cluster's agents, from the moment at which there is more than one and a keyring to seal with.
///
/// Gossip finds crashes within seconds and doubts before that: nothing new is placed on a node that it doubts, and people see it. What may be
/// run where is not its business; for that a leader counts on its own clock.
final class GossipService: Service, GossipStreams {
    private let facts: NodeFacts
    private let replica: Replica
    private let peers: any PeerLink
    private let group: any EventLoopGroup
    private let profile: GossipConfiguration.Profile
    private let registry: MetricsRegistry
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    /// What the node tells the others about itself now.
    private let summary: @Sendable () async -> NodeFactsSummary

    private struct State {
        var address: PeerAddress?
        var pools: GossipPools?
        var hasLeft = false
        /// Numeric addresses of the nodes' names, so that a name is looked up once.
        var resolved: [String: MemberEndpoint] = [:]
        /// The nodes that the pools follow, and the records from which they were made.
        var followed: (records: [NodeRecord], nodes: [GossipNode], isComplete: Bool)?
    }

    private let state = Mutex(State())

    init(
        facts: NodeFacts,
        replica: Replica,
        peers: any PeerLink,
        group: any EventLoopGroup,
        profile: GossipConfiguration.Profile,
        registry: MetricsRegistry,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp,
        summary: @escaping @Sendable () async -> NodeFactsSummary
    ) {
        (self.facts, self.replica, self.peers, self.summary) = (facts, replica, peers, summary)
        self.profile = profile
        (self.group, self.registry, self.logger, self.now) = (group, registry, logger, now)
    }

    /// Takes note of the address under which others reach this agent; datagrams use the same port.
    func isReached(at other: PeerAddress) { state.withLock { $0.address = other } }

    private var pools: GossipPools? { state.withLock { $0.pools } }

    /// Every node that gossip knows, at this site and at others, with its facts; empty while this agent takes no part.
    func view() async -> [SeenMember] { await pools?.view() ?? [] }

    /// Nodes that gossip doubts or holds for dead, and those of sites that are cut off.
    func suspects() async -> Set<NodeID> { Set(await view().filter(\.isDoubted).map(\.member.node)) }

    /// Everybody that gossip knows, as `view`, without where it is known from.
    func members() async -> [Member] { await view().map(\.member) }

    /// Takes in what another agent's gossip knows, and gives what ours knew.
    func answerExchange(_ request: [UInt8]) async throws -> [UInt8] {
        guard let pools else {
            throw RPCFailure(.unavailable, "this agent does not take part in gossip yet; try again")
        }
        return try await pools.answerExchange(request)
    }

    /// Says goodbye to all members and takes no part any more until the agent starts anew; they know within seconds.
    func leave() async {
        let pools = state.withLock { state in
            state.hasLeft = true
            return state.pools.take()
        }
        await pools?.leave()
        await pools?.close()
    }

    // MARK: Taking part

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var version: UInt64 = 0
            while !Task.isCancelled {
                if let keyring = await self.replica.state.keyring, keyring.version != version {
                    if await self.use(keyring) { version = keyring.version }
                }
                if let pools = self.pools {
                    await self.follow(pools)
                    await pools.setFacts(await self.ownFacts())
                }
                try? await Task.sleep(for: .milliseconds(500))
            }
        }
        await leave()
    }

    private func ownFacts() async -> NodeFactsSummary {
        var summary = await summary()
        if let address = state.withLock({ $0.address }) { summary.address = "\(address)" }
        return summary
    }

    /// Takes part in the pools that the cluster's nodes, as they are now, ask for.
    private func follow(_ pools: GossipPools) async {
        let records = await replica.state.nodes
        // Twice a second, and mostly nothing is new; names that could not be resolved are tried again.
        let known = state.withLock { $0.followed }.flatMap { $0.records == records && $0.isComplete ? $0.nodes : nil }
        var nodes = known ?? []
        if known == nil {
            for record in records where record.state != .left {
                let plan = PoolPlan.Node(node: record.node, site: record.site, isGateway: record.role == .gateway)
                // Who is lost is expected in its pool, and not asked for it.
                nodes.append(GossipNode(plan: plan, endpoint: record.state.isLive ? await endpoint(of: record) : nil))
            }
            let expected = records.count { $0.state.isLive }
            let isComplete = nodes.count { $0.endpoint != nil } == expected
            state.withLock { $0.followed = (records, nodes, isComplete) }
        }
        do { try await pools.follow(nodes) } catch {
            logger.warning("gossip.failed", metadata: ["error": "\(error)"])
        }
    }

    /// Seals with these keys from now on; false when that has to be tried again.
    private func use(_ stored: StoredKeyring) async -> Bool {
        do {
            let keyring = try GossipKeyring.decode(stored.secret.bytes.span)
            if let pools {
                try await pools.setKeyring(keyring)
            } else if !state.withLock({ $0.hasLeft }) {
                try await open(keyring)
            }
            return true
        } catch {
            logger.warning("gossip.failed", metadata: ["error": "\(error)"])
            return false
        }
    }

    private func open(_ keyring: GossipKeyring) async throws {
        guard let address = state.withLock({ $0.address }), let port = address.port,
            let own = try await numeric(address, port: port)
        else { throw RPCFailure(.unavailable, "this agent's own address is not known yet") }
        let loop = group.next()
        let gossipPort = try await GossipPort.open(
            own,
            datagramByteLimit: MembershipConfiguration.lan.datagramByteLimit,
            eventLoop: loop,
            logger: logger
        )
        let now = now
        let made = GossipPools(
            GossipPools.Base(
                own: PoolPlan.Node(node: facts.node, site: facts.site, isGateway: facts.role == .gateway),
                cluster: facts.cluster,
                endpoint: gossipPort.endpoint,
                begin: {
                    // Above those of every earlier life, as long as the clock does not go back.
                    let incarnation = MemberIncarnation(rawValue: UInt32(truncatingIfNeeded: Int64(now().seconds)))
                    return (incarnation, try .random(now: now()))
                },
                profile: profile == .lan ? .lan : profile == .wan ? .wan : .auto
            ),
            keyring: keyring,
            port: gossipPort,
            streams: self,
            eventLoop: loop,
            registry: registry,
            logger: logger
        )
        let hasLeft = state.withLock { state in
            if !state.hasLeft { state.pools = made }
            return state.hasLeft
        }
        if hasLeft { await made.close() }
    }

    /// Where a node is reached; nil while its name cannot be resolved.
    private func endpoint(of record: NodeRecord) async -> MemberEndpoint? {
        if let known = state.withLock({ $0.resolved[record.address] }) { return known }
        guard let address = try? PeerAddress(record.address), let port = address.port,
            let endpoint = try? await numeric(address, port: port)
        else { return nil }
        state.withLock { state in
            if state.resolved.count > 20_000 { state.resolved = [:] }
            state.resolved[record.address] = MemberEndpoint(endpoint)
        }
        return MemberEndpoint(endpoint)
    }

    /// The numeric address of a name.
    private func numeric(_ address: PeerAddress, port: Int) async throws -> DatagramAddress? {
        if let numeric = DatagramAddress(numeric: address.host, port: UInt16(clamping: port)) { return numeric }
        let resolved = try SocketAddress.makeAddressResolvingHost(address.host, port: port)
        return resolved.ipAddress.flatMap { DatagramAddress(numeric: $0, port: UInt16(clamping: port)) }
    }

    // MARK: Streams of the membership

    @concurrent func probe(node: NodeID, endpoint: MemberEndpoint) async throws {
        _ = try await peers.ping(node, timeout: .seconds(3))
    }

    @concurrent func exchange(request: [UInt8], node: NodeID?, endpoint: MemberEndpoint) async throws -> [UInt8] {
        // A seed's name is not known to the membership yet; the cluster's list of nodes has it.
        var asked = node
        if asked == nil {
            for record in await replica.state.nodes where await self.endpoint(of: record) == endpoint {
                asked = record.node
            }
        }
        guard let asked else { throw RPCFailure(.notFound, "no node of the cluster is at \(endpoint)") }
        return try await peers.exchange(request, with: asked, timeout: .seconds(5))
    }
}
