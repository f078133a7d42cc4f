import ClusterModel
import ClusterState
import ControlMessages
import Raft
import SWIM
import TLS
import Transport

// The nodes, who leads them, and what administrators do with them.
extension ControlService {
    /// The node that a member of the group is; nil when nobody has told yet.
    func name(of member: RaftMemberID?, _ state: ClusterState) -> String? {
        guard let member else { return nil }
        if member == replica.member { return node.node.rawValue }
        return state.node(withMember: member.rawValue)?.node.rawValue
    }

    /// How a node stands, in the word that tables show.
    static func word(_ record: NodeRecord) -> String {
        switch record.state {
        case .active: record.isDraining ? "draining" : record.isCordoned ? "cordoned" : "alive"
        case .joining, .lost, .left: record.state.rawValue
        }
    }

    /// What gossip has told of the other nodes.
    func toldFacts() async -> [NodeID: NodeFactsSummary] {
        var told: [NodeID: NodeFactsSummary] = [:]
        for member in await gossip?.members() ?? [] where !member.facts.bytes.isEmpty {
            told[member.node] = try? NodeFactsSummary.decode(member.facts.bytes.span)
        }
        return told
    }

    /// A node as the replicated state and gossip know it; what only its agent knows is left out.
    func wire(_ record: NodeRecord, _ state: ClusterState, _ facts: NodeFactsSummary? = nil) -> WireNode {
        let jobs = state.liveJobs.filter { $0.state.mayHaveContainer && $0.node == record.node }
        var wire = WireNode()
        wire.name = record.node.rawValue
        wire.site = record.site.rawValue
        wire.role = record.role.rawValue
        wire.state = Self.word(record)
        wire.address = record.address
        wire.version = record.version
        wire.capacityVcpus = record.vcpus.rawValue
        wire.allocatedVcpus = jobs.reduce(0) { $0 + $1.allocation.rawValue }
        wire.memoryBytes = UInt64(max(0, record.memory.rawValue))
        wire.runningJobs = UInt32(jobs.count)
        if let facts, record.state == .active {
            wire.usedVcpus = facts.load.used.rawValue
            if facts.load.memoryTotal > .zero {
                wire.memoryBytes = UInt64(facts.load.memoryTotal.rawValue)
                wire.memoryUsedBytes = UInt64(max(0, facts.load.memoryUsed.rawValue))
            }
            // By the node's own wall clock.
            if facts.startedAt > 0 { wire.uptimeSeconds = max(0, now().seconds - Double(facts.startedAt)) }
            wire.kernel = facts.kernel
        }
        return wire
    }

    /// Whether the cluster can decide and act, as this agent sees it.
    func health(_ state: ClusterState, _ group: ReplicaStatus) async -> WireClusterHealth {
        let moment = ContinuousClock.now
        var health = WireClusterHealth()
        health.answeredBy = node.node.rawValue
        health.voterCount = UInt32(group.membership.voters.count)
        health.learnerCount = UInt32(group.membership.learners.count)
        let doubted = await gossip?.suspects() ?? []
        // Only a leader hears from all; another agent that hears its leader knows that a majority answers it. Who knows of no leader has
        // gossip's word.
        let silent =
            group.leader == nil
            ? group.membership.voters.filter { voter in
                guard voter != group.member, let record = state.node(withMember: voter.rawValue) else { return false }
                return doubted.contains(record.node)
            }
            : group.peers.filter { group.membership.isVoter($0.id) && $0.contact.duration(to: moment) > .seconds(2) }
                .map(\.id)
        health.silentVoters = silent.compactMap { name(of: $0, state) }.sorted()
        health.votersAnswering = health.voterCount - UInt32(min(silent.count, Int(health.voterCount)))
        let nodes = state.nodes
        health.nodesAlive = UInt32(nodes.count(where: \.state.isLive))
        health.lostNodes = nodes.filter { $0.state == .lost }.map(\.node.rawValue)
        health.joiningNodes = nodes.filter { $0.state == .joining }.map(\.node.rawValue)
        health.drainingNodes = nodes.filter { $0.state.isLive && $0.isDraining }.map(\.node.rawValue)
        health.cordonedNodes = nodes.filter { $0.state.isLive && $0.isCordoned && !$0.isDraining }.map(\.node.rawValue)
        for record in nodes where record.state == .active && record.node != node.node {
            if doubted.contains(record.node) {
                health.suspectNodes.append(record.node.rawValue)
            } else if let contact = await leader?.lastContact(with: record.node),
                contact.duration(to: moment) > .seconds(4)
            {
                health.suspectNodes.append(record.node.rawValue)
            }
        }
        let away = Set(health.suspectNodes + health.lostNodes)
        health.revokedNodes = nodes.filter { record in
            let identity = PeerIdentity.node(
                cluster: node.cluster,
                site: record.site,
                node: record.node,
                role: record.role
            )
            let revocation = state.revocation(of: .identity(identity.uri))
            return away.contains(record.node.rawValue)
                && Self.isShutOut(record, since: revocation?.time, lossDelay: fencing.lossDelay, now: now())
        }.map(\.node.rawValue)
        if !group.isLeader, let contact = group.lastLeaderContact {
            let silence = contact.duration(to: moment)
            health.leaderlessSeconds = group.leader == nil ? silence.inSeconds : 0
        }
        health.partitionTimeoutSeconds = fencing.partitionTimeout.inSeconds
        return health
    }

    /// Whether a node that does not answer is silent because its certificate was revoked: as far as the replicated state can tell.
    ///
    /// One that was lost long after that had been let in again with a new certificate.
    static func isShutOut(_ record: NodeRecord, since revoked: Timestamp?, lossDelay: Duration, now: Timestamp) -> Bool
    {
        guard let revoked else { return false }
        // Connections end within seconds.
        let limit = lossDelay + .seconds(10)
        return switch record.state {
        case .lost: record.since - revoked <= limit
        case .active, .joining: now - revoked <= limit
        case .left: false
        }
    }

    func clusterMembers(_ call: RPCCall) async throws {
        let age = await age()
        let state = await replica.state
        let group = await replica.status
        let moment = ContinuousClock.now
        let gossiping = await gossip?.members() ?? []
        var reply = WireClusterMembersReply()
        reply.ageSeconds = age
        reply.answeredBy = node.node.rawValue
        for record in state.nodes {
            let member = RaftMemberID(rawValue: record.member)
            var wire = WireClusterMember()
            wire.node = record.node.rawValue
            wire.site = record.site.rawValue
            wire.role = record.role.rawValue
            wire.address = record.address
            wire.state = record.state.rawValue
            wire.consensus = consensusRole(of: member, group)
            wire.isCordoned = record.isCordoned
            wire.isDraining = record.isDraining
            wire.version = record.version
            wire.member = record.member
            if let known = gossiping.first(where: { $0.node == record.node }) {
                wire.gossip = known.status.description
                wire.incarnation = UInt64(known.incarnation.rawValue)
            }
            wire.joinedUnixSeconds = record.joined.seconds
            if record.node == node.node {
                wire.lastHeardSeconds = 0
            } else if let contact = group.peers.first(where: { $0.id == member })?.contact {
                wire.lastHeardSeconds = contact.duration(to: moment).inSeconds
            } else if member == group.leader, let contact = group.lastLeaderContact {
                wire.lastHeardSeconds = contact.duration(to: moment).inSeconds
            } else {
                wire.lastHeardSeconds = -1
            }
            reply.members.append(wire)
        }
        call.reply(reply)
    }

    private func consensusRole(of member: RaftMemberID, _ group: ReplicaStatus) -> String {
        if member == group.leader { return "leader" }
        if group.membership.isVoter(member) { return "voter" }
        return group.membership.contains(member) ? "learner" : ""
    }

    func clusterVoters(_ call: RPCCall) async throws {
        let age = await age()
        let state = await replica.state
        let group = await replica.status
        let moment = ContinuousClock.now
        var reply = WireClusterVotersReply()
        reply.ageSeconds = age
        reply.answeredBy = node.node.rawValue
        reply.leader = name(of: group.leader, state) ?? ""
        reply.term = group.term.rawValue
        reply.commitIndex = group.committed
        reply.appliedIndex = group.applied
        let members = group.membership.members.map { member in
            var wire = WireConsensusMember()
            wire.member = member.rawValue
            wire.node = name(of: member, state) ?? ""
            wire.site = state.node(withMember: member.rawValue)?.site.rawValue ?? ""
            wire.role = consensusRole(of: member, group)
            wire.isLeaving = group.membership.outgoingVoters.contains(member)
            wire.lastContactSeconds = -1
            if member == group.member, group.isLeader {
                wire.matchIndex = group.lastIndex
                wire.lastContactSeconds = 0
            } else if let peer = group.peers.first(where: { $0.id == member }) {
                wire.matchIndex = peer.match
                wire.lastContactSeconds = peer.contact.duration(to: moment).inSeconds
            }
            return wire
        }
        reply.members = members.sorted { left, right in
            let (isLeft, isRight) = (left.role == "learner", right.role == "learner")
            return isLeft == isRight ? left.node < right.node : isRight
        }
        call.reply(reply)
    }

    func clusterEvents(_ call: RPCCall) async throws {
        let request = try call.decode(WireClusterEventsRequest.self)
        let limit = request.limit == 0 ? 100 : Int(min(request.limit, 10_000))
        var seen: UInt64 = 0
        var isFirst = true
        repeat {
            let entries = await replica.state.audit.filter { entry in
                entry.sequence > seen
                    && (request.node.isEmpty || entry.what.contains("node \(request.node)")
                        || entry.what.contains("Node \(request.node)") || entry.by == "node:\(request.node)")
            }
            let shown = isFirst ? entries.suffix(limit) : entries[...]
            if !shown.isEmpty || isFirst {
                var reply = WireClusterEventsReply()
                reply.events = shown.map { entry in
                    var wire = WireClusterEvent()
                    wire.timeUnixSeconds = entry.time.seconds
                    wire.source = "audit"
                    wire.by = entry.by
                    wire.sentence = entry.what
                    wire.index = entry.sequence
                    return wire
                }
                try await call.send(reply)
            }
            seen = max(seen, entries.last?.sequence ?? seen)
            isFirst = false
            if request.follow { try await Task.sleep(for: .milliseconds(500)) }
        } while request.follow
    }

    // MARK: Acts of administrators

    func cordon(_ call: RPCCall) async throws {
        let request = try call.decode(WireNodeCordonRequest.self)
        let record = try await act(call, on: request.node) { .cordon(node: $0, by: user(call), time: now()) }
        var reply = WireNodeCordonReply()
        reply.node = wire(record, await replica.state)
        call.reply(reply)
    }

    func drain(_ call: RPCCall) async throws {
        let request = try call.decode(WireNodeDrainRequest.self)
        let record = try await act(call, on: request.node) {
            .drain(node: $0, restartsJobs: request.now, by: user(call), time: now())
        }
        let state = await replica.state
        var reply = WireNodeDrainReply()
        reply.node = wire(record, state)
        reply.jobsLeaving = UInt32(state.jobsLeft(on: record.node).count)
        reply.departures = departures(from: record, state)
        call.reply(reply)
    }

    func undrain(_ call: RPCCall) async throws {
        let request = try call.decode(WireNodeUndrainRequest.self)
        let record = try await act(call, on: request.node) { .undrain(node: $0, by: user(call), time: now()) }
        var reply = WireNodeUndrainReply()
        reply.node = wire(record, await replica.state)
        call.reply(reply)
    }

    private func act(_ call: RPCCall, on name: String, _ command: (NodeID) -> Command) async throws -> NodeRecord {
        try call.require(.admin)
        let id = NodeID(rawValue: name)
        _ = try await propose(command(id))
        guard let record = await replica.state.node(id) else {
            throw RPCFailure(.notFound, "there is no node '\(name)'; `godwit node list` shows every node")
        }
        return record
    }

    func keyringList(_ call: RPCCall) async throws {
        try call.require(.admin)
        let state = await replica.state
        var reply = WireKeyringListReply()
        reply.nodeCount = UInt32(state.nodes.count(where: \.state.isLive))
        if let stored = state.keyring {
            let keyring = try GossipKeyring.decode(stored.secret.bytes.span)
            reply.keys = keyring.keyNumbers.sorted(by: >).map { number in
                var wire = WireGossipKey()
                wire.id = UInt32(number)
                wire.isPrimary = number == keyring.sendingNumber
                wire.createdUnixSeconds = number == keyring.keyNumbers.max() ? stored.time.seconds : 0
                return wire
            }
        }
        call.reply(reply)
    }

    /// Adds a key; the leader brings it into use when all have it, and then takes the older ones away.
    func keyringRotate(_ call: RPCCall) async throws {
        try call.require(.admin)
        guard let stored = await replica.state.keyring else {
            throw RPCFailure(.conflict, "there is no keyring yet: a cluster of one has no gossip to seal")
        }
        var keyring = try GossipKeyring.decode(stored.secret.bytes.span)
        guard keyring.keyNumbers.count == 1 else {
            throw RPCFailure(.conflict, "a rotation is under way; `godwit cluster keyring list` shows when it is over")
        }
        let number = try keyring.addRandomKey()
        let next = StoredKeyring(
            version: stored.version + 1,
            secret: SecretBytes(keyring.encoded()),
            by: user(call),
            time: now()
        )
        _ = try await propose(.setKeyring(next))
        var reply = WireKeyringRotateReply()
        reply.id = UInt32(number)
        reply.message =
            "Key \(number) is on its way to all agents; it is used in about ten seconds, and the older key goes ten seconds after that."
        call.reply(reply)
    }

    func revoke(_ call: RPCCall) async throws {
        try call.require(.admin)
        let request = try call.decode(WireCertificateRevokeRequest.self)
        let subject: ClusterState::Revocation.Subject
        switch (request.identity.isEmpty, request.serial.isEmpty) {
        case (false, true): subject = .identity(request.identity)
        case (true, false): subject = .certificate(serial: request.serial.lowercased(), issuer: "")
        default: throw RPCFailure(.invalid, "name either an identity or a serial number")
        }
        let voter: NodeID? =
            switch subject {
            case .identity(let identity): PeerIdentity.node(inURI: identity)
            case .certificate(let serial, _): trust?.node(ofSerial: serial)
            }
        if let voter { try await takeVote(of: voter, isForced: request.force) }
        let revocation = ClusterState::Revocation(
            subject,
            by: user(call),
            time: now(),
            reason: request.reason.isEmpty ? nil : request.reason
        )
        _ = try await propose(.revoke(revocation))
        var reply = WireCertificateRevokeReply()
        reply.revocation = wire(revocation)
        call.reply(reply)
    }

    /// Takes the vote of a node that is about to be shut out, so that no quorum counts on a vote that nobody listens to.
    ///
    /// - Throws: `RPCFailure` when the others cannot decide without that vote, unless that is what is wanted.
    func takeVote(of node: NodeID, isForced: Bool) async throws {
        guard let leader, await !leader.takeVote(of: node), !isForced else { return }
        throw RPCFailure(
            .conflict,
            "node \(node) votes, and without its vote those that answer are no majority: bring back or remove what does not answer "
                + "(`godwit cluster voters`) first, or use --force and `godwitd recover`"
        )
    }

    func revocations(_ call: RPCCall) async throws {
        var reply = WireRevocationListReply()
        reply.revocations = await replica.state.revocations.map { wire($0) }
        call.reply(reply)
    }

    private func wire(_ revocation: ClusterState::Revocation) -> WireRevocation {
        var wire = WireRevocation()
        switch revocation.subject {
        case .identity(let identity): wire.identity = identity
        case .certificate(let serial, _): wire.serial = serial
        }
        wire.timeUnixSeconds = revocation.time.seconds
        wire.by = revocation.by.rawValue
        wire.reason = revocation.reason ?? ""
        return wire
    }
}
