import ArgumentParser
import ControlMessages

/// `godwit checkpoint`.
struct CheckpointGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "checkpoint",
        abstract: "See the checkpoints of all jobs, check them, take them out of the cluster and into it.",
        discussion: "'job checkpoint' takes one, 'job restore' goes on from one.",
        subcommands: [
            CheckpointList.self, CheckpointShow.self, CheckpointVerify.self, CheckpointExport.self,
            CheckpointImport.self, CheckpointRemove.self,
        ]
    )
}

/// Which of a job's checkpoints a command is about.
struct GenerationOption: ParsableArguments {
    @Option(help: ArgumentHelp("The checkpoint. Default: the newest good one.", valueName: "number"))
    var generation: UInt32?

    func validate() throws {
        if generation == 0 { throw ValidationError("Generations count from 1; 'godwit checkpoint list' shows them") }
    }
}

/// `godwit checkpoint list`.
struct CheckpointList: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "list",
        abstract: "List checkpoints and the nodes that hold them.",
        discussion: "JSON: CheckpointListReply."
    )

    @Argument(
        help: ArgumentHelp("Only of this job: its name or id. Default: of every job.", valueName: "job"),
        completion: jobCompletion
    )
    var job: String?

    @Option(
        help: ArgumentHelp("Only those that this node holds.", valueName: "node"),
        completion: nodeCompletion
    )
    var node: String?

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireCheckpointListRequest()
        if let job { request.job.nameOrID = job }
        request.node = node ?? ""
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.checkpointList(question) }
        try options.print(reply, in: surroundings) { $0.checkpointList(reply.checkpoints) }
        return .success
    }
}

/// `godwit checkpoint show`.
struct CheckpointShow: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "show",
        abstract: "Show one checkpoint: where it is, what it is from, what it waits for.",
        discussion: "JSON: CheckpointShowReply."
    )

    @OptionGroup var job: JobArgument
    @OptionGroup var which: GenerationOption
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireCheckpointShowRequest()
        (request.job, request.generation) = (job.reference, which.generation ?? 0)
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.checkpointShow(question) }
        try options.print(reply, in: surroundings) { $0.checkpointDetails(reply) }
        return .success
    }
}

/// `godwit checkpoint verify`.
struct CheckpointVerify: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "verify",
        abstract: "Have every node that holds a checkpoint read and check every byte of it.",
        discussion: """
            A damaged copy is named region by region, given up, and made anew from a good one where there is one; the command then ends with \
            status 1, so that it is noticed. Needs the right to act on the job. JSON: CheckpointVerifyReply, the last one.
            """
    )

    @OptionGroup var job: JobArgument
    @OptionGroup var which: GenerationOption
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireCheckpointVerifyRequest()
        (request.job, request.generation) = (job.reference, which.generation ?? 0)
        let question = request
        let isLive = surroundings.output.isTerminal && options.outputOptions.output == .table
        let style = options.outputOptions.presentation(on: surroundings.output, in: surroundings)
        var last = WireCheckpointVerifyReply()
        try await options.withConnection(in: surroundings) { connection in
            if isLive { surroundings.onInterrupt(LiveScreen.restoration) }
            var screen = LiveScreen(height: surroundings.output.height ?? 24)
            try await connection.checkpointVerify(question) { reply in
                last = reply
                if isLive { try surroundings.output.send(screen.redraw(style.checkTable(reply))) }
            }
        }
        if !isLive || !last.holders.allSatisfy({ $0.damaged.isEmpty }) {
            try options.print(last, in: surroundings) {
                (isLive ? [] : $0.checkTable(last)) + $0.damageLines(last)
            }
        }
        let bad = last.holders.filter { $0.state != "good" }
        guard !last.holders.isEmpty, bad.isEmpty else {
            throw CommandFailure(
                .failure,
                bad.isEmpty
                    ? "the agent ended the check without a result; try again"
                    : "checkpoint \(last.generation) of \(job.job) is not good on \(bad.map(\.node).joined(separator: ", "))"
            )
        }
        return .success
    }
}

/// `godwit checkpoint rm`.
struct CheckpointRemove: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "rm",
        abstract: "Delete a checkpoint on every node that holds it.",
        discussion: """
            The one that a waiting job goes on from, and the last good one of a suspended job, are refused without --force. Needs the right to \
            act on the job. JSON: CheckpointRemoveReply.
            """
    )

    @OptionGroup var job: JobArgument

    @Argument(help: ArgumentHelp("The checkpoint.", valueName: "generation"))
    var generation: UInt32

    @Flag(help: "Also the one that the job would go on from.")
    var force = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        if generation == 0 { throw ValidationError("Generations count from 1; 'godwit checkpoint list' shows them") }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireCheckpointRemoveRequest()
        (request.job, request.generation, request.force) = (job.reference, generation, force)
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.checkpointRemove(question) }
        try options.print(reply, in: surroundings) { _ in
            let nodes = reply.nodes.joined(separator: ", ")
            return ["checkpoint \(generation) of \(job.job) is being deleted" + (nodes.isEmpty ? "" : " on \(nodes)")]
        }
        return .success
    }
}
