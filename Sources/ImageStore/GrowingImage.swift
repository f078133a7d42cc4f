package import ClusterModel
internal import Synchronization

extension ImageStore {
    /// The data of a checkpoint that is being written now; nil when none is, or when it is not sealed and so stays on its node.
    package func growing(_ job: JobID, _ generation: CheckpointGeneration) -> GrowingImage? {
        guard let place = try? place(job, generation) else { return nil }
        return growing.withLock { $0[place] }
    }

    /// Lets those who read the data know whether it became a checkpoint.
    func endGrowing(_ place: CheckpointPlace, isWhole: Bool) {
        growing.withLock { $0.removeValue(forKey: place) }?.end(isWhole: isWhole)
    }
}

/// The data file of a checkpoint that is being written, for another node that takes it in meanwhile.
///
/// The threads that write it leave gaps behind, which others fill; what has no gap before it can be read. It is sealed like everything that leaves the node.
package final class GrowingImage: Sendable {
    private struct State {
        /// Everything before is written.
        var written: UInt64 = 0
        /// What was written beyond a gap: where it ends, by where it begins.
        var beyond: [UInt64: UInt64] = [:]
        /// Whether it became a checkpoint; nil while that is open.
        var isWhole: Bool?
        var waiting: [UInt64: AsyncStream<Void>.Continuation] = [:]
        var lastWaiter: UInt64 = 0
    }

    private let file: PositionedFile
    private let state = Mutex(State())

    init(_ file: PositionedFile) { self.file = file }

    /// Takes note of what has been written.
    func wrote(_ range: Range<UInt64>) {
        let waiting = state.withLock { state -> [AsyncStream<Void>.Continuation] in
            state.beyond[range.lowerBound] = range.upperBound
            let before = state.written
            while let end = state.beyond.removeValue(forKey: state.written) { state.written = end }
            return state.written > before ? Self.takeWaiting(&state) : []
        }
        for continuation in waiting { continuation.finish() }
    }

    func end(isWhole: Bool) {
        let waiting = state.withLock { state in
            state.isWhole = isWhole
            return Self.takeWaiting(&state)
        }
        for continuation in waiting { continuation.finish() }
    }

    private static func takeWaiting(_ state: inout State) -> [AsyncStream<Void>.Continuation] {
        defer { state.waiting = [:] }
        return Array(state.waiting.values)
    }

    /// Up to `limit` bytes from `offset` on; waits until there are some.
    ///
    /// None when it is a checkpoint by now: then the rest is to be had as the copy of one.
    ///
    /// - Throws: `ImageStoreError` with code `notFound` when no checkpoint comes of it; `CancellationError`.
    package func read(from offset: UInt64, limit: Int) async throws -> [UInt8] {
        while true {
            try Task.checkCancellation()
            let (wakes, waker) = AsyncStream<Void>.makeStream()
            let (written, isWhole, number) = state.withLock { state -> (UInt64, Bool?, UInt64) in
                state.lastWaiter += 1
                if state.written <= offset, state.isWhole == nil { state.waiting[state.lastWaiter] = waker }
                return (state.written, state.isWhole, state.lastWaiter)
            }
            if isWhole == true { return [] }
            if isWhole == false { throw ImageStoreError(.notFound, "That checkpoint was not stored.") }
            guard written <= offset else {
                let count = Int(min(UInt64(limit), written - offset))
                return try await WorkerThreads.run { [file] _ in
                    try unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                        filled = try unsafe file.read(UnsafeMutableRawBufferPointer(buffer), at: offset)
                    }
                }
            }
            for await _ in wakes {}
            state.withLock { $0.waiting[number] = nil }
        }
    }
}
