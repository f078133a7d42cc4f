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
        facts.site = SiteID(rawValue: String(repeating: "s", count: 63))
        facts.capabilities = Set(NodeFactsSummary.capabilityNames)
        facts.devices = Array(repeating: facts.devices[0], count: 40)
        let bytes = facts.encoded()
        #expect(bytes.count <= NodeFactsSummary.byteLimit)
        let decoded = try NodeFactsSummary.decode(bytes.span)
        #expect(decoded.load == facts.load)
        #expect(decoded.capabilities == facts.capabilities)
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

    @Test func onlyWhatMattersIsToldAtOnce() {
        let told = Self.worker
        #expect(!told.differsNoticeably(from: told))
        func differs(_ change: (inout NodeFactsSummary) -> Void) -> Bool {
            var facts = told
            change(&facts)
            return facts.differsNoticeably(from: told)
        }
        #expect(!differs { $0.load.used = 3.9 })
        #expect(differs { $0.load.used = 4.1 })
        #expect(!differs { $0.load.memoryUsed = .gibibytes(17) })
        #expect(differs { $0.load.memoryUsed = .gibibytes(20) })
        #expect(differs { $0.load.containerCount = 4 })
        #expect(differs { $0.load.capacity = 8 })
        #expect(differs { $0.capabilities.insert("gpu") })
        #expect(!differs { $0.devices[0].utilization = 0.5 })
        #expect(differs { $0.devices[0].utilization = 0.6 })
        #expect(differs { $0.devices[0].utilization = nil })
        #expect(differs { $0.devices[0].hasProblem = true })
        #expect(differs { $0.devices.removeLast() })
        #expect(differs { $0.address = "elsewhere:7420" })
    }
}
