import ClusterModel
import ClusterState
import Raft

/// What must hold of a cluster, held against everything that any agent ever did.
struct ClusterCheckers {
    private(set) var violations: [String] = []
    private var leaders: [Term: RaftMemberID] = [:]
    private struct Place: Hashable {
        let index: LogIndex
        let term: Term
    }
    /// Everything that was ever written to a log; without the term before it where that was compacted.
    private var placed: [Place: (previous: Term?, payload: Entry.Payload)] = [:]
    /// The last that was committed.
    private var membership: Membership
    /// What the first agent that applied an index found there, what came of it, and the state after it; from index 1.
    private(set) var committed: [Entry] = []
    private var outcomes: [Outcome?] = []
    private var states: [ClusterState] = []
    private var decisions: [NumberedDecision] = []
    private struct Running {
        let agent: Int
        let incarnation: Incarnation
        let container: UInt64
    }
    private var running: [JobID: Running] = [:]
    /// Whether two incarnations at once are a violation: where clocks are worse than fencing bears, nothing is promised.
    var forbidsTwoAtOnce = true
    /// By idempotency key, in the order in which clients asked.
    var histories: [String: [RegisterOperation]] = [:]
    private(set) var acknowledged: [String: JobID] = [:]
    private(set) var cancelled: Set<String> = []
    /// Histories about which the search was given up.
    private(set) var undecided = 0

    init(founding membership: Membership) { self.membership = membership }

    mutating func report(_ violation: String) {
        // The first says what went wrong; what follows from it says little.
        if violations.count < 8 { violations.append(violation) }
    }

    // MARK: Raft, figure 3

    /// Election safety, and leader completeness: a leader has all that was committed in earlier terms.
    mutating func noteLeader(_ id: RaftMemberID, term: Term, log: @autoclosure () -> (base: LogIndex, entries: [Entry]))
    {
        if let other = leaders[term] {
            if other != id { report("one leader per term: \(other) and \(id) lead term \(term)") }
            return
        }
        leaders[term] = id
        let (base, entries) = log()
        guard base < LogIndex(committed.count) else { return }
        for entry in committed[Int(base)...] where entry.term < term {
            let position = Int(entry.index - base) - 1
            if !entries.indices.contains(position) || entries[position] != entry {
                return report("leader completeness: \(id) leads term \(term) without entry \(entry.index)")
            }
        }
    }

    /// Log matching: equal index and term mean equal entries, and equal terms before.
    mutating func noteAppended(
        _ new: [Entry],
        by id: RaftMemberID,
        term: (LogIndex) -> Term?
    ) {
        guard let first = new.first else { return }
        // Of the entry before, where it is known.
        var previous = term(first.index - 1)
        for entry in new {
            let place = Place(index: entry.index, term: entry.term)
            if let known = placed[place] {
                let differs = known.previous.flatMap { one in previous.map { $0 != one } } ?? false
                if known.payload != entry.payload || differs {
                    report("log matching: entry \(entry.index) of term \(entry.term) differs at \(id)")
                }
            } else {
                placed[place] = (previous, entry.payload)
            }
            previous = entry.term
        }
    }

    /// No two majorities: what follows a membership shares a voter with it, whoever decides in either.
    private mutating func noteMembership(_ next: Membership, at index: LogIndex) {
        defer { membership = next }
        let last = membership
        let overlap =
            switch (last.isJoint, next.isJoint) {
            case (false, false): Set(last.voters).symmetricDifference(next.voters).count <= 1
            case (false, true): next.outgoingVoters == last.voters
            case (true, false): next.voters == last.voters
            case (true, true): last == next
            }
        if !overlap { report("membership: \(next) at \(index) follows \(last)") }
    }

    /// The voter plan never takes the quorum away: of the voters after its step enough answer.
    mutating func noteVoters(_ next: Membership, silent: Set<RaftMemberID>, by agent: Int) {
        // While the membership is joint, both must decide.
        for voters in [next.voters, next.outgoingVoters] where !voters.isEmpty {
            let live = voters.count { !silent.contains($0) }
            if live <= voters.count / 2 {
                report("voters: agent \(agent) changes them so that only \(live) of \(voters.count) answer")
            }
        }
    }

    /// Nobody applies another entry at an index, and equal prefixes give equal outcomes and states.
    mutating func noteApplied(_ entry: Entry, outcome: Outcome?, state: ClusterState, by agent: Int) {
        let position = Int(entry.index) - 1
        if position < committed.count {
            if committed[position] != entry {
                return report("state machine safety: agent \(agent) applies another entry at \(entry.index)")
            }
            if outcomes[position] != outcome {
                return report("equal states: entry \(entry.index) has another outcome at agent \(agent)")
            }
            // A whole comparison costs as much as a hundred outcomes.
            if entry.index % 32 == 0 { compare(state, at: entry.index, of: agent) }
        } else if position == committed.count {
            committed.append(entry)
            if case .membership(let next, _) = entry.payload { noteMembership(next, at: entry.index) }
            outcomes.append(outcome)
            states.append(state)
            noteDecisions(outcome?.acceptance?.decisions ?? [])
            if state.lastDecision != UInt64(decisions.count) {
                report(
                    "decisions: after entry \(entry.index) the last is \(state.lastDecision), not \(decisions.count)"
                )
            }
        } else {
            report("state machine safety: agent \(agent) applies \(entry.index) before \(committed.count + 1)")
        }
    }

    private mutating func noteDecisions(_ new: [NumberedDecision]) {
        for decision in new {
            if decision.sequence != UInt64(decisions.count) + 1 {
                report("decisions: number \(decision.sequence) follows \(decisions.count)")
            }
            decisions.append(decision)
        }
    }

    mutating func compare(_ state: ClusterState, at index: LogIndex, of agent: Int) {
        let position = Int(index) - 1
        guard states.indices.contains(position) else { return }
        if states[position] != state { report("equal states: agent \(agent) has another state after \(index)") }
    }

    /// An agent's own history: each decision once, in order, and as everybody has it; what a snapshot skipped is missing.
    mutating func noteStored(_ decision: NumberedDecision, after last: UInt64, by agent: Int) {
        if decision.sequence <= last {
            report("decisions: agent \(agent) stores number \(decision.sequence) after \(last)")
        }
        let position = Int(decision.sequence) - 1
        if decisions.indices.contains(position), decisions[position] != decision {
            report("decisions: agent \(agent) stores another decision \(decision.sequence)")
        }
    }

    // MARK: Containers

    mutating func noteRunning(_ job: JobID, _ incarnation: Incarnation, on agent: Int, container: UInt64, at now: Int64)
    {
        if let other = running[job], forbidsTwoAtOnce {
            report(
                "two at once: job \(job) runs as incarnation \(incarnation) on agent \(agent) at \(now / 1_000_000) ms while incarnation"
                    + " \(other.incarnation) runs on agent \(other.agent)"
            )
        }
        running[job] = Running(agent: agent, incarnation: incarnation, container: container)
    }

    mutating func noteStopped(_ job: JobID, container: UInt64) {
        if running[job]?.container == container { running[job] = nil }
    }

    var runningCount: Int { running.count }

    // MARK: Clients

    mutating func noteAcknowledged(key: String, job: JobID) {
        if let other = acknowledged[key], other != job {
            report("submission \(key): acknowledged as job \(other) and as job \(job)")
        }
        acknowledged[key] = job
    }

    mutating func noteCancelled(key: String) { cancelled.insert(key) }

    /// What must be true of the last state, and of all that clients were told.
    mutating func finish(_ state: ClusterState, hasEnded: Bool) {
        var holders: [String: JobID] = [:]
        for job in state.jobs {
            if let other = holders[job.specification.name] {
                report("submission \(job.specification.name): became job \(other) and job \(job.id)")
            }
            holders[job.specification.name] = job.id
            if hasEnded, !job.state.isFinal {
                report("progress: job \(job.id) is \(job.state.rawValue): \(job.message)")
            }
        }
        for (key, id) in acknowledged.sorted(by: { $0.key < $1.key }) {
            guard let job = state.job(id) else {
                report("acknowledged: job \(id) of submission \(key) is not there")
                continue
            }
            if hasEnded, cancelled.contains(key), job.state != .cancelled {
                report("acknowledged: the cancellation of job \(id) ended as \(job.state.rawValue)")
            }
        }
        for (key, history) in histories.sorted(by: { $0.key < $1.key }) {
            switch LinearizabilityChecker.verdict(history) {
            case .linearizable: continue
            case .unknown:
                undecided += 1
                continue
            case .notLinearizable: break
            }
            let lines = history.map {
                "\($0.start / 1000)...\($0.end.map { "\($0 / 1000)" } ?? "?") us \($0.kind): \($0.result.map { "\($0)" } ?? "?")"
            }
            report("linearizability: submission \(key): \(lines.joined(separator: "; "))")
        }
    }
}
