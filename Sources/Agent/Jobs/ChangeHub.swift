import ClusterModel
import Synchronization

/// Tells tasks that a job changed.
///
/// Each subscriber has a set of jobs that changed since it looked last, so a slow one costs memory for each job once and misses
/// nothing.
final class ChangeHub: Sendable {
    private let subscriptions = Mutex<[UInt64: Subscription]>([:])
    private let next = Mutex<UInt64>(0)

    init() {}

    /// Tells every subscriber.
    func publish(_ jobs: [JobID]) {
        guard !jobs.isEmpty else { return }
        for subscription in subscriptions.withLock({ Array($0.values) }) { subscription.add(jobs) }
    }

    /// Hears of every change from now on, until the subscription is released.
    func subscribe() -> Subscription {
        let id = next.withLock { number in
            number += 1
            return number
        }
        let subscription = Subscription(id: id, hub: self)
        subscriptions.withLock { $0[id] = subscription }
        return subscription
    }

    /// Looks after every change, and besides at once and after each `period`, until the task is cancelled.
    ///
    /// `changed` gets the jobs that changed since it was called last, sorted; it and `regularly` run side by side.
    func follow(
        _ name: String,
        period: Duration,
        changed: @escaping @Sendable ([JobID]) async -> Void,
        regularly: @escaping @Sendable () async -> Void
    ) async {
        let subscription = subscribe()
        defer { subscription.end() }
        await withTaskGroup(of: Void.self) { group in
            group.addTask(name: "\(name).changes") {
                for await _ in subscription.changes { await changed(subscription.take()) }
            }
            group.addTask(name: "\(name).tick") {
                while !Task.isCancelled {
                    await regularly()
                    try? await Task.sleep(for: period)
                }
            }
            await group.waitForAll()
        }
    }

    fileprivate func remove(_ id: UInt64) { subscriptions.withLock { $0[id] = nil } }

    /// One subscriber's view.
    final class Subscription: Sendable {
        private let id: UInt64
        private let hub: ChangeHub
        private let pending = Mutex<Set<JobID>>([])
        private let signal: AsyncStream<Void>.Continuation
        /// Yields whenever something changed since `take` was called.
        let changes: AsyncStream<Void>

        fileprivate init(id: UInt64, hub: ChangeHub) {
            (self.id, self.hub) = (id, hub)
            (changes, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        }

        fileprivate func add(_ jobs: [JobID]) {
            pending.withLock { $0.formUnion(jobs) }
            signal.yield()
        }

        /// The jobs that changed since the last call, sorted.
        func take() -> [JobID] {
            pending.withLock { jobs in
                defer { jobs = [] }
                return jobs.sorted()
            }
        }

        /// Ends the subscription.
        func end() {
            hub.remove(id)
            signal.finish()
        }
    }
}
