import ClusterModel
import Testing

@testable import Agent

/// What a destination is told before it takes a job, and what it needs.
struct MigrationFactsTests {
    @Test(arguments: [
        (4, false, 20), (4, true, 20), (1000, false, 1016), (1000, true, 48),
    ])
    func roomIsForWhatComesBeforeItRuns(memory: Int64, isLazy: Bool, room: Int64) {
        let facts = MigrationFacts(memory: .mebibytes(memory), isLazy: isLazy)
        #expect(facts.room == .mebibytes(room))
    }

    @Test(arguments: [true, false])
    func onlyWhoCanRunItBeforeIsToldThatMemoryFollows(takesLazily: Bool) async throws {
        let desk = MigrationDesk(bytesPerSecond: 0) { _ in MigrationFacts(memory: .gibibytes(1), isLazy: true) }
        let (job, b) = (JobID(rawValue: "job1aaaaaaaa"), NodeID(rawValue: "b"))
        desk.learn(.sample(1, of: job, to: b), of: job)
        var request = MigrationRequest(job: job, number: 1)
        (request.isInquiry, request.takesLazily) = (true, takesLazily)
        var told: [Bool] = []
        try await desk.send(request, to: b) { part in told.append(try MigrationPart(part.wire).facts.isLazy) }
        #expect(told == [takesLazily])
    }
}
