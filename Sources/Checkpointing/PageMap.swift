internal import ClusterModel

/// Which pages of one process, or of one piece of shared memory, a dump holds, and where in its file of pages.
///
/// A page map that was decoded is consistent: runs are in the order of their addresses and do not overlap, and no sum overflows.
package struct PageMap: Sendable, Equatable {
    /// Pages that lie side by side, in memory and in the file.
    package struct Run: Sendable, Equatable {
        /// Where they lie in memory; a multiple of the page size.
        package var address: UInt64
        /// At least 1.
        package var pageCount: UInt64
        package var flags: PageFlags
        /// Where they lie in the file; of pages that are not present, where they would.
        package var offset: UInt64

        package init(address: UInt64, pageCount: UInt64, flags: PageFlags, offset: UInt64) {
            (self.address, self.pageCount, self.flags, self.offset) = (address, pageCount, flags, offset)
        }

        /// All of them.
        package var byteCount: UInt64 { pageCount * UInt64(ImageIndex.pageBytes) }
        /// Whether CRIU leaves them out of a restore that is told to be lazy, and asks a page server for them.
        package var isDeferrable: Bool { flags.isSuperset(of: [.lazy, .present]) }
    }

    /// The file that holds the pages.
    package var pagesFile: String
    package var runs: [Run]

    package init(pagesFile: String, runs: [Run]) { (self.pagesFile, self.runs) = (pagesFile, runs) }

    /// The length that the file of pages must have.
    package var fileLength: UInt64 {
        runs.last.map { $0.flags.contains(.present) ? $0.offset + $0.byteCount : $0.offset } ?? 0
    }

    /// Bytes that may arrive after the restore.
    package var deferrableBytes: UInt64 { runs.reduce(0) { $0 + ($1.isDeferrable ? $1.byteCount : 0) } }

    /// Where in the file the pages from an address on are, and how many of those asked for lie side by side; nil when the page there is not
    /// in the file.
    package func place(of address: UInt64, pageCount: UInt64) -> (offset: UInt64, pageCount: UInt64)? {
        let after = runs.firstSortedIndex { $0.address > address }
        guard after > 0 else { return nil }
        let run = runs[after - 1]
        let within = address - run.address
        guard run.flags.contains(.present), within < run.byteCount, within % UInt64(ImageIndex.pageBytes) == 0 else {
            return nil
        }
        let left = (run.byteCount - within) / UInt64(ImageIndex.pageBytes)
        return (run.offset + within, min(left, pageCount))
    }

    /// The stretches of the file that may arrive after the restore, those side by side joined.
    package var deferrableRanges: [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        for run in runs where run.isDeferrable {
            let range = run.offset..<run.offset + run.byteCount
            if let last = ranges.last, last.upperBound == range.lowerBound {
                ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
            } else {
                ranges.append(range)
            }
        }
        return ranges
    }

    /// Pages of one map: 64 TiB, half the address space that x86 and ARM give a process.
    private static let pageLimit: UInt64 = 1 << 34

    /// Reads a file `pagemap-*.img`.
    /// - Throws: ``CRIUImageError`` for what is not one, and for one that needs an earlier dump.
    package static func decode(name: String, _ bytes: [UInt8]) throws(CRIUImageError) -> PageMap {
        var image = try CRIUImage(name: name, bytes, magic: CRIUImage.pageMapMagic)
        guard let head = try image.next(), let pages = head[1], pages <= UInt64(UInt32.max) else {
            throw image.error("no number of a file of pages")
        }
        var map = PageMap(pagesFile: "pages-\(pages).img", runs: [])
        var (offset, end, sum): (UInt64, UInt64, UInt64) = (0, 0, 0)
        let page = UInt64(ImageIndex.pageBytes)
        while let entry = try image.next() {
            // As CRIU's init_compat_pagemap_entry reads what earlier releases wrote.
            var flags = PageFlags(rawValue: UInt32(truncatingIfNeeded: entry[4] ?? UInt64(PageFlags.present.rawValue)))
            if entry[3] == 1 { flags.insert(.parent) }
            guard let address = entry[1], let count = entry[5] ?? entry[2] else {
                throw image.error("no address, or no number of pages")
            }
            guard !flags.contains(.parent) else { throw image.error("pages that are in an earlier dump") }
            guard count > 0, count <= pageLimit - sum else { throw image.error("\(count) pages") }
            guard address % page == 0, address >= end, address <= UInt64.max - count * page else {
                throw image.error("pages at \(address), which no page or an earlier entry has")
            }
            map.runs.append(Run(address: address, pageCount: count, flags: flags, offset: offset))
            sum += count
            end = address + count * page
            if flags.contains(.present) { offset += count * page }
        }
        return map
    }
}

/// The memory that a dump holds: of every process, and of what they share.
package struct DumpedMemory: Sendable, Equatable {
    /// By the process's number in its own PID namespace.
    package var processes: [UInt64: PageMap]

    /// Takes page maps that were read already.
    package init(processes: [UInt64: PageMap]) { self.processes = processes }

    /// Images that later releases of CRIU may write in another way begin with another number.
    private static let knownVersions: ClosedRange<UInt64> = 1...2

    /// A larger page map is not looked at.
    package static let mapByteLimit: UInt64 = 1 << 28

    /// Reads inventory and page maps of a dump.
    ///
    /// `files` are those whose names ``isWanted(_:)``; `sizes` those of all files.
    /// - Throws: ``CRIUImageError`` naming the file when something is missing, is not what it should be, or does not fit the rest.
    package init(files: [String: [UInt8]], sizes: [String: UInt64]) throws(CRIUImageError) {
        processes = [:]
        guard let inventory = files["inventory.img"] else {
            throw CRIUImageError(place: "inventory.img", problem: "it is missing")
        }
        var image = try CRIUImage(name: "inventory.img", inventory, magic: CRIUImage.inventoryMagic)
        guard let version = try image.next()?[1], Self.knownVersions.contains(version) else {
            throw image.error("a version of CRIU's images that this release does not know")
        }
        var users: [String: String] = [:]
        for name in files.keys.sorted() where name != "inventory.img" {
            guard let bytes = files[name] else { continue }
            let map = try PageMap.decode(name: name, bytes)
            if let other = users.updateValue(name, forKey: map.pagesFile) {
                throw CRIUImageError(place: name, problem: "it has its pages in \(map.pagesFile), as \(other) has")
            }
            guard sizes[map.pagesFile] == map.fileLength else {
                let found = sizes[map.pagesFile].map { "\($0) bytes" } ?? "not there"
                throw CRIUImageError(
                    place: name,
                    problem: "\(map.pagesFile) is \(found), and should have \(map.fileLength) bytes"
                )
            }
            if let process = Self.process(of: name) { processes[process] = map }
        }
    }

    /// Whether `init` wants the content of a file.
    package static func isWanted(_ name: String) -> Bool {
        name == "inventory.img" || name.hasPrefix("pagemap-") && name.hasSuffix(".img")
    }

    /// The process whose page map a file is; nil for shared memory, which CRIU never restores lazily.
    private static func process(of name: String) -> UInt64? {
        guard name.hasPrefix("pagemap-"), name.hasSuffix(".img") else { return nil }
        let number = name.dropFirst("pagemap-".count).dropLast(".img".count)
        guard let value = UInt64(number), String(value) == number else { return nil }
        return value
    }

    /// Bytes that a lazy dump has left in the processes.
    package var remainingBytes: UInt64 {
        processes.values.reduce(0) { sum, map in
            map.runs.reduce(sum) { $0 + ($1.flags.contains(.present) ? 0 : $1.byteCount) }
        }
    }

    /// Bytes that may arrive after the restore.
    package var deferrableBytes: UInt64 { processes.values.reduce(0) { $0 + $1.deferrableBytes } }

    /// For each file of pages the stretches that may arrive after the restore.
    package var deferrableRanges: [String: [Range<UInt64>]] {
        var ranges: [String: [Range<UInt64>]] = [:]
        for map in processes.values.sorted(by: { $0.pagesFile < $1.pagesFile }) {
            ranges[map.pagesFile] = map.deferrableRanges
        }
        return ranges
    }
}
