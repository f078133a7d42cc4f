import ClusterModel
import Testing

@testable import Raft

/// Sentences about the log: Raft, sections 5.3, 5.4.2, 7 and 8, figures 2, 7 and 8.
struct ReplicationPaperTests {
    private func entries(_ terms: [UInt64]) -> [Entry] {
        terms.enumerated().map { Entry(term: term($1), index: UInt64($0 + 1), payload: .empty) }
    }

    @Test func `5.3: an entry is committed once it is on a majority, and the followers learn of it`() throws {
        var group = Group(3)
        group.elect(1)
        group.isolated = [id(3)]
        try group.propose("a", at: 1)
        #expect(group.texts(at: 1) == [])
        group.settle()
        #expect(group.texts(at: 1) == ["a"] && group.texts(at: 2) == ["a"] && group.texts(at: 3) == [])
        group.isolated = []
        group.pass(.milliseconds(200))
        #expect(group.texts(at: 3) == ["a"])
    }

    @Test func `5.3: without a majority nothing is committed`() throws {
        var group = Group(5)
        group.elect(1)
        group.isolated = [id(3), id(4), id(5)]
        try group.propose("a", at: 1)
        group.settle()
        #expect(group.texts(at: 1) == [] && group[2].lastIndex == group[1].lastIndex)
    }

    @Test(
        arguments: [
            // Figure 7: what followers may hold when the leader has 1 1 1 4 4 5 5 6 6 6.
            [1, 1, 1, 4, 4, 5, 5, 6, 6], [1, 1, 1, 4], [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
            [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
            [1, 1, 1, 4, 4, 4, 4], [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
        ] as [[UInt64]]
    )
    func `5.3: the leader forces the followers' logs to duplicate its own (figure 7)`(terms: [UInt64]) {
        var group = Group(3)
        for (number, log) in [(1, [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]), (2, terms), (3, [])] as [(UInt64, [UInt64])] {
            group.disks[id(number)]?.entries = entries(log)
            group.disks[id(number)]?.hardState = HardState(term: term(7))
            group.restart(number)
        }
        // The third votes for the first, whatever the second says.
        group.elect(1)
        group.pass(.milliseconds(300))
        #expect(group[1].isLeader)
        #expect(group.disks[id(2)]?.entries == group.disks[id(1)]?.entries)
        #expect(group.disks[id(3)]?.entries == group.disks[id(1)]?.entries)
        #expect(group[2].commitIndex == group[1].lastIndex)
    }

    @Test func `5.3: one round trip per conflicting term is enough`() {
        var log = RaftLog(offset: 0, offsetTerm: .zero, entries: entries([1, 1, 2, 2, 2, 2, 3, 3]))
        #expect(log.lastIndex(upTo: 8, termAtMost: term(2)) == 6)
        #expect(log.lastIndex(upTo: 5, termAtMost: term(1)) == 2)
        #expect(log.lastIndex(upTo: 99, termAtMost: term(9)) == 8)
        log.truncate(from: 3)
        #expect(log.lastIndex == 2 && log.lastTerm == term(1) && log.persisted == 2)
    }

    @Test(
        arguments: [
            // previous index and term; new terms; what the log's terms then are; log is 1 2
            (0, 0, [1, 2], [1, 2]), (2, 2, [3], [1, 2, 3]), (1, 1, [], [1, 2]), (1, 1, [2], [1, 2]),
            (0, 0, [3], [3]), (1, 1, [3, 3], [1, 3, 3]), (2, 3, [3], [1, 2]), (5, 3, [3], [1, 2]),
        ] as [(UInt64, UInt64, [UInt64], [UInt64])]
    )
    func `Figure 2, AppendEntries: an existing entry that conflicts is deleted with all that follow it, and no other`(
        previous: UInt64,
        previousTerm: UInt64,
        new: [UInt64],
        expected: [UInt64]
    ) {
        var group = Group(3)
        group.disks[id(2)]?.entries = entries([1, 2])
        group.disks[id(2)]?.hardState = HardState(term: term(3))
        group.restart(2)
        let append = Append(
            previousIndex: previous,
            previousTerm: term(previousTerm),
            commit: 0,
            round: 1,
            entries: new.enumerated().map { Entry(term: term($1), index: previous + 1 + UInt64($0), payload: .empty) }
        )
        let answer = group.deliver(.append(append), from: 1, to: 2, term: 3)
        #expect(group.disks[id(2)]?.entries.map(\.term.rawValue) == expected)
        let isMatch = previous <= 2 && (previous == 0 || previousTerm == previous)
        guard case .appendResponse(_, let outcome)? = answer.first?.body else {
            Issue.record("no answer")
            return
        }
        if isMatch { #expect(outcome == .matches(previous + UInt64(new.count))) }
        if !isMatch { #expect(outcome != .matches(previous + UInt64(new.count))) }
    }

    @Test func `Figure 2, AppendEntries: the commit index goes to the last new entry at most`() {
        var group = Group(3)
        group.disks[id(2)]?.entries = entries([1, 1, 1])
        group.disks[id(2)]?.hardState = HardState(term: term(2))
        group.restart(2)
        let append = Append(previousIndex: 1, previousTerm: term(1), commit: 3, round: 1, entries: [])
        _ = group.deliver(.append(append), from: 1, to: 2, term: 2)
        #expect(group[2].commitIndex == 1)
    }

    @Test func `5.4.2: only entries of the leader's current term are committed by counting (figure 8)`() {
        var group = Group(3)
        for number in UInt64(1)...2 {
            group.disks[id(number)]?.entries = entries([1, 2])
            group.disks[id(number)]?.hardState = HardState(term: term(2))
            group.restart(number)
        }
        group.now += .seconds(1)
        group[1].campaign(.vote)
        _ = group.deliver(.voteResponse(kind: .vote, isGranted: true), from: 3, to: 1, term: 3)
        #expect(group[1].isLeader && group[1].lastIndex == 3)
        _ = group.deliver(.appendResponse(round: 1, outcome: .matches(2)), from: 2, to: 1, term: 3)
        #expect(group[1].commitIndex == 0)
        _ = group.deliver(.appendResponse(round: 1, outcome: .matches(3)), from: 2, to: 1, term: 3)
        #expect(group[1].commitIndex == 3)
    }

    @Test func `8: a new leader commits an entry of its term at once`() {
        var group = Group(3)
        group.elect(1)
        #expect(group[1].commitIndex == 1 && group.applied[id(1)]?.first?.payload == .empty)
    }

    @Test func `10.2.1: a leader's own entries count only when they are on its disk`() throws {
        var group = Group(3)
        group.elect(1)
        _ = try group[1].propose([[1]], now: group.now)
        let next = group[1].ready()
        let ready = try #require(next)
        #expect(ready.prompt.count == 2 && ready.entries.count == 1)
        let match = Message.Body.appendResponse(round: 1, outcome: .matches(2))
        group[1].receive(Message(from: id(2), to: id(1), term: group[1].term, body: match), now: group.now)
        #expect(group[1].commitIndex == 1)
        group[1].persisted(ready.number, now: group.now)
        #expect(group[1].commitIndex == 2)
    }

    @Test func `A sole voter is not heard in a term that it could forget`() throws {
        var group = Group(1)
        group[1].tick(now: group.now)
        group.settle()
        _ = try group[1].changeMembership(MembershipChange([.learner(id(2))]), now: group.now)
        group.settle()
        group.restart(1)
        group.now += .seconds(1)
        group[1].tick(now: group.now)
        let next = group[1].ready()
        let ready = try #require(next)
        #expect(ready.prompt == [] && ready.hardState?.term == term(2) && !ready.messages.isEmpty)
    }

    @Test func `Proposals between two Ready values travel together, and the window bounds what is on the way`() throws {
        var configuration = RaftConfiguration()
        configuration.inflightLimit = 2
        configuration.appendByteLimit = 100
        var group = Group(3, configuration: configuration)
        group.elect(1)
        for _ in 0..<3 { _ = try group[1].propose([[1], [2]], now: group.now) }
        let next = group[1].ready()
        let first = try #require(next)
        let appends = first.prompt.compactMap { message -> Append? in
            guard message.to == id(2), case .append(let append) = message.body else { return nil }
            return append
        }
        #expect(appends.count == 2 && appends.allSatisfy { $0.entries.count == 4 || $0.entries.count == 2 })
    }

    @Test func `What is committed is told at once, and that alone is not answered`() throws {
        var group = Group(3)
        group.elect(1)
        try group.propose("told", at: 1)
        group.settle()
        #expect(group.texts(at: 2) == ["told"] && group[2].commitIndex == group[1].commitIndex)
        let (commit, term) = (group[1].commitIndex, group[1].term.rawValue)
        #expect(group.deliver(.heartbeat(commit: commit, round: 0), from: 1, to: 2, term: term).isEmpty)
        #expect(group.deliver(.heartbeat(commit: commit, round: 1), from: 1, to: 2, term: term).count == 1)
    }

    @Test func `A lost append is found by the next heartbeat and sent again`() throws {
        var group = Group(3)
        group.elect(1)
        try group.propose("lost", at: 1)
        group.wire = []
        group.pass(.milliseconds(200))
        #expect(group.texts(at: 2) == ["lost"] && group.texts(at: 3) == ["lost"])
    }

    @Test func `Proposals are refused before memory is: when too much is uncommitted, when too long, without a leader`()
        throws
    {
        var configuration = RaftConfiguration()
        configuration.uncommittedByteLimit = 100
        configuration.proposalByteLimit = 200
        var group = Group(3, configuration: configuration)
        #expect(throws: ProposalError.notLeader(nil)) { try group.propose("a", at: 1) }
        group.elect(1)
        #expect(throws: ProposalError.notLeader(id(1))) { try group.propose("a", at: 2) }
        #expect(throws: ProposalError.tooLong(count: 201, limit: 200)) {
            try group.propose(String(repeating: "a", count: 201), at: 1)
        }
        // One is taken even when it alone is too much.
        try group.propose(String(repeating: "a", count: 150), at: 1)
        #expect(throws: ProposalError.busy) { try group.propose("b", at: 1) }
        group.settle()
        try group.propose("b", at: 1)
    }

    @Test func `A follower sends proposals on when it is told to`() throws {
        var configuration = RaftConfiguration()
        configuration.forwardsProposals = true
        var group = Group(3, configuration: configuration)
        group.elect(1)
        #expect(try group.propose("a", at: 2) == .forwarded(to: id(1)))
        group.settle()
        #expect(group.texts(at: 1) == ["a"])
    }

    // MARK: Snapshots

    private func compacted(_ group: inout Group, at number: UInt64, bytes: Int) throws {
        let node = group[number]
        let metadata = try #require(node.snapshotMetadata(at: node.appliedIndex))
        let snapshot = Snapshot(metadata: metadata, data: [UInt8](repeating: 3, count: bytes))
        #expect(group[number].compact(to: snapshot, keeping: 0) == node.appliedIndex)
    }

    @Test(arguments: [0, 1, 99, 100, 1000])
    func `7: a follower whose entries were discarded gets the snapshot, in chunks`(size: Int) throws {
        var configuration = RaftConfiguration()
        configuration.snapshotChunkBytes = 100
        configuration.snapshotWindow = 2
        var group = Group(3, configuration: configuration)
        group.elect(1)
        group.isolated = [id(3)]
        for number in 0..<10 { try group.propose("\(number)", at: 1) }
        group.settle()
        try compacted(&group, at: 1, bytes: size)
        group.isolated = []
        group.pass(.milliseconds(300))
        #expect(group.disks[id(3)]?.snapshot == group[1].snapshot)
        try group.propose("after", at: 1)
        group.settle()
        #expect(group.texts(at: 3) == ["after"])
    }

    @Test func `A snapshot goes on where it was when a chunk is lost`() throws {
        var configuration = RaftConfiguration()
        configuration.snapshotChunkBytes = 100
        configuration.snapshotWindow = 1
        var group = Group(3, configuration: configuration)
        group.elect(1)
        group.isolated = [id(3)]
        for number in 0..<10 { try group.propose("\(number)", at: 1) }
        group.settle()
        try compacted(&group, at: 1, bytes: 5000)
        group.isolated = []
        var offsets: [UInt64] = []
        var isLost = false
        for _ in 0..<3000 {
            group.now += .milliseconds(1)
            group[1].tick(now: group.now)
            group.drainAll()
            let wire = group.wire
            group.wire = []
            for message in wire {
                if case .snapshotChunk(let chunk) = message.body {
                    offsets.append(chunk.offset)
                    if chunk.offset == 3000, !isLost {
                        isLost = true
                        continue
                    }
                }
                group.nodes[message.to]?.receive(message, now: group.now)
            }
            if group[3].commitIndex == group[1].commitIndex { break }
        }
        #expect(isLost && group[3].snapshot == group[1].snapshot)
        #expect(offsets.count { $0 == 0 } == 1 && offsets.count { $0 == 3000 } == 2)
    }

    @Test func `7: a snapshot that describes a prefix of the log leaves what follows it`() {
        var group = Group(3)
        group.disks[id(2)]?.entries = entries([1, 1, 1])
        group.disks[id(2)]?.hardState = HardState(term: term(1))
        group.restart(2)
        let metadata = SnapshotMetadata(index: 2, term: term(1), membership: group[2].membership)
        let chunk = SnapshotChunk(metadata: metadata, totalByteCount: 1, offset: 0, bytes: [1], round: 1)
        _ = group.deliver(.snapshotChunk(chunk), from: 1, to: 2, term: 1)
        #expect(group[2].lastIndex == 3 && group[2].commitIndex == 2)
    }
}
