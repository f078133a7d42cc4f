package import ClusterModel

extension QoSController {
    /// The work that a job has still to do and by when, as admission counts it: its mean, on the declared work and what was measured.
    ///
    /// For choosing among many nodes, where a whole `admit` per node would cost too much. On a node with fewer vCPUs than `capacity` the
    /// demand's limit is the node's capacity at most.
    ///
    /// - Parameters:
    ///   - job: the job as it stands.
    ///   - capacity: vCPUs of the largest node; greater than 0.
    ///   - now: the present moment.
    /// - Returns: nil for best effort, and when the deadline has passed.
    package func demand(of job: JobView, capacity: VCPUCount, now: Timestamp) -> FluidDemand? {
        let width = job.limit(capacity: max(0.01, capacity.rawValue))
        guard let work = RemainingWork(job, width: width, now: now, configuration: configuration), work.left > 0 else {
            return nil
        }
        return work.demand(0.5)
    }
}
