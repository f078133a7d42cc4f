package import ClusterModel
package import ClusterState

/// Which running jobs move where: few of a node at a time, only where they can go on, and by themselves only from nodes that are being drained.
package struct MigrationPlan: Sendable {
    /// Moves that one node takes part in at once.
    package var limitForNode: Int

    /// Takes the value as it is.
    package init(limitForNode: Int = 2) { self.limitForNode = limitForNode }

    /// Where a job would go, and why; or why it can go nowhere.
    package struct Choice: Sendable, Equatable {
        /// nil when it cannot move, or not there.
        package var to: NodeID?
        /// A sentence.
        package var reason: String
    }

    /// Why a running job cannot be moved at all, whatever the destination; nil when it can.
    ///
    /// One line without a full stop, with the remedy where there is one.
    package static func obstacle(to job: JobRecord) -> String? {
        let name = job.specification.name
        guard job.state == .running else {
            return
                "it is \(job.state.rawValue), and only a running job moves; `godwit job show \(name)` tells when it runs"
        }
        if let migration = job.migration {
            return "it is on its way from \(migration.source) to \(migration.destination) already"
        }
        if job.request != nil { return "another request is being carried out; wait for its end" }
        if job.specification.checkpoint.recovery == .fail {
            return
                "it says `checkpoint.recovery: fail`, so it must not go on from an image of itself; submit it with `restore`"
        }
        if job.specification.resources.gpus > 0 {
            return "it uses GPUs, whose memory cannot be moved; cancel it and submit it again, or let it end here"
        }
        return nil
    }

    /// Chooses where a job goes.
    ///
    /// - Parameters:
    ///   - job: the job.
    ///   - wish: a node or a site; empty: wherever it fits best.
    ///   - nodes: every node, with what it has promised; see `NodeView.all(of:suspects:now:)`.
    ///   - now: what deadlines are seen from.
    /// - Returns: a node, or a sentence that says why there is none.
    package func choose(
        _ job: JobRecord,
        to wish: String = "",
        among nodes: [NodeView],
        now: Timestamp
    ) -> Choice {
        if let obstacle = Self.obstacle(to: job) { return Choice(reason: "It cannot be moved: \(obstacle).") }
        guard let source = job.node else { return Choice(reason: "It cannot be moved: nobody knows its node.") }
        let views = nodes.filter { $0.record.node != source }
        let origin = nodes.first { $0.record.node == source }?.record
        if let platform = origin?.platform, platform.criu == nil {
            return Choice(
                reason: "It cannot be moved: node \(source) has no CRIU that works; `godwitd doctor` tells there why."
            )
        }
        let candidate = PlacementCandidate(job, now: now).leaving(origin)
        if wish == source.rawValue {
            return Choice(reason: "It runs on node \(source) already; choose another node.")
        }
        if let view = views.first(where: { $0.record.node.rawValue == wish }) {
            guard let obstacle = Obstacle.first(to: candidate, on: view) else {
                return Choice(to: view.record.node, reason: "Node \(wish) was asked for.")
            }
            return Choice(reason: "Node \(wish) cannot take it: it \(obstacle.text).")
        }
        guard wish.isEmpty || nodes.contains(where: { $0.record.site.rawValue == wish }) else {
            let known = nodes.flatMap { [$0.record.node.rawValue, $0.record.site.rawValue] }
            let closest = closestText(to: wish, among: known).map { " Did you mean '\($0)'?" } ?? ""
            return Choice(reason: "There is no node and no site '\(wish)'.\(closest) `godwit node list` shows them.")
        }
        let there = wish.isEmpty ? views : views.filter { $0.record.site.rawValue == wish }
        // What declined it lately comes last: it may have had its reasons.
        let declined = Set(job.failedMigrations?.nodes ?? [])
        let fresh = there.filter { !declined.contains($0.record.node) }
        for views in [fresh, there] {
            let choice = Placement.choose(candidate, among: views)
            if let node = choice.node { return Choice(to: node, reason: choice.reason) }
        }
        let others = there.compactMap { view in
            Obstacle.first(to: candidate, on: view).map { "\(view.record.node) \($0.text)" }
        }
        let place = wish.isEmpty ? "other node" : "node of site \(wish)"
        return Choice(
            reason:
                "No \(place) can take it\(others.isEmpty ? ": there is none" : ": " + others.joined(separator: "; "))."
        )
    }

    /// Whether a node takes part in as many moves as it may.
    package func isBusy(_ node: NodeID, _ state: ClusterState) -> Bool {
        Self.moves(of: node, in: state.liveJobs) >= limitForNode
    }

    /// Moves that a node takes part in.
    private static func moves(of node: NodeID, in jobs: [JobRecord]) -> Int {
        jobs.count { $0.migration?.source == node || $0.migration?.destination == node }
    }

    /// What to propose now: moves from nodes that are being drained, and the end of those that take too long.
    ///
    /// - Parameters:
    ///   - state: as of the last applied command; propose only as its leader.
    ///   - suspects: nodes to which nothing goes now, and from which nothing is asked.
    ///   - now: goes into the commands.
    /// - Returns: `abortMigration` and `beginMigration`, oldest job first.
    package func commands(_ state: ClusterState, suspects: Set<NodeID> = [], now: Timestamp) -> [Command] {
        guard state.knowsMigrations else { return [] }
        var jobs = state.liveJobs
        var views: [NodeView]?
        var commands: [Command] = jobs.compactMap { job in
            guard let migration = job.migration, !migration.isHandedOver,
                now - migration.phaseSince > Migration.preparationLimit
            else { return nil }
            return .abortMigration(
                job: job.id,
                number: migration.number,
                reason: "it took longer than \(Migration.preparationLimit.text)",
                declinedBy: nil,
                time: now
            )
        }
        for record in state.nodes
        where record.state == .active && record.isDraining && !suspects.contains(record.node) {
            for index in jobs.indices where jobs[index].node == record.node && jobs[index].mayMigrate(at: now) {
                guard Self.moves(of: record.node, in: jobs) < limitForNode else { break }
                var nodes = views ?? NodeView.all(of: state, suspects: suspects, now: now)
                defer { views = nodes }
                let choice = choose(jobs[index], among: nodes, now: now)
                guard let to = choice.to, Self.moves(of: to, in: jobs) < limitForNode else { continue }
                let reason = "Node \(record.node) is being drained. \(choice.reason)"
                let order = MigrationOrder(job: jobs[index].id, to: to, by: nil, reason: reason, time: now)
                commands.append(.beginMigration(order))
                jobs[index] = jobs[index].moving(order)
                // The next one finds its room taken.
                if let target = nodes.firstIndex(where: { $0.record.node == to }) {
                    nodes[target].add(PlacementCandidate(jobs[index], now: now))
                }
            }
        }
        return commands
    }

    /// Whether a job leaves its node by moving, rather than with a last checkpoint: it can, and has not failed to twice.
    package func movesLive(_ job: JobRecord, among nodes: [NodeView], now: Timestamp) -> Bool {
        (job.failedMigrations?.count ?? 0) < 2 && choose(job, among: nodes, now: now).to != nil
    }

    /// What becomes of a job whose node is being drained, in one line.
    package func departure(
        of job: JobRecord,
        among nodes: [NodeView],
        now: Timestamp
    ) -> (to: NodeID?, message: String) {
        if let migration = job.migration {
            let what =
                switch migration.phase {
                case .preparing: "node \(migration.destination) prepares for it"
                case .prepared: "is being dumped for node \(migration.destination)"
                case .handedOver: "stands still until node \(migration.destination) has it"
                case .running: "runs on node \(migration.destination), which fetches the rest"
                }
            return (migration.destination, what)
        }
        if job.request?.isMovingAway == true, job.state == .running || job.state == .checkpointing {
            return (nil, "leaves with a last checkpoint, to go on elsewhere")
        }
        guard job.state == .running else { return (nil, "is \(job.state.rawValue)") }
        let choice = choose(job, among: nodes, now: now)
        guard choice.to != nil else { return (nil, choice.reason) }
        if let failed = job.failedMigrations, failed.pauseEnd > now {
            return (nil, "the last try failed, the next is due in \((failed.pauseEnd - now).text): \(failed.reason)")
        }
        return (nil, "waits for its turn")
    }
}
