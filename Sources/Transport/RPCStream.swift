package import NIO
package import SwiftProtobuf
import Synchronization

/// The messages of a streamed answer, as they arrive.
///
/// The callee may send as much as it has credit for, and gets new credit as messages are taken out here: a reader that is slow makes the
/// callee wait and never fills memory. Leaving the loop, or cancelling its task, cancels the call.
///
/// There is one reader; a second one shares the messages with the first.
package struct RPCStream<Reply: Message>: AsyncSequence, Sendable {
    package typealias Element = Reply
    private let bytes: RPCByteStream

    init(bytes: RPCByteStream) { self.bytes = bytes }

    /// Takes the messages out; keeps the call open as long as it lives.
    package struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate var bytes: RPCByteStream.AsyncIterator

        /// The next message; nil at the end.
        ///
        /// - Throws: `RPCFailure`; `CancellationError` when the reading task was cancelled.
        package mutating func next() async throws -> Reply? {
            guard let bytes = try await bytes.next() else { return nil }
            do {
                return try Reply(serializedBytes: bytes.readableBytesSpan)
            } catch {
                throw RPCFailure(
                    .internal,
                    "the agent sent something that is not a \(Reply.protoMessageName) message: the versions do not fit, upgrade the older side"
                )
            }
        }
    }

    package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(bytes: bytes.makeAsyncIterator()) }
}

/// A streamed answer whose messages nobody reads here, because they are passed on; otherwise like `RPCStream`.
package struct RPCByteStream: AsyncSequence, Sendable {
    package typealias Element = ByteBuffer
    private let lease: RPCStreamLease

    init(_ storage: RPCStreamStorage) { lease = RPCStreamLease(storage) }

    /// Takes the messages out; keeps the call open as long as it lives.
    package struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let lease: RPCStreamLease

        /// The next message in its binary form; nil at the end.
        ///
        /// - Throws: `RPCFailure`; `CancellationError` when the reading task was cancelled.
        package mutating func next() async throws -> ByteBuffer? { try await lease.storage.next() }
    }

    package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(lease: lease) }
}

/// Held by whoever may still read the stream; its end cancels the call.
///
/// The storage itself is held by the connection as well.
private final class RPCStreamLease: Sendable {
    let storage: RPCStreamStorage
    init(_ storage: RPCStreamStorage) { self.storage = storage }
    deinit { storage.abandon() }
}

/// The bytes of a stream between the event loop that receives and the task that reads.
final class RPCStreamStorage: Sendable {
    private struct State {
        var messages: [ByteBuffer] = []
        var firstIndex = 0
        var reader: CheckedContinuation<ByteBuffer?, any Error>?
        var end: Result<Void, any Error>?
        var uncreditedByteCount = 0
        var bufferedByteCount = 0
    }

    private let state = Mutex(State())
    private let window: Int
    private let stream: UInt32
    private let queue: LoopQueue<ClientEvent>

    init(stream: UInt32, window: Int, queue: LoopQueue<ClientEvent>) {
        (self.stream, self.window, self.queue) = (stream, window, queue)
    }

    /// Cancels the call unless it has ended.
    func abandon() {
        if state.withLock({ $0.end == nil }) { queue.push(.cancel(stream: stream)) }
    }

    /// Takes in a message, on the loop; false when the callee sent far more than its credit.
    func receive(_ message: ByteBuffer) -> Bool {
        let reader: CheckedContinuation<ByteBuffer?, any Error>?
        let isInBounds: Bool
        (reader, isInBounds) = state.withLock { state in
            if let reader = state.reader {
                state.reader = nil
                return (reader, true)
            }
            let isInBounds = state.bufferedByteCount < 2 * window || state.messages.isEmpty
            state.messages.append(message)
            state.bufferedByteCount += message.readableBytes
            return (nil, isInBounds)
        }
        if let reader {
            give(back: message.readableBytes)
            reader.resume(returning: message)
        }
        return isInBounds
    }

    /// Ends the stream; what arrived before can still be read.
    func finish(_ end: Result<Void, any Error>) {
        let reader = state.withLock { state in
            guard state.end == nil else { return CheckedContinuation<ByteBuffer?, any Error>?.none }
            state.end = end
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(with: end.map { nil })
    }

    func next() async throws -> ByteBuffer? {
        try await withTaskCancellationHandler {
            let message: ByteBuffer? = try await withCheckedThrowingContinuation { continuation in
                enum Step {
                    case resume(Result<ByteBuffer?, any Error>)
                    case wait
                }
                let step: Step = state.withLock { state in
                    if state.firstIndex < state.messages.count {
                        let message = state.messages[state.firstIndex]
                        state.firstIndex += 1
                        state.bufferedByteCount -= message.readableBytes
                        if state.firstIndex == state.messages.count {
                            state.messages.removeAll(keepingCapacity: true)
                            state.firstIndex = 0
                        } else if state.firstIndex >= 1024 {
                            state.messages.removeFirst(state.firstIndex)
                            state.firstIndex = 0
                        }
                        return .resume(.success(message))
                    }
                    if let end = state.end { return .resume(end.map { nil }) }
                    if Task.isCancelled { return .resume(.failure(CancellationError())) }
                    precondition(state.reader == nil, "two tasks wait for the same stream")
                    state.reader = continuation
                    return .wait
                }
                switch step {
                case .resume(let result):
                    if case .success(.some(let message)) = result { give(back: message.readableBytes) }
                    continuation.resume(with: result)
                case .wait: break
                }
            }
            return message
        } onCancel: {
            finish(.failure(CancellationError()))
            queue.push(.cancel(stream: stream))
        }
    }

    /// Gives the callee new credit once half the window was read, so that credit frames stay rare.
    private func give(back byteCount: Int) {
        let credit: Int = state.withLock { state in
            state.uncreditedByteCount += byteCount
            guard state.uncreditedByteCount >= window / 2, state.end == nil else { return 0 }
            defer { state.uncreditedByteCount = 0 }
            return state.uncreditedByteCount
        }
        if credit > 0 { queue.push(.credit(stream: stream, bytes: credit)) }
    }
}
