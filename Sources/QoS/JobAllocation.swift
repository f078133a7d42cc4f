package import ClusterModel

/// What the policy decided for one job, and what it expects of it.
package struct JobAllocation: Sendable, Codable, Equatable {
    package var job: JobID
    /// vCPUs guaranteed under contention.
    ///
    /// Not a ceiling: idle cycles of the node stay usable.
    package var allocation: VCPUCount
    /// nil for best effort.
    package var condition: JobCondition?
    /// CPU time that a job on a straight line to its deadline would have consumed by now; nil for best effort.
    package var desired: Duration?
    /// When the job is expected to reach its objective; nil where its work is unknown.
    package var predictedEnd: Timestamp?
    /// `deadline - predictedEnd`: negative when late.
    package var slack: Duration?
    /// Allocation that reaches the deadline when nothing else changes; nil for best effort and for a deadline that has passed.
    package var required: VCPUCount?
    /// What the job's own iterations have taught; nil for other kinds of job.
    package var speed: SpeedModel?
    /// What is worth telling, in order; mostly empty.
    package var decisions: [Decision]
}

/// How a job stands against its deadline.
package enum JobCondition: String, Sendable, Codable, CaseIterable {
    case ontime
    /// More than its `maxOverprogress` ahead.
    case overprogress
    /// Behind, and expected to catch up.
    case underprogress
    /// No allocation that the node has left is expected to reach the deadline.
    case atRisk = "atrisk"
    case missed
    /// Ended in time; set by whoever sees the job end.
    case met
}

/// The answer to a submission: whether the deadline can be kept beside those already promised.
package struct Admission: Sendable, Codable, Equatable {
    /// The answer in one word.
    package enum Verdict: String, Sendable, Codable, CaseIterable {
        case feasible
        /// Not on the present nodes, but on a node that can be powered on in time.
        case feasibleAfterScaling
        case infeasible
        case bestEffort
    }

    package var verdict: Verdict
    /// One plain sentence with its numbers.
    package var reason: String
    /// When the job would end if it were started now; nil where its work is unknown.
    package var predictedEnd: Timestamp?
    package var deadline: Timestamp?
    /// Mean vCPUs from now to the deadline that the declared work needs; zero for best effort.
    package var required: VCPUCount
    /// Mean vCPUs from now to the deadline that the promises already made leave for this job; for best effort, what they leave now.
    package var available: VCPUCount
}
