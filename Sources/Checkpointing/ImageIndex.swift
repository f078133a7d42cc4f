package import ClusterModel

/// What one checkpoint holds and where each byte of it lies in the data file.
///
/// An index that `decode` returned is consistent: names stay inside the folder, regions cover each file without gap or overlap, and stored extents
/// cover the data file likewise. Whoever extracts can rely on that.
package struct ImageIndex: Sendable, Equatable {
    /// The newest layout that this program reads.
    ///
    /// It writes the oldest one that can say what an index has to say: 3 when regions are composed or stored bytes belong to several of them, 2 when it
    /// shares data with earlier generations, else 1.
    package static let formatVersion: UInt16 = 3
    /// Earlier generations whose data one index may refer to.
    package static let sourceLimit = 16
    /// Regions begin at multiples of this; each is compressed by itself, so that any one can be read alone.
    package static let regionBytes = 256 << 10
    /// Pages that hold only zeros are left out; 64 of them make a region, so one word says which are there.
    package static let pageBytes = 4096
    /// More bytes in one data file, or in all files of an image, are not believed: so nothing that is reckoned with them overflows.
    package static let byteLimit: UInt64 = 1 << 56
    /// Nor is a duration of more than 73 years, or a moment more than 146 years from the epoch.
    static let durationLimit = Duration.nanoseconds(1 << 61)
    /// Bytes that a region grows by when it is sealed: its tag.
    package static let sealBytes = 16

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
    /// Earlier generations of the same job whose data some regions lie in, by rising generation; at most `sourceLimit`.
    package var sources: [DataSource] = []
    /// Sorted by the bytes of their names.
    package var files: [ImageFile]
    /// Whether the stored bytes of each region are sealed, and so `sealBytes` longer than what is in them.
    package var isSealed: Bool

    package init(
        job: JobID,
        incarnation: Incarnation,
        generation: CheckpointGeneration,
        taken: Timestamp,
        ledger: Duration,
        frozen: Duration,
        total: Duration,
        dataLength: UInt64,
        files: [ImageFile],
        isSealed: Bool = false
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
        self.isSealed = isSealed
    }

    /// The data of earlier generations that stays as long as this one does, whole files.
    package var sharedBytes: ByteCount {
        .bytes(Int64(clamping: sources.reduce(UInt64(0)) { $0.clampedSum($1.dataLength) }))
    }

    /// The sizes of all files together.
    package var rawBytes: ByteCount { .bytes(Int64(clamping: files.reduce(UInt64(0)) { $0.clampedSum($1.size) })) }
}

/// The data file of an earlier generation that some regions of an image lie in: whose it is and how it is sealed.
package struct DataSource: Sendable, Equatable {
    /// Bytes of a salt.
    package static let saltByteCount = 32

    package var generation: CheckpointGeneration
    package var incarnation: Incarnation
    /// When its container stood still.
    package var taken: Timestamp
    /// The exact length of its data file.
    package var dataLength: UInt64
    /// The number of the cluster's key that it is sealed under; 0 when it is not sealed.
    package var key: UInt64
    /// What the image's own key is derived with; zeros when it is not sealed.
    package var salt: [UInt8]

    package init(
        generation: CheckpointGeneration,
        incarnation: Incarnation,
        taken: Timestamp,
        dataLength: UInt64,
        key: UInt64,
        salt: [UInt8]
    ) {
        self.generation = generation
        self.incarnation = incarnation
        self.taken = taken
        self.dataLength = dataLength
        self.key = key
        self.salt = salt
    }
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
        /// The pages that are present lie in several stored extents, as `parts` says.
        case composed = 3
    }

    /// Where it begins in the file; a multiple of `ImageIndex.regionBytes`.
    package var rawOffset: UInt64
    /// At most `ImageIndex.regionBytes`, except for zeros.
    package var rawLength: UInt64
    /// Whose data file its stored bytes lie in: 0 for the image's own, else `sources[source - 1]` of the index.
    package var source: UInt16 = 0
    /// Where its stored bytes begin in that data file.
    package var storedOffset: UInt64
    /// How many bytes are stored: 0 for zeros and where there are parts, else 1 to `ImageIndex.regionBytes`.
    package var storedLength: UInt32
    package var encoding: Encoding
    /// Bit n: page n is present; the others hold only zeros.
    package var pages: UInt64
    /// XXH64 of the stored bytes.
    package var checksum: UInt64
    /// SHA-256 over `pages`, `rawLength` and the present pages, for finding equal regions; nil where it was not computed.
    package var contentHash: ContentHash?
    /// Where the present pages of a composed region lie; empty for all others, at most `RegionPart.limit`.
    package var parts: [RegionPart] = []

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

/// Stored bytes that are read, opened and decoded together, and what they hold.
package struct StoredExtent: Sendable, Hashable {
    /// As `ImageRegion.source`.
    package var source: UInt16
    /// Where they begin in that data file.
    package var offset: UInt64
    /// How many bytes are stored: 1 to `ImageIndex.regionBytes`, with a seal `ImageIndex.sealBytes` more.
    package var length: UInt32
    /// `raw` or `lz4`.
    package var encoding: ImageRegion.Encoding
    /// Bytes of the pages in it.
    package var contentLength: UInt32
    /// XXH64 of the stored bytes.
    package var checksum: UInt64

    package init(
        source: UInt16,
        offset: UInt64,
        length: UInt32,
        encoding: ImageRegion.Encoding,
        contentLength: UInt32,
        checksum: UInt64
    ) {
        (self.source, self.offset, self.length) = (source, offset, length)
        (self.encoding, self.contentLength, self.checksum) = (encoding, contentLength, checksum)
    }

    /// Bit n: the nth page in it may be there.
    package var allPages: UInt64 {
        let count = (UInt64(contentLength) + UInt64(ImageIndex.pageBytes) - 1) / UInt64(ImageIndex.pageBytes)
        return count >= 64 ? .max : (1 << count) - 1
    }
}

/// Pages of a composed region that lie in one extent.
///
/// The first page that is taken out of the extent is the first in `pages`, and so on, so that two words say which goes where.
package struct RegionPart: Sendable, Equatable {
    /// Parts of one region: what a reader of a single page has to read at most.
    package static let limit = 8

    package var extent: StoredExtent
    /// Bit n: the nth page in the extent is taken.
    package var taken: UInt64
    /// Bit n: page n of the region is one of them.
    package var pages: UInt64

    package init(extent: StoredExtent, taken: UInt64, pages: UInt64) {
        (self.extent, self.taken, self.pages) = (extent, taken, pages)
    }
}

extension ImageRegion {
    /// The stored bytes that all present pages lie in; nil for zeros and composed regions.
    package var extent: StoredExtent? {
        guard encoding == .raw || encoding == .lz4 else { return nil }
        return StoredExtent(
            source: source,
            offset: storedOffset,
            length: storedLength,
            encoding: encoding,
            contentLength: UInt32(clamping: Self.presentBytes(pages: pages, rawLength: rawLength)),
            checksum: checksum
        )
    }

    /// All stored bytes that are needed for it.
    package var extents: [StoredExtent] { extent.map { [$0] } ?? parts.map(\.extent) }

    /// How many bytes are read for it.
    package var readBytes: Int { parts.reduce(Int(storedLength)) { $0 + Int($1.extent.length) } }

    /// The same region with its stored bytes elsewhere; nil when `place` has no place for one of them.
    package func relocated<Failure: Error>(
        _ place: (StoredExtent) throws(Failure) -> StoredExtent?
    ) throws(Failure) -> ImageRegion? {
        var region = self
        if let extent {
            guard let new = try place(extent) else { return nil }
            (region.source, region.storedOffset) = (new.source, new.offset)
            (region.storedLength, region.checksum) = (new.length, new.checksum)
        }
        for index in parts.indices {
            guard let new = try place(parts[index].extent) else { return nil }
            region.parts[index].extent = new
        }
        return region
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
