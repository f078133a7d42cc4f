package import ClusterModel

/// Where the time of one processor, or of all together, has gone since boot; from a `cpu` line of /proc/stat.
///
/// The kernel counts in ticks of 10 ms (USER_HZ is 100 on every Linux port that matters here, see proc(5)).
package struct ProcessorTimes: Sendable, Equatable, Codable {
    package var user = Duration.zero
    package var nice = Duration.zero
    package var system = Duration.zero
    package var idle = Duration.zero
    package var ioWait = Duration.zero
    package var interrupt = Duration.zero
    package var softInterrupt = Duration.zero
    /// Taken by the hypervisor for other machines.
    package var stolen = Duration.zero

    /// All zero.
    package init() {}

    /// Time in which work was done for this machine.
    package var busy: Duration { user + nice + system + interrupt + softInterrupt }
    /// All time that passed.
    package var total: Duration { busy + idle + ioWait + stolen }

    /// The part of the time since an earlier reading in which work was done, 0...1; 0 when no time passed.
    package func utilization(since earlier: ProcessorTimes) -> Double {
        let passed = (total - earlier.total).inSeconds
        guard passed > 0 else { return 0 }
        return min(1, max(0, (busy - earlier.busy).inSeconds / passed))
    }
}

/// /proc/stat: processor times and counters since boot.
package struct ProcessorSample: Sendable, Equatable, Codable {
    package var all = ProcessorTimes()
    /// One per processor that is online, in the kernel's order.
    package var each: [ProcessorTimes] = []
    /// Over all processors, since boot.
    package var contextSwitches: UInt64 = 0
    /// When the machine started.
    package var booted = Timestamp.epoch
    /// Processes and threads created since boot.
    package var forks: UInt64 = 0
    /// Threads that run or want to.
    package var running: UInt64 = 0
    /// Threads that wait for storage.
    package var blocked: UInt64 = 0

    /// Reads the text of /proc/stat.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        var cursor = LineCursor()
        var hasTotal = false
        while let line = cursor.next(in: text) {
            var words = WordCursor(line)
            guard let key = words.next(in: text) else { continue }
            if key.count >= 3, text.equals(key.lowerBound..<key.lowerBound + 3, "cpu") {
                let times = try Self.times(&words, text, cursor, line)
                if key.count == 3 { (all, hasTotal) = (times, true) } else { each.append(times) }
                continue
            }
            let known = ["ctxt", "btime", "processes", "procs_running", "procs_blocked"]
            guard let name = known.first(where: { text.equals(key, $0) }) else { continue }
            guard let value = words.unsigned(in: text) else {
                throw text.failure("/proc/stat", cursor, line, "a number after \(name)")
            }
            switch name {
            case "ctxt": contextSwitches = value
            case "btime": booted = Timestamp(rawValue: Int64(clamping: value.multipliedClamped(by: 1_000_000_000)))
            case "processes": forks = value
            case "procs_running": running = value
            default: blocked = value
            }
        }
        guard hasTotal else {
            throw SampleError(file: "/proc/stat", line: 0, text: "", expected: "a line that begins with \"cpu \"")
        }
    }

    private static func times(
        _ words: inout WordCursor,
        _ text: Span<UInt8>,
        _ cursor: LineCursor,
        _ line: Range<Int>
    ) throws(SampleError) -> ProcessorTimes {
        var times = ProcessorTimes()
        // Kernels before 2.6.11 have fewer columns; the first four have always been there (proc(5)).
        let columns: [WritableKeyPath<ProcessorTimes, Duration>] = [
            \.user, \.nice, \.system, \.idle, \.ioWait, \.interrupt, \.softInterrupt, \.stolen,
        ]
        for (index, column) in columns.enumerated() {
            guard let word = words.next(in: text) else {
                if index >= 4 { break }
                throw text.failure("/proc/stat", cursor, line, "at least four numbers")
            }
            guard let ticks = text.unsigned(word) else {
                throw text.failure("/proc/stat", cursor, line, "a number in column \(index + 1)")
            }
            times[keyPath: column] = .ticks(ticks)
        }
        return times
    }
}

/// /proc/loadavg.
package struct LoadAverage: Sendable, Equatable, Codable {
    /// Threads that run, want to run or wait for storage: a decaying average over one minute.
    package var oneMinute: Double
    /// The same over 5 minutes.
    package var fiveMinutes: Double
    /// The same over 15 minutes.
    package var fifteenMinutes: Double
    /// Threads that run or want to, at the moment of reading; the reader itself is one.
    package var runnableThreads: UInt64
    /// All threads of the machine.
    package var threads: UInt64

    /// Reads the text of /proc/loadavg.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        var cursor = LineCursor()
        let line = cursor.next(in: text) ?? 0..<0
        func failure() -> SampleError {
            text.failure("/proc/loadavg", cursor, line, "three averages and runnable/total threads")
        }
        var words = WordCursor(line)
        var averages: [Double] = []
        while averages.count < 3 {
            guard let word = words.next(in: text), let value = text.decimal(word), value.isFinite, value >= 0 else {
                throw failure()
            }
            averages.append(value)
        }
        guard let threads = words.next(in: text), let slash = threads.first(where: { text[$0] == 47 }),
            let running = text.unsigned(threads.lowerBound..<slash),
            let total = text.unsigned(slash + 1..<threads.upperBound)
        else { throw failure() }
        (oneMinute, fiveMinutes, fifteenMinutes) = (averages[0], averages[1], averages[2])
        (runnableThreads, self.threads) = (running, total)
    }
}

extension Duration {
    /// Kernel ticks of 10 ms.
    static func ticks(_ count: UInt64) -> Duration {
        .milliseconds(Int64(clamping: min(count, 1 << 53).multipliedClamped(by: 10)))
    }
    /// A kernel counter of nanoseconds.
    static func counted(nanoseconds: UInt64) -> Duration { .nanoseconds(Int64(clamping: nanoseconds)) }
    /// A kernel counter of microseconds.
    static func counted(microseconds: UInt64) -> Duration { .microseconds(Int64(clamping: microseconds)) }
}

extension UInt64 {
    func multipliedClamped(by factor: UInt64) -> UInt64 {
        let (product, overflowed) = multipliedReportingOverflow(by: factor)
        return overflowed ? .max : product
    }
}
