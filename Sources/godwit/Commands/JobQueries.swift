import ArgumentParser
import ClusterModel
import ControlMessages

/// `godwit job`.
struct JobGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "job",
        abstract: "Submit jobs, follow them, act on them.",
        subcommands: [
            JobSubmit.self, JobPlan.self, JobList.self, JobShow.self, JobWatch.self, JobExplain.self, JobLogs.self,
            JobCheckpoint.self, JobRestore.self, JobResize.self, JobMigrate.self, JobCancel.self,
        ]
    )
}

/// `godwit job list`.
struct JobList: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "list",
        abstract: "List the jobs that have not ended.",
        discussion: "JSON: JobListReply."
    )

    @Flag(name: [.customShort("a"), .long], help: "Also list the jobs that have ended.")
    var all = false

    @Option(
        help: ArgumentHelp("Only jobs in this state; may be repeated.", valueName: "state"),
        completion: .list(JobState.allCases.map(\.rawValue))
    )
    var state: [String] = []

    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        for state in state where JobState(rawValue: state) == nil {
            let known = JobState.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("'\(state)' is no state of a job; there are \(known)")
        }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobListRequest()
        // Who asks for a state that only ended jobs have wants to see those.
        request.includeEnded = all || state.contains { JobState(rawValue: $0)?.isFinal == true }
        request.states = state
        let question = request
        try await options.printRepeatedly(every: watching.period, in: surroundings) {
            try await $0.jobList(question)
        } table: { reply, style in
            guard reply.jobs.isEmpty else { return style.jobTable(reply.jobs) }
            return [request.includeEnded ? "no jobs" : "no jobs; --all shows those that have ended"]
        }
        return .success
    }
}

/// `godwit job show`.
struct JobShow: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "show",
        abstract: "Show one job: progress, resources, checkpoints, latest decisions.",
        discussion: "JSON: JobShowReply; its field specificationJson holds the job as the agent understood it."
    )

    @OptionGroup var job: JobArgument
    @OptionGroup var watching: WatchOptions
    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobShowRequest()
        request.job = job.reference
        let question = request
        try await options.printRepeatedly(every: watching.period, in: surroundings) {
            try await $0.jobShow(question)
        } table: {
            $1.jobDetail($0)
        }
        return .success
    }
}

/// `godwit job watch`.
struct JobWatch: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "watch",
        abstract: "Follow a job, or all of them, live.",
        discussion: """
            On a terminal the picture is redrawn in place; else one line is printed for each decision and each change. Ends when the \
            job has ended. JSON: one JobWatchReply on each line.
            """
    )

    @Argument(
        help: ArgumentHelp("The job's name or id. Default: all jobs.", valueName: "job"),
        completion: jobCompletion
    )
    var job: String?

    @Option(help: ArgumentHelp("The time between two pictures.", valueName: "duration"), transform: parseDuration)
    var interval: Duration = .seconds(1)

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        try await JobFollower(options: options, interval: interval).watch(job, in: surroundings)
        return .success
    }
}

/// Follows jobs with a watch: for `job watch` and `job submit --wait`.
struct JobFollower {
    /// How often an agent that went away is looked for, once a second: longer than its restart or upgrade takes.
    private static let reconnectLimit = 120

    var options: ClusterOptions
    var interval: Duration = .seconds(1)
    /// What Ctrl-C says besides ending the command.
    var interruptNote = ""

    /// Shows the watch until the job has ended, or for ever when no job is named.
    ///
    /// Jobs live on while their agent restarts; so does the watch.
    func watch(_ job: String?, in surroundings: Surroundings) async throws {
        let isLive = surroundings.output.isTerminal && options.outputOptions.output == .table
        surroundings.onInterrupt((isLive ? LiveScreen.restoration : "") + interruptNote)
        var picture = WatchPicture(options: options.outputOptions, surroundings: surroundings, isLive: isLive)
        defer { if isLive { surroundings.output.write(LiveScreen.restoration) } }
        var request = WireJobWatchRequest()
        if let job { request.job.nameOrID = job }
        request.intervalMilliseconds = UInt32(clamping: max(100, interval.nanoseconds / 1_000_000))
        var attempts = 0
        while true {
            do {
                let question = request
                try await options.withConnection(in: surroundings) { connection in
                    try await connection.jobWatch(question) { reply in
                        attempts = 0
                        try picture.show(reply)
                        return job == nil || !picture.isOver
                    }
                }
                return
            } catch let failure as CommandFailure where failure.status == .unreachable && picture.hasShown {
                if attempts == 0 {
                    surroundings.diagnostics.write("godwit: \(oneLine(failure.message)); looking for it again\n")
                }
                guard attempts < Self.reconnectLimit else { throw failure }
                attempts += 1
                picture.forgetScreen()
                try await surroundings.sleep(.seconds(1))
            }
        }
    }

    /// Watches the job to its end and reports its fate.
    func follow(_ id: String, in surroundings: Surroundings) async throws -> ExitStatus {
        try await watch(id, in: surroundings)
        var request = WireJobShowRequest()
        request.job.nameOrID = id
        let question = request
        let reply = try await options.withConnection(in: surroundings) { try await $0.jobShow(question) }
        let job = reply.job
        guard job.hasEnded else {
            throw CommandFailure(
                .failure,
                "the agent ended the watch while job \(id) is \(job.state); follow it again with 'godwit job watch \(id)'"
            )
        }
        if options.outputOptions.output == .json {
            try surroundings.output.send(jsonText(reply, isIndented: surroundings.output.isTerminal))
        }
        guard job.state == JobState.completed.rawValue else {
            let reason = withoutStop(oneLine(job.message))
            throw CommandFailure(
                .failure,
                "job \(job.name) \(job.state == "cancelled" ? "was cancelled" : job.state)"
                    + (reason.isEmpty ? "" : ": \(reason)") + "; see 'godwit job explain \(job.id)'"
            )
        }
        if options.outputOptions.output == .table {
            let style = options.outputOptions.presentation(on: surroundings.output, in: surroundings)
            try surroundings.output.send(style.ending(job) + "\n")
        }
        return .success
    }
}

/// The watch as it is shown: a picture in place, lines, or JSON.
private struct WatchPicture {
    private let options: OutputOptions
    private let surroundings: Surroundings
    private let isLive: Bool
    private let height: Int
    private var view = WatchView()
    private var screen: LiveScreen
    private(set) var hasShown = false

    init(options: OutputOptions, surroundings: Surroundings, isLive: Bool) {
        (self.options, self.surroundings, self.isLive) = (options, surroundings, isLive)
        height = surroundings.output.height ?? 24
        screen = LiveScreen(height: height)
    }

    /// Whether every watched job has ended.
    var isOver: Bool { !view.jobs.isEmpty && view.jobs.allSatisfy(\.hasEnded) }

    /// Something else was written: the next picture starts below it.
    mutating func forgetScreen() { screen = LiveScreen(height: height) }

    mutating func show(_ reply: WireJobWatchReply) throws {
        view.receive(reply)
        hasShown = true
        var style = options.presentation(on: surroundings.output, in: surroundings)
        // Distances are told from the agent's clock, to which all its times belong.
        if reply.timeUnixSeconds > 0 { style.now = reply.timeUnixSeconds }
        if options.output == .json {
            try surroundings.output.send(jsonText(reply, isIndented: false))
        } else if isLive {
            try surroundings.output.send(screen.redraw(view.lines(style, height: height)))
        } else {
            let lines = view.newLines(style)
            if !lines.isEmpty { try surroundings.output.send(lines.joined(separator: "\n") + "\n") }
        }
    }
}

/// A sentence as part of a longer one.
func withoutStop(_ sentence: String) -> String { sentence.hasSuffix(".") ? String(sentence.dropLast()) : sentence }

/// `godwit job explain`.
struct JobExplain: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "explain",
        abstract: "Tell a job's story: every decision with its reason and its numbers.",
        discussion: """
            With --figure the story is also drawn: consumed against desired CPU time, allocation and usage, decisions numbered with \
            their sentences, as one SVG file. JSON: JobExplainReply.
            """
    )

    @OptionGroup var job: JobArgument

    @Option(
        help: ArgumentHelp("Also draw the story into this SVG file.", valueName: "file"),
        completion: .file(extensions: ["svg"])
    )
    var figure: String?

    @Option(help: ArgumentHelp("Only the newest decisions, at most this many; 0 for all.", valueName: "count"))
    var limit: UInt32 = 0

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobExplainRequest()
        request.job = job.reference
        request.limit = limit
        try await options.withConnection(in: surroundings) { connection in
            let reply = try await connection.jobExplain(request)
            try options.print(reply, in: surroundings) { $0.story(reply) }
            guard let figure else { return }
            let style = options.outputOptions.presentation(on: surroundings.output, in: surroundings)
            let drawing = Figure(reply: reply, style: style.plain)
            try File.replace(figure, with: Array(drawing.svg().utf8))
            surroundings.diagnostics.write("wrote \(figure)\n")
        }
        return .success
    }
}

/// `godwit job logs`.
struct JobLogs: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "logs",
        abstract: "Print what a job wrote.",
        discussion: """
            The job's standard output goes to standard output, its standard error to standard error. JSON: one LogLine on each line; \
            text is base64.
            """
    )

    @OptionGroup var job: JobArgument

    @Flag(name: [.customShort("f"), .long], help: "Go on until the job has ended.")
    var follow = false

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Only the last lines.", valueName: "count"))
    var tail: UInt32?

    @Flag(help: "Only standard output.")
    var stdout = false

    @Flag(help: "Only standard error.")
    var stderr = false

    @Flag(name: [.customShort("t"), .long], help: "Put the time before each line.")
    var timestamps = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        if tail == 0 { throw ValidationError("--tail 0 would print nothing; leave it out to print all") }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        var request = WireJobLogsRequest()
        request.job = job.reference
        request.follow = follow
        request.tailLines = tail ?? 0
        request.noStdout = stderr && !stdout
        request.noStderr = stdout && !stderr
        if follow { surroundings.onInterrupt("") }
        let style = options.outputOptions.presentation(on: surroundings.output, in: surroundings)
        try await options.withConnection(in: surroundings) { connection in
            // Whether the last bytes of each stream ended a line.
            var isOpen = (output: false, error: false)
            try await connection.jobLogs(request) { reply in
                if options.outputOptions.output == .json {
                    for line in reply.lines { try surroundings.output.send(jsonText(line, isIndented: false)) }
                    return
                }
                // Lines in a row for one stream leave in one write.
                var pending: [UInt8] = []
                var isError = false
                func flush() throws {
                    if isError {
                        _ = surroundings.diagnostics.writeBytes(pending)
                    } else {
                        try surroundings.output.send(pending)
                    }
                    pending = []
                }
                for line in reply.lines {
                    if line.isStderr != isError {
                        if !pending.isEmpty { try flush() }
                        isError = line.isStderr
                    }
                    let continues = isError ? isOpen.error : isOpen.output
                    if timestamps, !continues { pending += Array("\(style.clock(line.timeUnixSeconds)) ".utf8) }
                    pending += line.text
                    if !line.isPartial { pending.append(0x0A) }
                    if isError { isOpen.error = line.isPartial } else { isOpen.output = line.isPartial }
                }
                if !pending.isEmpty { try flush() }
            }
        }
        return .success
    }
}
