import Checkpointing
import ClusterModel
import Testing

struct CostIntervalTests {
    private static func choose(
        frozen: Duration? = .milliseconds(200),
        total: Duration? = .milliseconds(1200),
        memory: ByteCount? = nil,
        running: Duration = .zero,
        losses: Int = 0
    ) -> CostInterval? {
        CostInterval(frozen: frozen, total: total, memory: memory, running: running, losses: losses)
    }

    @Test("Daly's interval of the measured cost and the losses")
    func formula() throws {
        let chosen = try #require(Self.choose())
        #expect(chosen.isMeasured && chosen.cost == .milliseconds(400))
        #expect(chosen.meanTimeBetweenLosses == CostInterval.expectedTimeBetweenLosses)
        // Young: the square root of 2 * 0.4 s * 30 d is 1440 s; Daly's further terms are small when the cost is.
        #expect(abs(chosen.interval.inSeconds - 1440) < 5)
    }

    @Test("what is lost often or costs little is checkpointed more often")
    func moves() throws {
        let base = try #require(Self.choose())
        let lossy = try #require(Self.choose(running: .seconds(86400), losses: 5))
        #expect(lossy.interval < base.interval)
        #expect(lossy.meanTimeBetweenLosses == .seconds(31 * 86400) / 6)
        let cheap = try #require(Self.choose(frozen: .milliseconds(20), total: .milliseconds(20)))
        #expect(cheap.interval < base.interval)
        let large = try #require(Self.choose(frozen: nil, total: nil, memory: .gibibytes(64)))
        #expect(large.interval > base.interval && !large.isMeasured)
    }

    @Test("it stays within its bounds, and is none before anything is known")
    func bounds() throws {
        #expect(Self.choose(frozen: nil, total: nil) == nil)
        let short = try #require(Self.choose(frozen: .milliseconds(1), total: .milliseconds(1), losses: 100_000))
        #expect(short.interval == CostInterval.bounds.lowerBound)
        let long = try #require(Self.choose(frozen: .seconds(900), total: .seconds(4000)))
        #expect(long.interval == CostInterval.bounds.upperBound)
    }

    @Test("the reason has the numbers")
    func reason() throws {
        let text = try #require(Self.choose(losses: 1)).reason
        #expect(text.contains("0.40 s") && text.contains("1 was lost so far"), "\(text)")
    }
}
