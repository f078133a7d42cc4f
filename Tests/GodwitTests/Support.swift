import ClusterModel
import ControlMessages
import Glibc
import SwiftProtobuf
import Synchronization
import Testing

@testable import godwit

/// A moment that all tests agree on: 2026-11-21T12:00:00Z.
let noon = 1_795_262_400.0

extension Presentation {
    /// A reader in Greenwich with a terminal of the given width.
    static func reader(
        width: Int? = nil,
        unicode: Bool = true,
        color: Bool = false,
        now: Double = noon + 50
    ) -> Presentation {
        Presentation(usesColor: color, usesUnicode: unicode, width: width, now: now, calendar: .utc)
    }
}

/// Compares text with a file of Golden/; with GODWIT_RECORD=1 the file is written instead.
func expectGolden(_ text: String, _ name: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let folder = folder(of: #filePath) + "/Golden"
    let path = "\(folder)/\(name)"
    if environment("GODWIT_RECORD") == "1" {
        try File.replace(path, with: Array(text.utf8))
        return
    }
    let expected = try String(decoding: File.read(path, limit: 4 << 20), as: UTF8.self)
    guard text != expected else { return }
    let (new, old) = (lines(text), lines(expected))
    let index = zip(new, old).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? min(new.count, old.count)
    Issue.record(
        """
        \(name) differs in line \(index + 1):
          recorded: \(index < old.count ? old[index] : "(end)")
          now:      \(index < new.count ? new[index] : "(end)")
        If the change is meant, record it with GODWIT_RECORD=1 and look at the difference.
        """,
        sourceLocation: sourceLocation
    )
}

/// The folder of a file.
func folder(of file: String) -> String {
    file.lastIndex(of: "/").map { String(file[..<$0]) } ?? "."
}

/// The repository's root.
let repository = folder(of: folder(of: folder(of: #filePath)))

func lines(_ text: String) -> [String] {
    text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
}

func environment(_ name: String) -> String? { unsafe getenv(name).map { unsafe String(cString: $0) } }

/// A folder of one test, removed with it.
final class TemporaryFolder {
    let path: String

    init() throws {
        var name = Array("/tmp/godwit-tests.XXXXXX".utf8CString)
        guard unsafe mkdtemp(&name) != nil else { throw CommandFailure(.failure, "cannot make a folder below /tmp") }
        path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func write(_ name: String, _ text: String) throws -> String {
        try File.replace("\(path)/\(name)", with: Array(text.utf8))
        return "\(path)/\(name)"
    }

    func read(_ name: String) throws -> String {
        String(decoding: try File.read("\(path)/\(name)", limit: 4 << 20), as: UTF8.self)
    }

    deinit {
        guard let entries = unsafe opendir(path) else { return }
        while let entry = unsafe readdir(entries) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            unsafe unlink("\(path)/\(name)")
        }
        unsafe closedir(entries)
        unsafe rmdir(path)
    }
}

/// An agent of a test: answers with what it was given and notes down what it was asked.
final class ScriptedAgent: AgentConnection {
    /// What is asked and answered.
    struct State {
        var requests: [any Message] = []
        var answers: [ObjectIdentifier: any Message] = [:]
        var failures: [CommandFailure?] = []
        var watch: [[WireJobWatchReply]] = []
        var logs: [WireJobLogsReply] = []
        var events: [[WireClusterEventsReply]] = []
        var streams: [ObjectIdentifier: (messages: [any Message], failure: CommandFailure?)] = [:]
        var connections: [ConnectionRequest] = []
        var closedCount = 0
    }

    let state = Mutex(State())

    /// Answers requests for this type of reply with the given one.
    func answer<Reply: Message>(_ reply: Reply) -> Self {
        state.withLock { $0.answers[ObjectIdentifier(Reply.self)] = reply }
        return self
    }

    /// Fails the next calls, in this order; nil lets one succeed.
    func fail(_ failures: CommandFailure?...) -> Self {
        state.withLock { $0.failures += failures }
        return self
    }

    /// The requests of a type, oldest first.
    func requests<Request: Message>(_ type: Request.Type) -> [Request] {
        state.withLock { $0.requests.compactMap { $0 as? Request } }
    }

    private func reply<Reply: Message>(to request: some Message) throws -> Reply {
        try state.withLock { state in
            state.requests.append(request)
            if !state.failures.isEmpty, let failure = state.failures.removeFirst() { throw failure }
            return state.answers[ObjectIdentifier(Reply.self)] as? Reply ?? Reply()
        }
    }

    func status(_ request: WireStatusRequest) async throws -> WireStatusReply { try reply(to: request) }
    func nodeList(_ request: WireNodeListRequest) async throws -> WireNodeListReply { try reply(to: request) }
    func nodeShow(_ request: WireNodeShowRequest) async throws -> WireNodeShowReply { try reply(to: request) }
    func nodeCordon(_ request: WireNodeCordonRequest) async throws -> WireNodeCordonReply { try reply(to: request) }
    func nodeDrain(_ request: WireNodeDrainRequest) async throws -> WireNodeDrainReply { try reply(to: request) }
    func nodeUndrain(_ request: WireNodeUndrainRequest) async throws -> WireNodeUndrainReply { try reply(to: request) }
    func nodeRemove(_ request: WireNodeRemoveRequest) async throws -> WireNodeRemoveReply { try reply(to: request) }
    func nodeLeave(_ request: WireNodeLeaveRequest) async throws -> WireNodeLeaveReply { try reply(to: request) }
    func clusterMembers(_ request: WireClusterMembersRequest) async throws -> WireClusterMembersReply {
        try reply(to: request)
    }
    func clusterVoters(_ request: WireClusterVotersRequest) async throws -> WireClusterVotersReply {
        try reply(to: request)
    }
    func keyringList(_ request: WireKeyringListRequest) async throws -> WireKeyringListReply { try reply(to: request) }
    func keyringRotate(_ request: WireKeyringRotateRequest) async throws -> WireKeyringRotateReply {
        try reply(to: request)
    }
    func certificateRevoke(_ request: WireCertificateRevokeRequest) async throws -> WireCertificateRevokeReply {
        try reply(to: request)
    }
    func revocationList(_ request: WireRevocationListRequest) async throws -> WireRevocationListReply {
        try reply(to: request)
    }
    func authorityAdd(_ request: WireAuthorityAddRequest) async throws -> WireAuthorityAddReply {
        try reply(to: request)
    }
    func authorityRemove(_ request: WireAuthorityRemoveRequest) async throws -> WireAuthorityRemoveReply {
        try reply(to: request)
    }
    func authorityList(_ request: WireAuthorityListRequest) async throws -> WireAuthorityListReply {
        try reply(to: request)
    }
    func clusterEvents(
        _ request: WireClusterEventsRequest,
        receive: (WireClusterEventsReply) throws -> Void
    ) async throws {
        let (messages, failure) = try state.withLock { state -> ([WireClusterEventsReply], CommandFailure?) in
            state.requests.append(request)
            if !state.failures.isEmpty, let failure = state.failures.removeFirst() { throw failure }
            guard !state.events.isEmpty else { return ([], nil) }
            // What follows is cut off, as when the agent restarts.
            let isCut = request.follow ? CommandFailure(.unreachable, "the agent closed the connection") : nil
            return (state.events.removeFirst(), isCut)
        }
        for message in messages { try receive(message) }
        if let failure { throw failure }
    }
    func jobSubmit(_ request: WireJobSubmitRequest) async throws -> WireJobSubmitReply { try reply(to: request) }
    func jobPlan(_ request: WireJobPlanRequest) async throws -> WireJobPlanReply { try reply(to: request) }
    func jobList(_ request: WireJobListRequest) async throws -> WireJobListReply { try reply(to: request) }
    func jobShow(_ request: WireJobShowRequest) async throws -> WireJobShowReply { try reply(to: request) }
    func jobExplain(_ request: WireJobExplainRequest) async throws -> WireJobExplainReply { try reply(to: request) }
    func jobCheckpoint(_ request: WireJobCheckpointRequest) async throws -> WireJobCheckpointReply {
        try reply(to: request)
    }
    func jobRestore(_ request: WireJobRestoreRequest) async throws -> WireJobRestoreReply { try reply(to: request) }
    func jobResize(_ request: WireJobResizeRequest) async throws -> WireJobResizeReply { try reply(to: request) }
    func jobMigrate(_ request: WireJobMigrateRequest) async throws -> WireJobMigrateReply { try reply(to: request) }
    func jobCancel(_ request: WireJobCancelRequest) async throws -> WireJobCancelReply { try reply(to: request) }

    func jobWatch(_ request: WireJobWatchRequest, receive: (WireJobWatchReply) throws -> Bool) async throws {
        let messages = state.withLock { state -> [WireJobWatchReply] in
            state.requests.append(request)
            return state.watch.isEmpty ? [] : state.watch.removeFirst()
        }
        for message in messages where try !receive(message) { return }
        // What the script does not end is cut off, as when the agent restarts.
        throw CommandFailure(.unreachable, "the agent closed the connection")
    }

    func jobLogs(_ request: WireJobLogsRequest, receive: (WireJobLogsReply) throws -> Void) async throws {
        let messages = state.withLock { state -> [WireJobLogsReply] in
            state.requests.append(request)
            return state.logs
        }
        for message in messages { try receive(message) }
    }

    func checkpointList(_ request: WireCheckpointListRequest) async throws -> WireCheckpointListReply {
        try reply(to: request)
    }
    func checkpointShow(_ request: WireCheckpointShowRequest) async throws -> WireCheckpointShowReply {
        try reply(to: request)
    }
    func checkpointImport(_ request: WireCheckpointImportRequest) async throws -> WireCheckpointImportReply {
        try reply(to: request)
    }
    func checkpointRemove(_ request: WireCheckpointRemoveRequest) async throws -> WireCheckpointRemoveReply {
        try reply(to: request)
    }
    func checkpointVerify(
        _ request: WireCheckpointVerifyRequest,
        receive: (WireCheckpointVerifyReply) throws -> Void
    ) async throws {
        try stream(request, receive)
    }
    func checkpointExport(
        _ request: WireCheckpointExportRequest,
        receive: (WireCheckpointExportReply) throws -> Void
    ) async throws {
        try stream(request, receive)
    }

    /// Answers a request for this type of messages with these, one after the other, and then with the failure.
    func stream<Reply: Message>(_ replies: [Reply], then failure: CommandFailure? = nil) -> Self {
        state.withLock { $0.streams[ObjectIdentifier(Reply.self)] = (replies, failure) }
        return self
    }

    private func stream<Reply: Message>(_ request: some Message, _ receive: (Reply) throws -> Void) throws {
        let (messages, failure) = try state.withLock { state -> ([Reply], CommandFailure?) in
            state.requests.append(request)
            if !state.failures.isEmpty, let failure = state.failures.removeFirst() { throw failure }
            let (messages, failure) = state.streams[ObjectIdentifier(Reply.self)] ?? ([], nil)
            return (messages.compactMap { $0 as? Reply }, failure)
        }
        for message in messages { try receive(message) }
        if let failure { throw failure }
    }

    func close() async { state.withLock { $0.closedCount += 1 } }
}

/// What a command printed and how it ended.
struct Run {
    var status: godwit.ExitStatus
    var output: String
    var diagnostics: String
}

/// Runs one command line against an agent of the test.
func execute(
    _ arguments: String...,
    agent: ScriptedAgent = ScriptedAgent(),
    width: Int? = nil,
    input: String = "",
    variables: [String: String] = [:],
    unreachable: CommandFailure? = nil
) async -> Run {
    await execute(arguments, agent: agent, width: width, input: input, variables: variables, unreachable: unreachable)
}

/// Runs one command line against an agent of the test.
func execute(
    _ arguments: [String],
    agent: ScriptedAgent = ScriptedAgent(),
    width: Int? = nil,
    input: String = "",
    variables: [String: String] = [:],
    unreachable: CommandFailure? = nil
) async -> Run {
    let (output, diagnostics) = (Buffer(), Buffer())
    func channel(_ buffer: Buffer) -> OutputChannel {
        OutputChannel(isTerminal: width != nil, width: width, height: width.map { _ in 30 }) { bytes in
            buffer.bytes.withLock { $0 += bytes }
            return true
        }
    }
    let surroundings = Surroundings(
        output: channel(output),
        diagnostics: channel(diagnostics),
        now: { noon + 50 },
        sleep: { _ in try Task.checkCancellation() },
        environment: { ["LANG": "C.UTF-8", "NO_COLOR": "1"].merging(variables) { $1 }[$0] },
        calendar: .utc,
        readStandardInput: { Array(input.utf8) },
        connect: { request in
            if let unreachable { throw unreachable }
            agent.state.withLock { $0.connections.append(request) }
            return agent
        },
        onInterrupt: { _ in }
    )
    let status = await Program.execute(arguments, in: surroundings)
    return Run(status: status, output: output.text, diagnostics: diagnostics.text)
}

private final class Buffer: Sendable {
    let bytes = Mutex<[UInt8]>([])
    var text: String { bytes.withLock { String(decoding: $0, as: UTF8.self) } }
}
