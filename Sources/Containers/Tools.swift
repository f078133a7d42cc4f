internal import ClusterModel
internal import Glibc
internal import LinuxSystem

/// Runs the programs of others and turns what they complain of into our errors.
struct Tool: Sendable {
    /// What it is called and which package has it.
    let name: String
    let package: String
    let path: String

    /// Finds a program by name in `PATH`, or checks a path.
    init(_ name: String, package: String? = nil) throws(ContainerError) {
        self.name = FileSystem.name(of: name)
        self.package = package ?? self.name
        guard let path = Self.find(name) else {
            throw ContainerError(
                .toolMissing,
                "\(self.name) is not installed on this node (looked in \(Self.searchPath)).",
                remedy: "Install it, on Debian with: apt-get install \(self.package)"
            )
        }
        self.path = path
    }

    /// Runs it to its end; the caller judges the result.
    ///
    /// `forContainers`: it unpacks files for a container's users, so what their archive gives no mode (a folder that is only part of a
    /// name) must not get it from the umask of the agent, which may hide everything.
    func run(
        _ arguments: [String],
        environment: [String]? = nil,
        input: String = "",
        forContainers: Bool = false,
        timeout: Duration
    ) async throws -> ProgramResult {
        let shell = ["-c", "umask 022 && exec \"$@\"", name, path]
        let result: ProgramResult
        do {
            result = try await ProcessRunner.run(
                ProgramCommand(
                    forContainers ? "/bin/sh" : path,
                    forContainers ? shell + arguments : arguments,
                    environment: environment
                ),
                input: Array(input.utf8),
                timeout: timeout
            )
        } catch let error as SystemError {
            throw ContainerError(error, while: "starting \(name)")
        }
        if result.hasTimedOut {
            throw ContainerError(
                .timedOut,
                "\(name) \(arguments.first ?? "") did not end within \(timeout.text) and was stopped.",
                remedy: "Look at the load and the disk of this node, then try again."
            )
        }
        return result
    }

    /// An absolute path to an executable, or nil.
    static func find(_ name: String) -> String? {
        if name.contains("/") { return FileSystem.isExecutable(name) ? name : nil }
        return searchPath.split(separator: ":").map { "\($0)/\(name)" }.first { FileSystem.isExecutable($0) }
    }

    /// `PATH`, with the folders of system programs even where a user's or a service's `PATH` lacks them.
    static let searchPath: String = {
        let given = unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? ""
        var folders = given.split(separator: ":").map(String.init)
        for folder in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        where !folders.contains(folder) {
            folders.append(folder)
        }
        return folders.joined(separator: ":")
    }()
}

/// Whether a program's complaint says that a disk is full.
func saysDiskIsFull(_ complaint: String) -> Bool {
    complaint.contains("no space left on device") || complaint.contains("No space left on device")
        || complaint.contains("disk quota exceeded") || complaint.contains("Disk quota exceeded")
}

extension FileSystem {
    /// The last part of a path.
    static func name(of path: String) -> String { String(path.split(separator: "/").last ?? "") }

    /// The bytes that a folder takes on disk, links not followed; what vanishes while it is being read counts as nothing.
    static func allocatedBytes(of path: String) -> ByteCount {
        var raw = stat()
        guard unsafe lstat(path, &raw) == 0 else { return .zero }
        var total = ByteCount.bytes(Int64(raw.st_blocks) * 512)
        if raw.st_mode & S_IFMT == S_IFDIR {
            for name in (try? list(path)) ?? [] { total = total + allocatedBytes(of: "\(path)/\(name)") }
        }
        return total
    }
}

/// Runs a call that blocks for long on a thread of its own: the tasks' few threads must stay free.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
    await withCheckedContinuation { (continuation: CheckedContinuation<Result, Never>) in
        let run: @Sendable () -> Void = { continuation.resume(returning: body()) }
        // No thread to be had: better slow than not at all.
        do throws(SystemError) { try SystemThread.start(name: "godwit-wait", run) } catch { run() }
    }
}
