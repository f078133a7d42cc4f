import ClusterModel

@testable import Raft

/// A whole group in virtual time: everything that happens follows from the seed.
final class Simulation {
    struct Member {
        let id: RaftMemberID
        var disk: SimulatedDisk
        var node: RaftNode?
        var machine = StateMachine()
        /// Counts starts; events of an earlier life are void.
        var life = 0
        let clockOffset: Int64
        let clockRate: Double
        /// Nothing is done before: the process is paused, or waits for its disk.
        var busyUntil: Int64 = 0
        var nextTick: Int64 = .max
        /// What is still to be carried out, in order; the first is at the disk.
        var work: [Ready] = []
        var proposals: [LogIndex: (term: Term, floor: UInt64)] = [:]
        var reads: [UInt64: (floor: UInt64, mode: ReadMode)] = [:]
        var waitingReads: [ReadAnswer] = []
    }

    enum Event {
        case deliver(Message, to: Int)
        case tick(Int, life: Int)
        case synced(Int, life: Int)
        case client
        case fault
        case restart(Int)
        case spring(leader: Int, other: Int)
        case heal
    }

    let seed: UInt64
    let profile: Profile
    let configuration: RaftConfiguration
    let bugs: PlantedBugs
    let shellBugs: ShellBugs
    var generator: SeededGenerator
    var members: [Member] = []
    var now: Int64 = 0
    var queue = EventQueue()
    var checkers = Checkers()
    var nextContext: UInt64 = 0
    var faultsEnd: Int64 = 0
    /// No other fault comes before, so that what began can run its course.
    var quietUntil: Int64 = 0
    /// Links that carry nothing, from -> to.
    var cut: Set<[Int]> = []
    /// A digest of everything that happened.
    private(set) var trace: UInt64 = 0xcbf2_9ce4_8422_2325
    private(set) var eventCount = 0
    var statistics = SimulationStatistics()
    private let epoch = ContinuousClock().systemEpoch

    init(seed: UInt64, bugs: PlantedBugs = [], shellBugs: ShellBugs = [], theme: Profile.Theme? = nil) {
        (self.seed, self.bugs, self.shellBugs) = (seed, shellBugs.isEmpty ? bugs : bugs.union(.ofShell), shellBugs)
        generator = SeededGenerator(seed: seed)
        profile = Profile(using: &generator, theme: theme)
        var configuration = RaftConfiguration()
        configuration.snapshotChunkBytes = 128
        configuration.snapshotWindow = 2
        configuration.appendByteLimit = 512
        configuration.inflightLimit = 4
        // One entry at a time, so that reigns end between the old entries and the new one.
        if profile.theme == .shortReigns { (configuration.appendByteLimit, configuration.inflightLimit) = (40, 1) }
        configuration.applyByteLimit = 400
        self.configuration = configuration
        let count = profile.voterCount + profile.spareCount
        let voters = (1...profile.voterCount).map { RaftMemberID(rawValue: UInt64($0)) }
        for number in 1...count {
            let founders = number <= profile.voterCount ? Membership(voters: voters) : Membership()
            var disk = SimulatedDisk(founding: founders)
            disk.bugs = shellBugs
            let drift = Double(Int.random(in: -profile.driftPermille...profile.driftPermille, using: &generator))
            members.append(
                Member(
                    id: RaftMemberID(rawValue: UInt64(number)),
                    disk: disk,
                    clockOffset: Int64.random(in: 0...10_000_000_000, using: &generator),
                    clockRate: 1 + drift / 1000
                )
            )
        }
    }

    // MARK: Time

    func schedule(_ event: Event, after delay: Int64) { queue.push(event, at: now + delay) }

    func localTime(_ number: Int) -> ContinuousClock.Instant {
        let member = members[number]
        return epoch + .nanoseconds(member.clockOffset + Int64(Double(now) * member.clockRate))
    }

    private func globalTime(_ instant: ContinuousClock.Instant, of number: Int) -> Int64 {
        let local = epoch.duration(to: instant).nanoseconds - members[number].clockOffset
        // A little late rather than a rounding error too early, which would call again at the same time.
        return Int64(Double(local) / members[number].clockRate) + 1000
    }

    func mix(_ value: UInt64) { trace = (trace ^ value) &* 0x100_0000_01b3 }

    /// Runs with faults, then heals everything and runs until all agree, or fails to.
    func run(faultsFor faultTime: Int64 = 5_000_000_000, healFor healTime: Int64 = 8_000_000_000) {
        faultsEnd = faultTime
        for number in members.indices { start(number) }
        schedule(.client, after: 1_000_000)
        schedule(.fault, after: profile.faultInterval)
        queue.push(.heal, at: faultTime)
        while now < faultTime + healTime, checkers.violations.isEmpty, step() {
            if eventCount > 100_000 { return checkers.report("events: no end of them at \(now)") }
            if now > faultTime, eventCount % 16 == 0, hasConverged { return }
        }
        if checkers.violations.isEmpty, !hasConverged { checkers.report("progress: \(describeStandstill())") }
    }

    /// Carries out the next event; false when there is none.
    func step() -> Bool {
        guard let (time, event) = queue.pop() else { return false }
        now = time
        eventCount += 1
        mix(UInt64(bitPattern: time))
        switch event {
        case .deliver(let message, let number):
            if let busy = busyTime(of: number) { return delay(event, until: busy) }
            guard members[number].node != nil else { return true }
            mix(message.term.rawValue &+ message.from.rawValue << 32)
            let time = localTime(number)
            members[number].node?.receive(message, now: time)
            drain(number)
        case .tick(let number, let life):
            guard members[number].life == life, members[number].node != nil else { return true }
            if let busy = busyTime(of: number) { return delay(event, until: busy) }
            members[number].nextTick = .max
            let time = localTime(number)
            members[number].node?.tick(now: time)
            drain(number)
        case .synced(let number, let life):
            guard members[number].life == life, members[number].node != nil else { return true }
            members[number].disk.syncOldest()
            finishOldest(number)
            carryOut(number)
            drain(number)
        case .client:
            clientStep()
            schedule(.client, after: Int64.random(in: 4_000_000...50_000_000, using: &generator))
        case .fault:
            guard now < faultsEnd else { return true }
            guard now >= quietUntil else {
                queue.push(.fault, at: quietUntil)
                return true
            }
            inflictFault()
            schedule(.fault, after: Int64.random(in: 1...(2 * profile.faultInterval), using: &generator))
        case .restart(let number): start(number)
        case .spring(let leader, let other): if now < faultsEnd { springTrap(leader: leader, other: other) }
        case .heal: heal()
        }
        return true
    }

    private func busyTime(of number: Int) -> Int64? {
        members[number].busyUntil > now ? members[number].busyUntil : nil
    }

    private func delay(_ event: Event, until time: Int64) -> Bool {
        queue.push(event, at: time)
        return true
    }

    // MARK: A member's life

    func start(_ number: Int) {
        guard members[number].node == nil else { return }
        members[number].life += 1
        let disk = members[number].disk.durable
        do {
            var node = try RaftNode(
                id: members[number].id,
                configuration: configuration,
                persisted: disk,
                seed: generator.next(),
                now: localTime(number)
            )
            node.plantedBugs = bugs
            if node.term < statistics.terms[number, default: .zero] {
                checkers.report("hard state: member \(number + 1) went back to term \(node.term)")
            }
            members[number].machine = StateMachine(disk.snapshot.data) ?? StateMachine()
            members[number].node = node
            members[number].nextTick = .max
            members[number].busyUntil = now
            drain(number)
        } catch {
            checkers.report("restart: member \(number + 1): \(error)")
        }
    }

    func crash(_ number: Int) {
        guard members[number].node != nil else { return }
        statistics.crashes += 1
        members[number].node = nil
        members[number].life += 1
        members[number].disk.crash(using: &generator)
        members[number].work = []
        members[number].proposals = [:]
        members[number].reads = [:]
        members[number].waitingReads = []
    }

    /// Takes all that a member wants done and begins with it.
    func drain(_ number: Int) {
        while let ready = members[number].node?.ready() {
            noteLeadership(number)
            send(ready.prompt, from: number)
            if let node = members[number].node { checkers.noteAppended(ready.entries, by: node) }
            if ready.needsPersisting { members[number].disk.write(ready) }
            members[number].work.append(ready)
            if shellBugs.contains(.sendsEarly) { send(ready.messages, from: number) }
            if members[number].work.count == 1 { carryOut(number) }
        }
        noteLeadership(number)
        guard let node = members[number].node else { return }
        let due = max(now, globalTime(node.deadline, of: number))
        if due < members[number].nextTick {
            members[number].nextTick = due
            queue.push(.tick(number, life: members[number].life), at: due)
        }
    }

    private func noteLeadership(_ number: Int) {
        guard let node = members[number].node else { return }
        if node.isLeader { checkers.noteLeader(node) }
    }

    /// Goes on with the oldest work until some of it has to wait for the disk.
    private func carryOut(_ number: Int) {
        while let ready = members[number].work.first {
            guard ready.needsPersisting, !shellBugs.contains(.forgetsSync) else {
                if ready.needsPersisting { schedule(.synced(number, life: members[number].life), after: syncTime()) }
                finishOldest(number)
                continue
            }
            let time = syncTime()
            if profile.blocksOnDisk { members[number].busyUntil = max(members[number].busyUntil, now + time) }
            return schedule(.synced(number, life: members[number].life), after: time)
        }
    }

    private func syncTime() -> Int64 {
        if Int.random(in: 0..<1000, using: &generator) < profile.stallPermille { return 600_000_000 }
        return Int64.random(in: profile.diskLatency, using: &generator)
    }

    /// What comes after persisting: say so, send, apply, answer.
    private func finishOldest(_ number: Int) {
        guard !members[number].work.isEmpty else { return }
        let ready = members[number].work.removeFirst()
        let time = localTime(number)
        members[number].node?.persisted(ready.number, now: time)
        statistics.terms[number] = max(
            statistics.terms[number, default: .zero],
            shellBugs.contains(.forgetsSync) ? .zero : ready.hardState?.term ?? .zero
        )
        if !shellBugs.contains(.sendsEarly) { send(ready.messages, from: number) }
        if let snapshot = ready.snapshot, !shellBugs.contains(.forgetsRestore) {
            statistics.snapshots += 1
            members[number].machine = StateMachine(snapshot.data) ?? StateMachine()
            checkers.noteRestored(members[number].machine, at: members[number].id)
            members[number].node?.applied(through: snapshot.metadata.index)
        }
        apply(ready.committed, at: number)
        members[number].waitingReads += ready.reads
        serveReads(number)
        compactIfLong(number)
    }

    private func apply(_ entries: [Entry], at number: Int) {
        for entry in entries {
            guard members[number].machine.apply(entry) else {
                return checkers.report("order: member \(number + 1) is given entry \(entry.index)")
            }
            let machine = members[number].machine
            checkers.noteApplied(entry, at: members[number].id, machine: machine)
            if let proposal = members[number].proposals.removeValue(forKey: entry.index), proposal.term == entry.term {
                statistics.acknowledged += 1
                checkers.noteFinished(version: machine.version, floorAtStart: proposal.floor, what: "proposal")
            }
        }
        if let last = entries.last {
            mix(last.index)
            members[number].node?.applied(through: last.index)
        }
    }

    private func serveReads(_ number: Int) {
        let machine = members[number].machine
        var waiting: [ReadAnswer] = []
        for answer in members[number].waitingReads {
            guard let index = answer.index else {
                members[number].reads[answer.context] = nil
                continue
            }
            guard index <= machine.applied else {
                waiting.append(answer)
                continue
            }
            if let read = members[number].reads.removeValue(forKey: answer.context) {
                statistics.reads += 1
                checkers.noteFinished(version: machine.version, floorAtStart: read.floor, what: "read by \(read.mode)")
            }
        }
        members[number].waitingReads = waiting
    }

    private func compactIfLong(_ number: Int) {
        guard let node = members[number].node, node.appliedIndex == members[number].machine.applied,
            node.appliedIndex >= node.snapshot.metadata.index + profile.compactionThreshold,
            let metadata = node.snapshotMetadata(at: node.appliedIndex)
        else { return }
        let snapshot = Snapshot(metadata: metadata, data: members[number].machine.encoded())
        // The transaction may take place only behind those that were begun before.
        guard members[number].work.isEmpty else { return }
        members[number].disk.compact(to: snapshot)
        _ = members[number].node?.compact(to: snapshot, keeping: 200)
    }

    // MARK: The network

    func send(_ messages: [Message], from number: Int) {
        for message in messages {
            let receiver = Int(message.to.rawValue) - 1
            guard members.indices.contains(receiver), !cut.contains([number, receiver]) else { continue }
            if Int.random(in: 0..<1000, using: &generator) < profile.lossPermille, now < faultsEnd { continue }
            let copies = Int.random(in: 0..<1000, using: &generator) < profile.repeatPermille ? 2 : 1
            for _ in 0..<copies {
                var delay = Int64.random(in: profile.delay, using: &generator)
                // Now and then a message is very late.
                if Int.random(in: 0..<100, using: &generator) == 0 { delay *= 20 }
                schedule(.deliver(passed(message), to: receiver), after: delay)
            }
        }
    }

    private func passed(_ message: Message) -> Message {
        guard profile.encodes else { return message }
        let bytes = message.encoded()
        guard let decoded = try? Message.decode(bytes.span), decoded == message else {
            checkers.report("encoding: \(message) does not survive")
            return message
        }
        return decoded
    }
}

/// What happened in a run, to see that it was worth running.
struct SimulationStatistics {
    var acknowledged = 0
    var reads = 0
    var crashes = 0
    var snapshots = 0
    var membershipChanges = 0
    var transfers = 0
    var terms: [Int: Term] = [:]
}

/// Events by time; equal times in the order in which they were pushed.
struct EventQueue {
    private var heap: [(time: Int64, number: UInt64, event: Simulation.Event)] = []
    private var pushed: UInt64 = 0

    mutating func push(_ event: Simulation.Event, at time: Int64) {
        pushed += 1
        heap.append((time, pushed, event))
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() -> (Int64, Simulation.Event)? {
        guard let last = heap.indices.last else { return nil }
        heap.swapAt(0, last)
        let first = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            if least == parent { return (first.time, first.event) }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (heap[left].time, heap[left].number) < (heap[right].time, heap[right].number)
    }
}
