internal import Glibc
internal import LinuxSystem

/// An open file that threads read and write at given places, without a common position.
final class PositionedFile: Sendable {
    let path: String
    private let descriptor: OwnedDescriptor

    /// Opens with the flags of open(2); a symbolic link at the end of the path is refused.
    init(_ path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(SystemError) {
        self.path = path
        descriptor = try OwnedDescriptor(opening: path, flags | O_NOFOLLOW, mode: mode)
    }

    /// The length of the file now.
    func length() throws(SystemError) -> UInt64 {
        var status = stat()
        guard unsafe fstat(descriptor.rawValue, &status) == 0 else { throw SystemError.last("look at", path) }
        return UInt64(clamping: status.st_size)
    }

    func setLength(_ length: UInt64) throws(SystemError) {
        guard ftruncate(descriptor.rawValue, Int(clamping: length)) == 0 else {
            throw SystemError.last("set the length of", path)
        }
    }

    func setMode(_ mode: UInt32) throws(SystemError) {
        guard fchmod(descriptor.rawValue, mode) == 0 else { throw SystemError.last("change the mode of", path) }
    }

    /// Fills the buffer from `offset` on; returns fewer bytes only at the end of the file.
    func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = unsafe pread(
                descriptor.rawValue,
                buffer.baseAddress.map { unsafe $0 + done },
                buffer.count - done,
                off_t(clamping: offset) + done
            )
            if count == 0 { break }
            if count < 0 {
                if errno == EINTR { continue }
                throw SystemError.last("read", path)
            }
            done += count
        }
        return done
    }

    func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(SystemError) {
        var done = 0
        while done < buffer.count {
            let count = unsafe pwrite(
                descriptor.rawValue,
                buffer.baseAddress.map { unsafe $0 + done },
                buffer.count - done,
                off_t(clamping: offset) + done
            )
            if count < 0 {
                if errno == EINTR { continue }
                throw SystemError.last("write", path)
            }
            done += count
        }
    }

    func synchronize() throws(SystemError) { try descriptor.synchronize(path: path) }

    /// The next stretch at or after `offset` that holds data; nil when only a hole is left.
    ///
    /// File systems that know no holes answer with the whole file.
    func data(from offset: UInt64) throws(SystemError) -> Range<UInt64>? {
        // lseek(2): SEEK_DATA is 3 and SEEK_HOLE 4 on Linux; the C library's header hides them from us.
        let begin = lseek(descriptor.rawValue, off_t(clamping: offset), 3)
        if begin < 0 {
            if errno == ENXIO { return nil }
            throw SystemError.last("look for data in", path)
        }
        let end = lseek(descriptor.rawValue, begin, 4)
        guard end > begin else { throw SystemError.last("look for a hole in", path) }
        return UInt64(begin)..<UInt64(end)
    }

    /// Takes the advisory lock of the whole file without waiting; false when another process has it.
    func tryLock() throws(SystemError) -> Bool {
        if flock(descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 { return true }
        if errno == EWOULDBLOCK { return false }
        throw SystemError.last("lock", path)
    }

    /// Gives the lock back.
    ///
    /// Closing alone would leave it to a child that another thread is just starting, until that has executed its program.
    func unlock() { flock(descriptor.rawValue, LOCK_UN) }
}
