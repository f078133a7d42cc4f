/// One process as /proc/PID/stat tells it.
package struct ProcessSample: Sendable, Equatable, Codable {
    package var id: Int32
    /// The name of the executable, at most 15 characters; may hold blanks and parentheses.
    package var command: String
    /// `R` running, `S` sleeping, `D` waiting for storage, `T` stopped, `Z` ended but not reaped, `X` gone, ...
    package var state: String
    /// Number of its parent; 0 when that is outside this PID namespace, or the kernel.
    package var parent: Int32
    /// Number of its process group; 0 for threads of the kernel.
    package var processGroup: Int32
    /// Number of its session; 0 for threads of the kernel.
    package var session: Int32
    package var userTime: Duration
    package var systemTime: Duration
    /// The first one included.
    package var threads: Int
    /// Ticks after boot at which it started: with the number, this identifies a process within one boot.
    package var startTicks: UInt64
    /// Pages of memory that are resident.
    package var residentPages: Int64

    /// Whether it can still run: neither ended nor gone.
    package var isAlive: Bool { state != "Z" && state != "X" && state != "x" }

    /// Reads the text of /proc/PID/stat.
    ///
    /// The command stands in parentheses and may hold parentheses itself, so the last one in the line closes it (proc(5)).
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        let line = text.trimmedBounds
        func failure(_ expected: String) -> SampleError {
            SampleError(file: "/proc/PID/stat", line: 1, text: text.string(line), expected: expected)
        }
        guard let open = line.first(where: { text[$0] == 40 }), let close = line.last(where: { text[$0] == 41 }),
            open < close, open > line.lowerBound, let id = text.unsigned(line.lowerBound..<open - 1)
        else { throw failure("a number and a command in parentheses") }
        self.id = Int32(clamping: id)
        command = text.string(open + 1..<close)

        var words = WordCursor(close + 1..<line.upperBound)
        guard let state = words.string(in: text), state.count == 1 else { throw failure("a state after the command") }
        self.state = state
        // Fields are counted as in proc(5): the state is number 3.
        var fields: [Int64] = []
        while fields.count < 21 {
            guard let word = words.string(in: text), let value = Int64(clampingDigits: word) else {
                throw failure("a number in field \(fields.count + 4)")
            }
            fields.append(value)
        }
        func field(_ number: Int) -> Int64 { fields[number - 4] }
        parent = Int32(clamping: field(4))
        processGroup = Int32(clamping: field(5))
        session = Int32(clamping: field(6))
        userTime = .ticks(UInt64(clamping: field(14)))
        systemTime = .ticks(UInt64(clamping: field(15)))
        threads = Int(clamping: field(20))
        startTicks = UInt64(clamping: field(22))
        residentPages = field(24)
    }
}

extension Int64 {
    /// Reads a whole number; a counter beyond the range becomes the largest value instead of a failure.
    init?(clampingDigits text: String) {
        if let value = Int64(text) {
            self = value
        } else if UInt64(text) != nil {
            self = .max
        } else {
            return nil
        }
    }
}
