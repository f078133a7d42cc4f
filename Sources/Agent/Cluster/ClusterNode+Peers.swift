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

// What other agents ask of this one.
extension ClusterNode: PeerDelegate {
    func receive(_ messages: [[UInt8]], from member: RaftMemberID) {
        let decoded = messages.compactMap { bytes -> Raft.Message? in
            guard let message = try? Raft.Message.decode(bytes.span), message.from == member else { return nil }
            return message
        }
        inboxEntry.yield(decoded)
    }

    func propose(_ commands: [[UInt8]], for node: NodeID) async throws -> ProposeAnswer {
        if commands.isEmpty {
            if let index = await leaderService.renew(node) { return .done(outcomes: [], index: index) }
        } else if let place = try? await replica.take(commands) {
            let term = PeerRaftLink.encode(term: place.term)
            return .done(outcomes: commands.map { _ in term }, index: place.lastIndex)
        }
        let leader = await replica.status.leader.flatMap(directory.node(of:))
        return .notLeader(leader: leader, address: leader.flatMap { directory.addresses(of: $0).first })
    }

    func join(_ request: JoinRequest, from identity: PeerIdentity) async throws -> JoinAnswer {
        guard case .node(_, let site, let node, let role) = identity else {
            throw RPCFailure(.forbidden, "only a node can join a cluster")
        }
        guard await replica.isUpToDate() else { throw RPCFailure(.unavailable, "this agent does not lead; try again") }
        // Until the first other node comes, an agent alone needs no list of nodes.
        if await replica.state.node(facts.node) == nil {
            try await accepted(.registerNode(registration(isReady: true, version: replica.state.version)))
        }
        try await accepted(
            .registerNode(
                NodeRegistration(
                    node: node,
                    member: request.member.rawValue,
                    site: site,
                    role: role,
                    address: request.address.text(),
                    vcpus: request.capacity,
                    memory: request.memory,
                    deviceCount: request.deviceCount,
                    takesJobs: role == .worker,
                    labels: request.labels.map { JobSpecification.Label(key: $0.key, value: $0.value) },
                    version: request.version,
                    isReady: false,
                    time: now()
                )
            )
        )
        directory.learn(node, member: request.member, address: request.address, from: .joined)
        view.withLock { $0.isTakingIn = true }
        defer { view.withLock { $0.isTakingIn = false } }
        fence.note(isAlone: false, applied: await replica.status.applied)
        try await makeMember(request.member)
        await learn()
        let status = await replica.status
        let records = await replica.state.nodes.filter { $0.state != .left }
        return JoinAnswer(
            members: records.compactMap { record in
                guard let address = try? PeerAddress(record.address) else { return nil }
                let member = RaftMemberID(rawValue: record.member)
                return PeerMember(
                    node: record.node,
                    member: member,
                    address: address,
                    isVoter: status.membership.isVoter(member)
                )
            },
            leader: facts.node,
            keyring: [],
            index: status.lastIndex,
            lineage: await replica.state.lineage
        )
    }

    private func accepted(_ command: Command) async throws {
        if let refusal = try await replica.propose(command).refusal { throw RPCFailure(refusal) }
    }

    /// Makes it a learner, together with all others that wait for that; another change may be under way for a moment.
    private func makeMember(_ member: RaftMemberID) async throws {
        view.withLock { _ = $0.entering.insert(member) }
        defer { view.withLock { _ = $0.entering.remove(member) } }
        let deadline = ContinuousClock.now + .seconds(10)
        while true {
            let status = await replica.status
            if status.membership.contains(member) { return }
            do throws(MembershipError) {
                let others = view.withLock { $0.entering.filter { $0 != member && !status.membership.contains($0) } }
                let steps = ([member] + others.sorted()).map { MembershipChange.Step.learner($0) }
                _ = try await replica.changeMembership(MembershipChange(steps))
                return
            } catch {
                guard case .changeInProgress = error, ContinuousClock.now < deadline else {
                    throw RPCFailure(.unavailable, "the node cannot become a member now: \(error)")
                }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    func renew(
        _ request: [UInt8],
        from identity: PeerIdentity,
        _ certificate: CertificateSummary?
    ) async throws -> [UInt8] {
        guard let issuer else {
            throw RPCFailure(
                .unimplemented,
                "node \(facts.node) has no issuer (`identity.issuer` of its configuration)"
            )
        }
        return try await issuer.answer(request, from: identity, certificate)
    }

    func sendMigration(
        _ request: MigrationRequest,
        to node: NodeID,
        _ sink: (MigrationPart) async throws -> Void
    ) async throws {
        try await existingDesk().send(request, to: node, sink)
    }

    func sendFrames(
        of request: MigrationRequest,
        to node: NodeID,
        _ sink: (HeldFrames) async throws -> Void
    ) async throws {
        try await existingDesk().frames.send(request, to: node, sink)
    }

    func sendPages(_ request: PagesRequest, to node: NodeID) async throws -> [DumpPiece] {
        try await existingDesk().pages(request, to: node)
    }

    private func existingDesk() throws(RPCFailure) -> MigrationDesk {
        guard let desk else { throw RPCFailure(.notFound, "node \(facts.node) runs no jobs") }
        return desk
    }

    func sendCopy(_ request: CopyRequest, _ sink: (CopyPiece) async throws -> Void) async throws {
        guard let copies else { throw RPCFailure(.notFound, "node \(facts.node) keeps no checkpoints") }
        try await copies.send(request, sink)
    }

    func takeOffer(_ job: JobID, _ generation: CheckpointGeneration, from node: NodeID) async {
        await keeper?.takeOffer(job, generation, from: node)
    }

    func checkCopy(
        _ job: JobID,
        _ generation: CheckpointGeneration,
        _ sink: (CopyCheck) async throws -> Void
    ) async throws {
        guard let keeper else { throw RPCFailure(.notFound, "node \(facts.node) keeps no checkpoints") }
        try await keeper.check(job, generation, sink)
    }

    func hasLeft(_ node: NodeID, member: RaftMemberID) -> Bool { view.withLock { $0.departed[node] == member } }

    func exchange(_ bytes: [UInt8], with node: NodeID) async throws -> [UInt8] {
        try await gossip.answerExchange(bytes)
    }

    func standing() -> PeerStanding {
        view.withLock(\.standing)
            ?? PeerStanding(
                member: nil,
                term: 0,
                leads: false,
                leader: nil,
                applied: 0,
                version: productVersion,
                time: now()
            )
    }
}
