import ClusterModel
import ClusterState
import Testing

struct ContainerTests {
    @Test func aJobRunsAndCompletes() {
        var bench = Bench.running { $0.objective = .cpuTime(amount: .seconds(100), frame: .seconds(60)) }
        #expect(bench.job.task == .run(Incarnation(rawValue: 1)))
        #expect(bench.job.firstStarted == Bench.at(2))
        bench.exited(.exited(code: 0), consumed: .seconds(7), at: 30)
        #expect(bench.job.state == .completed)
        #expect(bench.job.ended == Bench.at(30))
        #expect(bench.job.ledger.total == .seconds(7))
        #expect(bench.job.metDeadline == true)
        #expect(bench.kinds() == [.admitted, .started, .completed, .deadlineMet])
        #expect(bench.decisions.last?.sentence == "The job was done 30 s before the deadline.")
        #expect(bench.job.task == .none)
    }

    @Test func aLateEndMissesItsDeadlineOnce() {
        var bench = Bench.running { $0.objective = .cpuTime(amount: .seconds(100), frame: .seconds(60)) }
        let missed = Decision(time: Bench.at(61), job: Bench.id(1), kind: .deadlineMissed, sentence: "Missed.")
        bench.apply(.note([missed]))
        bench.apply(.note([missed]))
        bench.exited(.exited(code: 0), at: 90)
        #expect(bench.kinds().count { $0 == .deadlineMissed } == 1)
        #expect(bench.job.metDeadline == false)
    }

    @Test func grantedCPUTimeMeetsTheObjectiveWhileTheJobRunsOn() {
        var bench = Bench.running { $0.objective = .cpuTime(amount: .seconds(10), frame: .seconds(60)) }
        let reading = LedgerReading(job: Bench.id(1), incarnation: Incarnation(rawValue: 1), consumed: .seconds(11))
        let acceptance = bench.apply(.ledger(readings: [reading, reading], time: Bench.at(20)))
        #expect(acceptance?.decisions.map(\.decision.kind) == [.deadlineMet])
        #expect(acceptance?.changed == [Bench.id(1)])
        #expect(bench.job.state == .running)
    }

    @Test func readingsOfAnotherIncarnationAreIgnored() {
        var bench = Bench.running()
        let stale = LedgerReading(job: Bench.id(1), incarnation: Incarnation(rawValue: 7), consumed: .seconds(11))
        let gone = LedgerReading(job: Bench.id(9), incarnation: Incarnation(rawValue: 1), consumed: .seconds(11))
        bench.apply(.ledger(readings: [stale, gone], time: Bench.at(20)))
        #expect(bench.job.ledger.total == .zero)
    }

    @Test func whatIsSaidOfAPastIncarnationIsStale() {
        var bench = Bench.running()
        bench.exited(.lost, at: 100)
        bench.begin(at: 101)
        let old = Command.exited(
            job: Bench.id(1),
            incarnation: Incarnation(rawValue: 1),
            exit: .exited(code: 0),
            consumed: nil,
            time: Bench.at(102)
        )
        #expect(bench.refusal(old)?.code == .stale)
        #expect(bench.job.incarnation == Incarnation(rawValue: 2))
    }

    @Test func aFailureIsRetriedAfterABackOffThenFails() {
        var bench = Bench.running {
            $0.retries.limit = 2
            $0.retries.backoff = .seconds(4)
        }
        bench.exited(.exited(code: 3), consumed: .seconds(2), at: 10)
        #expect(bench.job.state == .queued)
        #expect(bench.job.notBefore == Bench.at(14))
        #expect(bench.job.ledger.total == .zero)
        #expect(bench.job.lost == .seconds(2))
        #expect(bench.refusal(.begin(job: Bench.id(1), node: Bench.node, time: Bench.at(13)))?.code == .conflict)
        bench.begin(at: 14)
        bench.started(at: 15)
        bench.exited(.exited(code: 3), at: 20)
        #expect(bench.job.notBefore == Bench.at(28))
        bench.begin(at: 28)
        bench.exited(.notStarted(reason: "the image is gone"), at: 29)
        #expect(bench.job.state == .failed)
        #expect(bench.job.message == "It could not be started: the image is gone. All 2 retries are used.")
        #expect(bench.job.incarnation == Incarnation(rawValue: 3))
    }

    @Test func iterationsFollowOneAnotherAtOnce() {
        var bench = Bench.running {
            $0.kind = .iterative
            $0.objective = .iterations(count: 2, expected: .seconds(5), startOverhead: .zero, deadline: .seconds(60))
        }
        bench.checkpoint(at: 3)
        bench.exited(.exited(code: 0), consumed: .seconds(6), at: 12)
        #expect(bench.job.state == .starting)
        #expect(bench.job.task == .start(Incarnation(rawValue: 2)))
        #expect(bench.job.completedIterations == 1)
        #expect(
            bench.job.measuredIterations == [
                IterationMeasurement(index: 1, duration: .seconds(10), consumed: .seconds(6), vcpus: 0.6)
            ]
        )
        // A checkpoint of an iteration that is over can never be restored.
        #expect(bench.job.goodCheckpoints.isEmpty)
        bench.started(at: 13)
        bench.exited(.exited(code: 0), consumed: .seconds(4), at: 23)
        #expect(bench.job.state == .completed)
        #expect(bench.job.ledger.total == .seconds(10))
        #expect(bench.kinds().suffix(3) == [.iterationCompleted, .completed, .deadlineMet])
    }

    @Test func aFailedIterationKeepsTheOnesBefore() {
        var bench = Bench.running {
            $0.kind = .iterative
            $0.retries.limit = 1
            $0.objective = .iterations(count: 2, expected: .seconds(5), startOverhead: .zero, deadline: .seconds(60))
        }
        bench.exited(.exited(code: 0), consumed: .seconds(6), at: 12)
        bench.started(at: 13)
        bench.exited(.exited(code: 1), consumed: .seconds(3), at: 15)
        #expect(bench.job.completedIterations == 1)
        #expect(bench.job.ledger.total == .seconds(6))
        #expect(bench.job.lost == .seconds(3))
    }

    @Test func lossesInARowFailAtLast() {
        var bench = Bench.running()
        var seconds = 10.0
        for loss in 1...ClusterState.quickLossLimit + 1 {
            #expect(!bench.job.state.isFinal, "failed after \(loss - 1) losses")
            if loss > 1 {
                seconds = max(seconds, ((bench.job.notBefore ?? Bench.start) - Bench.start).inSeconds)
                bench.begin(at: seconds)
                bench.started(at: seconds)
            }
            seconds += 1
            bench.exited(.lost, at: seconds)
        }
        #expect(bench.job.state == .failed)
        #expect(bench.job.message.contains("in a row"))
    }

    @Test func aNodeThatIsFencedAgainAndAgainMakesTheJobWaitButNotFail() {
        var bench = Bench.running()
        var seconds = 10.0
        var waits: [Double] = []
        for fence in 1...3 * ClusterState.quickLossLimit {
            if fence > 1 {
                bench.begin(at: seconds)
                bench.started(at: seconds)
            }
            bench.exited(.fenced, at: seconds)
            #expect(bench.job.state == .queued && bench.job.retriesUsed == 0, "after fence \(fence)")
            let next = max(seconds, ((bench.job.notBefore ?? Bench.start) - Bench.start).inSeconds)
            waits.append(next - seconds)
            seconds = next
        }
        #expect(waits.first == 0 && waits == waits.sorted())
        #expect(waits.last.map { $0 > 60 && $0 <= 300 } == true)
    }

    @Test func aLongRunForgivesEarlierLosses() {
        var bench = Bench.running()
        bench.exited(.lost, at: 3)
        bench.begin(at: 4)
        bench.started(at: 4)
        bench.exited(.lost, at: 100)
        #expect(bench.job.quickLosses == 0)
        #expect(bench.job.notBefore == nil)
    }

    @Test(arguments: [JobSpecification.CheckpointRules.Recovery.restart, .fail])
    func theRecoveryRuleDecides(rule: JobSpecification.CheckpointRules.Recovery) {
        var bench = Bench.running { $0.checkpoint.recovery = rule }
        bench.checkpoint(at: 5)
        bench.exited(.signalled(number: 9, isOutOfMemory: false), consumed: .seconds(8), at: 10)
        #expect(bench.job.state == (rule == .fail ? .failed : .queued))
        #expect(bench.job.resumption == nil)
        if rule == .restart { #expect(bench.job.lost == .seconds(8)) }
    }

    @Test func anAdoptedContainerIsKept() {
        var bench = Bench()
        bench.submit()
        bench.begin()
        // The agent died between the container's start and saying so.
        bench.apply(.adopted(job: Bench.id(1), incarnation: Incarnation(rawValue: 1), time: Bench.at(5)))
        #expect(bench.job.state == .running)
        #expect(bench.kinds() == [.admitted, .started, .adopted])
        #expect(
            bench.refusal(.adopted(job: Bench.id(1), incarnation: Incarnation(rawValue: 2), time: Bench.at(6)))?.code
                == .stale
        )
    }

    @Test func waitingSaysWhyOnce() {
        var bench = Bench()
        bench.submit()
        bench.apply(.waiting(job: Bench.id(1), reason: "No GPU is free.", time: Bench.at(1)))
        bench.apply(.waiting(job: Bench.id(1), reason: "No GPU is free.", time: Bench.at(2)))
        #expect(bench.kinds() == [.admitted, .queued])
        #expect(bench.job.message == "No GPU is free.")
    }
}

struct RequestTests {
    @Test func cancellingAQueuedJobEndsIt() {
        var bench = Bench()
        bench.submit()
        bench.apply(.requestCancel(job: Bench.id(1), grace: .seconds(10), by: Bench.user, time: Bench.at(1)))
        #expect(bench.job.state == .cancelled)
        let again = Command.requestCancel(job: Bench.id(1), grace: .zero, by: Bench.user, time: Bench.at(2))
        #expect(bench.refusal(again)?.message.contains("it has ended") == true)
    }

    @Test func cancellingARunningJobStopsItFirst() {
        var bench = Bench.running()
        bench.apply(.requestCancel(job: Bench.id(1), grace: .seconds(10), by: Bench.user, time: Bench.at(5)))
        #expect(bench.job.task == .stop(Incarnation(rawValue: 1), grace: .seconds(10)))
        bench.apply(.requestCancel(job: Bench.id(1), grace: .seconds(1), by: Bench.user, time: Bench.at(6)))
        #expect(bench.job.task == .stop(Incarnation(rawValue: 1), grace: .seconds(1)))
        bench.exited(.signalled(number: 9, isOutOfMemory: false), consumed: .seconds(3), at: 7)
        #expect(bench.job.state == .cancelled)
        #expect(bench.job.ledger.total == .seconds(3))
    }

    @Test func aCheckpointRequestSurvivesUntilItIsDone() {
        var bench = Bench.running()
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: false, by: Bench.user, time: Bench.at(5)))
        #expect(bench.job.task == .checkpoint(Incarnation(rawValue: 1), stops: false))
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(5)))
        // The agent crashes in the middle and comes back.
        bench.apply(
            .checkpointFailed(
                job: Bench.id(1),
                generation: bench.job.lastGeneration,
                reason: "the agent restarted",
                isInterrupted: true,
                time: Bench.at(9)
            )
        )
        #expect(bench.job.task == .checkpoint(Incarnation(rawValue: 1), stops: false))
        bench.checkpoint(at: 10)
        #expect(bench.job.task == .run(Incarnation(rawValue: 1)))
        #expect(bench.job.request == nil)
        #expect(bench.job.catalog.map(\.generation.rawValue) == [2])
    }

    @Test func theStrongerOfTwoCheckpointRequestsWins() {
        var bench = Bench.running()
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: true, by: Bench.user, time: Bench.at(5)))
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: false, by: Bench.user, time: Bench.at(6)))
        #expect(bench.job.task == .checkpoint(Incarnation(rawValue: 1), stops: true))
        #expect(
            bench.refusal(.requestRestore(job: Bench.id(1), generation: nil, by: Bench.user, time: Bench.at(7)))?.code
                == .conflict
        )
    }

    @Test func resizingChangesWhatHolds() {
        var bench = Bench.running { $0.resources.cpuLimit = 2 }
        var resize = Resize(
            job: Bench.id(1),
            allocation: .pin(1.5),
            cpuLimit: LimitOverride.CPU.none,
            memory: .gibibytes(1),
            by: Bench.user,
            time: Bench.at(5)
        )
        bench.apply(.requestResize(resize))
        #expect(bench.job.allocation == 1.5)
        #expect(bench.job.cpuLimit == nil)
        #expect(bench.job.memoryLimit == .gibibytes(1))
        bench.apply(.allocate(changes: [AllocationChange(job: Bench.id(1), allocation: 0.3)], time: Bench.at(6)))
        #expect(bench.job.allocation == 1.5)
        resize = Resize(
            job: Bench.id(1),
            allocation: .release,
            cpuLimit: .asSpecified,
            by: Bench.user,
            time: Bench.at(7)
        )
        bench.apply(.requestResize(resize))
        #expect(bench.job.cpuLimit == 2)
        bench.apply(.allocate(changes: [AllocationChange(job: Bench.id(1), allocation: 0.3)], time: Bench.at(8)))
        #expect(bench.job.allocation == 0.3)
    }

    @Test func impossibleSizesAreRefused() {
        var bench = Bench.running()
        func resize(
            _ allocation: Resize.Allocation? = nil,
            _ cpu: LimitOverride.CPU? = nil,
            _ memory: ByteCount? = nil
        ) -> Command {
            .requestResize(
                Resize(
                    job: Bench.id(1),
                    allocation: allocation,
                    cpuLimit: cpu,
                    memory: memory,
                    by: Bench.user,
                    time: Bench.at(5)
                )
            )
        }
        #expect(bench.refusal(resize())?.code == .invalid)
        #expect(bench.refusal(resize(.pin(0)))?.code == .invalid)
        #expect(bench.refusal(resize(.pin(VCPUCount(.infinity))))?.code == .invalid)
        #expect(bench.refusal(resize(nil, .limit(-1)))?.code == .invalid)
        #expect(bench.refusal(resize(nil, nil, .bytes(1)))?.code == .invalid)
        let infinite = AllocationChange(job: Bench.id(1), allocation: VCPUCount(.nan))
        #expect(bench.refusal(.allocate(changes: [infinite], time: Bench.at(5)))?.code == .invalid)
    }
}
