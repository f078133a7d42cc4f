import ResourceSamples
import Testing

@Suite struct PressureSampleTests {
    @Test func `pressure of a machine and of a cgroup`() throws {
        let machine = try Fixtures.bytes("\(Fixtures.v1)/pressure-cpu")
        #expect(try PressureSample(parsing: machine.span).some.tenSeconds == 93.43)
        let cgroup = try Fixtures.bytes("\(Fixtures.v2)/cpu.pressure")
        let sample = try PressureSample(parsing: cgroup.span)
        #expect(sample.some.fiveMinutes == 3.05)
        #expect(sample.some.total == .microseconds(30_218_844))
        #expect(sample.full?.oneMinute == 9.21)
    }

    @Test func `kernels before 5.13 have no full line for the processor`() throws {
        let text = try Fixtures.bytes("\(Fixtures.v2)/cpu.pressure.5.12")
        let sample = try PressureSample(parsing: text.span)
        #expect(sample.full == nil)
        #expect(sample.some.total == .microseconds(74215))
    }

    @Test(arguments: [
        "", "some", "some avg10=1 avg60=0.00 avg300=0.00 total=1", "some avg10=0.00 avg60=0.00 total=1",
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0",
    ])
    func `a damaged text is an error`(text: String) {
        let text = bytes(text)
        #expect(throws: SampleError.self) { try PressureSample(parsing: text.span) }
    }
}
