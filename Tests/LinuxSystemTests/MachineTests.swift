import ClusterModel
import LinuxSystem
import ResourceSamples
import Testing

@Suite struct MachineTests {
    @Test(arguments: [
        ("6.1.0-18-amd64", VersionNumber(6, 1, 0)), ("5.15", VersionNumber(5, 15)),
        ("4.18.0-553.el8_10.x86_64", VersionNumber(4, 18, 0)), ("6.18-rc3", VersionNumber(6, 18)),
        ("6.18.44-fc-v657", VersionNumber(6, 18, 44)), ("1.1.5+ds1", VersionNumber(1, 1, 5)),
    ])
    func `releases of kernels and programs`(release: String, version: VersionNumber) {
        #expect(VersionNumber(parsing: release) == version)
    }

    @Test(arguments: ["", "6", "x.y", ".1", "six.1"])
    func `what is no release`(release: String) {
        #expect(VersionNumber(parsing: release) == nil)
    }

    @Test func `versions are compared number by number`() {
        #expect(VersionNumber(6, 9) < VersionNumber(6, 16))
        #expect(VersionNumber(5, 19, 17) < VersionNumber(6, 0))
        #expect(VersionNumber(4, 2).description == "4.2.0")
    }

    @Test func `this machine`() throws {
        #expect(Machine.bootID.count == 36)
        #expect(Machine.kernelVersion >= VersionNumber(5, 3))
        #expect(Machine.processorCount >= 1)
        let processors = try Machine.processors()
        #expect(processors.each.count >= Machine.processorCount)
        #expect(processors.all.total > .zero)
        let memory = try Machine.memory()
        #expect(memory.total > memory.available && memory.available > .zero)
        #expect(try Machine.load().threads > 0)
        #expect(Machine.uptime() > .zero)
        #expect(try Machine.mounts().contains { $0.mountPoint == "/" })
        #expect(try !Machine.processorFlags().isEmpty)
        #expect(try Machine.capabilities() & 1 << 21 != 0, "these tests need CAP_SYS_ADMIN: run them as root")
    }

    @Test func `the clocks go forward`() {
        let wall = WallClock.now()
        #expect(wall > Timestamp(seconds: 1_600_000_000))
        let duration = MonotonicClock.measure { MonotonicClock.sleepThread(for: .milliseconds(2)) }
        #expect(duration >= .milliseconds(2))
        #expect(WallClock.now() - wall < .seconds(60))
    }
}
