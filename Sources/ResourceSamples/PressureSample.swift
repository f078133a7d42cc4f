/// Pressure stall information of one resource: how long tasks waited for it (Documentation/accounting/psi.rst).
package struct PressureSample: Sendable, Equatable, Codable {
    /// One line: shares of time in percent over three windows, and the total since boot or creation.
    package struct Line: Sendable, Equatable, Codable {
        /// Percent, 0...100 in steps of 0.01: the kernel's decaying average over 10 s.
        package var tenSeconds: Double
        /// The same over 60 s.
        package var oneMinute: Double
        /// The same over 300 s.
        package var fiveMinutes: Double
        package var total: Duration
    }

    /// At least one task waited.
    package var some: Line
    /// All tasks waited at once; for a machine's CPU the kernel gives zero, older ones no line at all.
    package var full: Line?

    /// Reads the text of /proc/pressure/X or of a cgroup's X.pressure.
    package init(parsing text: Span<UInt8>) throws(SampleError) {
        var cursor = LineCursor()
        var (some, full): (Line?, Line?)
        while let line = cursor.next(in: text) {
            var words = WordCursor(line)
            guard let kind = words.next(in: text) else { continue }
            let isSome = text.equals(kind, "some")
            guard isSome || text.equals(kind, "full") else { continue }
            guard let tenSeconds = Self.value("avg10=", &words, text), let minute = Self.value("avg60=", &words, text),
                let five = Self.value("avg300=", &words, text), let word = words.next(in: text),
                let total = Self.suffix(of: word, after: "total=", text).flatMap({ text.unsigned($0) })
            else { throw text.failure("pressure", cursor, line, "avg10= avg60= avg300= total=") }
            let parsed = Line(
                tenSeconds: tenSeconds,
                oneMinute: minute,
                fiveMinutes: five,
                total: .counted(microseconds: total)
            )
            if isSome { some = parsed } else { full = parsed }
        }
        guard let some else {
            throw SampleError(file: "pressure", line: 0, text: "", expected: "a line that begins with \"some\"")
        }
        (self.some, self.full) = (some, full)
    }

    private static func value(_ key: String, _ words: inout WordCursor, _ text: Span<UInt8>) -> Double? {
        guard let word = words.next(in: text), let digits = suffix(of: word, after: key, text),
            let point = digits.first(where: { text[$0] == 46 }),
            let whole = text.unsigned(digits.lowerBound..<point), whole <= 1000,
            let hundredths = text.unsigned(point + 1..<digits.upperBound), digits.upperBound - point == 3
        else { return nil }
        return Double(whole * 100 + hundredths) / 100
    }

    private static func suffix(of word: Range<Int>, after key: String, _ text: Span<UInt8>) -> Range<Int>? {
        let end = word.lowerBound + key.utf8.count
        guard end <= word.upperBound, text.equals(word.lowerBound..<end, key) else { return nil }
        return end..<word.upperBound
    }
}
