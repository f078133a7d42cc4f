import ClusterModel
import ClusterState
import Testing

private let origin = ContinuousClock().systemEpoch
private func at(_ seconds: Double) -> ContinuousClock.Instant { origin + .milliseconds(Int64(seconds * 1000)) }

struct NodeAuthorityTests {
    private let configuration = FencingConfiguration(partitionTimeout: .seconds(30), stopTime: .seconds(5))

    @Test func thereIsNoneBeforeTheFirstAnswer() {
        let authority = NodeAuthority(configuration: configuration)
        #expect(!authority.mayRun(at: origin))
        #expect(authority.deadline == nil)
    }

    @Test func itCountsFromWhenTheRequestWasSent() {
        var authority = NodeAuthority(configuration: configuration)
        authority.applied(through: 7)
        // The answer may come as late as it likes.
        authority.granted(index: 7, toRequestSentAt: at(10))
        #expect(authority.mayRun(at: at(39.9)))
        #expect(!authority.mayRun(at: at(40)))
    }

    @Test func anAnswerCountsWhenItsEntryIsApplied() {
        var authority = NodeAuthority(configuration: configuration)
        authority.granted(index: 5, toRequestSentAt: at(0))
        authority.granted(index: 9, toRequestSentAt: at(1))
        authority.applied(through: 4)
        #expect(!authority.mayRun(at: at(2)))
        authority.applied(through: 5)
        #expect(authority.deadline == at(30))
        authority.applied(through: 12)
        #expect(authority.deadline == at(31))
    }

    @Test func anEarlierAnswerThatComesLateTakesNothingAway() {
        var authority = NodeAuthority(configuration: configuration)
        authority.granted(index: 0, toRequestSentAt: at(5))
        authority.granted(index: 0, toRequestSentAt: at(2))
        #expect(authority.deadline == at(35))
    }

    @Test func aWithdrawalEndsItUntilALaterAnswer() {
        var authority = NodeAuthority(configuration: configuration)
        authority.granted(index: 0, toRequestSentAt: at(5))
        authority.withdraw()
        #expect(!authority.mayRun(at: at(6)))
        authority.granted(index: 0, toRequestSentAt: at(7))
        #expect(authority.mayRun(at: at(8)))
    }

    @Test func whatWaitsIsBounded() {
        var authority = NodeAuthority(configuration: configuration)
        for number in 0..<10_000 {
            authority.granted(index: UInt64(number + 1), toRequestSentAt: at(Double(number) / 1000))
        }
        authority.applied(through: 20_000)
        // The first ones were kept; they are what can count soonest.
        #expect(authority.deadline.map { $0 < at(30.1) } == true)
    }
}

struct NodeLivenessTests {
    private let configuration = FencingConfiguration(partitionTimeout: .seconds(30), stopTime: .seconds(5))
    private let node = NodeID(rawValue: "n1")

    @Test func anUnheardNodeCountsAsHeardWhenTheReignBegan() {
        let liveness = NodeLiveness(configuration: configuration, term: Term(rawValue: 3), leadingSince: at(100))
        #expect(liveness.lastContact(with: node) == at(100))
        #expect(!liveness.mayBeDeclaredLost(node, at: at(140)))
        #expect(liveness.mayBeDeclaredLost(node, at: at(140.1)))
    }

    @Test func eachRequestPutsTheLossOff() {
        var liveness = NodeLiveness(configuration: configuration, term: Term(rawValue: 3), leadingSince: at(0))
        liveness.heard(from: node, at: at(50))
        liveness.heard(from: node, at: at(20))
        #expect(liveness.lossDeadline(of: node) == at(50) + configuration.lossDelay)
        liveness.forget(node)
        #expect(liveness.lastContact(with: node) == at(0))
    }

    @Test func theDelayCoversTheWorstClocks() {
        for timeout in [Duration.seconds(1), .milliseconds(1234), .seconds(30), .seconds(86_400)] {
            for drift in [Int64(0), 1, 100, 1000, 100_000] {
                let bounds = FencingConfiguration(partitionTimeout: timeout, stopTime: .zero, clockDriftPPM: drift)
                #expect(bounds.problems.isEmpty)
                let part = Double(drift) / 1e6
                let exact = timeout.inSeconds * (1 + part) / (1 - part)
                #expect(bounds.lossDelay.inSeconds >= exact - 1e-6)
                #expect(bounds.lossDelay.inSeconds <= exact + 1e-3)
            }
        }
        #expect(!FencingConfiguration(partitionTimeout: .zero).problems.isEmpty)
        #expect(!FencingConfiguration(clockDriftPPM: 500_000).problems.isEmpty)
        #expect(!FencingConfiguration(stopTime: .seconds(-1)).problems.isEmpty)
    }

    /// Requests and answers with any delay, clocks as wrong as they may be: a node that is declared lost runs nothing.
    @Test(arguments: UInt64(0)..<200)
    func noNodeIsDeclaredLostWhileItMayRun(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let bounds = FencingConfiguration(partitionTimeout: .seconds(30), stopTime: .zero, clockDriftPPM: 20_000)
        let rates = (0..<2).map { _ in 0.98 + 0.04 * Double(generator.next() % 2) }
        func clock(_ number: Int, _ time: Double) -> ContinuousClock.Instant { at(time * rates[number] + 1000) }
        var authority = NodeAuthority(configuration: bounds)
        var liveness = NodeLiveness(configuration: bounds, term: Term(rawValue: 1), leadingSince: clock(1, 0))
        var requests: [(arrives: Double, answered: Double, sent: ContinuousClock.Instant)] = []
        var declared = false
        for tick in 0..<4000 {
            let time = Double(tick) / 20
            if tick % 20 == 0, generator.next() % 8 == 0 {
                let arrives = time + 20 * generator.unit()
                requests.append((arrives, arrives + 20 * generator.unit(), clock(0, time)))
            }
            for request in requests where request.arrives > time - 0.05 && request.arrives <= time && !declared {
                liveness.heard(from: node, at: clock(1, time))
            }
            for request in requests where request.answered > time - 0.05 && request.answered <= time {
                authority.granted(index: 0, toRequestSentAt: request.sent)
            }
            if liveness.mayBeDeclaredLost(node, at: clock(1, time)) { declared = true }
            // What was asked before the verdict counts no more when it is reached.
            if declared { return #expect(!authority.mayRun(at: clock(0, time)), "seed \(seed) at \(time) s") }
        }
    }
}
