import ClusterModel
import ClusterState
import Logging
import Placement
import Raft
import ServiceLifecycle

/// What the leader does for all: places queued jobs, declares nodes lost, and chooses who votes. On other members it only looks.
actor LeaderService: Service {
    private let node: NodeID
    private let replica: Replica
    private let hub: ChangeHub
    private let fencing: FencingConfiguration
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let steady: @Sendable () -> ContinuousClock.Instant
    /// Nodes that gossip doubts; nothing new is placed on them.
    private let suspects: @Sendable () async -> Set<NodeID>

    private var liveness: NodeLiveness?
    /// Nodes that are being declared lost: their right to run is not renewed any more.
    private var condemned: Set<NodeID> = []
    private var firstSeen: [NodeID: ContinuousClock.Instant] = [:]
    private var deadSince: [NodeID: ContinuousClock.Instant] = [:]
    private var isPassing = false

    /// Between two looks at what needs no event: time limits.
    private let period: Duration = .milliseconds(500)

    init(
        node: NodeID,
        replica: Replica,
        hub: ChangeHub,
        fencing: FencingConfiguration,
        suspects: @escaping @Sendable () async -> Set<NodeID> = { [] },
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp,
        steady: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.node = node
        self.replica = replica
        self.hub = hub
        self.fencing = fencing
        self.suspects = suspects
        self.logger = logger
        self.now = now
        self.steady = steady
    }

    nonisolated func run() async throws {
        let subscription = hub.subscribe()
        defer { subscription.end() }
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask(name: "leader.changes") {
                    for await _ in subscription.changes {
                        _ = subscription.take()
                        await self.pass()
                    }
                }
                group.addTask(name: "leader.tick") {
                    while !Task.isCancelled {
                        await self.pass()
                        try? await Task.sleep(for: self.period)
                    }
                }
                await group.waitForAll()
            }
        }
    }

    // MARK: Asked by the nodes

    /// Renews a node's right to run containers; nil when this member does not lead, or the node is being declared lost.
    ///
    /// The answer is the last entry of the log: the node counts it only when it has applied that, so it has seen whatever was decided about
    /// it before.
    func renew(_ node: NodeID) async -> LogIndex? {
        let heard = steady()
        guard await replica.isUpToDate(), let term = await replica.leadingTerm, !condemned.contains(node) else { return nil }
        beginReign(term)
        liveness?.heard(from: node, at: heard)
        return await replica.lastIndex
    }

    /// When a node last asked for its right to run; nil when this member does not lead.
    func lastContact(with node: NodeID) -> ContinuousClock.Instant? { liveness?.lastContact(with: node) }

    private func beginReign(_ term: Term) {
        guard liveness?.term != term else { return }
        liveness = NodeLiveness(configuration: fencing, term: term, leadingSince: steady())
        condemned = []
    }

    // MARK: What has to be done

    /// One look at everything; changes that come meanwhile are seen by the next.
    func pass() async {
        guard !isPassing else { return }
        isPassing = true
        defer { isPassing = false }
        guard let term = await replica.leadingTerm else {
            liveness = nil
            return
        }
        beginReign(term)
        // What was acknowledged under earlier leaders must be seen before anything is decided.
        guard await replica.isUpToDate() else { return }
        liveness?.heard(from: node, at: steady())
        do {
            try await declareLost()
            try await place()
            await chooseVoters()
        } catch {
            logger.warning("leader.pass.failed", metadata: ["error": "\(error)"])
        }
    }

    private func declareLost() async throws {
        let state = await replica.state
        for record in state.nodes where record.state.mayRun && record.node != node {
            guard liveness?.mayBeDeclaredLost(record.node, at: steady()) == true else { continue }
            condemned.insert(record.node)
            defer { condemned.remove(record.node) }
            let silence = fencing.lossDelay.text
            let outcome = try await replica.propose(
                .nodeLost(node: record.node, reason: "it has not answered the leader for \(silence)", time: now())
            )
            if let refusal = outcome.refusal {
                logger.warning("node.lost.refused", metadata: ["node": "\(record.node)", "reason": "\(refusal)"])
            } else {
                logger.warning("node.lost", metadata: ["node": "\(record.node)", "silent": "\(silence)"])
            }
        }
    }

    private func place() async throws {
        let state = await replica.state
        guard !state.nodes.isEmpty else { return }
        let doubted = await suspects()
        let commands = Placement.plan(state: state, suspects: doubted, now: now())
        guard !commands.isEmpty else { return }
        for outcome in try await replica.propose(commands) {
            if let refusal = outcome.refusal, refusal.code != .stale {
                logger.info("job.placement.refused", metadata: ["reason": "\(refusal)"])
            }
        }
    }

    private func chooseVoters() async {
    }
}
