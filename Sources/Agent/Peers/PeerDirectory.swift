import AgentConfiguration
import ClusterModel
import Raft
import Synchronization

/// Where the other agents are, and which member of the Raft group each one is.
///
/// Several sources tell, and none of them is always right or always there: the replicated node records, the answer to joining, gossip, and
/// agents that call. All their addresses are kept, the most reliable source first; a wrong one does no harm, because a connection is only
/// used after its certificate has shown the node that was wanted. Which member belongs to which node decides who may speak for
/// a member, so a member that a reliable source gave to one node is never given to another by a lesser one.
final class PeerDirectory: Sendable {
    /// Who tells, from the most reliable on.
    enum Source: Int, Sendable, Comparable, CaseIterable {
        /// The replicated node records.
        case replicated
        /// The answer to joining, or a request to join that was granted.
        case joined
        /// The agent itself, with its certificate.
        case contact
        /// Gossip.
        case gossip

        static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// What one source says of a node.
    private struct Claim {
        var member: RaftMemberID?
        var address: PeerAddress?
    }

    private struct State {
        var claims: [NodeID: [Source: Claim]] = [:]
        var lineage: UInt64? = 0
        /// Derived from the claims.
        var nodes: [RaftMemberID: (node: NodeID, source: Source)] = [:]

        mutating func deriveMembers() {
            nodes = [:]
            for (node, claims) in claims.sorted(by: { $0.key < $1.key }) {
                for (source, claim) in claims {
                    guard let member = claim.member else { continue }
                    if let owner = nodes[member], owner.source <= source { continue }
                    nodes[member] = (node, source)
                }
            }
        }
    }

    /// The most nodes; further ones are not taken in.
    let nodeLimit: Int
    private let state = Mutex(State())

    init(nodeLimit: Int = 4096) { self.nodeLimit = nodeLimit }

    /// Which history of the cluster this agent takes part in; nil when it has no log yet and has not been told.
    ///
    /// What agents of another history say about the log is refused (`ClusterState.lineage`).
    var lineage: UInt64? {
        get { state.withLock(\.lineage) }
        set { state.withLock { $0.lineage = newValue } }
    }

    /// Takes in what a source says of a node; what it said before is replaced, nil keeps it.
    ///
    /// - Returns: false when it was not taken in: the directory is full, or the member belongs to another node.
    @discardableResult
    func learn(_ node: NodeID, member: RaftMemberID? = nil, address: PeerAddress? = nil, from source: Source) -> Bool {
        state.withLock { state in
            let known = state.claims[node]?[source]
            // The usual case: nothing new, told with every delivery.
            if let known, member == nil || known.member == member, address == nil || known.address == address {
                return true
            }
            if state.claims[node] == nil, state.claims.count >= nodeLimit { return false }
            if let member, let owner = state.nodes[member], owner.node != node, owner.source <= source { return false }
            state.claims[node, default: [:]][source] = Claim(
                member: member ?? known?.member,
                address: address ?? known?.address
            )
            state.deriveMembers()
            return true
        }
    }

    /// Takes in all that a source knows: what it said before and does not say now is forgotten.
    func replace(with entries: [PeerMember], from source: Source) {
        state.withLock { state in
            for node in state.claims.keys { state.claims[node]?[source] = nil }
            for entry in entries {
                guard state.claims[entry.node] != nil || state.claims.count < nodeLimit else { continue }
                state.claims[entry.node, default: [:]][source] = Claim(member: entry.member, address: entry.address)
            }
            state.claims = state.claims.filter { !$0.value.isEmpty }
            state.deriveMembers()
        }
    }

    /// Forgets a node that has left.
    func forget(_ node: NodeID) {
        state.withLock { state in
            state.claims[node] = nil
            state.deriveMembers()
        }
    }

    /// The node that has this Raft log.
    func node(of member: RaftMemberID) -> NodeID? { state.withLock { $0.nodes[member]?.node } }

    /// The Raft log that the node has now, by the most reliable source.
    func member(of node: NodeID) -> RaftMemberID? {
        state.withLock { state in
            state.claims[node]?.sorted { $0.key < $1.key }.lazy.compactMap(\.value.member).first
        }
    }

    /// Every address that is told of the node, the most reliable first, each once.
    func addresses(of node: NodeID) -> [PeerAddress] {
        state.withLock { state in
            var addresses: [PeerAddress] = []
            for (_, claim) in (state.claims[node] ?? [:]).sorted(by: { $0.key < $1.key }) {
                if let address = claim.address, !addresses.contains(address) { addresses.append(address) }
            }
            return addresses
        }
    }

    /// Every node that somebody told of, by name.
    var nodes: [NodeID] { state.withLock { $0.claims.keys.sorted() } }
}
