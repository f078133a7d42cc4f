import ClusterModel
import Glibc
import LinuxSystem
import ResourceSamples
import Testing

/// A folder that looks like a mounted cgroup v2, with files as a kernel 6.8 writes them.
final class UnifiedTree: Sendable {
    let folder: TemporaryFolder
    let hierarchy: CgroupHierarchy

    init(controllers: String? = nil) throws {
        folder = try TemporaryFolder()
        try FileSystem.writeAtomically(
            controllers ?? fixture("linux-6.8-v2/cgroup.controllers"),
            to: folder("cgroup.controllers")
        )
        try FileSystem.writeAtomically("\n", to: folder("cgroup.subtree_control"))
        try FileSystem.writeAtomically("", to: folder("cgroup.procs"))
        let line = "34 23 0:29 / \(folder.path) rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
        let text = Array(line.utf8)
        hierarchy = try CgroupHierarchy.detect(root: folder.path, mounts: MountEntry.parse(text.span))
    }

    /// Fills a group with the files that the kernel would give it.
    func populate(_ path: String, controllers: String = "cpu memory pids\n") throws {
        try FileSystem.createFolder(folder.path + path)
        let names = [
            "cgroup.events", "cpu.max", "cpu.weight", "cpu.stat", "cpu.pressure", "memory.current", "memory.peak",
            "memory.max", "memory.high", "memory.swap.max", "memory.events", "memory.stat", "pids.current", "pids.max",
        ]
        for name in names { try write(path, name, fixture("linux-6.8-v2/\(name)")) }
        try write(path, "cgroup.controllers", controllers)
        for name in ["cgroup.subtree_control", "cgroup.procs", "cgroup.freeze", "cgroup.kill"] {
            try write(path, name, "")
        }
    }

    func write(_ path: String, _ name: String, _ text: String) throws {
        try FileSystem.writeAtomically(text, to: "\(folder.path)\(path)/\(name)")
    }

    func read(_ path: String, _ name: String) throws -> String {
        try FileSystem.readText("\(folder.path)\(path)/\(name)")
    }
}

@Suite struct CgroupUnifiedTests {
    let tree: UnifiedTree
    let slice: CgroupSlice
    let cgroup: Cgroup

    init() throws {
        tree = try UnifiedTree()
        slice = try CgroupSlice(in: tree.hierarchy, path: "/godwit")
        try tree.populate("/godwit")
        try tree.populate("/godwit/job")
        cgroup = try #require(try slice.open("job"))
    }

    @Test func `weight and quota in the files and units of version 2`() throws {
        try cgroup.setCPUWeight(0.5)
        let expected = Cgroup.cpuWeight(0.5, isUnified: true)
        #expect(try tree.read("/godwit/job", "cpu.weight") == expected)
        try cgroup.setCPUQuota(1.5)
        #expect(try tree.read("/godwit/job", "cpu.max") == "150000 100000")
        #expect(try cgroup.cpuQuota() == 1.5)
        try cgroup.setCPUQuota(nil)
        #expect(try tree.read("/godwit/job", "cpu.max") == "max 100000")
        #expect(try cgroup.cpuQuota() == nil)
    }

    @Test func `a memory limit also forbids swap`() throws {
        try cgroup.setMemoryLimit(.gibibytes(1))
        #expect(try tree.read("/godwit/job", "memory.max") == "1073741824")
        #expect(try tree.read("/godwit/job", "memory.swap.max") == "0")
        try cgroup.setMemoryLimit(nil)
        #expect(try tree.read("/godwit/job", "memory.max") == "max")
        #expect(try tree.read("/godwit/job", "memory.swap.max") == "max")
    }

    @Test func `a limit below what is in use has the kernel reclaim first, and never kill`() throws {
        // 256 MiB are in use, and this kernel reclaims nothing.
        let error = #expect(throws: SystemError.self) { try cgroup.setMemoryLimit(.mebibytes(100)) }
        #expect(error?.code == EBUSY)
        #expect(error?.description.contains("256 MiB are in use") ?? false)
        #expect(try tree.read("/godwit/job", "memory.max") == "536870912\n")
        #expect(try tree.read("/godwit/job", "memory.high") == "max")
    }

    @Test func `processes are limited and moved`() throws {
        try cgroup.setProcessLimit(64)
        #expect(try tree.read("/godwit/job", "pids.max") == "64")
        try cgroup.add(process: 4021)
        #expect(try tree.read("/godwit/job", "cgroup.procs") == "4021\n")
        #expect(try cgroup.processes() == [4021])
    }

    @Test func `freezing waits until cgroup.events says so`() async throws {
        let tree = tree
        let cgroup = cgroup
        let answer = Event()
        async let kernel: Void = {
            // The kernel's part: it sees the request and some time later reports.
            _ = try await eventually { try tree.read("/godwit/job", "cgroup.freeze") == "1" }
            MonotonicClock.sleepThread(for: .milliseconds(5))
            answer.happen()
            try tree.write("/godwit/job", "cgroup.events", "populated 1\nfrozen 1\n")
        }()
        try await cgroup.freeze(timeout: .seconds(50))
        #expect(answer.hasHappened)
        try await kernel
        #expect(try cgroup.isFrozen())
        try cgroup.thaw()
        #expect(try tree.read("/godwit/job", "cgroup.freeze") == "0")
    }

    @Test func `a freeze that does not happen is undone and told`() async throws {
        let cgroup = cgroup
        let error = await #expect(throws: SystemError.self) { try await cgroup.freeze(timeout: .milliseconds(40)) }
        #expect(error?.code == ETIMEDOUT)
        #expect(try tree.read("/godwit/job", "cgroup.freeze") == "0")

        let task = Task { try await cgroup.freeze(timeout: .seconds(60)) }
        #expect(try await eventually { try tree.read("/godwit/job", "cgroup.freeze") == "1" })
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try tree.read("/godwit/job", "cgroup.freeze") == "0")
    }

    @Test func `killing is one write that no fork escapes`() throws {
        try cgroup.killAll()
        #expect(try tree.read("/godwit/job", "cgroup.kill") == "1")
    }

    @Test func `a sample from the files of version 2`() throws {
        let sample = try cgroup.makeSampler().sample()
        #expect(sample.cpuTime == .microseconds(81_734_520))
        #expect(sample.throttledTime == .microseconds(25_114_906))
        #expect((sample.periods, sample.throttledPeriods) == (1207, 393))
        #expect(sample.memory == .mebibytes(256) && sample.memoryPeak == .mebibytes(288))
        #expect(sample.memoryKills == 2 && sample.processes == 7)
        #expect(sample.cpuPressure?.some.tenSeconds == 12.43)
    }

    @Test func `kernels and configurations that lack files give a sample without them`() throws {
        for name in ["memory.peak", "cpu.pressure", "pids.current"] {
            try FileSystem.removeAll(tree.folder("godwit/job/\(name)"))
        }
        let sample = try cgroup.makeSampler().sample()
        #expect(sample.memoryPeak == nil && sample.cpuPressure == nil && sample.processes == nil)
        #expect(sample.cpuTime > .zero)
    }

    @Test func `a file in an unknown form is an error with its name`() throws {
        try tree.write("/godwit/job", "memory.current", "lots\n")
        let error = #expect(throws: SampleError.self) { try cgroup.makeSampler().sample() }
        #expect(error?.description.contains("memory.current") ?? false)
    }

    @Test func `the slice hands down the controllers that its parent has`() throws {
        try slice.setUp()
        // A plain file holds the last of the writes, which are one for each controller.
        #expect(try tree.read("", "cgroup.subtree_control") == "+pids")
        #expect(try tree.read("/godwit", "cgroup.subtree_control") == "+pids")
        #expect(try slice.names() == ["job"])
    }

    @Test func `a controller that is not handed down is named`() throws {
        try tree.write("/godwit", "cgroup.controllers", "cpu pids\n")
        let error = #expect(throws: SystemError.self) { try slice.setUp() }
        #expect(error?.description.contains("controller memory") ?? false)
        #expect(error?.description.contains("Delegate=yes") ?? false)
    }

    @Test func `a missing controller is an error with a remedy, not a silent nothing`() throws {
        let poor = try UnifiedTree(controllers: "cpu\n")
        let slice = try CgroupSlice(in: poor.hierarchy)
        try FileSystem.createFolder(poor.folder("godwit/job"))
        let cgroup = try #require(try slice.open("job"))
        let error = #expect(throws: SystemError.self) { try cgroup.setMemoryLimit(.gibibytes(1)) }
        #expect(error?.description.contains("memory") ?? false)
    }

    @Test func `the agent moves into a leaf of its own cgroup, and containers go beside it`() async throws {
        let home = "/system.slice/godwitd.service"
        try tree.populate(home)
        try tree.populate("\(home)/agent")
        try tree.write(home, "cgroup.procs", "4021\n")
        let text = Array(try fixture("linux-6.8-v2/proc-cgroup").utf8)
        let memberships = try CgroupMembership.parse(text.span)
        let (tree, hierarchy) = (tree, tree.hierarchy)
        async let delegated = CgroupSlice.delegated(in: hierarchy, memberships: memberships)
        // The kernel's part: a process that is written into the leaf disappears above.
        async let kernel: Void = {
            _ = try await eventually { try tree.read("\(home)/agent", "cgroup.procs") == "4021\n" }
            try tree.write(home, "cgroup.procs", "")
        }()
        do { #expect(try await delegated.path == home) } catch let error as SystemError {
            // Ten rounds can pass before the stand-in for the kernel has acted; then it says so.
            #expect(error.code == EBUSY)
        }
        try await kernel
        let again = try membership("\(home)/agent")
        #expect(try CgroupSlice.delegated(in: hierarchy, memberships: again).path == home)
        #expect(try CgroupSlice.delegated(in: hierarchy, memberships: again).names().isEmpty)
    }

    private func membership(_ path: String) throws -> [CgroupMembership] {
        let text = Array("0::\(path)\n".utf8)
        return try CgroupMembership.parse(text.span)
    }

    @Test func `delegation needs a cgroup other than the root`() throws {
        let root = try membership("/")
        #expect(throws: SystemError.self) { try CgroupSlice.delegated(in: tree.hierarchy, memberships: root) }
        #expect(throws: SystemError.self) { try CgroupSlice.delegated(in: tree.hierarchy, memberships: []) }
        for path in ["", "godwit", "/", "/a/../b"] {
            #expect(throws: SystemError.self) { try CgroupSlice(in: tree.hierarchy, path: path) }
        }
    }
}
