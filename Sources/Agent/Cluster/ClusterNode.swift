import AgentConfiguration
import ClusterModel
import ClusterState
import struct Containers.HeldFrames
import ImageStore
import Logging
import Raft
import ServiceLifecycle
import Synchronization
import TLS
import Transport

/// What makes this agent one of many: it answers the other agents, lets new ones in while it leads, keeps its own right to run
/// containers alive, and knows who leads and where everybody is.
final class ClusterNode: CallRouting, Service {
    let facts: NodeFacts
    private let seeds: [PeerAddress]
    let replica: Replica
    let leaderService: LeaderService
    let fence: LeaderFence
    let directory: PeerDirectory
    private let peers: any PeerLink
    let gossip: GossipService
    private let offer: NodeOffer
    /// Renews the certificates of others; nil on most agents.
    let issuer: CertificateIssuer?
    /// Sends checkpoints of this node to others; nil on an agent without any.
    let copies: CopySender?
    let keeper: CopyKeeper?
    let desk: MigrationDesk?
    private let logger: Logger
    let now: @Sendable () -> Timestamp

    private let inbox: AsyncStream<[Raft.Message]>
    let inboxEntry: AsyncStream<[Raft.Message]>.Continuation
    let view = Mutex(View())

    /// What other agents are told at once, without asking the replica.
    struct View {
        var standing: PeerStanding?
        var isAlone = true
        /// Whether the first other member is being taken in: from before that on, this one's right to run must end some day.
        var isTakingIn = false
        /// Members that are to become learners.
        var entering: Set<RaftMemberID> = []
        /// Where others reach this agent; known when it listens.
        var address: PeerAddress?
        /// What the directory was told last.
        var learned: (nodes: [NodeRecord], membership: Raft.Membership)?
        /// Nodes that left, whose members are out of the group.
        var departed: [NodeID: RaftMemberID] = [:]
    }

    /// Deliveries that may wait to be taken in; Raft repeats what is dropped.
    private static let inboxLimit = 4096

    init(
        facts: NodeFacts,
        seeds: [PeerAddress],
        replica: Replica,
        leaderService: LeaderService,
        fence: LeaderFence,
        directory: PeerDirectory,
        peers: any PeerLink,
        gossip: GossipService,
        offer: NodeOffer,
        issuer: CertificateIssuer? = nil,
        copies: CopySender? = nil,
        keeper: CopyKeeper? = nil,
        desk: MigrationDesk? = nil,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) {
        self.facts = facts
        self.seeds = seeds
        self.replica = replica
        self.leaderService = leaderService
        self.fence = fence
        self.directory = directory
        self.peers = peers
        self.gossip = gossip
        self.offer = offer
        self.issuer = issuer
        (self.copies, self.keeper) = (copies, keeper)
        self.desk = desk
        self.logger = logger
        self.now = now
        (inbox, inboxEntry) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(Self.inboxLimit))
    }

    // MARK: A life among others

    /// Takes note of the address under which others reach this agent.
    func isReached(at address: PeerAddress) {
        view.withLock { $0.address = address }
        gossip.isReached(at: address)
    }

    private var address: String { view.withLock { $0.address?.text() } ?? "" }

    /// Becomes a member, or finds the cluster again, and catches up; gives up waiting after a while, since what runs here has to be
    /// looked after in any case.
    func enter(within limit: Duration) async throws {
        try await join()
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            if await replica.waitUntilReady(for: .milliseconds(500)) {
                await look()
                return
            }
            await learn()
        }
        logger.warning(
            "cluster.leader.missing",
            metadata: [
                "waited": "\(limit.text)", "remedy": "look at `godwit status`: a majority of the voters must answer",
            ]
        )
    }

    /// Becomes a member of the cluster whose agents are at the seeds, unless it is one already; tries until it is cancelled.
    func join() async throws {
        guard await replica.status.membership.isEmpty else { return }
        guard let address = view.withLock(\.address) else { preconditionFailure("an agent joins after it listens") }
        var pause: Duration = .milliseconds(200)
        while true {
            for seed in seeds {
                do {
                    let request = JoinRequest(
                        address: address,
                        member: replica.member,
                        capacity: offer.vcpus,
                        memory: offer.memory,
                        deviceCount: offer.deviceCount,
                        version: productVersion,
                        labels: Dictionary(offer.labels.map { ($0.key, $0.value) }) { first, _ in first }
                    )
                    let answer = try await peers.join(request, at: seed, timeout: .seconds(15))
                    directory.replace(with: answer.members, from: .joined)
                    directory.lineage = answer.lineage
                    logger.notice(
                        "cluster.joined",
                        metadata: ["through": "\(seed.text())", "members": "\(answer.members.count)"]
                    )
                    return
                } catch {
                    logger.warning("cluster.join.failed", metadata: ["seed": "\(seed.text())", "error": "\(error)"])
                }
                try Task.checkCancellation()
            }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(10))
        }
    }

    /// Takes in what others send; runs from before the join on.
    func takeIn() async {
        for await messages in inbox { await replica.receive(messages) }
    }

    func run() async throws {
        await repeatUntilShutdown(every: fence.period) { await self.look() }
        await replica.hurry()
        inboxEntry.finish()
    }

    /// One look at the group: learns addresses, tells others how things stand, and asks for the right to run.
    func look() async {
        let status = await replica.status
        await learn()
        await tell(status)
        guard await !replica.state.isSettling else {
            // A node of before a recovery may still run what the log says is ours: nobody has a right until that is over.
            fence.note(isAlone: false, applied: status.applied)
            return
        }
        guard !status.isAlone || view.withLock(\.isTakingIn) else {
            fence.note(isAlone: true, applied: status.applied)
            return
        }
        let sent = ContinuousClock.now
        var answer: LogIndex?
        if status.isLeader {
            answer = await leaderService.renew(facts.node)
        } else if let leader = status.leader.flatMap(directory.node(of:)) {
            // A proposal of nothing asks for the end of the leader's log, and with it for the right to run.
            if case .done(_, let index)? = try? await peers.propose([], to: leader, timeout: .seconds(2)) {
                answer = index
            }
        }
        let applied = await replica.status.applied
        fence.note(isAlone: false, applied: applied, answer: answer.map { ($0, sent) })
        await register()
    }

    func learn() async {
        let voters = await replica.status.membership
        // Until there is a log, what was said at the join counts.
        if let lineage = await replica.lineage { directory.lineage = lineage }
        // Until a node that leaves is out of the group, its vote is needed.
        let known = await replica.state.nodes
        // Once a second, and mostly nothing is new; the same list as before is found to be so at once.
        let isNew = view.withLock { view in
            defer { view.learned = (known, voters) }
            return view.learned.map { $0.nodes != known || $0.membership != voters } ?? true
        }
        guard isNew else { return }
        let records = known.filter { $0.state != .left || voters.contains(RaftMemberID(rawValue: $0.member)) }
        directory.replace(
            with: records.compactMap { record in
                guard let address = try? PeerAddress(record.address) else { return nil }
                let member = RaftMemberID(rawValue: record.member)
                return PeerMember(node: record.node, member: member, address: address, isVoter: voters.isVoter(member))
            },
            from: .replicated
        )
    }

    private func tell(_ status: ReplicaStatus) async {
        let standing = PeerStanding(
            member: status.membership.contains(status.member) ? status.member : nil,
            term: status.term.rawValue,
            leads: status.isLeader,
            leader: status.leader.flatMap { $0 == status.member ? facts.node : directory.node(of: $0) },
            applied: status.applied,
            version: productVersion,
            time: now()
        )
        let left = await replica.state.nodes.filter { $0.state == .left }.map {
            ($0.node, RaftMemberID(rawValue: $0.member))
        }
        let departed = Dictionary(left.filter { !status.membership.contains($0.1) }) { first, _ in first }
        view.withLock { view in
            view.standing = standing
            view.isAlone = status.isAlone
            view.departed = departed
        }
    }

    /// Says what this node has, when the cluster does not know it so: after a join, a move, or having been taken for lost.
    private func register() async {
        guard fence.mayRun else { return }
        let state = await replica.state
        let wanted = registration(isReady: true, version: state.version)
        if let record = state.node(facts.node), record.state == .active, record.member == wanted.member,
            record.address == wanted.address, record.vcpus == wanted.vcpus, record.memory == wanted.memory,
            record.deviceCount == wanted.deviceCount, record.version == wanted.version,
            record.takesJobs == wanted.takesJobs, record.labels == wanted.labels,
            record.network == wanted.network, record.platform == wanted.platform
        {
            return
        }
        // A node that left does not come back as the same member: the agent ends.
        if let record = state.node(facts.node), record.state == .left, record.member == wanted.member { return }
        guard !state.nodes.isEmpty else { return }
        do {
            if let refusal = try await replica.propose(.registerNode(wanted)).refusal {
                logger.error("node.registration.refused", metadata: ["reason": "\(refusal)"])
            }
        } catch {
            logger.warning("node.registration.failed", metadata: ["error": "\(error)"])
        }
    }

    /// `version` is that of the cluster: before version 5 nobody is told of a network, before version 6 of the platform.
    func registration(isReady: Bool, version: Int) -> NodeRegistration {
        NodeRegistration(
            node: facts.node,
            member: replica.member.rawValue,
            site: facts.site,
            role: facts.role,
            address: address,
            vcpus: offer.vcpus,
            memory: offer.memory,
            deviceCount: offer.deviceCount,
            takesJobs: offer.takesJobs && offer.hasRoom(),
            network: version >= 5 ? offer.network : nil,
            platform: version >= 6 ? offer.platform : nil,
            labels: offer.labels,
            isReady: isReady,
            time: now()
        )
    }

    // MARK: Where a call belongs

    func leader() async -> LeaderView {
        let status = await replica.status
        if status.isLeader { return .here }
        if let node = status.leader.flatMap(directory.node(of:)) { return .at(node) }
        let doubted = await gossip.suspects()
        let voters = status.membership.voters
        let silent = voters.count { $0 != status.member && directory.node(of: $0).map(doubted.contains) ?? false }
        return .unknown(votersAnswering: voters.count - silent, voterCount: voters.count)
    }

    func isUpToDate() async -> Bool { await replica.isUpToDate() }

    func holder(ofJob reference: String) async -> JobHolder {
        guard let record = try? await replica.state.resolve(reference) else { return .unknown }
        guard record.state.mayHaveContainer, let holder = record.node else { return .nobody }
        return holder == facts.node ? .here : .at(holder)
    }

    func holder(ofCheckpoint generation: UInt32, of reference: String) async -> JobHolder {
        let state = await replica.state
        guard let record = try? state.resolve(reference) else { return .unknown }
        let entry =
            generation == 0
            ? record.newestGoodCheckpoint : record.checkpoint(CheckpointGeneration(rawValue: generation))
        guard let holders = entry?.holders else { return .unknown }
        if holders.contains(facts.node) { return .here }
        let live = holders.first { state.node($0)?.state.isLive == true }
        return live.map { .at($0) } ?? .nobody
    }
}

/// What a node offers to jobs.
struct NodeOffer: Sendable {
    var vcpus: VCPUCount
    var memory: ByteCount
    var deviceCount: Int
    var takesJobs: Bool
    /// What containers with an address of their own get here.
    var network: NodeNetwork?
    /// What the memory of containers depends on here.
    var platform: NodePlatform?
    /// Whether there is room on the disk for another container now.
    var hasRoom: @Sendable () -> Bool = { true }
    /// Whether the leader may give the node a vote.
    var mayVote: Bool
    /// Whether the node renews the certificates of others.
    var isIssuer = false
    /// Labels that come and go: that there is no room for copies of checkpoints.
    var passingLabels: @Sendable () -> [JobSpecification.Label] = { [] }

    /// What of it the others see as labels, by key.
    var labels: [JobSpecification.Label] {
        passingLabels() + (isIssuer ? [Self.issues] : []) + (mayVote ? [] : [Self.noVote])
    }

    /// The label by which the others know that a node renews certificates.
    static let issues = JobSpecification.Label(key: "godwit-issuer", value: "yes")
    /// The label by which the others know that a node wants no vote.
    static let noVote = JobSpecification.Label(key: "godwit-voter", value: "never")
}
