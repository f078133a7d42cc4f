import Checkpointing
import ClusterModel
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
final class MigrationDesk: Sendable {
    /// A move that this node is the source of.
    struct Key: Hashable, Sendable {
        var job: JobID
        var number: UInt64
    }

    private struct Desk {
        var dumps: [Key: DumpReader] = [:]
        /// What is left in containers that were dumped without their memory.
        var memories: [Key: any HeldMemory] = [:]
        /// Moves whose destinations can run the job before its memory is there.
        var lazyTakers: Set<Key> = []
        /// Moves whose dump is to come.
        var coming: Set<Key> = []
    }

    /// What is here for the addresses of those jobs.
    let frames = FrameDesk()
    private let desk = Mutex(Desk())
    /// Who asks waits here for a dump that is to come; then it asks again.
    private let waiting: WaitingRoom<Key>
    private let rate: Mutex<ByteRate>
    private let facts: @Sendable (JobID) -> MigrationFacts

    /// How far this node's controller may be behind a destination that has heard of the move; else that asks again only after a pause, while the job stands still.
    private static let beginsWithin: Duration = .milliseconds(500)
    /// Regions of one message, which must fit a frame.
    private static let regionCount = 3

    /// `bytesPerSecond` bounds what is given in all, 0 means no bound; `facts` says what a destination asks before there is a dump.
    init(
        bytesPerSecond: Int64,
        patience: Duration = .seconds(30),
        facts: @escaping @Sendable (JobID) -> MigrationFacts
    ) {
        waiting = WaitingRoom(patience: patience)
        rate = Mutex(ByteRate(bytesPerSecond: bytesPerSecond))
        self.facts = facts
    }

    /// Takes note that a dump is to come, so that who asks for it waits.
    func expect(_ key: Key) { desk.withLock { _ = $0.coming.insert(key) } }

    /// Whether the destination of a move has said that it can run the job before its memory is there.
    func takesLazily(_ key: Key) -> Bool { desk.withLock { $0.lazyTakers.contains(key) } }

    /// Gives a dump from now on, and pages of the memory that is not in it.
    func offer(_ dump: DumpReader, memory: (any HeldMemory)?, _ key: Key) {
        desk.withLock { desk in
            desk.dumps[key] = dump
            desk.memories[key] = memory
            desk.coming.remove(key)
        }
        waiting.wake(key)
    }

    /// Gives it no more.
    func withdraw(_ key: Key) {
        desk.withLock { desk in
            (desk.dumps[key], desk.memories[key]) = (nil, nil)
            desk.lazyTakers.remove(key)
            desk.coming.remove(key)
        }
        waiting.wake(key)
    }

    /// Sends a dump part by part.
    ///
    /// - Throws: `RPCFailure`; `notFound` when this node does not hold the job for that move, `unavailable` when its dump takes longer than who asks
    ///   waits.
    func send(_ request: MigrationRequest, _ sink: (MigrationPart) async throws -> Void) async throws {
        let key = Key(job: request.job, number: request.number)
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
            guard desk.withLock({ $0.dumps[key] != nil }) else { throw Self.notHere(request) }
            try await sink(part)
            let count = pieces.reduce(0) { $0 + $1.stored.count }
            let pause = rate.withLock { $0.pause(after: count, now: .now) }
            if pause > .zero { try await Task.sleep(for: pause) }
        }
    }

    /// Gives pages of a container that stands still until all of them are elsewhere.
    ///
    /// - Throws: `RPCFailure`; `notFound` when this node does not hold that memory, or cannot get at it any more.
    func pages(_ request: PagesRequest) async throws -> [DumpPiece] {
        let key = Key(job: request.job, number: request.number)
        guard let memory = desk.withLock({ $0.memories[key] }) else {
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

    /// Forgets the job's earlier moves, which were never begun here.
    private func note(lazyTaker key: Key) {
        desk.withLock { desk in
            desk.lazyTakers = desk.lazyTakers.filter { $0.job != key.job }
            desk.lazyTakers.insert(key)
        }
    }

    private func dump(_ key: Key) async throws -> DumpReader {
        let end = ContinuousClock.now + Self.beginsWithin
        while !desk.withLock({ $0.dumps[key] != nil || $0.coming.contains(key) }), .now < end {
            try await Task.sleep(for: .milliseconds(5))
        }
        try await waiting.wait(for: key) { desk.withLock { $0.dumps[key] == nil && $0.coming.contains(key) } }
        return try desk.withLock { desk in
            if let dump = desk.dumps[key] { return dump }
            // To a destination that takes memory later, a dump that is not here is gone for good.
            guard !desk.coming.contains(key) else {
                throw RPCFailure(.unavailable, "job \(key.job) is still being dumped for its move \(key.number)")
            }
            throw Self.notHere(MigrationRequest(job: key.job, number: key.number))
        }
    }

    private static func notHere(_ request: MigrationRequest) -> RPCFailure {
        RPCFailure(.notFound, "this node has no dump of job \(request.job) for its move \(request.number)")
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
