import ClusterModel
import Placement
import Testing

private func member(
    _ number: UInt64,
    _ standing: VoterMember.Standing = .live(.seconds(600)),
    site: String = "north",
    role: NodeRole = .worker,
    isVoter: Bool = false,
    isCaughtUp: Bool = true
) -> VoterMember {
    VoterMember(
        node: NodeID(rawValue: "node\(number)"),
        member: number,
        site: SiteID(rawValue: site),
        role: role,
        isVoter: isVoter,
        standing: standing,
        isCaughtUp: isCaughtUp
    )
}

extension [VoterMember] {
    fileprivate var voters: [VoterMember] { filter(\.isVoter) }

    fileprivate mutating func take(_ step: VoterStep) {
        switch step {
        case .promote(let numbers): for number in numbers { change(number) { $0.isVoter = true } }
        case .demote(let numbers): for number in numbers { change(number) { $0.isVoter = false } }
        case .remove(let number): removeAll { $0.member == number }
        }
    }

    fileprivate mutating func change(_ number: UInt64, _ body: (inout VoterMember) -> Void) {
        for index in indices where self[index].member == number { body(&self[index]) }
    }

    /// Follows the advice until there is none; the steps.
    fileprivate mutating func settle(leader: UInt64 = 1, plan: VoterPlan = VoterPlan()) -> [VoterStep] {
        var steps: [VoterStep] = []
        while let step = plan.next(self, leader: leader).step, steps.count < 200 {
            take(step)
            steps.append(step)
        }
        return steps
    }
}

struct VoterPlanTests {
    /// With two voters the one that leaves is half of the quorum that lets it go.
    @Test func oneOfTwoThatLeavesKeepsItsVoteUntilItIsTaken() {
        var members = [member(1, isVoter: true), member(2, .left, isVoter: true), member(3, .live(.seconds(5)))]
        #expect(VoterPlan().next(members, leader: 1).step == nil)
        members.change(2) { $0.isAnswering = true }
        #expect(members.settle() == [.demote([2]), .remove(2)])
        #expect(members.voters.map(\.member) == [1])
    }

    @Test func aClusterGrowsToThreeAndFive() {
        for (count, wanted) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (64, 5)] {
            var members = (1...UInt64(count)).map { member($0, isVoter: $0 == 1) }
            _ = members.settle()
            #expect(members.voters.count == wanted, "\(count) members")
            #expect(members.voters.contains { $0.member == 1 })
        }
    }

    @Test func nobodyVotesBeforeHeHasSettled() {
        var members = [member(1, isVoter: true), member(2, .live(.seconds(59))), member(3, .live(.seconds(61)))]
        #expect(members.settle() == [])
        #expect(
            VoterPlan().next(members, leader: 1).reason
                == "One node has answered for less than 1 min; who does for longer may vote."
        )
        members.change(2) { $0.standing = .live(.seconds(60)) }
        #expect(members.settle() == [.promote([2, 3])])
    }

    @Test func nobodyVotesBeforeHisLogHasCaughtUp() {
        var members = [member(1, isVoter: true), member(2, isCaughtUp: false), member(3)]
        #expect(members.settle() == [])
        #expect(VoterPlan().next(members, leader: 1).reason.contains("node2 becomes a voter as soon as"))
    }

    @Test func oddNumbersOfVotersGrowAndShrinkByTwo() {
        var members = (1...5).map { member($0, isVoter: $0 == 1) }
        #expect(
            VoterPlan().next(members, leader: 1).reason
                == "Nodes node2 and node3 become voters: the cluster can use 5 voters and has 1."
        )
        #expect(members.settle() == [.promote([2, 3]), .promote([4, 5])])
        // Four are left that may vote.
        members.removeAll { $0.member == 5 }
        members.append(member(6, isVoter: true))
        members.change(6) { $0.mayVote = false }
        #expect(members.settle() == [.demote([4, 6])])
        // Of two that are not wanted the one that does not answer goes first.
        members = (1...3).map { member($0, isVoter: true) }
        members.change(2) { $0.mayVote = false }
        #expect(VoterPlan().next(members, leader: 1).step == .demote([2, 3]))
        members.change(3) { $0.standing = .silent(.seconds(10)) }
        #expect(members.settle() == [.demote([3]), .demote([2])])
    }

    @Test func whoWantsNoVoteKeepsNobodyFromIt() {
        var members = (1...4).map { member($0, isVoter: $0 == 1) }
        members.change(2) { $0.mayVote = false }
        #expect(members.settle() == [.promote([3, 4])])
    }

    @Test func aFlapChangesNothing() {
        var members = (1...6).map { member($0, isVoter: $0 <= 5) }
        for silence in [1, 60, 299] {
            members.change(3) { $0.standing = .silent(.seconds(silence)) }
            #expect(members.settle() == [])
        }
        members.change(3) { $0.standing = .live(.seconds(1)) }
        #expect(members.settle() == [])
    }

    @Test func aVoterThatIsSilentForLongIsReplaced() {
        var members = (1...6).map { member($0, isVoter: $0 <= 5) }
        members.change(3) { $0.standing = .silent(.seconds(300)) }
        #expect(
            VoterPlan().next(members, leader: 1).reason
                == "Node node3 does not vote any more: it has not answered for 5 min."
        )
        #expect(members.settle() == [.demote([3]), .promote([6])])
        // It comes back: it may listen.
        members.change(3) { $0.standing = .live(.seconds(1000)) }
        #expect(members.settle() == [])
    }

    @Test func whoIsShutOutLosesHisVoteAtOnceAndNeverGetsAnother() {
        var members = (1...6).map { member($0, isVoter: $0 <= 5) }
        members.change(3) { $0.standing = .shutOut }
        #expect(
            VoterPlan().next(members, leader: 1).reason
                == "Node node3 does not vote any more: its certificate is revoked."
        )
        #expect(members.settle() == [.demote([3]), .promote([6])])
        members.change(6) { $0.standing = .shutOut }
        #expect(members.settle() == [.demote([6]), .demote([5])])
        // As long as it answers, its vote counts for taking it away.
        var pair = [member(1, isVoter: true), member(2, isVoter: true)]
        pair.change(2) { ($0.standing, $0.isAnswering) = (.shutOut, true) }
        #expect(pair.settle() == [.demote([2])])
        var oneDead = [member(1, isVoter: true), member(2, isVoter: true), member(3, isVoter: true)]
        oneDead.change(2) { ($0.standing, $0.isAnswering) = (.shutOut, true) }
        oneDead.change(3) { $0.standing = .silent(.seconds(3)) }
        #expect(VoterPlan().next(oneDead, leader: 1).step == nil)
        // Not where the others could not decide without it: then only they can.
        var two = [member(1, isVoter: true), member(2, isVoter: true), member(3)]
        two.change(2) { $0.standing = .shutOut }
        two.change(3) { $0.standing = .shutOut }
        #expect(VoterPlan().next(two, leader: 1).step == nil)
    }

    @Test func aNewLeaderDoesNotShrinkTheVotersBeforeItHasHeardTheOthersForLong() {
        var members = (1...5).map { member($0, .live(.seconds(1)), isVoter: $0 <= 3) }
        members.change(3) { $0.standing = .left }
        // One voter would be right for two, but two others answer already.
        #expect(members.settle() == [.demote([3]), .remove(3)])
        for number in [4, 5] as [UInt64] { members.change(number) { $0.standing = .live(.seconds(60)) } }
        #expect(members.settle() == [.promote([4])])
        #expect(members.voters.map(\.member) == [1, 2, 4])
    }

    @Test func whoLeftIsRemoved() {
        var members = (1...5).map { member($0, isVoter: true) }
        members.change(4) { $0.standing = .left }
        #expect(members.settle() == [.demote([4]), .remove(4), .demote([5])])
        #expect(members.voters.map(\.member) == [1, 2, 3])
    }

    @Test func withoutAQuorumNothingIsTouched() {
        var members = (1...5).map { member($0, isVoter: true) }
        for number in [3, 4, 5] as [UInt64] { members.change(number) { $0.standing = .silent(.seconds(9000)) } }
        let advice = VoterPlan().next(members, leader: 1)
        #expect(advice.step == nil)
        #expect(advice.reason == "Only 2 of 5 voters answer; nothing can be changed safely.")
    }

    @Test func votersAreSpreadOverSitesGatewaysFirst() {
        var members = [
            member(1, isVoter: true), member(2), member(3), member(4, role: .gateway),
            member(5, site: "south"), member(6, site: "south", role: .gateway), member(7, site: "west"),
        ]
        _ = members.settle()
        #expect(Set(members.voters.map(\.member)) == [1, 4, 5, 6, 7])
    }

    @Test func aBetterPlacedMemberTakesThePlaceOfAnother() {
        var members = [member(1, isVoter: true), member(2, isVoter: true), member(3, isVoter: true)]
        members.append(member(4, site: "south"))
        #expect(members.settle() == [.promote([4]), .demote([3])])
        // But not while some voter is silent: it may be back in a moment.
        members.append(member(5, site: "west"))
        members.append(member(6, .silent(.seconds(20))))
        members.change(4) { $0.standing = .silent(.seconds(10)) }
        members.removeAll { $0.member == 3 }
        #expect(members.settle() == [])
    }

    @Test func theLeaderKeepsItsVote() {
        var members = [member(1, role: .gateway), member(2, isVoter: true)]
        #expect(members.settle(leader: 2) == [])
        members = [member(1), member(2, isVoter: true), member(3, isVoter: true)]
        members.removeAll { $0.member == 1 }
        #expect(members.settle(leader: 3) == [.demote([2])])
    }

    // MARK: Random histories

    private struct History {
        var generator: SeededGenerator
        var members: [VoterMember] = [member(1, isVoter: true)]
        var leader: UInt64 = 1
        var last: UInt64 = 1

        mutating func below(_ bound: Int) -> Int { Int(generator.next() % UInt64(bound)) }

        /// Time passes, and something may happen to somebody.
        mutating func happen(after seconds: Int) {
            for index in members.indices {
                switch members[index].standing {
                case .live(let time): members[index].standing = .live(time + .seconds(seconds))
                case .silent(let time): members[index].standing = .silent(time + .seconds(seconds))
                case .left, .shutOut: break
                }
            }
            let index = below(members.count)
            switch below(10) {
            case 0, 1:
                guard members.count < 12 else { break }
                last += 1
                members.append(
                    member(
                        last,
                        .live(.zero),
                        site: ["north", "south", "west"][below(3)],
                        role: below(3) == 0 ? .gateway : .worker,
                        isCaughtUp: below(3) > 0
                    )
                )
            case 2, 3: if members[index].standing != .left { members[index].standing = .silent(.zero) }
            case 4, 5, 6:
                for index in members.indices where members[index].standing != .left && below(2) == 0 {
                    if case .silent = members[index].standing { members[index].standing = .live(.zero) }
                }
            case 7:
                // Nobody can be removed without a leader.
                guard hasQuorum, members[index].member != leader, below(4) == 0 else { break }
                members[index].standing = .left
            default: for index in members.indices { members[index].isCaughtUp = below(4) > 0 || members[index].isVoter }
            }
            elect()
        }

        /// Some live voter leads, if there is a quorum; else nobody.
        mutating func elect() {
            let live = members.filter { $0.isVoter && $0.isLiveNow }
            if live.contains(where: { $0.member == leader }), below(10) > 0 { return }
            leader = live.isEmpty ? 0 : live[below(live.count)].member
        }

        var hasQuorum: Bool {
            members.count { $0.isVoter && $0.isLiveNow } >= VoterPlan.quorum(of: members.voters.count)
        }
    }

    @Test(arguments: UInt64(1)...200)
    func noHistoryLosesAQuorumByItsOwnDoing(seed: UInt64) {
        var history = History(generator: SeededGenerator(seed: seed))
        let plan = VoterPlan()
        var steps = 0
        for moment in 0..<400 {
            history.happen(after: 1 + history.below(90))
            guard history.hasQuorum, history.leader != 0 else { continue }
            let advice = plan.next(history.members, leader: history.leader)
            #expect(advice.reason.hasSuffix("."))
            guard let step = advice.step else { continue }
            steps += 1
            let count = history.members.voters.count
            if case .promote(let numbers) = step {
                for number in numbers {
                    let promoted = history.members.first { $0.member == number }
                    #expect(promoted?.isVoter == false && promoted?.isLiveNow == true && promoted?.isCaughtUp == true)
                }
                #expect(numbers.count == 1 || !count.isMultiple(of: 2))
                // Two voters are worse than one, so nobody grows to them.
                #expect(count != 1 || numbers.count == 2)
            }
            if case .remove(let number) = step {
                #expect(history.members.first { $0.member == number }?.isVoter == false)
            }
            if case .demote(let numbers) = step { #expect(!numbers.contains(history.leader)) }
            history.members.take(step)
            #expect(history.hasQuorum, "seed \(seed), moment \(moment): \(step) took the quorum away")
            #expect(history.members.voters.count <= 6)
        }
        #expect(steps > 0)

        // Calm: everybody is there for long.
        for index in history.members.indices {
            if history.members[index].standing != .left { history.members[index].standing = .live(.seconds(10_000)) }
            history.members[index].isCaughtUp = true
        }
        history.elect()
        if history.leader == 0 { history.leader = history.members.voters.first { $0.isLiveNow }?.member ?? 0 }
        guard history.hasQuorum, history.leader != 0 else { return }
        var members = history.members
        let taken = members.settle(leader: history.leader)
        #expect(taken.count <= 2 * history.members.count, "seed \(seed): does not come to rest: \(taken)")
        let stable = members.count { $0.isLiveNow }
        #expect(members.voters.count == VoterPlan.wantedCount(ofStable: stable), "seed \(seed): \(taken)")
        #expect(members.allSatisfy { $0.standing != .left })
        // Sites are as even as they can be, one more or less for the leader's own.
        let sites = Dictionary(grouping: members.voters, by: \.site).mapValues(\.count)
        let most = sites.values.max() ?? 0
        for (site, others) in Dictionary(grouping: members, by: \.site) where (sites[site] ?? 0) + 1 < most {
            #expect(!others.contains { !$0.isVoter }, "seed \(seed): \(site) has voters to give")
        }
    }

    /// A cluster at rest whose nodes stop answering now and then, never for `replaceAfter`.
    @Test(arguments: UInt64(1)...50)
    func shortSilencesNeverMoveAVote(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var members = (1...8).map { member($0, site: ["a", "b", "c"][Int($0 % 3)], isVoter: $0 == 1) }
        _ = members.settle()
        let before = members.voters
        #expect(before.count == 5)
        for _ in 0..<300 {
            let number = 2 + generator.next() % 7
            let seconds = Int64(generator.next() % 300)
            members.change(number) {
                $0.standing = generator.next() % 2 == 0 ? .silent(.seconds(seconds)) : .live(.seconds(seconds))
            }
            // A learner that settles may be promoted only where a vote is free: none is.
            let advice = VoterPlan().next(members, leader: 1)
            #expect(advice.step == nil, "seed \(seed): \(advice)")
        }
    }
}

extension VoterMember {
    fileprivate var isLiveNow: Bool { if case .live = standing { true } else { false } }
}
