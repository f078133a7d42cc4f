import Checkpointing
import ClusterModel
import Testing

struct ImageIndexTests {
    /// Two files, a folder, every encoding, and a file far beyond 4 GiB.
    static let sample: ImageIndex = {
        let region = UInt64(ImageIndex.regionBytes)
        let pages = ImageFile(
            name: "pages-1.img",
            kind: .image,
            mode: 0o600,
            size: 6 << 30,
            regions: [
                ImageRegion(
                    rawOffset: 0,
                    rawLength: region,
                    storedOffset: 128,
                    storedLength: 1000,
                    encoding: .lz4,
                    pages: .max,
                    checksum: 0x0123_4567_89AB_CDEF
                ),
                ImageRegion(rawOffset: region, rawLength: (6 << 30) - 2 * region),
                ImageRegion(
                    rawOffset: (6 << 30) - region,
                    rawLength: region,
                    storedOffset: 1128,
                    storedLength: 8192,
                    encoding: .raw,
                    pages: 1 << 63 | 1,
                    checksum: 7
                ),
            ]
        )
        return ImageIndex(
            job: JobID(rawValue: "abcdefghijkl"),
            incarnation: Incarnation(rawValue: 3),
            generation: CheckpointGeneration(rawValue: 9),
            taken: Timestamp(rawValue: 1_700_000_000_000_000_001),
            ledger: .seconds(90),
            frozen: .milliseconds(350),
            total: .milliseconds(1200),
            dataLength: 9321,
            files: [
                ImageFile(
                    name: "core-1.img",
                    kind: .image,
                    mode: 0o644,
                    size: 1,
                    regions: [
                        ImageRegion(
                            rawOffset: 0,
                            rawLength: 1,
                            storedOffset: 9320,
                            storedLength: 1,
                            encoding: .raw,
                            pages: 1,
                            checksum: 5
                        )
                    ]
                ),
                ImageFile(name: "empty", kind: .image, mode: 0o600, size: 0, regions: []),
                ImageFile(name: "folder", kind: .folder, mode: 0o700, size: 0, regions: []),
                ImageFile(name: "folder/layer.tar", kind: .layer, mode: 0o600, size: 0, regions: []),
                pages,
            ]
        )
    }()

    @Test("an index is read back as it was written, offsets beyond 4 GiB included")
    func roundTrip() throws {
        #expect(Self.sample.problem() == nil)
        #expect(try ImageIndex.decode(Self.sample.encoded().span) == Self.sample)
        #expect(Self.sample.rawBytes == .bytes((6 << 30) + 1))
    }

    @Test("content hashes travel with the index, and only when there are any")
    func contentHashes() throws {
        var index = Self.sample
        index.files[0].regions[0].contentHash = ContentHash(words: [1, 2, 3, 4])
        // A format with hashes has one for each stored region; the others read as zeros.
        index.files[4].regions[0].contentHash = ContentHash(words: [0, 0, 0, 0])
        index.files[4].regions[2].contentHash = ContentHash(words: [5, 6, 7, .max])
        #expect(try ImageIndex.decode(index.encoded().span) == index)
        #expect(index.encoded().count == Self.sample.encoded().count + 4 * 32)
    }

    @Test("golden bytes: the layout of version 1 does not change")
    func golden() {
        let index = ImageIndex(
            job: JobID(rawValue: "job"),
            incarnation: Incarnation(rawValue: 1),
            generation: CheckpointGeneration(rawValue: 2),
            taken: Timestamp(rawValue: 3),
            ledger: .nanoseconds(4),
            frozen: .nanoseconds(5),
            total: .nanoseconds(6),
            dataLength: 129,
            files: [
                ImageFile(
                    name: "a",
                    kind: .image,
                    mode: 0o600,
                    size: 1,
                    regions: [
                        ImageRegion(
                            rawOffset: 0,
                            rawLength: 1,
                            storedOffset: 128,
                            storedLength: 1,
                            encoding: .raw,
                            pages: 1,
                            checksum: 0xAABB
                        )
                    ]
                )
            ]
        )
        let expected =
            "474f445749544958" + "0100" + "0000" + "00000400" + "00100000" + "01000000" + "02000000"
            + "0300000000000000" + "0400000000000000" + "0500000000000000" + "0600000000000000" + "8100000000000000"
            + "0300" + "6a6f62" + "01000000"
            + "01" + "8001" + "0100000000000000" + "0100" + "61" + "01000000"
            + "01" + "0000000000000000" + "0100000000000000" + "8000000000000000" + "01000000" + "0100000000000000"
            + "bbaa000000000000"
        let bytes = index.encoded()
        #expect(hexadecimal(bytes.dropLast(8)) == expected)
        #expect(hexadecimal(bytes.suffix(8)) == "d7f3881c07399d5e")
    }

    /// Regions whose pages lie in several places, of this generation and of an earlier one.
    static let composed: ImageIndex = {
        var index = sample
        index.dataLength = 128 + 8192
        index.sources = [
            DataSource(
                generation: CheckpointGeneration(rawValue: 8),
                incarnation: Incarnation(rawValue: 2),
                taken: .epoch,
                dataLength: 5000,
                key: 0,
                salt: [UInt8](repeating: 3, count: DataSource.saltByteCount)
            )
        ]
        let earlier = StoredExtent(
            source: 1,
            offset: 128,
            length: 4000,
            encoding: .lz4,
            contentLength: 64 << 12,
            checksum: 11
        )
        let own = StoredExtent(source: 0, offset: 128, length: 8192, encoding: .raw, contentLength: 8192, checksum: 12)
        var regions = [0, 1].map { number in
            ImageRegion(rawOffset: number << 18, rawLength: 1 << 18, encoding: .composed, pages: 0xF00F)
        }
        regions[0].parts = [
            RegionPart(extent: earlier, taken: 0x4007, pages: 0x100D),
            RegionPart(extent: own, taken: 0b11, pages: 0xC000),
            RegionPart(extent: earlier, taken: 0b11 << 20, pages: 0x2002),
        ]
        regions[1].parts = [
            RegionPart(extent: earlier, taken: .max >> 57, pages: 0xF00E),
            RegionPart(extent: own, taken: 0b10, pages: 1),
        ]
        index.files = [ImageFile(name: "a", kind: .image, mode: 0o600, size: 1 << 19, regions: regions)]
        return index
    }()

    @Test("regions in parts come back as they were, in version 3")
    func parts() throws {
        #expect(Self.composed.problem() == nil)
        #expect(try ImageIndex.decode(Self.composed.encoded().span) == Self.composed)
        #expect(Self.composed.encoded()[8] == 3)
        // Said to be of version 2, it is refused.
        var bytes = Self.composed.encoded()
        bytes[8] = 2
        let sealed = reseal(bytes)
        #expect(throws: ImageIndexError.self) { try ImageIndex.decode(sealed.span) }
    }

    @Test("golden bytes: the layout of version 3 does not change")
    func goldenParts() {
        let bytes = Self.composed.encoded()
        let part = "02" + "0100" + "8000000000000000" + "a00f0000" + "40" + "0b00000000000000"
        let expected =
            "03" + "0000000000000000" + "0000040000000000" + "0000000000000000" + "00000000" + "0ff0000000000000"
            + "0000000000000000" + "0000" + "03"
            + part + "0740000000000000" + "0d10000000000000"
            + "01" + "0000" + "8000000000000000" + "00200000" + "02" + "0c00000000000000" + "0300000000000000"
            + "00c0000000000000"
            + part + "0000300000000000" + "0220000000000000"
        #expect(hexadecimal(bytes).contains(expected))
        #expect(hexadecimal(bytes.suffix(8)) == "63d60977ab083b9a")
    }

    @Test("parts that do not fit together are refused")
    func inconsistentParts() {
        func refuses(_ change: (inout ImageRegion) -> Void, line: SourceLocation = #_sourceLocation) {
            var index = Self.composed
            change(&index.files[0].regions[0])
            #expect(throws: ImageIndexError.self, sourceLocation: line) { try ImageIndex.decode(index.encoded().span) }
        }
        refuses { $0.pages = 0xF01F }
        refuses { $0.pages = 0 }
        refuses { $0.parts[0].pages = 0x110D }
        refuses { $0.parts[0].pages = 0x500C }
        refuses { $0.parts[0].taken = 0x4005 }
        refuses { $0.parts[1].taken = 0b110 }
        refuses { $0.parts[1].extent.contentLength = 4096 }
        refuses { $0.parts[1].extent.checksum = 13 }
        refuses { $0.parts[1].extent.offset = 129 }
        refuses { $0.parts[0].extent.source = 2 }
        refuses { $0.parts[0].extent.offset = 1001 }
        refuses { $0.parts[0].extent.offset = .max }
        refuses { $0.parts[0].extent.encoding = .composed }
        refuses { $0.parts[0].extent.encoding = .zero }
        refuses { $0.parts[0].extent.contentLength = 65 << 12 }
        refuses { $0.parts.append(RegionPart(extent: $0.parts[0].extent, taken: 0, pages: 0)) }
        refuses { $0.parts = [] }
        refuses { $0.parts = Array(repeating: $0.parts[0], count: 9) }
        refuses { $0.encoding = .lz4 }
        refuses { $0.encoding = .zero }
        refuses { $0.storedLength = 1 }
        refuses { $0.source = 1 }
        refuses { $0.checksum = 1 }
        refuses { $0.rawLength -= 1 }
    }

    @Test("every single changed bit is found")
    func everyBit() throws {
        var bytes = Self.sample.encoded()
        for index in bytes.indices {
            for bit in 0..<8 {
                bytes[index] ^= 1 << bit
                #expect(throws: ImageIndexError.self) { try ImageIndex.decode(bytes.span) }
                bytes[index] ^= 1 << bit
            }
        }
        #expect(try ImageIndex.decode(bytes.span) == Self.sample)
    }

    @Test("every truncation and every extension is found")
    func truncation() throws {
        let bytes = Self.sample.encoded()
        for count in 0..<bytes.count {
            #expect(throws: ImageIndexError.self) { try ImageIndex.decode(Array(bytes.prefix(count)).span) }
        }
        #expect(throws: ImageIndexError.self) { try ImageIndex.decode((bytes + [0]).span) }
    }

    @Test("a later version is named as such, with what to do")
    func futureVersion() throws {
        var bytes = Self.sample.encoded()
        bytes[8] = UInt8(ImageIndex.formatVersion + 1)
        let sealed = reseal(bytes)
        let error = #expect(throws: ImageIndexError.self) { try ImageIndex.decode(sealed.span) }
        #expect(error == .futureVersion(found: ImageIndex.formatVersion + 1))
        #expect(error?.description.contains("upgrade this node's agent") == true)
    }

    @Test(
        "bytes that are sealed but senseless never trap and are refused or consistent",
        arguments: 1...8 as ClosedRange<UInt64>
    )
    func fuzz(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let original = (seed % 2 == 0 ? Self.sample : Self.composed).encoded()
        var accepted = 0
        for _ in 0..<2000 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let at = Int.random(in: 0..<bytes.count - 8, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes[at] = 255
                case 2: bytes.remove(at: at)
                default: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: at)
                }
            }
            guard let index = try? ImageIndex.decode(reseal(bytes).span) else { continue }
            accepted += 1
            #expect(index.problem() == nil)
        }
        // Times and checksums may have any value, so some survive; most do not.
        #expect(accepted < 1000)
    }

    @Test(
        "names that leave their folder are refused",
        arguments: ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b"]
    )
    func names(name: String) {
        var index = Self.sample
        index.files = [ImageFile(name: name, kind: .image, mode: 0o600, size: 0, regions: [])]
        index.dataLength = 128
        #expect(throws: ImageIndexError.self) { try ImageIndex.decode(index.encoded().span) }
    }

    @Test("regions that overlap, leave gaps, or hide bytes of the data file are refused")
    func inconsistent() {
        func refuses(_ change: (inout ImageIndex) -> Void, line: SourceLocation = #_sourceLocation) {
            var index = Self.sample
            change(&index)
            #expect(throws: ImageIndexError.self, sourceLocation: line) { try ImageIndex.decode(index.encoded().span) }
        }
        refuses { $0.dataLength += 1 }
        refuses { $0.dataLength = 0 }
        refuses { $0.files[0].regions[0].storedOffset = 9319 }
        refuses { $0.files[0].regions[0].storedOffset = .max }
        refuses { $0.files[0].regions[0].pages = 2 }
        refuses { $0.files[0].regions[0].pages = 0 }
        refuses { $0.files[0].regions[0].storedLength = 2 }
        refuses { $0.files[0].regions[0].encoding = .lz4 }
        refuses { $0.files[0].regions.append($0.files[0].regions[0]) }
        refuses { $0.files[0].size = 2 }
        refuses { $0.files[0].size = .max }
        refuses { $0.files[1].mode = 0o10000 }
        refuses { $0.files[2].size = 1 }
        refuses { $0.files[3].name = "elsewhere/layer.tar" }
        refuses { $0.files.swapAt(0, 1) }
        refuses { $0.files.insert($0.files[1], at: 1) }
        refuses { $0.files[1].kind = .layer }
        refuses { $0.files[4].regions[1].rawLength = .max }
        refuses { $0.files[4].regions[1].storedLength = 1 }
        refuses { $0.files[4].regions.removeLast() }
        refuses { $0.ledger = .nanoseconds(-1) }
        refuses { $0.ledger = .nanoseconds(Int64.max) }
        refuses { $0.taken = Timestamp(rawValue: .min) }
        refuses { $0.files[4].size = 1 << 57 }
        refuses { index in
            // As much as there may be in each, and too much in both.
            for (number, name) in ["x", "y"].enumerated() {
                let zeros = ImageRegion(rawOffset: 0, rawLength: 1 << 56)
                index.files.append(
                    ImageFile(name: "z\(number)\(name)", kind: .image, mode: 0o600, size: 1 << 56, regions: [zeros])
                )
            }
        }
        refuses { $0.job = JobID(rawValue: "") }
    }

    @Test("present bytes count a short last page only when it is there")
    func presentBytes() {
        #expect(ImageRegion.presentBytes(pages: .max, rawLength: 256 << 10) == 256 << 10)
        #expect(ImageRegion.presentBytes(pages: 0b11, rawLength: 5000) == 5000)
        #expect(ImageRegion.presentBytes(pages: 0b10, rawLength: 5000) == 904)
        #expect(ImageRegion.presentBytes(pages: 0b01, rawLength: 5000) == 4096)
        #expect(ImageRegion.presentBytes(pages: 1, rawLength: 1) == 1)
        #expect(ImageRegion.presentBytes(pages: 1, rawLength: 0) == 0)
    }

    private func reseal(_ bytes: [UInt8]) -> [UInt8] {
        let body = Array(bytes.dropLast(8))
        let sum = XXHash64.hash(body.span)
        return body + (0..<8).map { UInt8(truncatingIfNeeded: sum >> (8 * $0)) }
    }
}

struct DataFileHeaderTests {
    static let sample = DataFileHeader(
        job: JobID(rawValue: "abcdefghijkl"),
        incarnation: Incarnation(rawValue: 3),
        generation: CheckpointGeneration(rawValue: 9),
        taken: Timestamp(rawValue: -5)
    )

    @Test("a header is read back as it was written, and every changed bit is found")
    func roundTrip() throws {
        var bytes = Self.sample.encoded()
        #expect(bytes.count == DataFileHeader.length)
        #expect(try DataFileHeader.decode(bytes.span) == Self.sample)
        for index in bytes.indices {
            for bit in 0..<8 {
                bytes[index] ^= 1 << bit
                #expect(throws: ImageIndexError.self) { try DataFileHeader.decode(bytes.span) }
                bytes[index] ^= 1 << bit
            }
        }
        for count in 0..<bytes.count {
            #expect(throws: ImageIndexError.self) { try DataFileHeader.decode(Array(bytes.prefix(count)).span) }
        }
    }

    @Test("the longest identity fits")
    func longest() throws {
        var header = Self.sample
        header.job = JobID(rawValue: String(repeating: "x", count: DataFileHeader.jobByteLimit))
        #expect(try DataFileHeader.decode(header.encoded().span) == header)
    }
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
