import Storage
import Synchronization
import Testing

@testable import Agent

/// One caller is let in at a time, in order, and none is lost.
@Suite(.timeLimit(.minutes(5)))
struct TurnQueueTests {
    /// Who was inside, and how many at once.
    private final class Visits: Sendable {
        let seen = Mutex<[Int]>([])
        let most = Mutex(0)
        private let inside = Mutex(0)

        func visit(_ number: Int) async {
            let count = inside.withLock { count in
                count += 1
                return count
            }
            most.withLock { $0 = max($0, count) }
            await Task.yield()
            seen.withLock { $0.append(number) }
            inside.withLock { $0 -= 1 }
        }
    }

    private func until(_ isTrue: () -> Bool) async {
        while !isTrue(), !Task.isCancelled { await Task.yield() }
    }

    @Test func callersComeOneAfterTheOtherInTheirOrder() async throws {
        let queue = TurnQueue()
        let visits = Visits()
        let gate = Gate()
        let first = Task { try await queue.run { try await gate.pass() } }
        await gate.reached()
        var others: [Task<Void, any Error>] = []
        for number in 1...20 {
            others.append(Task { try await queue.run { await visits.visit(number) } })
            await until { queue.waitingCount == number }
        }
        gate.open()
        try await first.value
        for other in others { try await other.value }
        #expect(visits.seen.withLock { $0 } == Array(1...20))
        #expect(visits.most.withLock { $0 } == 1, "they were inside together")
        #expect(queue.waitingCount == 0)
    }

    @Test func aCallerThatIsCancelledLeavesTheQueueAndOneThatFailsLetsTheNextIn() async throws {
        let queue = TurnQueue()
        let gate = Gate()
        let first = Task {
            try await queue.run {
                try await gate.pass()
                throw SimulatedContainerHost.PlantedFailure(description: "it failed")
            }
        }
        await gate.reached()
        let cancelled = Task { try await queue.run { Issue.record("it was let in") } }
        await until { queue.waitingCount == 1 }
        let last = Task { try await queue.run { 7 } }
        await until { queue.waitingCount == 2 }
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        gate.open()
        await #expect(throws: SimulatedContainerHost.PlantedFailure.self) { try await first.value }
        #expect(try await last.value == 7)
    }

    @Test func moreThanTheBoundAreRefusedAtOnce() async throws {
        let queue = TurnQueue(limit: 1)
        let gate = Gate()
        let first = Task { try await queue.run { try await gate.pass() } }
        await gate.reached()
        let second = Task { try await queue.run {} }
        await until { queue.waitingCount == 1 }
        await #expect(throws: StorageError.self) { try await queue.run {} }
        gate.open()
        try await first.value
        try await second.value
    }
}
