internal import Checkpointing
internal import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// A generation that is open for reading; index, header and lengths are in order.
final class ImageReader: Sendable {
    /// Regions of one file that a thread decodes in one go.
    private struct Chunk: Sendable {
        var file: Int
        var regions: Range<Int>
    }

    /// What one thread needs to read regions: room for one, stored, as it was, and put together of parts.
    @safe final class Tool {
        fileprivate let codec: RegionCodec
        /// Of the image's own data, then of each source.
        fileprivate let ciphers: [ImageCipher?]
        fileprivate let stored: UnsafeMutableRawBufferPointer
        fileprivate let composed: UnsafeMutableRawBufferPointer

        fileprivate init(_ sealings: [ImageSealing?]) throws {
            codec = try RegionCodec()
            ciphers = try sealings.map { try $0?.cipher() }
            unsafe stored = .allocate(byteCount: ImageIndex.regionBytes + ImageIndex.sealBytes, alignment: 4096)
            unsafe composed = .allocate(byteCount: ImageIndex.regionBytes, alignment: 4096)
        }

        /// What is packed in the stored bytes, its seal opened; nil when they are not what was written.
        fileprivate func packed(
            _ stored: UnsafeMutableRawBufferPointer,
            of extent: StoredExtent
        ) -> UnsafeRawBufferPointer? {
            guard unsafe XXHash64.hash(UnsafeRawBufferPointer(stored)) == extent.checksum else { return nil }
            guard let cipher = ciphers[Int(extent.source)] else { return UnsafeRawBufferPointer(stored) }
            guard unsafe cipher.open(stored, nonce: ImageSealing.nonce(at: extent.offset)) else { return nil }
            return unsafe UnsafeRawBufferPointer(rebasing: stored[..<(stored.count - ImageIndex.sealBytes)])
        }

        deinit {
            unsafe stored.deallocate()
            unsafe composed.deallocate()
        }
    }

    let index: ImageIndex
    /// How the files are sealed; nil when they are not.
    let seal: ImageSeal?
    /// Of the image's own data; nil when it is not sealed.
    let sealing: ImageSealing?
    let place: CheckpointPlace
    /// The image's own data, then that of each source.
    private let data: [PositionedFile]
    private let sealings: [ImageSealing?]

    /// More than any index that we write needs: 2 GiB of index would describe terabytes of images.
    private static let indexByteLimit = 1 << 31

    init(_ place: CheckpointPlace, keychain: CheckpointKeychain) throws {
        self.place = place
        var bytes: [UInt8]
        do throws(SystemError) {
            bytes = try FileSystem.read(place.indexPath, limit: Self.indexByteLimit)
        } catch {
            throw Self.unreadable(place, error)
        }
        if ImageSealing.isSealed(bytes) {
            let digest = try ImageSealing.digest(of: bytes)
            (sealing, bytes) = try ImageSealing.open(index: bytes, of: place, keychain: keychain)
            seal = sealing.map { ImageSeal(key: $0.key, digest: digest) }
        } else {
            (sealing, seal) = (nil, nil)
        }
        do throws(ImageIndexError) { index = try ImageIndex.decode(bytes.span) } catch {
            throw ImageStoreError.undecodable(place, error)
        }
        guard index.isSealed == (sealing != nil) else {
            throw ImageStoreError.damaged(place, "its index and its data are not sealed alike")
        }
        guard index.job == place.job, index.generation == place.generation else {
            throw ImageStoreError.damaged(
                place,
                "its index belongs to checkpoint \(index.generation) of job \(index.job)"
            )
        }
        var (files, seals): ([PositionedFile], [ImageSealing?]) = ([], [sealing])
        do throws(SystemError) {
            files.append(try PositionedFile(place.dataPath, O_RDONLY))
            for source in index.sources {
                files.append(try PositionedFile(place.dataPath(of: source.generation), O_RDONLY))
            }
        } catch {
            throw Self.unreadable(place, error)
        }
        for source in index.sources { seals.append(try Self.sealing(of: source, place, keychain)) }
        (data, sealings) = (files, seals)
        try checkData(data[0], DataFileHeader(of: index), length: index.dataLength)
        for (file, source) in zip(data.dropFirst(), index.sources) {
            try checkData(file, DataFileHeader(of: source, job: index.job), length: source.dataLength)
        }
    }

    private static func unreadable(_ place: CheckpointPlace, _ error: SystemError) -> ImageStoreError {
        guard error.isAbsent || error.code == EIO else {
            return ImageStoreError.system(
                error,
                doing: "Checkpoint \(place.generation) of job \(place.job) was not read"
            )
        }
        return ImageStoreError.damaged(place, "\(error)")
    }

    /// How the data of an earlier generation is sealed; nil when it is not.
    private static func sealing(
        of source: DataSource,
        _ place: CheckpointPlace,
        _ keychain: CheckpointKeychain
    ) throws -> ImageSealing? {
        guard source.key != 0 else { return nil }
        guard let key = keychain.bytes(source.key) else {
            throw ImageStoreError.damaged(
                place,
                "data that it shares with generation \(source.generation) is sealed under checkpoint key \(source.key), which this cluster "
                    + "does not have"
            )
        }
        return try ImageSealing(key: source.key, salt: source.salt, key)
    }

    private func checkData(_ data: PositionedFile, _ expected: DataFileHeader, length expectedLength: UInt64) throws {
        var header = [UInt8](repeating: 0, count: DataFileHeader.length)
        let count = try unsafe header.withUnsafeMutableBytes { buffer in
            try readDamage("the header") { () throws(SystemError) in try unsafe data.read(buffer, at: 0) }
        }
        let owner: DataFileHeader
        do throws(ImageIndexError) { owner = try DataFileHeader.decode(header.span.extracting(first: count)) } catch {
            throw ImageStoreError.undecodable(place, error)
        }
        guard owner == expected else {
            throw ImageStoreError.damaged(
                place,
                "its data file belongs to checkpoint \(owner.generation) of job \(owner.job), taken \(owner.taken)"
            )
        }
        let length = try data.length()
        guard length == expectedLength else {
            throw ImageStoreError.damaged(
                place,
                "its data file has \(length) bytes instead of \(expectedLength)"
            )
        }
    }

    /// Decodes all regions on the store's threads, into a target or only to check them; but not those that are deferred.
    func decodeAll(
        into target: ExtractionTarget?,
        configuration: ImageStoreConfiguration,
        cancellation: CancellationFlag,
        bytesPerSecond: Int64 = 0,
        deferring deferred: DeferredRegions = DeferredRegions()
    ) throws {
        try forEachChunk(
            configuration: configuration,
            cancellation: cancellation,
            bytesPerSecond: bytesPerSecond,
            deferring: deferred
        ) { tool, chunk in try self.decode(chunk, with: tool, into: target) }
    }

    /// Reads all regions and gathers those that are not what was written.
    func examine(
        configuration: ImageStoreConfiguration,
        cancellation: CancellationFlag,
        bytesPerSecond: Int64,
        progress: @escaping @Sendable (ReadingProgress) -> Void
    ) throws -> ImageExamination {
        let found = Mutex<[DamagedRegion]>([])
        let checked = Mutex(UInt64(0))
        let total = index.files.reduce(UInt64(0)) { $0 + $1.regions.reduce(0) { $0 + UInt64($1.readBytes) } }
        try forEachChunk(
            configuration: configuration,
            cancellation: cancellation,
            bytesPerSecond: bytesPerSecond
        ) { tool, chunk in
            let file = self.index.files[chunk.file]
            for number in chunk.regions where file.regions[number].encoding != .zero {
                let region = file.regions[number]
                do { _ = try unsafe self.content(of: number, in: file, with: tool) } catch let error as ImageStoreError
                    where error.code == .damaged
                {
                    let damaged = DamagedRegion(
                        file: file.name,
                        region: number,
                        offset: region.rawOffset,
                        length: region.rawLength
                    )
                    found.withLock { $0.append(damaged) }
                }
                let now = checked.withLock { checked in
                    checked += UInt64(region.readBytes)
                    return checked
                }
                progress(ReadingProgress(checked: now, total: total))
            }
        }
        let damaged = found.withLock { $0 }.sorted { ($0.file, $0.region) < ($1.file, $1.region) }
        guard let first = damaged.first else { return ImageExamination() }
        let rest = damaged.count > 1 ? " and \(damaged.count - 1) more" : ""
        return ImageExamination(
            damaged: Array(damaged.prefix(ImageExamination.listed)),
            damagedCount: damaged.count,
            problem: ImageStoreError.damaged(
                place,
                "region \(first.region) of \(first.file)\(rest) \(damaged.count > 1 ? "are" : "is") not what was written"
            ).description
        )
    }

    private func forEachChunk(
        configuration: ImageStoreConfiguration,
        cancellation: CancellationFlag,
        bytesPerSecond: Int64,
        deferring deferred: DeferredRegions = DeferredRegions(),
        _ body: @escaping @Sendable (Tool, Chunk) throws -> Void
    ) throws {
        let rate = Mutex(ByteRate(bytesPerSecond: bytesPerSecond))
        let chunks = index.files.indices.flatMap { file in
            deferred.rest(of: index.files[file]).flatMap { run in
                stride(from: run.lowerBound, to: run.upperBound, by: 8).map { first in
                    Chunk(file: file, regions: first..<min(first + 8, run.upperBound))
                }
            }
        }
        try SharedWork(chunks, cancellation: cancellation).forEach(
            threads: configuration.workerThreads,
            niceness: configuration.niceness,
            make: { try self.makeTool() },
            { tool, chunk in
                try body(tool, chunk)
                guard bytesPerSecond > 0 else { return }
                let count = chunk.regions.reduce(0) { $0 + self.index.files[chunk.file].regions[$1].readBytes }
                let pause = rate.withLock { $0.pause(after: count, now: .now) }
                if pause > .zero { usleep(UInt32(clamping: Int64(pause / .microseconds(1)))) }
            }
        )
    }

    /// Makes what one thread needs to read regions of this image.
    func makeTool() throws -> Tool { try Tool(sealings) }

    /// Reads one region that is not all zeros: its present pages one after the other, every byte checked.
    ///
    /// The bytes are good until the tool's next use.
    ///
    /// - Throws: `ImageStoreError` with code `damaged` when they are not what was written.
    func content(of number: Int, in file: ImageFile, with tool: Tool) throws -> UnsafeRawBufferPointer {
        let region = file.regions[number]
        if let extent = region.extent { return try unsafe content(of: extent, in: (number, file), with: tool) }
        for part in region.parts {
            let pages = try unsafe content(of: part.extent, in: (number, file), with: tool)
            var (taken, given) = (part.taken, part.pages)
            while given != 0 {
                let from = taken.trailingZeroBitCount * ImageIndex.pageBytes
                let before = region.pages & ((1 << UInt64(given.trailingZeroBitCount)) - 1)
                let target = before.nonzeroBitCount * ImageIndex.pageBytes
                unsafe UnsafeMutableRawBufferPointer(rebasing: tool.composed[target..<target + ImageIndex.pageBytes])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: pages[from..<from + ImageIndex.pageBytes]))
                taken &= taken - 1
                given &= given - 1
            }
        }
        let length = region.pages.nonzeroBitCount * ImageIndex.pageBytes
        return unsafe UnsafeRawBufferPointer(rebasing: tool.composed[..<length])
    }

    /// Reads stored bytes, every one of them checked, and gives the pages in them until the tool's next use.
    ///
    /// `region` is one that they belong to, for an error.
    func content(
        of extent: StoredExtent,
        in region: (number: Int, file: ImageFile),
        with tool: Tool
    ) throws -> UnsafeRawBufferPointer {
        let packed = try unsafe packed(extent, of: region, with: tool)
        guard let present = unsafe tool.codec.unpack(packed, of: extent) else { throw notAsWritten(extent, of: region) }
        return unsafe present
    }

    /// The same as it was compressed, its seal opened.
    func packed(
        _ extent: StoredExtent,
        of region: (number: Int, file: ImageFile),
        with tool: Tool
    ) throws -> UnsafeRawBufferPointer {
        let stored = unsafe UnsafeMutableRawBufferPointer(rebasing: tool.stored[..<Int(extent.length)])
        let count = try readDamage("region \(region.number) of \(region.file.name)") { () throws(SystemError) in
            try unsafe data[Int(extent.source)].read(stored, at: extent.offset)
        }
        guard count == stored.count, let packed = unsafe tool.packed(stored, of: extent) else {
            throw notAsWritten(extent, of: region)
        }
        return unsafe packed
    }

    private func notAsWritten(_ extent: StoredExtent, of region: (number: Int, file: ImageFile)) -> ImageStoreError {
        let owner = extent.source == 0 ? "" : " of generation \(index.sources[Int(extent.source) - 1].generation)"
        return ImageStoreError.damaged(
            place,
            "region \(region.number) of \(region.file.name), \(extent.length) bytes from byte \(extent.offset) "
                + "of the data file\(owner) on, is not what was written"
        )
    }

    private func decode(_ chunk: Chunk, with tool: Tool, into target: ExtractionTarget?) throws {
        let file = index.files[chunk.file]
        let output = try target?.open(chunk.file)
        for number in chunk.regions {
            let region = file.regions[number]
            // Zeros need no writing: the file has its length, so they are a hole.
            if region.encoding == .zero { continue }
            let present = try unsafe content(of: number, in: file, with: tool)
            guard let output else { continue }
            try unsafe region.spread(present, over: output)
        }
    }

    /// A disk that cannot give back what it was given is damage; other refusals of the system are not.
    private func readDamage(_ what: String, _ body: () throws(SystemError) -> Int) throws -> Int {
        do throws(SystemError) { return try body() } catch {
            guard error.code == EIO else { throw error }
            throw ImageStoreError.damaged(place, "\(what) cannot be read: \(error)")
        }
    }
}
