import ArgumentParser
import ClusterModel
import ControlMessages

/// `godwit job checkpoint`.
struct JobCheckpoint: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "checkpoint",
        abstract: "Take a checkpoint of a running job.",
        discussion: "The job runs on, unless --stop suspends it; 'job restore' continues it. JSON: JobCheckpointReply."
    )

    @OptionGroup var job: JobArgument

    @Flag(help: "Suspend the job after the checkpoint.")
    var stop = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobCheckpointRequest()
        request.job = job.reference
        request.stop = stop
        let question = request
        try await options.withConnection(in: surroundings) { connection in
            let reply = try await options.withProgress("taking a checkpoint of \(job.job)", in: surroundings) {
                try await connection.jobCheckpoint(question)
            }
            try options.print(reply, in: surroundings) { style in
                let checkpoint = reply.checkpoint
                let sizes = "\(style.bytes(checkpoint.rawBytes)) stored as \(style.bytes(checkpoint.storedBytes))"
                return [
                    "checkpoint \(checkpoint.generation) of \(job.job): frozen for \(style.length(checkpoint.frozenSeconds)), "
                        + "\(style.length(checkpoint.totalSeconds)) in all, \(sizes)"
                        + (stop ? "; the job is suspended, continue it with 'godwit job restore \(job.job)'" : "")
                ]
            }
        }
        return .success
    }
}

/// `godwit job restore`.
struct JobRestore: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "restore",
        abstract: "Continue a job from a checkpoint.",
        discussion: "Work that was done after the checkpoint is done again. JSON: JobRestoreReply."
    )

    @OptionGroup var job: JobArgument

    @Option(help: ArgumentHelp("The checkpoint. Default: the newest good one.", valueName: "number"))
    var generation: UInt32?

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        if generation == 0 { throw ValidationError("Generations count from 1; 'godwit job show' lists them") }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobRestoreRequest()
        request.job = job.reference
        request.generation = generation ?? 0
        let question = request
        try await options.withConnection(in: surroundings) { connection in
            let reply = try await options.withProgress("restoring \(job.job)", in: surroundings) {
                try await connection.jobRestore(question)
            }
            try options.print(reply, in: surroundings) { style in
                let message = reply.message.isEmpty ? "" : ": \(oneLine(reply.message))"
                return [
                    "\(job.job) runs on from checkpoint \(reply.generation) after \(style.length(reply.seconds))\(message)"
                ]
            }
        }
        return .success
    }
}

/// `godwit job resize`.
struct JobResize: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "resize",
        abstract: "Change a running job's resources.",
        discussion: """
            --cpus pins the allocation, the vCPUs that the job is guaranteed when others want them too; --auto hands it back to the \
            policy. --cpu-limit is a ceiling that holds even on an idle node. JSON: JobResizeReply.
            """
    )

    @OptionGroup var job: JobArgument

    @Option(help: ArgumentHelp("Pin the allocation to this many vCPUs.", valueName: "vcpus"), transform: parseVCPUs)
    var cpus: Double?

    @Flag(help: "Let the policy set the allocation again.")
    var auto = false

    @Option(
        help: ArgumentHelp(
            "Never let it use more than this many vCPUs; none removes the limit.",
            valueName: "vcpus|none"
        ),
        completion: .list(["none"]),
        transform: parseVCPULimit
    )
    var cpuLimit: VCPULimit?

    @Option(help: ArgumentHelp("Set the memory limit, such as 1GiB.", valueName: "amount"), transform: parseMemory)
    var memory: ByteCount?

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        if cpus != nil, auto {
            throw ValidationError("--cpus pins the allocation and --auto frees it; give one of them")
        }
        if cpus == nil, !auto, cpuLimit == nil, memory == nil {
            throw ValidationError("Nothing to change; give --cpus, --auto, --cpu-limit or --memory")
        }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await options.withConnection(in: surroundings) { connection in
            var request = WireJobResizeRequest()
            request.job = job.reference
            if cpus != nil || auto { request.vcpus = cpus ?? 0 }
            switch cpuLimit {
            case .vcpus(let count): request.cpuLimitVcpus = count
            case .some(.none): request.cpuLimitVcpus = -1
            case nil: request.cpuLimitVcpus = 0
            }
            request.memoryBytes = memory?.rawValue ?? 0
            let reply = try await connection.jobResize(request)
            try options.print(reply, in: surroundings) { style in
                let message = reply.message.isEmpty ? "" : ": \(oneLine(reply.message))"
                let time = reply.seconds > 0 ? " after \((reply.seconds * 1000).text(decimals: 1)) ms" : ""
                return ["\(job.job) is allocated \(style.vcpus(reply.allocationVcpus)) vCPUs\(time)\(message)"]
            }
        }
        return .success
    }
}

/// `godwit job migrate`.
struct JobMigrate: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "migrate",
        abstract: "Move a running job to another node.",
        discussion: """
            The job goes on where it was: memory, open files and what it has written come along, and it stands still only while they do. When anything \
            fails on the way it runs on where it is. JSON: JobMigrateReply.
            """
    )

    @OptionGroup var job: JobArgument

    @Option(
        help: ArgumentHelp("The node, or any node of this site. Default: where it fits best.", valueName: "node|site"),
        completion: nodeCompletion
    )
    var to = ""

    @Flag(help: "Return as soon as the move has begun; 'job show --watch' follows it.")
    var noWait = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobMigrateRequest()
        (request.job, request.to, request.noWait) = (job.reference, to, noWait)
        let question = request
        try await options.withConnection(in: surroundings) { connection in
            let reply = try await options.withProgress("moving \(job.job)", in: surroundings) {
                try await connection.jobMigrate(question)
            }
            try options.print(reply, in: surroundings) { style in
                let way = "from \(printable(reply.from)) to \(printable(reply.to))"
                guard !noWait else {
                    return ["\(job.job) is on its way \(way); follow with 'godwit job show \(job.job) --watch'"]
                }
                let sizes = "\(style.bytes(reply.rawBytes)) sent as \(style.bytes(reply.sentBytes))"
                return [
                    "\(job.job) moved \(way): stood still for \(style.length(reply.downtimeSeconds)), "
                        + "\(style.length(reply.totalSeconds)) in all, \(sizes)"
                ]
            }
        }
        return .success
    }
}

/// `godwit job cancel`.
struct JobCancel: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "cancel",
        abstract: "End a job: SIGTERM, and SIGKILL after the grace.",
        discussion: """
            Its logs are kept as long as the job is remembered; its checkpoints are deleted. To go on with it later, take \
            'job checkpoint --stop' instead. JSON: JobCancelReply.
            """
    )

    @OptionGroup var job: JobArgument

    @Option(
        help: ArgumentHelp("The time between SIGTERM and SIGKILL. Default: 10s.", valueName: "duration"),
        transform: parseDuration
    )
    var grace: Duration?

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        if let grace, grace <= .zero {
            throw ValidationError("A grace of zero cannot be told from the default; the shortest is 1ms")
        }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobCancelRequest()
        request.job = job.reference
        request.graceSeconds = grace?.inSeconds ?? 0
        let question = request
        try await options.withConnection(in: surroundings) { connection in
            let reply = try await options.withProgress("cancelling \(job.job)", in: surroundings) {
                try await connection.jobCancel(question)
            }
            try options.print(reply, in: surroundings) { _ in ["\(job.job) is \(printable(reply.state))"] }
        }
        return .success
    }
}
