import ClusterModel
package import SWIM

/// Sites with pools of their own, real memberships on virtual time: what agents at several sites do.
///
/// Each node has the memberships that the plan gives it, and who is in two pools carries between them as the agent's
/// shell does. Everything follows from the seed.
package struct SimulatedSites {
    /// A node with its memberships.
    package struct Node {
        package let plan: PoolPlan.Node
        package let endpoint: MemberEndpoint
        /// Index of its site.
        package let site: Int
        /// By the name of the pool.
        package internal(set) var pools: [PoolName: Membership] = [:]
        /// Whether it has not crashed.
        package internal(set) var isUp = true
    }

    private enum Step: Sendable {
        case tick(Int, PoolName)
        case datagram(from: Int, to: Int, PoolName, [UInt8])
        case request(UInt32, from: Int, to: Int, PoolName, [UInt8])
        case answer(UInt32, to: Int, PoolName, [UInt8])
        case failure(UInt32, to: Int, PoolName)
        case streamProbe(UInt32, from: Int, to: Int, PoolName)
        case streamAnswer(UInt32, to: Int, PoolName)
        case carry(Int)
    }

    /// One-way delay inside a site.
    package var nearDelay: Duration = .milliseconds(1)
    /// One-way delay between sites.
    package var farDelay: Duration = .milliseconds(40)
    /// Part of the datagrams between sites that is lost, 0...1.
    package var farLoss = 0.01
    /// Whether nothing gets from one site to another.
    package var isCut: @Sendable (Int, Int) -> Bool = { _, _ in false }

    package private(set) var nodes: [Node] = []
    /// Nanoseconds of virtual time since the start.
    package private(set) var now: Int64 = 0
    /// Bytes inside sites, with 62 for the seal and the headers of UDP and IPv4 per datagram.
    package private(set) var bytesInside: UInt64 = 0
    /// Those between sites, counted in the same way.
    package private(set) var bytesBetween: UInt64 = 0

    private let seed: UInt64
    private let origin: ContinuousClock.Instant
    private var steps = TimerQueue<Step>()
    private var generator: SeededGenerator
    private var indices: [MemberEndpoint: Int] = [:]
    private var tickAt: [[PoolName: Int64]] = []

    /// Sites of these many members, the first `gateways` of each being gateways.
    ///
    /// Pools know their members from the start, and nothing of each other.
    package init(
        seed: UInt64,
        sites: [Int],
        gateways: Int = 2,
        far: MembershipConfiguration = .wan,
        origin: ContinuousClock.Instant
    ) throws {
        (self.seed, self.origin) = (seed, origin)
        generator = SeededGenerator(seed: seed)
        for (site, count) in sites.enumerated() {
            for number in 0..<count {
                let index = nodes.count
                let plan = PoolPlan.Node(
                    node: NodeID(rawValue: "node-\(index)"),
                    site: SiteID(rawValue: "site-\(site)"),
                    isGateway: number < gateways
                )
                let endpoint = MemberEndpoint(ipv4: 0x0A00_0000 + UInt32(index), port: 7_420)
                indices[endpoint] = index
                nodes.append(Node(plan: plan, endpoint: endpoint, site: site))
            }
        }
        tickAt = nodes.map { _ in [:] }
        let all = nodes.map(\.plan)
        var tables: [PoolName: MemberTable] = [:]
        // The plan lists all pools' members, so one plan for each home and kind of node is enough.
        for index in nodes.indices {
            let plan = PoolPlan(own: nodes[index].plan, nodes: all)
            for pool in plan.isGateway ? [plan.home, .common] : [plan.home] {
                let table =
                    tables[pool]
                    ?? MemberTable(
                        plan.members[pool, default: []].map { node in
                            let number = Int(node.rawValue.dropFirst(5)) ?? 0
                            return Member(
                                node: node,
                                endpoint: nodes[number].endpoint,
                                incarnation: MemberIncarnation(rawValue: 1)
                            )
                        }
                    )
                tables[pool] = table
                try open(pool, on: index, far: plan.commonSpansSites ? far : .lan, remembered: table)
            }
        }
    }

    private mutating func open(
        _ pool: PoolName,
        on index: Int,
        far: MembershipConfiguration,
        remembered: MemberTable
    ) throws {
        var membership = try Membership(
            node: nodes[index].plan.node,
            endpoint: nodes[index].endpoint,
            incarnation: MemberIncarnation(rawValue: 1),
            configuration: pool == .common ? far : .lan,
            pool: pool,
            remembered: remembered,
            seed: seed &* 1_000_003 &+ UInt64(index) &* 2 &+ (pool == .common ? 1 : 0),
            now: instant
        )
        membership.join(seeds: [], now: instant)
        nodes[index].pools[pool] = membership
        guard nodes[index].pools.count == 2 else { return schedule(index, pool) }
        for pool in nodes[index].pools.keys.sorted() {
            nodes[index].pools[pool]?.setBridging(true)
            schedule(index, pool)
        }
        steps.add(.carry(index), at: now)
    }

    private var instant: ContinuousClock.Instant { origin + .nanoseconds(now) }

    /// Ends a node without a word.
    package mutating func crash(_ index: Int) { nodes[index].isUp = false }

    /// Calls a node's membership and carries out what it asks for.
    package mutating func act(
        on index: Int,
        _ pool: PoolName,
        _ body: (inout Membership, ContinuousClock.Instant) -> Void
    ) {
        guard var membership = nodes[index].pools.removeValue(forKey: pool) else { return }
        body(&membership, instant)
        nodes[index].pools[pool] = membership
        carryOut(index, pool)
    }

    /// What a node knows over all pools.
    package func view(of index: Int) -> [SeenMember] {
        PoolSnapshot.combined(nodes[index].pools.values.map { PoolSnapshot($0) })
    }

    /// What a node thinks of another.
    package func status(of subject: Int, by index: Int) -> MemberStatus? {
        view(of: index).first { $0.member.node == nodes[subject].plan.node }?.member.status
    }

    /// Lets virtual time pass.
    package mutating func run(for duration: Duration) { run(until: now + nanoseconds(duration)) }

    /// Runs until the condition holds, looked at every 100 ms; nil if it did not within the limit.
    package mutating func run(atMost limit: Duration, until condition: (Self) -> Bool) -> Duration? {
        let start = now
        while !condition(self) {
            guard now - start < nanoseconds(limit) else { return nil }
            run(until: now + 100_000_000)
        }
        return .nanoseconds(now - start)
    }

    private mutating func run(until end: Int64) {
        while let next = steps.first, next <= end, let step = steps.popDue(at: end) {
            now = max(now, next)
            perform(step)
        }
        now = end
    }

    private mutating func perform(_ step: Step) {
        switch step {
        case .tick(let index, let pool):
            guard nodes[index].isUp, tickAt[index][pool, default: .max] <= now else { return }
            tickAt[index][pool] = nil
            act(on: index, pool) { $0.tick(now: $1) }
        case .datagram(let from, let to, let pool, let bytes):
            let source = nodes[from].endpoint
            guard nodes[to].isUp else { return }
            act(on: to, pool) { membership, now in
                do { try membership.receive(bytes.span, from: source, now: now) } catch {
                    preconditionFailure("a member's datagram was refused: \(error)")
                }
            }
        case .request(let id, let from, let to, let pool, let bytes):
            var answer: [UInt8]?
            if nodes[to].isUp {
                act(on: to, pool) { membership, now in answer = try? membership.answerExchange(bytes.span, now: now) }
            }
            guard let answer else { return steps.add(.failure(id, to: from, pool), at: now + transit(from, to)) }
            count(bytes.count + answer.count, from, to)
            steps.add(.answer(id, to: from, pool, answer), at: now + transit(from, to))
        case .answer(let id, let to, let pool, let bytes):
            guard nodes[to].isUp else { return }
            act(on: to, pool) { membership, now in
                do { try membership.exchangeSucceeded(id, answer: bytes.span, now: now) } catch {
                    preconditionFailure("a member's answer was refused: \(error)")
                }
            }
        case .failure(let id, let to, let pool):
            guard nodes[to].isUp else { return }
            act(on: to, pool) { $0.exchangeFailed(id, now: $1) }
        case .streamProbe(let sequence, let from, let to, let pool):
            guard nodes[to].isUp else { return }
            steps.add(.streamAnswer(sequence, to: from, pool), at: now + transit(from, to))
        case .streamAnswer(let sequence, let to, let pool):
            guard nodes[to].isUp else { return }
            act(on: to, pool) { $0.streamProbeSucceeded(sequence, now: $1) }
        case .carry(let index):
            guard nodes[index].isUp else { return }
            steps.add(.carry(index), at: now + 100_000_000)
            for pool in nodes[index].pools.keys.sorted() {
                guard let changes = nodes[index].pools[pool]?.takeChanges(), !changes.isEmpty else { continue }
                for other in nodes[index].pools.keys.sorted() where other != pool {
                    act(on: index, other) { $0.tell(changes, now: $1) }
                }
            }
        }
    }

    private mutating func carryOut(_ index: Int, _ pool: PoolName) {
        for effect in nodes[index].pools[pool]?.drainEffects() ?? [] {
            switch effect {
            case .send(let bytes, let endpoint):
                guard let to = indices[endpoint] else { continue }
                count(bytes.count + 62, index, to)
                guard isOpen(index, to) else { continue }
                if nodes[index].site != nodes[to].site, generator.unit() < farLoss { continue }
                steps.add(.datagram(from: index, to: to, pool, bytes), at: now + transit(index, to))
            case .probeStream(let sequence, _, let endpoint):
                guard let to = indices[endpoint], isOpen(index, to) else { continue }
                steps.add(.streamProbe(sequence, from: index, to: to, pool), at: now + 3 * transit(index, to))
            case .exchange(let id, let request, let endpoint):
                guard let to = indices[endpoint], isOpen(index, to), isOpen(to, index) else {
                    steps.add(.failure(id, to: index, pool), at: now + 1_000_000_000)
                    continue
                }
                steps.add(.request(id, from: index, to: to, pool, request), at: now + 3 * transit(index, to))
            case .report: break
            }
        }
        schedule(index, pool)
    }

    private func isOpen(_ from: Int, _ to: Int) -> Bool { !isCut(nodes[from].site, nodes[to].site) }

    private mutating func count(_ bytes: Int, _ from: Int, _ to: Int) {
        if nodes[from].site == nodes[to].site {
            bytesInside += UInt64(bytes)
        } else {
            bytesBetween += UInt64(bytes)
        }
    }

    private mutating func schedule(_ index: Int, _ pool: PoolName) {
        guard let deadline = nodes[index].pools[pool]?.deadline else { return }
        let at = max(now, nanoseconds(deadline - origin))
        guard at < tickAt[index][pool, default: .max] else { return }
        tickAt[index][pool] = at
        steps.add(.tick(index, pool), at: at)
    }

    private mutating func transit(_ from: Int, _ to: Int) -> Int64 {
        let delay = nanoseconds(nodes[from].site == nodes[to].site ? nearDelay : farDelay)
        return delay + Int64(Double(delay) * 0.2 * generator.unit())
    }

    private func nanoseconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
