import ClusterModel
import Metrics

/// Every metric of the agent, each declared once with the sentence that Prometheus shows.
struct AgentMetrics: Sendable {
    private static let checkpointAge = "godwit_job_checkpoint_age_seconds"
    let registry: MetricsRegistry
    let jobsSubmitted: Counter
    let jobsCompleted: Counter
    let jobsFailed: Counter
    let deadlinesMet: Counter
    let deadlinesMissed: Counter
    let checkpointsTaken: Counter
    let checkpointsFailed: Counter
    let restores: Counter
    let restoresLazy: Counter
    let restoreRunning: Timer
    let memoryArrival: Timer
    let checkpointFrozen: Timer
    let checkpointTotal: Timer
    let containerStart: Timer
    let resize: Timer
    let samplingPass: Timer
    let controlPass: Timer
    let commit: Timer
    let requests: Counter
    let requestsRefused: Counter
    let certificateRenewals: Counter
    let certificateRenewalsFailed: Counter
    let certificateExpiry: Meter

    /// Declares the metrics in a registry.
    init(registry: MetricsRegistry) {
        self.registry = registry
        let (counter, timer) = (registry.counter, registry.timer)
        jobsSubmitted = counter("godwit_jobs_submitted_total", "Jobs that were accepted.")
        jobsCompleted = counter("godwit_jobs_completed_total", "Jobs that ended with success.")
        jobsFailed = counter("godwit_jobs_failed_total", "Jobs that ended without success.")
        deadlinesMet = counter("godwit_deadlines_met_total", "Jobs that ended with success by their deadline.")
        deadlinesMissed = counter("godwit_deadlines_missed_total", "Jobs whose deadline passed before they ended.")
        checkpointsTaken = counter("godwit_checkpoints_total", "Checkpoints that were stored.")
        checkpointsFailed = counter("godwit_checkpoints_failed_total", "Checkpoints that failed.")
        restores = counter("godwit_restores_total", "Containers that were restored from a checkpoint.")
        restoresLazy = counter(
            "godwit_restores_lazy_total",
            "Restored containers that ran before all of their memory was there."
        )
        restoreRunning = timer("godwit_restore_seconds", "Restore, from the decision until the container runs.")
        memoryArrival = timer(
            "godwit_restore_memory_seconds",
            "Restore, until all memory of a container that ran before has arrived."
        )
        checkpointFrozen = timer(
            "godwit_checkpoint_frozen_seconds",
            "How long a container was frozen for a checkpoint."
        )
        checkpointTotal = timer("godwit_checkpoint_seconds", "Checkpoint, from the request until it is stored.")
        containerStart = timer(
            "godwit_container_start_seconds",
            "Start of a container, from the decision until it runs."
        )
        resize = timer("godwit_resize_seconds", "From a decision until the cgroup is written.")
        samplingPass = timer("godwit_sampling_seconds", "Reading the cgroups of all containers once.")
        controlPass = timer("godwit_control_seconds", "One pass of the QoS rules over all jobs.")
        commit = timer("godwit_commit_seconds", "Making a state change durable.")
        requests = counter("godwit_requests_total", "Control-plane requests that were answered.")
        requestsRefused = counter("godwit_requests_refused_total", "Control-plane requests that were refused.")
        certificateRenewals = counter(
            "godwit_certificate_renewals_total",
            "Times that this node's certificate was renewed by an issuer of the cluster."
        )
        certificateRenewalsFailed = counter(
            "godwit_certificate_renewals_failed_total",
            "Attempts to renew this node's certificate that failed."
        )
        certificateExpiry = registry.meter(
            "godwit_certificate_expiry_timestamp_seconds",
            "When this node's certificate expires, in seconds since 1970."
        )
    }

    /// Sets the gauges of one job; without `checkpointAge` it has no checkpoint that outlives its node.
    func setJob(
        name: String,
        allocation: VCPUCount,
        usage: VCPUCount,
        consumed: Duration,
        memory: ByteCount,
        checkpointAge: Duration? = nil
    ) {
        if let checkpointAge {
            registry.describe(
                Self.checkpointAge,
                "Age of a job's newest checkpoint of which enough nodes have a copy."
            )
            Meter(label: Self.checkpointAge, dimensions: [("job", name)], factory: registry).set(
                checkpointAge.inSeconds
            )
        }
        for (metric, sentence, value) in [
            ("godwit_job_allocation_vcpus", "Guaranteed vCPUs of a job.", allocation.rawValue),
            ("godwit_job_usage_vcpus", "vCPUs that a job used over the last samples.", usage.rawValue),
            (
                "godwit_job_cpu_seconds", "CPU time that a job has consumed over all its incarnations.",
                consumed.inSeconds
            ),
            ("godwit_job_memory_bytes", "Memory in use by a job's container.", Double(memory.rawValue)),
        ] {
            registry.describe(metric, sentence)
            Meter(label: metric, dimensions: [("job", name)], factory: registry).set(value)
        }
    }

    /// Forgets the gauges of a job that has ended.
    func removeJob(name: String) {
        for metric in [
            "godwit_job_allocation_vcpus", "godwit_job_usage_vcpus", "godwit_job_cpu_seconds",
            "godwit_job_memory_bytes", Self.checkpointAge,
        ] {
            Meter(label: metric, dimensions: [("job", name)], factory: registry).destroy()
        }
    }
}
