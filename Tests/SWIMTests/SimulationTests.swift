import ClusterModel
import ClusterSim
import SWIM
import Testing

/// Whole pools on virtual time.
///
/// Each failure names its seed.
struct SimulationTests {
    @Test(
        "completeness: every crash is known to all within 4 s, whatever the size",
        arguments: [5, 16, 64, 200],
        [1, 2] as [UInt64]
    )
    func completeness(count: Int, seed: UInt64) throws {
        var pool = try SimulatedPool(seed: seed, settled: count)
        pool.run(for: .seconds(5))
        pool.crash(count / 2)
        let took = pool.run(atMost: .seconds(15)) { $0.allKnowTheEnd(of: count / 2) }
        #expect(try #require(took, "seed \(seed)") <= .seconds(4), "seed \(seed)")
        #expect(pool.falseVerdicts { pool.isUp($0) }.isEmpty, "seed \(seed)")
    }

    @Test("completeness: a tenth of the pool at once is known to all within 8 s", arguments: [1, 2] as [UInt64])
    func manyCrashes(seed: UInt64) throws {
        var pool = try SimulatedPool(seed: seed, settled: 100)
        pool.run(for: .seconds(3))
        for index in 20..<30 { pool.crash(index) }
        let took = pool.run(atMost: .seconds(30)) { pool in (20..<30).allSatisfy { pool.allKnowTheEnd(of: $0) } }
        #expect(try #require(took, "seed \(seed)") <= .seconds(8), "seed \(seed)")
        #expect(pool.falseVerdicts { pool.isUp($0) }.isEmpty, "seed \(seed)")
    }

    @Test("the WAN settings know a crash within 10 s at 80 ms and 1 % loss", arguments: [1, 2, 3, 4] as [UInt64])
    func wide(seed: UInt64) throws {
        var pool = try SimulatedPool(seed: seed, settled: 32, configuration: .wan)
        pool.network.delay = .milliseconds(38)
        pool.network.loss = 0.01
        pool.run(for: .seconds(5))
        pool.crash(3)
        let took = pool.run(atMost: .seconds(30)) { $0.allKnowTheEnd(of: 3) }
        #expect(try #require(took, "seed \(seed)") <= .seconds(10), "seed \(seed)")
    }

    @Test(
        "accuracy: no false verdict while datagrams are lost, doubled and overtake each other",
        arguments: zip([0.05, 0.1, 0.05], [true, true, false])
    )
    func accuracy(loss: Double, hasStreams: Bool) throws {
        var pool = try SimulatedPool(seed: 3, settled: 30)
        pool.network.loss = loss
        pool.network.duplication = 0.05
        pool.network.jitter = .milliseconds(20)
        pool.network.hasStreams = hasStreams
        pool.run(for: .seconds(40))
        #expect(pool.reports(.died).isEmpty, "seed 3")
        #expect(pool.viewsAreRight, "seed 3")
    }

    @Test("accuracy: a node that hears or is heard badly makes no healthy node dead", arguments: [true, false])
    func oneWayLoss(inbound: Bool) throws {
        var pool = try SimulatedPool(seed: 5, settled: 30)
        if inbound { pool.network.lossTo[7] = 0.8 } else { pool.network.lossFrom[7] = 0.8 }
        pool.run(for: .seconds(60))
        #expect(pool.falseVerdicts { $0 != 7 }.isEmpty, "seed 5")
        #expect(pool.reports(.died, of: name(7)).isEmpty, "seed 5")
    }

    @Test("Lifeguard: nodes that are starved of CPU make no node dead that is not", arguments: [1, 2] as [UInt64])
    func starved(seed: UInt64) throws {
        var pool = try SimulatedPool(seed: seed, settled: 32)
        for index in 0..<5 { pool.starve(index, period: .milliseconds(2_000), share: .milliseconds(100)) }
        pool.run(for: .seconds(60))
        #expect(pool.falseVerdicts { $0 >= 5 }.isEmpty, "seed \(seed)")
        let wrong = pool.records.filter { record in
            guard case .changed(let member, .died) = record.event else { return false }
            return (5..<32).contains { name($0) == member.node }
        }
        #expect(wrong.isEmpty, "seed \(seed): \(wrong.count) verdicts about healthy nodes, also by starved ones")
        for index in 0..<5 { pool.feed(index) }
        #expect(pool.run(atMost: .seconds(15)) { $0.viewsAreRight } != nil, "seed \(seed)")
    }

    @Test(
        "stopped processes blame nobody when they run again, and come back themselves",
        arguments: [1, 2] as [UInt64]
    )
    func stopped(seed: UInt64) throws {
        var pool = try SimulatedPool(seed: seed, settled: 64)
        pool.run(for: .seconds(3))
        for index in 10..<14 { pool.stop(index, for: .seconds(12)) }
        pool.run(for: .seconds(14))
        let wrong = pool.records.filter { record in
            guard case .changed(let member, .died) = record.event else { return false }
            return !(10..<14).contains { name($0) == member.node }
        }
        #expect(wrong.isEmpty, "seed \(seed)")
        #expect(!pool.reports(.died, of: name(10)).isEmpty, "seed \(seed): 12 s are more than a suspicion")
        #expect(pool.run(atMost: .seconds(15)) { $0.viewsAreRight } != nil, "seed \(seed)")
    }

    @Test(
        "two halves that were apart have equal views within 15 s, and nobody is wrongly revived",
        arguments: [6, 40],
        [1, 2] as [UInt64]
    )
    func partition(count: Int, seed: UInt64) throws {
        var pool = try SimulatedPool(seed: seed, settled: count)
        pool.run(for: .seconds(2))
        pool.network.isCut = { ($0 < count / 2) != ($1 < count / 2) }
        pool.run(for: .seconds(20))
        pool.crash(1)
        pool.run(for: .seconds(20))
        #expect(pool.nodes[0].membership.liveCount == count / 2 - 1, "seed \(seed)")
        pool.network.isCut = { _, _ in false }
        #expect(pool.run(atMost: .seconds(15)) { $0.viewsAreRight } != nil, "seed \(seed)")
        #expect(pool.reports(.returned, of: name(1)).isEmpty, "seed \(seed)")
    }

    @Test("a pair that cannot hear each other, in one direction only, harms nobody")
    func asymmetric() throws {
        var pool = try SimulatedPool(seed: 8, settled: 30)
        pool.network.isCut = { $0 < 3 && $1 >= 27 }
        pool.run(for: .seconds(60))
        #expect(pool.reports(.died).isEmpty, "seed 8")
    }

    @Test("64 nodes that start at once with one seed see each other within 5 s", arguments: [1, 2, 3] as [UInt64])
    func start(seed: UInt64) throws {
        var pool = SimulatedPool(seed: seed)
        for index in 0..<64 { try pool.add(seeds: index == 0 ? [] : [0]) }
        let took = pool.run(atMost: .seconds(30)) { $0.viewsAreRight }
        #expect(try #require(took, "seed \(seed)") <= .seconds(5), "seed \(seed)")
    }

    @Test("a node that leaves is gone for all in 2 s without a suspicion")
    func leave() throws {
        var pool = try SimulatedPool(seed: 2, settled: 50)
        pool.run(for: .seconds(2))
        pool.act(on: 9) { $0.leave(now: $1) }
        let took = pool.run(atMost: .seconds(10)) { $0.allKnowTheEnd(of: 9) }
        #expect(try #require(took) <= .seconds(2))
        pool.run(for: .seconds(5))
        #expect(pool.reports(.suspected).isEmpty)
        #expect(pool.reports(.died).isEmpty)
        #expect(pool.nodes[9].membership.state == .left)
    }

    @Test(
        "a node that comes back under its name with another address is a member again",
        arguments: [1, 2] as [UInt64]
    )
    func moved(seed: UInt64) throws {
        var pool = try SimulatedPool(seed: seed, settled: 20)
        pool.run(for: .seconds(2))
        pool.crash(4)
        pool.run(for: .milliseconds(500))
        let index = try pool.add(name: name(4), incarnation: 50, seeds: [0])
        let took = pool.run(atMost: .seconds(20)) { pool in
            pool.livingNodes.allSatisfy { pool.nodes[$0].membership.member(name(4))?.endpoint == endpoint(index) }
                && pool.viewsAreRight
        }
        #expect(took != nil, "seed \(seed)")
    }

    @Test(
        "all nodes restart within 10 s with the incarnation that they had: equal views 15 s later",
        arguments: [1, 2] as [UInt64]
    )
    func fullRestart(seed: UInt64) throws {
        var pool = try SimulatedPool(seed: seed, settled: 40)
        pool.run(for: .seconds(3))
        for index in 0..<40 {
            pool.crash(index)
            pool.run(for: .milliseconds(250))
            try pool.restart(index, incarnation: 1, seeds: [0, 1, 2])
        }
        let took = pool.run(atMost: .seconds(15)) { $0.viewsAreRight }
        #expect(took != nil, "seed \(seed)")
    }

    @Test("all nodes restart at other addresses within 10 s: equal views within a minute")
    func fullMove() throws {
        var pool = try SimulatedPool(seed: 6, settled: 20)
        pool.run(for: .seconds(3))
        for index in 0..<20 {
            pool.crash(index)
            pool.run(for: .milliseconds(500))
            try pool.add(name: name(index), incarnation: 1, seeds: index == 0 ? [19, 18] : [20, 21, 22])
        }
        let took = pool.run(atMost: .seconds(60)) { $0.viewsAreRight }
        #expect(took != nil, "seed 6")
    }

    @Test("what gossip missed is repaired within 10 s")
    func repaired() throws {
        var configuration = MembershipConfiguration.lan
        // News that is sent once by each reaches few.
        configuration.retransmitMultiplier = 0
        configuration.retransmitMargin = 1
        configuration.gossipFanout = 1
        var pool = try SimulatedPool(seed: 4, settled: 60, configuration: configuration)
        pool.run(for: .seconds(3))
        pool.act(on: 5) { $0.publish(facts: [9], now: $1) }
        pool.run(for: .milliseconds(500))
        #expect(pool.reports(.factsChanged).count < 59)
        let took = pool.run(atMost: .seconds(20)) { pool in
            pool.livingNodes.allSatisfy { pool.nodes[$0].membership.member(name(5))?.facts.bytes == [9] }
        }
        #expect(try #require(took) <= .seconds(10))
    }

    @Test("an idle member sends at most 350 bytes a second, sealed")
    func quiet() throws {
        var pool = try SimulatedPool(seed: 1, settled: 200)
        pool.run(for: .seconds(4))
        let (packets, bytes) = (pool.packets, pool.packetBytes)
        pool.run(for: .seconds(5))
        let sealed = Double(pool.packetBytes - bytes + 29 * (pool.packets - packets)) / 1_000
        #expect(sealed <= 350, "\(sealed) B/s")
    }

    @Test("tables and queues stay small through churn")
    func memory() throws {
        var configuration = MembershipConfiguration.lan
        configuration.deadRetention = .seconds(60)
        var pool = try SimulatedPool(seed: 7, settled: 10, configuration: configuration)
        pool.keepsRecords = false
        for round in 0..<30 {
            let index = try pool.add(seeds: [0])
            pool.run(for: .seconds(5))
            if round % 2 == 0 { pool.crash(index) } else { pool.act(on: index) { $0.leave(now: $1) } }
        }
        pool.run(for: .seconds(80))
        for index in pool.livingNodes {
            let membership = pool.nodes[index].membership
            #expect(membership.members.count == 10)
            #expect(membership.pendingCount < 200, "\(membership.pendingCount)")
        }
    }

    @Test("the same seed gives the same run, another seed another", arguments: [1, 99] as [UInt64])
    func determinism(seed: UInt64) throws {
        func run(_ seed: UInt64) throws -> [UInt64] {
            var pool = SimulatedPool(seed: seed)
            pool.network.loss = 0.1
            pool.network.jitter = .milliseconds(30)
            pool.network.duplication = 0.1
            for index in 0..<20 { try pool.add(seeds: index == 0 ? [] : [0]) }
            pool.run(for: .seconds(5))
            pool.crash(3)
            pool.run(for: .seconds(10))
            return [pool.trace, pool.packets, pool.packetBytes, UInt64(pool.records.count)]
        }
        #expect(try run(seed) == run(seed), "seed \(seed)")
        #expect(try run(seed) != run(seed + 1), "seed \(seed)")
    }
}
