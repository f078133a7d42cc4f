import ClusterModel
import Foundation
import SWIM
import Testing
import WireFormat

/// The layouts of `proto/gossip.md`.
struct GossipWireTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "proto/vectors/gossip")

    private static func bytes(_ name: String) throws -> [UInt8] {
        let digits = try String(contentsOf: folder.appending(path: "\(name).hex"), encoding: .utf8)
            .filter { !$0.isWhitespace }
        return stride(from: 0, to: digits.count, by: 2).compactMap { offset in
            let start = digits.index(digits.startIndex, offsetBy: offset)
            return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
        }
    }

    private static func key(_ name: String) -> MemberKey { MemberKey(NodeID(rawValue: name)) }
    private static let ipv6 = MemberEndpoint(ipv6High: 0x2001_0DB8_0000_0000, low: 1, port: 7421)
    private static let worker = GossipEntry(
        node: NodeID(rawValue: "worker-1"),
        endpoint: MemberEndpoint(ipv4: 0x0A00_0001, port: 7421),
        incarnation: incarnation(1_763_735_619),
        facts: NodeFacts(version: 3, bytes: [1, 2, 255])
    )
    private static let gateway = GossipEntry(
        node: NodeID(rawValue: "gateway-1"),
        endpoint: ipv6,
        incarnation: incarnation(7)
    )
    private static let gone = GossipEntry(
        node: NodeID(rawValue: "worker-2"),
        endpoint: MemberEndpoint(ipv4: 0x0A00_0002, port: 7421),
        incarnation: incarnation(4)
    )
    private static let coast = PoolName(SiteID(rawValue: "coast"))
    /// What a gateway says about other pools.
    private static let poolVectors: [(name: String, messages: [GossipMessage])] = [
        (
            "pool-entry",
            [
                .poolEntry(PoolEntry(pool: coast, entry: .init(worker, status: .alive))),
                .poolEntry(PoolEntry(pool: .common, entry: .init(gone, status: .dead, ageSeconds: 3_600))),
            ]
        ),
        (
            "pool-digest",
            [
                .poolDigest(
                    [.init(tag: coast.tag, root: 0x0123_4567_89AB_CDEF), .init(tag: 0, root: 5)],
                    isWhole: true
                )
            ]
        ), ("pool-buckets", [.poolBuckets(tag: coast.tag, (0..<256).map { UInt32($0) &* 0x0100_0193 })]),
        ("newer-member", [.unknown(kind: 200, [9, 8, 7]), .ack(sequence: 0x0102_0304)]),
    ]
    private static let poolExchanges: [(name: String, part: MemberExchange.Part, exchange: MemberExchange)] = {
        var some = BucketSet.none
        for bucket in [0, 63, 64, 255] { some.insert(bucket) }
        return [
            (
                "pool-exchange-request", .request,
                MemberExchange(
                    part: .poolRequest,
                    sender: key("gateway-1"),
                    tag: coast.tag,
                    buckets: some,
                    pools: [PoolEntry(pool: coast, entry: .init(gone, status: .dead, ageSeconds: 3_600))]
                )
            ),
            (
                "pool-exchange-answer", .answer,
                MemberExchange(
                    part: .poolAnswer,
                    sender: key("worker-1"),
                    tag: coast.tag,
                    buckets: .all,
                    pools: [PoolEntry(pool: coast, entry: .init(worker, status: .alive))]
                )
            ),
        ]
    }()
    private static let vectors: [(name: String, messages: [GossipMessage])] = {
        let target = UInt32(truncatingIfNeeded: key("gateway-1").rawValue)
        let (first, second) = (key("worker-1"), key("worker-2"))
        return [
            ("probe", [.probe(sequence: 0x0102_0304, target: target)]), ("ack", [.ack(sequence: 0x0102_0304)]),
            ("nack", [.nack(sequence: 0xFFFF_FFFE)]),
            ("indirect-probe", [.indirectProbe(sequence: 9, target: key("gateway-1"), endpoint: ipv6)]),
            ("alive", [.alive(worker)]),
            ("suspect", [.suspect(key("gateway-1"), incarnation(7), accusers: [first, second])]),
            ("dead", [.dead(key("gateway-1"), incarnation(7), accuser: second)]),
            ("left", [.left(first, incarnation(8))]),
            ("facts", [.facts(first, NodeFacts(version: 4, bytes: Array("load".utf8)))]),
            ("digest", [.digest(root: 0x0123_4567_89AB_CDEF, liveCount: 200)]), ("views-are-equal", [.viewsAreEqual]),
            ("buckets", [.buckets((0..<256).map { UInt32($0) &* 0x0100_0193 })]),
            (
                "probe-with-news",
                [
                    .probe(sequence: 5, target: target),
                    .suspect(key("gateway-1"), incarnation(7), accusers: [first]), .alive(gateway),
                ]
            ),
        ]
    }()
    private static let exchanges: [(name: String, exchange: MemberExchange)] = {
        var some = BucketSet.none
        for bucket in [0, 63, 64, 255] { some.insert(bucket) }
        let dead = GossipEntry(
            node: NodeID(rawValue: "worker-2"),
            endpoint: MemberEndpoint(ipv4: 0x0A00_0002, port: 7421),
            incarnation: incarnation(4)
        )
        return [
            (
                "exchange-request",
                MemberExchange(
                    part: .request,
                    sender: key("worker-1"),
                    buckets: .all,
                    entries: [.init(worker, status: .alive)]
                )
            ),
            (
                "exchange-answer",
                MemberExchange(
                    part: .answer,
                    sender: key("gateway-1"),
                    buckets: some,
                    entries: [.init(gateway, status: .alive), .init(dead, status: .dead, ageSeconds: 3_600)]
                )
            ),
        ]
    }()

    @Test("every message is written and read as its golden vector says", arguments: vectors.indices)
    func golden(index: Int) throws {
        let vector = Self.vectors[index]
        let bytes = try Self.bytes(vector.name)
        let datagram = GossipDatagram(sender: Self.key("worker-1"), messages: vector.messages)
        #expect(datagram.encoded() == bytes, "\(vector.name)")
        #expect(try GossipDatagram.decode(bytes.span) == datagram, "\(vector.name)")
    }

    @Test("exchanges are written and read as their golden vectors say", arguments: exchanges.indices)
    func goldenExchange(index: Int) throws {
        let vector = Self.exchanges[index]
        let bytes = try Self.bytes(vector.name)
        #expect(vector.exchange.encoded(limit: 1 << 20) == bytes, "\(vector.name)")
        #expect(try MemberExchange.decode(bytes.span, expecting: vector.exchange.part) == vector.exchange)
    }

    @Test("what is said of other pools is written and read as its golden vectors say", arguments: poolVectors.indices)
    func goldenPools(index: Int) throws {
        let vector = Self.poolVectors[index]
        let bytes = try Self.bytes(vector.name)
        let datagram = GossipDatagram(sender: Self.key("gateway-1"), messages: vector.messages)
        #expect(datagram.encoded() == bytes, "\(vector.name)")
        #expect(try GossipDatagram.decode(bytes.span) == datagram, "\(vector.name)")
        for count in 0..<bytes.count {
            let part = Array(bytes[..<count])
            guard let datagram = try? GossipDatagram.decode(part.span) else { continue }
            #expect(datagram.encoded() == part)
        }
    }

    @Test("exchanges about other pools are written and read as their golden vectors say", arguments: [0, 1])
    func goldenPoolExchange(index: Int) throws {
        let (name, part, exchange) = Self.poolExchanges[index]
        let bytes = try Self.bytes(name)
        #expect(exchange.encoded(limit: 1 << 20) == bytes, "\(name)")
        #expect(try MemberExchange.decode(bytes.span, expecting: part) == exchange)
        let other: MemberExchange.Part = part == .request ? .answer : .request
        #expect(throws: DecodeError.self) { try MemberExchange.decode(bytes.span, expecting: other) }
    }

    @Test("a message of a kind that is not known is passed over when it carries its length")
    func newerMember() throws {
        var pool = try Bench(of: 3)
        let bytes = GossipDatagram(
            sender: MemberKey(name(1)),
            messages: [
                .unknown(kind: 99, Array("tomorrow".utf8)),
                .probe(sequence: 5, target: UInt32(truncatingIfNeeded: MemberKey(name(0)).rawValue)),
            ]
        ).encoded()
        try pool.membership.receive(bytes.span, from: endpoint(1), now: pool.now)
        pool.effects += pool.membership.drainEffects()
        #expect(try pool.sent().contains { $0.messages.contains(.ack(sequence: 5)) })
    }

    @Test("every vector in the folder is held by a test")
    func allVectors() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).filter {
            $0.hasSuffix(".hex")
        }
        let known =
            Self.vectors.map(\.name) + Self.exchanges.map(\.name) + Self.poolVectors.map(\.name)
            + Self.poolExchanges.map(\.name)
        #expect(files.sorted() == known.map { "\($0).hex" }.sorted())
    }

    @Test("every cut datagram is refused or is a shorter datagram, and none traps", arguments: vectors.indices)
    func cut(index: Int) throws {
        let bytes = try Self.bytes(Self.vectors[index].name)
        for count in 0..<bytes.count {
            let part = Array(bytes[..<count])
            guard let datagram = try? GossipDatagram.decode(part.span) else { continue }
            #expect(datagram.encoded() == part)
        }
    }

    @Test(
        "what no correct member writes is refused",
        arguments: [
            ("version 2", 0, 2), ("unknown message", 9, 0), ("unknown message", 9, 13), ("length of name", 10, 64),
            ("empty name", 10, 0), ("upper case in name", 11, 65), ("address family", 19, 5),
        ] as [(String, Int, UInt8)]
    )
    func refused(what: String, offset: Int, value: UInt8) throws {
        var bytes = try Self.bytes("alive")
        bytes[offset] = value
        #expect(throws: DecodeError.self, "\(what)") { try GossipDatagram.decode(bytes.span) }
    }

    @Test("the last incarnation, an IPv4 address in IPv6 form, port 0 and too many accusers are refused")
    func refusedValues() throws {
        let sender = Self.key("worker-1")
        func decode(_ message: GossipMessage) throws -> GossipDatagram {
            try GossipDatagram.decode(GossipDatagram(sender: sender, messages: [message]).encoded().span)
        }
        #expect(throws: DecodeError.self) { try decode(.left(sender, incarnation(.max))) }
        #expect(throws: DecodeError.self) {
            try decode(.indirectProbe(sequence: 1, target: sender, endpoint: MemberEndpoint(ipv4: 1, port: 0)))
        }
        #expect(throws: DecodeError.self) { try decode(.suspect(sender, incarnation(1), accusers: [])) }
        #expect(throws: DecodeError.self) {
            try decode(.suspect(sender, incarnation(1), accusers: Array(repeating: sender, count: 9)))
        }
        var bytes = try Self.bytes("indirect-probe")
        // ::ffff:10.0.0.1 behind version, sender, kind, sequence, key and family
        bytes.replaceSubrange(23..<39, with: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 0, 0, 1])
        #expect(throws: DecodeError.self) { try GossipDatagram.decode(bytes.span) }
    }

    @Test("mutated bytes never trap, and what is read is what would be written", arguments: [1, 2, 3] as [UInt64])
    func fuzz(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let names =
            Self.vectors.map(\.name) + Self.exchanges.map(\.name) + Self.poolVectors.map(\.name)
            + Self.poolExchanges.map(\.name)
        let corpus = try names.map { try Self.bytes($0) }
        var pool = try Bench(of: 5)
        for round in 0..<4_000 {
            var bytes = corpus[Int(generator.next() % UInt64(corpus.count))]
            for _ in 0...(generator.next() % 4) {
                let index = Int(generator.next() % UInt64(max(1, bytes.count)))
                switch generator.next() % 5 {
                case 0 where !bytes.isEmpty: bytes[index] ^= 1 << UInt8(generator.next() & 7)
                case 1 where !bytes.isEmpty: bytes[index] = UInt8(truncatingIfNeeded: generator.next())
                case 2 where !bytes.isEmpty: bytes.removeSubrange(index...)
                case 3: bytes.insert(contentsOf: bytes.prefix(index), at: index)
                default:
                    let other = corpus[Int(generator.next() % UInt64(corpus.count))]
                    bytes = Array(bytes.prefix(index)) + other.suffix(Int(generator.next() % UInt64(other.count)))
                }
            }
            if let datagram = try? GossipDatagram.decode(bytes.span) {
                #expect(datagram.encoded() == bytes, "seed \(seed), round \(round)")
            }
            // The membership takes whatever decodes.
            pool.now += .milliseconds(1)
            try? pool.membership.receive(bytes.span, from: endpoint(1), now: pool.now)
            _ = try? pool.membership.answerExchange(bytes.span, now: pool.now)
            _ = pool.membership.drainEffects()
        }
        pool.wait(.seconds(30))
        #expect(pool.membership.members.count < 2_000, "seed \(seed)")
        #expect(pool.membership.elsewhereCount < 2_000, "seed \(seed)")
    }
}
