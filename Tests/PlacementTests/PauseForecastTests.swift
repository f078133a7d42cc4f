import ClusterModel
import ClusterState
import Testing

@testable import Placement

extension Bench {
    /// A job of node 1 that moved to node 2, and stood still for so long with so many bytes on the way.
    fileprivate mutating func movedJob(
        _ number: Int,
        at seconds: Double,
        stoodStill: Double,
        _ bytes: ByteCount,
        isLazy: Bool = false
    ) {
        runningJob(number, on: 1)
        let job = Self.id(number)
        let order = MigrationOrder(job: job, to: Self.node(2), by: nil, reason: "So.", time: Self.at(seconds))
        let handover = Migration.Handover(
            frozen: Self.at(seconds + 1),
            stoodStill: .milliseconds(100),
            bytes: bytes,
            isLazy: isLazy
        )
        apply(.beginMigration(order))
        apply(.migrationPrepared(job: job, number: 1, time: Self.at(seconds + 1)))
        apply(.handOver(job: job, number: 1, handover: handover, time: Self.at(seconds + 1.1)))
        let incarnation = state.job(job)?.incarnation ?? Incarnation(rawValue: 0)
        apply(.started(job: job, incarnation: incarnation, time: Self.at(seconds + 1 + stoodStill)))
    }

    fileprivate func pause(of number: Int, _ size: ByteCount) -> PauseForecast.Pause {
        let forecast = PauseForecast(state.jobs, base: .seconds(1), bytesPerSecond: 100 << 20)
        guard let job = state.job(Self.id(number)) else { preconditionFailure("job \(number) is not there") }
        return forecast.pause(of: job, size: size)
    }

    fileprivate static var two: Bench {
        var bench = Bench()
        for number in 1...2 { bench.node(number) }
        bench.runningJob(1, on: 1)
        return bench
    }
}

/// What is known of a pause comes from the moves there were.
struct PauseForecastTests {
    @Test func beforeThereWasAMoveThereIsAnAssumption() {
        let pause = Bench.two.pause(of: 1, .mebibytes(200))
        #expect(abs(pause.duration.inSeconds - 3) < 0.001 && pause.source.isEmpty)
    }

    @Test func aJobsOwnLastMoveComesFirst() {
        var bench = Bench.two
        bench.movedJob(2, at: 10, stoodStill: 0.5, .mebibytes(64))
        bench.movedJob(3, at: 20, stoodStill: 2, .mebibytes(64))
        let same = bench.pause(of: 2, .mebibytes(64))
        #expect(same == PauseForecast.Pause(duration: .milliseconds(500), source: ", by its own last move,"))
        let more = bench.pause(of: 2, .mebibytes(1064)).duration
        #expect(more > .seconds(5) && more < .seconds(15), "\(more)")
    }

    @Test func theMovesOfOthersWeighMoreTheMoreThereAre() {
        var bench = Bench.two
        var last = bench.pause(of: 1, .mebibytes(64)).duration
        for number in 2...12 {
            bench.movedJob(number, at: Double(10 * number), stoodStill: 0.4, .mebibytes(64))
            let pause = bench.pause(of: 1, .mebibytes(64))
            #expect(pause.duration < last)
            #expect(
                pause.source == (number == 2 ? ", by the one move there was," : ", by the last \(number - 1) moves,")
            )
            last = pause.duration
        }
        #expect(last > .milliseconds(390) && last < .milliseconds(600), "\(last)")
        // Of what is much larger than all that moved, the assumption tells more than they do.
        let large = bench.pause(of: 1, .gibibytes(1)).duration
        #expect(large > .seconds(5) && large < .seconds(12), "\(large)")
        bench.movedJob(13, at: 200, stoodStill: 2, .gibibytes(1))
        bench.movedJob(14, at: 210, stoodStill: 2, .gibibytes(1))
        bench.movedJob(15, at: 220, stoodStill: 2, .gibibytes(1))
        #expect(bench.pause(of: 1, .gibibytes(1)).duration < .seconds(4))
    }

    @Test func whereMemoryFollowsLaterSizeIsNothing() {
        var bench = Bench.two
        bench.movedJob(2, at: 10, stoodStill: 20, .gibibytes(2))
        for (number, seconds) in [(3, 0.3), (4, 0.2), (5, 0.7)] {
            bench.movedJob(number, at: Double(10 * number), stoodStill: seconds, .mebibytes(1), isLazy: true)
        }
        let pause = bench.pause(of: 1, .gibibytes(64))
        #expect(pause == PauseForecast.Pause(duration: .milliseconds(300), source: ", by the last 3 moves,"))
        // Its own move took everything along; that is not how it is done any more.
        #expect(bench.pause(of: 2, .gibibytes(2)).duration == .milliseconds(300))
        #expect(bench.pause(of: 5, .gibibytes(2)).duration == .milliseconds(700))
    }
}
