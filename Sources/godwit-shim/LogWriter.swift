internal import CLinux
internal import Glibc

/// Lines that came out of one read, as they stand in the file: `<unix ns> <stdout|stderr> <F|P> text`.
struct LogBatch {
    private let prefix: [UInt8]
    private(set) var bytes: [UInt8] = []
    private(set) var lineCount = 0

    init(stream: String, nanoseconds: Int64) { prefix = Array("\(nanoseconds) \(stream) ".utf8) }

    /// Adds one line; `isPartial` says that the next one of this stream continues it.
    mutating func append(_ text: ArraySlice<UInt8>, isPartial: Bool) {
        bytes += prefix
        bytes.append(UInt8(ascii: isPartial ? "P" : "F"))
        bytes.append(UInt8(ascii: " "))
        bytes += text
        bytes.append(UInt8(ascii: "\n"))
        lineCount += 1
    }
}

/// The container's log, in files of a bounded size of which the newest are kept: `0000000001.log`, `0000000002.log` and so on.
///
/// A new file gets a new name and no file is ever renamed, so a reader that follows cannot lose its place. A line that cannot be
/// written (full disk) is dropped and counted, and the count stands in the log once writing works again: the container matters more
/// than its log.
struct LogWriter {
    private let folder: String
    private let fileBytes: Int
    private let fileCount: Int
    private var descriptor: Int32 = -1
    private var number = 0
    private var size = 0
    private var unreportedLineCount = 0
    /// Lines that could not be written, in all.
    private(set) var droppedLineCount = 0

    init(folder: String, fileBytes: Int, fileCount: Int) {
        (self.folder, self.fileBytes, self.fileCount) = (folder, fileBytes, fileCount)
        _ = unsafe mkdir(folder, 0o755)
    }

    mutating func write(_ batch: LogBatch) {
        if batch.lineCount == 0 { return }
        if unreportedLineCount > 0 { reportDropped() }
        if !append(batch.bytes) {
            droppedLineCount += batch.lineCount
            unreportedLineCount += batch.lineCount
        }
    }

    mutating func finish() {
        if unreportedLineCount > 0 { reportDropped() }
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
    }

    private mutating func reportDropped() {
        var note = LogBatch(stream: "stderr", nanoseconds: wallClockNanoseconds())
        let text =
            "godwit: \(unreportedLineCount) lines are missing here: they could not be written (is the disk full?)"
        note.append(Array(text.utf8)[...], isPartial: false)
        if append(note.bytes) { unreportedLineCount = 0 }
    }

    /// Writes all or nothing.
    private mutating func append(_ bytes: [UInt8]) -> Bool {
        if descriptor < 0 || (size > 0 && size + bytes.count > fileBytes) { openNext() }
        guard descriptor >= 0 else { return false }
        if writeAll(bytes, to: descriptor) {
            size += bytes.count
            return true
        }
        _ = ftruncate(descriptor, size)
        return false
    }

    private mutating func openNext() {
        if descriptor >= 0 { close(descriptor) }
        // The oldest goes first: on a full disk that is what makes room.
        if number >= fileCount { _ = unsafe unlink(path(number - fileCount + 1)) }
        descriptor = unsafe godwit_open(path(number + 1), O_WRONLY | O_CREAT | O_APPEND | O_TRUNC | O_CLOEXEC, 0o640)
        if descriptor < 0 { return }
        number += 1
        size = 0
    }

    private func path(_ number: Int) -> String {
        let digits = String(number)
        return "\(folder)/\(String(repeating: "0", count: max(0, 10 - digits.count)))\(digits).log"
    }
}
