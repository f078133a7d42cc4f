import ClusterModel

@testable import Raft

/// What clients, administrators and bad luck do.
extension Simulation {
    func draw(_ range: Range<Int>) -> Int { Int.random(in: range, using: &generator) }

    private func someLeader() -> Int? {
        let leaders = members.indices.filter { members[$0].node?.isLeader == true }
        return leaders.isEmpty ? nil : leaders[draw(0..<leaders.count)]
    }

    func clientStep() {
        let number = draw(0..<8) == 0 ? draw(0..<members.count) : someLeader() ?? draw(0..<members.count)
        guard members[number].busyUntil <= now else { return }
        nextContext += 1
        let (context, time, floor) = (nextContext, localTime(number), checkers.floor)
        switch draw(0..<4) {
        case 0, 1:
            var payload: [UInt8] = []
            for shift in 0..<8 { payload.append(UInt8(truncatingIfNeeded: context >> UInt64(8 * shift))) }
            payload += [UInt8](repeating: 1, count: draw(0..<64))
            guard let receipt = try? members[number].node?.propose([payload], now: time),
                case .appended(let term, let range) = receipt
            else { return }
            members[number].proposals[range.lowerBound] = (term, floor)
        default:
            let mode: ReadMode = context % 2 == 0 ? .lease : .quorum
            guard members[number].node != nil else { return }
            members[number].reads[context] = (floor, mode)
            do throws(ReadError) {
                try members[number].node?.requestRead(context, mode: mode, now: time)
            } catch {
                members[number].reads[context] = nil
            }
        }
        drain(number)
    }

    /// Cuts a member off, in one direction or both.
    private func isolate(_ number: Int, isDeaf: Bool = true, isMute: Bool = true) {
        for other in members.indices where other != number {
            if isMute { cut.insert([number, other]) }
            if isDeaf { cut.insert([other, number]) }
        }
    }

    /// The first steps of what the theme is after; false when there is nobody to play with.
    private func setTrap() -> Bool {
        guard profile.theme != .mixed, let leader = someLeader(), leader < 3 else { return false }
        let others = (0..<3).filter { $0 != leader }
        let other = others[draw(0..<2)]
        cut = []
        switch profile.theme {
        case .mixed: return false
        case .shortReigns:
            // A leader that can tell nobody, or not for long; then it dies, or comes back.
            if draw(0..<2) == 0 { isolate(leader, isDeaf: false) } else { cut.insert([leader, other]) }
            clientStep()
            schedule(.spring(leader: leader, other: other), after: Int64(draw(1..<60)) * 1_000_000)
        case .slowDisks: schedule(.spring(leader: leader, other: other), after: Int64(draw(1..<20)) * 1_000_000)
        case .handOvers:
            let (time, target) = (localTime(leader), members[other].id)
            try? members[leader].node?.transferLeadership(to: target, now: time)
            drain(leader)
            isolate(leader, isMute: false)
            statistics.transfers += 1
        case .jointHalves:
            // The leader reaches only those who are to come, and the others go on without it.
            for old in others { cut.formUnion([[leader, old], [old, leader]]) }
            for old in others { for new in 3..<6 { cut.formUnion([[new, old], [old, new]]) } }
            let steps = (3..<6).map { MembershipChange.Step.voter(members[$0].id) }
            let whole = MembershipChange(steps + others.map { .remove(members[$0].id) })
            // All at once, or one after the other, of which all but the first must be refused.
            let changes = draw(0..<2) == 0 ? [whole] : steps.map { MembershipChange([$0]) }
            let time = localTime(leader)
            for change in changes { _ = try? members[leader].node?.changeMembership(change, now: time) }
            drain(leader)
            statistics.membershipChanges += 1
        case .learnerFriends:
            // All without a vote will be on the leader's side.
            let learners = (3..<6).map { MembershipChange.Step.learner(members[$0].id) }
            let time = localTime(leader)
            _ = try? members[leader].node?.changeMembership(MembershipChange(learners), now: time)
            drain(leader)
            statistics.membershipChanges += 1
            schedule(.spring(leader: leader, other: other), after: Int64(draw(50..<400)) * 1_000_000)
        case .quickRestarts:
            cut = [[leader, other], [other, leader]]
            schedule(.spring(leader: leader, other: other), after: Int64(draw(300..<700)) * 1_000_000)
        }
        return true
    }

    /// The second step.
    func springTrap(leader: Int, other: Int) {
        let third = 3 - leader - other
        switch profile.theme {
        case .mixed, .handOvers, .jointHalves: break
        case .learnerFriends:
            for voter in [other, third] {
                for friend in members.indices where friend != other && friend != third {
                    cut.formUnion([[voter, friend], [friend, voter]])
                }
            }
            quietUntil = now + 1_500_000_000
        case .shortReigns:
            crash(leader)
            schedule(.restart(leader), after: Int64(draw(5..<200)) * 1_000_000)
            if draw(0..<2) == 0 { cut = [] }
        case .slowDisks:
            crash(leader)
            schedule(.restart(leader), after: Int64(draw(2..<50)) * 1_000_000)
            cut = []
            isolate(other)
        case .quickRestarts:
            crash(third)
            schedule(.restart(third), after: 2_000_000)
            isolate(leader)
        }
    }

    func inflictFault() {
        if draw(0..<4) > 0, setTrap() { return }
        switch draw(0..<10) {
        case 0, 1:
            let number = draw(0..<2) == 0 ? someLeader() ?? draw(0..<members.count) : draw(0..<members.count)
            crash(number)
            schedule(.restart(number), after: Int64(draw(1..<1200)) * 1_000_000)
        case 2:
            // Everybody at once, as when the power fails.
            for number in members.indices {
                crash(number)
                schedule(.restart(number), after: Int64(draw(1..<300)) * 1_000_000)
            }
        case 3, 4: partition()
        case 5: cut = []
        case 6:
            let number = draw(0..<2) == 0 ? someLeader() ?? draw(0..<members.count) : draw(0..<members.count)
            members[number].busyUntil = max(members[number].busyUntil, now + Int64(draw(50..<900)) * 1_000_000)
        case 7, 8: if profile.changesMembership { changeMembership() }
        default: if profile.transfers { transfer() }
        }
    }

    /// Halves, one alone, or single links, in one direction or both.
    private func partition() {
        cut = []
        let isSymmetric = draw(0..<3) > 0
        switch draw(0..<3) {
        case 0:
            let side = members.indices.map { _ in draw(0..<2) }
            for from in members.indices {
                for to in members.indices where side[from] != side[to] && (isSymmetric || side[from] == 0) {
                    cut.insert([from, to])
                }
            }
        case 1:
            let alone = someLeader() ?? draw(0..<members.count)
            for other in members.indices where other != alone {
                cut.insert([alone, other])
                if isSymmetric { cut.insert([other, alone]) }
            }
        default:
            for from in members.indices {
                for to in members.indices where from != to && draw(0..<4) == 0 { cut.insert([from, to]) }
            }
        }
    }

    private func changeMembership() {
        guard let number = someLeader(), members[number].busyUntil <= now, let node = members[number].node else {
            return
        }
        let change: MembershipChange
        if node.membership.isJoint, draw(0..<2) == 0 {
            change = .leave
        } else {
            let steps = (0..<(1 + draw(0..<3))).map { _ -> MembershipChange.Step in
                let id = members[draw(0..<members.count)].id
                switch draw(0..<5) {
                case 0: return .remove(id)
                case 1: return .learner(id)
                default: return .voter(id)
                }
            }
            let isJoint = draw(0..<3) == 0
            change = MembershipChange(
                steps,
                transition: isJoint ? .joint(leavesAutomatically: draw(0..<2) == 0) : .automatic
            )
        }
        let time = localTime(number)
        guard (try? members[number].node?.changeMembership(change, now: time)) != nil else { return }
        statistics.membershipChanges += 1
        // Often another at once: it must be refused.
        if draw(0..<2) == 0 {
            let second = MembershipChange([
                draw(0..<2) == 0
                    ? .remove(members[draw(0..<members.count)].id) : .voter(members[draw(0..<members.count)].id)
            ])
            let time = localTime(number)
            _ = try? members[number].node?.changeMembership(second, now: time)
        }
        drain(number)
    }

    private func transfer() {
        guard let number = someLeader(), members[number].busyUntil <= now else { return }
        let target = members[draw(0..<members.count)].id
        let time = localTime(number)
        guard (try? members[number].node?.transferLeadership(to: target, now: time)) != nil else { return }
        statistics.transfers += 1
        drain(number)
    }

    // MARK: After the faults

    func heal() {
        cut = []
        for number in members.indices {
            members[number].busyUntil = min(members[number].busyUntil, now + 1_000_000)
            start(number)
        }
    }

    /// Whether one leader leads, and everybody in its membership has applied what it has, on disk.
    var hasConverged: Bool {
        let leaders = members.indices.filter { members[$0].node?.isLeader == true }
        guard leaders.count == 1, let leader = members[leaders[0]].node, statistics.acknowledged > 0 || bugs != [],
            leader.commitIndex >= UInt64(checkers.committed.count)
        else { return false }
        if leader.membership.isJoint, leader.isMembershipCommitted {
            let time = localTime(leaders[0])
            _ = try? members[leaders[0]].node?.changeMembership(.leave, now: time)
            drain(leaders[0])
            return false
        }
        return leader.membership.members.allSatisfy { id in
            let number = Int(id.rawValue) - 1
            guard let node = members[number].node else { return false }
            return node.term == leader.term && node.membership == leader.membership
                && node.commitIndex + 3 >= leader.commitIndex
                && members[number].machine.applied + 3 >= leader.commitIndex
        }
    }

    func describeStandstill() -> String {
        members.indices.map { number in
            guard let node = members[number].node else { return "\(number + 1): down" }
            return
                "\(number + 1): \(node.isLeader ? "leader" : "-") term \(node.term) last \(node.lastIndex) commit \(node.commitIndex)"
                + " applied \(members[number].machine.applied) voters \(node.membership.voters)&&\(node.membership.outgoingVoters)"
        }.joined(separator: "; ")
    }
}
