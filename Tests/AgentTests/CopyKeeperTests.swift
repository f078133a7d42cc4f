import Checkpointing
import ClusterModel
import ClusterState
import ControlMessages
import LinuxSystem
import Testing
import Transport

@testable import Agent

/// Checkpoints that outlive their node, among agents whose disks and containers are twins.
@Suite(.timeLimit(.minutes(5)))
struct CopyKeeperTests {
    private static func taken(_ job: JobID, on agents: [ClusterAgent]) async throws -> CatalogEntry {
        let before = await agents[0].replica.state.job(job)?.lastGeneration ?? CheckpointGeneration(rawValue: 0)
        var entry: CatalogEntry?
        try await ClusterBench.until {
            // Again where a leader was lost meanwhile, and the checkpoint with it.
            if let seen = await agents[0].replica.state.job(job), seen.state == .running, seen.request == nil,
                seen.newestGoodCheckpoint.map({ $0.generation <= before }) ?? true
            {
                let (ada, time) = (UserID(rawValue: "ada"), WallClock.now())
                _ = try? await agents[0].replica.propose(
                    .requestCheckpoint(job: job, stops: false, by: ada, time: time)
                )
            }
            entry = await agents[0].replica.state.job(job)?.newestGoodCheckpoint
            return entry.map { $0.generation > before } ?? false
        }
        return try #require(entry)
    }

    /// A job that runs, and the agent that runs it.
    private static func running(
        _ name: String,
        replicas: Int = 1,
        on agents: [ClusterAgent]
    ) async throws -> (JobID, ClusterAgent) {
        let job = try await agents[0].submit(name, replicas: replicas)
        try await ClusterBench.until { await agents[0].replica.state.job(job)?.state == .running }
        let node = await agents[0].replica.state.job(job)?.node
        return (job, try #require(agents.first { $0.node == node }))
    }

    /// Waits until so many nodes have a generation, on their disks and in the catalog.
    private static func copied(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        to count: Int,
        among agents: [ClusterAgent]
    ) async throws -> [ClusterAgent] {
        var holders: [ClusterAgent] = []
        try await ClusterBench.until {
            let known = await agents[0].replica.state.job(job)?.checkpoint(generation)?.holders ?? []
            for agent in agents {
                guard await agent.replica.state.job(job)?.checkpoint(generation)?.holders == known else { return false }
            }
            holders = agents.filter { known.contains($0.node) }
            return known.count == count
                && holders.allSatisfy { $0.images.generations(of: job).contains(generation.rawValue) }
        }
        return holders
    }

    @Test("a checkpoint is copied to another node, and the job goes on from it when its own is gone")
    func lostNode() async throws {
        try await ClusterBench.with(["a", "b", "c"], fencing: ClusterBench.shortFencing) { bench, agents in
            let (job, home) = try await Self.running("outlives", on: agents)
            let entry = try await Self.taken(job, on: agents)
            #expect(entry.seal != nil)
            let holders = try await Self.copied(job, entry.generation, to: 2, among: agents)
            let other = try #require(holders.first { $0.node != home.node })
            await home.kill()
            let rest = agents.filter { $0.node != home.node }
            try await ClusterBench.until {
                let leader = try await bench.leader(among: rest)
                let record = await leader.replica.state.job(job)
                return record?.state == .running && record?.node != home.node
            }
            let record = try #require(await rest[0].replica.state.job(job))
            #expect(record.node == other.node, "it goes where a copy is")
            #expect(record.incarnation == Incarnation(rawValue: 2))
            let restored = other.host.container(ContainerKey(job: job, incarnation: record.incarnation))
            #expect(restored?.images != nil, "it was started anew")
        }
    }

    @Test("a checkpoint that an agent took while it was alone is copied as soon as there is another one")
    func takenAlone() async throws {
        let bench = ClusterBench()
        do {
            let first = try await bench.agent("a")
            // From the first moment on: no service of the agent has had its turn yet.
            #expect(await first.replica.state.checkpointKeys.map(\.number) == [1])
            let (job, _) = try await Self.running("early", on: [first])
            let entry = try await Self.taken(job, on: [first])
            #expect(entry.seal?.key == 1)
            #expect(await first.replica.state.nodes.isEmpty, "it has company already")
            let second = try await bench.agent("b", seeds: ["a"])
            _ = try await Self.copied(job, entry.generation, to: 2, among: [first, second])
            // The key was made for the first gossip key, so that one brings no other.
            try await ClusterBench.until { await second.replica.state.keyring != nil }
            await first.copyLeader.pass()
            #expect(await first.replica.state.checkpointKeys.map(\.number) == [1])
        } catch {
            await bench.end()
            throw error
        }
        await bench.end()
    }

    @Test("what is written of a checkpoint is taken in meanwhile, and need not come again")
    func whileItIsWritten() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, home) = try await Self.running("growing", replicas: 2, on: agents)
            // Who knows the same chooses the same.
            try await ClusterBench.until { await home.replica.state.nodes.count { $0.state == .active } == 3 }
            let gate = home.images.holdStoring()
            async let taken = Self.taken(job, on: agents)
            // It is far from whole, and the others have all that there is.
            let others = agents.filter { $0.node != home.node }
            try await ClusterBench.until { others.allSatisfy { $0.images.comingBytes == 400_000 } }
            #expect(home.images.readOffsets.isEmpty)
            gate.open()
            let entry = try await taken
            _ = try await Self.copied(job, entry.generation, to: 3, among: agents)
            #expect(home.images.readOffsets.min() == 400_000, "\(home.images.readOffsets)")
        }
    }

    @Test("what is too much to be taken in early goes at once, and comes when the checkpoint is whole")
    func tooMuchEarly() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            let (job, home) = try await Self.running("large", on: agents)
            let other = try #require(agents.first { $0.node != home.node })
            other.images.boundEarly(300_000)
            let gate = home.images.holdStoring()
            async let taken = Self.taken(job, on: agents)
            try await ClusterBench.until { other.log.text.contains("checkpoint.early.declined") }
            try await ClusterBench.until { other.images.comingBytes == 0 }
            #expect(home.images.readOffsets.isEmpty)
            gate.open()
            let entry = try await taken
            _ = try await Self.copied(job, entry.generation, to: 2, among: agents)
            #expect(home.images.readOffsets.min() == 0)
        }
    }

    @Test("what came early of a checkpoint that was given up, or that others keep, goes")
    func earlyForNothing() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            let (job, home) = try await Self.running("vain", on: agents)
            let other = try #require(agents.first { $0.node != home.node })
            let gate = home.images.holdStoring()
            home.images.failStoring("planted")
            async let taken = Self.taken(job, on: agents)
            try await ClusterBench.until { other.images.comingBytes == 400_000 }
            gate.open()
            let entry = try await taken
            #expect(entry.generation.rawValue > 1)
            _ = try await Self.copied(job, entry.generation, to: 2, among: agents)
            try await ClusterBench.until { other.images.comingBytes == 0 }
            #expect(other.images.generations(of: job) == [entry.generation.rawValue])
        }
    }

    @Test("a node without a copy fetches one for a restore, and then has it")
    func fetchedForRestore() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, home) = try await Self.running("fetched", on: agents)
            let entry = try await Self.taken(job, on: agents)
            let holders = try await Self.copied(job, entry.generation, to: 2, among: agents)
            let third = try #require(agents.first { agent in !holders.contains { $0.node == agent.node } })
            try await third.copies.obtain(job, entry.generation)
            #expect(third.images.generations(of: job) == [entry.generation.rawValue])
            // The leader may have taken it for one too many by now.
            try await ClusterBench.until {
                await home.replica.state.job(job)?.checkpoint(entry.generation)?.holders.contains(third.node) == true
                    || third.images.generations(of: job).isEmpty
            }
        }
    }

    @Test("a node that cannot take a copy declines it, and another one gets it")
    func declined() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, home) = try await Self.running("declined", on: agents)
            let others = agents.filter { $0.node != home.node }
            // Whichever is asked first has no room.
            for other in others { other.images.refuseIncoming("no room") }
            let entry = try await Self.taken(job, on: agents)
            try await ClusterBench.until {
                await agents[0].replica.state.job(job)?.checkpoint(entry.generation)?.copies?.declined.count == 2
            }
            // The next generation is asked for anew, and there is room by now.
            for other in others { other.images.refuseIncoming(nil) }
            let next = try await Self.taken(job, on: agents)
            _ = try await Self.copied(job, next.generation, to: 2, among: agents)
        }
    }

    @Test("a node that can reach no holder declines after some tries, and another one gets the copy")
    func unreachable() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { bench, agents in
            let (job, home) = try await Self.running("unreachable", on: agents)
            let others = agents.filter { $0.node != home.node }
            for other in others { bench.network.cutCopies(to: other.node) }
            let entry = try await Self.taken(job, on: agents)
            var asked: NodeID?
            try await ClusterBench.until {
                asked = await home.replica.state.job(job)?.checkpoint(entry.generation)?.wantedCopies.first
                return asked != nil
            }
            let other = try #require(others.first { $0.node != asked })
            bench.network.cutCopies(to: other.node, false)
            let holders = try await Self.copied(job, entry.generation, to: 2, among: agents)
            #expect(Set(holders.map(\.node)) == [home.node, other.node])
            let told = await home.replica.state.job(job)?.checkpoint(entry.generation)?.copies
            #expect(told?.declines?.map(\.node) == asked.map { [$0] })
        }
    }

    @Test("a disk that lost a byte is found out by reading it, and the copy is made anew")
    func scrubbed() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, home) = try await Self.running("scrubbed", on: agents)
            let entry = try await Self.taken(job, on: agents)
            let holders = try await Self.copied(job, entry.generation, to: 2, among: agents)
            let other = try #require(holders.first { $0.node != home.node })
            other.images.damageData(job, entry.generation.rawValue, "region 3 does not open")
            try await ClusterBench.until { other.log.text.contains("checkpoint.damaged") }
            _ = try await Self.copied(job, entry.generation, to: 2, among: agents)
            #expect(await home.replica.state.job(job)?.checkpoint(entry.generation)?.state == .complete)
        }
    }

    @Test("a bad copy costs the restore nothing but another fetch")
    func damagedAtRestore() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            let (job, home) = try await Self.running("damaged", on: agents)
            let entry = try await Self.taken(job, on: agents)
            _ = try await Self.copied(job, entry.generation, to: 2, among: agents)
            home.images.damageData(job, entry.generation.rawValue, "region 7 does not open")
            let record = try #require(await agents[0].replica.state.job(job))
            home.host.end(ContainerKey(job: job, incarnation: record.incarnation), .lost)
            try await ClusterBench.until {
                let now = await agents[0].replica.state.job(job)
                return now?.state == .running && now?.incarnation == Incarnation(rawValue: 2)
            }
            let restored = agents.contains {
                $0.host.container(ContainerKey(job: job, incarnation: Incarnation(rawValue: 2)))?.images != nil
            }
            #expect(restored, "it was started anew although a good copy was there")
        }
    }

    @Test("a copy goes on where it was interrupted, from whoever has it")
    func interrupted() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, _) = try await Self.running("interrupted", on: agents)
            let entry = try await Self.taken(job, on: agents)
            let holders = try await Self.copied(job, entry.generation, to: 2, among: agents)
            let third = try #require(agents.first { agent in !holders.contains { $0.node == agent.node } })
            for holder in holders { holder.images.failReading("the disk is busy") }
            let before = holders.map(\.images.readOffsets.count)
            try await third.copies.obtain(job, entry.generation)
            let asked = zip(holders, before).flatMap { holder, count in holder.images.readOffsets.dropFirst(count) }
            #expect(asked.count { $0 == 0 } == 1, "it began anew: \(asked)")
            #expect(asked.count >= 4)
        }
    }

    @Test("another holder's files that are not what the catalog knows are not taken")
    func exchanged() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, home) = try await Self.running("exchanged", on: agents)
            let entry = try await Self.taken(job, on: agents)
            let holders = try await Self.copied(job, entry.generation, to: 2, among: agents)
            let third = try #require(agents.first { agent in !holders.contains { $0.node == agent.node } })
            home.images.exchange(job, entry.generation.rawValue)
            try await third.copies.obtain(job, entry.generation)
            #expect(third.log.text.contains("is not what the catalog knows"))
            for holder in holders where holder.node != home.node {
                holder.images.exchange(job, entry.generation.rawValue)
            }
            try await third.images.remove(job: job, generation: entry.generation)
            await #expect(throws: RestoreProblem.self) { try await third.copies.obtain(job, entry.generation) }
        }
    }

    @Test("a holder that sent wrong bytes reads its own copy at once, and gets a good one")
    func selfChecked() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, _) = try await Self.running("blamed", on: agents)
            let entry = try await Self.taken(job, on: agents)
            let holders = try await Self.copied(job, entry.generation, to: 2, among: agents)
            let third = try #require(agents.first { agent in !holders.contains { $0.node == agent.node } })
            // Whichever is asked first.
            let first = try #require(entry.holders.first.flatMap { node in holders.first { $0.node == node } })
            first.images.rot(job, entry.generation)
            try await third.copies.obtain(job, entry.generation)
            try await ClusterBench.until { first.log.text.contains("checkpoint.damaged") }
            _ = try await Self.copied(job, entry.generation, to: 2, among: agents)
            #expect(await third.replica.state.job(job)?.checkpoint(entry.generation)?.state == .complete)
        }
    }

    @Test("an index that no such image can have is refused before it is kept")
    func longIndex() async throws {
        try await ClusterBench.with(["a", "b", "c"]) { _, agents in
            let (job, _) = try await Self.running("long", on: agents)
            let entry = try await Self.taken(job, on: agents)
            let holders = try await Self.copied(job, entry.generation, to: 2, among: agents)
            let third = try #require(agents.first { agent in !holders.contains { $0.node == agent.node } })
            let first = try #require(entry.holders.first.flatMap { node in holders.first { $0.node == node } })
            first.images.announceIndex(of: 17 << 20)
            try await third.copies.obtain(job, entry.generation)
            #expect(third.log.text.contains("more than an index of such images can have"))
        }
    }

    @Test("checkpoints get another key when the gossip does, and what was sealed before stays readable")
    func rotated() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            try await ClusterBench.until {
                guard let stored = await agents[0].replica.state.keyring else { return false }
                var keyring = try GossipKeyring.decode(stored.secret.bytes.span)
                try keyring.use(try keyring.addRandomKey())
                let next = StoredKeyring(
                    version: stored.version + 1,
                    secret: SecretBytes(keyring.encoded()),
                    time: WallClock.now()
                )
                return try await agents[0].replica.propose(.setKeyring(next)).acceptance != nil
            }
            try await ClusterBench.until { await agents[1].replica.state.checkpointKeys.map(\.number) == [1, 2] }
            let keys = await agents[1].replica.state.checkpointKeys
            #expect(keys[0].secret != keys[1].secret)
        }
    }

    @Test("what is retired goes from every node")
    func retired() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            let (job, _) = try await Self.running("retired", on: agents)
            var last = CheckpointGeneration(rawValue: 0)
            for _ in 0..<4 {
                last = try await Self.taken(job, on: agents).generation
                _ = try await Self.copied(job, last, to: 2, among: agents)
            }
            try await ClusterBench.until {
                agents.allSatisfy { $0.images.generations(of: job) == [last.rawValue - 1, last.rawValue] }
            }
            try await ClusterBench.until {
                let cancel = Command.requestCancel(
                    job: job,
                    grace: .zero,
                    by: UserID(rawValue: "ada"),
                    time: WallClock.now()
                )
                return try await agents[0].replica.propose(cancel).acceptance != nil
            }
            try await ClusterBench.until {
                let isEmpty = agents.allSatisfy { $0.images.generations(of: job).isEmpty }
                return await agents[0].replica.state.job(job)?.catalog.isEmpty == true && isEmpty
            }
        }
    }

    @Test("a node that keeps more than it should lets the oldest go that nobody needs")
    func bounded() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            let (job, home) = try await Self.running("bounded", on: agents)
            for _ in 0..<2 {
                let entry = try await Self.taken(job, on: agents)
                _ = try await Self.copied(job, entry.generation, to: 2, among: agents)
            }
            home.images.bound(.mebibytes(30))
            try await ClusterBench.until { agents.allSatisfy { $0.images.generations(of: job) == [2] } }
            // The last one stays, although it is too much as well.
            home.images.bound(.mebibytes(1))
            await home.copies.sweep()
            #expect(await home.replica.state.job(job)?.newestGoodCheckpoint?.generation.rawValue == 2)
        }
    }

    @Test("files that nobody counts to a node are deleted there")
    func strays() async throws {
        try await ClusterBench.with(["a", "b"]) { _, agents in
            let (job, home) = try await Self.running("strays", on: agents)
            let entry = try await Self.taken(job, on: agents)
            _ = try await Self.copied(job, entry.generation, to: 2, among: agents)
            let stray = try #require(agents.first { $0.node != home.node })
            var record = try #require(stray.images.record(job, entry.generation.rawValue))
            record.generation = CheckpointGeneration(rawValue: 77)
            record.job = JobID(rawValue: "nobodysjob12")
            stray.images.put(record)
            try await ClusterBench.until { stray.images.generations(of: record.job).isEmpty }
            #expect(stray.images.generations(of: job) == [entry.generation.rawValue])
        }
    }
}
