import ClusterModel
@testable import SWIM
import Testing

/// SWIM, section 4.2, and Lifeguard, sections IV-B and IV-C: which claim counts, and when a suspicion ends.
struct SuspicionTests {
    private static let suspect2: GossipMessage = .suspect(key(2), incarnation(1), accusers: [key(1)])

    // MARK: Which claim counts

    @Test(
        "suspect(i) overrides alive(j) for i >= j, and no higher one",
        arguments: [(1, 1, true), (2, 1, true), (1, 2, false)]
    )
    func suspectOverAlive(claim: UInt32, known: UInt32, counts: Bool) throws {
        var bench = try Bench(of: 5)
        try bench.hear([alive(2, known)], from: 1)
        try bench.hear([.suspect(key(2), incarnation(claim), accusers: [key(1)])], from: 1)
        #expect(bench.status(2) == (counts ? .suspect : .alive))
    }

    @Test("alive(i) overrides suspect(j) for i > j only", arguments: [(1, false), (2, true)])
    func aliveOverSuspect(claim: UInt32, counts: Bool) throws {
        var bench = try Bench(of: 5)
        try bench.hear([Self.suspect2], from: 1)
        try bench.hear([alive(2, claim)], from: 2)
        #expect(bench.status(2) == (counts ? .alive : .suspect))
        let changes1 = bench.changes()
        #expect(changes1 == (counts ? [.suspected, .refuted] : [.suspected]))
    }

    @Test(
        "dead(i) overrides alive and suspect with j <= i, and an old one is ignored",
        arguments: [(0, false), (1, true), (2, true)]
    )
    func dead(claim: UInt32, counts: Bool) throws {
        var bench = try Bench(of: 5)
        try bench.hear([.dead(key(2), incarnation(claim), accuser: key(1))], from: 1)
        #expect(bench.status(2) == (counts ? .dead : .alive))
    }

    @Test("the dead come back with a higher incarnation only", arguments: [(1, false), (2, true)])
    func resurrection(claim: UInt32, counts: Bool) throws {
        var bench = try Bench(of: 5)
        try bench.hear([.dead(key(2), incarnation(1), accuser: key(1))], from: 1)
        let entry = GossipEntry(node: name(2), endpoint: endpoint(2), incarnation: incarnation(claim))
        try bench.hear([.suspect(key(2), incarnation(claim), accusers: [key(1)])], from: 1)
        #expect(bench.status(2) == .dead)
        try bench.hear([.alive(entry)], from: 2)
        #expect(bench.status(2) == (counts ? .alive : .dead))
        let changes2 = bench.changes()
        #expect(changes2 == (counts ? [.died, .returned] : [.died]))
    }

    @Test("who left is gone, and comes back with a higher incarnation only")
    func left() throws {
        var bench = try Bench(of: 5)
        try bench.hear([.left(key(2), incarnation(1))], from: 2)
        #expect(bench.status(2) == .left)
        try bench.hear([alive(2, 1)], from: 2)
        #expect(bench.status(2) == .left)
        try bench.hear([alive(2, 2)], from: 2)
        #expect(bench.status(2) == .alive)
    }

    @Test("a second death in a higher incarnation is not undone by what lies below it")
    func diedTwice() throws {
        var bench = try Bench(of: 5)
        try bench.hear(
            [.dead(key(2), incarnation(1), accuser: key(1)), .dead(key(2), incarnation(5), accuser: key(1))],
            from: 1
        )
        try bench.hear([alive(2, 4)], from: 1)
        #expect(bench.status(2) == .dead)
    }

    // MARK: Refuting

    @Test("a suspected member refutes with a higher incarnation, to the accuser at once and to all by gossip")
    func refutes() throws {
        var bench = try Bench(of: 5)
        try bench.hear([.suspect(key(0), incarnation(1), accusers: [key(1)])], from: 1)
        #expect(bench.membership.own.incarnation == incarnation(2))
        #expect(bench.membership.health.score == 1)
        let answer = try #require(try bench.sent().first)
        #expect(answer.to == endpoint(1))
        #expect(answer.messages.first == alive(0, 2))
        bench.wait(.milliseconds(50))
        let sent3 = try bench.sent()
        #expect(sent3.contains { $0.messages.contains(where: \.isAlive) })
    }

    @Test("a member that hears of its death refutes it, above the claim, and introduces itself again")
    func refutesDeath() throws {
        var bench = try Bench(of: 5)
        try bench.hear([.dead(key(0), incarnation(9), accuser: key(1))], from: 1)
        #expect(bench.membership.own.incarnation == incarnation(10))
        let sent4 = try bench.sent()
        #expect(sent4.first?.messages.contains(where: \.isAlive) == true)
    }

    @Test("an accusation of an earlier incarnation is answered, but raises nothing")
    func oldAccusation() throws {
        var bench = try Bench(of: 5)
        try bench.hear([.suspect(key(0), incarnation(0), accusers: [key(1)])], from: 1)
        #expect(bench.membership.own.incarnation == incarnation(1))
        let sent5 = try bench.sent()
        #expect(sent5.first?.messages == [alive(0, 1)])
    }

    @Test("the buddy system: who is suspect is told so with the ack and with the probe")
    func buddy() throws {
        var bench = try Bench(of: 2)
        try bench.hear([.suspect(key(1), incarnation(1), accusers: [key(3)])], from: 3)
        bench.effects = []
        try bench.hear([.probe(sequence: 1, target: UInt32(truncatingIfNeeded: key(0).rawValue))], from: 1)
        let accusation = GossipMessage.suspect(key(1), incarnation(1), accusers: [key(3)])
        let sent6 = try bench.sent()
        #expect(sent6.first?.messages.prefix(2) == [.ack(sequence: 1), accusation])
        bench.wait(.seconds(1))
        let probe = try #require(try bench.sent().first { $0.messages.contains { $0.probeSequence != nil } })
        #expect(probe.messages.contains(accusation))
    }

    // MARK: When it ends

    /// Accuses node 2 and makes others confirm; gives the time from the suspicion to the verdict.
    private func length(confirmations: Int) throws -> Double {
        var bench = try Bench(of: 20)
        bench.membership.accuse(key(2))
        let start = bench.now
        let others = (0..<confirmations).map { key(10 + $0) }
        if !others.isEmpty {
            try bench.hear([.suspect(key(2), incarnation(1), accusers: others)], from: 10)
        }
        while bench.status(2) != .dead, bench.now - start < .seconds(60) {
            bench.wait(.milliseconds(10))
            // All others are well, so local health stays as it is.
            for (to, messages) in try bench.sent() where to != endpoint(2) {
                guard let sequence = messages.compactMap(\.probeSequence).first else { continue }
                try bench.hear([.ack(sequence: sequence)], from: Int((to.ipv4 ?? 0) & 0xFFFF))
            }
        }
        return (bench.now - start) / .seconds(1)
    }

    @Test(
        "LHA-Suspicion: the more say it independently, the sooner it ends",
        arguments: [(0, 9.0), (1, 4.27), (2, 1.5), (5, 1.5)]
    )
    func shrinks(confirmations: Int, expected: Double) throws {
        #expect(abs(try length(confirmations: confirmations) - expected) < 0.03)
    }

    @Test("the same accuser twice is one accuser, and only a new one is told on")
    func independent() throws {
        var bench = try Bench(of: 200)
        try bench.hear([Self.suspect2], from: 1)
        bench.wait(.seconds(2))
        bench.effects = []
        try bench.hear([Self.suspect2], from: 3)
        bench.wait(.milliseconds(30))
        let sent7 = try bench.sent()
        #expect(!(sent7.contains { $0.messages.contains(Self.suspect2) && $0.to != endpoint(2) }))
        let confirmed = GossipMessage.suspect(key(2), incarnation(1), accusers: [key(1), key(4)])
        try bench.hear([.suspect(key(2), incarnation(1), accusers: [key(4)])], from: 4)
        bench.wait(.milliseconds(30))
        let sent8 = try bench.sent()
        #expect(sent8.contains { $0.messages.contains(confirmed) })
    }

    @Test("an accuser tells the suspect at once and again, and the other observers at once")
    func told() throws {
        var bench = try Bench(of: 50)
        bench.membership.accuse(key(2))
        bench.effects += bench.membership.drainEffects()
        let first = try bench.sent()
        #expect(first.contains { $0.to == endpoint(2) })
        let observers = bench.membership.members.observers(of: key(2), count: 3).filter { $0.key != key(0) }
        for observer in observers { #expect(first.contains { $0.to == observer.endpoint }) }
        bench.wait(.milliseconds(1_400))
        let reminders = try bench.sent().filter { sent in
            sent.to == endpoint(2)
                && sent.messages.contains { if case .suspect(key(2), _, _) = $0 { true } else { false } }
        }
        #expect(reminders.count >= 7)
    }

    @Test("without observers the shortest suspicion grows with log10 n: α = 4 and 1,000 members give 12 periods")
    func grows() throws {
        var configuration = MembershipConfiguration.lan
        configuration.observerCount = 0
        configuration.suspicionMultiplier = 4
        #expect(try Bench(of: 1_000, configuration: configuration).membership.suspicionMinimum == 12_000_000_000)
        #expect(try Bench(of: 5, configuration: configuration).membership.suspicionMinimum == 4_000_000_000)
        #expect(try Bench(of: 1_000).membership.suspicionMinimum == 1_500_000_000)
    }

    // MARK: Forgetting

    @Test("the dead are forgotten after the retention, unless they came back")
    func forgotten() throws {
        var configuration = MembershipConfiguration.lan
        configuration.deadRetention = .seconds(60)
        var bench = try Bench(of: 3, configuration: configuration)
        try bench.hear(
            [.dead(key(1), incarnation(1), accuser: key(2)), .dead(key(2), incarnation(1), accuser: key(1))],
            from: 1
        )
        bench.wait(.seconds(30))
        try bench.hear([alive(2, 2)], from: 2)
        bench.wait(.seconds(29))
        #expect(bench.status(1) == .dead)
        bench.wait(.seconds(2))
        #expect(bench.status(1) == nil)
        #expect(bench.status(2) != nil)
    }
}
