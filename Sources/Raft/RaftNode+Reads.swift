internal import ClusterModel

/// How a read makes sure that it misses nothing.
package enum ReadMode: Sendable, Equatable, CaseIterable {
    /// A quorum confirms after the request that this member leads (thesis, section 6.4).
    case quorum
    /// At once while the lease holds, else as `quorum` (thesis, section 6.4.1); clocks must keep `RaftConfiguration.leaseMargin`.
    case lease
}

/// Why a read is refused.
package enum ReadError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Only the leader knows what is committed; it may be this one.
    case notLeader(RaftMemberID?)
    /// `RaftConfiguration.readLimit` reads are waiting.
    case busy

    package var description: String {
        switch self {
        case .notLeader(let leader?): "member \(leader) is the leader: ask it"
        case .notLeader(nil): "no leader is known: try again"
        case .busy: "too many reads are waiting for a quorum: try again later"
        }
    }
}

extension RaftNode {
    /// Asks from which entry on a state machine is fresh enough for a linearizable read; `Ready.reads` will say.
    ///
    /// - Parameters:
    ///   - context: comes back in the answer.
    ///   - mode: what the answer relies on.
    ///   - now: read after the request for the read had come, or a lease could have ended unseen between the two.
    /// - Throws: when there will be no answer.
    package mutating func requestRead(
        _ context: UInt64,
        mode: ReadMode,
        now: Instant
    ) throws(ReadError) {
        self.now = max(self.now, now)
        guard isLeader else { throw .notLeader(leader) }
        let knowsCommit = commitIndex >= asLeader.firstIndex || plantedBugs.contains(.readsBeforeFirstCommit)
        if knowsCommit, (mode == .lease && holdsLease) || plantedBugs.contains(.readsWithoutQuorum) {
            reads.append(ReadAnswer(context: context, index: commitIndex))
            return
        }
        guard asLeader.reads.count < configuration.readLimit else { throw .busy }
        // All reads that come before the next `Ready` share one round.
        asLeader.needsRound = true
        let index = knowsCommit ? commitIndex : nil
        asLeader.reads.append(PendingRead(context: context, index: index, round: asLeader.round + 1))
        // A sole voter is a quorum.
        if membership.voters == [id], !membership.isJoint {
            beginRound()
            confirmReads()
        }
    }

    /// Whether nobody else can have been elected yet: a quorum promised, when a round began that it answered, to wait for an election timeout.
    var holdsLease: Bool {
        if plantedBugs.contains(.staleLease) { return true }
        let leader = asLeader
        if leader.hasForfeitedLease, !plantedBugs.contains(.leaseSurvivesTransfer) { return false }
        func roundStart(_ voter: RaftMemberID) -> Instant {
            voter == id ? now : leader.progress(of: voter)?.roundStart ?? .distantPast(before: now)
        }
        let start =
            plantedBugs.contains(.countsLearners)
            ? Quorum.agreed(by: membership.members, roundStart) : membership.agreed(roundStart)
        guard let start else { return false }
        return now < start + configuration.electionTimeout - configuration.leaseMargin
    }

    /// Gives the reads that waited for the term's first commit their index.
    mutating func releaseReadsAfterFirstCommit() {
        guard commitIndex >= asLeader.firstIndex else { return }
        for position in asLeader.reads.indices where asLeader.reads[position].index == nil {
            asLeader.reads[position].index = commitIndex
        }
        confirmReads()
    }

    /// Answers the reads whose round a quorum has answered.
    mutating func confirmReads() {
        let leader = asLeader
        guard !leader.reads.isEmpty else { return }
        let agreed =
            membership.agreed { voter in
                voter == id ? leader.round : leader.progress(of: voter)?.round ?? 0
            } ?? 0
        let confirmed = leader.reads.prefix { $0.round <= agreed && $0.index != nil }
        guard !confirmed.isEmpty else { return }
        asLeader.reads.removeFirst(confirmed.count)
        reads += confirmed.map { ReadAnswer(context: $0.context, index: $0.index) }
    }
}
