internal import Glibc

/// One of the container's two outputs: reads the pipe and cuts it into lines.
struct OutputStream {
    /// The longest text that is kept as one line; more is cut into partial lines, as the CRI log format does.
    static let lineLimit = 16 << 10

    /// Which output it is, as the log names it.
    let name: String
    /// The pipe's end, or -1 when it has been closed.
    private(set) var descriptor: Int32
    /// The start of a line whose end has not come yet.
    private var pending: [UInt8] = []
    private var buffer = [UInt8](repeating: 0, count: 64 << 10)

    init(name: String, descriptor: Int32) {
        self.name = name
        self.descriptor = descriptor
    }

    var isOpen: Bool { descriptor >= 0 }

    /// Takes one bufferful from the pipe: the other output and the container's end get their turn in between.
    mutating func copy(to log: inout LogWriter) {
        let number = descriptor
        let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(number, $0.baseAddress, $0.count) }
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
        guard count > 0 else {
            close(descriptor)
            descriptor = -1
            return
        }
        var batch = LogBatch(stream: name, nanoseconds: wallClockNanoseconds())
        var start = 0
        while start < count {
            let end = buffer[start..<count].firstIndex(of: UInt8(ascii: "\n")) ?? count
            var from = start
            while pending.count + end - from > Self.lineLimit {
                let cut = from + Self.lineLimit - pending.count
                pending += buffer[from..<cut]
                batch.append(pending[...], isPartial: true)
                pending.removeAll(keepingCapacity: true)
                from = cut
            }
            if end < count {
                if pending.isEmpty {
                    batch.append(buffer[from..<end], isPartial: false)
                } else {
                    pending += buffer[from..<end]
                    batch.append(pending[...], isPartial: false)
                    pending.removeAll(keepingCapacity: true)
                }
            } else {
                pending += buffer[from..<end]
            }
            start = end + 1
        }
        log.write(batch)
    }

    /// Writes what came after the last line end.
    mutating func finish(in log: inout LogWriter) {
        if isOpen {
            close(descriptor)
            descriptor = -1
        }
        if pending.isEmpty { return }
        var batch = LogBatch(stream: name, nanoseconds: wallClockNanoseconds())
        batch.append(pending[...], isPartial: false)
        pending = []
        log.write(batch)
    }
}
