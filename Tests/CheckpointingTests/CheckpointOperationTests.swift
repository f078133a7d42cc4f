import Checkpointing
import ClusterModel
import Testing

/// Instants for tests: no clock is read.
let origin = ContinuousClock().systemEpoch

func stored(_ generation: UInt32 = 4, rawBytes: Int64 = 100) -> CheckpointRecord {
    CheckpointRecord(
        job: JobID(rawValue: "job"),
        incarnation: Incarnation(rawValue: 1),
        generation: CheckpointGeneration(rawValue: generation),
        taken: Timestamp(seconds: Double(generation)),
        frozen: .zero,
        total: .zero,
        rawBytes: .bytes(rawBytes),
        storedBytes: .bytes(10),
        ledger: .seconds(Int64(generation))
    )
}

struct CheckpointOperationTests {
    func operation(stops: Bool = false, gibibytes: Int64 = 0) -> CheckpointOperation {
        let request = CheckpointRequest(
            job: JobID(rawValue: "job"),
            incarnation: Incarnation(rawValue: 1),
            generation: CheckpointGeneration(rawValue: 4),
            stopsContainer: stops,
            expectedBytes: .gibibytes(gibibytes)
        )
        return CheckpointOperation(request, now: origin)
    }

    @Test("a checkpoint freezes, lifts the quota, dumps, captures, thaws, and compresses only then")
    func runsOn() {
        var checkpoint = operation()
        #expect(checkpoint.drainEffects() == [.prepare])
        checkpoint.receive(.prepared, now: origin + .seconds(1))
        #expect(checkpoint.drainEffects() == [.freeze])
        checkpoint.receive(.frozen, now: origin + .seconds(2))
        #expect(checkpoint.drainEffects() == [.liftQuota, .dump])
        checkpoint.receive(.dumped, now: origin + .seconds(3))
        #expect(checkpoint.drainEffects() == [.captureLayer])
        checkpoint.receive(.layerCaptured, now: origin + .seconds(4))
        #expect(checkpoint.drainEffects() == [.restoreQuota, .thaw])
        checkpoint.receive(.thawed, now: origin + .seconds(5))
        #expect(checkpoint.drainEffects() == [.compress(frozen: .seconds(3), elapsed: .seconds(5))])
        checkpoint.receive(.stored(stored()), now: origin + .seconds(6))
        #expect(checkpoint.drainEffects() == [.removeWorkFiles, .record(stored()), .finished(.recorded(stored()))])
        #expect(checkpoint.isFinished)
        #expect(checkpoint.deadline == nil)
        #expect(checkpoint.phase == .recorded)
    }

    @Test("a container that is to stop stands still until its images are recorded")
    func stops() {
        var checkpoint = operation(stops: true)
        for event in [.prepared, .frozen, .dumped, .layerCaptured] as [CheckpointEvent] {
            checkpoint.receive(event, now: origin)
        }
        #expect(checkpoint.drainEffects().last == .compress(frozen: .zero, elapsed: .zero))
        checkpoint.receive(.stored(stored()), now: origin)
        #expect(checkpoint.drainEffects() == [.removeWorkFiles, .record(stored()), .stop])
        checkpoint.receive(.stopped, now: origin)
        #expect(checkpoint.drainEffects() == [.finished(.recorded(stored()))])
    }

    @Test("a container that was to stop runs on when its images cannot be stored")
    func stopFails() {
        var checkpoint = operation(stops: true)
        for event in [.prepared, .frozen, .dumped, .layerCaptured] as [CheckpointEvent] {
            checkpoint.receive(event, now: origin)
        }
        _ = checkpoint.drainEffects()
        checkpoint.receive(.failed(during: .compressing, reason: "the disk is full"), now: origin)
        #expect(checkpoint.drainEffects() == [.cancelCompression, .restoreQuota, .thaw, .removeWorkFiles])
        checkpoint.receive(.thawed, now: origin)
        let failure = CheckpointFailure(
            cause: .stepFailed,
            phase: .compressing,
            generation: CheckpointGeneration(rawValue: 4),
            reason: "the disk is full"
        )
        #expect(checkpoint.drainEffects() == [.finished(.failed(failure))])
        #expect(failure.description == "checkpoint 4 was given up while the images were being stored: the disk is full")
    }

    @Test("each phase that stands still has a limit, after which the container is thawed", arguments: 0...2)
    func limits(phasesDone: Int) throws {
        var checkpoint = operation(gibibytes: 2)
        for event in [.prepared, .frozen, .dumped].prefix(phasesDone + 1) as ArraySlice<CheckpointEvent> {
            checkpoint.receive(event, now: origin)
        }
        _ = checkpoint.drainEffects()
        let limit = try #require(checkpoint.deadline)
        #expect(origin.duration(to: limit) == [.seconds(5), .seconds(70), .seconds(60)][phasesDone])
        checkpoint.tick(now: limit - .nanoseconds(1))
        #expect(checkpoint.drainEffects().isEmpty)
        checkpoint.tick(now: limit)
        #expect(checkpoint.drainEffects() == [.cancelDump, .restoreQuota, .thaw, .removeWorkFiles])
        #expect(checkpoint.phase == .undoing)
        // The overtaken answer changes nothing.
        checkpoint.receive(.frozen, now: limit)
        checkpoint.receive(.dumped, now: limit)
        checkpoint.receive(.layerCaptured, now: limit)
        #expect(checkpoint.drainEffects().isEmpty)
        checkpoint.receive(.thawed, now: limit)
        #expect(checkpoint.phase == .failed)
    }

    @Test("a thaw that fails is tried for ever, more slowly, and a person is told")
    func thawsForEver() throws {
        var checkpoint = operation()
        for event in [.prepared, .frozen, .dumped, .layerCaptured] as [CheckpointEvent] {
            checkpoint.receive(event, now: origin)
        }
        _ = checkpoint.drainEffects()
        var now = origin
        var thaws = 0
        var warnings = 0
        for _ in 0..<200 {
            checkpoint.receive(.failed(during: .thawing, reason: "busy"), now: now)
            let next = try #require(checkpoint.deadline)
            #expect(now.duration(to: next) <= .seconds(5))
            now = next
            checkpoint.tick(now: now)
            for effect in checkpoint.drainEffects() {
                if effect == .thaw { thaws += 1 }
                if case .warn = effect { warnings += 1 }
            }
        }
        #expect(thaws == 200)
        #expect(warnings == 4)
        checkpoint.receive(.thawed, now: now)
        #expect(checkpoint.phase == .compressing)
    }

    @Test("nothing was begun: a refusal ends at once")
    func refused() {
        var checkpoint = operation()
        _ = checkpoint.drainEffects()
        checkpoint.receive(.failed(during: .requested, reason: "it uses io_uring"), now: origin)
        let effects = checkpoint.drainEffects()
        #expect(effects.first == .removeWorkFiles)
        guard case .finished(.failed(let failure)) = effects.last else {
            Issue.record("no end in \(effects)")
            return
        }
        #expect(failure.cause == .refused)
    }

    @Test("images of a container that ends while being thawed are kept")
    func endsWhileThawing() {
        var checkpoint = operation()
        for event in [.prepared, .frozen, .dumped, .layerCaptured, .containerEnded] as [CheckpointEvent] {
            checkpoint.receive(event, now: origin)
        }
        #expect(checkpoint.phase == .compressing)
        checkpoint.receive(.stored(stored()), now: origin)
        #expect(checkpoint.phase == .recorded)
    }

    /// A container and an agent that fail in every way: whatever happens, nothing stays frozen and no quota stays lifted.
    @Test(
        "random failures at random moments leave the container running with its quota",
        arguments: 1...300 as ClosedRange<UInt64>
    )
    func randomWalk(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let stops = Bool.random(using: &generator)
        var checkpoint = operation(stops: stops)
        var now = origin
        var isFrozen = false
        var hasQuota = true
        var isGone = false
        var outcome: CheckpointOutcome?
        var pending: [CheckpointEvent] = []
        var hasRecord = false
        for _ in 0..<10_000 where outcome == nil {
            for effect in checkpoint.drainEffects() {
                #expect(outcome == nil, "\(effect) after the end")
                // Calm comes at last: after an hour all steps succeed.
                let fails = Int.random(in: 0..<4, using: &generator) == 0 && now < origin + .seconds(3600)
                let answers = fails ? Bool.random(using: &generator) : true
                func answer(_ event: CheckpointEvent, _ phase: CheckpointPhase) {
                    if answers { pending.append(fails ? .failed(during: phase, reason: "chance") : event) }
                }
                switch effect {
                case .prepare: answer(.prepared, .requested)
                case .freeze:
                    isFrozen = !isGone
                    answer(.frozen, .freezing)
                case .liftQuota:
                    #expect(isFrozen || isGone)
                    hasQuota = false
                case .dump: answer(.dumped, .dumping)
                case .captureLayer:
                    #expect(isFrozen || isGone)
                    answer(.layerCaptured, .capturingLayer)
                case .restoreQuota: hasQuota = true
                case .thaw:
                    if !fails { isFrozen = false }
                    answer(.thawed, checkpoint.phase)
                case .compress:
                    #expect(stops == isFrozen || isGone)
                    answer(.stored(stored()), .compressing)
                case .record: hasRecord = true
                case .stop:
                    #expect(hasRecord)
                    if !fails { (isGone, isFrozen) = (true, false) }
                    answer(.stopped, .stopping)
                case .cancelDump, .cancelCompression: pending.removeAll()
                case .removeWorkFiles, .warn: break
                case .finished(let end): outcome = end
                }
            }
            switch Int.random(in: 0..<100, using: &generator) {
            case 0 where !isGone:
                (isGone, isFrozen) = (true, false)
                pending.append(.containerEnded)
            case 1..<3: checkpoint.receive(.cancelled(reason: "chance"), now: now)
            case 3..<5: checkpoint.receive([.frozen, .dumped].randomElement(using: &generator) ?? .dumped, now: now)
            default: break
            }
            if isGone { hasQuota = true }
            if !pending.isEmpty, Int.random(in: 0..<3, using: &generator) > 0 {
                now = now + .milliseconds(Int64.random(in: 0...50, using: &generator))
                checkpoint.receive(pending.removeFirst(), now: now)
            } else if let deadline = checkpoint.deadline {
                now = max(now, deadline)
                checkpoint.tick(now: now)
            }
        }
        let end = try #require(outcome, "it never ended")
        #expect(!isFrozen)
        #expect(hasQuota)
        if case .recorded = end { #expect(hasRecord) } else { #expect(!hasRecord) }
        #expect(checkpoint.isFinished)
        #expect(checkpoint.deadline == nil)
    }
}
