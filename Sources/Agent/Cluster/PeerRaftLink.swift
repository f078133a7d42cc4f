import ClusterModel
import Raft
import Synchronization
import Transport

/// A replica's link over the connections between agents.
struct PeerRaftLink: RaftLink {
    let peers: any PeerLink
    /// Which node a member is on.
    let node: @Sendable (RaftMemberID) -> NodeID?
    /// How long a leader may take to answer that it has proposals in its log; it does not wait for others for that.
    let timeout: Duration = .seconds(5)

    func send(_ messages: [Raft.Message]) {
        // One call for each receiver, in order.
        var order: [RaftMemberID] = []
        var byReceiver: [RaftMemberID: [[UInt8]]] = [:]
        var writer = MessageWriter()
        for message in messages {
            if byReceiver[message.to] == nil { order.append(message.to) }
            byReceiver[message.to, default: []].append(writer.encode(message))
        }
        for receiver in order { peers.send(byReceiver[receiver] ?? [], to: receiver) }
    }

    func propose(_ proposals: [[UInt8]], to leader: RaftMemberID) async throws(ForwardingError) -> LogPlace {
        guard let node = node(leader) else { throw .notTaken("the node of the leader, member \(leader), is not known") }
        let answer: ProposeAnswer
        do { answer = try await peers.propose(proposals, to: node, timeout: timeout) } catch {
            if let failure = error as? RPCFailure, failure.wasNotBegun {
                throw .notTaken("\(node) cannot be reached: \(failure)")
            }
            throw .unknown("\(node) has not answered: \(error)")
        }
        switch answer {
        case .done(let outcomes, let index):
            return LogPlace(term: outcomes.first.map(Self.term) ?? 0, lastIndex: index)
        case .notLeader(let other, _):
            throw .notTaken(other.map { "\(node) does not lead, \($0) does" } ?? "\(node) does not lead")
        }
    }

    /// The term of an entry, as a leader tells it for each proposal that it has appended: 8 bytes, most significant first.
    static func encode(term: UInt64) -> [UInt8] {
        stride(from: UInt64(56), through: 0, by: -8).map { UInt8(term >> $0 & 0xff) }
    }

    private static func term(_ bytes: [UInt8]) -> UInt64 { bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
}

/// A link that is made after the replica that uses it; messages before that are lost, as any may be.
final class LateRaftLink: RaftLink {
    private let link = Mutex<(any RaftLink)?>(nil)

    /// Connects it.
    func connect(_ other: any RaftLink) { link.withLock { $0 = other } }

    func send(_ messages: [Raft.Message]) { link.withLock { $0 }?.send(messages) }

    func propose(_ proposals: [[UInt8]], to leader: RaftMemberID) async throws(ForwardingError) -> LogPlace {
        guard let link = link.withLock({ $0 }) else { throw .notTaken("this agent is just starting") }
        return try await link.propose(proposals, to: leader)
    }
}
