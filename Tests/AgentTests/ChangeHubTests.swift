import ClusterModel
import Testing

@testable import Agent

/// Changes reach every subscriber; one that is slow costs a bounded amount and misses nothing.
@Suite(.timeLimit(.minutes(5)))
struct ChangeHubTests {
    private static func job(_ number: Int) -> JobID { JobID(rawValue: "job\(number)") }

    @Test func aSlowSubscriberFindsEachJobOnce() async {
        let hub = ChangeHub()
        let subscription = hub.subscribe()
        for round in 0..<10_000 { hub.publish([Self.job(round % 3)]) }
        var iterator = subscription.changes.makeAsyncIterator()
        await iterator.next()
        #expect(subscription.take() == [Self.job(0), Self.job(1), Self.job(2)])
        #expect(subscription.take() == [])
        subscription.end()
        #expect(await iterator.next() == nil, "one wake-up stands for all of them")
    }

    @Test func everySubscriberHasItsOwnView() {
        let hub = ChangeHub()
        let (first, second) = (hub.subscribe(), hub.subscribe())
        hub.publish([Self.job(2), Self.job(1)])
        #expect(first.take() == [Self.job(1), Self.job(2)])
        hub.publish([Self.job(3)])
        #expect(first.take() == [Self.job(3)])
        #expect(second.take() == [Self.job(1), Self.job(2), Self.job(3)])
    }

    @Test func whoCameLaterHearsOnlyOfWhatIsNew() {
        let hub = ChangeHub()
        hub.publish([Self.job(1)])
        let subscription = hub.subscribe()
        #expect(subscription.take() == [])
        hub.publish([])
        hub.publish([Self.job(2)])
        #expect(subscription.take() == [Self.job(2)])
    }

    @Test func whoHasEndedHearsNothingMore() async {
        let hub = ChangeHub()
        let subscription = hub.subscribe()
        subscription.end()
        hub.publish([Self.job(1)])
        #expect(subscription.take() == [])
        for await _ in subscription.changes { Issue.record("woken after its end") }
    }

    @Test func aChangeAfterTheLookWakesAgain() async {
        let hub = ChangeHub()
        let subscription = hub.subscribe()
        var iterator = subscription.changes.makeAsyncIterator()
        for number in 1...5 {
            hub.publish([Self.job(number)])
            await iterator.next()
            #expect(subscription.take() == [Self.job(number)])
        }
        subscription.end()
    }
}
