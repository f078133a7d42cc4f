import Checkpointing
import ClusterModel
import ClusterState
import Testing

@testable import Agent

/// Containers that run before their memory has arrived are left alone until it has, and never go on without it.
@Suite(.timeLimit(.minutes(5)))
struct NodeControllerArrivalTests {
    /// A job that runs from its second checkpoint, and whose memory is still to come.
    private func restored(_ bench: Bench) async throws -> JobID {
        bench.images.beLazy()
        let id = try await bench.running()
        await bench.quiet()
        for _ in 1...2 {
            await bench.advance(10)
            try await bench.checkpoint(id)
        }
        bench.host.lose(bench.key(id))
        _ = try await bench.until(id, "it runs on") { $0.state == .running && $0.incarnation.rawValue == 2 }
        return id
    }

    @Test func noCheckpointIsBegunBeforeAllMemoryIsThere() async throws {
        let bench = try await Bench.started()
        let id = try await restored(bench)
        await bench.quiet()
        #expect(try await bench.sentences(id, .restored).contains { $0.hasSuffix("of its memory still arrive.") })
        bench.host.forgetJournal()
        try await bench.propose(.requestCheckpoint(job: id, stops: false, by: Bench.user, time: bench.time.now))
        await bench.quiet()
        #expect(!bench.host.journal.contains { $0.hasPrefix("freeze") || $0.hasPrefix("prepareCheckpoint") })
        bench.host.endArrival(of: bench.key(id, 2), .complete)
        _ = try await bench.until(id, "the checkpoint is taken") { $0.newestGoodCheckpoint?.generation.rawValue == 3 }
        #expect(try await bench.sentences(id, .restored).contains { $0.hasPrefix("All of its memory (") })
        let metrics = bench.registry.render()
        #expect(metrics.contains("godwit_restores_lazy_total 1.0\n"))
        #expect(metrics.contains("godwit_restore_memory_seconds_count 1"))
        await bench.stop()
    }

    @Test func memoryThatIsDamagedSendsTheJobToTheCheckpointBefore() async throws {
        let bench = try await Bench.started()
        let id = try await restored(bench)
        bench.host.endArrival(of: bench.key(id, 2), .failed(.damaged(reason: "region 7 is not what was written")))
        bench.host.lose(bench.key(id, 2))
        _ = try await bench.until(id, "it waits to be restored") { $0.state == .queued }
        await bench.advance(5)
        let record = try await bench.until(id, "it runs from the one before") {
            $0.state == .running && $0.incarnation.rawValue == 3
        }
        bench.host.endArrival(of: bench.key(id, 3), .complete)
        #expect(record.ledger.total == .seconds(10))
        #expect(record.checkpoint(CheckpointGeneration(rawValue: 2))?.state == .damaged)
        #expect(try await bench.sentences(id, .warned).contains { $0.contains("region 7 is not what was written") })
        await bench.stop()
    }

    @Test func aContainerThatEndsBeforeIsNotSaidToHaveAll() async throws {
        let bench = try await Bench.started()
        let id = try await restored(bench)
        bench.host.end(bench.key(id, 2), .exited(code: 0))
        bench.host.endArrival(of: bench.key(id, 2), .containerEnded)
        _ = try await bench.until(id, "it is over") { $0.state == .completed }
        #expect(try await !bench.sentences(id, .restored).contains { $0.hasPrefix("All of its memory") })
        await bench.stop()
    }
}
