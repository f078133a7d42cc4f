import Testing

@testable import Raft

/// A learner that has everything is spoken to seldom, and never later than before when there is something to say.
struct LearnerPaceTests {
    /// Members 1 to 3 vote and member 1 leads; member 4 learns and has everything.
    private func group(configuration: RaftConfiguration = RaftConfiguration()) throws -> Group {
        var group = Group(3, configuration: configuration)
        group.elect(1)
        group.add(id(4), PersistedState(founding: Membership()))
        try group[1].changeMembership(MembershipChange([.learner(id(4))]), now: group.now)
        group.pass(.seconds(1))
        #expect(group[4].commitIndex == group[1].commitIndex && group[4].membership == group[1].membership)
        return group
    }

    private func count(_ group: inout Group, to receiver: UInt64, in duration: Duration) -> Int {
        group.delivered = []
        group.pass(duration)
        return group.delivered.count { $0.to == id(receiver) }
    }

    @Test func `At rest a learner hears twice a second, and a voter twenty times`() throws {
        var group = try group()
        #expect(count(&group, to: 4, in: .seconds(10)) == 20)
        #expect(count(&group, to: 2, in: .seconds(10)) >= 160)
        #expect(group[4].leader == id(1))
    }

    @Test func `Learners take turns`() throws {
        var group = try group()
        for number in 5...13 as ClosedRange<UInt64> {
            group.add(id(number), PersistedState(founding: Membership()))
            try group[1].changeMembership(MembershipChange([.learner(id(number))]), now: group.now)
            group.pass(.milliseconds(100))
        }
        group.pass(.seconds(2))
        for _ in 0..<20 {
            group.delivered = []
            group.pass(.milliseconds(50))
            #expect(group.delivered.count { $0.to.rawValue > 3 } <= 2)
        }
    }

    @Test func `Entries and what is committed are told at once`() throws {
        var group = try group()
        let start = group.now
        try group.propose("a", at: 1)
        group.settle()
        #expect(group.now == start && group.texts(at: 4) == ["a"])
        // It shows once that it knows, and is left alone again.
        #expect(count(&group, to: 4, in: .seconds(5)) <= 12)
    }

    @Test(arguments: 0..<4)
    func `What was lost on the way to a learner is noticed at the pace of the voters`(lost: Int) throws {
        var group = try group()
        try group.propose("a", at: 1)
        // The entry, or the news that it is committed, or answers, each with what follows.
        var remaining = lost
        for _ in 0..<200 where !group.wire.isEmpty {
            let message = group.wire.removeFirst()
            if message.to == id(4) || message.from == id(4) {
                if remaining == 0 { continue }
                remaining -= 1
            }
            group.nodes[message.to]?.receive(message, now: group.now)
            group.drain(message.to.rawValue)
        }
        group.pass(.milliseconds(250))
        #expect(group.texts(at: 4) == ["a"])
    }

    @Test func `A learner that is gone costs no more than one that has everything`() throws {
        var group = try group()
        group.isolated = [id(4)]
        try group.propose("a", at: 1)
        group.pass(.seconds(2))
        group[1].tick(now: group.now)
        var sent = 0
        for _ in 0..<500 {
            group.now += .milliseconds(10)
            for number in 1...3 as ClosedRange<UInt64> { group[number].tick(now: group.now) }
            group.drainAll()
            sent += group.wire.count { $0.to == id(4) }
            group.settle()
        }
        #expect(sent <= 12)
        group.isolated = []
        group.pass(.milliseconds(600))
        #expect(group.texts(at: 4) == ["a"])
    }

    @Test func `A learner that is given a vote hears as a voter at once, and its silence as a learner deposes nobody`()
        throws
    {
        var group = Group(1)
        group.elect(1)
        group.add(id(2), PersistedState(founding: Membership()))
        try group[1].changeMembership(MembershipChange([.learner(id(2))]), now: group.now)
        group.pass(.seconds(2))
        // Just before it would hear again.
        while let contact = group[1].peers.first?.contact, group.now - contact < .milliseconds(400) {
            group.pass(.milliseconds(10))
        }
        try group[1].changeMembership(MembershipChange([.voter(id(2))]), now: group.now)
        let term = group[1].term
        for _ in 0..<100 {
            group.pass(.milliseconds(10))
            #expect(group[1].isLeader)
        }
        #expect(group[1].term == term && group[2].membership.voters == [id(1), id(2)])
        #expect(count(&group, to: 2, in: .seconds(1)) >= 16)
        // And one that says nothing once it counts does.
        group.isolated = [id(2)]
        group.pass(.seconds(1))
        #expect(!group[1].isLeader)
    }

    @Test func `Learners beyond a number wait for their snapshot, voters do not`() throws {
        var configuration = RaftConfiguration()
        (configuration.snapshotChunkBytes, configuration.snapshotWindow, configuration.snapshotReceiverLimit) = (
            10, 1, 2
        )
        var group = Group(3, configuration: configuration)
        group.elect(1)
        group.isolated = [id(3)]
        for number in 0..<10 { try group.propose("\(number)", at: 1) }
        group.settle()
        let metadata = try #require(group[1].snapshotMetadata(at: group[1].appliedIndex))
        _ = group[1].compact(to: Snapshot(metadata: metadata, data: [UInt8](repeating: 3, count: 100)), keeping: 0)
        for number in 4...9 as ClosedRange<UInt64> {
            group.add(id(number), PersistedState(founding: Membership()))
            try group[1].changeMembership(MembershipChange([.learner(id(number))]), now: group.now)
            group.drain(1)
            while let message = group.wire.first(where: { $0.to == id(2) || $0.from == id(2) }) {
                group.wire.removeAll { $0 == message }
                group.nodes[message.to]?.receive(message, now: group.now)
                group.drain(message.to.rawValue)
            }
        }
        group.isolated = []
        var most = 0
        for _ in 0..<400 {
            group.now += .milliseconds(5)
            for number in group.nodes.keys.sorted() { group.nodes[number]?.tick(now: group.now) }
            group.drainAll()
            let wire = group.wire
            group.wire = []
            for message in wire { group.nodes[message.to]?.receive(message, now: group.now) }
            most = max(most, group[1].peers.count { $0.receivesSnapshot && $0.id.rawValue > 3 })
        }
        #expect(most == 2)
        #expect(group.nodes.values.allSatisfy { $0.commitIndex == group[1].commitIndex })
    }
}
