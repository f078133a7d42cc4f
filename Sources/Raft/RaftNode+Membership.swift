internal import ClusterModel

/// Changes of the membership (thesis, chapter 4) and the hand-over of leadership (thesis, section 3.10).
extension RaftNode {
    /// Begins a change of the membership; it is in force at once and safe when its entry is committed.
    ///
    /// - Parameters:
    ///   - change: what becomes of whom.
    ///   - context: bytes for the shells, which find them beside the membership in `Ready.committed`; at most
    ///     `Message.contextByteLimit`.
    ///   - now: the time.
    /// - Returns: the entry.
    /// - Throws: when nothing was begun.
    @discardableResult
    package mutating func changeMembership(
        _ change: MembershipChange,
        context: [UInt8] = [],
        now: Instant
    ) throws(MembershipError) -> LogIndex {
        self.now = max(self.now, now)
        guard isLeader else { throw .notLeader(leader) }
        guard asLeader.transfer == nil else { throw .transferring }
        guard context.count <= Message.contextByteLimit else { throw .contextTooLong(count: context.count) }
        // The second condition is a correction of 2015: without it, changes of two leaders that did not know of each
        // other could lead to majorities that do not overlap.
        guard
            isMembershipCommitted && commitIndex >= asLeader.firstIndex || plantedBugs.contains(.overlapsChanges)
        else { throw .changeInProgress }
        let next = try membership.applying(change)
        enter(next, context: context)
        return log.lastIndex
    }

    private mutating func enter(_ next: Membership, context: [UInt8]) {
        let entry = Entry(term: term, index: log.lastIndex + 1, payload: .membership(next, context: context))
        appendToLog(entry)
        asLeader.uncommittedByteCount += entry.byteCount
        var progress = asLeader.progress
        for position in progress.indices {
            let (member, isVoter) = (progress[position].id, next.isVoter(progress[position].id))
            if isVoter, !progress[position].isVoter { progress[position].countsSince = now }
            progress[position].isVoter = isVoter
            if isVoter || next.contains(member) {
                progress[position].removedBy = nil
            } else if progress[position].removedBy == nil {
                progress[position].removedBy = entry.index
            }
        }
        let known = Set(progress.map(\.id))
        for member in next.members where member != id && !known.contains(member) {
            progress.append(
                Progress(id: member, isVoter: next.isVoter(member), next: entry.index, contact: now)
            )
        }
        progress.sort { $0.id < $1.id }
        asLeader.progress = progress
        // Fewer votes may be needed now.
        advanceLeaderCommit()
    }

    /// Does what follows when the membership in force has become committed.
    mutating func settleMembership() {
        guard isMembershipCommitted, asLeader.settledMembership < membershipIndex else { return }
        asLeader.settledMembership = membershipIndex
        if membership.isJoint {
            guard membership.leavesAutomatically, let next = try? membership.leavingJoint() else { return }
            enter(next, context: [])
        } else if !membership.isVoter(id) {
            // "Once Cnew is committed, the leader steps down" (thesis, section 4.2.2): not before the others know of it.
            flushAppends()
            let best = asLeader.progress.filter { membership.voters.contains($0.id) }.max { $0.match < $1.match }
            if let best { sendPrompt(.timeoutNow, to: best.id) }
            becomeFollower(term: term, leader: nil)
        }
    }

    /// Forgets removed members that know of it or do not answer.
    mutating func forgetRemovedMembers() {
        let (commit, now, patience) = (commitIndex, now, configuration.electionTimeout * 4)
        asLeader.progress.removeAll { progress in
            guard let removal = progress.removedBy, removal <= commit else { return false }
            return (progress.match >= removal && progress.sentCommit >= removal) || progress.contact + patience <= now
        }
    }

    // MARK: Hand-over

    /// Hands leadership to another voter; proposals are refused until it leads, or an election timeout is over.
    ///
    /// - Parameters:
    ///   - target: nil: the voter whose log is longest.
    ///   - now: the time.
    /// - Throws: when the hand-over does not begin; when it fails later, this member goes on leading.
    package mutating func transferLeadership(to target: RaftMemberID? = nil, now: Instant) throws(TransferError) {
        self.now = max(self.now, now)
        guard isLeader else { throw .notLeader(leader) }
        guard asLeader.transfer == nil else { throw .inProgress }
        let candidates = asLeader.progress.filter { membership.voters.contains($0.id) }
        let chosen = target ?? candidates.max { $0.match < $1.match }?.id
        guard let chosen, candidates.contains(where: { $0.id == chosen }) else { throw .notVoter(target ?? id) }
        asLeader.transfer = Transfer(target: chosen, deadline: self.now + configuration.electionTimeout)
        continueTransfer()
    }

    /// Tells the target to stand as soon as it has the whole log.
    mutating func continueTransfer() {
        guard let transfer = asLeader.transfer, !transfer.isTold,
            let target = asLeader.progress(of: transfer.target), target.match == log.lastIndex
        else { return }
        asLeader.transfer?.isTold = true
        // From here on, and however late the message arrives, the target may be elected at any moment of this term.
        asLeader.hasForfeitedLease = true
        sendPrompt(.timeoutNow, to: target.id)
    }
}

/// Why leadership is not handed over.
package enum TransferError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Only the leader has something to hand over; it may be this one.
    case notLeader(RaftMemberID?)
    /// The target is no other voter.
    case notVoter(RaftMemberID)
    /// A hand-over has begun already.
    case inProgress

    package var description: String {
        switch self {
        case .notLeader(let leader?): "member \(leader) is the leader: ask it"
        case .notLeader(nil): "no leader is known: try again"
        case .notVoter(let target): "member \(target) is no other voter: choose one"
        case .inProgress: "leadership is being handed over already: wait for the outcome"
        }
    }
}
