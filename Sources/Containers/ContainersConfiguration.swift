package import ClusterModel

/// Where containers live on this node, and with which programs they are run.
package struct ContainersConfiguration: Sendable, Equatable {
    /// Containers' folders and images, on a disk; it must allow overlayfs (ext4, xfs, btrfs, tmpfs do).
    package var stateFolder: String
    /// runc's own state, gone after a boot; best on tmpfs.
    package var runtimeFolder: String
    /// An absolute path, or a name that is looked for in `PATH`.
    package var runc: String
    /// Unpacks OCI images; as `runc`.
    package var umoci: String
    /// Fetches images from registries; as `runc`.
    package var skopeo: String
    /// The shim's program; nil looks beside the agent's own, then in `PATH`.
    package var shim: String?
    /// What containers with an address of their own join; nil refuses them.
    package var bridge: ContainerBridge?
    /// The most one log file may hold; a container keeps `logFileCount` of them.
    package var logFileLimit: ByteCount
    /// How many log files each container keeps.
    package var logFileCount: Int
    /// How long runc may take to start a container.
    package var startTimeout: Duration
    /// How long a dump or a restore may take.
    package var checkpointTimeout: Duration
    /// How long an agent that starts waits for dumps that its predecessor had begun, before it kills them.
    package var interruptedDumpTimeout: Duration
    /// How long fetching or unpacking one image may take.
    package var imageTimeout: Duration
    /// Deleted files that a container still holds open are kept in a checkpoint up to this size each.
    package var deletedFileLimit: ByteCount
    /// How long a restored container may wait for the next piece of memory that is still to come, before it is given up.
    package var pageTimeout: Duration

    package init(stateFolder: String, runtimeFolder: String) {
        self.stateFolder = stateFolder
        self.runtimeFolder = runtimeFolder
        (runc, umoci, skopeo) = ("runc", "umoci", "skopeo")
        logFileLimit = .mebibytes(16)
        logFileCount = 4
        startTimeout = .seconds(60)
        checkpointTimeout = .seconds(600)
        interruptedDumpTimeout = .seconds(30)
        imageTimeout = .seconds(1800)
        deletedFileLimit = .gibibytes(1)
        pageTimeout = .seconds(60)
    }

    /// How long the containers of this node that are fenced may run; the agent writes it, each shim reads it.
    ///
    /// One line: `none`, or `boot BOOT-ID until NANOSECONDS` of CLOCK_BOOTTIME. A shim looks every five seconds, and when what it knows has
    /// ended; it keeps what it knows while there is no such file.
    package var leaseFile: String { "\(runtimeFolder)/lease" }

    var containersFolder: String { "\(stateFolder)/containers" }
    var imagesFolder: String { "\(stateFolder)/images" }
    var runcRoot: String { "\(runtimeFolder)/runc" }
}
