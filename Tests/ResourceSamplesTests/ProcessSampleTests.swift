import ResourceSamples
import Testing

@Suite struct ProcessSampleTests {
    @Test func `/proc/PID/stat of a running program`() throws {
        let text = try Fixtures.bytes("\(Fixtures.v1)/proc-pid-stat")
        let sample = try ProcessSample(parsing: text.span)
        #expect(sample.id == 2965)
        #expect(sample.command == "cat")
        #expect(sample.state == "R")
        #expect((sample.parent, sample.processGroup, sample.session) == (2869, 2861, 4623))
        #expect(sample.startTicks == 405_862)
        #expect(sample.threads == 1)
        #expect(sample.residentPages == 388)
        #expect(sample.isAlive)
    }

    @Test(arguments: ["a b", ") R 1 (", "((", "x) Z 0", ""])
    func `a command may hold blanks and parentheses`(command: String) throws {
        let text = bytes("7 (\(command)) Z 1 7 7 0 -1 0 0 0 0 0 150 25 0 0 20 0 3 0 99 0 5 0 0\n")
        let sample = try ProcessSample(parsing: text.span)
        #expect(sample.command == command)
        #expect(sample.state == "Z")
        #expect(!sample.isAlive)
        #expect(sample.userTime == .milliseconds(1500))
        #expect(sample.systemTime == .milliseconds(250))
        #expect(sample.startTicks == 99)
    }

    @Test(arguments: [
        "", "7", "7 (x", "7 (x) R", "7 (x) R 1 2 3", "x (y) R 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 99 0 5",
    ])
    func `a damaged text is an error, not a trap`(text: String) {
        let text = bytes(text)
        #expect(throws: SampleError.self) { try ProcessSample(parsing: text.span) }
    }
}
