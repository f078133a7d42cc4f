import Checkpointing
import ClusterModel
import CoreMetrics
import Synchronization
import Transport

/// Which copy another node wants, and from where on.
struct CopyRequest: Sendable, Equatable {
    var job: JobID
    var generation: CheckpointGeneration
    /// Of the index that the cluster's catalog knows.
    var digest: String
    /// Bytes of data that have come already.
    var offset: UInt64
    /// Whether a job waits for it.
    var isUrgent: Bool
    /// Generations of the job whose data is there already.
    var held: [CheckpointGeneration] = []
    /// Whether it is still being written, and what there is of its data is wanted until it is whole; it has no digest yet.
    var isGrowing = false
}

/// A part of a copy: the lengths come with the first one, the index before the data.
struct CopyPiece: Sendable, Equatable {
    var indexLength: UInt64 = 0
    var dataLength: UInt64 = 0
    var index: [UInt8] = []
    var data: [UInt8] = []
}

/// Sends checkpoints of this node to others, so fast as it may.
///
/// Of several copies of one checkpoint the one that is furthest goes first: it makes the checkpoint outlive this node, and the others take the bandwidth that
/// it leaves.
final class CopySender: Sendable {
    /// Which copy it is, in the order in which they were asked for.
    private struct Ticket: Sendable {
        var number: UInt64
        var job: JobID
        var generation: CheckpointGeneration
        /// Bytes of data that are there.
        var offset: UInt64

        /// Whether it has the bandwidth before another copy.
        func goes(before other: Ticket) -> Bool {
            job == other.job && generation == other.generation
                && (offset > other.offset || offset == other.offset && number < other.number)
        }
    }

    private let images: any CheckpointStore
    private let rate: Mutex<ByteRate>
    private let open = Mutex<(next: UInt64, tickets: [Ticket])>((0, []))
    private let metrics: CopyMetrics?
    private let now: @Sendable () -> ContinuousClock.Instant
    private let sleep: @Sendable (Duration) async throws -> Void

    /// Copies that are sent at once; whoever comes then tries again.
    static let limit = 8
    /// Bytes of a piece: a few of them fill the credit of a stream.
    private static let pieceByteCount = 256 << 10
    /// A copy is not held up by this node when it has left the bandwidth unused for so long.
    private static let rest: Duration = .milliseconds(10)
    /// What another copy waits for one piece at most, so that its receiver does not give this node up.
    private static let patience: Duration = .seconds(2)

    /// `bytesPerSecond` bounds what is sent for no job that waits, all together; 0 means no bound.
    init(
        images: any CheckpointStore,
        bytesPerSecond: Int64,
        metrics: CopyMetrics? = nil,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) {
        (self.images, self.metrics, self.now, self.sleep) = (images, metrics, now, sleep)
        rate = Mutex(ByteRate(bytesPerSecond: bytesPerSecond))
    }

    /// Sends a copy piece by piece.
    ///
    /// - Throws: `RPCFailure`; `notFound` when this node does not have what is meant.
    func send(_ request: CopyRequest, _ sink: (CopyPiece) async throws -> Void) async throws {
        let ticket = open.withLock { open -> Ticket? in
            guard open.tickets.count < Self.limit else { return nil }
            open.next += 1
            let ticket = Ticket(
                number: open.next,
                job: request.job,
                generation: request.generation,
                offset: request.offset
            )
            open.tickets.append(ticket)
            return ticket
        }
        guard let ticket else {
            throw RPCFailure(
                .exhausted,
                "\(Self.limit) checkpoints are being sent already; try again",
                wasNotBegun: true
            )
        }
        defer { open.withLock { $0.tickets.removeAll { $0.number == ticket.number } } }
        if request.isGrowing { return try await sendGrowing(request, ticket, sink) }
        let copy: any OutgoingCopy
        do {
            copy = try await images.outgoing(job: request.job, generation: request.generation, held: request.held)
        } catch let problem
            as CopyProblem
        {
            switch problem {
            case .unavailable(let reason): throw RPCFailure(.unavailable, reason)
            case .notFound, .damaged, .isHere: throw RPCFailure(.notFound, problem.description)
            }
        }
        guard copy.seal.digest == request.digest else {
            throw RPCFailure(
                .notFound,
                "what is here as checkpoint \(request.generation) of job \(request.job) is not what the catalog knows"
            )
        }
        let size = Self.pieceByteCount
        for start in stride(from: 0, to: copy.index.count, by: size) {
            var piece = CopyPiece()
            if start == 0 { (piece.indexLength, piece.dataLength) = (UInt64(copy.index.count), copy.dataLength) }
            piece.index = Array(copy.index[start..<min(start + size, copy.index.count)])
            try await send(piece, request, sink)
        }
        try await sendData(of: copy, until: copy.dataLength, request, ticket, sink)
    }

    /// Sends what is written of a checkpoint, until it is whole.
    private func sendGrowing(
        _ request: CopyRequest,
        _ ticket: Ticket,
        _ sink: (CopyPiece) async throws -> Void
    ) async throws {
        guard let copy = images.growing(job: request.job, generation: request.generation) else {
            throw RPCFailure(
                .notFound,
                "no checkpoint \(request.generation) of job \(request.job) is being written here"
            )
        }
        try await sendData(of: copy, until: .max, request, ticket, sink)
    }

    private func sendData(
        of copy: any CopyData,
        until end: UInt64,
        _ request: CopyRequest,
        _ ticket: Ticket,
        _ sink: (CopyPiece) async throws -> Void
    ) async throws {
        var offset = request.offset
        while offset < end {
            let bytes = try await copy.read(from: offset, limit: Self.pieceByteCount)
            if bytes.isEmpty { break }
            offset += UInt64(bytes.count)
            if !request.isUrgent { try await letPass(before: ticket.number) }
            try await send(CopyPiece(data: bytes), request, sink)
            note(offset, of: ticket.number)
        }
    }

    private func note(_ offset: UInt64, of number: UInt64) {
        open.withLock { open in
            guard let index = open.tickets.firstIndex(where: { $0.number == number }) else { return }
            open.tickets[index].offset = offset
        }
    }

    /// Waits while a copy of the same checkpoint that is further uses the bandwidth.
    private func letPass(before number: UInt64) async throws {
        let end = now() + Self.patience
        while now() < end {
            let isFirst = open.withLock { open in
                guard let own = open.tickets.first(where: { $0.number == number }) else { return true }
                return !open.tickets.contains { $0.goes(before: own) }
            }
            if isFirst { return }
            let pause = rate.withLock { $0.untilUnused(for: Self.rest, now: now()) }
            if pause == .zero { return }
            try await sleep(pause)
        }
    }

    private func send(
        _ piece: CopyPiece,
        _ request: CopyRequest,
        _ sink: (CopyPiece) async throws -> Void
    ) async throws {
        try await sink(piece)
        metrics?.sent.increment(by: piece.index.count + piece.data.count)
        guard !request.isUrgent else { return }
        let pause = rate.withLock { $0.pause(after: piece.index.count + piece.data.count, now: now()) }
        if pause > .zero { try await sleep(pause) }
    }
}
