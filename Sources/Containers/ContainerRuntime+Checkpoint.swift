internal import ClusterModel
internal import FoundationEssentials
internal import Glibc
internal import LinuxSystem
internal import ResourceSamples

extension ContainerRuntime {
    /// Looks for what would make a checkpoint fail; empty when nothing is known to.
    package func checkpointObstacles(of id: ContainerID, tcpEstablished: Bool) throws -> [CheckpointObstacle] {
        _ = try existingFolder(of: id)
        return ObstacleSearch(processes: try cgroup(of: id).processes(), tcpEstablished: tcpEstablished).run()
    }

    /// Throws what is known in advance to make a checkpoint fail: a node without CRIU, what a process has open, too little room in
    /// the folder, which is made.
    ///
    /// It changes nothing about the container, so it is asked before one is frozen.
    package func requireCheckpointable(
        _ id: ContainerID,
        tcpEstablished: Bool,
        in folder: String,
        withMemory: Bool = true
    ) throws {
        try requireCRIU(for: "checkpointed")
        var obstacles = try checkpointObstacles(of: id, tcpEstablished: tcpEstablished)
        if withMemory { obstacles += try space(for: cgroup(of: id), in: folder) }
        guard let first = obstacles.first else { return }
        throw ContainerError(
            first.kind == .space ? .diskFull : .checkpointObstructed,
            first.reason,
            remedy: first.remedy,
            details: obstacles.map(\.description).joined(separator: "\n")
        )
    }

    /// Takes a checkpoint into a folder.
    ///
    /// The container stands still while CRIU dumps it and its writable layer is copied, which go side by side. If anything fails, it
    /// runs on as before and the folder holds nothing of use. A task that is cancelled meanwhile does not stop a checkpoint half-way.
    package func checkpoint(_ id: ContainerID, _ options: CheckpointOptions) async throws -> CheckpointDump {
        let folder = try existingFolder(of: id)
        guard folder.readExit() == nil, let process = folder.readProcess(), process.identity.isAlive else {
            throw ContainerError(
                .containerMissing,
                "The container \(id) has ended, so it cannot be checkpointed.",
                remedy: "Look at how it ended with `godwit job show`."
            )
        }
        try requireCheckpointable(
            id,
            tcpEstablished: options.tcpEstablished,
            in: options.folder,
            withMemory: options.frozenMemory == nil
        )
        let cgroup = try cgroup(of: id)
        return try await Task(name: "checkpoint \(id)") {
            try await dump(id, folder, cgroup, options)
        }.value
    }

    /// Lets a container that a checkpoint left frozen run on, with the quota it had; one that is not frozen is left as it is.
    package func thaw(_ id: ContainerID) async throws {
        let folder = try existingFolder(of: id)
        guard let mark = try? FileSystem.readLine(folder.freezeMark) else { return }
        let cgroup = try cgroup(of: id)
        do {
            if let quota = Double(mark) { try cgroup.setCPUQuota(VCPUCount(quota)) }
            try cgroup.thaw()
        } catch let error as SystemError {
            if !error.isAbsent { throw ContainerError(error, while: "letting \(id) run on") }
        }
        try? FileSystem.removeAll(folder.freezeMark)
    }

    private func dump(
        _ id: ContainerID,
        _ folder: ContainerFolder,
        _ cgroup: Cgroup,
        _ options: CheckpointOptions
    ) async throws -> CheckpointDump {
        try explaining("preparing the checkpoint's folder") { () throws(SystemError) in
            for name in ["images", "work", "layer.tar", "container.json"] {
                try FileSystem.removeAll("\(options.folder)/\(name)")
            }
            try FileSystem.createFolder("\(options.folder)/images", mode: 0o700)
            try FileSystem.createFolder("\(options.folder)/work", mode: 0o700)
            try FileSystem.writePlain(
                Array((criuOptions(tcpEstablished: options.tcpEstablished) + options.lazyOptions).utf8),
                to: folder.criuOptions
            )
        }
        let specification = try FileSystem.read(folder.configuration, limit: 8 << 20)
        let takenAt = WallClock.now()
        do {
            let quota = try cgroup.cpuQuota()
            // The mark comes first: an agent that starts after this one was killed knows what to give back.
            let mark = "\(quota.map { "\($0.rawValue)" } ?? "none")\n\(options.folder)\n"
            try FileSystem.writePlain(Array(mark.utf8), to: folder.freezeMark)
            // Lifted before freezing: a throttled process can be frozen only when its next period begins.
            if quota != nil { try cgroup.setCPUQuota(nil) }
            try await lockNetwork(of: id)
            let start = MonotonicClock.nanoseconds()
            try await cgroup.freeze()
            let frozenAt = MonotonicClock.nanoseconds()
            // Long before CRIU looks at a socket, which it takes some tens of milliseconds to come to.
            async let cut: Void = cutNetwork(of: id)
            // Nothing in the container runs and CRIU writes only folders of its own, so the layer is final now.
            async let layer = capture(folder.upper, to: "\(options.folder)/layer.tar")
            // Our own lock keeps packets out, and what the end of the sockets would say in; see `cutNetwork(of:)`.
            let endsInCRIU = options.endsInCRIU && !isNetworkLocked(of: id)
            if endsInCRIU { _ = try await layer }
            let dumping: Duration
            do { dumping = try await dumpProcesses(id, folder, options, endsInCRIU: endsInCRIU) } catch {
                _ = try? await layer
                _ = try? await cut
                throw error
            }
            try await cut
            let layerBytes = try await layer
            var held = HeldCount()
            switch options.afterwards {
            case .thaw:
                try await thaw(id)
                held = try await unlockNetwork(of: id)
            case .stayFrozen: break
            case .kill: try await kill(id)
            }
            let end = MonotonicClock.nanoseconds()
            if options.afterwards == .kill { _ = try await exit(of: id) }
            try FileSystem.writePlain(specification, to: "\(options.folder)/container.json")
            return CheckpointDump(
                folder: options.folder,
                imagesBytes: Self.sizeOfFiles(in: "\(options.folder)/images"),
                layerBytes: layerBytes,
                frozen: .nanoseconds(end - start),
                freezing: .nanoseconds(frozenAt - start),
                dumping: dumping,
                held: held,
                takenAt: takenAt
            )
        } catch {
            await options.frozenMemory?.take()?.abort()
            try? await thaw(id)
            _ = try? await unlockNetwork(of: id)
            for name in ["images", "layer.tar", "container.json"] {
                try? FileSystem.removeAll("\(options.folder)/\(name)")
            }
            if let error = error as? SystemError { throw ContainerError(error, while: "checkpointing \(id)") }
            throw error
        }
    }

    /// runc leaves the container running: whether it ends is decided when everything has been captured.
    ///
    /// With connections to keep, it is CRIU that must end it, after the layer has been captured: only CRIU's own way closes a socket
    /// without telling its peer, and keeps packets out until the restore.
    private func dumpProcesses(
        _ id: ContainerID,
        _ folder: ContainerFolder,
        _ options: CheckpointOptions,
        endsInCRIU: Bool
    ) async throws -> Duration {
        var arguments = runcArguments(log: "\(options.folder)/work/runc.log")
        arguments += [
            "checkpoint", "--image-path", "\(options.folder)/images", "--work-path", "\(options.folder)/work",
        ]
        arguments.append("--file-locks")
        if !endsInCRIU, options.frozenMemory == nil { arguments.append("--leave-running") }
        if options.tcpEstablished { arguments.append("--tcp-established") }
        if let slot = options.frozenMemory {
            return try await dumpLazily(id, options.folder, arguments, into: slot)
        }
        let result = try await runc.run(
            arguments + [id.rawValue],
            environment: ["PATH=\(searchPath)", "HOME=/root"],
            timeout: configuration.checkpointTimeout
        )
        if result.isSuccess { return result.duration }
        throw CRIULog.failure(
            .checkpointFailed,
            "The container \(id) could not be checkpointed and runs on",
            log: "\(options.folder)/work/dump.log",
            complaint: result.complaint
        )
    }

    /// Where CRIU mounts something of its own in the container while it dumps it: folders that come and go.
    private var criuFolders: [String] { ["/cr-tmpfs.??????", "/tmp/cr-tmpfs.??????"] }

    /// Whether all that tar saw change are the folders in which CRIU makes its own, `/` and `/tmp`.
    ///
    /// Status 1 says that something changed or vanished while it was read; what could not be read is status 2 (tar(1)).
    private func concernsOnlyCRIU(_ result: ProgramResult) -> Bool {
        result.exit == .exited(code: 1)
            && result.complaint.split(separator: "\n").allSatisfy {
                $0.contains(": .: file changed") || $0.contains(": ./tmp: file changed") || $0.contains("/cr-tmpfs.")
            }
    }

    /// Packs a writable layer; an empty one makes no file.
    private func capture(_ upper: String, to archive: String) async throws -> ByteCount {
        guard try !FileSystem.list(upper).isEmpty else { return .zero }
        // Whiteouts are devices 0:0 and opaque folders an attribute of overlayfs; `origin` refers to inodes of this node's image.
        let result = try await Tool("tar").run(
            [
                "--create", "--file", archive, "--directory", upper, "--numeric-owner", "--sparse", "--xattrs",
                "--xattrs-include=*", "--xattrs-exclude=trusted.overlay.origin", "--warning=no-file-ignored",
            ] + criuFolders.map { "--exclude=.\($0)" } + ["."],
            timeout: configuration.checkpointTimeout
        )
        guard result.isSuccess || concernsOnlyCRIU(result) else {
            throw ContainerError(
                saysDiskIsFull(result.complaint) ? .diskFull : .checkpointFailed,
                "The files that the container has written could not be captured: \(lastSentence(of: result.complaint))",
                remedy: "Free memory or space in \(FileSystem.parent(of: archive)).",
                details: result.complaint
            )
        }
        return FileSystem.status(archive)?.size ?? .zero
    }

    /// An obstacle when the folder's file system is smaller than the container's memory.
    private func space(for cgroup: Cgroup, in folder: String) throws -> [CheckpointObstacle] {
        try explaining("making the checkpoint's folder") { () throws(SystemError) in
            try FileSystem.createFolder(folder, mode: 0o700)
        }
        guard let memory = try? cgroup.memoryStatistics(), let space = try? FileSystem.space(at: folder) else {
            return []
        }
        let needed = memory.anonymous + memory.shared + .mebibytes(8)
        if space.available >= needed { return [] }
        return [
            CheckpointObstacle(
                kind: .space,
                process: nil,
                reason: "The checkpoint needs about \(needed) in \(folder), where \(space.available) are free.",
                remedy: "Free memory or space there, or choose another folder for checkpoints under way."
            )
        ]
    }

    static func sizeOfFiles(in folder: String) -> ByteCount {
        ((try? FileSystem.list(folder)) ?? []).reduce(.zero) {
            $0 + (FileSystem.status("\(folder)/\($1)")?.size ?? .zero)
        }
    }

    /// Options that runc's command line lacks; runc hands this file to CRIU (annotation `org.criu.config`).
    ///
    /// Cgroups are left alone, since a restored container has others and runc has put it into them already.
    func criuOptions(tcpEstablished: Bool) -> String {
        "manage-cgroups ignore\nghost-limit \(configuration.deletedFileLimit.rawValue)\n"
            + (tcpEstablished ? "skip-in-flight\n" : "")
    }

    // MARK: Restoring

    /// Starts a container from a checkpoint, under another identity; on failure nothing of it is left.
    package func restore(_ request: RestoreRequest) async throws -> RunningContainer {
        try requireCRIU(for: "restored")
        let folder = try folder(of: request.id)
        let cgroup = try cgroup(of: request.id)
        for name in ["images/inventory.img", "container.json"] where !FileSystem.exists("\(request.folder)/\(name)") {
            throw ContainerError(
                .restoreFailed,
                "The checkpoint in \(request.folder) is incomplete: \(name) is missing.",
                remedy: "Take the generation before it."
            )
        }
        let dumped = try ContainerFolder.readSpecification(at: "\(request.folder)/container.json")
        let networkPath = try request.network.map { _ in NetworkNamespace.path(try newLink(request.id).namespace) }
        let specification = BundleBuilder.adapt(
            dumped,
            to: folder,
            cgroupPath: cgroup.path,
            networkPath: networkPath
        )
        try BundleBuilder.requireMountSources(specification, in: folder)
        return try await undoing(request.id) {
            try folder.create(image: request.image, hostname: specification.hostname, network: request.network)
            // What arrives before its sockets are there would be answered with a reset.
            try await makeNetwork(request.network, of: request.id, isHeld: true)
            if FileSystem.exists("\(request.folder)/layer.tar") {
                try await unpackLayer("\(request.folder)/layer.tar", into: folder.upper)
            }
            try folder.mountRoot(image: request.image)
            let record = ContainerFolder.Record(
                image: request.image,
                cgroupPath: cgroup.path,
                stopSignal: request.image.stopSignal,
                network: request.network
            )
            try folder.write(record, specification, criuOptions: criuOptions(tcpEstablished: request.tcpEstablished))
            let running: RunningContainer
            do { running = try await launchRestore(request, folder, cgroup) } catch {
                if CRIULog.mayHaveResumed("\(folder.criuWork)/restore.log") { noteRun(of: request.id) }
                throw error
            }
            // What fails from here on fails after it ran.
            noteRun(of: request.id)
            if !request.staysLocked {
                try await announce(request.id)
                try await unlockNetwork(of: request.id)
            }
            do {
                try cgroup.setCPUWeight(request.cpuAllocation)
                if let limit = request.cpuLimit { try cgroup.setCPUQuota(limit) }
                if let limit = request.memoryLimit { try cgroup.setMemoryLimit(limit) }
            } catch let error as SystemError {
                // A short program may have ended already, and its cgroup with it.
                if !error.isAbsent {
                    throw ContainerError(error, while: "setting the limits of the restored container")
                }
            }
            forgetRun(of: request.id)
            return running
        }
    }

    private func unpackLayer(_ archive: String, into upper: String) async throws {
        let result = try await Tool("tar").run(
            [
                "--extract", "--file", archive, "--directory", upper, "--numeric-owner", "--same-permissions",
                "--same-owner",
                "--xattrs", "--xattrs-include=*",
            ],
            forContainers: true,
            timeout: configuration.checkpointTimeout
        )
        if result.isSuccess { return }
        throw ContainerError(
            saysDiskIsFull(result.complaint) ? .diskFull : .restoreFailed,
            "The files of the checkpoint could not be unpacked: \(lastSentence(of: result.complaint))",
            remedy: "Free space in \(configuration.stateFolder), or take the generation before it.",
            details: result.complaint
        )
    }

    // MARK: Words for failures

    /// Says what runc's last error means.
    func failure(of operation: Operation, _ folder: ContainerFolder, shimSaid: String) -> ContainerError {
        let log = (try? FileSystem.readText(folder.runtimeLog, limit: 1 << 20)) ?? ""
        let message = RuntimeLog.lastError(in: log) ?? shimSaid
        switch operation {
        case .start(let request): return RuntimeLog.explain(message, request)
        case .restore:
            return CRIULog.failure(
                .restoreFailed,
                "The checkpoint could not be restored",
                log: "\(folder.criuWork)/restore.log",
                complaint: message
            )
        }
    }
}
