import ClusterModel

@testable import Raft

/// The promises of Raft (figure 3), held against everything that any member ever did.
struct Checkers {
    private(set) var violations: [String] = []
    private var leaders: [Term: RaftMemberID] = [:]
    /// What the first member that committed an index found there, from index 1.
    private(set) var committed: [Entry] = []
    private var digests: [UInt64] = []
    private struct Place: Hashable {
        let index: LogIndex
        let term: Term
    }
    private var placed: [Place: (previous: Term, payload: Entry.Payload)] = [:]
    /// The newest version that a finished operation has seen or made.
    private(set) var floor: UInt64 = 0

    mutating func report(_ violation: String) { violations.append(violation) }

    /// Election safety and leader completeness: one leader a term, and it has everything that is committed.
    mutating func noteLeader(_ node: RaftNode) {
        if let other = leaders[node.term] {
            if other != node.id { report("election safety: \(other) and \(node.id) lead term \(node.term)") }
            return
        }
        leaders[node.term] = node.id
        for entry in committed where entry.index > node.compactedIndex && entry.term < node.term {
            if node.log.term(at: entry.index) != entry.term {
                report("leader completeness: \(node.id) leads term \(node.term) without entry \(entry.index)")
                return
            }
        }
    }

    /// Log matching: equal index and term mean equal entries, and equal entries before.
    mutating func noteAppended(_ entries: [Entry], by node: RaftNode) {
        for entry in entries {
            guard let previous = node.log.term(at: entry.index - 1) else { continue }
            let place = Place(index: entry.index, term: entry.term)
            if let known = placed[place] {
                if known.previous != previous || known.payload != entry.payload {
                    report("log matching: entry \(entry.index) of term \(entry.term) differs at \(node.id)")
                }
            } else {
                placed[place] = (previous, entry.payload)
            }
        }
    }

    /// State machine safety: nobody applies another entry at an index, and equal prefixes give equal states.
    mutating func noteApplied(_ entry: Entry, at id: RaftMemberID, machine: StateMachine) {
        let position = Int(entry.index) - 1
        if position < committed.count {
            if committed[position] != entry {
                report("state machine safety: \(id) applies another entry at \(entry.index), term \(entry.term)")
            } else if digests[position] != machine.digest {
                report("state machine safety: \(id) has another state after \(entry.index)")
            }
        } else if position == committed.count {
            committed.append(entry)
            digests.append(machine.digest)
        } else {
            report(
                "state machine safety: \(id) applies \(entry.index) although \(committed.count + 1) was never committed"
            )
        }
    }

    /// A restored state machine equals the one that applied all entries.
    mutating func noteRestored(_ machine: StateMachine, at id: RaftMemberID) {
        let position = Int(machine.applied) - 1
        guard position >= 0, position < digests.count else { return }
        if digests[position] != machine.digest { report("snapshot: \(id) has another state after \(machine.applied)") }
    }

    /// Linearizability of one counter: an operation sees everything that ended before it began.
    mutating func noteFinished(version: UInt64, floorAtStart: UInt64, what: String) {
        if version < floorAtStart { report("\(what): saw version \(version) after \(floorAtStart) had been seen") }
        floor = max(floor, version)
    }
}
