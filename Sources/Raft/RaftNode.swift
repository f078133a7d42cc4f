package import ClusterModel

/// One member of a Raft group: elections, the replicated log, snapshots, membership (Ongaro and Ousterhout, "In search of an
/// understandable consensus algorithm", 2014; Ongaro, "Consensus: bridging theory and practice", 2014).
///
/// It has no clock, no disk and no network. A shell calls its verbs, carries out what `ready()` returns, and calls `tick` at `deadline`.
/// The contract is on `Ready`.
package struct RaftNode: Sendable {
    /// A moment of a clock that only goes forward, given with each call; Raft reads no clock itself.
    package typealias Instant = ContinuousClock.Instant

    /// What this member is now, with what only that state needs.
    enum State: Sendable {
        case follower(leader: RaftMemberID?)
        /// Collects votes; of the kind `.preVote` in the term before the one that it would begin.
        case candidate(kind: VoteRequest.Kind, votes: [RaftMemberID: Bool])
        case leader(Leader)
    }

    package let id: RaftMemberID
    package let configuration: RaftConfiguration
    var state = State.follower(leader: nil)
    var hardState: HardState
    var log: RaftLog
    /// The newest snapshot of this member; at index 0 there is none, only a membership.
    var snapshot: Snapshot
    /// The membership at `snapshot`, and each one that the log holds after it; the last counts, committed or not (thesis, section 4.1).
    var memberships: [(index: LogIndex, membership: Membership)]
    var generator: SeededGenerator
    /// The latest time that was seen.
    var now: Instant
    /// When a follower or candidate gives up waiting.
    var electionDeadline: Instant
    /// When a leader was last heard of; a restarted member supposes that it was just now.
    var leaderContact: Instant?

    // What was handed to the shell, and what the shell said about it.
    var lastReadyNumber: UInt64 = 0
    var handedHardState: HardState
    var persistedTerm: Term
    var beingPersisted: [(number: UInt64, lastIndex: LogIndex, lastTerm: Term, term: Term, since: Instant)] = []
    var handedForApply: LogIndex
    /// The last entry that the state machine has applied, as far as the shell said.
    package internal(set) var appliedIndex: LogIndex

    // What the next `Ready` will hold.
    var prompt: [Message] = []
    var messages: [Message] = []
    var reads: [ReadAnswer] = []
    var pendingSnapshot: Snapshot?
    var incoming: IncomingSnapshot?

    var plantedBugs: PlantedBugs = []

    /// Starts from what is on disk.
    ///
    /// - Parameters:
    ///   - id: the number that was drawn when the log was created.
    ///   - configuration: times and bounds; a value with `problems` traps.
    ///   - persisted: everything that was synced.
    ///   - applied: what the state machine has applied durably; it starts from the snapshot when this is nil.
    ///   - seed: different on every member and at every start, or elections may tie again and again.
    ///   - now: read after the disk was.
    /// - Throws: when a correct shell cannot have written this disk.
    package init(
        id: RaftMemberID,
        configuration: RaftConfiguration = RaftConfiguration(),
        persisted: PersistedState,
        applied: LogIndex? = nil,
        seed: UInt64,
        now: Instant
    ) throws(RestartError) {
        precondition(id.rawValue != 0, "member 0 is nobody")
        precondition(configuration.problems.isEmpty, configuration.problems.joined(separator: "; "))
        let base = persisted.snapshot.metadata
        let entries = Array(persisted.entries.drop { $0.index <= base.index })
        try Self.validate(entries, after: base, term: persisted.hardState.term)
        self.id = id
        self.configuration = configuration
        snapshot = persisted.snapshot
        log = RaftLog(offset: base.index, offsetTerm: base.term, entries: entries)
        memberships = [(base.index, base.membership)]
        for case let entry in entries {
            if case .membership(let membership, _) = entry.payload { memberships.append((entry.index, membership)) }
        }
        hardState = persisted.hardState
        appliedIndex = max(applied ?? base.index, base.index)
        guard appliedIndex <= log.lastIndex else {
            throw .appliedBeyondLog(applied: appliedIndex, last: log.lastIndex)
        }
        // The stored commit index is a hint that may have been stored before the entries it speaks of.
        hardState.commit = min(max(hardState.commit, appliedIndex), log.lastIndex)
        handedHardState = hardState
        persistedTerm = hardState.term
        handedForApply = appliedIndex
        generator = SeededGenerator(seed: seed)
        self.now = now
        electionDeadline = now
        // It may have promised a leader a moment ago to elect nobody else; after a lease's time it is free of that.
        leaderContact = hardState.term == .zero ? nil : now
        if !isSoleVoter { restartElectionTimer() }
    }

    private static func validate(
        _ entries: [Entry],
        after base: SnapshotMetadata,
        term: Term
    ) throws(RestartError) {
        var (index, last) = (base.index, base.term)
        for entry in entries {
            guard entry.index == index + 1 else { throw .gap(expected: index + 1, found: entry.index) }
            guard entry.term >= last, entry.term <= term else { throw .disorder(entry.index) }
            (index, last) = (entry.index, entry.term)
        }
    }
}

// MARK: What can be asked

extension RaftNode {
    /// The current term (Raft, section 5.1); not necessarily on disk yet.
    package var term: Term { hardState.term }
    /// Every entry up to here is in the log of every future leader (Raft, section 5.4).
    package var commitIndex: LogIndex { hardState.commit }
    /// The last entry of the log, committed or not.
    package var lastIndex: LogIndex { log.lastIndex }
    /// The entry before the first that has not been compacted.
    package var compactedIndex: LogIndex { log.offset }
    /// Bytes of the log in memory, by which a shell decides when to take a snapshot.
    package var logByteCount: Int { log.byteCount }

    /// The membership in force: the newest in the log, committed or not (thesis, section 4.1).
    package var membership: Membership { memberships[memberships.count - 1].membership }
    /// The entry that brought `membership` into force.
    package var membershipIndex: LogIndex { memberships[memberships.count - 1].index }
    /// Whether the membership in force is committed, so that it stays.
    package var isMembershipCommitted: Bool { membershipIndex <= commitIndex }

    /// Whether this member leads its term.
    package var isLeader: Bool {
        guard case .leader = state else { return false }
        return true
    }

    /// The leader of this term as far as known; it may be this member.
    package var leader: RaftMemberID? {
        switch state {
        case .follower(let leader): leader
        case .candidate: nil
        case .leader: id
        }
    }

    /// When `tick` must be called next.
    package var deadline: Instant {
        guard case .leader(let leader) = state else { return electionDeadline }
        var earliest = min(leader.heartbeatDeadline, quorumContact + configuration.electionTimeout)
        if let transfer = leader.transfer { earliest = min(earliest, transfer.deadline) }
        return earliest
    }

    /// Whether nobody else has a say, now and before, so that no election need be waited for.
    var isSoleVoter: Bool { membership.voters == [id] && !membership.isJoint && isMembershipCommitted }

    /// Whether this member may be elected.
    ///
    /// Also while its own removal is not committed: perhaps nobody else has that entry, and then nobody else can be elected (thesis,
    /// section 4.2.2).
    var mayStand: Bool {
        if membership.isVoter(id) { return true }
        guard !isMembershipCommitted, memberships.count > 1 else { return false }
        return memberships[memberships.count - 2].membership.isVoter(id)
    }

    /// Whether the disk has kept silent for so long that this member can do nothing for the others.
    var isDiskStalled: Bool {
        guard let oldest = beingPersisted.first else { return false }
        return oldest.since + configuration.persistTimeout <= now
    }
}

// MARK: Inputs

extension RaftNode {
    /// Takes note of the time and does what is due.
    ///
    /// - Parameter now: read after everything that happened before this call, or a lease could be thought longer than it is; a
    ///   time before the last one counts as the last one.
    package mutating func tick(now: Instant) {
        self.now = max(self.now, now)
        if isLeader {
            tickAsLeader()
        } else if self.now >= electionDeadline {
            restartElectionTimer()
            if !mayStand {
                // Who cannot be elected asks for no votes, but should not name a leader either that it does not hear any more.
                if !hearsFromLeader(within: configuration.learnerPatience) { state = .follower(leader: nil) }
            } else if !isDiskStalled {
                campaign(.preVote)
            }
        }
    }

    /// Takes a message from another member; what is out of date, repeated or meant for somebody else has no effect.
    package mutating func receive(_ message: Message, now: Instant) {
        self.now = max(self.now, now)
        guard message.to == id, message.from != id else { return }
        if case .proposals(let proposals) = message.body {
            // A courtesy without a promise: who proposed waits for the entry to be applied, or tries again.
            if isLeader { _ = try? propose(proposals, now: now) }
            return
        }
        if message.term > term {
            guard followNewerTerm(of: message) else { return }
        } else if message.term < term {
            answerOlderTerm(of: message)
            return
        }
        switch message.body {
        case .voteRequest(let request): decideVote(request, of: message)
        case .voteResponse(let kind, let isGranted):
            if kind == .preVote, isGranted, message.term == term { return }
            countVote(kind, isGranted: isGranted, from: message.from)
        case .append(let append): receiveAppend(append, from: message.from)
        case .heartbeat(let commit, let round): receiveHeartbeat(commit: commit, round: round, from: message.from)
        case .snapshotChunk(let chunk): receiveChunk(chunk, from: message.from)
        case .timeoutNow: if mayStand, !isLeader { campaign(.transfer) }
        case .appendResponse(let round, let outcome):
            receiveAsLeader(from: message.from, round: round) { $0.receive(outcome, at: $1) }
        case .heartbeatResponse(let round):
            receiveAsLeader(from: message.from, round: round) { $0.receiveHeartbeatResponse(at: $1) }
        case .snapshotResponse(let index, let byteCount, let round):
            receiveAsLeader(from: message.from, round: round) {
                $0.receiveSnapshotResponse(index: index, byteCount: byteCount, at: $1)
            }
        case .proposals: break
        }
    }

    /// Enters the term of a message when it is one that can begin a term; false when nothing more is to be done.
    private mutating func followNewerTerm(of message: Message) -> Bool {
        switch message.body {
        case .voteRequest(let request):
            // "If a server receives a RequestVote request within the minimum election timeout of hearing from a current leader, it
            // does not update its term or grant its vote" (thesis, section 4.2.3).
            if request.kind != .transfer, hearsFromLeader { return false }
            if request.kind != .preVote { becomeFollower(term: message.term, leader: nil) }
        // An answer to an earlier candidacy asks about another term.
        case .voteResponse(.preVote, isGranted: true): return message.term == term.next
        case .append, .heartbeat, .snapshotChunk: becomeFollower(term: message.term, leader: message.from)
        default: becomeFollower(term: message.term, leader: nil)
        }
        return true
    }

    /// Tells the sender of an older term about ours, where that helps it.
    private mutating func answerOlderTerm(of message: Message) {
        switch message.body {
        case .append, .heartbeat, .snapshotChunk:
            // A leader that missed an election steps down when it sees the newer term (Raft, section 5.1).
            send(.heartbeatResponse(round: 0), to: message.from)
        case .voteRequest(let request):
            send(.voteResponse(kind: request.kind, isGranted: false), to: message.from)
        default: break
        }
    }

    /// Where this leader keeps what it knows about a member; asked apart, so that nothing else holds that when it changes.
    private func leaderPosition(of member: RaftMemberID) -> Int? {
        guard case .leader(let leader) = state else { return nil }
        return leader.position(of: member)
    }

    private mutating func receiveAsLeader(
        from sender: RaftMemberID,
        round: UInt64,
        _ body: (inout RaftNode, Int) -> Void
    ) {
        guard let position = leaderPosition(of: sender) else { return }
        asLeader.touched.append(sender)
        noteContact(at: position, round: round)
        body(&self, position)
    }
}

// MARK: Terms and messages

extension RaftNode {
    /// Whether a leader is alive as far as this member knows, so that nobody else should become one.
    var hearsFromLeader: Bool { hearsFromLeader(within: configuration.electionTimeout) }

    private func hearsFromLeader(within limit: Duration) -> Bool {
        if isLeader { return true }
        guard let leaderContact else { return false }
        return now < leaderContact + limit
    }

    /// Enters a term, or stays in it, without leading it.
    mutating func becomeFollower(term: Term, leader: RaftMemberID?) {
        if isLeader { abandonLeadership() }
        if term > hardState.term {
            hardState.term = term
            hardState.vote = nil
        }
        state = .follower(leader: leader)
        restartElectionTimer()
    }

    /// "Each candidate restarts its randomized election timeout at the start of an election" (Raft, section 5.2).
    mutating func restartElectionTimer() {
        let timeout = configuration.electionTimeout
        electionDeadline = now + timeout + timeout * generator.unit()
    }

    /// Queues a message of the current term, for after what is to be persisted.
    mutating func send(_ body: Message.Body, to receiver: RaftMemberID, term: Term? = nil) {
        messages.append(Message(from: id, to: receiver, term: term ?? self.term, body: body))
    }

    /// Queues a message of a leader that promises nothing about its disk but its term.
    mutating func sendPrompt(_ body: Message.Body, to receiver: RaftMemberID) {
        // A sole voter leads before its term is on disk; it must not be heard in a term that it could forget.
        guard persistedTerm == term else { return send(body, to: receiver) }
        prompt.append(Message(from: id, to: receiver, term: term, body: body))
    }
}
