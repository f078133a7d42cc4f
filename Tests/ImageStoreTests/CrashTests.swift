import Checkpointing
import ClusterModel
import Foundation
import ImageStore
import Synchronization
import Testing

/// What is on the disk at each step, taken as the state that a crash at that moment leaves.
///
/// A killed process leaves the files as they are. A machine that loses its power may also lose, in part or wholly, whatever was not yet synchronized; the
/// steps say what was.
struct CrashTests {
    /// What a power failure does to files that were not synchronized.
    enum Loss: CaseIterable { case nothing, half, all }

    static func setUp(_ scratch: Scratch) throws {
        try scratch.write(text(700_000), to: "first/pages-1.img")
        try scratch.write(noise(5000, seed: 1), to: "first/core-1.img")
        try scratch.write(text(900_000), to: "second/pages-1.img")
        try scratch.write(noise(3 << 20, seed: 2), to: "second/pages-2.img")
    }

    /// Copies the store at a step and loses what may be lost then.
    static func crash(_ store: String, at step: StoreStep, losing loss: Loss, into copy: String) throws {
        let files = FileManager.default
        try files.copyItem(atPath: store, toPath: copy)
        let partial = "\(copy)/\(job)/2.partial"
        var unsynchronized: [String] = []
        switch step {
        case .dataCreated, .dataWritten: unsynchronized = ["data"]
        case .indexWritten: unsynchronized = ["index"]
        default: break
        }
        for name in unsynchronized {
            switch loss {
            case .nothing: break
            case .half:
                let file = try FileHandle(forUpdating: URL(filePath: "\(partial)/\(name)"))
                try file.truncate(atOffset: file.seekToEnd() / 2)
                try file.close()
            case .all: try files.removeItem(atPath: "\(partial)/\(name)")
            }
        }
    }

    @Test(
        "a crash at any moment of storing leaves the old generation alone or beside the whole new one",
        arguments: Loss.allCases
    )
    func storing(loss: Loss) async throws {
        let scratch = try Scratch()
        try Self.setUp(scratch)
        let steps = Mutex<[StoreStep]>([])
        let isArmed = Mutex(false)
        let root = scratch.path
        let configuration = ImageStoreConfiguration(workerThreads: 1, reserve: .zero)
        let store = try ImageStore(
            folder: scratch("store"),
            configuration: configuration,
            observer: { step in
                guard isArmed.withLock({ $0 }) else { return }
                let number = steps.withLock {
                    $0.append(step)
                    return $0.count
                }
                try Self.crash("\(root)/store", at: step, losing: loss, into: "\(root)/crash-\(number)")
            }
        )
        _ = try await store.store(source(1, images: scratch("first")))
        isArmed.withLock { $0 = true }
        _ = try await store.store(source(2, images: scratch("second")))
        let seen = steps.withLock { $0 }
        #expect(seen.count >= 10)
        for (number, step) in seen.enumerated() {
            let after = try ImageStore(folder: scratch("crash-\(number + 1)"), configuration: configuration)
            let records = try await after.generations(of: job)
            let isThere = step == .renamed || step == .published
            #expect(records.map(\.generation.rawValue) == (isThere ? [1, 2] : [1]), "after \(step)")
            #expect(records.allSatisfy { $0.state == .complete })
            try await after.extract(job, generation(1), to: scratch("out-\(number)-1"), layerArchive: nil)
            #expect(try Tree(scratch("out-\(number)-1")) == Tree(scratch("first")))
            if isThere {
                try await after.extract(job, generation(2), to: scratch("out-\(number)-2"), layerArchive: nil)
                #expect(try Tree(scratch("out-\(number)-2")) == Tree(scratch("second")))
            }
            let names = try FileManager.default.contentsOfDirectory(atPath: scratch("crash-\(number + 1)/\(job)"))
            #expect(names.sorted() == (isThere ? ["1", "2"] : ["1"]), "left over after \(step)")
            // The generation can be stored again where it was lost.
            if !isThere { _ = try await after.store(source(2, images: scratch("second"))) }
        }
    }

    @Test("a file system that fails at any step leaves the old generation, nothing else, and says so")
    func failing() async throws {
        struct Planned: Error {}
        let scratch = try Scratch()
        try Self.setUp(scratch)
        var failures = 0
        for failing in 0..<100 {
            let count = Mutex(-1000)
            let folder = scratch("store-\(failing)")
            var store: ImageStore? = try ImageStore(
                folder: folder,
                configuration: plain,
                observer: { _ in
                    let number = count.withLock {
                        $0 += 1
                        return $0
                    }
                    if number == failing { throw Planned() }
                }
            )
            _ = try await store?.store(source(1, images: scratch("first")))
            count.withLock { $0 = -1 }
            do {
                _ = try await store?.store(source(2, images: scratch("second")))
                break
            } catch is Planned {
                failures += 1
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(job)") == ["1"])
            store = nil
            let after = try ImageStore(folder: folder, configuration: plain)
            try await after.verify(job, generation(1))
            #expect(try await after.generations(of: job).count == 1)
        }
        #expect(failures >= 10)
    }

    @Test("a crash at any moment of removing leaves the generation whole or gone")
    func removing() async throws {
        let scratch = try Scratch()
        try Self.setUp(scratch)
        let count = Mutex(0)
        let root = scratch.path
        let store = try ImageStore(
            folder: scratch("store"),
            configuration: plain,
            observer: { step in
                switch step {
                case .removalRenamed, .removalSynchronized, .removalCleared, .marked:
                    let number = count.withLock {
                        $0 += 1
                        return $0
                    }
                    try FileManager.default.copyItem(atPath: "\(root)/store", toPath: "\(root)/crash-\(number)")
                default: break
                }
            }
        )
        for number in [1, 2] as [UInt32] { _ = try await store.store(source(number, images: scratch("first"))) }
        try await store.markDamaged(job, generation(2), reason: "a test")
        try await store.remove(job, generation(1))
        #expect(count.withLock { $0 } == 4)
        for number in 1...4 {
            let after = try ImageStore(folder: scratch("crash-\(number)"), configuration: plain)
            let records = try await after.generations(of: job)
            #expect(records.map(\.generation.rawValue) == (number == 1 ? [1, 2] : [2]))
            #expect(records.last?.damage == "a test")
            for record in records { try await after.verify(job, record.generation) }
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: scratch("crash-\(number)/\(job)")).count
                    == records.count
            )
        }
    }
}
