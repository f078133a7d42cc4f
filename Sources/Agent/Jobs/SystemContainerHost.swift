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
    private let runtime: ContainerRuntime
    private let images: ImageCache
    private let archive: LogArchive
    private let scratch: String
    private let cacheLimit: ByteCount
    private let devices: GPUInventory
    private let logger: Logger
    private let open = Mutex<[ContainerKey: OpenContainer]>([:])
    private let jobImages: JobImages

    /// Names of what travels with CRIU's images: CRIU leaves files alone that it does not know.
    private static let specificationName = "godwit-container.json"
    private static let imageKeyName = "godwit-image"

    private struct OpenContainer {
        let cgroup: Cgroup
        let sampler: CgroupSampler
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
        return containers
    }

    // MARK: Life

    func adopt() async throws -> [FoundContainer] {
        let adopted = try await runtime.adopt()
        // What a dump or restore left in memory belongs to an agent that is gone; and now that the runtime has adopted, those that went
        // on without their agent are over, too.
        for name in (try? FileSystem.list(scratch)) ?? [] where Self.isFolderName(name) {
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
                // The runtime thaws what one of its own checkpoints froze; this also ends a freeze that had just begun.
                try? runtime.cgroup(of: container.id).thaw()
                found.append(
                    FoundContainer(key: key, state: .running, devices: container.devices.compactMap { Int($0) })
                )
            case .exited(let exit):
                // Its cgroup is still there, and with it the CPU time that it used.
                try remember(key)
                found.append(FoundContainer(key: key, state: .ended(Self.exit(exit))))
            case .lost: found.append(FoundContainer(key: key, state: .ended(.lost)))
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
        request.isFenced = plan.isFenced
        do { _ = try await runtime.start(request) } catch let error as ContainerError where error.code == .fenced {
            throw StartFenced()
        }
        try remember(plan.key)
    }

    func restore(_ plan: ContainerPlan, images folder: String, layer: String?) async throws {
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
        request.isFenced = plan.isFenced
        do { _ = try await runtime.restore(request) } catch let error as ContainerError where error.code == .fenced {
            // The checkpoint is as good as it was.
            throw RestoreProblem.unavailable(reason: "\(error)")
        }
        try remember(plan.key)
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
    private func note(_ key: ImageKey, of job: JobID, isStored: Bool) {
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
        return switch exit.cause {
        case .code(let code):
            // A shell that waits for the killed process reports 128 + 9; the kernel's count says what it was.
            exit.isOutOfMemory && code == 137 ? .signalled(number: 9, isOutOfMemory: true) : .exited(code: code)
        case .signal(let number): .signalled(number: number, isOutOfMemory: exit.isOutOfMemory)
        case .unknown: .lost
        }
    }

    func stop(_ key: ContainerKey, grace: Duration) async throws {
        if grace > .zero {
            try? runtime.cgroup(of: id(key)).thaw()
            _ = try await runtime.stop(id(key), grace: grace)
        } else {
            try await runtime.kill(id(key))
            try? runtime.cgroup(of: id(key)).thaw()
            _ = try await runtime.exit(of: id(key))
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
        open.withLock { $0[key] = OpenContainer(cgroup: cgroup, sampler: sampler) }
    }

    func sample(_ key: ContainerKey) -> CgroupSample? {
        guard let container = open.withLock({ $0[key] }) else { return nil }
        return try? container.sampler.sample()
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
        guard let dash = name.lastIndex(of: "-"), ["checkpoint", "restore"].contains(name[name.index(after: dash)...])
        else { return false }
        return ContainerID(rawValue: String(name[..<dash])).parts != nil
    }

    private func makeFolders(_ key: ContainerKey, _ purpose: String) throws -> CheckpointFolders {
        let root = "\(scratch)/\(key)-\(purpose)"
        try FileSystem.removeAll(root)
        try FileSystem.createFolder(root, mode: 0o700)
        return CheckpointFolders(root: root)
    }

    func freeze(_ key: ContainerKey) async throws {
        // A throttled process can be frozen only when its next period begins, so the quota goes first.
        let cgroup = try runtime.cgroup(of: id(key))
        try? cgroup.setCPUQuota(nil)
        try await cgroup.freeze()
    }

    func thaw(_ key: ContainerKey) async throws {
        try await runtime.thaw(id(key))
        try runtime.cgroup(of: id(key)).thaw()
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
        try FileSystem.move("\(folders.root)/container.json", to: "\(folders.images)/\(Self.specificationName)")
        let image = jobImages.key(of: key.job)?.rawValue ?? ""
        try FileSystem.writeAtomically(image + "\n", to: "\(folders.images)/\(Self.imageKeyName)", mode: 0o600)
    }

    func captureLayer(_ key: ContainerKey, into folders: CheckpointFolders) async throws -> Bool {
        // The runtime copies the layer while CRIU dumps: both read what stands still.
        FileSystem.exists(folders.layer)
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

    private func id(_ key: ContainerKey) -> ContainerID { ContainerID(job: key.job, incarnation: key.incarnation) }
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
