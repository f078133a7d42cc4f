internal import CLinux
internal import Glibc
internal import Synchronization

/// Tells when processes end, children or not, with one thread for all of them.
///
/// Each process costs one descriptor while somebody waits for it. Waiting can be cancelled; the process then goes on.
package final class ProcessWatcher: Sendable {
    private let shared: Shared

    /// Starts the thread; it ends with the watcher.
    package init() throws(SystemError) {
        shared = try Shared()
        try SystemThread.start(name: "godwit-watch") { [shared] in shared.run() }
    }

    deinit { shared.stop() }

    /// Waits until the process that has this number now has ended.
    ///
    /// - Parameter pid: the number of a process.
    /// - Returns: how it ended if it was a child of this process, which is reaped with that; otherwise nil.
    /// - Throws: ``SystemError`` with ESRCH when there is no such process; `CancellationError`.
    package func exit(of pid: Int32) async throws -> ProcessExit? {
        let process = try Pidfd(of: pid)
        try await waitUntilReadable(process.descriptor.rawValue)
        return try Self.reap(process)
    }

    /// Waits until exactly this process has ended; returns at once, with nil, when it is gone already.
    ///
    /// - Parameter identity: a process, perhaps of an earlier boot.
    /// - Returns: how it ended if it was a child of this process, which is reaped with that; otherwise nil.
    /// - Throws: ``SystemError`` when the kernel refuses to watch it; `CancellationError`.
    package func exit(of identity: ProcessIdentity) async throws -> ProcessExit? {
        guard ProcessIdentity(of: identity.pid) == identity else { return nil }
        guard let process = try Self.open(identity.pid) else { return nil }
        // Checked again after the open, which pins the process.
        guard ProcessIdentity(of: identity.pid) == identity else { return nil }
        try await waitUntilReadable(process.descriptor.rawValue)
        return try Self.reap(process)
    }

    private static func open(_ pid: Int32) throws(SystemError) -> Pidfd? {
        do throws(SystemError) { return try Pidfd(of: pid) } catch  where error.code == ESRCH { return nil }
    }

    private static func reap(_ process: borrowing Pidfd) throws(SystemError) -> ProcessExit? {
        do throws(SystemError) { return try process.reap() } catch  where error.code == ECHILD { return nil }
    }

    private func waitUntilReadable(_ raw: Int32) async throws {
        let token = shared.newToken()
        defer { shared.forget(token) }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                shared.add(token, descriptor: raw, continuation)
            }
        } onCancel: {
            shared.cancel(token, descriptor: raw)
        }
    }

    /// What the thread and the watcher both hold; it outlives the watcher by the thread's last turn.
    private final class Shared: Sendable {
        private struct State {
            var waiting: [UInt64: CheckedContinuation<Void, any Error>] = [:]
            var cancelled: Set<UInt64> = []
            var lastToken: UInt64 = 0
        }
        private let state = Mutex(State())
        private let epoll: OwnedDescriptor
        private let wake: OwnedDescriptor

        init() throws(SystemError) {
            let epoll = OwnedDescriptor(owning: try retrying("make an epoll", "") { godwit_epoll_create() })
            let wake = OwnedDescriptor(owning: try retrying("make an eventfd", "") { godwit_eventfd() })
            let (epollNumber, wakeNumber) = (epoll.rawValue, wake.rawValue)
            _ = try retrying("add to an epoll", "") { godwit_epoll_add(epollNumber, wakeNumber, 0, 0) }
            self.epoll = epoll
            self.wake = wake
        }

        func newToken() -> UInt64 {
            state.withLock { state in
                state.lastToken += 1
                return state.lastToken
            }
        }

        func add(_ token: UInt64, descriptor: Int32, _ continuation: CheckedContinuation<Void, any Error>) {
            let failure: (any Error)? = state.withLock { state in
                if state.cancelled.remove(token) != nil { return CancellationError() }
                state.waiting[token] = continuation
                if godwit_epoll_add(epoll.rawValue, descriptor, token, 1) == 0 { return nil }
                state.waiting[token] = nil
                return SystemError.last("watch a process", "")
            }
            if let failure { continuation.resume(throwing: failure) }
        }

        func cancel(_ token: UInt64, descriptor: Int32) {
            let continuation = state.withLock { state in
                guard let continuation = state.waiting.removeValue(forKey: token) else {
                    // Either it has not been added yet, or it has just ended, and `forget` takes the mark away.
                    state.cancelled.insert(token)
                    return nil as CheckedContinuation<Void, any Error>?
                }
                _ = godwit_epoll_remove(epoll.rawValue, descriptor)
                return continuation
            }
            continuation?.resume(throwing: CancellationError())
        }

        func forget(_ token: UInt64) { _ = state.withLock { $0.cancelled.remove(token) } }

        func run() {
            var tokens = [UInt64](repeating: 0, count: 64)
            while true {
                let ready = unsafe godwit_epoll_wait(epoll.rawValue, &tokens, 64)
                for token in tokens.prefix(Int(max(0, ready))) {
                    if token == 0 { return }
                    state.withLock { $0.waiting.removeValue(forKey: token) }?.resume()
                }
            }
        }

        func stop() {
            var one: UInt64 = 1
            _ = unsafe write(wake.rawValue, &one, 8)
        }
    }
}
