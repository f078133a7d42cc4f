package import ClusterModel

/// Why bytes are not an index or a data file header.
package enum ImageIndexError: Error, Sendable, Equatable, CustomStringConvertible {
    /// It does not begin as ours do.
    case notOurs(what: String)
    /// It ends before what it announces.
    case truncated(what: String)
    /// Its bytes are not those that were written.
    case checksumMismatch(what: String)
    /// A later release wrote it.
    case futureVersion(found: UInt16)
    /// Its bytes are as written, yet they say something impossible.
    case invalid(place: String, problem: String)

    package var description: String {
        switch self {
        case .notOurs(let what): "the \(what) does not begin as Godwit's do"
        case .truncated(let what): "the \(what) ends before what it announces"
        case .checksumMismatch(let what): "the \(what) does not have the checksum that was written with it"
        case .futureVersion(let found):
            "format version \(found) is newer than \(ImageIndex.formatVersion), the newest that this release reads; "
                + "upgrade this node's agent"
        case .invalid(let place, let problem): "\(place): \(problem)"
        }
    }
}

/// The layout, all integers little-endian:
///
/// ```
/// magic "GODWITIX" 8 | version u16 | flags u16 (bit 0: content hashes, bit 1: sealed regions, bit 2: sources) | region bytes u32 | page bytes u32
/// incarnation u32 | generation u32 | taken i64 ns | ledger i64 ns | frozen i64 ns | total i64 ns | data length u64
/// job: length u16, UTF-8 | if flagged, from version 2 on: source count u16, each source as below | file count u32
/// each source: generation u32 | incarnation u32 | taken i64 ns | data length u64 | key u64 | salt 32
/// each file: kind u8 | mode u16 | size u64 | name: length u16, UTF-8 | region count u32
///   each region: encoding u8 | raw offset u64 | raw length u64 | stored offset u64 | stored length u32 | pages u64
///                checksum u64 | content hash 32, if flagged | source u16, if sources are flagged
///                if it is composed, from version 3 on: part count u8, each part as below
///     each part: encoding u8 | source u16 | stored offset u64 | stored length u32 | page count u8 | checksum u64 | taken u64 | pages u64
/// XXH64 of everything before u64
/// ```
///
/// The checksum ends the file in every version, so that a later version and a damaged version field are told apart.
extension ImageIndex {
    private static let magic = Array("GODWITIX".utf8)
    private static let hashesFlag: UInt16 = 1
    private static let sealedFlag: UInt16 = 2
    private static let sourcesFlag: UInt16 = 4
    private static let fileBytesAtLeast = 18
    private static let regionBytesEncoded = 45
    private static let contentHashBytes = 32
    private static let partBytesEncoded = 40

    /// More bytes than an index of files of this size together has, sealed or not: what whoever receives one must be ready to keep.
    ///
    /// Each region may be followed by a run of zeros, and there is room for tens of thousands of files, however small.
    package static func encodedByteLimit(raw: ByteCount) -> UInt64 {
        let regions = UInt64(max(0, raw.rawValue)) / UInt64(regionBytes) + 1
        let parts = UInt64(1 + RegionPart.limit * partBytesEncoded)
        return regions * (2 * UInt64(regionBytesEncoded + contentHashBytes + 2) + parts) + 16 << 20
    }

    /// The index as bytes.
    ///
    /// It must be valid, as `problem()` says.
    package func encoded() -> [UInt8] {
        let hasHashes = files.contains { $0.regions.contains { $0.contentHash != nil } }
        var writer = ByteWriter()
        writer.reserve(128 + files.reduce(0) { $0 + 64 + $1.regions.count * (hasHashes ? 79 : 47) })
        writer.append(Self.magic)
        let hasSources = !sources.isEmpty
        writer.append(UInt16(isIntertwined ? 3 : hasSources ? 2 : 1))
        writer.append(
            (hasHashes ? Self.hashesFlag : 0) | (isSealed ? Self.sealedFlag : 0) | (hasSources ? Self.sourcesFlag : 0)
        )
        writer.append(UInt32(Self.regionBytes))
        writer.append(UInt32(Self.pageBytes))
        writer.append(incarnation.rawValue)
        writer.append(generation.rawValue)
        writer.append(UInt64(bitPattern: taken.rawValue))
        writer.append(UInt64(bitPattern: ledger.nanoseconds))
        writer.append(UInt64(bitPattern: frozen.nanoseconds))
        writer.append(UInt64(bitPattern: total.nanoseconds))
        writer.append(dataLength)
        writer.append(text: job.rawValue)
        if hasSources {
            writer.append(UInt16(sources.count))
            for source in sources {
                writer.append(source.generation.rawValue)
                writer.append(source.incarnation.rawValue)
                writer.append(UInt64(bitPattern: source.taken.rawValue))
                writer.append(source.dataLength)
                writer.append(source.key)
                writer.append(source.salt)
            }
        }
        writer.append(UInt32(files.count))
        for file in files {
            writer.append(file.kind.rawValue)
            writer.append(file.mode)
            writer.append(file.size)
            writer.append(text: file.name)
            writer.append(UInt32(file.regions.count))
            for region in file.regions {
                writer.append(region, hasHash: hasHashes)
                if hasSources { writer.append(region.source) }
                if region.encoding == .composed {
                    writer.append(UInt8(region.parts.count))
                    for part in region.parts { writer.append(part) }
                }
            }
        }
        writer.append(XXHash64.hash(writer.bytes.span))
        return writer.bytes
    }

    /// Whether it takes version 3: a region has parts, or stored bytes belong to several regions.
    private var isIntertwined: Bool {
        var own: Set<UInt64> = []
        for region in files.lazy.flatMap(\.regions) where region.encoding != .zero {
            if region.encoding == .composed || region.source == 0 && !own.insert(region.storedOffset).inserted {
                return true
            }
        }
        return false
    }

    /// Reads an index; refuses, with the place, whatever is not complete and consistent.
    package static func decode(_ bytes: Span<UInt8>) throws(ImageIndexError) -> ImageIndex {
        guard bytes.count >= 8 else { throw .truncated(what: "index") }
        var reader = ByteReader(bytes.extracting(first: bytes.count - 8), what: "index")
        guard try reader.bytes(8) == magic else { throw .notOurs(what: "index") }
        var trailer = ByteReader(bytes.extracting(last: 8), what: "index")
        guard try trailer.integer() == XXHash64.hash(bytes.extracting(first: bytes.count - 8)) else {
            throw .checksumMismatch(what: "index")
        }
        let version: UInt16 = try reader.integer()
        guard version <= formatVersion else { throw .futureVersion(found: version) }
        guard version >= 1 else { throw .invalid(place: "index", problem: "format version 0") }
        let index = try decodeBody(&reader, version: version)
        guard reader.remaining == 0 else {
            throw .invalid(place: "index", problem: "\(reader.remaining) bytes follow the last file")
        }
        if let problem = index.problem() { throw problem }
        guard version >= 3 || !index.isIntertwined else {
            throw .invalid(
                place: "index",
                problem: "stored bytes are described twice or in parts, which version \(version) cannot say"
            )
        }
        return index
    }

    private static func decodeBody(_ reader: inout ByteReader, version: UInt16) throws(ImageIndexError) -> ImageIndex {
        let flags: UInt16 = try reader.integer()
        let hasSources = flags & sourcesFlag != 0
        guard flags & ~(hashesFlag | sealedFlag | sourcesFlag) == 0, hasSources == (version == 2) || version > 2 else {
            throw .invalid(place: "index", problem: "unknown flags \(flags)")
        }
        let hasHashes = flags & hashesFlag != 0
        let region: UInt32 = try reader.integer()
        let page: UInt32 = try reader.integer()
        guard region == UInt32(regionBytes), page == UInt32(pageBytes) else {
            throw .invalid(place: "index", problem: "regions of \(region) and pages of \(page) bytes")
        }
        let incarnation: UInt32 = try reader.integer()
        let generation: UInt32 = try reader.integer()
        let taken: UInt64 = try reader.integer()
        let ledger: UInt64 = try reader.integer()
        let frozen: UInt64 = try reader.integer()
        let total: UInt64 = try reader.integer()
        let dataLength: UInt64 = try reader.integer()
        let job = try reader.text()
        let sources = hasSources ? try decodeSources(&reader) : []
        let fileCount: UInt32 = try reader.integer()
        var index = ImageIndex(
            job: JobID(rawValue: job),
            incarnation: Incarnation(rawValue: incarnation),
            generation: CheckpointGeneration(rawValue: generation),
            taken: Timestamp(rawValue: Int64(bitPattern: taken)),
            ledger: .nanoseconds(Int64(bitPattern: ledger)),
            frozen: .nanoseconds(Int64(bitPattern: frozen)),
            total: .nanoseconds(Int64(bitPattern: total)),
            dataLength: dataLength,
            files: [],
            isSealed: flags & sealedFlag != 0
        )
        index.sources = sources
        // A count is believed only as far as the bytes that are left can hold it, so that no count makes us reserve memory.
        guard Int(fileCount) <= reader.remaining / fileBytesAtLeast + 1 else { throw .truncated(what: "index") }
        index.files.reserveCapacity(Int(fileCount))
        for _ in 0..<fileCount {
            index.files.append(try decodeFile(&reader, hasHashes: hasHashes, hasSources: hasSources))
        }
        return index
    }

    private static func decodeSources(_ reader: inout ByteReader) throws(ImageIndexError) -> [DataSource] {
        let count: UInt16 = try reader.integer()
        guard (1...sourceLimit).contains(Int(count)) else {
            throw .invalid(place: "index", problem: "\(count) earlier generations")
        }
        var sources: [DataSource] = []
        for _ in 0..<count {
            let generation: UInt32 = try reader.integer()
            let incarnation: UInt32 = try reader.integer()
            let taken: UInt64 = try reader.integer()
            sources.append(
                DataSource(
                    generation: CheckpointGeneration(rawValue: generation),
                    incarnation: Incarnation(rawValue: incarnation),
                    taken: Timestamp(rawValue: Int64(bitPattern: taken)),
                    dataLength: try reader.integer(),
                    key: try reader.integer(),
                    salt: try reader.bytes(DataSource.saltByteCount)
                )
            )
        }
        return sources
    }

    private static func decodeFile(
        _ reader: inout ByteReader,
        hasHashes: Bool,
        hasSources: Bool
    ) throws(ImageIndexError) -> ImageFile {
        let kindByte: UInt8 = try reader.integer()
        let mode: UInt16 = try reader.integer()
        let size: UInt64 = try reader.integer()
        let name = try reader.text()
        guard let kind = ImageFile.Kind(rawValue: kindByte) else {
            throw .invalid(place: name, problem: "unknown kind of file \(kindByte)")
        }
        let regionCount: UInt32 = try reader.integer()
        guard Int(regionCount) <= reader.remaining / regionBytesEncoded else { throw .truncated(what: "index") }
        var file = ImageFile(name: name, kind: kind, mode: mode, size: size, regions: [])
        file.regions.reserveCapacity(Int(regionCount))
        for number in 0..<regionCount {
            let encodingByte: UInt8 = try reader.integer()
            guard let encoding = ImageRegion.Encoding(rawValue: encodingByte) else {
                throw .invalid(place: "\(name), region \(number)", problem: "unknown encoding \(encodingByte)")
            }
            var region = ImageRegion(rawOffset: try reader.integer(), rawLength: try reader.integer())
            region.encoding = encoding
            region.storedOffset = try reader.integer()
            region.storedLength = try reader.integer()
            region.pages = try reader.integer()
            region.checksum = try reader.integer()
            if hasHashes {
                let words: [4 of UInt64] = [
                    try reader.integer(), try reader.integer(), try reader.integer(), try reader.integer(),
                ]
                if encoding != .zero { region.contentHash = ContentHash(words: words) }
            }
            if hasSources { region.source = try reader.integer() }
            if encoding == .composed { region.parts = try decodeParts(&reader, "\(name), region \(number)") }
            file.regions.append(region)
        }
        return file
    }

    private static func decodeParts(
        _ reader: inout ByteReader,
        _ place: @autoclosure () -> String
    ) throws(ImageIndexError) -> [RegionPart] {
        let count: UInt8 = try reader.integer()
        guard (1...RegionPart.limit).contains(Int(count)) else {
            throw .invalid(place: place(), problem: "\(count) parts")
        }
        var parts: [RegionPart] = []
        parts.reserveCapacity(Int(count))
        for _ in 0..<count {
            let encodingByte: UInt8 = try reader.integer()
            guard let encoding = ImageRegion.Encoding(rawValue: encodingByte) else {
                throw .invalid(place: place(), problem: "unknown encoding \(encodingByte)")
            }
            let (source, offset): (UInt16, UInt64) = (try reader.integer(), try reader.integer())
            let (length, pageCount): (UInt32, UInt8) = (try reader.integer(), try reader.integer())
            let extent = StoredExtent(
                source: source,
                offset: offset,
                length: length,
                encoding: encoding,
                contentLength: UInt32(pageCount) * UInt32(pageBytes),
                checksum: try reader.integer()
            )
            parts.append(RegionPart(extent: extent, taken: try reader.integer(), pages: try reader.integer()))
        }
        return parts
    }
}

extension ImageIndex {
    /// What is inconsistent; nil for a valid index.
    package func problem() -> ImageIndexError? {
        guard (1...DataFileHeader.jobByteLimit).contains(job.rawValue.utf8.count) else {
            return .invalid(place: "index", problem: "a job's identity of \(job.rawValue.utf8.count) bytes")
        }
        guard [ledger, frozen, total].allSatisfy({ $0 >= .zero && $0 <= Self.durationLimit }) else {
            return .invalid(place: "index", problem: "a duration below zero, or of centuries")
        }
        guard taken.rawValue.magnitude <= 1 << 62 else {
            return .invalid(place: "index", problem: "a moment that is centuries away")
        }
        var folders: Set<String> = []
        var previous: String?
        var bytes: UInt64 = 0
        for file in files {
            bytes += min(file.size, Self.byteLimit)
            guard bytes <= Self.byteLimit else {
                return .invalid(place: file.name, problem: "more bytes than there are")
            }
            if let problem = file.problem(after: previous, folders: folders, isSealed: isSealed) { return problem }
            if file.kind == .folder { folders.insert(file.name) }
            previous = file.name
        }
        guard files.count(where: { $0.kind == .layer }) <= 1 else {
            return .invalid(place: "index", problem: "more than one archive of the writable layer")
        }
        return sourceProblem() ?? extentProblem()
    }

    /// Each source must be an earlier generation, sealed as the image is, and regions must lie inside of what they refer to.
    private func sourceProblem() -> ImageIndexError? {
        func invalid(_ problem: String) -> ImageIndexError { .invalid(place: "index", problem: problem) }
        guard sources.count <= Self.sourceLimit else { return invalid("\(sources.count) earlier generations") }
        var previous: CheckpointGeneration?
        for source in sources {
            guard source.generation < generation, previous.map({ $0 < source.generation }) ?? true else {
                return invalid(
                    "it shares data with generation \(source.generation), out of order or not an earlier one"
                )
            }
            guard source.salt.count == DataSource.saltByteCount, (source.key != 0) == isSealed,
                (UInt64(DataFileHeader.length)...Self.byteLimit).contains(source.dataLength)
            else { return invalid("the data of generation \(source.generation) cannot be as it says") }
            previous = source.generation
        }
        for extent in files.lazy.flatMap(\.regions).flatMap(\.extents) where extent.source != 0 {
            guard Int(extent.source) <= sources.count else {
                return invalid("a region refers to data that no generation has")
            }
            let (end, overflow) = extent.offset.addingReportingOverflow(UInt64(extent.length))
            guard !overflow, extent.offset >= UInt64(DataFileHeader.length),
                end <= sources[Int(extent.source) - 1].dataLength
            else { return invalid("a region refers to bytes beyond the data of its generation") }
        }
        return nil
    }

    /// Stored extents must cover the image's own data file behind its header exactly: then every byte of it is under some checksum.
    ///
    /// The same extent may be there several times, but whole and alike.
    private func extentProblem() -> ImageIndexError? {
        var extents = Array(files.lazy.flatMap(\.regions).flatMap(\.extents).filter { $0.source == 0 })
        extents.sort { $0.offset < $1.offset }
        var at = UInt64(DataFileHeader.length)
        var last: StoredExtent?
        for extent in extents where extent != last {
            guard extent.offset == at else {
                return .invalid(place: "index", problem: "data from byte \(at) on is described twice or not at all")
            }
            let (end, overflow) = at.addingReportingOverflow(UInt64(extent.length))
            guard !overflow else { return .invalid(place: "index", problem: "a stored offset beyond all files") }
            (at, last) = (end, extent)
        }
        guard at == dataLength else {
            return .invalid(place: "index", problem: "a data file of \(dataLength) bytes, but its regions end at \(at)")
        }
        return nil
    }
}

extension ImageFile {
    fileprivate func problem(after previous: String?, folders: Set<String>, isSealed: Bool) -> ImageIndexError? {
        guard Self.isValidName(name) else {
            return .invalid(place: "index", problem: "a file name that leaves its folder or has an impossible length")
        }
        if let previous, !previous.utf8.lexicographicallyPrecedes(name.utf8) {
            return .invalid(place: name, problem: "files are not in the order of their names, or one is there twice")
        }
        if let slash = name.lastIndex(of: "/"), !folders.contains(String(name[..<slash])) {
            return .invalid(place: name, problem: "its folder is not in the index")
        }
        guard mode <= 0o7777 else { return .invalid(place: name, problem: "a mode of \(mode)") }
        guard size <= ImageIndex.byteLimit else { return .invalid(place: name, problem: "a size of \(size) bytes") }
        if kind == .folder {
            let isEmpty = size == 0 && regions.isEmpty
            return isEmpty ? nil : .invalid(place: name, problem: "a folder with content")
        }
        var at: UInt64 = 0
        for (number, region) in regions.enumerated() {
            guard region.rawOffset == at, region.rawLength > 0, region.rawLength <= size - at else {
                return .invalid(place: "\(name), region \(number)", problem: "regions leave a gap or overlap")
            }
            if let problem = region.problem(isSealed: isSealed) {
                return .invalid(place: "\(name), region \(number)", problem: problem)
            }
            at += region.rawLength
        }
        return at == size ? nil : .invalid(place: name, problem: "regions end at \(at) of \(size) bytes")
    }
}

extension ImageRegion {
    fileprivate func problem(isSealed: Bool) -> String? {
        guard rawOffset % UInt64(ImageIndex.regionBytes) == 0 else { return "it does not begin where regions begin" }
        guard parts.isEmpty || encoding == .composed else { return "parts where there can be none" }
        let isBare = storedLength == 0 && storedOffset == 0 && checksum == 0 && source == 0
        if encoding == .zero {
            return isBare && pages == 0 && contentHash == nil ? nil : "zeros with stored bytes"
        }
        guard rawLength <= UInt64(ImageIndex.regionBytes) else { return "\(rawLength) bytes in one region" }
        let pageCount = (rawLength + UInt64(ImageIndex.pageBytes) - 1) / UInt64(ImageIndex.pageBytes)
        guard pages != 0, pageCount == 64 || pages >> pageCount == 0 else { return "pages beyond its end, or none" }
        guard encoding == .composed else { return extent?.problem(isSealed: isSealed) }
        guard isBare, rawLength % UInt64(ImageIndex.pageBytes) == 0, (1...RegionPart.limit).contains(parts.count) else {
            return "it is composed of \(parts.count) parts, with bytes of its own or a page that is not whole"
        }
        var covered: UInt64 = 0
        for part in parts {
            if let problem = part.extent.problem(isSealed: isSealed) { return problem }
            guard part.pages != 0, part.pages & covered == 0, part.taken & ~part.extent.allPages == 0,
                part.taken.nonzeroBitCount == part.pages.nonzeroBitCount
            else { return "its parts do not fit together" }
            covered |= part.pages
        }
        return covered == pages ? nil : "its parts are not its pages"
    }
}

extension StoredExtent {
    fileprivate func problem(isSealed: Bool) -> String? {
        let content = Int64(length) - Int64(isSealed ? ImageIndex.sealBytes : 0)
        guard contentLength > 0, Int(contentLength) <= ImageIndex.regionBytes else {
            return "\(contentLength) bytes in one piece"
        }
        switch encoding {
        case .raw where content == Int64(contentLength): return nil
        case .lz4 where content > 0 && content < Int64(contentLength): return nil
        default: return "\(length) stored bytes for \(contentLength)"
        }
    }
}
