import NIO
import Synchronization
import Transport

/// Keeps users out until the agent knows what runs on its node and what the cluster has decided.
final class StartingGate: RPCHandler {
    private let inner: any RPCHandler
    private let isOpen = Mutex(false)
    /// What may keep it from its cluster, one sentence each.
    private let problems: @Sendable () -> [String]

    init(_ inner: any RPCHandler, problems: @escaping @Sendable () -> [String] = { [] }) {
        (self.inner, self.problems) = (inner, problems)
    }

    func open() { isOpen.withLock { $0 = true } }

    func answerAtOnce(_ request: RPCRequest) -> ByteBuffer? {
        isOpen.withLock(\.self) ? inner.answerAtOnce(request) : nil
    }

    func mayWait(_ request: RPCRequest) -> Bool { inner.mayWait(request) }

    func handle(_ call: RPCCall) async throws {
        guard isOpen.withLock(\.self) else {
            throw RPCFailure(
                .unavailable,
                (["this agent is starting and has not found its cluster yet; try again, or ask another agent"]
                    + problems())
                    .joined(separator: ". "),
                wasNotBegun: true
            )
        }
        try await inner.handle(call)
    }
}
