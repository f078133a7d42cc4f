import ClusterModel
import ResourceSamples
import Testing

@Suite struct MemorySampleTests {
    @Test func `/proc/meminfo`() throws {
        let text = try Fixtures.bytes("\(Fixtures.v1)/proc-meminfo")
        let sample = try MemorySample(parsing: text.span)
        #expect(sample.total == .kibibytes(24_684_092))
        #expect(sample.available == .kibibytes(23_070_200))
        #expect(sample.used == .kibibytes(24_684_092 - 23_070_200))
        #expect(sample.swapTotal == .zero)
    }

    @Test func `kernels without MemAvailable get an estimate`() throws {
        let text = bytes("MemTotal: 1000 kB\nMemFree: 300 kB\nCached: 200 kB\n")
        #expect(try MemorySample(parsing: text.span).available == .kibibytes(500))
    }

    @Test func `a line with another unit is refused`() {
        let text = bytes("MemTotal: 1000 MB\n")
        #expect(throws: SampleError.self) { try MemorySample(parsing: text.span) }
        let missing = bytes("MemFree: 1000 kB\n")
        #expect(throws: SampleError.self) { try MemorySample(parsing: missing.span) }
    }
}
