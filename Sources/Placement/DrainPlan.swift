package import ClusterModel
package import ClusterState

/// Which jobs are asked to leave nodes that are being drained, with a last checkpoint: few of a node at a time, and only such as another node can take now.
///
/// Those that can move without ending do that instead (``MigrationPlan``).
package struct DrainPlan: Sendable {
    /// Jobs of one node that are asked at once.
    package var limitForNode: Int

    private let migration = MigrationPlan()

    /// Takes the value as it is.
    package init(limitForNode: Int = 2) { self.limitForNode = limitForNode }

    /// What to propose now.
    ///
    /// - Parameters:
    ///   - state: as of the last applied command; propose only as its leader.
    ///   - suspects: nodes to which nothing goes now, and from which nothing is asked.
    ///   - now: goes into the commands.
    /// - Returns: `moveAway`, oldest job first; nothing when no checkpoint could leave its node, since none is sealed.
    package func commands(_ state: ClusterState, suspects: Set<NodeID> = [], now: Timestamp) -> [Command] {
        guard !state.checkpointKeys.isEmpty else { return [] }
        let draining = state.nodes.filter { $0.state == .active && $0.isDraining && !suspects.contains($0.node) }
        guard !draining.isEmpty else { return [] }
        var nodes: [NodeView]?
        var commands: [Command] = []
        for record in draining {
            let jobs = state.liveJobs.filter { $0.state.mayHaveContainer && $0.node == record.node }
            var room = limitForNode - jobs.count { $0.request?.isMovingAway == true }
            for job in jobs where room > 0 && job.mayMoveAway(at: now) {
                let views = nodes ?? NodeView.all(of: state, suspects: suspects, now: now)
                nodes = views
                if state.knowsMigrations, migration.movesLive(job, among: views, now: now) { continue }
                guard Placement.choose(PlacementCandidate(job, now: now).leaving(record), among: views).node != nil
                else { continue }
                commands.append(.moveAway(job: job.id, time: now))
                room -= 1
            }
        }
        return commands
    }
}
