import Checkpointing
import ClusterModel
import ClusterState
import struct Containers.HeldFrames
import ImageStore
import Synchronization
import Transport

/// Brings here what another node has of a job that moves here.
protocol MigrationLink: Sendable {
    /// Fetches it part by part; the next part comes when `receive` has returned. What is thrown by the link is an `RPCFailure`.
    func fetchMigration(
        _ request: MigrationRequest,
        from node: NodeID,
        receiving receive: @escaping @Sendable (MigrationPart) async throws -> Void
    ) async throws

    /// Brings what arrived at the source for the address of a job that runs here now; as `fetchMigration`.
    func fetchFrames(
        _ request: MigrationRequest,
        from node: NodeID,
        receiving receive: @escaping @Sendable (HeldFrames) async throws -> Void
    ) async throws

    /// Fetches pages of a job that was dumped without them.
    func fetchPages(_ request: PagesRequest, from node: NodeID) async throws -> [DumpPiece]
}

/// The link of an agent that is alone.
struct NoMigrations: MigrationLink {
    func fetchMigration(
        _ request: MigrationRequest,
        from node: NodeID,
        receiving receive: @escaping @Sendable (MigrationPart) async throws -> Void
    ) async throws {
        throw RPCFailure(.unimplemented, "this agent takes no jobs from others")
    }

    func fetchFrames(
        _ request: MigrationRequest,
        from node: NodeID,
        receiving receive: @escaping @Sendable (HeldFrames) async throws -> Void
    ) async throws {
        throw RPCFailure(.unimplemented, "this agent takes no jobs from others")
    }

    func fetchPages(_ request: PagesRequest, from node: NodeID) async throws -> [DumpPiece] {
        throw RPCFailure(.unimplemented, "this agent takes no jobs from others")
    }
}

/// What is known of a job's container before it is dumped.
struct MigrationFacts: Sendable, Equatable {
    /// The image that it was made from; empty when that is a folder.
    var image = ""
    /// What its memory takes now.
    var memory: ByteCount = .zero
    /// Whether its memory stays where it is until the destination runs it.
    var isLazy = false

    /// Below this all memory goes across while the container stands still, which is as quick, and the source can go at once.
    private static let lazyMinimum = ByteCount.mebibytes(32)

    /// Whether so much memory stays where it is until the destination runs the job, where this node has no obstacle to that.
    static func isLazy(_ memory: ByteCount, obstacle: String?) -> Bool { memory >= lazyMinimum && obstacle == nil }

    /// What the dump may take in the destination's memory; of a lazy one that is not known, and seldom much: shared memory, files and pages of files.
    var room: ByteCount { (isLazy ? min(memory, Self.lazyMinimum) : memory) + .mebibytes(16) }
}

/// Gives the destinations of moves what this node has of jobs that leave it, so fast as it may.
///
/// The controller tells it of every move from here as soon as the state names one; who asks before that, or before there is a dump, waits. Only the destination
/// that the state names gets anything: what is given is the job's memory as it is.
final class MigrationDesk: Sendable {
    /// A move that this node is the source of.
    struct Key: Hashable, Sendable {
        var job: JobID
        var number: UInt64
    }

    /// What is here of a job that leaves.
    private struct Departure {
        enum Stage {
            /// Its dump is to come, begun or not.
            case coming
            /// With what is left in a container that was dumped without its memory.
            case open(DumpReader, memory: (any HeldMemory)?)
            /// Nothing is given any more.
            case over
        }

        let number: UInt64
        /// nil until the state has named it: whoever holds the container may know of the move first.
        var destination: NodeID?
        /// Whether the destination can run the job before its memory is there.
        var isTakenLazily = false
        var stage = Stage.coming
    }

    /// What is here for the addresses of those jobs.
    let frames = FrameDesk()
    private let departures = Mutex<[JobID: Departure]>([:])
    /// Who asks waits here, for the state to name the move and then for its dump.
    private let waiting: WaitingRoom<Key>
    private let knownWithin: Duration
    private let rate: Mutex<ByteRate>
    private let facts: @Sendable (JobID) -> MigrationFacts

    /// Regions of one message, which must fit a frame.
    private static let regionCount = 3

    /// `bytesPerSecond` bounds what is given in all, 0 means no bound; `facts` says what a destination asks before there is a dump.
    ///
    /// `patience` bounds the wait for a dump; `knownWithin` is how far this node's state may be behind that of a destination.
    init(
        bytesPerSecond: Int64,
        patience: Duration = .seconds(30),
        knownWithin: Duration = .seconds(5),
        facts: @escaping @Sendable (JobID) -> MigrationFacts
    ) {
        waiting = WaitingRoom(patience: patience)
        self.knownWithin = knownWithin
        rate = Mutex(ByteRate(bytesPerSecond: bytesPerSecond))
        self.facts = facts
    }

    /// How many wait now.
    var waitingCount: Int { waiting.count }

    /// Takes note of what the state says of a job: its move from here, or nil when it does not leave.
    func learn(_ migration: Migration?, of job: JobID) {
        let (earlier, isNew) = departures.withLock { departures -> (UInt64?, Bool) in
            let known = departures[job]
            guard let migration else {
                // What the state has not named yet, whoever holds the container takes back.
                if known?.destination != nil { departures[job] = nil }
                return (known?.number, false)
            }
            if known?.number == migration.number {
                departures[job]?.destination = migration.destination
                return (nil, known?.destination == nil)
            }
            departures[job] = Departure(number: migration.number, destination: migration.destination)
            return (known?.number, true)
        }
        if let earlier { waiting.wake(Key(job: job, number: earlier)) }
        if isNew, let migration { waiting.wake(Key(job: job, number: migration.number)) }
    }

    /// Whether the destination of a move has said that it can run the job before its memory is there.
    func takesLazily(_ key: Key) -> Bool { departure(key)?.isTakenLazily ?? false }

    /// Gives a dump from now on, and pages of the memory that is not in it.
    func offer(_ dump: DumpReader, memory: (any HeldMemory)?, _ key: Key) {
        departures.withLock { departures in
            let number = departures[key.job]?.number ?? 0
            guard number <= key.number else { return }
            if number < key.number { departures[key.job] = Departure(number: key.number) }
            departures[key.job]?.stage = .open(dump, memory: memory)
        }
        waiting.wake(key)
    }

    /// Gives it no more.
    func withdraw(_ key: Key) {
        departures.withLock { departures in
            guard let departure = departures[key.job], departure.number == key.number else { return }
            if departure.destination == nil { departures[key.job] = nil } else { departures[key.job]?.stage = .over }
        }
        waiting.wake(key)
    }

    /// Sends a dump part by part.
    ///
    /// - Throws: `RPCFailure`; `notFound` when this node does not hold the job for that move, `unavailable` when its dump takes longer than who asks
    ///   waits.
    func send(_ request: MigrationRequest, to node: NodeID, _ sink: (MigrationPart) async throws -> Void) async throws {
        let key = Key(job: request.job, number: request.number)
        try await waiting.wait(for: key, within: knownWithin) { mayBecomeKnown(key) }
        try check(key, node)
        if request.isInquiry {
            if request.takesLazily { note(lazyTaker: key) }
            var facts = facts(request.job)
            facts.isLazy = facts.isLazy && request.takesLazily
            return try await sink(MigrationPart(facts: facts))
        }
        let dump = try await dump(key)
        var part = MigrationPart(facts: facts(request.job), files: dump.files, next: request.skip)
        try await sink(part)
        var at = max(0, request.skip)
        while at < dump.regionCount {
            let pieces: [DumpPiece]
            do { pieces = try await dump.pieces(from: at, count: Self.regionCount) } catch {
                throw RPCFailure(.unavailable, "the dump of job \(request.job) cannot be read: \(error)")
            }
            at = min(at + Self.regionCount, dump.regionCount)
            part = MigrationPart(pieces: pieces, next: at)
            guard case .open? = departure(key)?.stage else { throw Self.notHere(key) }
            try await sink(part)
            let count = pieces.reduce(0) { $0 + $1.stored.count }
            let pause = rate.withLock { $0.pause(after: count, now: .now) }
            if pause > .zero { try await Task.sleep(for: pause) }
        }
    }

    /// Gives pages of a container that stands still until all of them are elsewhere.
    ///
    /// Who asks for them had the dump before, so nobody waits here.
    ///
    /// - Throws: `RPCFailure`; `notFound` when this node does not hold that memory, or cannot get at it any more.
    func pages(_ request: PagesRequest, to node: NodeID) async throws -> [DumpPiece] {
        let key = Key(job: request.job, number: request.number)
        try check(key, node)
        guard case .open(_, let memory?)? = departure(key)?.stage else {
            throw RPCFailure(.notFound, "this node has no memory of job \(request.job) for its move \(request.number)")
        }
        let pieces: [DumpPiece]
        do {
            pieces = try await PagePieces.encode {
                var bytes: [UInt8] = []
                for run in request.runs { try memory.read(run, of: request.process, into: &bytes) }
                return bytes
            }
        } catch {
            throw RPCFailure(.notFound, "the memory of job \(request.job) cannot be read: \(error)")
        }
        let count = pieces.reduce(0) { $0 + $1.stored.count }
        let pause = rate.withLock { $0.pause(after: count, now: .now) }
        if pause > .zero, !request.isUrgent { try await Task.sleep(for: pause) }
        return pieces
    }

    /// nil when there is no such move, or a later one.
    private func departure(_ key: Key) -> Departure? {
        departures.withLock { departures in departures[key.job].flatMap { $0.number == key.number ? $0 : nil } }
    }

    /// Whether the state may name the move yet; not when it names a later one.
    private func mayBecomeKnown(_ key: Key) -> Bool {
        departures.withLock { departures in
            departures[key.job].map { $0.number < key.number || ($0.number == key.number && $0.destination == nil) }
                ?? true
        }
    }

    private func check(_ key: Key, _ node: NodeID) throws(RPCFailure) {
        guard departure(key)?.destination == node else {
            throw RPCFailure(.notFound, "job \(key.job) does not move from here to node \(node)")
        }
    }

    private func note(lazyTaker key: Key) {
        departures.withLock { departures in
            if departures[key.job]?.number == key.number { departures[key.job]?.isTakenLazily = true }
        }
    }

    private func dump(_ key: Key) async throws(RPCFailure) -> DumpReader {
        try await waiting.wait(for: key) { if case .coming? = departure(key)?.stage { true } else { false } }
        switch departure(key)?.stage {
        case .open(let dump, _): return dump
        case .coming:
            throw RPCFailure(.unavailable, "job \(key.job) is still being dumped for its move \(key.number)")
        // To a destination that takes memory later, a dump that is not here is gone for good.
        case .over, nil: throw Self.notHere(key)
        }
    }

    private static func notHere(_ key: Key) -> RPCFailure {
        RPCFailure(.notFound, "this node has no dump of job \(key.job) for its move \(key.number)")
    }
}

extension HeldMemory {
    /// Appends a whole run of pages.
    fileprivate func read(_ run: PageRun, of process: UInt64, into output: inout [UInt8]) throws {
        var (address, left) = (run.address, run.pageCount)
        while left > 0 {
            let count = try read(process: process, address: address, pageCount: left, into: &output)
            guard count > 0, UInt64(count) <= left else {
                throw RPCFailure(.notFound, "it gives \(count) pages where \(left) were asked for")
            }
            address += UInt64(count * ImageIndex.pageBytes)
            left -= UInt64(count)
        }
    }
}
