import Storage
import Synchronization

/// Lets one caller in at a time, in the order in which they came.
///
/// For what must be decided and made durable before the next one is decided, with awaits in between, where an actor alone would
/// let others in.
final class TurnQueue: Sendable {
    private struct State {
        var isTaken = false
        var waiting: [(number: UInt64, continuation: CheckedContinuation<Void, any Error>)] = []
        var last: UInt64 = 0
    }

    private let state = Mutex(State())
    private let limit: Int

    /// At most `limit` callers wait; more are refused at once.
    init(limit: Int = 1000) { self.limit = limit }

    /// Runs the body alone.
    ///
    /// - Throws: what the body throws; `StorageError` when too many wait; `CancellationError` when cancelled before its turn.
    func run<Value>(_ body: () async throws -> Value) async throws -> Value {
        try await take()
        defer { give() }
        return try await body()
    }

    /// How many wait for their turn.
    var waitingCount: Int { state.withLock { $0.waiting.count } }

    private func take() async throws {
        let number = state.withLock { state in
            state.last += 1
            return state.last
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let answer: Result<Void, any Error>? = state.withLock { state in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if !state.isTaken {
                        state.isTaken = true
                        return .success(())
                    }
                    guard state.waiting.count < limit else {
                        return .failure(
                            StorageError(.failed, "\(limit) others wait for their turn; try again in a moment.")
                        )
                    }
                    state.waiting.append((number, continuation))
                    return nil
                }
                if let answer { continuation.resume(with: answer) }
            }
        } onCancel: {
            let continuation = state.withLock { state -> CheckedContinuation<Void, any Error>? in
                guard let index = state.waiting.firstIndex(where: { $0.number == number }) else { return nil }
                return state.waiting.remove(at: index).continuation
            }
            continuation?.resume(throwing: CancellationError())
        }
    }

    private func give() {
        let next = state.withLock { state -> CheckedContinuation<Void, any Error>? in
            if state.waiting.isEmpty {
                state.isTaken = false
                return nil
            }
            return state.waiting.removeFirst().continuation
        }
        next?.resume()
    }
}
