import ClusterModel
import ClusterState
import Placement
import Raft

/// What the agent does while it leads.
extension SimulatedAgent {
    /// Declares silent nodes lost, lets the placement choose nodes for jobs, and the voter plan who votes.
    func lead() {
        guard let raft, raft.isLeader, let liveness, liveness.term == raft.term else { return }
        let suspects = suspects(by: liveness)
        for record in machine.state.nodes where record.state.isLive && mayDeclareLost(record.node, by: liveness) {
            world.statistics.lost += 1
            proposeHere(
                .nodeLost(node: record.node, reason: "It did not answer.", time: wall),
                as: "lost \(record.node)"
            )
        }
        if bugs.contains(.takesJobsOfSilentNode) { takeJobs(of: suspects) }
        for command in Placement.plan(machine.state, suspects: suspects, now: wall) {
            switch command {
            case .assign(let job, _, _, _): proposeHere(command, as: "\(job) assign")
            case .unassign(let job, _, _): proposeHere(command, as: "\(job) unassign")
            case .waiting(let job, _, _): proposeHere(command, as: "\(job) waiting")
            case .passOver(let job, _, _, _): proposeHere(command, as: "\(job) passOver")
            default: world.checkers.report("placement: proposes \(command)")
            }
        }
        adjustVoters(liveness)
    }

    /// Nodes that have not been heard from for a moment: nothing new is placed there.
    private func suspects(by liveness: NodeLiveness) -> Set<NodeID> {
        Set(machine.state.nodes.map(\.node).filter { now - world.freshness > liveness.lastContact(with: $0) })
    }

    private func takeJobs(of silent: Set<NodeID>) {
        for job in machine.state.liveJobs where job.state.mayHaveContainer && job.node.map(silent.contains) ?? false {
            let command = Command.exited(
                job: job.id,
                incarnation: job.incarnation,
                exit: .lost,
                consumed: nil,
                time: wall
            )
            proposeHere(command, as: "\(job.id) \(job.incarnation) taken")
        }
    }

    private func mayDeclareLost(_ node: NodeID, by liveness: NodeLiveness) -> Bool {
        if bugs.contains(.declaresLostEarly) {
            return now - world.fencing.partitionTimeout / 2 >= liveness.lastContact(with: node)
        }
        return liveness.mayBeDeclaredLost(node, at: now)
    }

    /// What a leader concludes holds in its reign only, so it is never sent on to another leader.
    private func proposeHere(_ command: Command, as what: String) {
        guard raft?.isLeader == true else { return }
        propose(command, as: what)
    }

    // MARK: Voters

    /// Takes note that a node asks, for the voter plan: since when it does so without a break.
    func noteAnswering(_ node: NodeID) {
        let last = liveness?.lastContact(with: node) ?? now
        if answeringSince[node] == nil || now - world.freshness > last { answeringSince[node] = now }
    }

    private func adjustVoters(_ liveness: NodeLiveness) {
        guard let raft, raft.isMembershipCommitted, !raft.membership.isJoint else { return }
        let membership = raft.membership
        let matches = Dictionary(uniqueKeysWithValues: raft.peers.map { ($0.id, $0.match) })
        var silent: Set<RaftMemberID> = []
        let members = membership.members.map { id in
            let other = world.agents[Int(id.rawValue) - 1]
            let silence = liveness.lastContact(with: other.node).duration(to: now)
            let isShutOut = id == excluded || machine.state.isRevoked(other.identity)
            if silence > world.freshness || isShutOut, id != member { silent.insert(id) }
            let standing: VoterMember.Standing =
                isShutOut
                ? .shutOut
                : silence > world.freshness
                    ? .silent(silence) : .live((answeringSince[other.node] ?? now).duration(to: now))
            return VoterMember(
                node: other.node,
                member: id.rawValue,
                site: SiteID(rawValue: "site"),
                role: .worker,
                isVoter: membership.isVoter(id),
                standing: bugs.contains(.choosesVotersBlindly) ? .live(.seconds(60)) : standing,
                isCaughtUp: matches[id].map { $0 + 20 >= raft.lastIndex } ?? true
            )
        }
        let steps: [MembershipChange.Step]
        switch world.voterPlan.next(members, leader: member.rawValue).step {
        case .promote(let ids)?: steps = ids.map { .voter(RaftMemberID(rawValue: $0)) }
        case .demote(let ids)?: steps = ids.map { .learner(RaftMemberID(rawValue: $0)) }
        case .remove(let id)?: steps = [.remove(RaftMemberID(rawValue: id))]
        case nil: return
        }
        if (try? self.raft?.changeMembership(MembershipChange(steps), now: now)) != nil {
            world.statistics.voterChanges += 1
            if let membership = self.raft?.membership {
                world.checkers.noteVoters(membership, silent: silent, by: number)
            }
        }
    }
}
