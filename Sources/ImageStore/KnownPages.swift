internal import Checkpointing
internal import ClusterModel
internal import Glibc

/// Finds the pages of a region that an earlier generation has; one per thread.
///
/// Pages are compared byte by byte: those of a process's memory with what the earlier generation has of the same address, all others with what is at the same
/// place of its file of the same name.
@safe final class KnownPages {
    private let base: SharedBase
    private let tool: ImageReader.Tool
    /// The region of the earlier generation that was read last, with its zeros.
    private var last: (file: Int, region: Int)?
    private let bytes: UnsafeMutableRawBufferPointer

    /// Pages of one region that are in one region of the earlier generation.
    private struct Overlap {
        var file: Int
        var region: Int
        /// By its place in the earlier region the page of the new one; 64 for none.
        var pages = [UInt8](repeating: 64, count: 64)
    }

    init(_ base: SharedBase) throws {
        self.base = base
        tool = try base.reader.makeTool()
        unsafe bytes = .allocate(byteCount: ImageIndex.regionBytes, alignment: 4096)
    }

    deinit { unsafe bytes.deallocate() }

    /// Where pages of a region lie that are stored already, few enough parts for one more; none when storing all of it anew is better.
    ///
    /// `present` says which pages hold anything but zeros, `offset` where the region begins in its file. What cannot be read of the earlier generation
    /// is stored anew.
    func parts(
        of raw: UnsafeRawBufferPointer,
        _ present: UInt64,
        _ name: String,
        _ offset: UInt64
    ) -> [RegionPart] {
        guard raw.count % ImageIndex.pageBytes == 0 else { return [] }
        var parts: [RegionPart] = []
        for overlap in overlaps(of: name, offset..<offset + UInt64(raw.count)) {
            let earlier = base.reader.index.files[overlap.file].regions[overlap.region]
            guard read(overlap.region, of: overlap.file) else { continue }
            // Bits of the earlier region; the pages are in the same order in both, as a part must have them.
            var same: UInt64 = 0
            var previous: UInt8?
            for page in 0..<Int(earlier.rawLength) / ImageIndex.pageBytes where overlap.pages[page] < 64 {
                let here = overlap.pages[page]
                guard earlier.pages >> UInt64(page) & 1 == 1, present >> UInt64(here) & 1 == 1,
                    previous.map({ $0 < here }) ?? true, let new = raw.baseAddress, let old = unsafe bytes.baseAddress
                else { continue }
                let (at, before) = (Int(here) * ImageIndex.pageBytes, page * ImageIndex.pageBytes)
                guard unsafe memcmp(new + at, old + before, ImageIndex.pageBytes) == 0 else { continue }
                (same, previous) = (same | 1 << UInt64(page), here)
            }
            parts += earlier.parts(for: same).compactMap { place($0, overlap) }
        }
        return Self.worthTaking(parts, of: present)
    }

    private func place(_ part: RegionPart, _ overlap: Overlap) -> RegionPart? {
        guard let extent = base.place(part.extent) else { return nil }
        var (pages, rest): (UInt64, UInt64) = (0, part.pages)
        while rest != 0 {
            pages |= 1 << UInt64(overlap.pages[rest.trailingZeroBitCount])
            rest &= rest - 1
        }
        return RegionPart(extent: extent, taken: part.taken, pages: pages)
    }

    /// The parts that a region is composed of: the largest, and so few that the next generations can add theirs; none when they are less than half of it.
    static func worthTaking(_ parts: [RegionPart], of present: UInt64) -> [RegionPart] {
        var parts = parts
        if parts.count >= RegionPart.limit {
            // Several at once, so that not every generation stores some again.
            parts.sort { $0.pages.nonzeroBitCount > $1.pages.nonzeroBitCount }
            parts.removeLast(parts.count - RegionPart.limit / 2)
        }
        let count = parts.reduce(0) { $0 + $1.pages.nonzeroBitCount }
        return count * 2 >= present.nonzeroBitCount ? parts : []
    }

    /// The regions of the earlier generation that may have pages of this stretch of a file, in the order of the stretch.
    private func overlaps(of name: String, _ range: Range<UInt64>) -> [Overlap] {
        let runs =
            base.alignment?.runs(of: name, in: range)
            ?? [
                PageAlignment.Run(
                    offset: range.lowerBound,
                    earlierFile: name,
                    earlierOffset: range.lowerBound,
                    byteCount: UInt64(range.count)
                )
            ]
        var overlaps: [Overlap] = []
        for run in runs {
            guard let file = base.file(named: run.earlierFile) else { continue }
            var done: UInt64 = 0
            while done < run.byteCount {
                let at = run.earlierOffset + done
                let begin = at / UInt64(ImageIndex.regionBytes) * UInt64(ImageIndex.regionBytes)
                let count = min(run.byteCount - done, begin + UInt64(ImageIndex.regionBytes) - at)
                if let region = region(of: file, at: begin) {
                    if overlaps.last.map({ $0.file != file || $0.region != region }) ?? true {
                        overlaps.append(Overlap(file: file, region: region))
                    }
                    let page = UInt64(ImageIndex.pageBytes)
                    let (first, new) = ((at - begin) / page, (run.offset + done - range.lowerBound) / page)
                    for number in 0..<count / page {
                        overlaps[overlaps.count - 1].pages[Int(first + number)] = UInt8(new + number)
                    }
                }
                done += count
            }
        }
        return overlaps
    }

    /// The stored region that begins there, if it is one of whole pages.
    private func region(of file: Int, at offset: UInt64) -> Int? {
        let regions = base.reader.index.files[file].regions
        let place = regions.firstSortedIndex { $0.rawOffset >= offset }
        guard place < regions.count, regions[place].rawOffset == offset, regions[place].encoding != .zero,
            regions[place].rawLength % UInt64(ImageIndex.pageBytes) == 0
        else { return nil }
        return place
    }

    /// Reads a region of the earlier generation into `bytes`; only its present pages count.
    private func read(_ region: Int, of file: Int) -> Bool {
        if let last, last == (file, region) { return true }
        last = nil
        let image = base.reader.index.files[file]
        guard let present = unsafe try? base.reader.content(of: region, in: image, with: tool) else { return false }
        unsafe image.regions[region].spread(present, over: bytes)
        last = (file, region)
        return true
    }
}

extension ImageRegion {
    /// Where these of its present pages lie, in parts that are not empty.
    func parts(for wanted: UInt64) -> [RegionPart] {
        let whole = extent.map { [RegionPart(extent: $0, taken: $0.allPages, pages: pages)] } ?? parts
        return whole.compactMap { part in
            var (taken, given) = (part.taken, part.pages)
            var result = RegionPart(extent: part.extent, taken: 0, pages: part.pages & wanted)
            while given != 0 {
                if given & (~given + 1) & wanted != 0 { result.taken |= taken & (~taken + 1) }
                given &= given - 1
                taken &= taken - 1
            }
            return result.pages == 0 ? nil : result
        }
    }
}
