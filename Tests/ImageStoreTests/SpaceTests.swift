import Checkpointing
import ClusterModel
import Foundation
import Glibc
import ImageStore
import Testing

/// A small file system in memory that a test may fill.
private final class SmallDisk {
    let scratch: Scratch
    var path: String { scratch("disk") }

    init(bytes: Int) throws {
        scratch = try Scratch()
        try FileManager.default.createDirectory(atPath: scratch("disk"), withIntermediateDirectories: false)
        let made = unsafe mount("tmpfs", scratch("disk"), "tmpfs", 0, "size=\(bytes)")
        try #require(made == 0, "mounting a tmpfs failed (errno \(errno)); this test needs root")
    }

    deinit { _ = unsafe umount2(path, Int32(MNT_DETACH)) }
}

struct SpaceTests {
    @Test("a disk that fills while writing: the error names it, the old generation stays, the space comes back")
    func fillsWhileWriting() async throws {
        let disk = try SmallDisk(bytes: 8 << 20)
        try disk.scratch.write(text(1 << 20), to: "first/a.img")
        try disk.scratch.write(noise(12 << 20, seed: 6), to: "second/a.img")
        let store = try ImageStore(folder: "\(disk.path)/store", configuration: plain)
        let first = try await store.store(source(1, images: disk.scratch("first"), of: JobID(rawValue: "other")))
        let error = await storeError { try await store.store(source(2, images: disk.scratch("second"))) }
        #expect(error?.code == .noSpace)
        #expect(error?.description.contains("Checkpoint 2 of job \(job) was not stored") == true)
        #expect(error?.description.contains("ENOSPC") == true)
        #expect(try await store.allGenerations() == [first])
        try await store.verify(JobID(rawValue: "other"), generation(1))
        // What the failed checkpoint took is free again.
        try disk.scratch.write(noise(6 << 20, seed: 7), to: "third/a.img")
        _ = try await store.store(source(3, images: disk.scratch("third")))
    }

    @Test("a checkpoint that will not fit is refused before anything is written")
    func refusedBefore() async throws {
        let disk = try SmallDisk(bytes: 8 << 20)
        try disk.scratch.write(noise(1 << 20, seed: 8), to: "first/a.img")
        let reserving = ImageStoreConfiguration(workerThreads: 1, reserve: .mebibytes(6))
        let store = try ImageStore(folder: "\(disk.path)/store", configuration: reserving)
        _ = try await store.store(source(1, images: disk.scratch("first")))
        // The job's last checkpoint did not shrink, so this one needs more than half of its size.
        try disk.scratch.write(noise(3 << 20, seed: 9), to: "second/a.img")
        let error = await storeError { try await store.store(source(2, images: disk.scratch("second"))) }
        #expect(error?.code == .noSpace)
        #expect(error?.description.contains("6 MiB of them are held back") == true)
        #expect(error?.description.contains("keep fewer generations: checkpoints there take 1.0 MiB") == true)
        guard case .unavailable = error?.restoreProblem else {
            Issue.record("a full disk was taken for damage")
            return
        }
    }

    @Test("images that do not fit into memory are not extracted, and nothing of them stays")
    func extraction() async throws {
        let disk = try SmallDisk(bytes: 4 << 20)
        try disk.scratch.write(noise(6 << 20, seed: 10), to: "images/a.img")
        let store = try ImageStore(folder: disk.scratch("store"), configuration: plain)
        _ = try await store.store(source(1, images: disk.scratch("images")))
        let error = await storeError {
            try await store.extract(job, generation(1), to: "\(disk.path)/out", layerArchive: nil)
        }
        #expect(error?.code == .noSpace)
        #expect(error?.description.contains("in memory") == true)
        #expect(!FileManager.default.fileExists(atPath: "\(disk.path)/out"))
    }
}
