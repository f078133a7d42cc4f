import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Testing

@Suite struct CheckpointTests {
    private func count(_ line: String?) -> Int? { line?.split(separator: " ").last.flatMap { Int($0) } }

    @Test func `A container that is left running goes on counting where it was`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "count"]) { $0.cpuLimit = 0.5 })
            _ = try await node.line(of: running.id) { $0 == "count 3" }
            let dump = try await node.runtime.checkpoint(running.id, CheckpointOptions(folder: try node.memoryFolder()))
            #expect(dump.imagesBytes > .zero && dump.layerBytes > .zero)
            #expect(dump.frozen > dump.freezing && dump.frozen >= dump.dumping && dump.frozen < .seconds(5))
            let cgroup = try node.runtime.cgroup(of: running.id)
            #expect(try !cgroup.isFrozen())
            #expect(try cgroup.cpuQuota() == 0.5)
            let end = try node.runtime.logs(of: running.id).tail(1).end
            #expect(try await node.line(of: running.id, after: end) { $0.hasPrefix("count") } != nil)
            #expect(running.process.isAlive)
        }
    }

    @Test func `A restored container has its memory, its changed files and its deleted ones`() async throws {
        try await TestNode.run { node in
            let first = try await node.runtime.start(node.request("a-1", ["/probe", "count", "8"]))
            _ = try await node.line(of: first.id) { $0 == "count 5" }
            var options = CheckpointOptions(folder: try node.memoryFolder())
            options.afterwards = .kill
            let dump = try await node.runtime.checkpoint(first.id, options)
            #expect(dump.imagesBytes > .mebibytes(8))
            #expect(try await node.runtime.exit(of: first.id).cause == .signal(SIGKILL))
            let last = try #require(count(try node.runtime.logs(of: first.id).tail(1).lines.first?.text))
            try await node.runtime.remove(first.id)

            var request = RestoreRequest(id: ContainerID(rawValue: "a-2"), image: node.image, folder: options.folder)
            request.cpuLimit = 0.8
            request.memoryLimit = .mebibytes(64)
            let second = try await node.runtime.restore(request)
            let cgroup = try node.runtime.cgroup(of: second.id)
            #expect(try cgroup.cpuQuota() == 0.8)
            #expect(try cgroup.memoryLimit() == .mebibytes(64))
            let next = try #require(count(try await node.line(of: second.id) { $0.hasPrefix("count") }))
            #expect(next == last + 1, "the counter in memory must go on without a gap")
            try FileSystem.writeAtomically("", to: "\(node.folder)/state/containers/a-2/bundle/rootfs/data/stop")
            #expect(try await node.runtime.exit(of: second.id).isSuccess)
            #expect(try node.runtime.logs(of: second.id).tail(1).lines.first?.text == "deleted but open")
            let file = try FileSystem.readText("\(node.folder)/state/containers/a-2/layer/upper/data/file")
            let lines = file.split(separator: "\n")
            #expect(lines.first == "original")
            #expect(
                lines.dropFirst().enumerated().allSatisfy { $0.element == "count \($0.offset)" },
                "no write lost, none twice"
            )
            // The image itself is untouched.
            #expect(try FileSystem.readText("\(node.image.rootFolder)/data/file") == "original\n")
        }
    }

    @Test func `One checkpoint can be restored while the container that it was taken of still runs`() async throws {
        try await TestNode.run { node in
            let first = try await node.runtime.start(node.request("a-1", ["/probe", "count"]))
            _ = try await node.line(of: first.id) { $0 == "count 2" }
            let folder = try node.memoryFolder()
            _ = try await node.runtime.checkpoint(first.id, CheckpointOptions(folder: folder))
            let second = try await node.runtime.restore(
                RestoreRequest(id: ContainerID(rawValue: "a-2"), image: node.image, folder: folder)
            )
            #expect(try await node.line(of: second.id) { $0.hasPrefix("count") } != nil)
            #expect(first.process.isAlive && second.process.isAlive)
            // And a restored one can be checkpointed again.
            _ = try await node.runtime.checkpoint(second.id, CheckpointOptions(folder: folder))
            #expect(try await node.runtime.stop(second.id, grace: .zero).cause == .signal(SIGKILL))
        }
    }

    @Test func `An untouched writable layer costs no archive`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            _ = try await node.line(of: running.id) { $0 == "ready" }
            let folder = try node.memoryFolder()
            let dump = try await node.runtime.checkpoint(running.id, CheckpointOptions(folder: folder))
            #expect(dump.layerBytes == .zero)
            #expect(!FileSystem.exists("\(folder)/layer.tar"))
        }
    }

    @Test func `An established connection is refused before, or kept when that is allowed`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "tcp"]))
            _ = try await node.line(of: running.id) { $0 == "ready" }
            let folder = try node.memoryFolder()
            let obstacles = try node.runtime.checkpointObstacles(of: running.id, tcpEstablished: false)
            #expect(obstacles.map(\.kind) == [.establishedTCP])
            let refused = await #expect(throws: ContainerError.self) {
                try await node.runtime.checkpoint(running.id, CheckpointOptions(folder: folder))
            }
            #expect(refused?.code == .checkpointObstructed)
            #expect(try node.runtime.checkpointObstacles(of: running.id, tcpEstablished: true).isEmpty)
            var options = CheckpointOptions(folder: folder, tcpEstablished: true)
            options.afterwards = .kill
            _ = try await node.runtime.checkpoint(running.id, options)
            var request = RestoreRequest(id: ContainerID(rawValue: "a-2"), image: node.image, folder: folder)
            request.tcpEstablished = true
            let second = try await node.runtime.restore(request)
            #expect(second.process.isAlive)
        }
    }

    @Test func `A socket of the node stands in the way, one within the container does not`() async throws {
        try await TestNode.run { node in
            let inner = try await node.runtime.start(node.request("a-1", ["/probe", "pair"]))
            _ = try await node.line(of: inner.id) { $0 == "ready" }
            #expect(try node.runtime.checkpointObstacles(of: inner.id, tcpEstablished: false).isEmpty)

            let path = "\(node.folder)/socket"
            let listening = try #require(listen(at: path))
            defer { close(listening) }
            let outer = try await node.runtime.start(
                node.request("a-2", ["/probe", "unix", "/run.socket"]) {
                    $0.mounts = [.init(source: path, target: "/run.socket", isReadOnly: false)]
                }
            )
            _ = try await node.line(of: outer.id) { $0 == "ready" }
            let accepted = accept(listening, nil, nil)
            defer { close(accepted) }
            #expect(
                try node.runtime.checkpointObstacles(of: outer.id, tcpEstablished: false).map(\.kind) == [
                    .externalUnixSocket
                ]
            )
        }
    }

    @Test func `A dump that fails leaves the container running, with its quota and CRIU's reason`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(
                node.request("a-1", ["/probe", "remapped"]) { $0.cpuLimit = 0.7 }
            )
            _ = try await node.line(of: running.id) { $0 == "ready" }
            let folder = try node.memoryFolder()
            let error = await #expect(throws: ContainerError.self) {
                try await node.runtime.checkpoint(running.id, CheckpointOptions(folder: folder))
            }
            #expect(error?.code == .checkpointFailed)
            #expect(error?.reason.contains("whose name was deleted") == true)
            #expect(error?.details?.contains("Error (") == true)
            let cgroup = try node.runtime.cgroup(of: running.id)
            #expect(try !cgroup.isFrozen())
            #expect(try cgroup.cpuQuota() == 0.7)
            #expect(running.process.isAlive)
            #expect(!FileSystem.exists("\(folder)/images"))
        }
    }

    @Test func `A restore that fails leaves nothing and says why`() async throws {
        try await TestNode.run { node in
            let running = try await node.runtime.start(node.request("a-1", ["/probe", "wait"]))
            _ = try await node.line(of: running.id) { $0 == "ready" }
            let folder = try node.memoryFolder()
            _ = try await node.runtime.checkpoint(running.id, CheckpointOptions(folder: folder))
            try FileSystem.writeAtomically("damaged", to: "\(folder)/images/pages-1.img")
            try FileSystem.writeAtomically("damaged", to: "\(folder)/images/core-1.img")
            let request = RestoreRequest(id: ContainerID(rawValue: "a-2"), image: node.image, folder: folder)
            let error = await #expect(throws: ContainerError.self) { try await node.runtime.restore(request) }
            #expect(error?.code == .restoreFailed)
            #expect(try FileSystem.list("\(node.folder)/state/containers") == ["a-1"])
            #expect(try !node.runtime.cgroup(of: request.id).exists)
            try FileSystem.removeAll("\(folder)/images/inventory.img")
            let incomplete = await #expect(throws: ContainerError.self) { try await node.runtime.restore(request) }
            #expect(incomplete?.reason.contains("inventory.img") == true)
        }
    }

    private func listen(at path: String) -> Int32? {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            for (index, byte) in path.utf8.enumerated() where index < bytes.count - 1 { unsafe bytes[index] = byte }
        }
        let bound = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        return bound == 0 && Glibc.listen(descriptor, 4) == 0 ? descriptor : nil
    }
}
