import Checkpointing
import ClusterModel
import Testing

struct RetentionPolicyTests {
    func record(
        _ generation: UInt32,
        job: String = "a",
        taken: Double? = nil,
        bytes: Int64 = 10,
        damaged: Bool = false
    )
        -> CheckpointRecord
    {
        CheckpointRecord(
            job: JobID(rawValue: job),
            incarnation: Incarnation(rawValue: 1),
            generation: CheckpointGeneration(rawValue: generation),
            taken: Timestamp(seconds: taken ?? Double(generation)),
            frozen: .zero,
            total: .zero,
            rawBytes: .bytes(bytes),
            storedBytes: .bytes(bytes),
            ledger: .zero,
            damage: damaged ? "a bit flipped" : nil
        )
    }

    @Test("the newest complete generations stay, whatever the order of the list")
    func keepsNewest() {
        let records = [3, 1, 4, 2].map { record($0) }
        #expect(RetentionPolicy(generations: 2).retired(among: records).map(\.rawValue) == [1, 2])
        #expect(RetentionPolicy(generations: 9).retired(among: records).isEmpty)
        #expect(RetentionPolicy(generations: 0).retired(among: records).map(\.rawValue) == [1, 2, 3])
    }

    @Test("damaged generations do not count as kept, and go once a newer good one exists")
    func damaged() {
        let records = [record(1), record(2), record(3, damaged: true), record(4), record(5, damaged: true)]
        #expect(RetentionPolicy(generations: 2).retired(among: records).map(\.rawValue) == [1, 3])
        let none = [record(1, damaged: true), record(2, damaged: true)]
        #expect(RetentionPolicy(generations: 1).retired(among: none).isEmpty)
    }

    @Test("a total bound takes the oldest first and never a job's newest good one")
    func totalBound() {
        let records = [
            record(1, job: "a", taken: 1), record(2, job: "a", taken: 5), record(1, job: "b", taken: 2),
            record(2, job: "b", taken: 3), record(1, job: "c", taken: 0),
        ]
        func gone(_ limit: Int64, arriving: Int64 = 0) -> [String] {
            RetentionPolicy(generations: 2, totalLimit: .bytes(limit)).retired(
                amongAll: records,
                arriving: .bytes(arriving)
            )
            .map { "\($0.job)\($0.generation)" }
        }
        #expect(gone(50).isEmpty)
        #expect(gone(49) == ["a1"])
        #expect(gone(50, arriving: 15) == ["a1", "b1"])
        #expect(gone(0) == ["a1", "b1"])
    }

    @Test(
        "random histories: the newest good generation of each job always stays",
        arguments: 1...20 as ClosedRange<UInt64>
    )
    func newestGoodStays(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let records = (0..<60).map { _ in
            record(
                UInt32.random(in: 1...1000, using: &generator),
                job: ["a", "b", "c"].randomElement(using: &generator) ?? "a",
                bytes: Int64.random(in: 1...100, using: &generator),
                damaged: Bool.random(using: &generator)
            )
        }
        let policy = RetentionPolicy(
            generations: Int.random(in: 1...4, using: &generator),
            totalLimit: .bytes(Int64.random(in: 0...500, using: &generator))
        )
        let gone = policy.retired(amongAll: records)
        for job in ["a", "b", "c"] {
            let newest = records.filter { $0.job.rawValue == job && $0.state == .complete }.map(\.generation).max()
            #expect(!gone.contains { $0.job.rawValue == job && $0.generation == newest })
        }
    }
}

struct CheckpointScheduleTests {
    let start = Timestamp(seconds: 1000)

    @Test("without an interval nothing is due")
    func onDemand() {
        #expect(CheckpointSchedule(interval: nil).nextDue(after: .init(running: start)) == nil)
    }

    @Test("the interval counts from the images' moment, or from the container's start")
    func interval() {
        let schedule = CheckpointSchedule(interval: .seconds(60))
        #expect(schedule.nextDue(after: .init(running: start)) == start + .seconds(60))
        let taken = start + .seconds(70)
        let history = CheckpointSchedule.History(running: start, lastTaken: taken, lastFinished: taken + .seconds(2))
        #expect(schedule.nextDue(after: history) == taken + .seconds(60))
        // After a restore the last checkpoint is older than the container.
        let restored = CheckpointSchedule.History(running: start + .seconds(500), lastTaken: taken)
        #expect(schedule.nextDue(after: restored) == start + .seconds(560))
    }

    @Test("a checkpoint longer than the interval is followed by a pause as long as itself")
    func slow() {
        let schedule = CheckpointSchedule(interval: .seconds(2))
        let history = CheckpointSchedule.History(running: start, lastTaken: start, lastFinished: start + .seconds(9))
        #expect(schedule.nextDue(after: history) == start + .seconds(18))
    }

    @Test("failures back off, doubling up to the limit")
    func backoff() {
        let schedule = CheckpointSchedule(interval: .seconds(1))
        func wait(_ failures: Int) -> Duration? {
            let failed = start + .seconds(100)
            let history = CheckpointSchedule.History(running: start, lastFailed: failed, consecutiveFailures: failures)
            return schedule.nextDue(after: history).map { $0 - failed }
        }
        #expect([1, 2, 3, 4].map(wait) == [.seconds(5), .seconds(10), .seconds(20), .seconds(40)])
        #expect(wait(1000) == .seconds(600))
    }

    @Test("Daly's interval: equation 37 of the paper, and its limit")
    func daly() {
        let interval = CheckpointSchedule.dalyInterval(cost: .seconds(300), meanTimeBetweenFailures: .seconds(86400))
        // sqrt(2 * 300 * 86400) = 7200; ratio 1/576: 7200 * (1 + 1/72 + 1/5184) - 300 = 7001.39
        #expect(abs(interval.inSeconds - 7001.389) < 0.01)
        let hopeless = CheckpointSchedule.dalyInterval(cost: .seconds(100), meanTimeBetweenFailures: .seconds(40))
        #expect(hopeless == .seconds(40))
    }
}
