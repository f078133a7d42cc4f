internal import Checkpointing
package import ClusterModel
internal import Synchronization

extension ImageStore {
    /// Opens a checkpoint to be written as a tar that stands alone; it stays as it is until the result is let go.
    ///
    /// `description` says what it is and `document` is the job's, both JSON.
    ///
    /// - Throws: `ImageStoreError` when there is no such checkpoint, or its index is damaged.
    package func export(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        description: [UInt8],
        document: [UInt8]
    ) async throws -> ExportedImage {
        let place = try place(job, generation)
        return try await WorkerThreads.run { _ in
            try self.beginReading(place)
            do {
                return try ExportedImage(self, place, description: description, document: document)
            } catch {
                self.endReading(place)
                throw error
            }
        }
    }
}

/// A checkpoint as a tar, piece by piece: every region checked and its seal opened, nothing decompressed.
package final class ExportedImage: Sendable {
    private struct State {
        var pending: [UInt8] = []
        var stage = 0
        var pieces: ArraySlice<Piece>
        var index: ImageIndex
        /// Where each extent lies in the tar's data; its checksum is right once it has been read.
        var places: [StoredExtent: StoredExtent]
        var hasBegunData = false
        var digest: RunningDigest
        var sums = ""
        let tool: ImageReader.Tool
    }
    /// What is stored together, and a region that needs it.
    private struct Piece {
        var extent: StoredExtent
        var file: Int
        var region: Int
    }

    /// Bytes of the tar.
    package let byteCount: UInt64
    private let description: [UInt8]
    private let document: [UInt8]
    private let store: ImageStore
    private let place: CheckpointPlace
    private let reader: ImageReader
    private let dataLength: UInt64
    private let indexLength: UInt64
    private let modified: UInt64
    private let state: Mutex<State>

    private static let pieceBytes = 256 << 10

    fileprivate init(
        _ store: ImageStore,
        _ place: CheckpointPlace,
        description: [UInt8],
        document: [UInt8]
    ) throws {
        let reader = try ImageReader(place, keychain: store.keychain)
        var (pieces, places): ([Piece], [StoredExtent: StoredExtent]) = ([], [:])
        var index = reader.index
        var length = UInt64(DataFileHeader.length)
        let sealBytes = index.isSealed ? UInt32(ImageIndex.sealBytes) : 0
        for file in index.files.indices {
            for region in index.files[file].regions.indices {
                for extent in index.files[file].regions[region].extents where places[extent] == nil {
                    var new = extent
                    (new.source, new.offset, new.length) = (0, length, extent.length - sealBytes)
                    places[extent] = new
                    pieces.append(Piece(extent: extent, file: file, region: region))
                    length += UInt64(new.length)
                }
            }
        }
        (index.isSealed, index.dataLength) = (false, length)
        (dataLength, indexLength) = (length, UInt64(Self.alone(index, places).encoded().count))
        modified = UInt64(max(0, reader.index.taken.seconds))
        (self.store, self.place, self.reader) = (store, place, reader)
        (self.description, self.document) = (description, document)
        state = Mutex(
            State(
                pieces: pieces[...],
                index: index,
                places: places,
                digest: try RunningDigest(),
                tool: try reader.makeTool()
            )
        )
        var total = UInt64(TarHeader.end.count)
        let sumsLength = ArchiveEntry.allCases.dropLast().reduce(0) { $0 + 64 + 2 + $1.rawValue.utf8.count + 1 }
        for size in [UInt64(description.count), UInt64(document.count), length, indexLength, UInt64(sumsLength)] {
            total += UInt64(TarHeader.blockBytes) + size + UInt64(TarHeader.padding(after: size))
        }
        byteCount = total
    }

    deinit { store.endReading(place) }

    /// The next bytes of the tar, about 256 KiB; none at its end.
    ///
    /// - Throws: `ImageStoreError` with code `damaged` when a region is not what was written.
    package func next() async throws -> [UInt8] {
        try await WorkerThreads.run { [self] cancellation in
            try state.withLock { state in
                while state.pending.count < Self.pieceBytes, state.stage <= ArchiveEntry.allCases.count {
                    try cancellation.check()
                    try advance(&state)
                }
                let piece = Array(state.pending.prefix(Self.pieceBytes))
                state.pending.removeFirst(piece.count)
                return piece
            }
        }
    }

    private func advance(_ state: inout State) throws {
        guard state.stage < ArchiveEntry.allCases.count else {
            state.pending += TarHeader.end
            state.stage += 1
            return
        }
        let entry = ArchiveEntry.allCases[state.stage]
        switch entry {
        case .description: try add(entry, description, &state)
        case .job: try add(entry, document, &state)
        case .data: try addData(&state)
        case .index: try add(entry, Self.alone(state.index, state.places).encoded(), &state)
        case .sums: try add(entry, Array(state.sums.utf8), &state)
        }
    }

    private func add(_ entry: ArchiveEntry, _ bytes: [UInt8], _ state: inout State) throws {
        state.pending += header(entry, UInt64(bytes.count))
        state.digest.update(bytes)
        state.pending += bytes
        try end(entry, size: UInt64(bytes.count), &state)
    }

    private func addData(_ state: inout State) throws {
        if !state.hasBegunData {
            state.hasBegunData = true
            state.pending += header(.data, dataLength)
            let own = DataFileHeader(of: state.index).encoded()
            state.digest.update(own)
            state.pending += own
        }
        guard let next = state.pieces.popFirst() else { return try end(.data, size: dataLength, &state) }
        let region = (next.region, reader.index.files[next.file])
        let packed = unsafe Array(try reader.packed(next.extent, of: region, with: state.tool))
        state.digest.update(packed)
        state.pending += packed
        state.places[next.extent]?.checksum = XXHash64.hash(packed.span)
    }

    /// The index of an image whose data, all of it, is its own.
    private static func alone(_ index: ImageIndex, _ places: [StoredExtent: StoredExtent]) -> ImageIndex {
        var index = index
        for file in index.files.indices {
            index.files[file].regions = index.files[file].regions.map { $0.relocated { places[$0] } ?? $0 }
        }
        index.sources = []
        return index
    }

    private func header(_ entry: ArchiveEntry, _ size: UInt64) -> [UInt8] {
        TarHeader(name: entry.rawValue, size: size, modified: modified).encoded()
    }

    private func end(_ entry: ArchiveEntry, size: UInt64, _ state: inout State) throws {
        state.pending += [UInt8](repeating: 0, count: TarHeader.padding(after: size))
        state.sums += "\(state.digest.text())  \(entry.rawValue)\n"
        state.digest = try RunningDigest()
        state.stage += 1
    }
}
