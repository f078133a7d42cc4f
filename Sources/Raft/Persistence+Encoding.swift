internal import ClusterModel
package import WireFormat

/// What a shell keeps on disk, as bytes; the layout of `proto/raft.md`.
extension HardState {
    /// Version, term, vote (0: none) and commit index: 25 bytes.
    package func encoded() -> [UInt8] {
        var bytes = [Message.encodingVersion]
        bytes.appendInteger(term.rawValue)
        bytes.appendInteger(vote?.rawValue ?? 0)
        bytes.appendInteger(commit)
        return bytes
    }

    /// Reads what `encoded` wrote.
    package static func decode(_ bytes: Span<UInt8>) throws(DecodeError) -> HardState {
        var offset = 0
        try bytes.readEncodingVersion(at: &offset)
        let term = Term(rawValue: try bytes.readInteger(at: &offset))
        let vote = RaftMemberID(rawValue: try bytes.readInteger(at: &offset))
        let commit: UInt64 = try bytes.readInteger(at: &offset)
        try bytes.requireEnd(at: offset)
        return HardState(term: term, vote: vote.rawValue == 0 ? nil : vote, commit: commit)
    }
}

extension Entry {
    /// Bytes of the shortest entry of an append: term, payload kind and length.
    static let shortestEncoding = 13

    /// Version, index, term and payload.
    package func encoded() -> [UInt8] {
        var bytes = [Message.encodingVersion]
        bytes.appendInteger(index)
        encodeWithoutIndex(into: &bytes)
        return bytes
    }

    /// Reads what `encoded` wrote.
    package static func decode(_ bytes: Span<UInt8>) throws(DecodeError) -> Entry {
        var offset = 0
        try bytes.readEncodingVersion(at: &offset)
        let index: UInt64 = try bytes.readInteger(at: &offset)
        let entry = try decode(bytes, index: index, at: &offset)
        try bytes.requireEnd(at: offset)
        return entry
    }

    func encodeWithoutIndex(into bytes: inout [UInt8]) {
        bytes.appendInteger(term.rawValue)
        switch payload {
        case .empty:
            bytes.append(0)
            bytes.appendInteger(UInt32(0))
        case .proposal(let proposal):
            bytes.append(1)
            bytes.appendLongBytes(proposal)
        case .membership(let membership, let context):
            bytes.append(2)
            bytes.appendLongBytes(context)
            membership.encode(into: &bytes)
        }
    }

    static func decode(_ bytes: Span<UInt8>, index: LogIndex, at offset: inout Int) throws(DecodeError) -> Entry {
        guard index > 0 else { throw .invalid(field: "entry index", value: index) }
        let term = Term(rawValue: try bytes.readInteger(at: &offset))
        let kind: UInt8 = try bytes.readInteger(at: &offset)
        let payload: Payload
        switch kind {
        case 0:
            let count: UInt32 = try bytes.readInteger(at: &offset)
            guard count == 0 else { throw .invalid(field: "length of an empty entry", value: UInt64(count)) }
            payload = .empty
        case 1:
            let limit = RaftConfiguration.absoluteProposalByteLimit
            payload = .proposal(try bytes.readLongBytes("proposal", limit: limit, at: &offset))
        case 2:
            let context = try bytes.readLongBytes("context", limit: Message.contextByteLimit, at: &offset)
            payload = .membership(try Membership.decode(bytes, at: &offset), context: context)
        default: throw .invalid(field: "entry kind", value: UInt64(kind))
        }
        return Entry(term: term, index: index, payload: payload)
    }
}

extension SnapshotMetadata {
    /// Version, index, term and membership.
    package func encoded() -> [UInt8] {
        var bytes = [Message.encodingVersion]
        encode(into: &bytes)
        return bytes
    }

    /// Reads what `encoded` wrote.
    package static func decode(_ bytes: Span<UInt8>) throws(DecodeError) -> SnapshotMetadata {
        var offset = 0
        try bytes.readEncodingVersion(at: &offset)
        let metadata = try decode(bytes, at: &offset)
        try bytes.requireEnd(at: offset)
        return metadata
    }

    func encode(into bytes: inout [UInt8]) {
        bytes.appendInteger(index)
        bytes.appendInteger(term.rawValue)
        membership.encode(into: &bytes)
    }

    static func decode(_ bytes: Span<UInt8>, at offset: inout Int) throws(DecodeError) -> SnapshotMetadata {
        let index: UInt64 = try bytes.readInteger(at: &offset)
        let term = Term(rawValue: try bytes.readInteger(at: &offset))
        return SnapshotMetadata(index: index, term: term, membership: try Membership.decode(bytes, at: &offset))
    }
}

extension Membership {
    func encode(into bytes: inout [UInt8]) {
        bytes.append(leavesAutomatically ? 1 : 0)
        for list in [voters, outgoingVoters, learners, nextLearners] {
            if list.count < Self.longCount {
                bytes.append(UInt8(list.count))
            } else {
                bytes.append(UInt8(Self.longCount))
                bytes.appendInteger(UInt16(list.count))
            }
            for id in list { bytes.appendInteger(id.rawValue) }
        }
    }

    /// From this count on a list's count is written as this byte and two more; no shorter one is.
    private static var longCount: Int { 255 }

    static func decode(_ bytes: Span<UInt8>, at offset: inout Int) throws(DecodeError) -> Membership {
        var membership = Membership()
        membership.leavesAutomatically = try bytes.readFlag("automatic leave", at: &offset)
        membership.voters = try readList(bytes, "voters", at: &offset)
        membership.outgoingVoters = try readList(bytes, "outgoing voters", at: &offset)
        membership.learners = try readList(bytes, "learners", at: &offset)
        membership.nextLearners = try readList(bytes, "next learners", at: &offset)
        try membership.validate()
        return membership
    }

    private static func readList(
        _ bytes: Span<UInt8>,
        _ field: String,
        at offset: inout Int
    ) throws(DecodeError) -> [RaftMemberID] {
        var count = Int(try bytes.readInteger(UInt8.self, at: &offset))
        if count == longCount {
            count = Int(try bytes.readInteger(UInt16.self, at: &offset))
            guard count >= longCount else { throw .invalid(field: field, value: UInt64(count)) }
        }
        guard count <= memberLimit else { throw .tooLong(field: field, count: count, limit: memberLimit) }
        var list: [RaftMemberID] = []
        try bytes.requireCount(count, of: 8, field, at: offset)
        list.reserveCapacity(count)
        for _ in 0..<count {
            let id = RaftMemberID(rawValue: try bytes.readInteger(at: &offset))
            // Sorted, without repetition and without zero: there is one way to write a membership.
            guard id.rawValue > (list.last?.rawValue ?? 0) else { throw .invalid(field: field, value: id.rawValue) }
            list.append(id)
        }
        return list
    }

    /// Holds what the type promises about its lists.
    private func validate() throws(DecodeError) {
        guard sizeOfLists <= Self.placeLimit else {
            throw .tooLong(field: "membership", count: sizeOfLists, limit: Self.placeLimit)
        }
        for id in learners where isVoter(id) { throw .invalid(field: "learners", value: id.rawValue) }
        for id in nextLearners where !outgoingVoters.contains(id) || voters.contains(id) {
            throw .invalid(field: "next learners", value: id.rawValue)
        }
        guard isJoint || !leavesAutomatically else { throw .invalid(field: "automatic leave", value: 1) }
        guard !voters.isEmpty || sizeOfLists == 0 else { throw .invalid(field: "voters", value: 0) }
    }
}

extension [UInt8] {
    mutating func appendLongBytes(_ bytes: [UInt8]) {
        appendInteger(UInt32(bytes.count))
        append(contentsOf: bytes)
    }
}

extension Span<UInt8> {
    func readLongBytes(_ field: String, limit: Int, at offset: inout Int) throws(DecodeError) -> [UInt8] {
        let count = Int(try readInteger(UInt32.self, at: &offset))
        guard count <= limit else { throw .tooLong(field: field, count: count, limit: limit) }
        return try readBytes(count, at: &offset)
    }

    func readFlag(_ field: String, at offset: inout Int) throws(DecodeError) -> Bool {
        let value: UInt8 = try readInteger(at: &offset)
        guard value <= 1 else { throw .invalid(field: field, value: UInt64(value)) }
        return value == 1
    }

    func readEncodingVersion(at offset: inout Int) throws(DecodeError) {
        let version: UInt8 = try readInteger(at: &offset)
        guard version == Message.encodingVersion else {
            throw .invalid(field: "raft encoding version", value: UInt64(version))
        }
    }

    /// Refuses a count that the bytes left cannot hold, before room is made for it.
    func requireCount(_ number: Int, of size: Int, _ field: String, at offset: Int) throws(DecodeError) {
        guard number <= (count - offset) / size else {
            throw .tooLong(field: field, count: number, limit: (count - offset) / size)
        }
    }
}
