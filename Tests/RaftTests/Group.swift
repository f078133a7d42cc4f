import ClusterModel

@testable import Raft

/// A few members that a test plays with by hand: messages wait until they are delivered, disks sync at once.
struct Group {
    var nodes: [RaftMemberID: RaftNode] = [:]
    var disks: [RaftMemberID: PersistedState] = [:]
    /// Messages on the way, oldest first.
    var wire: [Message] = []
    /// Members that nothing leaves and nothing reaches.
    var isolated: Set<RaftMemberID> = []
    var applied: [RaftMemberID: [Entry]] = [:]
    var reads: [ReadAnswer] = []
    /// Everything that `settle` has delivered.
    var delivered: [Message] = []
    var now = ContinuousClock().systemEpoch
    var configuration = RaftConfiguration()

    init(_ count: UInt64, configuration: RaftConfiguration = RaftConfiguration()) {
        self.configuration = configuration
        let voters = (1...count).map { RaftMemberID(rawValue: $0) }
        for id in voters { add(id, PersistedState(founding: Membership(voters: voters))) }
    }

    subscript(_ number: UInt64) -> RaftNode {
        get { nodes[RaftMemberID(rawValue: number)] ?? { preconditionFailure("no member \(number)") }() }
        set { nodes[RaftMemberID(rawValue: number)] = newValue }
    }

    mutating func add(_ id: RaftMemberID, _ disk: PersistedState) {
        disks[id] = disk
        nodes[id] = try? RaftNode(id: id, configuration: configuration, persisted: disk, seed: id.rawValue, now: now)
        applied[id] = []
    }

    /// Starts a member again from its disk.
    mutating func restart(_ number: UInt64) {
        let id = RaftMemberID(rawValue: number)
        guard let disk = disks[id] else { return }
        wire.removeAll { $0.from == id || $0.to == id }
        add(id, disk)
    }

    /// Carries out everything that a member wants.
    mutating func drain(_ number: UInt64) {
        let id = RaftMemberID(rawValue: number)
        while let ready = nodes[id]?.ready() {
            wire += ready.prompt
            disks[id]?.take(ready)
            nodes[id]?.persisted(ready.number, now: now)
            wire += ready.messages
            if let snapshot = ready.snapshot { nodes[id]?.applied(through: snapshot.metadata.index) }
            if let last = ready.committed.last {
                applied[id, default: []] += ready.committed
                nodes[id]?.applied(through: last.index)
            }
            reads += ready.reads
        }
    }

    mutating func drainAll() { for id in nodes.keys.sorted() { drain(id.rawValue) } }

    /// Delivers what is on the way, and what follows from it, until all is quiet.
    mutating func settle() {
        drainAll()
        var budget = 10_000
        while !wire.isEmpty, budget > 0 {
            budget -= 1
            let message = wire.removeFirst()
            guard !isolated.contains(message.from), !isolated.contains(message.to) else { continue }
            delivered.append(message)
            nodes[message.to]?.receive(message, now: now)
            drain(message.to.rawValue)
        }
    }

    /// Gives one member a message and returns what it sends.
    mutating func deliver(_ body: Message.Body, from: UInt64, to: UInt64, term: UInt64) -> [Message] {
        let message = Message(
            from: RaftMemberID(rawValue: from),
            to: RaftMemberID(rawValue: to),
            term: Term(rawValue: term),
            body: body
        )
        self[to].receive(message, now: now)
        let before = wire.count
        drain(to)
        return Array(wire[before...])
    }

    /// Lets time pass in small steps, with all messages delivered in each.
    mutating func pass(_ duration: Duration) {
        let end = now + duration
        while now < end {
            now += .milliseconds(10)
            for id in nodes.keys.sorted() { nodes[id]?.tick(now: now) }
            settle()
        }
    }

    /// Makes a member the leader of the others that are there.
    mutating func elect(_ number: UInt64) {
        now += configuration.electionTimeout * 2
        self[number].leaderContact = nil
        self[number].electionDeadline = now
        self[number].tick(now: now)
        settle()
    }

    @discardableResult
    mutating func propose(_ text: String, at number: UInt64) throws -> ProposalReceipt {
        let receipt = try self[number].propose([Array(text.utf8)], now: now)
        drain(number)
        return receipt
    }

    /// The proposals that a member has applied, as text.
    func texts(at number: UInt64) -> [String] {
        (applied[RaftMemberID(rawValue: number)] ?? []).compactMap { entry in
            guard case .proposal(let bytes) = entry.payload else { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}

extension PersistedState {
    /// Carries out the persistent part of a `Ready`.
    mutating func take(_ ready: Ready) {
        if let snapshot = ready.snapshot { (self.snapshot, entries) = (snapshot, []) }
        if let hardState = ready.hardState { self.hardState = hardState }
        if let first = ready.entries.first {
            entries.removeAll { $0.index >= first.index }
            entries += ready.entries
        }
    }
}

func id(_ number: UInt64) -> RaftMemberID { RaftMemberID(rawValue: number) }
func term(_ number: UInt64) -> Term { Term(rawValue: number) }
