package import Checkpointing
internal import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

extension ImageStore {
    /// Compresses images and archive into a new generation; when the call returns, it survives a crash of the machine.
    ///
    /// The images themselves stay where they are. On any error nothing of the generation is left, and earlier generations are as they were.
    package func store(_ source: ImageSource) async throws -> CheckpointRecord {
        let place = try place(source.job, source.generation)
        let began = ContinuousClock.now
        return try await WorkerThreads.run { cancellation in
            try self.changing(place) {
                try self.storeNow(source, at: place, began: began, cancellation: cancellation)
            }
        }
    }

    private func storeNow(
        _ source: ImageSource,
        at place: CheckpointPlace,
        began: ContinuousClock.Instant,
        cancellation: CancellationFlag
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
            let record = try ImageWriter(store: self, source: source, place: place, files: files)
                .write(began: began, cancellation: cancellation)
            try publish(place)
            return record
        } catch {
            // The error that led here says more than one of the clean-up; what stays is cleared at the next opening.
            try? FileSystem.removeAll(place.partialPath)
            try? FileSystem.removeAll(place.path)
            guard let error = error as? SystemError else { throw error }
            throw ImageStoreError.system(
                error,
                doing: "Checkpoint \(place.generation) of job \(place.job) was not stored"
            )
        }
    }

    private func makeFolders(for place: CheckpointPlace) throws {
        let parent = FileSystem.parent(of: place.path)
        if !FileSystem.exists(parent) {
            try FileSystem.createFolder(parent, mode: 0o700)
            try FileSystem.synchronizeFolder(of: parent)
        }
        try FileSystem.createFolder(place.partialPath, mode: 0o700)
    }

    private func publish(_ place: CheckpointPlace) throws {
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
        let input: UnsafeMutableRawBufferPointer
        let output: UnsafeMutableRawBufferPointer

        init(_ configuration: ImageStoreConfiguration) throws {
            codec = try RegionCodec(
                acceleration: configuration.acceleration,
                contentHashes: configuration.contentHashes
            )
            unsafe input = .allocate(byteCount: ImageIndex.regionBytes, alignment: 4096)
            unsafe output = .allocate(byteCount: chunkRegions * ImageIndex.regionBytes, alignment: 4096)
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
    private let end = Atomic(UInt64(DataFileHeader.length))
    private let regions: Mutex<[[ImageRegion]]>

    init(store: ImageStore, source: ImageSource, place: CheckpointPlace, files: [SourceFile]) throws {
        self.store = store
        self.source = source
        self.place = place
        self.files = files
        regions = Mutex(Array(repeating: [], count: files.count))
        data = try PositionedFile("\(place.partialPath)/data", O_RDWR | O_CREAT | O_EXCL)
        try data.setMode(0o600)
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
        let configuration = store.configuration
        try SharedWork(chunks(), cancellation: cancellation).forEach(
            threads: configuration.workerThreads,
            niceness: configuration.niceness,
            make: { try Tool(configuration) },
            { tool, chunk in try self.store(chunk, with: tool) }
        )
        try data.synchronize()
        try store.observer?(.dataSynchronized)
        let index = makeIndex(total: source.elapsed + began.duration(to: .now))
        let bytes = index.encoded()
        try writeIndex(bytes)
        var record = CheckpointRecord(index)
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
        var made: [ImageRegion] = []
        var length = 0
        for number in chunk.first..<chunk.first + UInt64(chunk.count) {
            let offset = number * SourceFile.regionBytes
            let rawLength = Int(min(SourceFile.regionBytes, file.size - offset))
            let raw = unsafe UnsafeMutableRawBufferPointer(rebasing: tool.input[..<rawLength])
            guard try unsafe open.read(raw, at: offset) == rawLength else {
                throw ImageStoreError(.unsuitable, "\(file.path) became shorter while it was being stored.")
            }
            let encoded = unsafe tool.codec.encode(
                UnsafeRawBufferPointer(raw),
                into: UnsafeMutableRawBufferPointer(rebasing: tool.output[length...])
            )
            if encoded.encoding == .zero { continue }
            made.append(
                ImageRegion(
                    rawOffset: offset,
                    rawLength: UInt64(rawLength),
                    storedOffset: UInt64(length),
                    storedLength: UInt32(encoded.storedLength),
                    encoding: encoded.encoding,
                    pages: encoded.pages,
                    checksum: encoded.checksum,
                    contentHash: encoded.contentHash
                )
            )
            length += encoded.storedLength
        }
        guard length > 0 else { return }
        let base = end.wrappingAdd(UInt64(length), ordering: .relaxed).oldValue
        try unsafe data.write(UnsafeRawBufferPointer(rebasing: tool.output[..<length]), at: base)
        for index in made.indices { made[index].storedOffset += base }
        regions.withLock { $0[chunk.file] += made }
        try store.observer?(.dataWritten(end: base + UInt64(length)))
    }

    private func makeIndex(total: Duration) -> ImageIndex {
        let stored = regions.withLock { $0 }
        return ImageIndex(
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
            }
        )
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
