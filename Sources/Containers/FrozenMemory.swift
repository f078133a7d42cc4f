package import Checkpointing
package import ClusterModel
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// Where a lazy dump puts what it is to hand out.
final class FrozenMemorySlot: Sendable {
    private let memory = Mutex<FrozenMemory?>(nil)

    func put(_ found: FrozenMemory) { memory.withLock { $0 = found } }

    /// What was put in; nil afterwards.
    func take() -> FrozenMemory? {
        memory.withLock { memory in
            defer { memory = nil }
            return memory
        }
    }
}

extension CheckpointOptions {
    /// What CRIU is told in a lazy dump: the descriptor of the stream on which it hands out pages.
    ///
    /// runc has no option for that. What it inherits it passes on, except that 3 becomes its own connection to CRIU.
    var lazyOptions: String { frozenMemory == nil ? "" : "ps-socket \(FrozenMemory.descriptor)\n" }
}

/// The memory of a container that stands still, handed out page by page by the CRIU that has dumped all else of it.
///
/// The container is CRIU's until ``complete()`` or ``abort()``. When the agent ends before, its ``DumpGuard`` lets go of it as ``abort()`` does: it stands still, as it was, and what becomes
/// of it is for the next agent to find out. What runs elsewhere by then cannot get its pages any more, and is ended there.
///
/// The container is stopped twice: each thread by CRIU's ptrace, which ends with CRIU, and all by its cgroup's freezer, which does not. So it does not run on beside its copy when somebody, or the
/// kernel for want of memory, kills CRIU.
package final class FrozenMemory: PageSource {
    /// The number of the stream in CRIU.
    static let descriptor = 5

    package let byteCount: ByteCount
    private let socket: Mutex<Int32?>
    private let process: Int32
    private let dumpGuard: DumpGuard
    private let cgroup: Cgroup
    /// What of the dump may outlive runc.
    private let remains: InterruptedDump?
    private let watcher: ProcessWatcher
    private let timeout: Duration

    init(
        socket: Int32,
        process: Int32,
        of cgroup: Cgroup,
        remains: InterruptedDump?,
        guardedBy dumpGuard: DumpGuard,
        byteCount: ByteCount,
        watcher: ProcessWatcher,
        timeout: Duration
    ) {
        (self.byteCount, self.process, self.watcher, self.timeout) = (byteCount, process, watcher, timeout)
        (self.dumpGuard, self.cgroup, self.remains) = (dumpGuard, cgroup, remains)
        self.socket = Mutex(socket)
    }

    // The guard ends with the descriptor that it reads from, and refuses.
    deinit { if let socket = takeSocket() { Glibc.close(socket) } }

    package func read(process: UInt64, address: UInt64, pageCount: UInt64, into output: inout [UInt8]) throws -> Int {
        let request = PageServerMessage(
            .get,
            pageCount: min(pageCount, Self.requestLimit),
            address: address,
            owner: process
        )
        return try socket.withLock { socket in
            guard let socket else { throw Self.gone }
            guard try StreamSocket.write(request.encoded(), to: socket, within: timeout),
                let header = try StreamSocket.read(PageServerMessage.byteCount, from: socket, within: timeout)
            else { throw Self.gone }
            let answer = try PageServerMessage.decode(header.span)
            guard answer.command == .addWithFlags, answer.address == address, answer.owner == process,
                answer.pageCount <= request.pageCount
            else {
                throw CRIUImageError(
                    place: "CRIU's answer about address \(address)",
                    problem: "it is about something else"
                )
            }
            let length = Int(answer.pageCount) * ImageIndex.pageBytes
            guard let bytes = try StreamSocket.read(length, from: socket, within: timeout) else { throw Self.gone }
            output += bytes
            return Int(answer.pageCount)
        }
    }

    /// CRIU hands pages out through a pipe, which it can make 3 MiB long.
    private static let requestLimit: UInt64 = 512

    package func prefetch(process: UInt64, address: UInt64) {}

    /// Nothing: what becomes of the container is for ``complete()`` or ``abort()`` to say.
    package func close() {}

    /// Every page is where the job goes on: tells CRIU to end the container that stood still, kills it, and waits until CRIU has gone.
    ///
    /// The caller removes it then: runc complains when the container's end takes a moment, and is not asked whether it was content.
    package func complete() async throws {
        guard let socket = takeSocket() else { return }
        // First: what it says would be taken for more of what is said here.
        await dumpGuard.dismiss()
        let answer = await onThread { [timeout] () -> [UInt8]? in
            defer { Glibc.close(socket) }
            let message = PageServerMessage(.forceClose).encoded()
            guard (try? StreamSocket.write(message, to: socket, within: timeout)) == true else { return nil }
            return (try? StreamSocket.read(4, from: socket, within: timeout)) ?? nil
        }
        // CRIU waits until all of it is dead, which nothing frozen can be in version 1 of cgroups.
        try? await cgroup.kill()
        await endOfDump()
        guard answer == [0, 0, 0, 0] else { throw Self.gone }
    }

    /// Lets go of the container, which is as it was: it stands still until it is thawed.
    package func abort() async {
        guard let socket = takeSocket() else { return }
        await dumpGuard.dismiss()
        await onThread {
            // Upon the end of the stream it would end the container, as if all were elsewhere.
            _ = try? StreamSocket.write(DumpGuard.nonsense, to: socket, within: .seconds(5))
            Glibc.close(socket)
        }
        // CRIU freezes the cgroup as the last thing, and a thaw has to come after that.
        await endOfDump()
    }

    /// Returns when runc and CRIU have ended; runc ends after CRIU unless it is killed.
    private func endOfDump() async {
        if case .exited? = try? await watcher.exit(of: process) { return }
        try? await remains?.end(by: MonotonicClock.nanoseconds() + Duration.seconds(5).nanoseconds)
    }

    private func takeSocket() -> Int32? {
        socket.withLock { socket in
            defer { socket = nil }
            return socket
        }
    }

    private static let gone = ContainerError(
        .checkpointFailed,
        "The CRIU that holds the memory of a container does not answer any more.",
        remedy: "The job goes on from its last checkpoint; look at the memory and at the kernel's log of this node."
    )
}

extension ContainerRuntime {
    /// Dumps all of a container but most of its memory, which stays where it is until it is asked for; the container stands still.
    ///
    /// What the folder gets is what ``checkpoint(_:_:)`` puts there, small whatever the container's size, and fit for a restore that has the memory as its
    /// ``RestoreRequest/pages``. On failure the container runs on as before.
    package func dumpLazily(
        _ id: ContainerID,
        folder: String,
        tcpEstablished: Bool = false
    ) async throws -> (dump: CheckpointDump, memory: FrozenMemory) {
        if let obstacle = lazyRestoreObstacle {
            throw ContainerError(
                .checkpointObstructed,
                "No container can be moved before its memory on this node: \(obstacle).",
                remedy: "Move it with all of its memory."
            )
        }
        var options = CheckpointOptions(folder: folder, afterwards: .stayFrozen, tcpEstablished: tcpEstablished)
        let slot = FrozenMemorySlot()
        options.frozenMemory = slot
        let dump = try await checkpoint(id, options)
        guard let memory = slot.take() else { preconditionFailure("a lazy dump has no memory") }
        return (dump, memory)
    }

    /// Has runc and CRIU dump what is not memory, and returns as soon as CRIU is ready to hand that out.
    func dumpLazily(
        _ id: ContainerID,
        _ folder: String,
        _ arguments: [String],
        into slot: FrozenMemorySlot
    ) async throws -> Duration {
        try explaining("preparing pipes for pages") { () throws(SystemError) in
            try KernelPipes.allow(byteCount: 4 << 20)
        }
        let cgroup = try cgroup(of: id)
        let start = MonotonicClock.nanoseconds()
        // runc wants an address, which CRIU does not use when it has a descriptor.
        let command =
            [runc.path] + arguments
            + ["--lazy-pages", "--page-server", "127.0.0.1:1", "--status-fd", "4", id.rawValue]
        let (program, environment) = (command[0], ["PATH=\(searchPath)", "HOME=/root"])
        let watcher = watcher
        let spawned: (pid: Int32, status: Int32, socket: Int32, guard: DumpGuard) = try explaining("starting runc") {
            () throws(SystemError) in
            let null = try OwnedDescriptor(opening: "/dev/null", O_RDWR)
            return try OwnedDescriptor.pipe().take { (reading, writing) throws(SystemError) in
                let socket = try OwnedDescriptor.streamPair().take { (ours, theirs) throws(SystemError) in
                    let dumpGuard = try DumpGuard(of: ours.rawValue, watcher: watcher)
                    let pid = try ProcessRunner.spawn(
                        ProgramCommand(
                            program,
                            Array(command.dropFirst()),
                            environment: environment,
                            startsSession: true
                        ),
                        inherited: [null.rawValue, writing.rawValue, theirs.rawValue]
                    )
                    return (pid, ours.release(), dumpGuard)
                }
                return (socket.0, reading.release(), socket.1, socket.2)
            }
        }
        let timeout = configuration.checkpointTimeout
        let isReady = await onThread {
            defer { close(spawned.status) }
            return (try? StreamSocket.read(1, from: spawned.status, within: timeout)) ?? nil != nil
        }
        guard isReady else {
            close(spawned.socket)
            _ = Glibc.kill(-spawned.pid, SIGKILL)
            await spawned.guard.dismiss()
            _ = try? await watcher.exit(of: spawned.pid)
            let log = (try? FileSystem.readText("\(folder)/work/runc.log", limit: 1 << 20)) ?? ""
            throw CRIULog.failure(
                .checkpointFailed,
                "The container \(id) could not be dumped and runs on",
                log: "\(folder)/work/dump.log",
                complaint: RuntimeLog.lastError(in: log) ?? ""
            )
        }
        slot.put(
            FrozenMemory(
                socket: spawned.socket,
                process: spawned.pid,
                of: cgroup,
                remains: InterruptedDump(try self.folder(of: id), runc: runc),
                guardedBy: spawned.guard,
                byteCount: Self.remainingBytes(in: "\(folder)/images"),
                watcher: watcher,
                timeout: configuration.pageTimeout
            )
        )
        // CRIU has thawed the cgroup for its own code, of which nothing is left to run.
        try await cgroup.freeze()
        return .nanoseconds(MonotonicClock.nanoseconds() - start)
    }

    private static func remainingBytes(in images: String) -> ByteCount {
        .bytes(Int64(clamping: (try? dumpedMemory(in: images).remainingBytes) ?? 0))
    }

    /// What the page maps of a dump say that it has, and what it lacks.
    package static func dumpedMemory(in images: String) throws -> DumpedMemory {
        var (files, sizes): ([String: [UInt8]], [String: UInt64]) = ([:], [:])
        for name in try FileSystem.list(images) {
            sizes[name] = UInt64(clamping: FileSystem.status("\(images)/\(name)")?.size.rawValue ?? 0)
            if DumpedMemory.isWanted(name) { files[name] = try FileSystem.read("\(images)/\(name)", limit: 256 << 20) }
        }
        return try DumpedMemory(files: files, sizes: sizes)
    }
}
