import Checkpointing
import ClusterModel
import Foundation
import ImageStore
import Testing

/// Memory that is left out of an extraction and read afterwards.
struct StoredPagesTests {
    private static let page = 4096
    private static let inventory: [UInt8] = [0x16, 0x31, 0x31, 0x58, 2, 0, 0, 0, 0x08, 2]
    private static let secret = noise(CheckpointKeychain.keyByteCount, seed: 99)

    /// Runs of a page map, each with its first page, pages and flags: some may not be left out.
    private static let runs: [(Int, Int, UInt8)] = [
        (16, 10, 4), (26, 600, 6), (700, 1, 4), (701, 63, 6), (1000, 300, 6), (2000, 64, 6),
    ]
    private static let pages: [UInt8] = {
        var bytes = noise(10 * page, seed: 1) + text(300 * page) + noise(300 * page, seed: 2)
        bytes += noise(page, seed: 3) + text(63 * page)
        bytes += [UInt8](repeating: 0, count: 300 * page)
        return bytes + noise(64 * page, seed: 4)
    }()

    let scratch: Scratch
    let store: ImageStore

    init() async throws {
        scratch = try Scratch()
        var map: [UInt8] = [0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56, 2, 0, 0, 0, 0x08, 1]
        for (first, count, flags) in Self.runs {
            let entry = [0x08] + Self.varint(first * Self.page) + [0x20, flags, 0x28] + Self.varint(count)
            map += [UInt8(entry.count), 0, 0, 0] + entry
        }
        try scratch.write(map, to: "images/pagemap-1.img")
        try scratch.write(Self.inventory, to: "images/inventory.img")
        try scratch.write(Self.pages, to: "images/pages-1.img")
        try scratch.write(text(5000), to: "images/core-1.img")
        try scratch.write(text(9000), to: "layer.tar")
        store = try ImageStore(
            folder: scratch("store"),
            configuration: plain,
            keychain: CheckpointKeychain([1: Self.secret])
        )
        _ = try await store.store(source(1, images: scratch("images"), layer: scratch("layer.tar")))
    }

    private static func varint(_ value: Int) -> [UInt8] {
        var (value, bytes): (Int, [UInt8]) = (value, [])
        while value >= 0x80 {
            bytes.append(UInt8(value & 0x7F) | 0x80)
            value >>= 7
        }
        return bytes + [UInt8(value)]
    }

    private func take(minimum: ByteCount = .zero) async throws -> StoredPages? {
        try await store.extractWithoutMemory(
            job,
            generation(1),
            to: scratch("out"),
            layerArchive: scratch("out.tar"),
            minimum: minimum
        ).pages
    }

    private static func offset(of page: Int) -> Int? {
        var at = 0
        for (first, count, _) in runs {
            if (first..<first + count).contains(page) { return (at + page - first) * Self.page }
            at += count
        }
        return nil
    }

    @Test("what is left out are holes, and every page of it is read as it was")
    func everyPage() async throws {
        let pages = try #require(try await take())
        #expect(pages.byteCount == .bytes(1027 * 4096))
        let extracted = try Data(contentsOf: URL(filePath: scratch("out/pages-1.img")))
        #expect(extracted.count == Self.pages.count)
        for (first, count, flags) in Self.runs where flags == 4 {
            let at = try #require(Self.offset(of: first))
            #expect(extracted[at..<at + count * Self.page].elementsEqual(Self.pages[at..<at + count * Self.page]))
        }
        let kept = extracted.count { $0 != 0 }
        #expect(kept < Self.pages.count / 3)
        #expect(try Data(contentsOf: URL(filePath: scratch("out/core-1.img"))).elementsEqual(text(5000)))
        #expect(try Data(contentsOf: URL(filePath: scratch("out.tar"))).elementsEqual(text(9000)))
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<300 {
            let (first, count, _) = Self.runs[Int.random(in: 0..<Self.runs.count, using: &generator)]
            let page = first + Int.random(in: 0..<count, using: &generator)
            let wanted = Int.random(in: 1...100, using: &generator)
            var bytes: [UInt8] = [9]
            let found = try pages.read(
                process: 1,
                address: UInt64(page * Self.page),
                pageCount: UInt64(wanted),
                into: &bytes
            )
            #expect(found == min(wanted, first + count - page))
            let at = try #require(Self.offset(of: page))
            #expect(bytes.dropFirst().elementsEqual(Self.pages[at..<at + found * Self.page]))
            pages.prefetch(process: 1, address: UInt64((page + found) * Self.page))
        }
        var bytes: [UInt8] = []
        for (process, page) in [(1, 15), (1, 999), (2, 16)] as [(UInt64, Int)] {
            let error = await storeError {
                try pages.read(process: process, address: UInt64(page * Self.page), pageCount: 1, into: &bytes)
            }
            #expect(error?.code == .unsuitable)
        }
    }

    @Test("a checkpoint is not removed while its memory is read, and can be afterwards")
    func held() async throws {
        let pages = try #require(try await take())
        #expect(await storeError { try await store.remove(job, generation(1)) }?.code == .busy)
        pages.close()
        var bytes: [UInt8] = []
        let error = await storeError { try pages.read(process: 1, address: 16 * 4096, pageCount: 1, into: &bytes) }
        #expect(error?.code == .cancelled)
        try await store.remove(job, generation(1))
    }

    @Test("little memory, and memory that cannot be found, is extracted with the rest")
    func little() async throws {
        #expect(try await take(minimum: .bytes(1028 * 4096)) == nil)
        #expect(try Tree(scratch("out")) == Tree(scratch("images")))
        try FileManager.default.removeItem(atPath: scratch("out"))
        try FileManager.default.removeItem(atPath: scratch("out.tar"))
        try scratch.write(Array(Self.pages.dropLast()), to: "images/pages-1.img")
        _ = try await store.store(source(2, images: scratch("images")))
        let second = try await store.extractWithoutMemory(
            job,
            generation(2),
            to: scratch("out"),
            layerArchive: nil,
            minimum: .zero
        )
        #expect(second.pages == nil)
        #expect(try Tree(scratch("out")) == Tree(scratch("images")))
        try await store.remove(job, generation(1))
        try await store.remove(job, generation(2))
    }

    @Test("a region that is damaged is refused when it is asked for, the others are not")
    func damaged() async throws {
        let index = try await store.inspect(job, generation(1))
        let file = try #require(index.files.first { $0.name == "pages-1.img" })
        // The last one: 64 pages of noise from page 2000 on, at the end of the file.
        let region = try #require(file.regions.last)
        let url = URL(filePath: scratch("store/\(job)/1/data"))
        var data = try Data(contentsOf: url)
        data[Int(region.storedOffset) + 100] ^= 1
        try data.write(to: url)
        let pages = try #require(try await take())
        var bytes: [UInt8] = []
        #expect(try pages.read(process: 1, address: 26 * 4096, pageCount: 600, into: &bytes) == 600)
        let error = await storeError { try pages.read(process: 1, address: 2063 * 4096, pageCount: 1, into: &bytes) }
        #expect(error?.code == .damaged && error?.message.contains("pages-1.img") == true)
    }
}
