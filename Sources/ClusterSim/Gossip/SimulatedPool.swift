package import ClusterModel
package import SWIM

/// A pool of real memberships on virtual time, with a network that loses, delays, doubles, reorders and cuts.
///
/// Everything follows from the seed.
package struct SimulatedPool {
    /// How the network treats datagrams.
    package struct Network {
        /// The shortest one-way delay.
        package var delay: Duration = .milliseconds(1)
        /// The mean of what comes on top of it.
        package var jitter: Duration = .milliseconds(1)
        /// The part of all datagrams that is lost, 0...1.
        package var loss = 0.0
        /// The part of all datagrams that come twice, 0...1.
        package var duplication = 0.0
        /// Loss on the way to single nodes.
        package var lossTo: [Int: Double] = [:]
        /// Loss on the way from single nodes.
        package var lossFrom: [Int: Double] = [:]
        /// Whether nothing gets from one node to another.
        package var isCut: @Sendable (Int, Int) -> Bool = { _, _ in false }
        /// Whether there are streams beside datagrams.
        package var hasStreams = true

        func loss(from: Int, to: Int) -> Double {
            1 - (1 - loss) * (1 - (lossTo[to] ?? 0)) * (1 - (lossFrom[from] ?? 0))
        }
    }

    /// When a node's process gets to run.
    package enum Running {
        case always
        /// Crashed.
        case not
        /// Stopped until then; what arrives meanwhile waits.
        case stopped(until: Int64)
        /// Runs `share` of each `period`.
        case starved(period: Int64, share: Int64)
    }

    /// A member and what it runs on.
    package struct Node {
        package internal(set) var membership: Membership
        /// Where it is reached.
        package let endpoint: MemberEndpoint
        var running = Running.always
        var tickAt: Int64 = .max
    }

    /// A report, by whom and when.
    package struct Record {
        /// Nanoseconds of virtual time.
        package let at: Int64
        /// The node that reports.
        package let by: Int
        package let event: MembershipEvent
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

    /// Everything follows from it.
    package let seed: UInt64
    private let configuration: MembershipConfiguration
    private let origin: ContinuousClock.Instant
    /// May be changed at any time.
    package var network = Network()
    /// In the order in which they were added.
    package private(set) var nodes: [Node] = []
    /// Nanoseconds of virtual time since the start.
    package private(set) var now: Int64 = 0
    /// Kept while `keepsRecords`.
    package private(set) var records: [Record] = []
    /// Whether reports are kept.
    package var keepsRecords = true
    /// Datagrams sent.
    package private(set) var packets: UInt64 = 0
    /// Bytes of datagrams sent, before they are sealed.
    package private(set) var packetBytes: UInt64 = 0
    /// Bytes of exchanges.
    package private(set) var streamBytes: UInt64 = 0
    /// A running hash of all that was delivered, to compare two runs.
    package private(set) var trace: UInt64 = 0
    private var steps = TimerQueue<Step>()
    private var generator: SeededGenerator
    private var indices: [MemberEndpoint: Int] = [:]

    /// An empty pool; `origin` stands for the start of the clocks and changes nothing.
    package init(seed: UInt64, configuration: MembershipConfiguration = .lan, origin: ContinuousClock.Instant) {
        self.seed = seed
        self.configuration = configuration
        self.origin = origin
        generator = SeededGenerator(seed: seed)
    }

    /// A pool whose members know each other from the start.
    package init(
        seed: UInt64,
        settled count: Int,
        configuration: MembershipConfiguration = .lan,
        origin: ContinuousClock.Instant
    ) throws {
        self.init(seed: seed, configuration: configuration, origin: origin)
        let table = MemberTable(
            (0..<count).map {
                Member(node: Self.name($0), endpoint: Self.endpoint($0), incarnation: MemberIncarnation(rawValue: 1))
            }
        )
        for _ in 0..<count { try add(remembered: table) }
    }

    /// A node's name.
    package static func name(_ index: Int) -> NodeID { NodeID(rawValue: "node-\(index)") }
    /// Where a node is reached.
    package static func endpoint(_ index: Int) -> MemberEndpoint {
        MemberEndpoint(ipv4: 0x0A00_0000 + UInt32(index), port: 7421)
    }

    private var instant: ContinuousClock.Instant { origin + .nanoseconds(now) }

    // MARK: Nodes

    /// Adds a node, which remembers members, joins through seeds, or both.
    @discardableResult
    package mutating func add(
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
    package mutating func restart(_ index: Int, incarnation: UInt32, seeds: [Int]) throws {
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

    /// Ends a node without a word.
    package mutating func crash(_ index: Int) { nodes[index].running = .not }

    /// Stops a node's process for a while; what comes meanwhile waits.
    package mutating func stop(_ index: Int, for duration: Duration) {
        nodes[index].running = .stopped(until: now + nanoseconds(duration))
    }

    /// Lets a node's process run `share` of each `period` only.
    package mutating func starve(_ index: Int, period: Duration, share: Duration) {
        nodes[index].running = .starved(period: nanoseconds(period), share: nanoseconds(share))
    }

    /// Lets a node's process run again.
    package mutating func feed(_ index: Int) { nodes[index].running = .always }

    /// Whether a node has not crashed.
    package func isUp(_ index: Int) -> Bool {
        if case .not = nodes[index].running { false } else { true }
    }

    /// Calls a node and carries out what it asks for.
    package mutating func act(
        on index: Int,
        _ body: (inout Membership, ContinuousClock.Instant) throws -> Void
    ) rethrows {
        try body(&nodes[index].membership, instant)
        carryOut(index)
    }

    // MARK: Time

    /// Lets virtual time pass.
    package mutating func run(for duration: Duration) { run(until: now + nanoseconds(duration)) { _ in false } }

    /// Runs until the condition holds, looked at every `step`.
    ///
    /// - Returns: how long it took; nil if it did not hold within `limit`.
    package mutating func run(
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
        let at = max(now, nanoseconds(deadline - origin))
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
    package var livingNodes: [Int] {
        nodes.indices.filter {
            isUp($0) && nodes[$0].membership.state != .left && nodes[$0].membership.state != .leaving
        }
    }

    /// Whether each living node sees exactly the living nodes as alive.
    package var viewsAreRight: Bool {
        let living = livingNodes
        let keys = Set(living.map { nodes[$0].membership.key })
        guard living.allSatisfy({ nodes[$0].membership.liveCount == keys.count }) else { return false }
        return living.allSatisfy { index in
            keys.allSatisfy { nodes[index].membership.members[$0]?.status == .alive }
        }
    }

    /// Whether all living nodes hold this one for dead or gone.
    package func allKnowTheEnd(of index: Int) -> Bool {
        let key = MemberKey(nodes[index].membership.own.node)
        return livingNodes.allSatisfy { nodes[$0].membership.members[key]?.status.isLive != true }
    }

    /// Verdicts about nodes that `isHealthy`, by nodes that are.
    package func falseVerdicts(_ isHealthy: (Int) -> Bool) -> [Record] {
        var indices: [NodeID: Int] = [:]
        for (index, node) in nodes.enumerated() { indices[node.membership.own.node] = index }
        return records.filter { record in
            guard case .changed(let member, .died) = record.event, let index = indices[member.node] else {
                return false
            }
            return isHealthy(index) && isHealthy(record.by)
        }
    }

    /// Reports of one kind of change, of all nodes or of one.
    package func reports(_ change: MemberChange, of node: NodeID? = nil) -> [Record] {
        records.filter { record in
            guard case .changed(let member, change) = record.event else { return false }
            return node == nil || member.node == node
        }
    }
}
