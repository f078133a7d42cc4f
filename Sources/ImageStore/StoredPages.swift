package import Checkpointing
package import ClusterModel
internal import LinuxSystem
internal import Synchronization

/// Regions of files that an extraction leaves out, since they are read later.
struct DeferredRegions: Sendable {
    /// For each file the stretches that may be left out.
    private let ranges: [String: [Range<UInt64>]]

    init(_ ranges: [String: [Range<UInt64>]] = [:]) { self.ranges = ranges }

    /// The regions of a file that are not left out, in runs.
    func rest(of file: ImageFile) -> [Range<Int>] {
        guard let ranges = ranges[file.name], file.kind == .image else {
            return file.regions.isEmpty ? [] : [file.regions.indices]
        }
        var rest: [Range<Int>] = []
        var at = ranges.startIndex
        for (number, region) in file.regions.enumerated() {
            let end = region.rawOffset + region.rawLength
            while at < ranges.endIndex, ranges[at].upperBound < end { at += 1 }
            if at < ranges.endIndex, ranges[at].lowerBound <= region.rawOffset { continue }
            if let last = rest.last, last.upperBound == number {
                rest[rest.count - 1] = last.lowerBound..<number + 1
            } else {
                rest.append(number..<number + 1)
            }
        }
        return rest
    }
}

extension ImageStore {
    /// As ``extract(_:_:to:layerArchive:)``, but leaves out the memory that CRIU can take later, when that is at least `minimum`.
    ///
    /// What is left out are holes in the files. Where nothing is, because there is too little of it or the images are not such that it could be
    /// found, the result has no pages, and everything was extracted and checked.
    package func extractWithoutMemory(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        to imagesFolder: String,
        layerArchive: String?,
        minimum: ByteCount
    ) async throws -> (index: ImageIndex, pages: StoredPages?) {
        let place = try place(job, generation)
        return try await WorkerThreads.run { cancellation in
            try self.beginReading(place)
            var isKept = false
            defer { if !isKept { self.endReading(place) } }
            let reader = try ImageReader(place, keychain: self.keychain)
            var pages = try StoredPages(reader) { self.endReading(place) }
            if let found = pages, found.byteCount < minimum { pages = nil }
            let deferred = DeferredRegions(pages?.memory.deferrableRanges ?? [:])
            let target = try ExtractionTarget(
                reader.index,
                imagesFolder: imagesFolder,
                layerArchive: layerArchive,
                deferring: deferred
            )
            try target.fill(
                from: reader,
                configuration: self.configuration,
                cancellation: cancellation,
                deferring: deferred
            )
            pages?.open()
            isKept = pages != nil
            return (reader.index, pages)
        }
    }
}

/// The memory of a stored checkpoint, read page by page: each region is decoded and checked when it is first asked for.
///
/// The checkpoint cannot be removed until it is closed.
package final class StoredPages: Sendable {
    /// Which pages there are.
    package let memory: DumpedMemory
    /// The memory that was left out of the extraction.
    package let byteCount: ByteCount
    private let reader: ImageReader
    /// Numbers of the files of pages in the index.
    private let files: [String: Int]
    private let onClose: @Sendable () -> Void
    private let state: Mutex<State>

    @safe private struct State {
        var tool: ImageReader.Tool?
        /// Decoded regions, the one used last at the end.
        var cache: [CachedRegion] = []
        var isOpen = false
    }

    private struct CachedRegion {
        var file: Int
        var region: Int
        var bytes: [UInt8]
    }

    /// Decoded regions that are kept: 8 MiB, so that faults here and there do not decode the same again and again.
    private static let cacheLimit = 32

    /// nil when the images hold no memory that could be found; a damaged page map is an error.
    fileprivate init?(_ reader: ImageReader, onClose: @escaping @Sendable () -> Void) throws {
        guard let memory = try reader.memory(with: reader.makeTool()), memory.deferrableBytes > 0 else { return nil }
        (self.memory, self.reader, self.onClose) = (memory, reader, onClose)
        files = Dictionary(
            reader.index.files.enumerated().filter { $1.kind == .image }.map { ($1.name, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        byteCount = .bytes(Int64(clamping: memory.deferrableBytes))
        state = Mutex(State())
    }

    fileprivate func open() { state.withLock { $0.isOpen = true } }

    deinit { close() }

    /// Lets go of the checkpoint; later reads are refused.
    package func close() {
        let wasOpen = state.withLock { state in
            defer { state = State() }
            return state.isOpen
        }
        if wasOpen { onClose() }
    }

    /// Appends pages of a process from an address on, at least one and at most as many as asked for, and says how many.
    ///
    /// Blocks on the disk, and on another thread that reads. Throws `ImageStoreError` with code `damaged` when the stored bytes are not what was
    /// written, and `unsuitable` when no such page was left out.
    package func read(
        process: UInt64,
        address: UInt64,
        pageCount: UInt64,
        into output: inout [UInt8]
    ) throws -> Int {
        guard let map = memory.processes[process], let number = files[map.pagesFile],
            let found = map.place(of: address, pageCount: pageCount)
        else {
            throw ImageStoreError(
                .unsuitable,
                "Checkpoint \(reader.place.generation) of job \(reader.place.job) has no page of process \(process) at address \(address)."
            )
        }
        let file = reader.index.files[number]
        let end = found.offset + found.pageCount * UInt64(ImageIndex.pageBytes)
        var at = found.offset
        while at < end {
            let region = Self.region(of: file, at: at)
            let bounds = file.regions[region]
            let stop = min(end, bounds.rawOffset + bounds.rawLength)
            if bounds.encoding == .zero {
                output.append(contentsOf: repeatElement(0, count: Int(stop - at)))
            } else {
                try state.withLock { state in
                    let bytes = try decoded(region, of: number, &state)
                    output.append(contentsOf: bytes[Int(at - bounds.rawOffset)..<Int(stop - bounds.rawOffset)])
                }
            }
            at = stop
        }
        return Int(found.pageCount)
    }

    /// Decodes the region in which a page is, so that the next read finds it; what is wrong there the next read tells.
    package func prefetch(process: UInt64, address: UInt64) {
        guard let map = memory.processes[process], let number = files[map.pagesFile],
            let found = map.place(of: address, pageCount: 1)
        else { return }
        let file = reader.index.files[number]
        let region = Self.region(of: file, at: found.offset)
        guard file.regions[region].encoding != .zero else { return }
        state.withLock { state in _ = try? decoded(region, of: number, &state) }
    }

    private static func region(of file: ImageFile, at offset: UInt64) -> Int {
        file.regions.firstSortedIndex { $0.rawOffset > offset } - 1
    }

    private func decoded(_ region: Int, of file: Int, _ state: inout State) throws -> [UInt8] {
        guard state.isOpen else {
            throw ImageStoreError(.cancelled, "The memory of checkpoint \(reader.place.generation) was closed.")
        }
        if let known = state.cache.lastIndex(where: { $0.file == file && $0.region == region }) {
            if known < state.cache.count - 1 { state.cache.append(state.cache.remove(at: known)) }
            return state.cache[state.cache.count - 1].bytes
        }
        let tool = try state.tool ?? reader.makeTool()
        state.tool = tool
        let bytes = try reader.read(region, of: reader.index.files[file], with: tool)
        if state.cache.count >= Self.cacheLimit { state.cache.removeFirst() }
        state.cache.append(CachedRegion(file: file, region: region, bytes: bytes))
        return bytes
    }
}

extension ImageReader {
    /// Which memory the image has and where; nil when that is not written as this release knows it, which is CRIU's to judge.
    func memory(with tool: Tool) throws -> DumpedMemory? {
        var (contents, sizes): ([String: [UInt8]], [String: UInt64]) = ([:], [:])
        for file in index.files where file.kind == .image {
            sizes[file.name] = file.size
            guard DumpedMemory.isWanted(file.name), file.size < DumpedMemory.mapByteLimit else { continue }
            contents[file.name] = try read(file, with: tool)
        }
        return try? DumpedMemory(files: contents, sizes: sizes)
    }

    /// A region with its zeros, checked.
    func read(_ number: Int, of file: ImageFile, with tool: Tool) throws -> [UInt8] {
        let region = file.regions[number]
        var bytes = [UInt8](repeating: 0, count: Int(region.rawLength))
        if region.encoding == .zero { return bytes }
        let present = try unsafe content(of: number, in: file, with: tool)
        unsafe bytes.withUnsafeMutableBytes { unsafe region.spread(present, over: $0) }
        return bytes
    }

    /// A whole file, checked; only for small ones.
    func read(_ file: ImageFile, with tool: Tool) throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(file.size))
        for number in file.regions.indices { bytes += try read(number, of: file, with: tool) }
        return bytes
    }
}
