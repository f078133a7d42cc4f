import Checkpointing
import ClusterModel
import Testing

struct CopyTransferTests {
    static let start = ContinuousClock().systemEpoch
    static func at(_ seconds: Double) -> ContinuousClock.Instant { start + .seconds(seconds) }
    static let a = NodeID(rawValue: "a")
    static let b = NodeID(rawValue: "b")

    @Test("what comes from one holder is continued from the next")
    func continued() {
        var transfer = CopyTransfer(sources: [Self.a, Self.b], now: Self.start)
        #expect(transfer.drainEffects() == [.ask(Self.a, offset: 0, number: 1)])
        transfer.receive(.begun(dataLength: 100, number: 1), now: Self.at(1))
        transfer.receive(.received(byteCount: 60, number: 1), now: Self.at(2))
        transfer.receive(.failed(reason: "the line is gone", number: 1), now: Self.at(3))
        #expect(transfer.drainEffects() == [.ask(Self.b, offset: 60, number: 2)])
        // Late words of the first change nothing.
        transfer.receive(.received(byteCount: 40, number: 1), now: Self.at(3))
        transfer.receive(.begun(dataLength: 100, number: 2), now: Self.at(4))
        transfer.receive(.received(byteCount: 40, number: 2), now: Self.at(5))
        #expect(transfer.drainEffects() == [.hangUp, .store])
        transfer.receive(.stored, now: Self.at(6))
        #expect(transfer.drainEffects() == [.finished(.held(from: [Self.a, Self.b]))])
        #expect(transfer.isFinished && transfer.deadline == nil)
    }

    @Test("what came while the checkpoint was written is continued")
    func early() {
        var transfer = CopyTransfer(sources: [Self.a, Self.b], early: (Self.b, 40), now: Self.start)
        #expect(transfer.drainEffects() == [.ask(Self.b, offset: 40, number: 1)])
        transfer.receive(.begun(dataLength: 100, number: 1), now: Self.at(1))
        transfer.receive(.received(byteCount: 60, number: 1), now: Self.at(2))
        #expect(transfer.drainEffects() == [.hangUp, .store])
        transfer.receive(.stored, now: Self.at(3))
        #expect(transfer.drainEffects() == [.finished(.held(from: [Self.b]))])

        var whole = CopyTransfer(sources: [Self.a], early: (Self.a, 100), now: Self.start)
        _ = whole.drainEffects()
        whole.receive(.begun(dataLength: 100, number: 1), now: Self.at(1))
        #expect(whole.drainEffects() == [.hangUp, .store])
        var foreign = CopyTransfer(sources: [Self.a], early: (Self.b, 100), now: Self.start)
        #expect(foreign.drainEffects() == [.ask(Self.a, offset: 0, number: 1)], "of a node that does not have it")
    }

    @Test("early data that is of no use, or does not open, is fetched again before anyone is blamed")
    func badEarly() {
        var transfer = CopyTransfer(sources: [Self.a], early: (Self.a, 40), now: Self.start)
        _ = transfer.drainEffects()
        transfer.receive(.earlyIsOfNoUse(number: 1), now: Self.at(1))
        #expect(transfer.drainEffects() == [.hangUp, .discard, .ask(Self.a, offset: 0, number: 2)])

        var damaged = CopyTransfer(sources: [Self.a], early: (Self.a, 40), now: Self.start)
        damaged.receive(.begun(dataLength: 40, number: 1), now: Self.at(1))
        _ = damaged.drainEffects()
        damaged.receive(.rejected(reason: "region 1"), now: Self.at(2))
        #expect(damaged.drainEffects() == [.discard, .ask(Self.a, offset: 0, number: 2)])
        damaged.receive(.begun(dataLength: 40, number: 2), now: Self.at(3))
        damaged.receive(.received(byteCount: 40, number: 2), now: Self.at(3))
        damaged.receive(.rejected(reason: "region 1"), now: Self.at(4))
        #expect(damaged.drainEffects().contains(.blame(Self.a, reason: "region 1")))
    }

    @Test("a holder with another index is blamed, and the next is asked from the beginning")
    func wrongIndex() {
        var transfer = CopyTransfer(sources: [Self.a, Self.b], now: Self.start)
        transfer.receive(.isWrong(reason: "another index", number: 1), now: Self.at(1))
        #expect(
            transfer.drainEffects() == [
                .ask(Self.a, offset: 0, number: 1), .hangUp, .blame(Self.a, reason: "another index"), .discard,
                .ask(Self.b, offset: 0, number: 2),
            ]
        )
    }

    @Test("a bad region of which nobody knows the source is found by asking each alone")
    func mixedDamage() {
        var transfer = CopyTransfer(sources: [Self.a, Self.b], now: Self.start)
        transfer.receive(.begun(dataLength: 10, number: 1), now: Self.at(1))
        transfer.receive(.received(byteCount: 5, number: 1), now: Self.at(1))
        transfer.receive(.failed(reason: "gone", number: 1), now: Self.at(1))
        transfer.receive(.begun(dataLength: 10, number: 2), now: Self.at(1))
        transfer.receive(.received(byteCount: 5, number: 2), now: Self.at(1))
        transfer.receive(.rejected(reason: "region 1"), now: Self.at(2))
        let effects = transfer.drainEffects()
        #expect(!effects.contains { if case .blame = $0 { true } else { false } })
        #expect(effects.suffix(2) == [.discard, .ask(Self.b, offset: 0, number: 3)])
        transfer.receive(.begun(dataLength: 10, number: 3), now: Self.at(3))
        transfer.receive(.received(byteCount: 10, number: 3), now: Self.at(3))
        transfer.receive(.rejected(reason: "region 1"), now: Self.at(4))
        #expect(transfer.drainEffects().contains(.blame(Self.b, reason: "region 1")))
    }

    @Test("a silent holder is given up after its limit; the same one is asked again after a pause")
    func silence() {
        var transfer = CopyTransfer(sources: [Self.a], now: Self.start)
        _ = transfer.drainEffects()
        transfer.tick(now: Self.at(29))
        #expect(transfer.drainEffects().isEmpty)
        transfer.tick(now: Self.at(30))
        #expect(transfer.drainEffects() == [.hangUp])
        #expect(transfer.deadline == Self.at(31))
        transfer.tick(now: Self.at(31))
        #expect(transfer.drainEffects() == [.ask(Self.a, offset: 0, number: 2)])
    }

    @Test("no room here ends it at once, and nothing stays")
    func noRoom() {
        var transfer = CopyTransfer(sources: [Self.a, Self.b], now: Self.start)
        _ = transfer.drainEffects()
        transfer.receive(.noRoom(reason: "2 GiB needed"), now: Self.at(1))
        #expect(
            transfer.drainEffects() == [
                .hangUp, .discard, .finished(.failed(.declined(reason: "2 GiB needed"))),
            ]
        )
    }

    @Test("without a holder there is no copy")
    func nobody() {
        var transfer = CopyTransfer(sources: [], now: Self.start)
        #expect(
            transfer.drainEffects() == [
                .hangUp, .discard, .finished(.failed(.unreachable(reason: "no node that is there has it"))),
            ]
        )
    }

    /// Whatever holders do, a transfer ends; what it keeps is good, and with one good holder that answers it gets the copy.
    @Test("holders that fail, lie and stop, drawn by a seed", arguments: 0..<200 as Range<UInt64>)
    func drawn(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let length: UInt64 = 1000
        let names = (0..<Int.random(in: 1...4, using: &generator)).map { NodeID(rawValue: "h\($0)") }
        let isBad = names.map { _ in Int.random(in: 0..<3, using: &generator) == 0 }
        let failureRate = names.map { _ in [0.0, 0.1, 0.6][Int.random(in: 0..<3, using: &generator)] }
        var now = Self.start
        var transfer = CopyTransfer(sources: names, now: now)
        var pieces: [(bytes: UInt64, isBad: Bool)] = []
        var asked: (source: Int, number: Int)?
        var outcome: CopyTransferOutcome?
        var blamed: Set<NodeID> = []
        for _ in 0..<500 {
            guard outcome == nil else { break }
            now += .milliseconds(100)
            for effect in transfer.drainEffects() {
                switch effect {
                case .ask(let node, let offset, let number):
                    #expect(offset == pieces.reduce(0) { $0 + $1.bytes })
                    asked = names.firstIndex(of: node).map { ($0, number) }
                    transfer.receive(.begun(dataLength: length, number: number), now: now)
                case .hangUp: asked = nil
                case .discard: pieces = []
                case .store:
                    #expect(pieces.reduce(0) { $0 + $1.bytes } == length)
                    transfer.receive(
                        pieces.contains(where: \.isBad) ? .rejected(reason: "a region") : .stored,
                        now: now
                    )
                case .blame(let node, _):
                    blamed.insert(node)
                    #expect(names.firstIndex(of: node).map { isBad[$0] } == true, "a good holder is blamed")
                case .finished(let end): outcome = end
                }
            }
            guard let current = asked else {
                if let deadline = transfer.deadline { now = max(now, deadline) }
                transfer.tick(now: now)
                continue
            }
            if Double.random(in: 0..<1, using: &generator) < failureRate[current.source] {
                asked = nil
                transfer.receive(.failed(reason: "the line is gone", number: current.number), now: now)
            } else {
                let have = pieces.reduce(0) { $0 + $1.bytes }
                let count = min(length - have, UInt64.random(in: 1...400, using: &generator))
                pieces.append((count, isBad[current.source]))
                transfer.receive(.received(byteCount: Int(count), number: current.number), now: now)
            }
        }
        #expect(outcome != nil, "it does not end")
        if case .held = outcome {
            #expect(!pieces.contains { $0.isBad })
        } else {
            #expect(pieces.isEmpty, "what came stays")
            let steady = names.indices.contains { !isBad[$0] && failureRate[$0] == 0 }
            #expect(!steady, "a good holder that answers was not used")
        }
        if case .failed(.damaged) = outcome { #expect(blamed.count == names.count) }
    }
}

struct ByteRateTests {
    @Test("over any time the mean stays below the rate")
    func mean() {
        var rate = ByteRate(bytesPerSecond: 1_000_000)
        var now = ContinuousClock().systemEpoch
        let start = now
        for _ in 0..<50 { now += rate.pause(after: 100_000, now: now) }
        let took = start.duration(to: now)
        #expect(took >= .milliseconds(4850) && took <= .milliseconds(5000))
    }

    @Test("whether it is in use is known from what was taken note of")
    func unused() {
        var rate = ByteRate(bytesPerSecond: 1_000_000)
        let start = ContinuousClock().systemEpoch
        #expect(rate.untilUnused(for: .milliseconds(10), now: start) == .zero)
        _ = rate.pause(after: 1_100_000, now: start)
        let left = rate.untilUnused(for: .milliseconds(10), now: start)
        #expect(left > .milliseconds(1009) && left < .milliseconds(1011))
        #expect(rate.untilUnused(for: .milliseconds(10), now: start + .seconds(2)) == .zero)
    }

    @Test("no bound, no pause")
    func unbounded() {
        var rate = ByteRate(bytesPerSecond: 0)
        #expect(rate.pause(after: 1 << 40, now: ContinuousClock().systemEpoch) == .zero)
        #expect(rate.untilUnused(for: .seconds(1), now: ContinuousClock().systemEpoch) == .zero)
    }
}
