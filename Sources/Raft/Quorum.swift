/// Where an election stands.
package enum VoteResult: Sendable, Equatable {
    case pending, won, lost
}

/// Majorities of one set of voters.
///
/// No voters at all: everything is agreed, so that a joint membership without outgoing voters behaves as a simple one.
package enum Quorum {
    /// The largest value that a majority of the voters has reached; nil when there are no voters.
    package static func agreed<Value: Comparable>(
        by voters: [RaftMemberID],
        _ value: (RaftMemberID) -> Value
    ) -> Value? {
        guard !voters.isEmpty else { return nil }
        // Insertion into a short sorted array: voters are few, and this runs for every acknowledgement.
        var sorted: [Value] = []
        sorted.reserveCapacity(voters.count)
        for voter in voters {
            let next = value(voter)
            var place = sorted.count
            while place > 0, sorted[place - 1] > next { place -= 1 }
            sorted.insert(next, at: place)
        }
        return sorted[(voters.count - 1) / 2]
    }

    /// Whether a majority said yes, can still say yes, or cannot any more; `vote` is nil for a voter that has not answered.
    package static func result(of voters: [RaftMemberID], _ vote: (RaftMemberID) -> Bool?) -> VoteResult {
        guard !voters.isEmpty else { return .won }
        let needed = voters.count / 2 + 1
        let votes = voters.map(vote)
        let granted = votes.count { $0 == true }
        if granted >= needed { return .won }
        return granted + votes.count { $0 == nil } >= needed ? .pending : .lost
    }
}

extension Membership {
    /// The largest value that a quorum has reached: in a joint membership a majority of both sets (thesis, section 4.3).
    ///
    /// - Returns: nil when there are no voters.
    package func agreed<Value: Comparable>(_ value: (RaftMemberID) -> Value) -> Value? {
        let incoming = Quorum.agreed(by: voters, value)
        guard isJoint, let outgoing = Quorum.agreed(by: outgoingVoters, value) else { return incoming }
        return incoming.map { min($0, outgoing) } ?? outgoing
    }

    /// Whether a quorum said yes; a joint membership needs both majorities, and one that is lost loses the vote.
    package func result(_ vote: (RaftMemberID) -> Bool?) -> VoteResult {
        let results = (Quorum.result(of: voters, vote), Quorum.result(of: outgoingVoters, vote))
        switch results {
        case (.lost, _), (_, .lost): return .lost
        case (.won, .won): return .won
        default: return .pending
        }
    }
}
