import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Testing

@Suite struct AdoptionTests {
    private func newRuntime(_ node: TestNode) async throws -> ContainerRuntime {
        try ContainerRuntime(node.configuration, slice: node.slice, criu: await NodeFacts.shared.value.criu)
    }

    @Test func `Another runtime finds a running container and learns its end`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "terminate"]))
            _ = try await node.line(of: running.id) { $0 == "ready" }
            let second = try await newRuntime(node)
            let adopted = try await second.adopt()
            #expect(adopted.map(\.state) == [.running(running)])
            #expect(adopted.first?.image == node.image.key)
            #expect(try await second.stop(running.id, grace: .seconds(10)).cause == .code(3))
        }
    }

    @Test func `An end that no agent saw is on record`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "terminate"]))
            _ = try await node.line(of: running.id) { $0 == "ready" }
            // No runtime takes part in this: the signal comes from outside, as when the agent is gone.
            try Pidfd(of: running.process).signal(SIGTERM)
            while try node.runtime.recordedExit(of: running.id) == nil {
                try await Task.sleep(for: .milliseconds(5))  // polls: the record that the shim writes
            }
            let second = try await newRuntime(node)
            guard case .exited(let exit) = try #require(try await second.adopt().first).state else {
                Issue.record("not recorded as ended")
                return
            }
            #expect(exit.cause == .code(3))
            #expect(try second.logs(of: running.id).tail(5).lines.map(\.text) == ["ready", "terminating"])
        }
    }

    @Test func `The shim does not end with the signals that end an agent`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "terminate"]))
            _ = try await node.line(of: running.id) { $0 == "ready" }
            let shim = try FileSystem.readText("\(node.folder)/state/containers/a-1/shim")
            let pid = try #require(
                shim.split(separator: "\n").first?.split(separator: " ").dropFirst().first.flatMap { Int32($0) }
            )
            for signal in [SIGHUP, SIGINT, SIGTERM, SIGPIPE] { try ProcessControl.signal(signal, to: pid) }
            #expect(try await node.runtime.stop(running.id, grace: .seconds(10)).cause == .code(3))
        }
    }

    @Test func `A container whose shim was killed is still found, and its end is unknown`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            let shim = try FileSystem.readText("\(node.folder)/state/containers/a-1/shim")
            let pid = try #require(
                shim.split(separator: "\n").first?.split(separator: " ").dropFirst().first.flatMap { Int32($0) }
            )
            try ProcessControl.signal(SIGKILL, to: pid)
            let second = try await newRuntime(node)
            #expect(try await second.adopt().map(\.state) == [.running(running)])
            try await second.kill(running.id)
            #expect(try await second.exit(of: running.id).cause == .unknown)
        }
    }

    @Test func `A container that vanished with the machine is lost, with the reason`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            try await node.runtime.kill(running.id)
            _ = try await node.runtime.exit(of: running.id)
            // The same folder as a crash of the machine leaves it: no record of an end, and processes of another boot.
            let folder = "\(node.folder)/state/containers/a-1"
            try FileSystem.removeAll("\(folder)/exit")
            try FileSystem.writeAtomically(
                "process 4242 17\nboot 00000000-0000-0000-0000-000000000000\n",
                to: "\(folder)/shim"
            )
            let second = try await newRuntime(node)
            let state = try #require(try await second.adopt().first).state
            #expect(state == .lost(reason: "The machine was restarted while the container ran."))
        }
    }

    @Test func `A container that was left frozen runs on with its quota when it is adopted`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "count"]) { $0.cpuLimit = 0.5 })
            _ = try await node.line(of: running.id) { $0 == "count 3" }
            var options = CheckpointOptions(folder: try node.memoryFolder())
            options.afterwards = .stayFrozen
            _ = try await node.runtime.checkpoint(running.id, options)
            let cgroup = try node.runtime.cgroup(of: running.id)
            #expect(try cgroup.isFrozen())
            #expect(try cgroup.cpuQuota() == nil)
            let second = try await newRuntime(node)
            #expect(try await second.adopt().first?.wasThawed == true)
            #expect(try !cgroup.isFrozen())
            #expect(try cgroup.cpuQuota() == 0.5)
        }
    }

    @Test func `A container whose dump goes on without its agent is adopted when the dump is over`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "count"]) { $0.cpuLimit = 0.5 })
            _ = try await node.line(of: running.id) { $0 == "count 3" }
            // A runc that does not come to the dump before this test says so.
            let hold = "\(node.folder)/hold"
            var configuration = node.configuration
            configuration.runc = "\(node.folder)/runc"
            try FileSystem.writeAtomically(
                "#!/bin/sh\n: > \(hold).seen\nwhile [ -e \(hold) ]; do sleep 0.02; done\nexec runc \"$@\"\n",
                to: configuration.runc,
                mode: 0o755
            )
            try FileSystem.writeAtomically("", to: hold)
            let first = try ContainerRuntime(
                configuration,
                slice: node.slice,
                criu: await NodeFacts.shared.value.criu
            )
            var options = CheckpointOptions(folder: try node.memoryFolder())
            // The first runtime does nothing any more after the dump, as an agent that is gone.
            options.afterwards = .stayFrozen
            let inventory = "\(options.folder)/images/inventory.img"
            let dump = Task { [options] in try await first.checkpoint(running.id, options) }
            while !FileSystem.exists("\(hold).seen") {
                try await Task.sleep(for: .milliseconds(1))  // polls: the file that the held runc writes
            }
            let second = try await newRuntime(node)
            let adoption = Task { try await second.adopt() }
            let cgroup = try node.runtime.cgroup(of: running.id)
            for _ in 0..<30 {
                try #require(try cgroup.isFrozen(), "adoption must wait for the dump")
                try await Task.sleep(for: .milliseconds(10))  // polls: the freezer
            }
            try FileSystem.removeAll(hold)
            #expect(try await adoption.value.first?.wasThawed == true)
            #expect(FileSystem.exists(inventory), "CRIU was let come to its end")
            _ = try await dump.value
            try #require(try !cgroup.isFrozen())
            #expect(try cgroup.cpuQuota() == 0.5)
            let end = try second.logs(of: running.id).tail(1).end
            #expect(try await node.line(of: running.id, after: end) { $0.hasPrefix("count") } != nil)
        }
    }

    @Test func `What does not end of an interrupted dump is killed`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            let folder = try node.memoryFolder()
            let pipe = "\(folder)/layer.tar"
            #expect(unsafe mkfifo(pipe, 0o600) == 0)
            // Waits for a writer for ever.
            let tar = try ProcessRunner.spawn(ProgramCommand("tar", ["--list", "--file", pipe]))
            try FileSystem.writeAtomically("0.5\n\(folder)\n", to: "\(node.folder)/state/containers/a-1/frozen")
            try await node.runtime.cgroup(of: running.id).freeze()
            var configuration = node.configuration
            configuration.interruptedDumpTimeout = .milliseconds(50)
            let second = try ContainerRuntime(
                configuration,
                slice: node.slice,
                criu: await NodeFacts.shared.value.criu
            )
            #expect(try await second.adopt().first?.wasThawed == true)
            #expect(try ProcessControl.waitForChild(tar) == .signalled(number: SIGKILL, hasDumpedCore: false))
            #expect(try !node.runtime.cgroup(of: running.id).isFrozen())
        }
    }

    @Test func `Of a container whose making was cut short, what is left tells whether it may have run`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            _ = try await node.runtime.stop(running.id, grace: .zero)
            let folder = "\(node.folder)/state/containers/a-1"
            for name in ["exit", "init", "shim"] { try FileSystem.removeAll("\(folder)/\(name)") }
            func mayHaveRun() async throws -> Bool {
                let found = try #require(try await newRuntime(node).adopt().first)
                guard case .lost = found.state else { throw Missing("it was found as \(found.state)") }
                return found.mayHaveRun
            }
            #expect(try await mayHaveRun(), "its shim had been told to start it")
            try FileSystem.createFolder("\(folder)/criu")
            let log = "\(folder)/criu/restore.log"
            try FileSystem.writeAtomically("(00.1) Restoring namespaces\n", to: log)
            #expect(try await !mayHaveRun(), "CRIU had not come far enough")
            try FileSystem.writeAtomically("(00.1) Restoring namespaces\n(00.2) Unlock network\n", to: log)
            #expect(try await mayHaveRun(), "CRIU was about to let it go")
            try FileSystem.removeAll("\(folder)/shim.spec")
            #expect(try await !mayHaveRun(), "nobody had been told to start it")
            let record = try FileSystem.readText("\(folder)/container.json", limit: 1 << 20)
            try FileSystem.writeAtomically(
                record.replacing(Machine.bootID, with: "another"),
                to: "\(folder)/container.json"
            )
            #expect(try await mayHaveRun(), "what a crash of the machine took away says nothing")
        }
    }
}
