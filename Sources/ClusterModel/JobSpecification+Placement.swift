// Where a job may run, and what it does on a node that is cut off.
extension JobSpecification {
    /// What happens to the container on a node that hears from no leader for `cluster.partitionTimeout`.
    package enum PartitionRule: String, Sendable, Codable, CaseIterable {
        /// It is stopped, after a checkpoint where there is time for one: two containers of the job never run at once.
        case stop
        /// It runs on.
        ///
        /// The leader starts the job elsewhere all the same, so that for a while two of its containers may run; the cut-off one is ended
        /// when its node comes back.
        case `continue`
    }

    /// Which nodes a job may run on.
    ///
    /// A list that is empty allows all; of a list that is not, one entry must hold. All four must hold.
    package struct Constraints: Sendable, Codable, Equatable {
        /// Sorted.
        package var sites: [SiteID] = []
        /// Sorted by name; without any, gateways take the job only if they take every job (`limits.schedulesJobs`).
        package var roles: [NodeRole] = []
        /// Sorted.
        package var nodes: [NodeID] = []
        /// Labels of the node that must all be there with these texts, sorted by key.
        package var labels: [Label] = []
        /// Allows every node.
        package init() {}
    }

    /// How a job's node is chosen among those that it may run on.
    package enum Spread: String, Sendable, Codable, CaseIterable {
        /// The node that has promised the least, away from jobs with the same labels.
        case nodes
        /// The site that has the fewest jobs with the same labels; there as `nodes` says.
        case sites
        /// The fullest node that keeps the deadline, so that others stay empty.
        case pack
    }

    /// An IPv4 address that the job has for its life, wherever it runs.
    package struct Network: Sendable, Codable, Equatable {
        /// nil leaves the choice to the cluster: the lowest free one of the range of the node that begins the job.
        package var address: IPv4Address?
        /// Of the network that the address must be in; nil takes that of the node.
        package var prefixLength: Int?
        /// Any address.
        package init() {}

        /// What is asked for, for people; nil when any address will do.
        package var text: String? { address.map { address in prefixLength.map { "\(address)/\($0)" } ?? "\(address)" } }

        /// Whether a node's network has what is asked for; who has the address now is another question.
        package func fits(_ network: NodeNetwork) -> Bool {
            guard let address else { return true }
            return network.hasRoom(for: address) && (prefixLength ?? network.subnet.length) == network.subnet.length
        }
    }

    /// What happens to the container on a node that is cut off; default `stop`.
    package var onPartition: PartitionRule {
        get { partitionRule ?? .stop }
        set { partitionRule = newValue == .stop ? nil : newValue }
    }

    /// Where the job may run; default everywhere.
    package var constraints: Constraints {
        get { givenConstraints ?? Constraints() }
        set { givenConstraints = newValue == Constraints() ? nil : newValue }
    }

    /// How its node is chosen; default `nodes`.
    package var spread: Spread {
        get { givenSpread ?? .nodes }
        set { givenSpread = newValue == .nodes ? nil : newValue }
    }
}
