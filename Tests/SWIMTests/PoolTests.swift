import ClusterModel
@testable import SWIM
import Testing

/// Joining, leaving, facts, anti-entropy and bounds of single members.
struct PoolTests {
    private func requests(_ bench: inout Bench) -> [(id: UInt32, bytes: [UInt8], to: MemberEndpoint)] {
        defer { bench.effects = [] }
        return bench.effects.compactMap { effect in
            if case .exchange(let id, let request, let to) = effect { (id, request, to) } else { nil }
        }
    }

    private func events(_ bench: Bench) -> [MembershipEvent] {
        bench.effects.compactMap { if case .report(let event) = $0 { event } else { nil } }
    }

    // MARK: Joining

    @Test("a node without other seeds is a pool of one at once")
    func alone() throws {
        var bench = try Bench(of: 1)
        bench.membership.join(seeds: [endpoint(0)], now: bench.now)
        #expect(bench.membership.state == .running)
        let drained1 = bench.membership.drainEffects()
        #expect(drained1 == [.report(.joinSucceeded(memberCount: 1))])
    }

    @Test("joining is tried a bounded number of times with growing pauses, and then reported as failed")
    func joinFails() throws {
        var configuration = MembershipConfiguration.lan
        configuration.joinAttemptLimit = 5
        var bench = try Bench(of: 1, configuration: configuration)
        bench.membership.join(seeds: [endpoint(7)], now: bench.now)
        bench.effects = bench.membership.drainEffects()
        var attempts: [Double] = []
        for step in 0..<3_000 {
            let found = requests(&bench)
            for request in found {
                attempts.append(Double(step) / 100)
                bench.membership.exchangeFailed(request.id, now: bench.now)
            }
            bench.wait(.milliseconds(10))
            if events(bench).contains(.joinFailed(attempts: 5)) { break }
        }
        #expect(attempts.count == 5)
        let pauses = zip(attempts.dropFirst(), attempts).map { $0 - $1 }
        #expect(pauses == pauses.sorted())
        #expect(bench.membership.state == .idle)
    }

    @Test("one seed that answers is enough, and the whole view comes with its answer")
    func joins() throws {
        var seed = try Bench(of: 6)
        var bench = try Bench(of: 1)
        bench.membership = try Membership(
            node: NodeID(rawValue: "newcomer"),
            endpoint: endpoint(99),
            incarnation: incarnation(3),
            configuration: .lan,
            seed: 3,
            now: origin
        )
        bench.membership.join(seeds: [endpoint(50), endpoint(0)], now: bench.now)
        bench.effects = bench.membership.drainEffects()
        let asked = requests(&bench)
        #expect(asked.map(\.to) == [endpoint(50), endpoint(0)])
        bench.membership.exchangeFailed(asked[0].id, now: bench.now)
        let question = asked[1].bytes
        let answer = try seed.membership.answerExchange(question.span, now: seed.now)
        try bench.membership.exchangeSucceeded(asked[1].id, answer: answer.span, now: bench.now)
        #expect(bench.membership.state == .running)
        #expect(bench.membership.liveCount == 7)
        #expect(seed.membership.liveCount == 7)
        #expect(bench.membership.members.root == seed.membership.members.root)
    }

    @Test(
        "a restarted node goes above the incarnation that the pool remembers, dead or alive",
        arguments: [true, false]
    )
    func restart(isDead: Bool) throws {
        var seed = try Bench(of: 3)
        try seed.hear([alive(1, 100)], from: 1)
        if isDead { try seed.hear([.dead(key(1), incarnation(100), accuser: key(2))], from: 2) }
        var restarted = try Membership(
            node: name(1),
            endpoint: endpoint(1),
            incarnation: incarnation(1),
            configuration: .lan,
            seed: 3,
            now: origin
        )
        restarted.join(seeds: [endpoint(0)], now: origin)
        for effect in restarted.drainEffects() {
            guard case .exchange(let id, let request, _) = effect else { continue }
            let answer = try seed.membership.answerExchange(request.span, now: seed.now)
            try restarted.exchangeSucceeded(id, answer: answer.span, now: origin)
        }
        #expect(restarted.own.incarnation >= incarnation(isDead ? 101 : 100))
        try seed.hear(
            [.alive(GossipEntry(node: name(1), endpoint: endpoint(1), incarnation: restarted.own.incarnation))],
            from: 1
        )
        #expect(seed.status(1) == .alive)
    }

    @Test("a name that lives elsewhere is not taken over; once its holder is dead it is")
    func addressConflict() throws {
        var bench = try Bench(of: 3)
        let claim = GossipEntry(node: name(1), endpoint: endpoint(9), incarnation: incarnation(5))
        try bench.hear([.alive(claim)], from: 9)
        #expect(bench.membership.member(name(1))?.endpoint == endpoint(1))
        let known = try #require(bench.membership.member(name(1)))
        #expect(events(bench).contains(.nameConflict(known, claimant: endpoint(9))))
        try bench.hear([.dead(key(1), incarnation(1), accuser: key(2)), .alive(claim)], from: 2)
        #expect(bench.membership.member(name(1))?.endpoint == endpoint(9))
        #expect(bench.status(1) == .alive)
    }

    // MARK: Leaving

    @Test("who leaves says so until the news is spread, refutes nothing and ends")
    func leaves() throws {
        var bench = try Bench(of: 5)
        bench.membership.leave(now: bench.now)
        try bench.hear([.dead(key(0), incarnation(1), accuser: key(1))], from: 1)
        bench.wait(.seconds(3))
        #expect(bench.membership.own.incarnation == incarnation(1))
        #expect(bench.membership.state == .left)
        #expect(events(bench).filter { $0 == .leaveFinished }.count == 1)
        let told = try bench.sent().filter { $0.messages.contains(.left(key(0), incarnation(1))) }
        #expect(Set(told.map(\.to)).count >= 3)
    }

    // MARK: Facts

    @Test("facts with a higher version replace older ones, in any order of arrival")
    func facts() throws {
        var bench = try Bench(of: 3)
        try bench.hear([.facts(key(1), NodeFacts(version: 2, bytes: [2]))], from: 1)
        try bench.hear([.facts(key(1), NodeFacts(version: 1, bytes: [1]))], from: 2)
        #expect(bench.membership.member(name(1))?.facts == NodeFacts(version: 2, bytes: [2]))
        let changes2 = bench.changes()
        #expect(changes2 == [.factsChanged])
    }

    @Test("facts that change too fast are held back, and the last ones are told")
    func factsRate() throws {
        var bench = try Bench(of: 3)
        for value in 1...10 {
            let isTaken = bench.membership.publish(facts: [UInt8(value)], now: bench.now)
            #expect(isTaken)
        }
        #expect(bench.membership.own.facts == NodeFacts(version: 1, bytes: [1]))
        bench.wait(.milliseconds(1_050))
        #expect(bench.membership.own.facts == NodeFacts(version: 2, bytes: [10]))
    }

    @Test("facts that are too large are refused")
    func factsLimit() throws {
        var bench = try Bench(of: 3)
        let isTaken = bench.membership.publish(facts: [UInt8](repeating: 1, count: 513), now: bench.now)
        #expect(!isTaken)
        #expect(bench.membership.own.facts == .none)
    }

    @Test("a wave of joins does not silence facts: a quarter of a full datagram is theirs")
    func factsShare() throws {
        var bench = try Bench(of: 10)
        let joins = (0..<60).map {
            GossipMessage.alive(
                GossipEntry(
                    node: NodeID(rawValue: "a-rather-long-name-\($0)"),
                    endpoint: endpoint(100 + $0),
                    incarnation: incarnation(1)
                )
            )
        }
        for start in stride(from: 0, to: 60, by: 20) { try bench.hear(Array(joins[start..<start + 20]), from: 1) }
        bench.membership.publish(facts: [UInt8](repeating: 7, count: 200), now: bench.now)
        bench.effects = []
        bench.wait(.milliseconds(25))
        let first = try #require(try bench.sent().first { $0.messages.count > 5 })
        #expect(first.messages.contains(.facts(key(0), bench.membership.own.facts)))
    }

    // MARK: Anti-entropy

    @Test("equal views cost two small datagrams, different ones bring the differing buckets")
    func digests() throws {
        var bench = try Bench(of: 5)
        var other = try Bench(of: 5)
        try bench.hear([.digest(root: other.membership.members.root, liveCount: 5)], from: 1)
        let sent3 = try bench.sent()
        #expect(sent3.first?.messages == [.viewsAreEqual])
        other.membership.publish(facts: [1], now: other.now)
        try bench.hear([.digest(root: other.membership.members.root, liveCount: 5)], from: 1)
        let sent4 = try bench.sent()
        #expect(sent4.first?.messages.contains(where: \.isBuckets) == true)
    }

    @Test("after an exchange both views are equal, and only what differs was sent")
    func exchange() throws {
        var bench = try Bench(of: 100)
        var other = try Bench(of: 100, seed: 2)
        try bench.hear([.facts(key(7), NodeFacts(version: 3, bytes: [3]))], from: 7)
        try other.hear([alive(8, 4)], from: 8)
        bench.effects = []
        try bench.hear([.buckets(other.membership.members.buckets.map { UInt32(truncatingIfNeeded: $0) })], from: 1)
        let request = try #require(requests(&bench).first)
        #expect(request.bytes.count < 400)
        // The other bench is node 0 as well; a peer's view is what counts here.
        var peer = try Membership(
            node: name(1),
            endpoint: endpoint(1),
            incarnation: incarnation(1),
            configuration: .lan,
            remembered: other.membership.members,
            seed: 4,
            now: origin
        )
        let question = request.bytes
        let answer = try peer.answerExchange(question.span, now: bench.now)
        try bench.membership.exchangeSucceeded(request.id, answer: answer.span, now: bench.now)
        #expect(bench.membership.members.root == peer.members.root)
        #expect(peer.member(name(7))?.facts.version == 3)
        #expect(bench.membership.member(name(8))?.incarnation == incarnation(4))
    }

    @Test("another's word over a stream that a member is dead is a suspicion, not a verdict")
    func certificate() throws {
        var bench = try Bench(of: 10)
        let sender = GossipEntry(node: name(1), endpoint: endpoint(1), incarnation: incarnation(1))
        let dead = GossipEntry(node: name(2), endpoint: endpoint(2), incarnation: incarnation(1))
        let request = MemberExchange(
            part: .request,
            sender: key(1),
            buckets: .all,
            entries: [.init(sender, status: .alive), .init(dead, status: .dead, ageSeconds: 9)]
        )
        let bytes = request.encoded(limit: 1 << 20)
        _ = try bench.membership.answerExchange(bytes.span, now: bench.now)
        #expect(bench.status(2) == .suspect)
    }

    @Test("one exchange is under way at a time")
    func oneExchange() throws {
        var bench = try Bench(of: 10)
        let buckets = [UInt32](repeating: 1, count: 256)
        for sender in 1..<9 { try bench.hear([.buckets(buckets)], from: sender) }
        let asked5 = requests(&bench)
        #expect(asked5.count == 1)
        bench.wait(.seconds(11))
        bench.effects = []
        try bench.hear([.buckets(buckets)], from: 1)
        let asked6 = requests(&bench)
        #expect(asked6.count == 1)
    }

    // MARK: Bounds

    @Test("no datagram is larger than the limit, whatever is waiting")
    func datagramLimit() throws {
        var bench = try Bench(of: 30)
        for index in 100..<400 {
            let entry = GossipEntry(
                node: NodeID(rawValue: String(repeating: "x", count: 50) + "-\(index)"),
                endpoint: endpoint(index),
                incarnation: incarnation(1),
                facts: NodeFacts(version: 1, bytes: [UInt8](repeating: 1, count: index))
            )
            try bench.hear([.alive(entry)], from: 1)
        }
        bench.wait(.seconds(20))
        let sizes = bench.effects.compactMap { if case .send(let bytes, _) = $0 { bytes.count } else { nil } }
        #expect((sizes.max() ?? 0) <= 1_200)
        #expect((sizes.max() ?? 0) > 1_000)
    }

    @Test("a full table takes nobody else in, unless somebody dead can be forgotten")
    func memberLimit() throws {
        var configuration = MembershipConfiguration.lan
        configuration.memberLimit = 5
        var bench = try Bench(of: 5, configuration: configuration)
        let entry = GossipEntry(node: name(9), endpoint: endpoint(9), incarnation: incarnation(1))
        try bench.hear([.alive(entry)], from: 1)
        #expect(bench.status(9) == nil)
        #expect(events(bench).contains(.tableFull(refused: name(9))))
        try bench.hear([.dead(key(2), incarnation(1), accuser: key(1)), .alive(entry)], from: 1)
        #expect(bench.status(9) == .alive)
        #expect(bench.status(2) == nil)
    }

    @Test("a member does not take its own datagrams, nor malformed ones")
    func refused() throws {
        var bench = try Bench(of: 3)
        try bench.hear([.dead(key(1), incarnation(1), accuser: key(2))], from: 0)
        #expect(bench.status(1) == .alive)
        let bytes: [UInt8] = [1, 2, 3]
        #expect(throws: (any Error).self) {
            try bench.membership.receive(bytes.span, from: endpoint(1), now: bench.now)
        }
    }

    @Test("a node's name must be a DNS label")
    func badName() {
        #expect(throws: MembershipConfigurationError.self) {
            try Membership(
                node: NodeID(rawValue: "Not A Label"),
                endpoint: endpoint(0),
                incarnation: incarnation(1),
                configuration: .lan,
                seed: 1,
                now: origin
            )
        }
    }
}
