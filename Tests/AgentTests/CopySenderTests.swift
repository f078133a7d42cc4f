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

    /// Time that passes when all copies wait for it, and only then: a busy machine is late for none of them.
    private final class CopyTime: Sendable {
        private struct State {
            var now = ContinuousClock.now
            /// Copies that have not ended.
            var copyCount = 1
            var sleepers: [(end: ContinuousClock.Instant, continuation: CheckedContinuation<Void, Never>)] = []

            /// Whose time has come, when nobody else goes on.
            mutating func next() -> CheckedContinuation<Void, Never>? {
                guard sleepers.count == copyCount,
                    let first = sleepers.indices.min(by: { sleepers[$0].end < sleepers[$1].end })
                else { return nil }
                let sleeper = sleepers.remove(at: first)
                now = max(now, sleeper.end)
                return sleeper.continuation
            }
        }
        private let state = Mutex(State())

        var now: ContinuousClock.Instant { state.withLock(\.now) }

        func pass(_ duration: Duration) async {
            await withCheckedContinuation { continuation in
                let next = state.withLock { state in
                    state.sleepers.append((state.now + duration, continuation))
                    return state.next()
                }
                next?.resume()
            }
        }

        /// Another copy is under way from here on.
        func begin() { state.withLock { $0.copyCount = 2 } }

        func end() {
            let next = state.withLock { state in
                state.copyCount -= 1
                return state.next()
            }
            next?.resume()
        }
    }

    /// Sends two copies, the second begun when the first is under way; which of them each piece of data was of, in order.
    private func order(
        _ first: CopyRequest,
        _ second: CopyRequest,
        from store: InMemoryCheckpointStore
    ) async throws -> [Int] {
        let (pieces, time) = (Pieces(), CopyTime())
        let (begun, signal) = AsyncStream.makeStream(of: Void.self)
        let sender = CopySender(
            images: store,
            bytesPerSecond: 600_000,
            now: { time.now },
            sleep: { pause in
                // Not in the sink: what the first piece costs is to be counted before the second copy asks.
                if pieces.all == [1] {
                    time.begin()
                    signal.finish()
                }
                await time.pass(pause)
            }
        )
        async let one: Void = {
            defer { time.end() }
            try await sender.send(first) { piece in pieces.add(piece, of: 1) }
        }()
        for await _ in begun {}
        async let two: Void = {
            defer { time.end() }
            try await sender.send(second) { piece in pieces.add(piece, of: 2) }
        }()
        _ = try await (one, two)
        return pieces.all
    }

    @Test("the first copy of a checkpoint has the bandwidth, the next one what it leaves", .timeLimit(.minutes(5)))
    func inTurn() async throws {
        let order = try await order(request(1), request(1), from: store(1))
        #expect(order == [1, 1, 1, 2, 2, 2])
    }

    @Test("a copy that is further overtakes one that began before it", .timeLimit(.minutes(5)))
    func overtaking() async throws {
        var further = request(1)
        further.offset = 300_000
        let order = try await order(request(1), further, from: store(1))
        #expect(order == [1, 2, 2, 1, 1])
    }

    @Test("copies of different checkpoints share it", .timeLimit(.minutes(5)))
    func sideBySide() async throws {
        let order = try await order(request(1), request(2), from: store(1, 2))
        #expect(order == [1, 1, 2, 1, 2, 2])
    }
}
