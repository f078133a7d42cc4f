/// Raft messages that wait for their turn to one peer; bounded, the oldest make room for the newest.
///
/// The oldest go because Raft's newer messages say more: an append that is lost shows in the answer to the next.
struct PeerMessageQueue: Sendable {
    /// Most messages, and most bytes unless there is one message only.
    let limits: (count: Int, byteCount: Int)
    private var messages: [[UInt8]] = []
    private var first = 0
    private(set) var byteCount = 0

    init(limits: (count: Int, byteCount: Int)) { self.limits = limits }

    var count: Int { messages.count - first }
    var isEmpty: Bool { count == 0 }

    /// Appends messages; gives how many old ones were dropped for them.
    mutating func append(_ new: [[UInt8]]) -> Int {
        for message in new { byteCount += message.count }
        messages += new
        var dropped = 0
        while count > limits.count || (byteCount > limits.byteCount && count > 1) {
            byteCount -= messages[first].count
            // Frees its memory; the place goes with the others.
            messages[first] = []
            first += 1
            dropped += 1
        }
        compact()
        return dropped
    }

    /// Takes the oldest messages out, as many as fit into `byteLimit` and at least one.
    mutating func takeBatch(byteLimit: Int) -> [[UInt8]] {
        var end = first
        var size = 0
        while end < messages.count, end == first || size + messages[end].count <= byteLimit {
            size += messages[end].count
            end += 1
        }
        let batch = Array(messages[first..<end])
        byteCount -= size
        first = end
        compact()
        return batch
    }

    /// Empties the queue; gives how many messages were in it.
    mutating func removeAll() -> Int {
        defer { (messages, first, byteCount) = ([], 0, 0) }
        return count
    }

    private mutating func compact() {
        if first == messages.count {
            messages.removeAll(keepingCapacity: true)
            first = 0
        } else if first >= 256, first * 2 >= messages.count {
            messages.removeFirst(first)
            first = 0
        }
    }
}
