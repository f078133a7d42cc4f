import ClusterModel

/// Events by time; equal times in the order in which they were pushed.
///
/// Events stay where they are while the heap moves their places: they are large.
struct EventQueue<Event> {
    private struct Place {
        let time: Int64
        let number: UInt64
        let slot: Int
    }

    private var heap: [Place] = []
    private var events: [Event?] = []
    private var free: [Int] = []
    private var pushed: UInt64 = 0

    /// When the next event is due.
    var firstTime: Int64? { heap.first?.time }

    mutating func push(_ event: Event, at time: Int64) {
        pushed += 1
        let slot: Int
        if let last = free.popLast() {
            slot = last
            events[slot] = event
        } else {
            slot = events.count
            events.append(event)
        }
        let place = Place(time: time, number: pushed, slot: slot)
        heap.append(place)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            let above = heap[parent]
            guard Self.isBefore(place, above) else { break }
            heap[child] = above
            child = parent
        }
        heap[child] = place
    }

    mutating func pop() -> (time: Int64, event: Event)? {
        guard let first = heap.first, let event = events[first.slot], let last = heap.popLast() else { return nil }
        events[first.slot] = nil
        free.append(first.slot)
        if !heap.isEmpty { sink(last) }
        return (first.time, event)
    }

    /// Puts a place where it belongs, from the top.
    private mutating func sink(_ place: Place) {
        let count = heap.count
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < count else { break }
            if child + 1 < count, Self.isBefore(heap[child + 1], heap[child]) { child += 1 }
            let below = heap[child]
            guard Self.isBefore(below, place) else { break }
            heap[parent] = below
            parent = child
        }
        heap[parent] = place
    }

    private static func isBefore(_ left: Place, _ right: Place) -> Bool {
        left.time != right.time ? left.time < right.time : left.number < right.number
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
