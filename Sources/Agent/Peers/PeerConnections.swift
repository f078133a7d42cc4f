import AgentConfiguration
import ClusterModel
import struct Containers.HeldFrames
import ControlMessages
import FoundationEssentials
import ImageStore
import NIO
import Raft
import SwiftProtobuf
import Synchronization
import TLS
import Transport

/// What is worth a log line about the connections to other agents.
enum PeerEvent: Sendable {
    case connected(NodeID)
    /// The first failure after a connection that worked; those that follow are only counted.
    case unreachable(NodeID, RPCFailure)
    /// The node answers, and takes no Raft messages from us; told once for a connection.
    case refused(NodeID, RPCFailure)
    /// A certificate, the node's or ours, is in the way of a connection; told for the first attempts only.
    case certificateRefused(NodeID, RPCFailure)
}

/// Which nodes take no Raft messages from this agent, or no connection because of a certificate, and why: for people.
final class PeerRefusals: Sendable {
    private let refusals = Mutex<[NodeID: String]>([:])

    /// Takes note of what happened; a new connection may be welcome again.
    func note(_ event: PeerEvent) {
        refusals.withLock { refusals in
            switch event {
            case .refused(let node, let failure):
                refusals[node] = "Node \(node) refuses this agent: \(failure.message)."
            case .certificateRefused(let node, let failure):
                refusals[node] = "Node \(node) cannot be reached: \(failure.message)."
            case .connected(let node): refusals[node] = nil
            case .unreachable: break
            }
        }
    }

    /// Says nothing more about a node that has left.
    func forget(_ node: NodeID) { refusals.withLock { $0[node] = nil } }

    /// A sentence for each node, by name.
    var problems: [String] {
        refusals.withLock { $0.sorted { $0.key < $1.key }.map(\.value) }
    }
}

/// What the connections to other agents have done since the agent began.
struct PeerStatistics: Sendable, Equatable {
    /// Raft messages that arrived.
    var messagesSent: UInt64 = 0
    /// Raft messages that made room for newer ones.
    var messagesDropped: UInt64 = 0
    /// Raft messages for members that could not be reached, or that nobody knows.
    var messagesUnreachable: UInt64 = 0
    /// Raft messages that were on the way when a connection ended, or that were refused.
    var messagesLost: UInt64 = 0
    /// Calls that carried Raft messages.
    var deliveries: UInt64 = 0
    var connections: UInt64 = 0
    var failedConnections: UInt64 = 0
}

/// Counts from any thread.
final class PeerCounters: Sendable {
    /// One number that only grows.
    final class Counter: Sendable {
        private let number = Atomic<UInt64>(0)
        var value: UInt64 { number.load(ordering: .relaxed) }
        func add(_ count: Int) {
            if count > 0 { number.wrappingAdd(UInt64(count), ordering: .relaxed) }
        }
    }

    let (sent, dropped, unreachable, lost) = (Counter(), Counter(), Counter(), Counter())
    let (deliveries, connected, failed) = (Counter(), Counter(), Counter())

    /// All numbers now.
    var statistics: PeerStatistics {
        PeerStatistics(
            messagesSent: sent.value,
            messagesDropped: dropped.value,
            messagesUnreachable: unreachable.value,
            messagesLost: lost.value,
            deliveries: deliveries.value,
            connections: connected.value,
            failedConnections: failed.value
        )
    }
}

/// The connections of this agent to all others.
///
/// At most one connection to a node for what agents ask, one for what they pass on for users, and one for copies of checkpoints; made when something is to be said,
/// kept open, made again after a pause that grows with each failure. Nothing is sent before the certificate at the other end
/// has shown the node that was wanted.
final class PeerConnections: PeerLink {
    /// This agent's node: it has no connection to itself.
    let node: NodeID
    private let surroundings: PeerSurroundings

    private struct Key: Hashable {
        let node: NodeID
        let lane: PeerLane
    }
    /// Nil after the end.
    private let connections = Mutex<[Key: PeerConnection]?>([:])

    /// Prepares to connect; nothing is connected yet.
    ///
    /// `address` is where the others reach this agent. `tls` gives the context of a client with the node's present certificate,
    /// each time one is needed. `generator` draws the pauses between attempts. `observe` may be called on an event loop and must
    /// not wait.
    init(
        node: NodeID,
        member: RaftMemberID,
        address: PeerAddress?,
        directory: PeerDirectory,
        software: String,
        group: any EventLoopGroup,
        settings: PeerSettings = PeerSettings(),
        generator: SeededGenerator,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
        tls: @escaping @Sendable () throws -> TLSContext,
        observe: @escaping @Sendable (PeerEvent) -> Void = { _ in }
    ) {
        self.node = node
        let chance = Mutex(generator)
        surroundings = PeerSurroundings(
            directory: directory,
            member: member,
            address: address?.text() ?? "",
            tls: tls,
            software: software,
            group: group,
            settings: settings,
            counters: PeerCounters(),
            now: now,
            chance: { chance.withLock { $0.unit() } },
            observe: observe
        )
    }

    var statistics: PeerStatistics { surroundings.counters.statistics }

    private func connection(to node: NodeID, _ lane: PeerLane) -> PeerConnection? {
        guard node != self.node else { return nil }
        return connections.withLock { connections in
            let key = Key(node: node, lane: lane)
            if let connection = connections?[key] { return connection }
            // Names come from users too: only nodes that somebody told of, which are bounded, get a connection.
            guard connections != nil, !surroundings.directory.addresses(of: node).isEmpty else { return nil }
            let connection = PeerConnection(node, lane: lane, surroundings)
            connections?[key] = connection
            return connection
        }
    }

    /// The connection to a node, made if need be; throws `RPCFailure`, always as not begun.
    func client(of node: NodeID, _ lane: PeerLane, within timeout: Duration?) async throws -> RPCClient {
        guard let connection = connection(to: node, lane) else {
            let why =
                if node == self.node {
                    "node \(node) is this agent itself"
                } else if connections.withLock({ $0 == nil }) {
                    "this agent is stopping: ask another agent"
                } else {
                    "node \(quoted(node.rawValue)) cannot be reached: nobody has told its address"
                }
            throw RPCFailure(.unavailable, why, wasNotBegun: true)
        }
        return try await connection.client(within: timeout)
    }

    // MARK: Raft

    func send(_ messages: [[UInt8]], to member: RaftMemberID) {
        guard let node = surroundings.directory.node(of: member), let connection = connection(to: node, .cluster) else {
            surroundings.counters.unreachable.add(messages.count)
            return
        }
        connection.send(messages)
    }

    func prepare(_ member: RaftMemberID) {
        guard let node = surroundings.directory.node(of: member) else { return }
        connection(to: node, .cluster)?.prepare()
    }

    /// Takes note that a node has called us, so that it is soon tried again if it could not be reached.
    func heard(from node: NodeID) {
        for lane in PeerLane.allCases {
            connections.withLock { $0?[Key(node: node, lane: lane)] }?.heard()
        }
    }

    // MARK: Calls

    private func call<Reply: SwiftProtobuf.Message>(
        _ method: WireMethod,
        _ request: some SwiftProtobuf.Message,
        _ node: NodeID,
        _ timeout: Duration
    ) async throws -> Reply {
        let end = ContinuousClock.now + timeout
        let client = try await client(of: node, .cluster, within: timeout)
        return try await client.call(method, request, timeout: end.remaining)
    }

    func propose(_ commands: [[UInt8]], to node: NodeID, timeout: Duration) async throws -> ProposeAnswer {
        let request = WireProposeRequest.with { request in
            request.commands = commands.map { Data($0) }
            request.lineage = surroundings.directory.lineage ?? 0
        }
        let reply: WireProposeReply = try await call(.propose, request, node, timeout)
        return try ProposeAnswer(reply, commandCount: commands.count)
    }

    func exchange(_ gossip: [UInt8], with node: NodeID, timeout: Duration) async throws -> [UInt8] {
        let request = WireGossipExchange.with { request in
            request.state = Data(gossip)
            request.lineage = surroundings.directory.lineage ?? 0
        }
        let reply: WireGossipExchange = try await call(.gossipExchange, request, node, timeout)
        return [UInt8](reply.state)
    }

    func ping(_ node: NodeID, timeout: Duration) async throws -> PeerStanding {
        let question = WirePeerPing.with { $0.member = surroundings.member.rawValue }
        let reply: WirePeerPong = try await call(.peerPing, question, node, timeout)
        return PeerStanding(reply)
    }

    func renew(_ request: [UInt8], from node: NodeID, timeout: Duration) async throws -> [UInt8] {
        let wire = WireRenewRequest.with { $0.request = Data(request) }
        let reply: WireRenewReply = try await call(.renew, wire, node, timeout)
        return [UInt8](reply.certificates)
    }

    func join(_ request: JoinRequest, at address: PeerAddress, timeout: Duration) async throws -> JoinAnswer {
        let end = ContinuousClock.now + timeout
        // Whoever answers there: its name is not known yet, its certificate is one of this cluster.
        let client = try await surroundings.connect(to: address)
        do {
            if case .node(_, _, node, _) = client.peer {
                throw RPCFailure(
                    .invalid,
                    "what answers at \(address.text()) is this agent itself: name another agent of the cluster to join"
                )
            }
            let reply: WireJoinReply = try await client.call(
                .join,
                request.wire,
                timeout: end.remaining
            )
            await client.close()
            return try JoinAnswer(reply)
        } catch {
            await client.close()
            throw error
        }
    }

    func fetchCopy(
        _ request: CopyRequest,
        from node: NodeID,
        receiving receive: @escaping @Sendable (CopyPiece) async throws -> Void
    ) async throws {
        let client = try await client(of: node, .copies, within: .seconds(10))
        let wire = request.wire(lineage: surroundings.directory.lineage ?? 0)
        for try await piece in client.stream(.copyFetch, wire, reply: WireCopyFetchReply.self) {
            try await receive(CopyPiece(piece))
        }
    }

    func offerCopy(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        to node: NodeID,
        timeout: Duration
    ) async throws {
        let wire = WireCopyOfferRequest(job, generation, lineage: surroundings.directory.lineage ?? 0)
        let _: WireCopyOfferReply = try await call(.copyOffer, wire, node, timeout)
    }

    func checkCopy(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        on node: NodeID,
        receiving receive: @escaping @Sendable (CopyCheck) async throws -> Void
    ) async throws {
        let client = try await client(of: node, .copies, within: .seconds(10))
        let wire = WireCopyCheckRequest.with {
            ($0.job, $0.generation) = (job.rawValue, generation.rawValue)
            $0.lineage = surroundings.directory.lineage ?? 0
        }
        for try await reply in client.stream(.copyCheck, wire, reply: WireCopyCheckReply.self) {
            try await receive(CopyCheck(reply))
        }
    }

    func forward(_ call: ForwardedCall, to node: NodeID, answering sink: any RPCSink) async throws {
        func remaining() -> Duration? { call.deadline?.remaining }
        let client = try await client(of: node, .users, within: remaining())
        let payload: ByteBuffer
        do {
            payload = ByteBuffer(bytes: try call.wire.serializedBytes() as [UInt8])
        } catch {
            throw RPCFailure(.internal, "the call cannot be passed on to node \(node): \(error)", wasNotBegun: true)
        }
        if call.request.method.isStreamed {
            for try await message in client.stream(.forward, payload: payload, timeout: remaining()) {
                try await sink.send(message)
            }
        } else {
            sink.reply(try await client.call(.forward, payload: payload, timeout: remaining()))
        }
    }

    // MARK: End

    /// Closes the connections to peers whose certificates fulfil the condition; whoever needs one connects anew, and the handshake judges.
    ///
    /// - Returns: how many there were.
    func disconnect(where condition: (CertificateSummary) -> Bool) async -> Int {
        let clients = connections.withLock { $0?.values.compactMap(\.openClient) ?? [] }
        let ended = clients.filter { $0.certificate.map(condition) ?? false }
        for client in ended { await client.close() }
        return ended.count
    }

    /// Closes the connections to a node that has left; a later request connects anew.
    func forget(_ node: NodeID) async {
        let ended = connections.withLock { connections in
            PeerLane.allCases.compactMap { connections?.removeValue(forKey: Key(node: node, lane: $0)) }
        }
        for connection in ended { await connection.end() }
    }

    /// Closes all connections for good.
    func shutdown() async {
        let ended = connections.withLock { connections in
            defer { connections = nil }
            return connections ?? [:]
        }
        await withDiscardingTaskGroup { group in
            for (_, connection) in ended { group.addTask { await connection.end() } }
        }
    }
}

extension ContinuousClock.Instant {
    /// The time until then, at least zero.
    fileprivate var remaining: Duration { max(.zero, ContinuousClock.now.duration(to: self)) }
}

extension PeerConnections: MigrationLink {
    func fetchMigration(
        _ request: MigrationRequest,
        from node: NodeID,
        receiving receive: @escaping @Sendable (MigrationPart) async throws -> Void
    ) async throws {
        let client = try await client(of: node, .migrations, within: .seconds(10))
        let wire = request.wire(lineage: surroundings.directory.lineage ?? 0)
        for try await part in client.stream(.migrationFetch, wire, reply: WireMigrationFetchReply.self) {
            try await receive(MigrationPart(part))
        }
    }

    func fetchFrames(
        _ request: MigrationRequest,
        from node: NodeID,
        receiving receive: @escaping @Sendable (HeldFrames) async throws -> Void
    ) async throws {
        let client = try await client(of: node, .migrations, within: .seconds(1))
        let wire = WireMigrationFramesRequest.with { wire in
            (wire.job, wire.number) = (request.job.rawValue, request.number)
            wire.lineage = surroundings.directory.lineage ?? 0
        }
        for try await part in client.stream(.migrationFrames, wire, reply: WireMigrationFramesReply.self) {
            try await receive(HeldFrames(part))
        }
    }

    func fetchPages(_ request: PagesRequest, from node: NodeID) async throws -> [DumpPiece] {
        let client = try await client(of: node, .migrations, within: .seconds(10))
        let wire = request.wire(lineage: surroundings.directory.lineage ?? 0)
        // The bound of bandwidth may hold an answer back for long; a line that is dead is found out by the connection.
        let timeout = Duration.seconds(120)
        return try PagesReply.pieces(
            try await client.call(.migrationPages, wire, timeout: timeout, reply: WireMigrationPagesReply.self)
        )
    }
}
