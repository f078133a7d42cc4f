import ClusterModel
import Foundation
import Testing

/// Sets of processor features, and how they are stored.
struct NodePlatformTests {
    @Test func aSetKnowsItsNames() {
        let some = ProcessorFeatures(["avx2", "sse2", "no-such-thing", "rdpru"], architecture: "amd64")
        #expect(some.names(architecture: "amd64") == ["sse2", "avx2", "rdpru"])
        #expect(some.count == 3 && !some.isEmpty)
        let less = ProcessorFeatures(["sse2"], architecture: "amd64")
        #expect(some.subtracting(less).names(architecture: "amd64") == ["avx2", "rdpru"])
        #expect(less.subtracting(some).isEmpty)
        #expect(ProcessorFeatures(["sse2"], architecture: "riscv64").isEmpty)
    }

    @Test func aSetIsStoredAsDigits() throws {
        for names in [[], ["fpu"], ["rdpru"], ["fpu", "tbm", "rdpru"]] {
            let features = ProcessorFeatures(names, architecture: "amd64")
            let stored = try JSONEncoder().encode([features])
            #expect(try JSONDecoder().decode([ProcessorFeatures].self, from: stored) == [features])
        }
        let stored = try JSONEncoder().encode([ProcessorFeatures(["fpu", "rdpru"], architecture: "amd64")])
        #expect(
            String(decoding: stored, as: UTF8.self)
                == #"["400000000000000000000001"]"#
        )
        for damaged in [#"["xyz"]"#, #"["\#(String(repeating: "f", count: 257))"]"#] {
            #expect(throws: DecodingError.self) {
                try JSONDecoder().decode([ProcessorFeatures].self, from: Data(damaged.utf8))
            }
        }
    }

    @Test func whatANewerProgramNumbersIsToldByItsNumber() throws {
        let stored = Data(#"["1\#(String(repeating: "0", count: 48))"]"#.utf8)
        let features = try JSONDecoder().decode([ProcessorFeatures].self, from: stored)
        #expect(features[0].names(architecture: "amd64") == ["feature 192"])
    }
}
