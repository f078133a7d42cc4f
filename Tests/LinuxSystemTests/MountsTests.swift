import ClusterModel
import Glibc
import LinuxSystem
import Testing

@Suite struct MountsTests {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        // A name with everything that overlayfs splits at.
        for name in ["a,b:c\\d", "e", "upper", "work", "target"] { try FileSystem.createFolder(folder(name)) }
    }

    @Test func `overlay reads the layers and writes to the upper one`() throws {
        try FileSystem.writeAtomically("first", to: folder("a,b:c\\d/f"))
        try FileSystem.writeAtomically("second", to: folder("e/f"))
        try FileSystem.writeAtomically("only here", to: folder("e/g"))
        let target = folder("target")
        try Mounts.overlay(
            on: target,
            lower: [folder("a,b:c\\d"), folder("e")],
            upper: folder("upper"),
            work: folder("work")
        )
        defer { try? Mounts.unmount(target) }
        #expect(try Mounts.isMountPoint(target))
        #expect(try FileSystem.readText(folder("target/f")) == "first")
        #expect(try FileSystem.readText(folder("target/g")) == "only here")
        try FileSystem.writeAtomically("new", to: folder("target/f"))
        #expect(try FileSystem.readText(folder("upper/f")) == "new")
        #expect(try FileSystem.readText(folder("a,b:c\\d/f")) == "first")
        // Lazily: for a moment, a program that another test is just starting has this one's open files.
        try Mounts.unmount(target, isLazy: true)
        #expect(try !Mounts.isMountPoint(target))
        try Mounts.unmount(target)
    }

    @Test func `too many layers are refused with a remedy`() {
        let layers = (0..<300).map { folder("layer-with-a-name-of-some-length-\($0)") }
        let error = #expect(throws: SystemError.self) { try Mounts.overlay(on: folder("target"), lower: layers) }
        #expect(error?.code == E2BIG)
        #expect(error?.description.contains("300 layers") ?? false)
    }

    @Test func `tmpfs is memory of the size asked for`() throws {
        let target = folder("target")
        try Mounts.tmpfs(on: target, size: .mebibytes(8), mode: 0o750)
        defer { try? Mounts.unmount(target) }
        let space = try FileSystem.space(at: target)
        #expect(space.isMemory && space.total == .mebibytes(8))
        #expect(FileSystem.status(target)?.mode == 0o750)
        try Mounts.unmount(target, isLazy: true)
        #expect(try !Mounts.isMountPoint(target))
    }

    @Test func `all that is mounted within a folder is taken off, and nothing beside it`() throws {
        let target = folder("target")
        try FileSystem.createFolder(folder("target-2"))
        try Mounts.tmpfs(on: folder("target-2"), size: .mebibytes(1))
        defer { try? Mounts.unmount(folder("target-2"), isLazy: true) }
        try Mounts.tmpfs(on: target, size: .mebibytes(1))
        for name in ["a", "a/b"] {
            try FileSystem.createFolder("\(target)/\(name)")
            try Mounts.tmpfs(on: "\(target)/\(name)", size: .mebibytes(1))
        }
        // One over the other.
        try Mounts.tmpfs(on: target, size: .mebibytes(1))
        try Mounts.unmountAll(within: target)
        #expect(try !Mounts.isMountPoint(target))
        #expect(try !Mounts.isMountPoint("\(target)/a") && !Mounts.isMountPoint("\(target)/a/b"))
        #expect(try FileSystem.list(target).isEmpty)
        #expect(try Mounts.isMountPoint(folder("target-2")))
        try Mounts.unmountAll(within: target)
    }

    @Test func `a bind mount can be read-only`() throws {
        try FileSystem.writeAtomically("x", to: folder("e/f"))
        let target = folder("target")
        try Mounts.bind(folder("e"), to: target, isReadOnly: true)
        defer { try? Mounts.unmount(target) }
        #expect(try FileSystem.readText(folder("target/f")) == "x")
        let error = #expect(throws: SystemError.self) {
            _ = try FileSystem.create(folder("target/g"), mode: 0o600).rawValue
        }
        #expect(error?.code == EROFS)
    }
}
