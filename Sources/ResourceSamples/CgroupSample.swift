package import ClusterModel

/// What one container consumed up to a moment: the kernel's counters of its cgroup.
///
/// The counters start at zero with every new cgroup; a job's ledger adds them up over its incarnations.
package struct CgroupSample: Sendable, Equatable, Codable {
    package var time: Timestamp
    /// CPU time of all its processes, ended ones included.
    package var cpuTime: Duration
    /// Time in which it was not let run because of its quota, summed over processors.
    package var throttledTime: Duration
    /// Enforcement periods of the quota in which it had work; 0 without a quota.
    package var periods: UInt64
    /// Those of `periods` in which the quota ran out.
    package var throttledPeriods: UInt64
    /// Memory that is charged to it, caches included.
    package var memory: ByteCount
    /// The most it ever was; nil on v2 before Linux 5.19.
    package var memoryPeak: ByteCount?
    /// Processes that were killed because it reached its memory limit.
    package var memoryKills: UInt64
    /// Processes and threads; nil where the pids controller is missing.
    package var processes: UInt64?
    /// Waiting for CPU; nil where the kernel does not tell (PSI off, or cgroup v1).
    package var cpuPressure: PressureSample?

    /// Puts a sample together.
    package init(
        time: Timestamp,
        cpuTime: Duration,
        throttledTime: Duration = .zero,
        periods: UInt64 = 0,
        throttledPeriods: UInt64 = 0,
        memory: ByteCount = .zero,
        memoryPeak: ByteCount? = nil,
        memoryKills: UInt64 = 0,
        processes: UInt64? = nil,
        cpuPressure: PressureSample? = nil
    ) {
        self.time = time
        self.cpuTime = cpuTime
        self.throttledTime = throttledTime
        self.periods = periods
        self.throttledPeriods = throttledPeriods
        self.memory = memory
        self.memoryPeak = memoryPeak
        self.memoryKills = memoryKills
        self.processes = processes
        self.cpuPressure = cpuPressure
    }

    /// CPU use between an earlier sample and this one; nil when no time passed or the counters began anew.
    package func usage(since earlier: CgroupSample) -> VCPUCount? {
        let passed = (time - earlier.time).inSeconds
        guard passed > 0, cpuTime >= earlier.cpuTime else { return nil }
        return VCPUCount((cpuTime - earlier.cpuTime).inSeconds / passed)
    }
}
