import ClusterModel
import ClusterState
import Testing

struct CheckpointTests {
    private func generations(_ bench: Bench, _ state: CatalogEntry.State) -> [UInt32] {
        bench.job.catalog.filter { $0.state == state }.map(\.generation.rawValue)
    }

    @Test func theNewestGenerationsAreKept() {
        var bench = Bench.running { $0.checkpoint.generations = 2 }
        for number in 1...4 { bench.checkpoint(at: Double(number * 10)) }
        #expect(generations(bench, .complete) == [3, 4])
        #expect(generations(bench, .retiring) == [1, 2])
        bench.apply(.checkpointRetired(job: Bench.id(1), generation: CheckpointGeneration(rawValue: 1)))
        #expect(generations(bench, .retiring) == [2])
        #expect(bench.state.retiringCheckpoints.map(\.generation.rawValue) == [2])
        let wanted = Command.checkpointRetired(job: Bench.id(1), generation: CheckpointGeneration(rawValue: 4))
        #expect(bench.refusal(wanted)?.code == .conflict)
    }

    @Test func theIntervalCountsFromTheLastAttempt() {
        var bench = Bench.running { $0.checkpoint.interval = .seconds(30) }
        #expect(bench.job.nextCheckpointDue(now: Bench.at(3)) == Bench.at(32))
        bench.checkpoint(at: 32)
        #expect(bench.job.nextCheckpointDue(now: Bench.at(33)) == Bench.at(62.5))
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(63)))
        #expect(bench.job.nextCheckpointDue(now: Bench.at(64)) == nil)
    }

    @Test func eachFailureDoublesThePauseAndASuccessEndsThat() {
        var bench = Bench.running { $0.checkpoint.interval = .seconds(600) }
        func fail(at seconds: Double, isInterrupted: Bool = false) {
            bench.apply(
                .beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(seconds))
            )
            bench.apply(
                .checkpointFailed(
                    job: Bench.id(1),
                    generation: bench.job.lastGeneration,
                    reason: "CRIU is missing",
                    isInterrupted: isInterrupted,
                    time: Bench.at(seconds)
                )
            )
        }
        var pauses: [Int] = []
        for number in 1...5 {
            let moment = Double(number) * 10_000
            fail(at: moment)
            let due = bench.job.nextCheckpointDue(now: Bench.at(moment)) ?? .epoch
            pauses.append(Int((due - Bench.at(moment)).inSeconds))
        }
        #expect(pauses == [1200, 2400, 3600, 3600, 3600])
        bench.checkpoint(at: 60_000)
        #expect(bench.job.nextCheckpointDue(now: Bench.at(60_001)) == Bench.at(60_600.5))
        // An agent that stops says nothing against the next try.
        fail(at: 70_000, isInterrupted: true)
        #expect(bench.job.nextCheckpointDue(now: Bench.at(70_000)) == Bench.at(70_600))
    }

    @Test func whatHappenedAfterNowDoesNotPutACheckpointOff() {
        var bench = Bench.running { $0.checkpoint.interval = .seconds(30) }
        bench.checkpoint(at: 3600)
        // The clock was set back: the start is past, the last attempt is to come.
        #expect(bench.job.nextCheckpointDue(now: Bench.at(100)) == Bench.at(32))
        #expect(bench.job.nextCheckpointDue(now: Bench.at(-100)) == Bench.at(-100), "nothing is known: at once")
    }

    @Test func aLostContainerGoesOnFromTheNewestCheckpoint() {
        var bench = Bench.running()
        bench.checkpoint(at: 5, consumed: .seconds(3))
        bench.checkpoint(at: 10, consumed: .seconds(8))
        bench.exited(.lost, consumed: .seconds(11), at: 100)
        #expect(bench.job.state == .queued)
        #expect(bench.job.ledger.total == .seconds(8))
        #expect(bench.job.lost == .seconds(3))
        bench.begin(at: 101)
        #expect(bench.job.task == .restore(Incarnation(rawValue: 2), from: CheckpointGeneration(rawValue: 2)))
        bench.started(at: 102)
        #expect(bench.job.state == .running)
        #expect(bench.kinds().suffix(2) == [.restarted, .restored])
        #expect(bench.job.retriesUsed == 0)
    }

    @Test func aDamagedGenerationYieldsToTheOneBefore() {
        var bench = Bench.running()
        bench.checkpoint(at: 5, consumed: .seconds(3))
        bench.checkpoint(at: 10, consumed: .seconds(8))
        bench.exited(.lost, at: 100)
        bench.begin(at: 101)
        let failure = RestoreFailure(
            job: Bench.id(1),
            incarnation: Incarnation(rawValue: 2),
            generation: CheckpointGeneration(rawValue: 2),
            reason: "pages-1 does not match its checksum.",
            isDamaged: true,
            time: Bench.at(102)
        )
        bench.apply(.restoreFailed(failure))
        #expect(bench.job.resumption?.generation == CheckpointGeneration(rawValue: 1))
        #expect(bench.job.ledger.total == .seconds(3))
        #expect(generations(bench, .damaged) == [2])
        #expect(bench.job.message.contains("pages-1 does not match its checksum"))
        bench.begin(at: 103)
        let second = RestoreFailure(
            job: Bench.id(1),
            incarnation: Incarnation(rawValue: 3),
            generation: CheckpointGeneration(rawValue: 1),
            reason: "criu failed.",
            isDamaged: false,
            time: Bench.at(104)
        )
        bench.apply(.restoreFailed(second))
        // Not damaged, but tried in vain: the beginning is what is left.
        #expect(bench.job.resumption == nil)
        #expect(bench.job.state == .queued)
        #expect(bench.job.ledger.total == .zero)
        #expect(generations(bench, .complete) == [1])
    }

    @Test func damageFoundWhileTheJobWaitsChangesWhereItGoesOn() {
        var bench = Bench.running()
        bench.checkpoint(at: 5, consumed: .seconds(3))
        bench.checkpoint(at: 10, consumed: .seconds(8))
        bench.exited(.lost, at: 100)
        bench.apply(
            .checkpointDamaged(
                job: Bench.id(1),
                generation: CheckpointGeneration(rawValue: 2),
                reason: "a bad block.",
                time: Bench.at(101)
            )
        )
        #expect(bench.job.resumption?.generation == CheckpointGeneration(rawValue: 1))
    }

    @Test func aCheckpointThatStopsSuspendsAndRestoreContinues() {
        var bench = Bench.running()
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: true, by: Bench.user, time: Bench.at(5)))
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(5)))
        // The dump ends the container, which its supervisor reports first.
        bench.exited(.signalled(number: 9, isOutOfMemory: false), consumed: .seconds(4), at: 6)
        #expect(bench.job.state == .checkpointing)
        bench.apply(
            .checkpointRecorded(job: Bench.id(1), entry: bench.entry(consumed: .seconds(4), at: 5), time: Bench.at(7))
        )
        #expect(bench.job.state == .suspended)
        #expect(bench.job.ledger.total == .seconds(4))
        #expect(bench.job.lost == .zero)
        #expect(bench.job.task == .none)
        #expect(bench.job.message.contains("godwit job restore job"))
        bench.apply(.requestRestore(job: Bench.id(1), generation: nil, by: Bench.user, time: Bench.at(20)))
        bench.begin(at: 21)
        bench.started(at: 22)
        #expect(bench.job.state == .running)
        #expect(bench.job.incarnation == Incarnation(rawValue: 2))
    }

    @Test func aStoppingDumpThatFailsLosesTheContainer() {
        var bench = Bench.running()
        bench.checkpoint(at: 3, consumed: .seconds(1))
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: true, by: Bench.user, time: Bench.at(5)))
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(5)))
        bench.exited(.signalled(number: 9, isOutOfMemory: false), consumed: .seconds(4), at: 100)
        bench.apply(
            .checkpointFailed(
                job: Bench.id(1),
                generation: bench.job.lastGeneration,
                reason: "no space is left.",
                isInterrupted: false,
                time: Bench.at(101)
            )
        )
        #expect(bench.job.state == .queued)
        #expect(bench.job.resumption?.generation == CheckpointGeneration(rawValue: 1))
        #expect(bench.job.request == nil)
    }

    @Test func anExitDuringACheckpointThatKeepsRunningCounts() {
        var bench = Bench.running()
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(5)))
        bench.exited(.exited(code: 0), at: 6)
        #expect(bench.job.state == .completed)
        // The images are complete all the same; nobody needs them.
        bench.apply(.checkpointRecorded(job: Bench.id(1), entry: bench.entry(at: 5), time: Bench.at(7)))
        #expect(generations(bench, .retiring) == [1])
        #expect(bench.apply(.prune(time: Bench.at(1e7)))?.pruned == [])
        bench.apply(.checkpointRetired(job: Bench.id(1), generation: CheckpointGeneration(rawValue: 1)))
        #expect(bench.apply(.prune(time: Bench.at(1e7)))?.pruned == [Bench.id(1)])
    }

    @Test func aUserCanGoBackWhileTheJobRuns() {
        var bench = Bench.running()
        bench.checkpoint(at: 5, consumed: .seconds(3))
        bench.checkpoint(at: 10, consumed: .seconds(8))
        let first = CheckpointGeneration(rawValue: 1)
        bench.apply(.requestRestore(job: Bench.id(1), generation: first, by: Bench.user, time: Bench.at(20)))
        #expect(bench.job.task == .stop(Incarnation(rawValue: 1), grace: .zero))
        bench.exited(.signalled(number: 9, isOutOfMemory: false), consumed: .seconds(12), at: 21)
        #expect(bench.job.state == .queued)
        bench.begin(at: 21)
        #expect(bench.job.task == .restore(Incarnation(rawValue: 2), from: first))
        // What a user named is restored or nothing is.
        let failure = RestoreFailure(
            job: Bench.id(1),
            incarnation: Incarnation(rawValue: 2),
            generation: first,
            reason: "criu failed.",
            isDamaged: false,
            time: Bench.at(22)
        )
        bench.apply(.restoreFailed(failure))
        #expect(bench.job.state == .suspended)
        #expect(bench.job.message.contains("(1, 2)"))
    }

    @Test func restoresThatCannotBeAreRefused() {
        var bench = Bench.running()
        func restore(_ generation: UInt32?) -> Command {
            .requestRestore(
                job: Bench.id(1),
                generation: generation.map { CheckpointGeneration(rawValue: $0) },
                by: Bench.user,
                time: Bench.at(20)
            )
        }
        #expect(bench.refusal(restore(nil))?.message.contains("no complete checkpoint") == true)
        bench.checkpoint(at: 5)
        bench.checkpoint(at: 10)
        #expect(bench.refusal(restore(9))?.code == .notFound)
        bench.apply(
            .checkpointDamaged(
                job: Bench.id(1),
                generation: CheckpointGeneration(rawValue: 1),
                reason: "bits rotted",
                time: Bench.at(11)
            )
        )
        #expect(bench.refusal(restore(1))?.message.contains("is damaged: bits rotted. Good ones: 2") == true)
        bench.exited(.exited(code: 0), at: 12)
        #expect(bench.refusal(restore(nil))?.message.contains("has ended") == true)
    }

    @Test func cancellingDuringACheckpointWins() {
        var bench = Bench.running()
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: true, by: Bench.user, time: Bench.at(5)))
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(5)))
        let entry = bench.entry(at: 5)
        bench.exited(.signalled(number: 9, isOutOfMemory: false), at: 6)
        bench.apply(.requestCancel(job: Bench.id(1), grace: .zero, by: Bench.user, time: Bench.at(7)))
        #expect(bench.job.state == .cancelled)
        bench.apply(.checkpointRecorded(job: Bench.id(1), entry: entry, time: Bench.at(8)))
        #expect(bench.job.state == .cancelled)
        #expect(generations(bench, .retiring) == [1])
    }

    @Test func anUnknownOrRepeatedGenerationIsRefused() {
        var bench = Bench.running()
        bench.checkpoint(at: 5)
        let again = Command.checkpointRecorded(job: Bench.id(1), entry: bench.entry(at: 5), time: Bench.at(6))
        #expect(bench.refusal(again)?.code == .stale)
        var future = bench.entry(at: 5)
        future.generation = CheckpointGeneration(rawValue: 9)
        #expect(
            bench.refusal(.checkpointRecorded(job: Bench.id(1), entry: future, time: Bench.at(6)))?.code == .invalid
        )
    }
}
