import ClusterModel
import ClusterState
import CoreMetrics
import Logging
import Metrics
import Raft
import ResourceSamples
import Storage

/// This node's copy of the replicated state, and the only way to change it.
///
/// It drives one member of the Raft group of the cluster's agents. A change is in the logs of a majority, on their disks, before it is
/// applied, visible and acknowledged: nothing that a caller saw can be lost by a crash, and a disk that is full leaves the state as it
/// was. An agent that does not lead hands its changes to the leader and sees them applied here like everybody else. A cluster of one is
/// its own majority and asks nobody.
///
/// What `RaftNode` wants done is done in its order: messages that promise nothing leave at once, everything else after what it promises is
/// on disk. One writer takes all that waits in one transaction (group commit).
actor Replica {
    /// The state after the last entry that was applied here.
    private(set) var state: ClusterState
    /// This log's number in the group.
    nonisolated let member: RaftMemberID

    var node: RaftNode
    private let store: any StateStoring
    private let link: any RaftLink
    private let raft: RaftConfiguration
    private let metrics: AgentMetrics
    private let logger: Logger
    private let clock: @Sendable () -> ContinuousClock.Instant
    private var listener: (@Sendable ([JobID]) -> Void)?

    /// What is to be written, then sent and applied, oldest first.
    private var work: [Ready] = []
    private var isWorking = false
    private let history: ReplicaHistory
    private var historyTimer: Task<Void, Never>?
    private var applied: LogIndex
    private var pace: SnapshotPace
    private var wantsSnapshot = false
    private var workWaiters: [CheckedContinuation<Void, Never>] = []

    private var proposals: OpenProposals
    private var proposalCount = 0
    private var leaderWaiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
    private var nextLeaderWaiter: UInt64 = 0
    private var reads: [UInt64: CheckedContinuation<Bool, Never>] = [:]
    private var waitingReads: [ReadAnswer] = []
    private var nextRead: UInt64 = 0
    private var ticker: (task: Task<Void, Never>, at: ContinuousClock.Instant)?
    private var lastFailure: (any Error)?
    /// Set when an entry cannot be understood: this member then stands still rather than differ from the others.
    private(set) var standstill: String?
    private var isClosed = false
    private var wasLeader = false

    /// Proposals that may wait; more are refused at once.
    private let queueLimit = 10_000
    /// The end of the log when this agent began; the one before it has acted on nothing beyond that.
    private let firstLastIndex: LogIndex
    /// How long a change may take before its proposer is told that its fate is unknown.
    private let patience: Duration
    /// How long it may take when this agent stops, and since when it does.
    private let haste: Duration = .seconds(1)
    private var hurried: ContinuousClock.Instant?

    /// Reads what the store holds; throws when it cannot be read or was written by a newer version.
    ///
    /// An empty store begins a cluster of its own when `founds`, and else waits for a leader to make it a member; `seed` is
    /// different at every start.
    init(
        store: any StateStoring,
        link: any RaftLink = NoLink(),
        founds: Bool = true,
        raft: RaftConfiguration = RaftConfiguration(),
        metrics: AgentMetrics,
        logger: Logger,
        snapshotInterval: Int = 2000,
        patience: Duration = .seconds(15),
        seed: UInt64 = .random(in: .min ... .max),
        clock: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) async throws {
        let opened = try await ReplicaDisk.open(store, founds: founds)
        member = opened.member
        state = opened.state
        applied = opened.persisted.snapshot.metadata.index
        pace = SnapshotPace(interval: snapshotInterval, after: opened.persisted.snapshot)
        node = try RaftNode(
            id: opened.member,
            configuration: raft,
            persisted: opened.persisted,
            seed: seed,
            now: clock()
        )
        firstLastIndex = node.lastIndex
        proposals = OpenProposals(seed: seed)
        self.store = store
        history = ReplicaHistory(store: store, logger: logger)
        self.link = link
        self.raft = raft
        self.metrics = metrics
        self.logger = logger
        self.patience = patience
        self.clock = clock
        await begin()
    }

    private func begin() async {
        node.tick(now: clock())
        pump()
        while isWorking { await withCheckedContinuation { workWaiters.append($0) } }
    }

    /// Says who hears of every job that changed or was forgotten, after that is durable and before the proposer does.
    func listen(_ listener: @escaping @Sendable ([JobID]) -> Void) { self.listener = listener }

    // MARK: Changes

    /// Proposes one command; returns what became of it once that is durable and applied here.
    @discardableResult
    func propose(_ command: Command) async throws -> Outcome {
        try await propose([command])[0]
    }

    /// Proposes commands that are carried out together, in order; each is accepted or refused on its own.
    ///
    /// `samples` are this node's own and go to its store only.
    ///
    /// - Throws: `StorageError` when nothing was changed because of this node's disk; ``ReplicationError`` when a majority could not be
    ///   asked, or when it is not known whether the change will be made.
    @discardableResult
    func propose(_ commands: [Command], samples: [JobSample] = []) async throws -> [Outcome] {
        history.add(samples)
        guard !commands.isEmpty else {
            try await history.write()
            return []
        }
        guard proposalCount < queueLimit else {
            throw StorageError(.failed, "\(queueLimit) changes wait for the disk; try again when it keeps up.")
        }
        proposalCount += 1
        defer { proposalCount -= 1 }
        let began = clock()
        defer { metrics.commit.record(duration: began.duration(to: clock())) }
        let numbers = proposals.takeNumbers(commands.count)
        let encoded = try zip(numbers, commands).map { number, command in
            try LoggedCommand(proposer: member, number: number, command: command).encoded()
        }
        if let longest = encoded.map(\.count).max(), longest > raft.proposalByteLimit {
            let error = ProposalError.tooLong(count: longest, limit: raft.proposalByteLimit)
            throw ReplicationError(isUnknown: false, description: "The change was not made: \(error).")
        }
        return try await hand(over: encoded, numbers: numbers, began: began)
    }

    /// Brings proposals into the leader's log, as often as they are certainly not in it, and waits until they are applied here.
    private func hand(
        over encoded: [[UInt8]],
        numbers: Range<UInt64>,
        began: ContinuousClock.Instant
    ) async throws -> [Outcome] {
        var done: [Outcome] = []
        while true {
            let rest = encoded.dropFirst(done.count).map { $0 }
            let left = numbers.dropFirst(done.count)
            if let standstill { throw ReplicationError(isUnknown: false, description: standstill) }
            if isClosed {
                throw ReplicationError(isUnknown: false, description: "This agent has stopped; ask another one.")
            }
            if !node.isLeader, isAlone {
                node.tick(now: clock())
                pump()
                while isWorking { await withCheckedContinuation { workWaiters.append($0) } }
                if !node.isLeader, let lastFailure { throw lastFailure }
            }
            if node.isLeader {
                do {
                    return try await done + append(rest, left, deadline(of: began))
                } catch let lost as LostProposal {
                    done += lost.outcomes
                } catch let error as ProposalError {
                    try await waitForLeader(until: deadline(of: began), else: "\(error)")
                }
            } else if let leader = node.leader {
                do {
                    return try await done + forward(rest, left, to: leader, deadline(of: began))
                } catch let lost as LostProposal {
                    done += lost.outcomes
                } catch ForwardingError.notTaken(let reason) {
                    try await waitForLeader(until: deadline(of: began), else: reason)
                }
            } else {
                try await waitForLeader(until: deadline(of: began), else: "no leader is known")
            }
        }
    }

    private func append(
        _ encoded: [[UInt8]],
        _ numbers: Range<UInt64>,
        _ deadline: ContinuousClock.Instant
    ) async throws -> [Outcome] {
        let receipt = try node.propose(encoded, now: clock())
        guard case .appended(let term, let range) = receipt else { throw LostProposal(outcomes: []) }
        return try await applied(numbers, deadline) { waiter in
            waiter.place = LogPlace(term: term.rawValue, lastIndex: range.upperBound - 1)
            pumpUnlessWriting()
        }
    }

    private func forward(
        _ encoded: [[UInt8]],
        _ numbers: Range<UInt64>,
        to leader: RaftMemberID,
        _ deadline: ContinuousClock.Instant
    ) async throws -> [Outcome] {
        // Waits from before the leader is asked: the entries may be applied here before its answer comes.
        try await applied(numbers, deadline) { waiter in
            proposals.enqueue((encoded, waiter), for: leader)
            passOn(to: leader)
        }
    }

    private func passOn(to leader: RaftMemberID) {
        let batch = proposals.takeBatch(for: leader)
        guard !batch.isEmpty else { return }
        Task(name: "replica.forward") {
            do throws(ForwardingError) {
                let place = try await link.propose(batch.flatMap(\.encoded), to: leader)
                for (_, waiter) in batch { waiter.place = place }
                proposals.endLost(appliedThrough: applied)
            } catch {
                if case .notTaken = error { for (_, waiter) in batch { proposals.end(waiter, with: .failure(error)) } }
            }
            proposals.callEnded(leader)
            passOn(to: leader)
        }
    }

    /// Waits for the outcomes; throws ``LostProposal`` when some were certainly lost.
    private func applied(
        _ numbers: Range<UInt64>,
        _ deadline: ContinuousClock.Instant,
        _ start: (ProposalWaiter) -> Void
    ) async throws -> [Outcome] {
        try await withCheckedThrowingContinuation { continuation in
            let waiter = ProposalWaiter(numbers, deadline: deadline, continuation)
            proposals.add(waiter)
            rearm()
            start(waiter)
        }
    }

    /// Answers a forwarded proposal: appends it when this member leads.
    func take(_ proposals: [[UInt8]]) throws(ForwardingError) -> LogPlace {
        do {
            guard case .appended(let term, let range) = try node.propose(proposals, now: clock()) else {
                throw ForwardingError.notTaken("this agent does not lead")
            }
            pumpUnlessWriting()
            return LogPlace(term: term.rawValue, lastIndex: range.upperBound - 1)
        } catch let error as ForwardingError {
            throw error
        } catch {
            throw .notTaken("\(error)")
        }
    }

    // MARK: The group

    /// Whether this member is the whole group, so that nobody else need be asked or can be.
    var isAlone: Bool { node.membership.isOnly(member) }

    /// Which history of the cluster this log belongs to; nil while it is empty.
    var lineage: UInt64? { node.membership.isEmpty ? nil : state.lineage }

    /// The term that this member leads; nil when it does not lead.
    var leadingTerm: Term? { node.isLeader ? node.term : nil }

    /// The last entry of this member's log, committed or not.
    var lastIndex: LogIndex { node.lastIndex }

    /// How the group stands, as this member sees it.
    var status: ReplicaStatus {
        ReplicaStatus(
            member: member,
            term: node.term,
            leader: node.leader,
            membership: node.membership,
            isAlone: isAlone,
            applied: applied,
            committed: node.commitIndex,
            lastIndex: node.lastIndex,
            lastLeaderContact: node.lastLeaderContact,
            peers: node.peers,
            standstill: standstill
        )
    }

    /// Takes messages of other members.
    func receive(_ messages: [Raft.Message]) {
        guard standstill == nil, !isClosed else { return }
        let now = clock()
        for message in messages { node.receive(message, now: now) }
        pump()
    }

    /// Begins a change of the group's members; it is carried out when the entry of the returned index is committed.
    func changeMembership(_ change: MembershipChange) throws(MembershipError) -> LogIndex {
        let index = try node.changeMembership(change, now: clock())
        pump()
        return index
    }

    /// Hands leadership to another voter, as before a planned stop; returns when it is handed over or cannot be.
    func handOver() async {
        guard node.isLeader, node.membership.voters.count > 1 else { return }
        do throws(TransferError) { try node.transferLeadership(now: clock()) } catch { return }
        pump()
        let deadline = clock() + raft.electionTimeout * 2
        // A task of its own: in one that is cancelled a sleep is none, and the messages that hand it over would not be taken in.
        let handing = Task(name: "replica.handover") {
            while node.isLeader, clock() < deadline { try? await Task.sleep(for: .milliseconds(5)) }
        }
        await handing.value
    }

    /// Lets changes take a second at most from now on, those under way too: this agent stops, and others may not reach it any more.
    func hurry() {
        guard !isAlone, hurried == nil else { return }
        hurried = clock()
        proposals.hurry(until: clock() + haste)
        rearm()
    }

    /// When a change that was begun then is given up.
    private func deadline(of began: ContinuousClock.Instant) -> ContinuousClock.Instant {
        guard let hurried else { return began + patience }
        return min(began + patience, max(began, hurried) + haste)
    }

    /// Returns when everything that was acknowledged to anybody before this call is applied here; false when this member does not lead
    /// or has lost the lead.
    func isUpToDate() async -> Bool {
        guard node.isLeader else { return false }
        if isAlone { return true }
        nextRead += 1
        let context = nextRead
        do throws(ReadError) { try node.requestRead(context, mode: .lease, now: clock()) } catch { return false }
        return await withCheckedContinuation { continuation in
            reads[context] = continuation
            pump()
        }
    }

    /// Waits until this member has heard from a leader and has applied all that it knows to be committed, and all that the agent before this one
    /// can have known: a new leader tells only after its first entry how far the log is committed, and by an older state what runs here would be a
    /// stranger's.
    func waitUntilReady(for limit: Duration) async -> Bool {
        let deadline = clock() + limit
        while clock() < deadline, !Task.isCancelled {
            // What the leader has cut off was never committed.
            let known = max(node.commitIndex, min(firstLastIndex, node.lastIndex))
            if node.leader != nil, applied >= known, node.commitIndex > 0 { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    private func waitForLeader(until deadline: ContinuousClock.Instant, else reason: String) async throws {
        let now = clock()
        guard now < deadline else {
            throw ReplicationError(
                isUnknown: false,
                description:
                    "The change was not made: \(reason). Look at `godwit status`: a majority of the voters must answer."
            )
        }
        nextLeaderWaiter += 1
        let number = nextLeaderWaiter
        let pause = min(now.duration(to: deadline), .milliseconds(100))
        await withCheckedContinuation { continuation in
            leaderWaiters[number] = continuation
            Task(name: "replica.wait") {
                try? await Task.sleep(for: pause)
                endLeaderWait(number)
            }
        }
    }

    private func endLeaderWait(_ number: UInt64) { leaderWaiters.removeValue(forKey: number)?.resume() }

    // MARK: Doing what the member wants done

    /// Takes all that the member wants done and begins with it.
    private func pump() {
        guard standstill == nil, !isClosed else { return }
        while let ready = node.ready() {
            if !ready.prompt.isEmpty { link.send(ready.prompt) }
            work.append(ready)
        }
        noteLeadership()
        rearm()
        guard !isWorking, !work.isEmpty || wantsSnapshot else { return }
        isWorking = true
        Task(name: "replica.work") { await carryOut() }
    }

    /// Leaves proposals that come during a write to the end of it, so that they are sent and written together.
    private func pumpUnlessWriting() {
        if !isWorking { pump() }
    }

    private func carryOut() async {
        while standstill == nil, !isClosed, !work.isEmpty || wantsSnapshot {
            let taken = work
            work = []
            var batch = ReplicaDisk.batch(of: taken)
            if taken.contains(where: \.needsPersisting) {
                let riding = history.take()
                batch.add(riding)
                do {
                    try await store.commit(batch)
                    history.ended(riding, isWritten: true)
                } catch {
                    history.ended(riding, isWritten: false)
                    await beginAgain(after: error)
                    continue
                }
                lastFailure = nil
            }
            for ready in taken { finish(ready) }
            pump()
            if wantsSnapshot || pace.isDue(at: applied) { await takeSnapshot() }
        }
        isWorking = false
        if !history.isEmpty, !isClosed { scheduleHistory() }
        let waiting = workWaiters
        workWaiters = []
        for waiter in waiting { waiter.resume() }
        pump()
    }

    /// What comes after writing: say so, send, apply, answer.
    private func finish(_ ready: Ready) {
        if ready.needsPersisting { node.persisted(ready.number, now: clock()) }
        if !ready.messages.isEmpty { link.send(ready.messages) }
        if let snapshot = ready.snapshot { install(snapshot) }
        apply(ready.committed)
        waitingReads += ready.reads
        answerReads()
    }

    private func install(_ snapshot: Raft.Snapshot) {
        do {
            let before = Set(state.jobs.map(\.id))
            state = try ReplicaDisk.state(of: snapshot)
            applied = snapshot.metadata.index
            pace.noteSaved(snapshot)
            node.applied(through: applied)
            listener?(before.union(state.jobs.map(\.id)).sorted())
            proposals.endLost(appliedThrough: applied)
        } catch {
            standStill("The leader's snapshot cannot be read: \(error)")
        }
    }

    private func apply(_ entries: [Entry]) {
        guard !entries.isEmpty, standstill == nil else { return }
        for entry in entries {
            if case .proposal(let bytes) = entry.payload {
                do { apply(try LoggedCommand(decoding: bytes)) } catch {
                    return standStill("Entry \(entry.index) of the replicated log cannot be read: \(error)")
                }
            }
            applied = entry.index
            pace.noteApplied(entry)
        }
        node.applied(through: applied)
        proposals.endLost(appliedThrough: applied)
    }

    private func apply(_ logged: LoggedCommand) {
        let outcome = state.apply(logged.command)
        if let acceptance = outcome.acceptance {
            history.add(acceptance)
            listener?(acceptance.changed + acceptance.pruned)
        }
        if logged.proposer == member { proposals.applied(logged.number, outcome) }
    }

    private func answerReads() {
        waitingReads.removeAll { answer in
            guard let index = answer.index else {
                reads.removeValue(forKey: answer.context)?.resume(returning: false)
                return true
            }
            guard index <= applied else { return false }
            reads.removeValue(forKey: answer.context)?.resume(returning: true)
            return true
        }
    }

    /// Goes back to what is on disk after a write that failed, which left nothing there; as after a crash, nothing was promised that is not.
    private func beginAgain(after error: any Error) async {
        logger.error("state.commit.failed", metadata: ["error": "\(error)"])
        lastFailure = error
        do {
            let stored = try await store.load()
            let persisted = try ReplicaDisk.persisted(stored)
            node = try RaftNode(
                id: member,
                configuration: raft,
                persisted: persisted,
                applied: applied,
                seed: .random(in: .min ... .max),
                now: clock()
            )
            // What the member before wanted done, also while the store was read: none of it is on disk.
            work = []
        } catch {
            return standStill("The log cannot be read again after a failed write: \(error)")
        }
        // Others may have what this member could not write.
        let unknown = "It is not known whether the change was made: \(error)"
        proposals.endAll(with: isAlone ? error : ReplicationError(isUnknown: true, description: unknown))
        failReads()
        noteLeadership()
        rearm()
    }

    private func failReads() {
        for read in reads.values { read.resume(returning: false) }
        (reads, waitingReads) = ([:], [])
    }

    private func standStill(_ reason: String) {
        standstill = reason
        logger.critical("replica.standstill", metadata: ["reason": "\(reason)"])
        proposals.endAll(with: ReplicationError(isUnknown: true, description: reason))
        failReads()
        ticker?.task.cancel()
        ticker = nil
    }

    private func noteLeadership() {
        if let leader = node.leader {
            proposals.leaderIs(leader)
            let waiting = leaderWaiters
            leaderWaiters = [:]
            for waiter in waiting.values { waiter.resume() }
        }
        guard node.isLeader != wasLeader else { return }
        wasLeader = node.isLeader
        if !wasLeader { failReads() }
        logger.notice(wasLeader ? "leader.elected" : "leader.lost", metadata: ["term": "\(node.term)"])
    }

    // MARK: Time

    /// Wakes up when the member or somebody who waits has to be looked after; a group of one needs no heartbeat.
    private func rearm() {
        var next = isAlone && node.isLeader ? nil : node.deadline
        if !proposals.isEmpty {
            let sweep = clock() + .seconds(1)
            next = min(next ?? sweep, sweep)
        }
        guard let next, standstill == nil, !isClosed else { return }
        if let ticker, ticker.at <= next { return }
        ticker?.task.cancel()
        let task = Task(name: "replica.tick") {
            try? await Task.sleep(until: next, tolerance: .milliseconds(1), clock: .continuous)
            if !Task.isCancelled { tick() }
        }
        ticker = (task, next)
    }

    private func tick() {
        ticker = nil
        let now = clock()
        node.tick(now: now)
        proposals.endLate(
            at: now,
            with: ReplicationError(
                isUnknown: true,
                description:
                    "It is not known whether the change was made: no majority of the voters has answered within "
                    + "\((hurried == nil ? patience : haste).text). "
                    + "Look at `godwit status`, and at what became of the change before you repeat it."
            )
        )
        pump()
    }

    /// Ends the member: it takes nothing in, says nothing, and applies nothing any more.
    func close() {
        isClosed = true
        let unknown = ReplicationError(
            isUnknown: true,
            description: "It is not known whether the change was made: this agent stops. Ask another one."
        )
        proposals.endAll(with: unknown)
        failReads()
        ticker?.task.cancel()
        ticker = nil
        historyTimer?.cancel()
    }

    // MARK: History and snapshots

    /// Writes what no write of the log has taken along a moment later.
    private func scheduleHistory() {
        guard historyTimer == nil else { return }
        historyTimer = Task(name: "replica.history") {
            try? await Task.sleep(for: .milliseconds(200))
            historyTimer = nil
            if !Task.isCancelled { try? await history.write() }
        }
    }

    /// The decisions about a job, or about all, that were made here so far; oldest first.
    func decisions(of job: JobID?, after sequence: UInt64 = 0, limit: Int) async throws -> [NumberedDecision] {
        // A disk that takes nothing more still shows what it has.
        try? await history.write()
        await history.settled()
        return try await store.decisions(of: job, after: sequence, limit: limit)
    }

    /// Replaces the log by a snapshot; a failure is logged and tried again later, since the log still holds everything.
    func saveSnapshot() async {
        wantsSnapshot = true
        pump()
        while isWorking { await withCheckedContinuation { workWaiters.append($0) } }
    }

    private func takeSnapshot() async {
        wantsSnapshot = false
        guard applied > pace.index, let metadata = node.snapshotMetadata(at: applied) else { return }
        do {
            try await history.write()
            let snapshot = Raft.Snapshot(metadata: metadata, data: try StateCoding.encode(state))
            try await store.save(ReplicaDisk.stored(snapshot), keeping: isAlone ? 0 : ReplicaDisk.keptEntries)
            _ = node.compact(to: snapshot, keeping: isAlone ? 0 : ReplicaDisk.keptBytes)
            pace.noteSaved(snapshot)
        } catch {
            pace.noteFailure(at: applied)
            logger.warning("state.snapshot.failed", metadata: ["error": "\(error)"])
        }
    }
}
