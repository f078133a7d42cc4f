internal import ClusterModel
internal import Glibc
internal import LinuxSystem

/// Reads and writes of a stream with a limit on each wait, on a thread that may be held up.
enum StreamSocket {
    /// No signal when the other end is gone, no waiting beyond ours.
    private static let quietly =
        Int32(truncatingIfNeeded: Int(MSG_NOSIGNAL)) | Int32(truncatingIfNeeded: Int(MSG_DONTWAIT))

    /// The next bytes of a socket or pipe, nil when the other end is gone; throws when nothing comes for too long.
    static func read(_ count: Int, from descriptor: Int32, within limit: Duration) throws -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            guard try wait(for: descriptor, POLLIN, within: limit) else { return nil }
            let found = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe Glibc.read(descriptor, buffer.baseAddress.map { unsafe $0 + done }, count - done)
            }
            if found < 0, errno == EINTR || errno == EAGAIN { continue }
            if found <= 0 { return nil }
            done += found
        }
        return bytes
    }

    /// Writes all bytes; false when the other end is gone, throws when it takes nothing for too long.
    static func write(_ bytes: [UInt8], to socket: Int32, within limit: Duration) throws -> Bool {
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe send(socket, buffer.baseAddress.map { unsafe $0 + done }, buffer.count - done, quietly)
            }
            if count >= 0 {
                done += count
            } else if errno == EAGAIN {
                guard try wait(for: socket, POLLOUT, within: limit) else { return false }
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    private static func wait(for descriptor: Int32, _ events: Int32, within limit: Duration) throws -> Bool {
        let end = MonotonicClock.nanoseconds() + limit.nanoseconds
        while true {
            let left = (end - MonotonicClock.nanoseconds()) / 1_000_000
            guard left > 0 else {
                throw ContainerError(
                    .timedOut,
                    "A container's memory did not go on arriving within \(limit.text).",
                    remedy: "The job is restored again; look at the load of this node."
                )
            }
            var query = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let ready = unsafe poll(&query, 1, Int32(clamping: left))
            if ready > 0 { return true }
            if ready < 0, errno != EINTR { return false }
        }
    }
}
