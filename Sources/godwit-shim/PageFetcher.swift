internal import CLinux
internal import Glibc

/// The program that fetches a restored container's memory while the container runs: `criu lazy-pages`.
///
/// A page that it has not fetched reads as zeros from the moment on at which it is gone, so its end is the end of the container unless all pages have
/// arrived. It is traced for that: the kernel holds it in its exit, whatever ends it, with its userfaultfds still open; whoever touches a missing page
/// waits. It is let go when no process of the container is left.
struct PageFetcher {
    /// Where it gets its pages from; what the agent handed over.
    private static let source: Int32 = 4
    private static let ready: Int32 = 5
    /// How long it may take until it listens, in milliseconds.
    private static let readyLimit: Int64 = 20_000
    /// Exists in the container's folder until all pages have arrived.
    private static let mark = "pages"

    private let process: pid_t
    /// The container's cgroup.procs.
    private let processes: String
    /// Becomes readable when ``look()`` should be called.
    let events: Int32
    private var isHeld = false
    private var hasEnded = false
    /// Whether it ended before all pages had arrived, so that the container may not go on.
    private(set) var hasFailed = false

    /// Starts it and waits until it listens; nil when it does not.
    init?(_ specification: ShimSpecification) {
        let events = godwit_child_events()
        var ends: (Int32, Int32) = (-1, -1)
        guard events >= 0, unsafe godwit_pipe(&ends.0, &ends.1) == 0 else { return nil }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        for number: Int32 in 0...2 { unsafe posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0) }
        // The ready end may have the number that the source is to have, so each goes through a number above both.
        unsafe posix_spawn_file_actions_adddup2(&actions, ends.1, Self.ready + 10)
        unsafe posix_spawn_file_actions_adddup2(&actions, Self.source, Self.ready + 11)
        unsafe posix_spawn_file_actions_adddup2(&actions, Self.ready + 10, Self.ready)
        unsafe posix_spawn_file_actions_adddup2(&actions, Self.ready + 11, Self.source)
        unsafe posix_spawn_file_actions_addclose(&actions, Self.ready + 10)
        unsafe posix_spawn_file_actions_addclose(&actions, Self.ready + 11)
        let child = unsafe spawn(specification.pagesCommand, &actions, searchPath: specification.searchPath)
        close(ends.1)
        close(Self.source)
        guard let child = child.pid else { return nil }
        process = child
        processes = specification.processes ?? ""
        self.events = events
        // Before it has taken over any memory: what ends it from here on is seen.
        guard godwit_trace_exit(process) == 0, waitUntilReady(ends.0) else {
            close(ends.0)
            end()
            return nil
        }
        close(ends.0)
    }

    private mutating func waitUntilReady(_ pipe: Int32) -> Bool {
        let limit = monotonicMilliseconds() + Self.readyLimit
        while !hasEnded, !hasFailed {
            let left = limit - monotonicMilliseconds()
            if left <= 0 { return false }
            var waits = [
                pollfd(fd: pipe, events: Int16(POLLIN), revents: 0),
                pollfd(fd: events, events: Int16(POLLIN), revents: 0),
            ]
            _ = unsafe poll(&waits, 2, Int32(left))
            look()
            guard waits[0].revents != 0 else { continue }
            var byte: UInt8 = 1
            return unsafe read(pipe, &byte, 1) == 1
        }
        return false
    }

    /// Takes note of what has become of it, and passes on what only has to be passed on.
    mutating func look() {
        godwit_clear_child_events(events)
        var status: Int32 = 0
        while !hasEnded, !isHeld {
            let found = unsafe waitpid(process, &status, WNOHANG)
            if found < 0 && errno == EINTR { continue }
            guard found == process else { return }
            if godwit_is_exit_stop(status) != 0 {
                if godwit_traced_status(process) == 0 {
                    // All pages are there, so it may let go of the memory.
                    _ = unsafe unlink(Self.mark)
                    godwit_trace_continue(process, 0)
                } else {
                    (isHeld, hasFailed) = (true, true)
                }
            } else if status & 0xFF == 0x7F {
                // A signal on its way to it, or, with an event in the third byte, a stop of its group.
                godwit_trace_continue(process, status >> 16 == 0 ? (status >> 8) & 0xFF : 0)
            } else {
                hasEnded = true
                if status != 0 { hasFailed = true }
            }
        }
    }

    /// Kills what the container has of processes now; true when there was none.
    func killContainer() -> Bool {
        let text = readFile(processes, limit: 1 << 20) ?? []
        let found = text.split(separator: UInt8(ascii: "\n")).compactMap { pid_t(String(decoding: $0, as: UTF8.self)) }
        for process in found where process > 1 { kill(process, SIGKILL) }
        return found.isEmpty
    }

    /// Lets it go for good; no process of the container may be left.
    mutating func end() {
        var status: Int32 = 0
        kill(process, SIGKILL)
        while !hasEnded {
            if isHeld { godwit_trace_continue(process, 0) }
            isHeld = false
            let found = unsafe waitpid(process, &status, 0)
            if found < 0 && errno == EINTR { continue }
            if found < 0 { break }
            if status & 0xFF == 0x7F { godwit_trace_continue(process, 0) } else { hasEnded = true }
        }
    }
}

/// Starts a program with default signals and no signal blocked; the actions say what it gets as descriptors.
func spawn(
    _ command: [String],
    _ actions: inout posix_spawn_file_actions_t,
    searchPath: String
) -> (pid: pid_t?, failure: Int32) {
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    // Ignored signals survive exec: without this a container would start deaf to SIGTERM.
    var defaults = sigset_t()
    unsafe sigemptyset(&defaults)
    for signal in ignoredSignals { unsafe sigaddset(&defaults, signal) }
    unsafe posix_spawnattr_setsigdefault(&attributes, &defaults)
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
    let arguments: [UnsafeMutablePointer<CChar>?] = unsafe command.map { unsafe strdup($0) } + [nil]
    let variables = ["PATH=\(searchPath)", "HOME=/root"]
    let environment: [UnsafeMutablePointer<CChar>?] = unsafe variables.map { unsafe strdup($0) } + [nil]
    var child: pid_t = 0
    let failure = unsafe posix_spawn(&child, command[0], &actions, &attributes, arguments, environment)
    return (failure == 0 ? child : nil, failure)
}

/// What a shim does not hear, so that whoever ends the agent does not end its containers; only SIGKILL ends one.
let ignoredSignals = [SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP]
