/// How one pool of members finds out who lives, and how it tells.
///
/// The same in all members of a pool. `validate` names every value's range.
package struct MembershipConfiguration: Sendable, Equatable {
    // MARK: Probing

    /// How often a member probes each one that it observes, or, without observers, one member of all; 100 ms to 60 s.
    package var protocolPeriod: Duration
    /// How long an answer to a direct probe may take before others are asked to try; at most half the protocol period.
    package var probeTimeout: Duration
    /// How long the others' and the stream's answers may take after that; 50 ms to 60 s.
    package var indirectProbeTimeout: Duration
    /// Members that are asked to try: the paper's k; 0 to 8.
    package var indirectProbeCount = 3
    /// Members that watch each member; 0 to 8.
    ///
    /// With 0 it is SWIM as published: everybody probes everybody in random order, and suspicions last longer in larger
    /// pools.
    package var observerCount = 3
    /// How often one of all members is probed beside the observed ones, so that nobody depends on his observers alone;
    /// 100 ms to 10 min.
    package var roundRobinPeriod: Duration
    /// Lifeguard's S; 0 (local health plays no part) to 16.
    package var localHealthLimit = 8

    // MARK: Suspicion

    /// The shortest suspicion in protocol periods: Lifeguard's α; 0.5 to 20.
    package var suspicionMultiplier: Double
    /// The longest one, as a multiple of the shortest: Lifeguard's β; 1 to 20.
    package var suspicionMaximumMultiplier = 6.0
    /// Others that must say the same before a suspicion is as short as it may be: Lifeguard's K; 0 to 7.
    package var suspicionConfirmationCount = 2

    // MARK: Dissemination

    /// How often a member that has news sends it on; 10 ms to 10 s.
    package var gossipPeriod: Duration
    /// How long news waits for company before it is sent for the first time; at most the gossip period.
    package var gossipDelay: Duration
    /// Members that get it each time; 1 to 8.
    package var gossipFanout = 3
    /// λ of the number of times that each member sends a piece of news, see `Scaling.transmitLimit`; 0 to 10.
    package var retransmitMultiplier = 1.0
    /// What is added to λ ln(n + 1); 0 to 10.
    package var retransmitMargin = 4.5
    /// News of one kind that wait to be sent; 64 to 1,000,000.
    ///
    /// What does not fit is left to anti-entropy.
    package var pendingUpdateLimit = 4_096

    // MARK: Anti-entropy

    /// How often the view is compared with that of a random member; 1 s to 10 min.
    package var antiEntropyPeriod: Duration
    /// The same while joining and after a difference was found; at most the former.
    package var settlingPeriod: Duration
    /// How often one of the dead is told that it is held for dead, in case it lives beyond a healed partition; 1 s to
    /// 10 min.
    package var reconnectPeriod: Duration
    /// How long an exchange of entries over a stream may take; 100 ms to 60 s.
    package var exchangeTimeout: Duration = .seconds(10)
    /// The largest request or answer of such an exchange in bytes; 4,096 to 64 Mi.
    package var exchangeByteLimit = 8 << 20

    // MARK: Life of a member

    /// Attempts to join before it is reported as failed; 1 to 1,000.
    package var joinAttemptLimit = 20
    /// The pause after the first failed attempt, doubled after each; 50 ms to 60 s.
    package var joinBackoff: Duration = .milliseconds(250)
    /// The longest pause between two attempts; at least the first, at most 10 min.
    package var joinBackoffLimit: Duration = .seconds(5)
    /// How long a leaving member waits for its word to be spread; 100 ms to 60 s.
    package var leaveTimeout: Duration
    /// How long the dead are remembered; 1 min to 30 days.
    package var deadRetention: Duration = .seconds(24 * 3_600)

    // MARK: Bounds

    /// The largest datagram, before it is sealed; 768 to 8,192 bytes.
    ///
    /// 1,200 leaves room within 1,280 bytes, the least that an IPv6 path must carry, for IPv4 and UDP (28) and a seal
    /// of up to 52; over IPv6 for a seal of up to 32.
    package var datagramByteLimit = 1_200
    /// The largest facts of a node; 0 to 512 bytes.
    package var factsByteLimit = 512
    /// How often a node may change its facts, at most, in a pool of up to 100; in a larger one that much rarer; 10 ms
    /// to 10 min.
    package var factsPeriod: Duration = .seconds(1)
    /// Members of every status; 2 to 100,000.
    ///
    /// When more come, those that left or are dead are forgotten first.
    package var memberLimit = 20_000
    /// Probes under way on behalf of others; 16 to 65,536.
    ///
    /// Beyond it a request is not answered.
    package var relayLimit = 1_024

    /// For members with a round trip of a few milliseconds: a crash is known to all in about 3 to 4 s.
    package static let lan = MembershipConfiguration(
        protocolPeriod: .seconds(1),
        probeTimeout: .milliseconds(400),
        indirectProbeTimeout: .milliseconds(500),
        roundRobinPeriod: .seconds(4),
        suspicionMultiplier: 1.5,
        gossipPeriod: .milliseconds(100),
        gossipDelay: .milliseconds(20),
        antiEntropyPeriod: .seconds(5),
        settlingPeriod: .seconds(1),
        reconnectPeriod: .seconds(5),
        leaveTimeout: .seconds(2)
    )

    /// For members with a round trip of up to 300 ms and some loss: a crash is known to all in about 6 to 9 s.
    package static let wan = MembershipConfiguration(
        protocolPeriod: .seconds(2),
        probeTimeout: .milliseconds(800),
        indirectProbeTimeout: .milliseconds(1_000),
        roundRobinPeriod: .seconds(6),
        suspicionMultiplier: 1.5,
        gossipPeriod: .milliseconds(300),
        gossipDelay: .milliseconds(50),
        antiEntropyPeriod: .seconds(5),
        settlingPeriod: .seconds(2),
        reconnectPeriod: .seconds(8),
        leaveTimeout: .seconds(5)
    )
}

/// A value outside its range; the text names both.
package struct MembershipConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The property's name.
    package let field: String
    /// What it was and what it may be.
    package let description: String
}

extension MembershipConfiguration {
    /// Checks every value against its range.
    package func validate() throws(MembershipConfigurationError) {
        func check<Value: Comparable>(
            _ field: String,
            _ value: Value,
            _ range: ClosedRange<Value>
        ) throws(MembershipConfigurationError) {
            guard !range.contains(value) else { return }
            throw MembershipConfigurationError(
                field: field,
                description: "\(field) is \(value); it must be from \(range.lowerBound) to \(range.upperBound)"
            )
        }
        let minute = Duration.seconds(60)
        try check("protocolPeriod", protocolPeriod, .milliseconds(100)...minute)
        try check("probeTimeout", probeTimeout, .milliseconds(10)...(protocolPeriod / 2))
        try check("indirectProbeTimeout", indirectProbeTimeout, .milliseconds(50)...minute)
        try check("indirectProbeCount", indirectProbeCount, 0...8)
        try check("observerCount", observerCount, 0...8)
        try check("roundRobinPeriod", roundRobinPeriod, .milliseconds(100)...(minute * 10))
        try check("localHealthLimit", localHealthLimit, 0...16)
        try check("suspicionMultiplier", suspicionMultiplier, 0.5...20)
        try check("suspicionMaximumMultiplier", suspicionMaximumMultiplier, 1...20)
        try check("suspicionConfirmationCount", suspicionConfirmationCount, 0...7)
        try check("gossipPeriod", gossipPeriod, .milliseconds(10)...(.seconds(10)))
        try check("gossipDelay", gossipDelay, .zero...gossipPeriod)
        try check("gossipFanout", gossipFanout, 1...8)
        try check("retransmitMultiplier", retransmitMultiplier, 0...10)
        try check("retransmitMargin", retransmitMargin, 0...10)
        try check("pendingUpdateLimit", pendingUpdateLimit, 64...1_000_000)
        try check("antiEntropyPeriod", antiEntropyPeriod, .seconds(1)...(minute * 10))
        try check("settlingPeriod", settlingPeriod, .milliseconds(100)...antiEntropyPeriod)
        try check("reconnectPeriod", reconnectPeriod, .seconds(1)...(minute * 10))
        try check("exchangeTimeout", exchangeTimeout, .milliseconds(100)...minute)
        try check("exchangeByteLimit", exchangeByteLimit, 4_096...(64 << 20))
        try check("joinAttemptLimit", joinAttemptLimit, 1...1_000)
        try check("joinBackoff", joinBackoff, .milliseconds(50)...minute)
        try check("joinBackoffLimit", joinBackoffLimit, joinBackoff...max(joinBackoff, minute * 10))
        try check("leaveTimeout", leaveTimeout, .milliseconds(100)...minute)
        try check("deadRetention", deadRetention, minute...(.seconds(30 * 86_400)))
        try check("datagramByteLimit", datagramByteLimit, 768...8_192)
        try check("factsByteLimit", factsByteLimit, 0...GossipLimits.factsByteCount)
        try check("factsPeriod", factsPeriod, .milliseconds(10)...(minute * 10))
        try check("memberLimit", memberLimit, 2...100_000)
        try check("relayLimit", relayLimit, 16...65_536)
    }
}
