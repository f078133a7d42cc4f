import Checkpointing
import ClusterModel
import Foundation
import Testing

@testable import ImageStore

/// Generations that share what did not change: little is stored and sent, and any of them can go.
struct SharedDataTests {
    let scratch: Scratch
    static let keys: [UInt64: [UInt8]] = [1: noise(32, seed: 77)]
    static let regionCount = 80

    init() throws {
        scratch = try Scratch()
        try scratch.write(noise(Self.regionCount << 18, seed: 1), to: "images/pages-1.img")
        try scratch.write(text(5000), to: "images/core.img")
    }

    func store(_ name: String, keys: [UInt64: [UInt8]] = keys) throws -> ImageStore {
        var configuration = plain
        configuration.contentHashes = true
        return try ImageStore(folder: scratch(name), configuration: configuration, keychain: CheckpointKeychain(keys))
    }

    /// Writes something else into these regions.
    func change(_ regions: [Int], seed: UInt64) throws {
        let file = try FileHandle(forUpdating: URL(filePath: scratch("images/pages-1.img")))
        for region in regions {
            try file.seek(toOffset: UInt64(region) << 18)
            try file.write(contentsOf: Data(noise(5000, seed: seed &+ UInt64(region))))
        }
        try file.close()
    }

    /// Writes something else into single pages.
    func changePages(_ pages: some Sequence<Int>, seed: UInt64) throws {
        let file = try FileHandle(forUpdating: URL(filePath: scratch("images/pages-1.img")))
        for page in pages {
            try file.seek(toOffset: UInt64(page) << 12)
            try file.write(contentsOf: Data(noise(64, seed: seed &+ UInt64(page))))
        }
        try file.close()
    }

    static var pageCount: Int { regionCount << 6 }

    func take(_ number: UInt32, in store: ImageStore) async throws -> CheckpointRecord {
        try await store.store(source(number, images: scratch("images")), sharing: true)
    }

    /// Sends a copy, and gives how many bytes of data went.
    func copy(_ number: UInt32, from: ImageStore, to: ImageStore, sharing: Bool = true) async throws -> UInt64 {
        let seal = try #require(try await from.generations(of: job).first { $0.generation.rawValue == number }?.seal)
        let incoming = try await to.incoming(job, generation(number), sharing: sharing)
        let outgoing = try await from.outgoing(job, generation(number), held: incoming.held)
        #expect(try await incoming.begin(index: outgoing.index, seal: seal) == outgoing.dataLength)
        var offset: UInt64 = 0
        while true {
            let piece = try await outgoing.read(from: offset, limit: 100_000)
            if piece.isEmpty { break }
            try await incoming.write(piece, at: offset)
            offset += UInt64(piece.count)
        }
        #expect(offset == outgoing.dataLength)
        _ = try await incoming.finish()
        return offset
    }

    func expectGood(_ number: UInt32, _ store: ImageStore, _ expected: Tree) async throws {
        try await store.extract(job, generation(number), to: scratch("out"), layerArchive: nil)
        #expect(try Tree(scratch("out")) == expected)
        try FileManager.default.removeItem(atPath: scratch("out"))
    }

    @Test("what changed is stored, what did not is shared, and the first can go", arguments: [[:], keys])
    func shared(keys: [UInt64: [UInt8]]) async throws {
        let store = try store("store", keys: keys)
        let first = try await take(1, in: store)
        let before = try Tree(scratch("images"))
        try change([3, 7, 60, 61], seed: 9)
        let second = try await take(2, in: store)
        let after = try Tree(scratch("images"))
        #expect(second.storedBytes.rawValue * 10 <= second.rawBytes.rawValue, "\(second.storedBytes)")
        #expect(second.sharedBytes.rawValue > first.storedBytes.rawValue / 2)
        let both = try await store.totalStoredBytes()
        #expect(both == first.storedBytes + second.storedBytes)
        try await expectGood(1, store, before)
        try await expectGood(2, store, after)
        try await store.remove(job, generation(1))
        #expect(try await store.totalStoredBytes() < both)
        try await expectGood(2, store, after)
        #expect(try await store.examine(job, generation(2)) == ImageExamination())
        #expect(try await store.generations(of: job).map(\.generation.rawValue) == [2])
        try await store.remove(job, generation(2))
        #expect(try await store.totalStoredBytes() == .zero)
        #expect(!FileManager.default.fileExists(atPath: scratch("store/\(job)")))
    }

    @Test("a replica that has the earlier one gets only what is new, and one that has not gets all")
    func copies() async throws {
        let (home, near, far) = (try store("home"), try store("near"), try store("far"))
        _ = try await take(1, in: home)
        let first = try await copy(1, from: home, to: near)
        try change([0, 79], seed: 9)
        _ = try await take(2, in: home)
        let images = try Tree(scratch("images"))
        let sent = try await copy(2, from: home, to: near)
        #expect(sent * 10 <= first, "\(sent) of \(first)")
        #expect(try await copy(2, from: home, to: far) > first)
        for store in [near, far] {
            try? await store.remove(job, generation(1))
            try await expectGood(2, store, images)
        }
        // From a replica to another, whose first generation is from there as well.
        try change([5], seed: 10)
        try await home.remove(job, generation(1))
        _ = try await take(3, in: home)
        #expect(try await copy(3, from: home, to: far) * 10 <= first)
        try await expectGood(3, far, try Tree(scratch("images")))
    }

    @Test("a long chain stays readable, short, and not much larger than one generation", .timeLimit(.minutes(10)))
    func chain() async throws {
        let store = try store("store")
        var generator = SeededGenerator(seed: 3)
        var stored: Int64 = 0
        for number in 1...40 {
            try change(
                (0..<4).map { _ in Int(generator.next() % UInt64(Self.regionCount)) },
                seed: UInt64(number) << 20
            )
            let record = try await take(UInt32(number), in: store)
            if number > 1 { stored += record.storedBytes.rawValue }
            if number > 2 { try await store.remove(job, generation(UInt32(number - 2))) }
            let index = try await store.inspect(job, record.generation)
            #expect(index.sources.count < ImageIndex.sourceLimit)
            #expect(try await store.totalStoredBytes().rawValue < 3 * record.rawBytes.rawValue)
        }
        #expect(stored < 39 * Int64(Self.regionCount << 18) * 15 / 100, "\(stored)")
        try await expectGood(40, store, try Tree(scratch("images")))
    }

    @Test("nothing is shared across keys, since the older key may be destroyed")
    func rotated() async throws {
        let store = try store("store")
        let first = try await take(1, in: store)
        store.keychain.replace(with: Self.keys.merging([2: noise(32, seed: 78)]) { $1 })
        let second = try await take(2, in: store)
        #expect(second.storedBytes.rawValue > first.storedBytes.rawValue * 9 / 10 && second.sharedBytes == .zero)
        #expect(second.seal?.key == 2)
    }

    @Test("damage in shared data is found in each that has it, and a copy of all of it heals")
    func damaged() async throws {
        let (home, other) = (try store("home"), try store("other"))
        _ = try await take(1, in: home)
        _ = try await copy(1, from: home, to: other)
        try change([4], seed: 9)
        _ = try await take(2, in: home)
        let file = try FileHandle(forUpdating: URL(filePath: scratch("other/\(job)/1/data")))
        try file.seek(toOffset: 9 << 18)
        try file.write(contentsOf: Data([1, 2, 3]))
        try file.close()
        let error = await storeError { try await copy(2, from: home, to: other) }
        #expect(error?.code == .damaged, "\(error as Any)")
        _ = try await copy(2, from: home, to: other, sharing: false)
        try await expectGood(2, other, try Tree(scratch("images")))
    }

    @Test("an export holds what is shared, too")
    func exported() async throws {
        let (home, other) = (try store("home"), try store("other"))
        _ = try await take(1, in: home)
        try change([4], seed: 9)
        _ = try await take(2, in: home)
        let archive = try await home.export(job, generation(2), description: [0x7B, 0x7D], document: [0x7B, 0x7D])
        let incoming = try await other.receiveArchive()
        while true {
            let piece = try await archive.next()
            if piece.isEmpty { break }
            try await incoming.write(piece)
        }
        _ = try await incoming.finish()
        _ = try await incoming.adopt(as: job, generation(1), incarnation: Incarnation(rawValue: 1))
        try await expectGood(1, other, try Tree(scratch("images")))
    }

    @Test("pages that changed here and there are stored and sent, not all around them", arguments: [[:], keys])
    func scattered(keys: [UInt64: [UInt8]]) async throws {
        let (home, other) = (try store("home", keys: keys), try store("other", keys: keys))
        let first = try await take(1, in: home)
        if !keys.isEmpty { _ = try await copy(1, from: home, to: other) }
        for number in 2...4 as ClosedRange<UInt32> {
            let offset = Int(number) * 3
            try changePages(stride(from: offset, to: Self.pageCount, by: 20), seed: UInt64(number) << 20)
            let images = try Tree(scratch("images"))
            let record = try await take(number, in: home)
            #expect(record.storedBytes.rawValue * 100 <= record.rawBytes.rawValue * 7, "\(record.storedBytes)")
            #expect(try await home.examine(job, record.generation) == ImageExamination())
            try await home.remove(job, generation(number - 1))
            try await expectGood(number, home, images)
            guard !keys.isEmpty else { continue }
            #expect(try await copy(number, from: home, to: other) * 100 <= record.rawBytes.rawValue * 7)
            try await other.remove(job, generation(number - 1))
            try await expectGood(number, other, images)
        }
        #expect(try await home.totalStoredBytes().rawValue < 2 * first.rawBytes.rawValue)
    }

    @Test("a long chain of single pages stays readable, shallow and small", .timeLimit(.minutes(10)))
    func scatteredChain() async throws {
        let store = try store("store")
        var generator = SeededGenerator(seed: 5)
        var (stored, raw): (Int64, Int64) = (0, 0)
        for number in 1...20 as ClosedRange<UInt32> {
            let pages = (0..<Self.pageCount / 20).map { _ in Int(generator.next() % UInt64(Self.pageCount)) }
            try changePages(pages, seed: UInt64(number) << 20)
            let record = try await take(number, in: store)
            if number > 1 { (stored, raw) = (stored + record.storedBytes.rawValue, raw + record.rawBytes.rawValue) }
            if number > 2 { try await store.remove(job, generation(number - 2)) }
            let index = try await store.inspect(job, record.generation)
            #expect(index.files.flatMap(\.regions).allSatisfy { $0.parts.count <= RegionPart.limit })
            #expect(try await store.totalStoredBytes().rawValue < 3 * record.rawBytes.rawValue)
            if number % 10 == 0 { try await expectGood(number, store, try Tree(scratch("images"))) }
        }
        #expect(stored * 100 < raw * 18, "\(stored) of \(raw)")
    }

    @Test("memory that lies elsewhere in its file is found by its address")
    func moved() async throws {
        let store = try store("store")
        func writeMap(_ runs: [(first: Int, count: Int)]) throws {
            func varint(_ value: Int) -> [UInt8] {
                value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7F) | 0x80] + varint(value >> 7)
            }
            var map: [UInt8] = [0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56, 2, 0, 0, 0, 0x08, 1]
            for run in runs {
                let entry: [UInt8] = [0x08] + varint(run.first << 12) + [0x20, 6, 0x28] + varint(run.count)
                map += [UInt8(entry.count), 0, 0, 0] + entry
            }
            try scratch.write(map, to: "images/pagemap-1.img")
        }
        let pages = noise(Self.regionCount << 18, seed: 1)
        try scratch.write([0x16, 0x31, 0x31, 0x58, 2, 0, 0, 0, 0x08, 2], to: "images/inventory.img")
        try writeMap([(1000, 300), (5000, Self.pageCount - 300)])
        _ = try await take(1, in: store)
        // Three pages more at the end of the first stretch, one less in the middle of the second, and one that changed.
        var changed = Array(pages[..<(300 << 12)]) + noise(3 << 12, seed: 60)
        changed += pages[(300 << 12)..<(2000 << 12)] + pages[(2001 << 12)...]
        changed[9000] ^= 1
        try scratch.write(changed, to: "images/pages-1.img")
        try writeMap([(1000, 303), (5000, 1700), (6701, Self.pageCount - 2001)])
        let record = try await take(2, in: store)
        #expect(record.storedBytes.rawValue * 50 < record.rawBytes.rawValue, "\(record.storedBytes)")
        try await store.remove(job, generation(1))
        try await expectGood(2, store, try Tree(scratch("images")))
        // And on from there.
        changed = noise(5 << 12, seed: 61) + changed
        try scratch.write(changed, to: "images/pages-1.img")
        try writeMap([(995, 308), (5000, 1700), (6701, Self.pageCount - 2001)])
        let next = try await take(3, in: store)
        #expect(next.storedBytes.rawValue * 50 < next.rawBytes.rawValue, "\(next.storedBytes)")
        try await store.remove(job, generation(2))
        try await expectGood(3, store, try Tree(scratch("images")))
        // A map that fits no file, as of a release of CRIU that is not known: all is stored, and restored, all the same.
        try writeMap([(995, 7)])
        _ = try await take(4, in: store)
        try await expectGood(4, store, try Tree(scratch("images")))
    }

    @Test("pages that became zeros, and files that became shorter or longer, come back")
    func shapes() async throws {
        let store = try store("store")
        _ = try await take(1, in: store)
        let file = try FileHandle(forUpdating: URL(filePath: scratch("images/pages-1.img")))
        try file.seek(toOffset: 5 << 12)
        try file.write(contentsOf: Data(count: 4096))
        try file.truncate(atOffset: UInt64(Self.regionCount) << 18 - 3 << 12)
        try file.close()
        let second = try await take(2, in: store)
        #expect(second.storedBytes.rawValue * 50 < second.rawBytes.rawValue, "\(second.storedBytes)")
        try await expectGood(2, store, try Tree(scratch("images")))
        let longer = try FileHandle(forUpdating: URL(filePath: scratch("images/pages-1.img")))
        try longer.seekToEnd()
        try longer.write(contentsOf: Data(noise(3 << 12 | 77, seed: 4)))
        try longer.close()
        _ = try await take(3, in: store)
        try await store.remove(job, generation(1))
        try await store.remove(job, generation(2))
        try await expectGood(3, store, try Tree(scratch("images")))
    }

    @Test("damage in a part of a region is found, and the generation whose data it is is named")
    func damagedPart() async throws {
        let home = try store("home")
        _ = try await take(1, in: home)
        try changePages([4], seed: 9)
        _ = try await take(2, in: home)
        let file = try FileHandle(forUpdating: URL(filePath: scratch("home/\(job)/2/data.1")))
        try file.seek(toOffset: 5000)
        try file.write(contentsOf: Data([1, 2, 3]))
        try file.close()
        let error = await storeError {
            try await home.extract(job, generation(2), to: scratch("out"), layerArchive: nil)
        }
        #expect(error?.code == .damaged && error?.message.contains("of generation 1") == true, "\(error as Any)")
        // What cannot be read is stored anew, when pages of every region are looked for.
        try changePages(stride(from: 5, to: Self.pageCount, by: 64), seed: 10)
        _ = try await take(3, in: home)
        try await expectGood(3, home, try Tree(scratch("images")))
    }

    @Test("an export of composed regions stands alone")
    func exportedParts() async throws {
        let (home, other) = (try store("home"), try store("other"))
        let first = try await take(1, in: home)
        try changePages(stride(from: 0, to: Self.pageCount, by: 20), seed: 9)
        _ = try await take(2, in: home)
        let archive = try await home.export(job, generation(2), description: [0x7B, 0x7D], document: [0x7B, 0x7D])
        #expect(archive.byteCount < UInt64(first.storedBytes.rawValue) * 12 / 10)
        let incoming = try await other.receiveArchive()
        var count: UInt64 = 0
        while true {
            let piece = try await archive.next()
            if piece.isEmpty { break }
            count += UInt64(piece.count)
            try await incoming.write(piece)
        }
        #expect(count == archive.byteCount)
        _ = try await incoming.finish()
        let adopted = try await incoming.adopt(as: job, generation(1), incarnation: Incarnation(rawValue: 1))
        #expect(adopted.sharedBytes == .zero)
        try await expectGood(1, other, try Tree(scratch("images")))
        // And it is something that the next one can be built on.
        try changePages([70], seed: 11)
        let next = try await take(2, in: other)
        #expect(next.storedBytes.rawValue * 20 < next.rawBytes.rawValue)
        try await expectGood(2, other, try Tree(scratch("images")))
    }

    @Test("content that is there many times counts once")
    func repeated() async throws {
        let store = try store("store")
        _ = try await take(1, in: store)
        let region = noise(1 << 18, seed: 50)
        try scratch.write(region, to: "images/pages-1.img")
        _ = try await take(2, in: store)
        for number in 3...5 as ClosedRange<UInt32> {
            try scratch.write((0..<Int(number) * 4).flatMap { _ in region }, to: "images/pages-1.img")
            let record = try await take(number, in: store)
            #expect(record.storedBytes.rawValue < 20_000)
            try await expectGood(number, store, try Tree(scratch("images")))
        }
    }

    @Test("few parts, the largest, and only when they are half of it")
    func parts() {
        let extent = StoredExtent(
            source: 1,
            offset: 128,
            length: 9,
            encoding: .lz4,
            contentLength: 64 << 12,
            checksum: 0
        )
        func part(_ pages: UInt64) -> RegionPart { RegionPart(extent: extent, taken: pages, pages: pages) }
        #expect(KnownPages.worthTaking([part(0xFF)], of: 0xFFFF) == [part(0xFF)])
        #expect(KnownPages.worthTaking([part(0x7F)], of: 0xFFFF) == [])
        let many = (0..<8).map { part(((1 << (8 - UInt64($0))) - 1) << (UInt64($0) * 8)) }
        #expect(KnownPages.worthTaking(many, of: 0xFFFF) == Array(many[..<4]))
        #expect(KnownPages.worthTaking(Array(many.dropFirst()), of: 0xFFFF) == Array(many.dropFirst()))
        // The second and third present page of the region are the first and second in the extent.
        var region = ImageRegion(rawOffset: 0, rawLength: 1 << 18, encoding: .composed, pages: 0b1110)
        region.parts = [RegionPart(extent: extent, taken: 0b11, pages: 0b1100)]
        #expect(region.parts(for: 0b1010) == [RegionPart(extent: extent, taken: 0b10, pages: 0b1000)])
        #expect(region.parts(for: 0b0010) == [])
    }

    @Test("data files with little left in use are stored anew")
    func worth() {
        #expect(ImageStore.worthKeeping([(90, 100), (5, 5)]) == [0, 1])
        #expect(ImageStore.worthKeeping([(0, 100), (5, 5)]) == [1])
        #expect(ImageStore.worthKeeping([(10, 100), (50, 60)]) == [1])
        let many = (1...ImageIndex.sourceLimit).map { (live: UInt64($0), length: UInt64($0)) }
        #expect(ImageStore.worthKeeping(many) == Array(ImageIndex.sourceLimit / 2..<ImageIndex.sourceLimit))
    }

    @Test("an index that refers to other generations comes back as it was, and nonsense is refused")
    func index() throws {
        var index = ImageIndex(
            job: job,
            incarnation: Incarnation(rawValue: 1),
            generation: generation(9),
            taken: .epoch,
            ledger: .zero,
            frozen: .zero,
            total: .zero,
            dataLength: UInt64(DataFileHeader.length),
            files: [ImageFile(name: "a", kind: .image, mode: 0o600, size: 4096, regions: [])]
        )
        var region = ImageRegion(rawOffset: 0, rawLength: 4096, storedOffset: 128, storedLength: 4096, encoding: .raw)
        (region.pages, region.checksum, region.source) = (1, 7, 1)
        index.files[0].regions = [region]
        let salt = [UInt8](repeating: 0, count: 32)
        func source(_ number: UInt32, _ length: UInt64) -> DataSource {
            DataSource(
                generation: generation(number),
                incarnation: Incarnation(rawValue: 1),
                taken: .epoch,
                dataLength: length,
                key: 0,
                salt: salt
            )
        }
        #expect(throws: ImageIndexError.self) { try ImageIndex.decode(index.encoded().span) }
        index.sources = [source(8, 5000)]
        #expect(try ImageIndex.decode(index.encoded().span) == index)
        for bad in [[source(9, 5000)], [source(8, 4000)], [source(8, 5000), source(7, 5000)]] {
            index.sources = bad
            #expect(throws: ImageIndexError.self) { try ImageIndex.decode(index.encoded().span) }
        }
    }
}
