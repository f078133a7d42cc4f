import ClusterModel
import ResourceSamples
import Testing

@Suite struct ProcessorSampleTests {
    @Test func `/proc/stat of a machine with two processors`() throws {
        let text = try Fixtures.bytes("\(Fixtures.v1)/proc-stat")
        let sample = try ProcessorSample(parsing: text.span)
        #expect(sample.each.count == 2)
        #expect(sample.all.user == .milliseconds(1_918_980))
        #expect(sample.all.nice == .milliseconds(330))
        #expect(sample.all.idle == .milliseconds(5_897_040))
        #expect(sample.all.stolen == .milliseconds(1790))
        #expect(sample.contextSwitches == 2_002_707)
        #expect(sample.each.map(\.user).reduce(.zero, +) == sample.all.user)
        #expect(sample.booted.seconds > 1_000_000_000)
        #expect(sample.forks > 0)
    }

    @Test func `utilization is busy time over all time between two readings`() {
        var (before, after) = (ProcessorTimes(), ProcessorTimes())
        (before.user, before.idle) = (.seconds(10), .seconds(10))
        (after.user, after.idle) = (.seconds(13), .seconds(11))
        #expect(after.utilization(since: before) == 0.75)
        #expect(after.utilization(since: after) == 0)
        // Idle counters may step back when a processor goes offline; that is no negative load.
        #expect(before.utilization(since: after) >= 0)
    }

    @Test func `columns of old kernels may be missing, the first four not`() throws {
        let old = bytes("cpu  1 2 3 4\n")
        #expect(try ProcessorSample(parsing: old.span).all.idle == .milliseconds(40))
        let short = bytes("cpu  1 2 3\n")
        #expect(throws: SampleError(file: "/proc/stat", line: 1, text: "cpu  1 2 3", expected: "at least four numbers"))
        {
            try ProcessorSample(parsing: short.span)
        }
    }

    @Test func `a damaged line is named with its number`() {
        let text = bytes("cpu  1 2 3 4\ncpu0 1 2 3 4\nctxt many\n")
        let error = #expect(throws: SampleError.self) { try ProcessorSample(parsing: text.span) }
        #expect(error?.description == "/proc/stat, line 3: expected a number after ctxt, found \"ctxt many\".")
        let empty = bytes("")
        #expect(throws: SampleError.self) { try ProcessorSample(parsing: empty.span) }
    }

    @Test func `load averages`() throws {
        let text = try Fixtures.bytes("\(Fixtures.v1)/proc-loadavg")
        let load = try LoadAverage(parsing: text.span)
        #expect(load.oneMinute == 4.38)
        #expect(load.fiveMinutes == 4.5)
        #expect(load.fifteenMinutes == 2.73)
        #expect((load.runnableThreads, load.threads) == (6, 158))
        let bad = bytes("0.1 0.2 nan 1/2 3\n")
        #expect(throws: SampleError.self) { try LoadAverage(parsing: bad.span) }
    }
}
