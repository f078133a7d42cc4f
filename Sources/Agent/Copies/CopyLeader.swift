import ClusterModel
import ClusterState
import Logging
import Placement
import ServiceLifecycle
import TLS
import Transport

/// What the leader does for checkpoints: says where copies are to be, makes the keys that they are sealed under, and lets jobs leave nodes that are drained.
///
/// On other members it only looks.
actor CopyLeader: Service {
    private let replica: Replica
    private let hub: ChangeHub
    private let plan: CopyPlan
    private let drain = DrainPlan()
    private let migrations = MigrationPlan()
    private let suspects: @Sendable () async -> Set<NodeID>
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private var isPassing = false

    /// Between two looks at what needs no event.
    private let period: Duration = .seconds(1)
    /// Between two looks at all: jobs change all the time, and most changes are not about checkpoints.
    private let pause: Duration = .milliseconds(100)

    init(
        replica: Replica,
        hub: ChangeHub,
        plan: CopyPlan = CopyPlan(),
        suspects: @escaping @Sendable () async -> Set<NodeID> = { [] },
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) {
        (self.replica, self.hub, self.plan, self.suspects) = (replica, hub, plan, suspects)
        (self.logger, self.now) = (logger, now)
    }

    nonisolated func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            await hub.follow("copies.plan", period: period) { jobs in
                await self.pass(after: jobs)
                try? await Task.sleep(for: self.pause)
            } regularly: {
                await self.pass()
            }
        }
    }

    private func pass(after changed: [JobID]) async {
        guard await replica.leadingTerm != nil else { return }
        let state = await replica.state
        guard changed.contains(where: { state.job($0)?.catalog.isEmpty == false }) else { return }
        await pass()
    }

    /// One look at everything; changes that come meanwhile are seen by the next.
    func pass() async {
        guard !isPassing, await replica.leadingTerm != nil else { return }
        isPassing = true
        defer { isPassing = false }
        let state = await replica.state
        // Before all nodes know of copies there are none.
        guard state.version >= 4, !state.nodes.isEmpty else { return }
        do {
            try await Self.tendKeys(replica, logger: logger, at: now())
            // Whether this one still leads is asked only when there is something to say: that costs a round of messages.
            guard !commands(state).isEmpty, await replica.isUpToDate() else { return }
            let commands = commands(await replica.state, suspects: await suspects())
            guard !commands.isEmpty else { return }
            for outcome in try await replica.propose(commands) {
                if let refusal = outcome.refusal, refusal.code != .stale {
                    logger.info("checkpoint.copy.refused", metadata: ["reason": "\(refusal)"])
                }
            }
        } catch {
            logger.warning("checkpoint.plan.failed", metadata: ["error": "\(error)"])
        }
    }

    private func commands(_ state: ClusterState, suspects: Set<NodeID> = []) -> [Command] {
        let moment = now()
        // What moves while it runs need not leave with a checkpoint, so it is asked first; the other is refused then.
        return migrations.commands(state, suspects: suspects, now: moment)
            + plan.commands(state, suspects: suspects, now: moment)
            + drain.commands(state, suspects: suspects, now: moment)
    }

    /// Makes a key when there is none or the gossip's has changed, and destroys those that nobody needs.
    ///
    /// An agent that is alone does this before anything can be asked of it. So the key's entry stands in the log before that of any job, and
    /// whoever takes a checkpoint has read it.
    static func tendKeys(_ replica: Replica, logger: Logger, at time: Timestamp) async throws {
        let state = await replica.state
        let sending = try state.keyring.map { try GossipKeyring.decode($0.secret.bytes.span).sendingNumber }
        // An agent alone has no gossip yet; the key that it makes is the one of the first gossip key that there will be.
        let gossipKey = sending ?? GossipKeyring.firstNumber
        if let number = state.nextCheckpointKey(gossipKey: gossipKey) {
            let key = CheckpointKey(
                number: number,
                secret: SecretBytes(try SecureRandom.bytes(ClusterState.checkpointKeyByteCount)),
                gossipKey: gossipKey,
                time: time
            )
            if try await replica.propose(.addCheckpointKey(key)).acceptance != nil {
                logger.notice("checkpoint.key.made", metadata: ["number": "\(number)"])
            }
        }
        let surplus = state.surplusCheckpointKeys(at: time)
        if !surplus.isEmpty { try await replica.propose(.dropCheckpointKeys(numbers: surplus, time: time)) }
    }
}
