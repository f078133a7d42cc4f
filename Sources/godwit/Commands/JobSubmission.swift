import ArgumentParser
import ControlMessages
// Only for the type of `bytes` fields; SwiftProtobuf uses it anyway.
import FoundationEssentials

/// A job document on the command line.
struct DocumentArgument: ParsableArguments {
    @Argument(
        help: ArgumentHelp(
            "The job's document, YAML or JSON; - reads standard input. Relative paths in it start at its folder.",
            valueName: "file"
        ),
        completion: .file(extensions: ["yaml", "yml", "json"])
    )
    var file: String

    /// The document as it is sent.
    func load(in surroundings: Surroundings) throws -> WireDocument {
        var document = WireDocument()
        let bytes: [UInt8]
        if file == "-" {
            bytes = try surroundings.readStandardInput()
            document.name = "<stdin>"
            document.workingDirectory = try File.workingDirectory()
        } else {
            bytes = try File.read(file)
            document.name = file
            document.workingDirectory = try File.folder(of: file)
        }
        document.content = Data(bytes)
        return document
    }

    /// Shows the problems of a refused document in their places.
    func locating(
        _ failure: CommandFailure,
        in document: WireDocument,
        outcome: String,
        options: OutputOptions,
        surroundings: Surroundings
    ) -> CommandFailure {
        guard !failure.problems.isEmpty else { return failure }
        var located = failure
        let style = options.presentation(on: surroundings.diagnostics, in: surroundings)
        located.excerpt = documentExcerpt(
            failure.problems,
            name: document.name,
            content: Array(document.content),
            style: style
        )
        located.message = "\(document.name) has \(style.count(failure.problems.count, "problem")); \(outcome)"
        return located
    }
}

/// `godwit job submit`.
struct JobSubmit: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "submit",
        abstract: "Submit a job.",
        discussion: """
            A job whose deadline cannot be met is refused with status 4, unless --allow-infeasible accepts it all the same. With \
            --wait the command follows the job and ends with its fate: 0 when it completed, 1 when it failed or was cancelled. \
            JSON: JobSubmitReply, with --wait followed by JobShowReply.
            """
    )

    @OptionGroup var document: DocumentArgument

    @Flag(help: "Accept the job although its deadline cannot be met.")
    var allowInfeasible = false

    @Flag(help: "Follow the job and end with its fate.")
    var wait = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobSubmitRequest()
        request.document = try document.load(in: surroundings)
        request.allowInfeasible = allowInfeasible
        // A submission that is sent again, to this agent or the next, must not make a second job.
        var generator = SystemRandomNumberGenerator()
        request.idempotencyKey = (0..<2).map { _ in
            String(UInt64.random(in: .min ... .max, using: &generator), radix: 16)
        }
        .joined(separator: "-")
        let reply = try await submit(request, in: surroundings)
        if reply.id.isEmpty { throw refusal(reply) }
        try options.print(reply, in: surroundings) { style in
            let verdict = style.admissionWord(reply.admission.verdict)
            let reason = reply.admission.reason.isEmpty ? "" : ": \(oneLine(reply.admission.reason))"
            let title = "\(style.paint(printable(reply.name), .strong)) submitted as \(printable(reply.id))"
            return ["\(title)\(style.dot)\(verdict)\(reason)"]
        }
        guard wait else { return .success }
        let note = "godwit: job \(reply.name) goes on; follow it again with 'godwit job watch \(reply.id)'\n"
        return try await JobFollower(options: options, interruptNote: note).follow(reply.id, in: surroundings)
    }

    /// Sends the request, once more when the agent went away meanwhile: the key makes that harmless.
    private func submit(
        _ request: WireJobSubmitRequest,
        in surroundings: Surroundings
    ) async throws -> WireJobSubmitReply {
        var wasConnected = false
        func attempt() async throws -> WireJobSubmitReply {
            try await options.withConnection(in: surroundings) {
                wasConnected = true
                return try await $0.jobSubmit(request)
            }
        }
        do {
            do {
                return try await attempt()
            } catch let failure as CommandFailure where failure.status == .unreachable && wasConnected {
                return try await attempt()
            }
        } catch let failure as CommandFailure {
            if failure.problems.isEmpty, failure.status == .failure, !allowInfeasible,
                await isInfeasible(request, in: surroundings)
            {
                throw CommandFailure(.refused, failure.message)
            }
            throw document.locating(
                failure,
                in: request.document,
                outcome: "nothing was submitted",
                options: options.outputOptions,
                surroundings: surroundings
            )
        }
    }

    /// Whether the agent said no because of the deadline: its failure has no code for that, its plan has.
    private func isInfeasible(_ request: WireJobSubmitRequest, in surroundings: Surroundings) async -> Bool {
        var question = WireJobPlanRequest()
        question.document = request.document
        let plan = question
        let reply = try? await options.withConnection(in: surroundings) { try await $0.jobPlan(plan) }
        return reply?.admission.verdict == .infeasible
    }

    private func refusal(_ reply: WireJobSubmitReply) -> CommandFailure {
        let sentence = withoutStop(oneLine(reply.admission.reason))
        return CommandFailure(
            .refused,
            "job \(reply.name) was refused: \(sentence); relax the deadline, or submit it with --allow-infeasible"
        )
    }
}

/// `godwit job plan`.
struct JobPlan: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "plan",
        abstract: "Say whether a job's deadline would hold and why, without submitting it.",
        discussion: "Ends with status 4 when the deadline cannot be met. JSON: JobPlanReply."
    )

    @OptionGroup var document: DocumentArgument
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobPlanRequest()
        request.document = try document.load(in: surroundings)
        return try await options.withConnection(in: surroundings) { connection in
            do {
                let reply = try await connection.jobPlan(request)
                try options.print(reply, in: surroundings) {
                    $0.admissionLines(name: reply.name, reply.admission, node: reply.node)
                }
                return reply.admission.verdict == .infeasible ? .refused : .success
            } catch let failure as CommandFailure {
                throw document.locating(
                    failure,
                    in: request.document,
                    outcome: "there is nothing to plan",
                    options: options.outputOptions,
                    surroundings: surroundings
                )
            }
        }
    }
}
