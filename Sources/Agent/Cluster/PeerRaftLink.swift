import ClusterModel
import Raft
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
        for message in messages {
            if byReceiver[message.to] == nil { order.append(message.to) }
            byReceiver[message.to, default: []].append(message.encoded())
        }
        for receiver in order { peers.send(byReceiver[receiver] ?? [], to: receiver) }
    }

    func propose(_ proposals: [[UInt8]], to leader: RaftMemberID) async throws(ForwardingError) -> LogPlace {
        guard let node = node(leader) else { throw .notTaken("the address of the leader, member \(leader), is not known") }
        do {
            switch try await peers.propose(proposals, to: node, timeout: timeout) {
            case .appended(let term, let index): return LogPlace(term: term, lastIndex: index)
            case .notLeader(let other, _):
                throw ForwardingError.notTaken(other.map { "\(node) does not lead, \($0) does" } ?? "\(node) does not lead")
            }
        } catch let error as ForwardingError {
            throw error
        } catch let failure as RPCFailure where failure.wasNotBegun {
            throw .notTaken("\(node) cannot be reached: \(failure)")
        } catch {
            throw .unknown("\(node) has not answered: \(error)")
        }
    }
}
