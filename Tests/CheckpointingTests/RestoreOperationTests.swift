import Checkpointing
import ClusterModel
import Testing

struct RestoreOperationTests {
    func generation(_ number: UInt32) -> CheckpointGeneration { CheckpointGeneration(rawValue: number) }

    func operation(_ generations: [UInt32], startsOver: Bool = true) -> RestoreOperation {
        let request = RestoreRequest(
            job: JobID(rawValue: "job"),
            candidates: generations.map { stored($0) },
            startsOver: startsOver
        )
        return RestoreOperation(request, now: origin)
    }

    @Test("candidates are complete generations, newest first, from the asked one down")
    func candidates() {
        var records = [1, 2, 3, 4].map { stored($0) }
        records[2].damage = "a bit flipped"
        #expect(RestoreRequest.candidates(among: records).map(\.generation.rawValue) == [4, 2, 1])
        #expect(RestoreRequest.candidates(among: records, from: generation(3)).map(\.generation.rawValue) == [2, 1])
    }

    @Test("a good image runs after verifying and extracting it")
    func restores() {
        var restore = operation([7, 6])
        #expect(restore.drainEffects() == [.verify(generation(7))])
        restore.receive(.verified, now: origin)
        #expect(restore.drainEffects() == [.extract(generation(7))])
        restore.receive(.extracted, now: origin)
        #expect(restore.drainEffects() == [.restore(generation(7))])
        #expect(restore.candidate?.generation == generation(7))
        restore.receive(.restored, now: origin)
        #expect(
            restore.drainEffects() == [.restoreQuota, .removeWorkFiles, .finished(.running(stored(7), passedOver: []))]
        )
        #expect(restore.deadline == nil)
    }

    @Test("a damaged image is marked and the generation before is taken, after cleaning up")
    func fallsBack() {
        var restore = operation([7, 6])
        restore.receive(.verified, now: origin)
        _ = restore.drainEffects()
        restore.receive(.failed(during: .extracting, .damaged(reason: "region 3 of pages-1.img")), now: origin)
        #expect(
            restore.drainEffects() == [.markDamaged(generation(7), reason: "region 3 of pages-1.img"), .cleanUp]
        )
        restore.receive(.cleanedUp, now: origin)
        #expect(restore.drainEffects() == [.verify(generation(6))])
        for event in [.verified, .extracted, .restored] as [RestoreEvent] { restore.receive(event, now: origin) }
        let passed = RestoreOutcome.PassedOver(generation: generation(7), reason: "region 3 of pages-1.img")
        #expect(restore.drainEffects().last == .finished(.running(stored(6), passedOver: [passed])))
    }

    @Test("what CRIU refuses is tried once more, then passed over without being marked")
    func refused() {
        var restore = operation([7, 6])
        for _ in 0..<2 {
            for event in [.verified, .extracted] as [RestoreEvent] { restore.receive(event, now: origin) }
            restore.receive(.failed(during: .restoring, .refused(reason: "pid taken")), now: origin)
            #expect(!restore.drainEffects().contains { if case .markDamaged = $0 { true } else { false } })
            restore.receive(.cleanedUp, now: origin)
        }
        #expect(restore.candidate?.generation == generation(6))
    }

    @Test("nothing good left: from the beginning, or a failure that says so")
    func nothingLeft() {
        for startsOver in [true, false] {
            var restore = operation([7], startsOver: startsOver)
            restore.receive(.failed(during: .verifying, .damaged(reason: "no index")), now: origin)
            restore.receive(.cleanedUp, now: origin)
            let passed = [RestoreOutcome.PassedOver(generation: generation(7), reason: "no index")]
            let expected: RestoreOutcome =
                startsOver
                ? .startOver(passedOver: passed)
                : .failed(reason: "none of the 1 checkpoints could be restored", passedOver: passed)
            #expect(restore.drainEffects().last == .finished(expected))
            #expect(restore.phase == (startsOver ? .startingOver : .failed))
        }
        var none = operation([])
        #expect(none.drainEffects() == [.finished(.startOver(passedOver: []))])
        #expect(none.deadline == nil)
    }

    @Test("a lack of room throws no generation away")
    func unavailable() {
        var restore = operation([7, 6])
        restore.receive(.verified, now: origin)
        _ = restore.drainEffects()
        restore.receive(.failed(during: .extracting, .unavailable(reason: "no room in memory")), now: origin)
        #expect(restore.drainEffects() == [.cleanUp])
        restore.receive(.cleanedUp, now: origin)
        #expect(restore.drainEffects() == [.finished(.failed(reason: "no room in memory", passedOver: []))])
    }

    @Test("a clean-up is repeated until it is done, and answers that come late change nothing")
    func cleansUp() throws {
        var restore = operation([7, 6])
        for event in [.verified, .extracted] as [RestoreEvent] { restore.receive(event, now: origin) }
        _ = restore.drainEffects()
        var now = try #require(restore.deadline)
        restore.tick(now: now)
        #expect(restore.drainEffects() == [.cleanUp])
        restore.receive(.restored, now: now)
        #expect(restore.drainEffects().isEmpty)
        var cleanUps = 0
        for _ in 0..<10 {
            now = try #require(restore.deadline)
            restore.tick(now: now)
            cleanUps += restore.drainEffects().count { $0 == .cleanUp }
        }
        #expect(cleanUps == 10)
        restore.receive(.cancelled(reason: "the job was cancelled"), now: now)
        restore.receive(.cleanedUp, now: now)
        #expect(restore.drainEffects() == [.finished(.failed(reason: "the job was cancelled", passedOver: []))])
    }

    @Test("random failures: it ends, and never two attempts at once", arguments: 1...200 as ClosedRange<UInt64>)
    func randomWalk(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let count = UInt32.random(in: 0...4, using: &generator)
        var restore = operation((0..<count).map { 9 - $0 })
        var now = origin
        var mayExist = false
        var pending: RestoreEvent?
        var outcome: RestoreOutcome?
        for _ in 0..<10_000 where outcome == nil {
            for effect in restore.drainEffects() {
                let chance = Int.random(in: 0..<8, using: &generator)
                func answer(_ event: RestoreEvent) {
                    switch chance {
                    case 0: pending = .failed(during: restore.phase, .damaged(reason: "d"))
                    case 1: pending = .failed(during: restore.phase, .refused(reason: "r"))
                    case 2: pending = nil
                    default: pending = event
                    }
                }
                switch effect {
                case .verify:
                    #expect(!mayExist)
                    answer(.verified)
                case .extract: answer(.extracted)
                case .restore:
                    #expect(!mayExist)
                    mayExist = true
                    answer(.restored)
                case .cleanUp:
                    answer(.cleanedUp)
                    if pending == .cleanedUp { mayExist = false }
                case .finished(let end): outcome = end
                case .restoreQuota, .markDamaged, .removeWorkFiles, .warn: break
                }
            }
            if let event = pending {
                pending = nil
                restore.receive(event, now: now)
            } else if let deadline = restore.deadline {
                now = max(now, deadline)
                restore.tick(now: now)
            }
        }
        switch try #require(outcome) {
        case .running: #expect(mayExist)
        case .startOver, .failed: #expect(!mayExist)
        }
    }
}
