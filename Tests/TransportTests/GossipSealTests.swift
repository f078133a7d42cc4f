import ClusterModel
import Foundation
import Testing
import Transport
import WireFormat

/// What is sealed by one member of a cluster is opened by the others, once, and by nobody else.
struct GossipSealTests {
    private static let start = ContinuousClock().systemEpoch
    private static let cluster = ClusterID(rawValue: "flock")

    private static func keyring(_ number: UInt16 = 1) -> GossipKeyring {
        GossipKeyring(key: (0..<32).map { UInt8($0) ^ UInt8(truncatingIfNeeded: number) }, number: number)
    }

    private static func seal(
        _ sender: UInt64,
        cluster: ClusterID = cluster,
        pool: String = "",
        tag: UInt32 = 0,
        keyring: GossipKeyring = keyring(),
        salt: UInt32 = 1,
        from counter: UInt64 = 1_000,
        senderLimit: Int = 64
    ) throws -> GossipSeal {
        try GossipSeal(
            cluster: cluster,
            pool: pool,
            tag: tag,
            sender: sender,
            keyring: keyring,
            life: .init(salt: salt, firstCounter: counter),
            senderLimit: senderLimit
        )
    }

    private static func datagram(_ sender: UInt64, _ body: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = [1]
        bytes.appendInteger(sender)
        return bytes + body
    }

    private func refusal(_ body: () throws -> Void) -> GossipRefusal? {
        do { try body() } catch { return error as? GossipRefusal }
        return nil
    }

    @Test func othersOpenWhatOneSealed() throws {
        let (sender, receiver) = (try Self.seal(7), try Self.seal(8))
        for count in [0, 1, 23, 1_191, 8_183] {
            let datagram = Self.datagram(7, (0..<count).map { UInt8(truncatingIfNeeded: $0) })
            let sealed = try sender.seal(datagram)
            #expect(sealed.count == datagram.count + GossipSeal.overheadByteCount)
            #expect(Array(sealed[..<9]) == Array(datagram[..<9]))
            #expect(try receiver.open(sealed, now: Self.start) == datagram)
        }
        #expect(GossipSeal.overheadByteCount == 30)
        #expect(throws: GossipSealError.size(8)) { try sender.seal([1, 2, 3, 4, 5, 6, 7, 8]) }
        #expect(throws: GossipSealError.size(8_193)) {
            try sender.seal(Self.datagram(7, Array(repeating: 0, count: 8_184)))
        }
    }

    @Test func equalDatagramsAreSealedDifferently() throws {
        let (sender, datagram) = (try Self.seal(7), Self.datagram(7, Array(repeating: 0, count: 64)))
        let sealed = try (0..<100).map { _ in Array(try sender.seal(datagram)[23...]) }
        #expect(Set(sealed).count == 100)
        // Another node with the same salt and counter has another key.
        let other = Array(try Self.seal(9).seal(Self.datagram(9, Array(repeating: 0, count: 64)))[23...])
        #expect(!sealed.contains(other))
    }

    @Test func countersAreNeverWrapped() throws {
        let sender = try Self.seal(7, from: .max - 1)
        _ = try sender.seal(Self.datagram(7, [1]))
        #expect(throws: GossipSealError.countersSpent) { try sender.seal(Self.datagram(7, [1])) }
        #expect(throws: GossipSealError.countersSpent) { try sender.seal(Self.datagram(7, [1])) }
    }

    @Test func livesBeginWhereNoEarlierOneWas() throws {
        let first = try GossipSeal.Life.random(now: Timestamp(rawValue: 1_763_735_619_000_000_000))
        let second = try GossipSeal.Life.random(now: Timestamp(rawValue: 1_763_735_620_000_000_000))
        #expect(first.firstCounter == 1_763_735_619_000_000)
        #expect(second.firstCounter - first.firstCounter == 1_000_000)
        #expect(try GossipSeal.Life.random(now: .epoch).firstCounter > 0)
    }

    // MARK: Refusals

    @Test func strangersAreRefused() throws {
        let sealed = try Self.seal(7).seal(Self.datagram(7, [1, 2, 3]))
        func open(_ receiver: GossipSeal) -> GossipRefusal? {
            refusal { _ = try receiver.open(sealed, now: Self.start) }
        }
        #expect(open(try Self.seal(8)) == nil)
        #expect(open(try Self.seal(8, cluster: ClusterID(rawValue: "herd"))) == .forged)
        #expect(open(try Self.seal(8, keyring: Self.keyring(2))) == .unknownKey)
        // Another key under the same number.
        #expect(open(try Self.seal(8, keyring: GossipKeyring(key: Array(repeating: 9, count: 32)))) == .forged)
        #expect(open(try Self.seal(7, salt: 5)) == .ownName)
    }

    @Test func poolsNeverMix() throws {
        let datagram = Self.datagram(7, [1, 2, 3])
        let sealed = try Self.seal(7, pool: "coast", tag: 5).seal(datagram)
        #expect(sealed.count == datagram.count + GossipSeal.overheadByteCount + GossipSeal.poolTagByteCount)
        #expect(GossipSeal.poolTag(of: sealed) == 5)
        #expect(GossipSeal.poolTag(of: try Self.seal(7).seal(datagram)) == 0)
        #expect(GossipSeal.poolTag(of: [3, 0]) == nil && GossipSeal.poolTag(of: [2, 0]) == nil)
        func open(_ receiver: GossipSeal, _ bytes: [UInt8]) -> GossipRefusal? {
            refusal { _ = try receiver.open(bytes, now: Self.start) }
        }
        let coast = try Self.seal(8, pool: "coast", tag: 5)
        #expect(try coast.open(sealed, now: Self.start) == datagram)
        #expect(open(coast, sealed) == .replayed)
        #expect(open(try Self.seal(8), sealed) == .version)
        #expect(open(try Self.seal(8, pool: "hill", tag: 6), sealed) == .otherPool)
        // A tag that two names share does not make one pool of them, nor does one that was changed on the way.
        #expect(open(try Self.seal(8, pool: "hill", tag: 5), sealed) == .forged)
        var changed = sealed
        changed[12] = 6
        #expect(open(try Self.seal(8, pool: "coast", tag: 6), changed) == .forged)
    }

    @Test func wrongLengthsAndVersionsAreRefused() throws {
        let receiver = try Self.seal(8)
        let sealed = try Self.seal(7).seal(Self.datagram(7, []))
        for count in 0..<sealed.count {
            #expect(refusal { _ = try receiver.open(Array(sealed[..<count]), now: Self.start) } == .tooShort)
        }
        #expect(refusal { _ = try receiver.open(Array(repeating: 1, count: 8_223), now: Self.start) } == .tooLong)
        var other = sealed
        other[0] = 2
        #expect(refusal { _ = try receiver.open(other, now: Self.start) } == .version)
        #expect(receiver.senderCount == 0)
    }

    @Test(
        "every flipped bit, cut, swap and piece of noise is refused, and none stops the good ones",
        arguments: [1, 2, 3, 4]
    )
    func fuzz(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let (sender, receiver) = (try Self.seal(7), try Self.seal(8))
        var accepted = 0
        for round in 0..<2_000 {
            let body = (0..<Int(generator.next() % 200)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            let datagram = Self.datagram(7, body)
            let sealed = try sender.seal(datagram)
            var bytes = sealed
            switch generator.next() % 5 {
            case 0: bytes[Int(generator.next() % UInt64(bytes.count))] ^= 1 << UInt8(generator.next() & 7)
            case 1: bytes = Array(bytes[..<Int(generator.next() % UInt64(bytes.count))])
            case 2: bytes.append(UInt8(truncatingIfNeeded: generator.next()))
            case 3:
                bytes = (0..<Int(generator.next() % 300)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
                // Noise that looks right as far as one can see without the key.
                if bytes.count > 39, generator.next() & 1 == 0 { bytes.replaceSubrange(0..<15, with: sealed[..<15]) }
            default:
                let (one, two) = (
                    Int(generator.next() % UInt64(bytes.count)), Int(generator.next() % UInt64(bytes.count))
                )
                if bytes[one] == bytes[two] { bytes[one] ^= 0xFF } else { bytes.swapAt(one, two) }
            }
            #expect(throws: GossipRefusal.self, "seed \(seed), round \(round)") {
                try receiver.open(bytes, now: Self.start)
            }
            if try receiver.open(sealed, now: Self.start) == datagram { accepted += 1 }
        }
        #expect(accepted == 2_000)
        #expect(receiver.senderCount == 1)
    }

    // MARK: Replay

    @Test func eachDatagramIsOpenedOnce() throws {
        let (sender, receiver) = (try Self.seal(7), try Self.seal(8))
        let sealed = try (0..<200).map { try sender.seal(Self.datagram(7, [UInt8($0)])) }
        var generator = SeededGenerator(seed: 5)
        for bytes in sealed.shuffled(using: &generator) { _ = try receiver.open(bytes, now: Self.start) }
        for bytes in sealed {
            #expect(refusal { _ = try receiver.open(bytes, now: Self.start) } == .replayed)
        }
    }

    @Test func theWindowHoldsAThousandAndMore() throws {
        let (sender, receiver) = (try Self.seal(7), try Self.seal(8))
        let sealed = try (0..<3_000).map { _ in try sender.seal(Self.datagram(7, [])) }
        _ = try receiver.open(sealed[2_999], now: Self.start)
        _ = try receiver.open(sealed[2_999 - 1_024], now: Self.start)
        #expect(refusal { _ = try receiver.open(sealed[0], now: Self.start) } == .replayed)
    }

    @Test("random counters are accepted exactly as a set of all that were seen says", arguments: [1, 2, 3])
    func windowModel(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let receiver = try Self.seal(8)
        var seen: Set<UInt64> = []
        var highest: UInt64 = 0
        var middle: UInt64 = 10_000
        for _ in 0..<5_000 {
            // Mostly near the top, with leaps that clear words of the ring, or all of it.
            if generator.next() % 200 == 0 { middle += generator.next() % 6_000 }
            let counter = middle - 2_500 + generator.next() % 2_600
            let sealed = try Self.seal(7, from: counter).seal(Self.datagram(7, []))
            let isGood = refusal { _ = try receiver.open(sealed, now: Self.start) } == nil
            let expected = !seen.contains(counter) && (counter > highest || highest - counter < 1_984)
            #expect(isGood == expected, "counter \(counter), highest \(highest)")
            if isGood {
                seen.insert(counter)
                highest = max(highest, counter)
            }
        }
    }

    @Test func anEarlierLifeDoesNotComeBack() throws {
        let receiver = try Self.seal(8)
        let (first, second) = (try Self.seal(7, salt: 1, from: 1_000), try Self.seal(7, salt: 2, from: 9_000))
        let old = try (0..<3).map { _ in try first.seal(Self.datagram(7, [])) }
        _ = try receiver.open(old[0], now: Self.start)
        _ = try receiver.open(try second.seal(Self.datagram(7, [])), now: Self.start)
        #expect(refusal { _ = try receiver.open(old[1], now: Self.start) } == .replayed)
        _ = try receiver.open(try second.seal(Self.datagram(7, [])), now: Self.start)
    }

    @Test func aNodeWhoseClockWasSetBackIsHeardAgainAfterSilence() throws {
        let receiver = try Self.seal(8)
        _ = try receiver.open(try Self.seal(7, salt: 1, from: 9_000).seal(Self.datagram(7, [])), now: Self.start)
        let later = try Self.seal(7, salt: 2, from: 1_000)
        let soon = Self.start + .seconds(299)
        #expect(refusal { _ = try receiver.open(try later.seal(Self.datagram(7, [])), now: soon) } == .replayed)
        _ = try receiver.open(try later.seal(Self.datagram(7, [])), now: Self.start + GossipSeal.lifeTimeout)
    }

    @Test func whatIsRememberedOfSendersIsBounded() throws {
        let receiver = try Self.seal(8, senderLimit: 64)
        let busy = try Self.seal(7)
        let first = try busy.seal(Self.datagram(7, []))
        _ = try receiver.open(first, now: Self.start)
        for sender in 100..<1_000 as Range<UInt64> {
            _ = try receiver.open(try Self.seal(sender).seal(Self.datagram(sender, [])), now: Self.start)
            #expect(receiver.senderCount <= 64)
            // Who goes on speaking is not forgotten.
            _ = try receiver.open(try busy.seal(Self.datagram(7, [])), now: Self.start)
        }
        #expect(refusal { _ = try receiver.open(first, now: Self.start) } == .replayed)
    }

    // MARK: Rotation

    @Test func aKeyIsChangedWithoutAGap() throws {
        var keyring = try GossipKeyring.random()
        let nodes = try (1...4).map { try Self.seal(UInt64($0), keyring: keyring) }
        func everybodyHearsEverybody(_ comment: Comment) throws {
            for (index, sender) in nodes.enumerated() {
                let name = UInt64(index + 1)
                for receiver in nodes where receiver !== sender {
                    let sealed = try sender.seal(Self.datagram(name, [1]))
                    #expect(try receiver.open(sealed, now: Self.start) == Self.datagram(name, [1]), comment)
                }
            }
        }
        try everybodyHearsEverybody("before")
        let new = try keyring.addRandomKey()
        let added = keyring
        try keyring.use(new)
        let used = keyring
        try keyring.remove(1)
        for (step, next) in [("add", added), ("use", used), ("remove", keyring)] {
            // Each step reaches one node after the other.
            for node in nodes {
                try node.replaceKeyring(next)
                try everybodyHearsEverybody("\(step)")
            }
        }
        // Who missed it hears nothing, and is not heard.
        let missed = try Self.seal(9, keyring: added)
        try missed.replaceKeyring(GossipKeyring(key: Array(repeating: 1, count: 32)))
        let sealed = try nodes[0].seal(Self.datagram(1, []))
        #expect(refusal { _ = try missed.open(sealed, now: Self.start) } == .unknownKey)
    }

    @Test func aNumberThatGetsAnotherKeyIsNotOpenedWithTheOldOne() throws {
        let (sender, receiver) = (try Self.seal(7), try Self.seal(8))
        _ = try receiver.open(try sender.seal(Self.datagram(7, [])), now: Self.start)
        let other = GossipKeyring(key: Array(repeating: 3, count: 32))
        try receiver.replaceKeyring(other)
        #expect(refusal { _ = try receiver.open(try sender.seal(Self.datagram(7, [])), now: Self.start) } == .forged)
        try sender.replaceKeyring(other)
        _ = try receiver.open(try sender.seal(Self.datagram(7, [])), now: Self.start)
    }
}
