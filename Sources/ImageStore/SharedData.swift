internal import Checkpointing
internal import ClusterModel
internal import Glibc
internal import LinuxSystem

/// What a new generation of a job need not store again, because an earlier one has it.
final class SharedBase: Sendable {
    /// Whose data may be referred to, by rising generation; each has a name in the new generation's folder.
    let sources: [DataSource]
    /// The stored regions by their content; `source` counts in `sources`, from 1.
    let regions: [ContentHash: ImageRegion]
    /// The earlier generation; what it reads stays readable when the generation is removed.
    let reader: ImageReader
    /// Where it has the memory that is to be stored; nil when page maps of either are not as this release knows them.
    let alignment: PageAlignment?
    /// The number in `sources` of each data file of the earlier generation, its own first; 0 for what is not referred to.
    private let numbers: [UInt16]
    /// The earlier generation's files by name.
    private let files: [String: Int]

    fileprivate init(
        _ reader: ImageReader,
        sources: [DataSource],
        numbers: [UInt16],
        alignment: PageAlignment?
    ) {
        (self.reader, self.sources, self.numbers, self.alignment) = (reader, sources, numbers, alignment)
        files = Dictionary(
            reader.index.files.enumerated().map { ($1.name, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        var regions: [ContentHash: ImageRegion] = [:]
        for region in reader.index.files.lazy.flatMap(\.regions) where region.encoding != .zero {
            guard let hash = region.contentHash, let placed = region.relocated({ Self.place($0, numbers) }) else {
                continue
            }
            regions[hash] = placed
        }
        self.regions = regions
    }

    /// The extent as the new generation names it; nil when its data is not referred to further.
    func place(_ extent: StoredExtent) -> StoredExtent? { Self.place(extent, numbers) }

    private static func place(_ extent: StoredExtent, _ numbers: [UInt16]) -> StoredExtent? {
        var extent = extent
        extent.source = numbers[Int(extent.source)]
        return extent.source == 0 ? nil : extent
    }

    /// The earlier generation's file of this name.
    func file(named name: String) -> Int? { files[name] }
}

// Data files are shared by names: a generation that refers to the data of an earlier one has a hard link to it. The file system counts the
// names, so removing a generation is what it always was, whoever goes first, and a crash leaves no count wrong.
extension ImageStore {
    /// The regions of the job's newest good generation, with names for their data files in the folder of the new one.
    func sharedBase(
        of source: ImageSource,
        _ files: [SourceFile],
        for place: CheckpointPlace
    ) throws -> SharedBase? {
        let newest = try recordsNow(of: source.job).last { record in
            record.state == .complete && record.generation < place.generation
                && record.seal?.key == keychain.newest?.number
        }
        guard let newest else { return nil }
        let origin = try self.place(source.job, newest.generation)
        return try reading(origin) {
            guard let reader = try? ImageReader(origin, keychain: keychain) else { return nil }
            let earlier = try? reader.memory(with: reader.makeTool())
            let alignment = earlier.flatMap { earlier in
                SourceFile.memory(of: files).map { PageAlignment($0, earlier: earlier) }
            }
            return try link(reader, to: place, alignment)
        }
    }

    private func link(
        _ reader: ImageReader,
        to place: CheckpointPlace,
        _ alignment: PageAlignment?
    ) throws -> SharedBase? {
        let index = reader.index
        let own = DataSource(
            generation: index.generation,
            incarnation: index.incarnation,
            taken: index.taken,
            dataLength: index.dataLength,
            key: reader.sealing?.key ?? 0,
            salt: reader.sealing?.salt ?? [UInt8](repeating: 0, count: DataSource.saltByteCount)
        )
        // As regions number them: its own data first.
        let all = [own] + index.sources
        let live = Self.liveBytes(of: index)
        let kept = Self.worthKeeping(all.indices.map { (live: live[$0], length: all[$0].dataLength) })
            .sorted { all[$0].generation < all[$1].generation }
        guard !kept.isEmpty else { return nil }
        var numbers = [UInt16](repeating: 0, count: all.count)
        for (number, source) in kept.enumerated() {
            numbers[source] = UInt16(number + 1)
            let path = source == 0 ? reader.place.dataPath : reader.place.dataPath(of: all[source].generation)
            let name = place.partial.dataPath(of: all[source].generation)
            // A file system that cannot give a second name, or no more of them: nothing is shared.
            guard unsafe Glibc.link(path, name) == 0 else {
                for source in all { try FileSystem.removeAll(place.partial.dataPath(of: source.generation)) }
                return nil
            }
        }
        return SharedBase(reader, sources: kept.map { all[$0] }, numbers: numbers, alignment: alignment)
    }

    /// How many stored bytes of each data file an image refers to, its own first; of an extent as large a part as its pages that are taken.
    static func liveBytes(of index: ImageIndex) -> [UInt64] {
        var taken: [StoredExtent: UInt64] = [:]
        for region in index.files.lazy.flatMap(\.regions) {
            if let extent = region.extent { taken[extent] = extent.allPages }
            for part in region.parts { taken[part.extent, default: 0] |= part.taken }
        }
        var live = [UInt64](repeating: 0, count: index.sources.count + 1)
        for (extent, pages) in taken {
            live[Int(extent.source)] +=
                UInt64(extent.length) * UInt64(pages.nonzeroBitCount) / UInt64(extent.allPages.nonzeroBitCount)
        }
        return live
    }

    /// Gives a copy that arrives names of all data of the job that is here, and says whose it is.
    func linkKnownData(to place: CheckpointPlace) throws -> [CheckpointGeneration] {
        let parent = try jobFolder(place.job)
        var known: Set<CheckpointGeneration> = []
        for name in try FileSystem.list(parent) {
            guard let generation = Self.generation(named: name) else { continue }
            let here = try self.place(place.job, generation)
            for file in (try? FileSystem.list(here.path)) ?? [] {
                let source = file == "data" ? generation : Self.source(named: file)
                guard let source, source < place.generation, !known.contains(source) else { continue }
                // It may be removed at this moment.
                let isThere = unsafe Glibc.link("\(here.path)/\(file)", place.partial.dataPath(of: source)) == 0
                if isThere { known.insert(source) }
            }
        }
        return known.sorted()
    }

    private static func source(named file: String) -> CheckpointGeneration? {
        file.hasPrefix("data.") ? generation(named: String(file.dropFirst(5))) : nil
    }

    /// Which data files are referred to further, given what is referred to of each now.
    ///
    /// At most as many as an index can name and one less, for the new generation's own data will be the next; the ones with least in use go, and
    /// are stored anew as far as they are used. So do the worst as long as more than half of all the bytes would be kept for nothing.
    static func worthKeeping(_ files: [(live: UInt64, length: UInt64)]) -> [Int] {
        var kept = files.indices.filter { files[$0].live > 0 }
        kept.sort { files[$0].live > files[$1].live }
        // Several at once, so that not every generation stores some again.
        if kept.count > ImageIndex.sourceLimit - 1 { kept.removeLast(kept.count - ImageIndex.sourceLimit / 2) }
        func waste() -> (live: UInt64, dead: UInt64) {
            kept.reduce((0, 0)) { ($0.live + files[$1].live, $0.dead + files[$1].length - files[$1].live) }
        }
        while kept.count > 0, waste().dead > waste().live {
            guard
                let worst = kept.indices.max(by: {
                    Double(files[kept[$0]].length) / Double(files[kept[$0]].live)
                        < Double(files[kept[$1]].length) / Double(files[kept[$1]].live)
                })
            else { break }
            kept.remove(at: worst)
        }
        return kept.sorted()
    }
}
