/// A decision with its place in the cluster's history.
///
/// The replicated state hands out the numbers, so that every replica and every replay gives a decision the same one.
package struct NumberedDecision: Sendable, Codable, Equatable {
    /// Rises by one with each decision of the cluster, from 1.
    package var sequence: UInt64
    package var decision: Decision

    /// Joins the two.
    package init(sequence: UInt64, decision: Decision) {
        self.sequence = sequence
        self.decision = decision
    }
}

/// One point of a job's history: what it had used and what it was given.
package struct JobSample: Sendable, Codable, Equatable {
    package var job: JobID
    package var time: Timestamp
    /// CPU time of the ledger: user and system, over all incarnations.
    package var consumed: Duration
    /// CPU time that the objective asks for at this moment; zero for a job without one.
    package var desired: Duration
    package var allocation: VCPUCount
    /// vCPUs in use since the sample before.
    package var usage: VCPUCount
    package var memory: ByteCount

    /// Takes the values as they are.
    package init(
        job: JobID,
        time: Timestamp,
        consumed: Duration,
        desired: Duration,
        allocation: VCPUCount,
        usage: VCPUCount,
        memory: ByteCount
    ) {
        self.job = job
        self.time = time
        self.consumed = consumed
        self.desired = desired
        self.allocation = allocation
        self.usage = usage
        self.memory = memory
    }
}
