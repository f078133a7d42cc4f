import ClusterModel
import Containers
import Glibc
import LinuxSystem
import Testing

@Suite struct ImageCacheTests {
    /// An OCI layout with one image that runs `/probe print 2`, under two tags.
    private func makeLayout(_ node: TestNode) async throws -> String {
        let layout = "\(node.folder)/layout"
        let layer = "\(node.folder)/layer.tar"
        let root = node.image.rootFolder
        let umoci = ["umoci"]
        let steps = [
            ["tar", "--create", "--file", layer, "--directory", root, "."],
            umoci + ["init", "--layout", layout],
            umoci + ["new", "--image", "\(layout):one"],
            umoci + ["raw", "add-layer", "--image", "\(layout):one", layer],
            umoci + [
                "config", "--image", "\(layout):one", "--config.entrypoint", "/probe", "--config.cmd", "print",
                "--config.cmd", "2", "--config.env", "COLOUR=grey", "--config.workingdir", "/data", "--config.user",
                "ann",
                "--config.stopsignal", "SIGINT",
            ],
            umoci + ["tag", "--image", "\(layout):one", "two"],
        ]
        for step in steps {
            let result = try await ProcessRunner.run(
                ProgramCommand(step[0], Array(step.dropFirst())),
                timeout: .seconds(30)
            )
            guard result.isSuccess else { throw Missing("\(step.joined(separator: " ")): \(result.complaint)") }
        }
        return layout
    }

    private func failure(_ node: TestNode, _ source: JobSpecification.ImageSource) async throws -> ContainerError {
        let error = await #expect(throws: ContainerError.self) { try await node.images.prepare(source) }
        let left = try FileSystem.list("\(node.folder)/state/images").filter { $0.hasPrefix("unpacking-") }
        #expect(left.isEmpty)
        return try #require(error)
    }

    @Test func `An OCI image is unpacked once and runs as its configuration says`() async throws {
        try await TestNode.run { node in
            let layout = try await makeLayout(node)
            let first = try await node.images.prepare(.ociFolder(path: layout, reference: "one"))
            #expect(first.key.rawValue.hasPrefix("sha256-"))
            #expect(first.entryPoint == ["/probe"] && first.command == ["print", "2"])
            #expect(first.environment.contains("COLOUR=grey"))
            #expect(first.workingDirectory == "/data" && first.user == "ann" && first.stopSignal == SIGINT)
            #expect(first.size > .kibibytes(100))
            let inode = FileSystem.status("\(first.rootFolder)/probe")?.inode
            let second = try await node.images.prepare(.ociFolder(path: layout, reference: "two"))
            #expect(second == first)
            #expect(FileSystem.status("\(second.rootFolder)/probe")?.inode == inode)

            var request = StartRequest(id: ContainerID(rawValue: "a-1"), image: first)
            request.hostname = "x"
            let running = try await node.runtime.start(request)
            #expect(try await node.runtime.exit(of: running.id).isSuccess)
            let lines = try node.runtime.logs(of: running.id).tail(10).lines.map(\.text)
            #expect(lines.contains("line 1"))

            // The same as a tar gives the same image, and a second time without looking into the tar.
            let archive = "\(node.folder)/image.tar"
            _ = try await ProcessRunner.run(
                ProgramCommand("tar", ["--create", "--file", archive, "--directory", layout, "."]),
                timeout: .seconds(30)
            )
            #expect(try await node.images.prepare(.ociArchive(path: archive, reference: "one")).key == first.key)
            #expect(try await node.images.prepare(.ociArchive(path: archive, reference: "one")).key == first.key)
            // A registry reference that needs no registry.
            #expect(try await node.images.prepare(.registry(reference: "oci:\(layout):one")).entryPoint == ["/probe"])
        }
    }

    @Test func `A pinned image stays the same when its tag has moved`() async throws {
        try await TestNode.run { node in
            let layout = try await makeLayout(node)
            let source = JobSpecification.ImageSource.ociFolder(path: layout, reference: "one")
            let old = try await node.images.prepare(source)
            let change = try await ProcessRunner.run(
                ProgramCommand("umoci", ["config", "--image", "\(layout):one", "--config.env", "COLOUR=red"]),
                timeout: .seconds(30)
            )
            #expect(change.isSuccess)
            #expect(try await node.images.prepare(source, pinned: old.key) == old)
            #expect(try await node.images.prepare(source).key != old.key)

            // And when the node has lost it, no other takes its place.
            try FileSystem.removeAll("\(node.folder)/state/images/\(old.key)")
            let error = await #expect(throws: ContainerError.self) {
                try await node.images.prepare(source, pinned: old.key)
            }
            #expect(error?.code == .imageMissing)
            #expect(error?.reason.contains(old.key.rawValue) == true)
        }
    }

    @Test func `What is not an image is told apart from what is missing`() async throws {
        try await TestNode.run { node in
            let layout = try await makeLayout(node)
            #expect(try await failure(node, .rootFolder(path: "/does/not/exist")).code == .imageMissing)
            #expect(try await failure(node, .rootFolder(path: "\(layout)/index.json")).code == .imageInvalid)
            #expect(
                try await failure(node, .ociFolder(path: node.image.rootFolder, reference: nil)).code == .imageInvalid
            )
            let tag = try await failure(node, .ociFolder(path: layout, reference: "three"))
            #expect(tag.code == .imageMissing && tag.remedy.contains("one, two"))
            let unclear = try await failure(node, .ociFolder(path: layout, reference: nil))
            #expect(unclear.code == .imageMissing && unclear.remedy.contains("one, two"))
            #expect(try await failure(node, .rootArchive(path: "\(layout)/index.json")).code == .imageInvalid)
            #expect(try await failure(node, .ociArchive(path: "relative.tar", reference: nil)).code == .imageMissing)
            #expect(try await failure(node, .registry(reference: "oci:/does/not/exist:x")).code == .imageMissing)

            // A blob that is cut short.
            let image = try await ProcessRunner.run(
                ProgramCommand("sh", ["-c", "ls -S \(layout)/blobs/sha256/* | head -1"]),
                timeout: .seconds(5)
            )
            try FileSystem.writeAtomically("short", to: image.outputText)
            let damaged = try await failure(node, .ociFolder(path: layout, reference: "one"))
            #expect(damaged.code == .imageInvalid)
        }
    }

    @Test func `A root file system tar is unpacked again only when the file changed`() async throws {
        try await TestNode.run { node in
            let archive = "\(node.folder)/root.tar"
            func pack() async throws {
                _ = try await ProcessRunner.run(
                    ProgramCommand("tar", ["--create", "--file", archive, "--directory", node.image.rootFolder, "."]),
                    timeout: .seconds(30)
                )
            }
            try await pack()
            let first = try await node.images.prepare(.rootArchive(path: archive))
            #expect(try await node.images.prepare(.rootArchive(path: archive)) == first)
            try FileSystem.removeAll(archive)
            try await pack()
            #expect(try await node.images.prepare(.rootArchive(path: archive)).key != first.key)
        }
    }

    @Test func `Collection removes the longest unused images and keeps those in use`() async throws {
        try await TestNode.run { node in
            var keys: [ImageKey] = []
            for index in 0..<3 {
                let archive = "\(node.folder)/root\(index).tar"
                _ = try await ProcessRunner.run(
                    ProgramCommand("tar", ["--create", "--file", archive, "--directory", node.image.rootFolder, "."]),
                    timeout: .seconds(30)
                )
                keys.append(try await node.images.prepare(.rootArchive(path: archive)).key)
            }
            let one = try #require(await node.images.image(keys[1])).size
            let young = try await node.images.collectGarbage(limit: .zero, keeping: [], sparing: .seconds(3600))
            #expect(young.isEmpty)
            let removed = try await node.images.collectGarbage(limit: one + .bytes(1), keeping: [keys[0]])
            #expect(Set(removed).isSubset(of: [keys[1], keys[2]]))
            #expect(await node.images.image(keys[0]) != nil)
            #expect(removed.count == 2)
        }
    }

    @Test func `A full disk while unpacking is told as such and leaves nothing`() async throws {
        try await TestNode.run { node in
            let archive = "\(node.folder)/root.tar"
            _ = try await ProcessRunner.run(
                ProgramCommand("tar", ["--create", "--file", archive, "--directory", node.image.rootFolder, "."]),
                timeout: .seconds(30)
            )
            try FileSystem.createFolder("\(node.folder)/small")
            try Mounts.tmpfs(on: "\(node.folder)/small", size: .kibibytes(64))
            defer { try? Mounts.unmount("\(node.folder)/small") }
            let images = try ImageCache(
                ContainersConfiguration(stateFolder: "\(node.folder)/small", runtimeFolder: "\(node.folder)/run")
            )
            let error = await #expect(throws: ContainerError.self) {
                try await images.prepare(.rootArchive(path: archive))
            }
            #expect(error?.code == .diskFull)
            #expect(try FileSystem.list("\(node.folder)/small/images").isEmpty)
        }
    }
}
