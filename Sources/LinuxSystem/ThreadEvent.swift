internal import ClusterModel
internal import Glibc

/// Wakes one thread that may be held up.
///
/// What is signalled while nobody waits is there for the next wait.
package final class ThreadEvent: Sendable {
    private let event: OwnedDescriptor

    /// Makes one on which nothing was signalled.
    package init() throws(SystemError) { event = try OwnedDescriptor.event() }

    /// Ends the present wait, or the next one.
    package func signal() {
        var one: UInt64 = 1
        _ = unsafe write(event.rawValue, &one, 8)
    }

    /// Waits for a signal; false when none came in time.
    package func wait(within limit: Duration) -> Bool {
        let end = MonotonicClock.nanoseconds() + limit.nanoseconds
        while true {
            let left = (end - MonotonicClock.nanoseconds() + 999_999) / 1_000_000
            guard left > 0 else { return false }
            var query = pollfd(fd: event.rawValue, events: Int16(POLLIN), revents: 0)
            guard unsafe poll(&query, 1, Int32(clamping: left)) > 0 else { continue }
            var count: UInt64 = 0
            _ = unsafe read(event.rawValue, &count, 8)
            return true
        }
    }
}
