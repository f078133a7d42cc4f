package import ClusterModel
internal import Glibc
package import LinuxSystem
internal import Synchronization

/// Starts, ends, checkpoints and restores this node's containers, and finds them again after the agent was away.
///
/// Each container has a folder, a cgroup and a shim; nothing that matters lives in this object, so it can vanish at any moment.
package final class ContainerRuntime: Sendable {
    package let configuration: ContainersConfiguration
    /// The parent of all containers' cgroups.
    package let slice: CgroupSlice
    /// nil when the node has none; when it does not work, checkpoints are refused with its complaint.
    package let criu: CRIUFacts?
    let watcher: ProcessWatcher
    let runc: Tool
    private let shim: String
    let arrivals = Mutex<[ContainerID: PageArrival]>([:])
    /// Containers whose restore failed after they may have run.
    let ranInVain = Mutex<Set<ContainerID>>([])
    private let watches = Mutex<[ContainerID: Task<ContainerExit, Never>]>([:])
    /// What is held for containers that stand still.
    let holds = Mutex<[ContainerID: NetworkHold]>([:])

    /// Makes the folders that are missing and finds the programs; starts and changes no container.
    package init(_ configuration: ContainersConfiguration, slice: CgroupSlice, criu: CRIUFacts?) throws {
        self.configuration = configuration
        self.slice = slice
        self.criu = criu
        runc = try Tool(configuration.runc, package: "runc")
        shim = try Self.findShim(configuration)
        watcher = try explaining("preparing to watch processes") { () throws(SystemError) in
            try FileSystem.createFolder(configuration.containersFolder, mode: 0o700)
            try FileSystem.createFolder(configuration.runcRoot, mode: 0o700)
            return try ProcessWatcher()
        }
    }

    deinit { for watch in watches.withLock({ Array($0.values) }) { watch.cancel() } }

    private static func findShim(_ configuration: ContainersConfiguration) throws -> String {
        let beside = FileSystem.linkTarget("/proc/self/exe").map { FileSystem.parent(of: $0) + "/godwit-shim" }
        let candidates = configuration.shim.map { [$0] } ?? [beside, Tool.find("godwit-shim")].compactMap { $0 }
        if let found = candidates.first(where: FileSystem.isExecutable) { return found }
        throw ContainerError(
            .toolMissing,
            "godwit-shim was not found (looked at \(candidates.joined(separator: ", ")) and in PATH).",
            remedy: "It belongs beside godwitd: install the package again, or name it as `shim` in the configuration."
        )
    }

    // MARK: Starting

    /// Starts a container and returns as soon as its first process runs; on failure nothing of it is left.
    package func start(_ request: StartRequest) async throws -> RunningContainer {
        let folder = try folder(of: request.id)
        let cgroup = try cgroup(of: request.id)
        var bundle = BundleBuilder(folder: folder, cgroupPath: cgroup.path)
        if request.network != nil { bundle.networkPath = NetworkNamespace.path(try newLink(request.id).namespace) }
        let specification = try bundle.specification(for: request)
        return try await undoing(request.id) {
            try folder.create(image: request.image, hostname: request.hostname, network: request.network)
            try await makeNetwork(request.network, of: request.id, isHeld: false)
            try folder.mountRoot(image: request.image)
            let record = ContainerFolder.Record(
                image: request.image,
                cgroupPath: cgroup.path,
                stopSignal: request.image.stopSignal,
                devices: request.devices.isEmpty ? nil : request.devices.map(\.name),
                network: request.network
            )
            try folder.write(record, specification, criuOptions: criuOptions(tcpEstablished: false))
            let running = try await launch(
                request.id,
                folder,
                cgroup,
                ["run", "--detach"],
                operation: .start(request),
                isFenced: request.isFenced
            )
            // runc converts v1's shares to v2's weight by another rule than ours.
            if cgroup.hierarchy.mode == .v2 { try? cgroup.setCPUWeight(request.cpuAllocation) }
            return running
        }
    }

    /// What is being launched, for the words of a failure.
    enum Operation {
        case start(StartRequest)
        case restore
    }

    /// Starts the shim and waits for its word.
    func launch(
        _ id: ContainerID,
        _ folder: ContainerFolder,
        _ cgroup: Cgroup,
        _ verb: [String],
        operation: Operation,
        isFenced: Bool,
        fetching fetch: PageFetch? = nil
    ) async throws -> RunningContainer {
        let command =
            [runc.path] + runcArguments(log: folder.runtimeLog) + verb
            + ["--pid-file", "init.pid", "--bundle", folder.bundle, id.rawValue]
        var lines = command.map { "command \($0)" }
        lines.append("search-path \(searchPath)")
        lines.append("process-file init.pid")
        lines.append("log-file-bytes \(configuration.logFileLimit.rawValue)")
        lines.append("log-file-count \(configuration.logFileCount)")
        if let events = memoryEvents(cgroup) { lines.append("memory-events \(events)") }
        if isFenced { lines.append("lease \(configuration.leaseFile)") }
        lines += fetch?.lines ?? []
        guard !lines.contains(where: { $0.utf8.contains(UInt8(ascii: "\n")) }) else {
            throw ContainerError(
                .settingInvalid,
                "A path holds a line end.",
                remedy: "Choose folders without line ends."
            )
        }
        let timeout =
            if case .restore = operation { configuration.checkpointTimeout } else { configuration.startTimeout }
        let (shim, text) = (shim, lines.joined(separator: "\n") + "\n")
        let spawned: (pid: Int32, report: Int32) = try explaining("starting the shim") { () throws(SystemError) in
            try FileSystem.writePlain(Array(text.utf8), to: folder.shimSpecification)
            return try OwnedDescriptor.pipe().take { (reading, writing) throws(SystemError) in
                let pid = try ProcessRunner.spawn(
                    ProgramCommand(shim, [folder.path], environment: ["PATH=\(searchPath)"], startsSession: true),
                    inherited: [writing.rawValue] + (fetch.map { [$0.socket] } ?? [])
                )
                return (pid, reading.release())
            }
        }
        let report = await onThread { Self.firstLine(of: spawned.report, timeout: timeout) }
        let words = report?.split(separator: " ", maxSplits: 3).map(String.init) ?? []
        if words.count >= 3, words[0] == "running", let pid = Int32(words[1]), let ticks = UInt64(words[2]) {
            let identity = ProcessIdentity(pid: pid, startTicks: ticks, boot: Machine.bootID)
            watch(id, folder)
            return RunningContainer(
                id: id,
                process: identity,
                startedAt: folder.readProcess()?.startedAt ?? WallClock.now(),
                cgroupPath: cgroup.path
            )
        }
        // The shim leads a process group, in which runc is but the container is not.
        if report == nil {
            // Before the program that fetches its memory, and could not any more.
            if fetch != nil { try? await cgroup.kill(timeout: .seconds(5)) }
            _ = Glibc.kill(-spawned.pid, SIGKILL)
        }
        _ = try? await watcher.exit(of: spawned.pid)
        guard let report else {
            throw ContainerError(
                .timedOut,
                "The container did not start within \(timeout.text).",
                remedy: "Look at the load and the disk of this node; the job can be started again."
            )
        }
        if words.first == "fenced" {
            throw ContainerError(
                .fenced,
                "This node has been out of touch with its cluster for too long, so nothing may be started on it.",
                remedy: "It starts jobs again as soon as it hears from the cluster's leader; look at its network."
            )
        }
        throw failure(of: operation, folder, shimSaid: report)
    }

    /// Cleans up after a failed start; an error that arises in doing so would only hide the first.
    func undoing(
        _ id: ContainerID,
        _ body: () async throws -> RunningContainer
    ) async throws -> RunningContainer {
        do { return try await body() } catch let error as ContainerError where error.code == .containerExists {
            throw error
        } catch {
            let folder = try folder(of: id)
            arrivals.withLock { $0[id] = nil }
            // What goes on elsewhere must not hear of the end of its connections here.
            try? await cutNetwork(of: id)
            _ = try? await cgroup(of: id).kill(timeout: .seconds(2))
            _ = try? await deleteRuntimeState(id)
            _ = try? await removeNetwork(of: id)
            _ = try? folder.remove()
            watches.withLock { $0[id] = nil }
            if let error = error as? SystemError { throw ContainerError(error, while: "starting the container") }
            throw error
        }
    }

    private static func firstLine(of descriptor: Int32, timeout: Duration) -> String? {
        defer { close(descriptor) }
        let end = MonotonicClock.nanoseconds() + timeout.nanoseconds
        var bytes: [UInt8] = []
        while !bytes.contains(UInt8(ascii: "\n")) {
            let left = (end - MonotonicClock.nanoseconds()) / 1_000_000
            if left <= 0 { return nil }
            var query = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = unsafe poll(&query, 1, Int32(clamping: left))
            if ready < 0 && errno == EINTR { continue }
            if ready <= 0 { return nil }
            var buffer = [UInt8](repeating: 0, count: 512)
            let count = unsafe read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    // MARK: Ending

    /// Waits until the container has ended; returns at once when it has.
    package func exit(of id: ContainerID) async throws -> ContainerExit {
        let folder = try existingFolder(of: id)
        return await watch(id, folder).value
    }

    /// How the container ended, if it has and is not removed.
    package func recordedExit(of id: ContainerID) throws -> ContainerExit? { try folder(of: id).readExit() }

    /// Asks the container to end with the signal that its image wants (SIGTERM), and kills it when `grace` is over.
    package func stop(_ id: ContainerID, grace: Duration) async throws -> ContainerExit {
        let folder = try existingFolder(of: id)
        if let exit = folder.readExit() { return exit }
        try await thaw(id)
        if isNetworkLocked(of: id) { _ = try? await unlockNetwork(of: id) }
        if let process = folder.readProcess(), let pidfd = try? Pidfd(of: process.identity) {
            // ESRCH: it has ended in this moment.
            try? pidfd.signal(folder.readRecord()?.stopSignal ?? SIGTERM)
        }
        let ending = watch(id, folder)
        let exit = await withTaskGroup(of: ContainerExit?.self) { group in
            group.addTask { await ending.value }
            group.addTask {
                try? await Task.sleep(for: grace)
                return nil
            }
            let first = await group.next() ?? nil
            if first == nil {
                // Killed before the group is left, since the group waits for its first task.
                try? await self.kill(id)
                return await group.next() ?? nil
            }
            group.cancelAll()
            return first
        }
        return exit ?? ContainerExit(cause: .unknown, endedAt: WallClock.now())
    }

    /// Kills all processes of the container at once, frozen or not; `exit(of:)` tells when they are gone.
    package func kill(_ id: ContainerID) async throws {
        let folder = try existingFolder(of: id)
        do { try cgroup(of: id).killAll() } catch let error as SystemError {
            if !error.isAbsent { throw ContainerError(error, while: "killing \(id)") }
        }
        try? FileSystem.removeAll(folder.freezeMark)
    }

    /// Removes all that is left of a container, killing it first if it still runs; nothing there is no error.
    package func remove(_ id: ContainerID) async throws {
        let folder = try folder(of: id)
        let cgroup = try cgroup(of: id)
        if FileSystem.exists(folder.path), folder.readExit() == nil {
            try? FileSystem.removeAll(folder.freezeMark)
            try await cgroup.kill()
            if let shim = folder.readShim(), shim.isAlive { _ = await watch(id, folder).value }
        }
        try await deleteRuntimeState(id)
        if cgroup.exists { try await cgroup.remove() }
        if case .code = folder.readExit()?.cause { await lingerNetwork(of: id) }
        try await removeNetwork(of: id)
        try explaining("removing the container's folder") { () throws(SystemError) in try folder.remove() }
        arrivals.withLock { $0[id] = nil }
        forgetRun(of: id)
        watches.withLock { $0[id] = nil }
    }

    func deleteRuntimeState(_ id: ContainerID) async throws {
        let known = "\(configuration.runcRoot)/\(id)"
        if !FileSystem.exists(known) { return }
        // A CRIU that was killed leaves the container's root mounted here.
        try explaining("unmounting what is left in \(known)") { () throws(SystemError) in
            try Mounts.unmountAll(within: known)
        }
        let result = try await runc.run(
            ["--root", configuration.runcRoot, "delete", "--force", id.rawValue],
            timeout: configuration.startTimeout
        )
        // A runc that was killed at the wrong moment leaves a folder without state, which it then refuses to delete.
        if !result.isSuccess { try? FileSystem.removeAll(known) }
    }

    // MARK: Adopting

    /// Finds out what has become of every container while no agent looked, and watches those that run.
    ///
    /// One that was left frozen by an interrupted checkpoint runs again with its quota, as soon as what is left of that checkpoint has
    /// ended. Nothing is removed but leftovers of removals.
    ///
    /// Those in `held` are left as they are: whoever froze them may not be the one who may thaw them.
    package func adopt(holding held: Set<ContainerID> = []) async throws -> [AdoptedContainer] {
        let names = try explaining("looking for containers") { () throws(SystemError) in
            try FileSystem.list(configuration.containersFolder)
        }
        var adopted: [AdoptedContainer] = []
        // One time for all: they dump at once.
        let dumpsEnd = MonotonicClock.nanoseconds() + configuration.interruptedDumpTimeout.nanoseconds
        for name in names {
            if name.hasPrefix(".") {
                let leftover = "\(configuration.containersFolder)/\(name)"
                if (try? Mounts.unmountAll(within: leftover)) != nil { try? FileSystem.removeAll(leftover) }
                continue
            }
            adopted.append(try await adopt(ContainerID(rawValue: name), holding: held, dumpsEnd: dumpsEnd))
        }
        await removeStrayNetworks(besides: Set(names))
        return adopted
    }

    private func adopt(
        _ id: ContainerID,
        holding held: Set<ContainerID>,
        dumpsEnd: Int64
    ) async throws -> AdoptedContainer {
        let folder = try folder(of: id)
        let record = folder.readRecord()
        var found = AdoptedContainer(
            id: id,
            state: .lost(reason: "The agent stopped while the container was being set up."),
            image: record?.image.key,
            wasThawed: false
        )
        guard let record else {
            found.mayHaveRun = false
            return found
        }
        found.devices = record.devices ?? []
        try await InterruptedDump(folder, runc: runc)?.end(by: dumpsEnd)
        // An agent that stopped while runc was at work: the shim goes on, and soon knows.
        if let shim = folder.readShim() {
            let end = MonotonicClock.nanoseconds() + configuration.startTimeout.nanoseconds
            while folder.readProcess() == nil, shim.isAlive, MonotonicClock.nanoseconds() < end {
                try await Task.sleep(for: .milliseconds(10))
            }
        }
        if let exit = folder.readExit() {
            found.state = .exited(exit)
        } else if let process = folder.readProcess() {
            if let exit = try await endWithoutMemory(id, folder, process.identity) {
                found.state = .exited(exit)
            } else if process.identity.isAlive {
                if !held.contains(id) {
                    found.wasThawed = FileSystem.exists(folder.freezeMark)
                    try await thaw(id)
                    // A bridge that is not what it was leaves the container cut off, and that is no reason to give it up.
                    try? await adoptNetwork(of: id)
                }
                watch(id, folder)
                found.state = .running(
                    RunningContainer(
                        id: id,
                        process: process.identity,
                        startedAt: process.startedAt,
                        cgroupPath: record.cgroupPath
                    )
                )
            } else if let shim = folder.readShim(), shim.isAlive {
                // It has just ended; the shim is about to say how.
                found.state = .exited(await watch(id, folder).value)
            } else {
                found.state = .lost(
                    reason: process.identity.boot == Machine.bootID
                        ? "The container and its shim were killed from outside."
                        : "The machine was restarted while the container ran."
                )
            }
        } else {
            found.mayHaveRun = record.boot != Machine.bootID || mayHaveRun(folder)
        }
        return found
    }

    /// Whether one may have run of which no process is on record: its shim is still at it, or it was started, or CRIU had come far enough.
    private func mayHaveRun(_ folder: ContainerFolder) -> Bool {
        if folder.readShim()?.isAlive == true { return true }
        guard FileSystem.exists(folder.shimSpecification) else { return false }
        let log = "\(folder.criuWork)/restore.log"
        return FileSystem.exists(log) ? CRIULog.mayHaveResumed(log) : true
    }

    /// One task per container waits for its end, whoever asks and however often.
    @discardableResult
    func watch(_ id: ContainerID, _ folder: ContainerFolder) -> Task<ContainerExit, Never> {
        watches.withLock { watches in
            if let running = watches[id] { return running }
            let task = Task(name: "watch \(id)") { [watcher] in
                if let shim = folder.readShim() { await Self.wait(for: shim, watcher) }
                if let exit = folder.readExit() { return exit }
                // Its shim was killed: nobody will learn the exit code.
                if let process = folder.readProcess() { await Self.wait(for: process.identity, watcher) }
                return folder.readExit() ?? ContainerExit(cause: .unknown, endedAt: WallClock.now())
            }
            watches[id] = task
            return task
        }
    }

    private static func wait(for process: ProcessIdentity, _ watcher: ProcessWatcher) async {
        while true {
            do {
                _ = try await watcher.exit(of: process)
                return
            } catch is CancellationError {
                return
            } catch {
                // Out of descriptors, say: asking again is better than believing that it has ended.
                guard process.isAlive else { return }
                do { try await Task.sleep(for: .milliseconds(500)) } catch { return }
            }
        }
    }

    // MARK: Asking

    /// Reads the container's output.
    package func logs(of id: ContainerID) throws -> LogReader {
        let folder = try folder(of: id)
        return LogReader(folder: folder.logs) {
            // Without an exit record more can come, unless container and shim are gone.
            folder.readExit() == nil && (folder.readShim()?.isAlive ?? false)
        }
    }

    /// What the container has written over its image; nothing in it may be changed while the container exists.
    package func writableLayerFolder(of id: ContainerID) throws -> String { try existingFolder(of: id).upper }

    /// What the container takes on disk, in its writable layer and its logs.
    ///
    /// Reads the whole layer, so not for every second.
    package func diskUse(of id: ContainerID) async throws -> ByteCount {
        let folder = try existingFolder(of: id)
        return await onThread {
            FileSystem.allocatedBytes(of: folder.upper) + FileSystem.allocatedBytes(of: folder.logs)
        }
    }

    /// The container's cgroup, for samples and limits.
    package func cgroup(of id: ContainerID) throws -> Cgroup {
        guard id.isSafe else { throw unsafeName(id) }
        return try slice.cgroup(id.rawValue)
    }

    func folder(of id: ContainerID) throws -> ContainerFolder {
        guard id.isSafe else { throw unsafeName(id) }
        return ContainerFolder(path: "\(configuration.containersFolder)/\(id)")
    }

    func existingFolder(of id: ContainerID) throws -> ContainerFolder {
        let folder = try folder(of: id)
        guard FileSystem.exists(folder.record) else {
            throw ContainerError(
                .containerMissing,
                "There is no container \(id) on this node.",
                remedy: "It has been removed or never started; look at the job with `godwit job show`."
            )
        }
        return folder
    }

    private func unsafeName(_ id: ContainerID) -> ContainerError {
        ContainerError(
            .settingInvalid,
            "\"\(id)\" cannot name a container.",
            remedy: "Names have 1 to 128 characters of [A-Za-z0-9_.-]."
        )
    }

    private func memoryEvents(_ cgroup: Cgroup) -> String? {
        guard let folder = cgroup.folder("memory") else { return nil }
        let isUnified = cgroup.hierarchy.controller("memory")?.isUnified ?? true
        return "\(folder)/\(isUnified ? "memory.events" : "memory.oom_control")"
    }

    func runcArguments(log: String) -> [String] {
        ["--root", configuration.runcRoot, "--log", log, "--log-format", "json"]
    }

    /// `PATH` for runc: the CRIU that was chosen comes first.
    var searchPath: String { (criu.map { "\(FileSystem.parent(of: $0.tool.path)):" } ?? "") + Tool.searchPath }

    /// Throws when nothing can be restored on this node.
    package func requireRestorable() throws { try requireCRIU(for: "restored") }

    /// Refuses what needs CRIU on a node that has none that works.
    func requireCRIU(for activity: String) throws {
        if criu?.works == true { return }
        let complaint = criu.map { "; \($0.tool.banner) does not: \($0.complaint)" } ?? ""
        throw ContainerError(
            .toolMissing,
            "This node has no CRIU that works\(complaint), so nothing can be \(activity) on it.",
            remedy: "Run agents/packaging/install-criu and restart the agent; `godwitd doctor` says more."
        )
    }
}
