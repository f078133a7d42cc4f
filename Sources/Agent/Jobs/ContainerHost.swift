import ClusterModel
import ResourceSamples

/// One incarnation of one job: what a container on a node is known by.
struct ContainerKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    var job: JobID
    var incarnation: Incarnation

    init(job: JobID, incarnation: Incarnation) { (self.job, self.incarnation) = (job, incarnation) }

    static func < (left: Self, right: Self) -> Bool {
        (left.job, left.incarnation) < (right.job, right.incarnation)
    }

    var description: String { "\(job)-\(incarnation)" }
}

/// What a container needs to start, apart from its image.
struct ContainerPlan: Sendable, Equatable {
    var key: ContainerKey
    var specification: JobSpecification
    /// The guarantee to start with.
    var allocation: VCPUCount
    /// The hard ceiling that holds now.
    var cpuLimit: VCPUCount?
    /// The memory limit that holds now.
    var memoryLimit: ByteCount?
    /// Indexes of the GPU devices that it may use.
    var devices: [Int]
    /// Whether it must end when the node has been out of touch with the cluster's leader for too long; see ``LeaseFile``.
    var isFenced: Bool

    init(
        key: ContainerKey,
        specification: JobSpecification,
        allocation: VCPUCount,
        cpuLimit: VCPUCount?,
        memoryLimit: ByteCount?,
        devices: [Int] = [],
        isFenced: Bool = false
    ) {
        self.key = key
        self.specification = specification
        self.allocation = allocation
        self.cpuLimit = cpuLimit
        self.memoryLimit = memoryLimit
        self.devices = devices
        self.isFenced = isFenced
    }
}

/// A start that came to nothing because the node's lease had ended: the job's container was taken from it, and did not fail.
struct StartFenced: Error {}

/// A container that an agent found when it started.
struct FoundContainer: Sendable, Equatable {
    /// What it is doing.
    enum State: Sendable, Equatable {
        case running
        /// It ended while no agent looked.
        case ended(ContainerExit)
    }

    var key: ContainerKey
    var state: State
    /// Indexes of the GPU devices that it was given.
    var devices: [Int]

    init(key: ContainerKey, state: State, devices: [Int] = []) {
        (self.key, self.state, self.devices) = (key, state, devices)
    }
}

/// The containers of one node: the boundary between the agent's decisions and runc, CRIU and cgroups.
///
/// `SystemContainerHost` is the real one, `SimulatedContainerHost` (in the tests) the in-memory twin. Every call is about one
/// container; calls about different containers may run at once. Errors say what failed, why, and what to do, in one line.
protocol ContainerHost: Sendable {
    /// Every container that exists on the node, whoever started it; what is half-made is removed first.
    func adopt() async throws -> [FoundContainer]
    /// Makes and starts a container; afterwards it runs, or nothing of it exists.
    ///
    /// Throws ``StartFenced`` when the node has no right to run it for the time being.
    func start(_ plan: ContainerPlan) async throws
    /// Makes a container from images in memory and a captured writable layer (nil: empty); all or nothing, as `start`.
    func restore(_ plan: ContainerPlan, images: String, layer: String?) async throws
    /// Waits for the end of a container's first process; returns at once when it is over already.
    ///
    /// What it returns to a task that was cancelled means nothing.
    func exit(of key: ContainerKey) async -> ContainerExit
    /// Asks it to end, and makes it end after the grace; returns when it is gone. A frozen container is thawed first.
    func stop(_ key: ContainerKey, grace: Duration) async throws
    /// Deletes everything of a container that has ended, but not the job's logs.
    func remove(_ key: ContainerKey) async throws
    /// Deletes what is left of a job that is forgotten: its logs.
    func forget(_ job: JobID) async throws
    /// Jobs of which output is kept, whether anybody knows them or not.
    func archivedJobs() async throws -> [JobID]

    /// Reads the counters; nil when the cgroup is gone.
    func sample(_ key: ContainerKey) -> CgroupSample?
    /// Carries out a guarantee: one write to the cgroup.
    func setAllocation(_ allocation: VCPUCount, of key: ContainerKey) throws
    func setCPULimit(_ limit: VCPUCount?, of key: ContainerKey) throws
    func setMemoryLimit(_ limit: ByteCount, of key: ContainerKey) throws

    /// Says why this container cannot be checkpointed, before anything is touched; makes the folder for the images.
    func prepareCheckpoint(_ key: ContainerKey, specification: JobSpecification) async throws -> CheckpointFolders
    /// Stops every process and returns when all stand still.
    func freeze(_ key: ContainerKey) async throws
    func thaw(_ key: ContainerKey) async throws
    /// Writes CRIU's images of a frozen container and leaves it as it is. Cancelling the task ends CRIU.
    func dump(_ key: ContainerKey, into folders: CheckpointFolders, specification: JobSpecification) async throws
    /// Archives the writable layer of a frozen container; false when it is empty.
    func captureLayer(_ key: ContainerKey, into folders: CheckpointFolders) async throws -> Bool
    /// Folders for a restore's images.
    func makeRestoreFolders(_ key: ContainerKey) async throws -> CheckpointFolders
    /// Deletes images and archive.
    func removeFolders(_ folders: CheckpointFolders) async
}

/// Where a checkpoint lies in memory between CRIU and the store.
struct CheckpointFolders: Sendable, Equatable {
    /// CRIU's images.
    var images: String
    /// The archive of the writable layer.
    var layer: String
    /// Both are below this folder.
    var root: String

    init(root: String) {
        self.root = root
        images = root + "/images"
        layer = root + "/layer.tar"
    }
}
