import ArgumentParser
import ControlMessages
import FoundationEssentials
import Glibc

/// `godwit checkpoint export`.
struct CheckpointExport: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "export",
        abstract: "Write a checkpoint as a tar that stands alone, for another cluster or for keeping.",
        discussion: """
            The tar holds whatever the job had in memory, secrets too, and IS NOT ENCRYPTED, whatever the cluster keeps its own copies under: \
            another cluster has other keys. The file gets mode 0600 and its name only when it is complete; with -f - it goes to standard output, \
            into 'age' or 'gpg' for example. It holds the job's document, the regions, their index, and checksums that 'sha256sum -c SHA256SUMS' \
            understands; the job's image is not in it. Needs the right to act on the job. JSON: CheckpointExportReply without data.
            """
    )

    @OptionGroup var job: JobArgument
    @OptionGroup var which: GenerationOption

    @Option(
        name: [.customShort("f"), .long],
        help: ArgumentHelp("Where to; - for standard output. Default: JOB-GENERATION.tar.", valueName: "file"),
        completion: .file(extensions: ["tar"])
    )
    var file: String?

    @Flag(help: "Replace the file if there is one.")
    var force = false

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        if file == "" { throw ValidationError("The name of the file is empty") }
    }

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        if file == "-", surroundings.output.isTerminal {
            throw CommandFailure(
                .usage,
                "a tar would only confuse the terminal; name a file with --file, or redirect the output"
            )
        }
        var request = WireCheckpointExportRequest()
        (request.job, request.generation) = (job.reference, which.generation ?? 0)
        let question = request
        var result = WireCheckpointExportReply()
        var target: ArchiveFile?
        var received: UInt64 = 0
        try await options.withConnection(in: surroundings) { connection in
            try await connection.checkpointExport(question) { reply in
                if received == 0 {
                    (result.generation, result.totalBytes) = (reply.generation, reply.totalBytes)
                    if file != "-" {
                        let name = job.job.split(separator: "/").last.map(String.init) ?? job.job
                        target = try ArchiveFile(file ?? "\(name)-\(reply.generation).tar", replaces: force)
                    }
                }
                received += UInt64(reply.data.count)
                let bytes = [UInt8](reply.data)
                if let target { try target.write(bytes) } else { try surroundings.output.send(bytes) }
            }
        }
        guard received > 0, received == result.totalBytes else {
            throw CommandFailure(
                .failure,
                "the agent sent \(received) of \(result.totalBytes) bytes of the checkpoint; nothing was kept, try again"
            )
        }
        guard let target else { return .success }
        try target.finish()
        try options.print(result, in: surroundings) { style in
            [
                "checkpoint \(result.generation) of \(job.job) is in \(printable(target.path)), \(style.bytes(received)), mode 0600; it holds the "
                    + "job's memory and is not encrypted"
            ]
        }
        return .success
    }
}

/// A file that has its name only when it is complete.
private final class ArchiveFile {
    let path: String
    private let temporary: String
    private var descriptor: Int32

    init(_ path: String, replaces: Bool) throws {
        (self.path, temporary) = (path, "\(path).\(getpid()).partial")
        if !replaces, unsafe access(path, F_OK) == 0 {
            throw CommandFailure(.failure, "\(path) is there already; name another file, or replace it with --force")
        }
        descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw CommandFailure(.failure, "cannot create \(temporary): \(Self.reason())") }
    }

    deinit {
        guard descriptor >= 0 else { return }
        close(descriptor)
        unsafe unlink(temporary)
    }

    func write(_ bytes: [UInt8]) throws {
        guard let problem = File.write(bytes, to: descriptor) else { return }
        throw CommandFailure(.failure, "cannot write \(path): \(unsafe String(cString: strerror(problem)))")
    }

    func finish() throws {
        guard fsync(descriptor) == 0, unsafe rename(temporary, path) == 0 else {
            throw CommandFailure(.failure, "cannot write \(path): \(Self.reason())")
        }
        close(descriptor)
        descriptor = -1
    }

    private static func reason() -> String { unsafe String(cString: strerror(errno)) }
}

/// `godwit checkpoint import`.
struct CheckpointImport: GodwitCommand {
    static let configuration = CommandConfiguration.ofCommand(
        commandName: "import",
        abstract: "Take a checkpoint in that 'checkpoint export' wrote, here or in another cluster.",
        discussion: """
            It becomes a suspended job of yours, which 'job restore' continues on any node that has its image; with --into it becomes the newest \
            checkpoint of a job that runs the same image and command. What is damaged, cut off, exchanged or something else is refused, and \
            nothing of it is kept. Needs the right submit. JSON: CheckpointImportReply.
            """
    )

    @Argument(
        help: ArgumentHelp("The tar; - for standard input.", valueName: "file"),
        completion: .file(extensions: ["tar"])
    )
    var file: String

    @Option(help: ArgumentHelp("Call the job so. Default: as it was called.", valueName: "name"))
    var name: String?

    @Option(
        help: ArgumentHelp("Add it to this job instead of making one.", valueName: "job"),
        completion: jobCompletion
    )
    var into: String?

    @OptionGroup(title: "Global options") var options: ClusterOptions

    func validate() throws {
        if name != nil, into != nil {
            throw ValidationError("--into adds it to a job that has its name; give one of them")
        }
        if name == "" { throw ValidationError("The job's name is empty") }
        if into == "" { throw ValidationError("The job's name is empty") }
    }

    /// Bytes of one piece; a request of them fits a frame.
    private static let pieceBytes = 1 << 20

    func run(in surroundings: Surroundings) async throws -> ExitStatus {
        let descriptor = file == "-" ? STDIN_FILENO : unsafe open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CommandFailure(.failure, "cannot open \(file): \(unsafe String(cString: strerror(errno)))")
        }
        defer { if descriptor != STDIN_FILENO { close(descriptor) } }
        var generator = SystemRandomNumberGenerator()
        let upload = String(generator.next() as UInt64, radix: 16) + "-upload"
        var reply = WireCheckpointImportReply()
        try await options.withConnection(in: surroundings) { connection in
            reply = try await options.withProgress("importing \(file)", in: surroundings) {
                var offset: UInt64 = 0
                // One piece ahead, so that the last one is known to be.
                var piece = try Self.read(descriptor, name: file)
                if piece.isEmpty { throw CommandFailure(.failure, "\(file) is empty") }
                while true {
                    let next = try Self.read(descriptor, name: file)
                    var request = WireCheckpointImportRequest()
                    (request.upload, request.offset, request.data) = (upload, offset, Data(piece))
                    if next.isEmpty {
                        request.isLast = true
                        request.name = name ?? ""
                        if let into { request.into.nameOrID = into }
                    }
                    let answer = try await connection.checkpointImport(request)
                    if next.isEmpty { return answer }
                    offset += UInt64(piece.count)
                    piece = next
                }
            }
        }
        try options.print(reply, in: surroundings) { _ in
            let what = "checkpoint \(reply.generation) of \(printable(reply.jobName)) (\(printable(reply.jobID)))"
            return [
                into == nil
                    ? "imported as \(what), suspended; continue it with 'godwit job restore \(printable(reply.jobName))'"
                    : "imported as \(what)"
            ]
        }
        return .success
    }

    private static func read(_ descriptor: Int32, name: String) throws -> [UInt8] {
        var piece = [UInt8](repeating: 0, count: pieceBytes)
        var count = 0
        while count < piece.count {
            let done = count
            let more = unsafe piece.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress?.advanced(by: done), $0.count - done)
            }
            if more < 0 {
                if errno == EINTR { continue }
                throw CommandFailure(.failure, "cannot read \(name): \(unsafe String(cString: strerror(errno)))")
            }
            if more == 0 { break }
            count += more
        }
        return Array(piece.prefix(count))
    }
}
