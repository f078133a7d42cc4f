internal import Checkpointing
package import ClusterModel
internal import Glibc
internal import LinuxSystem

/// What is to be stored: where CRIU's images lie, and what is known about them.
package struct ImageSource: Sendable, Equatable {
    package var job: JobID
    package var incarnation: Incarnation
    package var generation: CheckpointGeneration
    /// When the container stood still.
    package var taken: Timestamp
    /// CPU time that the job had consumed at that moment, over all its incarnations.
    package var ledger: Duration
    /// How long the container stood still.
    package var frozen: Duration
    /// From the request until `store` is called; the store adds its own time.
    package var elapsed: Duration
    /// The folder with CRIU's images; regular files and folders only.
    package var imagesFolder: String
    /// The archive of the container's writable layer; nil when nothing was written there.
    package var layerArchive: String?

    package init(
        job: JobID,
        incarnation: Incarnation,
        generation: CheckpointGeneration,
        taken: Timestamp,
        ledger: Duration,
        frozen: Duration,
        elapsed: Duration,
        imagesFolder: String,
        layerArchive: String?
    ) {
        self.job = job
        self.incarnation = incarnation
        self.generation = generation
        self.taken = taken
        self.ledger = ledger
        self.frozen = frozen
        self.elapsed = elapsed
        self.imagesFolder = imagesFolder
        self.layerArchive = layerArchive
    }
}

/// A file or folder that was found below an images folder, and the regions of it that may hold data.
struct SourceFile: Sendable {
    /// The name that the archive of the writable layer has in an index.
    static let layerName = "godwit-layer.tar"

    var path: String
    var name: String
    var kind: ImageFile.Kind
    var mode: UInt16
    var size: UInt64
    /// Numbers of regions outside of holes, in runs.
    var regions: [Range<UInt64>] = []

    var dataBytes: UInt64 {
        regions.reduce(0) { $0 + min(size, $1.upperBound * Self.regionBytes) - $1.lowerBound * Self.regionBytes }
    }

    static let regionBytes = UInt64(ImageIndex.regionBytes)

    /// Everything to store, sorted as an index must be.
    static func scan(_ source: ImageSource) throws -> [SourceFile] {
        var found: [SourceFile] = []
        guard FileSystem.status(source.imagesFolder, followingLinks: true)?.kind == .folder else {
            throw ImageStoreError(
                .unsuitable,
                "There is no folder of images at \(source.imagesFolder); nothing was stored."
            )
        }
        try scan(folder: source.imagesFolder, prefix: "", depth: 0, into: &found)
        if let archive = source.layerArchive {
            guard let status = FileSystem.status(archive), status.kind == .file else {
                throw ImageStoreError(.unsuitable, "The archive of the writable layer at \(archive) is not a file.")
            }
            found.append(try make(archive, name: layerName, kind: .layer, status: status))
        }
        found.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        return found
    }

    /// Which memory a dump has and where; nil when that is not written as this release knows it.
    static func memory(of files: [SourceFile]) -> DumpedMemory? {
        var (contents, sizes): ([String: [UInt8]], [String: UInt64]) = ([:], [:])
        for file in files where file.kind == .image {
            sizes[file.name] = file.size
            guard DumpedMemory.isWanted(file.name), file.size < DumpedMemory.mapByteLimit else { continue }
            contents[file.name] = try? FileSystem.read(file.path, limit: Int(DumpedMemory.mapByteLimit))
        }
        return try? DumpedMemory(files: contents, sizes: sizes)
    }

    private static func scan(folder: String, prefix: String, depth: Int, into found: inout [SourceFile]) throws {
        guard depth < 8 else {
            throw ImageStoreError(.unsuitable, "Folders of images are nested too deeply at \(folder).")
        }
        for part in try FileSystem.list(folder) {
            let (path, name) = ("\(folder)/\(part)", prefix + part)
            guard name != layerName, ImageFile.isValidName(name) else {
                throw ImageStoreError(.unsuitable, "\(path) has a name that an image cannot have.")
            }
            guard let status = FileSystem.status(path) else {
                throw ImageStoreError(.unsuitable, "\(path) vanished while it was being stored.")
            }
            switch status.kind {
            case .file:
                found.append(try make(path, name: name, kind: .image, status: status))
            case .folder:
                found.append(
                    SourceFile(path: path, name: name, kind: .folder, mode: UInt16(status.mode & 0o7777), size: 0)
                )
                try scan(folder: path, prefix: name + "/", depth: depth + 1, into: &found)
            case .symbolicLink:
                throw ImageStoreError(
                    .unsuitable,
                    "\(path) is a link; images that refer to earlier ones cannot be stored. Take a full dump."
                )
            case .other:
                throw ImageStoreError(.unsuitable, "\(path) is neither a file nor a folder.")
            }
        }
    }

    private static func make(
        _ path: String,
        name: String,
        kind: ImageFile.Kind,
        status: FileSystem.Status
    ) throws -> SourceFile {
        var file = SourceFile(
            path: path,
            name: name,
            kind: kind,
            mode: UInt16(status.mode & 0o7777),
            size: UInt64(clamping: status.size.rawValue)
        )
        // Looking for holes costs an open and two seeks; a small file is read as quickly.
        if file.size <= regionBytes {
            file.regions = file.size == 0 ? [] : [0..<1]
            return file
        }
        let open = try PositionedFile(path, O_RDONLY)
        var at: UInt64 = 0
        while at < file.size, let data = try open.data(from: at) {
            let end = (min(data.upperBound, file.size) + regionBytes - 1) / regionBytes
            let begin = max(data.lowerBound / regionBytes, file.regions.last?.upperBound ?? 0)
            if begin < end {
                if let last = file.regions.last, last.upperBound == begin {
                    file.regions[file.regions.count - 1] = last.lowerBound..<end
                } else {
                    file.regions.append(begin..<end)
                }
            }
            at = max(data.upperBound, end * regionBytes)
        }
        return file
    }
}
