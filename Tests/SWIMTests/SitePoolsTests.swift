import ClusterModel
import ClusterSim
import SWIM
import Testing

/// Which pools there are, and what they tell each other.
struct SitePoolsTests {
    private static func node(_ name: String, _ site: String, gateway: Bool = false) -> PoolPlan.Node {
        PoolPlan.Node(node: NodeID(rawValue: name), site: SiteID(rawValue: site), isGateway: gateway)
    }
    private static let coast = PoolName(SiteID(rawValue: "coast"))
    private static let hill = PoolName(SiteID(rawValue: "hill"))

    // MARK: The plan

    @Test("a site with a gateway has a pool of its own; the gateways share the common one")
    func planOfTwoSites() {
        let nodes = [
            Self.node("a", "coast"), Self.node("b", "coast", gateway: true), Self.node("c", "hill"),
            Self.node("d", "hill", gateway: true),
        ]
        let plans = nodes.map { PoolPlan(own: $0, nodes: nodes) }
        #expect(plans.map(\.home) == [Self.coast, Self.coast, Self.hill, Self.hill])
        #expect(plans.map(\.isGateway) == [false, true, false, true])
        #expect(plans[0].members[.common]?.map(\.rawValue) == ["b", "d"])
        #expect(plans[0].members[Self.coast]?.map(\.rawValue) == ["a", "b"])
        #expect(plans.allSatisfy { $0.commonSpansSites && $0.members == plans[0].members })
    }

    @Test("without gateways, or at one site, all are in one pool as ever")
    func planOfOnePool() {
        let alone = [Self.node("a", "coast"), Self.node("b", "coast", gateway: true)]
        for node in alone {
            let plan = PoolPlan(own: node, nodes: alone)
            #expect(plan.home == .common && !plan.isGateway && !plan.commonSpansSites)
        }
        let apart = [Self.node("a", "coast"), Self.node("b", "hill")]
        for node in apart {
            let plan = PoolPlan(own: node, nodes: apart)
            #expect(plan.home == .common && plan.commonSpansSites && plan.members[.common]?.count == 2)
        }
    }

    @Test("the members of a site without a gateway are in the common pool")
    func planOfASiteWithoutGateway() {
        let nodes = [
            Self.node("a", "coast"), Self.node("b", "coast", gateway: true), Self.node("c", "hill"),
            Self.node("d", "hill"),
        ]
        #expect(nodes.map { PoolPlan(own: $0, nodes: nodes).home } == [Self.coast, Self.coast, .common, .common])
        #expect(PoolPlan(own: nodes[2], nodes: nodes).members[.common]?.map(\.rawValue) == ["b", "c", "d"])
    }

    @Test("where no gateway lives the first of the others stands in, and no other")
    func standingIn() throws {
        let nodes = (0..<4).map { Self.node("n\($0)", "coast", gateway: $0 == 0) } + [Self.node("x", "hill")]
        let gateways: Set<NodeID> = [NodeID(rawValue: "n0")]
        func view(dead: Set<String>) -> [Member] {
            nodes.prefix(4).map {
                Member(
                    node: $0.node,
                    endpoint: endpoint(1),
                    incarnation: incarnation(1),
                    status: dead.contains($0.node.rawValue) ? .dead : .alive
                )
            }
        }
        func standIns(dead: Set<String>) -> [String] {
            nodes.prefix(4).filter {
                PoolPlan(own: $0, nodes: nodes)
                    .mustStandIn(own: MemberKey($0.node), view: view(dead: dead), gateways: gateways)
            }.map(\.node.rawValue)
        }
        #expect(standIns(dead: []) == [])
        let first = try #require(standIns(dead: ["n0"]).first)
        #expect(standIns(dead: ["n0"]).count == 1 && standIns(dead: ["n0", first]).count == 1)
        #expect(standIns(dead: ["n0", first]) != [first])
    }

    // MARK: Claims about members of other pools

    private static func claim(
        _ index: Int,
        _ number: UInt32,
        _ status: MemberStatus,
        facts: NodeFacts = .none
    ) -> PoolEntry {
        let member = GossipEntry(
            node: name(index),
            endpoint: endpoint(index),
            incarnation: incarnation(number),
            facts: facts
        )
        return PoolEntry(pool: coast, entry: .init(member, status: status))
    }

    @Test("claims count in their order, whatever the order in which they come", arguments: [1, 2, 3] as [UInt64])
    func claimsCommute(seed: UInt64) throws {
        let claims = [
            Self.claim(9, 1, .alive), Self.claim(9, 1, .suspect), Self.claim(9, 1, .dead), Self.claim(9, 2, .alive),
            Self.claim(9, 2, .suspect), Self.claim(9, 1, .alive, facts: NodeFacts(version: 7, bytes: [1])),
        ]
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<50 {
            var pool = try Bench(of: 3)
            for claim in claims.shuffled(using: &generator) { try pool.hear([.poolEntry(claim)], from: 1) }
            let known = try #require(pool.membership.members(of: Self.coast).first)
            #expect(known.incarnation == incarnation(2) && known.status == .suspect && known.facts.version == 7)
            // Nothing of it touches the own pool.
            #expect(pool.membership.members.count == 3)
        }
    }

    @Test("a claim about the own pool is not taken from another")
    func ownPoolJudgesItself() throws {
        var pool = try Bench(of: 3)
        var dead = Self.claim(1, 9, .dead)
        dead.pool = .common
        try pool.hear([.poolEntry(dead)], from: 2)
        #expect(pool.status(1) == .alive && pool.membership.elsewhereCount == 0)
    }

    @Test("what a bridge learns is told on once, and facts that say the same are no news")
    func bridging() throws {
        var pool = try Bench(of: 3)
        func changes() -> [PoolEntry] { pool.membership.takeChanges() }
        #expect(changes() == [])
        pool.membership.setBridging(true)
        #expect(changes().count == 3)
        #expect(changes() == [])
        try pool.hear([.dead(key(1), incarnation(1), accuser: key(2))], from: 2)
        #expect(changes().map(\.entry.status) == [.dead])
        let facts = NodeFacts(version: 3, bytes: [5])
        pool.membership.tell([Self.claim(9, 1, .alive, facts: facts)], now: pool.now)
        #expect(changes().map(\.pool) == [Self.coast])
        pool.membership.tell([Self.claim(9, 1, .alive, facts: NodeFacts(version: 4, bytes: [5]))], now: pool.now)
        #expect(changes() == [])
        pool.membership.tell([Self.claim(9, 1, .alive, facts: NodeFacts(version: 5, bytes: [6]))], now: pool.now)
        #expect(changes().map(\.entry.member.facts.version) == [5])
    }

    @Test("the dead of other pools are forgotten as those of the own one, and so is a pool that is no more")
    func forgetting() throws {
        var configuration = MembershipConfiguration.lan
        configuration.deadRetention = .seconds(64)
        var pool = try Bench(of: 3, configuration: configuration)
        try pool.hear([.poolEntry(Self.claim(8, 1, .alive)), .poolEntry(Self.claim(9, 1, .dead))], from: 1)
        #expect(pool.membership.elsewhereCount == 2)
        pool.wait(.seconds(70))
        #expect(pool.membership.members(of: Self.coast).map(\.node) == [name(8)])
        pool.membership.keep(pools: [Self.hill])
        #expect(pool.membership.elsewhereCount == 0)
    }

    @Test("no datagram is larger than the limit, whatever is said of other pools")
    func sizes() throws {
        var pool = try Bench(of: 5)
        let limit = pool.membership.configuration.datagramByteLimit
        for index in 100..<300 {
            let facts = NodeFacts(version: 1, bytes: [UInt8](repeating: 7, count: index % 513))
            for site in 0..<2 {
                var claim = Self.claim(index, 1, .alive, facts: facts)
                claim.pool = PoolName(SiteID(rawValue: String(repeating: "s", count: 60) + "-\(site)"))
                pool.membership.tell([claim], now: pool.now)
            }
        }
        for site in 0..<200 {
            var claim = Self.claim(1_000, 1, .alive)
            claim.pool = PoolName(SiteID(rawValue: "site-\(site)"))
            pool.membership.tell([claim], now: pool.now)
        }
        try pool.hear([.poolDigest([], isWhole: true)], from: 1)
        pool.wait(.seconds(30))
        var (count, news, digests) = (0, 0, 0)
        for case .send(let bytes, _) in pool.effects {
            #expect(bytes.count <= limit)
            count += 1
            let messages = try GossipDatagram.decode(bytes.span).messages
            for case .poolEntry in messages { news += 1 }
            for case .poolDigest(let fingerprints, let isWhole) in messages {
                digests += 1
                #expect(fingerprints.count == GossipLimits.digestCount && !isWhole)
            }
        }
        #expect(count > 100 && news > 400 && digests > 0)
    }

    @Test("settings can be changed while the pool runs, and a value out of its range changes nothing")
    func otherSettings() throws {
        var pool = try Bench(of: 5)
        pool.wait(.seconds(5))
        try pool.membership.adopt(.wan, now: pool.now)
        #expect(pool.membership.configuration == .wan)
        let probes = pool.membership.statistics.probes
        pool.wait(.seconds(30))
        // Three subjects in two seconds, as long as nobody answers less.
        #expect(pool.membership.statistics.probes - probes < 60)
        var wrong = MembershipConfiguration.lan
        wrong.gossipFanout = 99
        #expect(throws: MembershipConfigurationError.self) { try pool.membership.adopt(wrong, now: pool.now) }
        #expect(pool.membership.configuration == .wan)
    }

    // MARK: Several sites on virtual time

    private static func settled(_ sites: [Int], seed: UInt64 = 1, gateways: Int = 2) throws -> SimulatedSites {
        var cluster = try SimulatedSites(seed: seed, sites: sites, gateways: gateways, origin: origin)
        let total = sites.reduce(0, +)
        let complete = cluster.run(atMost: .seconds(60)) { cluster in
            cluster.nodes.indices.allSatisfy { index in
                cluster.view(of: index).count { $0.member.status == .alive && $0.isReachable } == total
            }
        }
        let took = try #require(complete, "seed \(seed): the views are not complete")
        #expect(took <= .seconds(30), "seed \(seed)")
        return cluster
    }

    @Test("every node knows all nodes of all sites; a crash is known at the others within 10 s", arguments: [1, 2])
    func crashAtAnotherSite(seed: UInt64) throws {
        var cluster = try Self.settled([20, 20, 20], seed: seed)
        cluster.crash(10)
        let near = try #require(
            cluster.run(atMost: .seconds(10)) { cluster in
                (0..<20).allSatisfy { $0 == 10 || cluster.status(of: 10, by: $0) == .dead }
            }
        )
        #expect(near <= .seconds(4.5), "seed \(seed)")
        let far = cluster.run(atMost: .seconds(10) - near) { cluster in
            (20..<60).allSatisfy { cluster.status(of: 10, by: $0) == .dead }
        }
        #expect(far != nil, "seed \(seed)")
        // Nobody else.
        for index in 20..<60 { #expect(cluster.view(of: index).count { $0.member.status == .dead } == 1) }
    }

    @Test("detection inside a site does not depend on the ways between sites; a site that is cut off is not dead")
    func cutOff() throws {
        var cluster = try Self.settled([15, 15])
        cluster.isCut = { $0 != $1 }
        cluster.run(for: .seconds(30))
        for index in cluster.nodes.indices {
            let view = cluster.view(of: index)
            let own = cluster.nodes[index].site
            #expect(
                view.count { !$0.isReachable } == 15
                    && view.filter { !$0.isReachable }.allSatisfy { $0.pool.rawValue == "site-\(1 - own)" }
            )
            // The members of the other site are out of sight, and nobody says that they are dead.
            #expect(view.count { $0.member.status == .dead } == 0)
        }
        cluster.crash(5)
        let known = cluster.run(atMost: .seconds(5)) { cluster in
            (0..<15).allSatisfy { $0 == 5 || cluster.status(of: 5, by: $0) == .dead }
        }
        #expect(known != nil)
        cluster.isCut = { _, _ in false }
        let together = cluster.run(atMost: .seconds(60)) { cluster in
            cluster.nodes.indices.filter { $0 != 5 }.allSatisfy { index in
                let view = cluster.view(of: index)
                return view.allSatisfy(\.isReachable) && view.count { $0.member.status == .alive } == 29
            }
        }
        #expect(together != nil)
    }

    @Test("what sites tell each other at rest grows with their number, not with that of their members")
    func traffic() throws {
        func between(_ sites: [Int]) throws -> Double {
            var cluster = try Self.settled(sites)
            cluster.run(for: .seconds(30))
            let before = cluster.bytesBetween
            cluster.run(for: .seconds(60))
            return Double(cluster.bytesBetween - before) / 60
        }
        let (small, large) = (try between([10, 10, 10]), try between([60, 60, 60]))
        #expect(large < 1.2 * small, "\(small) and \(large) bytes a second")
        // Six gateways, each an idle member of a small pool.
        #expect(large < 6 * 350, "\(large) bytes a second")
    }

    @Test("a site whose members left says so everywhere, and a site without a gateway is seen all the same")
    func leavingAndMixed() throws {
        var cluster = try Self.settled([8, 8], gateways: 1)
        let home = PoolName(SiteID(rawValue: "site-0"))
        cluster.act(on: 3, home) { $0.leave(now: $1) }
        let known = cluster.run(atMost: .seconds(10)) { cluster in
            (8..<16).allSatisfy { cluster.status(of: 3, by: $0) == .left }
        }
        #expect(known != nil)
        let mixed = try SimulatedSites(seed: 4, sites: [6, 6], gateways: 0, origin: origin)
        #expect(mixed.nodes.allSatisfy { $0.pools.keys.map(\.rawValue) == [""] })
        #expect(mixed.view(of: 0).count == 12)
    }
}
