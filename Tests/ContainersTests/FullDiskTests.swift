import ClusterModel
import Containers
import LinuxSystem
import Testing

@Suite struct FullDiskTests {
    @Test func `A full disk costs lines of output, but not the container or the record of its end`() async throws {
        try await TestNode.run { node in
            let small = "\(node.folder)/small"
            try FileSystem.createFolder(small)
            try Mounts.tmpfs(on: small, size: .mebibytes(1))
            defer { try? Mounts.unmount(small, isLazy: true) }
            var configuration = node.configuration
            configuration.stateFolder = small
            configuration.logFileLimit = .mebibytes(16)
            let runtime = try ContainerRuntime(configuration, slice: node.slice, criu: nil)
            // 8 MiB of output with prefixes; the program must come to its end all the same.
            let running = try await runtime.start(node.request("a-1", ["/probe", "print", "200000"]))
            let exit = try await runtime.exit(of: running.id)
            #expect(exit.isSuccess)
            #expect(exit.droppedLineCount > 0)
            try await runtime.remove(running.id)
        }
    }
}
