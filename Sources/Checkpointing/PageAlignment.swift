internal import ClusterModel

/// Where the pages of a dump lie in the files of an earlier dump of the same processes, as their addresses say.
///
/// CRIU writes the pages of a process one after the other, so one page more at the beginning of a heap moves all that follow. By their addresses they are found
/// again.
package struct PageAlignment: Sendable, Equatable {
    /// Pages that lie side by side in both files.
    package struct Run: Sendable, Equatable {
        /// Where they begin in the new file.
        package var offset: UInt64
        /// The earlier file.
        package var earlierFile: String
        /// Where they begin in the earlier file.
        package var earlierOffset: UInt64
        /// All of them; at least one page.
        package var byteCount: UInt64

        package init(offset: UInt64, earlierFile: String, earlierOffset: UInt64, byteCount: UInt64) {
            (self.offset, self.byteCount) = (offset, byteCount)
            (self.earlierFile, self.earlierOffset) = (earlierFile, earlierOffset)
        }
    }

    /// For each new file of pages of a process that there was before, by rising offset.
    private var runs: [String: [Run]] = [:]

    /// Compares all processes that are in both.
    package init(_ memory: DumpedMemory, earlier: DumpedMemory) {
        for (process, map) in memory.processes {
            guard let before = earlier.processes[process] else { continue }
            runs[map.pagesFile] = Self.runs(map, before)
        }
    }

    private static func runs(_ map: PageMap, _ before: PageMap) -> [Run] {
        var found: [Run] = []
        var at = before.runs.startIndex
        for run in map.runs where run.flags.contains(.present) {
            let end = run.address + run.byteCount
            while at < before.runs.endIndex, before.runs[at].address + before.runs[at].byteCount <= run.address {
                at += 1
            }
            var next = at
            while next < before.runs.endIndex, before.runs[next].address < end {
                let other = before.runs[next]
                next += 1
                guard other.flags.contains(.present) else { continue }
                let first = max(run.address, other.address)
                let new = Run(
                    offset: run.offset + (first - run.address),
                    earlierFile: before.pagesFile,
                    earlierOffset: other.offset + (first - other.address),
                    byteCount: min(end, other.address + other.byteCount) - first
                )
                if let last = found.last, last.offset + last.byteCount == new.offset,
                    last.earlierOffset + last.byteCount == new.earlierOffset
                {
                    found[found.count - 1].byteCount += new.byteCount
                } else {
                    found.append(new)
                }
            }
        }
        return found
    }

    /// What is known of a stretch of a file, clipped to it; nil for a file that no page map is of.
    package func runs(of file: String, in range: Range<UInt64>) -> [Run]? {
        guard let all = runs[file] else { return nil }
        let first = all.firstSortedIndex { $0.offset + $0.byteCount > range.lowerBound }
        var clipped: [Run] = []
        for var run in all[first...].prefix(while: { $0.offset < range.upperBound }) {
            let begin = max(run.offset, range.lowerBound)
            run.byteCount = min(run.offset + run.byteCount, range.upperBound) - begin
            run.earlierOffset += begin - run.offset
            run.offset = begin
            clipped.append(run)
        }
        return clipped
    }
}
