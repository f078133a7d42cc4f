import ClusterModel
import ClusterSim
import SWIM
import Testing

/// Instants for tests: no clock is read.
let origin = ContinuousClock().systemEpoch

func name(_ index: Int) -> NodeID { SimulatedPool.name(index) }
func key(_ index: Int) -> MemberKey { MemberKey(name(index)) }
func endpoint(_ index: Int) -> MemberEndpoint { SimulatedPool.endpoint(index) }
func incarnation(_ number: UInt32) -> MemberIncarnation { MemberIncarnation(rawValue: number) }

/// One membership without a network: node 0 of a pool of `count`, driven by hand.
struct Bench {
    var membership: Membership
    var now = origin
    /// What it asked for since the last look.
    var effects: [MembershipEffect] = []

    init(of count: Int, configuration: MembershipConfiguration = .lan, seed: UInt64 = 1) throws {
        let table = MemberTable(
            (0..<count).map { Member(node: name($0), endpoint: endpoint($0), incarnation: incarnation(1)) }
        )
        membership = try Membership(
            node: name(0),
            endpoint: endpoint(0),
            incarnation: incarnation(1),
            configuration: configuration,
            remembered: table,
            seed: seed,
            now: origin
        )
    }

    /// Lets time pass in the steps that the membership asks for.
    mutating func wait(_ duration: Duration) {
        let end = now + duration
        while let deadline = membership.deadline, deadline <= end {
            now = max(now, deadline)
            membership.tick(now: now)
            effects += membership.drainEffects()
        }
        now = end
    }

    /// A datagram from node `sender`.
    mutating func hear(_ messages: [GossipMessage], from sender: Int) throws {
        let bytes = GossipDatagram(sender: key(sender), messages: messages).encoded()
        try membership.receive(bytes.span, from: endpoint(sender), now: now)
        effects += membership.drainEffects()
    }

    /// What was sent since the last call, with the receiver.
    mutating func sent() throws -> [(to: MemberEndpoint, messages: [GossipMessage])] {
        defer { effects = [] }
        return try effects.compactMap { effect in
            guard case .send(let bytes, let to) = effect else { return nil }
            return (to, try GossipDatagram.decode(bytes.span).messages)
        }
    }

    mutating func changes() -> [MemberChange] {
        defer { effects = [] }
        return effects.compactMap { effect in
            if case .report(.changed(_, let change)) = effect { change } else { nil }
        }
    }

    func status(_ index: Int) -> MemberStatus? { membership.member(name(index))?.status }
}

/// Node `index` at its usual place.
func alive(_ index: Int, _ number: UInt32) -> GossipMessage {
    .alive(GossipEntry(node: name(index), endpoint: endpoint(index), incarnation: incarnation(number)))
}

extension GossipMessage {
    var probeSequence: UInt32? { if case .probe(let sequence, _) = self { sequence } else { nil } }
    var indirectSequence: UInt32? { if case .indirectProbe(let sequence, _, _) = self { sequence } else { nil } }
    var isNack: Bool { if case .nack = self { true } else { false } }
    var isAlive: Bool { if case .alive = self { true } else { false } }
    var isDigest: Bool { if case .digest = self { true } else { false } }
    var isBuckets: Bool { if case .buckets = self { true } else { false } }
}
