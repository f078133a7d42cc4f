package import ClusterModel
package import ClusterState

/// Which checkpoints a node lets go when all that it keeps takes more than it should.
///
/// The oldest go first, of whichever job; what some job needs stays, however full the node is: then it declines copies of others instead.
package struct SpacePlan: Sendable {
    /// Share of the bound from which on checkpoints go.
    package var beginning = 0.9
    /// Share of the bound at which enough have gone.
    package var end = 0.8
    /// Checkpoints that go at once; the next look goes on.
    package var limit = 8

    /// With the values above.
    package init() {}

    /// What to propose now.
    ///
    /// `used` is what all checkpoints take on the node, what they share counted once, and `bound` what they may take.
    package func commands(
        _ state: ClusterState,
        of node: NodeID,
        used: ByteCount,
        bound: ByteCount,
        now: Timestamp
    ) -> [Command] {
        guard state.version >= 6, Double(used.rawValue) > beginning * Double(bound.rawValue) else { return [] }
        let surplus = state.liveJobs.flatMap { job in
            job.catalog.filter { $0.state == .complete && $0.holders.contains(node) && !job.isNeeded($0) }
                .map { (job: job.id, entry: $0) }
        }.sorted { ($0.entry.taken, $0.job, $0.entry.generation) < ($1.entry.taken, $1.job, $1.entry.generation) }
        var rest = used.rawValue
        var commands: [Command] = []
        for (job, entry) in surplus where commands.count < limit {
            guard Double(rest) > end * Double(bound.rawValue) else { break }
            rest -= entry.stored.rawValue
            let release = CheckpointRelease(
                job: job,
                generation: entry.generation,
                node: node,
                reason:
                    "checkpoints take \(used) on node \(node), which keeps \(bound) of them (checkpoints.spaceLimit).",
                time: now
            )
            commands.append(.releaseCheckpoint(release))
        }
        return commands
    }
}
