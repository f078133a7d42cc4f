import ClusterModel

/// Events by time; equal times in the order in which they were pushed.
struct EventQueue<Event> {
    private var heap: [(time: Int64, number: UInt64, event: Event)] = []
    private var pushed: UInt64 = 0

    var count: Int { heap.count }

    mutating func push(_ event: Event, at time: Int64) {
        pushed += 1
        heap.append((time, pushed, event))
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() -> (time: Int64, event: Event)? {
        guard let last = heap.indices.last else { return nil }
        heap.swapAt(0, last)
        let first = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            if least == parent { return (first.time, first.event) }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (heap[left].time, heap[left].number) < (heap[right].time, heap[right].number)
    }
}

/// A machine's clocks: they start anywhere and run a little too fast or too slow.
struct SimulatedClock {
    /// What stands for the start of every machine's clock.
    let origin: ContinuousClock.Instant
    /// Nanoseconds that this clock is ahead at time zero.
    let offset: Int64
    /// Nanoseconds of this clock in a nanosecond of true time.
    let rate: Double
    /// By how much the wall clock is wrong.
    let wallError: Int64

    /// What the monotonic clock shows at a moment of true time.
    func local(at now: Int64) -> ContinuousClock.Instant {
        origin + .nanoseconds(offset + Int64(Double(now) * rate))
    }

    /// When the monotonic clock shows this, a little late rather than too early: a timer never fires before its time.
    func global(_ instant: ContinuousClock.Instant) -> Int64 {
        Int64(Double(origin.duration(to: instant).nanoseconds - offset) / rate) + 1000
    }

    /// What the wall clock shows.
    func wall(at now: Int64) -> Timestamp {
        Timestamp(rawValue: 1_700_000_000_000_000_000 + wallError + Int64(Double(now) * rate))
    }
}
