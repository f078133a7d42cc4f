import Containers
import LinuxSystem
import Testing

/// What CRIU knows about the kernel is asked for once.
struct CRIUKernelCacheTests {
    @Test func laterRunsOfCRIUFindTheAnswers() async throws {
        let criu = try #require(await NodeFacts.shared.value.criu?.tool.path)
        #expect(await CRIUKernelCache.renew(["/no/criu/here", criu]) == nil)
        let log = "/tmp/godwit-test-kernel-cache-\(UInt32.random(in: 0..<UInt32.max)).log"
        defer { try? FileSystem.removeAll(log) }
        let check = ProgramCommand(criu, ["check", "-v4", "--log-file", log])
        #expect(try await ProcessRunner.run(check, timeout: .seconds(20)).isSuccess)
        #expect(try FileSystem.readText(log, limit: 1 << 20).contains("Loaded kdat cache"))
    }
}
