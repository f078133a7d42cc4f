import ClusterModel
import Glibc
import LinuxSystem
import Testing

@Suite struct ProcessRunnerTests {
    private func shell(_ script: String, environment: [String]? = nil) -> ProgramCommand {
        ProgramCommand("/bin/sh", ["-c", script], environment: environment)
    }

    @Test func `collects both outputs and the exit status`() async throws {
        let result = try await ProcessRunner.run(shell("echo out; echo err >&2; exit 3"), timeout: .seconds(10))
        #expect(result.exit == .exited(code: 3))
        #expect(result.outputText == "out" && result.errorText == "err" && result.complaint == "err")
        #expect(!result.isSuccess && !result.hasTimedOut && !result.isTruncated)
    }

    @Test func `gives arguments, environment and folder as they are`() async throws {
        let command = ProgramCommand(
            "/bin/sh",
            ["-c", "printf '%s|%s|%s|' \"$1\" \"$A\" \"$HOME\"; pwd", "x", "a 'b' $c"],
            environment: ["A=1=2"],
            workingDirectory: "/usr"
        )
        let result = try await ProcessRunner.run(command, timeout: .seconds(10))
        #expect(result.outputText == "a 'b' $c|1=2||/usr")
    }

    @Test func `a program gets no descriptor but those named`() async throws {
        let secret = try OwnedDescriptor(opening: "/dev/null", O_RDONLY)
        // Opened behind our back, without close-on-exec.
        let leaked = unsafe open("/dev/null", O_RDONLY)
        defer { close(leaked) }
        let result = try await ProcessRunner.run(ProgramCommand("/bin/ls", ["/proc/self/fd"]), timeout: .seconds(10))
        // 3 is the folder that ls reads.
        #expect(result.outputText == "0\n1\n2\n3")
        _ = secret.rawValue
    }

    @Test func `named descriptors appear in their order from 3 on`() async throws {
        let first = try OwnedDescriptor.pipe()
        let second = try OwnedDescriptor.pipe()
        let pid = try ProcessRunner.spawn(
            shell("echo three >&3; echo four >&4"),
            inherited: [first.writing.rawValue, second.writing.rawValue]
        )
        #expect(try ProcessControl.waitForChild(pid) == .exited(code: 0))
        let (three, four) = (try first.reading.read(upTo: 20), try second.reading.read(upTo: 20))
        #expect(three == Array("three\n".utf8) && four == Array("four\n".utf8))
    }

    @Test func `feeds standard input, and does not mind a program that ignores it`() async throws {
        let input = [UInt8](repeating: 120, count: 1 << 20)
        let counted = try await ProcessRunner.run(
            ProgramCommand("/usr/bin/wc", ["-c"]),
            input: input,
            timeout: .seconds(10)
        )
        #expect(counted.outputText == "1048576")
        let ignored = try await ProcessRunner.run(ProgramCommand("/bin/true"), input: input, timeout: .seconds(10))
        #expect(ignored.isSuccess)
        let none = try await ProcessRunner.run(ProgramCommand("/bin/cat"), timeout: .seconds(10))
        #expect(none.isSuccess && none.output.isEmpty)
    }

    @Test func `a time limit ends the program and what it started`() async throws {
        // Long enough for a shell to say a number on a busy machine.
        let result = try await ProcessRunner.run(shell("sleep 60 & echo $!; wait"), timeout: .seconds(2))
        #expect(result.hasTimedOut && result.exit == .signalled(number: SIGKILL, hasDumpedCore: false))
        #expect(result.duration < .seconds(50))
        let child = try #require(Int32(result.outputText))
        #expect(await eventually { !(ProcessIdentity(of: child)?.isAlive ?? false) })
    }

    @Test func `keeps a bounded part of the output and reads the rest away`() async throws {
        let result = try await ProcessRunner.run(
            shell("head -c 3000000 /dev/zero; echo end >&2"),
            timeout: .seconds(20),
            outputLimit: 1000
        )
        #expect(result.isSuccess && result.isTruncated)
        #expect(result.output.count == 1000)
        #expect(result.errorText == "end")
    }

    @Test func `a daemon that keeps the pipes open does not hold us up`() async throws {
        let result = try await ProcessRunner.run(shell("sleep 30 & echo $!"), timeout: .seconds(20))
        #expect(result.isSuccess && result.duration < .seconds(10))
        kill(try #require(Int32(result.outputText)), SIGKILL)
    }

    @Test func `cancelling kills the program`() async throws {
        let folder = try TemporaryFolder()
        let script = shell("echo $$ > \(folder("pid")).new; mv \(folder("pid")).new \(folder("pid")); exec sleep 60")
        let task = Task { try await ProcessRunner.run(script, timeout: .seconds(50)) }
        #expect(await eventually { FileSystem.exists(folder("pid")) })
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        let pid = try #require(Int32(try FileSystem.readLine(folder("pid"))))
        #expect(await eventually { !(ProcessIdentity(of: pid)?.isAlive ?? false) })
    }

    @Test func `a session of its own`() async throws {
        let command = ProgramCommand("/bin/sh", ["-c", "cut -d' ' -f1,6 /proc/$$/stat"], startsSession: true)
        let words = try await ProcessRunner.run(command, timeout: .seconds(10)).outputText.split(separator: " ")
        #expect(words.count == 2 && words[0] == words[1])
    }

    @Test func `a program starts with default signals even when we ignore some`() async throws {
        signal(SIGPIPE, SIG_IGN)
        let result = try await ProcessRunner.run(
            shell("grep -E 'Sig(Ign|Blk)' /proc/self/status"),
            timeout: .seconds(10)
        )
        let masks = result.outputText.split(separator: "\n").compactMap { UInt64($0.suffix(16), radix: 16) }
        // glibc keeps 32 and 33 for itself, and ignores them in what it spawns.
        #expect(masks.count == 2 && masks.allSatisfy { $0 & ~(3 << 31) == 0 })
    }

    @Test func `a missing program is named with a remedy`() async {
        let error = await #expect(throws: SystemError.self) {
            try await ProcessRunner.run(ProgramCommand("no-such-program"), timeout: .seconds(1))
        }
        #expect(error?.code == ENOENT)
        #expect(error?.description.contains("no-such-program") ?? false)
        #expect(error?.description.contains("Install it") ?? false)
        let folder = await #expect(throws: SystemError.self) {
            try await ProcessRunner.run(ProgramCommand("/bin/true", workingDirectory: "/absent"), timeout: .seconds(1))
        }
        #expect(folder?.description.contains("/absent") ?? false)
    }

    @Test func `looks in the search path of the environment that the program gets`() throws {
        let folder = try TemporaryFolder()
        let tool = folder("tool-of-ours")
        try FileSystem.writeAtomically("#!/bin/sh\n", to: tool, mode: 0o755)
        #expect(ProcessRunner.find("tool-of-ours", in: "/bin:\(folder.path)") == tool)
        #expect(ProcessRunner.find("tool-of-ours") == nil)
        #expect(ProcessRunner.find(folder.path) == nil)
        #expect(ProcessRunner.environment.contains { $0.hasPrefix("PATH=") })
    }
}
