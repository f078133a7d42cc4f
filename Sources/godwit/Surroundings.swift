import ClusterModel
import Glibc

/// Everything a command takes from outside.
struct Surroundings: Sendable {
    /// Standard output: what the user asked for.
    var output: OutputChannel
    /// Standard error: progress and problems.
    var diagnostics: OutputChannel
    /// Seconds since 1970.
    var now: @Sendable () -> Double
    /// Waits; only between two looks of a `--watch`.
    var sleep: @Sendable (Duration) async throws -> Void
    var environment: @Sendable (String) -> String?
    var calendar: LocalCalendar
    var readStandardInput: @Sendable () throws -> [UInt8]
    var connect: @Sendable (ConnectionRequest) async throws -> any AgentConnection
    /// Prepares for the user's Ctrl-C: the text is written to standard error, then the process ends with status 130.
    var onInterrupt: @Sendable (String) -> Void

    /// The real terminal, clock, environment and cluster.
    static func live() -> Surroundings {
        // A closed pipe is reported by write(2) as EPIPE; the signal would end the process without a word.
        _ = signal(SIGPIPE, SIG_IGN)
        Interruption.prepare()
        return Surroundings(
            output: .standardOutput(),
            diagnostics: .standardError(),
            now: {
                var time = timespec()
                unsafe clock_gettime(CLOCK_REALTIME, &time)
                return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
            },
            sleep: { try await Task.sleep(for: $0) },
            environment: { name in unsafe getenv(name).map { unsafe String(cString: $0) } },
            calendar: .local,
            readStandardInput: { try File.readStandardInput() },
            connect: { try await ControlConnection.open($0) },
            onInterrupt: { Interruption.note.set($0) }
        )
    }
}

/// Whom to ask, and as whom.
struct ConnectionRequest: Sendable, Equatable {
    /// As the user named them, in the order in which they are tried; empty means the usual ones.
    var agents: [String]
    /// File with certificate, key and authority; nil means the usual one.
    var identity: String?
    /// The longest that one call may take; nil means that the call decides.
    var timeout: Duration?
}

/// Where text goes: a terminal, a pipe or, in tests, a buffer.
struct OutputChannel: Sendable {
    var isTerminal: Bool
    /// Columns of the terminal; nil when it is none, then nothing is shortened.
    var width: Int?
    var height: Int?
    /// Writes all bytes; false when nobody reads any more.
    var writeBytes: @Sendable ([UInt8]) -> Bool

    /// Writes and does not care whether anybody reads.
    func write(_ text: String) { if !text.isEmpty { _ = writeBytes(Array(text.utf8)) } }

    /// Writes, and ends the command when nobody reads any more.
    func send(_ text: String) throws { try send(Array(text.utf8)) }

    /// Writes, and ends the command when nobody reads any more.
    func send(_ bytes: [UInt8]) throws {
        if !bytes.isEmpty, !writeBytes(bytes) { throw OutputClosed() }
    }

    static func standardOutput() -> OutputChannel { channel(STDOUT_FILENO) }
    static func standardError() -> OutputChannel { channel(STDERR_FILENO) }

    private static func channel(_ descriptor: Int32) -> OutputChannel {
        let isTerminal = isatty(descriptor) == 1
        var size = winsize()
        if isTerminal { _ = unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) }
        return OutputChannel(
            isTerminal: isTerminal,
            width: isTerminal ? (size.ws_col > 0 ? Int(size.ws_col) : 80) : nil,
            height: isTerminal ? (size.ws_row > 0 ? Int(size.ws_row) : 24) : nil,
            writeBytes: { File.write($0, to: descriptor) == nil }
        )
    }
}

/// Nobody reads standard output any more.
struct OutputClosed: Error {}

/// Ends the process with the status, skipping exit handlers: threads of a connection may still run in libraries that exit
/// handlers tear down.
func endProcess(_ status: ExitStatus) -> Never { _exit(status.rawValue) }
