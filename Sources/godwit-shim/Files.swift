internal import CLinux
internal import Glibc

/// Reads up to `limit` bytes of a file; nil when it cannot be opened.
func readFile(_ path: String, limit: Int) -> [UInt8]? {
    let file = unsafe godwit_open(path, O_RDONLY | O_CLOEXEC, 0)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while result.count < limit {
        let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        if count <= 0 { break }
        result += buffer[..<count]
    }
    return result
}

/// Writes all bytes; false when some could not be written.
@discardableResult
func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    var done = 0
    while done < bytes.count {
        let count = unsafe bytes.withUnsafeBytes { buffer in
            unsafe write(descriptor, buffer.baseAddress.map { unsafe $0 + done }, buffer.count - done)
        }
        if count < 0 && errno == EINTR { continue }
        if count <= 0 { return false }
        done += count
    }
    return true
}

/// Writes `bytes` into `temporary`, over what it holds, and gives it the name `path`.
@discardableResult
func replaceFile(_ path: String, from temporary: String, with bytes: [UInt8], durably: Bool) -> Bool {
    let file = unsafe godwit_open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    guard file >= 0 else { return false }
    let isWritten =
        writeAll(bytes, to: file) && ftruncate(file, off_t(bytes.count)) == 0 && (!durably || fsync(file) == 0)
    close(file)
    guard isWritten, unsafe rename(temporary, path) == 0 else { return false }
    if durably {
        let folder = unsafe godwit_open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        fsync(folder)
        close(folder)
    }
    return true
}

/// When a process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)); 0 when it is gone.
func startTime(of process: pid_t) -> UInt64 {
    guard let text = readFile("/proc/\(process)/stat", limit: 4096),
        // The name in field 2 may hold blanks and brackets: count from the last bracket, after which comes field 3.
        let bracket = text.lastIndex(of: UInt8(ascii: ")"))
    else { return 0 }
    let fields = text[text.index(after: bracket)...].split(separator: UInt8(ascii: " "))
    return fields.count > 19 ? UInt64(String(decoding: fields[19], as: UTF8.self)) ?? 0 : 0
}

func wallClockNanoseconds() -> Int64 { nanoseconds(CLOCK_REALTIME) }
func monotonicMilliseconds() -> Int64 { nanoseconds(CLOCK_MONOTONIC) / 1_000_000 }
func bootNanoseconds() -> Int64 { nanoseconds(CLOCK_BOOTTIME) }

/// The kernel's random identity of this boot; `-` where /proc does not show it.
func bootID() -> String {
    let name = (readFile("/proc/sys/kernel/random/boot_id", limit: 64) ?? []).filter { $0 > 32 }
    return name.isEmpty ? "-" : String(decoding: name, as: UTF8.self)
}

private func nanoseconds(_ clock: clockid_t) -> Int64 {
    var moment = timespec()
    _ = unsafe clock_gettime(clock, &moment)
    return Int64(moment.tv_sec) * 1_000_000_000 + Int64(moment.tv_nsec)
}

/// Ends the shim before it has started anything.
func fail(_ reason: String) -> Never {
    writeAll(Array("failed -1 \(reason)\n".utf8), to: 3)
    writeAll(Array("godwit-shim: \(reason)\n".utf8), to: 2)
    exit(1)
}
