internal import FoundationEssentials
internal import Glibc
internal import LinuxSystem

/// What the GPU devices of a container add to its configuration, from the node's CDI specification where there is one.
struct DeviceEdits {
    var nodes: [RuntimeSpecification.Device] = []
    var mounts: [RuntimeSpecification.Mount] = []
    var environment: [String] = []
    var hooks = RuntimeSpecification.Hooks()

    /// The parts of a CDI specification (tags.cncf.io/container-device-interface, version 0.5 and later) that are used here.
    private struct CDI: Decodable {
        struct Node: Decodable {
            var path: String
            var hostPath: String?
        }
        struct Mount: Decodable {
            var hostPath: String
            var containerPath: String
            var options: [String]?
        }
        struct Hook: Decodable {
            var hookName: String
            var path: String
            var args: [String]?
            var env: [String]?
            var timeout: Int?
        }
        struct Edits: Decodable {
            var env: [String]?
            var deviceNodes: [Node]?
            var mounts: [Mount]?
            var hooks: [Hook]?
        }
        struct Device: Decodable {
            var name: String
            var containerEdits: Edits
        }
        var kind: String
        var devices: [Device]
        var containerEdits: Edits?
    }

    /// Where CDI specifications lie; a later folder wins (CDI specification, "Directories").
    static let standardFolders = ["/etc/cdi", "/var/run/cdi"]

    /// Collects the edits for these devices.
    init(_ devices: [ContainerDevice], folders: [String] = standardFolders) throws {
        if devices.isEmpty { return }
        if let specification = Self.specification(in: folders) {
            for device in devices {
                guard let found = specification.devices.first(where: { $0.name == device.name }) else {
                    let known = specification.devices.map(\.name).joined(separator: ", ")
                    throw ContainerError(
                        .deviceMissing,
                        "The node's CDI specification has no device \(specification.kind)=\(device.name); it has: \(known).",
                        remedy: "Generate it again: nvidia-ctk cdi generate --format=json --output=/etc/cdi/nvidia.json"
                    )
                }
                try apply(found.containerEdits)
            }
            if let common = specification.containerEdits { try apply(common) }
        } else {
            try applyDriverFiles(devices)
        }
    }

    private static func specification(in folders: [String]) -> CDI? {
        for folder in folders.reversed() {
            for name in ((try? FileSystem.list(folder)) ?? []) where name.hasSuffix(".json") {
                guard let bytes = try? FileSystem.read("\(folder)/\(name)", limit: 8 << 20),
                    let found = try? JSONDecoder().decode(CDI.self, from: Data(bytes)), found.kind.hasSuffix("/gpu")
                else { continue }
                return found
            }
        }
        return nil
    }

    private mutating func apply(_ edits: CDI.Edits) throws {
        for node in edits.deviceNodes ?? [] { try add(node: node.path, of: node.hostPath ?? node.path) }
        for mount in edits.mounts ?? [] {
            mounts.append(
                .init(
                    destination: mount.containerPath,
                    type: "bind",
                    source: mount.hostPath,
                    options: mount.options ?? ["ro", "nosuid", "nodev", "bind"]
                )
            )
        }
        environment += edits.env ?? []
        for hook in edits.hooks ?? [] {
            let entry = RuntimeSpecification.Hook(
                path: hook.path,
                args: hook.args,
                env: hook.env,
                timeout: hook.timeout
            )
            switch hook.hookName {
            case "prestart": hooks.prestart = (hooks.prestart ?? []) + [entry]
            case "createRuntime": hooks.createRuntime = (hooks.createRuntime ?? []) + [entry]
            case "createContainer": hooks.createContainer = (hooks.createContainer ?? []) + [entry]
            case "startContainer": hooks.startContainer = (hooks.startContainer ?? []) + [entry]
            case "poststart": hooks.poststart = (hooks.poststart ?? []) + [entry]
            case "poststop": hooks.poststop = (hooks.poststop ?? []) + [entry]
            default: continue
            }
        }
    }

    /// Without a CDI specification: the device files, and those libraries of the driver that every CUDA program loads.
    private mutating func applyDriverFiles(_ devices: [ContainerDevice]) throws {
        for device in devices { for file in device.files { try add(node: file, of: file) } }
        guard devices.contains(where: { $0.files.contains { $0.hasPrefix("/dev/nvidia") } }) else { return }
        for file in ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"] where FileSystem.exists(file) {
            try add(node: file, of: file)
        }
        let target = "/usr/local/nvidia/lib64"
        let libraries = ["libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1", "libnvidia-nvvm.so.4"]
        for library in libraries {
            let found = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
                .map { "\($0)/\(library)" }.first { FileSystem.exists($0) }
            guard let found else { continue }
            mounts.append(
                .init(
                    destination: "\(target)/\(library)",
                    type: "bind",
                    source: found,
                    options: ["ro", "nosuid", "nodev", "bind"]
                )
            )
        }
        if !mounts.isEmpty { environment.append("LD_LIBRARY_PATH=\(target)") }
    }

    private mutating func add(node path: String, of hostPath: String) throws {
        if nodes.contains(where: { $0.path == path }) { return }
        var raw = stat()
        guard unsafe stat(hostPath, &raw) == 0, [S_IFCHR, S_IFBLK].contains(raw.st_mode & S_IFMT) else {
            throw ContainerError(
                .deviceMissing,
                "The device file \(hostPath) does not exist on this node.",
                remedy: "Check the GPU driver with nvidia-smi; `nvidia-modprobe -u -c 0` makes missing device files."
            )
        }
        // The kernel's encoding of device numbers (makedev(3)).
        let device = UInt64(raw.st_rdev)
        let major = Int64((device >> 8) & 0xfff | (device >> 32) & ~0xfff)
        let minor = Int64(device & 0xff | (device >> 12) & ~0xff)
        nodes.append(
            .init(
                path: path,
                type: raw.st_mode & S_IFMT == S_IFCHR ? "c" : "b",
                major: major,
                minor: minor,
                fileMode: UInt32(raw.st_mode & 0o777),
                uid: raw.st_uid,
                gid: raw.st_gid
            )
        )
    }
}
