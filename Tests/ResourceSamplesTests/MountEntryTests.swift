import ResourceSamples
import Testing

@Suite struct MountEntryTests {
    @Test func `version 1 hierarchies name their controllers in the super options`() throws {
        let text = try Fixtures.bytes("\(Fixtures.v1)/proc-mountinfo")
        let entries = try MountEntry.parse(text.span)
        let freezer = try #require(entries.first { $0.superOptions.contains("freezer") })
        #expect(freezer.mountPoint == "/sys/fs/cgroup/freezer")
        #expect(freezer.fileSystem == "cgroup")
        #expect(entries.contains { $0.fileSystem == "cgroup2" && $0.mountPoint == "/sys/fs/cgroup/unified" })
    }

    @Test func `optional fields are skipped and octal escapes undone`() throws {
        let text = try Fixtures.bytes("\(Fixtures.v2)/proc-mountinfo")
        let entries = try MountEntry.parse(text.span)
        #expect(entries.map(\.id) == [23, 24, 30, 34, 121, 140])
        #expect(entries[4].mountPoint == "/srv/with blank")
        #expect(entries[4].root == "/data")
        #expect(entries[5].mountPoint == #"/var/lib/godwit/containers/a\b/rootfs"#)
        #expect(entries[5].superOptions.contains("upperdir=/u"))
        #expect(entries[0].options == ["rw", "nosuid", "nodev", "noexec", "relatime"])
    }

    @Test(arguments: ["x", "1 2 0:1 / /a rw", "1 2 0:1 / /a rw shared:1 ext4 dev rw", "1 2 0:1 / /a rw -"])
    func `a damaged line is an error with its number`(line: String) {
        let text = bytes("23 30 0:22 / /sys rw - sysfs sysfs rw\n\(line)\n")
        let error = #expect(throws: SampleError.self) { try MountEntry.parse(text.span) }
        #expect(error?.line == 2)
    }

    @Test func `where a process is in every hierarchy`() throws {
        let hybrid = try Fixtures.bytes("\(Fixtures.v1)/proc-cgroup")
        let memberships = try CgroupMembership.parse(hybrid.span)
        #expect(memberships.contains { $0.controllers == ["memory"] && $0.path == "/" })
        #expect(memberships.contains { $0.controllers == ["name=systemd"] && !$0.isUnified })
        #expect(memberships.filter(\.isUnified).count == 1)
        let unified = try Fixtures.bytes("\(Fixtures.v2)/proc-cgroup")
        #expect(try CgroupMembership.parse(unified.span).first?.path == "/system.slice/godwitd.service")
        // A path may hold colons.
        let colons = bytes("4:cpu,cpuacct:/a:b\n")
        let entry = try CgroupMembership.parse(colons.span).first
        #expect(entry?.path == "/a:b" && entry?.controllers == ["cpu", "cpuacct"])
        let bad = bytes("4:cpu\n")
        #expect(throws: SampleError.self) { try CgroupMembership.parse(bad.span) }
    }
}
