package import ClusterModel

/// That the cluster began again from the log of one node, after a majority of its voters was lost for good.
package struct Recovery: Sendable, Codable, Equatable {
    /// Names the history from here on; never 0.
    package var lineage: UInt64
    /// Whose log it was.
    package var node: NodeID
    package var time: Timestamp
    /// The numbers of the other nodes that were there, sorted; they never speak again.
    package internal(set) var formerMembers: [UInt64] = []

    /// Takes the values as they are.
    package init(lineage: UInt64, node: NodeID, time: Timestamp) {
        (self.lineage, self.node, self.time) = (lineage, node, time)
    }
}

extension ClusterState {
    /// Names the history that this state belongs to: 0 from the founding on, another number from each recovery on.
    ///
    /// Members of two histories must not hear each other: each side has acknowledged what the other does not know.
    package var lineage: UInt64 { recovery?.lineage ?? 0 }

    /// Nodes of before the recovery that have not been declared lost since, by name: their right to run containers may go on.
    ///
    /// While there is one, nobody may start a container: what the log of the one node says about where jobs are may be out of date.
    package var unsettledNodes: [NodeID] { nodes.filter(isUnsettled).map(\.node) }

    /// Whether the right of a node of before the recovery may go on.
    package var isSettling: Bool { nodeTable.all.contains(where: isUnsettled) }

    func isUnsettled(_ record: NodeRecord) -> Bool {
        record.state.isLive && recovery?.formerMembers.contains(record.member) == true
    }

    /// Begins a new history in which only one node is there, with a new number.
    ///
    /// No command, since nobody else is to apply it: it is done to the state that the new history begins with. The other nodes stay as they
    /// are, until the leader has waited for as long as for any node that does not answer, and declares them lost.
    package mutating func begin(_ recovery: Recovery, member: UInt64) {
        var recovery = recovery
        recovery.formerMembers = nodes.filter { $0.node != recovery.node && $0.state.isLive }.map(\.member).sorted()
        self.recovery = recovery
        nodeTable[recovery.node]?.member = member
        lastMember = max(lastMember, member)
        audit(
            "The cluster begins anew from the log of node \(recovery.node) alone (`godwitd recover`); what the others had accepted and it "
                + "had not is gone.",
            by: "node:\(recovery.node)",
            at: recovery.time
        )
    }
}

extension Command {
    /// When it was made; nil for what has no time of its own.
    package var time: Timestamp? {
        switch self {
        case .configure, .checkpointRetired, .note: nil
        case .submit(let submission): submission.time
        case .requestCheckpoint(_, _, _, let time), .requestRestore(_, _, _, let time),
            .requestCancel(_, _, _, let time), .waiting(_, _, let time), .begin(_, _, let time, _),
            .started(_, _, let time), .adopted(_, _, let time), .exited(_, _, _, _, let time, _),
            .beginCheckpoint(_, _, let time), .checkpointRecorded(_, _, let time),
            .checkpointFailed(_, _, _, _, let time), .checkpointDamaged(_, _, _, let time), .ledger(_, let time),
            .placeCopies(_, _, _, let time), .copyHeld(_, _, _, let time), .copyDeclined(_, _, _, _, let time),
            .copyDamaged(_, _, _, _, let time), .copyGone(_, _, _, let time), .moveAway(_, let time),
            .dropCheckpointKeys(_, let time), .preempt(_, _, _, let time), .migrationPrepared(_, _, let time),
            .abortMigration(_, _, _, _, let time), .handOver(_, _, _, let time), .migrationFailed(_, _, _, let time),
            .migrationDrained(_, _, _, let time), .passOver(_, _, _, let time),
            .allocate(_, let time), .prune(let time), .nodeLost(_, _, let time), .cordon(_, _, let time),
            .drain(_, _, _, let time), .undrain(_, _, let time), .assign(_, _, _, let time),
            .unassign(_, _, let time), .nameCluster(_, let time), .distrust(_, _, let time),
            .auditEntry(_, _, let time):
            time
        case .beginMigration(let order): order.time
        case .importCheckpoint(let imported): imported.time
        case .removeCheckpoint(let removal): removal.time
        case .releaseCheckpoint(let release): release.time
        case .requestResize(let resize): resize.time
        case .restoreFailed(let failure): failure.time
        case .registerNode(let registration): registration.time
        case .nodeLeft(let departure): departure.time
        case .revoke(let revocation): revocation.time
        case .setKeyring(let keyring): keyring.time
        case .addCheckpointKey(let key): key.time
        case .trust(let authority): authority.time
        }
    }
}
