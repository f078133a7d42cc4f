import Checkpointing
import ClusterModel
import ClusterState
import ControlMessages
import LinuxSystem
import SwiftProtobuf
import Testing
import Transport

@testable import Agent

/// `godwit checkpoint` among agents: any of them is asked, whoever has the files.
@Suite(.timeLimit(.minutes(5)))
struct CheckpointControlTests {
    /// A job that is suspended with a checkpoint on two nodes, or on the only one.
    private static func suspended(_ agents: [ClusterAgent]) async throws -> (job: JobRecord, entry: CatalogEntry) {
        let job = try await agents[0].submit("packed")
        try await ClusterBench.until { await agents[0].replica.state.job(job)?.state == .running }
        var record: JobRecord?
        try await ClusterBench.until {
            // Again where a leader was lost meanwhile, and the checkpoint with it.
            if let seen = await agents[0].replica.state.job(job), seen.state == .running, seen.request == nil {
                let (ada, time) = (UserID(rawValue: "ada"), WallClock.now())
                _ = try? await agents[0].replica.propose(.requestCheckpoint(job: job, stops: true, by: ada, time: time))
            }
            for agent in agents {
                record = await agent.replica.state.job(job)
                guard record?.state == .suspended, record?.newestGoodCheckpoint?.holders.count == min(2, agents.count)
                else {
                    return false
                }
            }
            return true
        }
        let found = try #require(record)
        return (found, try #require(found.newestGoodCheckpoint))
    }

    private static func reference(_ job: JobRecord) -> WireJobReference {
        .with { $0.nameOrID = job.specification.name }
    }

    private static func export(_ job: JobRecord, from agent: ClusterAgent) async throws -> [UInt8] {
        let request = WireCheckpointExportRequest.with { $0.job = reference(job) }
        let pieces = try await agent.listen(.checkpointExport, request, WireCheckpointExportReply.self)
        return pieces.flatMap { [UInt8]($0.data) }
    }

    private static func importing(
        _ tar: [UInt8],
        to agent: ClusterAgent,
        _ change: (inout WireCheckpointImportRequest) -> Void = { _ in }
    ) async throws -> WireCheckpointImportReply {
        var reply = WireCheckpointImportReply()
        for start in stride(from: 0, to: tar.count, by: 300) {
            var request = WireCheckpointImportRequest.with {
                ($0.upload, $0.offset) = ("an-upload", UInt64(start))
                $0.data = .init(tar[start..<min(start + 300, tar.count)])
                $0.isLast = start + 300 >= tar.count
            }
            change(&request)
            let question = request
            reply = try await ClusterBench.oncePossible {
                try await agent.ask(.checkpointImport, question, WireCheckpointImportReply.self)
            }
        }
        return reply
    }

    @Test("out of one job and into another, whichever agents are asked")
    func exportAndImport() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, entry) = try await Self.suspended(agents)
            let stranger = try #require(agents.first { !entry.holders.contains($0.node) })
            let tar = try await Self.export(job, from: stranger)
            #expect(
                try await Self.export(job, from: agents.first { entry.holders.contains($0.node) } ?? stranger) == tar
            )
            let reply = try await Self.importing(tar, to: stranger) { $0.name = "unpacked" }
            #expect(reply.jobName == "unpacked" && reply.generation == 1)
            let made = JobID(rawValue: reply.jobID)
            try await ClusterBench.until { await stranger.replica.state.job(made) != nil }
            let record = try #require(await stranger.replica.state.job(made))
            #expect(record.state == .suspended && record.ledger.total == .seconds(5))
            #expect(record.newestGoodCheckpoint?.node == stranger.node)
            // Its copies follow as those of any checkpoint.
            try await ClusterBench.until {
                await stranger.replica.state.job(made)?.newestGoodCheckpoint?.holders.count == 2
            }
            let added = try await Self.importing(tar, to: agents[0]) { $0.into = Self.reference(job) }
            #expect(added.generation == entry.generation.rawValue + 1 && added.jobName == "packed")
        }
    }

    @Test("an agent alone exports and imports too")
    func alone() async throws {
        let bench = ClusterBench()
        do {
            let agent = try await bench.agent("a")
            let (job, entry) = try await Self.suspended([agent])
            let tar = try await Self.export(job, from: agent)
            let reply = try await Self.importing(tar, to: agent) { $0.name = "unpacked" }
            #expect(await agent.replica.state.job(JobID(rawValue: reply.jobID))?.state == .suspended)
            let added = try await Self.importing(tar, to: agent) { $0.into = Self.reference(job) }
            #expect(added.generation == entry.generation.rawValue + 1)
            #expect(await agent.replica.state.nodes.isEmpty, "it has company already")
        } catch {
            await bench.end()
            throw error
        }
        await bench.end()
    }

    @Test("a tar that was cut off makes nothing")
    func refused() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            let (job, _) = try await Self.suspended(agents)
            let tar = try await Self.export(job, from: agents[0])
            await #expect(throws: RPCFailure.self) {
                _ = try await Self.importing(Array(tar.dropLast(20)), to: agents[0]) { $0.name = "half" }
            }
            #expect(await agents[0].replica.state.jobs.count == 1)
        }
    }

    @Test("every holder reads its copy for whoever asks, and a damaged one is made anew")
    func verify() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, entry) = try await Self.suspended(agents)
            let stranger = try #require(agents.first { !entry.holders.contains($0.node) })
            let bad = try #require(agents.first { $0.node == entry.holders[1] })
            bad.images.rot(job.id, entry.generation)
            let request = WireCheckpointVerifyRequest.with { $0.job = Self.reference(job) }
            let last = try #require(
                try await stranger.listen(.checkpointVerify, request, WireCheckpointVerifyReply.self).last
            )
            #expect(last.holders.map(\.node) == entry.holders.map(\.rawValue).sorted())
            let found = try #require(last.holders.first { $0.node == bad.node.rawValue })
            #expect(found.state == "damaged" && found.isReplaced && found.damaged.map(\.file) == ["pages-1.img"])
            #expect(last.holders.first { $0.node != bad.node.rawValue }?.state == "good")
            try await ClusterBench.until {
                await stranger.replica.state.job(job.id)?.checkpoint(entry.generation)?.holders.count == 2
            }
        }
    }

    @Test("what is removed goes from every disk, but not what the job stands still with")
    func remove() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            let (job, entry) = try await Self.suspended(agents)
            var request = WireCheckpointRemoveRequest.with {
                ($0.job, $0.generation) = (Self.reference(job), entry.generation.rawValue)
            }
            let careful = request
            await #expect(throws: RPCFailure.self) {
                _ = try await agents[1].ask(.checkpointRemove, careful, WireCheckpointRemoveReply.self)
            }
            request.force = true
            let forced = request
            let reply = try await ClusterBench.oncePossible {
                try await agents[1].ask(.checkpointRemove, forced, WireCheckpointRemoveReply.self)
            }
            #expect(reply.nodes.sorted() == entry.holders.map(\.rawValue).sorted())
            try await ClusterBench.until {
                let isGone = agents.allSatisfy { $0.images.generations(of: job.id).isEmpty }
                return await agents[0].replica.state.job(job.id)?.catalog.isEmpty == true && isGone
            }
            let list = try await agents[1].ask(
                .checkpointList,
                WireCheckpointListRequest(),
                WireCheckpointListReply.self
            )
            #expect(list.checkpoints.isEmpty)
        }
    }
}
