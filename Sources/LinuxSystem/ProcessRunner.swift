internal import CLinux
internal import ClusterModel
internal import Glibc

/// A program to run, with everything it gets from us.
package struct ProgramCommand: Sendable, Equatable {
    /// An absolute path, or a name that is looked for in `PATH` of `environment`.
    package var program: String
    /// Without the program's own name.
    package var arguments: [String]
    /// `KEY=VALUE` each; nil gives it this process's environment.
    package var environment: [String]?
    /// nil leaves it in this process's.
    package var workingDirectory: String?
    /// Whether it leads a session of its own, so that it outlives this process's terminal and service.
    package var startsSession: Bool

    /// Describes a program to run.
    package init(
        _ program: String,
        _ arguments: [String] = [],
        environment: [String]? = nil,
        workingDirectory: String? = nil,
        startsSession: Bool = false
    ) {
        self.program = program
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.startsSession = startsSession
    }
}

/// What a program that was run to its end left behind.
package struct ProgramResult: Sendable, Equatable {
    package var exit: ProcessExit
    /// The beginning of standard output, at most the limit that the caller gave.
    package var output: [UInt8]
    /// The beginning of standard error, under a limit of its own of the same size.
    package var errorOutput: [UInt8]
    /// Whether more came than the limit; what came later was read and thrown away.
    package var isTruncated: Bool
    /// Whether it was killed because its time was over.
    package var hasTimedOut: Bool
    package var duration: Duration

    /// Whether it ended by itself with status 0.
    package var isSuccess: Bool { exit.isSuccess && !hasTimedOut }
    /// Standard output as text, without white space at its ends.
    package var outputText: String { String(decoding: output, as: UTF8.self).trimmed }
    /// Standard error as text, without white space at its ends.
    package var errorText: String { String(decoding: errorOutput, as: UTF8.self).trimmed }
    /// Standard error, or standard output when that is empty: what a message to people should quote.
    package var complaint: String { errorOutput.isEmpty ? outputText : errorText }
}

/// Starts programs with posix_spawn(3).
///
/// No fork: a copy of a Swift process with threads could only deadlock. Children get exactly the descriptors that are named, default
/// signal handling, and an empty signal mask.
package enum ProcessRunner {
    /// Starts a program and returns its number; the caller must wait for it (``ProcessWatcher``).
    ///
    /// The descriptors are borrowed; nil means /dev/null. `inherited` appear in the child as 3, 4, ... in this order.
    package static func spawn(
        _ command: ProgramCommand,
        standardInput: Int32? = nil,
        standardOutput: Int32? = nil,
        standardError: Int32? = nil,
        inherited: [Int32] = []
    ) throws(SystemError) -> Int32 {
        let path = try executable(command)
        let null = try OwnedDescriptor(opening: "/dev/null", O_RDWR)
        let sources = [standardInput, standardOutput, standardError].map { $0 ?? null.rawValue } + inherited
        // Copies above all targets, so that putting one in place never overwrites another that is still to come.
        var copies: [Int32] = []
        defer { for copy in copies { close(copy) } }
        for source in sources {
            copies.append(
                try retrying("duplicate descriptor", String(source)) {
                    godwit_duplicate(source, Int32(sources.count) + 3)
                }
            )
        }

        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawnattr_init(&attributes)
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        for (target, copy) in copies.enumerated() {
            unsafe posix_spawn_file_actions_adddup2(&actions, copy, Int32(target))
        }
        _ = unsafe godwit_spawn_close_from(&actions, Int32(copies.count))
        if let folder = command.workingDirectory { _ = unsafe godwit_spawn_change_folder(&actions, folder) }

        var (none, all) = (sigset_t(), sigset_t())
        unsafe sigemptyset(&none)
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        // A group of its own in any case, so that a time limit reaches the program's children too.
        let group = command.startsSession ? Int32(godwit_spawn_setsid()) : Int32(POSIX_SPAWN_SETPGROUP)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        unsafe posix_spawnattr_setflags(
            &attributes,
            Int16(Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF) | group)
        )

        var pid: Int32 = 0
        let failure = unsafe withCStrings([command.program] + command.arguments) { arguments in
            unsafe withEnvironment(command.environment) { environment in
                unsafe posix_spawn(&pid, path, &actions, &attributes, arguments, environment)
            }
        }
        guard failure == 0 else {
            let folder = command.workingDirectory.map { " in \($0)" } ?? ""
            throw SystemError("start", path + folder, code: failure)
        }
        return pid
    }

    /// Runs a program to its end on a thread of its own and collects what it wrote.
    ///
    /// - Parameters:
    ///   - command: the program.
    ///   - input: what it reads on standard input.
    ///   - timeout: after this it is killed with its whole process group.
    ///   - outputLimit: bytes kept of standard output and of standard error, each.
    /// - Returns: the result, whatever the exit status.
    /// - Throws: ``SystemError`` when it cannot be started; `CancellationError` after killing it.
    package static func run(
        _ command: ProgramCommand,
        input: [UInt8] = [],
        timeout: Duration,
        outputLimit: Int = 1 << 20
    ) async throws -> ProgramResult {
        let cancellation = try Cancellation()
        let result = try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<ProgramResult, any Error>) in
                do throws(SystemError) {
                    try SystemThread.start(name: "godwit-run") {
                        continuation.resume(
                            with: Result {
                                try runBlocking(
                                    command,
                                    input: input,
                                    timeout: timeout,
                                    outputLimit: outputLimit,
                                    cancellation: cancellation.readable
                                )
                            }
                        )
                    }
                } catch {
                    continuation.resume(throwing: error)
                }
            }
        } onCancel: {
            cancellation.cancel()
        }
        try Task.checkCancellation()
        return result
    }

    /// A descriptor that becomes readable when a task is cancelled; closed when the last of the two sides has let go of it.
    private final class Cancellation: Sendable {
        private let event: OwnedDescriptor

        init() throws(SystemError) {
            event = OwnedDescriptor(owning: try retrying("make an eventfd", "") { godwit_eventfd() })
        }

        var readable: Int32 { event.rawValue }

        func cancel() {
            var one: UInt64 = 1
            _ = unsafe write(event.rawValue, &one, 8)
        }
    }

    /// Runs a program to its end on the calling thread; see ``run(_:input:timeout:outputLimit:)``.
    ///
    /// - Parameters:
    ///   - command: the program.
    ///   - input: what it reads on standard input.
    ///   - timeout: after this it is killed with its whole process group.
    ///   - outputLimit: bytes kept of standard output and of standard error, each.
    ///   - cancellation: a descriptor that becomes readable when the program is to be killed.
    /// - Returns: the result, whatever the exit status.
    /// - Throws: ``SystemError`` when it cannot be started or waited for.
    package static func runBlocking(
        _ command: ProgramCommand,
        input: [UInt8] = [],
        timeout: Duration,
        outputLimit: Int = 1 << 20,
        cancellation: Int32? = nil
    ) throws(SystemError) -> ProgramResult {
        let start = MonotonicClock.nanoseconds()
        var (inputRead, inputWrite): (Int32, Int32) = (-1, -1)
        if !input.isEmpty { (inputRead, inputWrite) = try Self.pipe() }
        defer { closeIfOpen(inputRead, inputWrite) }
        var (outputRead, outputWrite) = try Self.pipe()
        defer { closeIfOpen(outputRead, outputWrite) }
        var (errorRead, errorWrite) = try Self.pipe()
        defer { closeIfOpen(errorRead, errorWrite) }

        let pid = try spawn(
            command,
            standardInput: inputRead >= 0 ? inputRead : nil,
            standardOutput: outputWrite,
            standardError: errorWrite
        )
        closeIfOpen(inputRead, outputWrite, errorWrite)
        (inputRead, outputWrite, errorWrite) = (-1, -1, -1)
        let process: Pidfd
        do throws(SystemError) { process = try Pidfd(of: pid) } catch {
            kill(-pid, SIGKILL)
            _ = try? ProcessControl.waitForChild(pid)
            throw error
        }
        for descriptor in [inputWrite, outputRead, errorRead] where descriptor >= 0 {
            _ = godwit_set_blocking(descriptor, 0)
        }

        var output = BoundedOutput(limit: outputLimit)
        var errorOutput = BoundedOutput(limit: outputLimit)
        var (written, hasTimedOut, isKilled) = (0, false, false)
        let deadline = start.addingReportingOverflow(max(0, timeout.nanoseconds)).partialValue
        while true {
            var queries = [
                pollfd(fd: process.descriptor.rawValue, events: Int16(POLLIN), revents: 0),
                pollfd(fd: outputRead, events: Int16(POLLIN), revents: 0),
                pollfd(fd: errorRead, events: Int16(POLLIN), revents: 0),
                pollfd(fd: inputWrite, events: Int16(POLLOUT), revents: 0),
                pollfd(fd: isKilled ? -1 : cancellation ?? -1, events: Int16(POLLIN), revents: 0),
            ]
            let left = isKilled ? -1 : max(0, (deadline - MonotonicClock.nanoseconds() + 999_999) / 1_000_000)
            let ready = unsafe poll(&queries, UInt(queries.count), Int32(clamping: left))
            if ready < 0 && errno != EINTR { throw SystemError.last("wait for", command.program) }
            if ready == 0 && !isKilled { hasTimedOut = true }
            if (ready == 0 || (ready > 0 && queries[4].revents != 0)) && !isKilled {
                kill(-pid, SIGKILL)
                isKilled = true
            }
            guard ready > 0 else { continue }
            if queries[1].revents != 0, !output.drain(outputRead) {
                closeIfOpen(outputRead)
                outputRead = -1
            }
            if queries[2].revents != 0, !errorOutput.drain(errorRead) {
                closeIfOpen(errorRead)
                errorRead = -1
            }
            if queries[3].revents != 0 {
                written += feed(input, from: written, to: inputWrite)
                if written >= input.count || queries[3].revents & Int16(POLLERR) != 0 {
                    closeIfOpen(inputWrite)
                    inputWrite = -1
                }
            }
            // Judged by the process, not by its pipes: a daemon it left behind may hold those open for ever.
            if queries[0].revents != 0, let exit = try process.reap() {
                if outputRead >= 0 { _ = output.drain(outputRead) }
                if errorRead >= 0 { _ = errorOutput.drain(errorRead) }
                return ProgramResult(
                    exit: exit,
                    output: output.bytes,
                    errorOutput: errorOutput.bytes,
                    isTruncated: output.isTruncated || errorOutput.isTruncated,
                    hasTimedOut: hasTimedOut,
                    duration: .nanoseconds(MonotonicClock.nanoseconds() - start)
                )
            }
        }
    }

    /// The absolute path of a program: a path with a slash as it is, otherwise the first match in the search path.
    ///
    /// - Parameters:
    ///   - name: a name or a path.
    ///   - searchPath: folders with colons between them; nil takes `PATH` of this process.
    /// - Returns: the path, or nil when there is no such program.
    package static func find(_ name: String, in searchPath: String? = nil) -> String? {
        if name.contains("/") { return FileSystem.isExecutable(name) ? name : nil }
        let folders =
            searchPath ?? environmentVariable("PATH") ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return folders.split(separator: ":").lazy.map { "\($0)/\(name)" }.first { FileSystem.isExecutable($0) }
    }

    /// One variable of this process's environment.
    package static func environmentVariable(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// This process's environment, `KEY=VALUE` each.
    package static var environment: [String] {
        var result: [String] = []
        guard var next = unsafe godwit_environment() else { return [] }
        while let variable = unsafe next.pointee {
            unsafe result.append(String(cString: variable))
            unsafe next += 1
        }
        return result
    }

    // MARK: Details

    private static func executable(_ command: ProgramCommand) throws(SystemError) -> String {
        let searchPath = command.environment?.last { $0.hasPrefix("PATH=") }.map { String($0.dropFirst(5)) }
        guard let path = find(command.program, in: searchPath) else {
            throw SystemError(
                "find program",
                command.program,
                code: ENOENT,
                remedy: command.program.contains("/")
                    ? "Install it, or correct its path in the configuration."
                    : "Install it, or give its path in the configuration."
            )
        }
        return path
    }

    private static func pipe() throws(SystemError) -> (Int32, Int32) {
        var (reading, writing): (Int32, Int32) = (-1, -1)
        _ = try retrying("make a pipe", "") { unsafe godwit_pipe(&reading, &writing) }
        return (reading, writing)
    }

    private static func closeIfOpen(_ descriptors: Int32...) {
        for descriptor in descriptors where descriptor >= 0 { close(descriptor) }
    }

    private static func feed(_ input: [UInt8], from offset: Int, to descriptor: Int32) -> Int {
        // The reader may be gone: without this the write would end the agent (EPIPE comes back instead).
        var (set, old) = (sigset_t(), sigset_t())
        unsafe sigemptyset(&set)
        unsafe sigaddset(&set, SIGPIPE)
        unsafe pthread_sigmask(SIG_BLOCK, &set, &old)
        let count = unsafe input.withUnsafeBytes { bytes in
            unsafe write(descriptor, bytes.baseAddress.map { unsafe $0 + offset }, bytes.count - offset)
        }
        if count < 0 && errno == EPIPE {
            var none = timespec()
            _ = unsafe sigtimedwait(&set, nil, &none)
        }
        unsafe pthread_sigmask(SIG_SETMASK, &old, nil)
        return count < 0 ? (errno == EAGAIN || errno == EINTR ? 0 : input.count) : count
    }

    private static func withCStrings<Result>(
        _ strings: [String],
        _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers = unsafe strings.map { unsafe strdup($0) } + [nil]
        defer { for index in unsafe pointers.indices { unsafe free(pointers[index]) } }
        return unsafe pointers.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { preconditionFailure("an array with an element has storage") }
            return unsafe body(base)
        }
    }

    private static func withEnvironment<Result>(
        _ variables: [String]?,
        _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>?) -> Result
    ) -> Result {
        guard let variables else { return unsafe body(godwit_environment().map { unsafe UnsafePointer($0) }) }
        return unsafe withCStrings(variables) { unsafe body($0) }
    }
}

/// What a program writes, up to a limit; the rest is read, so that the program is never blocked, and dropped.
private struct BoundedOutput {
    let limit: Int
    var bytes: [UInt8] = []
    var isTruncated = false

    init(limit: Int) { self.limit = limit }

    /// Reads until nothing is there; false at the end of the stream.
    mutating func drain(_ descriptor: Int32) -> Bool {
        var isOpen = true
        unsafe withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 16) { buffer in
            while true {
                let count = unsafe read(descriptor, buffer.baseAddress, buffer.count)
                if count < 0 && errno == EINTR { continue }
                if count <= 0 {
                    isOpen = count < 0 && errno == EAGAIN
                    return
                }
                let kept = min(count, limit - bytes.count)
                unsafe bytes.append(contentsOf: buffer.prefix(kept))
                if kept < count { isTruncated = true }
            }
        }
        return isOpen
    }
}
