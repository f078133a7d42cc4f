import AgentConfiguration
import ClusterModel
import Raft
import Transport

/// How this agent talks to the others.
///
/// `PeerConnections` does it over TLS; tests and simulations have a network in memory. What is thrown is an `RPCFailure`; its
/// `wasNotBegun` says that the other agent has done nothing, so that the request may be sent again or elsewhere.
protocol PeerLink: Sendable {
    /// Sends Raft messages to a member, in order, and forgets them.
    ///
    /// Never waits. Messages are lost when the member cannot be reached, the oldest ones when too many wait: Raft repeats what matters.
    func send(_ messages: [[UInt8]], to member: RaftMemberID)

    /// Connects to a member if there is no connection, so that the first message need not wait for it.
    func prepare(_ member: RaftMemberID)

    /// Asks a node to put commands into the replicated log.
    ///
    /// After a failure that was begun it is not known whether they are in it.
    func propose(_ commands: [[UInt8]], to node: NodeID, timeout: Duration) async throws -> ProposeAnswer

    /// Asks whatever agent is at an address to make this one a member.
    func join(_ request: JoinRequest, at address: PeerAddress, timeout: Duration) async throws -> JoinAnswer

    /// Gives a node all that our gossip knows and takes what its gossip knows.
    func exchange(_ gossip: [UInt8], with node: NodeID, timeout: Duration) async throws -> [UInt8]

    /// Asks a node how it stands.
    func ping(_ node: NodeID, timeout: Duration) async throws -> PeerStanding

    /// Asks a node that has an issuer for this node's next certificate: gives it and those above it in PEM for a request in PEM.
    func renew(_ request: [UInt8], from node: NodeID, timeout: Duration) async throws -> [UInt8]

    /// Fetches a copy of a checkpoint from a node that has it, piece by piece; the next piece comes when `receive` has returned.
    func fetchCopy(
        _ request: CopyRequest,
        from node: NodeID,
        receiving receive: @escaping @Sendable (CopyPiece) async throws -> Void
    ) async throws

    /// Tells a node that a checkpoint is being written here, which it will probably be asked to keep.
    func offerCopy(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        to node: NodeID,
        timeout: Duration
    ) async throws

    /// Has a node read its own copy of a checkpoint and act on what it finds; `receive` hears from time to time how far it is, and last what it found.
    func checkCopy(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        on node: NodeID,
        receiving receive: @escaping @Sendable (CopyCheck) async throws -> Void
    ) async throws

    /// Passes a call on to a node and its answer on to `sink`, message by message.
    ///
    /// Cancelling the task cancels the call there.
    func forward(_ call: ForwardedCall, to node: NodeID, answering sink: any RPCSink) async throws
}
