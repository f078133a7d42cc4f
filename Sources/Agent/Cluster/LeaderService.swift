import ClusterModel
import ClusterState
import Logging
import Placement
import Raft
import ServiceLifecycle
import Transport

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
    /// Since when members have answered without a break, as this leader saw it.
    private var seen: [RaftMemberID: ContinuousClock.Instant] = [:]
    private let voterPlan: VoterPlan
    private var isPassing = false

    /// Between two looks at what needs no event: time limits.
    private let period: Duration = .milliseconds(500)
    /// Between two steps of a rotation: every agent has the keyring by then, or is out of touch and gets it before it takes part again.
    private let keyringPause: Duration = .seconds(10)
    /// Nothing new is placed on a node that has not asked for its right to run for so long; it asks once a second.
    private let silenceLimit: Duration = .seconds(4)

    init(
        node: NodeID,
        replica: Replica,
        hub: ChangeHub,
        fencing: FencingConfiguration,
        voterPlan: VoterPlan = VoterPlan(),
        suspects: @escaping @Sendable () async -> Set<NodeID> = { [] },
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp,
        steady: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.node = node
        self.replica = replica
        self.hub = hub
        self.fencing = fencing
        self.voterPlan = voterPlan
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
        guard await replica.isUpToDate(), let term = await replica.leadingTerm, !condemned.contains(node) else {
            return nil
        }
        beginReign(term)
        guard await !replica.state.isSettling else { return nil }
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
            (liveness, seen) = (nil, [:])
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
            try await tendKeyring()
        } catch {
            logger.warning("leader.pass.failed", metadata: ["error": "\(error)"])
        }
    }

    private func declareLost() async throws {
        let state = await replica.state
        for record in state.nodes where record.state.isLive && record.node != node {
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
        let moment = steady()
        let silent = state.nodes.filter { record in
            record.state.isLive && record.node != node
                && liveness.map { $0.lastContact(with: record.node).duration(to: moment) > silenceLimit } ?? false
        }
        let doubted = await suspects().union(silent.map(\.node))
        let commands = Placement.plan(state, suspects: doubted, now: now())
        guard !commands.isEmpty else { return }
        for outcome in try await replica.propose(commands) {
            if let refusal = outcome.refusal, refusal.code != .stale {
                logger.info("job.placement.refused", metadata: ["reason": "\(refusal)"])
            }
        }
    }

    // MARK: Keys of the gossip

    /// Makes the first keyring, and takes a rotation one step further.
    ///
    /// A new key is known to all before it is used, and used by all before the older ones go. What is to be done next can be seen from the keyring, so a new leader goes on where the old one stopped.
    private func tendKeyring() async throws {
        let state = await replica.state
        guard !state.nodes.isEmpty else { return }
        let moment = now()
        guard let stored = state.keyring else {
            return try await setKeyring(GossipKeyring.random(), after: 0, at: moment)
        }
        var keyring = try GossipKeyring.decode(stored.secret.bytes.span)
        guard keyring.keyNumbers.count > 1, moment - stored.time >= keyringPause else { return }
        let newest = keyring.keyNumbers.max() ?? keyring.sendingNumber
        if keyring.sendingNumber != newest {
            try keyring.use(newest)
        } else {
            for number in keyring.keyNumbers where number != newest { try keyring.remove(number) }
        }
        try await setKeyring(keyring, after: stored.version, at: moment)
    }

    private func setKeyring(_ keyring: GossipKeyring, after version: UInt64, at moment: Timestamp) async throws {
        let stored = StoredKeyring(version: version + 1, secret: SecretBytes(keyring.encoded()), time: moment)
        if let refusal = try await replica.propose(.setKeyring(stored)).refusal {
            logger.info("keyring.unchanged", metadata: ["reason": "\(refusal)"])
        } else {
            logger.notice(
                "keyring.changed",
                metadata: ["version": "\(stored.version)", "keys": "\(keyring.keyNumbers.count)"]
            )
        }
    }

    // MARK: Who votes

    private func chooseVoters() async {
        let status = await replica.status
        guard status.isLeader, !status.membership.isJoint, status.applied >= status.committed else { return }
        let state = await replica.state
        let moment = steady()
        let gone = Set(state.nodes.filter { $0.state == .left }.map(\.member))
        var members: [VoterMember] = []
        for member in status.membership.members {
            let record = state.node(withMember: member.rawValue)
            members.append(
                VoterMember(
                    node: record?.node ?? NodeID(rawValue: "member-\(member)"),
                    member: member.rawValue,
                    site: record?.site ?? SiteID(rawValue: "unknown"),
                    role: record?.role ?? .worker,
                    isVoter: status.membership.isVoter(member),
                    standing: standing(
                        of: member,
                        hasLeft: record == nil && gone.contains(member.rawValue),
                        status,
                        at: moment
                    ),
                    // One that wants no vote is never ready for it.
                    isCaughtUp: member == status.member
                        || record?.label(NodeOffer.noVote.key) != NodeOffer.noVote.value
                            && status.peers.contains { $0.id == member && $0.match + 1000 >= status.lastIndex },
                    isAnswering: status.peers.contains {
                        $0.id == member && $0.contact.duration(to: moment) < .seconds(2)
                    }
                )
            )
        }
        seen = seen.filter { number, _ in status.membership.contains(number) }
        let advice = voterPlan.next(members, leader: status.member.rawValue)
        guard let step = advice.step else { return }
        let change: MembershipChange =
            switch step {
            case .promote(let member): MembershipChange([.voter(RaftMemberID(rawValue: member))])
            case .demote(let member): MembershipChange([.learner(RaftMemberID(rawValue: member))])
            case .remove(let member): MembershipChange([.remove(RaftMemberID(rawValue: member))])
            }
        do {
            _ = try await replica.changeMembership(change)
            logger.notice("voters.changed", metadata: ["reason": "\(advice.reason)"])
        } catch {
            logger.debug("voters.unchanged", metadata: ["reason": "\(error)"])
        }
    }

    /// How long a member has answered without a break, or has not.
    private func standing(
        of member: RaftMemberID,
        hasLeft: Bool,
        _ status: ReplicaStatus,
        at moment: ContinuousClock.Instant
    ) -> VoterMember.Standing {
        if member == status.member { return .live(.seconds(86_400)) }
        if hasLeft { return .left }
        guard let peer = status.peers.first(where: { $0.id == member }) else { return .silent(.zero) }
        let silence = peer.contact.duration(to: moment)
        guard silence < .seconds(2) else {
            seen[member] = nil
            return .silent(silence)
        }
        let since = seen[member] ?? moment
        seen[member] = since
        return .live(since.duration(to: moment))
    }
}
