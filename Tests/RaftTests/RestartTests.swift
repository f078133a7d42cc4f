import ClusterModel
import Testing

@testable import Raft

/// A member that dies between any two things that a `Ready` asks of it goes on as if it had only been slow.
struct RestartTests {
    private enum Moment: CaseIterable {
        case beforePersisting, beforeSaying, beforeSending, beforeApplying, atEnd
    }

    /// Carries out a fixed story; the member dies at its `step`-th moment.
    private func story(dies number: UInt64, at step: Int) -> (happened: Bool, group: Group) {
        var configuration = RaftConfiguration()
        configuration.snapshotChunkBytes = 64
        var group = Group(3, configuration: configuration)
        // The story ends early enough for everybody to hear its end.
        let lastTurn = 220
        var (count, isDead, turn) = (0, false, 0)

        func drain(_ member: UInt64) {
            while let ready = group[member].ready() {
                group.wire += ready.prompt
                for moment in Moment.allCases {
                    if member == number, turn < lastTurn {
                        count += 1
                        if count == step, !isDead {
                            isDead = true
                            return group.restart(member)
                        }
                    }
                    switch moment {
                    case .beforePersisting: group.disks[id(member)]?.take(ready)
                    case .beforeSaying: group[member].persisted(ready.number, now: group.now)
                    case .beforeSending: group.wire += ready.messages
                    case .beforeApplying:
                        if let snapshot = ready.snapshot { group[member].applied(through: snapshot.metadata.index) }
                        group.applied[id(member), default: []] += ready.committed
                        if let last = ready.committed.last { group[member].applied(through: last.index) }
                    case .atEnd: break
                    }
                }
            }
        }
        while turn < lastTurn + 110 {
            turn += 1
            group.now += .milliseconds(10)
            for member in UInt64(1)...3 {
                group[member].tick(now: group.now)
                if turn % 10 == 5, turn < lastTurn, group[member].isLeader {
                    _ = try? group[member].propose([[UInt8(turn % 256)]], now: group.now)
                }
                let node = group[member]
                if turn % 60 == 50, node.appliedIndex > node.snapshot.metadata.index,
                    let metadata = node.snapshotMetadata(at: node.appliedIndex)
                {
                    let snapshot = Snapshot(metadata: metadata, data: [UInt8](repeating: 1, count: 100))
                    _ = group[member].compact(to: snapshot, keeping: 0)
                    group.disks[id(member)]?.snapshot = snapshot
                    group.disks[id(member)]?.entries.removeAll { $0.index <= metadata.index }
                }
                drain(member)
            }
            // One member misses a part of the story and needs a snapshot afterwards.
            group.isolated = (100..<170).contains(turn) ? [id(3)] : []
            let wire = group.wire
            group.wire = []
            for message in wire {
                guard !group.isolated.contains(message.from), !group.isolated.contains(message.to) else { continue }
                group[message.to.rawValue].receive(message, now: group.now)
                drain(message.to.rawValue)
            }
        }
        return (isDead, group)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `A crash at every step of every Ready loses nothing`(number: UInt64) {
        var step = 1
        while true {
            let (happened, group) = story(dies: number, at: step)
            guard happened else { break }
            let commits = (UInt64(1)...3).map { group[$0].commitIndex }
            #expect((UInt64(1)...3).count { group[$0].isLeader } == 1, "step \(step)")
            #expect((commits.min() ?? 0) >= 10 && Set(commits).count == 1, "step \(step): \(commits)")
            // Whatever one has applied at an index, the others have too.
            var known: [LogIndex: Entry] = [:]
            for entry in group.applied.values.joined() {
                #expect(known[entry.index, default: entry] == entry, "step \(step)")
                known[entry.index] = entry
            }
            // Later steps repeat earlier ones; take fewer of them.
            step += step < 60 ? 1 : 7
        }
        #expect(step > 100)
    }

    @Test func `A write that tears after its hard state makes no entry committed that it was to replace`() throws {
        func entry(_ index: LogIndex, _ number: UInt64) -> Entry {
            Entry(term: term(number), index: index, payload: .empty)
        }
        let start = ContinuousClock().systemEpoch
        var disk = PersistedState(founding: Membership(voters: [id(1), id(2), id(3)]))
        // The last entry was never committed.
        disk.entries = [entry(1, 1), entry(2, 1)]
        disk.hardState = HardState(term: term(1), commit: 1)
        var node = try RaftNode(id: id(1), persisted: disk, seed: 1, now: start)
        let append = Append(
            previousIndex: 1,
            previousTerm: term(1),
            commit: 3,
            round: 1,
            entries: [entry(2, 2), entry(3, 2)]
        )
        node.receive(Message(from: id(2), to: id(1), term: term(2), body: .append(append)), now: start)
        let next = node.ready()
        let ready = try #require(next)
        #expect(ready.entries == append.entries && node.commitIndex == 3)
        disk.hardState = try #require(ready.hardState)
        let restarted = try RaftNode(id: id(1), persisted: disk, seed: 2, now: start)
        #expect(restarted.commitIndex == 1)
    }

    @Test func `A disk that no correct shell has written is refused with what is wrong and what to do`() {
        func start(_ entries: [Entry], applied: LogIndex? = nil) throws -> RaftNode {
            var disk = PersistedState(founding: Membership(voters: [id(1)]))
            disk.entries = entries
            disk.hardState = HardState(term: term(3), commit: 99)
            return try RaftNode(
                id: id(1),
                persisted: disk,
                applied: applied,
                seed: 1,
                now: ContinuousClock().systemEpoch
            )
        }
        func entry(_ index: LogIndex, _ number: UInt64) -> Entry {
            Entry(term: term(number), index: index, payload: .empty)
        }
        #expect(throws: RestartError.gap(expected: 2, found: 3)) { try start([entry(1, 1), entry(3, 1)]) }
        #expect(throws: RestartError.gap(expected: 1, found: 2)) { try start([entry(2, 1)]) }
        #expect(throws: RestartError.disorder(2)) { try start([entry(1, 2), entry(2, 1)]) }
        #expect(throws: RestartError.disorder(1)) { try start([entry(1, 4)]) }
        #expect(throws: RestartError.appliedBeyondLog(applied: 2, last: 1)) { try start([entry(1, 1)], applied: 2) }
        let node = try? start([entry(1, 1), entry(2, 3)], applied: 1)
        #expect(node?.commitIndex == 2 && node?.appliedIndex == 1)
    }

    @Test func `Settings that cannot work together are named`() {
        var configuration = RaftConfiguration()
        #expect(configuration.problems == [])
        configuration.heartbeatInterval = .milliseconds(100)
        configuration.leaseMargin = .seconds(1)
        configuration.inflightLimit = 0
        configuration.appendByteLimit = 2 << 20
        #expect(configuration.problems.count == 4)
    }
}
