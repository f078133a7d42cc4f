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
    /// What fetches the container's memory; nil when all of it is there, or has arrived.
    private var fetcher: PageFetcher?

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
        if !specification.pagesCommand.isEmpty {
            fetcher = PageFetcher(specification)
            if fetcher == nil { return finishFailedStart(-1) }
        }
        let start = wait(for: startRuntime())
        if start.isFenced { return finishFencedStart() }
        guard start.status == 0, fetcher?.hasFailed != true else { return finishFailedStart(start.status ?? -1) }
        guard let text = readFile(specification.processFile, limit: 64),
            let first = pid_t(String(decoding: text.filter { $0 > 32 }, as: UTF8.self))
        else { return finishFailedStart(-1) }
        announce(first)
        let end = wait(for: first)
        let moment = wallClockNanoseconds()
        // With the first process all of its PID namespace have ended.
        fetcher?.end()
        drain()
        recordExit(end, at: moment)
        report("ended")
    }

    // MARK: Starting

    /// Leaves the agent's session and takes the orphans of runc, so that the container's first process becomes a child.
    private func detach() {
        setsid()
        _ = godwit_set_subreaper(1)
        for number in ignoredSignals { signal(number, SIG_IGN) }
        let null = unsafe godwit_open("/dev/null", O_RDWR | O_CLOEXEC, 0)
        for number: Int32 in 0...2 { dup2(null, number) }
        _ = fcntl(Self.reportDescriptor, F_SETFD, FD_CLOEXEC)
    }

    /// Starts runc with the pipes as output; runc's own log goes to a file, so only its last words meet the container's.
    private mutating func startRuntime() -> pid_t {
        var writing: [Int32] = []
        for name in ["stdout", "stderr"] {
            var ends: (Int32, Int32) = (-1, -1)
            guard unsafe godwit_pipe(&ends.0, &ends.1) == 0 else {
                fetcher?.end()
                fail("cannot make a pipe: error \(errno)")
            }
            _ = godwit_set_blocking(ends.0, 0)
            streams.append(OutputStream(name: name, descriptor: ends.0))
            writing.append(ends.1)
        }

        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, writing[0], 1)
        unsafe posix_spawn_file_actions_adddup2(&actions, writing[1], 2)
        let started = unsafe spawn(specification.command, &actions, searchPath: specification.searchPath)
        for end in writing { close(end) }
        guard let child = started.pid else {
            report("failed \(started.failure) cannot start \(specification.command[0])")
            fetcher?.end()
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
        if fetcher != nil {
            // What has been made of the container may not outlive the fetcher.
            while fetcher?.killContainer() == false { usleep(5000) }
            fetcher?.end()
        }
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
        while fetcher?.killContainer() == false { usleep(5000) }
        while true {
            let ended = unsafe waitpid(-1, &status, WNOHANG)
            // The fetcher, held in its exit: the container's processes were killed before.
            if ended > 0, status & 0xFF == 0x7F { godwit_trace_continue(ended, 0) }
            if ended > 0 || (ended < 0 && errno == EINTR) { continue }
            if ended < 0 { break }
            for child in children() { kill(child, SIGKILL) }
            _ = copyOutput(orUntil: -1, timeout: 10)
        }
        let moment = wallClockNanoseconds()
        drain()
        recordExit(End(status: nil, isFenced: true, isLost: false), at: moment)
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
        /// Whether it was killed because memory of it could not be had.
        var isLost: Bool
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
            fetcher?.look()
            let isLost = fetcher?.hasFailed == true
            if isLost {
                // The first process before all others: it must not see them die and end by itself.
                if watch < 0 || godwit_pidfd_send_signal(watch, SIGKILL) != 0 { kill(child, SIGKILL) }
                _ = fetcher?.killContainer()
            }
            // Without a descriptor that tells of the end (all are in use), it is asked for now and then.
            let hasEnded = copyOutput(orUntil: watch, timeout: isLost ? 5 : watch < 0 ? 200 : fence.timeout)
            if !hasEnded, watch >= 0 { continue }
            let reaped = unsafe waitpid(child, &status, hasEnded ? 0 : WNOHANG)
            if reaped == child {
                // One that ended by itself in the last moment was not the fence's.
                let wasKilled = status & 0x7f == SIGKILL
                return End(status: status, isFenced: isKilled && wasKilled, isLost: isLost && wasKilled)
            }
            if reaped < 0, errno != EINTR { return End(status: nil, isFenced: isKilled, isLost: isLost) }
        }
    }

    /// Waits for output or for `watch`; true when `watch` is ready.
    private mutating func copyOutput(orUntil watch: Int32, timeout: Int32) -> Bool {
        var waits = streams.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        waits.append(pollfd(fd: watch, events: Int16(POLLIN), revents: 0))
        waits.append(pollfd(fd: watch >= 0 ? fence.timer : -1, events: Int16(POLLIN), revents: 0))
        waits.append(pollfd(fd: watch >= 0 ? fetcher?.events ?? -1 : -1, events: Int16(POLLIN), revents: 0))
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
    private func recordExit(_ end: End, at moment: Int64) {
        let ending =
            switch end.status {
            case nil: "unknown"
            case .some(let status) where status & 0x7f == 0: "code \((status >> 8) & 0xff)"
            case .some(let status): "signal \(status & 0x7f)"
            }
        let record = """
            ended \(ending)
            at \(moment)
            oom-kills \(memoryKills())
            lines-dropped \(log.droppedLineCount)
            \(end.isFenced ? "fenced yes\n" : "")\(end.isLost ? "pages lost\n" : "")
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
