package import ClusterModel
package import ClusterState
package import QoS

/// A job as placement sees it: what it asks for, and the work that it has before it.
package struct PlacementCandidate: Sendable {
    package let id: JobID
    package let specification: JobSpecification
    package let submitted: Timestamp
    /// The memory limit that holds now.
    package let memory: ByteCount
    /// vCPUs that are held for it by hand.
    package let pinned: VCPUCount?
    /// When the objective must be reached; nil for best effort.
    package let deadline: Timestamp?
    /// The work still to do, seen from now; nil for best effort, for pinned jobs, and when the deadline has passed.
    package private(set) var demand: FluidDemand?
    /// Where the checkpoint is that it goes on from; nil when it starts from the beginning.
    package let checkpoint: CheckpointWay?
    /// Where its memory is from, when it goes on with that.
    private(set) var platform: NodePlatform?
    /// Whether it runs well where it is, so that it leaves only for what is surely no worse.
    private var isLeaving = false
    /// The address of its own that it has already.
    package let address: IPv4Prefix?
    /// Equal for jobs with the same labels; empty without labels.
    let likeness: String
    /// Drawn from the identity, for ties.
    let seed: UInt64
    /// Mean vCPUs that it must have from now to its deadline, or for ever when they are pinned.
    private(set) var rate: Double
    /// vCPUs that it can use at once.
    let width: Double
    /// Whole devices.
    let devices: Int
    let spread: JobSpecification.Spread
    /// Whether every node that takes jobs will do, if it has room.
    private(set) var isUnconstrained: Bool

    /// A job of the cluster.
    package init(_ record: JobRecord, now: Timestamp) {
        var view = JobView(id: record.id, specification: record.specification, submitted: record.submitted)
        view.cpuLimit = record.cpuLimit
        view.pinnedAllocation = record.pinnedAllocation
        view.started = record.firstStarted
        view.consumed = record.ledger.total
        view.completedIterations = record.completedIterations
        view.iterations = record.measuredIterations.map {
            MeasuredIteration(duration: $0.duration, vcpus: $0.vcpus, consumed: $0.consumed)
        }
        if record.specification.kind == .iterative, let started = record.incarnationStarted {
            view.iterationStarted = started
            view.iterationConsumed = max(.zero, record.ledger.total - record.iterationBase)
        }
        self.init(
            view,
            record.specification,
            memory: record.memoryLimit,
            checkpoint: record.resumption.flatMap { record.checkpoint($0.generation) }.map {
                CheckpointWay($0, lastNode: record.node)
            },
            address: record.address,
            now: now
        )
    }

    /// A job that is not submitted yet, as `job plan` asks about it.
    package init(id: JobID, specification: JobSpecification, now: Timestamp) {
        let view = JobView(id: id, specification: specification, submitted: now)
        self.init(view, specification, memory: specification.resources.memory, checkpoint: nil, address: nil, now: now)
    }

    private init(
        _ view: JobView,
        _ specification: JobSpecification,
        memory: ByteCount?,
        checkpoint: CheckpointWay?,
        address: IPv4Prefix?,
        now: Timestamp
    ) {
        id = view.id
        self.specification = specification
        submitted = view.submitted
        self.memory = memory ?? .zero
        pinned = view.pinnedAllocation
        deadline = view.deadline
        let largest = VCPUCount(65_536)
        demand = pinned == nil ? QoSController().demand(of: view, capacity: largest, now: now) : nil
        self.checkpoint = checkpoint
        platform = checkpoint?.platform
        self.address = address
        likeness = specification.labels.map { $0.key + "\u{1F}" + $0.value }.joined(separator: "\u{1E}")
        seed = TieBreak.hash(view.id.rawValue)
        rate = pinned?.rawValue ?? demand.map { min($0.limit, $0.work / $0.deadline) } ?? 0
        width = specification.resources.cpus.rawValue
        devices = specification.resources.gpus
        spread = specification.spread
        isUnconstrained =
            checkpoint == nil && specification.network == nil
            && specification.constraints == JobSpecification.Constraints()
    }

    /// The same job after a time in which it does not run; nil when its deadline passes meanwhile.
    func paused(for pause: Duration) -> PlacementCandidate? {
        guard var demand else { return self }
        demand.deadline -= pause.inSeconds
        guard demand.deadline > 0 else { return nil }
        var copy = self
        copy.demand = demand
        copy.rate = min(demand.limit, demand.work / demand.deadline)
        return copy
    }

    /// The same job, which runs on a node and is to go on elsewhere with its memory.
    func leaving(_ node: NodeRecord?) -> PlacementCandidate {
        var copy = self
        (copy.platform, copy.isLeaving) = (node?.platform, true)
        if copy.platform != nil { copy.isUnconstrained = false }
        return copy
    }

    /// What keeps its memory from a node.
    func platformObstacle(on node: NodeRecord) -> PlatformObstacle? {
        PlatformObstacle.first(from: platform, to: node.platform, isStrict: isLeaving)
    }

    /// Whether it gets what others leave.
    var isBestEffort: Bool { pinned == nil && demand == nil }
}

/// How a job comes by the checkpoint that it goes on from.
package struct CheckpointWay: Sendable, Equatable {
    /// Nodes that have its files, first the one that had them first.
    package let holders: [NodeID]
    /// Whether another node can fetch them: only those that are sealed leave their node.
    package let travels: Bool
    /// The node that ran the job last.
    let lastNode: NodeID?
    /// Of the node that took it.
    let platform: NodePlatform?

    init(_ entry: CatalogEntry, lastNode: NodeID?) {
        (holders, travels, self.lastNode) = (entry.holders, entry.seal != nil, lastNode)
        platform = entry.platform
    }

    /// How far it is to a node: nothing where the job ran and its files are, more where only the files are, yet more where they must be fetched.
    ///
    /// Farthest are nodes with an older kernel, which may lack what the job began to use.
    func distance(to node: NodeRecord) -> Double {
        let isOlder = PlatformObstacle.first(from: platform, to: node.platform, isStrict: true) != nil
        guard holders.contains(node.node) else { return isOlder ? 6 : 2 }
        return (isOlder ? 4 : 0) + (node.node == lastNode ? 0 : 1)
    }
}

/// Which of two equal nodes: the same for the same job everywhere, and different from job to job.
enum TieBreak {
    /// FNV-1a.
    static func hash(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return hash
    }

    /// The finalizer of SplitMix64: every bit of both decides every bit of the result.
    static func mix(_ job: UInt64, _ node: UInt64) -> UInt64 {
        var mixed = job ^ (node &* 0x9E37_79B9_7F4A_7C15)
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
