internal import CLinux
internal import ClusterModel
internal import Glibc
package import ResourceSamples

/// The version of a kernel or program, compared by its first three numbers.
package struct VersionNumber: Comparable, Hashable, Sendable, CustomStringConvertible {
    /// The first number.
    package var major: Int
    /// The second number.
    package var minor: Int
    /// The third number; 0 where a release names only two.
    package var patch: Int

    /// Puts a version together.
    package init(_ major: Int, _ minor: Int, _ patch: Int = 0) {
        (self.major, self.minor, self.patch) = (major, minor, patch)
    }

    /// Reads a release such as `6.1.0-18-amd64`, `5.15`, `4.18.0-553.el8_10.x86_64`, `6.18-rc3`; nil when it does not begin with two numbers.
    package init?(parsing release: String) {
        var numbers: [Int] = []
        for part in release.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false).prefix(3) {
            let digits = part.prefix { $0.isASCII && $0.isNumber }
            guard let number = Int(digits) else { break }
            numbers.append(number)
            if digits.count < part.count { break }
        }
        guard numbers.count >= 2 else { return nil }
        self.init(numbers[0], numbers[1], numbers.count > 2 ? numbers[2] : 0)
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left.major, left.minor, left.patch) < (right.major, right.minor, right.patch)
    }

    package var description: String { "\(major).\(minor).\(patch)" }
}

/// Facts about the machine that the agent runs on.
package enum Machine {
    /// The kernel's random identity of this boot; empty where /proc does not show it.
    package static let bootID: String = (try? FileSystem.readLine("/proc/sys/kernel/random/boot_id")) ?? ""

    /// The kernel's release, as `uname -r` prints it.
    package static var kernelRelease: String { (try? FileSystem.readLine("/proc/sys/kernel/osrelease")) ?? "unknown" }

    /// The kernel's version; 0.0.0 when the release cannot be understood.
    package static var kernelVersion: VersionNumber { VersionNumber(parsing: kernelRelease) ?? VersionNumber(0, 0) }

    /// The first label of the host name in lower case, fit for a `NodeID`; nil when it is not a DNS label.
    package static var nodeName: String? {
        let label = hostName.lowercased().prefix { $0 != "." }
        return isLabel(String(label)) ? String(label) : nil
    }

    /// The host name as the kernel has it.
    package static var hostName: String { (try? FileSystem.readLine("/proc/sys/kernel/hostname")) ?? "" }

    /// Processors that this process may run on: what taskset, a cpuset or the service manager left it.
    package static var processorCount: Int {
        let usable = Int(godwit_usable_cpu_count())
        return usable > 0 ? usable : max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    }

    /// The processor in the words of Go, which image indexes use; `unknown` where Godwit has none for it.
    package static var architecture: String {
        #if arch(x86_64)
        "amd64"
        #elseif arch(arm64)
        "arm64"
        #elseif arch(powerpc64le)
        "ppc64le"
        #elseif arch(s390x)
        "s390x"
        #else
        "unknown"
        #endif
    }

    /// Instruction set extensions that all processors have, sorted: what a checkpoint's destination must offer too.
    package static func processorFlags() throws(SystemError) -> [String] {
        let text = try FileSystem.readText("/proc/cpuinfo", limit: 32 << 20)
        var common: Set<Substring>?
        for line in text.split(separator: "\n") where line.hasPrefix("flags") || line.hasPrefix("Features") {
            let flags = Set(line.drop { $0 != ":" }.dropFirst().split(separator: " "))
            common = common.map { $0.intersection(flags) } ?? flags
        }
        return (common ?? []).map(String.init).sorted()
    }

    /// The processor's name as /proc/cpuinfo tells it; nil where it does not (some ARM machines).
    package static func processorName() throws(SystemError) -> String? {
        let text = try FileSystem.readText("/proc/cpuinfo", limit: 32 << 20)
        return text.split(separator: "\n").first { $0.hasPrefix("model name") }
            .map { String($0.drop { $0 != ":" }.dropFirst()).trimmed }
    }

    /// Memory of the machine.
    package static func memory() throws -> MemorySample {
        let bytes = try FileSystem.read("/proc/meminfo")
        return try MemorySample(parsing: bytes.span)
    }

    /// Processor times since boot.
    package static func processors() throws -> ProcessorSample {
        let bytes = try FileSystem.read("/proc/stat", limit: 16 << 20)
        return try ProcessorSample(parsing: bytes.span)
    }

    /// Load averages.
    package static func load() throws -> LoadAverage {
        let bytes = try FileSystem.read("/proc/loadavg")
        return try LoadAverage(parsing: bytes.span)
    }

    /// How long the machine has been up, time spent suspended included.
    package static func uptime() -> Duration {
        var moment = timespec()
        _ = unsafe clock_gettime(CLOCK_BOOTTIME, &moment)
        return .seconds(moment.tv_sec) + .nanoseconds(moment.tv_nsec)
    }

    /// Mounts as this process sees them.
    package static func mounts() throws -> [MountEntry] {
        let bytes = try FileSystem.read("/proc/self/mountinfo", limit: 64 << 20)
        return try MountEntry.parse(bytes.span)
    }

    /// Pressure on `cpu`, `memory` or `io`; nil where the kernel has PSI switched off.
    package static func pressure(on resource: String) -> PressureSample? {
        guard let bytes = try? FileSystem.read("/proc/pressure/\(resource)") else { return nil }
        return try? PressureSample(parsing: bytes.span)
    }

    /// The capabilities of this process, as bits numbered as in capability.h.
    package static func capabilities() throws(SystemError) -> UInt64 {
        let text = try FileSystem.readText("/proc/self/status")
        let line = text.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let digits = line.map { String($0.dropFirst(7)).trimmed } ?? ""
        return UInt64(digits, radix: 16) ?? 0
    }
}
