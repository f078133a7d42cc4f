import AgentConfiguration
import ClusterModel
import ControlMessages
import Foundation
import NIO
import Raft
import SwiftProtobuf
import Synchronization
import TLS
import Transport

@testable import Agent

/// Agents that talk to each other without sockets: the twin of `PeerConnections`.
///
/// It checks who speaks and passes calls on as the real one does, because the same `PeerService` and `RoutingHandler` answer. Raft messages
/// arrive at once and in order unless the way is cut; cut ways lose them and refuse calls as not begun.
final class PeersInMemoryNetwork: Sendable {
    private struct Agent {
        let identity: PeerIdentity
        let member: RaftMemberID
        let handler: any RPCHandler
    }
    private struct Way: Hashable {
        let from: NodeID
        let to: NodeID
    }
    private struct State {
        var agents: [NodeID: Agent] = [:]
        var cut: Set<Way> = []
        var withoutCopies: Set<NodeID> = []
    }
    private let state = Mutex(State())
    private static let cluster = ClusterID(rawValue: "flock")

    /// Makes the link of a new agent; it answers others once `attach` has told what answers.
    func link(of node: NodeID, member: RaftMemberID, directory: PeerDirectory) -> any PeerLink {
        Link(node: node, member: member, directory: directory, network: self)
    }

    /// Says what answers calls to a node, usually its `RoutingHandler`; replaces what answered before.
    func attach(_ handler: any RPCHandler, as node: NodeID, member: RaftMemberID) {
        state.withLock { $0.agents[node] = Agent(identity: Self.identity(node), member: member, handler: handler) }
    }

    /// Takes an agent off the network.
    func detach(_ node: NodeID) { state.withLock { $0.agents[node] = nil } }

    /// Cuts the way from one node to another, or mends it; the way back is another.
    func cut(from: NodeID, to: NodeID, _ isCut: Bool = true) {
        state.withLock { state in
            if isCut { state.cut.insert(Way(from: from, to: to)) } else { state.cut.remove(Way(from: from, to: to)) }
        }
    }

    /// Lets no copy come to a node, and all else: as a way does that loses what is large.
    func cutCopies(to node: NodeID, _ isCut: Bool = true) {
        state.withLock { state in
            if isCut { state.withoutCopies.insert(node) } else { state.withoutCopies.remove(node) }
        }
    }

    private static func identity(_ node: NodeID) -> PeerIdentity {
        .node(cluster: cluster, site: SiteID(rawValue: "coast"), node: node, role: .worker)
    }

    private func handler(of node: NodeID, for caller: NodeID) -> (any RPCHandler)? {
        state.withLock { state in
            // An answer needs the way back as well.
            guard !state.cut.contains(Way(from: caller, to: node)), !state.cut.contains(Way(from: node, to: caller))
            else { return nil }
            return state.agents[node]?.handler
        }
    }

    private func handlerOneWay(of node: NodeID, for caller: NodeID) -> (any RPCHandler)? {
        state.withLock { $0.cut.contains(Way(from: caller, to: node)) ? nil : $0.agents[node]?.handler }
    }

    private struct Link: PeerLink {
        let node: NodeID
        let member: RaftMemberID
        let directory: PeerDirectory
        let network: PeersInMemoryNetwork

        func send(_ messages: [[UInt8]], to member: RaftMemberID) {
            guard let node = directory.node(of: member), let handler = network.handlerOneWay(of: node, for: self.node)
            else { return }
            let delivery = WireRaftDelivery.with { delivery in
                delivery.messages = messages.map { .init($0) }
                delivery.fromMember = self.member.rawValue
                delivery.lineage = directory.lineage ?? 0
            }
            guard let bytes: [UInt8] = try? delivery.serializedBytes() else { return }
            _ = handler.answerAtOnce(request(.raft, ByteBuffer(bytes: bytes)))
        }

        func prepare(_ member: RaftMemberID) {}

        private func request(_ method: WireMethod, _ payload: ByteBuffer) -> RPCRequest {
            RPCRequest(method: method, payload: payload, peer: PeersInMemoryNetwork.identity(node))
        }

        /// Calls a method that answers once.
        private func call<Reply: SwiftProtobuf.Message>(
            _ method: WireMethod,
            _ message: some SwiftProtobuf.Message,
            _ node: NodeID,
            _ timeout: Duration
        ) async throws -> Reply {
            let answer = Answer()
            try await perform(
                request(method, ByteBuffer(bytes: try message.serializedBytes() as [UInt8])),
                node,
                deadline: .now + timeout,
                answer
            )
            guard let bytes = answer.bytes else {
                throw RPCFailure(.internal, "node \(node) ended the call without an answer")
            }
            return try Reply(serializedBytes: bytes.readableBytesSpan)
        }

        /// Has the other agent handle a call.
        ///
        /// As over a connection, who asks goes on when its time is over or when it is cancelled; the handler is cancelled then.
        private func perform(
            _ request: RPCRequest,
            _ node: NodeID,
            deadline: ContinuousClock.Instant?,
            _ sink: any RPCSink
        ) async throws {
            guard let handler = network.handler(of: node, for: self.node) else {
                throw RPCFailure(.unavailable, "node \(node) cannot be reached: the way is cut", wasNotBegun: true)
            }
            if let answer = handler.answerAtOnce(request) { return sink.reply(answer) }
            let reader = Reader(sink)
            let call = RPCCall(request: request, deadline: deadline, sink: reader)
            let (ends, end) = AsyncStream<RPCFailure?>.makeStream(bufferingPolicy: .bufferingOldest(1))
            let handling = Task(name: "call.handle") {
                do {
                    try await handler.handle(call)
                    end.yield(nil)
                } catch {
                    end.yield(error as? RPCFailure ?? RPCFailure(.internal, "\(error)"))
                }
            }
            let timing = deadline.map { deadline in
                Task(name: "call.time") {
                    try? await Task.sleep(until: deadline, clock: .continuous)  // polls: the time limit of the call
                    end.yield(RPCFailure(.deadlineExceeded, "node \(node) has not answered in time"))
                }
            }
            defer {
                handling.cancel()
                timing?.cancel()
                reader.leave()
            }
            for await failure in ends {
                if let failure { throw failure }
                return
            }
            throw RPCFailure(.cancelled, "the call was cancelled")
        }

        func propose(_ commands: [[UInt8]], to node: NodeID, timeout: Duration) async throws -> ProposeAnswer {
            let request = WireProposeRequest.with { request in
                request.commands = commands.map { .init($0) }
                request.lineage = directory.lineage ?? 0
            }
            let reply: WireProposeReply = try await call(.propose, request, node, timeout)
            return try ProposeAnswer(reply, commandCount: commands.count)
        }

        /// The host of the address is the node's name.
        func join(_ request: JoinRequest, at address: PeerAddress, timeout: Duration) async throws -> JoinAnswer {
            let reply: WireJoinReply = try await call(.join, request.wire, NodeID(rawValue: address.host), timeout)
            return try JoinAnswer(reply)
        }

        func exchange(_ gossip: [UInt8], with node: NodeID, timeout: Duration) async throws -> [UInt8] {
            let reply: WireGossipExchange = try await call(
                .gossipExchange,
                WireGossipExchange.with { request in
                    request.state = .init(gossip)
                    request.lineage = directory.lineage ?? 0
                },
                node,
                timeout
            )
            return [UInt8](reply.state)
        }

        func ping(_ node: NodeID, timeout: Duration) async throws -> PeerStanding {
            let question = WirePeerPing.with { $0.member = member.rawValue }
            let reply: WirePeerPong = try await call(.peerPing, question, node, timeout)
            return PeerStanding(reply)
        }

        func renew(_ request: [UInt8], from node: NodeID, timeout: Duration) async throws -> [UInt8] {
            let reply: WireRenewReply = try await call(
                .renew,
                WireRenewRequest.with { $0.request = .init(request) },
                node,
                timeout
            )
            return [UInt8](reply.certificates)
        }

        func fetchCopy(
            _ request: CopyRequest,
            from node: NodeID,
            receiving receive: @escaping @Sendable (CopyPiece) async throws -> Void
        ) async throws {
            let wire = request.wire(lineage: directory.lineage ?? 0)
            let network = network
            let from = self.node
            let pieces = Pieces { bytes in
                // The line may be cut between two pieces.
                guard network.handler(of: node, for: from) != nil,
                    !network.state.withLock({ $0.withoutCopies.contains(from) })
                else {
                    throw RPCFailure(.unavailable, "node \(node) cannot be reached: the way is cut")
                }
                try await receive(CopyPiece(try WireCopyFetchReply(serializedBytes: bytes.readableBytesSpan)))
            }
            let call = self.request(.copyFetch, ByteBuffer(bytes: try wire.serializedBytes() as [UInt8]))
            do { try await perform(call, node, deadline: nil, pieces) } catch {
                // What went wrong here is not what the other agent says of it.
                throw pieces.failure ?? error
            }
        }

        func offerCopy(
            _ job: JobID,
            _ generation: CheckpointGeneration,
            to node: NodeID,
            timeout: Duration
        ) async throws {
            let wire = WireCopyOfferRequest(job, generation, lineage: directory.lineage ?? 0)
            let _: WireCopyOfferReply = try await call(.copyOffer, wire, node, timeout)
        }

        func checkCopy(
            _ job: JobID,
            _ generation: CheckpointGeneration,
            on node: NodeID,
            receiving receive: @escaping @Sendable (CopyCheck) async throws -> Void
        ) async throws {
            let wire = WireCopyCheckRequest.with {
                ($0.job, $0.generation) = (job.rawValue, generation.rawValue)
                $0.lineage = directory.lineage ?? 0
            }
            let pieces = Pieces { bytes in
                try await receive(CopyCheck(try WireCopyCheckReply(serializedBytes: bytes.readableBytesSpan)))
            }
            let call = self.request(.copyCheck, ByteBuffer(bytes: try wire.serializedBytes() as [UInt8]))
            do { try await perform(call, node, deadline: nil, pieces) } catch { throw pieces.failure ?? error }
        }

        func forward(_ call: ForwardedCall, to node: NodeID, answering sink: any RPCSink) async throws {
            let payload = ByteBuffer(bytes: try call.wire.serializedBytes() as [UInt8])
            try await perform(request(.forward, payload), node, deadline: call.deadline, sink)
        }
    }

    /// Passes answers on to who asked, as long as somebody waits for them.
    private final class Reader: RPCSink {
        private let sink: Mutex<(any RPCSink)?>

        init(_ sink: any RPCSink) { self.sink = Mutex(sink) }
        func reply(_ bytes: ByteBuffer) { sink.withLock { $0?.reply(bytes) } }
        func send(_ bytes: ByteBuffer) async throws {
            guard let sink = sink.withLock({ $0 }) else { throw CancellationError() }
            try await sink.send(bytes)
        }
        func leave() { sink.withLock { $0 = nil } }
    }

    /// Hands on the messages of a stream, and keeps what their receiver throws.
    private final class Pieces: RPCSink {
        private let receive: @Sendable (ByteBuffer) async throws -> Void
        private let state = Mutex<(any Error)?>(nil)
        var failure: (any Error)? { state.withLock { $0 } }
        init(_ receive: @escaping @Sendable (ByteBuffer) async throws -> Void) { self.receive = receive }
        func reply(_ bytes: ByteBuffer) {}
        func send(_ bytes: ByteBuffer) async throws {
            do { try await receive(bytes) } catch {
                state.withLock { $0 = error }
                throw error
            }
        }
    }

    /// Keeps the one answer of a call.
    private final class Answer: RPCSink {
        private let state = Mutex<ByteBuffer?>(nil)
        var bytes: ByteBuffer? { state.withLock { $0 } }
        func reply(_ bytes: ByteBuffer) { state.withLock { $0 = bytes } }
        func send(_ bytes: ByteBuffer) async throws { reply(bytes) }
    }
}
