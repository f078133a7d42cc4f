internal import ClusterModel
package import WireFormat

/// The layout of `proto/raft.md`.
extension Message {
    /// The version of the layout of messages, hard states, entries and snapshot metadata.
    package static let encodingVersion: UInt8 = 1
    /// No message is longer; what `RaftConfiguration` allows fits with room to spare.
    package static let byteLimit = RaftConfiguration.absoluteProposalByteLimit + (12 << 10)
    /// Bytes of the shell's context in one membership entry.
    package static let contextByteLimit = 4 << 10

    private enum Kind: UInt8 {
        case voteRequest = 1
        case voteResponse = 2
        case append = 3
        case appendResponse = 4
        case heartbeat = 5
        case heartbeatResponse = 6
        case snapshotChunk = 7
        case snapshotResponse = 8
        case timeoutNow = 9
        case proposals = 10
    }

    /// The message as bytes.
    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(64 + body.payloadByteCount)
        bytes.append(Self.encodingVersion)
        bytes.append(kind.rawValue)
        bytes.appendInteger(from.rawValue)
        bytes.appendInteger(to.rawValue)
        bytes.appendInteger(term.rawValue)
        appendBody(to: &bytes)
        return bytes
    }

    private var kind: Kind {
        switch body {
        case .voteRequest: .voteRequest
        case .voteResponse: .voteResponse
        case .append: .append
        case .appendResponse: .appendResponse
        case .heartbeat: .heartbeat
        case .heartbeatResponse: .heartbeatResponse
        case .snapshotChunk: .snapshotChunk
        case .snapshotResponse: .snapshotResponse
        case .timeoutNow: .timeoutNow
        case .proposals: .proposals
        }
    }

    private func appendBody(to bytes: inout [UInt8]) {
        switch body {
        case .voteRequest(let request):
            bytes.append(request.kind.rawValue)
            bytes.appendInteger(request.lastIndex)
            bytes.appendInteger(request.lastTerm.rawValue)
        case .voteResponse(let kind, let isGranted):
            bytes.append(kind.rawValue)
            bytes.append(isGranted ? 1 : 0)
        case .append(let append):
            bytes.appendInteger(append.previousIndex)
            bytes.appendInteger(append.previousTerm.rawValue)
            bytes.appendInteger(append.commit)
            bytes.appendInteger(append.round)
            bytes.appendInteger(UInt32(append.entries.count))
            for entry in append.entries { entry.encodeWithoutIndex(into: &bytes) }
        case .appendResponse(let round, let outcome):
            bytes.appendInteger(round)
            switch outcome {
            case .matches(let index):
                bytes.append(0)
                bytes.appendInteger(index)
            case .rejected(let previousIndex, let hintIndex, let hintTerm):
                bytes.append(1)
                bytes.appendInteger(previousIndex)
                bytes.appendInteger(hintIndex)
                bytes.appendInteger(hintTerm.rawValue)
            }
        case .heartbeat(let commit, let round):
            bytes.appendInteger(commit)
            bytes.appendInteger(round)
        case .heartbeatResponse(let round): bytes.appendInteger(round)
        case .snapshotChunk(let chunk):
            chunk.metadata.encode(into: &bytes)
            bytes.appendInteger(chunk.totalByteCount)
            bytes.appendInteger(chunk.offset)
            bytes.appendInteger(chunk.round)
            bytes.appendLongBytes(chunk.bytes)
        case .snapshotResponse(let index, let byteCount, let round):
            bytes.appendInteger(index)
            bytes.appendInteger(byteCount)
            bytes.appendInteger(round)
        case .timeoutNow: break
        case .proposals(let proposals):
            bytes.appendInteger(UInt32(proposals.count))
            for proposal in proposals { bytes.appendLongBytes(proposal) }
        }
    }

    /// Reads a message that fills `bytes`.
    ///
    /// - Throws: `DecodeError` when no member could have written it.
    package static func decode(_ bytes: Span<UInt8>) throws(DecodeError) -> Message {
        guard bytes.count <= byteLimit else {
            throw .tooLong(field: "raft message", count: bytes.count, limit: byteLimit)
        }
        var offset = 0
        try bytes.readEncodingVersion(at: &offset)
        let rawKind: UInt8 = try bytes.readInteger(at: &offset)
        guard let kind = Kind(rawValue: rawKind) else {
            throw .invalid(field: "raft message kind", value: UInt64(rawKind))
        }
        let from = RaftMemberID(rawValue: try bytes.readInteger(at: &offset))
        let to = RaftMemberID(rawValue: try bytes.readInteger(at: &offset))
        let term = Term(rawValue: try bytes.readInteger(at: &offset))
        let body = try decodeBody(kind, bytes, at: &offset)
        try bytes.requireEnd(at: offset)
        return Message(from: from, to: to, term: term, body: body)
    }

    private static func decodeBody(
        _ kind: Kind,
        _ bytes: Span<UInt8>,
        at offset: inout Int
    ) throws(DecodeError) -> Body {
        switch kind {
        case .voteRequest:
            let kind = try voteKind(bytes, at: &offset)
            let lastIndex: UInt64 = try bytes.readInteger(at: &offset)
            let lastTerm = Term(rawValue: try bytes.readInteger(at: &offset))
            return .voteRequest(VoteRequest(kind: kind, lastIndex: lastIndex, lastTerm: lastTerm))
        case .voteResponse:
            let kind = try voteKind(bytes, at: &offset)
            return .voteResponse(kind: kind, isGranted: try bytes.readFlag("vote", at: &offset))
        case .append: return .append(try decodeAppend(bytes, at: &offset))
        case .appendResponse:
            let round: UInt64 = try bytes.readInteger(at: &offset)
            guard try bytes.readFlag("rejection", at: &offset) else {
                return .appendResponse(round: round, outcome: .matches(try bytes.readInteger(at: &offset)))
            }
            let previousIndex: UInt64 = try bytes.readInteger(at: &offset)
            let hintIndex: UInt64 = try bytes.readInteger(at: &offset)
            let hintTerm = Term(rawValue: try bytes.readInteger(at: &offset))
            return .appendResponse(
                round: round,
                outcome: .rejected(previousIndex: previousIndex, hintIndex: hintIndex, hintTerm: hintTerm)
            )
        case .heartbeat:
            let commit: UInt64 = try bytes.readInteger(at: &offset)
            return .heartbeat(commit: commit, round: try bytes.readInteger(at: &offset))
        case .heartbeatResponse: return .heartbeatResponse(round: try bytes.readInteger(at: &offset))
        case .snapshotChunk: return .snapshotChunk(try decodeChunk(bytes, at: &offset))
        case .snapshotResponse:
            let index: UInt64 = try bytes.readInteger(at: &offset)
            let byteCount: UInt64 = try bytes.readInteger(at: &offset)
            return .snapshotResponse(index: index, byteCount: byteCount, round: try bytes.readInteger(at: &offset))
        case .timeoutNow: return .timeoutNow
        case .proposals:
            let count = Int(try bytes.readInteger(UInt32.self, at: &offset))
            try bytes.requireCount(count, of: 4, "proposals", at: offset)
            var proposals: [[UInt8]] = []
            proposals.reserveCapacity(count)
            for _ in 0..<count {
                proposals.append(
                    try bytes.readLongBytes(
                        "proposal",
                        limit: RaftConfiguration.absoluteProposalByteLimit,
                        at: &offset
                    )
                )
            }
            return .proposals(proposals)
        }
    }

    private static func voteKind(_ bytes: Span<UInt8>, at offset: inout Int) throws(DecodeError) -> VoteRequest.Kind {
        let raw: UInt8 = try bytes.readInteger(at: &offset)
        guard let kind = VoteRequest.Kind(rawValue: raw) else { throw .invalid(field: "vote kind", value: UInt64(raw)) }
        return kind
    }

    private static func decodeAppend(_ bytes: Span<UInt8>, at offset: inout Int) throws(DecodeError) -> Append {
        let previousIndex: UInt64 = try bytes.readInteger(at: &offset)
        let previousTerm = Term(rawValue: try bytes.readInteger(at: &offset))
        let commit: UInt64 = try bytes.readInteger(at: &offset)
        let round: UInt64 = try bytes.readInteger(at: &offset)
        let count = Int(try bytes.readInteger(UInt32.self, at: &offset))
        try bytes.requireCount(count, of: Entry.shortestEncoding, "entries", at: offset)
        guard previousIndex <= UInt64.max - UInt64(count) else {
            throw .invalid(field: "previous index", value: previousIndex)
        }
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        for number in 0..<count {
            entries.append(try Entry.decode(bytes, index: previousIndex + 1 + UInt64(number), at: &offset))
        }
        return Append(
            previousIndex: previousIndex,
            previousTerm: previousTerm,
            commit: commit,
            round: round,
            entries: entries
        )
    }

    private static func decodeChunk(_ bytes: Span<UInt8>, at offset: inout Int) throws(DecodeError) -> SnapshotChunk {
        let metadata = try SnapshotMetadata.decode(bytes, at: &offset)
        let total: UInt64 = try bytes.readInteger(at: &offset)
        let start: UInt64 = try bytes.readInteger(at: &offset)
        let round: UInt64 = try bytes.readInteger(at: &offset)
        let part = try bytes.readLongBytes("snapshot chunk", limit: byteLimit, at: &offset)
        guard start <= total, UInt64(part.count) <= total - start else {
            throw .invalid(field: "snapshot chunk offset", value: start)
        }
        return SnapshotChunk(metadata: metadata, totalByteCount: total, offset: start, bytes: part, round: round)
    }
}

/// Writes messages one after the other; what a leader says to many is written once.
package struct MessageWriter {
    private var last: (message: Message, bytes: [UInt8])?

    /// Has written nothing yet.
    package init() {}

    /// The message as bytes, the same as `Message.encoded()`.
    package mutating func encode(_ message: Message) -> [UInt8] {
        if let last, last.message.from == message.from, last.message.term == message.term,
            last.message.body == message.body
        {
            var bytes = last.bytes
            var receiver: [UInt8] = []
            receiver.appendInteger(message.to.rawValue)
            bytes.replaceSubrange(Self.receiverPlace, with: receiver)
            return bytes
        }
        let bytes = message.encoded()
        last = (message, bytes)
        return bytes
    }

    /// After version, kind and sender.
    private static var receiverPlace: Range<Int> { 10..<18 }
}

extension Message.Body {
    fileprivate var payloadByteCount: Int {
        switch self {
        case .append(let append): append.entries.reduce(0) { $0 + 32 + $1.payload.byteCount }
        case .snapshotChunk(let chunk): chunk.bytes.count + 100 + 8 * chunk.metadata.membership.sizeOfLists
        case .proposals(let proposals): proposals.reduce(0) { $0 + 4 + $1.count }
        default: 0
        }
    }
}
