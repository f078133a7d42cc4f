internal import ClusterModel

/// The way out: what the shell must do, and what it says about it.
extension RaftNode {
    /// What is to be done now; nil when there is nothing.
    package mutating func ready() -> Ready? {
        if isLeader { flushAppends() }
        var ready = Ready(number: lastReadyNumber + 1)
        ready.snapshot = pendingSnapshot
        ready.entries = log.takeUnhanded()
        let isPromise = hardState.term != handedHardState.term || hardState.vote != handedHardState.vote
        // The commit index alone is no reason to write: after a restart the leader tells it again.
        if isPromise || ((ready.snapshot != nil || !ready.entries.isEmpty) && hardState != handedHardState) {
            ready.hardState = hardState
            // No further than the disk has the log already: this write may tear after its first record, and then what lies beyond is
            // what it was to replace.
            ready.hardState?.commit = min(hardState.commit, log.persisted)
            handedHardState = hardState
        }
        (ready.prompt, ready.messages, ready.reads) = (prompt, messages, reads)
        (prompt, messages, reads, pendingSnapshot) = ([], [], [], nil)
        ready.committed = takeCommitted()
        let hasWork = ready.needsPersisting || !ready.prompt.isEmpty || !ready.messages.isEmpty
        guard hasWork || !ready.committed.isEmpty || !ready.reads.isEmpty else { return nil }
        lastReadyNumber = ready.number
        if ready.needsPersisting {
            beingPersisted.append((ready.number, log.lastIndex, log.lastTerm, term, now))
        }
        return ready
    }

    /// The next committed entries; the ones after them wait until these have been applied.
    private mutating func takeCommitted() -> [Entry] {
        guard appliedIndex >= handedForApply, handedForApply < commitIndex else { return [] }
        let entries = Array(log.slice(handedForApply + 1...commitIndex, byteLimit: configuration.applyByteLimit))
        handedForApply = entries.last?.index ?? handedForApply
        return entries
    }

    /// Takes note that everything of the `Ready` of this number, and of those before, is on disk and synced.
    ///
    /// Not to be called when a disk fails to sync: then nothing is known of what it holds, and the member must end and start again.
    package mutating func persisted(_ number: UInt64, now: Instant) {
        self.now = max(self.now, now)
        guard let last = beingPersisted.last(where: { $0.number <= number }) else { return }
        for done in beingPersisted where done.number <= number {
            log.notePersisted(done.lastIndex, term: done.lastTerm)
        }
        beingPersisted.removeAll { $0.number <= number }
        persistedTerm = max(persistedTerm, last.term)
        if isLeader { advanceLeaderCommit() }
    }

    /// Takes note that the state machine has taken the snapshot or the committed entries up to here.
    ///
    /// - Precondition: they were handed out.
    package mutating func applied(through index: LogIndex) {
        precondition(index <= handedForApply, "entry \(index) was applied, but only \(handedForApply) was handed out")
        appliedIndex = max(appliedIndex, index)
    }
}
