package import Checkpointing
package import ClusterModel
package import LinuxSystem

/// What one container is to be: an unpacked image and what the job says about it.
package struct StartRequest: Sendable {
    package var id: ContainerID
    package var image: PreparedImage
    /// The container's own name for itself; at most 63 characters.
    package var hostname: String
    /// Program and arguments; empty means the image's entry point and command.
    package var command: [String]
    /// Set over the image's own variables.
    package var environment: [JobSpecification.EnvironmentVariable]
    /// nil means the image's, or `/`.
    package var workingDirectory: String?
    /// nil means the image's, or root.
    package var user: String?
    package var mounts: [JobSpecification.Mount]
    /// nil means no limit.
    package var memoryLimit: ByteCount?
    /// Processes and threads that it may have at once (pids controller); 4,096 unless told otherwise.
    package var processLimit: Int
    /// A hard ceiling (cgroup quota); nil means none.
    package var cpuLimit: VCPUCount?
    /// The vCPUs that it is guaranteed under contention (cgroup weight).
    package var cpuAllocation: VCPUCount
    package var devices: [ContainerDevice]
    /// The network of its own; nil means the node's.
    package var network: ContainerNetwork?
    /// Whether it must end when the node's lease does (`ContainersConfiguration.leaseFile`), with or without an agent.
    package var isFenced = false

    package init(id: ContainerID, image: PreparedImage) {
        (self.id, self.image) = (id, image)
        hostname = String(id.rawValue.prefix(63))
        (command, environment, mounts, devices) = ([], [], [], [])
        processLimit = 4096
        cpuAllocation = 1
    }

    /// Takes over what a job specification says about its container.
    package init(
        id: ContainerID,
        image: PreparedImage,
        specification: JobSpecification,
        devices: [ContainerDevice] = []
    ) {
        self.init(id: id, image: image)
        hostname = specification.name
        command = specification.command
        environment = specification.environment
        workingDirectory = specification.workingDirectory
        user = specification.user
        mounts = specification.mounts
        memoryLimit = specification.resources.memory
        processLimit = specification.resources.processLimit
        cpuLimit = specification.resources.cpuLimit
        self.devices = devices
    }
}

/// A GPU of this node, as far as a container must know it.
package struct ContainerDevice: Sendable, Equatable, Codable {
    /// Its name in the CDI specification: index (`0`) or UUID.
    package var name: String
    /// The device files that belong to it alone, used when the node has no CDI specification: `/dev/nvidia0`.
    package var files: [String]
    package init(name: String, files: [String]) { (self.name, self.files) = (name, files) }
}

/// What a restored container is to be; its program, environment, user and mounts are those of the dump.
package struct RestoreRequest: Sendable {
    package var id: ContainerID
    /// The image that the dumped container ran on.
    package var image: PreparedImage
    /// What `checkpoint` wrote: `images/`, `container.json`, and `layer.tar` unless the layer was empty.
    package var folder: String
    /// Applied after the restore, since a limit slows CRIU down or makes it fail.
    package var memoryLimit: ByteCount?
    /// Applied after the restore; see `memoryLimit`.
    package var cpuLimit: VCPUCount?
    /// The vCPUs that it is guaranteed under contention (cgroup weight).
    package var cpuAllocation: VCPUCount
    /// Whether established TCP connections are restored; as in the options that the dump was taken with.
    package var tcpEstablished: Bool
    /// The network of its own: with the address that the dumped container had, or its connections are not restored.
    ///
    /// nil means the node's.
    package var network: ContainerNetwork?
    /// Whether what arrives goes on being held when the container runs, until `ContainerRuntime.unlockNetwork(of:)`: for a caller that has older
    /// frames to inject first.
    package var staysLocked = false
    /// Whether it must end when the node's lease does; see ``StartRequest/isFenced``.
    package var isFenced = false
    /// Where the memory comes from that is not in the folder; nil when all of it is there.
    ///
    /// The container then runs before it has arrived: see ``ContainerRuntime/arrival(of:)``.
    package var pages: (any PageSource)?

    package init(id: ContainerID, image: PreparedImage, folder: String) {
        (self.id, self.image, self.folder) = (id, image, folder)
        cpuAllocation = 1
        tcpEstablished = false
    }
}

/// A container whose first process runs.
package struct RunningContainer: Sendable, Equatable {
    package var id: ContainerID
    /// The container's first process, as this node sees it.
    package var process: ProcessIdentity
    package var startedAt: Timestamp
    /// From the root of each cgroup hierarchy: `/godwit/ID`.
    package var cgroupPath: String
}

/// How a container ended.
package struct ContainerExit: Sendable, Equatable, Codable {
    /// How its first process ended.
    package enum Cause: Sendable, Equatable, Codable {
        case code(Int32)
        case signal(Int32)
        /// Nobody saw it end: its shim was killed, or the machine went down.
        case unknown
    }

    package var cause: Cause
    package var endedAt: Timestamp
    /// Processes of the container that the kernel killed because the memory limit was reached.
    package var memoryKillCount: Int
    /// Lines of output that could not be kept because the disk was full.
    package var droppedLineCount: Int
    /// Whether its shim killed it because the node's lease had ended: no fault of the program's.
    package var isFenced: Bool
    /// Whether its shim killed it because memory that was still to come could not be had: no fault of the program's.
    package var isMemoryLost: Bool

    package init(
        cause: Cause,
        endedAt: Timestamp,
        memoryKillCount: Int = 0,
        droppedLineCount: Int = 0,
        isFenced: Bool = false,
        isMemoryLost: Bool = false
    ) {
        (self.cause, self.endedAt) = (cause, endedAt)
        (self.memoryKillCount, self.droppedLineCount) = (memoryKillCount, droppedLineCount)
        (self.isFenced, self.isMemoryLost) = (isFenced, isMemoryLost)
    }

    /// Whether its first process ended by itself with status 0.
    package var isSuccess: Bool { cause == .code(0) }

    /// Whether the memory limit ended it: the kernel killed something in it, and it did not end well.
    package var isOutOfMemory: Bool { memoryKillCount > 0 && !isSuccess }
}

/// What an agent that has just started finds of one container.
package struct AdoptedContainer: Sendable, Equatable {
    /// What became of it while no agent looked.
    package enum State: Sendable, Equatable {
        case running(RunningContainer)
        case exited(ContainerExit)
        /// It has not been started, or is gone without a record; the reason is a sentence.
        case lost(reason: String)
    }

    package var id: ContainerID
    package var state: State
    /// The image it uses, which must not be collected.
    package var image: ImageKey?
    /// Whether it was found frozen in the middle of a checkpoint; it has been thawed and has its quota back.
    package var wasThawed: Bool
    /// Names of the devices that it was given.
    package var devices: [String] = []
    /// Whether anything of it may have run; false only for one that is lost and whose start or restore did not get so far.
    package var mayHaveRun = true
}
