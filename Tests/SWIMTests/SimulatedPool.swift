import ClusterModel
import SWIM

/// A pool of real memberships on virtual time, with a network that loses, delays, doubles, reorders and cuts.
///
/// Everything follows from the seed.
struct SimulatedPool {
    /// How the network treats datagrams.
    struct Network {
        /// One-way delay: the shortest, and the mean of what comes on top.
        var delay: Duration = .milliseconds(1)
        var jitter: Duration = .milliseconds(1)
        var loss = 0.0
        var duplication = 0.0
        /// Loss on the way to or from single nodes.
        var lossTo: [Int: Double] = [:]
        var lossFrom: [Int: Double] = [:]
        /// Whether nothing gets from one node to another.
        var isCut: @Sendable (Int, Int) -> Bool = { _, _ in false }
        var hasStreams = true

        func loss(from: Int, to: Int) -> Double {
            1 - (1 - loss) * (1 - (lossTo[to] ?? 0)) * (1 - (lossFrom[from] ?? 0))
        }
    }

    /// When a node's process gets to run.
    enum Running {
        case always
        case not
        /// Stopped until then; what arrives meanwhile waits.
        case stopped(until: Int64)
        /// Runs `share` of each `period`.
        case starved(period: Int64, share: Int64)
    }

    struct Node {
        var membership: Membership
        var endpoint: MemberEndpoint
        var running = Running.always
        var tickAt: Int64 = .max
    }

    /// A report, by whom and when.
    struct Record {
        var at: Int64
        var by: Int
        var event: MembershipEvent
    }

    private enum Step: Sendable {
        case tick(Int)
        case datagram(from: Int, to: Int, [UInt8])
        case request(UInt32, from: Int, to: Int, [UInt8])
        case answer(UInt32, to: Int, [UInt8])
        case failure(UInt32, to: Int)
        case streamProbe(UInt32, from: Int, to: Int)
        case streamAnswer(UInt32, to: Int)
    }

    static let origin = ContinuousClock().systemEpoch

    let seed: UInt64
    let configuration: MembershipConfiguration
    var network = Network()
    private(set) var nodes: [Node] = []
    private(set) var now: Int64 = 0
    /// Kept while `keepsRecords`.
    private(set) var records: [Record] = []
    var keepsRecords = true
    /// Called for every report.
    var watch: ((Record) -> Void)?
    private(set) var packets: UInt64 = 0
    private(set) var packetBytes: UInt64 = 0
    private(set) var streamBytes: UInt64 = 0
    /// A running hash of all that was delivered, to compare two runs.
    private(set) var trace: UInt64 = 0
    private var steps = TimerQueue<Step>()
    private var generator: SeededGenerator
    private var indices: [MemberEndpoint: Int] = [:]

    init(seed: UInt64, configuration: MembershipConfiguration = .lan) {
        self.seed = seed
        self.configuration = configuration
        generator = SeededGenerator(seed: seed)
    }

    /// A pool whose members know each other from the start.
    init(seed: UInt64, settled count: Int, configuration: MembershipConfiguration = .lan) throws {
        self.init(seed: seed, configuration: configuration)
        let table = MemberTable(
            (0..<count).map {
                Member(node: Self.name($0), endpoint: Self.endpoint($0), incarnation: MemberIncarnation(rawValue: 1))
            }
        )
        for _ in 0..<count { try add(remembered: table) }
    }

    static func name(_ index: Int) -> NodeID { NodeID(rawValue: "node-\(index)") }
    static func endpoint(_ index: Int) -> MemberEndpoint {
        MemberEndpoint(ipv4: 0x0A00_0000 + UInt32(index), port: 7421)
    }

    var instant: ContinuousClock.Instant { Self.origin + .nanoseconds(now) }
    var seconds: Double { Double(now) / 1e9 }

    // MARK: Nodes

    @discardableResult
    mutating func add(
        name: NodeID? = nil,
        incarnation: UInt32 = 1,
        remembered: MemberTable = MemberTable(),
        seeds: [Int]? = nil
    ) throws -> Int {
        let index = nodes.count
        let membership = try Membership(
            node: name ?? Self.name(index),
            endpoint: Self.endpoint(index),
            incarnation: MemberIncarnation(rawValue: incarnation),
            configuration: configuration,
            remembered: remembered,
            seed: seed &* 1_000_003 &+ UInt64(index),
            now: instant
        )
        nodes.append(Node(membership: membership, endpoint: Self.endpoint(index)))
        indices[Self.endpoint(index)] = index
        if let seeds {
            let endpoints = seeds.map { Self.endpoint($0) }
            act(on: index) { $0.join(seeds: endpoints, now: $1) }
        } else {
            schedule(index)
        }
        return index
    }

    /// Starts a node's process anew, at its place and with nothing but its seeds.
    mutating func restart(_ index: Int, incarnation: UInt32, seeds: [Int]) throws {
        nodes[index].membership = try Membership(
            node: nodes[index].membership.own.node,
            endpoint: nodes[index].endpoint,
            incarnation: MemberIncarnation(rawValue: incarnation),
            configuration: configuration,
            seed: generator.next(),
            now: instant
        )
        (nodes[index].running, nodes[index].tickAt) = (.always, .max)
        let endpoints = seeds.map { nodes[$0].endpoint }
        act(on: index) { $0.join(seeds: endpoints, now: $1) }
    }

    mutating func crash(_ index: Int) { nodes[index].running = .not }

    mutating func stop(_ index: Int, for duration: Duration) {
        nodes[index].running = .stopped(until: now + nanoseconds(duration))
    }

    mutating func starve(_ index: Int, period: Duration, share: Duration) {
        nodes[index].running = .starved(period: nanoseconds(period), share: nanoseconds(share))
    }

    mutating func feed(_ index: Int) { nodes[index].running = .always }

    func isUp(_ index: Int) -> Bool {
        if case .not = nodes[index].running { false } else { true }
    }

    /// Calls a node and carries out what it asks for.
    mutating func act(on index: Int, _ body: (inout Membership, ContinuousClock.Instant) throws -> Void) rethrows {
        try body(&nodes[index].membership, instant)
        carryOut(index)
    }

    // MARK: Time

    mutating func run(for duration: Duration) { run(until: now + nanoseconds(duration)) { _ in false } }

    /// Runs until the condition holds, looked at every `step`.
    ///
    /// - Returns: how long it took; nil if it did not hold within `limit`.
    mutating func run(
        atMost limit: Duration,
        step: Duration = .milliseconds(100),
        until condition: (Self) -> Bool
    ) -> Duration? {
        let start = now
        while now - start < nanoseconds(limit) {
            if condition(self) { return .nanoseconds(now - start) }
            run(until: now + nanoseconds(step)) { _ in false }
        }
        return condition(self) ? .nanoseconds(now - start) : nil
    }

    private mutating func run(until end: Int64, _ isDone: (Self) -> Bool) {
        while let next = steps.first, next <= end, let step = steps.popDue(at: end) {
            now = max(now, next)
            perform(step)
        }
        now = end
    }

    private mutating func perform(_ step: Step) {
        switch step {
        case .tick(let index):
            guard wait(index, step) else { return }
            guard nodes[index].tickAt <= now else { return }
            nodes[index].tickAt = .max
            nodes[index].membership.tick(now: instant)
            carryOut(index)
        case .datagram(let from, let to, let bytes):
            guard wait(to, step) else { return }
            trace = (trace ^ UInt64(now) ^ UInt64(bytes.count)) &* 0x0000_0100_0000_01B3
            // Members of one version write what members of that version read.
            let span = bytes.span
            do { try nodes[to].membership.receive(span, from: nodes[from].endpoint, now: instant) } catch {
                preconditionFailure("seed \(seed): a member's datagram was refused: \(error)")
            }
            carryOut(to)
        case .request(let id, let from, let to, let bytes):
            guard wait(to, step) else { return }
            let span = bytes.span
            do {
                let answer = try nodes[to].membership.answerExchange(span, now: instant)
                streamBytes += UInt64(bytes.count + answer.count)
                carryOut(to)
                steps.add(.answer(id, to: from, answer), at: now + transit())
            } catch { preconditionFailure("seed \(seed): a member's request was refused: \(error)") }
        case .answer(let id, let to, let bytes):
            guard wait(to, step) else { return }
            let span = bytes.span
            do { try nodes[to].membership.exchangeSucceeded(id, answer: span, now: instant) } catch {
                preconditionFailure("seed \(seed): a member's answer was refused: \(error)")
            }
            carryOut(to)
        case .failure(let id, let to):
            guard wait(to, step) else { return }
            nodes[to].membership.exchangeFailed(id, now: instant)
            carryOut(to)
        case .streamProbe(let sequence, let from, let to):
            guard wait(to, step) else { return }
            steps.add(.streamAnswer(sequence, to: from), at: now + transit())
        case .streamAnswer(let sequence, let to):
            guard wait(to, step) else { return }
            nodes[to].membership.streamProbeSucceeded(sequence, now: instant)
            carryOut(to)
        }
    }

    /// Whether the node runs now; what must wait is put off.
    private mutating func wait(_ index: Int, _ step: Step) -> Bool {
        switch nodes[index].running {
        case .always: return true
        case .not: return false
        case .stopped(let until):
            if until <= now {
                nodes[index].running = .always
                return true
            }
            steps.add(step, at: until)
        case .starved(let period, let share):
            // Nodes are starved at different moments.
            let phase = (now + Int64(index) * 7_919_000) % period
            if phase < share { return true }
            steps.add(step, at: now + period - phase)
        }
        return false
    }

    private mutating func carryOut(_ index: Int) {
        for effect in nodes[index].membership.drainEffects() {
            switch effect {
            case .send(let bytes, let endpoint):
                packets += 1
                packetBytes += UInt64(bytes.count)
                guard let to = indices[endpoint], !network.isCut(index, to) else { continue }
                let loss = network.loss(from: index, to: to)
                if loss > 0, generator.unit() < loss { continue }
                steps.add(.datagram(from: index, to: to, bytes), at: now + transit())
                if network.duplication > 0, generator.unit() < network.duplication {
                    steps.add(.datagram(from: index, to: to, bytes), at: now + transit())
                }
            case .probeStream(let sequence, _, let endpoint):
                guard network.hasStreams, let to = indices[endpoint], isReachable(index, to) else { continue }
                steps.add(.streamProbe(sequence, from: index, to: to), at: now + 3 * transit())
            case .exchange(let id, let request, let endpoint):
                guard let to = indices[endpoint], isReachable(index, to), isUp(to) else {
                    steps.add(.failure(id, to: index), at: now + 1_000_000_000)
                    continue
                }
                steps.add(.request(id, from: index, to: to, request), at: now + 3 * transit())
            case .report(let event):
                let record = Record(at: now, by: index, event: event)
                if keepsRecords { records.append(record) }
                watch?(record)
            }
        }
        schedule(index)
    }

    /// A stream gets through where less than half is lost.
    private func isReachable(_ from: Int, _ to: Int) -> Bool {
        !network.isCut(from, to) && !network.isCut(to, from) && network.loss(from: from, to: to) < 0.5
            && network.loss(from: to, to: from) < 0.5
    }

    private mutating func schedule(_ index: Int) {
        guard let deadline = nodes[index].membership.deadline else { return }
        let at = max(now, nanoseconds(deadline - Self.origin))
        guard at < nodes[index].tickAt else { return }
        nodes[index].tickAt = at
        steps.add(.tick(index), at: at)
    }

    private mutating func transit() -> Int64 {
        nanoseconds(network.delay) + Int64(Double(nanoseconds(network.jitter)) * 2 * generator.unit())
    }

    private func nanoseconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}

// MARK: What must hold

extension SimulatedPool {
    /// Nodes that run and have not left.
    var livingNodes: [Int] {
        nodes.indices.filter {
            isUp($0) && nodes[$0].membership.state != .left && nodes[$0].membership.state != .leaving
        }
    }

    /// Whether each living node sees exactly the living nodes as alive.
    var viewsAreRight: Bool {
        let living = livingNodes
        let keys = Set(living.map { nodes[$0].membership.key })
        guard living.allSatisfy({ nodes[$0].membership.liveCount == keys.count }) else { return false }
        return living.allSatisfy { index in
            keys.allSatisfy { nodes[index].membership.members[$0]?.status == .alive }
        }
    }

    /// Whether all living nodes hold this one for dead or gone.
    func allKnowTheEnd(of index: Int) -> Bool {
        let key = MemberKey(nodes[index].membership.own.node)
        return livingNodes.allSatisfy { nodes[$0].membership.members[key]?.status.isLive != true }
    }

    /// Verdicts about nodes that `isHealthy`, by nodes that are.
    func falseVerdicts(_ isHealthy: (Int) -> Bool) -> [Record] {
        var indices: [NodeID: Int] = [:]
        for (index, node) in nodes.enumerated() { indices[node.membership.own.node] = index }
        return records.filter { record in
            guard case .changed(let member, .died) = record.event, let index = indices[member.node] else {
                return false
            }
            return isHealthy(index) && isHealthy(record.by)
        }
    }

    func reports(_ change: MemberChange, of node: NodeID? = nil) -> [Record] {
        records.filter { record in
            guard case .changed(let member, change) = record.event else { return false }
            return node == nil || member.node == node
        }
    }
}
