import ClusterModel
import Foundation
import Testing

@testable import Storage

struct ChecksumTests {
    /// Vectors of RFC 3720, appendix B.4, and of the catalogue of CRC algorithms ("123456789").
    @Test func knownVectors() {
        #expect(Checksum.crc32c([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(Checksum.crc32c([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(Checksum.crc32c(Array(0..<32)) == 0x46DD_794E)
        #expect(Checksum.crc32c(Array((0..<32).reversed())) == 0x113F_DB5C)
        #expect(Checksum.crc32c(Array("123456789".utf8)) == 0xE306_9283)
        #expect(Checksum.crc32c([]) == 0)
    }

    @Test func eightAtOnceIsTheSameAsOneByOne() {
        var generator = SeededGenerator(seed: 2)
        for length in 0..<100 {
            let bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            var slow: UInt32 = ~0
            for byte in bytes {
                slow ^= UInt32(byte)
                for _ in 0..<8 { slow = slow & 1 == 1 ? (slow >> 1) ^ 0x82F6_3B78 : slow >> 1 }
            }
            #expect(Checksum.crc32c(bytes) == ~slow)
        }
    }
}

struct StateCodingTests {
    @Test func valuesComeBackAndEqualValuesHaveEqualBytes() throws {
        var specification = JobSpecification(name: "a", kind: .batch, image: .registry(reference: "docker://a/b"))
        specification.objective = .cpuTime(amount: .nanoseconds(1_234_567_891), frame: .seconds(86400))
        specification.weight = 0.1
        specification.environment = [.init(name: "A", value: "ü \u{0} \"/\"")]
        let bytes = try StateCoding.encode(specification)
        #expect(try StateCoding.decode(JobSpecification.self, from: bytes) == specification)
        #expect(try StateCoding.encode(specification) == bytes)
        #expect(throws: (any Error).self) { try StateCoding.encode([Double.infinity]) }
    }
}
