internal import CLZ4
internal import COpenSSL
package import Checkpointing
internal import Glibc
internal import LinuxSystem

/// Turns one region into stored bytes and back; one per thread.
///
/// Pages that hold only zeros are left out, the others are packed and compressed as one LZ4 block; where that saves less than a 32nd, the packed
/// pages are kept as they are, which costs nothing to read.
@safe package final class RegionCodec {
    /// What became of one region; its place in the data file is the caller's business.
    package struct Encoded: Sendable, Equatable {
        package var encoding: ImageRegion.Encoding
        /// Bit n: page n holds something but zeros.
        package var pages: UInt64
        /// Bit n: page n is among the stored bytes; the others are stored already.
        package var storedPages: UInt64
        /// Bytes written into the output; 0 when the region holds only zeros, never more than it was long.
        package var storedLength: Int
        /// XXH64 of the stored bytes; 0 when none are.
        package var checksum: UInt64
        package var contentHash: ContentHash?
        /// Whether the same content is stored already, so that nothing was written.
        package var isKnown = false
    }

    private let acceleration: Int32
    private let hasher: ContentHasher?
    private let packed: UnsafeMutableRawBufferPointer
    private let zeroPage: UnsafeMutableRawBufferPointer

    /// Makes a codec with its scratch memory of 260 KiB.
    package init(acceleration: Int = 1, contentHashes: Bool = false) throws {
        self.acceleration = Int32(clamping: acceleration)
        hasher = contentHashes ? try ContentHasher() : nil
        unsafe packed = .allocate(byteCount: ImageIndex.regionBytes, alignment: 64)
        unsafe zeroPage = .allocate(byteCount: ImageIndex.pageBytes, alignment: 64)
        unsafe zeroPage.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit {
        unsafe packed.deallocate()
        unsafe zeroPage.deallocate()
    }

    /// Encodes 1 to 262,144 bytes into `output`, which must have room for as many.
    ///
    /// With content hashes, nothing is written for what `isKnown` says is stored already, nor for those of the present pages that `knownPages` gives.
    package func encode(
        _ raw: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        isKnown: (ContentHash) -> Bool = { _ in false },
        knownPages: (_ present: UInt64) -> UInt64 = { _ in 0 }
    ) -> Encoded {
        precondition((1...ImageIndex.regionBytes).contains(raw.count) && output.count >= raw.count)
        let pages = unsafe presentPages(raw)
        guard pages != 0, let target = output.baseAddress else {
            return Encoded(encoding: .zero, pages: 0, storedPages: 0, storedLength: 0, checksum: 0)
        }
        var present = unsafe pack(raw, pages: pages)
        let hash = unsafe hasher?.hash(pages: pages, rawLength: raw.count, present: present)
        if let hash, isKnown(hash) {
            return Encoded(
                encoding: .raw,
                pages: pages,
                storedPages: 0,
                storedLength: 0,
                checksum: 0,
                contentHash: hash,
                isKnown: true
            )
        }
        let storedPages = pages & ~knownPages(pages)
        guard storedPages != 0 else {
            return Encoded(
                encoding: .raw,
                pages: pages,
                storedPages: 0,
                storedLength: 0,
                checksum: 0,
                contentHash: hash
            )
        }
        if storedPages != pages { unsafe present = pack(raw, pages: storedPages) }
        let limit = present.count - max(1, present.count / 32)
        let compressed = unsafe LZ4_compress_fast(
            present.baseAddress?.assumingMemoryBound(to: CChar.self),
            target.assumingMemoryBound(to: CChar.self),
            Int32(present.count),
            Int32(limit),
            acceleration
        )
        let encoding: ImageRegion.Encoding
        let length: Int
        if compressed > 0 {
            (encoding, length) = (.lz4, Int(compressed))
        } else {
            unsafe output.copyMemory(from: present)
            (encoding, length) = (.raw, present.count)
        }
        return Encoded(
            encoding: encoding,
            pages: pages,
            storedPages: storedPages,
            storedLength: length,
            checksum: unsafe XXHash64.hash(UnsafeRawBufferPointer(rebasing: output[..<length])),
            contentHash: hash
        )
    }

    /// Decodes the stored bytes of a region that is not all zeros; nil when they are not what was written.
    ///
    /// The result is the present pages, one after the other, valid until the next call.
    package func decode(_ stored: UnsafeRawBufferPointer, of region: ImageRegion) -> UnsafeRawBufferPointer? {
        guard stored.count == Int(region.storedLength), unsafe XXHash64.hash(stored) == region.checksum else {
            return nil
        }
        return unsafe unpack(stored, of: region)
    }

    /// Decodes content whose stored form was checked already: what was in a sealed region.
    func unpack(_ content: UnsafeRawBufferPointer, of region: ImageRegion) -> UnsafeRawBufferPointer? {
        guard let extent = region.extent else { return nil }
        return unsafe unpack(content, of: extent)
    }

    /// The same of stored bytes that are not all of a region.
    func unpack(_ content: UnsafeRawBufferPointer, of extent: StoredExtent) -> UnsafeRawBufferPointer? {
        let present = Int(extent.contentLength)
        guard unsafe present <= packed.count else { return nil }
        switch extent.encoding {
        case .zero, .composed: return nil
        case .raw: return unsafe content.count == present ? content : nil
        case .lz4:
            let count = unsafe LZ4_decompress_safe(
                content.baseAddress?.assumingMemoryBound(to: CChar.self),
                packed.baseAddress?.assumingMemoryBound(to: CChar.self),
                Int32(content.count),
                Int32(present)
            )
            return count == present ? unsafe UnsafeRawBufferPointer(rebasing: packed[..<present]) : nil
        }
    }

    private func presentPages(_ raw: UnsafeRawBufferPointer) -> UInt64 {
        guard let base = raw.baseAddress, let zeros = unsafe zeroPage.baseAddress else { return 0 }
        var pages: UInt64 = 0
        var page = 0
        var at = 0
        while at < raw.count {
            let length = min(ImageIndex.pageBytes, raw.count - at)
            if unsafe memcmp(base + at, zeros, length) != 0 { pages |= 1 << UInt64(page) }
            at += length
            page += 1
        }
        return pages
    }

    /// The present pages side by side; without a copy when all are present.
    private func pack(_ raw: UnsafeRawBufferPointer, pages: UInt64) -> UnsafeRawBufferPointer {
        let pageCount = (raw.count + ImageIndex.pageBytes - 1) / ImageIndex.pageBytes
        if pages.nonzeroBitCount == pageCount { return unsafe raw }
        guard let source = raw.baseAddress, let target = unsafe packed.baseAddress else { return unsafe raw }
        var length = 0
        ImageRegion.forEachRun(of: pages, rawLength: raw.count) { offset, count in
            unsafe memcpy(target + length, source + offset, count)
            length += count
        }
        return unsafe UnsafeRawBufferPointer(rebasing: packed[..<length])
    }
}

extension ImageRegion {
    /// Calls `body` with offset and length of each run of present pages, in order.
    static func forEachRun<Failure: Error>(
        of pages: UInt64,
        rawLength: Int,
        _ body: (_ offset: Int, _ count: Int) throws(Failure) -> Void
    ) throws(Failure) {
        var rest = pages
        while rest != 0 {
            let first = rest.trailingZeroBitCount
            let run = (~(rest >> UInt64(first))).trailingZeroBitCount
            let end = min(rawLength, (first + run) * ImageIndex.pageBytes)
            try body(first * ImageIndex.pageBytes, end - first * ImageIndex.pageBytes)
            rest = first + run >= 64 ? 0 : (rest >> UInt64(first + run)) << UInt64(first + run)
        }
    }

    /// Puts present pages, which lie one after the other, to their places in the region's bytes; what lies between them stays as it is.
    func spread(_ present: UnsafeRawBufferPointer, over bytes: UnsafeMutableRawBufferPointer) {
        var at = 0
        Self.forEachRun(of: pages, rawLength: Int(rawLength)) { offset, count in
            unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: present[at..<at + count]))
            at += count
        }
    }

    /// Writes present pages, which lie one after the other, to their places in the file; what lies between them stays a hole.
    func spread(_ present: UnsafeRawBufferPointer, over file: PositionedFile) throws(SystemError) {
        var at = 0
        try Self.forEachRun(of: pages, rawLength: Int(rawLength)) { (offset, count) throws(SystemError) in
            let run = unsafe UnsafeRawBufferPointer(rebasing: present[at..<at + count])
            try unsafe file.write(run, at: rawOffset + UInt64(offset))
            at += count
        }
    }
}

/// SHA-256 through libcrypto, which uses the processor's own instructions where it has them.
@safe final class ContentHasher {
    private let context: OpaquePointer

    init() throws {
        guard let context = unsafe EVP_MD_CTX_new() else {
            throw ImageStoreError(.system, "libcrypto has no memory for a digest.")
        }
        unsafe self.context = context
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    /// The hash over the pages' word, the length as 32 bits (both little-endian) and the present pages.
    func hash(pages: UInt64, rawLength: Int, present: UnsafeRawBufferPointer) -> ContentHash? {
        var word = pages.littleEndian
        var length = UInt32(rawLength).littleEndian
        var words: [4 of UInt64] = [0, 0, 0, 0]
        let isDone = unsafe withUnsafeMutableBytes(of: &words) { digest in
            unsafe EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1
                && EVP_DigestUpdate(context, &word, 8) == 1
                && EVP_DigestUpdate(context, &length, 4) == 1
                && EVP_DigestUpdate(context, present.baseAddress, present.count) == 1
                && EVP_DigestFinal_ex(context, digest.bindMemory(to: UInt8.self).baseAddress, nil) == 1
        }
        guard isDone else { return nil }
        return ContentHash(
            words: [
                UInt64(littleEndian: words[0]), UInt64(littleEndian: words[1]), UInt64(littleEndian: words[2]),
                UInt64(littleEndian: words[3]),
            ]
        )
    }
}
