package import Checkpointing
package import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

// Copies of a checkpoint travel as the bytes of its two files, which are sealed: whoever has the cluster's keys can tell a good copy from any
// other bytes, and nobody else can read it.
extension ImageStore {
    /// Opens a checkpoint for sending it to another node; it stays as it is until the result is let go.
    ///
    /// Data that it shares with earlier generations is sent too, unless the receiver holds it already.
    ///
    /// - Throws: `ImageStoreError` with code `unsuitable` for one that is not sealed.
    package func outgoing(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        held: [CheckpointGeneration] = []
    ) async throws -> OutgoingImage {
        let place = try place(job, generation)
        return try await WorkerThreads.run { _ in
            try self.beginReading(place)
            do { return try OutgoingImage(self, place, held: Set(held)) } catch {
                self.endReading(place)
                throw error
            }
        }
    }

    /// Begins to take in a copy of a checkpoint that another node has, or is writing.
    ///
    /// With `sharing`, data of earlier generations that is here need not come again. `room` is what all copies that are coming may take
    /// together for more to be taken in of one whose index is not here yet; nil: what is free on the disk.
    package func incoming(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        sharing: Bool = true,
        room: ByteCount? = nil
    ) async throws -> IncomingImage {
        let place = try place(job, generation)
        return try await WorkerThreads.run { _ in
            try self.beginChanging(place)
            do { return try IncomingImage(self, place, sharing: sharing, room: room) } catch {
                self.endChanging(place)
                throw error
            }
        }
    }
}

/// A checkpoint that another node reads, byte by byte as it lies on the disk.
package final class OutgoingImage: Sendable {
    /// How it is sealed.
    package let seal: ImageSeal
    /// The index file.
    package let index: [UInt8]
    /// Bytes of the data files that are sent, one behind the other.
    package let dataLength: UInt64
    private let store: ImageStore
    private let place: CheckpointPlace
    private let data: [(file: PositionedFile, range: Range<UInt64>)]

    fileprivate init(_ store: ImageStore, _ place: CheckpointPlace, held: Set<CheckpointGeneration>) throws {
        let reader = try ImageReader(place, keychain: store.keychain)
        guard let seal = reader.seal else {
            throw ImageStoreError(
                .unsuitable,
                "Checkpoint \(place.generation) of job \(place.job) is not sealed, so it stays on its node; the next one will be."
            )
        }
        guard !FileSystem.exists(place.damagePath) else {
            throw ImageStoreError.damaged(place, (try? FileSystem.readText(place.damagePath)) ?? "it was marked so")
        }
        index = try FileSystem.read(place.indexPath, limit: 1 << 31)
        var (files, end): ([(file: PositionedFile, range: Range<UInt64>)], UInt64) = ([], 0)
        for source in reader.index.sources where !held.contains(source.generation) {
            let file = try PositionedFile(place.dataPath(of: source.generation), O_RDONLY)
            files.append((file, end..<end + source.dataLength))
            end += source.dataLength
        }
        files.append((try PositionedFile(place.dataPath, O_RDONLY), end..<end + reader.index.dataLength))
        (data, dataLength) = (files, end + reader.index.dataLength)
        (self.store, self.place, self.seal) = (store, place, seal)
    }

    deinit { store.endReading(place) }

    /// Up to `limit` bytes of the data files from `offset` on; none at their end.
    package func read(from offset: UInt64, limit: Int) async throws -> [UInt8] {
        try await WorkerThreads.run { [self] _ in
            guard let part = data.first(where: { $0.range.contains(offset) }) else { return [] }
            let count = Int(min(UInt64(limit), part.range.upperBound - offset))
            return try unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                filled = try unsafe part.file.read(
                    UnsafeMutableRawBufferPointer(buffer),
                    at: offset - part.range.lowerBound
                )
            }
        }
    }
}

/// A copy that arrives: nothing of it is a checkpoint before `finish` has looked at every byte.
///
/// Its own data may come before its index, from the first byte on: that is how a checkpoint is taken in that is still being written elsewhere.
package final class IncomingImage: Sendable {
    private struct State {
        var index: [UInt8]?
        /// The files that come, one behind the other.
        var parts: [(file: PositionedFile, range: Range<UInt64>)] = []
        var dataLength: UInt64 { parts.last?.range.upperBound ?? 0 }
        /// Bytes of data that belongs to it and was here before.
        var spared: UInt64 = 0
        /// Bytes of its own data that came before the index.
        var early: UInt64 = 0
        /// How many of them are the first that are to come.
        var kept: UInt64 = 0
        /// Bytes of it in `ImageStore.arriving`.
        var counted: UInt64 = 0
        var isOver = false
    }
    private let store: ImageStore
    private let place: CheckpointPlace
    private let room: ByteCount?
    private let data: PositionedFile
    private let state = Mutex(State())
    /// Bytes of data that belongs to it and need not come; known once it has begun.
    package var spared: UInt64 { state.withLock { $0.spared } }
    /// Bytes that came before the index and need not come again; known once it has begun.
    package var kept: UInt64 { state.withLock { $0.kept } }
    /// Generations whose data is here and need not come.
    package let held: [CheckpointGeneration]

    fileprivate init(_ store: ImageStore, _ place: CheckpointPlace, sharing: Bool, room: ByteCount?) throws {
        (self.store, self.place, self.room) = (store, place, room)
        guard !FileSystem.exists(place.path) else {
            throw ImageStoreError(
                .alreadyExists,
                "Job \(place.job) already has a checkpoint \(place.generation); generations are never written twice."
            )
        }
        do {
            try FileSystem.removeAll(place.partialPath)
            try store.makeFolders(for: place)
            data = try PositionedFile("\(place.partialPath)/data", O_RDWR | O_CREAT | O_EXCL)
            try data.setMode(0o600)
            held = sharing ? try store.linkKnownData(to: place) : []
        } catch {
            store.giveUp(place)
            guard let error = error as? SystemError else { throw error }
            throw ImageStoreError.system(error, doing: Self.task(place))
        }
    }

    deinit { end() }

    private static func task(_ place: CheckpointPlace) -> String {
        "The copy of checkpoint \(place.generation) of job \(place.job) was not stored"
    }

    /// Takes the index, looks whether it is the one that the catalog knows and whether there is room, and gives the bytes of data that belong to it.
    ///
    /// - Throws: `ImageStoreError`: `damaged` when whoever sent it has another one, `noSpace` when the disk is too full.
    package func begin(index bytes: [UInt8], seal: ImageSeal) async throws -> UInt64 {
        try await WorkerThreads.run { [self] _ in
            guard try ImageSealing.digest(of: bytes) == seal.digest else {
                throw ImageStoreError.damaged(place, "its index is not the one that the catalog knows")
            }
            let opened = try ImageSealing.open(index: bytes, of: place, keychain: store.keychain)
            let index: ImageIndex
            do throws(ImageIndexError) { index = try ImageIndex.decode(opened.index.span) } catch {
                throw ImageStoreError.undecodable(place, error)
            }
            guard index.job == place.job, index.generation == place.generation else {
                throw ImageStoreError.damaged(
                    place,
                    "its index belongs to checkpoint \(index.generation) of job \(index.job)"
                )
            }
            guard state.withLock({ $0.early }) <= index.dataLength else {
                throw ImageStoreError.damaged(place, "more data came before its index than that says")
            }
            let needed = Set(index.sources.map(\.generation))
            for generation in held where !needed.contains(generation) {
                try FileSystem.removeAll(place.partial.dataPath(of: generation))
            }
            var (parts, end): ([(file: PositionedFile, range: Range<UInt64>)], UInt64) = ([], 0)
            let missing = index.sources.filter { !held.contains($0.generation) }
            try checkSpace(for: missing.reduce(index.dataLength) { $0 + $1.dataLength })
            for source in missing {
                // Whatever came of it from another holder is the same bytes.
                let file = try PositionedFile(place.partial.dataPath(of: source.generation), O_RDWR | O_CREAT)
                try file.setMode(0o600)
                parts.append((file, end..<end + source.dataLength))
                end += source.dataLength
            }
            parts.append((data, end..<end + index.dataLength))
            let spared = index.sources.reduce(UInt64(0)) { held.contains($1.generation) ? $0 + $1.dataLength : $0 }
            state.withLock { state in
                (state.index, state.parts, state.spared) = (bytes, parts, spared)
                // Data of earlier generations comes first, where it is not here.
                state.kept = missing.isEmpty ? state.early : 0
                store.arriving.withLock { $0 = $0 - state.counted + end + index.dataLength }
                state.counted = end + index.dataLength
            }
            return end + index.dataLength
        }
    }

    private func checkSpace(for length: UInt64) throws {
        let available = try FileSystem.space(at: store.folder).available
        let needed = ByteCount.bytes(Int64(clamping: length)) + .kibibytes(64)
        guard available < needed + store.configuration.reserve else { return }
        throw ImageStoreError(
            .noSpace,
            "A copy of checkpoint \(place.generation) of job \(place.job) needs \(needed) in \(store.folder), but \(available) are free and "
                + "\(store.configuration.reserve) of them are held back."
        )
    }

    /// Writes bytes of the data file; those beyond what the index says are refused.
    ///
    /// Before the index they are its own data, without a gap.
    package func write(_ bytes: [UInt8], at offset: UInt64) async throws {
        try await WorkerThreads.run { [self] _ in
            let (hasBegun, parts, length) = state.withLock { ($0.index != nil, $0.parts, $0.dataLength) }
            guard hasBegun else { return try writeEarly(bytes, at: offset) }
            guard offset <= length, UInt64(bytes.count) <= length - offset else {
                throw ImageStoreError.damaged(place, "more data came than its index says")
            }
            do {
                for (file, range) in parts {
                    let here = range.clamped(to: offset..<offset + UInt64(bytes.count))
                    guard !here.isEmpty else { continue }
                    let piece = Int(here.lowerBound - offset)..<Int(here.upperBound - offset)
                    try unsafe bytes.withUnsafeBytes {
                        try unsafe file.write(
                            UnsafeRawBufferPointer(rebasing: $0[piece]),
                            at: here.lowerBound - range.lowerBound
                        )
                    }
                }
            } catch let error as SystemError {
                throw ImageStoreError.system(error, doing: Self.task(place))
            }
        }
    }

    /// Counts early bytes among those that are coming, unless there is no room for them.
    private func count(_ byteCount: Int) throws {
        let fits = store.arriving.withLock { arriving in
            if let room, arriving + UInt64(byteCount) > UInt64(clamping: room.rawValue) { return false }
            arriving += UInt64(byteCount)
            return true
        }
        guard fits else {
            throw ImageStoreError(
                .noSpace,
                "What comes of checkpoint \(place.generation) of job \(place.job) while it is written takes more than \(room ?? .zero), "
                    + "which is left for copies."
            )
        }
        state.withLock { $0.counted += UInt64(byteCount) }
    }

    private func writeEarly(_ bytes: [UInt8], at offset: UInt64) throws {
        guard state.withLock({ $0.early }) == offset else {
            throw ImageStoreError.damaged(place, "data came out of order before its index")
        }
        // How much will come is not known.
        try checkSpace(for: UInt64(bytes.count))
        try count(bytes.count)
        do { try unsafe bytes.withUnsafeBytes { try unsafe data.write($0, at: offset) } } catch let error as SystemError
        {
            throw ImageStoreError.system(error, doing: Self.task(place))
        }
        state.withLock { $0.early += UInt64(bytes.count) }
    }

    /// Opens every region, makes the copy durable and gives it its name.
    ///
    /// - Throws: `ImageStoreError` with code `damaged` when some byte is not as it was sealed; then the bytes are of no use.
    package func finish() async throws -> CheckpointRecord {
        try await WorkerThreads.run { [self] cancellation in
            guard let index = state.withLock({ $0.index }) else {
                throw ImageStoreError(.unsuitable, "No index of the copy has come.")
            }
            do {
                let file = try PositionedFile("\(place.partialPath)/index", O_WRONLY | O_CREAT | O_TRUNC)
                try file.setMode(0o600)
                try unsafe index.withUnsafeBytes { try unsafe file.write($0, at: 0) }
                let reader = try ImageReader(place.partial, keychain: store.keychain)
                try reader.decodeAll(into: nil, configuration: store.configuration, cancellation: cancellation)
                for (part, _) in state.withLock({ $0.parts }) { try part.synchronize() }
                try file.synchronize()
                try FileSystem.synchronizeFolder(of: file.path)
                try store.publish(place)
                end()
                var record = CheckpointRecord(reader.index)
                record.storedBytes = record.storedBytes + .bytes(Int64(index.count))
                record.seal = reader.seal
                return record
            } catch let error as SystemError {
                throw ImageStoreError.system(error, doing: Self.task(place))
            }
        }
    }

    /// Lets the checkpoint go; what did not become one is deleted.
    private func end() {
        let wasOpen = state.withLock { state in
            defer { (state.isOver, state.counted) = (true, 0) }
            store.arriving.withLock { $0 -= state.counted }
            return !state.isOver
        }
        guard wasOpen else { return }
        store.giveUp(place)
        store.endChanging(place)
    }
}
