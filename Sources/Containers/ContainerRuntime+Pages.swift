internal import Checkpointing
internal import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import ResourceSamples
internal import Synchronization

/// What the shim needs to fetch memory after the container runs.
struct PageFetch: Sendable {
    /// What its specification says about that.
    var lines: [String]
    /// The stream to whoever has the pages; borrowed.
    var socket: Int32
}

// Containers that run before their memory has arrived.
extension ContainerRuntime {
    /// The memory that a container still waits for, or waited for; nil when it never did, or an earlier agent restored it.
    package func arrival(of id: ContainerID) -> PageArrival? { arrivals.withLock { $0[id] } }

    /// Whether a container whose restore failed may have run for a moment; known until the container is removed.
    package func mayHaveRun(_ id: ContainerID) -> Bool { ranInVain.withLock { $0.contains(id) } }

    func noteRun(of id: ContainerID) { ranInVain.withLock { _ = $0.insert(id) } }

    func forgetRun(of id: ContainerID) { ranInVain.withLock { _ = $0.remove(id) } }

    /// CPU time of a container's cgroup that went into its restore, and so is no work of the job's.
    package func restoreTime(of id: ContainerID) -> Duration {
        guard let folder = try? folder(of: id), let line = try? FileSystem.readLine(folder.restoreTime),
            let nanoseconds = Int64(line)
        else { return .zero }
        return .nanoseconds(max(0, nanoseconds))
    }

    /// Why containers cannot run before their memory has arrived on this node; nil when they can.
    package var lazyRestoreObstacle: String? {
        guard let criu, criu.works else { return "no CRIU works on this node" }
        return NodeProbe.hasUserfaultfd
            ? nil : "this node's kernel has no userfaultfd, or does not let the agent use it"
    }

    /// Has the shim run CRIU, and with it, if memory is still to come, what fetches that.
    func launchRestore(
        _ request: RestoreRequest,
        _ folder: ContainerFolder,
        _ cgroup: Cgroup
    ) async throws -> RunningContainer {
        let images = "\(request.folder)/images"
        var verb = ["restore", "--detach", "--image-path", images, "--work-path", folder.criuWork, "--file-locks"]
        if request.tcpEstablished { verb.append("--tcp-established") }
        let running: RunningContainer
        if let pages = request.pages {
            verb.append("--lazy-pages")
            running = try await launchLazily(request, pages, verb, folder, cgroup)
        } else {
            running = try await launch(
                request.id,
                folder,
                cgroup,
                verb,
                operation: .restore,
                isFenced: request.isFenced
            )
        }
        // CRIU worked in the container's cgroup until now.
        if let spent = try? cgroup.makeSampler().sample().cpuTime {
            try? FileSystem.writePlain(Array("\(spent.nanoseconds)\n".utf8), to: folder.restoreTime)
        }
        return running
    }

    private func launchLazily(
        _ request: RestoreRequest,
        _ pages: any PageSource,
        _ verb: [String],
        _ folder: ContainerFolder,
        _ cgroup: Cgroup
    ) async throws -> RunningContainer {
        guard let criu = criu?.tool.path else { throw lazyImpossible(pages) }
        let arrival = PageArrival(pages, idleLimit: configuration.pageTimeout)
        let theirs = try explaining("preparing to fetch the container's memory") { () throws(SystemError) in
            try OwnedDescriptor.streamPair().take { (ours, theirs) throws(SystemError) in
                try arrival.begin(on: ours) {
                    folder.readExit() == nil && folder.readProcess()?.identity.isAlive == true
                }
                try FileSystem.writePlain(Array("arriving\n".utf8), to: folder.pagesMark)
                return theirs
            }
        }
        let command = [
            criu, "lazy-pages", "--images-dir", "\(request.folder)/images", "--work-dir", folder.criuWork,
            "--page-server", "--ps-socket", "4", "--status-fd", "5", "-v1", "--log-file", "lazy-pages.log",
        ]
        var fetch = PageFetch(lines: command.map { "pages-command \($0)" }, socket: theirs.rawValue)
        if let list = cgroup.processList { fetch.lines.append("processes \(list)") }
        arrivals.withLock { $0[request.id] = arrival }
        do {
            return try await launch(
                request.id,
                folder,
                cgroup,
                verb,
                operation: .restore,
                isFenced: request.isFenced,
                fetching: fetch
            )
        } catch {
            // What the pages' own source says is nearer to the cause than what CRIU says about its end.
            throw arrival.failure ?? error
        }
    }

    private func lazyImpossible(_ pages: any PageSource) -> ContainerError {
        pages.close()
        return ContainerError(.toolMissing, "This node has no CRIU.", remedy: "Run agents/packaging/install-criu.")
    }

    /// Ends a container whose memory was still to come when its agent ended: only that agent could have had it.
    ///
    /// Its shim has normally done so already, and the container is about to be gone. nil when all of it had arrived.
    func endWithoutMemory(
        _ id: ContainerID,
        _ folder: ContainerFolder,
        _ process: ProcessIdentity
    ) async throws -> ContainerExit? {
        guard FileSystem.exists(folder.pagesMark) else { return nil }
        let end = MonotonicClock.nanoseconds() + Duration.seconds(5).nanoseconds
        while process.isAlive, folder.readExit() == nil, MonotonicClock.nanoseconds() < end {
            if !FileSystem.exists(folder.pagesMark) { return nil }
            try await Task.sleep(for: .milliseconds(10))
        }
        try await cgroup(of: id).kill()
        var exit = await watch(id, folder).value
        exit.isMemoryLost = exit.isMemoryLost || exit.cause == .signal(SIGKILL) || exit.cause == .unknown
        return exit
    }
}
