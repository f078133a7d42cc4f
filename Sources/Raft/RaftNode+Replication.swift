package import ClusterModel

/// The sending half of replication: what is on the way to each follower (Raft, section 5.3; thesis, section 10.2).
extension RaftNode {
    /// Sends everybody what there is to send and what the windows allow.
    ///
    /// Called once per `Ready`, so that everything proposed since the last one travels in one append.
    mutating func flushAppends() {
        if asLeader.needsRound {
            beginRound()
            // Who has no vote has no say in it.
            for position in asLeader.progress.indices where asLeader.progress[position].isVoter {
                let receiver = asLeader.progress[position].id
                let commit = min(commitIndex, asLeader.progress[position].match)
                sendPrompt(.heartbeat(commit: commit, round: asLeader.round), to: receiver)
            }
        }
        let touched = asLeader.touched
        asLeader.touched.removeAll(keepingCapacity: true)
        if let flushed = asLeader.flushed, flushed == (log.lastIndex, commitIndex) {
            // An acknowledgement of one member is no reason to look at a thousand others.
            for id in touched { if let position = asLeader.position(of: id) { replicate(to: position) } }
        } else {
            asLeader.flushed = (log.lastIndex, commitIndex)
            for position in asLeader.progress.indices { replicate(to: position) }
        }
    }

    private mutating func replicate(to position: Int) {
        while true {
            let progress = asLeader.progress[position]
            switch progress.state {
            case .probe(let isPaused):
                if isPaused { return }
                guard log.term(at: progress.next - 1) != nil else { return beginSnapshot(to: position) }
                sendAppend(to: position)
                asLeader.progress[position].state = .probe(isPaused: true)
                return
            case .replicate:
                guard log.term(at: progress.next - 1) != nil else { return beginSnapshot(to: position) }
                let hasEntries = progress.next <= log.lastIndex && !progress.isWindowFull(configuration)
                guard hasEntries || progress.needsCheck else { return tellCommit(at: position) }
                sendAppend(to: position, isEmpty: !hasEntries)
                if !hasEntries { return }
            case .snapshot(let transfer): return continueSnapshot(transfer, to: position)
            }
        }
    }

    /// Tells a member at once what of its log is committed; with no entry to send, nothing has to be answered.
    private mutating func tellCommit(at position: Int) {
        let progress = asLeader.progress[position]
        let commit = min(commitIndex, progress.match)
        guard progress.sentCommit < commit else { return }
        asLeader.progress[position].sentCommit = commit
        sendPrompt(.heartbeat(commit: commit, round: 0), to: progress.id)
    }

    private mutating func sendAppend(to position: Int, isEmpty: Bool = false) {
        let progress = asLeader.progress[position]
        var entries: [Entry] = []
        if !isEmpty, progress.next <= log.lastIndex { entries = batch(from: progress.next) }
        let previous = progress.next - 1
        let append = Append(
            previousIndex: previous,
            previousTerm: log.term(at: previous) ?? .zero,
            commit: commitIndex,
            round: asLeader.round,
            entries: entries
        )
        asLeader.progress[position].sentCommit = min(commitIndex, previous + LogIndex(entries.count))
        asLeader.progress[position].needsCheck = false
        asLeader.progress[position].noteNews(round: asLeader.round, at: now)
        if progress.isReplicating, let last = entries.last {
            let byteCount = entries.reduce(0) { $0 + $1.byteCount }
            asLeader.progress[position].noteSent(through: last.index, byteCount: byteCount)
        }
        sendPrompt(.append(append), to: progress.id)
    }

    /// The entries of one append; the same array for all that are sent the same.
    private mutating func batch(from first: LogIndex) -> [Entry] {
        if let last = asLeader.lastBatch, last.first?.index == first, last.first?.term == log.term(at: first),
            asLeader.lastBatchEnd == log.lastIndex
        {
            return last
        }
        let entries = Array(log.slice(first...log.lastIndex, byteLimit: configuration.appendByteLimit))
        (asLeader.lastBatch, asLeader.lastBatchEnd) = (entries, log.lastIndex)
        return entries
    }

    // MARK: Proposals

    /// Appends proposals to the log when this member leads (Raft, section 5.3).
    ///
    /// They are committed together with whatever `committed` will hold at the returned places in the returned term; when an entry of another
    /// term appears there, they are lost.
    ///
    /// - Throws: when nothing was appended; either all are taken or none.
    package mutating func propose(
        _ proposals: [[UInt8]],
        now: Instant
    ) throws(ProposalError) -> ProposalReceipt {
        self.now = max(self.now, now)
        if let longest = proposals.map(\.count).max(), longest > configuration.proposalByteLimit {
            throw .tooLong(count: longest, limit: configuration.proposalByteLimit)
        }
        guard isLeader else {
            guard configuration.forwardsProposals, let leader, !proposals.isEmpty else { throw .notLeader(leader) }
            forward(proposals, to: leader)
            return .forwarded(to: leader)
        }
        guard asLeader.transfer == nil else { throw .transferring }
        let byteCount = proposals.reduce(0) { $0 + 24 + $1.count }
        let uncommitted = asLeader.uncommittedByteCount
        // One batch is always taken, or a long proposal could never be.
        guard uncommitted == 0 || uncommitted + byteCount <= configuration.uncommittedByteLimit else { throw .busy }
        let first = log.lastIndex + 1
        for proposal in proposals {
            log.append(Entry(term: term, index: log.lastIndex + 1, payload: .proposal(proposal)))
        }
        asLeader.uncommittedByteCount += byteCount
        return .appended(term: term, first..<(log.lastIndex + 1))
    }

    private mutating func forward(_ proposals: [[UInt8]], to leader: RaftMemberID) {
        var (batch, byteCount) = ([[UInt8]](), 0)
        for proposal in proposals {
            if !batch.isEmpty, byteCount + proposal.count + 4 > RaftConfiguration.absoluteProposalByteLimit {
                send(.proposals(batch), to: leader)
                (batch, byteCount) = ([], 0)
            }
            batch.append(proposal)
            byteCount += proposal.count + 4
        }
        send(.proposals(batch), to: leader)
    }
}

/// What became of proposals.
package enum ProposalReceipt: Sendable, Equatable {
    /// They stand in the log at these places, in this term.
    case appended(term: Term, Range<LogIndex>)
    /// They were sent on, without a promise.
    case forwarded(to: RaftMemberID)
}

/// Why proposals are refused.
package enum ProposalError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Only the leader appends; it may be this one.
    case notLeader(RaftMemberID?)
    /// Leadership is being handed over; the next leader takes proposals in a moment.
    case transferring
    /// `RaftConfiguration.uncommittedByteLimit` is reached: the group is slower than those who propose.
    case busy
    /// A proposal is longer than allowed.
    case tooLong(count: Int, limit: Int)

    package var description: String {
        switch self {
        case .notLeader(let leader?): "member \(leader) is the leader: ask it"
        case .notLeader(nil): "no leader is known: try again"
        case .transferring: "leadership is being handed over: try again"
        case .busy: "too much is waiting for a quorum: try again later"
        case .tooLong(let count, let limit): "a proposal of \(count) bytes is longer than \(limit)"
        }
    }
}
