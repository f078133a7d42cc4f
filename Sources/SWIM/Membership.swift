package import ClusterModel
package import WireFormat

/// One node's part in a pool: who is a member, who lives, and what the nodes say about themselves.
///
/// SWIM (Das, Gupta, Motivala, 2002) with Lifeguard (Dadgar, Phillips, Currey, 2018), several fixed observers for each
/// member, and anti-entropy by fingerprints. Decides only: the shell brings datagrams and answers, calls `tick` at
/// `deadline`, and carries out the effects after every call. A node that is in two pools has two of these. Equal seeds
/// and equal calls give equal effects.
package struct Membership: Sendable {
    /// Where a member is in its own life.
    package enum State: Sendable, Equatable {
        /// It answers, but has asked nobody yet.
        case idle
        /// It looks for a seed that answers.
        case joining(attempt: Int)
        case running
        /// It spreads the word that it goes.
        case leaving
        /// It has gone; only answers to probes are left.
        case left
    }

    enum Timer: Sendable {
        /// Probe the next observed member.
        case observe(generation: UInt32)
        /// Probe a member that was just suspected or came under observation.
        case observeNow(MemberKey)
        case roundRobin
        case askOthers(sequence: UInt32)
        case giveUpProbe(sequence: UInt32)
        case nack(sequence: UInt32)
        case forgetRelay(sequence: UInt32)
        case suspicionEnds(MemberKey, stamp: UInt32)
        case remindSuspect(MemberKey, stamp: UInt32)
        case gossip
        case compareViews(generation: UInt32)
        case reconnect
        case sweep
        case tryToJoin(generation: UInt32)
        case giveUpExchange(UInt32)
        case endLeave
        case publishFacts
    }

    package internal(set) var configuration: MembershipConfiguration
    /// Which of the cluster's pools this is.
    package let pool: PoolName
    /// This node's key.
    package let key: MemberKey
    var pace: Pace
    let origin: ContinuousClock.Instant

    package internal(set) var state = State.idle
    package internal(set) var members: MemberTable
    package internal(set) var health: LocalHealth
    package internal(set) var statistics = MembershipStatistics()

    /// The instance's own time in nanoseconds: it stands still while the process does.
    var clock: Int64 = 0
    /// How long the process stood still, in all.
    var standstill: Int64 = 0
    var timers = TimerQueue<Timer>()
    var generator: SeededGenerator
    var effects: [MembershipEffect] = []

    var subjects: [MemberKey] = []
    var nextSubject = 0
    var observeGeneration: UInt32 = 0
    var probeOrder: ProbeOrder
    var probes: [Probe] = []
    var relays: [UInt32: Relay] = [:]
    var sequence: UInt32

    var suspicions: [MemberKey: Suspicion] = [:]
    var stamp: UInt32 = 0

    var memberNews: DisseminationQueue
    var factNews: DisseminationQueue
    /// What members of other pools are said to be; never in one datagram with the rest, so that a member that does not
    /// know of pools loses nothing else.
    var poolNews: DisseminationQueue
    var gossipIsDue = false

    var compareGeneration: UInt32 = 0
    var equalViewsInRow = 0
    var deferredComparisons = 0
    var reconnectIsSet = false
    var exchanges: [Exchange] = []

    /// What other pools think of their members.
    var elsewhere: [PoolName: MemberTable] = [:]
    var elsewhereChanges: [PoolName: Set<MemberKey>] = [:]
    var isBridging = false

    var seeds: [MemberEndpoint] = []
    var joinGeneration: UInt32 = 0
    var pendingFacts: [UInt8]?
    var factsPublishedAt: Int64 = .min

    /// Begins as a pool of one, or with what it remembers of a pool.
    ///
    /// `node` is a DNS label, `endpoint` where others reach it. `incarnation` lies above those of the node's earlier
    /// lives; seconds of wall time will do. `remembered` holds members of an earlier life, or of a simulated pool; this
    /// node itself is replaced. `seed` is that of all that is random.
    /// - Throws: `MembershipConfigurationError` for a value out of its range.
    package init(
        node: NodeID,
        endpoint: MemberEndpoint,
        incarnation: MemberIncarnation,
        configuration: MembershipConfiguration,
        pool: PoolName = .common,
        remembered: MemberTable = MemberTable(),
        seed: UInt64,
        now: ContinuousClock.Instant
    ) throws(MembershipConfigurationError) {
        try configuration.validate()
        guard isLabel(node.rawValue) else {
            throw MembershipConfigurationError(field: "node", description: "'\(node)' is not a DNS label")
        }
        self.configuration = configuration
        self.pool = pool
        key = MemberKey(node)
        pace = Pace(configuration)
        origin = now
        members = remembered
        health = LocalHealth(limit: configuration.localHealthLimit)
        generator = SeededGenerator(seed: seed)
        sequence = UInt32(truncatingIfNeeded: generator.next())
        memberNews = DisseminationQueue(limit: configuration.pendingUpdateLimit)
        factNews = DisseminationQueue(limit: configuration.pendingUpdateLimit)
        poolNews = DisseminationQueue(limit: configuration.pendingUpdateLimit)
        probeOrder = ProbeOrder(slots: [], using: &generator)
        let own = Member(node: node, endpoint: endpoint, incarnation: incarnation)
        if members[key] == nil {
            members.insert(own)
        } else if members[key] != own {
            members.update(key) { $0 = own }
        }
        probeOrder = ProbeOrder(
            slots: members.ring.compactMap { $0 == key ? nil : members.slot(of: $0) },
            using: &generator
        )
        startTimers()
    }

    /// What is to be done now; each effect is handed out once.
    package mutating func drainEffects() -> [MembershipEffect] {
        defer { effects.removeAll(keepingCapacity: true) }
        return effects
    }

    /// When `tick` must be called next.
    package var deadline: ContinuousClock.Instant? {
        timers.first.map { origin + .nanoseconds($0 + standstill) }
    }

    /// This node as others should see it.
    package var own: Member {
        guard let own = members[key] else { preconditionFailure("a membership without itself: \(key)") }
        return own
    }

    /// Members that are alive or suspect, this one included.
    package var liveCount: Int { members.liveCount }

    /// Timers, probes, relays, suspicions and news that wait: what grows under load, and what the bounds hold.
    package var pendingCount: Int {
        timers.count + probes.count + relays.count + suspicions.count + memberNews.count + factNews.count
            + poolNews.count
    }

    /// The member of this name.
    package func member(_ node: NodeID) -> Member? { members[MemberKey(node)] }

    /// All members, in the order of their keys.
    package func allMembers() -> [Member] { members.ring.compactMap { members[$0] } }

    /// Acts on what is due.
    package mutating func tick(now: ContinuousClock.Instant) {
        advance(to: now)
        while let timer = timers.popDue(at: clock) { fire(timer) }
    }

    /// Takes a datagram whose seal was good.
    ///
    /// Answers go to `source`, where it came from.
    /// - Throws: `DecodeError`, after nothing was changed, for bytes that no correct member writes.
    package mutating func receive(
        _ bytes: Span<UInt8>,
        from source: MemberEndpoint,
        now: ContinuousClock.Instant
    ) throws(DecodeError) {
        let datagram = try GossipDatagram.decode(bytes)
        advance(to: now)
        guard datagram.sender != key else { return }
        var reply = Reply(source: source, sender: datagram.sender)
        for message in datagram.messages { take(message, reply: &reply) }
        answer(&reply)
    }

    /// Brings the own time up to date; time in which the process was not run does not count.
    ///
    /// A process that was stopped or starved finds its timers long overdue. The answers that it missed meanwhile are
    /// its own fault, so its time stands still from the moment that the first timer should have fired.
    mutating func advance(to now: ContinuousClock.Instant) {
        let elapsed = (now - origin).wholeNanoseconds - standstill
        guard elapsed > clock else { return }
        clock = elapsed
        guard let due = timers.first, clock - due > pace.standstillLimit else { return }
        let late = clock - due
        standstill += late
        clock -= late
        health.note(.stoodStill)
        statistics.standstills += 1
        report(.stoodStill(.nanoseconds(late)))
    }

    private mutating func fire(_ timer: Timer) {
        switch timer {
        case .observe(let generation): observeNext(generation: generation)
        case .observeNow(let key): probeIfLive(key)
        case .roundRobin: probeNextInOrder()
        case .askOthers(let sequence): askOthers(sequence: sequence)
        case .giveUpProbe(let sequence): giveUpProbe(sequence: sequence)
        case .nack(let sequence): sendNack(sequence: sequence)
        case .forgetRelay(let sequence): relays[sequence] = nil
        case .suspicionEnds(let key, let stamp): endSuspicion(of: key, stamp: stamp)
        case .remindSuspect(let key, let stamp): remindSuspect(key, stamp: stamp)
        case .gossip: gossip()
        case .compareViews(let generation): compareViews(generation: generation)
        case .reconnect: reconnect()
        case .sweep: sweep()
        case .tryToJoin(let generation): tryToJoin(generation: generation)
        case .giveUpExchange(let id): loseExchange(id)
        case .endLeave: endLeave()
        case .publishFacts: publishPendingFacts()
        }
    }

    /// From the first moment, so that a node that remembers a pool takes part in it at once.
    private mutating func startTimers() {
        refreshSubjects()
        timers.add(.observe(generation: observeGeneration), at: random(pace.protocolPeriod))
        timers.add(.roundRobin, at: random(pace.roundRobinPeriod))
        timers.add(.compareViews(generation: compareGeneration), at: random(pace.antiEntropyPeriod))
        after(configuration.deadRetention.wholeNanoseconds / 64, .sweep)
        scheduleReconnect()
    }

    // MARK: What the parts share

    mutating func report(_ event: MembershipEvent) { effects.append(.report(event)) }

    mutating func after(_ nanoseconds: Int64, _ timer: Timer) { timers.add(timer, at: clock + nanoseconds) }

    /// A time in `0..<limit`.
    mutating func random(_ limit: Int64) -> Int64 { Int64(generator.unit() * Double(limit)) }

    mutating func nextSequence() -> UInt32 {
        sequence &+= 1
        return sequence
    }
}

/// The configuration's times in nanoseconds.
struct Pace: Sendable {
    let protocolPeriod, probeTimeout, indirectProbeTimeout, roundRobinPeriod: Int64
    let gossipPeriod, gossipDelay, antiEntropyPeriod, settlingPeriod, reconnectPeriod: Int64
    /// A timer that is later than this was not run in time.
    let standstillLimit: Int64

    init(_ configuration: MembershipConfiguration) {
        protocolPeriod = configuration.protocolPeriod.wholeNanoseconds
        probeTimeout = configuration.probeTimeout.wholeNanoseconds
        indirectProbeTimeout = configuration.indirectProbeTimeout.wholeNanoseconds
        roundRobinPeriod = configuration.roundRobinPeriod.wholeNanoseconds
        gossipPeriod = configuration.gossipPeriod.wholeNanoseconds
        gossipDelay = configuration.gossipDelay.wholeNanoseconds
        antiEntropyPeriod = configuration.antiEntropyPeriod.wholeNanoseconds
        settlingPeriod = configuration.settlingPeriod.wholeNanoseconds
        reconnectPeriod = configuration.reconnectPeriod.wholeNanoseconds
        standstillLimit = probeTimeout / 2
    }
}
