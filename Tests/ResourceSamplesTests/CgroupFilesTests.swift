import ClusterModel
import ResourceSamples
import Testing

@Suite struct CgroupFilesTests {
    @Test func `cpu.stat of version 1 counts in nanoseconds, of version 2 in microseconds`() throws {
        let first = try Fixtures.bytes("\(Fixtures.v1)/cpu.stat")
        let v1 = try CgroupCPUStatistics(parsing: first.span)
        #expect(v1.usage == nil)
        #expect((v1.periods, v1.throttledPeriods) == (32, 31))
        #expect(v1.throttledTime == .nanoseconds(1_975_977_156))

        let second = try Fixtures.bytes("\(Fixtures.v2)/cpu.stat")
        let v2 = try CgroupCPUStatistics(parsing: second.span)
        #expect(v2.usage == .microseconds(81_734_520))
        #expect(v2.userTime == .microseconds(80_911_348))
        #expect((v2.periods, v2.throttledPeriods) == (1207, 393))
        #expect(v2.throttledTime == .microseconds(25_114_906))

        let root = try Fixtures.bytes("\(Fixtures.v2)/cpu.stat.root")
        #expect(try CgroupCPUStatistics(parsing: root.span).periods == 0)
    }

    @Test func `memory.stat of either version`() throws {
        let first = try Fixtures.bytes("\(Fixtures.v1)/memory.stat")
        let v1 = try CgroupMemoryStatistics(parsing: first.span)
        #expect(v1.file == .bytes(24576))
        #expect(v1.anonymous == .bytes(118_784))
        let second = try Fixtures.bytes("\(Fixtures.v2)/memory.stat")
        let v2 = try CgroupMemoryStatistics(parsing: second.span)
        #expect(v2.anonymous == .mebibytes(192))
        #expect(v2.file == .mebibytes(56))
        #expect(v2.inactiveFile == .mebibytes(40))
        #expect(v2.shared == .mebibytes(4))
    }

    @Test func `version 1 counts descendants in the total lines, whatever their order`() throws {
        let text = bytes("inactive_file 5\ntotal_rss 9\nrss 7\ntotal_inactive_file 8\n")
        let statistics = try CgroupMemoryStatistics(parsing: text.span)
        #expect(statistics.inactiveFile == .bytes(8))
        #expect(statistics.anonymous == .bytes(9))
    }

    @Test func `kills for memory`() throws {
        let first = try Fixtures.bytes("\(Fixtures.v1)/memory.oom_control")
        #expect(try CgroupMemoryEvents(parsing: first.span).kills == 1)
        let second = try Fixtures.bytes("\(Fixtures.v2)/memory.events")
        let events = try CgroupMemoryEvents(parsing: second.span)
        #expect((events.limitReached, events.outOfMemory, events.kills) == (52, 3, 2))
    }

    @Test func `frozen and populated`() throws {
        let events = try Fixtures.bytes("\(Fixtures.v2)/cgroup.events")
        let parsed = try CgroupEvents(parsing: events.span)
        #expect(parsed.isPopulated && !parsed.isFrozen)
        let frozen = bytes("populated 1\nfrozen 1\n")
        #expect(try CgroupEvents(parsing: frozen.span).isFrozen)
        let state = try Fixtures.bytes("\(Fixtures.v1)/freezer.state")
        #expect(try FreezerState(parsing: state.span) == .thawed)
        let unknown = bytes("MELTING\n")
        #expect(throws: SampleError.self) { try FreezerState(parsing: unknown.span) }
    }

    @Test func `limits, and the ways of saying that there is none`() throws {
        func limit(_ name: String) throws -> UInt64? {
            let text = try Fixtures.bytes(name)
            return try CgroupValue.limit(parsing: text.span, file: name)
        }
        #expect(try limit("\(Fixtures.v1)/memory.limit_in_bytes") == 67_108_864)
        #expect(try limit("\(Fixtures.v1)/memory.limit_in_bytes.none") == nil)
        #expect(try limit("\(Fixtures.v1)/pids.max") == nil)
        #expect(try limit("\(Fixtures.v2)/memory.max") == 536_870_912)
        #expect(try limit("\(Fixtures.v2)/memory.high") == nil)
        let unlimited = bytes("-1\n")
        #expect(try CgroupValue.limit(parsing: unlimited.span, file: "cpu.cfs_quota_us") == nil)
    }

    @Test func `quota and period`() throws {
        let limited = try Fixtures.bytes("\(Fixtures.v2)/cpu.max")
        let maximum = try CgroupValue.cpuMaximum(parsing: limited.span)
        #expect(maximum.quota == .milliseconds(150) && maximum.period == .milliseconds(100))
        let free = try Fixtures.bytes("\(Fixtures.v2)/cpu.max.none")
        #expect(try CgroupValue.cpuMaximum(parsing: free.span).quota == nil)
        let bad = bytes("max\n")
        #expect(throws: SampleError.self) { try CgroupValue.cpuMaximum(parsing: bad.span) }
    }

    @Test func `numbers, lists and words`() throws {
        let usage = try Fixtures.bytes("\(Fixtures.v1)/cpuacct.usage")
        #expect(try CgroupValue.number(parsing: usage.span, file: "cpuacct.usage") == 652_044_332)
        let processes = try Fixtures.bytes("\(Fixtures.v2)/cgroup.procs")
        #expect(try CgroupValue.processes(parsing: processes.span) == [4021, 4077, 4078])
        let foreign = bytes("0\n12\n")
        #expect(try CgroupValue.processes(parsing: foreign.span) == [12])
        let controllers = try Fixtures.bytes("\(Fixtures.v2)/cgroup.controllers")
        #expect(CgroupValue.words(parsing: controllers.span).contains("memory"))
        let overflow = bytes("18446744073709551616")
        #expect(throws: SampleError.self) { try CgroupValue.number(parsing: overflow.span, file: "memory.current") }
    }

    @Test func `use between two samples`() {
        let early = CgroupSample(time: Timestamp(seconds: 10), cpuTime: .seconds(1))
        let late = CgroupSample(time: Timestamp(seconds: 12), cpuTime: .seconds(4))
        #expect(late.usage(since: early) == 1.5)
        #expect(early.usage(since: early) == nil)
        let restarted = CgroupSample(time: Timestamp(seconds: 14), cpuTime: .seconds(1))
        #expect(restarted.usage(since: late) == nil)
    }
}
