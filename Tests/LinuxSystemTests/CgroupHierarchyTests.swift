import LinuxSystem
import ResourceSamples
import Testing

@Suite struct CgroupHierarchyTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// The mounts of a fixture, moved below the temporary folder.
    private func mounts(_ name: String, without type: String? = nil) throws -> [MountEntry] {
        let text = Array(try fixture(name).utf8)
        return try MountEntry.parse(text.span).filter { $0.fileSystem != type }.map { entry in
            var entry = entry
            if entry.mountPoint.hasPrefix("/sys/fs/cgroup") {
                entry.mountPoint = folder.path + entry.mountPoint.dropFirst("/sys/fs/cgroup".count)
            }
            return entry
        }
    }

    @Test func `hybrid: every controller where it is`() throws {
        try FileSystem.createFolder(folder("unified"))
        try FileSystem.writeAtomically("hugetlb memory\n", to: folder("unified/cgroup.controllers"))
        let hierarchy = try CgroupHierarchy.detect(root: folder.path, mounts: mounts("linux-6.18-v1/proc-mountinfo"))
        #expect(hierarchy.mode == .hybrid)
        #expect(hierarchy.unifiedMountPoint == folder("unified"))
        #expect(hierarchy.controller("cpu")?.mountPoint == folder("cpu"))
        #expect(hierarchy.controller("cpuacct")?.mountPoint == folder("cpuacct"))
        #expect(hierarchy.controller("hugetlb")?.isUnified == true)
        // A controller that a version 1 hierarchy holds cannot be used in the unified one.
        #expect(hierarchy.controller("memory")?.isUnified == false)
        #expect(hierarchy.controller("name=systemd") == nil && hierarchy.controller("rw") == nil)
        #expect(hierarchy.places.map(\.mountPoint).last == folder("unified"))
        #expect(!hierarchy.places.contains { $0.mountPoint == folder("blkio") })
        #expect(hierarchy.mountPoints.contains(folder("blkio")) && hierarchy.mountPoints.contains(folder("systemd")))
    }

    @Test func `version 1 alone`() throws {
        let mounts = try mounts("linux-6.18-v1/proc-mountinfo", without: "cgroup2")
        let hierarchy = try CgroupHierarchy.detect(root: folder.path, mounts: mounts)
        #expect(hierarchy.mode == .v1)
        #expect(hierarchy.unifiedMountPoint == nil)
        #expect(hierarchy.has("freezer") && !hierarchy.has("misc"))
    }

    @Test func `version 2 alone freezes and counts time without a controller`() throws {
        let controllers = try fixture("linux-6.8-v2/cgroup.controllers")
        try FileSystem.writeAtomically(controllers, to: folder("cgroup.controllers"))
        let hierarchy = try CgroupHierarchy.detect(root: folder.path, mounts: mounts("linux-6.8-v2/proc-mountinfo"))
        #expect(hierarchy.mode == .v2)
        #expect(hierarchy.controller("memory")?.isUnified == true)
        #expect(hierarchy.has("freezer") && hierarchy.has("cpuacct"))
        #expect(hierarchy.places.count == 1)
    }

    @Test func `nothing mounted is an error with a remedy`() throws {
        let error = #expect(throws: SystemError.self) { try CgroupHierarchy.detect(root: folder.path, mounts: []) }
        #expect(error?.description.contains("mount -t cgroup2") ?? false)
    }

    @Test func `this machine`() throws {
        let hierarchy = try CgroupHierarchy.detect()
        for name in ["cpu", "cpuacct", "memory", "freezer", "pids"] { #expect(hierarchy.has(name), "\(name)") }
    }
}
