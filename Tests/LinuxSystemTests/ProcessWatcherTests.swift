import Glibc
import LinuxSystem
import Testing

@Suite struct ProcessWatcherTests {
    let watcher: ProcessWatcher

    init() throws { watcher = try ProcessWatcher() }

    @Test func `tells how a child ended and reaps it`() async throws {
        let pid = try ProcessRunner.spawn(ProgramCommand("/bin/sh", ["-c", "exit 5"]))
        #expect(try await watcher.exit(of: pid) == .exited(code: 5))
        #expect(kill(pid, 0) == -1)
    }

    @Test func `tells that a stranger ended, but not how`() async throws {
        let ends = try OwnedDescriptor.pipe()
        let gate = try OwnedDescriptor.pipe()
        // It ends when it is told to, so that it is still there when its identity is read.
        let parent = try ProcessRunner.spawn(
            ProgramCommand("/bin/sh", ["-c", "exec 3<&0; (read line <&3) & echo $!; wait"]),
            standardInput: gate.reading.rawValue,
            standardOutput: ends.writing.rawValue
        )
        let line = String(decoding: try ends.reading.read(upTo: 20), as: UTF8.self).prefix { $0 != "\n" }
        let number = try #require(Int32(line))
        let grandchild = try #require(ProcessIdentity(of: number))
        async let exit = watcher.exit(of: grandchild)
        try gate.writing.write([10])
        #expect(try await exit == nil)
        #expect(!grandchild.isAlive)
        #expect(try await watcher.exit(of: parent) == .exited(code: 0))
    }

    @Test func `hundreds at once, each with its own end`() async throws {
        let watcher = watcher
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for code in 0..<150 {
                let pid = try ProcessRunner.spawn(ProgramCommand("/bin/sh", ["-c", "exit \(code)"]))
                group.addTask { try await watcher.exit(of: pid) == .exited(code: Int32(code)) }
            }
            for try await isRight in group { #expect(isRight) }
        }
    }

    @Test func `waiting can be cancelled and the process goes on`() async throws {
        let pid = try ProcessRunner.spawn(ProgramCommand("/bin/sleep", ["60"]))
        let watcher = watcher
        let task = Task { try await watcher.exit(of: pid) }
        await Task.yield()
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(ProcessIdentity(of: pid)?.isAlive == true)
        kill(pid, SIGKILL)
        #expect(try await watcher.exit(of: pid) == .signalled(number: SIGKILL, hasDumpedCore: false))
    }

    @Test func `a process of the past has ended already`() async throws {
        let present = ProcessIdentity.current
        let past = ProcessIdentity(pid: present.pid, startTicks: present.startTicks + 1, boot: present.boot)
        #expect(try await watcher.exit(of: past) == nil)
        let watcher = watcher
        let error = await #expect(throws: SystemError.self) { try await watcher.exit(of: 1 << 22) }
        #expect(error?.code == ESRCH || error?.code == EINVAL)
    }
}
