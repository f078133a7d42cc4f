import Checkpointing
import ClusterModel
import Synchronization
import Testing

@testable import Agent

/// Copies of a checkpoint on their way to several nodes.
struct CopySenderTests {
    private static let job = JobID(rawValue: "abcdefghijkl")

    /// Which copy each piece of data was of, in order.
    private final class Pieces: Sendable {
        private let copies = Mutex<[Int]>([])
        var all: [Int] { copies.withLock { $0 } }

        /// Takes note of a piece, unless it is one of the index.
        func add(_ piece: CopyPiece, of copy: Int) {
            if !piece.data.isEmpty { copies.withLock { $0.append(copy) } }
        }
    }

    /// A node that has these generations.
    private func store(_ generations: UInt32...) -> InMemoryCheckpointStore {
        let store = InMemoryCheckpointStore()
        for number in generations {
            let generation = CheckpointGeneration(rawValue: number)
            let record = CheckpointRecord(
                job: Self.job,
                incarnation: Incarnation(rawValue: 1),
                generation: generation,
                taken: .epoch,
                frozen: .zero,
                total: .zero,
                rawBytes: .mebibytes(1),
                storedBytes: .mebibytes(1),
                ledger: .zero,
                seal: ImageSeal(key: 1, digest: InMemoryCheckpointStore.digest(Self.job, generation))
            )
            store.put(record, hasLayer: false)
        }
        return store
    }

    private func request(_ number: UInt32) -> CopyRequest {
        let generation = CheckpointGeneration(rawValue: number)
        return CopyRequest(
            job: Self.job,
            generation: generation,
            digest: InMemoryCheckpointStore.digest(Self.job, generation),
            offset: 0,
            isUrgent: false
        )
    }

    /// Sends two copies, the second begun when the first is under way; which of them each piece of data was of, in order.
    private func order(_ first: CopyRequest, _ second: CopyRequest, _ sender: CopySender) async throws -> [Int] {
        let pieces = Pieces()
        let (begun, signal) = AsyncStream.makeStream(of: Void.self)
        async let one: Void = sender.send(first) { piece in
            pieces.add(piece, of: 1)
            if !piece.data.isEmpty { signal.yield() }
        }
        for await _ in begun { break }
        async let two: Void = sender.send(second) { piece in
            pieces.add(piece, of: 2)
        }
        _ = try await (one, two)
        return pieces.all
    }

    @Test("the first copy of a checkpoint has the bandwidth, the next one what it leaves", .timeLimit(.minutes(5)))
    func inTurn() async throws {
        let sender = CopySender(images: store(1), bytesPerSecond: 600_000)
        var orders: [[Int]] = []
        // On a machine that is late pieces of the second slip in between: what counts is that they do not when it is in time.
        for _ in 1...5 {
            let order = try await order(request(1), request(1), sender)
            #expect(order.count == 6)
            let end = try #require(order.lastIndex(of: 1))
            if order[..<end].count(where: { $0 == 2 }) <= 1 { return }
            orders.append(order)
        }
        Issue.record("the second never waited: \(orders)")
    }

    @Test("a copy that is further overtakes one that began before it", .timeLimit(.minutes(5)))
    func overtaking() async throws {
        let sender = CopySender(images: store(1), bytesPerSecond: 600_000)
        var further = request(1)
        further.offset = 300_000
        var orders: [[Int]] = []
        // As above; without overtaking the second would be the last.
        for _ in 1...5 {
            let order = try await order(request(1), further, sender)
            #expect(order.count == 5)
            let end = try #require(order.lastIndex(of: 2))
            if order[..<end].count(where: { $0 == 1 }) <= 2 { return }
            orders.append(order)
        }
        Issue.record("the first never waited: \(orders)")
    }

    @Test("copies of different checkpoints share it", .timeLimit(.minutes(5)))
    func sideBySide() async throws {
        let sender = CopySender(images: store(1, 2), bytesPerSecond: 600_000)
        let order = try await order(request(1), request(2), sender)
        #expect(order.count == 6)
        let end = try #require(order.lastIndex(of: 1))
        #expect(order[..<end].contains(2), "\(order)")
    }
}
