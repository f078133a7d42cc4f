import ControlMessages
import Foundation
import SwiftProtobuf
import Testing

@testable import godwit

/// `godwit checkpoint`: what is shown, what is asked, and files that are there in full or not at all.
struct CheckpointTests {
    static let newest = WireJobCheckpoint.with {
        ($0.jobID, $0.jobName, $0.jobState) = ("k3vq7m2xw5ab", "linpack", "running")
        $0.checkpoint = .with {
            ($0.generation, $0.state, $0.node, $0.holders) = (4, "complete", "knot", ["knot", "stint"])
            ($0.takenUnixSeconds, $0.frozenSeconds, $0.totalSeconds) = (noon - 70, 0.21, 1.4)
            ($0.rawBytes, $0.storedBytes, $0.cpuSeconds) = (512 << 20, 190 << 20, 61.5)
        }
    }
    static let older = WireJobCheckpoint.with {
        $0 = newest
        ($0.checkpoint.generation, $0.checkpoint.state, $0.checkpoint.holders) = (3, "damaged", ["knot"])
        $0.checkpoint.takenUnixSeconds = noon - 400
    }

    @Test func checkpointsAreListed() async throws {
        let agent = ScriptedAgent().answer(WireCheckpointListReply.with { $0.checkpoints = [Self.older, Self.newest] })
        try expectGolden(await execute("checkpoint", "list", agent: agent).output, "checkpoint-list.txt")
        _ = await execute("checkpoint", "list", "linpack", "--node", "knot", "-o", "json", agent: agent)
        let asked = agent.requests(WireCheckpointListRequest.self)
        #expect(!asked[0].hasJob && asked[1].job.nameOrID == "linpack" && asked[1].node == "knot")
        #expect(await execute("checkpoint", "list").output == "There are no checkpoints.\n")
    }

    @Test func oneIsShownWithWhatItWaitsFor() async throws {
        let reply = WireCheckpointShowReply.with {
            $0.checkpoint = Self.newest
            ($0.incarnation, $0.replicas, $0.isSafe, $0.sealKey) = (2, 2, true, 5)
            ($0.wanted, $0.declined, $0.otherGenerations) = (["plover"], ["dunlin"], [2])
            $0.indexSha256 = String(repeating: "0123abcd", count: 8)
            $0.purpose = "The newest good one. Waits for plover to fetch a copy."
        }
        let agent = ScriptedAgent().answer(reply)
        try expectGolden(await execute("checkpoint", "show", "linpack", agent: agent).output, "checkpoint-show.txt")
        _ = await execute("checkpoint", "show", "linpack", "--generation", "3", agent: agent)
        #expect(agent.requests(WireCheckpointShowRequest.self).map(\.generation) == [0, 3])
    }

    @Test func aCheckNamesEachDamagedRegionAndFails() async throws {
        let reading = WireCheckpointVerifyReply.with {
            $0.generation = 4
            $0.holders = [
                .with { ($0.node, $0.state, $0.totalBytes, $0.checkedBytes) = ("knot", "reading", 100 << 20, 9 << 20) }
            ]
        }
        var done = reading
        done.holders = [
            .with { ($0.node, $0.state, $0.totalBytes, $0.checkedBytes) = ("knot", "good", 100 << 20, 100 << 20) },
            .with {
                ($0.node, $0.state, $0.totalBytes, $0.checkedBytes) = ("stint", "damaged", 100 << 20, 100 << 20)
                ($0.problem, $0.damagedCount, $0.isReplaced) = ("Checkpoint 4 is damaged.", 70, true)
                $0.damaged = [
                    .with { ($0.file, $0.region, $0.offset, $0.length) = ("pages-1.img", 7, 1_835_008, 262_144) }
                ]
            },
        ]
        let run = await execute("checkpoint", "verify", "linpack", agent: ScriptedAgent().stream([reading, done]))
        #expect(run.status == .failure && run.diagnostics.contains("checkpoint 4 of linpack is not good on stint"))
        try expectGolden(run.output, "checkpoint-verify.txt")
        done.holders.removeLast()
        let good = await execute("checkpoint", "verify", "linpack", agent: ScriptedAgent().stream([reading, done]))
        #expect(good.status == .success && good.output.contains("good"))
    }

    @Test func anExportHasItsNameOnlyWhenItIsComplete() async throws {
        let folder = try TemporaryFolder()
        let file = "\(folder.path)/out.tar"
        let parts = [
            WireCheckpointExportReply.with { ($0.data, $0.totalBytes, $0.generation) = (Data("abc".utf8), 5, 4) },
            WireCheckpointExportReply.with { $0.data = Data("de".utf8) },
        ]
        let cut = ScriptedAgent().stream(parts, then: CommandFailure(.unreachable, "the agent closed the connection"))
        let broken = await execute("checkpoint", "export", "linpack", "-f", file, agent: cut)
        #expect(broken.status == .unreachable)
        let short = await execute(
            "checkpoint",
            "export",
            "linpack",
            "-f",
            file,
            agent: ScriptedAgent().stream([parts[0]])
        )
        #expect(short.status == .failure && short.diagnostics.contains("3 of 5 bytes"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
        let agent = ScriptedAgent().stream(parts)
        let run = await execute("checkpoint", "export", "linpack", "--generation", "4", "-f", file, agent: agent)
        #expect(run.output.contains("is not encrypted") && run.status == .success, "\(run.diagnostics)")
        #expect(try folder.read("out.tar") == "abcde")
        let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let again = await execute("checkpoint", "export", "linpack", "-f", file, agent: ScriptedAgent().stream(parts))
        #expect(again.status == .failure && again.diagnostics.contains("--force"))
        let piped = await execute("checkpoint", "export", "linpack", "-f", "-", agent: ScriptedAgent().stream(parts))
        #expect(piped.output == "abcde")
    }

    @Test func anImportGoesInPiecesAndSaysWhatItMade() async throws {
        let folder = try TemporaryFolder()
        let file = "\(folder.path)/in.tar"
        try Data(count: 2_500_000).write(to: URL(filePath: file))
        let agent = ScriptedAgent().answer(
            WireCheckpointImportReply.with { ($0.jobID, $0.jobName, $0.generation) = ("k3vq7m2xw5ab", "linpack", 1) }
        )
        let run = await execute("checkpoint", "import", file, "--name", "linpack", agent: agent)
        #expect(run.output.contains("'godwit job restore linpack'"), "\(run.diagnostics)")
        let pieces = agent.requests(WireCheckpointImportRequest.self)
        #expect(pieces.map(\.offset) == [0, 1 << 20, 2 << 20] && pieces.map(\.isLast) == [false, false, true])
        #expect(pieces[2].name == "linpack" && !pieces[2].hasInto && Set(pieces.map(\.upload)).count == 1)
        let added = ScriptedAgent()
        _ = await execute("checkpoint", "import", file, "--into", "linpack", agent: added)
        #expect(added.requests(WireCheckpointImportRequest.self).last?.into.nameOrID == "linpack")
        #expect(await execute("checkpoint", "import", file, "--into", "a", "--name", "b").status == .usage)
        #expect(await execute("checkpoint", "import", "\(folder.path)/none").status == .failure)
    }

    @Test func aRemovalNamesTheGeneration() async {
        let agent = ScriptedAgent().answer(WireCheckpointRemoveReply.with { $0.nodes = ["knot", "stint"] })
        let run = await execute("checkpoint", "rm", "linpack", "3", "--force", agent: agent)
        #expect(run.output == "checkpoint 3 of linpack is being deleted on knot, stint\n")
        let request = agent.requests(WireCheckpointRemoveRequest.self).first
        #expect(request?.generation == 3 && request?.force == true)
        #expect(await execute("checkpoint", "rm", "linpack").status == .usage)
    }
}
