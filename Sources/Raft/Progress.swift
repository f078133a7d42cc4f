internal import ClusterModel

/// What a leader knows about one other member, and what is on the way to it.
struct Progress: Sendable {
    /// How entries are sent.
    enum State: Sendable {
        /// Where the logs agree is not known: one append at a time.
        case probe(isPaused: Bool)
        /// They agree up to `match`: appends follow each other without waiting, within the window.
        case replicate
        /// The entries that it needs were compacted.
        case snapshot(Transfer)
    }

    /// A snapshot on the way.
    struct Transfer: Sendable {
        let snapshot: Snapshot
        /// Bytes that the follower has, without a hole.
        var acknowledged = 0
        /// Bytes that were sent.
        var sent = 0
        /// Whether anything was sent: an empty snapshot is one empty chunk.
        var hasBegun = false
        /// When the follower last got further; a chunk was lost when that is long ago.
        var movedAt: ContinuousClock.Instant
    }

    let id: RaftMemberID
    /// Whether its vote counts in the membership in force.
    var isVoter: Bool
    /// Since when it counts for the quorum that the leader must hear from: one that has just been given a vote is given time to answer.
    var countsSince: ContinuousClock.Instant
    /// The last entry that is known to be the leader's and on disk, "matchIndex".
    var match: LogIndex = 0
    /// The next entry to send, "nextIndex".
    var next: LogIndex
    var state = State.probe(isPaused: false)
    /// Appends on the way: their last entry and their bytes.
    private(set) var inflight: [(lastIndex: LogIndex, byteCount: Int)] = []
    private(set) var inflightByteCount = 0
    /// The commit index that it was told.
    var sentCommit: LogIndex = 0
    /// The newest round of heartbeats that it answered, and when that round began: the leader was one then.
    var round: UInt64 = 0
    var roundStart: ContinuousClock.Instant?
    /// When it was last heard of.
    var contact: ContinuousClock.Instant
    /// The newest round of heartbeats when it was last told something else than that the leader lives, and when that was.
    private(set) var newsRound: UInt64 = 0
    private(set) var newsAt: ContinuousClock.Instant
    /// An empty append is due, whose rejection shows that one before it was lost.
    var needsCheck = false
    /// Set when it was removed by this entry: it is told so, and does not count.
    var removedBy: LogIndex?

    init(id: RaftMemberID, isVoter: Bool, next: LogIndex, contact: ContinuousClock.Instant) {
        (self.id, self.isVoter, self.next, self.contact) = (id, isVoter, next, contact)
        (countsSince, newsAt) = (contact, contact)
    }

    var isReplicating: Bool {
        guard case .replicate = state else { return false }
        return true
    }

    var receivesSnapshot: Bool {
        guard case .snapshot = state else { return false }
        return true
    }

    /// Takes note that it was told something that it must show to have heard, by answering a later round.
    mutating func noteNews(round: UInt64, at now: ContinuousClock.Instant) { (newsRound, newsAt) = (round, now) }

    /// Whether it has shown that it has everything up to the last entry, and knows what it was told.
    func isSettled(at lastIndex: LogIndex) -> Bool { isReplicating && match >= lastIndex && round > newsRound }

    mutating func noteSent(through index: LogIndex, byteCount: Int) {
        next = index + 1
        inflight.append((index, byteCount))
        inflightByteCount += byteCount
    }

    func isWindowFull(_ configuration: RaftConfiguration) -> Bool {
        inflight.count >= configuration.inflightLimit || inflightByteCount >= configuration.inflightByteLimit
    }

    /// Takes an acknowledgement; false when it says nothing new.
    mutating func acknowledge(_ index: LogIndex) -> Bool {
        let arrived = inflight.prefix { $0.lastIndex <= index }
        inflightByteCount -= arrived.reduce(0) { $0 + $1.byteCount }
        inflight.removeFirst(arrived.count)
        guard index > match else { return false }
        match = index
        next = max(next, index + 1)
        return true
    }

    mutating func becomeProbe(next: LogIndex) {
        self.next = max(next, match + 1)
        enter(.probe(isPaused: false))
    }

    mutating func becomeReplicate() {
        next = match + 1
        enter(.replicate)
    }

    mutating func becomeSnapshot(_ snapshot: Snapshot, now: ContinuousClock.Instant) {
        enter(.snapshot(Transfer(snapshot: snapshot, movedAt: now)))
    }

    private mutating func enter(_ state: State) {
        self.state = state
        inflight.removeAll(keepingCapacity: true)
        (inflightByteCount, needsCheck) = (0, false)
    }
}
