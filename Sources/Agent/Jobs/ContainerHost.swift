import Checkpointing
import ClusterModel
import struct Containers.HeldFrames
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
    /// The network of its own; nil means the node's.
    var network: ContainerNetwork?
    /// Whether what arrives for a restored container goes on being held until ``ContainerHost/unlockNetwork(_:)``.
    var staysLocked = false
    /// Whether it must end when the node has been out of touch with the cluster's leader for too long; see ``LeaseFile``.
    var isFenced: Bool

    init(
        key: ContainerKey,
        specification: JobSpecification,
        allocation: VCPUCount,
        cpuLimit: VCPUCount?,
        memoryLimit: ByteCount?,
        devices: [Int] = [],
        network: ContainerNetwork? = nil,
        isFenced: Bool = false
    ) {
        self.key = key
        self.specification = specification
        self.allocation = allocation
        self.cpuLimit = cpuLimit
        self.memoryLimit = memoryLimit
        self.devices = devices
        self.network = network
        self.isFenced = isFenced
    }
}

/// What became of the memory that a container did not have yet when it ran.
struct MemoryArrival: Sendable, Equatable {
    /// How it ended.
    enum End: Sendable, Equatable {
        case complete
        /// The container ended of its own before all was there.
        case containerEnded
        /// The container was killed before it could see anything in its place.
        case failed(RestoreProblem)
    }

    var end: End
    /// What was handed out.
    var bytes: ByteCount
    /// From the beginning of the restore.
    var duration: Duration

    init(end: End, bytes: ByteCount, duration: Duration) {
        (self.end, self.bytes, self.duration) = (end, bytes, duration)
    }
}

/// The memory of a container that stands still here while its job goes on elsewhere, page by page, or is about to.
protocol HeldMemory: PageSource {
    /// All of it is where the job runs: lets go of the container, which is not to run any more.
    func complete() async throws
    /// Lets go of the container, which is as it was and stands still until it is thawed.
    func abort() async
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
    /// The job's move for which it stands still, when it may have been handed over: it was not thawed.
    var heldMove: UInt64?
    /// Whether anything of it may have run.
    var mayHaveRun: Bool

    init(key: ContainerKey, state: State, devices: [Int] = [], heldMove: UInt64? = nil, mayHaveRun: Bool = true) {
        (self.key, self.state, self.devices, self.heldMove) = (key, state, devices, heldMove)
        self.mayHaveRun = mayHaveRun
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
    ///
    /// With `pages` it runs before that memory is there: see ``memoryArrival(of:)``.
    func restore(_ plan: ContainerPlan, images: String, layer: String?, pages: (any PageSource)?) async throws
    /// Whether a container whose restore failed may have run for a moment: what it did then cannot be taken back.
    func mayHaveRun(_ key: ContainerKey) -> Bool
    /// Why containers cannot run before their memory is there on this node; nil when they can.
    var lazyRestoreObstacle: String? { get }
    /// Waits until a container's memory has arrived, or cannot; nil when it waits for none.
    func memoryArrival(of key: ContainerKey) async -> MemoryArrival?
    /// Waits for the end of a container's first process; returns at once when it is over already.
    ///
    /// What it returns to a task that was cancelled means nothing.
    func exit(of key: ContainerKey) async -> ContainerExit
    /// Asks it to end, and makes it end after the grace; returns when it is gone, at once when it is gone already. A frozen container is thawed first.
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

    /// As `prepareCheckpoint`, for a dump that goes to another node and outlives this agent once it is marked; `isLazy`: without the memory.
    func prepareMigration(
        _ key: ContainerKey,
        specification: JobSpecification,
        isLazy: Bool
    ) async throws -> CheckpointFolders
    /// As `dump`, without the memory, which is read from the container as long as that stands still.
    ///
    /// The folders say that they have no memory; see ``lacksMemory(_:)``. When this agent ends, whoever reads gets no more, and the container is as it was.
    func dumpLazily(
        _ key: ContainerKey,
        into folders: CheckpointFolders,
        specification: JobSpecification
    ) async throws -> any HeldMemory
    /// Whether a dump was made without the memory.
    func lacksMemory(_ folders: CheckpointFolders) -> Bool
    /// Notes that the container of a dump may be another node's: `adopt` leaves it frozen and names the move.
    func markHeld(_ folders: CheckpointFolders, move: UInt64) throws
    /// What an agent before this one dumped and marked; nil when there is nothing.
    func heldFolders(_ key: ContainerKey) -> CheckpointFolders?
    /// Whether a dump has an archive of the writable layer.
    func hasLayer(_ folders: CheckpointFolders) -> Bool
    /// Reads what the page maps of a dump say that it has, and what it lacks.
    func dumpedMemory(in images: String) throws -> DumpedMemory
    /// Finds out whether a job can come here from another node, and gets its image, by its key when it has one.
    func prepareArrival(
        _ specification: JobSpecification,
        of job: JobID,
        _ facts: MigrationFacts
    ) async throws

    // The network of a container that has one of its own; for all others these do nothing. Each may be repeated.
    // `Containers.docc`, The network of a container, says in which order a move needs them.

    /// Holds what arrives from now on; ``freeze(_:)`` does so by itself, and ``thaw(_:)`` ends it.
    func lockNetwork(_ key: ContainerKey) async throws
    /// Ends the part of this node in the container's network, and returns what was held.
    func handOverNetwork(_ key: ContainerKey) async throws -> HeldFrames
    /// Lets nothing more of the container out, so that its peers do not hear of its end.
    func cutNetwork(_ key: ContainerKey) async throws
    /// Gives the container what was held elsewhere.
    func inject(_ held: HeldFrames, into key: ContainerKey) async throws
    /// Tells everybody on the bridges that the container is here.
    func announce(_ key: ContainerKey) async throws
    /// Gives the container what was held here, and lets what comes reach it.
    func unlockNetwork(_ key: ContainerKey) async throws
}

extension ContainerHost {
    func lockNetwork(_ key: ContainerKey) async throws {}
    func handOverNetwork(_ key: ContainerKey) async throws -> HeldFrames { HeldFrames() }
    func cutNetwork(_ key: ContainerKey) async throws {}
    func inject(_ held: HeldFrames, into key: ContainerKey) async throws {}
    func announce(_ key: ContainerKey) async throws {}
    func unlockNetwork(_ key: ContainerKey) async throws {}

    /// It never does.
    func mayHaveRun(_ key: ContainerKey) -> Bool { false }

    /// As for a checkpoint.
    func prepareMigration(
        _ key: ContainerKey,
        specification: JobSpecification,
        isLazy: Bool
    ) async throws -> CheckpointFolders {
        try await prepareCheckpoint(key, specification: specification)
    }

    /// Only where containers can run before their memory is there.
    func dumpLazily(
        _ key: ContainerKey,
        into folders: CheckpointFolders,
        specification: JobSpecification
    ) async throws -> any HeldMemory {
        throw RestoreProblem.unavailable(reason: lazyRestoreObstacle ?? "it dumps all memory")
    }

    /// All of it is there.
    func lacksMemory(_ folders: CheckpointFolders) -> Bool { false }

    /// Containers in memory have no agent that comes after.
    func markHeld(_ folders: CheckpointFolders, move: UInt64) throws {}

    /// Nothing was left.
    func heldFolders(_ key: ContainerKey) -> CheckpointFolders? { nil }

    /// No archive.
    func hasLayer(_ folders: CheckpointFolders) -> Bool { false }

    /// None is known.
    func dumpedMemory(in images: String) throws -> DumpedMemory {
        throw RestoreProblem.unavailable(reason: "it dumps all memory")
    }

    /// Everything is here.
    func prepareArrival(
        _ specification: JobSpecification,
        of job: JobID,
        _ facts: MigrationFacts
    ) async throws {}
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
