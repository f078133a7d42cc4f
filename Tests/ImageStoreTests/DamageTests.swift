import Checkpointing
import ClusterModel
import Foundation
import ImageStore
import Testing

struct DamageTests {
    let scratch: Scratch
    let store: ImageStore

    init() async throws {
        scratch = try Scratch()
        try scratch.write(text(600), to: "images/a.img")
        try scratch.write(noise(200, seed: 5), to: "images/b.img")
        try scratch.write(
            [UInt8](repeating: 0, count: 5000) + [1] + [UInt8](repeating: 0, count: 5000),
            to: "images/c.img"
        )
        store = try ImageStore(
            folder: scratch("store"),
            configuration: ImageStoreConfiguration(workerThreads: 1, reserve: .zero)
        )
        for number in [1, 2] as [UInt32] { _ = try await store.store(source(number, images: scratch("images"))) }
    }

    func path(_ number: Int, _ file: String) -> String { scratch("store/\(job)/\(number)/\(file)") }

    @Test("every changed byte of data and index is found", arguments: ["data", "index"])
    func everyByte(file: String) async throws {
        let url = URL(filePath: path(1, file))
        let original = try Data(contentsOf: url)
        #expect(original.count > 128)
        var found = 0
        for position in original.indices {
            for mask in [0x01, 0x80, 0xFF] as [UInt8] {
                var changed = original
                changed[position] ^= mask
                try changed.write(to: url)
                let error = await storeError { try await store.verify(job, generation(1)) }
                if error?.code == .damaged { found += 1 }
            }
        }
        #expect(found == 3 * original.count)
        try original.write(to: url)
        try await store.verify(job, generation(1))
    }

    @Test("every truncation is found, and a longer file too", arguments: ["data", "index"])
    func truncated(file: String) async throws {
        let url = URL(filePath: path(1, file))
        let original = try Data(contentsOf: url)
        for count in stride(from: 0, to: original.count, by: 7) {
            try original.prefix(count).write(to: url)
            let error = await storeError { try await store.inspect(job, generation(1)) }
            #expect(error?.code == .damaged)
        }
        try (original + [0]).write(to: url)
        #expect(await storeError { try await store.inspect(job, generation(1)) }?.code == .damaged)
    }

    @Test("a missing file is damage; so is a generation that is an empty folder")
    func missing() async throws {
        try FileManager.default.removeItem(atPath: path(1, "data"))
        #expect(await storeError { try await store.verify(job, generation(1)) }?.code == .damaged)
        try FileManager.default.removeItem(atPath: path(1, "index"))
        let error = await storeError { try await store.verify(job, generation(1)) }
        #expect(error?.code == .damaged)
        let records = try await store.generations(of: job)
        #expect(records.map(\.state) == [.damaged, .complete])
        guard case .damaged = error?.restoreProblem else {
            Issue.record("a restore would not go on to the generation before: \(String(describing: error))")
            return
        }
    }

    @Test("data files swapped between generations are refused, by the name of their owner")
    func swapped() async throws {
        let files = FileManager.default
        try files.moveItem(atPath: path(1, "data"), toPath: scratch("data"))
        try files.moveItem(atPath: path(2, "data"), toPath: path(1, "data"))
        try files.moveItem(atPath: scratch("data"), toPath: path(2, "data"))
        let error = await storeError {
            try await store.extract(job, generation(1), to: scratch("out"), layerArchive: nil)
        }
        #expect(error?.code == .damaged)
        #expect(error?.description.contains("data file belongs to checkpoint 2 of job \(job)") == true)
        #expect(error?.description.contains("Restore the generation before it") == true)
        #expect(!FileManager.default.fileExists(atPath: scratch("out")))
    }

    @Test("a checkpoint of another job, or of another generation, is refused by its name")
    func foreign() async throws {
        let other = JobID(rawValue: "otherjob")
        try FileManager.default.copyItem(atPath: scratch("store/\(job)"), toPath: scratch("store/\(other)"))
        let error = await storeError { try await store.verify(other, generation(1)) }
        #expect(error?.description.contains("belongs to checkpoint 1 of job \(job)") == true)
        try FileManager.default.copyItem(atPath: scratch("store/\(job)/1"), toPath: scratch("store/\(job)/7"))
        let moved = await storeError { try await store.verify(job, generation(7)) }
        #expect(moved?.description.contains("belongs to checkpoint 1") == true)
        #expect(try await store.generations(of: job).map(\.state) == [.complete, .complete, .damaged])
    }

    @Test("an index from a later release says so, and what to do")
    func future() async throws {
        let url = URL(filePath: path(1, "index"))
        var bytes = Array(try Data(contentsOf: url).dropLast(8))
        bytes[8] = 9
        let sum = XXHash64.hash(bytes.span)
        bytes += (0..<8).map { UInt8(truncatingIfNeeded: sum >> (8 * $0)) }
        try Data(bytes).write(to: url)
        let error = await storeError { try await store.verify(job, generation(1)) }
        #expect(error?.code == .futureVersion)
        #expect(error?.description.contains("format version 9") == true)
        #expect(error?.description.contains("upgrade") == true)
    }

    @Test("a damaged region is named with its file, and nothing of the extraction stays")
    func named() async throws {
        let index = try await store.inspect(job, generation(2))
        let region = try #require(index.files.first { $0.name == "b.img" }?.regions.first)
        let file = try FileHandle(forUpdating: URL(filePath: path(2, "data")))
        try file.seek(toOffset: region.storedOffset + 3)
        let byte = try #require(try file.read(upToCount: 1)?.first)
        try file.seek(toOffset: region.storedOffset + 3)
        try file.write(contentsOf: Data([byte ^ 4]))
        try file.close()
        try FileManager.default.createDirectory(atPath: scratch("out"), withIntermediateDirectories: false)
        let error = await storeError {
            try await store.extract(job, generation(2), to: scratch("out"), layerArchive: scratch("layer"))
        }
        #expect(error?.code == .damaged)
        #expect(error?.description.contains("region 0 of b.img") == true)
        #expect(try Tree(scratch("out")).entries.isEmpty)
        try await store.verify(job, generation(1))
    }
}
