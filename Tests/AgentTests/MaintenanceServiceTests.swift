import ClusterModel
import ClusterState
import Testing

@testable import Agent

/// Of a job that is forgotten nothing stays on the disk, whatever went wrong in between.
@Suite(.timeLimit(.minutes(5)))
struct MaintenanceServiceTests {
    private func service(_ bench: Bench) -> MaintenanceService {
        let time = bench.time
        return MaintenanceService(
            replica: bench.replica,
            store: bench.store,
            host: bench.host,
            logger: bench.logger,
            now: { time.now }
        )
    }

    /// A job that has ended, and another one that runs.
    private func ended(_ bench: Bench) async throws -> (ended: JobID, running: JobID) {
        let ended = try await bench.running(Bench.specification("ended"))
        bench.host.end(bench.key(ended), .exited(code: 0))
        try await bench.until(ended, "it completed") { $0.state == .completed }
        await bench.gone(ended)
        let running = try await bench.running(Bench.specification("running"))
        bench.host.plantOutput(of: running)
        return (ended, running)
    }

    @Test func theOutputOfAJobThatIsForgottenGoesWithIt() async throws {
        let bench = try await Bench.started()
        let (ended, running) = try await ended(bench)
        await service(bench).pass()
        #expect(bench.host.forgottenJobs == [], "its time is not over")
        bench.time.advance(.seconds(30 * 86400))
        await service(bench).pass()
        #expect(bench.host.forgottenJobs == [ended])
        #expect(try await bench.host.archivedJobs() == [running])
        await bench.stop()
    }

    @Test func whatADeletionOrAnAgentLeftBehindIsDeletedLater() async throws {
        let bench = try await Bench.started()
        let (ended, running) = try await ended(bench)
        let stranger = JobID(rawValue: "strangeraaaa")
        bench.host.plantOutput(of: stranger)
        bench.host.failAlways(.forget, "read-only file system")
        bench.time.advance(.seconds(30 * 86400))
        await service(bench).pass()
        #expect(await bench.replica.state.job(ended) == nil)
        #expect(bench.log.text.contains("job.forget.failed"))
        #expect(bench.log.text.contains("read-only file system"))
        bench.host.heal(.forget)
        await service(bench).pass()
        #expect(bench.host.forgottenJobs.sorted() == [ended, stranger])
        #expect(try await bench.host.archivedJobs() == [running])
        await bench.stop()
    }
}
