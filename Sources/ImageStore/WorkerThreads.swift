internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// Threads for work that blocks or computes for long.
///
/// Swift's own threads are as many as cores and serve every task of the agent; a second of compression on each would hold up its resizes.
enum WorkerThreads {
    private final class Work: Sendable {
        let niceness: Int
        let body: @Sendable () -> Void
        init(niceness: Int, body: @escaping @Sendable () -> Void) { (self.niceness, self.body) = (niceness, body) }
    }

    /// Runs `body` on a thread of its own and waits without holding a thread of Swift's.
    ///
    /// `body` learns of a cancellation of the calling task through the flag it is given. What it holds and what it returns is released by its
    /// thread before the caller goes on: whoever lets go of a store after its last call has closed it.
    @concurrent
    static func run<Result: Sendable>(
        _ body: @escaping @Sendable (CancellationFlag) throws -> Result
    ) async throws -> Result {
        let flag = CancellationFlag()
        let once = Once(body)
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                do throws(SystemError) {
                    let thread = try start(niceness: 0) {
                        once.run(flag)
                        continuation.resume()
                    }
                    pthread_detach(thread)
                } catch {
                    continuation.resume(throwing: error)
                }
            }
        } onCancel: {
            flag.set()
        }
        return try once.take()
    }

    /// A body that is let go as soon as it has run, and its result until it is taken.
    private final class Once<Output: Sendable>: Sendable {
        private let body: Mutex<(@Sendable (CancellationFlag) throws -> Output)?>
        private let result = Mutex<Result<Output, any Error>?>(nil)

        init(_ body: @escaping @Sendable (CancellationFlag) throws -> Output) { self.body = Mutex(body) }

        func run(_ flag: CancellationFlag) {
            let taken = body.withLock { body in
                defer { body = nil }
                return body
            }
            guard let taken else { preconditionFailure("a body was run twice") }
            let outcome = Result { try taken(flag) }
            result.withLock { $0 = outcome }
        }

        /// Not through the continuation, whose thread would hold the result for as long as it is not scheduled again.
        func take() throws -> Output {
            let outcome = result.withLock { result in
                defer { result = nil }
                return result
            }
            guard let outcome else { preconditionFailure("a result is taken before its body has run, or twice") }
            return try outcome.get()
        }
    }

    /// Runs `body` on `count` threads at once and returns when all have returned; where threads are short, on fewer.
    static func parallel(count: Int, niceness: Int, _ body: @escaping @Sendable () -> Void) {
        guard count > 1 else {
            body()
            return
        }
        let threads = (0..<count).compactMap { _ in try? start(niceness: niceness, body) }
        if threads.isEmpty { body() }
        for thread in threads { pthread_join(thread, nil) }
    }

    private static func start(niceness: Int, _ body: @escaping @Sendable () -> Void) throws(SystemError) -> pthread_t {
        let work = unsafe Unmanaged.passRetained(Work(niceness: niceness, body: body))
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let work = unsafe Unmanaged<Work>.fromOpaque(argument).takeRetainedValue()
                // Linux keeps a nice value per thread; a machine that forbids it only loses the courtesy.
                if work.niceness > 0 {
                    _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Int32(work.niceness))
                }
                work.body()
                return nil
            },
            work.toOpaque()
        )
        guard code == 0 else {
            unsafe work.release()
            throw SystemError("start a thread", "", code: code)
        }
        return thread
    }
}

/// Set once, when the caller does not want the result any more.
final class CancellationFlag: Sendable {
    private let value = Atomic(false)
    func set() { value.store(true, ordering: .relaxed) }
    var isSet: Bool { value.load(ordering: .relaxed) }

    func check() throws {
        if isSet { throw ImageStoreError(.cancelled, "The operation was called off.") }
    }
}

/// Work that several threads take from, and the first error that one of them met.
final class SharedWork<Item: Sendable>: Sendable {
    private let items: [Item]
    private let next = Atomic(0)
    private let failure = Mutex<(any Error)?>(nil)
    private let cancellation: CancellationFlag

    init(_ items: [Item], cancellation: CancellationFlag) {
        self.items = items
        self.cancellation = cancellation
    }

    /// Runs `body` for each item on up to `threads` threads; throws the first error, after which no further item is begun.
    ///
    /// `make` gives each thread what it needs for itself.
    func forEach<Tool>(
        threads: Int,
        niceness: Int,
        make: @escaping @Sendable () throws -> Tool,
        _ body: @escaping @Sendable (Tool, Item) throws -> Void
    ) throws {
        WorkerThreads.parallel(count: min(threads, items.count), niceness: niceness) {
            do {
                let tool = try make()
                while let item = self.take() { try body(tool, item) }
            } catch {
                self.failure.withLock { $0 = $0 ?? error }
            }
        }
        if let error = failure.withLock({ $0 }) { throw error }
        try cancellation.check()
    }

    private func take() -> Item? {
        guard !cancellation.isSet, failure.withLock({ $0 == nil }) else { return nil }
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        return index < items.count ? items[index] : nil
    }
}
