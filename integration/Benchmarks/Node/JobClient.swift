import ControlAPI
import ControlMessages
import FoundationEssentials
import Transport

/// Somebody with a connection to an agent, who submits jobs and asks about them.
protocol JobClient: Sendable {
    var context: BenchmarkContext { get }
    var client: ControlClient { get }
}

extension JobClient {
    /// Submits a job that runs the benchmark's program and returns its identity.
    func submit(_ name: String, _ words: [String], root: String, more: String = "") async throws -> String {
        let command = ["/bench"] + words
        var request = WireJobSubmitRequest()
        request.document.name = "\(name).yaml"
        request.document.workingDirectory = "/"
        request.document.content = .init(
            """
            name: \(name)
            image: {rootfs: \(root)}
            command: [\(command.map { "\"\($0)\"" }.joined(separator: ", "))]
            \(more)

            """.utf8
        )
        request.allowInfeasible = true
        return try await client.jobSubmit(request).id
    }

    func summary(_ job: String) async throws -> WireJobSummary {
        var request = WireJobShowRequest()
        request.job.nameOrID = job
        return try await client.jobShow(request).job
    }

    /// Waits until a job's container runs.
    func waitForStart(of job: String) async throws -> WireJobSummary {
        try await context.eventually("the start of job \(job)") {
            let shown = try await summary(job)
            guard shown.endedUnixSeconds == 0 else {
                throw BenchmarkFailure("job \(shown.name) ended as \(shown.state): \(shown.message)")
            }
            return shown.startedUnixSeconds > 0 && shown.state == "running" ? shown : nil
        }
    }

    /// Ends a job and waits until it has ended.
    func cancel(_ job: String) async throws {
        var request = WireJobCancelRequest()
        request.job.nameOrID = job
        request.graceSeconds = 1
        _ = try await client.jobCancel(request)
    }

    /// Takes a checkpoint of a job, which runs on.
    func checkpoint(_ job: String) async throws -> WireCheckpoint {
        var request = WireJobCheckpointRequest()
        request.job.nameOrID = job
        return try await client.jobCheckpoint(request).checkpoint
    }

    /// Stops a job at a checkpoint and restarts it from the store; returns the seconds from the request to restore it until it ran.
    func restart(_ job: String) async throws -> Double {
        var stop = WireJobCheckpointRequest()
        stop.job.nameOrID = job
        stop.stop = true
        _ = try await client.jobCheckpoint(stop)
        var request = WireJobRestoreRequest()
        request.job.nameOrID = job
        let asked = Gap.now
        _ = try await client.jobRestore(request)
        return try await gap("our restart", of: job, after: asked).end - asked
    }

    /// The longest time that a job's container stood still and that ended after a moment.
    func gap(_ what: String, of job: String, after moment: Double) async throws -> Gap {
        try await Gap.longest(what, after: moment, context) { try await output(of: job) }
    }

    /// All lines of a job's standard output.
    func output(of job: String) async throws -> [String] {
        var request = WireJobLogsRequest()
        request.job.nameOrID = job
        var lines: [String] = []
        for try await message in client.jobLogs(request) {
            lines += message.lines.map { String(decoding: $0.text, as: UTF8.self) }
        }
        return lines
    }
}
