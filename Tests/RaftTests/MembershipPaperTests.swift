import ClusterModel
import Testing

@testable import Raft

/// Sentences about members, reads and the hand-over: thesis, sections 3.10, 4.1 to 4.3, 6.4.
struct MembershipPaperTests {
    private func joined(_ numbers: UInt64...) -> Group {
        var group = Group(3)
        for number in numbers { group.add(id(number), PersistedState(founding: Membership())) }
        group.elect(1)
        return group
    }

    private func change(
        _ group: inout Group,
        _ steps: [MembershipChange.Step],
        _ transition: MembershipChange.Transition = .automatic
    ) throws {
        let now = group.now
        try group[1].changeMembership(MembershipChange(steps, transition: transition), now: now)
    }

    @Test func `4.1: a new membership is used from the moment it is added to the log`() throws {
        var group = joined(4)
        try change(&group, [.voter(id(4))])
        #expect(group[1].membership.voters.count == 4 && !group[1].isMembershipCommitted)
        group.settle()
        group.pass(.milliseconds(100))
        #expect(group[4].membership.voters.count == 4 && group[1].isMembershipCommitted)
    }

    @Test
    func `4.1: a change is refused while another is not committed, and before the leader has committed in its term`()
        throws
    {
        var group = joined(4, 5)
        try change(&group, [.voter(id(4))])
        #expect(throws: MembershipError.changeInProgress) { try change(&group, [.voter(id(5))]) }
        group.settle()
        try change(&group, [.voter(id(5))])
        var fresh = Group(3)
        fresh[1].campaign(.vote)
        _ = fresh.deliver(.voteResponse(kind: .vote, isGranted: true), from: 2, to: 1, term: 1)
        #expect(throws: MembershipError.changeInProgress) { try change(&fresh, [.voter(id(5))]) }
        #expect(throws: MembershipError.notLeader(nil)) { try fresh[2].changeMembership(.leave, now: fresh.now) }
    }

    @Test func `4.1: a membership that is truncated gives way to the one before`() throws {
        var group = joined(4)
        group.isolated = [id(1)]
        try change(&group, [.voter(id(4))])
        group.drain(1)
        group.elect(2)
        group.isolated = []
        group.pass(.milliseconds(500))
        #expect(group[1].membership.voters.count == 3 && group[1].leader == id(2))
    }

    @Test func `4.2.1: a learner receives the log and counts for nothing`() throws {
        var group = joined(4)
        try change(&group, [.learner(id(4))])
        group.settle()
        group.isolated = [id(2), id(3)]
        try group.propose("a", at: 1)
        group.settle()
        #expect(group[4].lastIndex == group[1].lastIndex && group.texts(at: 1) == [])
        group.isolated = [id(4)]
        group.pass(.milliseconds(200))
        #expect(group.texts(at: 1) == ["a"])
        group.isolated = [id(1), id(2), id(3)]
        let before = group[4].term
        group.pass(.seconds(1))
        #expect(group[4].leader == id(1))
        group.pass(.seconds(4))
        #expect(group[4].term == before)
        // It stands for nothing, but knows that nobody leads it any more.
        #expect(group[4].leader == nil)
        group.isolated = []
        group.pass(.seconds(2))
        #expect(group[4].leader != nil)
    }

    @Test func `4.2.2: a leader that removes itself steps down when the entry is committed, and the others go on`()
        throws
    {
        var group = joined()
        try change(&group, [.remove(id(1))])
        #expect(group[1].isLeader)
        group.settle()
        #expect(!group[1].isLeader)
        group.pass(.milliseconds(100))
        #expect(group[2].isLeader || group[3].isLeader)
        let leader = group[2].term
        group.pass(.seconds(2))
        #expect(group[2].term == leader && !group[1].isLeader)
    }

    @Test func `4.2.2: a server whose removal nobody else has heard of still stands, since nobody else can be elected`()
        throws
    {
        var group = Group(2)
        group.elect(1)
        let now = group.now
        try group[1].changeMembership(MembershipChange([.remove(id(1))]), now: now)
        group.drain(1)
        group.wire = []
        group.restart(1)
        group.pass(.seconds(3))
        #expect(group[2].isLeader && group[2].membership.voters == [id(2)] && !group[1].isLeader)
    }

    @Test func `4.2.3: a removed member learns of it and disturbs nobody`() throws {
        var group = joined()
        try change(&group, [.remove(id(3))])
        group.settle()
        group.pass(.seconds(3))
        #expect(group[3].membership.voters == [id(1), id(2)] && group[3].isMembershipCommitted)
        #expect(group[1].isLeader && group[1].term == term(1))
        #expect(group[1].asLeader.progress.map(\.id) == [id(2)])
    }

    @Test func `4.3: a joint membership needs both majorities, for entries and for elections`() throws {
        var group = joined(4, 5, 6)
        group.settle()
        let steps = [4, 5, 6].map { MembershipChange.Step.voter(id($0)) } + [1, 2, 3].map { .remove(id($0)) }
        group.isolated = [id(4), id(5), id(6)]
        try change(&group, steps)
        #expect(group[1].membership.isJoint)
        group.settle()
        group.pass(.milliseconds(200))
        #expect(!group[1].isMembershipCommitted)
    }

    @Test func `4.3: an automatic joint membership is left by itself, and the old leader steps down`() throws {
        var group = joined(4, 5, 6)
        let steps = [4, 5, 6].map { MembershipChange.Step.voter(id($0)) } + [1, 2, 3].map { .remove(id($0)) }
        try change(&group, steps)
        group.pass(.seconds(2))
        #expect((UInt64(4)...6).count { group[$0].isLeader } == 1 && !group[1].isLeader)
        #expect(group[4].membership == Membership(voters: [id(4), id(5), id(6)]))
    }

    @Test func `4.3: a joint membership that is not left automatically waits for the word`() throws {
        var group = joined(4)
        try change(&group, [.voter(id(4)), .learner(id(3))], .joint(leavesAutomatically: false))
        group.pass(.milliseconds(200))
        #expect(group[1].membership.isJoint && group[1].membership.nextLearners == [id(3)])
        #expect(throws: MembershipError.alreadyJoint) { try change(&group, [.voter(id(3))]) }
        let now = group.now
        try group[1].changeMembership(.leave, now: now)
        group.pass(.milliseconds(200))
        #expect(group[4].membership == Membership(voters: [id(1), id(2), id(4)], learners: [id(3)]))
        #expect(throws: MembershipError.notJoint) { try group[1].changeMembership(.leave, now: now) }
    }

    @Test func `A change may empty nothing and overflow nothing`() throws {
        var group = joined()
        #expect(throws: MembershipError.noVoters) { try change(&group, (1...3).map { .remove(id($0)) }) }
        #expect(throws: MembershipError.self) { try change(&group, (10...1100).map { .learner(id($0)) }) }
    }

    // MARK: Hand-over

    @Test func `3.10: leadership moves to the chosen server at once, with all entries`() throws {
        var group = joined()
        try group.propose("a", at: 1)
        let now = group.now
        try group[1].transferLeadership(to: id(3), now: now)
        #expect(throws: ProposalError.transferring) { try group.propose("b", at: 1) }
        group.settle()
        #expect(group[3].isLeader && group.now == now && group.texts(at: 3) == ["a"])
    }

    @Test func `3.10: if leadership transfer does not complete after about an election timeout, the leader goes on`()
        throws
    {
        var group = joined()
        group.isolated = [id(3)]
        let now = group.now
        try group[1].transferLeadership(to: id(3), now: now)
        #expect(throws: TransferError.inProgress) { try group[1].transferLeadership(to: id(2), now: now) }
        group.pass(.milliseconds(300))
        try group.propose("b", at: 1)
        #expect(throws: TransferError.notVoter(id(1))) { try group[1].transferLeadership(to: id(1), now: now) }
        #expect(throws: TransferError.notLeader(id(1))) { try group[2].transferLeadership(now: now) }
    }

    // MARK: Reads

    @Test(arguments: ReadMode.allCases)
    func `6.4: a read is answered only after a majority confirmed that the leader leads`(mode: ReadMode) throws {
        var group = joined()
        group.pass(.milliseconds(100))
        group.isolated = [id(2), id(3)]
        group.now += .milliseconds(230)
        try group[1].requestRead(7, mode: mode, now: group.now)
        group.settle()
        #expect(group.reads == [])
        group.isolated = []
        group.pass(.milliseconds(60))
        #expect(group.reads == [ReadAnswer(context: 7, index: group[1].commitIndex)])
    }

    @Test func `6.4: a read waits for the first entry of the leader's term`() throws {
        var group = Group(3)
        group[1].campaign(.vote)
        _ = group.deliver(.voteResponse(kind: .vote, isGranted: true), from: 2, to: 1, term: 1)
        try group[1].requestRead(7, mode: .quorum, now: group.now)
        _ = group.deliver(.heartbeatResponse(round: 2), from: 2, to: 1, term: 1)
        #expect(group.reads == [])
        group.wire = []
        group.pass(.milliseconds(60))
        #expect(group.reads.first?.index == 1)
    }

    @Test func `6.4: reads that come together share one round`() throws {
        var group = joined()
        let round = group[1].asLeader.round
        for context in UInt64(0)..<50 { try group[1].requestRead(context, mode: .quorum, now: group.now) }
        group.settle()
        #expect(group.reads.count == 50 && group[1].asLeader.round == round + 1)
    }

    @Test func `6.4: a leader that is deposed answers that it does not know`() throws {
        var group = joined()
        group.isolated = [id(1)]
        try group[1].requestRead(7, mode: .quorum, now: group.now)
        group.pass(.milliseconds(400))
        #expect(group.reads == [ReadAnswer(context: 7, index: nil)])
        #expect(throws: ReadError.notLeader(nil)) { try group[1].requestRead(8, mode: .quorum, now: group.now) }
    }

    @Test func `6.4.1: within the lease a read needs no message, and after a hand-over was tried it does`() throws {
        var group = joined()
        group.pass(.milliseconds(100))
        try group[1].requestRead(7, mode: .lease, now: group.now)
        #expect(group[1].reads.count == 1)
        let now = group.now
        try group[1].transferLeadership(to: id(3), now: now)
        group.drain(1)
        group.wire = []
        group.pass(.milliseconds(10))
        #expect(!group[1].isLeader || !group[1].holdsLease)
    }

    @Test func `Reads are refused beyond their limit, and a sole voter answers at once`() throws {
        var configuration = RaftConfiguration()
        configuration.readLimit = 2
        var group = Group(3, configuration: configuration)
        group.elect(1)
        for context in UInt64(0)..<2 { try group[1].requestRead(context, mode: .quorum, now: group.now) }
        #expect(throws: ReadError.busy) { try group[1].requestRead(9, mode: .quorum, now: group.now) }
        var alone = Group(1)
        alone.pass(.milliseconds(20))
        try alone[1].requestRead(7, mode: .quorum, now: alone.now)
        #expect(alone[1].reads.count == 1)
    }
}
