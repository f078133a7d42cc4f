package import Checkpointing
package import ClusterModel
internal import Glibc
internal import LinuxSystem

extension ImageStore {
    /// Reads every stored byte of a checkpoint and decodes it; throws with file and region at the first thing that is wrong.
    @discardableResult
    package func verify(_ job: JobID, _ generation: CheckpointGeneration) async throws -> ImageIndex {
        let place = try place(job, generation)
        return try await WorkerThreads.run { cancellation in
            try self.reading(place) {
                let reader = try ImageReader(place)
                try reader.decodeAll(into: nil, configuration: self.configuration, cancellation: cancellation)
                return reader.index
            }
        }
    }

    /// Writes a checkpoint's files back as they were and returns what it holds; success means that every byte was checked.
    ///
    /// `imagesFolder` must be empty or absent; it gets mode 0700. The archive of the writable layer goes to `layerArchive`, where nothing may be;
    /// without that path it is only checked. On any error the files written are removed again.
    @discardableResult
    package func extract(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        to imagesFolder: String,
        layerArchive: String?
    ) async throws -> ImageIndex {
        let place = try place(job, generation)
        return try await WorkerThreads.run { cancellation in
            try self.reading(place) {
                let reader = try ImageReader(place)
                let target = try ExtractionTarget(reader.index, imagesFolder: imagesFolder, layerArchive: layerArchive)
                do {
                    try target.create()
                    try reader.decodeAll(into: target, configuration: self.configuration, cancellation: cancellation)
                    try target.finish()
                } catch {
                    target.undo()
                    guard let error = error as? SystemError else { throw error }
                    throw ImageStoreError.system(
                        error,
                        doing: "Checkpoint \(generation) of job \(job) was not extracted to \(imagesFolder)"
                    )
                }
                return reader.index
            }
        }
    }
}

/// A generation that is open for reading; index, header and lengths are in order.
final class ImageReader: Sendable {
    /// Regions of one file that a thread decodes in one go.
    private struct Chunk: Sendable {
        var file: Int
        var regions: Range<Int>
    }

    @safe private final class Tool {
        let codec: RegionCodec
        let stored: UnsafeMutableRawBufferPointer

        init() throws {
            codec = try RegionCodec()
            unsafe stored = .allocate(byteCount: ImageIndex.regionBytes, alignment: 4096)
        }

        deinit { unsafe stored.deallocate() }
    }

    let index: ImageIndex
    private let place: CheckpointPlace
    private let data: PositionedFile

    /// More than any index that we write needs: 2 GiB of index would describe terabytes of images.
    private static let indexByteLimit = 1 << 31

    init(_ place: CheckpointPlace) throws {
        self.place = place
        let bytes: [UInt8]
        do throws(SystemError) {
            bytes = try FileSystem.read(place.indexPath, limit: Self.indexByteLimit)
            data = try PositionedFile(place.dataPath, O_RDONLY)
        } catch {
            guard error.isAbsent || error.code == EIO else {
                throw ImageStoreError.system(
                    error,
                    doing: "Checkpoint \(place.generation) of job \(place.job) was not read"
                )
            }
            throw ImageStoreError.damaged(place, "\(error)")
        }
        do throws(ImageIndexError) { index = try ImageIndex.decode(bytes.span) } catch {
            throw ImageStoreError.undecodable(place, error)
        }
        guard index.job == place.job, index.generation == place.generation else {
            throw ImageStoreError.damaged(
                place,
                "its index belongs to checkpoint \(index.generation) of job \(index.job)"
            )
        }
        try checkData()
    }

    private func checkData() throws {
        var header = [UInt8](repeating: 0, count: DataFileHeader.length)
        let count = try unsafe header.withUnsafeMutableBytes { buffer in
            try readDamage("the header") { () throws(SystemError) in try unsafe data.read(buffer, at: 0) }
        }
        let owner: DataFileHeader
        do throws(ImageIndexError) { owner = try DataFileHeader.decode(header.span.extracting(first: count)) } catch {
            throw ImageStoreError.undecodable(place, error)
        }
        guard owner == DataFileHeader(of: index) else {
            throw ImageStoreError.damaged(
                place,
                "its data file belongs to checkpoint \(owner.generation) of job \(owner.job), taken \(owner.taken)"
            )
        }
        let length = try data.length()
        guard length == index.dataLength else {
            throw ImageStoreError.damaged(
                place,
                "its data file has \(length) bytes instead of \(index.dataLength)"
            )
        }
    }

    /// Decodes all regions on the store's threads, into a target or only to check them.
    func decodeAll(
        into target: ExtractionTarget?,
        configuration: ImageStoreConfiguration,
        cancellation: CancellationFlag
    ) throws {
        let chunks = index.files.indices.flatMap { file in
            stride(from: 0, to: index.files[file].regions.count, by: 8).map { first in
                Chunk(file: file, regions: first..<min(first + 8, index.files[file].regions.count))
            }
        }
        try SharedWork(chunks, cancellation: cancellation).forEach(
            threads: configuration.workerThreads,
            niceness: configuration.niceness,
            make: { try Tool() },
            { tool, chunk in try self.decode(chunk, with: tool, into: target) }
        )
    }

    private func decode(_ chunk: Chunk, with tool: Tool, into target: ExtractionTarget?) throws {
        let file = index.files[chunk.file]
        let output = try target?.open(chunk.file)
        for number in chunk.regions {
            let region = file.regions[number]
            // Zeros need no writing: the file has its length, so they are a hole.
            if region.encoding == .zero { continue }
            let stored = unsafe UnsafeMutableRawBufferPointer(rebasing: tool.stored[..<Int(region.storedLength)])
            let count = try readDamage("region \(number) of \(file.name)") { () throws(SystemError) in
                try unsafe data.read(stored, at: region.storedOffset)
            }
            guard count == stored.count,
                let present = unsafe tool.codec.decode(UnsafeRawBufferPointer(stored), of: region)
            else {
                throw ImageStoreError.damaged(
                    place,
                    "region \(number) of \(file.name), \(region.storedLength) bytes from byte \(region.storedOffset) "
                        + "of the data file on, is not what was written"
                )
            }
            guard let output else { continue }
            var at = 0
            try ImageRegion.forEachRun(of: region.pages, rawLength: Int(region.rawLength)) {
                (offset, count) throws(SystemError) in
                let run = unsafe UnsafeRawBufferPointer(rebasing: present[at..<at + count])
                try unsafe output.write(run, at: region.rawOffset + UInt64(offset))
                at += count
            }
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

/// Where a checkpoint is extracted to.
final class ExtractionTarget: Sendable {
    private let index: ImageIndex
    private let imagesFolder: String
    private let layerArchive: String?
    private let hadFolder: Bool

    init(_ index: ImageIndex, imagesFolder: String, layerArchive: String?) throws {
        self.index = index
        self.imagesFolder = imagesFolder
        self.layerArchive = layerArchive
        hadFolder = FileSystem.exists(imagesFolder)
        if hadFolder {
            guard FileSystem.status(imagesFolder)?.kind == .folder, try FileSystem.list(imagesFolder).isEmpty else {
                throw ImageStoreError(.unsuitable, "\(imagesFolder) is not an empty folder; nothing was extracted.")
            }
        }
        if let layerArchive, FileSystem.status(layerArchive) != nil {
            throw ImageStoreError(.unsuitable, "There is something at \(layerArchive); nothing was extracted.")
        }
        try checkSpace()
    }

    private func checkSpace() throws {
        let needed = index.files.reduce(UInt64(0)) { sum, file in
            guard file.kind != .layer || layerArchive != nil else { return sum }
            return file.regions.reduce(sum) {
                $0
                    + ImageRegion.presentBytes(
                        pages: $1.pages,
                        rawLength: min($1.rawLength, UInt64(ImageIndex.regionBytes))
                    )
            }
        }
        let nearest = hadFolder ? imagesFolder : FileSystem.parent(of: imagesFolder)
        guard let space = try? FileSystem.space(at: nearest), UInt64(clamping: space.available.rawValue) < needed else {
            return
        }
        throw ImageStoreError(
            .noSpace,
            "Extracting checkpoint \(index.generation) of job \(index.job) needs \(ByteCount.bytes(Int64(clamping: needed))) "
                + "in \(nearest), but \(space.available) are free there"
                + (space.isMemory ? ", in memory. Stop something on this node, or restore on another." : ".")
        )
    }

    /// Makes folders and files, each with its length and for now with mode 0600.
    func create() throws {
        try FileSystem.createFolder(imagesFolder, mode: 0o700)
        guard unsafe chmod(imagesFolder, 0o700) == 0 else {
            throw SystemError.last("change the mode of", imagesFolder)
        }
        for file in index.files {
            guard let path = path(of: file) else { continue }
            if file.kind == .folder {
                try FileSystem.createFolder(path, mode: 0o700)
            } else {
                let made = try PositionedFile(path, O_WRONLY | O_CREAT | O_EXCL)
                try made.setLength(file.size)
            }
        }
    }

    /// The file, open for writing; nil when it is not wanted.
    func open(_ number: Int) throws(SystemError) -> PositionedFile? {
        guard let path = path(of: index.files[number]), index.files[number].kind != .folder else { return nil }
        return try PositionedFile(path, O_WRONLY)
    }

    /// Gives everything its mode; folders last and from the inside out, since they may forbid writing.
    func finish() throws {
        for file in index.files.reversed() {
            guard let path = path(of: file) else { continue }
            guard unsafe chmod(path, UInt32(file.mode)) == 0 else { throw SystemError.last("change the mode of", path) }
        }
    }

    /// Removes what `create` made.
    func undo() {
        if hadFolder {
            for name in (try? FileSystem.list(imagesFolder)) ?? [] {
                try? FileSystem.removeAll("\(imagesFolder)/\(name)")
            }
        } else {
            try? FileSystem.removeAll(imagesFolder)
        }
        if let layerArchive { try? FileSystem.removeAll(layerArchive) }
    }

    private func path(of file: ImageFile) -> String? {
        file.kind == .layer ? layerArchive : "\(imagesFolder)/\(file.name)"
    }
}
