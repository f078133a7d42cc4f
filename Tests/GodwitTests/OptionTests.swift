import ClusterModel
import Testing

@testable import godwit

/// What people may write as an argument.
struct OptionTests {
    @Test func durationsHaveUnits() throws {
        #expect(try parseDuration("250ms") == .milliseconds(250))
        #expect(try parseDuration("1.5s") == .milliseconds(1500))
        #expect(try parseDuration("1h30min") == .seconds(5400))
        #expect(try parseDuration("2d") == .seconds(172_800))
        for wrong in ["", "10", "s", "10 s", "-1s", "1.2.3s", "1y", "1e9s", "99999999d"] {
            #expect(throws: ArgumentProblem.self, "\(wrong)") { try parseDuration(wrong) }
        }
    }

    @Test func memoryHasUnits() throws {
        #expect(try parseMemory("1GiB") == .gibibytes(1))
        #expect(try parseMemory("1.5 MiB") == .bytes(1_572_864))
        #expect(try parseMemory("2GB") == .bytes(2_000_000_000))
        for wrong in ["", "5", "0MiB", "-1MiB", "1gib", "9999999TiB"] {
            #expect(throws: ArgumentProblem.self, "\(wrong)") { try parseMemory(wrong) }
        }
    }

    @Test func vcpusArePositiveAndFinite() throws {
        #expect(try parseVCPUs("1.5") == 1.5)
        #expect(try parseVCPULimit("none") == .none)
        #expect(try parseVCPULimit("2") == .vcpus(2))
        for wrong in ["", "0", "-1", "nan", "inf", "5000", "two"] {
            #expect(throws: ArgumentProblem.self, "\(wrong)") { try parseVCPUs(wrong) }
        }
    }

    @Test func globalOptionsMayStandFirst() {
        #expect(
            Program.hoistingGlobalOptions(["-o", "json", "--agent=a:1", "job", "list"])
                == ["job", "list", "-o", "json", "--agent=a:1"]
        )
        #expect(
            Program.hoistingGlobalOptions(["--color", "never", "job", "show", "--", "-x"])
                == ["job", "show", "--color", "never", "--", "-x"]
        )
        #expect(Program.hoistingGlobalOptions(["job", "-o", "json"]) == ["job", "-o", "json"])
        #expect(Program.hoistingGlobalOptions(["--help"]) == ["--help"])
    }
}
