package import Checkpointing
package import ClusterModel
internal import Glibc
internal import LinuxSystem

/// A file of a dump that goes to another node as it is, without a store between.
package struct DumpFile: Sendable, Equatable {
    /// Relative, of the folder of images; the layer's archive has a name of its own.
    package var name: String
    package var kind: ImageFile.Kind
    /// Permission bits.
    package var mode: UInt16
    /// Bytes.
    package var size: UInt64

    package init(name: String, kind: ImageFile.Kind, mode: UInt16, size: UInt64) {
        (self.name, self.kind, self.mode, self.size) = (name, kind, mode, size)
    }
}

/// A region of a dump on its way: at most 256 KiB of one file, and something but zeros.
package struct DumpPiece: Sendable, Equatable {
    /// Index among the files.
    package var file: Int
    package var region: ImageRegion
    /// The pages that are present, as `region` says.
    package var stored: [UInt8]

    package init(file: Int, region: ImageRegion, stored: [UInt8]) {
        (self.file, self.region, self.stored) = (file, region, stored)
    }

    /// A region that was encoded into `output`; nil when it holds only zeros.
    init?(
        file: Int,
        _ encoded: RegionCodec.Encoded,
        at offset: UInt64,
        rawLength: Int,
        in output: UnsafeMutableRawBufferPointer
    ) {
        guard encoded.encoding != .zero else { return nil }
        self.file = file
        region = ImageRegion(
            rawOffset: offset,
            rawLength: UInt64(rawLength),
            storedLength: UInt32(encoded.storedLength),
            encoding: encoded.encoding,
            pages: encoded.pages,
            checksum: encoded.checksum
        )
        stored = unsafe Array(output[..<encoded.storedLength])
    }
}

/// Reads a dump that lies in memory, compressed piece by piece.
///
/// The files must not change from here on. The pieces have an order, so that who has the first so many can ask for the rest.
package final class DumpReader: Sendable {
    /// In the order of their indexes.
    package let files: [DumpFile]
    /// Bytes of all files.
    package let bytes: ByteCount
    private let sources: [SourceFile]
    private let regions: [(file: Int, number: UInt64)]

    /// Looks what is there; throws an `ImageStoreError`.
    package init(imagesFolder: String, layerArchive: String?) throws {
        // Whose it is does not matter here.
        let source = ImageSource(
            job: JobID(rawValue: "dump"),
            incarnation: Incarnation(rawValue: 1),
            generation: CheckpointGeneration(rawValue: 1),
            taken: .epoch,
            ledger: .zero,
            frozen: .zero,
            elapsed: .zero,
            imagesFolder: imagesFolder,
            layerArchive: layerArchive
        )
        let found = try SourceFile.scan(source)
        sources = found
        files = found.map { DumpFile(name: $0.name, kind: $0.kind, mode: $0.mode, size: $0.size) }
        bytes = ByteCount(rawValue: Int64(clamping: found.reduce(0) { $0 + $1.size }))
        regions = found.indices.flatMap { file in
            found[file].regions.flatMap { run in run.map { (file, $0) } }
        }
    }

    /// How many regions there are to read; those that turn out to be zeros give no piece.
    package var regionCount: Int { regions.count }

    /// The pieces of up to `count` regions from the given one on.
    package func pieces(from first: Int, count: Int) async throws -> [DumpPiece] {
        let wanted = Array(regions[min(first, regions.count)..<min(first + count, regions.count)])
        let sources = sources
        return try await WorkerThreads.run { _ in
            let codec = try RegionCodec()
            var input = [UInt8](repeating: 0, count: ImageIndex.regionBytes)
            var output = input
            return try unsafe input.withUnsafeMutableBytes { input in
                try unsafe output.withUnsafeMutableBytes { output in
                    try wanted.compactMap { try unsafe Self.piece($0, of: sources, codec, input, output) }
                }
            }
        }
    }

    private static func piece(
        _ place: (file: Int, number: UInt64),
        of sources: [SourceFile],
        _ codec: RegionCodec,
        _ input: UnsafeMutableRawBufferPointer,
        _ output: UnsafeMutableRawBufferPointer
    ) throws -> DumpPiece? {
        let file = sources[place.file]
        let offset = place.number * SourceFile.regionBytes
        let length = Int(min(SourceFile.regionBytes, file.size - offset))
        let raw = unsafe UnsafeMutableRawBufferPointer(rebasing: input[..<length])
        let open = try PositionedFile(file.path, O_RDONLY)
        guard try unsafe open.read(raw, at: offset) == length else {
            throw ImageStoreError(.unsuitable, "\(file.path) became shorter while it was being read.")
        }
        let encoded = unsafe codec.encode(UnsafeRawBufferPointer(raw), into: output)
        return unsafe DumpPiece(file: place.file, encoded, at: offset, rawLength: length, in: output)
    }
}

/// Writes a dump that comes piece by piece into folders from which it can be restored.
package final class DumpWriter: Sendable {
    package let files: [DumpFile]
    private let paths: [String]

    /// Makes the files, as long as they will be; throws an `ImageStoreError` when a name is none or there is no room.
    package init(_ files: [DumpFile], imagesFolder: String, layerArchive: String) throws {
        self.files = files
        guard files.count <= 100_000, Set(files.map(\.name)).count == files.count else {
            throw ImageStoreError(.damaged, "The source names the same file twice, or far too many.")
        }
        paths = try files.map { file in
            if file.kind == .layer { return layerArchive }
            guard ImageFile.isValidName(file.name) else {
                throw ImageStoreError(.damaged, "The source names a file that an image cannot have.")
            }
            return "\(imagesFolder)/\(file.name)"
        }
        let sum = files.reduce(UInt64(0)) { $0 + min($1.size, 1 << 46) }
        let needed = Int64(clamping: sum)
        try FileSystem.createFolder(imagesFolder, mode: 0o700)
        let space = try FileSystem.space(at: imagesFolder).available
        guard ByteCount(rawValue: needed) + .mebibytes(8) <= space else {
            throw ImageStoreError(
                .noSpace,
                "The job's memory and files are \(ByteCount(rawValue: needed)), and \(imagesFolder) has room for \(space). Free memory, or give "
                    + "checkpoints.tmpfs more room."
            )
        }
        for (file, path) in zip(files, paths) {
            if file.kind == .folder {
                try FileSystem.createFolder(path, mode: UInt32(file.mode))
            } else {
                let open = try PositionedFile(path, O_WRONLY | O_CREAT | O_TRUNC, mode: UInt32(file.mode))
                try open.setLength(file.size)
                try open.setMode(UInt32(file.mode))
            }
        }
    }

    /// Checks pieces and writes them to where they belong; throws an `ImageStoreError`.
    package func write(_ pieces: [DumpPiece]) async throws {
        let (files, paths) = (files, paths)
        try await WorkerThreads.run { _ in
            let codec = try RegionCodec()
            for piece in pieces {
                let region = piece.region
                guard files.indices.contains(piece.file), files[piece.file].kind != .folder,
                    region.isPossible(inFileOf: files[piece.file].size)
                else { throw ImageStoreError(.damaged, "The source sent a piece that no file of its list has.") }
                let open = try PositionedFile(paths[piece.file], O_WRONLY)
                try unsafe piece.stored.withUnsafeBytes { stored in
                    guard let present = unsafe codec.decode(stored, of: region) else {
                        throw ImageStoreError(
                            .damaged,
                            "A piece of \(files[piece.file].name) is not what the source read: its checksum differs."
                        )
                    }
                    try unsafe region.spread(present, over: open)
                }
            }
        }
    }
}
