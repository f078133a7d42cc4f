import ClusterModel
import ResourceSamples
import Testing

/// Every parser is given damaged kernel texts and noise: it may refuse them, it may not trap.
@Suite struct FuzzTests {
    static func parseEverything(_ text: [UInt8]) {
        _ = try? ProcessorSample(parsing: text.span)
        _ = try? LoadAverage(parsing: text.span)
        _ = try? ProcessSample(parsing: text.span)
        _ = try? MemorySample(parsing: text.span)
        _ = try? PressureSample(parsing: text.span)
        _ = try? MountEntry.parse(text.span)
        _ = try? CgroupMembership.parse(text.span)
        _ = try? CgroupCPUStatistics(parsing: text.span)
        _ = try? CgroupMemoryStatistics(parsing: text.span)
        _ = try? CgroupMemoryEvents(parsing: text.span)
        _ = try? CgroupEvents(parsing: text.span)
        _ = try? FreezerState(parsing: text.span)
        _ = try? CgroupValue.number(parsing: text.span, file: "f")
        _ = try? CgroupValue.limit(parsing: text.span, file: "f")
        _ = try? CgroupValue.cpuMaximum(parsing: text.span)
        _ = try? CgroupValue.processes(parsing: text.span)
        _ = CgroupValue.words(parsing: text.span)
    }

    @Test(arguments: Fixtures.all)
    func `damaged kernel texts are refused or read, never a trap`(fixture: String) throws {
        let original = try Fixtures.bytes(fixture)
        var generator = SeededGenerator(seed: UInt64(original.count) &* 31 &+ UInt64(fixture.utf8.count))
        let insertions: [[UInt8]] = [
            Array("18446744073709551615".utf8), Array("99999999999999999999999".utf8), Array("-1".utf8), [0], [10],
            [32], [255, 254], Array("(".utf8), Array(")".utf8), Array(" - ".utf8), Array("max".utf8), Array(":".utf8),
            Array("\\777".utf8), Array("\\0".utf8),
        ]
        for _ in 0..<300 {
            var text = original
            for _ in 0...Int(generator.next() % 4) {
                let place = text.isEmpty ? 0 : Int(generator.next() % UInt64(text.count))
                switch generator.next() % 4 {
                case 0 where !text.isEmpty: text[place] = UInt8(truncatingIfNeeded: generator.next())
                case 1: text.removeSubrange(place...)
                case 2 where !text.isEmpty:
                    text.removeSubrange(place..<min(text.count, place + Int(generator.next() % 16)))
                default:
                    text.insert(contentsOf: insertions[Int(generator.next() % UInt64(insertions.count))], at: place)
                }
            }
            Self.parseEverything(text)
        }
    }

    @Test func `noise is never a trap`() {
        var generator = SeededGenerator(seed: 20)
        let alphabet = Array("0123456789 \n\t:/-().,=maxcpuavgsometotal".utf8)
        for _ in 0..<5000 {
            let text = (0..<Int(generator.next() % 120)).map { _ in
                alphabet[Int(generator.next() % UInt64(alphabet.count))]
            }
            Self.parseEverything(text)
        }
    }

    @Test func `numbers are read as the standard library reads them`() {
        var generator = SeededGenerator(seed: 21)
        for _ in 0..<5000 {
            let digits = (0..<Int(generator.next() % 22)).map { _ in UInt8(48 + generator.next() % 11) }
            let text = String(decoding: digits, as: UTF8.self)
            #expect(digits.span.unsigned(0..<digits.count) == UInt64(text), "\(text)")
        }
    }
}
