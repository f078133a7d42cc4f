import NIO
import Synchronization

/// Carries requests from tasks to a connection's event loop, many in one hop.
///
/// All state of a connection lives on its loop, so that it needs no locks; only this queue has one. The first element pushed wakes the
/// loop, those that follow ride along.
final class LoopQueue<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var isScheduled = false
    }

    let eventLoop: any EventLoop
    private let state = Mutex(State())
    private let receiver: NIOLoopBoundBox<([Element]) -> Void>

    /// `receive` is called on the loop, and must answer every element, also after the connection has ended.
    init(_ eventLoop: any EventLoop, receive: @escaping ([Element]) -> Void) {
        self.eventLoop = eventLoop
        receiver = NIOLoopBoundBox(receive, eventLoop: eventLoop)
    }

    /// Replaces what receives; on the loop.
    func redirect(_ receive: @escaping ([Element]) -> Void) { receiver.value = receive }

    /// Hands an element to the loop.
    ///
    /// Order is kept.
    func push(_ element: Element) {
        let mustWake = state.withLock { state in
            state.elements.append(element)
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if mustWake { eventLoop.execute { self.drain() } }
    }

    private func drain() {
        let elements = state.withLock { state in
            defer { (state.elements, state.isScheduled) = ([], false) }
            return state.elements
        }
        receiver.value(elements)
    }
}
