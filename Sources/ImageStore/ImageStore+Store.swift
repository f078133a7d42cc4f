package import Checkpointing
internal import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

extension ImageStore {
    /// Compresses images and archive into a new generation; when the call returns, it survives a crash of the machine.
    ///
    /// The images themselves stay where they are. On any error nothing of the generation is left, and earlier generations are as they were.
    ///
    /// With `sharing`, regions that the job's newest good generation has too are not stored again: the new one keeps its data files under names of
    /// its own, so that either can be removed without the other.
    ///
    /// `onGrowing` is called, on a thread of the store's, when ``growing(_:_:)`` begins to give the data; never for an image that is not sealed.
    package func store(
        _ source: ImageSource,
        sharing: Bool = false,
        onGrowing: @escaping @Sendable () -> Void = {}
    ) async throws -> CheckpointRecord {
        let place = try place(source.job, source.generation)
        let began = ContinuousClock.now
        return try await WorkerThreads.run { cancellation in
            try self.changing(place) {
                try self.storeNow(
                    source,
                    sharing: sharing,
                    at: place,
                    began: began,
                    cancellation: cancellation,
                    onGrowing: onGrowing
                )
            }
        }
    }

    private func storeNow(
        _ source: ImageSource,
        sharing: Bool,
        at place: CheckpointPlace,
        began: ContinuousClock.Instant,
        cancellation: CancellationFlag,
        onGrowing: () -> Void
    ) throws -> CheckpointRecord {
        guard !FileSystem.exists(place.path) else {
            throw ImageStoreError(
                .alreadyExists,
                "Job \(place.job) already has a checkpoint \(place.generation); generations are never written twice."
            )
        }
        let files = try SourceFile.scan(source)
        try checkSpace(for: files, job: source.job)
        try FileSystem.removeAll(place.partialPath)
        do {
            try makeFolders(for: place)
            try observer?(.partialCreated)
            let base = sharing ? try sharedBase(of: source, files, for: place) : nil
            let writer = try ImageWriter(store: self, source: source, place: place, files: files, base: base)
            if let image = writer.growing {
                growing.withLock { $0[place] = image }
                onGrowing()
            }
            let record = try writer.write(began: began, cancellation: cancellation)
            try publish(place)
            endGrowing(place, isWhole: true)
            return record
        } catch {
            endGrowing(place, isWhole: false)
            // The error that led here says more than one of the clean-up.
            try? FileSystem.removeAll(place.path)
            giveUp(place)
            guard let error = error as? SystemError else { throw error }
            throw ImageStoreError.system(
                error,
                doing: "Checkpoint \(place.generation) of job \(place.job) was not stored"
            )
        }
    }

    func publish(_ place: CheckpointPlace) throws {
        guard unsafe rename(place.partialPath, place.path) == 0 else {
            throw SystemError.last("rename to \(place.path)", place.partialPath)
        }
        try observer?(.renamed)
        try FileSystem.synchronizeFolder(of: place.path)
        try observer?(.published)
    }

    /// Refuses early what would most likely not fit: as much as the job's last checkpoint shrank to, or half of the data for a first one.
    private func checkSpace(for files: [SourceFile], job: JobID) throws {
        let data = Double(files.reduce(0) { $0 + $1.dataBytes })
        let last = try recordsNow(of: job).last { $0.state == .complete && $0.rawBytes > .zero }
        let ratio = last.map { min(1, 1.1 * Double($0.storedBytes.rawValue) / Double($0.rawBytes.rawValue)) } ?? 0.5
        let needed = ByteCount.bytes(Int64(data * ratio)) + .kibibytes(64)
        let available = try FileSystem.space(at: folder).available
        guard available < needed + configuration.reserve else { return }
        let held = try jobsNow().flatMap { try recordsNow(of: $0) }.reduce(ByteCount.zero) { $0 + $1.storedBytes }
        throw ImageStoreError(
            .noSpace,
            "A checkpoint of job \(job) needs about \(needed) in \(folder), but \(available) are free and "
                + "\(configuration.reserve) of them are held back. Free space on that disk, or keep fewer generations: "
                + "checkpoints there take \(held)."
        )
    }
}

/// Writes data and index of one generation into its partial folder.
private final class ImageWriter: Sendable {
    /// A stretch of regions of one file, small enough to share the work evenly, large enough for few system calls.
    private struct Chunk: Sendable {
        var file: Int
        var first: UInt64
        var count: Int
    }

    /// What one thread needs: room for the regions of a chunk before and after.
    @safe private final class Tool {
        let codec: RegionCodec
        let cipher: ImageCipher?
        let known: KnownPages?
        let input: UnsafeMutableRawBufferPointer
        let output: UnsafeMutableRawBufferPointer

        init(_ configuration: ImageStoreConfiguration, sealing: ImageSealing?, base: SharedBase?) throws {
            cipher = try sealing?.cipher()
            known = try base.map(KnownPages.init)
            codec = try RegionCodec(
                acceleration: configuration.acceleration,
                contentHashes: configuration.contentHashes
            )
            unsafe input = .allocate(byteCount: ImageIndex.regionBytes, alignment: 4096)
            unsafe output = .allocate(
                byteCount: chunkRegions * (ImageIndex.regionBytes + ImageIndex.sealBytes),
                alignment: 4096
            )
        }

        deinit {
            unsafe input.deallocate()
            unsafe output.deallocate()
        }
    }

    private static let chunkRegions = 8
    private let store: ImageStore
    private let source: ImageSource
    private let place: CheckpointPlace
    private let files: [SourceFile]
    private let data: PositionedFile
    /// Nil while the cluster has no checkpoint key.
    private let sealing: ImageSealing?
    /// For those who read it meanwhile; nil when it is not sealed.
    let growing: GrowingImage?
    /// What earlier generations have.
    private let base: SharedBase?
    private let end = Atomic(UInt64(DataFileHeader.length))
    private let regions: Mutex<[[ImageRegion]]>

    init(store: ImageStore, source: ImageSource, place: CheckpointPlace, files: [SourceFile], base: SharedBase?) throws
    {
        self.base = base
        self.store = store
        self.source = source
        self.place = place
        self.files = files
        sealing = try store.keychain.newest.map { try ImageSealing(key: $0.number, $0.bytes) }
        regions = Mutex(Array(repeating: [], count: files.count))
        data = try PositionedFile("\(place.partialPath)/data", O_RDWR | O_CREAT | O_EXCL)
        try data.setMode(0o600)
        growing = sealing == nil ? nil : GrowingImage(data)
        try store.observer?(.dataCreated)
    }

    func write(began: ContinuousClock.Instant, cancellation: CancellationFlag) throws -> CheckpointRecord {
        let header = DataFileHeader(
            job: source.job,
            incarnation: source.incarnation,
            generation: source.generation,
            taken: source.taken
        ).encoded()
        try unsafe header.withUnsafeBytes { try unsafe data.write($0, at: 0) }
        growing?.wrote(0..<UInt64(DataFileHeader.length))
        let configuration = store.configuration
        try SharedWork(chunks(), cancellation: cancellation).forEach(
            threads: configuration.workerThreads,
            niceness: configuration.niceness,
            make: { [sealing, base] in try Tool(configuration, sealing: sealing, base: base) },
            { tool, chunk in try self.store(chunk, with: tool) }
        )
        try data.synchronize()
        try store.observer?(.dataSynchronized)
        let index = try makeIndex(total: source.elapsed + began.duration(to: .now))
        let bytes = try sealing?.sealed(index: index.encoded()) ?? index.encoded()
        try writeIndex(bytes)
        var record = CheckpointRecord(index)
        record.seal = try sealing.map { ImageSeal(key: $0.key, digest: try ImageSealing.digest(of: bytes)) }
        record.storedBytes = record.storedBytes + .bytes(Int64(bytes.count))
        return record
    }

    private func chunks() -> [Chunk] {
        files.indices.flatMap { file in
            files[file].regions.flatMap { run in
                stride(from: run.lowerBound, to: run.upperBound, by: Self.chunkRegions).map { first in
                    Chunk(file: file, first: first, count: Int(min(UInt64(Self.chunkRegions), run.upperBound - first)))
                }
            }
        }
    }

    private func store(_ chunk: Chunk, with tool: Tool) throws {
        let file = files[chunk.file]
        let open = try PositionedFile(file.path, O_RDONLY)
        let sealBytes = tool.cipher == nil ? 0 : ImageIndex.sealBytes
        var (made, shared): ([ImageRegion], [ImageRegion]) = ([], [])
        var length = 0
        for number in chunk.first..<chunk.first + UInt64(chunk.count) {
            let offset = number * SourceFile.regionBytes
            let rawLength = Int(min(SourceFile.regionBytes, file.size - offset))
            let raw = unsafe UnsafeMutableRawBufferPointer(rebasing: tool.input[..<rawLength])
            guard try unsafe open.read(raw, at: offset) == rawLength else {
                throw ImageStoreError(.unsuitable, "\(file.path) became shorter while it was being stored.")
            }
            var parts: [RegionPart] = []
            let encoded = unsafe tool.codec.encode(
                UnsafeRawBufferPointer(raw),
                into: UnsafeMutableRawBufferPointer(rebasing: tool.output[length...]),
                isKnown: { base?.regions[$0] != nil },
                knownPages: { present in
                    parts = unsafe tool.known?.parts(of: UnsafeRawBufferPointer(raw), present, file.name, offset) ?? []
                    return parts.reduce(0) { $0 | $1.pages }
                }
            )
            if encoded.encoding == .zero { continue }
            if encoded.isKnown, var known = encoded.contentHash.flatMap({ base?.regions[$0] }) {
                (known.rawOffset, known.rawLength) = (offset, UInt64(rawLength))
                shared.append(known)
                continue
            }
            var region = ImageRegion(rawOffset: offset, rawLength: UInt64(rawLength))
            (region.pages, region.contentHash) = (encoded.pages, encoded.contentHash)
            guard encoded.storedPages != 0 else {
                (region.encoding, region.parts) = (.composed, parts)
                shared.append(region)
                continue
            }
            let extent = StoredExtent(
                source: 0,
                offset: UInt64(length),
                length: UInt32(encoded.storedLength + sealBytes),
                encoding: encoded.encoding,
                contentLength: UInt32(
                    ImageRegion.presentBytes(pages: encoded.storedPages, rawLength: UInt64(rawLength))
                ),
                checksum: encoded.checksum
            )
            if parts.isEmpty {
                (region.encoding, region.storedOffset) = (extent.encoding, extent.offset)
                (region.storedLength, region.checksum) = (extent.length, extent.checksum)
            } else {
                parts.append(RegionPart(extent: extent, taken: extent.allPages, pages: encoded.storedPages))
                (region.encoding, region.parts) = (.composed, parts)
            }
            made.append(region)
            length += Int(extent.length)
        }
        if !shared.isEmpty { regions.withLock { $0[chunk.file] += shared } }
        guard length > 0 else { return }
        let start = end.wrappingAdd(UInt64(length), ordering: .relaxed).oldValue
        for index in made.indices {
            let placed = try made[index].relocated { extent throws -> StoredExtent? in
                guard extent.source == 0 else { return extent }
                var extent = extent
                // The place of an extent is its nonce, so it is sealed when that is known.
                if let cipher = tool.cipher {
                    let (first, count) = (Int(extent.offset), Int(extent.length))
                    let stored = unsafe UnsafeMutableRawBufferPointer(rebasing: tool.output[first..<first + count])
                    try unsafe cipher.seal(stored, nonce: ImageSealing.nonce(at: start + extent.offset))
                    extent.checksum = unsafe XXHash64.hash(UnsafeRawBufferPointer(stored))
                }
                extent.offset += start
                return extent
            }
            if let placed { made[index] = placed }
        }
        try unsafe data.write(UnsafeRawBufferPointer(rebasing: tool.output[..<length]), at: start)
        growing?.wrote(start..<start + UInt64(length))
        regions.withLock { $0[chunk.file] += made }
        try store.observer?(.dataWritten(end: start + UInt64(length)))
    }

    /// The index, and with it the names of the data files that it refers to; others are taken away again.
    private func makeIndex(total: Duration) throws -> ImageIndex {
        var stored = regions.withLock { $0 }
        var sources: [DataSource] = []
        if let base {
            let used = Set(stored.joined().lazy.flatMap(\.extents).map(\.source))
            var numbers: [UInt16: UInt16] = [0: 0]
            for (index, source) in base.sources.enumerated() {
                guard used.contains(UInt16(index + 1)) else {
                    try FileSystem.removeAll(place.partial.dataPath(of: source.generation))
                    continue
                }
                sources.append(source)
                numbers[UInt16(index + 1)] = UInt16(sources.count)
            }
            for file in stored.indices {
                stored[file] = stored[file].compactMap { region in
                    region.relocated { extent in
                        var extent = extent
                        extent.source = numbers[extent.source] ?? 0
                        return extent
                    }
                }
            }
        }
        var index = ImageIndex(
            job: source.job,
            incarnation: source.incarnation,
            generation: source.generation,
            taken: source.taken,
            ledger: source.ledger,
            frozen: source.frozen,
            total: total,
            dataLength: end.load(ordering: .relaxed),
            files: files.indices.map { index in
                let file = files[index]
                return ImageFile(
                    name: file.name,
                    kind: file.kind,
                    mode: file.mode,
                    size: file.size,
                    regions: Self.filled(stored[index].sorted { $0.rawOffset < $1.rawOffset }, size: file.size)
                )
            },
            isSealed: sealing != nil
        )
        index.sources = sources
        return index
    }

    /// The stored regions with zeros in between, so that they cover the file.
    private static func filled(_ stored: [ImageRegion], size: UInt64) -> [ImageRegion] {
        var all: [ImageRegion] = []
        var at: UInt64 = 0
        for region in stored {
            if region.rawOffset > at { all.append(ImageRegion(rawOffset: at, rawLength: region.rawOffset - at)) }
            all.append(region)
            at = region.rawOffset + region.rawLength
        }
        if at < size { all.append(ImageRegion(rawOffset: at, rawLength: size - at)) }
        return all
    }

    private func writeIndex(_ bytes: [UInt8]) throws {
        let file = try PositionedFile("\(place.partialPath)/index", O_WRONLY | O_CREAT | O_EXCL)
        try file.setMode(0o600)
        try unsafe bytes.withUnsafeBytes { try unsafe file.write($0, at: 0) }
        try store.observer?(.indexWritten)
        try file.synchronize()
        try store.observer?(.indexSynchronized)
        try FileSystem.synchronizeFolder(of: file.path)
        try store.observer?(.partialSynchronized)
    }
}
