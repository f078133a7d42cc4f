import AgentConfiguration
import Checkpointing
import ClusterModel
import ClusterState
import Containers
import ControlMessages
import GPU
import LinuxSystem
import Logging
import ResourceSamples
import Synchronization

/// The containers of this node through runc, CRIU and cgroups.
final class SystemContainerHost: ContainerHost, LogSource {
    let runtime: ContainerRuntime
    let images: ImageCache
    private let archive: LogArchive
    let scratch: String
    private let cacheLimit: ByteCount
    private let devices: GPUInventory
    private let logger: Logger
    private let open = Mutex<[ContainerKey: OpenContainer]>([:])
    let jobImages: JobImages

    /// Names of what travels with CRIU's images: CRIU leaves files alone that it does not know.
    private static let specificationName = "godwit-container.json"
    private static let imageKeyName = "godwit-image"

    private struct OpenContainer {
        let cgroup: Cgroup
        let sampler: CgroupSampler
        /// CPU time of the cgroup that is no work of the job's: CRIU's, in a restore.
        let restoreTime: Duration
    }

    /// Finds the programs and makes the cgroups' parent; throws with the remedy when containers cannot run here.
    init(
        _ configuration: AgentConfiguration,
        criu: CRIUFacts?,
        capacity: VCPUCount,
        inventory: GPUInventory,
        logger: Logger
    ) throws {
        let slice = try CgroupSlice(in: try CgroupHierarchy.detect(), path: configuration.cgroup.parent)
        try slice.setUp()
        try slice.setCPUWeight(capacity: capacity)
        let containers = Self.containersConfiguration(configuration)
        runtime = try ContainerRuntime(containers, slice: slice, criu: criu)
        images = try ImageCache(containers)
        jobImages = try JobImages(folder: configuration.folders.state + "/job-images")
        archive = LogArchive(folder: configuration.folders.state + "/logs")
        scratch = configuration.checkpoints.tmpfs
        cacheLimit = configuration.images.cacheLimit
        devices = inventory
        self.logger = logger
    }

    static func containersConfiguration(_ configuration: AgentConfiguration) -> ContainersConfiguration {
        var containers = ContainersConfiguration(
            stateFolder: configuration.folders.state,
            runtimeFolder: configuration.folders.runtime
        )
        containers.runc = configuration.programs.runc
        containers.umoci = configuration.programs.umoci
        containers.skopeo = configuration.programs.skopeo
        containers.shim = configuration.programs.shim.isEmpty ? nil : configuration.programs.shim
        containers.logFileLimit = configuration.containerLogs.fileSize
        containers.logFileCount = configuration.containerLogs.fileCount
        containers.imageTimeout = configuration.images.pullTimeout
        containers.bridge = configuration.network.bridge.map {
            var bridge = ContainerBridge(name: $0)
            bridge.holdLimit = configuration.network.holdBuffer
            return bridge
        }
        return containers
    }

    // MARK: Life

    func adopt() async throws -> [FoundContainer] {
        let held = heldMoves()
        let adopted = try await runtime.adopt(holding: Set(held.keys))
        let standing = adopted.filter { if case .running = $0.state { held[$0.id] != nil } else { false } }
        let kept = Set(standing.map { "\($0.id)\(Self.migrationSuffix)" })
        // What a dump or restore left in memory belongs to an agent that is gone; and now that the runtime has adopted, those that went
        // on without their agent are over, too. Only what was handed over, or may have been, is still wanted.
        for name in (try? FileSystem.list(scratch)) ?? [] where Self.isFolderName(name) && !kept.contains(name) {
            try? FileSystem.removeAll("\(scratch)/\(name)")
        }
        var found: [FoundContainer] = []
        for container in adopted {
            guard let parts = container.id.parts else { continue }
            let key = ContainerKey(job: parts.job, incarnation: parts.incarnation)
            if let image = container.image {
                note(image, of: key.job, isStored: await images.image(image) != nil)
            }
            switch container.state {
            case .running:
                try remember(key)
                let devices = container.devices.compactMap { Int($0) }
                if let number = held[container.id] {
                    found.append(FoundContainer(key: key, state: .running, devices: devices, heldMove: number))
                    continue
                }
                // The runtime thaws what one of its own checkpoints froze; this also ends a freeze that had just begun.
                try? runtime.cgroup(of: container.id).thaw()
                found.append(FoundContainer(key: key, state: .running, devices: devices))
            case .exited(let exit):
                // Its cgroup is still there, and with it the CPU time that it used.
                try remember(key)
                found.append(FoundContainer(key: key, state: .ended(Self.exit(exit))))
            case .lost:
                let mayHaveRun = container.mayHaveRun
                found.append(FoundContainer(key: key, state: .ended(.lost), mayHaveRun: mayHaveRun))
            }
        }
        return found
    }

    func start(_ plan: ContainerPlan) async throws {
        let image = try await prepareImage(plan)
        var request = StartRequest(
            id: id(plan.key),
            image: image,
            specification: plan.specification,
            devices: try await containerDevices(plan.devices)
        )
        request.cpuAllocation = plan.allocation
        request.cpuLimit = plan.cpuLimit
        request.memoryLimit = plan.memoryLimit
        request.network = plan.network
        request.isFenced = plan.isFenced
        do { _ = try await runtime.start(request) } catch let error as ContainerError where error.code == .fenced {
            throw StartFenced()
        }
        try remember(plan.key)
    }

    func restore(
        _ plan: ContainerPlan,
        images folder: String,
        layer: String?,
        pages: (any PageSource)?
    ) async throws {
        let root = FileSystem.parent(of: folder)
        let key = ImageKey(rawValue: try FileSystem.readLine("\(folder)/\(Self.imageKeyName)"))
        let image: PreparedImage
        do {
            image =
                key.rawValue.isEmpty ? try await prepareImage(plan) : try await prepareImage(plan, pinned: key)
        } catch let error as ContainerError {
            // The checkpoint is as good as it was: another generation of it needs the same image.
            throw RestoreProblem.unavailable(reason: "\(error)")
        }
        try FileSystem.move("\(folder)/\(Self.specificationName)", to: "\(root)/container.json")
        var request = Containers.RestoreRequest(
            id: id(plan.key),
            image: image,
            folder: root
        )
        request.cpuAllocation = plan.allocation
        request.cpuLimit = plan.cpuLimit
        request.memoryLimit = plan.memoryLimit
        request.tcpEstablished = plan.specification.checkpoint.tcpEstablished
        (request.network, request.staysLocked) = (plan.network, plan.staysLocked)
        request.isFenced = plan.isFenced
        request.pages = pages
        do { _ = try await runtime.restore(request) } catch let error as ContainerError where error.code == .fenced {
            // The checkpoint is as good as it was.
            throw RestoreProblem.unavailable(reason: "\(error)")
        }
        try remember(plan.key)
    }

    func mayHaveRun(_ key: ContainerKey) -> Bool { runtime.mayHaveRun(id(key)) }

    var lazyRestoreObstacle: String? { runtime.lazyRestoreObstacle }

    func memoryArrival(of key: ContainerKey) async -> MemoryArrival? {
        guard let arrival = runtime.arrival(of: id(key)) else { return nil }
        let (result, duration) = await arrival.end()
        let end: MemoryArrival.End =
            switch result {
            case .complete: .complete
            case .containerEnded: .containerEnded
            case .failed(let problem as RestoreProblem): .failed(problem)
            case .failed(let error): .failed(.unavailable(reason: "\(error)"))
            }
        return MemoryArrival(end: end, bytes: arrival.bytesServed, duration: duration)
    }

    /// The image of a checkpoint, which alone fits to it.
    private func prepareImage(_ plan: ContainerPlan, pinned: ImageKey) async throws -> PreparedImage {
        let image = try await images.prepare(plan.specification.image, pinned: pinned)
        note(image.key, of: plan.key.job, isStored: image.size > .zero)
        return image
    }

    /// The image that the job had at its first start, so that a registry is asked once and all iterations run the same program.
    private func prepareImage(_ plan: ContainerPlan) async throws -> PreparedImage {
        if let known = jobImages.key(of: plan.key.job), let image = await images.image(known) { return image }
        let image = try await images.prepare(plan.specification.image)
        note(image.key, of: plan.key.job, isStored: image.size > .zero)
        if image.size > .zero { await collectImages() }
        return image
    }

    /// Remembers the image of a job; where that cannot be written, it is known at least until the agent ends.
    func note(_ key: ImageKey, of job: JobID, isStored: Bool) {
        do { try jobImages.note(key, of: job, isStored: isStored) } catch {
            logger.warning("image.note.failed", metadata: ["job": "\(job)", "error": "\(error)"])
        }
    }

    /// Removes images that no job can need any more, when all together are too large.
    private func collectImages() async {
        do {
            // One that was prepared in this moment is not noted yet.
            let removed = try await images.collectGarbage(
                limit: cacheLimit,
                keeping: jobImages.all,
                sparing: .seconds(60)
            )
            for key in removed { logger.info("image.removed", metadata: ["image": "\(key)"]) }
        } catch { logger.warning("image.removal.failed", metadata: ["error": "\(error)"]) }
    }

    private func containerDevices(_ indexes: [Int]) async throws -> [ContainerDevice] {
        guard !indexes.isEmpty else { return [] }
        let present = try await devices.devices()
        return indexes.map { index in
            let device = present.first { $0.index == index }
            let files = device?.minor.map { device?.vendor == .amd ? ["/dev/dri/card\($0)"] : ["/dev/nvidia\($0)"] }
            return ContainerDevice(name: String(index), files: files ?? [])
        }
    }

    func exit(of key: ContainerKey) async -> ClusterModel.ContainerExit {
        do { return Self.exit(try await runtime.exit(of: id(key))) } catch {
            logger.warning("container.exit.unknown", metadata: ["container": "\(key)", "error": "\(error)"])
            return .lost
        }
    }

    static func exit(_ exit: Containers.ContainerExit) -> ClusterModel.ContainerExit {
        if exit.isFenced { return .fenced }
        // The node's failure and not the program's: the job goes on from its last checkpoint.
        if exit.isMemoryLost { return ClusterModel.ContainerExit.lost }
        return switch exit.cause {
        case .code(let code):
            // A shell that waits for the killed process reports 128 + 9; the kernel's count says what it was.
            exit.isOutOfMemory && code == 137 ? .signalled(number: 9, isOutOfMemory: true) : .exited(code: code)
        case .signal(let number): .signalled(number: number, isOutOfMemory: exit.isOutOfMemory)
        case .unknown: .lost
        }
    }

    func stop(_ key: ContainerKey, grace: Duration) async throws {
        do {
            if grace > .zero {
                try? runtime.cgroup(of: id(key)).thaw()
                _ = try await runtime.stop(id(key), grace: grace)
            } else {
                try await runtime.kill(id(key))
                try? runtime.cgroup(of: id(key)).thaw()
                _ = try await runtime.exit(of: id(key))
            }
        } catch let error as ContainerError where error.code == .containerMissing {
            // It ended by itself, and whoever saw that has removed it.
        }
    }

    func remove(_ key: ContainerKey) async throws {
        open.withLock { $0[key] = nil }
        do { try archive.keep(runtime.logsFolder(of: id(key)), of: key) } catch {
            logger.warning("container.logs.lost", metadata: ["container": "\(key)", "error": "\(error)"])
        }
        try await runtime.remove(id(key))
    }

    func forget(_ job: JobID) async throws {
        try jobImages.forget(job)
        try archive.remove(job)
        await collectImages()
    }

    // MARK: Counters and limits

    private func remember(_ key: ContainerKey) throws {
        let cgroup = try runtime.cgroup(of: id(key))
        // A container that has ended already has no cgroup to read; its exit tells the rest.
        guard let sampler = try? cgroup.makeSampler() else { return }
        let container = OpenContainer(cgroup: cgroup, sampler: sampler, restoreTime: runtime.restoreTime(of: id(key)))
        open.withLock { $0[key] = container }
    }

    /// Containers whose counters can be read.
    var openContainers: [ContainerKey] { open.withLock { Array($0.keys) } }

    func sample(_ key: ContainerKey) -> CgroupSample? {
        guard let container = open.withLock({ $0[key] }) else { return nil }
        guard var sample = try? container.sampler.sample() else { return nil }
        sample.cpuTime = max(.zero, sample.cpuTime - container.restoreTime)
        return sample
    }

    func setAllocation(_ allocation: VCPUCount, of key: ContainerKey) throws {
        try open.withLock { $0[key] }?.cgroup.setCPUWeight(allocation)
    }

    func setCPULimit(_ limit: VCPUCount?, of key: ContainerKey) throws {
        try open.withLock { $0[key] }?.cgroup.setCPUQuota(limit)
    }

    func setMemoryLimit(_ limit: ByteCount, of key: ContainerKey) throws {
        try open.withLock { $0[key] }?.cgroup.setMemoryLimit(limit)
    }

    // MARK: Checkpoints

    func prepareCheckpoint(
        _ key: ContainerKey,
        specification: JobSpecification
    ) async throws -> CheckpointFolders {
        let folders = try makeFolders(key, "checkpoint")
        do {
            try runtime.requireCheckpointable(
                id(key),
                tcpEstablished: specification.checkpoint.tcpEstablished,
                in: folders.root
            )
        } catch {
            await removeFolders(folders)
            throw error
        }
        return folders
    }

    func makeRestoreFolders(_ key: ContainerKey) async throws -> CheckpointFolders { try makeFolders(key, "restore") }

    /// Whether a name is one that ``makeFolders(_:_:)`` gives; nothing else in that folder is ours to remove.
    static func isFolderName(_ name: String) -> Bool {
        guard let dash = name.lastIndex(of: "-"),
            ["checkpoint", "restore", "migration"].contains(name[name.index(after: dash)...])
        else { return false }
        return ContainerID(rawValue: String(name[..<dash])).parts != nil
    }

    func makeFolders(_ key: ContainerKey, _ purpose: String) throws -> CheckpointFolders {
        let root = "\(scratch)/\(key)-\(purpose)"
        try FileSystem.removeAll(root)
        try FileSystem.createFolder(root, mode: 0o700)
        return CheckpointFolders(root: root)
    }

    func freeze(_ key: ContainerKey) async throws {
        // While it still runs, so that no frame finds it frozen.
        try await runtime.lockNetwork(of: id(key))
        // A throttled process can be frozen only when its next period begins, so the quota goes first.
        let cgroup = try runtime.cgroup(of: id(key))
        try? cgroup.setCPUQuota(nil)
        do { try await cgroup.freeze() } catch {
            try? await unlockNetwork(key)
            throw error
        }
    }

    func thaw(_ key: ContainerKey) async throws {
        try await runtime.thaw(id(key))
        try runtime.cgroup(of: id(key)).thaw()
        do { try await unlockNetwork(key) } catch {
            // It runs, and that is what was asked for; the next thaw tries again.
            logger.error("container.network.failed", metadata: ["container": "\(key)", "error": "\(error)"])
        }
    }

    func dump(
        _ key: ContainerKey,
        into folders: CheckpointFolders,
        specification: JobSpecification
    ) async throws {
        _ = try await runtime.checkpoint(
            id(key),
            CheckpointOptions(
                folder: folders.root,
                afterwards: .stayFrozen,
                tcpEstablished: specification.checkpoint.tcpEstablished
            )
        )
        try completeImages(of: key, in: folders)
    }

    /// Puts beside CRIU's images what a restore needs besides them.
    func completeImages(of key: ContainerKey, in folders: CheckpointFolders) throws {
        try FileSystem.move("\(folders.root)/container.json", to: "\(folders.images)/\(Self.specificationName)")
        let image = jobImages.key(of: key.job)?.rawValue ?? ""
        try FileSystem.writeAtomically(image + "\n", to: "\(folders.images)/\(Self.imageKeyName)", mode: 0o600)
    }

    func captureLayer(_ key: ContainerKey, into folders: CheckpointFolders) async throws -> Bool {
        // The runtime copies the layer while CRIU dumps: both read what stands still.
        FileSystem.exists(folders.layer)
    }

    // MARK: Networks

    func lockNetwork(_ key: ContainerKey) async throws { try await runtime.lockNetwork(of: id(key)) }

    func handOverNetwork(_ key: ContainerKey) async throws -> HeldFrames {
        try await runtime.handOverNetwork(of: id(key))
    }

    func cutNetwork(_ key: ContainerKey) async throws { try await runtime.cutNetwork(of: id(key)) }

    func inject(_ held: HeldFrames, into key: ContainerKey) async throws {
        try await runtime.inject(held, into: id(key))
    }

    func announce(_ key: ContainerKey) async throws { try await runtime.announce(id(key)) }

    func unlockNetwork(_ key: ContainerKey) async throws {
        let held = try await runtime.unlockNetwork(of: id(key))
        guard held.dropped > 0 else { return }
        logger.warning(
            "container.frames.dropped",
            metadata: [
                "container": "\(key)", "dropped": "\(held.dropped)", "held": "\(held.frames)",
                "remedy": "raise network.holdBuffer",
            ]
        )
    }

    func removeFolders(_ folders: CheckpointFolders) async { try? FileSystem.removeAll(folders.root) }

    // MARK: Output

    func read(
        _ query: LogQuery,
        isOver: @escaping @Sendable () async -> Bool,
        _ emit: @escaping @Sendable ([WireLogLine]) async throws -> Void
    ) async throws {
        try await archive.read(query, present: { runtime.logFolders(of: query.job) }, isOver: isOver, emit)
    }

    /// Jobs whose image is noted, too: ``forget(_:)`` deletes both.
    func archivedJobs() async throws -> [JobID] { jobImages.jobs.union(try archive.jobs()).sorted() }

    func id(_ key: ContainerKey) -> ContainerID { ContainerID(job: key.job, incarnation: key.incarnation) }
}

extension ContainerRuntime {
    /// The logs of a job's containers that exist, by rising incarnation.
    func logFolders(of job: JobID) -> [(incarnation: Incarnation, folder: String)] {
        let folder = "\(configuration.stateFolder)/containers"
        return ((try? FileSystem.list(folder)) ?? []).compactMap { name in
            let id = ContainerID(rawValue: name)
            guard let parts = id.parts, parts.job == job else { return nil }
            return (parts.incarnation, logsFolder(of: id))
        }.sorted { $0.incarnation < $1.incarnation }
    }

    /// Where the shim of a container writes its logs.
    func logsFolder(of id: ContainerID) -> String { "\(configuration.stateFolder)/containers/\(id)/logs" }
}
