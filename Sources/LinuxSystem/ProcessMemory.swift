internal import Glibc

/// What this process keeps mapped.
package enum ProcessMemory {
    /// Unmaps the pages of code that only the start needed; those still needed come back from the page cache, by a fault each.
    ///
    /// The kernel maps code by neighbourhoods of 64 KiB (`fault_around_bytes`), and a start walks through most of the program
    /// once. Only executable private mappings of files are touched: they are never written, so nothing can be lost
    /// (madvise(2), `MADV_DONTNEED`).
    ///
    /// - Returns: the bytes of mappings that were let go of; zero when /proc cannot be read.
    @discardableResult
    package static func releaseStartPages() -> Int {
        guard let maps = try? FileSystem.readText("/proc/self/maps") else { return 0 }
        var released = 0
        for range in executableFileRanges(maps) {
            guard let start = unsafe UnsafeMutableRawPointer(bitPattern: range.lowerBound) else { continue }
            if unsafe madvise(start, range.count, MADV_DONTNEED) == 0 { released += range.count }
        }
        return released
    }

    /// The address ranges of code in the text of `/proc/PID/maps` (proc(5)): executable, not writable, private, of a file.
    static func executableFileRanges(_ maps: String) -> [Range<UInt>] {
        maps.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count >= 6, words[1] == "r-xp", words[5].hasPrefix("/") else { return nil }
            let ends = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            guard ends.count == 2, ends[0] < ends[1] else { return nil }
            return ends[0]..<ends[1]
        }
    }
}
