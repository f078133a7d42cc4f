import ClusterModel
import Testing

@testable import Raft

/// Sentences about elections: Raft, sections 5.1, 5.2 and 5.4.1; thesis, sections 4.2.3, 6.2 and 9.6.
struct ElectionPaperTests {
    @Test func `5.2: when servers start up, they begin as followers`() {
        let group = Group(3)
        for number in UInt64(1)...3 { #expect(group[number].leader == nil && group[number].term == .zero) }
    }

    @Test func `5.2: a follower that receives no communication over the election timeout begins an election`() {
        var group = Group(3)
        group.pass(.milliseconds(240))
        #expect((UInt64(1)...3).allSatisfy { group[$0].term == .zero })
        group.pass(.milliseconds(400))
        #expect((UInt64(1)...3).count { group[$0].isLeader } == 1)
    }

    @Test func `5.2: election timeouts are chosen randomly from a fixed interval`() {
        var group = Group(1)
        var seen: Set<Duration> = []
        for _ in 0..<200 {
            group[1].restartElectionTimer()
            let wait = group.now.duration(to: group[1].electionDeadline)
            #expect(wait >= .milliseconds(250) && wait < .milliseconds(500))
            seen.insert(wait)
        }
        #expect(seen.count > 190)
    }

    @Test func `5.2: to begin an election, a candidate increments its term, votes for itself and asks the others`() {
        var group = Group(3)
        group[1].campaign(.vote)
        group.drain(1)
        #expect(group[1].term == term(1))
        #expect(group.disks[id(1)]?.hardState.vote == id(1))
        let request = VoteRequest(kind: .vote, lastIndex: 0, lastTerm: .zero)
        #expect(
            group.wire == [2, 3].map { Message(from: id(1), to: id($0), term: term(1), body: .voteRequest(request)) }
        )
    }

    @Test
    func
        `5.2: each server votes for at most one candidate in a term, first come, first served, and keeps its word over a crash`()
    {
        var group = Group(3)
        let request = Message.Body.voteRequest(VoteRequest(kind: .vote, lastIndex: 0, lastTerm: .zero))
        func granted(_ messages: [Message]) -> Bool? {
            guard case .voteResponse(_, let isGranted)? = messages.first?.body else { return nil }
            return isGranted
        }
        #expect(granted(group.deliver(request, from: 1, to: 2, term: 1)) == true)
        #expect(granted(group.deliver(request, from: 3, to: 2, term: 1)) == false)
        #expect(granted(group.deliver(request, from: 1, to: 2, term: 1)) == true)
        group.restart(2)
        #expect(granted(group.deliver(request, from: 3, to: 2, term: 1)) == false)
        #expect(granted(group.deliver(request, from: 1, to: 2, term: 1)) == true)
    }

    @Test(arguments: [(5, [2, 3], true), (5, [2], false), (3, [2], true), (1, [], true), (2, [], false)])
    func `5.2: a candidate wins with votes from a majority`(size: Int, voters: [Int], wins: Bool) {
        var group = Group(UInt64(size))
        group[1].campaign(.vote)
        for voter in voters {
            _ = group.deliver(.voteResponse(kind: .vote, isGranted: true), from: UInt64(voter), to: 1, term: 1)
            _ = group.deliver(.voteResponse(kind: .vote, isGranted: true), from: UInt64(voter), to: 1, term: 1)
        }
        #expect(group[1].isLeader == wins)
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `5.2: a candidate that hears from a leader whose term is at least its own returns to follower`(newer: UInt64) {
        var group = Group(3)
        group[1].campaign(.vote)
        _ = group.deliver(.heartbeat(commit: 0, round: 1), from: 2, to: 1, term: newer)
        #expect(group[1].leader == id(2) && group[1].term == term(newer))
    }

    @Test func `5.2: a candidate rejects a leader of an older term and remains a candidate`() {
        var group = Group(3)
        group[1].campaign(.vote)
        group[1].campaign(.vote)
        let answers = group.deliver(.heartbeat(commit: 0, round: 1), from: 2, to: 1, term: 1)
        #expect(group[1].leader == nil && group[1].term == term(2))
        #expect(answers.contains { $0.to == id(2) && $0.term == term(2) })
    }

    @Test func `5.1: a leader that finds a newer term steps down at once`() {
        var group = Group(3)
        group.elect(1)
        _ = group.deliver(.heartbeatResponse(round: 0), from: 2, to: 1, term: 9)
        #expect(!group[1].isLeader && group[1].term == term(9))
    }

    @Test func `5.1: a request with a stale term is rejected`() {
        var group = Group(3)
        group.elect(1)
        let before = group[2].lastIndex
        let stale = Append(previousIndex: 0, previousTerm: .zero, commit: 9, round: 1, entries: [])
        _ = group.deliver(.append(stale), from: 3, to: 2, term: 0)
        #expect(group[2].lastIndex == before && group[2].leader == id(1))
    }

    @Test(
        arguments: [
            // last index and term of the voter, of the candidate
            (2, 1, 2, 1, true), (2, 1, 3, 1, true), (2, 1, 1, 1, false), (2, 1, 1, 2, true), (2, 2, 5, 1, false),
        ] as [(UInt64, UInt64, UInt64, UInt64, Bool)]
    )
    func `5.4.1: a voter denies its vote if its own log is more up-to-date`(
        ownIndex: UInt64,
        ownTerm: UInt64,
        index: UInt64,
        lastTerm: UInt64,
        isGranted: Bool
    ) {
        for kind in [VoteRequest.Kind.preVote, .vote] {
            var group = Group(3)
            let entries = (1...ownIndex).map { Entry(term: term(ownTerm), index: $0, payload: .empty) }
            group.disks[id(2)]?.entries = entries
            group.disks[id(2)]?.hardState = HardState(term: term(2))
            group.restart(2)
            group.now += .seconds(1)
            let request = VoteRequest(kind: kind, lastIndex: index, lastTerm: term(lastTerm))
            let answer = group.deliver(.voteRequest(request), from: 1, to: 2, term: 3).first
            #expect(answer?.body == .voteResponse(kind: kind, isGranted: isGranted))
        }
    }

    @Test func `9.6: a pre-vote changes nobody's term or vote`() {
        var group = Group(3)
        group.isolated = [id(1)]
        for _ in 0..<20 { group.pass(.milliseconds(100)) }
        #expect(group[1].term == .zero)
        let leader = (UInt64(2)...3).first { group[$0].isLeader }
        let before = leader.map { group[$0].term }
        group.isolated = []
        group.pass(.seconds(1))
        #expect(leader.map { group[$0].isLeader } == true)
        #expect(group[1].term == before)
    }

    @Test
    func
        `4.2.3: a server that heard from a leader within the minimum election timeout neither votes nor changes its term`()
    {
        var group = Group(3)
        group.elect(1)
        let before = group[2].term
        for kind in [VoteRequest.Kind.preVote, .vote] {
            let request = VoteRequest(kind: kind, lastIndex: 99, lastTerm: term(9))
            #expect(group.deliver(.voteRequest(request), from: 3, to: 2, term: 9) == [])
        }
        #expect(group[2].term == before)
        let asked = VoteRequest(kind: .transfer, lastIndex: 99, lastTerm: term(9))
        let answer = group.deliver(.voteRequest(asked), from: 3, to: 2, term: 9)
        #expect(answer.map(\.body) == [.voteResponse(kind: .transfer, isGranted: true)])
    }

    @Test func `6.4.1: a restarted server keeps the promise that it may have given before`() {
        var group = Group(3)
        group.elect(1)
        group.restart(2)
        let request = VoteRequest(kind: .vote, lastIndex: 99, lastTerm: term(9))
        #expect(group.deliver(.voteRequest(request), from: 3, to: 2, term: 9) == [])
        group.now += .milliseconds(251)
        #expect(group.deliver(.voteRequest(request), from: 3, to: 2, term: 9).count == 1)
    }

    @Test func `6.2: a leader steps down if an election timeout elapses without a round of heartbeats to a majority`() {
        var group = Group(3)
        group.elect(1)
        group.isolated = [id(1)]
        group.pass(.milliseconds(200))
        #expect(group[1].isLeader)
        group.pass(.milliseconds(100))
        #expect(!group[1].isLeader)
    }

    @Test func `A leader whose disk has stalled steps down, although its heartbeats are answered`() throws {
        var group = Group(3)
        group.elect(1)
        _ = try group[1].propose([[1]], now: group.now)
        let next = group[1].ready()
        let stalled = try #require(next)
        #expect(stalled.needsPersisting)
        for _ in 0..<60 {
            group.now += .milliseconds(10)
            group[1].tick(now: group.now)
            while let ready = group[1].ready() { group.wire += ready.prompt }
            for message in group.wire where message.to != id(1) {
                group.nodes[message.to]?.receive(message, now: group.now)
                group.drain(message.to.rawValue)
            }
            let answers = group.wire.filter { $0.to == id(1) }
            group.wire = []
            for answer in answers { group[1].receive(answer, now: group.now) }
        }
        #expect(!group[1].isLeader)
    }

    @Test func `The only founder of a group leads without waiting`() {
        var group = Group(1)
        group[1].tick(now: group.now)
        group.settle()
        #expect(group[1].isLeader && group[1].commitIndex == 1)
    }

    @Test func `A member that knows nobody stands for nothing`() {
        var group = Group(1)
        group.add(id(2), PersistedState(founding: Membership()))
        group.pass(.seconds(2))
        #expect(group[2].term == .zero)
        let stands = group[2].standForElection(now: group.now)
        #expect(!stands)
    }
}
