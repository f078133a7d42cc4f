internal import ClusterModel

extension RaftNode {
    /// What only a leader needs.
    struct Leader: Sendable {
        /// Every other member, sorted, and for a while those that were removed.
        var progress: [Progress]
        /// The first entry of this term; until it is committed nothing is known of what is (Raft, section 8).
        let firstIndex: LogIndex
        var heartbeatDeadline: Instant
        /// How often the time for heartbeats has come; learners take turns.
        var heartbeats: UInt64 = 0
        /// What was the last entry, and what was committed, when everybody was sent what there was to send.
        var flushed: (lastIndex: LogIndex, commitIndex: LogIndex)?
        /// Members that something has come from since; nobody else can be sent more than then.
        var touched: [RaftMemberID] = []
        /// The entries of the last append, and the last entry of the log then.
        var lastBatch: [Entry]?
        var lastBatchEnd: LogIndex = 0
        /// Learners that were being sent a snapshot at the last time for heartbeats, and those that joined them.
        var snapshotReceivers = 0
        /// The newest round of heartbeats, from 1, and when this one and some before began.
        var round: UInt64 = 0
        var roundStarts: [Instant] = []
        /// Reads that wait for a round, in the order in which they came.
        var reads: [PendingRead] = []
        /// Whether a read waits for a round that has not begun.
        var needsRound = false
        var transfer: Transfer?
        /// Set when somebody was asked to stand although this leader lives: he may be elected within the lease.
        var hasForfeitedLease = false
        /// Bytes of entries of this term that are not committed.
        var uncommittedByteCount = 0
        /// The last membership entry that was found committed.
        var settledMembership: LogIndex

        /// Where a member stands in `progress`.
        func position(of id: RaftMemberID) -> Int? {
            let place = progress.firstSortedIndex { $0.id >= id }
            return place < progress.count && progress[place].id == id ? place : nil
        }

        func progress(of id: RaftMemberID) -> Progress? { position(of: id).map { progress[$0] } }
    }

    /// A hand-over in progress (thesis, section 3.10).
    struct Transfer: Sendable {
        let target: RaftMemberID
        let deadline: Instant
        var isTold = false
    }

    /// A read that waits.
    struct PendingRead: Sendable {
        let context: UInt64
        /// The commit index when it came; nil before the term's first entry is committed.
        var index: LogIndex?
        /// A quorum must have answered this round.
        let round: UInt64
    }

    /// The payload of `.leader`, changed in place.
    ///
    /// - Precondition: this member leads.
    var asLeader: Leader {
        _read {
            guard case .leader(let leader) = state else { preconditionFailure("member \(id) does not lead: \(state)") }
            yield leader
        }
        _modify {
            guard case .leader(var leader) = state else { preconditionFailure("member \(id) does not lead: \(state)") }
            // Taken out while it is changed, so that its arrays are not copied.
            state = .follower(leader: id)
            defer { state = .leader(leader) }
            yield &leader
        }
    }

    /// Begins to lead: "upon election, send initial empty AppendEntries RPCs" (Raft, figure 2), with the term's first entry.
    mutating func becomeLeader() {
        let first = log.lastIndex + 1
        let others = membership.members.filter { $0 != id }
        state = .leader(
            Leader(
                progress: others.map { Progress(id: $0, isVoter: membership.isVoter($0), next: first, contact: now) },
                firstIndex: first,
                heartbeatDeadline: now + configuration.heartbeatInterval,
                settledMembership: 0
            )
        )
        let entry = Entry(term: term, index: first, payload: .empty)
        appendToLog(entry)
        asLeader.uncommittedByteCount = entry.byteCount
        beginRound()
        advanceLeaderCommit()
    }

    /// Lets go of what only a leader can finish.
    mutating func abandonLeadership() {
        reads += asLeader.reads.map { ReadAnswer(context: $0.context, index: nil) }
        asLeader.reads = []
    }

    // MARK: Time

    mutating func tickAsLeader() {
        // A leader that cannot persist cannot commit, and one that hears from no quorum is none (thesis, section 6.2).
        if isDiskStalled || quorumContact + configuration.electionTimeout <= now {
            return becomeFollower(term: term, leader: nil)
        }
        if let transfer = asLeader.transfer, transfer.deadline <= now { asLeader.transfer = nil }
        guard asLeader.heartbeatDeadline <= now else { return }
        asLeader.heartbeatDeadline = now + configuration.heartbeatInterval
        beginRound()
        asLeader.heartbeats += 1
        asLeader.flushed = nil
        asLeader.snapshotReceivers = asLeader.progress.count { !$0.isVoter && $0.receivesSnapshot && isAlive($0) }
        let turns = configuration.learnerHeartbeatTurns
        for position in asLeader.progress.indices where isHeartbeatDue(asLeader.progress[position], turns) {
            sendHeartbeat(at: position)
        }
        forgetRemovedMembers()
    }

    /// Whether a member is to hear at this time for heartbeats.
    ///
    /// Voters always: elections and leases rest on it. A learner in its turn; and while it lacks something, or what it was told may have
    /// been lost, for as long as it is there at all.
    private func isHeartbeatDue(_ progress: Progress, _ turns: UInt64) -> Bool {
        if progress.isVoter { return true }
        if asLeader.heartbeats % turns == progress.id.rawValue % turns { return true }
        guard isAlive(progress), !progress.isSettled(at: log.lastIndex) else { return false }
        // What comes next may answer for it: under load nothing need be asked.
        return progress.match < log.lastIndex || progress.newsAt + configuration.heartbeatInterval * 2 <= now
    }

    /// When this leader last heard from a quorum.
    var quorumContact: Instant {
        let leader = asLeader
        func contact(_ voter: RaftMemberID) -> Instant {
            if voter == id { return now }
            return leader.progress(of: voter).map { max($0.contact, $0.countsSince) } ?? .distantPast(before: now)
        }
        if plantedBugs.contains(.countsLearners) { return Quorum.agreed(by: membership.members, contact) ?? now }
        return membership.agreed(contact) ?? now
    }

    // MARK: Rounds of heartbeats

    /// Begins a round: whoever answers it acknowledged this leader after now.
    mutating func beginRound() {
        asLeader.round += 1
        asLeader.roundStarts.append(now)
        asLeader.needsRound = false
        if asLeader.roundStarts.count > Self.rememberedRounds { asLeader.roundStarts.removeFirst() }
    }

    /// Answers to older rounds than these say nothing new.
    private static var rememberedRounds: Int { 64 }

    private mutating func sendHeartbeat(at position: Int) {
        let progress = asLeader.progress[position]
        let commit = plantedBugs.contains(.commitsUnmatched) ? commitIndex : min(commitIndex, progress.match)
        asLeader.progress[position].sentCommit = max(progress.sentCommit, commit)
        // It does not show that the member knows everything that is committed.
        if commit < commitIndex { asLeader.progress[position].noteNews(round: asLeader.round, at: progress.newsAt) }
        sendPrompt(.heartbeat(commit: commit, round: asLeader.round), to: progress.id)
    }

    /// Takes note that a member answered a message of this term.
    mutating func noteContact(at position: Int, round: UInt64) {
        asLeader.progress[position].contact = now
        let newest = asLeader.round
        guard round > asLeader.progress[position].round, round <= newest else { return }
        let age = Int(newest - round)
        asLeader.progress[position].round = round
        if age < asLeader.roundStarts.count {
            asLeader.progress[position].roundStart = asLeader.roundStarts[asLeader.roundStarts.count - 1 - age]
        }
        if asLeader.progress[position].isVoter { confirmReads() }
    }

    // MARK: Answers

    mutating func receive(_ outcome: AppendOutcome, at position: Int) {
        switch outcome {
        case .matches(let index): receiveMatch(index, at: position)
        case .rejected(let previousIndex, let hintIndex, let hintTerm):
            receiveRejection(previousIndex: previousIndex, hintIndex: hintIndex, hintTerm: hintTerm, at: position)
        }
    }

    private mutating func receiveMatch(_ index: LogIndex, at position: Int) {
        guard index <= log.lastIndex else { return }
        let isNews = asLeader.progress[position].acknowledge(index)
        switch asLeader.progress[position].state {
        case .probe:
            // Also when nothing is new: a restarted leader may find a follower that has everything.
            if index + 1 >= asLeader.progress[position].next || isNews {
                asLeader.progress[position].becomeReplicate()
            }
        case .snapshot(let transfer):
            let match = asLeader.progress[position].match
            if log.term(at: match) != nil {
                // Done, or no longer needed: what it has now connects with the log.
                asLeader.progress[position].becomeReplicate()
            } else if match >= transfer.snapshot.metadata.index {
                // Done, but the log was compacted meanwhile: a newer snapshot must follow.
                asLeader.progress[position].becomeProbe(next: match + 1)
            }
        case .replicate: break
        }
        guard isNews, asLeader.progress[position].isVoter else { return }
        advanceLeaderCommit()
        if isLeader { continueTransfer() }
    }

    /// "If AppendEntries fails because of log inconsistency: decrement nextIndex and retry" (Raft, figure 2), by terms.
    private mutating func receiveRejection(
        previousIndex: LogIndex,
        hintIndex: LogIndex,
        hintTerm: Term,
        at position: Int
    ) {
        let progress = asLeader.progress[position]
        switch progress.state {
        case .snapshot: return
        case .replicate:
            // Not of an append that was acknowledged since; one before it was lost, so start again after what is known.
            guard previousIndex > progress.match else { return }
            asLeader.progress[position].becomeProbe(next: progress.match + 1)
        case .probe:
            guard previousIndex + 1 == progress.next else { return }
            let agreed = log.lastIndex(upTo: hintIndex, termAtMost: hintTerm)
            asLeader.progress[position].becomeProbe(next: min(previousIndex, agreed + 1))
        }
    }

    mutating func receiveHeartbeatResponse(at position: Int) {
        switch asLeader.progress[position].state {
        case .probe: asLeader.progress[position].state = .probe(isPaused: false)
        case .replicate: asLeader.progress[position].needsCheck = asLeader.progress[position].match < log.lastIndex
        case .snapshot: break
        }
        if asLeader.transfer?.target == asLeader.progress[position].id {
            asLeader.transfer?.isTold = false
            continueTransfer()
        }
    }

    // MARK: Commitment

    /// "If there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N, and log[N].term == currentTerm: set
    /// commitIndex = N" (Raft, figure 2; section 5.4.2 tells why the term matters).
    mutating func advanceLeaderCommit() {
        let leader = asLeader
        let own = plantedBugs.contains(.countsItselfEarly) ? log.lastIndex : log.persisted
        func match(_ voter: RaftMemberID) -> LogIndex {
            voter == id ? own : leader.progress(of: voter)?.match ?? 0
        }
        let agreed =
            plantedBugs.contains(.ignoresOutgoingVoters)
            ? Quorum.agreed(by: membership.voters, match) : membership.agreed(match)
        guard let agreed, agreed > commitIndex else { return }
        guard log.term(at: agreed) == term || plantedBugs.contains(.commitsOldTermByCounting) else { return }
        for entry in log.slice(commitIndex + 1...agreed, byteLimit: .max) where entry.term == term {
            asLeader.uncommittedByteCount -= entry.byteCount
        }
        advanceCommit(to: agreed)
        releaseReadsAfterFirstCommit()
        settleMembership()
    }
}

extension ContinuousClock.Instant {
    /// Long enough ago that every timeout is over.
    static func distantPast(before now: Self) -> Self { now - .seconds(86_400 * 365) }
}
