import Checkpointing
import ClusterModel
import Foundation
import ImageStore
import Synchronization
import Testing

struct ImageStoreTests {
    /// Every kind of file that has an edge: lengths around pages and regions, zeros, noise, folders, odd names and modes.
    static func awkward(_ scratch: Scratch) throws -> String {
        let region = ImageIndex.regionBytes
        var mixed = noise(3 * region, seed: 1)
        for page in stride(from: 0, to: mixed.count / 4096, by: 3) {
            mixed.replaceSubrange(page * 4096..<(page + 1) * 4096, with: repeatElement(0, count: 4096))
        }
        var lateByte = [UInt8](repeating: 0, count: 2 * region + 4097)
        lateByte[lateByte.count - 1] = 1
        let files: [(String, [UInt8], Int)] = [
            ("empty.img", [], 0o600), ("one.img", [7], 0o644), ("one-zero.img", [0], 0o600),
            ("page.img", text(4096), 0o600), ("page-and-one.img", text(4097), 0o600),
            ("region.img", text(region), 0o600), ("region-less-one.img", text(region - 1), 0o600),
            ("region-and-one.img", noise(region + 1, seed: 2), 0o600),
            ("zeros.img", [UInt8](repeating: 0, count: 3 * region + 5), 0o600),
            ("late-byte.img", lateByte, 0o600), ("noise.img", noise(9 * region + 123, seed: 3), 0o400),
            ("text.img", text(20 * region), 0o600), ("mixed.img", mixed, 0o600),
            ("folder/deep/er.img", text(100), 0o600), ("folder.img", text(5), 0o600),
            ("Übergrößen träger \u{1F426}.img", text(10), 0o600),
        ]
        for (name, bytes, mode) in files { try scratch.write(bytes, to: "images/\(name)", mode: mode) }
        try FileManager.default.setAttributes([.posixPermissions: 0o750], ofItemAtPath: scratch("images/folder/deep"))
        try FileManager.default.createDirectory(atPath: scratch("images/hollow"), withIntermediateDirectories: false)
        return scratch("images")
    }

    @Test("awkward files come back as they were", arguments: [1, 2, 7], [false, true])
    func roundTrip(threads: Int, contentHashes: Bool) async throws {
        let scratch = try Scratch()
        let images = try Self.awkward(scratch)
        try scratch.write(text(300_000), to: "layer.tar")
        let configuration = ImageStoreConfiguration(
            workerThreads: threads,
            contentHashes: contentHashes,
            reserve: .zero
        )
        let store = try ImageStore(folder: scratch("store"), configuration: configuration)
        let record = try await store.store(source(1, images: images, layer: scratch("layer.tar")))
        #expect(record.state == .complete)
        #expect(record.ledger == .seconds(1))
        #expect(record.frozen == .milliseconds(350))
        #expect(record.total > .milliseconds(500))
        #expect(record.storedBytes < record.rawBytes)
        #expect(try await store.generations(of: job) == [record])
        #expect(try await store.totalStoredBytes() == record.storedBytes)
        try await store.verify(job, generation(1))
        let index = try await store.extract(
            job,
            generation(1),
            to: scratch("out"),
            layerArchive: scratch("layer-out.tar")
        )
        #expect(index.rawBytes == record.rawBytes)
        #expect(try Tree(images) == Tree(scratch("out")))
        #expect(try Data(contentsOf: URL(filePath: scratch("layer-out.tar"))) == Data(text(300_000)))
        let stored = index.files.flatMap(\.regions).filter { $0.encoding != .zero }
        #expect(stored.allSatisfy { ($0.contentHash != nil) == contentHashes })
        if contentHashes {
            // Equal text at equal places of two files is found to be equal.
            let text = try #require(index.files.first { $0.name == "text.img" }?.regions.first?.contentHash)
            #expect(index.files.first { $0.name == "region.img" }?.regions.first?.contentHash == text)
        }
    }

    @Test("a file of mostly hole is stored and extracted without touching the hole")
    func sparse() async throws {
        let scratch = try Scratch()
        try scratch.write([1, 2, 3], to: "images/pages-1.img")
        let file = try FileHandle(forUpdating: URL(filePath: scratch("images/pages-1.img")))
        try file.seek(toOffset: 5 << 30)
        try file.write(contentsOf: Data(text(5000)))
        try file.truncate(atOffset: (5 << 30) + 9_000_001)
        try file.close()
        let store = try ImageStore(folder: scratch("store"), configuration: plain)
        let record = try await store.store(source(1, images: scratch("images")))
        #expect(record.rawBytes == .bytes((5 << 30) + 9_000_001))
        #expect(record.storedBytes < .kibibytes(16))
        try await store.extract(job, generation(1), to: scratch("out"), layerArchive: nil)
        let out = try FileHandle(forReadingFrom: URL(filePath: scratch("out/pages-1.img")))
        #expect(try out.read(upToCount: 3) == Data([1, 2, 3]))
        try out.seek(toOffset: (5 << 30) - 1)
        #expect(try out.read(upToCount: 5001) == Data([0] + text(5000)))
        #expect(try out.seekToEnd() == (5 << 30) + 9_000_001)
        var status = stat()
        #expect(unsafe stat(scratch("out/pages-1.img"), &status) == 0)
        #expect(status.st_blocks < 200)
    }

    @Test("nobody but the owner can read images")
    func permissions() async throws {
        let scratch = try Scratch()
        try scratch.write(text(10), to: "images/a.img", mode: 0o644)
        let store = try ImageStore(folder: scratch("store"), configuration: plain)
        _ = try await store.store(source(1, images: scratch("images")))
        try await store.markDamaged(job, generation(1), reason: "a test")
        let tree = try Tree(scratch("store")).entries
        #expect(tree["\(job)"]?.mode == 0o700)
        #expect(tree["\(job)/1"]?.mode == 0o700)
        #expect(tree["\(job)/1/data"]?.mode == 0o600)
        #expect(tree["\(job)/1/index"]?.mode == 0o600)
        #expect(tree["\(job)/1/damaged"]?.mode == 0o600)
        let top = try FileManager.default.attributesOfItem(atPath: scratch("store"))
        #expect(top[.posixPermissions] as? Int == 0o700)
    }

    @Test("generations are listed in order, removed, retired; the newest good one stays")
    func retention() async throws {
        let scratch = try Scratch()
        try scratch.write(text(10_000), to: "images/a.img")
        let store = try ImageStore(folder: scratch("store"), configuration: plain)
        for number in [9, 10, 11, 2] as [UInt32] {
            _ = try await store.store(source(number, images: scratch("images")))
        }
        let other = JobID(rawValue: "otherjob")
        _ = try await store.store(source(1, images: scratch("images"), of: other))
        #expect(try await store.generations(of: job).map(\.generation.rawValue) == [2, 9, 10, 11])
        #expect(try await store.jobs() == [job, other])
        try await store.markDamaged(job, generation(11), reason: "region 1 was not what was written")
        try await store.markDamaged(job, generation(11), reason: "another reason")
        #expect(try await store.generations(of: job).last?.damage == "region 1 was not what was written")
        let removed = try await store.retire(keeping: RetentionPolicy(generations: 1))
        #expect(removed.map(\.generation.rawValue) == [2, 9])
        #expect(try await store.generations(of: job).map(\.generation.rawValue) == [10, 11])
        try await store.remove(job, generation(10))
        let error = await storeError { try await store.remove(job, generation(10)) }
        #expect(error?.code == .notFound)
        try await store.removeAll(of: job)
        #expect(try await store.jobs() == [other])
        #expect(try await store.allGenerations().count == 1)
    }

    @Test("a generation is never written twice")
    func twice() async throws {
        let scratch = try Scratch()
        try scratch.write(text(10), to: "images/a.img")
        let store = try ImageStore(folder: scratch("store"), configuration: plain)
        let first = try await store.store(source(1, images: scratch("images")))
        let error = await storeError { try await store.store(source(1, images: scratch("images"))) }
        #expect(error?.code == .alreadyExists)
        #expect(try await store.generations(of: job) == [first])
    }

    @Test("what cannot be stored is refused with its place, and leaves nothing")
    func unsuitable() async throws {
        let scratch = try Scratch()
        let store = try ImageStore(folder: scratch("store"), configuration: plain)
        try scratch.write([1], to: "images/a.img")
        try FileManager.default.createSymbolicLink(atPath: scratch("images/parent"), withDestinationPath: "../before")
        let link = await storeError { try await store.store(source(1, images: scratch("images"))) }
        #expect(link?.code == .unsuitable)
        #expect(link?.description.contains("\(scratch("images/parent")) is a link") == true)
        let absent = await storeError { try await store.store(source(1, images: scratch("nothing"))) }
        #expect(absent?.description.contains(scratch("nothing")) == true)
        let layer = await storeError {
            try await store.store(source(1, images: scratch("store"), layer: scratch("no-layer")))
        }
        #expect(layer?.description.contains(scratch("no-layer")) == true)
        for name in ["../evil", "", "a/b", ".."] {
            let error = await storeError {
                try await store.store(source(1, images: scratch("images"), of: JobID(rawValue: name)))
            }
            #expect(error?.code == .unsuitable)
        }
        #expect(try await store.allGenerations().isEmpty)
    }

    @Test("an extraction never mixes with what is there")
    func occupied() async throws {
        let scratch = try Scratch()
        try scratch.write(text(10), to: "images/a.img")
        try scratch.write([1], to: "occupied/file")
        let store = try ImageStore(folder: scratch("store"), configuration: plain)
        _ = try await store.store(source(1, images: scratch("images"), layer: scratch("images/a.img")))
        let folder = await storeError {
            try await store.extract(job, generation(1), to: scratch("occupied"), layerArchive: nil)
        }
        #expect(folder?.code == .unsuitable)
        let layer = await storeError {
            try await store.extract(job, generation(1), to: scratch("out"), layerArchive: scratch("occupied/file"))
        }
        #expect(layer?.code == .unsuitable)
        #expect(try Tree(scratch("occupied")).entries.count == 1)
        #expect(!FileManager.default.fileExists(atPath: scratch("out")))
        // Without a path for it the layer is checked and left out.
        try await store.extract(job, generation(1), to: scratch("out"), layerArchive: nil)
        #expect(try Tree(scratch("out")).entries.keys.sorted() == ["a.img"])
    }

    @Test("two agents cannot share a folder")
    func locked() async throws {
        let scratch = try Scratch()
        var first: ImageStore? = try ImageStore(folder: scratch("store"), configuration: plain)
        #expect(first != nil)
        let error = #expect(throws: ImageStoreError.self) {
            try ImageStore(folder: scratch("store"), configuration: plain)
        }
        #expect(error?.code == .busy)
        first = nil
        _ = try ImageStore(folder: scratch("store"), configuration: plain)
    }

    @Test("a checkpoint that is being written is not read, and a cancelled one leaves nothing")
    func cancelled() async throws {
        let scratch = try Scratch()
        try scratch.write(noise(3 << 20, seed: 4), to: "images/a.img")
        let (reached, go) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let store = try ImageStore(
            folder: scratch("store"),
            configuration: plain,
            observer: { step in
                guard step == .dataCreated else { return }
                reached.signal()
                go.wait()
            }
        )
        let images = scratch("images")
        let task = Task { try await store.store(source(1, images: images)) }
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                reached.wait()
                continuation.resume()
            }
        }
        let busy = await storeError { try await store.verify(job, generation(1)) }
        #expect(busy?.code == .busy)
        task.cancel()
        go.signal()
        let error = await storeError { try await task.value }
        #expect(error?.code == .cancelled)
        #expect(try Tree(scratch("store")).entries.keys.sorted() == [".lock"])
    }
}
