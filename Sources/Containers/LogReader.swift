package import ClusterModel
internal import Glibc
internal import LinuxSystem

/// One line of a container's output.
package struct LogLine: Sendable, Equatable {
    /// Where a line came out.
    package enum Stream: String, Sendable, Codable { case standardOutput = "stdout", standardError = "stderr" }

    package var writtenAt: Timestamp
    package var stream: Stream
    /// Whether the next line of the same stream continues this one, which was longer than the log keeps in one piece.
    package var isPartial: Bool
    /// Without the line end, as the container wrote it.
    package var bytes: [UInt8]

    /// Bytes that are not UTF-8 become U+FFFD.
    package var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Reads `<unix ns> <stdout|stderr> <F|P> text`; nil for anything else.
    init?(parsing line: ArraySlice<UInt8>) {
        let parts = line.split(separator: UInt8(ascii: " "), maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4, let moment = Int64(String(decoding: parts[0], as: UTF8.self)),
            let stream = Stream(rawValue: String(decoding: parts[1], as: UTF8.self)), parts[2].count == 1
        else { return nil }
        writtenAt = Timestamp(rawValue: moment)
        self.stream = stream
        isPartial = parts[2].first == UInt8(ascii: "P")
        bytes = Array(parts[3])
    }
}

/// A place in a container's log, between two lines; files are numbered from 1 and never renamed.
package struct LogPosition: Sendable, Hashable, Comparable, Codable {
    /// Number of the file, from 1.
    package var file: Int
    /// Bytes from the beginning of that file, always at the beginning of a line.
    package var offset: Int64
    package init(file: Int, offset: Int64) { (self.file, self.offset) = (file, offset) }
    /// Before the oldest line; a reader that begins here begins with the oldest file that is left.
    package static let beginning = LogPosition(file: 1, offset: 0)
    package static func < (left: Self, right: Self) -> Bool { (left.file, left.offset) < (right.file, right.offset) }
}

/// Reads the log that a shim writes, while it is being written and rotated.
package struct LogReader: Sendable {
    let folder: String
    /// Tells whether more can come.
    let isOpen: @Sendable () -> Bool

    /// Reads the logs in a folder; `isOpen` tells whether more can come.
    package init(folder: String, isOpen: @escaping @Sendable () -> Bool) {
        (self.folder, self.isOpen) = (folder, isOpen)
    }

    /// The most that is read at once: what a slow consumer can make the agent hold.
    static let chunkBytes = 256 << 10

    /// Bytes of lines that ``tail(_:)`` returns at most, so that long lines cannot fill the agent's memory.
    static let tailBytes = 16 << 20

    /// The position of the last `count` lines (or as many as are kept), and those lines; fewer when they are very long.
    package func tail(_ count: Int) throws -> (lines: [LogLine], end: LogPosition) {
        var lines: [LogLine] = []
        var bytes = 0
        let files = numbers()
        var end = LogPosition(file: files.last ?? 1, offset: 0)
        for number in files.reversed() {
            var fromHere: [LogLine] = []
            var position = LogPosition(file: number, offset: 0)
            while let chunk = read(at: position), !chunk.isEmpty {
                let parsed = Self.lines(in: chunk)
                if parsed.consumed == 0 { break }
                fromHere += parsed.lines
                position.offset += Int64(parsed.consumed)
                // Keeping only what can still be asked for bounds memory by the lines, not by the file.
                if fromHere.count > 2 * count + 1000 { fromHere.removeFirst(fromHere.count - count) }
                Self.cut(&fromHere, to: Self.tailBytes - bytes)
            }
            if number == files.last { end = position }
            lines = fromHere + lines
            bytes += fromHere.reduce(0) { $0 + $1.bytes.count }
            if lines.count >= count || bytes >= Self.tailBytes / 2 { break }
        }
        return (Array(lines.suffix(max(0, count))), end)
    }

    /// Keeps the newest lines that together have at most so many bytes.
    private static func cut(_ lines: inout [LogLine], to limit: Int) {
        var (sum, kept) = (0, 0)
        for line in lines.reversed() {
            sum += line.bytes.count
            if sum > limit { break }
            kept += 1
        }
        lines.removeFirst(lines.count - kept)
    }

    /// The lines from a position on, as they come, until the container has ended and all were read.
    package func follow(from position: LogPosition = .beginning) -> LogLines {
        LogLines(reader: self, position: position)
    }

    /// The lines of one chunk at a position that is moved behind them.
    ///
    /// Empty when there is nothing new. A reader that fell behind the oldest file goes on there, with a line that says so.
    package func next(_ position: inout LogPosition) -> [LogLine] {
        while true {
            if let chunk = read(at: position) {
                let parsed = Self.lines(in: chunk)
                if parsed.consumed > 0 {
                    position.offset += Int64(parsed.consumed)
                    return parsed.lines
                }
            }
            let files = numbers()
            guard let next = files.first(where: { $0 > position.file }) else { return [] }
            // The next file exists, so this one is complete: look once more, since lines may have come in between.
            if let chunk = read(at: position), Self.lines(in: chunk).consumed > 0 { continue }
            let isGap = next > position.file + 1 || (!files.contains(position.file) && position.offset == 0)
            position = LogPosition(file: next, offset: 0)
            if isGap { return [Self.gap] }
        }
    }

    private static var gap: LogLine {
        let text =
            "\(WallClock.now().rawValue) stderr F godwit: older lines are missing here: the log was rotated before they were read"
        guard let line = LogLine(parsing: Array(text.utf8)[...]) else {
            preconditionFailure("a log line of our own is malformed: \(text)")
        }
        return line
    }

    /// Complete lines only; `consumed` is how many bytes they take.
    private static func lines(in chunk: [UInt8]) -> (lines: [LogLine], consumed: Int) {
        var lines: [LogLine] = []
        var start = 0
        while let end = chunk[start...].firstIndex(of: UInt8(ascii: "\n")) {
            if let line = LogLine(parsing: chunk[start..<end]) { lines.append(line) }
            start = end + 1
        }
        return (lines, start)
    }

    private func read(at position: LogPosition) -> [UInt8]? {
        let digits = String(position.file)
        let path = "\(folder)/\(String(repeating: "0", count: max(0, 10 - digits.count)))\(digits).log"
        guard let file = try? OwnedDescriptor(opening: path, O_RDONLY) else { return nil }
        var bytes = [UInt8](repeating: 0, count: Self.chunkBytes)
        let number = file.rawValue
        let count = unsafe bytes.withUnsafeMutableBytes {
            unsafe pread(number, $0.baseAddress, $0.count, off_t(position.offset))
        }
        guard count > 0 else { return nil }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    private func numbers() -> [Int] {
        ((try? FileSystem.list(folder)) ?? []).compactMap { $0.hasSuffix(".log") ? Int($0.dropLast(4)) : nil }.sorted()
    }
}

/// A container's output as it comes.
package struct LogLines: AsyncSequence, Sendable {
    package typealias Element = LogLine
    let reader: LogReader
    let position: LogPosition

    package func makeAsyncIterator() -> Iterator { Iterator(reader: reader, position: position) }

    /// Reads ahead by one chunk at most; the place of the next chunk is in `position`.
    package struct Iterator: AsyncIteratorProtocol {
        let reader: LogReader
        package private(set) var position: LogPosition
        private var ready: [LogLine] = []
        private var index = 0

        init(reader: LogReader, position: LogPosition) { (self.reader, self.position) = (reader, position) }

        /// Waits for a line; nil when the container has ended and no more can come, or the task was cancelled.
        package mutating func next() async -> LogLine? {
            while index == ready.count {
                // Asked before reading: what a container wrote at its end is there once this says that it has ended.
                let canContinue = reader.isOpen()
                ready = reader.next(&position)
                index = 0
                if !ready.isEmpty { break }
                guard canContinue else { return nil }
                do { try await Task.sleep(for: .milliseconds(100)) } catch { return nil }
            }
            defer { index += 1 }
            return ready[index]
        }
    }
}
