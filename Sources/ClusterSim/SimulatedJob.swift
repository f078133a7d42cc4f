import ClusterModel
package import QoS

/// A job as it really is, beside what its user declared of it.
package struct SimulatedJob: Sendable, Equatable {
    /// A stretch of a job's life.
    package enum Segment: Sendable, Equatable {
        /// Uses up to `width` vCPUs until `cpuSeconds` are consumed.
        case compute(cpuSeconds: Double, width: Double)
        /// Waits for something other than CPU.
        case wait(seconds: Double)
        /// The container of an iteration runs from here.
        case iterationBegins
        /// The container of an iteration has ended.
        case iterationEnds
    }

    /// What the policy is told at submission; `submitted` is the moment of arrival.
    package var declared: JobView
    package var segments: [Segment]

    /// Takes the values as they are.
    package init(declared: JobView, segments: [Segment]) {
        self.declared = declared
        self.segments = segments
    }

    /// CPU seconds that the job really needs.
    package var cpuSeconds: Double {
        segments.reduce(0) {
            if case .compute(let seconds, _) = $1 { $0 + seconds } else { $0 }
        }
    }
}
