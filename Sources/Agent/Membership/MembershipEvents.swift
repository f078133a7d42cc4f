import Metrics
import SWIM
import Synchronization

/// Hands the membership's events to any number of readers, each with a queue of its own.
///
/// A queue that is full loses its oldest event, which is counted: a reader that must not miss anything looks at the members, and takes
/// an event as the sign to do so.
final class MembershipEvents: Sendable {
    private struct State {
        var readers: [UInt64: AsyncStream<MembershipEvent>.Continuation] = [:]
        var next: UInt64 = 0
        var isFinished = false
    }

    private let state = Mutex(State())
    private let dropped: Counter

    init(dropped: Counter) { self.dropped = dropped }

    /// Every event from now on; ends when the shell is closed.
    func subscribe(limit: Int) -> AsyncStream<MembershipEvent> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: MembershipEvent.self,
            bufferingPolicy: .bufferingNewest(limit)
        )
        let number: UInt64? = state.withLock { state in
            guard !state.isFinished else { return nil }
            state.next += 1
            state.readers[state.next] = continuation
            return state.next
        }
        guard let number else {
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak self] _ in self?.state.withLock { $0.readers[number] = nil } }
        return stream
    }

    func publish(_ event: MembershipEvent) {
        // Outside the lock: a reader that just ended takes it.
        for reader in state.withLock({ Array($0.readers.values) }) {
            if case .dropped = reader.yield(event) { dropped.increment() }
        }
    }

    func finish() {
        let readers = state.withLock { state in
            state.isFinished = true
            return Array(state.readers.values)
        }
        for reader in readers { reader.finish() }
    }
}
