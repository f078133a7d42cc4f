import AgentConfiguration
import ClusterModel
import struct Containers.HeldFrames
import ControlMessages
import FoundationEssentials
import ImageStore
import NIO
import Raft
import SwiftProtobuf
import TLS
import Transport

/// What an agent does with what other agents ask it.
protocol PeerDelegate: Sendable {
    /// Takes in Raft messages, in order; called on an event loop, so it must hand them on and never wait.
    ///
    /// They were acknowledged when it returns, so what it keeps them in needs a bound; what is beyond it may be dropped. The sender is believed to be this member. That each message says the same is for the receiver to check, who reads them.
    func receive(_ messages: [[UInt8]], from member: RaftMemberID)

    /// Puts commands into the replicated log if this agent leads.
    ///
    /// With no command it renews the node's right to run containers, once this agent has made sure that it leads, and gives the last
    /// index of its log.
    func propose(_ commands: [[UInt8]], for node: NodeID) async throws -> ProposeAnswer

    /// Makes an agent a member; only called while this agent leads, as far as it knows.
    ///
    /// `identity` is a node's, by its certificate.
    func join(_ request: JoinRequest, from identity: PeerIdentity) async throws -> JoinAnswer

    /// Takes in what a node's gossip knows, and gives what ours knew before.
    func exchange(_ gossip: [UInt8], with node: NodeID) async throws -> [UInt8]

    /// Signs a node's next certificate if this agent has an issuer; gives it and those above it in PEM.
    ///
    /// `identity` and `certificate` are what the connection has shown.
    func renew(
        _ request: [UInt8],
        from identity: PeerIdentity,
        _ certificate: CertificateSummary?
    ) async throws -> [UInt8]

    /// Sends a copy of a checkpoint that is here, piece by piece; the next one may go when `sink` has returned.
    func sendCopy(_ request: CopyRequest, _ sink: (CopyPiece) async throws -> Void) async throws

    /// Hears that a node is writing a checkpoint, which this one will probably be asked to keep.
    func takeOffer(_ job: JobID, _ generation: CheckpointGeneration, from node: NodeID) async

    /// Reads a copy of a checkpoint that is here and acts on what it finds; `sink` hears how far it is, and last what came of it.
    func checkCopy(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        _ sink: (CopyCheck) async throws -> Void
    ) async throws

    /// Sends what is here of a job that moves to `node`, part by part; the next one may go when `sink` has returned.
    func sendMigration(
        _ request: MigrationRequest,
        to node: NodeID,
        _ sink: (MigrationPart) async throws -> Void
    ) async throws

    /// Sends a node what arrived here for the address of a job that is its now.
    func sendFrames(
        of request: MigrationRequest,
        to node: NodeID,
        _ sink: (HeldFrames) async throws -> Void
    ) async throws

    /// Gives memory of a job that moves to `node`, and that is not in what is sent of it.
    func sendPages(_ request: PagesRequest, to node: NodeID) async throws -> [DumpPiece]

    /// Whether a node's member was taken out of the cluster for good; called on an event loop, so it must not wait.
    func hasLeft(_ node: NodeID, member: RaftMemberID) -> Bool

    /// How this agent stands; called on an event loop, so it must not wait.
    func standing() -> PeerStanding

    /// Why a node whose certificate is good is refused all the same, one sentence; nil when it is welcome.
    ///
    /// Called on an event loop for each call, so it must not wait.
    func objection(to node: NodeID) -> String?
}

extension PeerDelegate {
    /// An agent that was given no issuer signs nothing.
    func renew(
        _ request: [UInt8],
        from identity: PeerIdentity,
        _ certificate: CertificateSummary?
    ) async throws -> [UInt8] {
        throw RPCFailure(
            .unimplemented,
            "this agent renews no certificates: `identity.issuer` of its configuration is empty"
        )
    }

    /// An agent without checkpoints has none to send.
    func sendCopy(_ request: CopyRequest, _ sink: (CopyPiece) async throws -> Void) async throws {
        throw RPCFailure(.notFound, "this agent keeps no checkpoints")
    }

    /// An agent without checkpoints takes none.
    func takeOffer(_ job: JobID, _ generation: CheckpointGeneration, from node: NodeID) async {}

    /// An agent without checkpoints has none to check.
    func checkCopy(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        _ sink: (CopyCheck) async throws -> Void
    ) async throws {
        throw RPCFailure(.notFound, "this agent keeps no checkpoints")
    }

    /// An agent without containers has none to send.
    func sendMigration(
        _ request: MigrationRequest,
        to node: NodeID,
        _ sink: (MigrationPart) async throws -> Void
    ) async throws {
        throw RPCFailure(.notFound, "this agent runs no jobs")
    }

    /// An agent without containers has none.
    func sendFrames(
        of request: MigrationRequest,
        to node: NodeID,
        _ sink: (HeldFrames) async throws -> Void
    ) async throws {
        throw RPCFailure(.notFound, "this agent runs no jobs")
    }

    /// An agent without containers has none to send memory of.
    func sendPages(_ request: PagesRequest, to node: NodeID) async throws -> [DumpPiece] {
        throw RPCFailure(.notFound, "this agent runs no jobs")
    }

    /// Nobody has left.
    func hasLeft(_ node: NodeID, member: RaftMemberID) -> Bool { false }

    /// Every node of the cluster is welcome.
    func objection(to node: NodeID) -> String? { nil }
}

/// Answers what other agents ask: methods from 100 on.
struct PeerService: RPCHandler {
    private let delegate: any PeerDelegate
    private let directory: PeerDirectory
    private let heard: @Sendable (NodeID) -> Void

    /// `heard` is told, on an event loop, of each node that sent Raft messages.
    init(delegate: any PeerDelegate, directory: PeerDirectory, heard: @escaping @Sendable (NodeID) -> Void = { _ in }) {
        (self.delegate, self.directory, self.heard) = (delegate, directory, heard)
    }

    /// Raft messages and pings: in the order in which they arrive, without a task.
    func answerAtOnce(_ request: RPCRequest) -> ByteBuffer? {
        // What is wrong is found again, and told, by `handle`.
        switch request.method {
        case .raft: try? deliver(request)
        case .peerPing: try? pong(request)
        default: nil
        }
    }

    func handle(_ call: RPCCall) async throws {
        let node = try caller(call.request)
        switch call.method {
        case .raft:
            _ = try deliver(call.request)
            call.reply(WireRaftReceipt())
        case .peerPing: call.sink.reply(try pong(call.request))
        case .propose:
            let request = try call.decode(WireProposeRequest.self)
            try requireLineage(request.lineage, of: node)
            call.reply(try await delegate.propose(request.commands.map { [UInt8]($0) }, for: node).wire)
        case .join:
            let request = try JoinRequest(try call.decode(WireJoinRequest.self))
            call.reply(try await delegate.join(request, from: call.peer).wire)
        case .gossipExchange:
            let request = try call.decode(WireGossipExchange.self)
            try requireLineage(request.lineage, of: node)
            let answer = try await delegate.exchange([UInt8](request.state), with: node)
            call.reply(
                WireGossipExchange.with { reply in
                    reply.state = Data(answer)
                    reply.lineage = request.lineage
                }
            )
        case .renew:
            let request = [UInt8](try call.decode(WireRenewRequest.self).request)
            let answer = try await delegate.renew(request, from: call.peer, call.request.certificate)
            call.reply(WireRenewReply.with { $0.certificates = Data(answer) })
        case .copyFetch:
            let request = try call.decode(WireCopyFetchRequest.self)
            try requireLineage(request.lineage, of: node)
            try await delegate.sendCopy(CopyRequest(request)) { piece in try await call.send(piece.wire) }
        case .copyOffer:
            let request = try call.decode(WireCopyOfferRequest.self)
            try requireLineage(request.lineage, of: node)
            await delegate.takeOffer(
                JobID(rawValue: request.job),
                CheckpointGeneration(rawValue: request.generation),
                from: node
            )
            call.reply(WireCopyOfferReply())
        case .copyCheck:
            let request = try call.decode(WireCopyCheckRequest.self)
            try requireLineage(request.lineage, of: node)
            try await delegate.checkCopy(
                JobID(rawValue: request.job),
                CheckpointGeneration(rawValue: request.generation)
            ) { check in try await call.send(check.wire) }
        case .migrationFetch:
            let request = try call.decode(WireMigrationFetchRequest.self)
            try requireLineage(request.lineage, of: node)
            try await delegate.sendMigration(MigrationRequest(request), to: node) { part in
                try await call.send(part.wire)
            }
        case .migrationFrames:
            let request = try call.decode(WireMigrationFramesRequest.self)
            try requireLineage(request.lineage, of: node)
            let move = MigrationRequest(job: JobID(rawValue: request.job), number: request.number)
            try await delegate.sendFrames(of: move, to: node) { held in try await call.send(held.wire) }
        case .migrationPages:
            let request = try call.decode(WireMigrationPagesRequest.self)
            try requireLineage(request.lineage, of: node)
            call.reply(PagesReply.wire(try await delegate.sendPages(PagesRequest(request), to: node)))
        default:
            throw RPCFailure(
                .unimplemented,
                "this agent does not know method \(call.method.rawValue) of agents: upgrade it"
            )
        }
    }

    /// The node that calls.
    ///
    /// - Throws: `RPCFailure` with code `forbidden`: a user, or a node that is not welcome.
    func caller(_ request: RPCRequest) throws -> NodeID {
        guard case .node(_, _, let node, _) = request.peer else {
            throw RPCFailure(
                .forbidden,
                "\(request.peer) may not use method \(request.method.rawValue): agents ask it each other, with the certificate of a node; "
                    + "use `godwit`, which asks what users may ask"
            )
        }
        if let objection = delegate.objection(to: node) { throw RPCFailure(.forbidden, objection) }
        return node
    }

    /// Keeps out what was said to another history of the cluster than the one that this agent takes part in.
    private func requireLineage(_ theirs: UInt64, of node: NodeID) throws {
        guard let ours = directory.lineage else {
            throw RPCFailure(.unavailable, "this agent has not joined a cluster yet; try again", wasNotBegun: true)
        }
        guard ours != theirs else { return }
        let remedy =
            "stop its agent, move its log aside (the folder 'state' within folders.state), and start it with --join: it joins as a new member"
        throw RPCFailure(
            .conflict,
            theirs == 0
                ? "the cluster was begun anew with `godwitd recover` since node \(node) was part of it; on node \(node), \(remedy)"
                : "node \(node) and this one are of two different histories of the cluster, because `godwitd recover` was used; on the node "
                    + "that is to give way, \(remedy)",
            wasNotBegun: true
        )
    }

    private func deliver(_ request: RPCRequest) throws -> ByteBuffer {
        let node = try caller(request)
        let delivery = try request.decode(WireRaftDelivery.self)
        let member = RaftMemberID(rawValue: delivery.fromMember)
        try requireLineage(delivery.lineage, of: node)
        guard member.rawValue != 0 else { throw RPCFailure(.invalid, "a delivery of Raft messages names no member") }
        if let owner = directory.node(of: member), owner != node {
            throw RPCFailure(
                .forbidden,
                "node \(node) speaks for Raft member \(member), which is node \(owner): if its disk was copied from there, remove the state "
                    + "folder of node \(node), and it joins as a new member"
            )
        }
        directory.learn(node, member: member, address: try? PeerAddress(delivery.fromAddress), from: .contact)
        heard(node)
        delegate.receive(delivery.messages.map { [UInt8]($0) }, from: member)
        return ByteBuffer()
    }

    private func pong(_ request: RPCRequest) throws -> ByteBuffer {
        let node = try caller(request)
        let ping = try request.decode(WirePeerPing.self)
        var standing = delegate.standing()
        standing.callerLeft = ping.member != 0 && delegate.hasLeft(node, member: RaftMemberID(rawValue: ping.member))
        return ByteBuffer(bytes: try standing.wire(nonce: ping.nonce).serializedBytes() as [UInt8])
    }
}
