import AgentConfiguration
import ClusterModel
import ClusterState
import ControlMessages
import Glibc
import LinuxSystem
import Logging
import NIO
import Placement
import Raft
import Storage
import Synchronization
import Testing
import Transport

@testable import Agent

/// The fence: until when a node may run containers.
@Suite(.timeLimit(.minutes(5)))
struct LeaderFenceTests {
    private func withLease(_ body: (LeaseFile) throws -> Void) throws {
        let folder = "/tmp/godwit-fence-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try FileSystem.createFolder(folder, mode: 0o700)
        defer { try? FileSystem.removeAll(folder) }
        try body(LeaseFile(path: "\(folder)/lease"))
    }

    private static func fence(_ lease: LeaseFile, isAlone: Bool, _ timeout: Duration = .seconds(1000)) -> LeaderFence {
        LeaderFence(
            FencingConfiguration(partitionTimeout: timeout),
            lease: lease,
            isAlone: isAlone,
            logger: Bench().logger
        )
    }

    private static func until(_ lease: LeaseFile) throws -> Int64? {
        guard case .until(let nanoseconds) = try lease.read() else { return nil }
        return nanoseconds
    }

    @Test func aNodeThatIsAloneNeedsNobodysWord() throws {
        try withLease { lease in
            let fence = Self.fence(lease, isAlone: true)
            #expect(fence.mayRun && !fence.mustEnd)
            let written = try lease.read()
            #expect(written == .unlimited)
        }
    }

    @Test func oneAmongOthersHasNoRightBeforeTheFirstAnswerThatItHasApplied() throws {
        try withLease { lease in
            let fence = Self.fence(lease, isAlone: false)
            #expect(!fence.mayRun && fence.mustEnd)
            fence.note(isAlone: false, applied: 4, answer: (index: 5, sent: .now))
            #expect(!fence.mayRun, "what was decided up to entry 5 is not known here yet")
            #expect(try Self.until(lease) == nil)
            fence.note(isAlone: false, applied: 5)
            #expect(fence.mayRun && !fence.mustEnd)
            let left = try #require(try Self.until(lease)) - BootClock.nanoseconds()
            #expect(left > Duration.seconds(900).nanoseconds && left <= Duration.seconds(1000).nanoseconds)
        }
    }

    @Test func theRightCountsFromWhenItWasAskedFor() throws {
        try withLease { lease in
            let fence = Self.fence(lease, isAlone: false)
            fence.note(isAlone: false, applied: 9, answer: (index: 1, sent: .now - .seconds(1001)))
            #expect(!fence.mayRun && fence.mustEnd)
        }
    }

    @Test func whatTheAgentBeforePromisedStands() throws {
        try withLease { lease in
            try LeaseFile(path: lease.path).extend(until: .now + .seconds(500))
            let promised = try Self.until(lease)
            let fence = Self.fence(lease, isAlone: false)
            #expect(!fence.mayRun, "nothing new is begun before a leader was heard")
            #expect(!fence.mustEnd, "what runs may go on until then")
            fence.note(isAlone: false, applied: 1)
            #expect(try Self.until(lease) == promised)
        }
    }

    @Test func whoeverIsNotAloneAnyMoreHasAWholeTimeoutToHearFromALeader() throws {
        try withLease { lease in
            let fence = Self.fence(lease, isAlone: true)
            fence.note(isAlone: false, applied: 1)
            #expect(!fence.mayRun && !fence.mustEnd)
            let left = try #require(try Self.until(lease)) - BootClock.nanoseconds()
            #expect(left > Duration.seconds(900).nanoseconds)
        }
    }

    @Test func aLeaseThatCannotBeWrittenIsLoggedOnce() throws {
        try withLease { lease in
            let bench = Bench()
            let broken = LeaseFile(path: lease.path + "/nowhere/lease")
            let fence = LeaderFence(FencingConfiguration(), lease: broken, isAlone: true, logger: bench.logger)
            fence.note(isAlone: true, applied: 1)
            #expect(bench.log.text.split(separator: "\n").count { $0.contains("lease.write.failed") } == 1)
        }
    }
}

/// What the leader does for all, with a clock that the test moves.
@Suite(.timeLimit(.minutes(5)))
struct LeaderServiceTests {
    private final class Clocks: Sendable {
        private let state = Mutex((now: Timestamp(seconds: 1_700_000_000), steady: ContinuousClock.now))
        var now: Timestamp { state.withLock(\.now) }
        var steady: ContinuousClock.Instant { state.withLock(\.steady) }
        func advance(_ duration: Duration) { state.withLock { $0 = ($0.now + duration, $0.steady + duration) } }
    }

    private struct Rig {
        let clocks: Clocks
        let replica: Replica
        let leader: LeaderService
    }

    /// A group of one whose list of nodes has others too.
    private static func rig(_ others: [String], suspects: Set<NodeID> = []) async throws -> Rig {
        let bench = Bench()
        let replica = try await Replica(
            store: InMemoryStateStore(),
            metrics: AgentMetrics(registry: MetricsRegistry()),
            logger: bench.logger
        )
        let clocks = Clocks()
        for (number, name) in (["a"] + others).enumerated() {
            let registration = NodeRegistration(
                node: NodeID(rawValue: name),
                member: name == "a" ? replica.member.rawValue : UInt64(number + 1),
                site: SiteID(rawValue: "coast"),
                address: "\(name):7420",
                vcpus: 4,
                memory: .gibibytes(4),
                time: clocks.now
            )
            #expect(try await replica.propose(.registerNode(registration)).acceptance != nil)
        }
        let leader = LeaderService(
            cluster: ClusterID(rawValue: "flock"),
            node: NodeID(rawValue: "a"),
            replica: replica,
            hub: ChangeHub(),
            fencing: FencingConfiguration(),
            suspects: { suspects },
            logger: bench.logger,
            now: { clocks.now },
            steady: { clocks.steady }
        )
        return Rig(clocks: clocks, replica: replica, leader: leader)
    }

    private static let (b, c) = (NodeID(rawValue: "b"), NodeID(rawValue: "c"))

    @Test func aNodeIsLostAfterItsRightToRunAndNotWhileItAsksForIt() async throws {
        let rig = try await Self.rig(["b", "c"])
        await rig.leader.pass()
        let delay = FencingConfiguration().lossDelay
        rig.clocks.advance(delay - .seconds(1))
        #expect(await rig.leader.renew(Self.b) != nil)
        await rig.leader.pass()
        #expect(await rig.replica.state.nodes.allSatisfy { $0.state == .active })
        rig.clocks.advance(.seconds(2))
        await rig.leader.pass()
        #expect(await rig.replica.state.node(Self.c)?.state == .lost)
        #expect(await rig.replica.state.node(Self.b)?.state == .active, "counted from its last request")
        #expect(await rig.replica.state.node(NodeID(rawValue: "a"))?.state == .active, "a leader does not lose itself")
    }

    @Test func theAnswerNamesTheEndOfTheLogSoThatNothingDecidedBeforeIsMissed() async throws {
        let rig = try await Self.rig(["b"])
        await rig.leader.pass()
        rig.clocks.advance(FencingConfiguration().lossDelay + .seconds(1))
        await rig.leader.pass()
        let lost = await rig.replica.status.applied
        let index = try #require(await rig.leader.renew(Self.b))
        #expect(index >= lost)
    }

    @Test func nothingIsPlacedOnANodeThatIsDoubtedOrSilent() async throws {
        for isDoubted in [true, false] {
            let rig = try await Self.rig(["b"], suspects: isDoubted ? [Self.b] : [])
            await rig.leader.pass()
            if !isDoubted { rig.clocks.advance(.seconds(5)) }
            for number in 0..<4 {
                let submission = Submission(
                    id: JobID(rawValue: "job\(number)aaaaaaaa"),
                    specification: Bench.specification("job-\(number)"),
                    submitter: Bench.user,
                    time: rig.clocks.now
                )
                try await rig.replica.propose(.submit(submission))
            }
            await rig.leader.pass()
            let places = await rig.replica.state.liveJobs.compactMap(\.assignedNode)
            #expect(!places.isEmpty)
            #expect(!places.contains(Self.b), "doubted: \(isDoubted)")
        }
    }

    @Test func aRotationGoesStepByStepSoThatNobodyIsLeftOut() async throws {
        let rig = try await Self.rig(["b"])
        func keyring() async throws -> GossipKeyring {
            let bytes = try #require(await rig.replica.state.keyring).secret.bytes
            return try GossipKeyring.decode(bytes.span)
        }
        await rig.leader.pass()
        let first = try await keyring()
        #expect(first.keyNumbers.count == 1)
        var next = first
        let number = try next.addRandomKey()
        let stored = StoredKeyring(version: 2, secret: SecretBytes(next.encoded()), time: rig.clocks.now)
        #expect(try await rig.replica.propose(.setKeyring(stored)).acceptance != nil)
        await rig.leader.pass()
        #expect(try await keyring().sendingNumber == first.sendingNumber, "not used before all have it")
        rig.clocks.advance(.seconds(10))
        await rig.leader.pass()
        #expect(try await keyring().sendingNumber == number)
        #expect(try await keyring().keyNumbers.count == 2, "the older one is still understood")
        await rig.leader.pass()
        #expect(try await keyring().keyNumbers.count == 2)
        rig.clocks.advance(.seconds(10))
        await rig.leader.pass()
        #expect(try await keyring().keyNumbers == [number])
        rig.clocks.advance(.seconds(60))
        await rig.leader.pass()
        #expect(await rig.replica.state.keyring?.version == 4)
    }
}

/// The gate before the agent knows its cluster.
struct StartingGateTests {
    private final class Sink: RPCSink {
        func reply(_ bytes: ByteBuffer) {}
        func send(_ bytes: ByteBuffer) async throws {}
    }

    @Test func usersAreToldWhyUntilItOpens() async throws {
        let inner = RecordingService()
        let gate = StartingGate(inner, problems: { ["Node c refuses this agent: it is of old."] })
        let request = RPCRequest(method: .status, payload: ByteBuffer(), peer: ClusterAgent.user)
        let call = RPCCall(request: request, deadline: nil, sink: Sink())
        #expect(gate.answerAtOnce(request) == nil)
        let refusal = await failure { try await gate.handle(call) }
        #expect(refusal?.code == .unavailable)
        #expect(refusal?.message.contains("has not found its cluster yet") == true)
        #expect(refusal?.message.contains("Node c refuses this agent") == true)
        #expect(inner.calls.isEmpty)
        gate.open()
        #expect(gate.answerAtOnce(request) != nil)
        try await gate.handle(call)
        #expect(inner.calls.count == 1)
    }
}
