import ClusterModel
import ClusterState
import Raft
import Storage
import Transport

/// A log that is to become the beginning of a new cluster of one, because a majority of its voters was lost for good.
///
/// Everything that the log holds is taken, committed or not: what a majority had accepted is acknowledged even where this node had
/// not heard so yet, and what only this node had was promised to nobody.
struct ClusterRecovery: Sendable {
    /// Why a log cannot be made a cluster of one: a sentence for the administrator.
    struct Refusal: Error, CustomStringConvertible {
        var description: String
    }

    /// Whose log it is.
    let node: NodeID
    let membership: Raft.Membership
    let lastIndex: LogIndex
    /// When the newest command of the log that has a time was made; nil when none is there any more.
    let lastTime: Timestamp?
    /// After the whole log.
    let state: ClusterState

    private let member: RaftMemberID
    private let term: Term
    private let decisions: [NumberedDecision]
    private let forgotten: [JobID]

    /// Terms that the lost voters may have begun, so that what people see of terms goes on rising; nothing rests on it.
    private static let termGap: UInt64 = 1000

    /// Reads what a store holds.
    ///
    /// - Throws: ``Refusal`` when there is nothing to recover, `StorageError` when the log cannot be read.
    init(_ stored: StoredState) throws {
        guard let number = stored.member, stored.hardState != nil else {
            throw Refusal(description: "This node has never been a member of a cluster: there is nothing to recover.")
        }
        member = RaftMemberID(rawValue: number)
        let persisted = try ReplicaDisk.persisted(stored)
        var membership = persisted.snapshot.metadata.membership
        var state = try ReplicaDisk.state(of: persisted.snapshot)
        var (decisions, forgotten): ([NumberedDecision], [JobID]) = ([], [])
        for entry in persisted.entries {
            switch entry.payload {
            case .empty: break
            case .membership(let next, _): membership = next
            case .proposal(let bytes):
                let outcome = state.apply(try LoggedCommand(decoding: bytes).command)
                decisions += outcome.acceptance?.decisions ?? []
                forgotten += outcome.acceptance?.pruned ?? []
            }
        }
        guard !membership.isEmpty else {
            throw Refusal(
                description:
                    "This node was to join a cluster and has not heard from it yet: its log is empty. Recover another node."
            )
        }
        guard membership.voters != [member] || membership.isJoint else {
            throw Refusal(
                description: membership.members == [member]
                    ? "This node is a cluster of its own already: nothing is lost. Start its agent."
                    : "This node is the only voter of its cluster, so no majority can have been lost without it. Start its agent."
            )
        }
        guard let record = state.node(withMember: number) else {
            throw Refusal(
                description:
                    "The log does not say which node it belongs to: it ends before this node was a full member. Recover another node."
            )
        }
        node = record.node
        (self.membership, self.state, self.decisions, self.forgotten) = (membership, state, decisions, forgotten)
        lastIndex = persisted.entries.last?.index ?? persisted.snapshot.metadata.index
        term = persisted.hardState.term
        lastTime = stored.retained.reversed().reduce(Self.newestTime(of: stored.entries)) { found, entry in
            found ?? Self.newestTime(of: [entry])
        }
    }

    private static func newestTime(of entries: [LogEntry]) -> Timestamp? {
        for stored in entries.reversed() {
            guard let entry = try? Entry.decode(stored.command.span), case .proposal(let bytes) = entry.payload,
                let time = try? LoggedCommand(decoding: bytes).command.time
            else { continue }
            return time
        }
        return nil
    }

    /// The names of the other nodes that the log knows as there, and where their agents are reached.
    var others: [(node: NodeID, address: String)] {
        state.nodes.filter { $0.node != node && $0.state != .left }.map { ($0.node, $0.address) }
    }

    /// Live jobs whose container the log knows to be on another node, oldest first.
    var jobsElsewhere: [JobRecord] {
        state.liveJobs.filter { $0.state.mayHaveContainer && $0.node != node }
    }

    /// What the store is to hold: a history of its own, in which this node has a new number and is alone.
    ///
    /// Messages for the old number reach nobody, and the new lineage keeps everything else out that old members say. Gossip gets a new key
    /// for the same reason.
    func beginning(
        lineage: UInt64,
        member: RaftMemberID,
        keyring: GossipKeyring,
        now: Timestamp
    ) throws -> StateBatch {
        precondition(lineage != 0 && member != self.member)
        var state = state
        state.begin(Recovery(lineage: lineage, node: node, time: now), member: member.rawValue)
        let stored = StoredKeyring(
            version: (state.keyring?.version ?? 0) + 1,
            secret: SecretBytes(keyring.encoded()),
            time: now
        )
        _ = state.apply(.setKeyring(stored))
        let hardState = HardState(term: Term(rawValue: term.rawValue + Self.termGap), vote: nil, commit: lastIndex)
        let snapshot = Snapshot(
            metadata: SnapshotMetadata(
                index: lastIndex,
                term: hardState.term,
                membership: Raft.Membership(voters: [member])
            ),
            data: try StateCoding.encode(state)
        )
        return StateBatch(
            member: member.rawValue,
            hardState: hardState.encoded(),
            snapshot: ReplicaDisk.stored(snapshot),
            decisions: decisions,
            forgotten: forgotten
        )
    }

    // MARK: For the administrator

    /// What is in the log, one fact a line.
    func summary(now: Timestamp) -> [String] {
        let jobs = state.jobs
        let counts: [(Int, String)] = [
            (jobs.count { $0.state.mayHaveContainer }, "with a container"),
            (jobs.count { $0.state == .queued }, "queued"),
            (jobs.count { $0.state == .suspended }, "suspended"), (jobs.count { $0.state.isFinal }, "ended"),
        ]
        let told = counts.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
        var lines = ["voters: \(names(of: membership.voters))"]
        if membership.isJoint { lines.append("voters before: \(names(of: membership.outgoingVoters))") }
        let made = lastTime.map { ", made \($0) (\(max(.zero, now - $0).text) ago)" } ?? ""
        lines.append("last entry: \(lastIndex)\(made)")
        lines.append("jobs: \(told.isEmpty ? "none" : told)")
        let elsewhere = jobsElsewhere
        if !elsewhere.isEmpty {
            let some = elsewhere.prefix(20).map { "\($0.specification.name) (\($0.node?.rawValue ?? "?"))" }
            let rest = elsewhere.count > 20 ? " and \(elsewhere.count - 20) more" : ""
            lines.append("on other nodes: \(some.joined(separator: ", "))\(rest)")
        }
        return lines
    }

    private func names(of members: [RaftMemberID]) -> String {
        members.map { state.node(withMember: $0.rawValue)?.node.rawValue ?? "member \($0)" }.sorted()
            .joined(separator: ", ")
    }
}
