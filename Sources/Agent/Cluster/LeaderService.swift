import ClusterModel
import ClusterState
import Logging
import Placement
import Raft
import ServiceLifecycle
import TLS
import Transport

/// What the leader does for all: places queued jobs, declares nodes lost, and chooses who votes. On other members it only looks.
actor LeaderService: Service {
    private let cluster: ClusterID
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
    /// Members whose certificates are being revoked, and until when the replicated state need not say so.
    private var shutOut: [RaftMemberID: ContinuousClock.Instant] = [:]
    private let voterPlan: VoterPlan
    private var isPassing = false

    /// Between two looks at what needs no event: time limits.
    private let period: Duration = .milliseconds(500)
    /// Between two steps of a rotation: every agent has the keyring by then, or is out of touch and gets it before it takes part again.
    private let keyringPause: Duration = .seconds(10)
    /// Nothing new is placed on a node that has not asked for its right to run for so long; it asks once a second.
    private let silenceLimit: Duration = .seconds(4)
    /// A member that has not answered Raft for so long does not answer: four heartbeats of a learner.
    private let answerLimit: Duration = .seconds(2)

    init(
        cluster: ClusterID,
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
        self.cluster = cluster
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
        await cancelWhenGracefulShutdown { [self] in
            await hub.follow("leader", period: period, changed: { _ in await self.pass() }) { await self.pass() }
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
    /// A new key is known to all before it is used, and used by all before the older ones go. What is to be done next can be seen from the
    /// keyring, so a new leader goes on where the old one stopped. A node that is shut out is kept from gossip by a key that it is not told.
    private func tendKeyring() async throws {
        let state = await replica.state
        guard !state.nodes.isEmpty else { return }
        let moment = now()
        guard let stored = state.keyring else {
            return try await setKeyring(GossipKeyring.random(), after: 0, at: moment)
        }
        var keyring = try GossipKeyring.decode(stored.secret.bytes.span)
        if keyring.keyNumbers.count == 1, Self.isKnownOutside(stored, state.revocations, pause: keyringPause) {
            _ = try keyring.addRandomKey()
            return try await setKeyring(keyring, after: stored.version, at: moment)
        }
        guard keyring.keyNumbers.count > 1, moment - stored.time >= keyringPause else { return }
        let newest = keyring.keyNumbers.max() ?? keyring.sendingNumber
        if keyring.sendingNumber != newest {
            try keyring.use(newest)
        } else {
            for number in keyring.keyNumbers where number != newest { try keyring.remove(number) }
        }
        try await setKeyring(keyring, after: stored.version, at: moment)
    }

    /// Whether a node that is shut out has the only key: then it still takes part in gossip until there is another.
    ///
    /// The last step of a rotation comes two pauses after its key was made, at least, so who was shut out before that never had the key.
    static func isKnownOutside(
        _ stored: StoredKeyring,
        _ revocations: [ClusterState::Revocation],
        pause: Duration
    ) -> Bool {
        revocations.contains { revocation in
            guard revocation.time > stored.time - pause * 2, case .identity(let uri) = revocation.subject else {
                return false
            }
            return PeerIdentity.node(inURI: uri) != nil
        }
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
        let records = Dictionary(state.nodes.filter { $0.state != .left }.map { ($0.member, $0) }) { first, _ in first }
        let peers = Dictionary(uniqueKeysWithValues: status.peers.map { ($0.id, $0) })
        shutOut = shutOut.filter { $0.value > moment }
        var members: [VoterMember] = []
        for member in status.membership.members {
            let (record, peer) = (records[member.rawValue], peers[member])
            members.append(
                VoterMember(
                    node: record?.node ?? NodeID(rawValue: "member-\(member)"),
                    member: member.rawValue,
                    site: record?.site ?? SiteID(rawValue: "unknown"),
                    role: record?.role ?? .worker,
                    isVoter: status.membership.isVoter(member),
                    standing: standing(
                        of: member,
                        peer,
                        isOwn: member == status.member,
                        hasLeft: record == nil && gone.contains(member.rawValue),
                        revoked: { record.flatMap { state.revocation(of: .identity(identity(of: $0).uri))?.time } },
                        at: moment
                    ),
                    isCaughtUp: member == status.member || peer.map { $0.match + 1000 >= status.lastIndex } ?? false,
                    isAnswering: peer.map { $0.contact.duration(to: moment) < answerLimit } ?? false,
                    mayVote: record?.label(NodeOffer.noVote.key) != NodeOffer.noVote.value
                )
            )
        }
        seen = seen.filter { number, _ in status.membership.contains(number) }
        let advice = voterPlan.next(members, leader: status.member.rawValue)
        guard let step = advice.step else { return }
        let change: MembershipChange =
            switch step {
            // Several at once go through a joint membership, which the leader leaves by itself.
            case .promote(let members): MembershipChange(members.map { .voter(RaftMemberID(rawValue: $0)) })
            case .demote(let members): MembershipChange(members.map { .learner(RaftMemberID(rawValue: $0)) })
            case .remove(let member): MembershipChange([.remove(RaftMemberID(rawValue: member))])
            }
        do {
            _ = try await replica.changeMembership(change)
            logger.notice("voters.changed", metadata: ["reason": "\(advice.reason)"])
        } catch {
            logger.debug("voters.unchanged", metadata: ["reason": "\(error)"])
        }
    }

    /// Takes the vote of a node that nobody will listen to in a moment; its vote still counts for that.
    ///
    /// - Returns: whether it has none now; true for this member itself too, since whoever leads next takes it then.
    func takeVote(of node: NodeID, within limit: Duration = .seconds(5)) async -> Bool {
        guard let record = await replica.state.node(node), record.member != replica.member.rawValue else { return true }
        let member = RaftMemberID(rawValue: record.member)
        let end = steady() + limit
        // Longer than the revocation needs to be in force everywhere: the member is silent then, and the state says why.
        shutOut[member] = end + .seconds(10)
        while await replica.status.membership.isVoter(member) {
            guard steady() < end, !Task.isCancelled, await replica.leadingTerm != nil else {
                shutOut[member] = nil
                return false
            }
            await chooseVoters()
            try? await Task.sleep(for: .milliseconds(20))
        }
        return true
    }

    private func identity(of record: NodeRecord) -> PeerIdentity {
        .node(cluster: cluster, site: record.site, node: record.node, role: record.role)
    }

    /// How long a member has answered without a break, or has not; `revoked` is when its node was shut out last.
    private func standing(
        of member: RaftMemberID,
        _ peer: PeerStatus?,
        isOwn: Bool,
        hasLeft: Bool,
        revoked: () -> Timestamp?,
        at moment: ContinuousClock.Instant
    ) -> VoterMember.Standing {
        if isOwn { return .live(.seconds(86_400)) }
        if hasLeft { return .left }
        if shutOut[member] != nil { return .shutOut }
        guard let peer else { return .silent(.zero) }
        let silence = peer.contact.duration(to: moment)
        guard silence < answerLimit else {
            seen[member] = nil
            // Who has been heard well after a revocation has a new certificate; connections end within seconds of one.
            let isRevoked = revoked().map { silence + .seconds(5) >= now() - $0 } ?? false
            return isRevoked ? .shutOut : .silent(silence)
        }
        let since = seen[member] ?? moment
        seen[member] = since
        return .live(since.duration(to: moment))
    }
}
