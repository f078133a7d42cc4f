import ClusterModel
import Glibc
import LinuxSystem
import ResourceSamples
import Testing

/// On the hierarchies that this machine really has; needs root.
@Suite(.serialized) struct CgroupTests {
    @Test func `a cgroup is made, listed, opened and removed`() async throws {
        try await withSlice { slice in
            #expect(try slice.names().isEmpty)
            let cgroup = try slice.create("job-1")
            #expect(try slice.names() == ["job-1"])
            #expect(try slice.open("job-1") == cgroup)
            #expect(try slice.open("job-2") == nil)
            #expect(cgroup.path == slice.path + "/job-1")
            #expect(cgroup.name == "job-1")
            try await cgroup.remove()
            #expect(!cgroup.exists)
            try await cgroup.remove()
            for name in ["", ".", "..", "a/b", "agent", "ä", "a b"] {
                #expect(throws: SystemError.self) { try slice.create(name) }
            }
        }
    }

    @Test func `weight, quota and limits are what the kernel then says`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("limits")
            try cgroup.setCPUQuota(1.5)
            #expect(try cgroup.cpuQuota() == 1.5)
            try cgroup.setCPUQuota(0.25, period: .milliseconds(20))
            #expect(try cgroup.cpuQuota() == 0.25)
            try cgroup.setCPUQuota(nil)
            #expect(try cgroup.cpuQuota() == nil)
            try cgroup.setCPUQuota(0.00001)
            #expect(try cgroup.cpuQuota() == 0.01)

            // Up, down and away: each way needs another order of writes on version 1.
            for limit in [ByteCount.mebibytes(64), .mebibytes(256), .mebibytes(32)] {
                try cgroup.setMemoryLimit(limit)
                #expect(try cgroup.memoryLimit() == limit)
            }
            try cgroup.setMemoryLimit(nil)
            #expect(try cgroup.memoryLimit() == nil)

            try cgroup.setProcessLimit(20)
            try cgroup.setProcessLimit(nil)
            try cgroup.setCPUWeight(0.5)
            try slice.setCPUWeight(capacity: 2)
            if let folder = cgroup.folder("cpu"), cgroup.hierarchy.controller("cpu")?.isUnified == false {
                #expect(try FileSystem.readLine(folder + "/cpu.shares") == "512")
            }
        }
    }

    @Test func `weights are in proportion to allocations, within what the kernel takes`() {
        #expect(Cgroup.cpuWeight(1, isUnified: false) == "1024")
        #expect(Cgroup.cpuWeight(0, isUnified: false) == "2")
        #expect(Cgroup.cpuWeight(1000, isUnified: false) == "262144")
        #expect(Cgroup.cpuWeight(VCPUCount(.nan), isUnified: false) == "2")
        #expect(Cgroup.cpuWeight(1, isUnified: true, processors: 2) == "100")
        #expect(Cgroup.cpuWeight(0.25, isUnified: true, processors: 2) == "25")
        #expect(Cgroup.cpuWeight(0, isUnified: true, processors: 2) == "1")
        #expect(Cgroup.cpuWeight(256, isUnified: true, processors: 256) == "10000")
        #expect(Cgroup.cpuWeight(64, isUnified: true, processors: 256) == "2500")
    }

    @Test func `freezing stops the processes and thawing lets them go on`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("freeze")
            let pid = try start("sh -c 'while :; do :; done'", in: cgroup)
            let sampler = try cgroup.makeSampler()
            #expect(try await eventually { try sampler.sample().cpuTime > .milliseconds(5) })
            #expect(try !cgroup.isFrozen())
            let clock = ContinuousClock()
            let duration = try await clock.measure { try await cgroup.freeze() }
            #expect(try cgroup.isFrozen())
            #expect(duration < .seconds(5))
            let frozen = try sampler.sample().cpuTime
            MonotonicClock.sleepThread(for: .milliseconds(20))
            #expect(try sampler.sample().cpuTime == frozen)
            try cgroup.thaw()
            #expect(try !cgroup.isFrozen())
            #expect(try await eventually { try sampler.sample().cpuTime > frozen })
            #expect(try cgroup.processes() == [pid])
        }
    }

    @Test func `frozen processes can be killed, and all that they started`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("kill")
            let parent = try start("sh -c 'sleep 60 & sleep 60 & wait'", in: cgroup)
            #expect(try await eventually { try cgroup.processes().count == 3 })
            try await cgroup.freeze()
            try await cgroup.kill()
            #expect(try ProcessControl.waitForChild(parent) == .signalled(number: SIGKILL, hasDumpedCore: false))
            #expect(try await eventually { try cgroup.processes().isEmpty })
            try await cgroup.remove()
        }
    }

    @Test func `a cgroup in use is not removed, and the error says why`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("busy")
            _ = try start("sleep 60", in: cgroup)
            let error = await #expect(throws: SystemError.self) { try await cgroup.remove(timeout: .milliseconds(30)) }
            #expect(error?.code == EBUSY)
            #expect(error?.description.contains("kill them first") ?? false)
        }
    }

    @Test func `cgroups that a container made below its own are counted, killed and removed`() async throws {
        try await withSlice { slice in
            let outer = try slice.create("outer")
            let inner = try CgroupSlice(in: outer.hierarchy, path: outer.path).cgroup("inner")
            for place in outer.hierarchy.places where FileSystem.exists(place.mountPoint + outer.path) {
                try FileSystem.createFolder(place.mountPoint + inner.path)
            }
            let pid = try start("sleep 60", in: inner)
            #expect(try outer.processes() == [pid])
            try await outer.kill()
            try await outer.remove()
            #expect(!inner.exists)
        }
    }

    @Test func `the quota is felt, and told by the sample`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("quota")
            try cgroup.setCPUQuota(0.1)
            _ = try start("sh -c 'while :; do :; done'", in: cgroup)
            let sampler = try cgroup.makeSampler()
            // A process that gets its time late in each period, since others run too, is throttled for little of it.
            #expect(
                try await eventually {
                    let sample = try sampler.sample()
                    return sample.throttledPeriods >= 3 && sample.throttledTime > .milliseconds(50)
                }
            )
            let sample = try sampler.sample()
            #expect(sample.periods >= sample.throttledPeriods)
            #expect(sample.cpuTime >= .milliseconds(20))
            #expect(sample.processes == 1)
            #expect(sample.memory > .zero)
        }
    }

    @Test func `memory over the limit kills, and the sample tells`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("memory")
            try cgroup.setMemoryLimit(.mebibytes(24))
            let sampler = try cgroup.makeSampler()
            #expect(try sampler.sample().memoryKills == 0)
            // tail keeps what has no line end.
            let pid = try start("sh -c 'head -c 200000000 /dev/zero | tail -n 1; exit 3'", in: cgroup)
            #expect(try ProcessControl.waitForChild(pid) == .exited(code: 3))
            #expect(try await eventually { try sampler.sample().memoryKills == 1 })
            let sample = try sampler.sample()
            if let peak = sample.memoryPeak { #expect(peak > .mebibytes(20) && peak <= .mebibytes(24)) }
            #expect(try cgroup.memoryStatistics().anonymous < .mebibytes(24))
        }
    }

    @Test func `a limit below what is in use is refused and the old one stays`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("in-use")
            try cgroup.setMemoryLimit(.mebibytes(256))
            let sampler = try cgroup.makeSampler()
            let pid = try start("sh -c '(head -c 60000000 /dev/zero; sleep 60) | tail -n 1'", in: cgroup)
            #expect(try await eventually { try sampler.sample().memory > .mebibytes(50) })
            let error = #expect(throws: SystemError.self) { try cgroup.setMemoryLimit(.mebibytes(16)) }
            #expect(error?.code == EBUSY)
            #expect(error?.description.contains("choose a higher limit") ?? false)
            #expect(try cgroup.memoryLimit() == .mebibytes(256))
            #expect(ProcessIdentity(of: pid)?.isAlive == true)
        }
    }

    @Test func `what a runtime left in other hierarchies is removed too`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("left")
            for mountPoint in cgroup.hierarchy.mountPoints {
                try? FileSystem.createFolder(mountPoint + cgroup.path)
            }
            try await cgroup.remove()
            for mountPoint in cgroup.hierarchy.mountPoints {
                #expect(!FileSystem.exists(mountPoint + cgroup.path), "\(mountPoint)")
            }
        }
    }

    @Test func `pressure is not known, instead of zero, while nobody is there to wait`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("pressure")
            let sampler = try cgroup.makeSampler()
            let canTell = cgroup.hierarchy.unifiedMountPoint.map {
                FileSystem.exists("\($0)\(cgroup.path)/cpu.pressure")
            }
            if cgroup.hierarchy.mode == .hybrid { #expect(try sampler.sample().cpuPressure == nil) }
            for _ in 0..<(Machine.processorCount + 1) { _ = try start("sh -c 'while :; do :; done'", in: cgroup) }
            if canTell == true {
                #expect(
                    try await eventually { try sampler.sample().cpuPressure.map { $0.some.total > .zero } ?? false }
                )
            }
        }
    }

    @Test func `a sampler of a removed cgroup says that it is gone`() async throws {
        try await withSlice { slice in
            let cgroup = try slice.create("gone")
            let sampler = try cgroup.makeSampler()
            _ = try sampler.sample()
            try await cgroup.remove()
            let error = #expect(throws: SystemError.self) { try sampler.sample() }
            #expect(error?.isAbsent ?? false)
            #expect(throws: SystemError.self) { try cgroup.makeSampler() }
        }
    }
}
