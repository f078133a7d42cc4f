import ClusterModel
import ClusterState
import Placement
package import Raft

/// A whole cluster in virtual time: everything that happens follows from the seed.
///
/// First there are faults, then everything is repaired, and the run goes on until every job has ended and all agents agree, or
/// fails to.
package final class ClusterSimulation {
    /// What a run is told beside its seed.
    package struct Options: Sendable {
        package var profile = ClusterProfile.Name.mixed
        /// Agents, 1...9; nil: drawn.
        package var agents: Int?
        /// Jobs that clients submit at most.
        package var jobs = 14
        package var bugs: ClusterBugs = []
        /// Called with each Raft node that starts, so that tests can plant mistakes inside.
        package var prepare: (@Sendable (inout RaftNode) -> Void)?
        /// True time in which there are faults and new requests.
        package var faultTime: Duration = .seconds(12)

        /// The defaults.
        package init() {}
    }

    enum Event {
        case packet(Packet, from: Int, to: Int)
        case tick(Int, life: Int)
        case synced(Int, life: Int)
        case beat(Int, life: Int)
        case container(Int, UInt64, ContainerStep)
        case client(Int)
        case request(Int, attempt: UInt64, agent: Int)
        case response(Int, attempt: UInt64, ClientResponse)
        case timeout(Int, attempt: UInt64)
        case again(Int)
        case fault
        case restart(Int)
        case powerLoss(Int)
        case heal
    }

    /// What waits for a moment that chance would seldom hit.
    enum Trap: Equatable {
        case pauseAndMute(Int)
        case crashAtCreation
    }

    /// What fencing bears, in parts per million.
    static let clockDriftPPM = 20_000

    let seed: UInt64
    let options: Options
    let profile: ClusterProfile
    let raftConfiguration: RaftConfiguration
    let fencing: FencingConfiguration
    let voterPlan: VoterPlan
    let beatInterval: Int64
    /// A node that was heard from within this is given jobs.
    let freshness: Duration
    var generator: SeededGenerator
    private(set) var agents: [SimulatedAgent] = []
    var clients: [SimulatedClient] = []
    var submitted: [String] = []
    var values = ValueBook()
    var checkers: ClusterCheckers
    var statistics = ClusterStatistics()
    private(set) var now: Int64 = 0
    var queue = EventQueue<Event>()
    /// Bad luck that waits for its moment.
    var trap: Trap?
    /// No other fault comes before, so that what began can run its course.
    var quietUntil: Int64 = 0
    /// The agent that was shut out.
    var revoked: Int?
    /// When a stream has carried all that was given to it, by from * agents + to.
    private var streamEnds: [Int64] = []
    /// Links that carry nothing, from -> to.
    var cut: Set<[Int]> = []
    let faultsEnd: Int64
    var lastContainer: UInt64 = 0
    var lastAttempt: UInt64 = 0
    var lastValue = 0
    /// A digest of everything that happened.
    private var trace: UInt64 = 0xcbf2_9ce4_8422_2325
    private var eventCount = 0

    /// Prepares a run.
    ///
    /// - Parameters:
    ///   - seed: everything follows from it and from the options.
    ///   - options: the kind of run.
    ///   - origin: what stands for the start of the machines' clocks; any instant, and it changes nothing.
    package convenience init(seed: UInt64, options: Options = Options(), origin: ContinuousClock.Instant) {
        var generator = SeededGenerator(seed: seed)
        let profile = ClusterProfile(using: &generator, name: options.profile, agents: options.agents)
        self.init(seed, options, profile, .quick, generator, origin: origin)
    }

    /// How long everything takes that agents do at intervals or wait for.
    struct Times {
        var raft: RaftConfiguration
        var fencing: FencingConfiguration
        var voterPlan: VoterPlan
        var beatInterval: Int64
        var freshness: Duration

        /// What agents have when nobody configures anything.
        static let shipped = Times(
            raft: RaftConfiguration(),
            fencing: FencingConfiguration(),
            voterPlan: VoterPlan(),
            beatInterval: 250_000_000,
            freshness: .seconds(4)
        )

        /// Short, and with small bounds, so that much happens in a short run.
        static var quick: Times {
            var raft = RaftConfiguration()
            raft.heartbeatInterval = .milliseconds(100)
            raft.electionTimeout = .milliseconds(400)
            raft.leaseMargin = .milliseconds(40)
            raft.snapshotChunkBytes = 256
            raft.snapshotWindow = 2
            raft.appendByteLimit = 600
            raft.inflightLimit = 8
            raft.applyByteLimit = 600
            return Times(
                raft: raft,
                fencing: FencingConfiguration(
                    partitionTimeout: .seconds(2),
                    stopTime: .milliseconds(200),
                    clockDriftPPM: Int64(ClusterSimulation.clockDriftPPM)
                ),
                voterPlan: VoterPlan(settle: .seconds(2), replaceAfter: .seconds(4)),
                beatInterval: 100_000_000,
                freshness: .milliseconds(1000)
            )
        }
    }

    init(
        _ seed: UInt64,
        _ options: Options,
        _ profile: ClusterProfile,
        _ times: Times,
        _ generator: SeededGenerator,
        origin: ContinuousClock.Instant
    ) {
        (self.seed, self.options, self.profile, self.generator) = (seed, options, profile, generator)
        (raftConfiguration, fencing, voterPlan) = (times.raft, times.fencing, times.voterPlan)
        (beatInterval, freshness) = (times.beatInterval, times.freshness)
        if profile.hasStreams { streamEnds = [Int64](repeating: 0, count: profile.agentCount * profile.agentCount) }
        faultsEnd = options.faultTime.nanoseconds
        let members = (1...profile.agentCount).map { RaftMemberID(rawValue: UInt64($0)) }
        let membership = Membership(
            voters: Array(members.prefix(profile.voterCount)),
            learners: Array(members.dropFirst(profile.voterCount))
        )
        checkers = ClusterCheckers(founding: membership)
        for number in 0..<profile.agentCount {
            let drift = Int.random(in: -profile.driftPPM...profile.driftPPM, using: &self.generator)
            let clock = SimulatedClock(
                origin: origin,
                offset: Int64.random(in: 0...10_000_000_000, using: &self.generator),
                rate: 1 + Double(drift) / 1e6,
                wallError: Int64.random(in: -1_000_000_000...1_000_000_000, using: &self.generator)
            )
            agents.append(SimulatedAgent(number: number, membership: membership, clock: clock, world: self))
        }
        clients = (0..<4).map { _ in SimulatedClient() }
        checkers.forbidsTwoAtOnce = profile.hasSoundClocks
    }

    // MARK: Time

    func schedule(_ event: Event, after delay: Int64) { queue.push(event, at: now + delay) }

    func draw(_ range: Range<Int>) -> Int { Int.random(in: range, using: &generator) }

    func mix(_ value: UInt64) { trace = (trace ^ value) &* 0x100_0000_01b3 }

    /// Runs to the end and says what happened.
    package func run() -> ClusterRunReport {
        for agent in agents { agent.start() }
        for client in clients.indices { schedule(.client(client), after: Int64(300 + 100 * client) * 1_000_000) }
        if !profile.faults.isEmpty { schedule(.fault, after: 500_000_000) }
        queue.push(.heal, at: faultsEnd)
        let limit = faultsEnd + 900_000_000_000
        var hasEnded = false
        while now < limit, checkers.violations.isEmpty, !hasEnded, let (time, event) = queue.pop() {
            now = time
            eventCount += 1
            mix(UInt64(bitPattern: time))
            perform(event)
            if now > faultsEnd, eventCount % 64 == 0 { hasEnded = isSettled }
            if eventCount > 400_000 {
                checkers.report("events: no end of them at \(now / 1_000_000) ms: \(standstill)")
            }
        }
        if checkers.violations.isEmpty, !hasEnded { checkers.report("progress: \(standstill)") }
        if let machine = agents.first(where: { $0.isUp && $0.number != revoked })?.machine {
            for agent in agents where agent.isUp && hasEnded && agent.number != revoked {
                checkers.compare(agent.machine.state, at: agent.machine.applied, of: agent.number)
            }
            checkers.finish(machine.state, hasEnded: hasEnded)
        }
        return report
    }

    private var report: ClusterRunReport {
        statistics.committed = checkers.committed.count
        statistics.jobs = checkers.acknowledged.count
        statistics.undecided = checkers.undecided
        statistics.milliseconds = Int(now / 1_000_000)
        mix(UInt64(eventCount))
        mix(UInt64(checkers.committed.count))
        mix(agents[0].machine.state.lastDecision)
        return ClusterRunReport(
            seed: seed,
            profile: profile.name,
            agents: profile.agentCount,
            voters: profile.voterCount,
            violations: checkers.violations,
            digest: trace,
            events: eventCount,
            statistics: statistics
        )
    }

    private func perform(_ event: Event) {
        switch event {
        case .packet(let packet, let from, let to):
            guard let agent = ready(to, for: event) else { return }
            agent.receive(packet, from: from)
        case .tick(let number, let life):
            guard agents[number].life == life, let agent = ready(number, for: event) else { return }
            agent.tick()
        case .synced(let number, let life):
            guard agents[number].life == life, agents[number].isUp else { return }
            agents[number].synced()
        case .beat(let number, let life):
            guard agents[number].life == life, let agent = ready(number, for: event) else { return }
            agent.beat()
        case .container(let number, let container, let step): agents[number].step(step, of: container)
        case .client(let number): clientStep(number)
        case .request(let client, let attempt, let number):
            guard let agent = ready(number, for: event) else { return }
            serve(client: client, attempt: attempt, at: agent)
            agent.drain()
        case .response(let client, let attempt, let response): take(response, client: client, attempt: attempt)
        case .timeout(let client, let attempt): timedOut(client: client, attempt: attempt)
        case .again(let client): again(client)
        case .fault:
            guard now < faultsEnd else { return }
            inflictFault()
            schedule(.fault, after: Int64.random(in: 1...(2 * profile.faultInterval), using: &generator))
        case .restart(let number): agents[number].start()
        case .powerLoss(let number): if now < faultsEnd { losePower(number) }
        case .heal: heal()
        }
    }

    /// The agent, if it can do something now; what comes while it is stopped waits for it.
    private func ready(_ number: Int, for event: Event) -> SimulatedAgent? {
        let agent = agents[number]
        guard agent.isUp else { return nil }
        if let wake = agent.starvation?.wake(after: now) {
            queue.push(event, at: wake + Int64(draw(0..<1000)) * 1000)
            return nil
        }
        guard agent.busyUntil <= now else {
            // When a process goes on, its timers and its connections wake it in any order.
            queue.push(event, at: agent.busyUntil + Int64(draw(0..<1000)) * 1000)
            return nil
        }
        return agent
    }

    // MARK: The network

    func isLost() -> Bool { now < faultsEnd && draw(0..<1000) < profile.lossPermille }

    func send(_ packet: Packet, from: Int, to: Int) {
        guard agents.indices.contains(to) else { return }
        statistics.messages += 1
        if cut.contains([from, to]) {
            statistics.cut += 1
            return
        }
        if profile.hasStreams { return sendOnStream(packet, from: from, to: to) }
        if isLost() {
            statistics.lostMessages += 1
            return
        }
        // Requests travel on connections, which lose what they carry when they break, and repeat nothing.
        let copies = packet.mayBeRepeated && draw(0..<1000) < profile.repeatPermille ? 2 : 1
        statistics.repeated += copies - 1
        for _ in 0..<copies {
            var delay = Int64.random(in: profile.delay, using: &generator)
            // Now and then a message is very late.
            if draw(0..<1000) < profile.latePermille {
                delay += Int64(draw(20..<3000)) * 1_000_000
                statistics.late += 1
            }
            schedule(.packet(packet, from: from, to: to), after: delay)
        }
    }

    /// What is lost is sent again: first when the receiver has told of what came after it, about a heartbeat later, then after 200 ms, doubled
    /// each time; and what follows waits.
    private func sendOnStream(_ packet: Packet, from: Int, to: Int) {
        var delay = Int64.random(in: profile.delay, using: &generator)
        var pause = 60_000_000 as Int64
        while isLost() {
            statistics.lostMessages += 1
            delay += pause
            pause = pause < 200_000_000 ? 200_000_000 : pause * 2
        }
        let link = from * agents.count + to
        streamEnds[link] = max(streamEnds[link], now + delay)
        queue.push(.packet(packet, from: from, to: to), at: streamEnds[link])
    }

    /// Carries out what is due until then, or until the condition holds.
    ///
    /// - Returns: whether it held; false at once when a promise is broken.
    func advance(to end: Int64, until condition: () -> Bool = { false }) -> Bool {
        while checkers.violations.isEmpty {
            if condition() { return true }
            guard let next = queue.firstTime, next <= end, let (time, event) = queue.pop() else {
                now = end
                return false
            }
            now = time
            perform(event)
        }
        return false
    }

    func syncTime() -> Int64 {
        if now < faultsEnd, draw(0..<1000) < profile.stallPermille {
            statistics.stalls += 1
            return Int64.random(in: profile.stallTime, using: &generator)
        }
        return Int64.random(in: profile.diskLatency, using: &generator)
    }

    // MARK: Jobs

    /// Most jobs are short; some outlast every timeout.
    func runTime() -> Int64 {
        Int64(draw(0..<3) == 0 ? draw(2000..<9000) : draw(20..<1500)) * 1_000_000
    }

    func exit() -> ContainerExit { draw(0..<8) == 0 ? .exited(code: 1) : .exited(code: 0) }
}

/// What became of one run.
package struct ClusterRunReport: Sendable {
    /// Repeats the run, together with its options.
    package let seed: UInt64
    package let profile: ClusterProfile.Name
    /// Agents of the cluster.
    package let agents: Int
    /// How many of them voted at the beginning.
    package let voters: Int
    /// Empty when every promise held; the first one says what went wrong.
    package let violations: [String]
    /// Equal for equal runs.
    package let digest: UInt64
    /// Events that were carried out.
    package let events: Int
    package let statistics: ClusterStatistics
}

/// What happened in a run, to see that it was worth running.
package struct ClusterStatistics: Sendable {
    /// Submissions that were acknowledged.
    package var jobs = 0
    /// Requests of clients that were accepted, submissions among them.
    package var acknowledged = 0
    /// Reads that were answered.
    package var reads = 0
    /// Containers that were begun.
    package var containers = 0
    /// Containers that were stopped because their node had lost its authority.
    package var fenced = 0
    /// Proposals that a node is lost.
    package var lost = 0
    /// Terms in which somebody led.
    package var reigns = 0
    /// Changes of who votes that the voter plan asked for.
    package var voterChanges = 0
    /// Agents that were killed and machines that lost their power.
    package var crashes = 0
    /// Snapshots that an agent took from another.
    package var snapshots = 0
    /// Entries of the log that were committed.
    package var committed = 0
    /// What was inflicted, by its name.
    package var faults: [String: Int] = [:]
    /// Messages that agents sent to each other.
    package var messages = 0
    /// Messages that went to a link that was cut.
    package var cut = 0
    /// Messages that were lost by chance.
    package var lostMessages = 0
    /// Messages that came twice.
    package var repeated = 0
    /// Messages that came up to three seconds too late.
    package var late = 0
    /// Syncs of a disk that took 200 ms to 1.5 s.
    package var stalls = 0
    /// Writes that a crash left unfinished: lost, or torn between two records.
    package var tornWrites = 0
    /// Reads, and words to nodes, for which the leader relied on its lease.
    package var leaseReads = 0
    /// Histories about which the search for an explanation was given up.
    package var undecided = 0
    /// Virtual time that passed.
    package var milliseconds = 0

    /// Nothing happened yet.
    package init() {}
}
