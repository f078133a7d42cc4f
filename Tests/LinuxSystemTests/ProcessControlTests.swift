import Glibc
import LinuxSystem
import Testing

@Suite struct ProcessControlTests {
    @Test func `an identity is alive until its process ends, even as a zombie`() async throws {
        #expect(ProcessIdentity.current.isAlive)
        #expect(ProcessIdentity.current.pid == getpid())
        let pid = try ProcessRunner.spawn(ProgramCommand("/bin/sleep", ["60"]))
        let identity = try #require(ProcessIdentity(of: pid))
        #expect(identity.isAlive)
        try Pidfd(of: identity).signal(SIGKILL)
        #expect(await eventually { !identity.isAlive })
        // Not reaped yet, so the number is still taken.
        #expect(kill(pid, 0) == 0)
        #expect(try ProcessControl.waitForChild(pid) == .signalled(number: SIGKILL, hasDumpedCore: false))
        #expect(!identity.isAlive)
        #expect(ProcessIdentity(of: pid) != identity)
    }

    @Test func `a process that got the number later is another one`() throws {
        let present = ProcessIdentity.current
        let earlier = ProcessIdentity(pid: present.pid, startTicks: present.startTicks - 1, boot: present.boot)
        let otherBoot = ProcessIdentity(pid: present.pid, startTicks: present.startTicks, boot: "of yesterday")
        #expect(!earlier.isAlive && !otherBoot.isAlive)
        let error = #expect(throws: SystemError.self) { _ = try Pidfd(of: earlier).isAlive() }
        #expect(error?.code == ESRCH)
    }

    @Test func `a pidfd signals, tells and reaps its own process only`() throws {
        let ends = try OwnedDescriptor.pipe()
        let pid = try ProcessRunner.spawn(
            ProgramCommand("/bin/sh", ["-c", "trap 'exit 7' TERM; echo; while :; do sleep 0.01; done"]),
            standardOutput: ends.writing.rawValue
        )
        let process = try Pidfd(of: pid)
        // The line comes when the trap is set.
        _ = try ends.reading.read(upTo: 1)
        let isAlive = process.isAlive()
        #expect(isAlive)
        let early = try process.reap()
        #expect(early == nil)
        try process.signal(SIGTERM)
        while process.isAlive() { MonotonicClock.sleepThread(for: .milliseconds(1)) }
        let exit = try process.reap()
        #expect(exit == .exited(code: 7))
        let gone = #expect(throws: SystemError.self) { try process.signal(SIGTERM) }
        #expect(gone?.code == ESRCH)
        let again = #expect(throws: SystemError.self) { _ = try process.reap() }
        #expect(again?.code == ECHILD)
    }

    @Test func `a process that does not exist cannot be opened`() {
        let error = #expect(throws: SystemError.self) { _ = try Pidfd(of: 1 << 22 + 5).isAlive() }
        #expect(error.map { $0.code == ESRCH || $0.code == EINVAL } ?? false)
        #expect(ProcessIdentity(of: -1) == nil)
    }

    @Test func `a subreaper inherits orphans and reaps them`() async throws {
        try ProcessControl.becomeSubreaper()
        #expect(ProcessControl.isSubreaper)
        let result = try await ProcessRunner.run(
            ProgramCommand("/bin/sh", ["-c", "(exec sleep 0.05) >/dev/null 2>&1 & echo $!"]),
            timeout: .seconds(10)
        )
        let orphan = try #require(Int32(result.outputText))
        var exits: [ProcessExit] = []
        let isReaped = try await eventually {
            // Other tests of this process have children of their own, which are not to be taken from them.
            exits += try ProcessControl.reapOrphans { $0 != orphan }.map(\.exit)
            return !exits.isEmpty
        }
        #expect(isReaped && exits == [.exited(code: 0)])
    }

    @Test func `exits read as people say them`() {
        #expect(ProcessExit.exited(code: 3).description == "exit status 3")
        #expect(ProcessExit.signalled(number: 11, hasDumpedCore: true).description == "signal 11, core dumped")
        #expect(ProcessExit.exited(code: 0).isSuccess)
    }
}
