internal import Checkpointing
internal import ClusterModel
internal import Glibc
internal import LinuxSystem

/// Where a checkpoint is extracted to.
final class ExtractionTarget: Sendable {
    private let index: ImageIndex
    private let imagesFolder: String
    private let layerArchive: String?
    private let hadFolder: Bool

    init(
        _ index: ImageIndex,
        imagesFolder: String,
        layerArchive: String?,
        deferring deferred: DeferredRegions = DeferredRegions()
    ) throws {
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
        try checkSpace(deferred)
    }

    private func checkSpace(_ deferred: DeferredRegions) throws {
        let needed = index.files.reduce(UInt64(0)) { sum, file in
            guard file.kind != .layer || layerArchive != nil else { return sum }
            return deferred.rest(of: file).lazy.flatMap { file.regions[$0] }.reduce(sum) {
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

    /// Writes what the reader has, but for what is deferred; on any error what was written is removed again.
    func fill(
        from reader: ImageReader,
        configuration: ImageStoreConfiguration,
        cancellation: CancellationFlag,
        deferring deferred: DeferredRegions = DeferredRegions()
    ) throws {
        do {
            try create()
            try reader.decodeAll(
                into: self,
                configuration: configuration,
                cancellation: cancellation,
                deferring: deferred
            )
            try finish()
        } catch {
            undo()
            guard let error = error as? SystemError else { throw error }
            throw ImageStoreError.system(
                error,
                doing: "Checkpoint \(index.generation) of job \(index.job) was not extracted to \(imagesFolder)"
            )
        }
    }

    /// Makes folders and files, each with its length and for now with mode 0600.
    private func create() throws {
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
    private func finish() throws {
        for file in index.files.reversed() {
            guard let path = path(of: file) else { continue }
            guard unsafe chmod(path, UInt32(file.mode)) == 0 else { throw SystemError.last("change the mode of", path) }
        }
    }

    /// Removes what `create` made.
    private func undo() {
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
