import ClusterModel
import Glibc
import LinuxSystem
import Testing

@Suite struct FileSystemTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func `reads kernel files, whose size is 0`() throws {
        #expect(try FileSystem.readLine("/proc/self/comm").isEmpty == false)
        #expect(FileSystem.status("/proc/self/stat")?.size == .zero)
    }

    @Test func `refuses what is longer than expected`() throws {
        try FileSystem.writeAtomically("12345678", to: folder("f"))
        #expect(try FileSystem.readText(folder("f"), limit: 8) == "12345678")
        let error = #expect(throws: SystemError.self) { try FileSystem.read(folder("f"), limit: 7) }
        #expect(error?.code == EFBIG)
    }

    @Test func `replaces a file with the mode asked for and leaves nothing else`() throws {
        let old = umask(0o077)
        defer { umask(old) }
        try FileSystem.writeAtomically("old", to: folder("f"), mode: 0o600)
        try FileSystem.writeAtomically("new", to: folder("f"), mode: 0o664)
        #expect(try FileSystem.readText(folder("f")) == "new")
        #expect(FileSystem.status(folder("f"))?.mode == 0o664)
        #expect(try FileSystem.list(folder.path) == ["f"])
    }

    @Test func `a replacement that fails leaves the old file and no other`() throws {
        try FileSystem.createFolder(folder("d/occupied/inner"))
        #expect(throws: SystemError.self) { try FileSystem.writeAtomically("x", to: folder("d/occupied")) }
        #expect(try FileSystem.list(folder("d")) == ["occupied"])
        #expect(throws: SystemError.self) { try FileSystem.writeAtomically("x", to: folder("absent/f")) }
    }

    @Test func `a reader sees the old file or the new one, never a part`() async throws {
        let path = folder("f")
        let versions = [String(repeating: "a", count: 70_000), String(repeating: "b", count: 50_000)]
        try FileSystem.writeAtomically(versions[0], to: path)
        let end = Event()
        try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                var reads = 0
                repeat {
                    let text = try FileSystem.readText(path)
                    #expect(versions.contains(text))
                    reads += 1
                } while !end.hasHappened
                return reads
            }
            for round in 0..<40 { try FileSystem.writeAtomically(versions[round % 2], to: path) }
            end.happen()
            #expect(try await group.next() ?? 0 > 0)
        }
    }

    @Test func `makes folders above it too, and does not mind those that exist`() throws {
        try FileSystem.createFolder(folder("a/b/c"))
        try FileSystem.createFolder(folder("a/b/c"))
        #expect(FileSystem.status(folder("a/b/c"))?.kind == .folder)
        try FileSystem.writeAtomically("", to: folder("file"))
        let error = #expect(throws: SystemError.self) { try FileSystem.createFolder(folder("file")) }
        #expect(error?.code == ENOTDIR)
    }

    @Test func `removing a tree does not follow links out of it`() throws {
        try FileSystem.createFolder(folder("keep"))
        try FileSystem.writeAtomically("x", to: folder("keep/f"))
        try FileSystem.createFolder(folder("tree/inner"))
        let failure = unsafe symlink(folder("keep"), folder("tree/inner/link"))
        #expect(failure == 0)
        try FileSystem.removeAll(folder("tree"))
        #expect(try FileSystem.list(folder.path) == ["keep"])
        #expect(try FileSystem.readText(folder("keep/f")) == "x")
        try FileSystem.removeAll(folder("tree"))
    }

    @Test func `creating refuses to replace`() throws {
        let file = try FileSystem.create(folder("f"), mode: 0o640)
        try file.write([1, 2])
        #expect(FileSystem.status(folder("f"))?.mode == 0o640)
        let error = #expect(throws: SystemError.self) { _ = try FileSystem.create(folder("f"), mode: 0o640).rawValue }
        #expect(error?.code == EEXIST)
    }

    @Test func `moves, lists in order, and tells the parent`() throws {
        for name in ["b", "a", "ä"] { try FileSystem.writeAtomically(name, to: folder(name)) }
        #expect(try FileSystem.list(folder.path) == ["a", "b", "ä"])
        try FileSystem.move(folder("b"), to: folder("a"))
        #expect(try FileSystem.readText(folder("a")) == "b")
        #expect(FileSystem.parent(of: "/a/b") == "/a")
        #expect(FileSystem.parent(of: "/a") == "/")
        #expect(FileSystem.parent(of: "a") == ".")
    }

    @Test func `space says whether it is memory`() throws {
        #expect(try FileSystem.space(at: "/dev/shm").isMemory)
        let disk = try FileSystem.space(at: "/usr")
        #expect(!disk.isMemory)
        #expect(disk.total > disk.available && disk.available > .zero)
        let error = #expect(throws: SystemError.self) { try FileSystem.space(at: folder("absent")) }
        #expect(error?.code == ENOENT)
    }

    @Test func `extended attributes can be set, read, listed and removed`() throws {
        let path = folder("f")
        try FileSystem.writeAtomically("", to: path)
        #expect(try ExtendedAttributes.names(of: path).isEmpty)
        #expect(try ExtendedAttributes.value(of: "user.a", on: path) == nil)
        try ExtendedAttributes.set("user.b", to: [], on: path)
        try ExtendedAttributes.set("user.a", to: [1, 0, 2], on: path)
        #expect(try ExtendedAttributes.names(of: path) == ["user.a", "user.b"])
        #expect(try ExtendedAttributes.value(of: "user.a", on: path) == [1, 0, 2])
        #expect(try ExtendedAttributes.value(of: "user.b", on: path) == [])
        try ExtendedAttributes.remove("user.a", from: path)
        #expect(try ExtendedAttributes.names(of: path) == ["user.b"])
        let error = #expect(throws: SystemError.self) { try ExtendedAttributes.remove("user.a", from: path) }
        #expect(error?.code == ENODATA)
    }
}
