import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Testing

/// The promises of the fence: no agent takes part in any of these ends, and each test is the one that extends, or does not.
@Suite(.timeLimit(.minutes(5)))
struct FenceTests {
    /// Writes a lease of this length from now on and returns its end.
    @discardableResult
    private func lend(_ duration: Duration, _ node: TestNode, boot: String = Machine.bootID) throws -> Int64 {
        let end = BootClock.nanoseconds() + duration.nanoseconds
        try FileSystem.replace(node.configuration.leaseFile, with: "boot \(boot) until \(end)\n")
        return end
    }

    /// Extends the lease as long as the body runs, a second at a time; the end is that of the last one.
    private func extending<Result: Sendable>(
        _ node: TestNode,
        _ body: () async throws -> Result
    ) async throws -> (result: Result, end: Int64) {
        try lend(.seconds(1), node)
        let lease = Task {
            var end: Int64
            repeat {
                end = try lend(.seconds(1), node)
                try? await pause(until: BootClock.nanoseconds() + Duration.milliseconds(50).nanoseconds)
            } while !Task.isCancelled
            return end
        }
        do {
            let result = try await body()
            lease.cancel()
            return (result, try await lease.value)
        } catch {
            lease.cancel()
            _ = try? await lease.value
            throw error
        }
    }

    /// A lease is a matter of time, and the shims have no other clock than the machine's.
    private func pause(until moment: Int64) async throws {
        while BootClock.nanoseconds() < moment {
            try await Task.sleep(for: .milliseconds(10))  // polls: the clock that leases are counted by
        }
    }

    private func fenced(_ request: StartRequest) -> StartRequest {
        var request = request
        request.isFenced = true
        return request
    }

    private func newRuntime(_ node: TestNode, runc: String = "runc") async throws -> ContainerRuntime {
        var configuration = node.configuration
        configuration.runc = runc
        return try ContainerRuntime(configuration, slice: node.slice, criu: await NodeFacts.shared.value.criu)
    }

    @Test func `Whoever goes on extending keeps it alive, and soon after that stops it ends`() async throws {
        try await TestNode.run { node in
            let (running, end) = try await extending(node) {
                let running = try await node.runtime.start(fenced(node.request("a-1", ["/probe", "stubborn"])))
                _ = try await node.line(of: running.id) { $0 == "ready" }
                // Longer than what the shim knew at the start.
                try await pause(until: BootClock.nanoseconds() + Duration.milliseconds(1200).nanoseconds)
                #expect(running.process.isAlive)
                return running
            }
            let exit = try await node.runtime.exit(of: running.id)
            let late = BootClock.nanoseconds() - end
            #expect(exit.isFenced && exit.cause == .signal(SIGKILL))
            #expect(late >= 0 && late < Duration.seconds(2).nanoseconds, "it ended \(late) ns after the lease")
            #expect(!running.process.isAlive)
            // An agent that starts after all that learns why.
            #expect(try await newRuntime(node).adopt().map(\.state) == [.exited(exit)])
        }
    }

    @Test func `A lease that becomes unlimited is no end`() async throws {
        try await TestNode.run { node in
            let (running, end) = try await extending(node) {
                try await node.runtime.start(fenced(node.request("a-1", ["/probe", "terminate"])))
            }
            try FileSystem.replace(node.configuration.leaseFile, with: "none\n")
            _ = try await node.line(of: running.id) { $0 == "ready" }
            try await pause(until: end + Duration.milliseconds(300).nanoseconds)
            #expect(running.process.isAlive)
            // An end of its own is its own.
            let exit = try await node.runtime.stop(running.id, grace: .seconds(10))
            #expect(exit.cause == .code(3) && !exit.isFenced)
        }
    }

    @Test(arguments: [nil, "", "boot 1 until soon\n"] as [String?])
    func `A lease file that is gone or damaged leaves the lease as it was`(text: String?) async throws {
        try await TestNode.run { node in
            let end = try lend(.milliseconds(1500), node)
            let running = try await node.runtime.start(fenced(node.request("a-1", ["/probe", "wait"])))
            try FileSystem.removeAll(node.configuration.leaseFile)
            if let text { try FileSystem.replace(node.configuration.leaseFile, with: text) }
            #expect(try await node.runtime.exit(of: running.id).isFenced)
            #expect(BootClock.nanoseconds() >= end)
        }
    }

    @Test func `Where no lease was ever written, there is none that could be over`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(fenced(node.request("a-1", ["/probe", "exit", "4"])))
            let exit = try await node.runtime.exit(of: running.id)
            #expect(exit.cause == .code(4) && !exit.isFenced)
        }
    }

    @Test func `A container without a lease is not touched by one that is over`() async throws {
        try await TestNode.run { node in
            let end = try lend(.zero, node)
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "count"]))
            _ = try await node.line(of: running.id) { $0 == "count 30" }
            #expect(BootClock.nanoseconds() > end && running.process.isAlive)
        }
    }

    @Test func `Nothing is started under a lease that is over or of another boot`() async throws {
        try await TestNode.run { node in
            for boot in [Machine.bootID, "00000000-0000-0000-0000-000000000000"] {
                try lend(boot == Machine.bootID ? .zero : .seconds(60), node, boot: boot)
                let error = await #expect(throws: ContainerError.self) {
                    try await node.runtime.start(fenced(node.request("a-1", ["/probe", "wait"])))
                }
                #expect(error?.code == .fenced && error?.isPermanent == false)
                #expect(try FileSystem.list("\(node.folder)/state/containers").isEmpty)
                #expect(try !node.runtime.cgroup(of: ContainerID(rawValue: "a-1")).exists)
            }
        }
    }

    @Test func `A runc that hangs keeps nothing running that it has started`() async throws {
        try await TestNode.run { node in
            // Starts the container and never comes back, as on a machine whose disk hangs.
            let script = """
                #!/bin/sh
                case "$*" in
                *' run '*) runc "$@"; : >\(node.folder)/started; sleep 60;;
                *) exec runc "$@";;
                esac

                """
            try FileSystem.writeAtomically(script, to: "\(node.folder)/runc", mode: 0o755)
            let runtime = try await newRuntime(node, runc: "\(node.folder)/runc")
            let request = fenced(node.request("a-1", ["/probe", "count"]))
            let (begun, _) = try await extending(node) {
                let start = Task { try await runtime.start(request) }
                while !FileSystem.exists("\(node.folder)/started") {
                    try await Task.sleep(for: .milliseconds(5))  // polls: the file that the script writes
                }
                let number = try FileSystem.readLine("\(node.folder)/state/containers/a-1/init.pid")
                let process = try #require(Int32(number).flatMap { ProcessIdentity(of: $0) })
                #expect(process.isAlive)
                return (start: start, process: process)
            }
            let error = await #expect(throws: ContainerError.self) { try await begun.start.value }
            #expect(error?.code == .fenced)
            #expect(!begun.process.isAlive)
            #expect(try FileSystem.list("\(node.folder)/state/containers").isEmpty)
        }
    }

    @Test func `A frozen container whose lease is over never runs again`() async throws {
        try await TestNode.run { node in
            let cgroup = try node.runtime.cgroup(of: ContainerID(rawValue: "a-1"))
            let file = "\(node.folder)/state/containers/a-1/layer/upper/data/file"
            let (running, end) = try await extending(node) {
                let running = try await node.runtime.start(fenced(node.request("a-1", ["/probe", "count"])))
                _ = try await node.line(of: running.id) { $0 == "count 3" }
                try await cgroup.freeze()
                return running
            }
            let before = try FileSystem.readText(file)
            try await pause(until: end + Duration.milliseconds(300).nanoseconds)
            // The first hierarchy delivers the kill with the thaw, the second at once.
            try? cgroup.thaw()
            #expect(try await node.runtime.exit(of: running.id).isFenced)
            #expect(try FileSystem.readText(file) == before, "it went on counting after the thaw")
        }
    }

    @Test func `A restored container is fenced as one that was started`() async throws {
        try await TestNode.run { node in
            let first = try await node.runtime.start(node.request("a-1", ["/probe", "count"]))
            _ = try await node.line(of: first.id) { $0 == "count 3" }
            var options = CheckpointOptions(folder: try node.memoryFolder())
            options.afterwards = .kill
            _ = try await node.runtime.checkpoint(first.id, options)
            #expect(try await !node.runtime.exit(of: first.id).isFenced, "a kill that was asked for is no fence")
            var request = RestoreRequest(id: ContainerID(rawValue: "a-2"), image: node.image, folder: options.folder)
            request.isFenced = true
            try lend(.zero, node)
            let refused = await #expect(throws: ContainerError.self) { try await node.runtime.restore(request) }
            #expect(refused?.code == .fenced)
            let (second, end) = try await extending(node) { [request] in
                let second = try await node.runtime.restore(request)
                _ = try await node.line(of: second.id) { $0.hasPrefix("count") }
                return second
            }
            #expect(try await node.runtime.exit(of: second.id).isFenced)
            #expect(BootClock.nanoseconds() >= end)
        }
    }
}
