/// What a member can say about the group, for people and for decisions above the log.
extension RaftNode {
    /// When a leader with a quorum was last known to exist; nil when that was never so since the start.
    ///
    /// For a leader: when a quorum last answered. For others: when its word last came, which may be one election timeout older than
    /// its quorum.
    package var lastLeaderContact: Instant? { isLeader ? quorumContact : leaderContact }

    /// What the leader knows about the others, sorted by their numbers; empty on members that do not lead.
    package var peers: [PeerStatus] {
        guard case .leader(let leader) = state else { return [] }
        return leader.progress.filter { $0.id != id }.map {
            PeerStatus(
                id: $0.id,
                match: $0.match,
                contact: $0.contact,
                receivesSnapshot: $0.receivesSnapshot
            )
        }
    }
}

/// One other member as its leader sees it.
package struct PeerStatus: Sendable, Equatable {
    package var id: RaftMemberID
    /// The last entry that it has on disk, as far as it said.
    package var match: LogIndex
    /// When it last answered; when it became a member or this leader's term began, if it has not since.
    package var contact: ContinuousClock.Instant
    /// Whether it is being sent a snapshot.
    package var receivesSnapshot: Bool
}
