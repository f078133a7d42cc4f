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

/// Proposals for one leader: what comes while others are on their way to it leaves with the next call.
///
/// At a hundred clients this saves most calls between agents, and the leader's log gets more entries at once.
struct ForwardQueue {
    /// Proposals of one waiter, encoded.
    typealias Forwarded = (encoded: [[UInt8]], waiter: ProposalWaiter)

    private var waiting: [Forwarded] = []
    private var callsInFlight = 0

    /// Two: while the leader answers one, the next is on its way.
    private static let callLimit = 2
    /// Bytes and waiters of one call; a larger proposal goes alone.
    private static let batchLimits = (byteCount: 256 << 10, count: 256)

    var isIdle: Bool { waiting.isEmpty && callsInFlight == 0 }

    mutating func append(_ forwarded: Forwarded) { waiting.append(forwarded) }

    /// What to send now; `ended` follows.
    ///
    /// Empty when nothing waits or enough is on its way.
    mutating func takeBatch() -> [Forwarded] {
        guard callsInFlight < Self.callLimit, !waiting.isEmpty else { return [] }
        var byteCount = 0
        let count = waiting.prefix(Self.batchLimits.count).prefix { forwarded in
            byteCount += forwarded.encoded.reduce(0) { $0 + $1.count }
            return byteCount <= Self.batchLimits.byteCount
        }.count
        let taken = Array(waiting.prefix(max(1, count)))
        waiting.removeFirst(taken.count)
        callsInFlight += 1
        return taken
    }

    /// Takes note that a call has been answered, or was given up.
    mutating func ended() { callsInFlight -= 1 }

    /// Gives back what is not on its way, since another member leads now.
    mutating func giveUp() -> [ProposalWaiter] {
        defer { waiting = [] }
        return waiting.map(\.waiter)
    }
}

/// Another entry stands where the proposals stood: all but the first ones, whose outcomes are known, can be proposed again.
struct LostProposal: Error {
    var outcomes: [Outcome]
}

/// The proposals of one agent whose outcome is not known yet, by the numbers of their commands, and those on their way to a leader.
///
/// Whoever waits is answered exactly once: with the outcomes, or with what hinders them.
struct OpenProposals {
    private var waiters: [UInt64: ProposalWaiter] = [:]
    private var forwards: [RaftMemberID: ForwardQueue] = [:]
    private var nextNumber: UInt64

    /// `seed` is different at every start, so that a start uses no number of an earlier one.
    init(seed: UInt64) { nextNumber = seed &* 0x9E37_79B9_7F4A_7C15 }

    var isEmpty: Bool { waiters.isEmpty }

    /// Numbers for so many commands, never given out before.
    mutating func takeNumbers(_ count: Int) -> Range<UInt64> {
        defer { nextNumber &+= UInt64(count) }
        return nextNumber..<nextNumber &+ UInt64(count)
    }

    mutating func add(_ waiter: ProposalWaiter) {
        for number in waiter.numbers { waiters[number] = waiter }
    }

    mutating func end(_ waiter: ProposalWaiter, with result: Result<[Outcome], any Error>) {
        for number in waiter.numbers { waiters[number] = nil }
        waiter.resume(with: result)
    }

    /// Answers everybody with the same failure.
    mutating func endAll(with error: any Error) {
        for waiter in waiters.values { waiter.resume(with: .failure(error)) }
        waiters = [:]
    }

    /// Takes the outcome of a command of this agent.
    mutating func applied(_ number: UInt64, _ outcome: Outcome) {
        guard let waiter = waiters[number] else { return }
        waiter.outcomes.append(outcome)
        if waiter.isComplete { end(waiter, with: .success(waiter.outcomes)) }
    }

    /// Tells proposers whose place in the log was taken by another entry to try again.
    mutating func endLost(appliedThrough applied: LogIndex) {
        for waiter in waiters.values {
            guard let place = waiter.place, place.lastIndex <= applied else { continue }
            end(waiter, with: .failure(LostProposal(outcomes: waiter.outcomes)))
        }
    }

    /// Answers those whose time is over.
    mutating func endLate(at now: ContinuousClock.Instant, with error: @autoclosure () -> any Error) {
        for waiter in waiters.values where waiter.deadline <= now { end(waiter, with: .failure(error())) }
    }

    /// Lets nobody wait longer than this.
    func hurry(until deadline: ContinuousClock.Instant) {
        for waiter in waiters.values { waiter.deadline = min(waiter.deadline, deadline) }
    }

    // MARK: On their way to a leader

    mutating func enqueue(_ forwarded: ForwardQueue.Forwarded, for leader: RaftMemberID) {
        forwards[leader, default: ForwardQueue()].append(forwarded)
    }

    /// What to send to a leader now; `callEnded` follows unless it is empty.
    mutating func takeBatch(for leader: RaftMemberID) -> [ForwardQueue.Forwarded] {
        forwards[leader]?.takeBatch() ?? []
    }

    /// Takes note that a call to a leader has been answered.
    mutating func callEnded(_ leader: RaftMemberID) {
        forwards[leader]?.ended()
        if forwards[leader]?.isIdle == true { forwards[leader] = nil }
    }

    /// Gives back what waits for anybody else than this leader.
    mutating func leaderIs(_ leader: RaftMemberID) {
        for other in forwards.keys where other != leader {
            for waiter in forwards[other]?.giveUp() ?? [] {
                end(waiter, with: .failure(ForwardingError.notTaken("another member leads now")))
            }
        }
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
