import ClusterModel

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
/// magic "GODWITIX" 8 | version u16 | flags u16 (bit 0: content hashes) | region bytes u32 | page bytes u32
/// incarnation u32 | generation u32 | taken i64 ns | ledger i64 ns | frozen i64 ns | total i64 ns | data length u64
/// job: length u16, UTF-8 | file count u32
/// each file: kind u8 | mode u16 | size u64 | name: length u16, UTF-8 | region count u32
///   each region: encoding u8 | raw offset u64 | raw length u64 | stored offset u64 | stored length u32 | pages u64
///                checksum u64 | content hash 32, if flagged
/// XXH64 of everything before u64
/// ```
///
/// The checksum ends the file in every version, so that a later version and a damaged version field are told apart.
extension ImageIndex {
    private static let magic = Array("GODWITIX".utf8)
    private static let hashesFlag: UInt16 = 1
    private static let fileBytesAtLeast = 18
    private static let regionBytesEncoded = 45

    /// The index as bytes.
    ///
    /// It must be valid, as `problem()` says.
    package func encoded() -> [UInt8] {
        let hasHashes = files.contains { $0.regions.contains { $0.contentHash != nil } }
        var writer = ByteWriter()
        writer.reserve(128 + files.reduce(0) { $0 + 64 + $1.regions.count * (hasHashes ? 77 : 45) })
        writer.append(Self.magic)
        writer.append(Self.formatVersion)
        writer.append(hasHashes ? Self.hashesFlag : UInt16(0))
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
        writer.append(UInt32(files.count))
        for file in files {
            writer.append(file.kind.rawValue)
            writer.append(file.mode)
            writer.append(file.size)
            writer.append(text: file.name)
            writer.append(UInt32(file.regions.count))
            for region in file.regions { writer.append(region, hasHash: hasHashes) }
        }
        writer.append(XXHash64.hash(writer.bytes.span))
        return writer.bytes
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
        let index = try decodeBody(&reader)
        guard reader.remaining == 0 else {
            throw .invalid(place: "index", problem: "\(reader.remaining) bytes follow the last file")
        }
        if let problem = index.problem() { throw problem }
        return index
    }

    private static func decodeBody(_ reader: inout ByteReader) throws(ImageIndexError) -> ImageIndex {
        let flags: UInt16 = try reader.integer()
        guard flags & ~hashesFlag == 0 else { throw .invalid(place: "index", problem: "unknown flags \(flags)") }
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
            files: []
        )
        // A count is believed only as far as the bytes that are left can hold it, so that no count makes us reserve memory.
        guard Int(fileCount) <= reader.remaining / fileBytesAtLeast + 1 else { throw .truncated(what: "index") }
        index.files.reserveCapacity(Int(fileCount))
        for _ in 0..<fileCount { index.files.append(try decodeFile(&reader, hasHashes: hasHashes)) }
        return index
    }

    private static func decodeFile(
        _ reader: inout ByteReader,
        hasHashes: Bool
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
            file.regions.append(region)
        }
        return file
    }
}

extension ImageIndex {
    /// What is inconsistent; nil for a valid index.
    package func problem() -> ImageIndexError? {
        guard (1...DataFileHeader.jobByteLimit).contains(job.rawValue.utf8.count) else {
            return .invalid(place: "index", problem: "a job's identity of \(job.rawValue.utf8.count) bytes")
        }
        guard ledger >= .zero, frozen >= .zero, total >= .zero else {
            return .invalid(place: "index", problem: "a duration below zero")
        }
        var folders: Set<String> = []
        var previous: String?
        for file in files {
            if let problem = file.problem(after: previous, folders: folders) { return problem }
            if file.kind == .folder { folders.insert(file.name) }
            previous = file.name
        }
        guard files.count(where: { $0.kind == .layer }) <= 1 else {
            return .invalid(place: "index", problem: "more than one archive of the writable layer")
        }
        return extentProblem()
    }

    /// Stored extents must cover the data file behind its header exactly: then every byte of it is under some checksum.
    private func extentProblem() -> ImageIndexError? {
        let extents = files.flatMap(\.regions).filter { $0.encoding != .zero }
            .sorted { $0.storedOffset < $1.storedOffset }
        var at = UInt64(DataFileHeader.length)
        for extent in extents {
            guard extent.storedOffset == at else {
                return .invalid(place: "index", problem: "data from byte \(at) on is described twice or not at all")
            }
            let (end, overflow) = at.addingReportingOverflow(UInt64(extent.storedLength))
            guard !overflow else { return .invalid(place: "index", problem: "a stored offset beyond all files") }
            at = end
        }
        guard at == dataLength else {
            return .invalid(place: "index", problem: "a data file of \(dataLength) bytes, but its regions end at \(at)")
        }
        return nil
    }
}

extension ImageFile {
    fileprivate func problem(after previous: String?, folders: Set<String>) -> ImageIndexError? {
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
        guard size <= UInt64(Int64.max) else { return .invalid(place: name, problem: "a size of \(size) bytes") }
        if kind == .folder {
            let isEmpty = size == 0 && regions.isEmpty
            return isEmpty ? nil : .invalid(place: name, problem: "a folder with content")
        }
        var at: UInt64 = 0
        for (number, region) in regions.enumerated() {
            guard region.rawOffset == at, region.rawLength > 0, region.rawLength <= size - at else {
                return .invalid(place: "\(name), region \(number)", problem: "regions leave a gap or overlap")
            }
            if let problem = region.problem() { return .invalid(place: "\(name), region \(number)", problem: problem) }
            at += region.rawLength
        }
        return at == size ? nil : .invalid(place: name, problem: "regions end at \(at) of \(size) bytes")
    }
}

extension ImageRegion {
    fileprivate func problem() -> String? {
        guard rawOffset % UInt64(ImageIndex.regionBytes) == 0 else { return "it does not begin where regions begin" }
        if encoding == .zero {
            let isBare = storedLength == 0 && storedOffset == 0 && pages == 0 && checksum == 0 && contentHash == nil
            return isBare ? nil : "zeros with stored bytes"
        }
        guard rawLength <= UInt64(ImageIndex.regionBytes) else { return "\(rawLength) bytes in one region" }
        let pageCount = (rawLength + UInt64(ImageIndex.pageBytes) - 1) / UInt64(ImageIndex.pageBytes)
        guard pages != 0, pageCount == 64 || pages >> pageCount == 0 else { return "pages beyond its end, or none" }
        let present = Self.presentBytes(pages: pages, rawLength: rawLength)
        switch encoding {
        case .raw where UInt64(storedLength) == present: return nil
        case .lz4 where storedLength > 0 && UInt64(storedLength) < present: return nil
        default: return "\(storedLength) stored bytes for \(present)"
        }
    }
}
