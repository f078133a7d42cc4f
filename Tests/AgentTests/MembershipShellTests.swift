import ClusterModel
import Logging
import NIO
import SWIM
import Testing
import Transport

@testable import Agent

/// Shells find each other, notice who goes, and keep strangers out; time is virtual, all else is real.
@Suite(.timeLimit(.minutes(5)))
struct MembershipShellTests {
    @Test func sixteenFindEachOtherAndNoticeACrash() async throws {
        let pool = try await MembershipPool(of: 16)
        let duration = try await pool.joined()
        #expect(duration <= .seconds(5))
        await pool.run(atMost: .seconds(10))
        #expect(await pool.seeEachOther(0..<16))
        // Gone without a word: no datagram, no stream.
        await pool.shells[5].close()
        pool.network.answer(at: MembershipPool.endpoint(5), by: nil)
        let others = (0..<16).filter { $0 != 5 }
        let known = await pool.run(atMost: .seconds(10)) { await $0.statuses(of: 5, by: others) == [.dead] }
        #expect(try #require(known) <= .seconds(5))
        #expect(await pool.seeEachOther(others))
        #expect(await pool.refused() == [:])
        #expect(
            pool.logs[0].all.filter { $0.hasSuffix("knot-5") } == [
                "info member.joined knot-5", "notice member.suspected knot-5", "warning member.died knot-5",
            ]
        )
        await pool.close()
    }

    @Test func leavingIsKnownAndNotTakenForACrash() async throws {
        let pool = try await MembershipPool(of: 6)
        _ = try await pool.joined()
        let leaving = Task(name: "leave") { await pool.shells[2].leave() }
        let others = [0, 1, 3, 4, 5]
        let known = await pool.run(atMost: .seconds(5)) { await $0.statuses(of: 2, by: others) == [.left] }
        #expect(known != nil)
        await pool.run(atMost: .seconds(5))
        await leaving.value
        await pool.shells[2].close()
        pool.network.answer(at: MembershipPool.endpoint(2), by: nil)
        await pool.run(atMost: .seconds(10))
        for index in others {
            #expect(!pool.logs[index].all.contains { $0.contains("member.died") || $0.contains("member.suspected") })
        }
        await #expect(throws: MembershipShellError.ended) { try await pool.shells[2].join(seeds: []) }
        await pool.close()
    }

    @Test func leavingEndsAlsoWhenNobodyHears() async throws {
        let pool = try await MembershipPool(of: 3)
        _ = try await pool.joined()
        pool.network.conduct { $0.isCut = { _, _ in true } }
        let leaving = Task(name: "leave") { await pool.shells[1].leave() }
        await pool.run(atMost: .seconds(5)) { await $0.shells[1].state == .left }
        await leaving.value
        #expect(await pool.shells[1].state == .left)
        await pool.close()
    }

    @Test func datagramsOfOthersAreDroppedAndCounted() async throws {
        let pool = try await MembershipPool(of: 3)
        _ = try await pool.joined()
        let before = await pool.shells[0].members
        let stranger = NodeID(rawValue: "stranger")
        let datagram = GossipDatagram(
            sender: MemberKey(stranger),
            messages: [
                .alive(GossipEntry(node: stranger, endpoint: .init(ipv4: 1, port: 1), incarnation: .init(rawValue: 1)))
            ]
        )
        var counter: UInt64 = 0
        func send(cluster: String = "flock", keyring: GossipKeyring = MembershipPool.key, _ bytes: [UInt8]) throws {
            counter += 1
            let seal = try GossipSeal(
                cluster: ClusterID(rawValue: cluster),
                sender: datagram.sender.rawValue,
                keyring: keyring,
                life: .init(salt: 1, firstCounter: counter)
            )
            let sealed = try seal.seal(bytes)
            pool.network.carry(sealed, from: .init(ipv4: 1, port: 1), to: MembershipPool.endpoint(0))
        }
        let other = GossipKeyring(key: Array(repeating: 7, count: 32))
        try send(cluster: "herd", datagram.encoded())
        try send(keyring: other, datagram.encoded())
        try send(keyring: GossipKeyring(key: Array(repeating: 7, count: 32), number: 2), datagram.encoded())
        try send(GossipDatagram(sender: datagram.sender, messages: []).encoded() + [0])
        pool.network.carry([1, 2, 3], from: .init(ipv4: 1, port: 1), to: MembershipPool.endpoint(0))
        await pool.run(atMost: .milliseconds(200))
        #expect(await pool.refused() == ["forged": 2, "unknownKey": 1, "malformed": 1, "tooShort": 1])
        #expect(await pool.shells[0].members.map(\.node) == before.map(\.node))
        // One line for all of them, and a metric for each reason.
        #expect(pool.logs[0].all.filter { $0.contains("gossip.refused") }.count == 1)
        #expect(pool.registries[0].render().contains("godwit_gossip_refused_total{reason=\"forged\"} 2"))
        // The very same from a member of the cluster is taken.
        try send(datagram.encoded())
        await pool.run(atMost: .milliseconds(200))
        #expect(await pool.shells[0].member(stranger)?.status == .alive)
        await pool.close()
    }

    @Test func aKeyIsRotatedUnderTrafficWithoutLosingADatagram() async throws {
        let pool = try await MembershipPool(of: 8)
        _ = try await pool.joined()
        var keyring = MembershipPool.key
        let new = try keyring.addRandomKey()
        let added = keyring
        try keyring.use(new)
        let used = keyring
        try keyring.remove(1)
        for next in [added, used, keyring] {
            for (index, shell) in pool.shells.enumerated() {
                try await shell.setKeyring(next)
                // News are under way all the time.
                var facts = NodeFactsSummary()
                facts.version = "\(next.keyNumbers) \(index)"
                await shell.setFacts(facts)
                await pool.run(atMost: .milliseconds(500))
            }
        }
        await pool.run(atMost: .seconds(5))
        #expect(await pool.refused() == [:])
        #expect(await pool.seeEachOther(0..<8))
        for log in pool.logs { #expect(!log.all.contains { $0.contains("member.suspected") }) }
        for shell in pool.shells { #expect(await shell.keyring.keyNumbers == [2]) }
        await pool.close()
    }

    @Test func whatTheNetworkDoublesCountsOnce() async throws {
        let pool = try await MembershipPool(of: 4)
        pool.network.conduct { $0.doubles = true }
        _ = try await pool.joined()
        await pool.run(atMost: .seconds(10))
        #expect(await pool.seeEachOther(0..<4))
        let refused = await pool.refused()
        #expect(Set(refused.keys) == ["replayed"])
        #expect(refused["replayed", default: 0] > 20)
        await pool.close()
    }

    @Test func halvesThatWereApartFindEachOtherAgain() async throws {
        let pool = try await MembershipPool(of: 6)
        _ = try await pool.joined()
        let low = Set((0..<3).map { MembershipPool.endpoint($0) })
        pool.network.conduct { $0.isCut = { low.contains($0) != low.contains($1) } }
        for index in 0..<6 { pool.network.answer(at: MembershipPool.endpoint(index), by: nil) }
        let apart = await pool.run(atMost: .seconds(30)) {
            let (high, low) = (await $0.statuses(of: 5, by: 0..<3), await $0.statuses(of: 0, by: 3..<6))
            return high == [.dead] && low == [.dead]
        }
        #expect(apart != nil)
        pool.network.conduct { $0.isCut = { _, _ in false } }
        for (index, shell) in pool.shells.enumerated() {
            pool.network.answer(at: MembershipPool.endpoint(index), by: shell)
        }
        let together = await pool.run(atMost: .seconds(60)) { await $0.seeEachOther(0..<6) }
        #expect(together != nil)
        await pool.close()
    }

    @Test func datagramsThatAreBlockedDoNotKillWhoAnswersOnStreams() async throws {
        let pool = try await MembershipPool(of: 5)
        _ = try await pool.joined()
        let deaf = MembershipPool.endpoint(3)
        pool.network.conduct { $0.isCut = { $0 == deaf || $1 == deaf } }
        await pool.run(atMost: .seconds(30))
        #expect(await pool.statuses(of: 3, by: [0, 1, 2, 4]).isSubset(of: [.alive, .suspect]))
        #expect(!pool.logs[0].all.contains { $0.contains("member.died knot-3") })
        await pool.close()
    }

    @Test func joiningWhereNobodyAnswersSaysWhatToDo() async throws {
        let pool = try await MembershipPool(of: 1) { $0.configuration.joinAttemptLimit = 3 }
        let nobody = MembershipPool.endpoint(9)
        let joining = Task(name: "join") { try await pool.shells[0].join(seeds: [nobody]) }
        await pool.run(atMost: .seconds(10)) { $0.logs[0].all.contains("warning gossip.join.failed") }
        let error = await #expect(throws: MembershipShellError.self) { try await joining.value }
        #expect(error == .joinFailed(seeds: [nobody], attempts: 3))
        #expect(error?.description.contains("10.0.0.10:7420") == true)
        // It may be tried again, and alone it is a pool of one.
        #expect(try await pool.shells[0].join(seeds: []) == 1)
        await pool.close()
    }

    @Test func joiningCanBeCancelled() async throws {
        let pool = try await MembershipPool(of: 1)
        let joining = Task(name: "join") { try await pool.shells[0].join(seeds: [MembershipPool.endpoint(9)]) }
        await pool.run(atMost: .milliseconds(100))
        joining.cancel()
        await #expect(throws: CancellationError.self) { try await joining.value }
        await pool.close()
    }

    @Test func factsReachEverybodyAndSmallMovesWait() async throws {
        let pool = try await MembershipPool(of: 5)
        _ = try await pool.joined()
        var facts = NodeFactsSummary()
        facts.address = "knot-1:7420"
        facts.load.capacity = 8
        facts.load.used = 2
        func told() async -> [Double?] {
            var found: [Double?] = []
            for shell in pool.shells where shell !== pool.shells[1] {
                let bytes = await shell.member(MembershipPool.name(1))?.facts.bytes ?? []
                found.append((try? NodeFactsSummary.decode(bytes.span))?.load.used.rawValue)
            }
            return found
        }
        func knowing(_ used: Double) async -> Bool { await told().allSatisfy { $0 == used } }
        await pool.shells[1].setFacts(facts)
        #expect(await pool.run(atMost: .seconds(3)) { _ in await knowing(2) } != nil)
        facts.load.used = 2.1
        await pool.shells[1].setFacts(facts)
        await pool.run(atMost: .seconds(2))
        #expect(await knowing(2))
        facts.load.used = 6
        // The agent shows them every half second; what lasts is told.
        for _ in 0..<50 {
            await pool.shells[1].setFacts(facts)
            await pool.run(atMost: .milliseconds(500))
        }
        #expect(await knowing(6))
        await pool.close()
    }

    @Test func eventsAreBoundedAndEnd() async throws {
        let pool = try await MembershipPool(of: 6)
        let (all, few) = (pool.shells[0].subscribe(), pool.shells[0].subscribe(limit: 2))
        _ = try await pool.joined()
        await pool.close()
        var joined: Set<NodeID> = []
        for await case .changed(let member, .joined) in all { joined.insert(member.node) }
        #expect(joined == Set((1..<6).map { MembershipPool.name($0) }))
        var count = 0
        for await _ in few { count += 1 }
        #expect(count == 2)
        for await _ in pool.shells[0].subscribe() { Issue.record("an event after the end") }
    }

    @Test func metricsSayWhatThePoolLooksLike() async throws {
        let pool = try await MembershipPool(of: 4)
        _ = try await pool.joined()
        await pool.run(atMost: .seconds(3))
        let text = pool.registries[2].render()
        #expect(text.contains("godwit_members{status=\"alive\"} 4.0"))
        #expect(text.contains("godwit_members{status=\"dead\"} 0.0"))
        func value(_ name: String) -> Double {
            text.split(separator: "\n").first { $0.hasPrefix("\(name) ") }
                .flatMap { Double($0.dropFirst(name.count + 1)) } ?? 0
        }
        #expect(value("godwit_gossip_packets_sent_total") > 10)
        #expect(value("godwit_gossip_bytes_sent_total") > 39 * value("godwit_gossip_packets_sent_total"))
        #expect(value("godwit_gossip_packets_received_total") > 10)
        #expect(value("godwit_membership_exchanges_total") > 0)
        await pool.close()
    }

    @Test func anExchangeThatNoShellWroteIsRefused() async throws {
        let pool = try await MembershipPool(of: 1)
        await #expect(throws: (any Error).self) { try await pool.shells[0].answerExchange([1, 2, 3]) }
        #expect(await pool.shells[0].members.count == 1)
        await pool.shells[0].close()
        await #expect(throws: MembershipShellError.ended) { try await pool.shells[0].answerExchange([]) }
        await pool.close()
    }
}
