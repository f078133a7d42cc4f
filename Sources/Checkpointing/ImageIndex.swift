package import ClusterModel

/// What one checkpoint holds and where each byte of it lies in the data file.
///
/// An index that `decode` returned is consistent: names stay inside the folder, regions cover each file without gap or overlap, and stored extents
/// cover the data file likewise. Whoever extracts can rely on that.
package struct ImageIndex: Sendable, Equatable {
    /// The newest layout that this program reads and the one that it writes.
    package static let formatVersion: UInt16 = 1
    /// Regions begin at multiples of this; each is compressed by itself, so that any one can be read alone.
    package static let regionBytes = 256 << 10
    /// Pages that hold only zeros are left out; 64 of them make a region, so one word says which are there.
    package static let pageBytes = 4096

    package var job: JobID
    package var incarnation: Incarnation
    package var generation: CheckpointGeneration
    /// When the container stood still.
    package var taken: Timestamp
    /// CPU time that the job had consumed at that moment, over all its incarnations; not negative.
    package var ledger: Duration
    /// How long the container stood still.
    package var frozen: Duration
    /// From the request until the data was durable.
    package var total: Duration
    /// The exact length of the data file, its header included.
    package var dataLength: UInt64
    /// Sorted by the bytes of their names.
    package var files: [ImageFile]

    package init(
        job: JobID,
        incarnation: Incarnation,
        generation: CheckpointGeneration,
        taken: Timestamp,
        ledger: Duration,
        frozen: Duration,
        total: Duration,
        dataLength: UInt64,
        files: [ImageFile]
    ) {
        self.job = job
        self.incarnation = incarnation
        self.generation = generation
        self.taken = taken
        self.ledger = ledger
        self.frozen = frozen
        self.total = total
        self.dataLength = dataLength
        self.files = files
    }

    /// The sizes of all files together.
    package var rawBytes: ByteCount { .bytes(Int64(clamping: files.reduce(UInt64(0)) { $0.clampedSum($1.size) })) }
}

/// One file or folder of a checkpoint.
package struct ImageFile: Sendable, Equatable {
    /// What it is.
    package enum Kind: UInt8, Sendable, CaseIterable {
        /// A file that CRIU or the runtime wrote.
        case image = 1
        /// A folder among them.
        case folder = 2
        /// The archive of the container's writable layer; at most one.
        case layer = 3
    }

    /// The path below the images folder, parts separated by `/`.
    package var name: String
    package var kind: Kind
    /// Permission bits.
    package var mode: UInt16
    /// Bytes; 0 for a folder.
    package var size: UInt64
    /// In the order of the file; they cover it.
    package var regions: [ImageRegion]

    package init(name: String, kind: Kind, mode: UInt16, size: UInt64, regions: [ImageRegion]) {
        self.name = name
        self.kind = kind
        self.mode = mode
        self.size = size
        self.regions = regions
    }

    /// Whether a name stays inside its folder: 1 to 1024 bytes of parts of 1 to 255 bytes, none of them `.` or `..`, no NUL.
    package static func isValidName(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        guard (1...1024).contains(bytes.count), !bytes.contains(0) else { return false }
        return bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy {
            (1...255).contains($0.count) && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8)
        }
    }
}

/// One piece of a file and its place in the data file.
package struct ImageRegion: Sendable, Equatable {
    /// How the stored bytes become raw ones.
    package enum Encoding: UInt8, Sendable, CaseIterable {
        /// Only zeros; nothing is stored. A run of such regions is one entry of any length.
        case zero = 0
        /// The pages that are present, one after the other.
        case raw = 1
        /// The same as one LZ4 block.
        case lz4 = 2
    }

    /// Where it begins in the file; a multiple of `ImageIndex.regionBytes`.
    package var rawOffset: UInt64
    /// At most `ImageIndex.regionBytes`, except for zeros.
    package var rawLength: UInt64
    /// Where its stored bytes begin in the data file.
    package var storedOffset: UInt64
    /// How many bytes are stored: 0 for zeros, else 1 to `ImageIndex.regionBytes`.
    package var storedLength: UInt32
    package var encoding: Encoding
    /// Bit n: page n is present; the others hold only zeros.
    package var pages: UInt64
    /// XXH64 of the stored bytes.
    package var checksum: UInt64
    /// SHA-256 over `pages`, `rawLength` and the present pages, for finding equal regions; nil where it was not computed.
    package var contentHash: ContentHash?

    package init(
        rawOffset: UInt64,
        rawLength: UInt64,
        storedOffset: UInt64 = 0,
        storedLength: UInt32 = 0,
        encoding: Encoding = .zero,
        pages: UInt64 = 0,
        checksum: UInt64 = 0,
        contentHash: ContentHash? = nil
    ) {
        self.rawOffset = rawOffset
        self.rawLength = rawLength
        self.storedOffset = storedOffset
        self.storedLength = storedLength
        self.encoding = encoding
        self.pages = pages
        self.checksum = checksum
        self.contentHash = contentHash
    }

    /// The bytes of the pages that are present in a region of `rawLength`; only its last page may be short.
    package static func presentBytes(pages: UInt64, rawLength: UInt64) -> UInt64 {
        guard rawLength > 0, rawLength <= UInt64(ImageIndex.regionBytes) else { return 0 }
        let page = UInt64(ImageIndex.pageBytes)
        let last = (rawLength - 1) / page
        let full = UInt64(pages.nonzeroBitCount) * page
        guard pages & (1 << last) != 0 else { return full }
        return full - page + (rawLength - last * page)
    }
}

/// A SHA-256 value.
package struct ContentHash: Sendable, Hashable {
    /// Its 32 bytes as four words, first byte lowest.
    package var words: [4 of UInt64]

    package init(words: [4 of UInt64]) { self.words = words }

    package static func == (left: Self, right: Self) -> Bool {
        left.words[0] == right.words[0] && left.words[1] == right.words[1] && left.words[2] == right.words[2]
            && left.words[3] == right.words[3]
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(words[0]) }
}

extension UInt64 {
    fileprivate func clampedSum(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
