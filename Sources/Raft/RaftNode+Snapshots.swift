internal import ClusterModel

/// Snapshots and compaction (Raft, section 7; thesis, chapter 5).
extension RaftNode {
    /// A snapshot that is arriving.
    struct IncomingSnapshot: Sendable {
        let metadata: SnapshotMetadata
        let totalByteCount: UInt64
        /// Two members may write the same state differently, so chunks of different senders are not mixed.
        let sender: RaftMemberID
        var data: [UInt8] = []
    }

    // MARK: On the member that has it

    /// What a snapshot of the state after `index` must say about itself.
    ///
    /// - Returns: nil when that entry has not been applied, or is older than the newest snapshot.
    package func snapshotMetadata(at index: LogIndex) -> SnapshotMetadata? {
        guard index <= appliedIndex, index >= snapshot.metadata.index, let term = log.term(at: index),
            let membership = memberships.last(where: { $0.index <= index })?.membership
        else { return nil }
        return SnapshotMetadata(index: index, term: term, membership: membership)
    }

    /// Forgets the log up to a snapshot that is safely on disk.
    ///
    /// - Parameters:
    ///   - snapshot: with the metadata of `snapshotMetadata(at:)`; one that is not newer than the last is ignored.
    ///   - byteCount: bytes of log to keep nevertheless for followers that are a little behind.
    /// - Returns: the last forgotten entry; the shell may delete the log on disk up to it.
    package mutating func compact(to snapshot: Snapshot, keeping byteCount: Int) -> LogIndex {
        let index = snapshot.metadata.index
        guard index > self.snapshot.metadata.index, index <= appliedIndex, log.term(at: index) == snapshot.metadata.term
        else { return log.offset }
        self.snapshot = snapshot
        if let needed = memberships.lastIndex(where: { $0.index <= index }) { memberships.removeSubrange(..<needed) }
        log.compact(through: min(index, lastForgettable(keeping: byteCount)))
        return log.offset
    }

    /// How far the log may go, for the sake of followers.
    private func lastForgettable(keeping byteCount: Int) -> LogIndex {
        var kept = 0
        var index = log.lastIndex
        while index > log.offset, kept < byteCount {
            kept += log.entries[Int(index - log.offset) - 1].byteCount
            index -= 1
        }
        guard case .leader(let leader) = state, log.byteCount <= configuration.retainedLogByteLimit else {
            return index
        }
        // When the snapshot that is being sent has arrived, the log must go on where it ends, or another must be sent.
        for progress in leader.progress {
            guard case .snapshot(let transfer) = progress.state, isAlive(progress) else { continue }
            index = min(index, transfer.snapshot.metadata.index)
        }
        return index
    }

    /// Whether a member was heard from lately, by the pace at which it is spoken to.
    func isAlive(_ progress: Progress) -> Bool {
        let patience = configuration.electionTimeout
        return progress.contact
            + (progress.isVoter ? patience : max(patience, configuration.learnerHeartbeatInterval * 3))
            > now
    }

    mutating func beginSnapshot(to position: Int) {
        // Not to a member that is away: it would have to be sent again.
        let progress = asLeader.progress[position]
        guard isAlive(progress) else { return }
        if !progress.isVoter {
            guard asLeader.snapshotReceivers < configuration.snapshotReceiverLimit else { return }
            asLeader.snapshotReceivers += 1
        }
        asLeader.progress[position].becomeSnapshot(snapshot, now: now)
        guard case .snapshot(let transfer) = asLeader.progress[position].state else { return }
        continueSnapshot(transfer, to: position)
    }

    mutating func continueSnapshot(_ transfer: Progress.Transfer, to position: Int) {
        var transfer = transfer
        let data = transfer.snapshot.data
        if transfer.movedAt + configuration.electionTimeout <= now {
            // A chunk or its answer was lost: go on after what is known to be there.
            guard isAlive(asLeader.progress[position]) else { return }
            (transfer.sent, transfer.hasBegun, transfer.movedAt) = (transfer.acknowledged, false, now)
        }
        let window = configuration.snapshotWindow * configuration.snapshotChunkBytes
        while !transfer.hasBegun || (transfer.sent < data.count && transfer.sent - transfer.acknowledged < window) {
            let end = min(data.count, transfer.sent + configuration.snapshotChunkBytes)
            let chunk = SnapshotChunk(
                metadata: transfer.snapshot.metadata,
                totalByteCount: UInt64(data.count),
                offset: UInt64(transfer.sent),
                bytes: Array(data[transfer.sent..<end]),
                round: asLeader.round
            )
            sendPrompt(.snapshotChunk(chunk), to: asLeader.progress[position].id)
            (transfer.sent, transfer.hasBegun) = (end, true)
            asLeader.progress[position].noteNews(round: asLeader.round, at: now)
        }
        asLeader.progress[position].state = .snapshot(transfer)
    }

    mutating func receiveSnapshotResponse(index: LogIndex, byteCount: UInt64, at position: Int) {
        guard case .snapshot(var transfer) = asLeader.progress[position].state,
            transfer.snapshot.metadata.index == index, byteCount <= UInt64(transfer.snapshot.data.count)
        else { return }
        let received = Int(byteCount)
        if received > transfer.acknowledged {
            transfer.acknowledged = received
            transfer.sent = max(transfer.sent, received)
            transfer.movedAt = now
        } else if received < transfer.acknowledged {
            // It restarted and has lost what it had.
            (transfer.acknowledged, transfer.sent, transfer.hasBegun) = (received, received, false)
        }
        asLeader.progress[position].state = .snapshot(transfer)
    }

    // MARK: On the member that needs it

    mutating func receiveChunk(_ chunk: SnapshotChunk, from sender: RaftMemberID) {
        let metadata = chunk.metadata
        guard chunk.totalByteCount <= UInt64(configuration.snapshotByteLimit), metadata.term <= term,
            !metadata.membership.voters.isEmpty, follow(sender)
        else { return }
        if metadata.index <= commitIndex || log.term(at: metadata.index) == metadata.term {
            // This log already holds what the snapshot replaces.
            advanceCommit(to: metadata.index)
            incoming = nil
            let outcome = AppendOutcome.matches(metadata.index)
            return send(.appendResponse(round: chunk.round, outcome: outcome), to: sender)
        }
        if incoming?.metadata != metadata || incoming?.sender != sender
            || incoming?.totalByteCount != chunk.totalByteCount
        {
            incoming = IncomingSnapshot(metadata: metadata, totalByteCount: chunk.totalByteCount, sender: sender)
        }
        guard var arriving = incoming else { return }
        incoming = nil
        if chunk.offset == UInt64(arriving.data.count) { arriving.data += chunk.bytes }
        let received = UInt64(arriving.data.count)
        if received == arriving.totalByteCount {
            install(Snapshot(metadata: metadata, data: arriving.data))
            send(.appendResponse(round: chunk.round, outcome: .matches(metadata.index)), to: sender)
        } else {
            incoming = arriving
            let body = Message.Body.snapshotResponse(index: metadata.index, byteCount: received, round: chunk.round)
            send(body, to: sender)
        }
    }

    /// "Discard the entire log; reset state machine using snapshot contents (and load snapshot's cluster configuration)" (Raft, figure 13).
    private mutating func install(_ snapshot: Snapshot) {
        let metadata = snapshot.metadata
        self.snapshot = snapshot
        pendingSnapshot = snapshot
        log.reset(to: metadata)
        if plantedBugs.contains(.forgetsMembershipOfSnapshot) {
            memberships = [(metadata.index, membership)]
        } else {
            memberships = [(metadata.index, metadata.membership)]
        }
        advanceCommit(to: metadata.index)
        handedForApply = metadata.index
    }
}
