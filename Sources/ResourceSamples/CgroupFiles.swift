package import ClusterModel

/// CPU statistics of a cgroup: `cpu.stat` of either version.
package struct CgroupCPUStatistics: Sendable, Equatable, Codable {
    /// v2 only; on v1 it is in `cpuacct.usage`.
    package var usage: Duration?
    /// v2 only.
    package var userTime: Duration?
    /// v2 only.
    package var systemTime: Duration?
    /// Enforcement periods in which the cgroup had work.
    package var periods: UInt64 = 0
    /// Of those, how many ended with the quota used up.
    package var throttledPeriods: UInt64 = 0
    /// Sum over all processors of the time in which it was not let run because of its quota.
    package var throttledTime = Duration.zero

    /// Reads `cpu.stat`; unknown keys are skipped, since kernels add some.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        var lines = KeyValueLines("cpu.stat")
        while let (key, value) = try lines.next(in: text) {
            if text.equals(key, "usage_usec") {
                usage = .counted(microseconds: value)
            } else if text.equals(key, "user_usec") {
                userTime = .counted(microseconds: value)
            } else if text.equals(key, "system_usec") {
                systemTime = .counted(microseconds: value)
            } else if text.equals(key, "nr_periods") {
                periods = value
            } else if text.equals(key, "nr_throttled") {
                throttledPeriods = value
            } else if text.equals(key, "throttled_usec") {
                throttledTime = .counted(microseconds: value)
            } else if text.equals(key, "throttled_time") {
                throttledTime = .counted(nanoseconds: value)
            }
        }
    }
}

/// What the memory of a cgroup consists of: `memory.stat` of either version.
package struct CgroupMemoryStatistics: Sendable, Equatable, Codable {
    /// Memory that belongs to no file: `anon` on v2, `total_rss` on v1.
    package var anonymous = ByteCount.zero
    /// Page cache: `file` on v2, `total_cache` on v1.
    package var file = ByteCount.zero
    /// Cache that can be dropped without harm.
    package var inactiveFile = ByteCount.zero
    /// Shared memory, tmpfs included.
    package var shared = ByteCount.zero

    /// Reads `memory.stat`; on v1 the `total_` lines, which count descendants, as v2 does.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        var lines = KeyValueLines("memory.stat")
        while let (key, value) = try lines.next(in: text) {
            let amount = ByteCount.bytes(Int64(clamping: value))
            if text.equals(key, "anon") || text.equals(key, "total_rss") {
                anonymous = amount
            } else if text.equals(key, "file") || text.equals(key, "total_cache") {
                file = amount
            } else if text.equals(key, "inactive_file") {
                // v1 has this line too, without descendants, before the total that then replaces it.
                inactiveFile = amount
            } else if text.equals(key, "total_inactive_file") {
                inactiveFile = amount
            } else if text.equals(key, "shmem") || text.equals(key, "total_shmem") {
                shared = amount
            }
        }
    }
}

/// How often the memory limit was felt: `memory.events` on v2, `memory.oom_control` on v1.
package struct CgroupMemoryEvents: Sendable, Equatable, Codable {
    /// v2: the limit was reached and reclaim began.
    package var limitReached: UInt64 = 0
    /// v2: an allocation was about to fail.
    package var outOfMemory: UInt64 = 0
    /// Processes that were killed for memory; v1 has it since Linux 4.13.
    package var kills: UInt64 = 0
    /// v1: processes wait because nobody may be killed.
    package var isStuck = false

    /// Reads either file.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        var lines = KeyValueLines("memory.events")
        while let (key, value) = try lines.next(in: text) {
            if text.equals(key, "max") {
                limitReached = value
            } else if text.equals(key, "oom") {
                outOfMemory = value
            } else if text.equals(key, "oom_kill") {
                kills = value
            } else if text.equals(key, "under_oom") {
                isStuck = value != 0
            }
        }
    }
}

/// `cgroup.events` of v2.
package struct CgroupEvents: Sendable, Equatable, Codable {
    /// Whether the cgroup or one below it holds a process.
    package var isPopulated = false
    /// Whether all of its processes have stopped; always false before Linux 5.2.
    package var isFrozen = false

    /// Reads `cgroup.events`.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        var lines = KeyValueLines("cgroup.events")
        while let (key, value) = try lines.next(in: text) {
            if text.equals(key, "populated") {
                isPopulated = value != 0
            } else if text.equals(key, "frozen") {
                isFrozen = value != 0
            }
        }
    }
}

/// `freezer.state` of v1.
package enum FreezerState: String, Sendable, Equatable, Codable {
    case thawed = "THAWED"
    case freezing = "FREEZING"
    case frozen = "FROZEN"

    /// Reads `freezer.state`.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        let word = text.string(text.trimmedBounds)
        guard let state = FreezerState(rawValue: word) else {
            throw SampleError(file: "freezer.state", line: 1, text: word, expected: "THAWED, FREEZING or FROZEN")
        }
        self = state
    }
}

/// Cgroup files that hold one value, or a list.
package enum CgroupValue {
    /// A counter or amount: `cpuacct.usage`, `memory.current`, `pids.current`, ...
    package static func number(parsing text: Span<UInt8>, file: String) throws(SampleError) -> UInt64 {
        guard let value = text.unsigned(text.trimmedBounds) else {
            throw SampleError(file: file, line: 1, text: text.string(text.trimmedBounds), expected: "a whole number")
        }
        return value
    }

    /// A limit: nil for `max`, `-1`, and for v1's "no limit", the largest multiple of a page below 2^63.
    package static func limit(parsing text: Span<UInt8>, file: String) throws(SampleError) -> UInt64? {
        let word = text.trimmedBounds
        if text.equals(word, "max") || text.equals(word, "-1") { return nil }
        guard let value = text.unsigned(word) else {
            throw SampleError(file: file, line: 1, text: text.string(word), expected: "a whole number or \"max\"")
        }
        // PAGE_COUNTER_MAX is LONG_MAX rounded down to a page, and pages are at most 64 KiB.
        return value >= UInt64(Int64.max) & ~0xFFFF ? nil : value
    }

    /// `cpu.max`: quota (nil without one) and period.
    package static func cpuMaximum(
        parsing text: Span<UInt8>
    ) throws(SampleError) -> (quota: Duration?, period: Duration) {
        var words = WordCursor(text.trimmedBounds)
        func failure() -> SampleError {
            SampleError(
                file: "cpu.max",
                line: 1,
                text: text.string(text.trimmedBounds),
                expected: "\"QUOTA PERIOD\" in microseconds"
            )
        }
        guard let first = words.next(in: text), let period = words.unsigned(in: text) else { throw failure() }
        if text.equals(first, "max") { return (nil, .counted(microseconds: period)) }
        guard let quota = text.unsigned(first) else { throw failure() }
        return (.counted(microseconds: quota), .counted(microseconds: period))
    }

    /// Process numbers, one a line: `cgroup.procs`.
    package static func processes(parsing text: Span<UInt8>) throws(SampleError) -> [Int32] {
        var cursor = LineCursor()
        var numbers: [Int32] = []
        while let line = cursor.next(in: text), !line.isEmpty {
            guard let number = text.unsigned(line), number <= UInt64(Int32.max) else {
                throw text.failure("cgroup.procs", cursor, line, "a process number")
            }
            // 0 stands for a process of another pid namespace: nothing here can name it.
            if number != 0 { numbers.append(Int32(number)) }
        }
        return numbers
    }

    /// Words that blanks separate: `cgroup.controllers`, `cgroup.subtree_control`.
    package static func words(parsing text: Span<UInt8>) -> [String] {
        var words = WordCursor(text.trimmedBounds)
        var result: [String] = []
        while let word = words.string(in: text) { result.append(word) }
        return result
    }
}

/// The lines `key number` that most cgroup files consist of.
struct KeyValueLines {
    private var cursor = LineCursor()
    private let file: String

    init(_ file: String) { self.file = file }

    mutating func next(in text: Span<UInt8>) throws(SampleError) -> (key: Range<Int>, value: UInt64)? {
        while let line = cursor.next(in: text) {
            var words = WordCursor(line)
            guard let key = words.next(in: text) else { continue }
            guard let value = words.unsigned(in: text) else {
                throw text.failure(file, cursor, line, "a key and a whole number")
            }
            return (key, value)
        }
        return nil
    }
}
