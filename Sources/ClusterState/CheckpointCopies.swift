package import ClusterModel

/// Which nodes have the files of a generation, and which are to get them.
package struct CheckpointCopies: Sendable, Codable, Equatable {
    /// Nodes on which they are complete and durable, in the order in which they got them; never empty in a catalog.
    package internal(set) var holders: [NodeID]
    /// Nodes that are to fetch them from a holder, sorted.
    package internal(set) var wanted: [NodeID] = []
    /// Nodes that could not take them, sorted.
    package internal(set) var declined: [NodeID] = []
    /// When each of them said so, in the same order; nil in what was stored before that was kept.
    package internal(set) var declines: [CopyDecline]?

    init(holders: [NodeID]) { self.holders = holders }

    /// How a node declined them last; nil when it did not, or nobody knows when.
    package func decline(of node: NodeID) -> CopyDecline? { declines?.first { $0.node == node } }

    mutating func noteDecline(of node: NodeID, at time: Timestamp) {
        let count = decline(of: node)?.count ?? 0
        forgetDecline(of: node)
        declined = (declined + [node]).sorted()
        let all = (declines ?? []) + [CopyDecline(node: node, last: time, count: count + 1)]
        declines = all.sorted { $0.node < $1.node }
    }

    mutating func forgetDecline(of node: NodeID) {
        declined.removeAll { $0 == node }
        declines?.removeAll { $0.node == node }
        if declines?.isEmpty == true { declines = nil }
    }
}

/// That a node could not take a copy of a generation.
package struct CopyDecline: Sendable, Codable, Equatable {
    package var node: NodeID
    /// When it said so last.
    package var last: Timestamp
    /// How often it did.
    package var count: Int
}

extension CatalogEntry {
    /// Nodes on which its files are complete and durable.
    package var holders: [NodeID] { copies?.holders ?? [node] }

    /// Nodes that are to fetch its files from a holder.
    package var wantedCopies: [NodeID] { copies?.wanted ?? [] }

    /// Whether so many nodes beside the first have it that it outlives its node: a majority of all copies that the job asks for.
    ///
    /// One that is not sealed never leaves its node, so nothing more is to be waited for.
    package func isSafe(replicas: Int) -> Bool {
        seal == nil || holders.count >= Self.quorum(replicas: replicas)
    }

    /// A majority of `replicas` copies and the first one.
    package static func quorum(replicas: Int) -> Int { (replicas + 1) / 2 + 1 }

    mutating func changeCopies(_ change: (inout CheckpointCopies) -> Void) {
        var changed = copies ?? CheckpointCopies(holders: [node])
        change(&changed)
        copies = changed == CheckpointCopies(holders: [node]) ? nil : changed
    }
}

extension NodeTable {
    /// Whether a node can restore from a generation: it has the files, or can get them from a node that is there.
    func canRestore(_ entry: CatalogEntry, on node: NodeID) -> Bool {
        entry.holders.contains(node) || (entry.seal != nil && holds(entry))
    }
}
