import ClusterModel
import ClusterState
import Foundation
import Testing

/// What older versions wrote is read, and what newer ones wrote is told apart from damage.
struct StoredFormTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Stored")

    private static func bytes(_ name: String) throws -> Data { try Data(contentsOf: folder.appending(path: name)) }

    /// The snapshot and the log of version 1, before there were nodes, as that version wrote them.
    @Test func aClusterOfVersionOneIsRead() throws {
        let state = try JSONDecoder().decode(ClusterState.self, from: Self.bytes("state-1.json"))
        #expect(state.jobs.map(\.state) == [.suspended, .checkpointing, .starting, .cancelled])
        #expect(state.jobs.allSatisfy { $0.assignedNode == nil && $0.specification.onPartition == .stop })
        #expect(state.jobs.allSatisfy { $0.specification.constraints == JobSpecification.Constraints() })
        #expect(state.limits.liveJobs == 50)
        #expect(state.nodes.isEmpty && state.audit.isEmpty && state.keyring == nil && state.clusterID == nil)
        #expect(state.version == ClusterState.oldestVersion)

        var replayed = ClusterState()
        for stored in try JSONDecoder().decode([StoredCommand].self, from: Self.bytes("log-1.json")) {
            #expect(replayed.apply(stored.command).acceptance != nil, "\(stored.command)")
        }
        #expect(replayed == state)
    }

    @Test func anOldStateIsWrittenAsTheNewVersionReadsIt() throws {
        let old = try JSONDecoder().decode(ClusterState.self, from: Self.bytes("state-1.json"))
        let again = try JSONDecoder().decode(ClusterState.self, from: JSONEncoder().encode(old))
        #expect(again == old)
    }

    @Test func aCommandOfANewerVersionIsNoDamage() throws {
        let stored = Data(#"{"teleport": {"job": "a"}}"#.utf8)
        let error = #expect(throws: UnknownCommand.self) { try JSONDecoder().decode(StoredCommand.self, from: stored) }
        #expect(error?.description.contains("'teleport'") == true)
        for damaged in [#"{"begin": {"job": 4}}"#, "{}", #"{"begin": {}, "teleport": {}}"#, "[]"] {
            #expect(throws: DecodingError.self, "\(damaged)") {
                try JSONDecoder().decode(StoredCommand.self, from: Data(damaged.utf8))
            }
        }
    }
}
