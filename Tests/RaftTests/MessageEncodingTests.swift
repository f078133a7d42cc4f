import ClusterModel
import Foundation
import Testing
import WireFormat

@testable import Raft

/// The layout of `proto/raft.md`, with golden bytes in `proto/vectors/raft`.
struct MessageEncodingTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "proto/vectors/raft")

    private static let joint: Membership = {
        let simple = Membership(
            voters: [1, 2, 3].map { RaftMemberID(rawValue: $0) },
            learners: [RaftMemberID(rawValue: 9)]
        )
        let steps: [MembershipChange.Step] = [.learner(RaftMemberID(rawValue: 1)), .voter(RaftMemberID(rawValue: 4))]
        return (try? simple.enteringJoint(steps, leavesAutomatically: true)) ?? simple
    }()

    private static func term(_ value: UInt64) -> Term { Term(rawValue: value) }

    private static let entries = [
        Entry(term: term(5), index: 8, payload: .empty),
        Entry(term: term(5), index: 9, payload: .proposal([0xde, 0xad])),
        Entry(term: term(6), index: 10, payload: .membership(joint, context: Array("node-4".utf8))),
    ]

    /// More members than one byte counts.
    private static func large(_ count: UInt64) -> SnapshotMetadata {
        let members = (1...count).map { RaftMemberID(rawValue: $0 << 32) }
        let membership = Membership(voters: Array(members.prefix(3)), learners: Array(members.dropFirst(3)))
        return SnapshotMetadata(index: 100, term: term(6), membership: membership)
    }

    static let bodies: [(name: String, body: Message.Body)] = [
        ("pre-vote-request", .voteRequest(VoteRequest(kind: .preVote, lastIndex: 7, lastTerm: term(4)))),
        ("vote-request", .voteRequest(VoteRequest(kind: .vote, lastIndex: 7, lastTerm: term(4)))),
        ("transfer-request", .voteRequest(VoteRequest(kind: .transfer, lastIndex: 7, lastTerm: term(4)))),
        ("vote-granted", .voteResponse(kind: .vote, isGranted: true)),
        ("pre-vote-refused", .voteResponse(kind: .preVote, isGranted: false)),
        (
            "append",
            .append(Append(previousIndex: 7, previousTerm: term(4), commit: 6, round: 3, entries: entries))
        ),
        ("append-empty", .append(Append(previousIndex: 0, previousTerm: .zero, commit: 0, round: 1, entries: []))),
        ("append-matches", .appendResponse(round: 3, outcome: .matches(10))),
        (
            "append-rejected",
            .appendResponse(round: 3, outcome: .rejected(previousIndex: 7, hintIndex: 5, hintTerm: term(2)))
        ),
        ("heartbeat", .heartbeat(commit: 6, round: 4)),
        ("heartbeat-response", .heartbeatResponse(round: 4)),
        (
            "snapshot-chunk",
            .snapshotChunk(
                SnapshotChunk(
                    metadata: SnapshotMetadata(index: 100, term: term(6), membership: joint),
                    totalByteCount: 10,
                    offset: 4,
                    bytes: [1, 2, 3],
                    round: 5
                )
            )
        ),
        ("snapshot-response", .snapshotResponse(index: 100, byteCount: 7, round: 5)),
        ("timeout-now", .timeoutNow),
        ("proposals", .proposals([[1], [], [2, 3]])),
    ]

    private static func message(_ body: Message.Body) -> Message {
        Message(
            from: RaftMemberID(rawValue: 0x0102_0304_0506_0708),
            to: RaftMemberID(rawValue: 0xf1f2_f3f4_f5f6_f7f8),
            term: term(6),
            body: body
        )
    }

    /// Everything that has golden bytes.
    private static var golden: [(name: String, bytes: [UInt8])] {
        bodies.map { ($0.name, message($0.body).encoded()) } + [
            ("hard-state", HardState(term: term(7), vote: RaftMemberID(rawValue: 2), commit: 40).encoded()),
            ("hard-state-without-vote", HardState(term: term(7), commit: 40).encoded()),
            ("entry", entries[1].encoded()), ("entry-membership", entries[2].encoded()),
            ("snapshot-metadata", SnapshotMetadata(index: 100, term: term(6), membership: joint).encoded()),
            ("snapshot-metadata-large", large(258).encoded()),
        ]
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        var text = ""
        for (number, byte) in bytes.enumerated() {
            text += (byte < 16 ? "0" : "") + String(byte, radix: 16)
            text += number % 32 == 31 || number == bytes.count - 1 ? "\n" : " "
        }
        return text
    }

    @Test func `Bytes are the golden ones`() throws {
        let isRecording = ProcessInfo.processInfo.environment["RECORD_VECTORS"] != nil
        for (name, bytes) in Self.golden {
            let file = Self.folder.appending(path: "\(name).hex")
            if isRecording { try Self.hex(bytes).write(to: file, atomically: true, encoding: .utf8) }
            #expect(try String(contentsOf: file, encoding: .utf8) == Self.hex(bytes), "\(name)")
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(files.filter { $0.hasSuffix(".hex") }.count == Self.golden.count)
    }

    @Test func `Every message survives a round trip, and no part or extension of it is taken for one`() throws {
        for (name, body) in Self.bodies {
            let message = Self.message(body)
            let bytes = message.encoded()
            #expect(try Message.decode(bytes.span) == message, "\(name)")
            for count in 0..<bytes.count {
                let part = Array(bytes.prefix(count))
                #expect(throws: DecodeError.self, "\(name)") { try Message.decode(part.span) }
            }
            let longer = bytes + [0]
            #expect(throws: DecodeError.self, "\(name)") { try Message.decode(longer.span) }
        }
    }

    @Test func `What is kept on disk survives a round trip`() throws {
        let states = [HardState(term: Self.term(7), vote: RaftMemberID(rawValue: 2), commit: 40), HardState()]
        for state in states {
            let bytes = state.encoded()
            #expect(try HardState.decode(bytes.span) == state)
        }
        for entry in Self.entries {
            let bytes = entry.encoded()
            #expect(try Entry.decode(bytes.span) == entry)
        }
        let metadata = SnapshotMetadata(index: 100, term: Self.term(6), membership: Self.joint)
        let bytes = metadata.encoded()
        #expect(try SnapshotMetadata.decode(bytes.span) == metadata)
    }

    @Test(arguments: [256, 257, 258, 259, 1024] as [UInt64])
    func `A membership of any size survives a round trip, and its counts are written in one way`(count: UInt64) throws {
        let metadata = Self.large(count)
        var bytes = metadata.encoded()
        #expect(try SnapshotMetadata.decode(bytes.span) == metadata)
        guard count == 257 else { return }
        // 254 learners fill the byte; the same count in three bytes is refused.
        let place = 1 + 8 + 8 + 1 + 1 + 3 * 8 + 1
        #expect(bytes[place] == 254)
        bytes.replaceSubrange(place...place, with: [255, 0, 254])
        #expect(throws: DecodeError.invalid(field: "learners", value: 254)) { try SnapshotMetadata.decode(bytes.span) }
    }

    @Test func `More members than a group has are refused`() throws {
        let bytes = Self.large(UInt64(Membership.placeLimit) + 1).encoded()
        #expect(throws: DecodeError.self) { try SnapshotMetadata.decode(bytes.span) }
        let full = Self.large(UInt64(Membership.memberLimit)).membership
        #expect(throws: MembershipError.tooManyMembers(count: Membership.memberLimit + 1)) {
            try full.applying(MembershipChange([.learner(RaftMemberID(rawValue: 1))]))
        }
        // Voters change all the same.
        let learner = full.learners[7]
        let change = MembershipChange([.voter(learner), .learner(full.voters[0])])
        #expect(try full.applying(change).isJoint)
    }

    @Test func `What is said to many is written once and reads alike`() throws {
        var writer = MessageWriter()
        for (_, body) in Self.bodies {
            for receiver in [7, 0x0708_090a_0b0c_0d0e, 7] as [UInt64] {
                var message = Self.message(body)
                message.to = RaftMemberID(rawValue: receiver)
                #expect(writer.encode(message) == message.encoded())
            }
        }
    }

    @Test func `Another version is refused`() {
        var bytes = Self.message(.timeoutNow).encoded()
        bytes[0] = 2
        #expect(throws: DecodeError.invalid(field: "raft encoding version", value: 2)) {
            try Message.decode(bytes.span)
        }
    }

    @Test func `A count that the bytes cannot hold takes no memory`() {
        var bytes = Self.message(.proposals([])).encoded()
        bytes.replaceSubrange((bytes.count - 4)..., with: [0xff, 0xff, 0xff, 0xff])
        #expect(throws: DecodeError.tooLong(field: "proposals", count: 0xffff_ffff, limit: 0)) {
            try Message.decode(bytes.span)
        }
    }

    @Test(arguments: 0..<4)
    func `Any bytes are refused or read, and what is read is written again alike`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var readCount = 0
        for _ in 0..<1500 {
            let start = Self.bodies[Int.random(in: 0..<Self.bodies.count, using: &generator)].body
            var bytes = Self.message(start).encoded()
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                case 2: bytes.remove(at: place)
                default: bytes.insert(UInt8.random(in: 0...3, using: &generator), at: place)
                }
            }
            guard let message = try? Message.decode(bytes.span) else { continue }
            readCount += 1
            #expect(message.encoded() == bytes)
        }
        #expect(readCount > 100)
    }
}
