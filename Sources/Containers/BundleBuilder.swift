internal import ClusterModel
internal import LinuxSystem

/// Makes the runtime configuration of one container.
struct BundleBuilder {
    /// What the container's folder holds for its bundle.
    let folder: ContainerFolder
    let cgroupPath: String
    /// The network namespace that the container has for itself, by path; nil means the node's.
    var networkPath: String?

    /// Everything but what a restore changes; checks what can be checked before runc would fail on it.
    func specification(for request: StartRequest) throws -> RuntimeSpecification {
        let image = request.image
        let arguments = request.command.isEmpty ? image.entryPoint + image.command : request.command
        guard !arguments.isEmpty else {
            throw ContainerError(
                .programInvalid,
                "Neither the job nor its image says which program to run.",
                remedy: "Give the job a `command`."
            )
        }
        let (user, home) = try ImageUsers(image).resolve(request.user ?? image.user)
        let devices = try DeviceEdits(request.devices)
        let directory = request.workingDirectory ?? image.workingDirectory ?? "/"
        guard directory.hasPrefix("/") else {
            throw ContainerError(
                .settingInvalid,
                "The working directory \"\(directory)\" is not an absolute path.",
                remedy: "Write it from the container's root."
            )
        }
        let capabilities = user.uid == 0 ? Self.capabilities : []
        let mounts = try standardMounts(request) + request.mounts.map(bind) + devices.mounts
        return RuntimeSpecification(
            process: .init(
                user: user,
                args: arguments,
                env: environment(request, home: home, devices: devices.environment),
                cwd: directory,
                capabilities: .init(
                    bounding: Self.capabilities,
                    effective: capabilities,
                    permitted: capabilities,
                    inheritable: [],
                    ambient: []
                )
            ),
            root: .init(path: folder.rootMount),
            hostname: String(request.hostname.prefix(63)),
            mounts: mounts,
            hooks: devices.hooks == .init() ? nil : devices.hooks,
            annotations: ["org.criu.config": folder.criuOptions],
            linux: .init(
                // Without one of its own, a batch job uses the node's network as any process of it does.
                namespaces: ["pid", "ipc", "uts", "mount", "cgroup"].map { .init(type: $0) }
                    + (networkPath.map { [.init(type: "network", path: $0)] } ?? []),
                cgroupsPath: cgroupPath,
                resources: resources(request, devices: devices),
                devices: devices.nodes.isEmpty ? nil : devices.nodes,
                seccomp: .standard,
                maskedPaths: Self.maskedPaths,
                readonlyPaths: Self.readonlyPaths
            )
        )
    }

    /// Fits a dumped container's configuration to its new folder and cgroup, without limits.
    static func adapt(
        _ dumped: RuntimeSpecification,
        to folder: ContainerFolder,
        cgroupPath: String,
        networkPath: String? = nil
    ) -> RuntimeSpecification {
        var specification = dumped
        specification.linux.namespaces.removeAll { $0.type == "network" }
        if let networkPath { specification.linux.namespaces.append(.init(type: "network", path: networkPath)) }
        // The dumped container's folder, perhaps of another node.
        let old = FileSystem.parent(of: FileSystem.parent(of: dumped.root.path))
        specification.root.path = folder.rootMount
        specification.annotations = ["org.criu.config": folder.criuOptions]
        specification.linux.cgroupsPath = cgroupPath
        specification.linux.resources.memory = nil
        specification.linux.resources.cpu = nil
        for index in specification.mounts.indices where specification.mounts[index].source.hasPrefix(old + "/") {
            let rest = specification.mounts[index].source.dropFirst(old.count)
            specification.mounts[index].source = folder.path + rest
        }
        return specification
    }

    /// Refuses a restore whose mounted folders are not on this node.
    static func requireMountSources(_ specification: RuntimeSpecification, in folder: ContainerFolder) throws {
        for mount in specification.mounts
        where mount.type == "bind" && !mount.source.hasPrefix(folder.path) && !FileSystem.exists(mount.source) {
            throw ContainerError(
                .settingInvalid,
                "The mount source \(mount.source) does not exist on this node.",
                remedy: "A checkpoint can be restored only where its mounted folders are."
            )
        }
    }

    private func environment(_ request: StartRequest, home: String, devices: [String]) -> [String] {
        var names: [String] = []
        var values: [String: String] = [:]
        func set(_ name: String, _ value: String) {
            if values.updateValue(value, forKey: name) == nil { names.append(name) }
        }
        func set(_ assignments: [String]) {
            for assignment in assignments {
                let parts = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                set(String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
            }
        }
        set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        set("HOME", home)
        set("HOSTNAME", request.hostname)
        set(request.image.environment)
        set(devices)
        for variable in request.environment { set(variable.name, variable.value) }
        return names.map { "\($0)=\(values[$0] ?? "")" }
    }

    private func resources(_ request: StartRequest, devices: DeviceEdits) -> RuntimeSpecification.Resources {
        let period: UInt64 = 100_000
        return .init(
            devices: [.init(allow: false, access: "rwm")]
                + devices.nodes.map {
                    .init(allow: true, type: $0.type, major: $0.major, minor: $0.minor, access: "rw")
                },
            memory: request.memoryLimit.map { .init(limit: $0.rawValue) },
            cpu: .init(
                shares: UInt64(min(262_144, max(2, (request.cpuAllocation.rawValue * 1024).rounded()))),
                quota: request.cpuLimit.map { Int64(max(1000, ($0.rawValue * Double(period)).rounded())) },
                period: request.cpuLimit.map { _ in period }
            ),
            pids: .init(limit: Int64(request.processLimit))
        )
    }

    private func standardMounts(_ request: StartRequest) throws -> [RuntimeSpecification.Mount] {
        let shared = request.memoryLimit.map { ["size=\($0.rawValue)"] } ?? []
        var mounts: [RuntimeSpecification.Mount] = [
            .init(destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"]),
            .init(
                destination: "/dev",
                type: "tmpfs",
                source: "tmpfs",
                options: ["nosuid", "strictatime", "mode=755", "size=65536k"]
            ),
            .init(
                destination: "/dev/pts",
                type: "devpts",
                source: "devpts",
                options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
            ),
            // As large as the memory limit, which it counts against: frameworks that share memory between processes need it.
            .init(
                destination: "/dev/shm",
                type: "tmpfs",
                source: "shm",
                options: ["nosuid", "noexec", "nodev", "mode=1777"] + shared
            ),
            .init(
                destination: "/dev/mqueue",
                type: "mqueue",
                source: "mqueue",
                options: ["nosuid", "noexec", "nodev"]
            ),
            .init(destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"]),
            .init(
                destination: "/sys/fs/cgroup",
                type: "cgroup",
                source: "cgroup",
                options: ["nosuid", "noexec", "nodev", "relatime", "ro"]
            ),
        ]
        // Copies, so that a container keeps its own over a move to another node.
        for file in ["hosts", "resolv.conf", "hostname"] {
            mounts.append(
                .init(
                    destination: "/etc/\(file)",
                    type: "bind",
                    source: folder.network(file),
                    options: ["bind", "rprivate", "nosuid", "nodev", "ro"]
                )
            )
        }
        return mounts
    }

    private func bind(_ mount: JobSpecification.Mount) throws -> RuntimeSpecification.Mount {
        guard FileSystem.exists(mount.source) else {
            throw ContainerError(
                .settingInvalid,
                "The mount source \(mount.source) does not exist on this node.",
                remedy: "Create it, or correct the job's mounts."
            )
        }
        guard mount.target.hasPrefix("/"), !mount.target.split(separator: "/").contains("..") else {
            throw ContainerError(
                .settingInvalid,
                "The mount target \"\(mount.target)\" is not an absolute path without \"..\".",
                remedy: "Write it from the container's root."
            )
        }
        return .init(
            destination: mount.target,
            type: "bind",
            source: mount.source,
            options: ["rbind", "rprivate", "nosuid", "nodev", mount.isReadOnly ? "ro" : "rw"]
        )
    }

    /// What other engines grant by default, without raw sockets: on the node's network those could listen to everything.
    private static let capabilities = [
        "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
    ]

    private static let maskedPaths = [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ]

    private static let readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
}
