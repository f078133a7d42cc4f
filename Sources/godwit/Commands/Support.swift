import ArgumentParser
import ControlMessages
import SwiftProtobuf

/// Asks ArgumentParser to complete names of jobs by asking the agent.
let jobCompletion = CompletionKind.shellCommand("godwit completions jobs 2>/dev/null")

/// Asks ArgumentParser to complete names of nodes by asking the agent.
let nodeCompletion = CompletionKind.shellCommand("godwit completions nodes 2>/dev/null")

/// The job that a command is about.
struct JobArgument: ParsableArguments {
    @Argument(
        help: ArgumentHelp("The job's name or id; the beginning of an id is enough.", valueName: "job"),
        completion: jobCompletion
    )
    var job: String

    /// The job as the agent wants it named.
    var reference: WireJobReference {
        var reference = WireJobReference()
        reference.nameOrID = job
        return reference
    }

    func validate() throws {
        if job.isEmpty { throw ValidationError("The job's name is empty") }
    }
}

extension ClusterOptions {
    /// Prints an answer as the user asked for it.
    func print(
        _ message: some Message,
        in surroundings: Surroundings,
        table: (Presentation) -> [String]
    ) throws {
        switch outputOptions.output {
        case .json: try surroundings.output.send(jsonText(message, isIndented: surroundings.output.isTerminal))
        case .table:
            let style = outputOptions.presentation(on: surroundings.output, in: surroundings)
            let lines = style.ageNote(of: message) + table(style)
            if !lines.isEmpty { try surroundings.output.send(lines.joined(separator: "\n") + "\n") }
        }
    }

    /// Asks once, or again every `interval` until interrupted, and prints each answer: in place on a terminal, else when it differs
    /// from the one before.
    func printRepeatedly<Answer: Message & Equatable>(
        every interval: Duration?,
        in surroundings: Surroundings,
        ask: (any AgentConnection) async throws -> Answer,
        table: (Answer, Presentation) -> [String]
    ) async throws {
        try await withConnection(in: surroundings) { connection in
            guard let interval else {
                let answer = try await ask(connection)
                try print(answer, in: surroundings) { table(answer, $0) }
                return
            }
            let isLive = surroundings.output.isTerminal && outputOptions.output == .table
            surroundings.onInterrupt(isLive ? LiveScreen.restoration : "")
            var screen = LiveScreen(height: surroundings.output.height ?? 24)
            var printed: String?
            while true {
                let answer = try await ask(connection)
                if isLive {
                    let style = outputOptions.presentation(on: surroundings.output, in: surroundings)
                    try surroundings.output.send(screen.redraw(style.ageNote(of: answer) + table(answer, style)))
                } else {
                    let style = outputOptions.presentation(on: surroundings.output, in: surroundings)
                    let text =
                        outputOptions.output == .json
                        ? try jsonText(answer, isIndented: false)
                        : (style.ageNote(of: answer) + table(answer, style)).joined(separator: "\n") + "\n"
                    if text != printed { try surroundings.output.send(text) }
                    printed = text
                }
                try await surroundings.sleep(interval)
            }
        }
    }

    /// Waits for something that may take seconds and says so on a terminal.
    func withProgress<Result: Sendable>(
        _ text: String,
        in surroundings: Surroundings,
        _ body: () async throws -> Result
    ) async throws -> Result {
        guard surroundings.diagnostics.isTerminal, outputOptions.output == .table else { return try await body() }
        let start = surroundings.now()
        let teller = Task {
            while true {
                // Nothing is said of what takes no time.
                try await surroundings.sleep(.milliseconds(700))
                let seconds = Int(surroundings.now() - start)
                surroundings.diagnostics.write("\r\(text) ... \(seconds) s\u{1B}[K")
            }
        }
        do {
            let result = try await body()
            teller.cancel()
            _ = await teller.result
            surroundings.diagnostics.write("\r\u{1B}[K")
            return result
        } catch {
            teller.cancel()
            _ = await teller.result
            surroundings.diagnostics.write("\r\u{1B}[K")
            throw error
        }
    }
}

/// Repeats a question.
struct WatchOptions: ParsableArguments {
    @Flag(name: [.customShort("w"), .long], help: "Ask again and again, and show what changes.")
    var watch = false

    @Option(
        help: ArgumentHelp("The time between two questions of --watch.", valueName: "duration"),
        transform: parseDuration
    )
    var interval: Duration = .seconds(1)

    /// The time between two questions; nil when there is only one.
    var period: Duration? { watch ? max(interval, .milliseconds(100)) : nil }
}

extension Presentation {
    /// A line that says how old an answer is, when its agent has not heard from a leader for a while.
    func ageNote(of message: any Message) -> [String] {
        let age: Double =
            switch message {
            case let reply as WireNodeListReply: reply.ageSeconds
            case let reply as WireNodeShowReply: reply.ageSeconds
            case let reply as WireJobListReply: reply.ageSeconds
            case let reply as WireJobShowReply: reply.ageSeconds
            case let reply as WireJobExplainReply: reply.ageSeconds
            case let reply as WireCheckpointListReply: reply.ageSeconds
            case let reply as WireCheckpointShowReply: reply.ageSeconds
            case let reply as WireClusterMembersReply: reply.ageSeconds
            case let reply as WireClusterVotersReply: reply.ageSeconds
            default: 0
            }
        guard age > 2 else { return [] }
        return ["As of \(length(age)) ago, or older: the agent that answers hears no leader. 'godwit status' says why."]
    }
}
