import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Testing

@Suite struct ContainerRuntimeTests {
    @Test func `A program's exit code is the container's, and its output is kept`() async throws {
        try await TestNode.run { node in
            let (exit, output) = try await node.runToEnd("a-1", ["exit", "7"])
            #expect(exit.cause == .code(7))
            #expect(!exit.isSuccess && exit.memoryKillCount == 0)
            #expect(output.isEmpty)
            let (good, lines) = try await node.runToEnd("a-2", ["print", "3"])
            #expect(good.isSuccess)
            #expect(lines.sorted() == ["line 0", "line 1", "line 2", "no line end"])
        }
    }

    @Test func `A signal that ends the program is told as such`() async throws {
        try await TestNode.run { node in
            let (exit, _) = try await node.runToEnd("a-1", ["abort"])
            // The first process of a pid namespace cannot be ended by its own abort's signal, so it may fall back to SIGSEGV.
            guard case .signal = exit.cause else {
                Issue.record("ended with \(exit.cause)")
                return
            }
            let running = try await node.runtime.start(node.request("a-2", ["/probe", "wait"]))
            try await node.runtime.kill(running.id)
            #expect(try await node.runtime.exit(of: running.id).cause == .signal(SIGKILL))
        }
    }

    @Test func `Memory over the limit is told apart from a program's own failure`() async throws {
        try await TestNode.run { node in
            let (exit, _) = try await node.runToEnd("a-1", ["memory"]) { $0.memoryLimit = .mebibytes(32) }
            #expect(exit.cause == .signal(SIGKILL))
            #expect(exit.memoryKillCount > 0)
            #expect(exit.isOutOfMemory)
        }
    }

    @Test func `Environment, working directory, user and host name are the job's over the image's`() async throws {
        try await TestNode.run { node in
            let (_, lines) = try await node.runToEnd("a-1", ["environment"]) {
                $0.image.environment = ["FROM=image", "KEEP=1"]
                $0.environment = [.init(name: "FROM", value: "job = x")]
                $0.workingDirectory = "/data"
                $0.user = "ann"
                $0.hostname = "crane"
            }
            #expect(lines.contains("FROM=job = x") && lines.contains("KEEP=1") && !lines.contains("FROM=image"))
            #expect(lines.contains { $0.hasPrefix("PATH=") })
            #expect(lines.contains("HOME=/home/ann"))
            #expect(lines.contains("cwd /data"))
            #expect(lines.contains("user 1234 1235 100"))
            #expect(lines.contains("host crane"))
            #expect(lines.contains("pid 1"))
        }
    }

    @Test func `A container gets no io_uring and no user namespace`() async throws {
        try await TestNode.run { node in
            let (_, lines) = try await node.runToEnd("a-1", ["uring"])
            #expect(lines == ["io_uring Function not implemented", "unshare Operation not permitted"])
        }
    }

    @Test func `What cannot be started leaves nothing and says what to correct`() async throws {
        try await TestNode.run { node in
            func failure(
                _ command: [String],
                _ change: (inout StartRequest) -> Void = { _ in }
            ) async throws -> ContainerError {
                let error = await #expect(throws: ContainerError.self) {
                    try await node.runtime.start(node.request("a-1", command, change))
                }
                #expect(try FileSystem.list("\(node.folder)/state/containers").isEmpty)
                #expect(try !node.runtime.cgroup(of: ContainerID(rawValue: "a-1")).exists)
                return try #require(error)
            }
            let missing = try await failure(["/nothing"])
            #expect(missing.code == .programInvalid && missing.reason.contains("/nothing"))
            #expect(try await failure(["nothing"]).code == .programInvalid)
            let text = try await failure(["/data/text"])
            #expect(text.code == .programInvalid && text.reason.contains("cannot be executed"))
            #expect(try await failure([]).code == .programInvalid)
            let user = try await failure(["/probe"]) { $0.user = "bob" }
            #expect(user.code == .settingInvalid && user.remedy.contains("ann"))
            let mount = try await failure(["/probe"]) {
                $0.mounts = [.init(source: "/does/not/exist", target: "/x", isReadOnly: true)]
            }
            #expect(mount.code == .settingInvalid && mount.reason.contains("/does/not/exist"))
            let device = try await failure(["/probe"]) { $0.devices = [.init(name: "99", files: ["/dev/nvidia99"])] }
            #expect(device.code == .deviceMissing)
        }
    }

    @Test func `Mounts show the node's folder, and a read-only one cannot be written`() async throws {
        try await TestNode.run { node in
            try FileSystem.createFolder("\(node.folder)/shared")
            try FileSystem.writeAtomically("here\n", to: "\(node.folder)/shared/file")
            let (exit, _) = try await node.runToEnd("a-1", ["count"]) {
                $0.mounts = [.init(source: "\(node.folder)/shared", target: "/data", isReadOnly: true)]
            }
            #expect(exit.cause == .code(8), "writing into a read-only mount must fail")
        }
    }

    @Test func `Stopping asks first and kills when the grace is over`() async throws {
        try await TestNode.run { node in
            let polite = try await node.runtime.start(node.request("a-1", ["/probe", "terminate"]))
            _ = try await node.line(of: polite.id) { $0 == "ready" }
            #expect(try await node.runtime.stop(polite.id, grace: .seconds(10)).cause == .code(3))
            #expect(try node.runtime.logs(of: polite.id).tail(1).lines.map(\.text) == ["terminating"])
            let stubborn = try await node.runtime.start(node.request("a-2", ["/probe", "stubborn"]))
            _ = try await node.line(of: stubborn.id) { $0 == "ready" }
            #expect(try await node.runtime.stop(stubborn.id, grace: .milliseconds(50)).cause == .signal(SIGKILL))
        }
    }

    @Test func `A container that exists is not started again, and an unknown one is named`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            let again = await #expect(throws: ContainerError.self) {
                try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            }
            #expect(again?.code == .containerExists)
            #expect(running.process.isAlive, "the first one must not be harmed")
            let unknown = await #expect(throws: ContainerError.self) {
                try await node.runtime.exit(of: ContainerID(rawValue: "b-1"))
            }
            #expect(unknown?.code == .containerMissing)
            await #expect(throws: ContainerError.self) {
                try await node.runtime.start(node.request("../x", ["/probe", "wait"]))
            }
        }
    }

    @Test func `Removing a running container leaves no process, mount, cgroup or folder`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            try await node.runtime.remove(running.id)
            #expect(!running.process.isAlive)
            #expect(try !node.runtime.cgroup(of: running.id).exists)
            #expect(try FileSystem.list("\(node.folder)/state/containers").isEmpty)
            #expect(
                try FileSystem.readText("/proc/self/mountinfo").split(separator: "\n").allSatisfy {
                    !$0.contains(node.folder)
                }
            )
            #expect(try FileSystem.list("\(node.folder)/run/runc").isEmpty)
            try await node.runtime.remove(running.id)
        }
    }
}
