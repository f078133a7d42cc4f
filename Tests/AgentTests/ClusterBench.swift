import AgentConfiguration
import Checkpointing
import ClusterModel
import ClusterState
import ControlMessages
import GPU
import LinuxSystem
import Logging
import NIO
import Placement
import QoS
import Raft
import Storage
import SwiftProtobuf
import Synchronization
import TLS
import Transport

@testable import Agent

/// A cluster of agents under test: everything of an agent but containers, disks and sockets, which are twins.
///
/// Time is real, because promises between agents are about it; elections are slow, so that a machine busy with other tests does not take the
/// lead from a leader.
final class ClusterBench: Sendable {
    let network = PeersInMemoryNetwork()
    let fencing: FencingConfiguration
    private let folder = "/tmp/godwit-cluster-test-\(UInt32.random(in: 0 ... .max))"
    private let agents = Mutex<[ClusterAgent]>([])

    /// When members are given a vote.
    let voterPlan: VoterPlan

    init(fencing: FencingConfiguration = FencingConfiguration(), voterPlan: VoterPlan = VoterPlan()) {
        (self.fencing, self.voterPlan) = (fencing, voterPlan)
    }

    /// A partition timeout short enough to be waited for.
    static var shortFencing: FencingConfiguration {
        FencingConfiguration(partitionTimeout: .seconds(3), stopTime: .milliseconds(500))
    }

    /// Runs a cluster of agents with these names for the length of a test; the first one founds it.
    static func with(
        _ names: [String],
        fencing: FencingConfiguration = FencingConfiguration(),
        store: (String) async throws -> any StateStoring = { _ in InMemoryStateStore() },
        _ body: (ClusterBench, [ClusterAgent]) async throws -> Void
    ) async throws {
        let bench = ClusterBench(fencing: fencing)
        do {
            var agents: [ClusterAgent] = []
            for name in names {
                let seeds = agents.isEmpty ? [] : [names[0]]
                agents.append(try await bench.agent(name, seeds: seeds, store: store(name)))
            }
            try await bench.settle(agents)
            try await body(bench, agents)
        } catch {
            await bench.end()
            throw error
        }
        await bench.end()
    }

    /// Starts an agent on a store of its own, or on the one that an agent of this name left.
    ///
    /// `host` has the containers that an agent before it left there.
    func agent(
        _ name: String,
        seeds: [String] = [],
        store: (any StateStoring)? = nil,
        host: SimulatedContainerHost? = nil
    ) async throws -> ClusterAgent {
        let agent = try await ClusterAgent(
            NodeID(rawValue: name),
            bench: self,
            seeds: seeds.map { try PeerAddress("\($0):7420") },
            store: store ?? InMemoryStateStore(),
            host: host ?? SimulatedContainerHost(clock: VirtualTime()),
            leaseFile: "\(folder)/\(name)/lease"
        )
        agents.withLock { $0.append(agent) }
        return agent
    }

    /// Waits until all are active members with a vote, as far as there are votes for them, and know each other.
    private func settle(_ agents: [ClusterAgent]) async throws {
        guard let leader = agents.first else { return }
        for agent in agents.dropFirst() {
            try await Self.until {
                let status = await leader.replica.status
                if status.membership.isVoter(agent.replica.member) { return true }
                // The plan would wait a minute before it gives it a vote.
                _ = try? await leader.replica.changeMembership(MembershipChange([.voter(agent.replica.member)]))
                return false
            }
        }
        guard agents.count > 1 else { return }
        for agent in agents {
            try await Self.until {
                let state = await agent.replica.state
                return agents.allSatisfy { state.node($0.node)?.state == .active }
            }
        }
    }

    /// Who leads now, among agents that run.
    func leader(among agents: [ClusterAgent]) async throws -> ClusterAgent {
        while true {
            for agent in agents where await agent.replica.isUpToDate() { return agent }
            try Task.checkCancellation()
            try await Task.sleep(for: .milliseconds(10))  // polls: elections take real time
        }
    }

    static func until(_ condition: () async throws -> Bool) async throws {
        while try await !condition() {
            try Task.checkCancellation()
            try await Task.sleep(for: .milliseconds(5))  // polls: elections, heartbeats and leases take real time
        }
    }

    /// Asks again while no leader is known, as every user has to.
    static func oncePossible<Value>(_ ask: () async throws -> Value) async throws -> Value {
        while true {
            do { return try await ask() } catch let failure as RPCFailure where failure.code == .unavailable {
                try Task.checkCancellation()
                try await Task.sleep(for: .milliseconds(10))  // polls: elections take real time
            }
        }
    }

    func end() async {
        for agent in agents.withLock({ $0 }) { await agent.kill() }
        try? FileSystem.removeAll(folder)
    }
}

/// One agent of a bench.
final class ClusterAgent: Sendable {
    let node: NodeID
    let replica: Replica
    let hub = ChangeHub()
    let host: SimulatedContainerHost
    let images: InMemoryCheckpointStore
    let copies: CopyKeeper
    let copyLeader: CopyLeader
    let store: any StateStoring
    let directory = PeerDirectory()
    let leader: LeaderService
    let fence: LeaderFence
    let controller: NodeController
    let gossip: GossipService
    let control: ControlService
    let cluster: ClusterNode
    let handler: RoutingHandler
    let lease: LeaseFile
    let log = CapturedLog()
    private let link: any PeerLink
    private let network: PeersInMemoryNetwork
    private let tasks = Mutex<[Task<Void, Never>]>([])

    /// Slower than an agent's own, so that a busy machine elects nobody by the way.
    static var calm: RaftConfiguration {
        var raft = RaftConfiguration()
        raft.heartbeatInterval = .milliseconds(100)
        raft.electionTimeout = .seconds(1)
        raft.leaseMargin = .milliseconds(100)
        raft.persistTimeout = .seconds(3)
        return raft
    }

    fileprivate init(
        _ node: NodeID,
        bench: ClusterBench,
        seeds: [PeerAddress],
        store: any StateStoring,
        host: SimulatedContainerHost,
        leaseFile: String
    ) async throws {
        self.node = node
        (self.store, self.host) = (store, host)
        network = bench.network
        let log = log
        let logger = Logger(label: node.rawValue) { _ in log }
        let registry = MetricsRegistry()
        let metrics = AgentMetrics(registry: registry)
        let raftLink = LateRaftLink()
        let replica = try await Replica(
            store: store,
            link: raftLink,
            founds: seeds.isEmpty,
            raft: Self.calm,
            metrics: metrics,
            logger: logger,
            patience: .seconds(60)
        )
        self.replica = replica
        images = InMemoryCheckpointStore { await replica.state.checkpointKeys.last?.number }
        let hub = hub
        await replica.listen { jobs in hub.publish(jobs) }
        let (isAlone, isSettling) = await (replica.isAlone, replica.state.isSettling)
        try FileSystem.createFolder(FileSystem.parent(of: leaseFile), mode: 0o700)
        lease = LeaseFile(path: leaseFile)
        fence = LeaderFence(bench.fencing, lease: lease, isAlone: isAlone && !isSettling, logger: logger)
        let now: @Sendable () -> Timestamp = { WallClock.now() }
        var settings = NodeControllerSettings(capacity: 2, memory: .gibibytes(4))
        settings.period = .milliseconds(100)
        settings.writeRetry = (.milliseconds(10), .milliseconds(100))
        let directory = directory
        directory.lineage = await replica.lineage
        link = bench.network.link(of: node, member: replica.member, directory: directory)
        var copySettings = CopySettings()
        copySettings.sweepPeriod = .seconds(1)
        copySettings.retry = .milliseconds(100)
        copySettings.retryPatience = .milliseconds(500)
        copySettings.earlyPatience = .seconds(2)
        copySettings.limits.pause = .milliseconds(20)
        copySettings.scrubPeriod = .milliseconds(500)
        copies = CopyKeeper(
            node: node,
            replica: replica,
            images: images,
            link: link,
            hub: hub,
            settings: copySettings,
            logger: logger,
            now: now
        )
        copyLeader = CopyLeader(replica: replica, hub: hub, logger: logger, now: now)
        controller = NodeController(
            node: node,
            replica: replica,
            host: host,
            images: images,
            qos: QoSConfiguration(),
            hub: hub,
            metrics: metrics,
            settings: settings,
            copies: copies,
            fence: fence,
            logger: logger,
            now: now
        )
        raftLink.connect(PeerRaftLink(peers: link, node: { directory.node(of: $0) }))
        let facts = NodeFacts(
            cluster: ClusterID(rawValue: "flock"),
            site: SiteID(rawValue: "coast"),
            node: node,
            role: .worker,
            kernel: "6.1.0",
            capabilities: [],
            startedAt: .now
        )
        gossip = GossipService(
            facts: facts,
            replica: replica,
            peers: link,
            group: MultiThreadedEventLoopGroup.singleton,
            profile: .lan,
            registry: registry,
            logger: logger,
            now: now,
            summary: { NodeFactsSummary() }
        )
        leader = LeaderService(
            cluster: ClusterID(rawValue: "flock"),
            node: node,
            replica: replica,
            hub: hub,
            fencing: bench.fencing,
            voterPlan: bench.voterPlan,
            logger: logger,
            now: now
        )
        control = ControlService(
            node: facts,
            replica: replica,
            controller: controller,
            store: store,
            hub: hub,
            containerLogs: RecordedLogs(),
            resources: await ResourceMonitor(inventory: GPUInventory()),
            metrics: metrics,
            leader: leader,
            fencing: bench.fencing,
            gossip: gossip,
            checkpoints: CheckpointAccess(images: images, link: link, keeper: copies),
            logger: logger,
            now: now
        )
        cluster = ClusterNode(
            facts: facts,
            seeds: seeds,
            replica: replica,
            leaderService: leader,
            fence: fence,
            directory: directory,
            peers: link,
            gossip: gossip,
            offer: NodeOffer(vcpus: 2, memory: .gibibytes(4), deviceCount: 0, takesJobs: true, mayVote: true),
            copies: CopySender(images: images, bytesPerSecond: 0),
            keeper: copies,
            logger: logger,
            now: now
        )
        handler = RoutingHandler(
            node: node,
            local: control,
            peers: PeerService(delegate: cluster, directory: directory),
            link: link,
            routing: cluster
        )
        if isAlone { try await CopyLeader.tendKeys(replica, logger: logger, at: now()) }
        try await start(isAlone: isAlone)
    }

    /// As the agent's program does it, without its services for sockets.
    private func start(isAlone: Bool) async throws {
        if isAlone { try await controller.open() }
        network.attach(handler, as: node, member: replica.member)
        cluster.isReached(at: try PeerAddress("\(node):7420"))
        run("intake") { [cluster] in await cluster.takeIn() }
        if !isAlone { try await cluster.enter(within: .seconds(1)) }
        run("controller") { [controller] in
            // Without a leader this waits for one; a test may want to see that.
            if !isAlone { try? await controller.open() }
            await controller.run()
        }
        run("leader") { [leader] in try? await leader.run() }
        run("copies") { [copies] in try? await copies.run() }
        run("copies.plan") { [copyLeader] in try? await copyLeader.run() }
        run("cluster") { [cluster] in try? await cluster.run() }
    }

    private func run(_ name: String, _ body: @escaping @Sendable () async -> Void) {
        let task = Task(name: name) { await body() }
        tasks.withLock { $0.append(task) }
    }

    /// Ends the agent as kill -9 does; containers go on.
    func kill() async {
        network.detach(node)
        let running = tasks.withLock { tasks in
            defer { tasks = [] }
            return tasks
        }
        for task in running { task.cancel() }
        await replica.close()
    }

    // MARK: Asking it

    static let user = PeerIdentity.user(
        cluster: ClusterID(rawValue: "flock"),
        user: UserID(rawValue: "ada"),
        right: .admin
    )

    /// Asks as a user of this agent does.
    func ask<Reply: SwiftProtobuf.Message>(
        _ method: WireMethod,
        _ message: some SwiftProtobuf.Message,
        _: Reply.Type = Reply.self
    ) async throws -> Reply {
        let answer = OneAnswer()
        let payload = ByteBuffer(bytes: try message.serializedBytes() as [UInt8])
        try await handler.handle(
            RPCCall(request: RPCRequest(method: method, payload: payload, peer: Self.user), deadline: nil, sink: answer)
        )
        guard let bytes = answer.bytes else { throw RPCFailure(.internal, "no answer") }
        return try Reply(serializedBytes: bytes.readableBytesSpan)
    }

    /// Asks as a user does, and gives every message of the answer.
    func listen<Reply: SwiftProtobuf.Message>(
        _ method: WireMethod,
        _ message: some SwiftProtobuf.Message,
        _: Reply.Type = Reply.self
    ) async throws -> [Reply] {
        let answers = Answers()
        let payload = ByteBuffer(bytes: try message.serializedBytes() as [UInt8])
        try await handler.handle(
            RPCCall(
                request: RPCRequest(method: method, payload: payload, peer: Self.user),
                deadline: nil,
                sink: answers
            )
        )
        return try answers.all.map { try Reply(serializedBytes: $0.readableBytesSpan) }
    }

    /// Submits a job that runs for ever.
    @discardableResult
    func submit(_ name: String, replicas: Int = 1) async throws -> JobID {
        let document = """
            {"name": "\(name)", "image": {"rootfs": "/r"}, "command": ["work"], "resources": {"cpus": 0.1, "memory": "64MiB"},
             "checkpoint": {"replicas": \(replicas)}}
            """
        let request = WireJobSubmitRequest.with { request in
            request.document.name = "\(name).json"
            request.document.content = .init(document.utf8)
            request.idempotencyKey = name
        }
        let reply = try await ClusterBench.oncePossible { try await ask(.jobSubmit, request, WireJobSubmitReply.self) }
        return JobID(rawValue: reply.id)
    }
}

/// Keeps every message of an answer.
final class Answers: RPCSink {
    private let state = Mutex<[ByteBuffer]>([])
    var all: [ByteBuffer] { state.withLock { $0 } }
    func reply(_ bytes: ByteBuffer) { state.withLock { $0.append(bytes) } }
    func send(_ bytes: ByteBuffer) async throws { reply(bytes) }
}

/// Keeps the last message of an answer.
final class OneAnswer: RPCSink {
    private let state = Mutex<ByteBuffer?>(nil)
    var bytes: ByteBuffer? { state.withLock { $0 } }
    func reply(_ bytes: ByteBuffer) { state.withLock { $0 = bytes } }
    func send(_ bytes: ByteBuffer) async throws { reply(bytes) }
}
