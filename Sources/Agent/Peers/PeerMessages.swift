import AgentConfiguration
import ClusterModel
import ControlMessages
import FoundationEssentials
import NIO
import Raft
import SwiftProtobuf
import TLS
import Transport

// What agents ask each other, as values; `proto/peer.proto` says what each field promises.

/// What became of proposed commands.
enum ProposeAnswer: Sendable, Equatable {
    /// The outcome of each command, in order, opaque bytes; and the place of the last one in the log: whoever has applied it sees them.
    case done(outcomes: [[UInt8]], index: UInt64)
    /// Nothing was proposed; whom to ask, if that is known.
    case notLeader(leader: NodeID?, address: PeerAddress?)
}

/// An agent that wants to become a member of the cluster.
///
/// Node, site and role are not among it: they are what its certificate says.
struct JoinRequest: Sendable, Equatable {
    /// The most labels, and the longest, in bytes.
    static let labelLimits = (count: 64, byteCount: 256)

    /// Where the others reach it.
    var address: PeerAddress
    var member: RaftMemberID
    /// What it has for jobs.
    var capacity: VCPUCount
    var memory: ByteCount
    /// GPUs.
    var deviceCount: Int
    /// Of the agent.
    var version: String
    var labels: [String: String] = [:]
}

/// A member of the Raft group and where it is.
struct PeerMember: Sendable, Equatable {
    var node: NodeID
    var member: RaftMemberID
    var address: PeerAddress
    var isVoter: Bool
}

/// What an agent is told that has become a member.
struct JoinAnswer: Sendable, Equatable {
    /// The new one included; at most `Raft.Membership.memberLimit`.
    var members: [PeerMember]
    var leader: NodeID?
    /// Keys of the gossip, opaque.
    var keyring: [UInt8]
    /// Log index of the entry that made it a member.
    var index: UInt64
    /// The history that it takes part in from now on; see `ClusterState.lineage`.
    var lineage: UInt64 = 0
}

/// How an agent stands, as it says itself.
struct PeerStanding: Sendable, Equatable {
    /// Nil: it is in no Raft group yet.
    var member: RaftMemberID?
    var term: UInt64
    var leads: Bool
    var leader: NodeID?
    /// Log index of the last entry applied.
    var applied: UInt64
    /// Of the agent.
    var version: String
    /// Its wall clock.
    var time: Timestamp
    /// Whether it knows that the one who asked was taken out of the cluster for good.
    var callerLeft = false
}

/// A call that is passed on for whoever asked.
struct ForwardedCall: Sendable {
    /// What the receiver must be to answer it.
    enum Target: Sendable, Equatable {
        /// The leader; another one refuses without having begun.
        case leader
        /// The node that has what the call is about; it answers itself.
        case holder
    }

    /// The original request, with the identity of whoever asked.
    var request: RPCRequest
    var target: Target
    /// When whoever asked stops waiting.
    var deadline: ContinuousClock.Instant?
}

// MARK: Wire forms

/// Reads an address that another agent sent.
private func address(_ text: String, of what: String) throws -> PeerAddress {
    do {
        return try PeerAddress(text)
    } catch {
        throw RPCFailure(.invalid, "the address of \(what) cannot be read: \(error.message)")
    }
}

extension ProposeAnswer {
    /// The answer as it travels.
    var wire: WireProposeReply {
        .with { reply in
            switch self {
            case .done(let outcomes, let index):
                reply.outcomes = outcomes.map { Data($0) }
                reply.index = index
            case .notLeader(let leader, let address):
                reply.notLeader = true
                reply.leader = leader?.rawValue ?? ""
                reply.leaderAddress = address?.text() ?? ""
            }
        }
    }

    /// Reads an answer to this many commands; throws `RPCFailure`.
    init(_ wire: WireProposeReply, commandCount: Int) throws {
        if wire.notLeader {
            self = .notLeader(
                leader: wire.leader.isEmpty ? nil : NodeID(rawValue: wire.leader),
                address: try? PeerAddress(wire.leaderAddress)
            )
        } else {
            guard wire.outcomes.count == commandCount else {
                throw RPCFailure(
                    .internal,
                    "the leader told \(wire.outcomes.count) outcomes of \(commandCount) commands: upgrade the older agent"
                )
            }
            self = .done(outcomes: wire.outcomes.map { [UInt8]($0) }, index: wire.index)
        }
    }
}

extension JoinRequest {
    /// The request as it travels.
    var wire: WireJoinRequest {
        .with { request in
            request.address = address.text()
            request.member = member.rawValue
            request.capacityVcpus = capacity.rawValue
            request.memoryBytes = UInt64(max(0, memory.rawValue))
            request.deviceCount = UInt32(clamping: deviceCount)
            request.version = version
            request.labels = labels
        }
    }

    /// Reads a request; throws `RPCFailure` with code `invalid`.
    init(_ wire: WireJoinRequest) throws {
        guard wire.member != 0 else { throw RPCFailure(.invalid, "the request to join names no Raft member") }
        guard wire.capacityVcpus.isFinite, wire.capacityVcpus >= 0 else {
            throw RPCFailure(.invalid, "the request to join offers \(wire.capacityVcpus) vCPUs")
        }
        let limits = Self.labelLimits
        guard wire.labels.count <= limits.count,
            wire.labels.allSatisfy({ $0.key.utf8.count <= limits.byteCount && $0.value.utf8.count <= limits.byteCount })
        else {
            throw RPCFailure(
                .invalid,
                "a node has at most \(limits.count) labels of at most \(limits.byteCount) bytes: shorten `node.labels`"
            )
        }
        self.init(
            address: try Agent.address(wire.address, of: "the node that wants to join"),
            member: RaftMemberID(rawValue: wire.member),
            capacity: VCPUCount(wire.capacityVcpus),
            memory: ByteCount(rawValue: Int64(clamping: wire.memoryBytes)),
            deviceCount: Int(wire.deviceCount),
            version: String(wire.version.prefix(64)),
            labels: wire.labels
        )
    }
}

extension JoinAnswer {
    /// The answer as it travels.
    var wire: WireJoinReply {
        .with { reply in
            reply.members = members.map { member in
                .with { wire in
                    wire.node = member.node.rawValue
                    wire.member = member.member.rawValue
                    wire.address = member.address.text()
                    wire.isVoter = member.isVoter
                }
            }
            reply.leader = leader?.rawValue ?? ""
            reply.keyring = Data(keyring)
            reply.index = index
            reply.lineage = lineage
        }
    }

    /// Reads an answer; throws `RPCFailure`.
    init(_ wire: WireJoinReply) throws {
        self.init(
            members: try wire.members.map { member in
                PeerMember(
                    node: NodeID(rawValue: member.node),
                    member: RaftMemberID(rawValue: member.member),
                    address: try address(member.address, of: "node \(member.node)"),
                    isVoter: member.isVoter
                )
            },
            leader: wire.leader.isEmpty ? nil : NodeID(rawValue: wire.leader),
            keyring: [UInt8](wire.keyring),
            index: wire.index,
            lineage: wire.lineage
        )
    }
}

extension PeerStanding {
    /// The answer to a ping as it travels.
    func wire(nonce: UInt64) -> WirePeerPong {
        .with { pong in
            pong.nonce = nonce
            pong.member = member?.rawValue ?? 0
            pong.term = term
            pong.leads = leads
            pong.leader = leader?.rawValue ?? ""
            pong.applied = applied
            pong.version = version
            pong.timeUnixSeconds = time.seconds
            pong.callerLeft = callerLeft
        }
    }

    init(_ wire: WirePeerPong) {
        // Another machine's number: it may be anything.
        let seconds = wire.timeUnixSeconds.isFinite ? min(max(wire.timeUnixSeconds, -9e9), 9e9) : 0
        self.init(
            member: wire.member == 0 ? nil : RaftMemberID(rawValue: wire.member),
            term: wire.term,
            leads: wire.leads,
            leader: wire.leader.isEmpty ? nil : NodeID(rawValue: wire.leader),
            applied: wire.applied,
            version: wire.version,
            time: Timestamp(seconds: seconds),
            callerLeft: wire.callerLeft
        )
    }
}

extension CopyRequest {
    /// The request as it travels.
    func wire(lineage: UInt64) -> WireCopyFetchRequest {
        .with { request in
            request.job = job.rawValue
            request.generation = generation.rawValue
            request.indexSha256 = digest
            request.offset = offset
            request.urgent = isUrgent
            request.held = held.map(\.rawValue)
            request.growing = isGrowing
            request.lineage = lineage
        }
    }

    /// Reads a request; whether it makes sense is seen when what it names is not there.
    init(_ wire: WireCopyFetchRequest) {
        self.init(
            job: JobID(rawValue: wire.job),
            generation: CheckpointGeneration(rawValue: wire.generation),
            digest: wire.indexSha256,
            offset: wire.offset,
            isUrgent: wire.urgent,
            held: wire.held.prefix(1024).map(CheckpointGeneration.init(rawValue:)),
            isGrowing: wire.growing
        )
    }
}

extension WireCopyOfferRequest {
    /// The offer of a checkpoint that is being written by the caller.
    init(_ job: JobID, _ generation: CheckpointGeneration, lineage: UInt64) {
        self.init()
        (self.job, self.generation, self.lineage) = (job.rawValue, generation.rawValue, lineage)
    }
}

extension CopyPiece {
    /// The piece as it travels.
    var wire: WireCopyFetchReply {
        .with { piece in
            (piece.indexLength, piece.dataLength) = (indexLength, dataLength)
            if !index.isEmpty { piece.index = Data(index) }
            if !data.isEmpty { piece.data = Data(data) }
        }
    }

    init(_ wire: WireCopyFetchReply) {
        self.init(
            indexLength: wire.indexLength,
            dataLength: wire.dataLength,
            index: [UInt8](wire.index),
            data: [UInt8](wire.data)
        )
    }
}

extension ForwardedCall {
    /// The call as it travels; its time limit is that of the carrying call.
    var wire: WireForwardRequest {
        .with { forward in
            forward.method = UInt32(request.method.rawValue)
            forward.payload = Data(request.payload.readableBytesView)
            forward.identity = request.peer.uri
            forward.organizationalUnit = request.peer.organizationalUnit
            forward.target = target == .leader ? .leader : .holder
        }
    }
}
