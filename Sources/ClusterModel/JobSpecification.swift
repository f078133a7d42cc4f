/// What a user asks for: one container with an image, resources, and possibly a deadline.
///
/// Values of this type are valid: `JobSpecificationParser` is the only way in from a document, and refuses what is impossible
/// with the place and the remedy.
package struct JobSpecification: Sendable, Codable, Equatable {
    /// How a job ends.
    package enum Kind: String, Sendable, Codable, CaseIterable {
        /// Runs once; done when its command ends with exit code 0.
        case batch
        /// Runs its command a given number of times, one iteration each.
        case iterative
    }

    /// The user's name for the job: 1 to 63 characters of `[a-z0-9-]`; unique among the jobs that have not ended.
    package var name: String
    package var kind: Kind
    package var image: ImageSource
    /// Program and arguments; empty means the image's own entry point and command.
    package var command: [String]
    /// Added to the image's environment, sorted by name; a name occurs once.
    package var environment: [EnvironmentVariable]
    /// Absolute path inside the container; nil means the image's.
    package var workingDirectory: String?
    /// `uid`, `uid:gid` or a name that the image's /etc/passwd knows; nil means the image's.
    package var user: String?
    package var mounts: [Mount]
    package var resources: Resources
    /// nil means best effort: the job gets what the jobs with deadlines leave.
    package var objective: Objective?
    package var policy: Policy
    /// Fraction of its plan that a job may be ahead before it counts as overprogress; 0.2 is 20 %.
    package var maxOverprogress: Double
    /// Decides which deadlines are missed first when not all can be met, and how spare CPU is divided; 0.01...100, default 1.
    package var weight: Double
    package var retries: Retries
    package var checkpoint: CheckpointRules
    /// Text that users attach, sorted by key.
    package var labels: [Label]
    // Nil stands for the default in these three, so that specifications of version 1 are read, and written as they were.
    var partitionRule: PartitionRule?
    var givenConstraints: Constraints?
    var givenSpread: Spread?
    /// The address of the container's own; nil means that it uses the node's network, as any process of the node does.
    package var network: Network?

    // The names of the stored form.
    private enum CodingKeys: String, CodingKey {
        case name, kind, image, command, environment, workingDirectory, user, mounts, resources, objective, policy
        case maxOverprogress, weight, retries, checkpoint, labels, network
        case partitionRule = "onPartition"
        case givenConstraints = "constraints"
        case givenSpread = "spread"
    }

    package init(name: String, kind: Kind, image: ImageSource) {
        self.name = name
        self.kind = kind
        self.image = image
        command = []
        environment = []
        mounts = []
        resources = Resources()
        policy = .deadline
        maxOverprogress = 0.2
        weight = 1
        retries = Retries()
        checkpoint = CheckpointRules()
        labels = []
    }
}

extension JobSpecification {
    /// Where the container's root file system comes from.
    package enum ImageSource: Sendable, Codable, Equatable {
        /// An OCI image layout folder, with the tag or manifest to take when it holds several.
        case ociFolder(path: String, reference: String?)
        /// An OCI image layout packed as a tar.
        case ociArchive(path: String, reference: String?)
        /// A root file system folder, used as it is and never written.
        case rootFolder(path: String)
        /// A root file system packed as a tar.
        case rootArchive(path: String)
        /// A reference that skopeo understands, for example `docker://alpine:3.20`.
        case registry(reference: String)
    }

    /// One variable of a container's environment.
    package struct EnvironmentVariable: Sendable, Codable, Equatable {
        /// Never empty, never with `=`.
        package var name: String
        /// Any text, also empty.
        package var value: String
        package init(name: String, value: String) { (self.name, self.value) = (name, value) }
    }

    /// A key and a text that a user attached.
    package struct Label: Sendable, Codable, Equatable {
        /// A job has each key once.
        package var key: String
        /// Any text, also empty.
        package var value: String
        package init(key: String, value: String) { (self.key, self.value) = (key, value) }
    }

    /// A folder or file of the node, seen inside the container.
    package struct Mount: Sendable, Codable, Equatable {
        /// Absolute path on the node.
        package var source: String
        /// Absolute path inside the container.
        package var target: String
        /// Whether the container may only read it.
        package var isReadOnly: Bool
        package init(source: String, target: String, isReadOnly: Bool) {
            (self.source, self.target, self.isReadOnly) = (source, target, isReadOnly)
        }
    }

    /// What a container may use.
    package struct Resources: Sendable, Codable, Equatable {
        /// The most vCPUs the job can use at once (its threads); 0.01...4096, default 1.
        package var cpus: VCPUCount = 1
        /// A hard ceiling that holds even on an idle node (cgroup quota); nil means none.
        package var cpuLimit: VCPUCount?
        /// Memory limit; nil means none.
        ///
        /// A container over it is ended by the kernel.
        package var memory: ByteCount?
        /// Whole GPU devices.
        package var gpus: Int = 0
        /// Processes and threads; default 4096.
        package var processLimit: Int = 4096
        package init() {}
    }

    /// What must be reached, and by when.
    package enum Objective: Sendable, Codable, Equatable {
        /// Grant `amount` of CPU time (user + system) within `frame` of the submission.
        case cpuTime(amount: Duration, frame: Duration)
        /// Complete `count` iterations within `deadline` of the submission. `expected` is the user's guess for one iteration on
        /// one vCPU, `startOverhead` an upper bound of what each start costs on top.
        case iterations(count: Int, expected: Duration, startOverhead: Duration, deadline: Duration)
    }

    /// Which rules set the job's allocation.
    package enum Policy: String, Sendable, Codable, CaseIterable {
        /// Predicts from measured speed, keeps every deadline that can be kept.
        case deadline
        /// The published fixed-step method, for comparison (qos.docc says where it is published).
        case paper
    }

    /// What happens after a container failed.
    package struct Retries: Sendable, Codable, Equatable {
        /// Starts after the first; 0...100, default 0.
        package var limit: Int = 0
        /// Wait before the first retry; doubles each time.
        package var backoff: Duration = .seconds(1)
        package var maximumBackoff: Duration = .seconds(300)
        package init() {}
    }

    /// When checkpoints are taken and what they are for.
    package struct CheckpointRules: Sendable, Codable, Equatable {
        /// What a job does when its container is gone without having ended: the agent or machine crashed, or it was killed.
        package enum Recovery: String, Sendable, Codable, CaseIterable {
            /// From the newest good checkpoint; from the beginning if there is none.
            case restore
            /// From the beginning.
            case restart
            /// Not at all: the job fails.
            case fail
        }

        /// Time between automatic checkpoints, at least 1 s; nil leaves it to what they cost.
        package var interval: Duration?
        /// Complete generations kept; 1...16, default 2.
        package var generations: Int = 2
        package var recovery: Recovery = .restore
        /// Whether established TCP connections are kept in the images.
        package var tcpEstablished: Bool = false
        // Nil stands for the default in these, so that rules of older versions are read, and written as they were.
        var givenReplicas: Int?
        var givenOtherSite: Bool?
        /// Bytes that the job's checkpoints may take on each node that keeps them, at least 1 MiB; nil: as much as there is room.
        package var spaceLimit: ByteCount?
        package init() {}

        /// Most copies of a checkpoint beside the one of the node that took it.
        package static let replicaLimit = 8

        /// Other nodes that keep each checkpoint too, as far as there are any with room; 0...`replicaLimit`, default 1.
        package var replicas: Int {
            get { givenReplicas ?? 1 }
            set { givenReplicas = newValue == 1 ? nil : newValue }
        }

        /// Whether one of them is to be at another site than the others; default false.
        package var otherSite: Bool {
            get { givenOtherSite ?? false }
            set { givenOtherSite = newValue ? true : nil }
        }

        // The names of the stored form.
        private enum CodingKeys: String, CodingKey {
            case interval, generations, recovery, tcpEstablished, spaceLimit
            case givenReplicas = "replicas"
            case givenOtherSite = "otherSite"
        }
    }
}
