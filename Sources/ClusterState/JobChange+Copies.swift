import ClusterModel

// Copies of checkpoints on other nodes: who is to have one, who has one, and what follows when one is gone.
extension JobChange {
    /// Says which nodes are to fetch the files, instead of those that were to before.
    mutating func placeCopies(of generation: CheckpointGeneration, on wanted: [NodeID]) throws(Refusal) {
        let index = try entry(generation)
        let entry = record.catalog[index]
        guard entry.state == .complete, entry.seal != nil else {
            throw refuse(
                "checkpoint \(generation) is \(entry.seal == nil ? "not sealed" : entry.state.rawValue)",
                "Copy another one."
            )
        }
        for node in wanted where nodes[node]?.state.isLive != true {
            throw Refusal(.notFound, "There is no node \(node) that could keep a copy.")
        }
        let new = Set(wanted).subtracting(entry.holders).sorted()
        record.catalog[index].changeCopies { $0.wanted = new }
    }

    /// A node has the files, complete and durable.
    mutating func copyHeld(of generation: CheckpointGeneration, by node: NodeID) throws(Refusal) {
        let index = try entry(generation)
        let entry = record.catalog[index]
        guard !entry.holders.contains(node) else {
            throw Refusal(.stale, "Node \(node) is known to have checkpoint \(generation).")
        }
        guard nodes[node]?.state.isLive == true else { throw Refusal(.stale, "Node \(node) is not there any more.") }
        // One that nobody asked for is told as well: of a restore that fetched the files for itself.
        record.catalog[index].changeCopies { copies in
            copies.holders.append(node)
            copies.wanted.removeAll { $0 == node }
            copies.forgetDecline(of: node)
        }
        if entry.state == .complete { retireSurplus() }
    }

    /// A node that was to fetch the files cannot take them.
    mutating func copyDeclined(of generation: CheckpointGeneration, by node: NodeID, reason: String) throws(Refusal) {
        let index = try entry(generation)
        guard record.catalog[index].wantedCopies.contains(node) else {
            throw Refusal(.stale, "Node \(node) is not asked to keep checkpoint \(generation).")
        }
        let hasSaidSo = record.catalog[index].copies?.declined.contains(node) == true
        record.catalog[index].changeCopies { copies in
            copies.wanted.removeAll { $0 == node }
            copies.noteDecline(of: node, at: time)
        }
        // It is asked again and again: the job's story need not tell each time.
        if !hasSaidSo { decide(.warned, "Node \(node) cannot keep a copy of checkpoint \(generation): \(reason)") }
    }

    /// The files on a node are not what was written; the others' are.
    mutating func copyDamaged(of generation: CheckpointGeneration, on node: NodeID, reason: String) throws(Refusal) {
        let index = try entry(generation)
        let entry = record.catalog[index]
        guard entry.holders.contains(node) else {
            throw Refusal(.stale, "Node \(node) is not known to have checkpoint \(generation).")
        }
        guard entry.holders.count > 1 else { return try checkpointDamaged(generation, reason: reason) }
        forgetCopy(of: index, on: node)
        guard entry.state == .complete else { return }
        let others = Self.names(record.catalog[index].holders)
        decide(
            .warned,
            "The copy of checkpoint \(generation) on node \(node) is damaged: \(reason) It is still on \(others)."
        )
        goOnWithout(record.catalog[index], because: "The copy of checkpoint \(generation) on node \(node) is damaged.")
    }

    /// The files on a node are deleted, or count no more; whoever finds them there deletes them.
    mutating func copyGone(of generation: CheckpointGeneration, from node: NodeID) throws(Refusal) {
        let index = try entry(generation)
        let entry = record.catalog[index]
        guard entry.holders.contains(node) || entry.wantedCopies.contains(node) else {
            throw Refusal(.stale, "Node \(node) is not known to have checkpoint \(generation).")
        }
        if entry.state == .retiring, entry.holders == [node] {
            record.catalog.remove(at: index)
            return
        }
        let rest = entry.holders.filter { $0 != node }
        guard entry.state == .retiring || rest.contains(where: { nodes[$0]?.state.isLive == true }) else {
            throw refuse("node \(node) has the only copy of checkpoint \(generation)", "Keep it.")
        }
        forgetCopy(of: index, on: node)
    }

    /// Forgets the files of a node that is gone for good, and with them generations that were only there.
    mutating func forgetFiles(of node: NodeID) {
        for index in record.catalog.indices.reversed() {
            let entry = record.catalog[index]
            if entry.holders == [node] { record.catalog.remove(at: index) } else { forgetCopy(of: index, on: node) }
        }
    }

    /// Forgets what a lost node was to delete: it does so when it comes back and finds that nobody wants it.
    mutating func forgetRetiringFiles(of node: NodeID) {
        for index in record.catalog.indices.reversed() where record.catalog[index].state == .retiring {
            let entry = record.catalog[index]
            guard entry.copies != nil, entry.holders.contains(node) else { continue }
            if entry.holders == [node] { record.catalog.remove(at: index) } else { forgetCopy(of: index, on: node) }
        }
    }

    private mutating func forgetCopy(of index: Int, on node: NodeID) {
        record.catalog[index].changeCopies { copies in
            copies.holders.removeAll { $0 == node }
            copies.wanted.removeAll { $0 == node }
            copies.forgetDecline(of: node)
        }
    }

    private func entry(_ generation: CheckpointGeneration) throws(Refusal) -> Int {
        guard let index = record.catalog.firstIndex(where: { $0.generation == generation }) else {
            throw Refusal(.stale, "Checkpoint \(generation) of job \(record.id) is not in the catalog.")
        }
        return index
    }

    /// Takes an older checkpoint when a waiting job was to go on from one that no node has any more.
    private mutating func goOnWithout(_ entry: CatalogEntry, because why: String) {
        guard record.state == .queued, let resumption = record.resumption, resumption.generation == entry.generation,
            !nodes.holds(entry)
        else { return }
        next(after: resumption, because: why)
    }

    /// Nodes in words: "node n1", "nodes n1 and n2".
    static func names(_ nodes: [NodeID]) -> String {
        guard let last = nodes.last else { return "no node" }
        guard nodes.count > 1 else { return "node \(last)" }
        return "nodes \(nodes.dropLast().map(\.rawValue).joined(separator: ", ")) and \(last)"
    }
}
