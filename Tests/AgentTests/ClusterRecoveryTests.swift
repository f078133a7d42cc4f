import ClusterModel
import ClusterState
import ControlMessages
import Glibc
import LinuxSystem
import NIO
import Raft
import Storage
import SwiftProtobuf
import TLS
import Testing
import Transport

@testable import Agent

/// After a majority of voters was lost for good, one log becomes a new cluster, and nothing of the old one is mistaken for it.
@Suite(.timeLimit(.minutes(5)))
struct ClusterRecoveryTests {
    private static func withFolder(_ body: (String) async throws -> Void) async throws {
        let folder = "/tmp/godwit-recovery-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try FileSystem.createFolder(folder, mode: 0o700)
        defer { try? FileSystem.removeAll(folder) }
        try await body(folder)
    }

    /// What `godwitd recover` does to a folder.
    private static func recover(_ folder: String, copy: String) async throws -> ClusterRecovery {
        let (store, stored) = try await StateStore.open(folder: folder)
        let recovery = try ClusterRecovery(stored)
        try await store.copy(to: copy)
        var generator = SystemRandomNumberGenerator()
        try await store.beginAnew(
            try recovery.beginning(
                lineage: 77,
                member: .random(using: &generator),
                keyring: .random(),
                now: WallClock.now()
            )
        )
        try await store.close()
        return recovery
    }

    @Test func theLogOfTheOneThatIsLeftIsAClusterThatOldMembersCannotDisturbAndCanJoinAnew() async throws {
        try await Self.withFolder { folder in
            try await ClusterBench.with(
                ["a", "b", "c"],
                fencing: ClusterBench.shortFencing,
                store: { name in try await StateStore.open(folder: "\(folder)/\(name)").store },
                { bench, agents in try await Self.goThrough(bench, agents, folder) }
            )
        }
    }

    private static func goThrough(_ bench: ClusterBench, _ agents: [ClusterAgent], _ folder: String) async throws {
        var jobs: [JobID] = []
        for number in 0..<6 { jobs.append(try await agents[number % 3].submit("job-\(number)")) }
        // Every acknowledged job is in the log of every voter that answered; the one that is left has them all here.
        try await ClusterBench.until {
            let state = await agents[2].replica.state
            return jobs.allSatisfy { state.job($0)?.state == .running }
        }
        let elsewhere = await agents[2].replica.state.liveJobs.filter { $0.node != agents[2].node }
        #expect(!elsewhere.isEmpty, "the jobs are spread")
        for agent in agents {
            await agent.kill()
            try await agent.store.close()
        }

        let recovery = try await recover("\(folder)/c", copy: "\(folder)/c.before")
        #expect(recovery.node == agents[2].node)
        #expect(Set(recovery.jobsElsewhere.map(\.id)) == Set(elsewhere.map(\.id)))
        #expect(recovery.lastTime != nil)
        // The copy is the old log, as it was.
        let (kept, before) = try await StateStore.open(folder: "\(folder)/c.before")
        #expect(try ClusterRecovery(before).state.jobs == recovery.state.jobs)
        try await kept.close()

        let began = ContinuousClock.now
        let c = try await bench.agent(
            "c",
            seeds: ["a"],
            store: try await StateStore.open(folder: "\(folder)/c").store,
            host: agents[2].host
        )
        try await ClusterBench.until { await c.replica.isUpToDate() }
        #expect(c.replica.member != agents[2].replica.member)
        for job in jobs { #expect(await c.replica.state.job(job) != nil, "an acknowledged job is there") }
        #expect(await c.replica.state.isSettling)
        #expect(!c.fence.mayRun, "the right of the lost nodes may go on")
        // What is submitted meanwhile is accepted and waits.
        let later = try await c.submit("later")

        // An agent of the old cluster comes back with its log.
        let old = try await bench.agent(
            "b",
            seeds: ["a"],
            store: try await StateStore.open(folder: "\(folder)/b").store,
            host: agents[1].host
        )
        #expect(await old.replica.lineage == 0)
        #expect(await c.replica.lineage == 77)
        let refusal = await failure { _ = try await old.ask(from: "b", to: c, .propose, WireProposeRequest()) }
        #expect(refusal?.code == .conflict)
        #expect(refusal?.message.contains("--join") == true)
        #expect(await !old.replica.waitUntilReady(for: .seconds(1)), "it hears no leader")

        // When their right is over, and not before, the jobs of the lost nodes begin here.
        try await ClusterBench.until { await !c.replica.state.isSettling }
        #expect(began.duration(to: .now) >= bench.fencing.lossDelay)
        try await ClusterBench.until {
            let state = await c.replica.state
            return (jobs + [later]).allSatisfy { state.job($0)?.state == .running && state.job($0)?.node == c.node }
        }
        #expect(await c.replica.state.node(agents[1].node)?.state == .lost)
        // By then nothing may run with the old agent any more: its own right had run out.
        #expect(!old.fence.mayRun)
        #expect(old.fence.mustEnd)

        // With its log out of the way it is a new member, and has everything.
        await old.kill()
        try await old.store.close()
        try FileSystem.move("\(folder)/b", to: "\(folder)/b.old")
        let new = try await bench.agent(
            "b",
            seeds: ["c"],
            store: try await StateStore.open(folder: "\(folder)/b").store
        )
        try await ClusterBench.until {
            await c.replica.state.node(new.node)?.state == .active && new.fence.mayRun
        }
        #expect(await new.replica.lineage == 77)
        for job in jobs { #expect(await new.replica.state.job(job) != nil) }
        for agent in [c, new] {
            await agent.kill()
            try await agent.store.close()
        }
    }

    @Test func whatTheLogHoldsBeyondTheCommittedIsTakenToo() async throws {
        let (store, _) = try await Self.threeVoters()
        var stored = try await store.load()
        let submission = Submission(
            id: JobID(rawValue: "job9aaaaaaaa"),
            specification: Bench.specification("late"),
            submitter: Bench.user,
            time: Timestamp(seconds: 1_800_000_000)
        )
        let command = LoggedCommand(proposer: RaftMemberID(rawValue: 5), number: 1, command: .submit(submission))
        let entry = Entry(
            term: Term(rawValue: 1),
            index: stored.nextIndex,
            payload: .proposal(try command.encoded())
        )
        stored.entries.append(LogEntry(index: entry.index, term: entry.term, command: entry.encoded()))
        let recovery = try ClusterRecovery(stored)
        #expect(recovery.state.job(submission.id) != nil)
        #expect(recovery.lastTime == submission.time)
        #expect(recovery.lastIndex == entry.index)
        let lines = recovery.summary(now: submission.time + .seconds(60))
        #expect(lines.contains { $0.contains("last entry: \(entry.index)") && $0.contains("1 min ago") }, "\(lines)")
        #expect(lines.contains { $0.contains("voters: a, b, c") }, "\(lines)")
    }

    /// A store of node `a` whose membership has three voters.
    private static func threeVoters() async throws -> (store: InMemoryStateStore, member: UInt64) {
        let member: UInt64 = 5
        var state = ClusterState()
        for (name, number) in [("a", member), ("b", 6), ("c", 7)] {
            let registration = NodeRegistration(
                node: NodeID(rawValue: name),
                member: number,
                site: SiteID(rawValue: "coast"),
                address: "127.0.0.1:1",
                vcpus: 2,
                memory: .gibibytes(1),
                time: Timestamp(seconds: 1_700_000_000)
            )
            _ = state.apply(.registerNode(registration))
        }
        let metadata = SnapshotMetadata(
            index: 10,
            term: Term(rawValue: 1),
            membership: Raft.Membership(voters: [5, 6, 7].map { RaftMemberID(rawValue: $0) })
        )
        let snapshot = Raft.Snapshot(metadata: metadata, data: try StateCoding.encode(state))
        let store = InMemoryStateStore()
        try await store.commit(
            StateBatch(
                member: member,
                hardState: HardState(term: Term(rawValue: 1), vote: nil, commit: 10).encoded(),
                snapshot: ReplicaDisk.stored(snapshot)
            )
        )
        return (store, member)
    }

    @Test func theNewHistoryHasItsOwnMemberTermAndKeys() async throws {
        let (store, member) = try await Self.threeVoters()
        let recovery = try ClusterRecovery(try await store.load())
        let now = Timestamp(seconds: 1_700_001_000)
        let other = RaftMemberID(rawValue: 99)
        let batch = try recovery.beginning(lineage: 3, member: other, keyring: .random(), now: now)
        let snapshot = try #require(batch.snapshot)
        let persisted = try ReplicaDisk.persisted(
            StoredState(member: batch.member, hardState: batch.hardState, snapshot: snapshot)
        )
        #expect(persisted.snapshot.metadata.membership == Raft.Membership(voters: [other]))
        #expect(persisted.hardState.term > Term(rawValue: 1))
        #expect(persisted.hardState.vote == nil)
        let state = try ReplicaDisk.state(of: persisted.snapshot)
        #expect(state.lineage == 3)
        #expect(state.node(withMember: 99)?.node.rawValue == "a")
        #expect(state.node(withMember: member) == nil)
        #expect(state.unsettledNodes.map(\.rawValue) == ["b", "c"])
        #expect(state.keyring?.version == 1)
        #expect(state.audit.contains { $0.what.contains("begins anew from the log of node a") })
        // Neither can be taken out, or come back under another number, while its containers may run.
        var later = state
        let left = later.apply(.nodeLeft(NodeDeparture(node: NodeID(rawValue: "b"), time: now)))
        #expect(left.refusal?.message.contains("before the recovery") == true)
        for name in ["b", "c"] { _ = later.apply(.nodeLost(node: NodeID(rawValue: name), reason: "", time: now)) }
        #expect(!later.isSettling)
    }

    @Test func whatIsNoCaseForARecoveryIsRefusedWithTheReason() async throws {
        func reason(_ stored: StoredState) -> String {
            do {
                _ = try ClusterRecovery(stored)
                return "none"
            } catch { return "\(error)" }
        }
        #expect(reason(StoredState()).contains("never been a member"))
        let alone = InMemoryStateStore()
        _ = try await ReplicaDisk.open(alone, founds: true)
        #expect(reason(try await alone.load()).contains("cluster of its own already"))
        let (store, _) = try await Self.threeVoters()
        var stored = try await store.load()
        stored.hardState = [9]
        #expect(reason(stored).contains("cannot be read"))
    }

    // MARK: The command

    private static func configuration(_ folder: String) throws -> String {
        let path = "\(folder)/agent.yaml"
        try FileSystem.writeAtomically(
            "folders: {state: \(folder)}\ncluster: {partitionTimeout: 10s}\n",
            to: path
        )
        return path
    }

    private static func fill(_ folder: String) async throws {
        let (twin, _) = try await threeVoters()
        let stored = try await twin.load()
        let (store, _) = try await StateStore.open(folder: "\(folder)/state")
        try await store.commit(
            StateBatch(member: stored.member, hardState: stored.hardState, snapshot: stored.snapshot)
        )
        try await store.close()
    }

    @Test func theCommandKeepsTheOldLogAndIsDoneOnce() async throws {
        try await Self.withFolder { folder in
            let path = try Self.configuration(folder)
            try await Self.fill(folder)
            try await AgentProgram.recover(configurationPath: path, isConfirmed: true)
            let copies = try FileSystem.list(folder).filter { $0.hasPrefix("state.before-recovery-") }
            #expect(copies.count == 1)
            #expect(FileSystem.status("\(folder)/\(copies[0])")?.mode == 0o700)
            let (old, stored) = try await StateStore.open(folder: "\(folder)/\(copies[0])")
            #expect(stored.member == 5)
            try await old.close()
            await #expect { try await AgentProgram.recover(configurationPath: path, isConfirmed: true) } throws: {
                "\($0)".contains("cluster of its own already")
            }
        }
    }

    @Test func theCommandIsRefusedWhereItCouldDoHarm() async throws {
        try await Self.withFolder { folder in
            let path = try Self.configuration(folder)
            func reason() async -> String {
                do {
                    try await AgentProgram.recover(configurationPath: path, isConfirmed: true)
                    return "none"
                } catch { return "\(error)" }
            }
            #expect(await reason().contains("there is no log"))
            try await Self.fill(folder)
            let (running, _) = try await StateStore.open(folder: "\(folder)/state")
            #expect(await reason().contains("Another agent"))
            try await running.close()
            // Not one byte of it is trusted any more.
            let file = "\(folder)/state/state.sqlite"
            var bytes = try FileSystem.read(file, limit: 1 << 24)
            let text = Array("formatVersion".utf8)
            let place = try #require(bytes.indices.first { bytes[$0...].starts(with: text) })
            bytes[place] ^= 1
            try FileSystem.removeAll(file)
            do {
                let descriptor = try FileSystem.create(file, mode: 0o600)
                try descriptor.write(bytes, path: file)
            }
            #expect(await reason().contains("damaged"))
            #expect(try FileSystem.list(folder).count { $0.hasPrefix("state.before") } == 0)
        }
    }

    @Test func agentsThatStillAnswerAreFound() async throws {
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(server.localAddress?.port)
        let (a, b) = (NodeID(rawValue: "a"), NodeID(rawValue: "b"))
        let found = await AgentProgram.agents(
            answeringAmong: [(b, "127.0.0.1:1"), (a, "127.0.0.1:\(port)"), (b, "no address")]
        )
        #expect(found.map(\.node) == [a])
        try await server.close()
    }
}

extension ClusterAgent {
    /// Asks another agent with the certificate of a node, as its connections do.
    fileprivate func ask(
        from name: String,
        to other: ClusterAgent,
        _ method: WireMethod,
        _ request: WireProposeRequest
    ) async throws {
        var request = request
        request.lineage = directory.lineage ?? 0
        let payload = ByteBuffer(bytes: try request.serializedBytes() as [UInt8])
        let peer = PeerIdentity.node(
            cluster: ClusterID(rawValue: "flock"),
            site: SiteID(rawValue: "coast"),
            node: NodeID(rawValue: name),
            role: .worker
        )
        let call = RPCCall(
            request: RPCRequest(method: method, payload: payload, peer: peer),
            deadline: nil,
            sink: OneAnswer()
        )
        try await other.handler.handle(call)
    }
}
