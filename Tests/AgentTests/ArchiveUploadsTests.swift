import Checkpointing
import ClusterModel
import ImageStore
import Synchronization
import Testing

@testable import Agent

/// Tars that come in: in order, few at once, and none that nobody goes on with.
struct ArchiveUploadsTests {
    /// Counts those that are there.
    private final class Archive: IncomingArchive {
        let living: Counter
        init(_ living: Counter) {
            self.living = living
            living.value.add(1, ordering: .relaxed)
        }
        deinit { living.value.subtract(1, ordering: .relaxed) }
        func write(_ bytes: [UInt8]) async throws {}
        func finish() async throws -> ArchivedImage.Content { throw CancellationError() }
        func adopt(
            as job: JobID,
            _ generation: CheckpointGeneration,
            incarnation: Incarnation
        ) async throws -> CheckpointRecord { throw CancellationError() }
    }

    private final class Counter: Sendable {
        let value = Atomic(0)
        var now: Int { value.load(ordering: .relaxed) }
    }

    private let living = Counter()

    private func uploads(patience: Duration = .seconds(120)) -> ArchiveUploads {
        ArchiveUploads(patience: patience) { [living] in Archive(living) }
    }

    private func take(
        _ uploads: ArchiveUploads,
        at offset: UInt64,
        isLast: Bool = false,
        of name: String = "an-upload"
    ) async throws -> UInt64 {
        try await uploads.take([1, 2, 3], at: offset, isLast: isLast, of: name, by: UserID(rawValue: "u")).received
    }

    @Test("pieces are taken in order, and the last one ends the upload")
    func order() async throws {
        let uploads = uploads()
        #expect(try await take(uploads, at: 0) == 3)
        #expect(try await take(uploads, at: 3, isLast: true) == 6)
        await #expect(throws: (any Error).self) { try await take(uploads, at: 6) }
        #expect(try await take(uploads, at: 0) == 3)
        await #expect(throws: (any Error).self) { try await take(uploads, at: 2) }
        #expect(living.now == 0)
    }

    @Test("only so many at once")
    func limit() async throws {
        let uploads = uploads()
        for number in 0..<ArchiveUploads.limit { _ = try await take(uploads, at: 0, of: "upload-\(number)") }
        await #expect(throws: (any Error).self) { try await take(uploads, at: 0, of: "one-too-many") }
    }

    @Test("what nobody goes on with is given up though nobody asks for anything", .timeLimit(.minutes(5)))
    func abandoned() async throws {
        let uploads = uploads(patience: .milliseconds(50))
        _ = try await take(uploads, at: 0)
        while living.now > 0 {
            try await Task.sleep(for: .milliseconds(10))  // polls: nothing else tells that it is gone
        }
        #expect(try await take(uploads, at: 0) == 3)
    }
}
