import ClusterModel
import Testing
import Transport

@testable import Agent

/// What a destination hears that asks for a dump before it is there.
struct MigrationDeskTests {
    private static let key = MigrationDesk.Key(job: JobID(rawValue: "job1aaaaaaaa"), number: 3)

    private func ask(_ desk: MigrationDesk) async -> RPCFailure.Code? {
        do {
            try await desk.send(MigrationRequest(job: Self.key.job, number: Self.key.number)) { _ in }
            return nil
        } catch { return (error as? RPCFailure)?.code }
    }

    @Test func `A dump that takes long is not one that is gone`() async {
        let desk = MigrationDesk(bytesPerSecond: 0, patience: .milliseconds(5), facts: { _ in MigrationFacts() })
        #expect(await ask(desk) == .notFound)
        desk.expect(Self.key)
        #expect(await ask(desk) == .unavailable)
        desk.withdraw(Self.key)
        #expect(await ask(desk) == .notFound)
    }

    @Test func `Who waits for a dump hears at once when it does not come`() async {
        let desk = MigrationDesk(bytesPerSecond: 0, patience: .seconds(3600), facts: { _ in MigrationFacts() })
        desk.expect(Self.key)
        async let answer = ask(desk)
        await Task.yield()
        desk.withdraw(Self.key)
        #expect(await answer == .notFound)
    }
}
