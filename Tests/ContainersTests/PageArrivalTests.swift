import Checkpointing
import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Synchronization
import Testing

/// The memory of a dump, taken out of its folder and served from a copy; slowly, since a test wants to see what happens before all is there.
final class FilePages: PageSource {
    struct Gone: Error {}

    let memory: DumpedMemory
    private let folder: String
    /// Reads after which the next one fails.
    private let limit: Mutex<Int>
    private let closings = Atomic(0)
    private let isHeldUp = Atomic(true)

    init(takenOutOf images: String, keptIn folder: String, readLimit: Int = .max) throws {
        self.folder = folder
        limit = Mutex(readLimit)
        var (files, sizes): ([String: [UInt8]], [String: UInt64]) = ([:], [:])
        for name in try FileSystem.list(images) {
            sizes[name] = UInt64(FileSystem.status("\(images)/\(name)")?.size.rawValue ?? 0)
            if DumpedMemory.isWanted(name) { files[name] = try FileSystem.read("\(images)/\(name)") }
        }
        memory = try DumpedMemory(files: files, sizes: sizes)
        try FileSystem.createFolder(folder)
        for map in memory.processes.values {
            let name = map.pagesFile
            try FileSystem.move("\(images)/\(name)", to: "\(folder)/\(name)")
            let rest = try OwnedDescriptor(opening: "\(images)/\(name)", O_WRONLY | O_CREAT)
            #expect(ftruncate(rest.rawValue, Int(map.fileLength)) == 0)
            for run in map.runs where run.flags == .present {
                lseek(rest.rawValue, Int(run.offset), SEEK_SET)
                try rest.write(bytes(of: name, at: run.offset, count: Int(run.byteCount)))
            }
        }
    }

    private func bytes(of name: String, at offset: UInt64, count: Int) throws -> [UInt8] {
        let file = try OwnedDescriptor(opening: "\(folder)/\(name)", O_RDONLY)
        lseek(file.rawValue, Int(offset), SEEK_SET)
        var bytes: [UInt8] = []
        while bytes.count < count { bytes += try file.read(upTo: count - bytes.count) }
        return bytes
    }

    var byteCount: ByteCount { .bytes(Int64(memory.deferrableBytes)) }
    var isClosed: Bool { closings.load(ordering: .relaxed) == 1 }

    func read(process: UInt64, address: UInt64, pageCount: UInt64, into output: inout [UInt8]) throws -> Int {
        let isOver = limit.withLock { limit in
            limit -= 1
            return limit < 0
        }
        guard !isOver, let map = memory.processes[process],
            let found = map.place(of: address, pageCount: min(pageCount, 64))
        else { throw Gone() }
        // What CRIU fetches of its own accord comes slowly, what the container waits for at once.
        if pageCount > 1, isHeldUp.load(ordering: .relaxed) { _ = poll(nil, 0, 50) }
        output += try bytes(of: map.pagesFile, at: found.offset, count: Int(found.pageCount) * 4096)
        return Int(found.pageCount)
    }

    func release() { isHeldUp.store(false, ordering: .relaxed) }
    /// Lets so many more reads have what they ask for.
    func end(afterReads count: Int) { limit.withLock { $0 = count } }
    func prefetch(process: UInt64, address: UInt64) {}
    func close() { closings.add(1, ordering: .relaxed) }
}

@Suite struct PageArrivalTests {
    /// A container of two processes, dumped and gone, and what its memory is served from.
    private func dumped(
        _ node: TestNode,
        megabytes: Int,
        readLimit: Int = .max
    ) async throws -> (request: Containers.RestoreRequest, pages: FilePages) {
        let first = try await node.runtime.start(node.request("a-1", ["/probe", "remember", "\(megabytes)"]))
        _ = try await node.line(of: first.id) { $0 == "count 3" }
        var options = CheckpointOptions(folder: try node.memoryFolder())
        options.afterwards = .kill
        _ = try await node.runtime.checkpoint(first.id, options)
        try await node.runtime.remove(first.id)
        let pages = try FilePages(
            takenOutOf: "\(options.folder)/images",
            keptIn: "\(options.folder)/kept",
            readLimit: readLimit
        )
        var request = Containers.RestoreRequest(
            id: ContainerID(rawValue: "a-2"),
            image: node.image,
            folder: options.folder
        )
        request.pages = pages
        return (request, pages)
    }

    private func place(_ node: TestNode, _ file: String) throws {
        try FileSystem.writeAtomically("", to: "\(node.folder)/state/containers/a-2/bundle/rootfs/data/\(file)")
    }

    @Test func `A container runs before its memory is there, and all of it arrives`() async throws {
        try await TestNode.run { node in
            #expect(node.runtime.lazyRestoreObstacle == nil)
            let (request, pages) = try await dumped(node, megabytes: 24)
            #expect(pages.byteCount >= .mebibytes(48))
            let running = try await node.runtime.restore(request)
            let arrival = try #require(node.runtime.arrival(of: running.id))
            #expect(arrival.bytesServed < pages.byteCount && !arrival.hasEnded)
            #expect(try await node.line(of: running.id) { $0.hasPrefix("count") } != nil)
            #expect(FileSystem.exists("\(node.folder)/state/containers/a-2/pages"))
            pages.release()
            // CRIU's own work in the container's cgroup is not the container's.
            #expect(node.runtime.restoreTime(of: running.id) > .zero)
            try place(node, "verify")
            try place(node, "verify-child")
            var said: Set<String> = []
            for await line in try node.runtime.logs(of: running.id).follow() where line.text.hasSuffix("wrong") {
                said.insert(line.text)
                if said.count == 2 { break }
            }
            #expect(said == ["parent 0 wrong", "child 0 wrong"])
            guard case .complete = await arrival.end().result else {
                Issue.record("\(await arrival.end())")
                return
            }
            #expect(pages.isClosed && arrival.hasEnded)
            // The shim takes the mark away when CRIU's daemon has ended.
            while FileSystem.exists("\(node.folder)/state/containers/a-2/pages") {
                try await Task.sleep(for: .milliseconds(5))  // polls: the mark that the shim removes
            }
            try place(node, "stop")
            #expect(try await node.runtime.exit(of: running.id).cause == .code(7))
        }
    }

    @Test func `Memory that cannot be had ends the container before it sees anything else in its place`() async throws {
        try await TestNode.run { node in
            let (request, pages) = try await dumped(node, megabytes: 16)
            let running = try await node.runtime.restore(request)
            // Not before: a restore that takes long on a busy machine has read this many when it is done.
            pages.end(afterReads: 60)
            try place(node, "verify")
            try place(node, "verify-child")
            let exit = try await node.runtime.exit(of: running.id)
            #expect(exit.isMemoryLost && exit.cause == .signal(SIGKILL))
            let arrival = try #require(node.runtime.arrival(of: running.id))
            #expect(arrival.failure is FilePages.Gone && pages.isClosed)
            let wrong = try node.runtime.logs(of: running.id).tail(1000).lines.filter { $0.text.hasSuffix("wrong") }
            #expect(wrong.isEmpty)
            let second = try ContainerRuntime(node.configuration, slice: node.slice, criu: node.runtime.criu)
            #expect(try await second.adopt().map(\.state) == [.exited(exit)])
        }
    }

    @Test func `The container ends before the program that fetches its memory is gone`() async throws {
        try await TestNode.run { node in
            let (request, _) = try await dumped(node, megabytes: 48)
            let running = try await node.runtime.restore(request)
            try place(node, "verify")
            try place(node, "verify-child")
            // CRIU's daemon is the shim's only other child.
            let shim = try FileSystem.readText("\(node.folder)/state/containers/a-2/shim").split(separator: " ")[1]
            let children = try FileSystem.readText("/proc/\(shim)/task/\(shim)/children").split(separator: " ")
            let daemon = try #require(children.compactMap { Int32($0) }.first { $0 != running.process.pid })
            #expect(try FileSystem.readText("/proc/\(daemon)/cmdline").contains("lazy-pages"))
            #expect(kill(daemon, SIGKILL) == 0)
            let exit = try await node.runtime.exit(of: running.id)
            #expect(exit.isMemoryLost)
            let wrong = try node.runtime.logs(of: running.id).tail(1000).lines.filter { $0.text.hasSuffix("wrong") }
            #expect(wrong.isEmpty)
            #expect(ProcessIdentity(of: daemon)?.isAlive != true)
        }
    }

    @Test func `A container may end by itself before all of its memory has arrived`() async throws {
        try await TestNode.run { node in
            let (request, pages) = try await dumped(node, megabytes: 48)
            let running = try await node.runtime.restore(request)
            try place(node, "stop")
            let exit = try await node.runtime.exit(of: running.id)
            #expect(exit.cause == .code(7) && !exit.isMemoryLost)
            let arrival = try #require(node.runtime.arrival(of: running.id))
            if case .failed(let error) = await arrival.end().result { Issue.record(error) }
            #expect(pages.isClosed)
        }
    }

    @Test func `A restore whose memory cannot be had at all fails with what its source says`() async throws {
        try await TestNode.run { node in
            let (request, pages) = try await dumped(node, megabytes: 4, readLimit: 0)
            await #expect(throws: FilePages.Gone.self) {
                let running = try await node.runtime.restore(request)
                // The first page may be asked for only after the first process runs.
                #expect(try await node.runtime.exit(of: running.id).isMemoryLost)
                throw try #require(node.runtime.arrival(of: running.id)?.failure)
            }
            #expect(pages.isClosed)
            // CRIU was killed with the container's root, and hierarchies of cgroups, mounted in folders of its own.
            try await node.runtime.remove(request.id)
            let mounts = try FileSystem.readText("/proc/self/mountinfo").split(separator: "\n")
            #expect(
                mounts.filter { $0.contains("/a-2/") || $0.contains("/.removed-a-2/") }.filter {
                    $0.contains(node.folder)
                } == []
            )
            #expect(try FileSystem.list("\(node.folder)/state/containers").isEmpty)
        }
    }
}

/// A container moves to another one while most of its memory stays where it was, until it is asked for.
@Suite struct FrozenMemoryTests {
    @Test func `A container goes on elsewhere before its memory has left, and all of it comes`() async throws {
        try await TestNode.run { node in
            let first = try await node.runtime.start(node.request("a-1", ["/probe", "remember", "24"]))
            _ = try await node.line(of: first.id) { $0 == "count 3" }
            let folder = try node.memoryFolder()
            let (dump, memory) = try await node.runtime.dumpLazily(first.id, folder: folder)
            #expect(dump.imagesBytes < .mebibytes(2), "all but the memory")
            #expect(memory.byteCount >= .mebibytes(48))
            var request = Containers.RestoreRequest(id: ContainerID(rawValue: "a-2"), image: node.image, folder: folder)
            request.pages = memory
            let second = try await node.runtime.restore(request)
            let arrival = try #require(node.runtime.arrival(of: second.id))
            for file in ["verify", "verify-child"] {
                try FileSystem.writeAtomically("", to: "\(node.folder)/state/containers/a-2/bundle/rootfs/data/\(file)")
            }
            var said: Set<String> = []
            for await line in try node.runtime.logs(of: second.id).follow() where line.text.hasSuffix("wrong") {
                said.insert(line.text)
                if said.count == 2 { break }
            }
            #expect(said == ["parent 0 wrong", "child 0 wrong"])
            guard case .complete = await arrival.end().result else {
                Issue.record("\(await arrival.end())")
                return
            }
            try await memory.complete()
            try await node.runtime.kill(first.id)
            #expect(try await node.runtime.exit(of: first.id).cause == .signal(SIGKILL))
            try await node.runtime.remove(first.id)
            #expect(second.process.isAlive)
        }
    }

    @Test func `When the agent is gone, the container stands still as it was`() async throws {
        try await TestNode.run { node in
            let first = try await node.runtime.start(node.request("a-1", ["/probe", "remember", "4"]))
            _ = try await node.line(of: first.id) { $0 == "count 3" }
            let folder = try node.memoryFolder()
            // Its descriptors go with it, and the guard says what an agent that is killed cannot.
            _ = try await node.runtime.dumpLazily(first.id, folder: folder)
            while try FileSystem.readText("\(folder)/work/dump.log", limit: 1 << 20).contains("Dumping FAILED") == false
            {
                try await Task.sleep(for: .milliseconds(10))  // polls: CRIU says so in its log
            }
            while try !node.runtime.cgroup(of: first.id).isFrozen() {
                try await Task.sleep(for: .milliseconds(10))  // polls: CRIU freezes it as the last thing
            }
            let end = try node.runtime.logs(of: first.id).tail(1).end
            try await node.runtime.thaw(first.id)
            #expect(try await node.line(of: first.id, after: end) { $0.hasPrefix("count") } != nil)
            #expect(first.process.isAlive)
        }
    }

    @Test func `A move that is called off leaves the container as it was`() async throws {
        try await TestNode.run { node in
            let first = try await node.runtime.start(node.request("a-1", ["/probe", "remember", "4"]))
            _ = try await node.line(of: first.id) { $0 == "count 3" }
            let folder = try node.memoryFolder()
            let (_, memory) = try await node.runtime.dumpLazily(first.id, folder: folder)
            var request = Containers.RestoreRequest(id: ContainerID(rawValue: "a-2"), image: node.image, folder: folder)
            request.pages = memory
            let second = try await node.runtime.restore(request)
            // What has already run elsewhere must be gone before the original goes on.
            try await node.runtime.remove(second.id)
            await memory.abort()
            #expect(try node.runtime.cgroup(of: first.id).isFrozen())
            let end = try node.runtime.logs(of: first.id).tail(1).end
            try await node.runtime.thaw(first.id)
            #expect(try await node.line(of: first.id, after: end) { $0.hasPrefix("count") } != nil)
            #expect(first.process.isAlive)
            var bytes: [UInt8] = []
            #expect(throws: ContainerError.self) {
                try memory.read(process: 1, address: 4096, pageCount: 1, into: &bytes)
            }
            // And it can be dumped again.
            _ = try await node.runtime.checkpoint(first.id, CheckpointOptions(folder: folder))
        }
    }

    /// Programs of a dump that are killed while they hold the memory.
    enum Victim: String, CaseIterable { case criu, runc, shim }

    @Test(arguments: Victim.allCases, [true, false])
    func `Whoever is killed while memory is held, the container stands still until its end or its thaw`(
        victim: Victim,
        isElsewhere: Bool
    ) async throws {
        try await TestNode.run { node in
            let first = try await node.runtime.start(node.request("a-1", ["/probe", "remember", "4"]))
            _ = try await node.line(of: first.id) { $0 == "count 3" }
            let folder = try node.memoryFolder()
            let (_, memory) = try await node.runtime.dumpLazily(first.id, folder: folder)
            let log = try node.runtime.logs(of: first.id)
            // What it said last may still be on its way through the shim.
            var end: LogPosition
            repeat {
                end = try log.tail(1).end
                try await Task.sleep(for: .milliseconds(50))  // polls: the log that the shim writes
            } while try log.tail(1).end != end
            let pid = try #require(try Self.process(victim, of: first.id, dumpedInto: folder, node))
            #expect(kill(pid, SIGKILL) == 0)
            // It counts every 10 ms.
            try await Task.sleep(for: .milliseconds(500))  // polls: nothing is to happen
            #expect(log.next(&end).map(\.text) == [], "it runs on")
            #expect(try node.runtime.cgroup(of: first.id).isFrozen())
            var bytes: [UInt8] = []
            if victim == .criu {
                #expect(throws: ContainerError.self) {
                    try memory.read(process: 1, address: 4096, pageCount: 1, into: &bytes)
                }
            }
            if isElsewhere {
                // Also of a memory that cannot be had any more nothing stays.
                try? await memory.complete()
                #expect(!first.process.isAlive)
            } else {
                await memory.abort()
                try await node.runtime.thaw(first.id)
                // Without its shim nobody takes what it says.
                guard victim != .shim else { return }
                #expect(try await node.line(of: first.id, after: end) { $0.hasPrefix("count") } != nil)
            }
        }
    }

    private static func process(
        _ victim: Victim,
        of id: ContainerID,
        dumpedInto folder: String,
        _ node: TestNode
    ) throws -> Int32? {
        func command(_ pid: String) -> String {
            String(decoding: (try? FileSystem.read("/proc/\(pid)/cmdline")) ?? [], as: UTF8.self)
        }
        return try FileSystem.list("/proc").first { pid in
            let program = (try? FileSystem.readLine("/proc/\(pid)/comm")) ?? ""
            switch victim {
            case .criu:
                // runc tells it by messages what to do: whose it is, only its parent shows.
                guard command(pid).contains("swrk"), let status = try? FileSystem.readText("/proc/\(pid)/status"),
                    let line = status.split(separator: "\n").first(where: { $0.hasPrefix("PPid:") })
                else { return false }
                return command(String(line.dropFirst(6))).contains(folder)
            case .runc: return program == "runc" && command(pid).contains(folder)
            case .shim:
                return program == "godwit-shim" && command(pid).contains("\(node.folder)/state/containers/\(id)")
            }
        }.flatMap { Int32($0) }
    }
}
