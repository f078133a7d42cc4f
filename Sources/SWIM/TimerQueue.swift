/// What happens at a later moment; equal moments in the order in which they were set.
///
/// Nothing is ever taken back: what a timer belongs to carries a number, and a timer whose number no longer fits does
/// nothing.
package struct TimerQueue<Element: Sendable>: Sendable {
    private struct Entry: Sendable {
        var at: Int64
        var order: UInt64
        var element: Element

        func isBefore(_ other: Entry) -> Bool { at != other.at ? at < other.at : order < other.order }
    }

    private var heap: [Entry] = []
    private var order: UInt64 = 0

    /// The next moment, in nanoseconds.
    package var first: Int64? { heap.first?.at }
    /// Timers that are set.
    package var count: Int { heap.count }

    /// An empty queue.
    package init() {}

    /// Sets a timer.
    package mutating func add(_ element: Element, at moment: Int64) {
        order += 1
        heap.append(Entry(at: moment, order: order, element: element))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].isBefore(heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes the next one out if its moment has come.
    package mutating func popDue(at now: Int64) -> Element? {
        guard let first = heap.first, first.at <= now else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return first.element }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child].isBefore(heap[least]) { least = child }
            guard least != parent else { return first.element }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
