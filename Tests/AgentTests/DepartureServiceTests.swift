import ClusterModel
import ClusterState
import Foundation
import Raft
import Storage
import Synchronization
import Testing
import Transport

@testable import Agent

/// A node that has left ends, and its machine is used again only when somebody says so.
@Suite(.timeLimit(.minutes(5)))
struct DepartureServiceTests {
    private static let knot = NodeID(rawValue: "knot")
    private static let ada = UserID(rawValue: "ada")
    private static let start = Timestamp(seconds: 1_790_000_000)

    private static func replica(_ nodes: [(String, UInt64?)]) async throws -> Replica {
        let replica = try await Replica(
            store: InMemoryStateStore(),
            metrics: AgentMetrics(registry: MetricsRegistry()),
            logger: Bench().logger
        )
        for (name, member) in nodes {
            let registration = NodeRegistration(
                node: NodeID(rawValue: name),
                member: member ?? replica.member.rawValue,
                site: SiteID(rawValue: "coast"),
                address: "10.0.0.1:7420",
                vcpus: 2,
                memory: .gibibytes(1),
                time: start
            )
            try #require(try await replica.propose(.registerNode(registration)).acceptance != nil)
        }
        return replica
    }

    /// The service of node knot, whose peers are those on the network.
    private static func service(
        _ replica: Replica,
        _ network: PeersInMemoryNetwork,
        _ directory: PeerDirectory,
        forget: @escaping @Sendable (NodeID) async -> Void = { _ in }
    ) -> DepartureService {
        DepartureService(
            node: knot,
            replica: replica,
            directory: directory,
            peers: network.link(of: knot, member: replica.member, directory: directory),
            forget: forget,
            patience: .milliseconds(100),
            logger: Bench().logger,
            now: { start }
        )
    }

    /// A peer that answers pings.
    private static func peer(
        _ name: String,
        on network: PeersInMemoryNetwork,
        _ directory: PeerDirectory
    ) -> RecordingDelegate {
        let (node, member) = (NodeID(rawValue: name), RaftMemberID(rawValue: 77))
        let delegate = RecordingDelegate(member)
        let link = network.link(of: node, member: member, directory: PeerDirectory())
        let routing = FixedRouting()
        network.attach(
            RoutingHandler(
                node: node,
                local: RecordingService(),
                peers: PeerService(delegate: delegate, directory: PeerDirectory()),
                link: link,
                routing: routing
            ),
            as: node,
            member: member
        )
        directory.learn(node, member: member, from: .replicated)
        return delegate
    }

    @Test func `Alone, or with jobs left, a node does not leave, and stays as it was`() async throws {
        let (network, directory) = (PeersInMemoryNetwork(), PeerDirectory())
        let alone = try await Self.replica([("knot", nil)])
        let nobody = await failure {
            _ = try await Self.service(alone, network, directory).leave(by: Self.ada, abandonsCheckpoints: false)
        }
        #expect(nobody?.code == .conflict && nobody?.message.contains("nobody to leave") == true)

        let busy = try await Self.replica([("knot", nil), ("ruff", 9)])
        let job = JobID(rawValue: "job1aaaaaaaaa")
        for command: Command in [
            .submit(
                Submission(id: job, specification: Bench.specification("job"), submitter: Self.ada, time: Self.start)
            ),
            .assign(job: job, node: Self.knot, reason: "It has room.", time: Self.start),
            .begin(job: job, node: Self.knot, time: Self.start),
        ] {
            try #require(try await busy.propose(command).acceptance != nil)
        }
        let refusal = await failure {
            _ = try await Self.service(busy, network, directory).leave(by: Self.ada, abandonsCheckpoints: false)
        }
        #expect(
            refusal?.code == .conflict && refusal?.message.contains("godwit node drain knot") == true,
            "\(String(describing: refusal))"
        )
        #expect(await busy.state.node(Self.knot)?.isCordoned == false)
        #expect(await busy.state.node(Self.knot)?.state == .active)
        for replica in [alone, busy] { await replica.close() }
    }

    @Test func `When nobody can lead in its place it stays, and takes jobs as before`() async throws {
        let replica = try await Self.replica([("knot", nil), ("ruff", 9)])
        let service = Self.service(replica, PeersInMemoryNetwork(), PeerDirectory())
        let refusal = await failure { _ = try await service.leave(by: Self.ada, abandonsCheckpoints: false) }
        #expect(refusal?.code == .unavailable, "\(String(describing: refusal))")
        #expect(await replica.state.node(Self.knot)?.isCordoned == false)
        #expect(await replica.state.node(Self.knot)?.state == .active)
        #expect(service.reason == nil)
        await replica.close()
    }

    @Test func `A node that was removed ends when another one says so, and not on its own copy's word`() async throws {
        let (network, directory) = (PeersInMemoryNetwork(), PeerDirectory())
        let replica = try await Self.replica([("knot", nil), ("ruff", 9)])
        let ruff = Self.peer("ruff", on: network, directory)
        _ = try await replica.propose(.nodeLeft(NodeDeparture(node: Self.knot, by: Self.ada, time: Self.start)))
        let ended = Mutex(0)
        let service = Self.service(replica, network, directory)
        service.onEnd { ended.withLock { $0 += 1 } }
        await service.look()
        #expect(service.reason == nil && ended.withLock { $0 } == 0)

        let again = Self.service(replica, network, directory)
        again.onEnd { ended.withLock { $0 += 1 } }
        ruff.departed.withLock { $0[Self.knot] = replica.member }
        await again.look()
        #expect(again.reason?.contains("Removed by ada") == true && ended.withLock { $0 } == 1)
        again.end(because: "twice")
        #expect(ended.withLock { $0 } == 1)
        await replica.close()
    }

    @Test func `A removed node ends although its start waits for a leader, and any other starts`() async throws {
        let (network, directory) = (PeersInMemoryNetwork(), PeerDirectory())
        let replica = try await Self.replica([("knot", nil), ("ruff", 9)])
        let ruff = Self.peer("ruff", on: network, directory)
        let started = Mutex(0)
        let member = Self.service(replica, network, directory)
        #expect(try await member.begin { started.withLock { $0 += 1 } })
        #expect(member.reason == nil && started.withLock { $0 } == 1)

        _ = try await replica.propose(.nodeLeft(NodeDeparture(node: Self.knot, by: Self.ada, time: Self.start)))
        ruff.departed.withLock { $0[Self.knot] = replica.member }
        let removed = Self.service(replica, network, directory)
        let isMember = try await removed.begin {
            while true { try await Task.sleep(for: .milliseconds(10)) }  // polls: it waits for what does not come
        }
        #expect(!isMember && removed.reason?.contains("has left the cluster") == true)
        await #expect(throws: ReplicationError.self) { try await replica.propose(.prune(time: Self.start)) }
    }

    @Test func `Whoever has left is forgotten once, with its connections`() async throws {
        let (network, directory) = (PeersInMemoryNetwork(), PeerDirectory())
        let replica = try await Self.replica([("knot", nil), ("ruff", 9)])
        let ruff = NodeID(rawValue: "ruff")
        directory.learn(ruff, member: RaftMemberID(rawValue: 9), from: .joined)
        let forgotten = Mutex<[NodeID]>([])
        let service = Self.service(replica, network, directory) { node in forgotten.withLock { $0.append(node) } }
        await service.look()
        #expect(directory.node(of: RaftMemberID(rawValue: 9)) == ruff)
        _ = try await replica.propose(.nodeLeft(NodeDeparture(node: ruff, by: Self.ada, time: Self.start)))
        // What is under way with it may end first.
        await service.look()
        #expect(forgotten.withLock { $0 }.isEmpty)
        for _ in 0..<100 { await service.look() }
        #expect(forgotten.withLock { $0 } == [ruff])
        #expect(directory.node(of: RaftMemberID(rawValue: 9)) == nil)
        await replica.close()
    }

    @Test func `The mark keeps the next start away until it is removed, and the old state is put aside`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "godwit-mark-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder.appending(path: "state"), withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Data("log".utf8).write(to: folder.appending(path: "state/log"))
        let mark = DepartureMark(folder: folder.path)
        #expect(mark.objection == nil)
        for _ in 0..<2 { try mark.leave("Node knot has left the cluster.", now: Self.start) }
        #expect(mark.objection?.contains("remove \(folder.path)/left") == true, "\(mark.objection ?? "")")
        #expect(!FileManager.default.fileExists(atPath: folder.appending(path: "state").path))
        #expect(FileManager.default.fileExists(atPath: folder.appending(path: "state.left/log").path))
        try FileManager.default.removeItem(at: folder.appending(path: "left"))
        #expect(mark.objection == nil)
    }
}
