internal import ClusterModel

/// The receiving half of replication (Raft, figure 2, "AppendEntries RPC").
extension RaftNode {
    /// Acknowledges the sender as the leader of this term.
    ///
    /// - Returns: false when this member leads the term itself.
    mutating func follow(_ leader: RaftMemberID) -> Bool {
        guard holds(!isLeader, "members \(id) and \(leader) both lead term \(term)") else { return false }
        state = .follower(leader: leader)
        leaderContact = now
        restartElectionTimer()
        return true
    }

    /// Traps when an invariant is broken; under a planted bug it only says so.
    private func holds(_ condition: Bool, _ violation: @autoclosure () -> String) -> Bool {
        precondition(condition || !plantedBugs.isEmpty, violation())
        return condition
    }

    mutating func receiveHeartbeat(commit: LogIndex, round: UInt64, from sender: RaftMemberID) {
        guard follow(sender) else { return }
        // The leader never names more here than what it knows to be in this log.
        advanceCommit(to: min(commit, log.lastIndex))
        guard round > 0 else { return }
        send(.heartbeatResponse(round: round), to: sender)
    }

    mutating func receiveAppend(_ append: Append, from sender: RaftMemberID) {
        guard isConsistent(append), follow(sender) else { return }
        // What is committed cannot conflict; an append from before is out of date.
        guard append.previousIndex >= commitIndex else {
            return send(.appendResponse(round: append.round, outcome: .matches(commitIndex)), to: sender)
        }
        guard log.term(at: append.previousIndex) == append.previousTerm else {
            let hint = log.lastIndex(upTo: append.previousIndex, termAtMost: append.previousTerm)
            let outcome = AppendOutcome.rejected(
                previousIndex: append.previousIndex,
                hintIndex: hint,
                hintTerm: log.term(at: hint) ?? .zero
            )
            return send(.appendResponse(round: append.round, outcome: outcome), to: sender)
        }
        let lastNew = append.previousIndex + LogIndex(append.entries.count)
        if let conflict = append.entries.firstIndex(where: { log.term(at: $0.index) != $0.term }) {
            take(append.entries[conflict...])
        }
        // "min(leaderCommit, index of last new entry)": what follows in this log has not been compared.
        advanceCommit(to: min(append.commit, lastNew))
        send(.appendResponse(round: append.round, outcome: .matches(lastNew)), to: sender)
    }

    /// Whether the entries follow each other, as every member's do.
    private func isConsistent(_ append: Append) -> Bool {
        var (index, term) = (append.previousIndex, append.previousTerm)
        for entry in append.entries {
            guard entry.index == index + 1, entry.term >= term, entry.term <= self.term else { return false }
            (index, term) = (entry.index, entry.term)
        }
        return true
    }

    /// Appends entries of which the first is new or conflicts with one that is there.
    private mutating func take(_ entries: ArraySlice<Entry>) {
        guard let first = entries.first else { return }
        if first.index <= log.lastIndex {
            let violation = "entry \(first.index) of term \(first.term) conflicts with a committed one at member \(id)"
            guard holds(first.index > commitIndex, violation) else { return }
            if plantedBugs.contains(.keepsConflicts) {
                for entry in entries where entry.index > log.lastIndex { appendToLog(entry) }
                return
            }
            log.truncate(from: first.index)
            memberships.removeAll { $0.index >= first.index }
        }
        for entry in entries { appendToLog(entry) }
    }

    /// Appends one entry; a membership is in force from here on (thesis, section 4.1).
    mutating func appendToLog(_ entry: Entry) {
        log.append(entry)
        if case .membership(let membership, _) = entry.payload { memberships.append((entry.index, membership)) }
    }

    mutating func advanceCommit(to index: LogIndex) {
        guard index > commitIndex else { return }
        hardState.commit = index
    }
}
