package import ClusterModel

/// A member of the Raft group, as its leader knows it.
package struct VoterMember: Sendable, Equatable {
    /// Whether it can be counted on, on the leader's own clock.
    package enum Standing: Sendable, Equatable {
        /// Has answered without a break for so long.
        case live(Duration)
        /// Has not answered for so long.
        case silent(Duration)
        /// Left the cluster, or was removed by an administrator.
        case left
        /// Its certificate was revoked, or is about to be: nobody listens to it any more.
        case shutOut

        var isLive: Bool { if case .live = self { true } else { false } }
    }

    package var node: NodeID
    /// Its number in the Raft group.
    package var member: UInt64
    package var site: SiteID
    package var role: NodeRole
    /// Whether its vote counts; otherwise it is a learner.
    package var isVoter: Bool
    package var standing: Standing
    /// Whether its log is close enough to the leader's that its vote would count at once.
    package var isCaughtUp: Bool
    /// Whether one that left or is shut out still answers: until its vote is taken away, that vote is needed and counts.
    package var isAnswering: Bool
    /// Whether its node takes a vote at all.
    package var mayVote: Bool

    /// Takes the values as they are.
    package init(
        node: NodeID,
        member: UInt64,
        site: SiteID,
        role: NodeRole,
        isVoter: Bool,
        standing: Standing,
        isCaughtUp: Bool = true,
        isAnswering: Bool = false,
        mayVote: Bool = true
    ) {
        self.node = node
        self.member = member
        self.site = site
        self.role = role
        self.isVoter = isVoter
        self.standing = standing
        self.isCaughtUp = isCaughtUp
        self.isAnswering = isAnswering
        self.mayVote = mayVote
    }
}

/// One change of the Raft membership.
package enum VoterStep: Sendable, Equatable {
    /// Learners become voters, all in one change.
    case promote([UInt64])
    /// Voters become learners, all in one change.
    case demote([UInt64])
    /// A learner is no member any more.
    case remove(UInt64)
}

/// What should happen to the membership next, and why.
package struct VoterAdvice: Sendable, Equatable {
    /// nil: nothing now.
    package var step: VoterStep?
    /// One sentence for the audit and for `cluster voters`.
    package var reason: String
}

/// Decides who votes: as many as the cluster can use, spread over sites, gateways first, and never because of a flap.
///
/// One step at a time, asked anew after each: what is advised depends only on what is there now, so a new leader goes on where the old one
/// stopped. No step leaves fewer live voters than a quorum of the voters that there are after it. An odd number of voters becomes the next odd
/// number in one change: of two voters either one's loss would stop the cluster, and four can spare no more than three. Only the loss of a voter, or an
/// exchange, makes the number even for a while.
package struct VoterPlan: Sendable, Equatable {
    /// A member is counted on when it has answered for so long without a break.
    package var settle: Duration
    /// A voter that is silent for so long is replaced.
    package var replaceAfter: Duration

    /// The defaults are 60 s and 5 min.
    package init(settle: Duration = .seconds(60), replaceAfter: Duration = .seconds(300)) {
        (self.settle, self.replaceAfter) = (settle, replaceAfter)
    }

    /// How many of so many members that can be counted on should vote: 1, 3 or 5.
    ///
    /// Never an even number: of two voters both must answer, so the second adds a machine that can stop the cluster and none that can be
    /// spared; four can spare one, as three can. Five can spare two; more only make every write wait for more disks.
    package static func wantedCount(ofStable count: Int) -> Int { count >= 5 ? 5 : count >= 3 ? 3 : 1 }

    /// The least count of voters that can decide.
    package static func quorum(of voters: Int) -> Int { voters / 2 + 1 }

    /// What to do next; ask only when no change of the membership is under way.
    ///
    /// - Parameters:
    ///   - members: voters and learners of the group; numbers differ.
    ///   - leader: who asks. It is live, whatever `members` says, and keeps its vote: whoever wants another leader
    ///     transfers leadership first.
    /// - Returns: a step, or why there is none.
    package func next(_ members: [VoterMember], leader: UInt64) -> VoterAdvice {
        let members = members.sorted { $0.member < $1.member }
        let voters = members.filter(\.isVoter)
        let live = voters.count { isLive($0, leader) }
        guard live >= Self.quorum(of: voters.count) else {
            return VoterAdvice(reason: "Only \(live) of \(voters.count) voters answer; nothing can be changed safely.")
        }
        let target = target(members, leader: leader)
        return removal(members, leader) ?? replacement(voters, leader) ?? promotion(members, target, leader)
            ?? demotion(members, target, leader) ?? VoterAdvice(reason: rest(members, voters, target, leader))
    }

    // MARK: Who should vote

    private func isLive(_ member: VoterMember, _ leader: UInt64) -> Bool {
        member.member == leader || member.standing.isLive
            || (member.standing == .left || member.standing == .shutOut) && member.isAnswering
    }

    /// Whether a member can be counted on.
    ///
    /// A voter stays so until it is to be replaced: silence for a moment changes nothing.
    private func isStable(_ member: VoterMember, _ leader: UInt64) -> Bool {
        if member.member == leader { return true }
        return switch member.standing {
        case .live(let time): member.isVoter || time >= settle
        case .silent(let time): member.isVoter && time < replaceAfter
        case .left, .shutOut: false
        }
    }

    /// The members that should vote: the leader, then each in turn from the site with the fewest so far; there gateways, then those that
    /// vote already.
    private func target(_ members: [VoterMember], leader: UInt64) -> Set<UInt64> {
        var open = members.filter { isStable($0, leader) && ($0.mayVote || $0.member == leader) }
        var chosen: Set<UInt64> = []
        var sites: [SiteID: Int] = [:]
        let count = Self.wantedCount(ofStable: open.count)
        while chosen.count < count {
            let best = open.indices.min { left, right in
                key(open[left], sites, leader) < key(open[right], sites, leader)
            }
            guard let best else { break }
            let member = open.remove(at: best)
            chosen.insert(member.member)
            sites[member.site, default: 0] += 1
        }
        return chosen
    }

    private func key(_ member: VoterMember, _ sites: [SiteID: Int], _ leader: UInt64) -> (Int, Int, Int, Int, UInt64) {
        (
            member.member == leader ? 0 : 1,
            sites[member.site] ?? 0,
            member.role == .gateway ? 0 : 1,
            member.isVoter ? 0 : 1,
            member.member
        )
    }

    // MARK: The steps, in the order in which they are asked for

    /// Whoever left is no member any more; first it loses its vote.
    private func removal(_ members: [VoterMember], _ leader: UInt64) -> VoterAdvice? {
        let gone = members.filter { $0.standing == .left && $0.member != leader }
        if let learner = gone.first(where: { !$0.isVoter }) {
            return VoterAdvice(step: .remove(learner.member), reason: "Node \(learner.node) left the cluster.")
        }
        return gone.first.flatMap {
            demotion(of: $0, members.filter(\.isVoter), leader, because: "it left the cluster")
        }
    }

    /// A voter that is silent for good loses its vote before another gets one: it adds to the quorum and not to the votes.
    private func replacement(_ voters: [VoterMember], _ leader: UInt64) -> VoterAdvice? {
        let dead = voters.first {
            !isStable($0, leader) && (!isLive($0, leader) || $0.standing == .shutOut) && $0.member != leader
        }
        return dead.flatMap {
            switch $0.standing {
            case .silent(let time): demotion(of: $0, voters, leader, because: "it has not answered for \(time.text)")
            case .shutOut: demotion(of: $0, voters, leader, because: "its certificate is revoked")
            case .live, .left: nil
            }
        }
    }

    private func promotion(_ members: [VoterMember], _ target: Set<UInt64>, _ leader: UInt64) -> VoterAdvice? {
        let voters = members.filter(\.isVoter)
        // One more than wanted at most, while a better one takes the place of another.
        guard voters.count <= target.count else { return nil }
        let waiting = members.filter {
            target.contains($0.member) && !$0.isVoter && $0.standing.isLive && $0.isCaughtUp
        }
        let isGrowing = voters.count < target.count
        // From an odd number to the next, or from an even one to the odd one above; one more for a while where one takes another's place.
        let count = isGrowing && !voters.count.isMultiple(of: 2) ? 2 : 1
        guard waiting.count >= count else { return nil }
        let chosen = waiting.prefix(count)
        let live = voters.count { isLive($0, leader) } + count
        guard live >= Self.quorum(of: voters.count + count) else { return nil }
        // With all places taken it is an exchange, which is no remedy for a silence that may end.
        guard isGrowing || live == voters.count + 1 else { return nil }
        let who = Self.names(Array(chosen))
        let verb = count == 1 ? "becomes a voter" : "become voters"
        let why =
            isGrowing
            ? "the cluster can use \(target.count) voters and has \(voters.count)"
            : "it spreads the voters better over sites, or is a gateway"
        return VoterAdvice(step: .promote(chosen.map(\.member)), reason: "\(who) \(verb): \(why).")
    }

    /// Takes the vote of one that is not wanted, once another has its place and all answer.
    private func demotion(_ members: [VoterMember], _ target: Set<UInt64>, _ leader: UInt64) -> VoterAdvice? {
        let voters = members.filter(\.isVoter)
        // Who answers may be counted on soon. A leader that has just begun counts on no learner yet, which is no reason to leave all to
        // one disk until it does.
        let hopeful = members.count {
            (isStable($0, leader) || isLive($0, leader)) && ($0.mayVote || $0.member == leader)
        }
        guard voters.count > Self.wantedCount(ofStable: hopeful) else { return nil }
        let surplus = voters.filter { !target.contains($0.member) && $0.member != leader }
        guard let chosen = surplus.first(where: { !isLive($0, leader) }) ?? surplus.last else { return nil }
        // No more than there must be, and none that answers while another does not.
        let allAnswer = voters.allSatisfy { isLive($0, leader) }
        guard voters.count > target.count, !isLive(chosen, leader) || allAnswer else { return nil }
        let why = "the cluster can use \(target.count) voters"
        if allAnswer, voters.count.isMultiple(of: 2) == false, surplus.count >= 2, voters.count - 2 >= target.count {
            return demotion(of: Array(surplus.suffix(2)), voters, leader, because: why)
        }
        return demotion(of: chosen, voters, leader, because: why)
    }

    private func demotion(
        of member: VoterMember,
        _ voters: [VoterMember],
        _ leader: UInt64,
        because why: String
    ) -> VoterAdvice? { demotion(of: [member], voters, leader, because: why) }

    private func demotion(
        of members: [VoterMember],
        _ voters: [VoterMember],
        _ leader: UInt64,
        because why: String
    ) -> VoterAdvice? {
        let left = voters.filter { !members.map(\.member).contains($0.member) }
        let live = left.count { isLive($0, leader) }
        guard !left.isEmpty, live >= Self.quorum(of: left.count) else { return nil }
        let verb = members.count == 1 ? "does not vote" : "do not vote"
        return VoterAdvice(
            step: .demote(members.map(\.member)),
            reason: "\(Self.names(members)) \(verb) any more: \(why)."
        )
    }

    // MARK: Words

    /// One node or two.
    private static func names(_ members: [VoterMember]) -> String {
        (members.count == 1 ? "Node " : "Nodes ") + members.map(\.node.rawValue).joined(separator: " and ")
    }

    private func rest(
        _ members: [VoterMember],
        _ voters: [VoterMember],
        _ target: Set<UInt64>,
        _ leader: UInt64
    ) -> String {
        let silent = voters.filter { !isLive($0, leader) }
        if let first = silent.first {
            return "Node \(first.node) does not answer; it is replaced when that has lasted \(replaceAfter.text)."
        }
        if let behind = members.first(where: { target.contains($0.member) && !$0.isVoter && !$0.isCaughtUp }) {
            return "Node \(behind.node) becomes a voter as soon as its log has caught up."
        }
        let settling = members.count { !$0.isVoter && $0.standing.isLive && !isStable($0, leader) }
        if settling > 0 {
            let who = settling == 1 ? "One node has" : "\(settling) nodes have"
            return "\(who) answered for less than \(settle.text); who does for longer may vote."
        }
        return voters.count == 1
            ? "One voter is right for this cluster." : "\(voters.count) voters are right for this cluster."
    }
}
