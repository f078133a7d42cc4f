import ClusterModel
import ResourceSamples
import WireFormat

/// What a node tells all others about itself, in at most 512 bytes: the layout "facts" in `proto/gossip.md`.
///
/// A view for people and for choosing where to look first; what decides (placement, fencing) is in the replicated state.
struct NodeFactsSummary: Sendable, Equatable {
    /// What changes all the time.
    struct Load: Sendable, Equatable {
        /// vCPUs that jobs may have.
        var capacity = VCPUCount.zero
        /// vCPUs promised to jobs.
        var allocated = VCPUCount.zero
        /// vCPUs that jobs use.
        var used = VCPUCount.zero
        var memoryTotal = ByteCount.zero
        var memoryUsed = ByteCount.zero
        /// Containers that run.
        var containerCount = 0
    }

    /// One GPU.
    struct Device: Sendable, Equatable {
        var vendor: DeviceSample.Vendor
        /// 0...1 in hundredths; nil when the driver does not tell.
        var utilization: Double?
        var memoryTotal: ByteCount
        var memoryUsed: ByteCount
        /// Whether jobs must not get it.
        var hasProblem = false
    }

    /// Where the agent answers requests, `HOST:PORT`.
    var address = ""
    var site: SiteID?
    var role: NodeRole?
    /// Of the agent.
    var version = ""
    /// Names of the capability reports that say "present", of those in `capabilityNames`.
    var capabilities: Set<String> = []
    var load = Load()
    /// The product name of the first GPU.
    var deviceModel = ""
    /// At most 16 are told.
    var devices: [Device] = []
    /// When the agent started, in seconds since 1970; 0 when it is not told.
    var startedAt: UInt32 = 0
    /// 1 or 2 for the version of the cgroups that containers are in; 0 when it is not told.
    var cgroupVersion: UInt8 = 0
    /// The release of the kernel.
    var kernel = ""

    /// Whether containers can be dumped and restored there.
    var canCheckpoint: Bool { capabilities.isSuperset(of: ["criu", "runc"]) }

    /// Capabilities that have a number, which is their place here; new ones are added at the end and none is ever moved.
    ///
    /// `criu.memoryTracking` is told by earlier agents only.
    static let capabilityNames = [
        "cgroup", "cgroup.write", "cgroup.swap", "psi", "tar", "criu", "criu.memoryTracking", "criu.lazyPages",
        "pipeSize", "overlayfs", "tmpfs", "stateSpace", "tun", "userfaultfd", "systemd", "clock", "openFiles", "gpu",
        "kernel", "runc",
    ]

    /// The most bytes of `encoded`.
    static let byteLimit = 512
    private static let deviceLimit = 16
    /// Bytes of texts, so that all fields together fit.
    private static let (addressLimit, versionLimit, siteLimit, modelLimit, kernelLimit) = (120, 32, 63, 48, 31)

    // MARK: Bytes

    private enum Tag {
        static let address: UInt8 = 1
        static let version: UInt8 = 2
        static let site: UInt8 = 3
        static let role: UInt8 = 4
        static let capabilities: UInt8 = 5
        static let load: UInt8 = 6
        static let deviceModel: UInt8 = 7
        static let devices: UInt8 = 8
        static let startedAt: UInt8 = 9
        static let cgroupVersion: UInt8 = 10
        static let kernel: UInt8 = 11
    }

    /// The facts as bytes; texts that are too long and devices that are too many are cut.
    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        func add(_ tag: UInt8, _ value: [UInt8]) {
            guard !value.isEmpty else { return }
            bytes.append(tag)
            bytes.append(UInt8(value.count))
            bytes += value
        }
        add(Tag.address, Self.text(address, Self.addressLimit))
        add(Tag.version, Self.text(version, Self.versionLimit))
        add(Tag.site, site.map { Self.text($0.rawValue, Self.siteLimit) } ?? [])
        add(Tag.role, role.map { [$0 == .worker ? 1 : 2] } ?? [])
        var numbers: UInt64 = 0
        for (number, name) in Self.capabilityNames.enumerated() where capabilities.contains(name) {
            numbers |= 1 << UInt64(number)
        }
        var value: [UInt8] = []
        value.appendInteger(numbers)
        add(Tag.capabilities, numbers == 0 ? [] : value)
        value = []
        for count in [load.capacity, load.allocated, load.used] { value.appendInteger(Self.thousandths(count)) }
        for count in [load.memoryTotal, load.memoryUsed] { value.appendInteger(Self.mebibytes(count)) }
        value.appendInteger(UInt16(clamping: load.containerCount))
        add(Tag.load, load == Load() ? [] : value)
        add(Tag.deviceModel, Self.text(deviceModel, Self.modelLimit))
        value = []
        for device in devices.prefix(Self.deviceLimit) {
            value.append((device.vendor == .nvidia ? 1 : 2) | (device.hasProblem ? 0x80 : 0))
            value.append(device.utilization.map { UInt8(min(100, max(0, ($0 * 100).rounded()))) } ?? 255)
            value.appendInteger(Self.mebibytes(device.memoryTotal))
            value.appendInteger(Self.mebibytes(device.memoryUsed))
        }
        add(Tag.devices, value)
        value = []
        value.appendInteger(startedAt)
        add(Tag.startedAt, startedAt == 0 ? [] : value)
        add(Tag.cgroupVersion, cgroupVersion == 0 ? [] : [cgroupVersion])
        add(Tag.kernel, Self.text(kernel, Self.kernelLimit))
        return bytes
    }

    /// The same without what changes all the time: what other sites are told.
    ///
    /// What a site tells the others must not grow with the loads of its nodes.
    var short: NodeFactsSummary {
        var facts = self
        facts.load = Load()
        (facts.load.capacity, facts.load.memoryTotal) = (load.capacity, load.memoryTotal)
        for index in facts.devices.indices {
            (facts.devices[index].utilization, facts.devices[index].memoryUsed) = (nil, .zero)
        }
        return facts
    }

    /// Facts as other sites are told them; none for bytes that no agent writes.
    static func shortened(_ bytes: [UInt8]) -> [UInt8] {
        guard !bytes.isEmpty, let facts = try? decode(bytes.span) else { return [] }
        return facts.short.encoded()
    }

    /// Reads facts; tags that are not known, and what a newer agent added to the end of a field, are passed over.
    /// - Throws: `DecodeError` for bytes that no agent writes.
    static func decode(_ bytes: Span<UInt8>) throws(DecodeError) -> NodeFactsSummary {
        guard bytes.count <= byteLimit else { throw .tooLong(field: "facts", count: bytes.count, limit: byteLimit) }
        var facts = NodeFactsSummary()
        var offset = 0
        while offset < bytes.count {
            let tag = try bytes.readInteger(UInt8.self, at: &offset)
            let count = Int(try bytes.readInteger(UInt8.self, at: &offset))
            let value = try bytes.readBytes(count, at: &offset)
            try facts.take(tag, value)
        }
        return facts
    }

    private mutating func take(_ tag: UInt8, _ value: [UInt8]) throws(DecodeError) {
        var offset = 0
        switch tag {
        case Tag.address: address = try Self.readText(value, "address")
        case Tag.version: version = try Self.readText(value, "version")
        case Tag.site: site = SiteID(rawValue: try Self.readText(value, "site"))
        case Tag.role:
            let number = try value.span.readInteger(UInt8.self, at: &offset)
            // A role that a newer agent knows is no role that is known here.
            role = number == 1 ? .worker : number == 2 ? .gateway : nil
        case Tag.capabilities:
            let numbers = try value.span.readInteger(UInt64.self, at: &offset)
            for (number, name) in Self.capabilityNames.enumerated() where numbers >> UInt64(number) & 1 == 1 {
                capabilities.insert(name)
            }
        case Tag.load:
            func vcpus() throws(DecodeError) -> VCPUCount {
                VCPUCount(Double(try value.span.readInteger(UInt32.self, at: &offset)) / 1_000)
            }
            load.capacity = try vcpus()
            load.allocated = try vcpus()
            load.used = try vcpus()
            load.memoryTotal = .mebibytes(Int64(try value.span.readInteger(UInt32.self, at: &offset)))
            load.memoryUsed = .mebibytes(Int64(try value.span.readInteger(UInt32.self, at: &offset)))
            load.containerCount = Int(try value.span.readInteger(UInt16.self, at: &offset))
        case Tag.deviceModel: deviceModel = try Self.readText(value, "model of a device")
        case Tag.devices:
            while offset < value.count {
                let first = try value.span.readInteger(UInt8.self, at: &offset)
                let part = try value.span.readInteger(UInt8.self, at: &offset)
                let total = try value.span.readInteger(UInt32.self, at: &offset)
                let used = try value.span.readInteger(UInt32.self, at: &offset)
                devices.append(
                    Device(
                        vendor: first & 0x7F == 2 ? .amd : .nvidia,
                        utilization: part <= 100 ? Double(part) / 100 : nil,
                        memoryTotal: .mebibytes(Int64(total)),
                        memoryUsed: .mebibytes(Int64(used)),
                        hasProblem: first & 0x80 != 0
                    )
                )
            }
        case Tag.startedAt: startedAt = try value.span.readInteger(at: &offset)
        case Tag.cgroupVersion: cgroupVersion = try value.span.readInteger(at: &offset)
        case Tag.kernel: kernel = try Self.readText(value, "kernel")
        default: break
        }
    }

    private static func text(_ text: String, _ limit: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for character in text {
            guard bytes.count + character.utf8.count <= limit else { break }
            bytes += character.utf8
        }
        return bytes
    }

    private static func readText(_ bytes: [UInt8], _ field: String) throws(DecodeError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .notText(field: field) }
        return text
    }

    private static func thousandths(_ count: VCPUCount) -> UInt32 {
        UInt32(min(Double(UInt32.max), max(0, (count.rawValue * 1_000).rounded())))
    }

    private static func mebibytes(_ count: ByteCount) -> UInt32 { UInt32(clamping: max(0, count.rawValue >> 20)) }
}
