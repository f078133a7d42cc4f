import ClusterModel
import Foundation
import ResourceSamples
import Testing

@testable import Agent

/// Facts are as `proto/gossip.md` says, fit their bound, and survive agents of other releases.
struct MembershipFactsTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "proto/vectors/node-facts")

    private static func vector(_ name: String) throws -> [UInt8] {
        let digits = try String(contentsOf: folder.appending(path: "\(name).hex"), encoding: .utf8)
            .filter { !$0.isWhitespace }
        return stride(from: 0, to: digits.count, by: 2).compactMap { offset in
            let start = digits.index(digits.startIndex, offsetBy: offset)
            return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
        }
    }

    private static let load = NodeFactsSummary.Load(
        capacity: 7.5,
        allocated: 4,
        used: 3.25,
        memoryTotal: .gibibytes(64),
        memoryUsed: .gibibytes(12),
        containerCount: 3
    )

    private static let worker: NodeFactsSummary = {
        var facts = NodeFactsSummary()
        facts.address = "worker-1.example:7420"
        facts.version = "0.1.0"
        facts.site = SiteID(rawValue: "coast")
        facts.role = .worker
        facts.capabilities = ["cgroup", "criu"]
        facts.load = load
        facts.deviceModel = "NVIDIA H100"
        facts.devices = [
            .init(vendor: .nvidia, utilization: 0.42, memoryTotal: .gibibytes(80), memoryUsed: .gibibytes(10)),
            .init(vendor: .nvidia, memoryTotal: .gibibytes(80), memoryUsed: .zero, hasProblem: true),
        ]
        facts.startedAt = 1_763_735_619
        facts.cgroupVersion = 2
        facts.kernel = "6.8.0-generic"
        return facts
    }()

    @Test func bytesAreTheGoldenOnes() throws {
        let bytes = try Self.vector("worker")
        #expect(Self.worker.encoded() == bytes)
        #expect(try NodeFactsSummary.decode(bytes.span) == Self.worker)
        let nothing: [UInt8] = []
        #expect(try NodeFactsSummary.decode(nothing.span) == NodeFactsSummary())
        #expect(NodeFactsSummary().encoded() == [])
    }

    @Test func whatANewerAgentAddsIsPassedOver() throws {
        var expected = NodeFactsSummary()
        expected.load = Self.load
        let bytes = try Self.vector("newer-agent")
        #expect(try NodeFactsSummary.decode(bytes.span) == expected)
    }

    @Test func theLargestFactsFit() throws {
        var facts = Self.worker
        facts.address = String(repeating: "ä", count: 300)
        facts.version = String(repeating: "v", count: 300)
        facts.deviceModel = String(repeating: "m", count: 300)
        facts.kernel = String(repeating: "k", count: 300)
        facts.site = SiteID(rawValue: String(repeating: "s", count: 63))
        facts.capabilities = Set(NodeFactsSummary.capabilityNames)
        facts.devices = Array(repeating: facts.devices[0], count: 40)
        let bytes = facts.encoded()
        #expect(bytes.count <= NodeFactsSummary.byteLimit)
        let decoded = try NodeFactsSummary.decode(bytes.span)
        #expect(decoded.load == facts.load)
        #expect(decoded.capabilities == facts.capabilities)
        #expect(decoded.startedAt == facts.startedAt && decoded.kernel.count == 31)
        #expect(decoded.address == String(repeating: "ä", count: decoded.address.count))
        #expect(!decoded.devices.isEmpty)
    }

    @Test("mutated bytes never trap", arguments: [1, 2, 3] as [UInt64])
    func fuzz(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let corpus = try [Self.vector("worker"), Self.vector("newer-agent")]
        for _ in 0..<5_000 {
            var bytes = corpus[Int(generator.next() % 2)]
            for _ in 0...(generator.next() % 4) where !bytes.isEmpty {
                let index = Int(generator.next() % UInt64(bytes.count))
                switch generator.next() % 3 {
                case 0: bytes[index] = UInt8(truncatingIfNeeded: generator.next())
                case 1: bytes.removeSubrange(index...)
                default: bytes.insert(UInt8(truncatingIfNeeded: generator.next()), at: index)
                }
            }
            guard let facts = try? NodeFactsSummary.decode(bytes.span) else { continue }
            // What was read can be written and read again.
            let again = facts.encoded()
            #expect(try NodeFactsSummary.decode(again.span).encoded() == again)
        }
        let tooMany = Array(repeating: UInt8(0), count: 513)
        #expect(throws: (any Error).self) { try NodeFactsSummary.decode(tooMany.span) }
    }

    @Test func otherSitesAreToldWhatDoesNotChangeAllTheTime() throws {
        let short = try NodeFactsSummary.decode(NodeFactsSummary.shortened(Self.worker.encoded()).span)
        #expect(short.address == Self.worker.address && short.capabilities == Self.worker.capabilities)
        #expect(short.load.capacity == 7.5 && short.load.used == .zero && short.load.containerCount == 0)
        #expect(short.devices.map(\.hasProblem) == [false, true] && short.devices[0].utilization == nil)
        var busier = Self.worker
        busier.load.used = 7
        busier.devices[0].utilization = 0.9
        #expect(NodeFactsSummary.shortened(busier.encoded()) == NodeFactsSummary.shortened(Self.worker.encoded()))
        #expect(NodeFactsSummary.shortened([1, 200]) == [])
    }

    // MARK: When they are told

    private static let start = ContinuousClock().systemEpoch

    /// Seconds after which each of these changes, shown every half second, is told; nil within two hours.
    private static func delay(members: Int = 10, _ change: (inout NodeFactsSummary, Int) -> Void) -> Double? {
        var pace = NodeFactsPace()
        var facts = worker
        let isFirst = pace.mustTell(facts, memberCount: members, now: start)
        #expect(isFirst)
        for step in 1...14_400 {
            change(&facts, step)
            guard pace.mustTell(facts, memberCount: members, now: start + .milliseconds(500) * step) else { continue }
            return Double(step) / 2
        }
        return nil
    }

    @Test func anythingButALoadIsToldAtOnce() {
        #expect(Self.delay { facts, _ in facts.capabilities = ["gpu"] } == 0.5)
        #expect(Self.delay { facts, _ in facts.devices[0].hasProblem = true } == 0.5)
        #expect(Self.delay { facts, _ in facts.devices = Array(facts.devices.prefix(1)) } == 0.5)
        #expect(Self.delay { facts, _ in facts.load.capacity = 8 } == 0.5)
        #expect(Self.delay { facts, _ in facts.address = "elsewhere:7420" } == 0.5)
    }

    @Test func aLoadIsToldWhenItMovedAFifthAndStaysSo() {
        #expect(Self.delay { facts, _ in facts.load.used = 5 } == 20)
        #expect(Self.delay { facts, _ in facts.load.memoryUsed = .gibibytes(40) } == 20)
        #expect(Self.delay { facts, _ in facts.load.containerCount = 0 } == 20)
        #expect(Self.delay { facts, _ in facts.devices[0].utilization = 0.9 } == 20)
        // In a pool of a thousand ten times as rarely.
        #expect(Self.delay(members: 1_000) { facts, _ in facts.load.used = 5 } == 200)
        // A peak that passes within five seconds is not news.
        #expect(Self.delay { facts, step in facts.load.used = step % 10 == 0 ? 7 : 3.25 } == nil)
    }

    @Test func aLoadThatHardlyMovesCostsNothing() {
        #expect(Self.delay { facts, step in facts.load.used = step % 2 == 0 ? 3.2 : 3.3 } == nil)
        #expect(Self.delay { facts, _ in facts.load.used = 4 } == 3_600)
    }
}
