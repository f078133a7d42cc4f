import AgentConfiguration
import ClusterModel
import Foundation
import Testing

/// What lies in `agents/` is what the agent takes when nothing is set.
struct ShippedFileTests {
    /// `GODWIT_RECORD=1` writes the files anew.
    @Test(arguments: NodeRole.allCases)
    func shippedFileIsTheDefault(role: NodeRole) throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let file = root.appending(path: "agents/\(role.rawValue)/agent.yaml")
        let expected = AgentConfiguration.defaultDocument(role: role)
        if ProcessInfo.processInfo.environment["GODWIT_RECORD"] == "1" {
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(),
                withIntermediateDirectories: true
            )
            try expected.write(to: file, atomically: true, encoding: .utf8)
        }
        let shipped = try String(contentsOf: file, encoding: .utf8)
        #expect(shipped == expected, "run the test with GODWIT_RECORD=1 and commit agents/\(role.rawValue)/agent.yaml")
    }

    @Test(arguments: NodeRole.allCases)
    func everyLineOfTheShippedFileFitsAScreen(role: NodeRole) {
        for line in AgentConfiguration.defaultDocument(role: role).split(separator: "\n") {
            #expect(line.count <= 120, "\(line)")
            #expect(!line.hasSuffix(" "), "\(line)")
        }
    }

    @Test func onlyAWorkerStartsContainersByItself() {
        #expect(AgentConfiguration(role: .worker).limits.schedulesJobs)
        #expect(!AgentConfiguration(role: .gateway).limits.schedulesJobs)
    }
}
