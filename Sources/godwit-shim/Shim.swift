internal import CLinux
internal import Glibc

/// The life of a shim: start runc, tell who the first process is, copy its output, tell how it ended.
struct Shim {
    /// The descriptor on which the agent waits for word; it may be gone at any time.
    private static let reportDescriptor: Int32 = 3
    /// How long output is still read after the container has ended, in milliseconds.
    ///
    /// All its processes are gone by then, so the
    /// pipes normally end at once; a descriptor that was passed out of the container must not keep the shim.
    private static let drainLimit: Int64 = 1000

    private let specification: ShimSpecification
    private var log: LogWriter
    private var streams: [OutputStream] = []
    private var fence: Fence

    init(_ specification: ShimSpecification) {
        self.specification = specification
        fence = Fence(lease: specification.lease)
        log = LogWriter(
            folder: "logs",
            fileBytes: specification.logFileBytes,
            fileCount: specification.logFileCount
        )
    }

    mutating func run() {
        detach()
        announceShim()
        reserveExitRecord()
        if fence.hasClosed() { return finishFencedStart() }
        let start = wait(for: startRuntime())
        if start.isFenced { return finishFencedStart() }
        guard start.status == 0 else { return finishFailedStart(start.status ?? -1) }
        guard let text = readFile(specification.processFile, limit: 64),
            let first = pid_t(String(decoding: text.filter { $0 > 32 }, as: UTF8.self))
        else { return finishFailedStart(-1) }
        announce(first)
        let end = wait(for: first)
        let moment = wallClockNanoseconds()
        drain()
        recordExit(end.status, at: moment, isFenced: end.isFenced)
        report("ended")
    }

    // MARK: Starting

    /// Leaves the agent's session and takes the orphans of runc, so that the container's first process becomes a child.
    private func detach() {
        setsid()
        _ = godwit_set_subreaper(1)
        // Whoever ends the agent must not end its containers: only SIGKILL ends a shim.
        for number in Self.ignoredSignals { signal(number, SIG_IGN) }
        let null = unsafe godwit_open("/dev/null", O_RDWR | O_CLOEXEC, 0)
        for number: Int32 in 0...2 { dup2(null, number) }
        _ = fcntl(Self.reportDescriptor, F_SETFD, FD_CLOEXEC)
    }

    private static let ignoredSignals = [SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP]

    /// Starts runc with the pipes as output; runc's own log goes to a file, so only its last words meet the container's.
    private mutating func startRuntime() -> pid_t {
        var writing: [Int32] = []
        for name in ["stdout", "stderr"] {
            var ends: (Int32, Int32) = (-1, -1)
            guard unsafe godwit_pipe(&ends.0, &ends.1) == 0 else { fail("cannot make a pipe: error \(errno)") }
            _ = godwit_set_blocking(ends.0, 0)
            streams.append(OutputStream(name: name, descriptor: ends.0))
            writing.append(ends.1)
        }

        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, writing[0], 1)
        unsafe posix_spawn_file_actions_adddup2(&actions, writing[1], 2)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        // Ignored signals survive exec: without this a container would start deaf to SIGTERM.
        var defaults = sigset_t()
        unsafe sigemptyset(&defaults)
        for signal in Self.ignoredSignals { unsafe sigaddset(&defaults, signal) }
        unsafe posix_spawnattr_setsigdefault(&attributes, &defaults)
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        let arguments: [UnsafeMutablePointer<CChar>?] = unsafe specification.command.map { unsafe strdup($0) } + [nil]
        let variables = ["PATH=\(specification.searchPath)", "HOME=/root"]
        let environment: [UnsafeMutablePointer<CChar>?] = unsafe variables.map { unsafe strdup($0) } + [nil]
        var child: pid_t = 0
        let failed = unsafe posix_spawn(
            &child,
            specification.command[0],
            &actions,
            &attributes,
            arguments,
            environment
        )
        for end in writing { close(end) }
        if failed != 0 {
            report("failed \(failed) cannot start \(specification.command[0])")
            exit(1)
        }
        return child
    }

    /// Leaves word for an agent that starts while runc is still at work.
    private func announceShim() {
        let record = "process \(getpid()) \(startTime(of: getpid()))\nboot \(bootID())\n"
        replaceFile("shim", from: "shim.new", with: Array(record.utf8), durably: false)
    }

    /// Tells the agent who the first process is: at once through the pipe, and in a file for an agent that starts later.
    ///
    /// No fsync: a process number means nothing after a crash of the machine, and page cache survives one of the agent. The first
    /// process may have ended already, but is not reaped yet, so its start time is there to read.
    private func announce(_ first: pid_t) {
        let start = startTime(of: first)
        let record = "process \(first) \(start)\nat \(wallClockNanoseconds())\n"
        replaceFile("init", from: "init.new", with: Array(record.utf8), durably: false)
        report("running \(first) \(start)")
    }

    private mutating func finishFailedStart(_ status: Int32) {
        drain()
        log.finish()
        report("failed \(status)")
        _ = unsafe unlink("exit.reserved")
    }

    /// Ends what runc has begun, and leaves word that the node had no right to it.
    ///
    /// All of it are children of this process by then: it takes the orphans, be they runc's, CRIU's or the container's own.
    private mutating func finishFencedStart() {
        var status: Int32 = 0
        while true {
            let ended = unsafe waitpid(-1, &status, WNOHANG)
            if ended > 0 || (ended < 0 && errno == EINTR) { continue }
            if ended < 0 { break }
            for child in children() { kill(child, SIGKILL) }
            _ = copyOutput(orUntil: -1, timeout: 10)
        }
        let moment = wallClockNanoseconds()
        drain()
        recordExit(nil, at: moment, isFenced: true)
        report("fenced")
    }

    private func report(_ line: String) { writeAll(Array((line + "\n").utf8), to: Self.reportDescriptor) }

    // MARK: Waiting and copying

    /// How a child ended.
    private struct End {
        /// Its wait status, or nil when someone else was its parent.
        var status: Int32?
        /// Whether it was the fence that killed it.
        var isFenced: Bool
    }

    /// Copies output until the child has ended, which it is made to do when the fence closes.
    private mutating func wait(for child: pid_t) -> End {
        let watch = godwit_pidfd_open(child)
        defer { if watch >= 0 { close(watch) } }
        var isKilled = false
        var status: Int32 = 0
        while true {
            if !isKilled, fence.hasClosed() {
                isKilled = true
                if watch < 0 || godwit_pidfd_send_signal(watch, SIGKILL) != 0 { kill(child, SIGKILL) }
            }
            // Without a descriptor that tells of the end (all are in use), it is asked for now and then.
            let hasEnded = copyOutput(orUntil: watch, timeout: watch < 0 ? 200 : fence.timeout)
            if !hasEnded, watch >= 0 { continue }
            let reaped = unsafe waitpid(child, &status, hasEnded ? 0 : WNOHANG)
            if reaped == child {
                // One that ended by itself in the last moment was not the fence's.
                return End(status: status, isFenced: isKilled && status & 0x7f == SIGKILL)
            }
            if reaped < 0, errno != EINTR { return End(status: nil, isFenced: isKilled) }
        }
    }

    /// Waits for output or for `watch`; true when `watch` is ready.
    private mutating func copyOutput(orUntil watch: Int32, timeout: Int32) -> Bool {
        var waits = streams.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        waits.append(pollfd(fd: watch, events: Int16(POLLIN), revents: 0))
        waits.append(pollfd(fd: watch >= 0 ? fence.timer : -1, events: Int16(POLLIN), revents: 0))
        let ready = unsafe poll(&waits, nfds_t(waits.count), timeout)
        if ready <= 0 { return false }
        for index in streams.indices where waits[index].revents != 0 { streams[index].copy(to: &log) }
        return waits[streams.count].revents != 0
    }

    private mutating func drain() {
        let end = monotonicMilliseconds() + Self.drainLimit
        while streams.contains(where: { $0.isOpen }) {
            let left = end - monotonicMilliseconds()
            if left <= 0 { break }
            _ = copyOutput(orUntil: -1, timeout: Int32(left))
        }
        for index in streams.indices { streams[index].finish(in: &log) }
        log.finish()
    }

    // MARK: Telling how it ended

    /// Takes the space for the exit record while there is some: the disk may be full when it is needed.
    private func reserveExitRecord() {
        let file = unsafe godwit_open("exit.reserved", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { return }
        writeAll([UInt8](repeating: UInt8(ascii: "\n"), count: 256), to: file)
        close(file)
    }

    /// Writes the record where `exit.reserved` has space, and renames it: the name `exit` never stands for a part.
    private func recordExit(_ status: Int32?, at moment: Int64, isFenced: Bool) {
        let ending =
            switch status {
            case nil: "unknown"
            case .some(let status) where status & 0x7f == 0: "code \((status >> 8) & 0xff)"
            case .some(let status): "signal \(status & 0x7f)"
            }
        let record = """
            ended \(ending)
            at \(moment)
            oom-kills \(memoryKills())
            lines-dropped \(log.droppedLineCount)
            \(isFenced ? "fenced yes\n" : "")
            """
        // A minute of trying covers a disk that an administrator is clearing; the container is gone in any case.
        for _ in 0..<60 {
            if replaceFile("exit", from: "exit.reserved", with: Array(record.utf8), durably: true) { break }
            sleep(1)
        }
    }

    /// The processes that have this one as parent; runc and its kind are single threads of it, as it is itself.
    private func children() -> [pid_t] {
        let text = readFile("/proc/self/task/\(getpid())/children", limit: 1 << 16) ?? []
        return text.split(separator: UInt8(ascii: " ")).compactMap { pid_t(String(decoding: $0, as: UTF8.self)) }
    }

    private func memoryKills() -> Int {
        guard let path = specification.memoryEvents, let text = readFile(path, limit: 4096) else { return 0 }
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let words = line.split(separator: UInt8(ascii: " "))
            if words.count == 2, words[0].elementsEqual("oom_kill".utf8) {
                return Int(String(decoding: words[1], as: UTF8.self)) ?? 0
            }
        }
        return 0
    }
}
