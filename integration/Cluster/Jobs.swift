import ControlAPI
import ControlMessages
import FoundationEssentials
import Transport

// What scenarios ask an agent, in one line each.
extension ControlClient {
    /// Submits a document and returns the job's identity.
    @discardableResult
    func submit(
        _ document: String,
        folder: String,
        allowInfeasible: Bool = false,
        key: String = "",
        timeout: Duration = ControlClient.defaultTimeout
    ) async throws -> String {
        var request = WireJobSubmitRequest()
        request.document.name = "job.yaml"
        request.document.content = .init(document.utf8)
        request.document.workingDirectory = folder
        request.allowInfeasible = allowInfeasible
        request.idempotencyKey = key
        return try await rpc.call(.jobSubmit, request, timeout: timeout, reply: WireJobSubmitReply.self).id
    }

    func job(_ reference: String) async throws -> WireJobShowReply {
        var request = WireJobShowRequest()
        request.job.nameOrID = reference
        return try await jobShow(request)
    }

    func decisions(_ reference: String) async throws -> [WireDecision] {
        var request = WireJobExplainRequest()
        request.job.nameOrID = reference
        request.limit = 10_000
        return try await jobExplain(request).decisions
    }

    func checkpoint(_ reference: String, stop: Bool = false) async throws -> WireCheckpoint {
        var request = WireJobCheckpointRequest()
        request.job.nameOrID = reference
        request.stop = stop
        return try await jobCheckpoint(request).checkpoint
    }

    @discardableResult
    func restore(_ reference: String, generation: UInt32 = 0) async throws -> WireJobRestoreReply {
        var request = WireJobRestoreRequest()
        request.job.nameOrID = reference
        request.generation = generation
        return try await jobRestore(request)
    }

    func cancel(_ reference: String, grace: Double = 0.2) async throws {
        var request = WireJobCancelRequest()
        request.job.nameOrID = reference
        request.graceSeconds = grace
        _ = try await jobCancel(request)
    }

    func allJobs() async throws -> [WireJobSummary] {
        var request = WireJobListRequest()
        request.includeEnded = true
        return try await jobList(request).jobs
    }

    /// All lines that are kept of a job's standard output.
    func output(_ reference: String) async throws -> [String] {
        var request = WireJobLogsRequest()
        request.job.nameOrID = reference
        var lines: [String] = []
        for try await message in jobLogs(request) {
            lines += message.lines.map { String(decoding: $0.text, as: UTF8.self) }
        }
        return lines
    }
}

/// The numbers of "count N" lines.
func counts(_ lines: [String]) -> [Int] {
    lines.compactMap { $0.hasPrefix("count ") ? Int($0.dropFirst(6)) : nil }
}
