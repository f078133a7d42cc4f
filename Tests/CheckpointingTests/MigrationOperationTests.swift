import Checkpointing
import ClusterModel
import Testing

/// The two sides of a move: what each does next, and what neither does unasked.
struct MigrationOperationTests {
    private static let start = ContinuousClock().systemEpoch
    private static let request = MigrationSourceRequest(
        job: JobID(rawValue: "job1aaaaaaaa"),
        number: 1,
        incarnation: Incarnation(rawValue: 1)
    )

    /// Tells events, one second after the other, and gives all effects.
    private func tell(
        _ operation: inout MigrationSourceOperation,
        _ events: [MigrationSourceEvent]
    ) -> [MigrationSourceEffect] {
        var effects = operation.drainEffects()
        for event in events {
            operation.receive(event, now: Self.start + .seconds(1))
            effects += operation.drainEffects()
        }
        return effects
    }

    private static let untilMarked: [MigrationSourceEvent] = [.prepared, .frozen, .dumped, .layerCaptured, .marked]

    @Test func theSourceHandsOverAndLetsGo() {
        var operation = MigrationSourceOperation(Self.request, now: Self.start)
        let effects = tell(&operation, Self.untilMarked + [.handedOver, .released, .stopped])
        #expect(
            effects == [
                .prepare, .freeze, .liftQuota, .dump(isLazy: false), .captureLayer, .mark, .serve,
                .handOver(stoodStill: .zero), .serve, .stopServing, .stop, .removeWorkFiles, .finished(.released),
            ]
        )
    }

    /// Each step may fail or never end before the hand-over was proposed: the container is thawed and the state hears of it.
    @Test(arguments: 0..<4, [true, false])
    func beforeTheHandOverAFailureThaws(_ step: Int, isSilent: Bool) {
        var operation = MigrationSourceOperation(Self.request, now: Self.start)
        _ = tell(&operation, Array(Self.untilMarked.prefix(step)))
        if isSilent {
            operation.tick(now: Self.start + .seconds(10_000))
        } else {
            operation.receive(.failed(during: operation.phase, reason: "It broke"), now: Self.start)
        }
        let effects = operation.drainEffects()
        #expect(effects.contains(.thaw) == (step > 0))
        let rest = tell(&operation, step > 0 ? [.thawed] : [])
        #expect((effects + rest).contains { if case .giveUp = $0 { true } else { false } })
        operation.receive(.isOurs(reason: "given up"), now: Self.start)
        #expect(operation.isFinished && !operation.holdsStill)
    }

    @Test func onceTheHandOverIsProposedOnlyTheStateThaws() {
        for resumed in [false, true] {
            var operation =
                resumed
                ? MigrationSourceOperation(resuming: Self.request, now: Self.start)
                : MigrationSourceOperation(Self.request, now: Self.start)
            _ = tell(&operation, resumed ? [] : Self.untilMarked)
            #expect(operation.phase == .handingOver)
            operation.receive(.cancelled(reason: "the agent stops"), now: Self.start)
            operation.receive(.failed(during: .handingOver, reason: "no answer"), now: Self.start)
            operation.tick(now: Self.start + .seconds(10_000))
            #expect(!operation.drainEffects().contains(.thaw) && operation.holdsStill)
            operation.receive(.handedOver, now: Self.start)
            operation.tick(now: Self.start + .seconds(20_000))
            operation.receive(.cancelled(reason: "the agent stops"), now: Self.start)
            #expect(!operation.drainEffects().contains(.thaw) && operation.holdsStill)
            operation.receive(.isOurs(reason: "the destination failed"), now: Self.start)
            #expect(operation.drainEffects() == [.stopServing, .restoreQuota, .thaw])
            operation.receive(.thawed, now: Self.start)
            #expect(
                operation.drainEffects() == [
                    .removeWorkFiles, .finished(.keptRunning(reason: "the destination failed")),
                ]
            )
        }
    }

    @Test func aThawIsTriedAsOftenAsItTakes() {
        var operation = MigrationSourceOperation(Self.request, now: Self.start)
        _ = tell(&operation, Self.untilMarked + [.isOurs(reason: "aborted")])
        var now = Self.start
        for _ in 0..<10 {
            operation.receive(.failed(during: .thawing, reason: "busy"), now: now)
            now = (operation.deadline ?? now) + .milliseconds(1)
            operation.tick(now: now)
            #expect(operation.drainEffects().contains(.thaw))
        }
        operation.receive(.thawed, now: now)
        #expect(operation.isFinished)
    }

    @Test func theDestinationRestoresOnlyWhatWasHandedOver() {
        var operation = MigrationDestinationOperation(isHandedOver: false, now: Self.start)
        #expect(operation.drainEffects() == [.fetch])
        operation.receive(.fetched(bytes: .mebibytes(64)), now: Self.start)
        operation.tick(now: Self.start + .seconds(10_000))
        #expect(operation.drainEffects().isEmpty && operation.phase == .awaiting)
        operation.receive(.handedOver(isLazy: false), now: Self.start)
        #expect(operation.drainEffects() == [.restore])
        operation.receive(.restored, now: Self.start)
        #expect(operation.drainEffects() == [.restoreQuota, .announce])
        operation.receive(.accepted, now: Self.start)
        #expect(operation.drainEffects() == [.removeWorkFiles, .conclude])
        operation.receive(.accepted, now: Self.start)
        #expect(operation.drainEffects() == [.finished(.running)])
    }

    @Test func aFailureIsToldWhenNothingIsLeft() {
        var operation = MigrationDestinationOperation(isHandedOver: true, now: Self.start)
        operation.receive(.fetched(bytes: .mebibytes(64)), now: Self.start)
        operation.receive(.failed(during: .restoring, reason: "CRIU refused", isFinal: true), now: Self.start)
        #expect(operation.drainEffects() == [.fetch, .restore, .hangUp, .cleanUp])
        operation.tick(now: Self.start + .seconds(60))
        #expect(operation.drainEffects() == [.cleanUp])
        operation.receive(.cleanedUp, now: Self.start)
        #expect(operation.drainEffects() == [.tell(reason: "CRIU refused")])
        operation.receive(.accepted, now: Self.start)
        #expect(operation.drainEffects() == [.finished(.failed(reason: "CRIU refused"))])
    }

    @Test func aLineThatBreaksIsTriedAgainUntilNothingComesAnyMore() {
        var operation = MigrationDestinationOperation(isHandedOver: true, now: Self.start)
        _ = operation.drainEffects()
        operation.receive(.progressed, now: Self.start + .seconds(5))
        operation.receive(.failed(during: .fetching, reason: "cut", isFinal: false), now: Self.start + .seconds(6))
        #expect(operation.drainEffects().isEmpty)
        operation.tick(now: Self.start + .seconds(7))
        #expect(operation.drainEffects() == [.fetch])
        operation.tick(now: Self.start + .seconds(26))
        #expect(operation.drainEffects() == [.hangUp, .cleanUp])
    }

    /// Whoever follows the memory that is still to come concludes; until then the source is needed.
    @Test func aLazyDestinationEndsWhenItsContainerRuns() {
        for isKnownEarly in [true, false] {
            var operation = MigrationDestinationOperation(
                isHandedOver: isKnownEarly,
                isLazy: isKnownEarly,
                now: Self.start
            )
            operation.receive(.fetched(bytes: .mebibytes(1)), now: Self.start)
            operation.receive(.handedOver(isLazy: true), now: Self.start)
            operation.receive(.restored, now: Self.start)
            #expect(operation.drainEffects() == [.fetch, .restore, .restoreQuota, .announce])
            operation.receive(.accepted, now: Self.start)
            #expect(operation.drainEffects() == [.removeWorkFiles, .finished(.running)])
        }
    }

    // MARK: An address of its own

    private static let addressed = MigrationSourceRequest(
        job: JobID(rawValue: "job1aaaaaaaa"),
        number: 1,
        incarnation: Incarnation(rawValue: 1),
        hasAddress: true
    )

    @Test func theSourceGivesTheNetworkWhenItIsHandedOverAndNotBefore() {
        var operation = MigrationSourceOperation(Self.addressed, now: Self.start)
        let before = tell(&operation, Self.untilMarked)
        #expect(!before.contains(.offerNetwork) && !before.contains(.leaveNetwork))
        #expect(tell(&operation, [.handedOver]) == [.serve, .offerNetwork])
        #expect(tell(&operation, [.destinationRuns]) == [.leaveNetwork])
        #expect(tell(&operation, [.released, .stopped]).contains(.finished(.released)))

        // The state was ahead of the answer.
        var late = MigrationSourceOperation(Self.addressed, now: Self.start)
        #expect(tell(&late, Self.untilMarked + [.destinationRuns]).last == .handOver(stoodStill: .zero))
        #expect(tell(&late, [.handedOver]) == [.serve, .offerNetwork, .leaveNetwork])
    }

    @Test(arguments: [false, true])
    func aSourceThatKeepsItsContainerTakesTheNetworkBack(_ isResumed: Bool) {
        var operation =
            isResumed
            ? MigrationSourceOperation(resuming: Self.addressed, now: Self.start)
            : MigrationSourceOperation(Self.addressed, now: Self.start)
        let events = (isResumed ? [] : Self.untilMarked + [.handedOver]) + [.isOurs(reason: "failed"), .thawed]
        #expect(
            tell(&operation, events).suffix(5) == [
                .restoreQuota, .thaw, .takeNetworkBack, .removeWorkFiles, .finished(.keptRunning(reason: "failed")),
            ]
        )
    }

    private func arrived() -> MigrationDestinationOperation {
        var operation = MigrationDestinationOperation(isHandedOver: true, hasAddress: true, now: Self.start)
        operation.receive(.fetched(bytes: .mebibytes(1)), now: Self.start)
        operation.receive(.restored, now: Self.start)
        return operation
    }

    @Test func theDestinationConnectsWhatRunsBeforeItSaysSo() {
        var operation = arrived()
        #expect(operation.drainEffects() == [.fetch, .restore, .restoreQuota, .takeFrames])
        operation.receive(.framesTaken, now: Self.start)
        #expect(operation.drainEffects() == [.connect])
        operation.receive(.connected, now: Self.start)
        #expect(operation.drainEffects() == [.announce])
    }

    /// A source that is gone, slow or refuses costs the frames and not the move.
    @Test(arguments: [false, true])
    func framesThatCannotBeHadAreNotWaitedFor(_ isSilent: Bool) {
        var operation = arrived()
        _ = operation.drainEffects()
        if isSilent {
            operation.tick(now: Self.start + .seconds(3))
        } else {
            operation.receive(.failed(during: .connecting, reason: "cut", isFinal: true), now: Self.start)
        }
        let effects = operation.drainEffects()
        #expect(effects.first == .hangUp && effects.last == .connect)
        // What comes too late is not taken for an answer to something else.
        operation.receive(.framesTaken, now: Self.start)
        #expect(operation.drainEffects().isEmpty && operation.phase == .connecting)
    }

    @Test func aBridgeThatDoesNotOpenIsTriedAgainAndThenTold() {
        var operation = arrived()
        operation.receive(.framesTaken, now: Self.start)
        var (now, attempts, isWarned) = (Self.start, 0, false)
        while operation.phase == .connecting {
            for effect in operation.drainEffects() where effect == .connect { attempts += 1 }
            operation.receive(.failed(during: .connecting, reason: "no bridge", isFinal: true), now: now)
            now = (operation.deadline ?? now) + .milliseconds(1)
            operation.tick(now: now)
        }
        for effect in operation.drainEffects() { if case .warn = effect { isWarned = true } }
        #expect(attempts == 5 && isWarned && operation.phase == .announcing)
    }
}
