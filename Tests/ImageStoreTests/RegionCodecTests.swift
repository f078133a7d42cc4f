import Checkpointing
import ClusterModel
@testable import ImageStore
import Testing

struct RegionCodecTests {
    /// Encodes and decodes a region, and gives what came out with the pages put back in place.
    func throughCodec(_ raw: [UInt8], _ codec: RegionCodec) -> (RegionCodec.Encoded, [UInt8]?) {
        var output = [UInt8](repeating: 0xEE, count: raw.count)
        let encoded = unsafe raw.withUnsafeBytes { raw in
            unsafe output.withUnsafeMutableBytes { unsafe codec.encode(raw, into: $0) }
        }
        var restored = [UInt8](repeating: 0, count: raw.count)
        guard encoded.encoding != .zero else { return (encoded, restored) }
        let region = ImageRegion(
            rawOffset: 0,
            rawLength: UInt64(raw.count),
            storedLength: UInt32(encoded.storedLength),
            encoding: encoded.encoding,
            pages: encoded.pages,
            checksum: encoded.checksum
        )
        let isWhole = unsafe output.prefix(encoded.storedLength).withUnsafeBytes { stored in
            guard let present = unsafe codec.decode(stored, of: region) else { return false }
            guard present.count == ImageRegion.presentBytes(pages: region.pages, rawLength: region.rawLength) else {
                return false
            }
            unsafe restored.withUnsafeMutableBytes { unsafe region.spread(present, over: $0) }
            return true
        }
        return (encoded, isWhole ? restored : nil)
    }

    @Test("random mixes of zero, noisy and regular pages come back", arguments: 1...40 as ClosedRange<UInt64>)
    func randomMixes(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let codec = try RegionCodec(acceleration: Int.random(in: 1...20, using: &generator))
        var raw: [UInt8] = []
        for _ in 0..<Int.random(in: 1...64, using: &generator) {
            switch Int.random(in: 0..<4, using: &generator) {
            case 0, 1: raw += [UInt8](repeating: 0, count: 4096)
            case 2: raw += noise(4096, seed: generator.next())
            default: raw += text(4096)
            }
        }
        raw.removeLast(Int.random(in: 0..<4096, using: &generator))
        let (encoded, restored) = throughCodec(raw, codec)
        #expect(restored == raw)
        let present = ImageRegion.presentBytes(pages: encoded.pages, rawLength: UInt64(raw.count))
        #expect(UInt64(encoded.storedLength) <= present)
        for page in 0..<(raw.count + 4095) / 4096 {
            let isZero = raw[page * 4096..<min(raw.count, (page + 1) * 4096)].allSatisfy { $0 == 0 }
            #expect((encoded.pages >> UInt64(page) & 1 == 0) == isZero)
        }
    }

    @Test("zeros take nothing, noise takes its size, text takes little")
    func sizes() throws {
        let codec = try RegionCodec()
        let zeros = throughCodec([UInt8](repeating: 0, count: 262_144), codec).0
        #expect(zeros.encoding == .zero && zeros.storedLength == 0)
        let noisy = throughCodec(noise(262_144, seed: 1), codec).0
        #expect(noisy.encoding == .raw && noisy.storedLength == 262_144)
        let regular = throughCodec(text(262_144), codec).0
        #expect(regular.encoding == .lz4 && regular.storedLength < 26_214)
        let one = throughCodec([9], codec)
        #expect(one.0.encoding == .raw && one.0.storedLength == 1 && one.1 == [9])
    }

    @Test("runs of pages: what the bits say, one by one", arguments: 1...200 as ClosedRange<UInt64>)
    func runs(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let length = Int.random(in: 1...262_144, using: &generator)
        let pageCount = (length + 4095) / 4096
        var pages = seed % 3 == 0 ? UInt64.max : generator.next() & generator.next()
        if pageCount < 64 { pages &= (1 << UInt64(pageCount)) - 1 }
        var covered: [Int] = []
        ImageRegion.forEachRun(of: pages, rawLength: length) { offset, count in
            covered += stride(from: offset, to: offset + count, by: 4096).map { $0 / 4096 }
        }
        #expect(covered == (0..<64).filter { pages >> UInt64($0) & 1 == 1 })
    }

    @Test("SHA-256 of the content is the standard one")
    func contentHash() throws {
        // Pages word 1, length 3, "abc": sha256 of 01 00.. (8), 03 00 00 00, 61 62 63.
        let codec = try RegionCodec(contentHashes: true)
        let hash = try #require(throughCodec(Array("abc".utf8), codec).0.contentHash)
        let bytes = (0..<4).flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: hash.words[word] >> (8 * $0)) } }
        let hexadecimal = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(hexadecimal == "007004484bf07590c2cb959c1768b84b51af7a9252ac326c361be1c5f74944ed")
    }
}
