import ClusterModel
import ClusterState
import Raft
import Storage
import WireFormat

/// A command on its way through the log, marked so that its proposer knows it again on whichever member applies it.
///
/// Layout: version 1, proposer and number as 8 bytes each, most significant first, then the command as ``StateCoding`` has it.
struct LoggedCommand {
    /// Whose number it is.
    var proposer: RaftMemberID
    /// Counts the commands of one proposer since its start, from a number that no earlier start has used.
    var number: UInt64
    var command: Command

    private static let version: UInt8 = 1
    private static let headerBytes = 17

    init(proposer: RaftMemberID, number: UInt64, command: Command) {
        (self.proposer, self.number, self.command) = (proposer, number, command)
    }

    init(decoding bytes: [UInt8]) throws {
        guard bytes.count > Self.headerBytes, bytes[0] == Self.version else {
            throw StorageError(
                .tooNew,
                "The replicated log holds a command of a format that this version of godwitd does not know: upgrade this agent."
            )
        }
        proposer = RaftMemberID(rawValue: Self.number(in: bytes[1..<9]))
        number = Self.number(in: bytes[9..<17])
        command = try StateCoding.decode(Command.self, from: Array(bytes[Self.headerBytes...]))
    }

    func encoded() throws -> [UInt8] {
        var bytes = [Self.version]
        for value in [proposer.rawValue, number] {
            for shift in stride(from: UInt64(56), through: 0, by: -8) { bytes.append(UInt8(value >> shift & 0xff)) }
        }
        return bytes + (try StateCoding.encode(command))
    }

    private static func number(in bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
}

/// Somebody who waits until commands have been applied here.
final class ProposalWaiter {
    let numbers: Range<UInt64>
    var deadline: ContinuousClock.Instant
    var outcomes: [Outcome] = []
    /// Where they stand, once the leader has said so.
    var place: LogPlace?
    private var continuation: CheckedContinuation<[Outcome], any Error>?

    init(
        _ numbers: Range<UInt64>,
        deadline: ContinuousClock.Instant,
        _ continuation: CheckedContinuation<[Outcome], any Error>
    ) {
        (self.numbers, self.deadline, self.continuation) = (numbers, deadline, continuation)
    }

    var isComplete: Bool { outcomes.count == numbers.count }

    func resume(with result: Result<[Outcome], any Error>) {
        continuation?.resume(with: result)
        continuation = nil
    }
}

/// Why it is not known whether a change was made, or why it was not.
struct ReplicationError: Error, CustomStringConvertible {
    /// Whether the change may still be made.
    var isUnknown: Bool
    var description: String
}

/// How a group stands, as one member sees it.
struct ReplicaStatus: Sendable {
    var member: RaftMemberID
    var term: Term
    /// The leader of the term, as far as known.
    var leader: RaftMemberID?
    var membership: Raft.Membership
    /// Whether this member is the whole group.
    var isAlone: Bool
    var applied: LogIndex
    var committed: LogIndex
    var lastIndex: LogIndex
    /// When a leader with a quorum was last known to exist.
    var lastLeaderContact: ContinuousClock.Instant?
    /// What a leader knows about the others.
    var peers: [PeerStatus]
    /// Why this member applies nothing any more; nil when it does.
    var standstill: String?

    /// Whether this member leads.
    var isLeader: Bool { leader == member }
}
