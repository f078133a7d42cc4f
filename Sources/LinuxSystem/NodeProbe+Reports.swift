internal import CLinux
internal import ClusterModel
internal import Glibc
internal import ResourceSamples

extension NodeProbe {
    func kernel(_ facts: MachineFacts) -> CapabilityReport {
        // pidfd_open(2), on which watching containers rests.
        facts.kernel >= VersionNumber(5, 3)
            ? .present("kernel", facts.kernelRelease, isRequired: true)
            : .absent(
                "kernel",
                facts.kernelRelease,
                cost: "Containers cannot be watched safely.",
                remedy: "Boot Linux 5.3 or newer.",
                isRequired: true
            )
    }

    // MARK: Cgroups

    func cgroups(_ hierarchy: CgroupHierarchy?) -> [CapabilityReport] {
        guard let hierarchy else {
            return [
                .absent(
                    "cgroup",
                    "nothing mounted at \(configuration.cgroupRoot)",
                    cost: "No container can run: CPU time cannot be measured or shared out.",
                    remedy: "Mount cgroup v2 at \(configuration.cgroupRoot), as systemd does.",
                    isRequired: true
                )
            ]
        }
        let needs: [(controller: String, isRequired: Bool, cost: String)] = [
            ("cpu", true, "The CPU cannot be shared out by deadline."),
            ("cpuacct", true, "The CPU time of jobs cannot be read, so no deadline can be kept."),
            ("memory", false, "Memory limits of jobs are not enforced, and one job can exhaust the machine."),
            ("freezer", true, "Containers cannot be frozen, so checkpoints are not possible."),
            ("pids", false, "A job can start processes without limit."),
        ]
        let controllers = needs.map { need -> CapabilityReport in
            let name = "cgroup.\(need.controller)"
            guard hierarchy.has(need.controller) else {
                return .absent(
                    name,
                    "controller \(need.controller) not offered",
                    cost: need.cost,
                    remedy: hierarchy.mode == .v2
                        ? "Enable it in cgroup.subtree_control above the agent (systemd: Delegate=yes), or remove "
                            + "cgroup_disable=\(need.controller) from the kernel command line."
                        : "Mount it: mount -t cgroup -o \(need.controller) none \(configuration.cgroupRoot)/\(need.controller).",
                    isRequired: need.isRequired
                )
            }
            let controller = hierarchy.controller(need.controller)
            return .present(
                name,
                controller.map { "\($0.isUnified ? "v2" : "v1") at \($0.mountPoint)" } ?? "v2, built in",
                isRequired: need.isRequired
            )
        }
        return [.present("cgroup", "mode \(hierarchy.mode.rawValue)", isRequired: true), writable(hierarchy)]
            + controllers + [swap(hierarchy)]
    }

    private func writable(_ hierarchy: CgroupHierarchy) -> CapabilityReport {
        let closed = hierarchy.places.first { unsafe access($0.mountPoint, W_OK) != 0 }
        guard let closed else { return .present("cgroup.write", "groups can be made", isRequired: true) }
        return .absent(
            "cgroup.write",
            "\(closed.mountPoint) is read-only for the agent",
            cost: "No container can run.",
            remedy: "Run the agent as root on the machine itself, or remount \(closed.mountPoint) read-write.",
            isRequired: true
        )
    }

    private func swap(_ hierarchy: CgroupHierarchy) -> CapabilityReport {
        let hasSwap = (try? Machine.memory().swapTotal).map { $0 > .zero } ?? false
        guard hasSwap, let memory = hierarchy.controller("memory"), !memory.isUnified,
            !FileSystem.exists(memory.mountPoint + "/memory.memsw.limit_in_bytes")
        else { return .present("cgroup.swap", hasSwap ? "swap is accounted" : "machine has no swap") }
        return .absent(
            "cgroup.swap",
            "swap is not accounted",
            cost: "A job over its memory limit slows the machine down by swapping instead of ending.",
            remedy: "Boot with swapaccount=1, or switch swap off."
        )
    }

    func pressure() -> CapabilityReport {
        Machine.pressure(on: "cpu") != nil
            ? .present("psi", "/proc/pressure")
            : .absent(
                "psi",
                "/proc/pressure is not there",
                cost: "Waiting for CPU is not shown, and is estimated from throttling alone.",
                remedy: "Boot with psi=1."
            )
    }

    // MARK: Programs

    func runtime(_ facts: MachineFacts) -> [CapabilityReport] {
        func report(
            _ name: String,
            _ tool: ToolFacts?,
            cost: String,
            remedy: String,
            isRequired: Bool = false
        ) -> CapabilityReport {
            guard let tool else {
                return .absent(name, "not found", cost: cost, remedy: remedy, isRequired: isRequired)
            }
            return .present(
                name,
                "\(tool.version?.description ?? tool.banner) at \(tool.path)",
                isRequired: isRequired
            )
        }
        return [
            report(
                "runc",
                facts.runc,
                cost: "No container can run.",
                remedy: "Install it (apt install runc), or give its path in the configuration.",
                isRequired: true
            ),
            report(
                "umoci",
                facts.umoci,
                cost: "OCI images cannot be unpacked; root file systems as folder or tar still work.",
                remedy: "Install it (apt install umoci)."
            ),
            report(
                "skopeo",
                facts.skopeo,
                cost: "Images cannot be fetched from registries; local ones still work.",
                remedy: "Install it (apt install skopeo)."
            ),
            tar(facts.tar),
        ]
    }

    private func tar(_ tool: ToolFacts?) -> CapabilityReport {
        if let tool, tool.banner.contains("GNU tar") {
            return .present("tar", "\(tool.version?.description ?? tool.banner) at \(tool.path)", isRequired: true)
        }
        return .absent(
            "tar",
            tool.map { "\($0.banner) at \($0.path)" } ?? "not found",
            cost: "The files that a container wrote cannot be taken into its checkpoints.",
            remedy: "Install GNU tar (apt install tar).",
            isRequired: true
        )
    }

    func checkpointing(_ facts: MachineFacts) -> [CapabilityReport] {
        let install = "Run agents/packaging/install-criu, which puts CRIU 4.2 or newer beside the system."
        guard let criu = facts.criu else {
            return [
                .absent(
                    "criu",
                    "not found",
                    cost: "No checkpoints: jobs start anew after a failure and cannot migrate.",
                    remedy: install
                )
            ]
        }
        let version = "\(criu.tool.version?.description ?? criu.tool.banner) at \(criu.tool.path)"
        guard criu.works else {
            return [
                .absent(
                    "criu",
                    "\(version): \(criu.complaint)",
                    cost: "No checkpoints: jobs start anew after a failure and cannot migrate.",
                    remedy: install
                )
            ]
        }
        return [
            .present("criu", version),
            criu.hasLazyPages
                ? .present("criu.lazyPages", "userfaultfd")
                : .absent(
                    "criu.lazyPages",
                    "CRIU cannot use userfaultfd",
                    cost: "A container runs again only when all of its memory has arrived.",
                    remedy: "Boot a kernel with CONFIG_USERFAULTFD=y and let the agent use it."
                ),
            pipeSize(),
        ]
    }

    private func pipeSize() -> CapabilityReport {
        let size = (try? FileSystem.readLine("/proc/sys/fs/pipe-max-size")).flatMap { Int64($0) } ?? 0
        let text = "fs.pipe-max-size is \(ByteCount.bytes(size))"
        return size >= 4 << 20
            ? .present("pipeSize", text)
            : .absent(
                "pipeSize",
                text,
                cost: "Lazy restore sends pages in small portions, and CRIU may refuse it.",
                remedy: "Set it to 4 MiB: sysctl -w fs.pipe-max-size=4194304."
            )
    }

    // MARK: Storage and devices

    func storage(_ facts: MachineFacts) -> [CapabilityReport] {
        let fileSystems = (try? FileSystem.readText("/proc/filesystems")) ?? ""
        let hasOverlay = fileSystems.split(separator: "\n").contains { $0.hasSuffix("\toverlay") }
        let overlay: CapabilityReport =
            hasOverlay
            ? .present("overlayfs", "in the kernel", isRequired: true)
            : .absent(
                "overlayfs",
                "not in /proc/filesystems",
                cost: "Containers cannot share images.",
                remedy: "Load it: modprobe overlay.",
                isRequired: true
            )
        return [overlay, fastSpace(facts.memory), stateSpace()]
    }

    private func fastSpace(_ memory: ByteCount) -> CapabilityReport {
        let folder = configuration.fastFolder
        guard let space = try? FileSystem.space(at: existing(folder)), space.isMemory else {
            return .absent(
                "tmpfs",
                "\(folder) is not in memory",
                cost:
                    "Checkpoints are written to disk while the container is frozen, which takes several times as long.",
                remedy: "Mount a tmpfs there, or name a folder that is on one."
            )
        }
        let text = "\(space.available) free of \(space.total) at \(folder)"
        // A container's memory must fit in beside what runs; an eighth of the machine is where that becomes doubtful.
        guard space.available.rawValue >= memory.rawValue / 8 else {
            return .absent(
                "tmpfs",
                text,
                cost: "Checkpoints of large containers do not fit and go to disk, which takes several times as long.",
                remedy: "Remove files there or enlarge it: mount -o remount,size=50% \(folder)."
            )
        }
        return .present("tmpfs", text)
    }

    private func stateSpace() -> CapabilityReport {
        let folder = configuration.stateFolder
        guard let space = try? FileSystem.space(at: existing(folder)) else {
            return .absent(
                "stateSpace",
                "\(folder) cannot be looked at",
                cost: "Jobs and checkpoints cannot be kept.",
                remedy: "Make the folder, or name another in the configuration.",
                isRequired: true
            )
        }
        let text = "\(space.available) free of \(space.total) at \(folder)"
        return space.available >= .gibibytes(1)
            ? .present("stateSpace", text, isRequired: true)
            : .absent(
                "stateSpace",
                text,
                cost: "Checkpoints and images will soon not fit.",
                remedy: "Free space there or move the state folder.",
                isRequired: true
            )
    }

    /// The folder itself, or the closest one above it that exists.
    private func existing(_ folder: String) -> String {
        var folder = folder
        while folder.count > 1, !FileSystem.exists(folder) { folder = FileSystem.parent(of: folder) }
        return folder
    }

    /// Whether the kernel gives this process a descriptor through which it fills the memory of others.
    package static var hasUserfaultfd: Bool {
        let descriptor = godwit_userfaultfd()
        if descriptor >= 0 { close(descriptor) }
        return descriptor >= 0
    }

    func devices() -> [CapabilityReport] {
        let tun: CapabilityReport =
            unsafe access("/dev/net/tun", R_OK | W_OK) == 0
            ? .present("tun", "/dev/net/tun")
            : .absent(
                "tun",
                SystemError.last("open", "/dev/net/tun").reason,
                cost: "This node cannot be a gateway that routes packets; forwarding of named services still works.",
                remedy: "Load it (modprobe tun) or give the agent's container /dev/net/tun."
            )
        if Self.hasUserfaultfd {
            return [tun, .present("userfaultfd", "the kernel gives descriptors")]
        }
        let reason = SystemError.last("open", "userfaultfd").reason
        return [
            tun,
            .absent(
                "userfaultfd",
                reason,
                cost: "Migration must move all memory before the container runs again.",
                remedy:
                    "Boot a kernel with CONFIG_USERFAULTFD=y, and allow the system call in the agent's seccomp profile."
            ),
        ]
    }

    // MARK: Service and privileges

    func service() -> [CapabilityReport] {
        let systemd: CapabilityReport =
            FileSystem.exists("/run/systemd/system")
            ? .present("systemd", "running")
            : .absent(
                "systemd",
                "not the init of this machine",
                cost: "Nothing starts the agent again after a crash or a reboot.",
                remedy: "Have your own supervisor run godwitd run --config FILE."
            )
        let clock: CapabilityReport =
            godwit_clock_is_synchronized() == 1
            ? .present("clock", "synchronized")
            : .absent(
                "clock",
                "not known to be synchronized",
                cost: "Deadlines are as wrong as this machine's clock, and logs of several nodes do not line up.",
                remedy: "Run an NTP client (apt install chrony)."
            )
        return [systemd, clock, openFiles()]
    }

    private func openFiles() -> CapabilityReport {
        var limit = rlimit()
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        let text = "\(limit.rlim_max) open files"
        return limit.rlim_max >= 4096
            ? .present("openFiles", text)
            : .absent(
                "openFiles",
                text,
                cost: "At about ten descriptors a container, the agent can hold few.",
                remedy: "Set LimitNOFILE=65536 in the service."
            )
    }

    func privileges() -> [CapabilityReport] {
        let held = (try? Machine.capabilities()) ?? 0
        // Numbers from capability.h.
        let needs: [(name: String, bit: UInt64, isRequired: Bool, cost: String)] = [
            ("sysAdmin", 21, true, "Nothing can be mounted and no container can run."),
            ("kill", 5, true, "Containers that run as other users cannot be stopped."),
            ("dacOverride", 1, true, "Files of containers cannot be read or removed."),
            ("sysPtrace", 19, false, "Checkpoints are not possible."),
            ("netAdmin", 12, false, "Networks of containers and the overlay cannot be set up."),
            (
                "sysResource", 24, false,
                "Limits of a container (rlimits, oom_score_adj) cannot be raised above the agent's; CRIU warns about it."
            ),
        ]
        return needs.map { need in
            let name = "capability.\(need.name)"
            return held & 1 << need.bit != 0
                ? .present(name, "held", isRequired: need.isRequired)
                : .absent(
                    name,
                    "not held",
                    cost: need.cost,
                    remedy: "Run the agent as root, or add the capability to its service or container.",
                    isRequired: need.isRequired
                )
        }
    }
}
