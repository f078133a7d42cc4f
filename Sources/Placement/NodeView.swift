package import ClusterModel
package import ClusterState
import QoS

/// A node as placement sees it: its facts, and what it has promised to the jobs that run there or are about to.
package struct NodeView: Sendable {
    package let record: NodeRecord
    /// Whether gossip suspects it, or the leader does not hear from it: nothing new is placed there.
    package let isSuspect: Bool
    /// Its means, and what of them is promised.
    private(set) var means: NodeMeans
    /// Its best-effort jobs.
    package private(set) var bestEffortCount = 0
    /// All its jobs.
    package private(set) var jobCount = 0
    /// The work promised, by deadline.
    private(set) var demands: [FluidDemand] = []
    private(set) var pinned = 0.0
    /// Jobs by their labels.
    private(set) var likenesses: [String: Int] = [:]

    /// Addresses of its range that no job has; 0 without a bridge.
    private(set) var freeAddresses = 0

    /// Memory limits of its jobs.
    package var memory: ByteCount { ByteCount(rawValue: means.memory) }
    /// Devices of its jobs.
    package var deviceCount: Int { means.devices }
    /// vCPUs, as means until the deadlines, that its jobs with deadlines and pinned allocations must have.
    package var promised: VCPUCount { VCPUCount(means.promised) }
    /// vCPUs that its best-effort jobs could use.
    package var unpromised: VCPUCount { VCPUCount(means.unpromised) }

    /// A node without jobs.
    package init(_ record: NodeRecord, isSuspect: Bool = false) {
        self.record = record
        self.isSuspect = isSuspect
        means = NodeMeans(
            vcpus: record.vcpus.rawValue,
            memoryLimit: record.memory.rawValue,
            deviceLimit: record.deviceCount,
            isOpen: record.acceptsAssignments && !isSuspect && record.vcpus > .zero,
            takesJobs: record.takesJobs,
            seed: TieBreak.hash(record.node.rawValue)
        )
    }

    /// Every node of a state that has not left, by name, with its jobs.
    package static func all(of state: ClusterState, suspects: Set<NodeID>, now: Timestamp) -> [NodeView] {
        all(of: state, with: state.liveJobs, suspects: suspects, now: now)
    }

    /// The same, as if there were only these of the state's live jobs.
    static func all(
        of state: ClusterState,
        with jobs: [JobRecord],
        suspects: Set<NodeID>,
        now: Timestamp
    ) -> [NodeView] {
        var views = state.nodes.filter { $0.state != .left }.map {
            NodeView($0, isSuspect: suspects.contains($0.node))
        }
        let used = views.contains { $0.record.network != nil } ? state.usedAddresses : []
        for index in views.indices { views[index].countAddresses(except: used) }
        var places: [NodeID: Int] = [:]
        for (index, view) in views.enumerated() { places[view.record.node] = index }
        for job in jobs {
            // One that moves takes room on both sides until it has left.
            let nodes = job.occupiedNodes
            guard !nodes.isEmpty else { continue }
            let candidate = PlacementCandidate(job, now: now)
            for node in nodes { if let index = places[node] { views[index].add(candidate) } }
        }
        return views
    }

    /// Promises the node's means to a job.
    package mutating func add(_ job: PlacementCandidate) {
        jobCount += 1
        means.add(job)
        if let demand = job.demand {
            let place = demands.firstIndex { $0.deadline > demand.deadline } ?? demands.endIndex
            demands.insert(demand, at: place)
        } else if let vcpus = job.pinned {
            pinned += vcpus.rawValue
        } else {
            bestEffortCount += 1
        }
        // It gets one when it begins.
        if let wanted = job.specification.network, wanted.address == nil, job.address == nil { freeAddresses -= 1 }
        if !job.likeness.isEmpty { likenesses[job.likeness, default: 0] += 1 }
    }

    private mutating func countAddresses(except used: Set<IPv4Address>) {
        guard let network = record.network else { return }
        let others = [network.subnet.address, network.subnet.last, network.gateway].compactMap { $0 }
        freeAddresses = network.range.count - used.union(others).count { network.range.contains($0) }
    }

    /// The exact answer, in O(n^2 log n) of the node's jobs with deadlines.
    func keepsDeadline(of job: PlacementCandidate) -> Bool {
        guard let demand = job.demand else { return true }
        let capacity = record.vcpus.rawValue
        let free = capacity - pinned
        guard free > 0, demand.work <= min(demand.limit, capacity) * demand.deadline else { return false }
        var all = demands
        all.insert(demand, at: all.firstIndex { $0.deadline > demand.deadline } ?? all.endIndex)
        for index in all.indices { all[index].limit = min(all[index].limit, capacity) }
        return FluidSchedule.latest(all, capacity: free).isFeasible
    }
}

/// The numbers of a node that every choice looks at: small, so that looking at many nodes copies nothing else.
struct NodeMeans: Sendable {
    let vcpus: Double
    /// Bytes.
    let memoryLimit: Int64
    let deviceLimit: Int
    /// Whether it takes new jobs at all at the moment.
    let isOpen: Bool
    let takesJobs: Bool
    let seed: UInt64
    /// Promised bytes.
    private(set) var memory: Int64 = 0
    private(set) var devices = 0
    private(set) var promised = 0.0
    private(set) var unpromised = 0.0

    init(
        vcpus: Double,
        memoryLimit: Int64,
        deviceLimit: Int,
        isOpen: Bool,
        takesJobs: Bool,
        seed: UInt64
    ) {
        self.vcpus = vcpus
        self.memoryLimit = memoryLimit
        self.deviceLimit = deviceLimit
        self.isOpen = isOpen
        self.takesJobs = takesJobs
        self.seed = seed
    }

    mutating func add(_ job: PlacementCandidate) {
        memory += job.memory.rawValue
        devices += job.devices
        promised += job.rate
        if job.isBestEffort { unpromised += min(job.width, vcpus) }
    }

    /// Whether it is open and has room, whatever the job's constraints say.
    func hasRoom(for job: PlacementCandidate) -> Bool {
        isOpen && (job.memory == .zero || job.memory.rawValue <= memoryLimit - memory)
            && (job.devices == 0 || job.devices <= deviceLimit - devices)
    }

    /// What of the node is taken, as the job would feel it: the larger of its vCPUs and its memory, 1 is all of it.
    ///
    /// Best-effort jobs hardly disturb one with a deadline. A job that needs no devices feels those of a node as one more node full of
    /// work, so that they stay free as long as others have room.
    func load(for job: PlacementCandidate) -> Double {
        guard vcpus > 0 else { return .infinity }
        let cpu = (promised + unpromised * (job.isBestEffort ? 1 : 0.1)) / vcpus
        let bytes = memoryLimit > 0 ? Double(memory) / Double(memoryLimit) : 0
        return max(cpu, bytes) + (job.devices == 0 && deviceLimit > 0 ? 1 : 0)
    }

    /// Whether the job's deadline and all promised here can surely be kept: mean rates add up to less than there is.
    func keepsDeadlineSurely(of job: PlacementCandidate) -> Bool {
        guard let demand = job.demand else { return true }
        return demand.work <= min(demand.limit, vcpus) * demand.deadline
            && promised + job.rate <= vcpus * (1 + 1e-9)
    }
}
