package import ClusterModel

// Which nodes there are, and what follows when one comes or goes.
extension ClusterState {
    /// Nodes that the state holds at most; those that left do not count.
    package static let nodeLimit = 1024
    /// Grace for a container that a drain stops.
    static let moveGrace: Duration = .seconds(10)

    /// Every node that is known, also those lost and left, by name.
    package var nodes: [NodeRecord] { nodeTable.all }

    /// The record of a node.
    package func node(_ node: NodeID) -> NodeRecord? { nodeTable[node] }

    /// The node that has a number in the Raft group; nil when none that is still of the cluster has it.
    package func node(withMember member: UInt64) -> NodeRecord? {
        nodeTable.all.first { $0.member == member && $0.state != .left }
    }

    /// A number for a new member of the Raft group that no node ever had.
    package var nextMember: UInt64 { lastMember &+ 1 }

    /// Jobs with a container on a node, or about to have one, by rising submission time: what a drain waits for.
    package func jobsLeft(on node: NodeID) -> [JobRecord] {
        liveJobs.filter { job in
            (job.state.mayHaveContainer && job.node == node) || job.assignedNode == node
                || (job.migration?.source == node && job.migration?.isSourceLost == false)
        }
    }

    mutating func register(_ registration: NodeRegistration) throws(Refusal) -> Acceptance {
        try check(registration)
        let node = registration.node
        var registration = registration
        registration.labels.sort { $0.key < $1.key }
        let known = nodeTable[node]
        if let known, known.state.isLive, known.member != registration.member {
            throw Refusal(
                .conflict,
                "Node \(node) is \(known.state.rawValue) as member \(known.member), so member \(registration.member) cannot be "
                    + "it too. If its disk was replaced, wait until it is lost, or remove it with `godwit node remove \(node)`."
            )
        }
        if let holder = self.node(withMember: registration.member), holder.node != node {
            throw Refusal(
                .conflict,
                "Member \(registration.member) is node \(holder.node). A new node needs a number of its own: join again."
            )
        }
        guard registration.speaks >= version else {
            throw Refusal(
                .conflict,
                "Node \(node) runs godwitd \(registration.version), which knows version \(registration.speaks) of the state, and the "
                    + "cluster is at version \(version). Install a newer godwitd there."
            )
        }
        let others = nodeTable.all.count { $0.state != .left && $0.node != node }
        guard others < Self.nodeLimit else {
            throw Refusal(.exhausted, "The cluster has \(others) nodes, which is the most it can have.")
        }
        var record = known ?? NodeRecord(registration)
        record.update(registration)
        lastMember = max(lastMember, registration.member)
        var acceptance = Acceptance()
        guard record != known else { return acceptance }
        nodeTable[node] = record
        acceptance.changedNodes = [node]
        raiseVersion()
        tell(record, after: known, at: registration.time)
        return acceptance
    }

    private func check(_ registration: NodeRegistration) throws(Refusal) {
        func require(_ holds: Bool, _ what: String) throws(Refusal) {
            guard holds else { throw Refusal(.invalid, "Node \(registration.node) cannot register: \(what).") }
        }
        try require(isLabel(registration.node.rawValue), "its name is not a DNS label")
        try require(isLabel(registration.site.rawValue), "its site is not a DNS label")
        try require(registration.member != 0, "its member number is 0")
        try require((3...300).contains(registration.address.utf8.count), "its address is not host:port")
        try require(
            registration.vcpus.rawValue.isFinite && (0...65_536).contains(registration.vcpus.rawValue),
            "it has \(registration.vcpus) vCPUs"
        )
        try require(registration.memory >= .zero, "it has less than no memory")
        try require((0...4096).contains(registration.deviceCount), "it has \(registration.deviceCount) devices")
        if let network = registration.network {
            try require(
                network.subnet.network == network.subnet && network.subnet.contains(network.range.first)
                    && network.subnet.contains(network.range.last) && network.range.first <= network.range.last,
                "the range of its network is not within the subnet"
            )
        }
        if let platform = registration.platform {
            try require(
                (1...32).contains(platform.architecture.utf8.count),
                "its architecture has no name of 1 to 32 bytes"
            )
            try require(platform.stateSize >= 0, "its processors have less than no state")
        }
        let keys = Set(registration.labels.map(\.key))
        let isCountRight = keys.count == registration.labels.count && keys.count <= 64
        try require(isCountRight, "it has more than 64 labels, or one twice")
        let longest = registration.labels.map { max($0.key.utf8.count, $0.value.utf8.count) }.max() ?? 0
        try require(longest <= 1024 && registration.version.utf8.count <= 64, "a text of it is too long")
    }

    /// The least that all live nodes know, unless it was more before.
    private mutating func raiseVersion() {
        let spoken = nodeTable.all.lazy.filter(\.state.isLive).map(\.speaks).min() ?? version
        version = max(version, spoken)
    }

    private mutating func tell(_ record: NodeRecord, after known: NodeRecord?, at time: Timestamp) {
        let place = "member \(record.member), site \(record.site), \(record.role.rawValue), \(record.address)"
        let what: String? =
            switch (known?.state, record.state) {
            case (nil, _), (.left, _): "Node \(record.node) joined the cluster (\(place))."
            case (.lost, _): "Node \(record.node) came back (\(place))."
            case (.joining, .active): "Node \(record.node) is ready."
            default: known?.address == record.address ? nil : "Node \(record.node) moved to \(record.address)."
            }
        if let what { audit(what, by: "node:\(record.node)", at: time) }
    }

    mutating func nodeLeft(_ departure: NodeDeparture) throws(Refusal) -> Acceptance {
        let node = departure.node
        var record = try known(node)
        guard record.state != .left else { throw Refusal(.stale, "Node \(node) has left.") }
        guard !isUnsettled(record) else {
            throw Refusal(
                .conflict,
                "Node \(node) is of before the recovery of this cluster, and its containers may still run. Wait until it is declared lost."
            )
        }
        let left = liveJobs.filter {
            ($0.state.mayHaveContainer && $0.node == node)
                || ($0.migration?.isSourceLost == false && $0.occupiedNodes.contains(node))
        }
        guard left.isEmpty else {
            throw Refusal(
                .conflict,
                "Node \(node) still runs \(Self.names(left)). Drain it first with `godwit node drain \(node)`; if it is dead, wait until "
                    + "it is declared lost."
            )
        }
        let needing = liveJobs.filter {
            JobChange(record: $0, time: departure.time, nodes: nodeTable).needsFiles(of: node)
        }
        guard needing.isEmpty || departure.abandonsCheckpoints else {
            throw Refusal(
                .conflict,
                "Node \(node) has the only checkpoints of \(Self.names(needing)). Restore or cancel them first, or abandon the "
                    + "checkpoints with --force."
            )
        }
        record.state = .left
        record.since = departure.time
        record.reason = departure.by.map { "Removed by \($0)." } ?? "It left by itself."
        nodeTable[node] = record
        var acceptance = Acceptance()
        acceptance.changedNodes = [node]
        audit("Node \(node) left the cluster.", by: departure.by?.rawValue ?? "node:\(node)", at: departure.time)
        goOn(without: node, cause: "Node \(node) left the cluster.", at: departure.time, into: &acceptance)
        forgetFiles(of: node, at: departure.time, into: &acceptance)
        raiseVersion()
        return acceptance
    }

    mutating func nodeLost(_ node: NodeID, reason: String, at time: Timestamp) throws(Refusal) -> Acceptance {
        var record = try known(node)
        guard record.state.isLive else { throw Refusal(.stale, "Node \(node) is \(record.state.rawValue).") }
        record.state = .lost
        record.since = time
        record.reason = reason
        nodeTable[node] = record
        var acceptance = Acceptance()
        acceptance.changedNodes = [node]
        let why = reason.isEmpty ? "" : ": " + (reason.hasSuffix(".") ? String(reason.dropLast()) : reason)
        audit("Node \(node) is lost\(why).", by: "leader", at: time)
        goOn(without: node, cause: "Node \(node) is lost\(why).", at: time, into: &acceptance)
        for job in jobs where job.catalog.contains(where: { $0.state == .retiring && $0.holders.contains(node) }) {
            var change = JobChange(record: job, time: time, nodes: nodeTable)
            change.forgetRetiringFiles(of: node)
            take(change, into: &acceptance)
        }
        acceptance.changed = Set(acceptance.changed).sorted()
        raiseVersion()
        return acceptance
    }

    mutating func cordon(_ node: NodeID, by user: UserID, at time: Timestamp) throws(Refusal) -> Acceptance {
        var record = try present(node)
        var acceptance = Acceptance()
        guard !record.isCordoned else { return acceptance }
        record.isCordoned = true
        nodeTable[node] = record
        acceptance.changedNodes = [node]
        audit("Node \(node) takes no new jobs.", by: user.rawValue, at: time)
        return acceptance
    }

    mutating func drain(
        _ node: NodeID,
        restartsJobs: Bool,
        by user: UserID,
        at time: Timestamp
    ) throws(Refusal) -> Acceptance {
        var record = try present(node)
        var acceptance = Acceptance()
        let isNew = !record.isDraining
        record.isCordoned = true
        record.isDraining = true
        if nodeTable[node] != record {
            nodeTable[node] = record
            acceptance.changedNodes = [node]
        }
        for job in liveJobs {
            var change = JobChange(record: job, time: time, nodes: nodeTable)
            if job.state == .queued, job.assignedNode == node {
                try change.unassign(because: "Waits for another node, because \(user) drains \(node).")
            } else if restartsJobs, job.node == node {
                _ = change.requestMove(grace: Self.moveGrace, by: user)
            }
            take(change, into: &acceptance)
        }
        let left = jobsLeft(on: node)
        if isNew || !acceptance.changed.isEmpty {
            let jobs =
                switch left.count {
                case 0: "no job is left there"
                case 1: "one job is left there"
                default: "\(left.count) jobs are left there"
                }
            audit(
                "Node \(node) is being drained\(restartsJobs ? ", its jobs are begun anew elsewhere" : ""); \(jobs).",
                by: user.rawValue,
                at: time
            )
        }
        return acceptance
    }

    mutating func undrain(_ node: NodeID, by user: UserID, at time: Timestamp) throws(Refusal) -> Acceptance {
        var record = try present(node)
        var acceptance = Acceptance()
        guard record.isCordoned || record.isDraining else { return acceptance }
        record.isCordoned = false
        record.isDraining = false
        nodeTable[node] = record
        acceptance.changedNodes = [node]
        for job in liveJobs
        where job.node == node && (job.request?.isMovingAway == true || job.migration?.source == node) {
            var change = JobChange(record: job, time: time, nodes: nodeTable)
            change.stay()
            take(change, into: &acceptance)
        }
        audit("Node \(node) takes jobs again.", by: user.rawValue, at: time)
        return acceptance
    }

    private func known(_ node: NodeID) throws(Refusal) -> NodeRecord {
        if let record = nodeTable[node] { return record }
        var message = "There is no node \(node)."
        if let closest = closestText(to: node.rawValue, among: nodes.map(\.node.rawValue)) {
            message += " Did you mean '\(closest)'?"
        }
        throw Refusal(.notFound, message + " `godwit node list` shows every node.")
    }

    private func present(_ node: NodeID) throws(Refusal) -> NodeRecord {
        let record = try known(node)
        guard record.state != .left else {
            throw Refusal(
                .conflict,
                "Node \(node) has left the cluster. It can join again with a certificate of this name."
            )
        }
        return record
    }

    /// Lets every job that needs a node that is gone go on without it, in the order of submission.
    private mutating func goOn(
        without node: NodeID,
        cause: String,
        at time: Timestamp,
        into acceptance: inout Acceptance
    ) {
        for job in liveJobs {
            var change = JobChange(record: job, time: time, nodes: nodeTable)
            guard change.depends(on: node) else { continue }
            change.nodeGone(node, cause: cause)
            take(change, into: &acceptance)
        }
    }

    private mutating func forgetFiles(of node: NodeID, at time: Timestamp, into acceptance: inout Acceptance) {
        for job in jobs
        where job.catalog.contains(where: {
            $0.holders.contains(node) || $0.wantedCopies.contains(node) || $0.copies?.declined.contains(node) == true
        }) {
            var change = JobChange(record: job, time: time, nodes: nodeTable)
            change.forgetFiles(of: node)
            take(change, into: &acceptance)
        }
        acceptance.changed = Set(acceptance.changed).sorted()
    }

    mutating func pruneNodes(at time: Timestamp, into acceptance: inout Acceptance) {
        for record in nodes where record.state == .left && record.since + limits.endedRetention <= time {
            nodeTable[record.node] = nil
            acceptance.changedNodes.append(record.node)
        }
    }

    private static func names(_ jobs: [JobRecord]) -> String {
        let some = jobs.prefix(3).map { "'\($0.specification.name)'" }.joined(separator: ", ")
        return jobs.count > 3 ? "\(jobs.count) jobs (\(some), ...)" : "\(some)"
    }
}
