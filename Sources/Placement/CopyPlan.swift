package import ClusterModel
package import ClusterState

/// Which nodes keep copies of which checkpoints: what the leader has to propose so that each is where its job wants it.
///
/// The plan asks nothing but the replicated state, so a new leader goes on where the old one was. One generation of a job is copied at a time,
/// the newest first; an older one gets copies only when all newer ones have theirs.
package struct CopyPlan: Sendable {
    /// Copies that one node fetches at once.
    package var limitForNode: Int
    /// How long a lost node's copies count as if it came back: a machine that is started again costs no traffic.
    package var repairDelay: Duration
    /// How long a node that declined a generation is not asked for it again; twice as long each time it declines it once more, up to `declinePauseLimit`.
    package var declinePause: Duration = .seconds(60)
    /// The longest of these pauses; what one question costs is the copy's index at most, where there is no room.
    package var declinePauseLimit: Duration = .seconds(600)
    /// The label by which a node says that it has no room for copies of others.
    package static let fullLabel = JobSpecification.Label(key: "godwit-checkpoints", value: "full")

    /// Takes the values as they are.
    package init(limitForNode: Int = 2, repairDelay: Duration = .seconds(600)) {
        (self.limitForNode, self.repairDelay) = (limitForNode, repairDelay)
    }

    /// What to propose now.
    ///
    /// - Parameters:
    ///   - state: as of the last applied command; propose only as its leader.
    ///   - suspects: nodes that are not asked now.
    ///   - now: goes into the commands.
    ///   - limit: no further job is looked at when there are so many; what is left comes with the next call.
    /// - Returns: `placeCopies` and `copyGone`, in the order of the jobs' submission; nothing when all is as it should be.
    package func commands(
        _ state: ClusterState,
        suspects: Set<NodeID> = [],
        now: Timestamp,
        limit: Int = 64
    ) -> [Command] {
        var view = View(state, suspects: suspects, now: now, plan: self)
        guard view.nodes.count > 1 else { return [] }
        var commands: [Command] = []
        for job in state.liveJobs {
            guard commands.count < limit else { break }
            commands += self.commands(for: job, &view)
        }
        return commands
    }

    /// The nodes that will most likely be asked to keep the checkpoint that a job is taking; none where it wants no copies.
    ///
    /// What the leader sees by then may be another state; it alone decides.
    package func likelyHolders(
        of job: JobRecord,
        taking generation: CheckpointGeneration,
        in state: ClusterState,
        now: Timestamp
    ) -> [NodeID] {
        guard let home = job.node else { return [] }
        var view = View(state, suspects: [], now: now, plan: self)
        let entry = CatalogEntry(
            generation: generation,
            taken: now,
            node: home,
            incarnation: job.incarnation,
            frozen: .zero,
            total: .zero,
            raw: .zero,
            stored: .zero,
            consumed: .zero,
            completedIterations: 0
        )
        return view.choose(job.specification.checkpoint.replicas, for: entry, of: job, beside: [home])
    }

    private func commands(for job: JobRecord, _ view: inout View) -> [Command] {
        let count = job.specification.checkpoint.replicas + 1
        var commands: [Command] = []
        var isBusy = job.catalog.contains { entry in
            entry.state == .complete && !entry.wantedCopies.filter(view.canFetch).isEmpty
        }
        for entry in job.catalog.reversed() where entry.state == .complete && entry.seal != nil {
            let live = entry.holders.filter(view.isLive)
            guard !live.isEmpty else { continue }
            let kept = entry.holders.filter(view.counts)
            let pending = entry.wantedCopies.filter(view.canFetch)
            let missing = count - kept.count - pending.count
            if missing <= 0 || isBusy {
                if pending.count < entry.wantedCopies.count {
                    commands.append(view.place(pending, of: entry, of: job))
                }
                if pending.isEmpty, kept.count >= count {
                    commands += surplus(entry, of: job, count: count, view)
                }
                continue
            }
            let chosen = view.choose(missing, for: entry, of: job, beside: kept + pending)
            if Set(pending + chosen) != Set(entry.wantedCopies) {
                commands.append(view.place(pending + chosen, of: entry, of: job))
            }
            // The older ones wait for this one, unless nobody can take it.
            if !(pending + chosen).isEmpty { isBusy = true }
        }
        return commands
    }

    /// Copies that are not needed any more: those of nodes that are lost for long, and one too many of a node that is being drained or loaded most.
    private func surplus(_ entry: CatalogEntry, of job: JobRecord, count: Int, _ view: View) -> [Command] {
        let live = entry.holders.filter(view.isLive)
        guard live.count >= count else { return [] }
        var gone = entry.holders.filter { !view.counts($0) && !view.isLive($0) }
        let spare = live.filter { $0 != job.node && $0 != job.assignedNode }
            .sorted { view.rank(toDrop: $0) > view.rank(toDrop: $1) }
        gone += spare.prefix(live.count - count)
        return gone.map { .copyGone(job: job.id, generation: entry.generation, node: $0, time: view.now) }
    }

    /// The nodes as the plan sees them, with what it has promised so far.
    private struct View {
        let nodes: [NodeID: NodeRecord]
        let suspects: Set<NodeID>
        let now: Timestamp
        let plan: CopyPlan
        /// Bytes of copies that each node keeps or is to keep.
        var stored: [NodeID: Int64] = [:]
        /// Copies that each node is fetching.
        var fetching: [NodeID: Int] = [:]

        init(_ state: ClusterState, suspects: Set<NodeID>, now: Timestamp, plan: CopyPlan) {
            (self.suspects, self.now, self.plan) = (suspects, now, plan)
            nodes = Dictionary(state.nodes.filter { $0.state != .left }.map { ($0.node, $0) }) { first, _ in first }
            for job in state.jobs {
                for entry in job.catalog {
                    for node in entry.holders + entry.wantedCopies { stored[node, default: 0] += entry.stored.rawValue }
                    for node in entry.wantedCopies { fetching[node, default: 0] += 1 }
                }
            }
        }

        func isLive(_ node: NodeID) -> Bool { nodes[node]?.state.isLive == true }

        /// Whether a copy there counts as one: on a node that is there and stays, or that was lost only a moment ago.
        func counts(_ node: NodeID) -> Bool {
            guard let record = nodes[node] else { return false }
            return record.state.isLive ? !record.isDraining : now < record.since + plan.repairDelay
        }

        /// Whether a node that was asked for a copy can be expected to get it.
        func canFetch(_ node: NodeID) -> Bool {
            guard let record = nodes[node] else { return false }
            return record.state == .active && !record.isDraining && !suspects.contains(node)
        }

        /// Whether a node has not declined a generation, or so long ago that it may be asked for it again.
        func mayAsk(_ node: NodeID, for entry: CatalogEntry) -> Bool {
            guard let decline = entry.copies?.decline(of: node) else { return true }
            return now >= decline.last
                + Backoff.delay(attempt: decline.count, first: plan.declinePause, maximum: plan.declinePauseLimit)
        }

        /// Which copy is given up first: of a node that is being drained, then of the one that keeps most.
        func rank(toDrop node: NodeID) -> (Int, Int64, String) {
            (nodes[node]?.isDraining == true ? 1 : 0, stored[node] ?? 0, node.rawValue)
        }

        func place(_ wanted: [NodeID], of entry: CatalogEntry, of job: JobRecord) -> Command {
            .placeCopies(job: job.id, generation: entry.generation, nodes: wanted.sorted(), time: now)
        }

        /// The best nodes for more copies: where the job asks for another site one of those first, else those at the site of the first copy
        /// and no others; of these the ones that have not declined it, then those that could go on with the job, then those that have the generation before, of which they need not get
        /// what is the same, then those that keep least.
        mutating func choose(
            _ count: Int,
            for entry: CatalogEntry,
            of job: JobRecord,
            beside present: [NodeID]
        ) -> [NodeID] {
            let home = nodes[entry.node]?.site ?? present.compactMap { nodes[$0]?.site }.first
            let earlier = job.catalog.last { $0.state == .complete && $0.generation < entry.generation }?.holders ?? []
            var chosen: [NodeID] = []
            let platform = entry.platform ?? nodes[entry.node]?.platform
            let hash = TieBreak.hash(job.id.rawValue)
            var sites = Set(present.compactMap { nodes[$0]?.site })
            func rank(_ record: NodeRecord, wantsOther: Bool) -> (Int, Int, Int, Int64, UInt64, String) {
                let isFit = PlatformObstacle.first(from: platform, to: record.platform, isStrict: false) == nil
                let hasDeclined = entry.copies?.declined.contains(record.node) == true
                return (
                    ((record.site == home) == wantsOther ? 2 : 0) + (hasDeclined ? 1 : 0), isFit ? 0 : 1,
                    earlier.contains(record.node) ? 0 : 1,
                    stored[record.node] ?? 0, TieBreak.mix(hash, TieBreak.hash(record.node.rawValue)),
                    record.node.rawValue
                )
            }
            while chosen.count < count {
                let wantsOther = job.specification.checkpoint.otherSite && sites.count < 2
                let best = nodes.values.filter { record in
                    canFetch(record.node) && record.label(CopyPlan.fullLabel.key) != CopyPlan.fullLabel.value
                        && !entry.holders.contains(record.node) && !present.contains(record.node)
                        && !chosen.contains(record.node) && mayAsk(record.node, for: entry)
                        && fetching[record.node, default: 0] < plan.limitForNode
                        && (job.specification.checkpoint.otherSite || record.site == home)
                }.min { rank($0, wantsOther: wantsOther) < rank($1, wantsOther: wantsOther) }
                guard let best else { break }
                chosen.append(best.node)
                sites.insert(best.site)
                stored[best.node, default: 0] += entry.stored.rawValue
                fetching[best.node, default: 0] += 1
            }
            return chosen
        }
    }
}
