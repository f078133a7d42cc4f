package import ClusterModel

/// What a membership asks its shell to do, in any order; none of it needs an answer in order to go on.
package enum MembershipEffect: Sendable, Equatable {
    /// Seal the bytes and send them as one datagram. May get lost.
    case send([UInt8], to: MemberEndpoint)
    /// Probe over a stream, for nodes whose datagrams are dropped on the way. Call `streamProbeSucceeded` if the node
    /// answers in time.
    case probeStream(UInt32, node: NodeID, endpoint: MemberEndpoint)
    /// Send the request over a stream and bring the answer to `exchangeSucceeded`, or call `exchangeFailed`.
    case exchange(UInt32, request: [UInt8], endpoint: MemberEndpoint)
    /// Tell whoever wants to know.
    case report(MembershipEvent)
}

/// What happened to a member.
package enum MemberChange: Sendable, Hashable {
    /// It was not known before.
    case joined
    /// It may be dead. Place nothing new there.
    case suspected
    /// It lives: a suspicion was refuted.
    case refuted
    /// Nobody could reach it.
    case died
    /// It went by its own will.
    case left
    /// It was dead or had left, and is back.
    case returned
    /// It has new facts.
    case factsChanged
    /// It was dead or gone for so long, or others needed the room so much, that it was forgotten.
    case forgotten
}

/// What the agent should know.
package enum MembershipEvent: Sendable, Equatable {
    /// A member after the change.
    case changed(Member, MemberChange)
    /// A member of another pool, after the change that its own pool saw.
    case changedElsewhere(PoolName, Member, MemberChange)
    /// `claimant` says that it is the node of this name, which lives elsewhere and answers.
    case nameConflict(Member, claimant: MemberEndpoint)
    /// A member's key belongs to another name already. It cannot take part under this name.
    case keyConflict(Member, refused: NodeID)
    /// A member that is not known came while the table was full of live ones.
    case tableFull(refused: NodeID)
    /// The first exchange with a seed succeeded.
    case joinSucceeded(memberCount: Int)
    /// No seed answered in any attempt. `join` may be called again.
    case joinFailed(attempts: Int)
    /// All that can be done to say goodbye is done.
    case leaveFinished
    /// This node was accused and answers with a higher incarnation.
    case refutedAccusation(MemberIncarnation)
    /// This node was not run for so long; it does not hold that against others.
    case stoodStill(Duration)
}

/// Numbers that only grow, for telemetry.
package struct MembershipStatistics: Sendable, Equatable {
    /// Datagrams that were handed to the shell.
    package var datagramsSent: UInt64 = 0
    /// Their bytes, before they were sealed.
    package var bytesSent: UInt64 = 0
    /// Direct probes that were begun.
    package var probes: UInt64 = 0
    /// Probes that had no answer from anywhere.
    package var probesFailed: UInt64 = 0
    /// Suspicions that began, here or elsewhere.
    package var suspicions: UInt64 = 0
    /// Members that this node was first to declare dead, as far as it knows.
    package var verdicts: UInt64 = 0
    /// Accusations of this node that it refuted.
    package var refutations: UInt64 = 0
    /// Comparisons of views that found a difference.
    package var differences: UInt64 = 0
    /// Exchanges over streams that were begun.
    package var exchanges: UInt64 = 0
    /// Times that this node was not run when it should have been.
    package var standstills: UInt64 = 0
}
