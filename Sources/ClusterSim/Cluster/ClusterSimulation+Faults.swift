import ClusterModel
import ClusterState
import Placement
import Raft

/// What bad luck does, and how it ends.
extension ClusterSimulation {
    private var millisecond: Int64 { 1_000_000 }

    private func someLeader() -> Int? {
        let leaders = agents.indices.filter { agents[$0].raft?.isLeader == true }
        return leaders.isEmpty ? nil : leaders[draw(0..<leaders.count)]
    }

    private func someAgent() -> Int { draw(0..<agents.count) }

    /// An agent whose node runs a container.
    private func someBusy() -> Int {
        let busy = agents.indices.filter { agents[$0].containers.contains { !$0.isGone } }
        return busy.isEmpty ? someAgent() : busy[draw(0..<busy.count)]
    }

    func inflictFault() {
        guard now >= quietUntil else { return }
        let fault = profile.faults[draw(0..<profile.faults.count)]
        statistics.faults[fault.rawValue, default: 0] += 1
        switch fault {
        case .killAgent:
            crash(draw(0..<2) == 0 ? someLeader() ?? someAgent() : someBusy(), losesPower: false, down: 1..<6000)
        case .crashMachine:
            crash(draw(0..<2) == 0 ? someLeader() ?? someAgent() : someBusy(), losesPower: true, down: 50..<6000)
        case .powerFailure:
            // Now and then everybody at once.
            guard draw(0..<4) == 0 else { return }
            for number in agents.indices { crash(number, losesPower: true, down: 50..<2000) }
        case .cutHalves:
            let side = agents.indices.map { _ in draw(0..<2) }
            cut(isSymmetric: draw(0..<3) > 0) { side[$0] == 0 && side[$1] == 1 }
        case .cutOne:
            let alone = someAgent()
            cut(isSymmetric: draw(0..<3) > 0) { from, _ in from == alone }
        case .cutBusyNode:
            let alone = someBusy()
            switch draw(0..<3) {
            case 0: cut(isSymmetric: false) { from, _ in from == alone }
            case 1: cut(isSymmetric: false) { _, to in to == alone }
            default: cut(isSymmetric: true) { from, _ in from == alone }
            }
        case .isolateLeader:
            guard let leader = someLeader() else { return }
            // Often with one follower that goes on listening to it.
            let friend = draw(0..<2) == 0 ? someAgent() : leader
            cut(isSymmetric: draw(0..<2) == 0) { from, to in
                (from == leader || from == friend) && to != leader && to != friend
            }
        case .cutLinks:
            cut = []
            for from in agents.indices {
                for to in agents.indices where from != to && draw(0..<4) == 0 { cut.insert([from, to]) }
            }
        case .mend: cut = []
        case .pauseAgent: pause(draw(0..<2) == 0 ? someLeader() ?? someAgent() : someAgent(), for: 50..<1500)
        case .pauseBusyNode: pause(someBusy(), for: 1500..<7000)
        case .pauseLeader:
            guard let leader = someLeader() else { return }
            // Mostly cut off as well: it learns of nothing but what time it is when it goes on.
            if draw(0..<4) > 0 { cut(isSymmetric: true) { from, _ in from == leader } }
            pause(leader, for: 800..<1900)
            quietUntil = now + 2000 * millisecond
        case .pauseLeaderWithFriend:
            guard let leader = someLeader() else { return }
            let friend = someBusy()
            cut(isSymmetric: true) { from, to in
                (from == leader || from == friend) && to != leader && to != friend
            }
            pause(leader, for: 1400..<1950)
            quietUntil = now + 3500 * millisecond
        case .pauseAndMute: trap = .pauseAndMute(someBusy())
        case .crashAtCreation: trap = .crashAtCreation
        case .pauseLong: pause(someLeader() ?? someAgent(), for: 1500..<7000)
        case .transfer:
            guard let leader = someLeader(), agents[leader].busyUntil <= now else { return }
            let target = agents[someAgent()].member
            try? agents[leader].raft?.transferLeadership(to: target, now: agents[leader].now)
            agents[leader].drain()
        case .changeVoters: changeVoters()
        case .starveAgent:
            let number = draw(0..<2) == 0 ? someLeader() ?? someAgent() : someAgent()
            let period = Int64(draw(50..<600)) * millisecond
            agents[number].starvation = SimulatedAgent.Starvation(
                until: now + Int64(draw(500..<6000)) * millisecond,
                period: period,
                share: period * Int64(draw(3..<40)) / 100
            )
        case .revokeNode: revokeNode()
        }
    }

    /// One node in a run, of four or more: the others must do without it, for ever.
    private func revokeNode() {
        guard revoked == nil, agents.count >= 4 else { return }
        revoked = draw(0..<3) == 0 ? someLeader() ?? someBusy() : someBusy()
    }

    /// What an administrator does who shuts a node out: waits until the voters can do without it, asks the leader, and asks again until it
    /// is done.
    func shutOut(at agent: SimulatedAgent) {
        guard let revoked, let raft = agent.raft, raft.isLeader, let liveness = agent.liveness,
            liveness.term == raft.term, !agent.machine.state.isRevoked(agents[revoked].identity)
        else { return }
        let others = raft.membership.voters.filter { id in
            let other = agents[Int(id.rawValue) - 1]
            let isSilent = agent.now - freshness > liveness.lastContact(with: other.node)
            return other.number != revoked && (other.number == agent.number || !isSilent)
        }
        guard !raft.membership.isJoint, others.count > raft.membership.voters.count / 2 else { return }
        agent.excluded = agents[revoked].member
        let subject = Revocation.Subject.identity(agents[revoked].identity)
        agent.propose(.revoke(Revocation(subject, by: Self.user, time: agent.wall)), as: "revoke \(revoked)")
    }

    private func crash(_ number: Int, losesPower: Bool, down: Range<Int>) {
        guard agents[number].isUp else { return }
        statistics.crashes += 1
        agents[number].crash(losesPower: losesPower)
        schedule(.restart(number), after: Int64(draw(down)) * millisecond)
    }

    /// The agent has just asked for authority.
    func noteAsked(_ number: Int) {
        guard trap == .pauseAndMute(number), now < faultsEnd else { return }
        trap = nil
        cut(isSymmetric: false) { from, _ in from == number }
        pause(number, for: 600..<1950)
        quietUntil = now + 3500 * millisecond
    }

    /// The agent has just begun a container.
    func noteCreated(on number: Int) {
        guard trap == .crashAtCreation, now < faultsEnd else { return }
        trap = nil
        schedule(.powerLoss(number), after: Int64(draw(0..<40)) * millisecond)
    }

    func losePower(_ number: Int) { crash(number, losesPower: true, down: 2600..<6000) }

    private func pause(_ number: Int, for time: Range<Int>) {
        agents[number].busyUntil = max(agents[number].busyUntil, now + Int64(draw(time)) * millisecond)
    }

    /// Cuts the links that the condition names, and those the other way.
    private func cut(isSymmetric: Bool, _ isCut: (Int, Int) -> Bool) {
        cut = []
        for from in agents.indices {
            for to in agents.indices where from != to && isCut(from, to) {
                cut.insert([from, to])
                if isSymmetric { cut.insert([to, from]) }
            }
        }
    }

    /// A learner becomes a voter, or a voter a learner, or both.
    private func changeVoters() {
        guard let number = someLeader(), agents[number].busyUntil <= now, let raft = agents[number].raft,
            agents.count > 3
        else { return }
        let membership = raft.membership
        var steps: [MembershipChange.Step] = []
        if let learner = membership.learners.first(where: { Int($0.rawValue) - 1 != revoked }) {
            steps.append(.voter(learner))
        }
        if membership.voters.count > 3 || !steps.isEmpty {
            steps.append(.learner(membership.voters[draw(0..<membership.voters.count)]))
        }
        guard !steps.isEmpty else { return }
        _ = try? agents[number].raft?.changeMembership(MembershipChange(steps), now: agents[number].now)
        agents[number].drain()
    }

    // MARK: After the faults

    func heal() {
        (cut, trap) = ([], nil)
        for agent in agents {
            agent.busyUntil = min(agent.busyUntil, now + millisecond)
            agent.starvation = nil
            agent.start()
        }
    }

    /// Whether every job has ended, no container is left, all agents are where the one leader is, and as many vote as should.
    var isSettled: Bool {
        let leaders = agents.filter { $0.raft?.isLeader == true && $0.number != revoked }
        guard leaders.count == 1, let leader = leaders.first, let commit = leader.raft?.commitIndex,
            clients.allSatisfy({ $0.pending == nil }), leader.machine.state.liveJobCount == 0
        else { return false }
        guard let membership = leader.raft?.membership, !membership.isJoint,
            membership.voters.count == VoterPlan.wantedCount(ofStable: agents.count - (revoked == nil ? 0 : 1))
        else { return false }
        if let revoked, !leader.machine.state.isRevoked(agents[revoked].identity) { return false }
        return agents.allSatisfy { agent in
            if agent.number == revoked {
                return agent.containers.allSatisfy(\.isGone) && !membership.isVoter(agent.member)
            }
            return agent.isUp && agent.containers.isEmpty && agent.machine.applied == commit
        }
    }

    var standstill: String {
        let lines = agents.map { agent in
            guard let raft = agent.raft else { return "\(agent.number): down" }
            return
                "\(agent.number): \(raft.isLeader ? "leader" : "-") term \(raft.term) last \(raft.lastIndex) commit \(raft.commitIndex)"
                + " applied \(agent.machine.applied) containers \(agent.containers.count)"
                + " voters \(raft.membership.voters)\(agent.number == revoked ? " revoked" : "")"
        }
        let jobs =
            agents.first { $0.isUp }?.machine.state.liveJobs.map { "\($0.id) \($0.state.rawValue): \($0.message)" }
            ?? []
        let open = clients.compactMap { $0.pending.map { "\($0.key) \($0.operation)" } }
        return (lines + jobs + open).joined(separator: "; ")
    }
}

extension ClusterState {
    /// Whether a node's identity is shut out.
    func isRevoked(_ identity: String) -> Bool { revocations.contains { $0.subject == .identity(identity) } }
}
