internal import CLinux
package import ClusterModel
internal import Glibc
internal import ResourceSamples

/// A program of another project that the agent runs.
package struct ToolFacts: Sendable, Equatable {
    /// What is run: as configured when that has a slash, else where `PATH` has it.
    package var path: String
    package var version: VersionNumber?
    /// The first line of what it says about itself.
    package var banner: String
}

/// What CRIU can do on this kernel.
package struct CRIUFacts: Sendable, Equatable {
    package var tool: ToolFacts
    /// Whether `criu check` is content and the version is new enough for this kernel.
    package var works: Bool
    /// Restoring before all pages have arrived.
    package var hasLazyPages: Bool
    /// What `criu check` complained about; empty when it works.
    package var complaint: String
}

/// What this machine is and what was found on it, for programs; ``NodeProbe/Result/capabilities`` is the same for people.
package struct MachineFacts: Sendable, Equatable {
    package var kernel: VersionNumber
    /// As `uname -r` prints it; `unknown` when /proc does not show it.
    package var kernelRelease: String
    package var cgroups: CgroupHierarchy?
    package var runc: ToolFacts?
    package var criu: CRIUFacts?
    package var skopeo: ToolFacts?
    package var umoci: ToolFacts?
    package var tar: ToolFacts?
    /// Instruction set extensions that all processors have, sorted; empty when /proc/cpuinfo does not tell.
    package var processorFlags: [String]
    /// Processors that this process may run on; at least 1.
    package var processorCount: Int
    package var memory: ByteCount
}

/// Finds out what this machine can do, what each missing thing costs, and what to do about it.
///
/// Looks only; the few programs it starts (`--version`, `criu check`) change nothing and have a time limit.
package struct NodeProbe: Sendable {
    /// Where to look; the defaults are those of a machine set up by the packaging.
    package struct Configuration: Sendable {
        /// A path, or a name that is looked for in `PATH`; runs the containers.
        package var runc = "runc"
        /// Tried in this order; the first that works is taken, otherwise the first that exists.
        package var criu = ["/opt/godwit/criu/bin/criu", "criu"]
        /// As `runc`; fetches images from registries and archives.
        package var skopeo = "skopeo"
        /// As `runc`; unpacks images.
        package var umoci = "umoci"
        /// As `runc`; captures writable layers, and must be GNU tar for their extended attributes.
        package var tar = "tar"
        /// Where cgroups are mounted.
        package var cgroupRoot = "/sys/fs/cgroup"
        /// Where images are written before they are compressed; should be in memory.
        package var fastFolder = "/dev/shm"
        /// Where jobs, images and checkpoints are kept.
        package var stateFolder = "/var/lib/godwit"
        /// How long any one program may take.
        package var timeLimit = Duration.seconds(10)

        /// The defaults.
        package init() {}
    }

    /// Everything that was found out.
    package struct Result: Sendable {
        package var facts: MachineFacts
        /// In a fixed order, from the kernel up; the GPU's is added by the GPU module.
        package var capabilities: [CapabilityReport]
    }

    let configuration: Configuration

    /// Prepares a probe.
    package init(_ configuration: Configuration = Configuration()) { self.configuration = configuration }

    /// Looks at everything; about 0.2 s, most of it in `criu check`.
    package func run() async -> Result {
        async let runc = tool(configuration.runc, ["--version"])
        async let criu = findCRIU()
        async let skopeo = tool(configuration.skopeo, ["--version"])
        async let umoci = tool(configuration.umoci, ["--version"])
        async let tar = tool(configuration.tar, ["--version"])
        let facts = MachineFacts(
            kernel: Machine.kernelVersion,
            kernelRelease: Machine.kernelRelease,
            cgroups: try? CgroupHierarchy.detect(root: configuration.cgroupRoot),
            runc: await runc,
            criu: await criu,
            skopeo: await skopeo,
            umoci: await umoci,
            tar: await tar,
            processorFlags: (try? Machine.processorFlags()) ?? [],
            processorCount: Machine.processorCount,
            memory: (try? Machine.memory().total) ?? .zero
        )
        let reports =
            [kernel(facts)] + cgroups(facts.cgroups) + [pressure()] + runtime(facts) + checkpointing(facts)
            + storage(facts) + devices() + service() + privileges()
        return Result(facts: facts, capabilities: reports)
    }

    // MARK: Programs

    func tool(_ name: String, _ arguments: [String]) async -> ToolFacts? {
        guard let path = ProcessRunner.find(name),
            let result = try? await ProcessRunner.run(
                ProgramCommand(path, arguments),
                timeout: configuration.timeLimit,
                outputLimit: 16 << 10
            )
        else { return nil }
        let banner = (result.outputText.isEmpty ? result.errorText : result.outputText).prefix { !$0.isNewline }
        return ToolFacts(path: path, version: Self.version(in: String(banner)), banner: String(banner))
    }

    /// The first word of a banner that is a version: `runc version 1.1.5+ds1`, `tar (GNU tar) 1.34`, `Version: 4.2.1`, `GitID: v4.2`.
    package static func version(in banner: String) -> VersionNumber? {
        for word in banner.split(separator: " ") {
            let digits = word.first == "v" ? word.dropFirst() : word
            if let first = digits.first, first.isASCII, first.isNumber,
                let version = VersionNumber(parsing: String(digits))
            {
                return version
            }
        }
        return nil
    }

    private func findCRIU() async -> CRIUFacts? {
        var first: CRIUFacts?
        for candidate in configuration.criu {
            guard let tool = await tool(candidate, ["--version"]) else { continue }
            let facts = await check(tool)
            if facts.works { return facts }
            if first == nil { first = facts }
        }
        return first
    }

    private func check(_ tool: ToolFacts) async -> CRIUFacts {
        let check = await criu(tool.path, ["check"])
        let required = Self.minimumCRIU(for: Machine.kernelVersion)
        let isNewEnough = tool.version.map { $0 >= required } ?? false
        let complaint =
            if !check.isSuccess {
                check.complaint
            } else if !isNewEnough {
                "version \(tool.version?.description ?? "unknown") is older than \(required), "
                    + "which kernel \(Machine.kernelRelease) needs"
            } else {
                ""
            }
        guard check.isSuccess else {
            return CRIUFacts(tool: tool, works: false, hasLazyPages: false, complaint: complaint)
        }
        let lazy = await criu(tool.path, ["check", "--feature", "uffd-noncoop"])
        return CRIUFacts(
            tool: tool,
            works: isNewEnough,
            hasLazyPages: lazy.isSuccess,
            complaint: complaint
        )
    }

    private func criu(_ path: String, _ arguments: [String]) async -> (isSuccess: Bool, complaint: String) {
        do {
            let command = ProgramCommand(path, arguments)
            let result = try await ProcessRunner.run(command, timeout: configuration.timeLimit, outputLimit: 64 << 10)
            if result.hasTimedOut { return (false, "no answer within \(configuration.timeLimit.text)") }
            let lines = result.complaint.split(separator: "\n")
            // The first error is the cause, those after it follow from it.
            return (result.isSuccess, String(lines.first { $0.hasPrefix("Error") } ?? lines.last ?? ""))
        } catch {
            return (false, "\(error)")
        }
    }

    /// The oldest CRIU that works on a kernel.
    ///
    /// 6.13 split the vvar mapping, which CRIU knows since 4.1; from 6.16 on, established TCP fails before 4.2.
    package static func minimumCRIU(for kernel: VersionNumber) -> VersionNumber {
        if kernel >= VersionNumber(6, 16) { return VersionNumber(4, 2) }
        if kernel >= VersionNumber(6, 13) { return VersionNumber(4, 1) }
        return VersionNumber(3, 17)
    }
}
