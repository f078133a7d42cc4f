/// Walks the lines of a text without copying them; the text itself is passed to every call.
///
/// A struct that held the span would have to be non-escapable, which a cursor next to it need not be.
package struct LineCursor: Sendable {
    private var offset = 0
    /// The number of the line that was given out last, from 1.
    package private(set) var number = 0

    /// Starts before the first line.
    package init() {}

    /// The bytes of the next line without its end, or nil after the last; empty lines count.
    package mutating func next(in text: Span<UInt8>) -> Range<Int>? {
        guard offset < text.count else { return nil }
        let start = offset
        var end = start
        while end < text.count, text[end] != 10 { end += 1 }
        offset = end + 1
        number += 1
        return start..<end
    }
}

/// Walks the words of a line; blanks and tabs separate them.
package struct WordCursor: Sendable {
    private var offset: Int
    private let end: Int

    /// Starts at the beginning of the line.
    package init(_ line: Range<Int>) { (offset, end) = (line.lowerBound, line.upperBound) }

    /// The bytes of the next word, or nil at the end of the line.
    package mutating func next(in text: Span<UInt8>) -> Range<Int>? {
        while offset < end, Self.isBlank(text[offset]) { offset += 1 }
        guard offset < end else { return nil }
        let start = offset
        while offset < end, !Self.isBlank(text[offset]) { offset += 1 }
        return start..<offset
    }

    /// The next word as a whole number without a sign; nil when there is none, or it is something else or too large.
    package mutating func unsigned(in text: Span<UInt8>) -> UInt64? {
        next(in: text).flatMap { text.unsigned($0) }
    }

    /// The next word as text.
    package mutating func string(in text: Span<UInt8>) -> String? { next(in: text).map { text.string($0) } }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 32 || byte == 9 }
}

extension Span<UInt8> {
    /// The range as a whole number without a sign; nil for anything else, the empty range and overflow.
    package func unsigned(_ range: Range<Int>) -> UInt64? {
        guard !range.isEmpty else { return nil }
        var value: UInt64 = 0
        for index in range {
            let digit = self[index] &- 48
            guard digit < 10 else { return nil }
            let (scaled, overflowed) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflowedAgain) = scaled.addingReportingOverflow(UInt64(digit))
            guard !overflowed, !overflowedAgain else { return nil }
            value = sum
        }
        return value
    }

    /// The range as a decimal fraction such as `12.34` or `-1`; nil for anything else.
    package func decimal(_ range: Range<Int>) -> Double? { Double(string(range)) }

    /// Whether the range spells this text.
    package func equals(_ range: Range<Int>, _ word: String) -> Bool {
        var index = range.lowerBound
        for byte in word.utf8 {
            guard index < range.upperBound, self[index] == byte else { return false }
            index += 1
        }
        return index == range.upperBound
    }

    /// The range as text; bytes that are not UTF-8 become U+FFFD.
    package func string(_ range: Range<Int>) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(range.count)
        for index in range { bytes.append(self[index]) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The whole text without blanks and line ends at its ends.
    var trimmedBounds: Range<Int> {
        var (start, end) = (0, count)
        func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }
        while start < end, isSpace(self[start]) { start += 1 }
        while end > start, isSpace(self[end - 1]) { end -= 1 }
        return start..<end
    }

    func failure(_ file: String, _ cursor: LineCursor, _ line: Range<Int>, _ expected: String) -> SampleError {
        SampleError(file: file, line: cursor.number, text: string(line), expected: expected)
    }
}
