import Synchronization
import Testing

@testable import Agent

/// Answers reach an operation in their order, and its deadline wakes it when none come.
@Suite(.timeLimit(.minutes(5)))
struct OperationEventsTests {
    @Test func answersComeInOrderUntilTheOperationIsOver() async {
        let events = OperationEvents<Int>()
        let seen = Mutex<[Int?]>([])
        for number in 1...5 { events.send(number) }
        await events.drive(deadline: { nil }) { event in
            seen.withLock { $0.append(event) }
            return event == 4
        }
        #expect(
            seen.withLock { $0 } == [nil, 1, 2, 3, 4],
            "it looks once before the first answer, and not after the last"
        )
    }

    @Test func aDeadlineThatHasPassedWakesTheOperation() async {
        let events = OperationEvents<Int>()
        let wakes = Mutex(0)
        let past = ContinuousClock.now
        await events.drive(deadline: { past }) { event in
            #expect(event == nil)
            return wakes.withLock { count in
                count += 1
                return count == 4
            }
        }
        #expect(wakes.withLock { $0 } == 4)
    }

    @Test func anOperationThatIsOverAtOnceWaitsForNothing() async {
        let events = OperationEvents<Int>()
        await events.drive(deadline: { nil }) { _ in true }
    }
}
