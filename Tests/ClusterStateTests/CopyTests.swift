import ClusterModel
import ClusterState
import Foundation
import Testing

extension Bench {
    static let seal = ImageSeal(key: 1, digest: String(repeating: "ab", count: 32))

    /// Takes a sealed checkpoint on the node that runs job 1; gives its generation.
    @discardableResult
    mutating func sealed(on node: Int, consumed: Duration = .seconds(5), at seconds: Double) -> CheckpointGeneration {
        apply(.beginCheckpoint(job: Self.id(1), incarnation: job.incarnation, time: Self.at(seconds)))
        var entry = entry(consumed: consumed, at: seconds)
        entry.node = Self.nodeID(node)
        entry = CatalogEntry(
            generation: entry.generation,
            taken: entry.taken,
            node: entry.node,
            incarnation: entry.incarnation,
            frozen: entry.frozen,
            total: entry.total,
            raw: entry.raw,
            stored: entry.stored,
            consumed: consumed,
            completedIterations: entry.completedIterations,
            seal: Self.seal
        )
        apply(.checkpointRecorded(job: Self.id(1), entry: entry, time: Self.at(seconds + 0.5)))
        return entry.generation
    }

    mutating func place(_ generation: CheckpointGeneration, on nodes: Int..., at seconds: Double) {
        let wanted = nodes.map(Self.nodeID)
        apply(.placeCopies(job: Self.id(1), generation: generation, nodes: wanted, time: Self.at(seconds)))
    }

    mutating func held(_ generation: CheckpointGeneration, by node: Int, at seconds: Double) {
        let command = Command.copyHeld(
            job: Self.id(1),
            generation: generation,
            node: Self.nodeID(node),
            time: Self.at(seconds)
        )
        apply(command)
    }
}

struct CopyTests {
    @Test("a job whose node is lost goes on from a copy, on any node that is there")
    func lostNode() throws {
        var bench = Bench.onNodeOne()
        let generation = bench.sealed(on: 1, consumed: .seconds(50), at: 10)
        bench.place(generation, on: 2, at: 11)
        #expect(bench.job.checkpoint(generation)?.wantedCopies == [Bench.nodeID(2)])
        bench.held(generation, by: 2, at: 12)
        #expect(bench.job.checkpoint(generation)?.wantedCopies == [])
        bench.reading(.seconds(58), at: 60)
        bench.lose(1, at: 100)
        #expect(bench.job.state == .queued)
        #expect(bench.job.resumption?.generation == generation)
        #expect(bench.job.ledger.total == .seconds(50))
        let story = try #require(bench.decisions.last { $0.kind == .restarted })
        #expect(
            story.sentence
                == "Node n1 is lost: no answer for 40 s. It goes on from checkpoint 1 on node n2. 8.0 s of CPU time are lost."
        )
        // Node 3 has no copy, and can fetch one.
        bench.assign(to: 3, at: 101)
        bench.begin(on: 3, at: 102)
        #expect(bench.job.task == .restore(bench.job.incarnation, from: generation))
    }

    @Test("who declined a copy is known with the time and how often, until it has one")
    func declined() throws {
        var bench = Bench.onNodeOne()
        let generation = bench.sealed(on: 1, at: 10)
        func decline(_ node: Int, at seconds: Double) -> Command {
            let who = Bench.nodeID(node)
            return .copyDeclined(
                job: Bench.id(1),
                generation: generation,
                node: who,
                reason: "Full.",
                time: Bench.at(seconds)
            )
        }
        #expect(bench.refusal(decline(2, at: 11))?.code == .stale, "it was not asked")
        bench.place(generation, on: 2, 3, at: 11)
        bench.apply(decline(3, at: 12))
        bench.apply(decline(2, at: 13))
        bench.place(generation, on: 3, at: 80)
        bench.apply(decline(3, at: 90))
        let copies = try #require(bench.job.checkpoint(generation)?.copies)
        #expect(copies.declined == [Bench.nodeID(2), Bench.nodeID(3)] && copies.wanted == [])
        #expect(copies.declines?.map(\.count) == [1, 2])
        #expect(copies.decline(of: Bench.nodeID(3))?.last == Bench.at(90))
        #expect(bench.decisions.count { $0.kind == .warned } == 2, "each of them is told of once")
        let stored = try JSONDecoder().decode(ClusterState.self, from: JSONEncoder().encode(bench.state))
        #expect(stored == bench.state)
        bench.place(generation, on: 2, 3, at: 200)
        bench.held(generation, by: 3, at: 201)
        bench.held(generation, by: 2, at: 202)
        #expect(bench.job.checkpoint(generation)?.copies?.declined == [])
        #expect(bench.job.checkpoint(generation)?.copies?.declines == nil)
    }

    @Test("what was stored before declines had a time is read")
    func declinedBefore() throws {
        let text = #"{"holders": ["n1"], "wanted": [], "declined": ["n2"]}"#
        let copies = try JSONDecoder().decode(CheckpointCopies.self, from: Data(text.utf8))
        #expect(copies.declined == [Bench.nodeID(2)] && copies.decline(of: Bench.nodeID(2)) == nil)
    }

    @Test("a checkpoint that is not sealed stays on its node")
    func unsealed() {
        var bench = Bench.onNodeOne()
        bench.checkpoint(on: 1, consumed: .seconds(5), at: 10)
        let wish = Command.placeCopies(
            job: Bench.id(1),
            generation: CheckpointGeneration(rawValue: 1),
            nodes: [Bench.nodeID(2)],
            time: Bench.at(11)
        )
        #expect(bench.refusal(wish)?.message.contains("not sealed") == true)
        bench.exited(.lost, at: 20)
        let elsewhere = Command.assign(job: Bench.id(1), node: Bench.nodeID(2), reason: "r.", time: Bench.at(21))
        #expect(bench.refusal(elsewhere)?.message.contains("on node n1 alone") == true)
    }

    @Test("the newest generation that outlives its node stays until a newer one does")
    func retention() {
        var bench = Bench.onNodeOne { $0.checkpoint.generations = 1 }
        let first = bench.sealed(on: 1, at: 10)
        bench.place(first, on: 2, at: 11)
        bench.held(first, by: 2, at: 12)
        let second = bench.sealed(on: 1, at: 20)
        bench.place(second, on: 2, at: 21)
        let third = bench.sealed(on: 1, at: 30)
        // The first is safe, the second is on its way, the third is the newest.
        #expect(bench.job.goodCheckpoints.map(\.generation) == [first, second, third])
        bench.held(second, by: 2, at: 32)
        #expect(bench.job.goodCheckpoints.map(\.generation) == [second, third])
        #expect(bench.job.checkpoint(first)?.state == .retiring)
        bench.place(third, on: 3, at: 33)
        bench.held(third, by: 3, at: 34)
        #expect(bench.job.goodCheckpoints.map(\.generation) == [third])
    }

    @Test("a retired generation is gone when each holder has deleted its files")
    func retired() {
        var bench = Bench.onNodeOne { $0.checkpoint.generations = 1 }
        let first = bench.sealed(on: 1, at: 10)
        bench.place(first, on: 2, at: 11)
        bench.held(first, by: 2, at: 12)
        let second = bench.sealed(on: 1, at: 20)
        bench.place(second, on: 2, at: 21)
        bench.held(second, by: 2, at: 22)
        #expect(bench.refusal(.checkpointRetired(job: Bench.id(1), generation: first)) != nil)
        for node in [2, 1] {
            bench.apply(
                .copyGone(job: Bench.id(1), generation: first, node: Bench.nodeID(node), time: Bench.at(23))
            )
        }
        #expect(bench.job.checkpoint(first) == nil)
        let last = Command.copyGone(job: Bench.id(1), generation: second, node: Bench.nodeID(1), time: Bench.at(24))
        bench.apply(last)
        let only = Command.copyGone(job: Bench.id(1), generation: second, node: Bench.nodeID(2), time: Bench.at(25))
        #expect(bench.refusal(only)?.message.contains("the only copy") == true)
    }

    @Test("a damaged copy costs its node's copy; the last damaged one costs the generation")
    func damaged() {
        var bench = Bench.onNodeOne()
        let generation = bench.sealed(on: 1, at: 10)
        bench.place(generation, on: 2, at: 11)
        bench.held(generation, by: 2, at: 12)
        func damage(_ node: Int, at seconds: Double) -> Command {
            .copyDamaged(
                job: Bench.id(1),
                generation: generation,
                node: Bench.nodeID(node),
                reason: "region 3 does not open.",
                time: Bench.at(seconds)
            )
        }
        bench.apply(damage(1, at: 13))
        #expect(bench.job.checkpoint(generation)?.state == .complete)
        #expect(bench.job.checkpoint(generation)?.holders == [Bench.nodeID(2)])
        #expect(bench.decisions.last?.sentence.contains("It is still on node n2.") == true)
        bench.apply(damage(2, at: 14))
        #expect(bench.job.checkpoint(generation)?.state == .damaged)
    }

    @Test("a node that leaves takes its copies with it, but not the last one unasked")
    func leaving() {
        var bench = Bench.onNodeOne()
        let generation = bench.sealed(on: 1, at: 10)
        bench.exited(.lost, at: 20)
        let leave = Command.nodeLeft(NodeDeparture(node: Bench.nodeID(1), time: Bench.at(21)))
        #expect(bench.refusal(leave)?.message.contains("only checkpoints") == true)
        bench.place(generation, on: 2, at: 22)
        bench.held(generation, by: 2, at: 23)
        bench.apply(leave)
        #expect(bench.job.checkpoint(generation)?.holders == [Bench.nodeID(2)])
        #expect(bench.job.resumption?.generation == generation)
    }

    @Test("a drain takes the job to another node with its work")
    func drained() {
        var bench = Bench.onNodeOne()
        let generation = bench.sealed(on: 1, consumed: .seconds(30), at: 10)
        bench.apply(.drain(node: Bench.nodeID(1), restartsJobs: true, by: Bench.user, time: Bench.at(40)))
        bench.exited(.signalled(number: 9, isOutOfMemory: false), consumed: .seconds(31), at: 41)
        #expect(bench.job.state == .queued)
        #expect(bench.job.resumption?.generation == generation)
        #expect(bench.job.ledger.total == .seconds(30))
    }

    @Test("a job that leaves a drained node with a last checkpoint loses nothing, and goes on without being asked")
    func movedAway() throws {
        var bench = Bench.onNodeOne()
        let away = Command.moveAway(job: Bench.id(1), time: Bench.at(20))
        #expect(bench.refusal(away)?.message.contains("not being drained") == true)
        bench.apply(.drain(node: Bench.nodeID(1), restartsJobs: false, by: Bench.user, time: Bench.at(19)))
        bench.apply(away)
        #expect(bench.job.task == .checkpoint(bench.job.incarnation, stops: true))
        #expect(bench.refusal(away) != nil, "it is asked once")
        var stayed = bench
        stayed.apply(.undrain(node: Bench.nodeID(1), by: Bench.user, time: Bench.at(20)))
        #expect(stayed.job.task == .run(stayed.job.incarnation))
        let generation = bench.sealed(on: 1, consumed: .seconds(30), at: 21)
        #expect(bench.job.state == .queued)
        #expect(bench.job.resumption?.generation == generation)
        #expect(bench.job.ledger.total == .seconds(30) && bench.job.lost == .zero)
        #expect(
            bench.decisions.last?.sentence
                == "It was stopped with checkpoint 1, because node n1 is being drained. It goes on from checkpoint 1 on node n1."
        )
        bench.assign(to: 2, at: 22)
        bench.begin(on: 2, at: 23)
        #expect(bench.job.task == .restore(bench.job.incarnation, from: generation))
    }

    @Test("a job that yields its place ends with a checkpoint and goes on from it when there is room")
    func preempted() throws {
        var bench = Bench.onNodeOne()
        let yield = Command.preempt(
            job: Bench.id(1),
            yieldsTo: Bench.id(9),
            reason: "big waits with a deadline and needs the room.",
            time: Bench.at(20)
        )
        bench.apply(yield)
        #expect(bench.decisions.last?.kind == .preempted)
        #expect(bench.job.task == .checkpoint(bench.job.incarnation, stops: true))
        #expect(bench.refusal(yield) != nil, "it is asked once")
        let generation = bench.sealed(on: 1, consumed: .seconds(30), at: 21)
        #expect(bench.job.state == .queued && bench.job.request == nil)
        #expect(bench.job.ledger.total == .seconds(30) && bench.job.lost == .zero)
        #expect(
            bench.decisions.last?.sentence
                == "It was stopped with checkpoint 1, to make room for job \(Bench.id(9)). It goes on from checkpoint 1 on node n1."
        )
        bench.assign(to: 1, at: 22)
        bench.begin(on: 1, at: 23)
        #expect(bench.job.task == .restore(bench.job.incarnation, from: generation))
    }

    @Test("whoever asked for a stop with a checkpoint gets that, also of a job that was to yield")
    func preemptedAndSuspended() {
        var bench = Bench.onNodeOne()
        bench.apply(.preempt(job: Bench.id(1), yieldsTo: Bench.id(9), reason: "Room.", time: Bench.at(20)))
        bench.apply(.requestCheckpoint(job: Bench.id(1), stops: true, by: Bench.user, time: Bench.at(20)))
        bench.sealed(on: 1, at: 21)
        #expect(bench.job.state == .suspended)
    }

    @Test("a last checkpoint that fails lets the job run on, and is tried again later")
    func movedAwayInVain() {
        var bench = Bench.onNodeOne()
        bench.apply(.drain(node: Bench.nodeID(1), restartsJobs: false, by: Bench.user, time: Bench.at(19)))
        bench.apply(.moveAway(job: Bench.id(1), time: Bench.at(20)))
        bench.apply(.beginCheckpoint(job: Bench.id(1), incarnation: bench.job.incarnation, time: Bench.at(20)))
        bench.apply(
            .checkpointFailed(
                job: Bench.id(1),
                generation: bench.job.lastGeneration,
                reason: "It uses io_uring.",
                isInterrupted: false,
                time: Bench.at(21)
            )
        )
        #expect(bench.job.state == .running && bench.job.request == nil)
        #expect(!bench.job.mayMoveAway(at: Bench.at(30)))
        #expect(bench.job.mayMoveAway(at: Bench.at(42)))
    }

    @Test("keys follow each other, and one that a checkpoint needs is not destroyed")
    func keys() {
        var bench = Bench.onNodeOne { $0.checkpoint.generations = 1 }
        func key(_ number: UInt64, at seconds: Double, byteCount: Int = 32) -> Command {
            let secret = SecretBytes([UInt8](repeating: 1, count: byteCount))
            return .addCheckpointKey(
                CheckpointKey(number: number, secret: secret, gossipKey: 1, time: Bench.at(seconds))
            )
        }
        #expect(bench.refusal(key(2, at: 1))?.code == .stale)
        #expect(bench.refusal(key(1, at: 1, byteCount: 16))?.code == .invalid)
        bench.apply(key(1, at: 1))
        bench.sealed(on: 1, at: 10)
        bench.apply(key(2, at: 20))
        let later = 20 + 2 * 86400.0
        #expect(bench.state.surplusCheckpointKeys(at: Bench.at(later)) == [])
        bench.apply(.requestCancel(job: Bench.id(1), grace: .zero, by: Bench.user, time: Bench.at(30)))
        bench.exited(.signalled(number: 9, isOutOfMemory: false), at: 31)
        bench.apply(.checkpointRetired(job: Bench.id(1), generation: CheckpointGeneration(rawValue: 1)))
        #expect(bench.state.surplusCheckpointKeys(at: Bench.at(40)) == [], "one may be under way")
        #expect(bench.state.surplusCheckpointKeys(at: Bench.at(later)) == [1])
        bench.apply(.dropCheckpointKeys(numbers: [1], time: Bench.at(later)))
        #expect(bench.state.checkpointKeys.map(\.number) == [2])
        #expect("\(bench.state.checkpointKeys)".contains("<32 secret bytes>"))
    }

    @Test("an agent alone has a key before its first job, and registers with it")
    func keyOfOneAlone() {
        var bench = Bench()
        func key(_ number: UInt64, gossipKey: UInt16) -> Command {
            let secret = SecretBytes([UInt8](repeating: 1, count: 32))
            return .addCheckpointKey(
                CheckpointKey(number: number, secret: secret, gossipKey: gossipKey, time: Bench.at(0))
            )
        }
        #expect(bench.state.nextCheckpointKey(gossipKey: 1) == 1)
        #expect(bench.refusal(key(2, gossipKey: 1))?.code == .stale)
        #expect(bench.state.version == ClusterState.oldestVersion, "what is refused raises nothing")
        bench.apply(key(1, gossipKey: 1))
        #expect(bench.state.version == 4)
        #expect(bench.state.nextCheckpointKey(gossipKey: 1) == nil)
        #expect(bench.refusal(.registerNode(Bench.registration(1) { $0.speaks = 3 })) != nil)
        bench.register(1)
        #expect(bench.state.nextCheckpointKey(gossipKey: 1) == nil, "the first gossip key brings no other")
        #expect(bench.state.nextCheckpointKey(gossipKey: 2) == 2)
        bench.apply(key(2, gossipKey: 2))
        #expect(bench.state.nextCheckpointKey(gossipKey: 2) == nil)
        #expect(bench.state.checkpointKeys.map(\.number) == [1, 2])
    }
}
