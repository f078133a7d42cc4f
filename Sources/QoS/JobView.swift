package import ClusterModel

/// What the policy is told about one job: its objective, what it has had, and what was measured last.
///
/// The policy never sees a container or a cgroup; whoever calls it fills this in from the ledger and the newest sample.
package struct JobView: Sendable, Codable, Equatable {
    package var id: JobID
    /// nil means best effort.
    package var objective: JobSpecification.Objective?
    package var policy: JobSpecification.Policy
    /// Fraction that a job may be ahead of its plan before that counts as overprogress.
    package var maxOverprogress: Double
    /// Decides which deadlines are given up first and how spare CPU is divided; greater than 0.
    package var weight: Double
    /// The most vCPUs the job can use at once.
    package var parallelism: VCPUCount
    /// Its cgroup quota; nil means none.
    package var cpuLimit: VCPUCount?
    /// An allocation set by hand; the policy carries it out and decides nothing for this job.
    package var pinnedAllocation: VCPUCount?
    package var submitted: Timestamp
    /// When its first container ran; nil before that.
    package var started: Timestamp?
    /// CPU time of the ledger: user and system, over all incarnations.
    package var consumed: Duration
    /// Iterations done, of an iterative job; may exceed the number of measurements, since old ones are dropped.
    package var completedIterations: Int
    /// The newest measured iterations, oldest first.
    package var iterations: [MeasuredIteration]
    /// When the container of the present iteration ran; nil between iterations and for other kinds of job.
    package var iterationStarted: Timestamp?
    /// CPU time consumed since the present iteration began; zero between iterations and for other kinds of job.
    package var iterationConsumed: Duration
    /// vCPUs in use since the sample before; nil before the second sample.
    package var recentUsage: VCPUCount?
    /// Share of the last seconds in which a task of the job waited for CPU (PSI `some`), 0...1; nil where the kernel does not tell.
    package var cpuPressure: Double?
    /// What the job is guaranteed now; nil before the first decision.
    package var allocation: VCPUCount?
    /// Whether its container can use CPU now: not queued, frozen, suspended or between two containers.
    package var isRunning: Bool

    /// A job as it was submitted: nothing consumed, not running, one vCPU at most, best effort.
    package init(id: JobID, objective: JobSpecification.Objective? = nil, submitted: Timestamp) {
        self.id = id
        self.objective = objective
        self.submitted = submitted
        policy = .deadline
        maxOverprogress = 0.2
        weight = 1
        parallelism = 1
        consumed = .zero
        completedIterations = 0
        iterations = []
        iterationConsumed = .zero
        isRunning = false
    }

    /// A job as its specification describes it, submitted now and not yet started.
    package init(id: JobID, specification: JobSpecification, submitted: Timestamp) {
        self.init(id: id, objective: specification.objective, submitted: submitted)
        policy = specification.policy
        maxOverprogress = specification.maxOverprogress
        weight = specification.weight
        parallelism = specification.resources.cpus
        cpuLimit = specification.resources.cpuLimit
    }
}

/// One completed iteration, as measured.
package struct MeasuredIteration: Sendable, Codable, Equatable {
    /// From its container running to its end; the start overhead is not in it.
    package var duration: Duration
    /// Mean of the vCPUs that it could have run on, at most its parallelism.
    ///
    /// Each second the larger of its allocation and of its
    /// usage plus what the node left idle. Usage alone would hide the part of an iteration that cannot use more than one vCPU.
    package var vcpus: VCPUCount
    /// CPU time that it consumed.
    package var consumed: Duration

    /// Takes the values as they are.
    package init(duration: Duration, vcpus: VCPUCount, consumed: Duration) {
        (self.duration, self.vcpus, self.consumed) = (duration, vcpus, consumed)
    }
}

extension JobView {
    /// The most vCPUs that the job can be made to use: its parallelism, its quota, its node.
    func limit(capacity: Double) -> Double {
        max(0.01, min(parallelism.rawValue, cpuLimit?.rawValue ?? .infinity, capacity))
    }

    /// When the objective must be reached; nil for best effort.
    package var deadline: Timestamp? {
        switch objective {
        case .cpuTime(_, let frame): submitted + frame
        case .iterations(_, _, _, let deadline): submitted + deadline
        case nil: nil
        }
    }
}
