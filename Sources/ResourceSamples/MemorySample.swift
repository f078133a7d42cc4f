package import ClusterModel

/// /proc/meminfo, as far as capacity is concerned.
package struct MemorySample: Sendable, Equatable, Codable {
    package var total = ByteCount.zero
    package var free = ByteCount.zero
    /// What can be used without swapping, caches counted as far as they can be dropped; Linux 3.14.
    package var available = ByteCount.zero
    package var buffers = ByteCount.zero
    package var cached = ByteCount.zero
    package var swapTotal = ByteCount.zero
    package var swapFree = ByteCount.zero

    /// What is in use and cannot be had without swapping.
    package var used: ByteCount { total - available }

    /// Reads the text of /proc/meminfo; unknown lines are skipped.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        let keys: [(String, WritableKeyPath<MemorySample, ByteCount>)] = [
            ("MemTotal:", \.total), ("MemFree:", \.free), ("MemAvailable:", \.available), ("Buffers:", \.buffers),
            ("Cached:", \.cached), ("SwapTotal:", \.swapTotal), ("SwapFree:", \.swapFree),
        ]
        var cursor = LineCursor()
        var (hasTotal, hasAvailable) = (false, false)
        while let line = cursor.next(in: text) {
            var words = WordCursor(line)
            guard let key = words.next(in: text), let (name, path) = keys.first(where: { text.equals(key, $0.0) })
            else { continue }
            guard let kibibytes = words.unsigned(in: text), let unit = words.next(in: text), text.equals(unit, "kB")
            else { throw text.failure("/proc/meminfo", cursor, line, "a number of kB after \(name)") }
            self[keyPath: path] = .bytes(Int64(clamping: kibibytes.multipliedClamped(by: 1024)))
            if name == "MemTotal:" { hasTotal = true }
            if name == "MemAvailable:" { hasAvailable = true }
        }
        guard hasTotal else {
            throw SampleError(file: "/proc/meminfo", line: 0, text: "", expected: "a line \"MemTotal: N kB\"")
        }
        if !hasAvailable {
            let sum = UInt64(clamping: free.rawValue).addingReportingOverflow(UInt64(clamping: cached.rawValue))
            available = min(total, .bytes(sum.overflow ? .max : Int64(clamping: sum.partialValue)))
        }
        available = min(available, total)
    }
}
