package import Checkpointing
package import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

extension ImageStore {
    /// Where tars are kept that come in; cleared when the store opens.
    var arrivals: String { "\(folder)/.arrivals" }

    /// Begins to take in a tar that `export` wrote, here or in another cluster.
    package func receiveArchive() async throws -> ArchivedImage {
        try await WorkerThreads.run { _ in try ArchivedImage(self) }
    }
}

/// A tar of a checkpoint that arrives: nothing of it is believed before `finish` has looked at every byte.
package final class ArchivedImage: Sendable {
    private struct State {
        /// The block of a header, or the content of a small file, as far as it came.
        var gathered: [UInt8] = []
        var entry: ArchiveEntry?
        /// Bytes of the present file that are still to come.
        var rest: UInt64 = 0
        var padding = 0
        var size: UInt64 = 0
        var expected = ArchiveEntry.allCases[...]
        var files: [ArchiveEntry: [UInt8]] = [:]
        var digest: RunningDigest
        var sums: [ArchiveEntry: String] = [:]
        var written: UInt64 = 0
        var zeroBlocks = 0
        var index: ImageIndex?
    }

    private let store: ImageStore
    private let spool: String
    private let data: PositionedFile
    private let state: Mutex<State>

    fileprivate init(_ store: ImageStore) throws {
        self.store = store
        var generator = SystemRandomNumberGenerator()
        spool = "\(store.arrivals)/\(String(generator.next() as UInt64, radix: 16))"
        do {
            if !FileSystem.exists(store.arrivals) { try FileSystem.createFolder(store.arrivals, mode: 0o700) }
            try FileSystem.createFolder(spool, mode: 0o700)
            data = try PositionedFile("\(spool)/data", O_RDWR | O_CREAT | O_EXCL)
        } catch {
            throw ImageStoreError.system(error, doing: "The checkpoint was not imported")
        }
        state = Mutex(State(digest: try RunningDigest()))
    }

    deinit { try? FileSystem.removeAll(spool) }

    private static func refuse(_ what: String) -> ImageStoreError {
        ImageStoreError(.damaged, "This is not a checkpoint that can be imported: \(what).")
    }

    // MARK: Taking it in

    /// Takes the next bytes.
    ///
    /// - Throws: `ImageStoreError`: `damaged` for what is not such a tar, `noSpace` when the disk is too full.
    package func write(_ bytes: [UInt8]) async throws {
        try await WorkerThreads.run { [self] _ in
            try state.withLock { state in
                var rest = bytes[...]
                while !rest.isEmpty { try take(&rest, &state) }
            }
        }
    }

    private func take(_ bytes: inout ArraySlice<UInt8>, _ state: inout State) throws {
        if state.rest > 0 {
            let piece = Array(bytes.prefix(Int(min(state.rest, UInt64(bytes.count)))))
            bytes = bytes.dropFirst(piece.count)
            state.rest -= UInt64(piece.count)
            try takeContent(piece, &state)
            if state.rest == 0 { try endFile(&state) }
        } else if state.padding > 0 {
            let count = min(state.padding, bytes.count)
            bytes = bytes.dropFirst(count)
            state.padding -= count
        } else {
            let piece = bytes.prefix(TarHeader.blockBytes - state.gathered.count)
            bytes = bytes.dropFirst(piece.count)
            state.gathered += piece
            guard state.gathered.count == TarHeader.blockBytes else { return }
            let block = state.gathered
            state.gathered = []
            try beginFile(block, &state)
        }
    }

    private func beginFile(_ block: [UInt8], _ state: inout State) throws {
        let header: TarHeader?
        do throws(TarProblem) { header = try TarHeader.decode(block) } catch { throw Self.refuse(error.description) }
        guard let header else {
            state.zeroBlocks += 1
            return
        }
        guard state.zeroBlocks == 0, let next = state.expected.first else {
            throw Self.refuse("'\(header.name)' follows where it should end")
        }
        guard header.name == next.rawValue else {
            throw Self.refuse(
                next == .description
                    ? "it begins with '\(header.name)' and not with '\(next.rawValue)', so 'godwit checkpoint export' did not write it"
                    : "'\(header.name)' stands where '\(next.rawValue)' should"
            )
        }
        if let limit = next.byteLimit, header.size > limit {
            throw Self.refuse("its '\(header.name)' has \(header.size) bytes, and at most \(limit) are taken")
        }
        if next == .data { try checkSpace(for: header.size) }
        state.expected.removeFirst()
        (state.entry, state.rest, state.size) = (next, header.size, header.size)
        if header.size == 0 { try endFile(&state) }
    }

    private func checkSpace(for size: UInt64) throws {
        let available = try FileSystem.space(at: store.folder).available
        let needed = ByteCount.bytes(Int64(clamping: min(size, ImageIndex.byteLimit) * 2)) + .kibibytes(64)
        guard available < needed + store.configuration.reserve else { return }
        throw ImageStoreError(
            .noSpace,
            "Importing this checkpoint needs \(needed) in \(store.folder) for a while, but \(available) are free and "
                + "\(store.configuration.reserve) of them are held back."
        )
    }

    private func takeContent(_ piece: [UInt8], _ state: inout State) throws {
        state.digest.update(piece)
        guard state.entry == .data else {
            state.gathered += piece
            return
        }
        do { try unsafe piece.withUnsafeBytes { try unsafe data.write($0, at: state.written) } } catch let error
            as SystemError
        { throw ImageStoreError.system(error, doing: "The checkpoint was not imported") }
        state.written += UInt64(piece.count)
    }

    private func endFile(_ state: inout State) throws {
        guard let entry = state.entry else { return }
        state.sums[entry] = state.digest.text()
        state.digest = try RunningDigest()
        state.files[entry] = state.gathered
        state.gathered = []
        state.entry = nil
        state.padding = TarHeader.padding(after: state.size)
    }

    // MARK: Believing it

    /// What a tar says that came in full.
    package struct Content: Sendable, Equatable {
        /// The description, JSON.
        package var description: [UInt8]
        /// The job's document, JSON.
        package var document: [UInt8]
        /// The job that it was taken of, and so on.
        package var record: CheckpointRecord

        package init(description: [UInt8], document: [UInt8], record: CheckpointRecord) {
            (self.description, self.document, self.record) = (description, document, record)
        }
    }

    /// Looks whether all of it is there and fits together; the regions themselves are looked at by `adopt`.
    ///
    /// - Throws: `ImageStoreError` with code `damaged`, which says what is wrong.
    package func finish() async throws -> Content {
        try await WorkerThreads.run { [self] _ in
            try state.withLock { state in
                guard state.expected.isEmpty, state.entry == nil, let sums = state.files[.sums],
                    let description = state.files[.description], let document = state.files[.job],
                    let encoded = state.files[.index]
                else {
                    let missing = state.entry ?? state.expected.first ?? .sums
                    throw Self.refuse("it ends before its '\(missing.rawValue)' does, so it was cut off")
                }
                try checkSums(String(decoding: sums, as: UTF8.self), state)
                let index: ImageIndex
                do throws(ImageIndexError) { index = try ImageIndex.decode(encoded.span) } catch {
                    throw Self.refuse("\(error)")
                }
                guard !index.isSealed, index.sources.isEmpty, index.dataLength == state.written else {
                    throw Self.refuse("its index and its data do not belong together")
                }
                let file = try PositionedFile("\(spool)/index", O_WRONLY | O_CREAT | O_TRUNC)
                try unsafe encoded.withUnsafeBytes { try unsafe file.write($0, at: 0) }
                state.index = index
                return Content(description: description, document: document, record: CheckpointRecord(index))
            }
        }
    }

    private func checkSums(_ text: String, _ state: State) throws {
        let lines = text.split(separator: "\n").map { $0.split(separator: " ", maxSplits: 1) }
        for entry in ArchiveEntry.allCases.dropLast() {
            let line = lines.first { $0.count == 2 && $0[1].drop { $0 == " " || $0 == "*" } == entry.rawValue }
            guard let line else { throw Self.refuse("its checksums have none of '\(entry.rawValue)'") }
            guard state.sums[entry] == String(line[0]) else {
                throw Self.refuse("its '\(entry.rawValue)' does not have the checksum that was written with it")
            }
        }
    }

    /// Makes it a checkpoint of a job here: every region looked at, sealed with this cluster's key, durable.
    package func adopt(
        as job: JobID,
        _ generation: CheckpointGeneration,
        incarnation: Incarnation
    ) async throws -> CheckpointRecord {
        let place = try store.place(job, generation)
        return try await WorkerThreads.run { [self] cancellation in
            guard let index = state.withLock({ $0.index }) else {
                throw ImageStoreError(.unsuitable, "The tar has not come in full.")
            }
            return try store.changing(place) {
                guard !FileSystem.exists(place.path) else {
                    throw ImageStoreError(
                        .alreadyExists,
                        "Job \(job) already has a checkpoint \(generation); generations are never written twice."
                    )
                }
                do {
                    try FileSystem.removeAll(place.partialPath)
                    try store.makeFolders(for: place)
                    let record = try rewrite(index, to: place, incarnation: incarnation, cancellation)
                    try store.publish(place)
                    return record
                } catch {
                    try? FileSystem.removeAll(place.path)
                    store.giveUp(place)
                    guard let error = error as? SystemError else { throw error }
                    throw ImageStoreError.system(error, doing: "The checkpoint was not imported")
                }
            }
        }
    }

    private func rewrite(
        _ old: ImageIndex,
        to place: CheckpointPlace,
        incarnation: Incarnation,
        _ cancellation: CancellationFlag
    ) throws -> CheckpointRecord {
        let origin = CheckpointPlace(job: old.job, generation: old.generation, path: spool)
        let reader: ImageReader
        do { reader = try ImageReader(origin, keychain: store.keychain) } catch let error as ImageStoreError
            where error.code == .damaged
        {
            throw Self.refuse("its data and its index are not of the same checkpoint")
        }
        let sealing = try store.keychain.newest.map { try ImageSealing(key: $0.number, $0.bytes) }
        let (cipher, tool) = (try sealing?.cipher(), try reader.makeTool())
        var index = old
        (index.job, index.generation, index.incarnation) = (place.job, place.generation, incarnation)
        index.isSealed = sealing != nil
        let file = try PositionedFile("\(place.partialPath)/data", O_RDWR | O_CREAT | O_EXCL)
        try file.setMode(0o600)
        let header = DataFileHeader(of: index).encoded()
        try unsafe header.withUnsafeBytes { try unsafe file.write($0, at: 0) }
        var offset = UInt64(header.count)
        var places: [StoredExtent: StoredExtent] = [:]
        for number in old.files.indices {
            for region in old.files[number].regions.indices {
                for extent in old.files[number].regions[region].extents where places[extent] == nil {
                    try cancellation.check()
                    var bytes: [UInt8]
                    do {
                        // What it was compressed from is looked at too: what a restore would stumble over is found now.
                        _ = unsafe try reader.content(of: extent, in: (region, old.files[number]), with: tool)
                        bytes = unsafe Array(try reader.packed(extent, of: (region, old.files[number]), with: tool))
                    } catch let error as ImageStoreError where error.code == .damaged {
                        throw Self.refuse("region \(region) of \(old.files[number].name) in it is damaged")
                    }
                    if let cipher {
                        bytes += [UInt8](repeating: 0, count: ImageIndex.sealBytes)
                        try unsafe bytes.withUnsafeMutableBytes {
                            try unsafe cipher.seal($0, nonce: ImageSealing.nonce(at: offset))
                        }
                    }
                    try unsafe bytes.withUnsafeBytes { try unsafe file.write($0, at: offset) }
                    var new = extent
                    (new.offset, new.length) = (offset, UInt32(bytes.count))
                    new.checksum = XXHash64.hash(bytes.span)
                    places[extent] = new
                    offset += UInt64(bytes.count)
                }
                index.files[number].regions[region] =
                    old.files[number].regions[region].relocated { places[$0] } ?? old.files[number].regions[region]
            }
        }
        index.dataLength = offset
        try file.synchronize()
        let encoded = try sealing?.sealed(index: index.encoded()) ?? index.encoded()
        let indexFile = try PositionedFile("\(place.partialPath)/index", O_WRONLY | O_CREAT | O_EXCL)
        try indexFile.setMode(0o600)
        try unsafe encoded.withUnsafeBytes { try unsafe indexFile.write($0, at: 0) }
        try indexFile.synchronize()
        try FileSystem.synchronizeFolder(of: indexFile.path)
        var record = CheckpointRecord(index)
        record.seal = try sealing.map { ImageSeal(key: $0.key, digest: try ImageSealing.digest(of: encoded)) }
        record.storedBytes = record.storedBytes + .bytes(Int64(encoded.count))
        return record
    }
}
