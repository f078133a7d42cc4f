/// Answers to one operation of a sans-IO core, together with its deadline.
///
/// The core says until when it waits; `next(until:)` returns an answer, or nil when that moment has come.
struct OperationEvents<Event: Sendable>: Sendable {
    private let stream: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation

    /// An operation gets a handful of answers; a full buffer would mean that nobody reads them.
    init() { (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(64)) }

    func send(_ event: Event) { continuation.yield(event) }

    func finish() { continuation.finish() }

    /// Calls the body with every answer, and with nil at each deadline, until the body says that it is over.
    func drive(
        deadline: @escaping @Sendable () async -> ContinuousClock.Instant?,
        _ body: @escaping @Sendable (Event?) async -> Bool
    ) async {
        // The timer is a task of its own that sends a wake-up through the same stream order as the answers.
        let (merged, merge) = AsyncStream<Event?>.makeStream(bufferingPolicy: .bufferingNewest(128))
        let reader = Task(name: "operation.answers") {
            for await event in stream { merge.yield(event) }
        }
        var timer: Task<Void, Never>?
        func arm() async {
            timer?.cancel()
            guard let deadline = await deadline() else { return }
            timer = Task(name: "operation.deadline") {
                guard (try? await Task.sleep(until: deadline, clock: .continuous)) != nil else { return }
                merge.yield(nil)
            }
        }
        var isOver = await body(nil)
        if !isOver {
            await arm()
            for await event in merged {
                isOver = await body(event)
                if isOver { break }
                await arm()
            }
        }
        timer?.cancel()
        reader.cancel()
        continuation.finish()
    }
}
