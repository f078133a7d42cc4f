import Synchronization
import Transport

/// Lets callers of this node wait a while for what is to come, each for its key.
///
/// Who makes it come changes its own state first and then wakes the key; who waits takes a place and then looks again whether it is to come. So nobody
/// sleeps through it, and neither holds the other's lock.
final class WaitingRoom<Key: Hashable & Sendable>: Sendable {
    private struct Places {
        var wakers: [Key: [UInt64: AsyncStream<Void>.Continuation]] = [:]
        var count = 0
        var last: UInt64 = 0
    }

    private let patience: Duration
    private let limit: Int
    private let places = Mutex(Places())

    /// Nobody waits longer than `patience`, and no more than `limit` at once.
    init(patience: Duration, limit: Int = 256) { (self.patience, self.limit) = (patience, limit) }

    /// How many wait now.
    var count: Int { places.withLock { $0.count } }

    /// Waits until the key is woken, the patience, a shorter limit or the task has ended; not at all when nothing is to come.
    ///
    /// - Throws: `RPCFailure` with code `exhausted` when too many wait already.
    func wait(for key: Key, within limit: Duration? = nil, while isToCome: () -> Bool) async throws(RPCFailure) {
        guard isToCome() else { return }
        let (wakes, waker) = AsyncStream<Void>.makeStream()
        guard let place = take(key, waker) else {
            throw RPCFailure(.exhausted, "\(self.limit) calls wait here for moves already; try again")
        }
        defer { leave(key, place) }
        guard isToCome() else { return }
        let bound = min(patience, limit ?? patience)
        let timer = Task(name: "migration.patience") {
            try? await Task.sleep(for: bound)
            waker.finish()
        }
        defer { timer.cancel() }
        for await _ in wakes {}
    }

    /// Wakes all who wait for the key.
    func wake(_ key: Key) {
        let wakers = places.withLock { $0.wakers[key] ?? [:] }
        for waker in wakers.values { waker.finish() }
    }

    /// nil when there is no place left.
    private func take(_ key: Key, _ waker: AsyncStream<Void>.Continuation) -> UInt64? {
        places.withLock { places in
            guard places.count < limit else { return nil }
            places.count += 1
            places.last += 1
            places.wakers[key, default: [:]][places.last] = waker
            return places.last
        }
    }

    private func leave(_ key: Key, _ place: UInt64) {
        places.withLock { places in
            places.count -= 1
            places.wakers[key]?[place] = nil
            if places.wakers[key]?.isEmpty == true { places.wakers[key] = nil }
        }
    }
}
