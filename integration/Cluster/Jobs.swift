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

    /// The tar of a job's newest checkpoint.
    func exportCheckpoint(_ reference: String) async throws -> [UInt8] {
        var request = WireCheckpointExportRequest()
        request.job.nameOrID = reference
        var bytes: [UInt8] = []
        for try await piece in rpc.stream(.checkpointExport, request, reply: WireCheckpointExportReply.self) {
            bytes += piece.data
        }
        return bytes
    }

    /// Makes a job of a tar and returns its identity.
    func importCheckpoint(_ tar: [UInt8], name: String) async throws -> String {
        let pieceBytes = 1 << 20
        var reply = WireCheckpointImportReply()
        for start in stride(from: 0, to: tar.count, by: pieceBytes) {
            var request = WireCheckpointImportRequest()
            (request.upload, request.offset, request.name) = ("upload-\(tar.count)", UInt64(start), name)
            request.data = Data(tar[start..<min(start + pieceBytes, tar.count)])
            request.isLast = start + pieceBytes >= tar.count
            reply = try await rpc.call(.checkpointImport, request, timeout: .seconds(60))
        }
        return reply.jobID
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
