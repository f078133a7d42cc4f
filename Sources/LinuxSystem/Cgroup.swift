internal import CLinux
package import ClusterModel
internal import Glibc
package import ResourceSamples

/// The cgroup of one container in all hierarchies: what it may use, and whether it runs.
///
/// A value that only names it; nothing is kept open. Every change is one write(2) to one file where the kernel allows that.
package struct Cgroup: Sendable, Equatable {
    package let hierarchy: CgroupHierarchy
    /// From the root of each hierarchy; what an OCI configuration has as `linux.cgroupsPath`.
    package let path: String

    /// The last component of the path.
    package var name: String { String(path.split(separator: "/").last ?? "") }

    /// Whether at least one hierarchy has it.
    package var exists: Bool { hierarchy.places.contains { FileSystem.exists($0.mountPoint + path) } }

    /// Its folder in the hierarchy of one controller; nil when the machine has no such controller.
    ///
    /// On v2 `freezer` and `cpuacct` need no controller, so they are found in the unified hierarchy.
    package func folder(_ controller: String) -> String? {
        if let found = hierarchy.controller(controller) { return found.mountPoint + path }
        guard hierarchy.mode == .v2, controller == "freezer" || controller == "cpuacct" else { return nil }
        return hierarchy.unifiedMountPoint.map { $0 + path }
    }

    /// A file of one controller, and which version's rules hold for it.
    func file(_ controller: String, v1: String, v2: String) throws(SystemError) -> (path: String, isUnified: Bool) {
        guard let folder = folder(controller) else {
            throw SystemError(
                "use the cgroup controller",
                controller,
                code: ENOENT,
                remedy:
                    "This kernel or container does not offer it: enable it (on v1 by mounting it, on v2 by delegation)."
            )
        }
        let isUnified = hierarchy.controller(controller)?.isUnified ?? true
        return ("\(folder)/\(isUnified ? v2 : v1)", isUnified)
    }

    // MARK: Processor

    /// Sets the share of CPU time under contention, in proportion to the allocation; idle time stays free for all.
    ///
    /// v1: 1024 shares for a vCPU, in 2...262144. v2: weight 100 for a vCPU, in 1...10000; on machines with more than 100
    /// processors proportionally less, so that one cgroup can still be given all of them.
    package func setCPUWeight(_ allocation: VCPUCount) throws(SystemError) {
        let (file, isUnified) = try file("cpu", v1: "cpu.shares", v2: "cpu.weight")
        try FileSystem.writeValue(Self.cpuWeight(allocation, isUnified: isUnified), to: file)
    }

    /// The text for `cpu.shares` or `cpu.weight`; see `setCPUWeight(_:)`.
    package static func cpuWeight(
        _ allocation: VCPUCount,
        isUnified: Bool,
        processors: Int = Machine.processorCount
    ) -> String {
        let amount = allocation.rawValue.isFinite ? max(0, allocation.rawValue) : 0
        guard isUnified else { return String(Int(min(262_144, max(2, (amount * 1024).rounded())))) }
        let perVCPU = min(100, 10_000 / Double(max(1, processors)))
        return String(Int(min(10_000, max(1, (amount * perVCPU).rounded()))))
    }

    /// Sets the most CPU time it may use in each period, or lifts that; at least 1 ms a period, as the kernel wants.
    package func setCPUQuota(_ quota: VCPUCount?, period: Duration = .milliseconds(100)) throws(SystemError) {
        let microseconds = max(1000, min(1_000_000, period.nanoseconds / 1000))
        let amount = quota.map { max(1000, Int64(min(1e12, max(0, $0.rawValue) * Double(microseconds)).rounded())) }
        let (file, isUnified) = try file("cpu", v1: "cpu.cfs_quota_us", v2: "cpu.max")
        if isUnified {
            try FileSystem.writeValue("\(amount.map(String.init) ?? "max") \(microseconds)", to: file)
            return
        }
        // The period is nearly always right already; reading it is cheaper than a write, which restarts the bandwidth timer.
        let periodFile = FileSystem.parent(of: file) + "/cpu.cfs_period_us"
        if amount != nil, try FileSystem.readLine(periodFile) != String(microseconds) {
            try FileSystem.writeValue(String(microseconds), to: periodFile)
        }
        try FileSystem.writeValue(amount.map(String.init) ?? "-1", to: file)
    }

    /// The quota in force; nil without one.
    package func cpuQuota() throws -> VCPUCount? {
        let (file, isUnified) = try file("cpu", v1: "cpu.cfs_quota_us", v2: "cpu.max")
        let bytes = try FileSystem.read(file)
        if isUnified {
            let (quota, period) = try CgroupValue.cpuMaximum(parsing: bytes.span)
            return quota.map { VCPUCount(Double($0.nanoseconds) / Double(max(1, period.nanoseconds))) }
        }
        guard let quota = try CgroupValue.limit(parsing: bytes.span, file: file) else { return nil }
        let periodFile = FileSystem.parent(of: file) + "/cpu.cfs_period_us"
        let periodBytes = try FileSystem.read(periodFile)
        let period = try CgroupValue.number(parsing: periodBytes.span, file: periodFile)
        return VCPUCount(Double(quota) / Double(max(1, period)))
    }

    // MARK: Memory and processes

    /// Sets the most memory it may use, swap included, or lifts the limit; never kills for it.
    ///
    /// When more is in use than the new limit and cannot be given back, it fails with EBUSY and the old limit stays.
    package func setMemoryLimit(_ limit: ByteCount?) throws {
        let (file, isUnified) = try file("memory", v1: "memory.limit_in_bytes", v2: "memory.max")
        let folder = FileSystem.parent(of: file)
        guard !isUnified else { return try setUnifiedMemoryLimit(limit, folder: folder) }

        let swapFile = folder + "/memory.memsw.limit_in_bytes"
        let value = limit.map { String($0.rawValue) } ?? "-1"
        guard FileSystem.exists(swapFile) else { return try writeMemoryLimit(value, to: file) }
        // Memory may never exceed memory and swap together, so what rises must do so from the outside in.
        let bytes = try FileSystem.read(file)
        let old = try CgroupValue.limit(parsing: bytes.span, file: "memory.limit_in_bytes")
        let rises = limit.map { limit in old.map { UInt64(clamping: limit.rawValue) >= $0 } ?? false } ?? true
        for file in rises ? [swapFile, file] : [file, swapFile] { try writeMemoryLimit(value, to: file) }
    }

    private func setUnifiedMemoryLimit(_ limit: ByteCount?, folder: String) throws {
        if let limit {
            // memory.max below the present use would have the kernel kill; the high mark first makes it reclaim, as v1 does.
            if try memoryUse(folder) > UInt64(clamping: limit.rawValue) {
                try FileSystem.writeValue(String(limit.rawValue), to: folder + "/memory.high")
                defer { try? FileSystem.writeValue("max", to: folder + "/memory.high") }
                let use = try memoryUse(folder)
                guard use <= UInt64(clamping: limit.rawValue) else {
                    throw Self.memoryInUse(folder + "/memory.max", limit, use)
                }
                try FileSystem.writeValue(String(limit.rawValue), to: folder + "/memory.max")
                return
            }
        }
        try FileSystem.writeValue(limit.map { String($0.rawValue) } ?? "max", to: folder + "/memory.max")
        let swapFile = folder + "/memory.swap.max"
        if FileSystem.exists(swapFile) { try FileSystem.writeValue(limit == nil ? "max" : "0", to: swapFile) }
    }

    private func memoryUse(_ folder: String) throws -> UInt64 {
        let bytes = try FileSystem.read(folder + "/memory.current")
        return try CgroupValue.number(parsing: bytes.span, file: "memory.current")
    }

    private func writeMemoryLimit(_ value: String, to file: String) throws(SystemError) {
        do throws(SystemError) { try FileSystem.writeValue(value, to: file) } catch  where error.code == EBUSY {
            throw SystemError(
                error.operation,
                error.path,
                code: EBUSY,
                remedy: "More memory is in use than that and cannot be given back: choose a higher limit."
            )
        }
    }

    private static func memoryInUse(_ file: String, _ limit: ByteCount, _ use: UInt64) -> SystemError {
        SystemError(
            "write \(limit.rawValue) to",
            file,
            code: EBUSY,
            remedy:
                "\(ByteCount.bytes(Int64(clamping: use))) are in use and cannot be given back: choose a higher limit than \(limit)."
        )
    }

    /// The memory limit in force; nil without one.
    package func memoryLimit() throws -> ByteCount? {
        let (file, _) = try file("memory", v1: "memory.limit_in_bytes", v2: "memory.max")
        let bytes = try FileSystem.read(file)
        return try CgroupValue.limit(parsing: bytes.span, file: file).map { .bytes(Int64(clamping: $0)) }
    }

    /// What the memory that is charged to it consists of.
    package func memoryStatistics() throws -> CgroupMemoryStatistics {
        let (file, _) = try file("memory", v1: "memory.stat", v2: "memory.stat")
        let bytes = try FileSystem.read(file)
        return try CgroupMemoryStatistics(parsing: bytes.span)
    }

    /// Sets the most processes and threads it may have, or lifts the limit.
    package func setProcessLimit(_ limit: Int?) throws(SystemError) {
        let (file, _) = try file("pids", v1: "pids.max", v2: "pids.max")
        try FileSystem.writeValue(limit.map { String(max(1, $0)) } ?? "max", to: file)
    }

    // MARK: Members

    /// Puts a process, with all its threads, into this cgroup in every hierarchy.
    package func add(process pid: Int32) throws(SystemError) {
        for place in hierarchy.places {
            let folder = place.mountPoint + path
            if place.isUnified && hierarchy.mode != .v2 && !FileSystem.exists(folder) { continue }
            try FileSystem.writeValue("\(pid)\n", to: folder + "/cgroup.procs")
        }
    }

    /// Its processes and those of cgroups below it, sorted; empty when it is gone.
    package func processes() throws -> [Int32] {
        let folder = ["freezer", "pids", "memory", "cpu"].lazy.compactMap { self.folder($0) }.first ?? ""
        var found: Set<Int32> = []
        try Self.collectProcesses(folder, into: &found)
        return found.sorted()
    }

    /// The file that lists its processes, without those of cgroups below it.
    package var processList: String? {
        ["freezer", "pids", "memory", "cpu"].lazy.compactMap { self.folder($0) }.first.map { "\($0)/cgroup.procs" }
    }

    private static func collectProcesses(_ folder: String, into found: inout Set<Int32>) throws {
        do {
            let bytes = try FileSystem.read(folder + "/cgroup.procs", limit: 16 << 20)
            found.formUnion(try CgroupValue.processes(parsing: bytes.span))
            for name in try FileSystem.list(folder) where FileSystem.status("\(folder)/\(name)")?.kind == .folder {
                try collectProcesses("\(folder)/\(name)", into: &found)
            }
        } catch let error as SystemError where error.isAbsent {
            return
        }
    }
}
