import ClusterModel
import Testing

@testable import Agent

/// How long a node goes on trying to get a copy that no holder can give.
final class CopyRetriesTests {
    private static func key(_ generation: UInt32) -> JobGeneration {
        JobGeneration(job: JobID(rawValue: "job1aaaaaaaa"), generation: CheckpointGeneration(rawValue: generation))
    }
    private let start = ContinuousClock.now
    private var retries = CopyRetries(pause: .seconds(10), patience: .seconds(30))

    /// Whether there is another try of a generation that failed after so many seconds.
    private func failed(_ generation: UInt32, hasHolder: Bool = true, at seconds: Int) -> Bool {
        retries.failed(Self.key(generation), hasHolder: hasHolder, now: start + .seconds(seconds))
    }

    private func mayTry(_ generation: UInt32, at seconds: Int) -> Bool {
        retries.mayTry(Self.key(generation), now: start + .seconds(seconds))
    }

    @Test("it pauses after each try, and gives up after a while")
    func bounded() {
        #expect(mayTry(3, at: 0))
        for seconds in [0, 10, 20] {
            #expect(failed(3, at: seconds))
            #expect(!mayTry(3, at: seconds + 9) && mayTry(3, at: seconds + 10))
        }
        #expect(!failed(3, at: 30))
    }

    @Test("while there is no holder it waits, and begins anew with one")
    func withoutHolder() {
        #expect(failed(3, at: 0))
        #expect(failed(3, hasHolder: false, at: 40))
        #expect(failed(3, at: 50))
        #expect(!failed(3, at: 80))
    }

    @Test("what is wanted no more is forgotten")
    func forgotten() {
        #expect(failed(3, at: 0) && failed(4, at: 0))
        retries.keep(only: [Self.key(4)])
        #expect(mayTry(3, at: 0) && !mayTry(4, at: 0))
        #expect(failed(3, at: 30))
        #expect(!failed(4, at: 30))
    }
}
