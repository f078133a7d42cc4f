import ClusterModel
import ClusterState
import Raft
import Storage
import Synchronization
import Testing

@testable import Agent

/// Several replicas are one state: what one acknowledges all have, and the loss of a few costs nothing.
@Suite(.timeLimit(.minutes(5)))
struct ReplicaGroupTests {
    /// Delivers messages between the replicas of a test, each receiver's in order.
    private final class Network: Sendable {
        private struct Line: Sendable {
            var replica: Replica
            var entry: AsyncStream<[Raft.Message]>.Continuation
            var delivery: Task<Void, Never>
        }
        private let lines = Mutex<[RaftMemberID: Line]>([:])
        private let cut = Mutex<Set<RaftMemberID>>([])

        func connect(_ replica: Replica) {
            let (stream, entry) = AsyncStream<[Raft.Message]>.makeStream()
            let delivery = Task { for await messages in stream { await replica.receive(messages) } }
            lines.withLock { $0[replica.member] = Line(replica: replica, entry: entry, delivery: delivery) }
        }

        func isolate(_ member: RaftMemberID, _ isCut: Bool = true) {
            cut.withLock { if isCut { $0.insert(member) } else { $0.remove(member) } }
        }

        func replica(_ member: RaftMemberID, from sender: RaftMemberID) -> Replica? {
            if cut.withLock({ $0.contains(member) || $0.contains(sender) }) { return nil }
            return lines.withLock { $0[member]?.replica }
        }

        func send(_ messages: [Raft.Message]) {
            for message in messages where replica(message.to, from: message.from) != nil {
                _ = lines.withLock { $0[message.to]?.entry.yield([message]) }
            }
        }

        func close() async {
            for line in lines.withLock({ Array($0.values) }) {
                line.entry.finish()
                line.delivery.cancel()
                await line.replica.close()
            }
        }
    }

    private struct Link: RaftLink {
        let network: Network
        let sender: @Sendable () -> RaftMemberID

        func send(_ messages: [Raft.Message]) { network.send(messages) }

        func propose(_ proposals: [[UInt8]], to leader: RaftMemberID) async throws(ForwardingError) -> LogPlace {
            guard let replica = network.replica(leader, from: sender()) else { throw .notTaken("it cannot be reached") }
            return try await replica.take(proposals)
        }
    }

    /// Times so long that a machine busy with other tests does not take the leadership from a leader.
    private static var calm: RaftConfiguration {
        var raft = RaftConfiguration()
        raft.heartbeatInterval = .milliseconds(200)
        raft.electionTimeout = .seconds(2)
        raft.persistTimeout = .seconds(10)
        return raft
    }

    private static func replica(
        on network: Network,
        founds: Bool,
        store: any StateStoring = InMemoryStateStore()
    ) async throws -> Replica {
        let late = LateRaftLink()
        let replica = try await Replica(
            store: store,
            link: late,
            founds: founds,
            raft: calm,
            metrics: AgentMetrics(registry: MetricsRegistry()),
            logger: Bench().logger,
            snapshotInterval: 20,
            patience: .seconds(60)
        )
        let member = replica.member
        late.connect(Link(network: network, sender: { member }))
        network.connect(replica)
        return replica
    }

    private static func group(
        of count: Int,
        voters: Int,
        on network: Network,
        founderStore: any StateStoring = InMemoryStateStore()
    ) async throws -> [Replica] {
        var replicas = [try await replica(on: network, founds: true, store: founderStore)]
        for number in 1..<count {
            let next = try await replica(on: network, founds: false)
            let step: MembershipChange.Step = number < voters ? .voter(next.member) : .learner(next.member)
            try await until {
                for replica in replicas {
                    do {
                        _ = try await replica.changeMembership(MembershipChange([step]))
                        return true
                    } catch { continue }
                }
                return false
            }
            replicas.append(next)
        }
        // The founder leads, as the tests assume; a machine that stood still may have had another elected.
        try await until {
            for replica in replicas where await replica.status.isLeader {
                if replica.member == replicas[0].member { return true }
                await replica.handOver()
            }
            return false
        }
        let last = await replicas[0].status.committed
        for replica in replicas { try await until { await replica.status.applied >= last } }
        return replicas
    }

    private static func until(_ condition: () async throws -> Bool) async throws {
        while try await !condition() {
            try Task.checkCancellation()
            try await Task.sleep(for: .milliseconds(5))  // polls: elections and heartbeats take real time
        }
    }

    private static func submission(_ number: Int) -> Command {
        .submit(
            Submission(
                id: JobID(rawValue: "job\(number)aaaaaaaa"),
                specification: Bench.specification("job-\(number)"),
                submitter: Bench.user,
                time: Timestamp(seconds: 1_700_000_000)
            )
        )
    }

    /// A member whose write failed begins again with what is on its disk.
    ///
    /// What the others say while it reads that belongs to the member that it
    /// was: once it made an agent with a full disk end, because it applied what its new self had not handed out.
    @Test func whatComesInWhileAMemberBeginsAgainIsForgotten() async throws {
        let network = Network()
        let disk = InMemoryStateStore()
        let store = HeldStateStore(disk)
        let replicas = try await Self.group(of: 3, voters: 3, on: network, founderStore: store)
        try await replicas[0].propose(Self.submission(1))
        let before = await replicas[0].status.committed
        for replica in replicas[1...] { network.isolate(replica.member) }
        // The leader has this one on its disk, and the next it cannot write.
        let first = Task { try await replicas[0].propose(Self.submission(2)) }
        try await Self.until { try await disk.load().entries.last?.index ?? 0 > before }
        let gate = store.holdLoad()
        disk.fail(with: [StorageError(.full, "no space left")])
        let second = Task { try await replicas[0].propose(Self.submission(3)) }
        await gate.reached()
        // While it reads its disk, the member that it was learns that the others have the first.
        for replica in replicas[1...] { network.isolate(replica.member, false) }
        try await Self.until { await replicas[0].status.committed > before }
        gate.open()
        // Nobody knows what became of them, or they are there.
        for task in [first, second] { _ = await task.result }
        let outcome = try await replicas[1].propose(Self.submission(4))
        #expect(outcome.acceptance != nil)
        let last = await replicas[1].status.committed
        for replica in replicas { try await Self.until { await replica.status.applied >= last } }
        for replica in replicas { #expect(await replica.state.job(JobID(rawValue: "job4aaaaaaaa")) != nil) }
        #expect(await replicas[0].state == replicas[1].state)
        await network.close()
    }

    /// Whoever stops is not reached any more, so a change under way is not waited for as long as it may take.
    @Test func whoStopsDoesNotWaitForChangesThatNobodyAnswers() async throws {
        let network = Network()
        let replicas = try await Self.group(of: 3, voters: 3, on: network)
        network.isolate(replicas[2].member)
        let began = ContinuousClock.now
        let before = Task { try await replicas[2].propose(Self.submission(1)) }
        try await Self.until { await replicas[2].status.leader == nil }
        await replicas[2].hurry()
        await #expect(throws: ReplicationError.self) { try await before.value }
        await #expect(throws: ReplicationError.self) { try await replicas[2].propose(Self.submission(2)) }
        // Patience is a minute here.
        #expect(began.duration(to: .now) < .seconds(50))
        await network.close()
    }

    @Test func whatAnyMemberProposesAllHave() async throws {
        let network = Network()
        let replicas = try await Self.group(of: 4, voters: 3, on: network)
        for number in 0..<40 {
            let outcome = try await replicas[number % 4].propose(Self.submission(number))
            #expect(outcome.acceptance != nil)
            // Who proposed sees it at once, wherever the leader is.
            #expect(await replicas[number % 4].state.jobCount >= number + 1)
        }
        // The last was proposed by another one, and the first, though it leads, may see it later.
        try await Self.until { await replicas[0].state.jobCount == 40 }
        let reference = await replicas[0].state
        for replica in replicas { try await Self.until { await replica.state == reference } }
        await network.close()
    }

    @Test func aLeaderThatIsCutOffIsReplacedAndComesBackWithTheSameState() async throws {
        let network = Network()
        let replicas = try await Self.group(of: 3, voters: 3, on: network)
        try await replicas[0].propose(Self.submission(1))
        network.isolate(replicas[0].member)
        let outcome = try await replicas[1].propose(Self.submission(2))
        #expect(outcome.acceptance != nil)
        #expect(await !replicas[0].isUpToDate(), "a leader without a quorum answers no read")
        network.isolate(replicas[0].member, false)
        try await replicas[0].propose(Self.submission(3))
        let reference = await replicas[0].state
        #expect(reference.jobCount == 3)
        for replica in replicas { try await Self.until { await replica.state == reference } }
        await network.close()
    }

    @Test func withoutAMajorityNothingIsAcknowledgedAndItIsSaidThatItIsNotKnown() async throws {
        let network = Network()
        let replicas = try await Self.group(of: 3, voters: 3, on: network)
        for replica in replicas { network.isolate(replica.member) }
        let proposal = Task { try await replicas[0].propose(Self.submission(1)) }
        try await Self.until { await !replicas[0].status.isLeader }
        #expect(await replicas[0].state.jobCount == 0)
        for replica in replicas { network.isolate(replica.member, false) }
        // When the others answer again it is carried out, once.
        #expect(try await proposal.value.acceptance != nil)
        #expect(await replicas[0].state.jobCount == 1)
        await network.close()
    }

    @Test func aMemberThatWasAwayForLongIsBroughtUpWithASnapshot() async throws {
        let network = Network()
        let replicas = try await Self.group(of: 4, voters: 3, on: network)
        network.isolate(replicas[3].member)
        for number in 0..<60 { try await replicas[0].propose(Self.submission(number)) }
        network.isolate(replicas[3].member, false)
        let reference = await replicas[0].state
        try await Self.until { await replicas[3].state == reference }
        await network.close()
    }

    @Test func leadershipIsHandedOverWithoutAnElectionTimeout() async throws {
        let network = Network()
        let replicas = try await Self.group(of: 3, voters: 3, on: network)
        await replicas[0].handOver()
        #expect(await !replicas[0].status.isLeader)
        #expect(try await replicas[0].propose(Self.submission(1)).acceptance != nil)
        await network.close()
    }

    @Test func anAgentThatIsBeingStoppedHandsOverToo() async throws {
        let network = Network()
        let replicas = try await Self.group(of: 3, voters: 3, on: network)
        let stopping = Task {
            unsafe withUnsafeCurrentTask { task in unsafe task?.cancel() }
            await replicas[0].handOver()
        }
        await stopping.value
        #expect(await !replicas[0].status.isLeader)
        await network.close()
    }

    @Test func theLogOfAnAgentThatKeptItsCommandsAloneBecomesTheGroupsBeginning() async throws {
        var state = ClusterState()
        let commands = (1...3).map(Self.submission)
        for command in commands { _ = state.apply(command) }
        let entries = try commands.enumerated().map { offset, command in
            LogEntry(index: UInt64(offset + 1), term: Term(rawValue: 1), command: try StateCoding.encode(command))
        }
        let store = InMemoryStateStore(StoredState(entries: entries))
        let network = Network()
        let replica = try await Self.replica(on: network, founds: true, store: store)
        #expect(await replica.state == state)
        try await replica.propose(Self.submission(4))
        await replica.close()
        let again = try await Self.replica(on: network, founds: true, store: store)
        #expect(await again.state.jobCount == 4)
        #expect(again.member == replica.member)
        await network.close()
    }
}
