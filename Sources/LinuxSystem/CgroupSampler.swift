internal import CLinux
internal import ClusterModel
internal import Glibc
package import ResourceSamples
internal import Synchronization

extension Cgroup {
    /// Opens the files that tell what it consumes; make a new one for every incarnation of a container.
    package func makeSampler() throws -> CgroupSampler { try CgroupSampler(self) }
}

/// Reads the counters of one cgroup, as often as wanted: files stay open, each reading is a handful of pread(2) and no allocation.
package final class CgroupSampler: Sendable {
    /// An open file of the cgroup.
    ///
    /// A class, since a class cannot lend out the contents of an optional that has one owner.
    private final class Source: Sendable {
        private let descriptor: OwnedDescriptor
        private let path: String

        init(_ path: String) throws(SystemError) {
            descriptor = try OwnedDescriptor(opening: path, O_RDONLY)
            self.path = path
        }

        /// nil when this kernel has no such file.
        static func optional(_ path: String?) throws(SystemError) -> Source? {
            guard let path else { return nil }
            do throws(SystemError) { return try Source(path) } catch  where error.isAbsent || error.code == EOPNOTSUPP {
                return nil
            }
        }

        /// Reads from the beginning; returns how many bytes came.
        func read(into buffer: inout [UInt8]) throws(SystemError) -> Int {
            let number = descriptor.rawValue
            return try retrying("read", path) {
                unsafe buffer.withUnsafeMutableBytes { unsafe pread(number, $0.baseAddress, $0.count, 0) }
            }
        }

        /// nil when it was switched off for this cgroup (`cgroup.pressure`).
        func readIfOn(into buffer: inout [UInt8]) throws(SystemError) -> Int? {
            do throws(SystemError) { return try read(into: &buffer) } catch  where error.code == EOPNOTSUPP {
                return nil
            }
        }

        func number(_ buffer: inout [UInt8]) throws -> UInt64 {
            let length = try read(into: &buffer)
            return try CgroupValue.number(parsing: buffer.span.extracting(first: length), file: path)
        }

        func amount(_ buffer: inout [UInt8]) throws -> ByteCount { .bytes(Int64(clamping: try number(&buffer))) }
    }

    private let path: String
    /// v1 `cpuacct.usage`; on v2 `cpu.stat` has it.
    private let usage: Source?
    private let statistics: Source?
    private let memory: Source?
    private let memoryPeak: Source?
    private let memoryEvents: Source?
    private let processes: Source?
    private let pressure: Source?
    private let buffer = Mutex<[UInt8]>([UInt8](repeating: 0, count: 4096))

    fileprivate init(_ cgroup: Cgroup) throws {
        path = cgroup.path
        guard cgroup.exists else { throw SystemError("sample cgroup", cgroup.path, code: ENOENT) }
        func isUnified(_ controller: String) -> Bool { cgroup.hierarchy.controller(controller)?.isUnified ?? true }
        func file(_ controller: String, v1: String?, v2: String?) -> String? {
            guard let folder = cgroup.folder(controller), let name = isUnified(controller) ? v2 : v1 else { return nil }
            return "\(folder)/\(name)"
        }
        usage = try Source.optional(file("cpuacct", v1: "cpuacct.usage", v2: nil))
        let unifiedStatistics = cgroup.hierarchy.unifiedMountPoint.map { $0 + cgroup.path + "/cpu.stat" }
        statistics = try Source.optional(file("cpu", v1: "cpu.stat", v2: "cpu.stat") ?? unifiedStatistics)
        memory = try Source.optional(file("memory", v1: "memory.usage_in_bytes", v2: "memory.current"))
        memoryPeak = try Source.optional(file("memory", v1: "memory.max_usage_in_bytes", v2: "memory.peak"))
        memoryEvents = try Source.optional(file("memory", v1: "memory.oom_control", v2: "memory.events"))
        processes = try Source.optional(file("pids", v1: "pids.current", v2: "pids.current"))
        // In a hybrid layout only containers whose processes are in the unified hierarchy too have pressure there.
        pressure = try Source.optional(cgroup.hierarchy.unifiedMountPoint.map { $0 + cgroup.path + "/cpu.pressure" })
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
    /// - Returns: the sample, timed by the wall clock at the reading of the CPU time.
    /// - Throws: ``SystemError`` whose `isAbsent` is true when the cgroup has been removed; ``SampleError`` for an unknown form.
    package func sample() throws -> CgroupSample {
        try buffer.withLock { buffer in
            let time = WallClock.now()
            var sample = CgroupSample(time: time, cpuTime: .zero)
            if let statistics {
                let length = try statistics.read(into: &buffer)
                let parsed = try CgroupCPUStatistics(parsing: buffer.span.extracting(first: length))
                sample.periods = parsed.periods
                sample.throttledPeriods = parsed.throttledPeriods
                sample.throttledTime = parsed.throttledTime
                sample.cpuTime = parsed.usage ?? .zero
            }
            if let usage { sample.cpuTime = .nanoseconds(Int64(clamping: try usage.number(&buffer))) }
            if let memory { sample.memory = try memory.amount(&buffer) }
            if let memoryPeak { sample.memoryPeak = try memoryPeak.amount(&buffer) }
            if let memoryEvents {
                let length = try memoryEvents.read(into: &buffer)
                sample.memoryKills = try CgroupMemoryEvents(parsing: buffer.span.extracting(first: length)).kills
            }
            if let processes { sample.processes = try processes.number(&buffer) }
            if let pressure { sample.cpuPressure = try Self.pressure(pressure, &buffer) }
            return sample
        }
    }

    private static func pressure(_ source: Source, _ buffer: inout [UInt8]) throws -> PressureSample? {
        guard let length = try source.readIfOn(into: &buffer) else { return nil }
        return try PressureSample(parsing: buffer.span.extracting(first: length))
    }
}
