internal import CLinux
internal import Glibc

/// A file descriptor that has one owner and is closed when the owner goes.
///
/// Every descriptor is opened close-on-exec, so that no container or helper program inherits one by accident.
package struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, for calls that borrow it; never close it.
    package let rawValue: Int32

    /// Takes over an open descriptor.
    package init(owning rawValue: Int32) { self.rawValue = rawValue }

    deinit { _ = Glibc.close(rawValue) }

    /// Opens a file; `flags` are those of open(2), to which O_CLOEXEC is added.
    package init(opening path: String, _ flags: Int32, mode: UInt32 = 0o644) throws(SystemError) {
        rawValue = try retrying(flags & O_CREAT == 0 ? "open" : "create", path) {
            unsafe godwit_open(path, flags | O_CLOEXEC, mode)
        }
    }

    /// Gives the descriptor away: the caller must close it.
    package consuming func release() -> Int32 {
        let number = rawValue
        discard self
        return number
    }

    /// A second descriptor for the same open file.
    package borrowing func duplicate() throws(SystemError) -> OwnedDescriptor {
        let number = rawValue
        return OwnedDescriptor(owning: try retrying("duplicate descriptor", "") { godwit_duplicate(number, 3) })
    }

    /// An eventfd(2): readable once eight bytes have been written into it.
    package static func event() throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(owning: try retrying("make an event", "") { godwit_eventfd() })
    }

    /// A pipe, both ends close-on-exec and blocking.
    package static func pipe() throws(SystemError) -> PipeEnds {
        var (reading, writing): (Int32, Int32) = (-1, -1)
        _ = try retrying("make a pipe", "") { unsafe godwit_pipe(&reading, &writing) }
        return PipeEnds(reading: OwnedDescriptor(owning: reading), writing: OwnedDescriptor(owning: writing))
    }

    /// Both ends of a stream that goes both ways, close-on-exec and blocking.
    package static func streamPair() throws(SystemError) -> PipeEnds {
        var (first, second): (Int32, Int32) = (-1, -1)
        _ = try retrying("make a pair of sockets", "") { unsafe godwit_socket_pair(&first, &second) }
        return PipeEnds(reading: OwnedDescriptor(owning: first), writing: OwnedDescriptor(owning: second))
    }

    /// Makes reads and writes wait, or return at once.
    package borrowing func setBlocking(_ isBlocking: Bool) throws(SystemError) {
        let number = rawValue
        _ = try retrying("change descriptor flags", "") { godwit_set_blocking(number, isBlocking ? 1 : 0) }
    }

    /// Reads up to `capacity` bytes at the present position; an empty array is the end of the file.
    package borrowing func read(upTo capacity: Int) throws(SystemError) -> [UInt8] {
        let number = rawValue
        var bytes = [UInt8](repeating: 0, count: capacity)
        let count = try retrying("read", "") {
            unsafe bytes.withUnsafeMutableBytes { unsafe Glibc.read(number, $0.baseAddress, $0.count) }
        }
        bytes.removeLast(capacity - count)
        return bytes
    }

    /// Writes all bytes at the present position, in as many calls as it takes.
    package borrowing func write(_ bytes: [UInt8], path: String = "") throws(SystemError) {
        let number = rawValue
        var done = 0
        while done < bytes.count {
            done += try retrying("write", path) {
                unsafe bytes.withUnsafeBytes {
                    unsafe Glibc.write(number, $0.baseAddress.map { unsafe $0 + done }, $0.count - done)
                }
            }
        }
    }

    /// Waits until what was written is on stable storage.
    package borrowing func synchronize(path: String = "") throws(SystemError) {
        let number = rawValue
        _ = try retrying("fsync", path) { fsync(number) }
    }
}

/// The two ends of a pipe, or of a stream, where each does both.
package struct PipeEnds: ~Copyable, Sendable {
    package let reading: OwnedDescriptor
    package let writing: OwnedDescriptor

    /// Takes the ends apart.
    package consuming func take<Result: ~Copyable, Failure: Error>(
        _ body: (consuming OwnedDescriptor, consuming OwnedDescriptor) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(reading, writing)
    }
}
