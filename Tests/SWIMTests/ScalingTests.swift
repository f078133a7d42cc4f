import ClusterModel
import SWIM
import Testing

/// Sentences of the papers that are formulas.
struct ScalingTests {
    @Test(
        "SWIM 4.1: news is sent λ log n times",
        arguments: [
            (1, 3.0, 0.0, 3), (10, 3, 0, 8), (100, 3, 0, 14), (10_000, 1, 4.5, 14), (200, 1, 4.5, 10), (16, 1, 4.5, 8),
        ]
    )
    func transmitLimit(count: Int, multiplier: Double, margin: Double, expected: Int) {
        #expect(Scaling.transmitLimit(memberCount: count, multiplier: multiplier, margin: margin) == expected)
    }

    @Test("the goal of 14 sends per member holds up to 10,000 members")
    func atMostFourteen() {
        let lan = MembershipConfiguration.lan
        for count in [2, 10, 100, 1_000, 10_000] {
            let limit = Scaling.transmitLimit(
                memberCount: count,
                multiplier: lan.retransmitMultiplier,
                margin: lan.retransmitMargin
            )
            #expect(limit <= 14, "\(count) members")
        }
    }

    @Test("Lifeguard IV-B: a suspicion starts at Max, ends at Min with K confirmations, and falls with their logarithm")
    func suspicionTimeout() {
        func timeout(_ confirmations: Int) -> Duration {
            Scaling.suspicionTimeout(
                minimum: .seconds(5),
                maximum: .seconds(30),
                confirmations: confirmations,
                wanted: 3
            )
        }
        // 30 - 25 log(C + 1) / log 4
        #expect(timeout(0) == .seconds(30))
        #expect(abs(timeout(1) / .seconds(1) - 17.5) < 1e-6)
        #expect(abs(timeout(2) / .seconds(1) - (30 - 25 * 0.792_481_250_360_578)) < 1e-6)
        #expect(timeout(3) == .seconds(5))
        #expect(timeout(9) == .seconds(5))
    }

    @Test("a suspicion that wants no confirmation lasts the minimum")
    func nothingWanted() {
        #expect(
            Scaling.suspicionTimeout(minimum: .seconds(2), maximum: .seconds(9), confirmations: 0, wanted: 0)
                == .seconds(2)
        )
    }

    @Test(
        "the logarithm is right",
        arguments: [
            (1.0, 0.0), (2, 0.693_147_180_559_945), (10, 2.302_585_092_994_046), (10_001, 9.210_440_366_976_517),
        ]
    )
    func logarithm(value: Double, expected: Double) {
        #expect(abs(Scaling.naturalLogarithm(value) - expected) < 1e-13)
    }
}

/// Lifeguard, section IV-A: what raises and lowers the local health multiplier.
struct LocalHealthTests {
    private func score(after evidence: [LocalHealth.Evidence], from start: Int = 3) -> Int {
        var health = LocalHealth(limit: 8)
        for _ in 0..<start { health.note(.refutedSuspicion) }
        for item in evidence { health.note(item) }
        return health.score
    }

    @Test("a successful probe: -1") func success() { #expect(score(after: [.probeSucceeded]) == 2) }
    @Test("refuting a suspicion about itself: +1") func refuting() { #expect(score(after: [.refutedSuspicion]) == 4) }
    @Test("a failed probe with one missed nack: +1") func missedNack() {
        #expect(score(after: [.probeFailed(helpers: 3, nacks: 2)]) == 4)
    }
    @Test("each missed nack counts") func missedNacks() {
        #expect(score(after: [.probeFailed(helpers: 3, nacks: 0)]) == 6)
    }
    @Test("a failed probe with all nacks is the other's fault: +0") func allNacks() {
        #expect(score(after: [.probeFailed(helpers: 3, nacks: 3)]) == 3)
    }
    @Test("a failed probe without helpers: +1") func noHelpers() {
        #expect(score(after: [.probeFailed(helpers: 0, nacks: 0)]) == 4)
    }
    @Test("it saturates at S and at 0; the multiplier is the score plus 1") func bounds() {
        #expect(score(after: Array(repeating: .stoodStill, count: 20)) == 8)
        #expect(score(after: Array(repeating: .probeSucceeded, count: 20)) == 0)
        #expect(LocalHealth(limit: 8).multiplier == 1)
    }
}

struct ConfigurationTests {
    @Test("the shipped configurations are valid") func shipped() throws {
        try MembershipConfiguration.lan.validate()
        try MembershipConfiguration.wan.validate()
    }

    @Test("a value out of its range is refused by name, with the range")
    func refused() {
        var configuration = MembershipConfiguration.lan
        configuration.gossipFanout = 0
        #expect {
            try configuration.validate()
        } throws: { error in
            "\(error)" == "gossipFanout is 0; it must be from 1 to 8"
        }
        configuration = .lan
        configuration.probeTimeout = .seconds(2)
        #expect(throws: MembershipConfigurationError.self) { try configuration.validate() }
        configuration = .lan
        configuration.datagramByteLimit = 100
        #expect(throws: MembershipConfigurationError.self) { try configuration.validate() }
    }
}
