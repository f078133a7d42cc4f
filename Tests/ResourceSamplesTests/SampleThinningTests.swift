import ClusterModel
import ResourceSamples
import Testing

@Suite struct SampleThinningTests {
    let thinning = SampleThinning.standard

    private func series(from start: Int, through end: Int, step: Int = 1) -> [Timestamp] {
        stride(from: start, through: end, by: step).map { Timestamp(seconds: Double($0)) }
    }

    private func thinned(_ times: [Timestamp], now: Timestamp) -> [Timestamp] {
        thinning.indicesToKeep(of: times, now: now).map { times[$0] }
    }

    @Test func `a day at one point a second becomes a few thousand points, dense at the end`() {
        let times = series(from: 1_000_000, through: 1_086_400)
        let now = Timestamp(seconds: 1_086_400)
        let kept = thinned(times, now: now)
        #expect(kept.last == times.last)
        #expect(kept.count <= thinning.pointLimit)
        let lastMinute = kept.filter { now - $0 < .seconds(60) }
        #expect(lastMinute.count == 60)
        let secondHour = kept.filter { now - $0 >= .seconds(3600) && now - $0 < .seconds(7200) }
        #expect((359...361).contains(secondHour.count))
        let middle = kept.filter { now - $0 >= .seconds(40_000) && now - $0 < .seconds(43_600) }
        #expect((59...61).contains(middle.count))
    }

    @Test func `what is too old is dropped, except the only point there is`() {
        let old = Timestamp(seconds: 1000)
        let now = Timestamp(seconds: 10_000_000)
        #expect(thinned([old], now: now) == [old])
        #expect(thinned([old, now], now: now) == [now])
    }

    @Test(arguments: 1...40)
    func `thinning now and again later equals thinning once, later`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var history: [Timestamp] = []
        var stepwise: [Timestamp] = []
        var clock: Int64 = 1_000_000_000_000_000 + Int64(generator.next() % 1_000_000_000_000)
        for _ in 0..<30 {
            for _ in 0..<Int(generator.next() % 200) {
                // From bursts to gaps of a day.
                let exponent = 20 + Int(generator.next() % 27)
                clock += 1 + Int64(generator.next() % (1 << UInt64(exponent)))
                history.append(Timestamp(rawValue: clock))
                stepwise.append(Timestamp(rawValue: clock))
            }
            stepwise = thinned(stepwise, now: Timestamp(rawValue: clock))
        }
        #expect(stepwise == thinned(history, now: Timestamp(rawValue: clock)))
        #expect(stepwise.count <= thinning.pointLimit)
    }

    @Test func `times before 1970 and of the future do not trap`() {
        let times = [Timestamp(rawValue: -5_000_000_000), .epoch, Timestamp(seconds: 5), Timestamp(seconds: 99)]
        #expect(thinned(times, now: Timestamp(seconds: 6)) == times)
    }

    @Test func `tiers that do not nest are refused`() {
        #expect(SampleThinning([]) == nil)
        #expect(
            SampleThinning([.init(width: .seconds(2), age: .seconds(9)), .init(width: .seconds(3), age: .seconds(99))])
                == nil
        )
        #expect(
            SampleThinning([.init(width: .seconds(2), age: .seconds(9)), .init(width: .seconds(4), age: .seconds(9))])
                == nil
        )
        #expect(SampleThinning([.init(width: .zero, age: .seconds(9))]) == nil)
        #expect(
            SampleThinning([.init(width: .seconds(2), age: .seconds(9)), .init(width: .seconds(4), age: .seconds(99))])
                != nil
        )
    }
}
