package import ClusterModel
package import ClusterState
import QoS

/// A node as placement sees it: its facts, and what it has promised to the jobs that run there or are about to.
package struct NodeView: Sendable {
    package let record: NodeRecord
    /// Whether gossip suspects it, or the leader does not hear from it: nothing new is placed there.
    package let isSuspect: Bool
    /// Memory limits of its jobs.
    package private(set) var memory: ByteCount = .zero
    /// Devices of its jobs.
    package private(set) var deviceCount = 0
    /// vCPUs, as means until the deadlines, that its jobs with deadlines and pinned allocations must have.
    package private(set) var promised: VCPUCount = .zero
    /// vCPUs that its best-effort jobs could use.
    package private(set) var unpromised: VCPUCount = .zero
    /// Its best-effort jobs.
    package private(set) var bestEffortCount = 0
    /// All its jobs.
    package private(set) var jobCount = 0
    /// The work promised, by deadline.
    private(set) var demands: [FluidDemand] = []
    private(set) var pinned = 0.0
    private(set) var likenesses: [String: Int] = [:]
    let seed: UInt64

    /// A node without jobs.
    package init(_ record: NodeRecord, isSuspect: Bool = false) {
        self.record = record
        self.isSuspect = isSuspect
        seed = TieBreak.hash(record.node.rawValue)
    }

    /// Every node of a state that has not left, by name, with its jobs.
    package static func all(of state: ClusterState, suspects: Set<NodeID>, now: Timestamp) -> [NodeView] {
        all(of: state, suspects: suspects, without: [], now: now)
    }

    /// The same, as if some jobs had no node.
    static func all(
        of state: ClusterState,
        suspects: Set<NodeID>,
        without absent: Set<JobID>,
        now: Timestamp
    ) -> [NodeView] {
        var views = state.nodes.filter { $0.state != .left }.map {
            NodeView($0, isSuspect: suspects.contains($0.node))
        }
        var places: [NodeID: Int] = [:]
        for (index, view) in views.enumerated() { places[view.record.node] = index }
        for job in state.liveJobs {
            let node = job.state.mayHaveContainer ? job.node : job.assignedNode
            guard let node, let index = places[node], !absent.contains(job.id) else { continue }
            views[index].add(PlacementCandidate(job, now: now))
        }
        return views
    }

    /// Promises the node's means to a job.
    package mutating func add(_ job: PlacementCandidate) {
        jobCount += 1
        memory = memory + job.memory
        deviceCount += job.specification.resources.gpus
        promised += VCPUCount(job.rate)
        if let demand = job.demand {
            let place = demands.firstIndex { $0.deadline > demand.deadline } ?? demands.endIndex
            demands.insert(demand, at: place)
        } else if let vcpus = job.pinned {
            pinned += vcpus.rawValue
        } else {
            bestEffortCount += 1
            unpromised += min(job.specification.resources.cpus, record.vcpus)
        }
        if !job.likeness.isEmpty { likenesses[job.likeness, default: 0] += 1 }
    }

    /// Jobs with the same labels.
    func count(like job: PlacementCandidate) -> Int { job.likeness.isEmpty ? 0 : likenesses[job.likeness] ?? 0 }

    /// What of the node is taken, as the job would feel it: the larger of its vCPUs and its memory, 1 is all of it.
    ///
    /// Best-effort jobs hardly disturb one with a deadline. A job that needs no devices feels those of a node as one more node full of
    /// work, so that they stay free as long as others have room.
    func load(for job: PlacementCandidate) -> Double {
        let capacity = record.vcpus.rawValue
        guard capacity > 0 else { return .infinity }
        let others = unpromised.rawValue * (job.isBestEffort ? 1 : 0.1)
        let vcpus = (promised.rawValue + others) / capacity
        let bytes = record.memory > .zero ? Double(memory.rawValue) / Double(record.memory.rawValue) : 0
        let devices = job.specification.resources.gpus == 0 && record.deviceCount > 0 ? 1.0 : 0
        return max(vcpus, bytes) + devices
    }

    /// Whether the job's deadline and all promised here can surely be kept: mean rates add up to less than there is.
    func keepsDeadlineSurely(of job: PlacementCandidate) -> Bool {
        guard let demand = job.demand else { return true }
        let capacity = record.vcpus.rawValue
        return demand.work <= min(demand.limit, capacity) * demand.deadline
            && promised.rawValue + job.rate <= capacity * (1 + 1e-9)
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
