internal import ClusterModel

/// Elections (Raft, sections 5.2 and 5.4.1; pre-vote: thesis, section 9.6).
extension RaftNode {
    /// Stands for election without waiting for the timer, as the only founder of a group may do.
    ///
    /// - Returns: false when this member may not stand: it is no voter, leads already, or heard from a leader a moment ago.
    @discardableResult
    package mutating func standForElection(now: Instant) -> Bool {
        self.now = max(self.now, now)
        guard mayStand, !hearsFromLeader, !isDiskStalled else { return false }
        campaign(.preVote)
        return true
    }

    /// Asks everybody for a vote, or whether they would vote.
    mutating func campaign(_ kind: VoteRequest.Kind) {
        // The vote for itself is counted at once. It is on disk before any request leaves, and a sole voter's first
        // entry cannot be committed before it.
        if kind != .preVote {
            hardState.term = term.next
            hardState.vote = id
        }
        state = .candidate(kind: kind, votes: [id: true])
        restartElectionTimer()
        if isElected { return win(kind) }
        let request = VoteRequest(kind: kind, lastIndex: log.lastIndex, lastTerm: log.lastTerm)
        let asked = Set(membership.voters).union(membership.outgoingVoters).sorted()
        for voter in asked where voter != id {
            send(.voteRequest(request), to: voter, term: kind == .preVote ? term.next : term)
        }
    }

    private var isElected: Bool {
        guard case .candidate(_, let votes) = state else { return false }
        return result(of: votes) == .won
    }

    private func result(of votes: [RaftMemberID: Bool]) -> VoteResult {
        if plantedBugs.contains(.ignoresOutgoingVoters) { return Quorum.result(of: membership.voters) { votes[$0] } }
        return membership.result { votes[$0] }
    }

    private mutating func win(_ kind: VoteRequest.Kind) {
        if kind == .preVote { campaign(.vote) } else { becomeLeader() }
    }

    /// Decides about a request whose term is ours or, for a pre-vote, newer.
    mutating func decideVote(_ request: VoteRequest, of message: Message) {
        // Members vote whether or not their own log says that they may: the candidate's may know better (thesis, section 4.2.3).
        let isFree: Bool
        if request.kind == .preVote {
            isFree = message.term > term && !hearsFromLeader
        } else {
            isFree =
                hardState.vote == message.from || (hardState.vote == nil && leader == nil)
                || plantedBugs.contains(.votesTwice)
        }
        let isGranted =
            isFree
            && (log.isUpToDate(lastIndex: request.lastIndex, term: request.lastTerm)
                || plantedBugs.contains(.ignoresOlderLog))
        if isGranted, request.kind != .preVote {
            hardState.vote = message.from
            restartElectionTimer()
        }
        let answerTerm = isGranted ? message.term : term
        send(.voteResponse(kind: request.kind, isGranted: isGranted), to: message.from, term: answerTerm)
    }

    /// Counts a vote, once per voter.
    mutating func countVote(_ kind: VoteRequest.Kind, isGranted: Bool, from voter: RaftMemberID) {
        guard case .candidate(let ours, var votes) = state, ours == kind, votes[voter] == nil else { return }
        votes[voter] = isGranted
        state = .candidate(kind: ours, votes: votes)
        switch result(of: votes) {
        case .pending: break
        case .won: win(kind)
        case .lost: becomeFollower(term: term, leader: nil)
        }
    }
}
