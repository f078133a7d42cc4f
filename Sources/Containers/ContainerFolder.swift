internal import ClusterModel
internal import FoundationEssentials
internal import Glibc
internal import LinuxSystem

/// A container's folder: all that is known of it, so that an agent that has just started can take it over.
///
/// The shim's files (`shim`, `init`, `exit`, `logs`) are described in `Containers.docc`.
struct ContainerFolder: Sendable, Equatable {
    let path: String

    var bundle: String { "\(path)/bundle" }
    var configuration: String { "\(path)/bundle/config.json" }
    var rootMount: String { "\(path)/bundle/rootfs" }
    var upper: String { "\(path)/layer/upper" }
    var work: String { "\(path)/layer/work" }
    /// Lowest layer: empty mount points that an image may lack, so that runc does not make them in the writable layer.
    var skeleton: String { "\(path)/layer/skeleton" }
    var record: String { "\(path)/container.json" }
    var logs: String { "\(path)/logs" }
    var runtimeLog: String { "\(path)/runc.log" }
    var shimSpecification: String { "\(path)/shim.spec" }
    var criuOptions: String { "\(path)/criu.conf" }
    var criuWork: String { "\(path)/criu" }
    /// Exists while a checkpoint has the container frozen: the quota that it gets back, and the folder that it is dumped into.
    var freezeMark: String { "\(path)/frozen" }
    /// Exists while memory of a restored container is still to come.
    var pagesMark: String { "\(path)/pages" }
    /// CPU time of its cgroup, in nanoseconds, that went into the restore.
    var restoreTime: String { "\(path)/restore-time" }
    func network(_ file: String) -> String { "\(path)/etc/\(file)" }

    /// What the agent notes about a container beside its bundle.
    struct Record: Codable, Equatable {
        var version = 1
        var image: PreparedImage
        var cgroupPath: String
        var stopSignal: Int32?
        /// Names of its devices; nil means none.
        var devices: [String]?
        /// The network of its own; nil means the node's.
        var network: ContainerNetwork?
        /// The boot in which it was made; nil when an older agent did.
        ///
        /// What is missing on the disk after a crash of the machine says nothing.
        var boot: String? = Machine.bootID
    }

    // MARK: Making

    /// Makes the folder and mounts the root file system; on failure nothing is left.
    func create(image: PreparedImage, hostname: String, network: ContainerNetwork? = nil) throws {
        guard !FileSystem.exists(path) else {
            throw ContainerError(
                .containerExists,
                "The container \(FileSystem.name(of: path)) exists already on this node.",
                remedy: "Remove it first, or start the job's next incarnation."
            )
        }
        try explaining("making the container's folder") { () throws(SystemError) in
            for folder in [bundle, rootMount, work, logs, criuWork, "\(path)/etc"] {
                try FileSystem.createFolder(folder, mode: 0o755)
            }
            try FileSystem.setMode(path, 0o700)
            // overlayfs gives `/` the attributes of the upper folder.
            try FileSystem.createReadableFolder(upper)
            for folder in ["", "/proc", "/sys", "/dev", "/etc"] {
                try FileSystem.createReadableFolder(skeleton + folder)
            }
            for file in ["hosts", "resolv.conf", "hostname"] {
                let own: String? =
                    switch file {
                    case "hostname": "\(hostname)\n"
                    case "hosts": network.map { Self.hosts(hostname, $0) }
                    default: nil
                    }
                let content = own.map { Array($0.utf8) } ?? (try? FileSystem.read("/etc/\(file)")) ?? []
                try FileSystem.writeReadable(content, to: self.network(file))
                try FileSystem.writeReadable([], to: "\(skeleton)/etc/\(file)")
            }
        }
    }

    /// What a container with an address of its own knows of names: the node's would name interfaces that it does not have.
    private static func hosts(_ hostname: String, _ network: ContainerNetwork) -> String {
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\(network.address.address)\t\(hostname)\n"
    }

    /// Mounts the image with the writable layer over it.
    ///
    /// `volatile`: the layer lives no longer than the container, so its writes need not be forced to disk.
    func mountRoot(image: PreparedImage) throws {
        try explaining("mounting the container's root file system") { () throws(SystemError) in
            // A layer that was copied must not refer to inodes of another file system, and a rename must not leave a redirection.
            try Mounts.overlay(
                on: rootMount,
                lower: [image.rootFolder, skeleton],
                upper: upper,
                work: work,
                extraOptions: ["volatile", "index=off", "metacopy=off", "redirect_dir=off", "xino=off"]
            )
        }
    }

    func write(_ record: Record, _ specification: RuntimeSpecification, criuOptions options: String) throws {
        let encoder = JSONEncoder()
        let (recordBytes, specificationBytes) = (try encoder.encode(record), try encoder.encode(specification))
        try explaining("writing the container's configuration") { () throws(SystemError) in
            try FileSystem.writePlain(Array(specificationBytes), to: configuration)
            try FileSystem.writePlain(Array(options.utf8), to: criuOptions)
            // Last, since its presence says that the folder is complete.
            try FileSystem.writePlain(Array(recordBytes), to: self.record)
        }
    }

    /// Takes everything away; what is in use elsewhere (a mount that a process still holds) disappears with its last user.
    func remove() throws(SystemError) {
        guard FileSystem.exists(path) else { return }
        // The container's root, and what a CRIU that was killed had mounted.
        try Mounts.unmountAll(within: path)
        // Under another name first: half a container must never be taken for one.
        let trash = "\(FileSystem.parent(of: path))/.removed-\(FileSystem.name(of: path))"
        try FileSystem.removeAll(trash)
        guard unsafe rename(path, trash) == 0 else { throw SystemError.last("rename", path) }
        try FileSystem.removeAll(trash)
    }

    // MARK: Reading

    func readRecord() -> Record? {
        guard let bytes = try? FileSystem.read(record) else { return nil }
        return try? JSONDecoder().decode(Record.self, from: Data(bytes))
    }

    func readSpecification() throws -> RuntimeSpecification { try Self.readSpecification(at: configuration) }

    static func readSpecification(at path: String) throws -> RuntimeSpecification {
        do {
            return try JSONDecoder().decode(
                RuntimeSpecification.self,
                from: Data(try FileSystem.read(path, limit: 8 << 20))
            )
        } catch {
            throw ContainerError(
                .runtimeFailed,
                "The container's configuration \(path) cannot be read: \(error)",
                remedy: "Remove the container and start the job again."
            )
        }
    }

    /// The first process, as the shim announced it.
    func readProcess() -> (identity: ProcessIdentity, startedAt: Timestamp)? {
        let lines = shimLines("init")
        guard let process = lines["process"], process.count == 2, let pid = Int32(process[0]),
            let ticks = UInt64(process[1]),
            let at = lines["at"]?.first.flatMap({ Int64($0) }), let boot = shimLines("shim")["boot"]?.first
        else { return nil }
        return (ProcessIdentity(pid: pid, startTicks: ticks, boot: boot), Timestamp(rawValue: at))
    }

    func readShim() -> ProcessIdentity? {
        let lines = shimLines("shim")
        guard let process = lines["process"], process.count == 2, let pid = Int32(process[0]),
            let ticks = UInt64(process[1]),
            let boot = lines["boot"]?.first
        else { return nil }
        return ProcessIdentity(pid: pid, startTicks: ticks, boot: boot)
    }

    func readExit() -> ContainerExit? {
        let lines = shimLines("exit")
        guard let ended = lines["ended"], let at = lines["at"]?.first.flatMap({ Int64($0) }) else { return nil }
        let cause: ContainerExit.Cause =
            switch (ended.first, ended.dropFirst().first.flatMap { Int32($0) }) {
            case ("code", .some(let code)): .code(code)
            case ("signal", .some(let signal)): .signal(signal)
            default: .unknown
            }
        return ContainerExit(
            cause: cause,
            endedAt: Timestamp(rawValue: at),
            memoryKillCount: lines["oom-kills"]?.first.flatMap { Int($0) } ?? 0,
            droppedLineCount: lines["lines-dropped"]?.first.flatMap { Int($0) } ?? 0,
            isFenced: lines["fenced"]?.first == "yes",
            isMemoryLost: lines["pages"]?.first == "lost"
        )
    }

    /// The lines `key word word` of one of the shim's files; none when it is not there.
    private func shimLines(_ file: String) -> [String: [String]] {
        guard let text = try? FileSystem.readText("\(path)/\(file)", limit: 4096) else { return [:] }
        var lines: [String: [String]] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            if let key = words.first { lines[key] = Array(words.dropFirst()) }
        }
        return lines
    }
}

extension FileSystem {
    /// Writes a file without forcing it to disk: for what means nothing after a crash of the machine.
    static func writePlain(_ bytes: [UInt8], to path: String) throws(SystemError) {
        try OwnedDescriptor(opening: path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644).write(bytes, path: path)
    }

    /// As ``writePlain(_:to:)``, for what every user of a container may read, whatever umask the agent was started with.
    static func writeReadable(_ bytes: [UInt8], to path: String) throws(SystemError) {
        try writePlain(bytes, to: path)
        try setMode(path, 0o644)
    }

    /// Makes a folder that every user of a container may enter, whatever umask the agent was started with.
    static func createReadableFolder(_ path: String) throws(SystemError) {
        try createFolder(path)
        try setMode(path, 0o755)
    }

    static func setMode(_ path: String, _ mode: UInt32) throws(SystemError) {
        if unsafe chmod(path, mode) != 0 { throw SystemError.last("change the mode of", path) }
    }

    /// Makes a symbolic link.
    static func link(_ path: String, to target: String) throws(SystemError) {
        if unsafe symlink(target, path) != 0 { throw SystemError.last("make a link", path) }
    }
}
