import ClusterModel
import SWIM
import Testing

/// SWIM, section 3.1, and Lifeguard, section IV-A: probes, indirect probes, nacks.
struct ProbingTests {
    /// Runs until the first probe of any member; gives its target and sequence.
    private func firstProbe(_ bench: inout Bench) throws -> (target: Int, sequence: UInt32) {
        for _ in 0..<200 {
            bench.wait(.milliseconds(10))
            for (to, messages) in try bench.sent() {
                if let sequence = messages.compactMap(\.probeSequence).first {
                    return (Int((to.ipv4 ?? 0) & 0xFFFF), sequence)
                }
            }
        }
        Issue.record("no probe in two seconds")
        return (0, 0)
    }

    @Test("a probe is answered with an ack that carries its sequence")
    func ack() throws {
        var bench = try Bench(of: 3)
        try bench.hear([.probe(sequence: 77, target: UInt32(truncatingIfNeeded: key(0).rawValue))], from: 1)
        let sent = try bench.sent()
        #expect(sent.map(\.to) == [endpoint(1)])
        #expect(sent.first?.messages == [.ack(sequence: 77)])
    }

    @Test("a probe meant for another node that had this address is not answered")
    func wrongTarget() throws {
        var bench = try Bench(of: 3)
        try bench.hear([.probe(sequence: 77, target: 1)], from: 1)
        let sent1 = try bench.sent()
        #expect(sent1.isEmpty)
    }

    @Test("without an ack in time k others and a stream are asked to try, and the member is probed once more")
    func indirect() throws {
        var bench = try Bench(of: 10)
        let (target, sequence) = try firstProbe(&bench)
        bench.wait(.milliseconds(410))
        let streams = bench.effects.filter {
            $0 == .probeStream(sequence, node: name(target), endpoint: endpoint(target))
        }
        #expect(streams.count == 1)
        let sent = try bench.sent()
        let helpers = sent.filter { $0.messages.contains { $0.indirectSequence == sequence } }
        #expect(helpers.count == 3)
        #expect(Set(helpers.map(\.to)).count == 3)
        #expect(!helpers.map(\.to).contains(endpoint(target)))
        #expect(sent.contains { $0.to == endpoint(target) && $0.messages.contains { $0.probeSequence == sequence } })
    }

    @Test("an ack through a helper, or over the stream, is as good as a direct one", arguments: [true, false])
    func indirectAck(overStream: Bool) throws {
        var bench = try Bench(of: 10)
        let (target, sequence) = try firstProbe(&bench)
        bench.wait(.milliseconds(410))
        let helper = try bench.sent().first { $0.messages.contains { $0.indirectSequence == sequence } }
        if overStream {
            bench.membership.streamProbeSucceeded(sequence, now: bench.now)
        } else {
            try bench.hear([.ack(sequence: sequence)], from: Int((try #require(helper?.to.ipv4)) & 0xFFFF))
        }
        bench.wait(.milliseconds(550))
        #expect(bench.status(target) == .alive)
    }

    @Test("an ack of somebody who was not asked counts for nothing")
    func foreignAck() throws {
        var bench = try Bench(of: 10)
        let (target, sequence) = try firstProbe(&bench)
        let other = target == 9 ? 8 : 9
        try bench.hear([.ack(sequence: sequence)], from: other)
        bench.wait(.milliseconds(910))
        #expect(bench.status(target) == .suspect)
    }

    @Test("without any ack the member is suspected, and not declared dead")
    func suspected() throws {
        var bench = try Bench(of: 10)
        let (target, _) = try firstProbe(&bench)
        bench.wait(.milliseconds(910))
        #expect(bench.status(target) == .suspect)
        #expect(bench.membership.statistics.probesFailed == 1)
    }

    @Test("a helper passes the ack on with the asker's sequence")
    func relay() throws {
        var bench = try Bench(of: 5)
        try bench.hear([.indirectProbe(sequence: 5, target: key(2), endpoint: endpoint(2))], from: 1)
        let probe = try #require(try bench.sent().first { $0.to == endpoint(2) })
        try bench.hear([.ack(sequence: try #require(probe.messages.first?.probeSequence))], from: 2)
        let sent2 = try bench.sent()
        #expect(sent2.contains { $0.to == endpoint(1) && $0.messages.contains(.ack(sequence: 5)) })
    }

    @Test("a helper without an answer sends a nack at 80 % of the asker's time, and a late ack still after it")
    func nack() throws {
        var bench = try Bench(of: 5)
        try bench.hear([.indirectProbe(sequence: 5, target: key(2), endpoint: endpoint(2))], from: 1)
        let probe = try #require(try bench.sent().first { $0.to == endpoint(2) }?.messages.first?.probeSequence)
        bench.wait(.milliseconds(395))
        let sent3 = try bench.sent()
        #expect(!(sent3.contains { $0.messages.contains(where: \.isNack) }))
        bench.wait(.milliseconds(10))
        let sent4 = try bench.sent()
        #expect(sent4.contains { $0.to == endpoint(1) && $0.messages.contains(.nack(sequence: 5)) })
        try bench.hear([.ack(sequence: probe)], from: 2)
        let sent5 = try bench.sent()
        #expect(sent5.contains { $0.to == endpoint(1) && $0.messages.contains(.ack(sequence: 5)) })
    }

    @Test("LHA-Probe: nobody answers and nobody nacks, so the fault is here: periods and timeouts grow")
    func localHealth() throws {
        var bench = try Bench(of: 10)
        bench.wait(.seconds(10))
        #expect(bench.membership.health.score == 8)
        let before = bench.membership.statistics.probes
        bench.wait(.seconds(9))
        // Three observed members a second, at a ninth of the pace; suspects and the others come to a few more.
        #expect(bench.membership.statistics.probes - before <= 9)
    }

    @Test("SWIM 3.1: without observers one member is probed per protocol period, all within n periods")
    func plainSWIM() throws {
        var configuration = MembershipConfiguration.lan
        configuration.observerCount = 0
        var bench = try Bench(of: 8, configuration: configuration)
        var targets: [MemberEndpoint] = []
        for _ in 0..<700 {
            bench.wait(.milliseconds(10))
            for (to, messages) in try bench.sent() {
                guard let sequence = messages.compactMap(\.probeSequence).first else { continue }
                targets.append(to)
                try bench.hear([.ack(sequence: sequence)], from: Int((to.ipv4 ?? 0) & 0xFFFF))
            }
        }
        #expect(targets.count == 7)
        #expect(Set(targets).count == 7)
    }

    @Test("a process that stood still blames nobody for the answers it missed")
    func standstill() throws {
        var bench = try Bench(of: 10)
        let (target, _) = try firstProbe(&bench)
        bench.now += .seconds(12)
        bench.membership.tick(now: bench.now)
        #expect(bench.status(target) == .alive)
        #expect(bench.membership.statistics.standstills == 1)
        #expect(bench.membership.health.score == 1)
    }

    @Test("probes on behalf of others are bounded")
    func relayLimit() throws {
        var configuration = MembershipConfiguration.lan
        configuration.relayLimit = 16
        var bench = try Bench(of: 5, configuration: configuration)
        for sequence in 0..<100 {
            try bench.hear([.indirectProbe(sequence: UInt32(sequence), target: key(2), endpoint: endpoint(2))], from: 1)
        }
        let sent6 = try bench.sent()
        #expect(sent6.filter { $0.to == endpoint(2) }.count == 16)
    }
}
