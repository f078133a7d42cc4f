import Raft

/// How a replica reaches the other members of its group.
protocol RaftLink: Sendable {
    /// Sends messages, each to its receiver; they may get lost, and those to one receiver keep their order.
    func send(_ messages: [Raft.Message])

    /// Hands proposals to the leader, which appends them in order and answers when they stand in its log.
    ///
    /// - Throws: ``ForwardingError``.
    func propose(_ proposals: [[UInt8]], to leader: RaftMemberID) async throws(ForwardingError) -> LogPlace
}

/// Where proposals stand in the log of a leader: committed if what is applied there has this term, lost if it has another.
struct LogPlace: Sendable, Equatable {
    var term: UInt64
    /// The last of them.
    var lastIndex: UInt64
}

/// Why proposals were not handed over.
enum ForwardingError: Error, Sendable, Equatable {
    /// They are in nobody's log: another may be asked.
    case notTaken(String)
    /// They may be in the leader's log, or on the way there.
    case unknown(String)
}

/// The link of a cluster of one, which never needs it.
struct NoLink: RaftLink {
    func send(_ messages: [Raft.Message]) {}

    func propose(_ proposals: [[UInt8]], to leader: RaftMemberID) async throws(ForwardingError) -> LogPlace {
        throw .notTaken("this agent has no link to other agents")
    }
}
