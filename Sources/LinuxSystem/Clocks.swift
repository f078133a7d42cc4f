package import ClusterModel
internal import Glibc

/// The clock of dates and deadlines.
package enum WallClock {
    /// The present moment; steps when an administrator or NTP sets the clock.
    package static func now() -> Timestamp { Timestamp(rawValue: readNanoseconds(CLOCK_REALTIME)) }
}

/// The clock that only goes forward, from boot on; stands still while the machine is suspended.
package enum MonotonicClock {
    /// Nanoseconds since some moment at boot.
    package static func nanoseconds() -> Int64 { readNanoseconds(CLOCK_MONOTONIC) }

    /// How long the call took.
    package static func measure<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) -> Duration {
        let start = nanoseconds()
        try body()
        return .nanoseconds(nanoseconds() - start)
    }

    /// Sleeps on this thread: for waits of microseconds, where a task's sleep would be too coarse.
    package static func sleepThread(for duration: Duration) {
        let nanoseconds = max(0, duration.nanoseconds)
        var wait = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        var left = timespec()
        while unsafe nanosleep(&wait, &left) != 0, errno == EINTR { wait = left }
    }
}

/// The clock that goes on while the machine is suspended, from boot on: for what others count on as well, as a lease.
package enum BootClock {
    /// Nanoseconds since the boot.
    package static func nanoseconds() -> Int64 { readNanoseconds(CLOCK_BOOTTIME) }
}

private func readNanoseconds(_ clock: clockid_t) -> Int64 {
    var moment = timespec()
    _ = unsafe clock_gettime(clock, &moment)
    return Int64(moment.tv_sec) * 1_000_000_000 + Int64(moment.tv_nsec)
}
