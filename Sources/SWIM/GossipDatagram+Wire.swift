import ClusterModel
package import WireFormat

/// The layouts of `proto/gossip.md`.
extension GossipDatagram {
    /// Bytes in front of the first message.
    static let headerByteCount = 9

    /// The datagram as bytes.
    package func encoded() -> [UInt8] {
        var bytes = Self.header(sender: sender)
        for message in messages { message.encode(into: &bytes) }
        return bytes
    }

    static func header(sender: MemberKey) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(64)
        bytes.append(GossipLimits.version)
        bytes.appendInteger(sender.rawValue)
        return bytes
    }

    /// Reads a whole datagram, or nothing of it.
    ///
    /// - Throws: `DecodeError` for everything that no correct member of this version writes.
    package static func decode(_ bytes: Span<UInt8>) throws(DecodeError) -> GossipDatagram {
        var offset = 0
        let sender = try readHeader(bytes, at: &offset)
        var messages: [GossipMessage] = []
        while offset < bytes.count { messages.append(try GossipMessage.decode(bytes, at: &offset)) }
        guard !messages.isEmpty else { throw .truncated(offset: offset, wanted: 1, available: 0) }
        return GossipDatagram(sender: sender, messages: messages)
    }

    static func readHeader(_ bytes: Span<UInt8>, at offset: inout Int) throws(DecodeError) -> MemberKey {
        let version = try bytes.readInteger(UInt8.self, at: &offset)
        guard version == GossipLimits.version else { throw .invalid(field: "gossip version", value: UInt64(version)) }
        return MemberKey(rawValue: try bytes.readInteger(at: &offset))
    }
}

extension GossipMessage {
    private enum Kind: UInt8 {
        case probe = 1
        case ack, nack, indirectProbe, alive, suspect, dead, left, facts, digest, viewsAreEqual, buckets
        case poolEntry = 32
        case poolDigest, poolBuckets
    }

    /// Appends the message.
    package func encode(into bytes: inout [UInt8]) {
        switch self {
        case .probe(let sequence, let target):
            bytes.append(Kind.probe.rawValue)
            bytes.appendInteger(sequence)
            bytes.appendInteger(target)
        case .ack(let sequence):
            bytes.append(Kind.ack.rawValue)
            bytes.appendInteger(sequence)
        case .nack(let sequence):
            bytes.append(Kind.nack.rawValue)
            bytes.appendInteger(sequence)
        case .indirectProbe(let sequence, let target, let endpoint):
            bytes.append(Kind.indirectProbe.rawValue)
            bytes.appendInteger(sequence)
            bytes.appendInteger(target.rawValue)
            bytes.append(endpoint)
        case .alive(let entry):
            bytes.append(Kind.alive.rawValue)
            bytes.append(entry)
        case .suspect(let key, let incarnation, let accusers):
            bytes.append(Kind.suspect.rawValue)
            bytes.append(key, incarnation)
            bytes.append(UInt8(accusers.count))
            for accuser in accusers { bytes.appendInteger(accuser.rawValue) }
        case .dead(let key, let incarnation, let accuser):
            bytes.append(Kind.dead.rawValue)
            bytes.append(key, incarnation)
            bytes.appendInteger(accuser.rawValue)
        case .left(let key, let incarnation):
            bytes.append(Kind.left.rawValue)
            bytes.append(key, incarnation)
        case .facts(let key, let facts):
            bytes.append(Kind.facts.rawValue)
            bytes.appendInteger(key.rawValue)
            bytes.append(facts)
        case .digest(let root, let liveCount):
            bytes.append(Kind.digest.rawValue)
            bytes.appendInteger(root)
            bytes.appendInteger(liveCount)
        case .viewsAreEqual:
            bytes.append(Kind.viewsAreEqual.rawValue)
        case .buckets(let buckets):
            bytes.append(Kind.buckets.rawValue)
            for bucket in buckets { bytes.appendInteger(bucket) }
        case .poolEntry(let claim):
            bytes.appendMessage(Kind.poolEntry.rawValue) { $0.append(claim) }
        case .poolDigest(let fingerprints, let isWhole):
            bytes.appendMessage(Kind.poolDigest.rawValue) { bytes in
                bytes.append(isWhole ? 1 : 0)
                for print in fingerprints {
                    bytes.appendInteger(print.tag)
                    bytes.appendInteger(print.root)
                }
            }
        case .poolBuckets(let tag, let buckets):
            bytes.appendMessage(Kind.poolBuckets.rawValue) { bytes in
                bytes.appendInteger(tag)
                for bucket in buckets { bytes.appendInteger(bucket) }
            }
        case .unknown(let kind, let content):
            bytes.appendMessage(kind) { $0 += content }
        }
    }

    static func decode(_ bytes: Span<UInt8>, at offset: inout Int) throws(DecodeError) -> GossipMessage {
        let number = try bytes.readInteger(UInt8.self, at: &offset)
        if number >= GossipLimits.firstSkippableKind { return try decodeSkippable(number, bytes, at: &offset) }
        guard let kind = Kind(rawValue: number) else {
            throw .invalid(field: "gossip message", value: UInt64(number))
        }
        switch kind {
        case .probe:
            let sequence: UInt32 = try bytes.readInteger(at: &offset)
            return .probe(sequence: sequence, target: try bytes.readInteger(at: &offset))
        case .ack: return .ack(sequence: try bytes.readInteger(at: &offset))
        case .nack: return .nack(sequence: try bytes.readInteger(at: &offset))
        case .indirectProbe:
            let sequence: UInt32 = try bytes.readInteger(at: &offset)
            let target = MemberKey(rawValue: try bytes.readInteger(at: &offset))
            return .indirectProbe(sequence: sequence, target: target, endpoint: try bytes.readEndpoint(at: &offset))
        case .alive: return .alive(try bytes.readEntry(at: &offset))
        case .suspect: return try decodeSuspect(bytes, at: &offset)
        case .dead:
            let (key, incarnation) = try bytes.readClaim(at: &offset)
            return .dead(key, incarnation, accuser: MemberKey(rawValue: try bytes.readInteger(at: &offset)))
        case .left:
            let (key, incarnation) = try bytes.readClaim(at: &offset)
            return .left(key, incarnation)
        case .facts:
            let key = MemberKey(rawValue: try bytes.readInteger(at: &offset))
            return .facts(key, try bytes.readFacts(at: &offset))
        case .digest:
            let root: UInt64 = try bytes.readInteger(at: &offset)
            return .digest(root: root, liveCount: try bytes.readInteger(at: &offset))
        case .viewsAreEqual: return .viewsAreEqual
        case .buckets:
            var buckets: [UInt32] = []
            buckets.reserveCapacity(MemberTable.bucketCount)
            for _ in 0..<MemberTable.bucketCount { buckets.append(try bytes.readInteger(at: &offset)) }
            return .buckets(buckets)
        case .poolEntry, .poolDigest, .poolBuckets: throw .invalid(field: "gossip message", value: UInt64(number))
        }
    }

    /// A message with its length; one of a kind that is not known is kept as it is.
    private static func decodeSkippable(
        _ number: UInt8,
        _ bytes: Span<UInt8>,
        at offset: inout Int
    ) throws(DecodeError) -> GossipMessage {
        let content = try bytes.readShortBytes("message", limit: GossipLimits.unknownByteCount, at: &offset)
        let span = content.span
        var place = 0
        let message: GossipMessage
        switch Kind(rawValue: number) {
        case .poolEntry: message = .poolEntry(try span.readPoolEntry(at: &place))
        case .poolDigest:
            let isWhole = try span.readInteger(UInt8.self, at: &place)
            guard isWhole < 2 else { throw .invalid(field: "wholeness of a digest", value: UInt64(isWhole)) }
            var fingerprints: [PoolFingerprint] = []
            while place < span.count {
                guard fingerprints.count < GossipLimits.digestCount else {
                    throw .tooLong(field: "digest", count: fingerprints.count + 1, limit: GossipLimits.digestCount)
                }
                let tag: UInt32 = try span.readInteger(at: &place)
                fingerprints.append(PoolFingerprint(tag: tag, root: try span.readInteger(at: &place)))
            }
            message = .poolDigest(fingerprints, isWhole: isWhole == 1)
        case .poolBuckets:
            let tag: UInt32 = try span.readInteger(at: &place)
            var buckets: [UInt32] = []
            buckets.reserveCapacity(MemberTable.bucketCount)
            for _ in 0..<MemberTable.bucketCount { buckets.append(try span.readInteger(at: &place)) }
            message = .poolBuckets(tag: tag, buckets)
        default: return .unknown(kind: number, content)
        }
        try span.requireEnd(at: place)
        return message
    }

    private static func decodeSuspect(
        _ bytes: Span<UInt8>,
        at offset: inout Int
    ) throws(DecodeError) -> GossipMessage {
        let (key, incarnation) = try bytes.readClaim(at: &offset)
        let count = Int(try bytes.readInteger(UInt8.self, at: &offset))
        guard count > 0 else { throw .invalid(field: "accusers", value: 0) }
        guard count <= GossipLimits.accuserCount else {
            throw .tooLong(field: "accusers", count: count, limit: GossipLimits.accuserCount)
        }
        var accusers: [MemberKey] = []
        for _ in 0..<count { accusers.append(MemberKey(rawValue: try bytes.readInteger(at: &offset))) }
        return .suspect(key, incarnation, accusers: accusers)
    }
}

extension [UInt8] {
    mutating func append(_ key: MemberKey, _ incarnation: MemberIncarnation) {
        appendInteger(key.rawValue)
        appendInteger(incarnation.rawValue)
    }

    mutating func append(_ endpoint: MemberEndpoint) {
        if let ipv4 = endpoint.ipv4 {
            append(4)
            appendInteger(ipv4)
        } else {
            append(6)
            appendInteger(endpoint.high)
            appendInteger(endpoint.low)
        }
        appendInteger(endpoint.port)
    }

    mutating func append(_ facts: NodeFacts) {
        appendInteger(facts.version)
        appendShortBytes(facts.bytes)
    }

    mutating func append(_ entry: GossipEntry) {
        let name = entry.node.rawValue.utf8
        precondition(name.count <= GossipLimits.nameByteCount, "'\(entry.node)' is too long to name a node")
        append(UInt8(name.count))
        append(contentsOf: name)
        append(entry.endpoint)
        appendInteger(entry.incarnation.rawValue)
        append(entry.facts)
    }
}

extension [UInt8] {
    /// A kind of message that carries its length.
    fileprivate mutating func appendMessage(_ kind: UInt8, _ content: (inout [UInt8]) -> Void) {
        var bytes: [UInt8] = []
        content(&bytes)
        append(kind)
        appendShortBytes(bytes)
    }

    mutating func append(_ claim: PoolEntry) {
        let name = claim.pool.rawValue.utf8
        append(UInt8(name.count))
        append(contentsOf: name)
        append(claim.entry.member)
        append(claim.entry.status.rawValue)
        appendInteger(claim.entry.ageSeconds)
    }
}

extension Span<UInt8> {
    func readPoolEntry(at offset: inout Int) throws(DecodeError) -> PoolEntry {
        let count = Int(try readInteger(UInt8.self, at: &offset))
        guard count <= GossipLimits.nameByteCount else {
            throw .tooLong(field: "pool", count: count, limit: GossipLimits.nameByteCount)
        }
        guard let name = String(validating: try readBytes(count, at: &offset), as: UTF8.self),
            let pool = PoolName(rawValue: name)
        else { throw .notText(field: "pool") }
        return PoolEntry(pool: pool, entry: try readStatusEntry(at: &offset))
    }

    /// A member with its status and since when it is dead or gone.
    func readStatusEntry(at offset: inout Int) throws(DecodeError) -> MemberExchange.Entry {
        let member = try readEntry(at: &offset)
        let code = try readInteger(UInt8.self, at: &offset)
        guard let status = MemberStatus(rawValue: code) else {
            throw .invalid(field: "member status", value: UInt64(code))
        }
        return MemberExchange.Entry(member, status: status, ageSeconds: try readInteger(at: &offset))
    }

    func readClaim(at offset: inout Int) throws(DecodeError) -> (MemberKey, MemberIncarnation) {
        let key = MemberKey(rawValue: try readInteger(at: &offset))
        return (key, try readIncarnation(at: &offset))
    }

    /// The last number is refused, so that there is always a higher one to refute with.
    func readIncarnation(at offset: inout Int) throws(DecodeError) -> MemberIncarnation {
        let number: UInt32 = try readInteger(at: &offset)
        guard number < .max else { throw .invalid(field: "incarnation", value: UInt64(number)) }
        return MemberIncarnation(rawValue: number)
    }

    func readEndpoint(at offset: inout Int) throws(DecodeError) -> MemberEndpoint {
        let family = try readInteger(UInt8.self, at: &offset)
        let endpoint: MemberEndpoint
        switch family {
        case 4:
            let address: UInt32 = try readInteger(at: &offset)
            endpoint = MemberEndpoint(ipv4: address, port: try readInteger(at: &offset))
        case 6:
            let high: UInt64 = try readInteger(at: &offset)
            let low: UInt64 = try readInteger(at: &offset)
            endpoint = MemberEndpoint(ipv6High: high, low: low, port: try readInteger(at: &offset))
            // One address, one spelling: else two views that are equal could differ in their bytes.
            guard endpoint.ipv4 == nil else { throw .invalid(field: "address family", value: 6) }
        default:
            throw .invalid(field: "address family", value: UInt64(family))
        }
        guard endpoint.port != 0 else { throw .invalid(field: "port", value: 0) }
        return endpoint
    }

    func readFacts(at offset: inout Int) throws(DecodeError) -> NodeFacts {
        let version: UInt32 = try readInteger(at: &offset)
        let bytes = try readShortBytes("facts", limit: GossipLimits.factsByteCount, at: &offset)
        guard version > 0 || bytes.isEmpty else { throw .invalid(field: "version of facts", value: 0) }
        guard version < .max else { throw .invalid(field: "version of facts", value: UInt64(version)) }
        return NodeFacts(version: version, bytes: bytes)
    }

    func readEntry(at offset: inout Int) throws(DecodeError) -> GossipEntry {
        let count = Int(try readInteger(UInt8.self, at: &offset))
        guard count <= GossipLimits.nameByteCount else {
            throw .tooLong(field: "name", count: count, limit: GossipLimits.nameByteCount)
        }
        guard let name = String(validating: try readBytes(count, at: &offset), as: UTF8.self), isLabel(name) else {
            throw .notText(field: "name")
        }
        let endpoint = try readEndpoint(at: &offset)
        let incarnation = try readIncarnation(at: &offset)
        return GossipEntry(
            node: NodeID(rawValue: name),
            endpoint: endpoint,
            incarnation: incarnation,
            facts: try readFacts(at: &offset)
        )
    }
}
