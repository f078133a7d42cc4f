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
    private let address = Mutex<PeerAddress?>(nil)
    private let shell = Mutex<MembershipShell?>(nil)

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
    func isReached(at other: PeerAddress) { address.withLock { $0 = other } }

    /// Nodes that gossip doubts or holds for dead.
    func suspects() async -> Set<NodeID> {
        Set(await members().filter { $0.status == .suspect || $0.status == .dead }.map(\.node))
    }

    /// Everybody that gossip knows; empty while this agent takes no part.
    func members() async -> [Member] { await shell.withLock { $0 }?.members ?? [] }

    /// Takes in what another agent's gossip knows, and gives what ours knew.
    func answerExchange(_ request: [UInt8]) async throws -> [UInt8] {
        guard let shell = shell.withLock({ $0 }) else {
            throw RPCFailure(.unavailable, "this agent does not take part in gossip yet; try again")
        }
        return try await shell.answerExchange(request)
    }

    // MARK: Taking part

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var version: UInt64 = 0
            while !Task.isCancelled {
                if let keyring = await self.replica.state.keyring, keyring.version != version {
                    if await self.use(keyring) { version = keyring.version }
                }
                if let shell = self.shell.withLock({ $0 }) { await shell.setFacts(await self.summary()) }
                try? await Task.sleep(for: .milliseconds(500))
            }
        }
        guard let shell = shell.withLock({ $0 }) else { return }
        await shell.leave()
        await shell.close()
    }

    /// Seals with these keys from now on; false when that has to be tried again.
    private func use(_ stored: StoredKeyring) async -> Bool {
        do {
            let keyring = try GossipKeyring.decode(stored.secret.bytes.span)
            if let shell = shell.withLock({ $0 }) {
                try await shell.setKeyring(keyring)
                return true
            }
            try await open(keyring)
            return true
        } catch {
            logger.warning("gossip.failed", metadata: ["error": "\(error)"])
            return false
        }
    }

    private func open(_ keyring: GossipKeyring) async throws {
        guard let address = address.withLock({ $0 }), let port = address.port,
            let own = try await endpoint(of: address, port: port)
        else { throw RPCFailure(.unavailable, "this agent's own address is not known yet") }
        let loop = group.next()
        var settings = MembershipSettings(
            cluster: facts.cluster,
            node: facts.node,
            endpoint: MemberEndpoint(own),
            // Above that of every earlier life, as long as the clock does not go back.
            incarnation: MemberIncarnation(rawValue: UInt32(truncatingIfNeeded: Int64(now().seconds))),
            keyring: keyring,
            life: try .random(now: now()),
            seed: .random(in: .min ... .max)
        )
        let sites = Set(await replica.state.nodes.filter(\.state.isLive).map(\.site))
        settings.configuration =
            switch profile {
            case .lan: .lan
            case .wan: .wan
            case .auto: sites.count > 1 ? .wan : .lan
            }
        let gossipPort = try await GossipPort.open(
            own,
            datagramByteLimit: settings.configuration.datagramByteLimit,
            eventLoop: loop,
            logger: logger
        )
        let made = try MembershipShell(
            settings,
            link: gossipPort,
            streams: self,
            eventLoop: loop,
            registry: registry,
            logger: logger
        )
        await made.start()
        shell.withLock { $0 = made }
        var seeds: [MemberEndpoint] = []
        for record in await replica.state.nodes where record.node != facts.node && record.state.isLive {
            guard let address = try? PeerAddress(record.address), let port = address.port,
                let endpoint = try? await endpoint(of: address, port: port)
            else { continue }
            seeds.append(MemberEndpoint(endpoint))
        }
        guard !seeds.isEmpty else { return }
        let known = try await made.join(seeds: seeds)
        logger.notice("gossip.joined", metadata: ["members": "\(known)"])
    }

    /// The numeric address of a name.
    private func endpoint(of address: PeerAddress, port: Int) async throws -> DatagramAddress? {
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
            for record in await replica.state.nodes {
                guard let address = try? PeerAddress(record.address), let port = address.port,
                    let known = try? await self.endpoint(of: address, port: port), MemberEndpoint(known) == endpoint
                else { continue }
                asked = record.node
            }
        }
        guard let asked else { throw RPCFailure(.notFound, "no node of the cluster is at \(endpoint)") }
        return try await peers.exchange(request, with: asked, timeout: .seconds(5))
    }
}
