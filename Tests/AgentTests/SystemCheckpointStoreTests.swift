import Checkpointing
import ClusterModel
import ImageStore
import LinuxSystem
import Testing

@testable import Agent

/// What `checkpoints.spaceLimit` leaves for copies of others, on a disk.
struct SystemCheckpointStoreTests {
    private static let job = JobID(rawValue: "job1aaaaaaaa")

    @Test("what comes early takes no more than the bound leaves, and is gone when it is given up")
    func earlyBytes() async throws {
        let folder = "/tmp/godwit-checkpoint-store-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileSystem.removeAll(folder) }
        let images = try ImageStore(
            folder: folder,
            configuration: ImageStoreConfiguration(reserve: .mebibytes(1)),
            keychain: CheckpointKeychain()
        )
        // Copies leave a fifth of it.
        let store = SystemCheckpointStore(store: images, spaceLimit: .kibibytes(50))
        let piece = [UInt8](repeating: 7, count: 10 << 10)
        do {
            let first = try await store.incoming(job: Self.job, generation: .init(rawValue: 1), sharing: true)
            let second = try await store.incoming(job: Self.job, generation: .init(rawValue: 2), sharing: true)
            for offset: UInt64 in [0, 10, 20] { try await first.write(piece, at: offset << 10) }
            try await second.write(piece, at: 0)
            await #expect(throws: CopyProblem.self) { try await second.write([7], at: 10 << 10) }
            await #expect(throws: CopyProblem.self) { try await first.write([7], at: 30 << 10) }
        }
        #expect(try FileSystem.list(folder) == [".lock"])
        let again = try await store.incoming(job: Self.job, generation: .init(rawValue: 1), sharing: true)
        for offset: UInt64 in [0, 10, 20, 30] { try await again.write(piece, at: offset << 10) }
    }
}
