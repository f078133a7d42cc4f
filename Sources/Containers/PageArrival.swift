internal import Checkpointing
package import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// The memory of a restored container that runs before all of it is there.
///
/// Answers CRIU's page daemon on a socket that only it and this process have; every connection has one thread of its own.
package final class PageArrival: Sendable {
    /// How it ended.
    package enum End: Sendable {
        /// Every page is where it belongs.
        case complete
        /// The container ended before, for whatever reason of its own.
        case containerEnded
        /// The pages cannot be had; the container is killed before it could see anything else in their place.
        case failed(any Error)
    }

    /// How much is to come in all.
    package let byteCount: ByteCount
    private let source: any PageSource
    private let state = Mutex(State())
    private let idleLimit: Duration

    private struct State {
        var bytesServed: UInt64 = 0
        var began = ContinuousClock.now
        var end: (result: End, duration: Duration)?
        var waiters: [CheckedContinuation<(result: End, duration: Duration), Never>] = []
    }

    /// Pages that one answer has at most: 1 MiB, so that a fault waits no longer than for that.
    private static let answerLimit: UInt64 = 256

    init(_ source: any PageSource, idleLimit: Duration) {
        (self.source, self.idleLimit) = (source, idleLimit)
        byteCount = source.byteCount
    }

    /// What has been handed out so far; pages that are not needed any more are never asked for.
    package var bytesServed: ByteCount { .bytes(Int64(clamping: state.withLock { $0.bytesServed })) }

    /// Whether nothing more comes.
    package var hasEnded: Bool { state.withLock { $0.end != nil } }

    /// Waits until nothing more comes, and says how long it took from the beginning of the restore.
    package func end() async -> (result: End, duration: Duration) {
        await withCheckedContinuation { continuation in
            let known = state.withLock { state in
                if state.end == nil { state.waiters.append(continuation) }
                return state.end
            }
            if let known { continuation.resume(returning: known) }
        }
    }

    /// What kept pages from being had; nil as long as nothing did.
    package var failure: (any Error)? {
        if case .failed(let error)? = state.withLock({ $0.end?.result }) { error } else { nil }
    }

    /// Serves the other end of this socket, which is closed when nothing more comes, on a thread of its own.
    ///
    /// `isContainerAlive` is asked when the other end is gone without a word.
    func begin(
        on socket: consuming OwnedDescriptor,
        isContainerAlive: @escaping @Sendable () -> Bool
    ) throws(SystemError) {
        let number = socket.release()
        do {
            try SystemThread.start(name: "godwit-pages") { [self] in
                let result = serve(number)
                source.close()
                finish(result ?? (isContainerAlive() ? .failed(Self.gone) : .containerEnded))
                // The daemon learns of a failure by this, and the shim, which holds it in its exit, kills the container before it lets it go.
                close(number)
            }
        } catch {
            source.close()
            close(number)
            throw error
        }
    }

    private static let gone = ContainerError(
        .restoreFailed,
        "The program that fetches a container's memory ended before all of it had arrived.",
        remedy: "The job is restored again; look at the memory and at the kernel's log of this node."
    )

    private func finish(_ result: End) {
        let (end, waiters) = state.withLock { state in
            let end = (result, state.began.duration(to: .now))
            state.end = end
            defer { state.waiters = [] }
            return (end, state.waiters)
        }
        for waiter in waiters { waiter.resume(returning: end) }
    }

    /// Answers until the last message, nil when the other end is gone without one.
    private func serve(_ socket: Int32) -> End? {
        var output: [UInt8] = []
        do {
            while true {
                guard let bytes = try StreamSocket.read(PageServerMessage.byteCount, from: socket, within: idleLimit)
                else { return nil }
                let message = try PageServerMessage.decode(bytes.span)
                switch message.command {
                case .get:
                    output.removeAll(keepingCapacity: true)
                    output.append(contentsOf: repeatElement(0, count: PageServerMessage.byteCount))
                    let count = try source.read(
                        process: message.owner,
                        address: message.address,
                        pageCount: min(message.pageCount, Self.answerLimit),
                        into: &output
                    )
                    let length = count * ImageIndex.pageBytes
                    guard count > 0, UInt64(count) <= message.pageCount,
                        output.count == PageServerMessage.byteCount + length
                    else {
                        throw CRIUImageError(
                            place: "pages at \(message.address)",
                            problem: "\(count) came instead of \(message.pageCount)"
                        )
                    }
                    output.replaceSubrange(
                        ..<PageServerMessage.byteCount,
                        with: message.answer(pageCount: count).encoded()
                    )
                    guard try StreamSocket.write(output, to: socket, within: idleLimit) else { return nil }
                    state.withLock { $0.bytesServed += UInt64(length) }
                    // While CRIU puts these in place: it asks for the next ones only then.
                    source.prefetch(process: message.owner, address: message.address + UInt64(length))
                case .close, .forceClose:
                    _ = try StreamSocket.write([0, 0, 0, 0], to: socket, within: idleLimit)
                    return .complete
                case .add, .hole, .open, .openAnswered, .parent, .addWithFlags:
                    throw CRIUImageError(
                        place: "message of CRIU's page daemon",
                        problem: "\(message.command), which it has no reason to send"
                    )
                }
            }
        } catch {
            return .failed(error)
        }
    }
}
