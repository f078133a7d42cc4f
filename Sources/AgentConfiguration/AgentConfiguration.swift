package import ClusterModel

/// How one agent is set up: a struct for each concern.
///
/// Values come from the file, then the environment (`GODWIT_<SECTION>_<KEY>`), then flags (`--set section.key=value`). What a key
/// means, its unit, default and range stand once, in `ConfigurationField.all`, from which the shipped files are made.
package struct AgentConfiguration: Sendable, Equatable {
    package var identity = IdentityConfiguration()
    package var listen = ListenConfiguration()
    package var cluster = ClusterConfiguration()
    package var gossip = GossipConfiguration()
    package var folders = FolderConfiguration()
    package var cgroup = CgroupConfiguration()
    package var network = NetworkConfiguration()
    package var programs = ProgramConfiguration()
    package var metrics = MetricsConfiguration()
    package var sampling = SamplingConfiguration()
    package var qos = AllocationConfiguration()
    package var checkpoints = CheckpointConfiguration()
    package var images = ImageConfiguration()
    package var containerLogs = ContainerLogConfiguration()
    package var log = LogConfiguration()
    package var shutdown = ShutdownConfiguration()
    package var limits = LimitConfiguration()

    /// The defaults of a role.
    package init(role: NodeRole) {
        // A gateway forwards; it runs containers only when told to.
        if role == .gateway { limits.schedulesJobs = false }
    }
}

/// Who the agent is.
package struct IdentityConfiguration: Sendable, Equatable {
    /// PEM file with the private key, the certificate and the trusted authorities, as `godwit ca issue` writes it.
    package var bundle = "/etc/godwit/node.pem"
    /// Folder with `ca.crt` and `ca.key` from which the agent renews the certificates of nodes; empty: it does not.
    package var issuer = ""
}

/// Where the control plane listens.
package struct ListenConfiguration: Sendable, Equatable {
    /// An IP address of this node; `::` takes every one, of IPv4 as well.
    package var address = "::"
    /// TCP port; 0 takes a free one and prints it.
    package var port = 7420
}

/// The cluster that the agent is a member of; which one that is says the certificate.
package struct ClusterConfiguration: Sendable, Equatable {
    /// Whether the agent may get a vote in consensus.
    package enum Voter: String, Sendable, CaseIterable { case auto, never }

    /// Longest list of agents to join through.
    package static let joinLimit = 64

    /// Agents of the cluster, any of which lets this one in; empty makes a new cluster of one.
    ///
    /// An agent that is a member already does not need them.
    package var join: [PeerAddress] = []
    /// Where others reach this agent; nil leaves it to the agent.
    ///
    /// It takes `listen.address`, or when that means every address the first one of the machine that is not loopback. Without
    /// a port it is that of `listen.port`.
    package var advertise: PeerAddress?
    /// How long containers may run without a leader, and how much longer than that a silent node is waited for.
    package var partitionTimeout: Duration = .seconds(30)
    /// Whether the leader may make this agent a voter.
    package var voter: Voter = .auto
}

/// How agents notice that one of them is gone.
package struct GossipConfiguration: Sendable, Equatable {
    /// What the network between agents is like.
    package enum Profile: String, Sendable, CaseIterable {
        /// `lan` while all members are of one site, `wan` else.
        case auto
        case lan, wan
    }

    package var profile: Profile = .auto
}

/// Where the agent keeps things.
package struct FolderConfiguration: Sendable, Equatable {
    /// Durable: jobs, decisions, checkpoints, images, containers and their output.
    package var state = "/var/lib/godwit"
    /// Gone at a reboot: the runtime's own state.
    package var runtime = "/run/godwit"
}

/// Where containers stand in the cgroup tree.
package struct CgroupConfiguration: Sendable, Equatable {
    /// Path below each controller's root.
    package var parent = "/godwit"
}

/// Programs that the agent runs; a name without `/` is looked for in PATH.
package struct ProgramConfiguration: Sendable, Equatable {
    /// The OCI runtime.
    package var runc = "runc"
    /// Checkpoint and restore in user space, 4.2 or newer.
    package var criu = "criu"
    /// The supervisor of one container; empty means beside `godwitd` itself.
    package var shim = ""
    /// Unpacks OCI images.
    package var umoci = "umoci"
    /// Fetches images from registries.
    package var skopeo = "skopeo"
}

/// Prometheus metrics.
package struct MetricsConfiguration: Sendable, Equatable {
    /// Whether they are served.
    package var isEnabled = true
    /// An IP address of this node.
    package var address = "127.0.0.1"
    /// TCP port; 0 takes a free one and prints it.
    package var port = 7421
}

/// How often cgroups and devices are read.
package struct SamplingConfiguration: Sendable, Equatable {
    /// Between two readings of each container.
    package var period: Duration = .seconds(1)
    /// Between two samples that are kept.
    package var recordPeriod: Duration = .seconds(1)
}

/// How CPU is given to jobs: what an administrator may want to change of the policies' numbers.
package struct AllocationConfiguration: Sendable, Equatable {
    /// Between two decisions about all jobs; events in between decide at once.
    package var controlPeriod: Duration = .seconds(1)
    /// vCPUs that jobs may be given; 0 means every one of the node, less `reserve`.
    package var capacity: VCPUCount = .zero
    /// vCPUs kept for the system and the agent.
    package var reserve: VCPUCount = .zero
    /// How wrong declared work may be: 0.5 means that 100 CPU seconds may turn out to be anything from 50 to 150.
    package var workUncertainty = 0.5
    /// Deadlines are aimed at this much early.
    package var deadlineGuard: Duration = .seconds(2)
    /// What every running job is guaranteed, so that it can answer, flush and end.
    package var minimumAllocation: VCPUCount = 0.01
    /// Between two evaluations of a job with the `paper` policy.
    package var paperInterval: Duration = .seconds(120)
}

/// Checkpoints of this node.
package struct CheckpointConfiguration: Sendable, Equatable {
    /// A tmpfs folder that images are dumped into first.
    package var tmpfs = "/dev/shm/godwit"
    /// Bytes of compressed images that may be kept on disk.
    package var spaceLimit: ByteCount = .gibibytes(64)
    /// Free bytes that a checkpoint leaves on the disk.
    package var minimumFree: ByteCount = .gibibytes(1)
    /// Threads that compress; 0 means one per vCPU.
    package var compressionThreads = 0
    /// Checkpoints that may be taken at once.
    package var concurrency = 2
    /// Bytes a second that are sent to other nodes that keep copies; 0 means no bound.
    package var copyRate: ByteCount = .mebibytes(128)
    /// What jobs that move to other nodes may take of the network, in bytes a second and all together; 0 means no bound.
    package var migrationRate: ByteCount = .zero
    /// In which every checkpoint is read once, to find what a disk has lost; zero means never.
    package var scrubPeriod: Duration = .seconds(7 * 86400)
    /// Bytes a second that are read for that; 0 means no bound.
    package var scrubRate: ByteCount = .mebibytes(32)
}

/// Container images of this node.
package struct ImageConfiguration: Sendable, Equatable {
    /// Bytes of unpacked images that may be kept; the longest unused go first.
    package var cacheLimit: ByteCount = .gibibytes(20)
    /// Longest that fetching and unpacking one image may take.
    package var pullTimeout: Duration = .seconds(900)
}

/// Standard output and error of containers.
package struct ContainerLogConfiguration: Sendable, Equatable {
    /// A file is rotated when it reaches this size.
    package var fileSize: ByteCount = .mebibytes(16)
    /// Files kept for each container, the present one included.
    package var fileCount = 4
}

/// The agent's own log.
package struct LogConfiguration: Sendable, Equatable {
    /// What is written.
    package enum Level: String, Sendable, CaseIterable { case trace, debug, info, notice, warning, error, critical }
    /// How it is written.
    package enum Format: String, Sendable, CaseIterable { case text, json }

    package var level: Level = .info
    package var format: Format = .text
}

/// How the agent ends; containers run on, and its next start takes them over.
package struct ShutdownConfiguration: Sendable, Equatable {
    /// Longest that requests in flight may take to end.
    package var grace: Duration = .seconds(10)
}

/// Bounds of what the agent takes on.
package struct LimitConfiguration: Sendable, Equatable {
    /// Whether containers are started on this node.
    package var schedulesJobs = true
    /// Jobs that have not ended.
    package var jobs = 1000
    /// Ended jobs that are remembered.
    package var endedJobs = 1000
    /// How long an ended job is remembered.
    package var endedRetention: Duration = .seconds(7 * 86400)
    /// Open connections of the control plane.
    package var connections = 4096
    /// Log entries after which a snapshot of the state is written.
    package var snapshotEntries = 4096
}
