internal import ClusterModel
internal import Glibc
package import ResourceSamples
internal import Synchronization

extension Cgroup {
    /// Opens the files that tell what it consumes; make a new one for every incarnation of a container.
    package func makeSampler() throws -> CgroupSampler { try CgroupSampler(self) }
}

/// Reads the counters of one cgroup as often as wanted, about 10 µs of processor time each.
///
/// Files stay open; a reading is a handful of pread(2) and no allocation.
package final class CgroupSampler: Sendable {
    private let path: String
    /// v1 `cpuacct.usage`; on v2 `cpu.stat` has it.
    private let usage: KeptFile?
    private let statistics: KeptFile?
    private let memory: KeptFile?
    private let memoryPeak: KeptFile?
    private let memoryEvents: KeptFile?
    private let processes: KeptFile?
    private let pressure: KeptFile?
    /// Hybrid only: whether the unified hierarchy, which has the pressure, holds the processes too.
    private let events: KeptFile?
    private let buffer = Mutex<[UInt8]>([UInt8](repeating: 0, count: 4096))

    fileprivate init(_ cgroup: Cgroup) throws {
        path = cgroup.path
        guard cgroup.exists else { throw SystemError("sample cgroup", cgroup.path, code: ENOENT) }
        func file(_ controller: String, v1: String?, v2: String?) -> String? {
            let isUnified = cgroup.hierarchy.controller(controller)?.isUnified ?? true
            guard let folder = cgroup.folder(controller), let name = isUnified ? v2 : v1 else { return nil }
            return "\(folder)/\(name)"
        }
        let unified = cgroup.hierarchy.unifiedMountPoint.map { $0 + cgroup.path }
        usage = try KeptFile.ifPresent(file("cpuacct", v1: "cpuacct.usage", v2: nil))
        statistics = try KeptFile.ifPresent(
            file("cpu", v1: "cpu.stat", v2: "cpu.stat") ?? unified.map { $0 + "/cpu.stat" }
        )
        memory = try KeptFile.ifPresent(file("memory", v1: "memory.usage_in_bytes", v2: "memory.current"))
        memoryPeak = try KeptFile.ifPresent(file("memory", v1: "memory.max_usage_in_bytes", v2: "memory.peak"))
        memoryEvents = try KeptFile.ifPresent(file("memory", v1: "memory.oom_control", v2: "memory.events"))
        processes = try KeptFile.ifPresent(file("pids", v1: "pids.current", v2: "pids.current"))
        pressure = try KeptFile.ifPresent(unified.map { $0 + "/cpu.pressure" })
        let isHybrid = cgroup.hierarchy.mode == .hybrid
        events = try KeptFile.ifPresent(isHybrid ? unified.map { $0 + "/cgroup.events" } : nil)
        if usage == nil && statistics == nil {
            throw SystemError(
                "sample cgroup",
                cgroup.path,
                code: ENOENT,
                remedy: "It has neither cpuacct.usage nor cpu.stat: mount the cpuacct controller, or use cgroup v2."
            )
        }
    }

    /// Reads all counters once.
    ///
    /// - Returns: the sample, timed by the wall clock just before the reading of the CPU time.
    /// - Throws: ``SystemError`` whose `isAbsent` is true when the cgroup has been removed; ``SampleError`` for an unknown form.
    package func sample() throws -> CgroupSample {
        try buffer.withLock { buffer in
            var sample = CgroupSample(time: WallClock.now(), cpuTime: .zero)
            if let usage {
                sample.cpuTime = .nanoseconds(Int64(clamping: try Self.number(usage, &buffer)))
            }
            if let statistics {
                let length = try statistics.read(into: &buffer)
                let parsed = try CgroupCPUStatistics(parsing: buffer.span.extracting(first: length))
                sample.periods = parsed.periods
                sample.throttledPeriods = parsed.throttledPeriods
                sample.throttledTime = parsed.throttledTime
                if usage == nil { sample.cpuTime = parsed.usage ?? .zero }
            }
            if let memory { sample.memory = .bytes(Int64(clamping: try Self.number(memory, &buffer))) }
            if let memoryPeak { sample.memoryPeak = .bytes(Int64(clamping: try Self.number(memoryPeak, &buffer))) }
            if let memoryEvents {
                let length = try memoryEvents.read(into: &buffer)
                sample.memoryKills = try CgroupMemoryEvents(parsing: buffer.span.extracting(first: length)).kills
            }
            if let processes { sample.processes = try Self.number(processes, &buffer) }
            sample.cpuPressure = try readPressure(&buffer)
            return sample
        }
    }

    /// nil where the kernel does not tell; zero would say that nothing waits.
    private func readPressure(_ buffer: inout [UInt8]) throws -> PressureSample? {
        guard let pressure else { return nil }
        if let events {
            let length = try events.read(into: &buffer)
            guard try CgroupEvents(parsing: buffer.span.extracting(first: length)).isPopulated else { return nil }
        }
        guard let length = try pressure.readIfOn(into: &buffer) else { return nil }
        return try PressureSample(parsing: buffer.span.extracting(first: length))
    }

    private static func number(_ file: KeptFile, _ buffer: inout [UInt8]) throws -> UInt64 {
        let length = try file.read(into: &buffer)
        return try CgroupValue.number(parsing: buffer.span.extracting(first: length), file: file.path)
    }
}
