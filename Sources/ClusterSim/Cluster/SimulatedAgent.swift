import ClusterModel
import ClusterState
import Raft

/// What agents say to each other, beside what Raft says.
enum Packet {
    case raft(Message)
    /// Asks the leader for authority; the sender's clock at that moment comes back with the answer.
    case ping(sent: ContinuousClock.Instant)
    case grant(index: LogIndex, sent: ContinuousClock.Instant)
    case request(number: UInt64, ClusterRequest)
    case reply(number: UInt64, ClusterReply)

    /// Whether it does no harm when it comes twice.
    var mayBeRepeated: Bool {
        switch self {
        case .raft, .ping, .grant: true
        case .request, .reply: false
        }
    }
}

/// What an agent asks of the leader for somebody else.
enum ClusterRequest {
    case propose([UInt8])
    /// From which entry on a state is fresh enough.
    case readIndex
}

/// The leader's answer.
enum ClusterReply {
    case outcome(Outcome)
    case index(LogIndex)
    /// This is no leader, or it cannot now; nothing was done.
    case unavailable
}

/// Who waits for an answer.
enum Asker {
    case nobody
    case agent(Int, number: UInt64)
    case client(Int, attempt: UInt64)
    /// A client that wants to know a submission's job.
    case reader(Int, attempt: UInt64, key: String)
    /// A node that asked for authority, perhaps this one.
    case node(Int, sent: ContinuousClock.Instant)
}

/// One agent: the real Raft, the real replicated state, the real fencing rule, and a model of what drives them.
///
/// What belongs to the process is lost with it; disk and containers are the machine's.
final class SimulatedAgent {
    let number: Int
    let node: NodeID
    let member: RaftMemberID
    let clock: SimulatedClock
    unowned let world: ClusterSimulation

    // The machine.
    var disk: SimulatedDisk
    var containers: [SimulatedContainer] = []
    /// No sync ends before.
    var diskStalledUntil: Int64 = 0
    /// The number of the newest decision in the agent's own history.
    var lastStoredDecision: UInt64 = 0

    // The process.
    var raft: RaftNode?
    /// Counts starts; events of an earlier life are void.
    var life = 0
    /// The process does nothing before: it is stopped, or waits for its disk.
    var busyUntil: Int64 = 0
    /// The process gets a part of its processor only.
    var starvation: Starvation?
    private var nextTick: Int64 = .max
    /// The newest term that the process has said to be on disk, or found there.
    private var saidTerm = Term.zero
    private var work: [Ready] = []
    var machine = ReplicatedMachine()
    private var previousState = ClusterState()
    var authority: NodeAuthority
    var liveness: NodeLiveness?
    /// The member that this leader is about to shut out.
    var excluded: RaftMemberID?
    /// Since when each node has asked this leader without a break.
    var answeringSince: [NodeID: ContinuousClock.Instant] = [:]
    private var waiting: [LogIndex: (term: Term, asker: Asker)] = [:]
    private var reads: [UInt64: Asker] = [:]
    private var readers: [(index: LogIndex, asker: Asker)] = []
    private var forwarded: [UInt64: Asker] = [:]
    private var lastNumber: UInt64 = 0
    /// When something may be proposed again; what is not seen to happen is proposed again after a while.
    var cooldowns: [String: ContinuousClock.Instant] = [:]

    /// A process that runs `share` of each `period` only, in nanoseconds.
    struct Starvation {
        var until: Int64
        var period: Int64
        var share: Int64

        /// When it runs again; nil when it runs now.
        func wake(after now: Int64) -> Int64? {
            let phase = now % period
            return now >= until || phase < share ? nil : now + period - phase
        }
    }

    init(number: Int, membership: Membership, clock: SimulatedClock, world: ClusterSimulation) {
        self.number = number
        self.clock = clock
        self.world = world
        node = NodeID(rawValue: "node-\(number + 1)")
        member = RaftMemberID(rawValue: UInt64(number + 1))
        identity = "spiffe://cluster/site/site/node/node-\(number + 1)"
        disk = SimulatedDisk(founding: membership, bugs: world.options.bugs)
        authority = NodeAuthority(configuration: world.fencing)
    }

    /// What its certificate says.
    let identity: String
    var bugs: ClusterBugs { world.options.bugs }
    var isUp: Bool { raft != nil }
    var now: ContinuousClock.Instant { clock.local(at: world.now) }

    // MARK: Life and death of the process

    func start() {
        guard raft == nil else { return }
        life += 1
        let durable = disk.durable
        do throws(RestartError) {
            var node = try RaftNode(
                id: member,
                configuration: world.raftConfiguration,
                persisted: durable,
                seed: world.generator.next(),
                now: now
            )
            world.options.prepare?(&node)
            raft = node
        } catch {
            return world.checkers.report("restart: agent \(number): \(error)")
        }
        machine = ReplicatedMachine(
            applied: durable.snapshot.metadata.index,
            state: world.values.state(durable.snapshot.data) ?? ClusterState()
        )
        previousState = machine.state
        authority = NodeAuthority(configuration: world.fencing)
        authority.applied(through: machine.applied)
        (liveness, nextTick, busyUntil) = (nil, .max, world.now)
        saidTerm = durable.hardState.term
        if bugs.contains(.forgetsContainers) {
            for index in containers.indices { containers[index].isForgotten = true }
        }
        world.schedule(
            .beat(number, life: life),
            after: Int64.random(in: 0...world.beatInterval, using: &world.generator)
        )
        drain()
    }

    /// Ends the process; with `losesPower` the machine's containers end too.
    func crash(losesPower: Bool) {
        guard raft != nil else { return }
        raft = nil
        life += 1
        world.statistics.tornWrites += disk.crash(using: &world.generator)
        starvation = nil
        (work, waiting, reads, readers, forwarded, cooldowns) = ([], [:], [:], [], [:], [:])
        if losesPower { loseContainers() }
    }

    // MARK: Raft's shell

    func tick() {
        nextTick = .max
        raft?.tick(now: now)
        drain()
    }

    /// Takes all that Raft wants done and begins with it.
    func drain() {
        while let ready = raft?.ready() {
            noteLeadership()
            send(ready.prompt)
            if ready.needsPersisting {
                world.checkers.noteAppended(ready.entries, by: member) { disk.term(at: $0) }
                disk.write(ready)
            }
            work.append(ready)
            if bugs.contains(.sendsEarly) { send(ready.messages) }
            if work.count == 1 { carryOut() }
        }
        noteLeadership()
        guard let deadline = raft?.deadline else { return }
        let due = max(world.now, clock.global(deadline))
        if due < nextTick {
            nextTick = due
            world.queue.push(.tick(number, life: life), at: due)
        }
    }

    private func noteLeadership() {
        guard raft?.isLeader == true, let raft else { return }
        // A sole voter leads before its term is on disk, and is silent until then: if it crashes, nobody was led.
        if saidTerm >= raft.term { world.checkers.noteLeader(member, term: raft.term, log: disk.log) }
        guard liveness?.term != raft.term else { return }
        world.statistics.reigns += 1
        (answeringSince, excluded) = ([:], nil)
        if bugs.contains(.keepsLivenessOverReigns), let old = liveness {
            liveness = NodeLiveness(
                configuration: world.fencing,
                term: raft.term,
                leadingSince: old.lastContact(with: NodeID(rawValue: ""))
            )
        } else {
            liveness = NodeLiveness(configuration: world.fencing, term: raft.term, leadingSince: now)
        }
    }

    /// Goes on with the oldest work until some of it has to wait for the disk.
    private func carryOut() {
        while let ready = work.first {
            guard ready.needsPersisting, !bugs.contains(.forgetsSync) else {
                if ready.needsPersisting { world.schedule(.synced(number, life: life), after: world.syncTime()) }
                finishOldest()
                continue
            }
            let time = max(world.syncTime(), diskStalledUntil - world.now)
            if world.profile.blocksOnDisk { busyUntil = max(busyUntil, world.now + time) }
            return world.schedule(.synced(number, life: life), after: time)
        }
    }

    func synced() {
        disk.syncOldest()
        if !bugs.contains(.forgetsSync) { finishOldest() }
        carryOut()
        drain()
    }

    /// What comes after persisting: say so, send, apply, answer.
    private func finishOldest() {
        guard !work.isEmpty else { return }
        let ready = work.removeFirst()
        raft?.persisted(ready.number, now: now)
        saidTerm = max(saidTerm, ready.hardState?.term ?? .zero)
        if !bugs.contains(.sendsEarly) { send(ready.messages) }
        if let snapshot = ready.snapshot {
            world.statistics.snapshots += 1
            let state = bugs.contains(.forgetsRestore) ? machine.state : world.values.state(snapshot.data)
            machine = ReplicatedMachine(applied: snapshot.metadata.index, state: state ?? ClusterState())
            previousState = machine.state
            world.checkers.compare(machine.state, at: machine.applied, of: number)
            // What was decided in between is not in a snapshot.
            lastStoredDecision = max(lastStoredDecision, machine.state.lastDecision)
            raft?.applied(through: snapshot.metadata.index)
            authority.applied(through: machine.applied)
            renewFences()
        }
        apply(ready.committed)
        for answer in ready.reads { take(answer) }
        serveReaders()
        compactIfLong()
    }

    private func send(_ messages: [Message]) {
        for message in messages { world.send(.raft(message), from: number, to: Int(message.to.rawValue) - 1) }
    }

    private func compactIfLong() {
        guard work.isEmpty, let raft, raft.appliedIndex == machine.applied,
            raft.appliedIndex >= raft.snapshot(after: world.profile.compactionThreshold),
            let metadata = raft.snapshotMetadata(at: raft.appliedIndex)
        else { return }
        let state = bugs.contains(.snapshotLacksLastEntries) ? previousState : machine.state
        let padding = Int.random(in: 0...900, using: &world.generator)
        let snapshot = Snapshot(metadata: metadata, data: world.values.snapshot(of: state, padding: padding))
        disk.compact(to: snapshot)
        _ = self.raft?.compact(to: snapshot, keeping: 400)
    }

    // MARK: The state machine

    private func apply(_ entries: [Entry]) {
        guard let last = entries.last else { return }
        previousState = machine.state
        for entry in entries {
            machine.applied = entry.index
            var outcome: Outcome?
            if case .proposal(let bytes) = entry.payload, var command = world.values.command(bytes) {
                if bugs.contains(.readsClockWhileApplying), case .started(let job, let incarnation, _) = command {
                    command = .started(job: job, incarnation: incarnation, time: clock.wall(at: world.now))
                }
                outcome = machine.state.apply(command)
                if case .nodeLost(node, _, _) = command, outcome?.acceptance != nil { authority.withdraw() }
            }
            world.checkers.noteApplied(entry, outcome: outcome, state: machine.state, by: number)
            world.mix(entry.index &+ machine.state.lastDecision << 32)
            store(outcome?.acceptance?.decisions ?? [])
            guard let waiter = waiting.removeValue(forKey: entry.index) else { continue }
            if waiter.term == entry.term, let outcome {
                answer(waiter.asker, .outcome(outcome))
            } else {
                // Another leader's entry took the place; this one will never be committed.
                answer(waiter.asker, .unavailable)
            }
        }
        raft?.applied(through: last.index)
        authority.applied(through: last.index)
        renewFences()
        control()
    }

    /// Adds decisions to the agent's own history, which a restart does not undo.
    private func store(_ decisions: [NumberedDecision]) {
        for decision in decisions where decision.sequence > lastStoredDecision || bugs.contains(.storesDecisionsTwice) {
            world.checkers.noteStored(decision, after: lastStoredDecision, by: number)
            lastStoredDecision = max(lastStoredDecision, decision.sequence)
        }
    }

    // MARK: Packets

    func receive(_ packet: Packet, from sender: Int) {
        // The handshake would refuse it, and a connection that there was is closed.
        let other = world.agents[sender].identity
        if machine.state.isRevoked(other) {
            guard bugs.contains(.listensToRevoked) else { return }
            world.checkers.report("revoked: agent \(number) listens to agent \(sender), which it knows to be shut out")
        }
        switch packet {
        case .raft(let message):
            raft?.receive(message, now: now)
        case .ping(let sent): grant(to: sender, sent: sent)
        case .grant(let index, let sent): granted(index: index, sent: sent)
        case .request(let number, .propose(let bytes)): propose(bytes, for: .agent(sender, number: number))
        case .request(let number, .readIndex): requestRead(for: .agent(sender, number: number))
        case .reply(let number, let reply):
            if let asker = forwarded.removeValue(forKey: number) { answer(asker, reply) }
        }
        drain()
    }

    /// Puts a command into the log, here or through the leader.
    func propose(_ bytes: [UInt8], for asker: Asker) {
        guard isUp else { return }
        if raft?.isLeader == true {
            guard let receipt = try? self.raft?.propose([bytes], now: now),
                case .appended(let term, let range) = receipt
            else { return answer(asker, .unavailable) }
            if bugs.contains(.acknowledgesBeforeCommit), acknowledgeEarly(bytes, to: asker) { return }
            waiting[range.lowerBound] = (term, asker)
        } else if case .agent = asker {
            // Who sent it here knows a newer leader soon; one hop is enough.
            answer(asker, .unavailable)
        } else {
            forward(.propose(bytes), for: asker)
        }
    }

    private func acknowledgeEarly(_ bytes: [UInt8], to asker: Asker) -> Bool {
        guard let command = world.values.command(bytes), case .submit = command else { return false }
        var state = machine.state
        answer(asker, .outcome(state.apply(command)))
        return true
    }

    private func forward(_ request: ClusterRequest, for asker: Asker) {
        guard let leader = raft?.leader, leader != member else { return answer(asker, .unavailable) }
        lastNumber += 1
        // Numbers of an earlier life must not be taken for those of this one.
        let number = UInt64(life) << 32 | lastNumber
        forwarded[number] = asker
        world.send(.request(number: number, request), from: self.number, to: Int(leader.rawValue) - 1)
    }

    /// Begins a read of the newest state.
    func requestRead(for asker: Asker) {
        guard let raft else { return }
        if case .reader = asker, bugs.contains(.readsFromFollower), !raft.isLeader {
            readers.append((0, asker))
            return serveReaders()
        }
        if raft.isLeader {
            if bugs.contains(.readsWithoutConfirmation), !asker.isNode { return answer(asker, .index(machine.applied)) }
            if bugs.contains(.grantsWithoutConfirmation), asker.isNode { return answer(asker, .index(raft.lastIndex)) }
            lastNumber += 1
            let context = lastNumber
            reads[context] = asker
            let mode: ReadMode =
                world.profile.hasSoundClocks && context % 4 != 0 ? .lease : .quorum
            if mode == .lease { world.statistics.leaseReads += 1 }
            do throws(ReadError) { try self.raft?.requestRead(context, mode: mode, now: now) } catch {
                reads[context] = nil
                answer(asker, .unavailable)
            }
        } else if case .reader = asker {
            forward(.readIndex, for: asker)
        } else {
            answer(asker, .unavailable)
        }
    }

    private func take(_ read: ReadAnswer) {
        guard let asker = reads.removeValue(forKey: read.context) else { return }
        answer(asker, read.index.map { .index($0) } ?? .unavailable)
    }

    private func serveReaders() {
        let served = readers.filter { $0.index <= machine.applied }
        readers.removeAll { $0.index <= machine.applied }
        for reader in served {
            guard case .reader(let client, let attempt, let key) = reader.asker else { continue }
            let job = machine.state.job(submittedBy: ClusterSimulation.user, withKey: key).flatMap {
                machine.state.job($0)
            }
            world.respond(.view(job.map(JobGlance.init)), to: client, attempt: attempt, from: number)
        }
    }

    private func answer(_ asker: Asker, _ reply: ClusterReply) {
        switch asker {
        case .nobody: break
        case .agent(let other, let number): world.send(.reply(number: number, reply), from: self.number, to: other)
        case .client(let client, let attempt):
            guard case .outcome(let outcome) = reply else {
                return world.respond(.unavailable, to: client, attempt: attempt, from: number)
            }
            world.respond(.outcome(outcome), to: client, attempt: attempt, from: number)
        case .reader(let client, let attempt, _):
            guard case .index(let index) = reply else {
                return world.respond(.unavailable, to: client, attempt: attempt, from: number)
            }
            readers.append((index, asker))
            serveReaders()
        case .node(let other, let sent):
            guard case .index = reply, let raft else { return }
            // Nothing was decided about the node after this entry, nor will be for a while: `liveness` has heard from it.
            let index = raft.lastIndex
            if other == number {
                granted(index: index, sent: sent)
            } else {
                world.send(.grant(index: index, sent: sent), from: number, to: other)
            }
        }
    }

    // MARK: Authority

    /// Asks for authority, also when this is the leader.
    func askForAuthority() {
        guard let leader = raft?.leader else { return }
        if leader == member {
            grant(to: number, sent: now)
        } else {
            world.send(.ping(sent: now), from: number, to: Int(leader.rawValue) - 1)
            world.noteAsked(number)
        }
    }

    private func grant(to other: Int, sent: ContinuousClock.Instant) {
        guard let raft, raft.isLeader, liveness?.term == raft.term else { return }
        noteAnswering(world.agents[other].node)
        liveness?.heard(from: world.agents[other].node, at: now)
        requestRead(for: .node(other, sent: sent))
    }

    private func granted(index: LogIndex, sent: ContinuousClock.Instant) {
        authority.granted(
            index: bugs.contains(.ignoresIndexOfGrant) ? 0 : index,
            toRequestSentAt: bugs.contains(.countsAuthorityFromAnswer) ? now : sent
        )
        renewFences()
    }

    /// Whether this node may start a container now.
    var mayRun: Bool { bugs.contains(.ignoresFence) || authority.mayRun(at: now) }
}

extension Asker {
    var isNode: Bool { if case .node = self { true } else { false } }
}

extension RaftNode {
    /// The index at which a log has grown by so much since the last snapshot.
    fileprivate func snapshot(after threshold: UInt64) -> LogIndex { compactedIndex + threshold }
}
