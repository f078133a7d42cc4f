import ClusterModel
import ClusterState
import Foundation
import Testing

/// What nodes say about their machines.
struct NodePlatformRecordTests {
    private static let platform = NodePlatform(
        architecture: "amd64",
        features: ProcessorFeatures(["sse2"], architecture: "amd64"),
        stateSize: 832,
        kernel: NodePlatform.Version(6, 1),
        criu: NodePlatform.Version(4, 2)
    )

    private static func registration(speaks: Int = ClusterState.newestVersion) -> NodeRegistration {
        NodeRegistration(
            node: NodeID(rawValue: "n1"),
            member: 1,
            site: SiteID(rawValue: "north"),
            address: "10.0.0.1:7420",
            vcpus: 4,
            memory: .gibibytes(4),
            speaks: speaks,
            time: Bench.at(0)
        )
    }

    @Test func aPlatformIsToldWhenAllNodesKnowWhatItIs() {
        var state = ClusterState()
        var told = Self.registration(speaks: 5)
        #expect(state.apply(.registerNode(told)).refusal == nil)
        told.platform = Self.platform
        #expect(state.apply(.registerNode(told)).refusal != nil)
        #expect(state.apply(.registerNode(Self.registration())).refusal == nil)
        told.speaks = ClusterState.newestVersion
        #expect(state.apply(.registerNode(told)).refusal == nil)
        #expect(state.node(told.node)?.platform == Self.platform)
        told.platform?.architecture = ""
        #expect(state.apply(.registerNode(told)).refusal != nil)
    }

    @Test func aCheckpointKeepsWhatItsNodeSaid() throws {
        var state = ClusterState()
        #expect(state.apply(.registerNode(Self.registration())).refusal == nil)
        var told = Self.registration()
        told.platform = Self.platform
        let job = JobID(rawValue: "job1aaaaaaaa")
        let specification = JobSpecification(name: "one", kind: .batch, image: .rootFolder(path: "/r"))
        let incarnation = Incarnation(rawValue: 1)
        let entry = CatalogEntry(
            generation: CheckpointGeneration(rawValue: 1),
            taken: Bench.at(9),
            node: told.node,
            incarnation: incarnation,
            frozen: .zero,
            total: .zero,
            raw: .mebibytes(1),
            stored: .mebibytes(1),
            consumed: .zero,
            completedIterations: 0
        )
        for command: Command in [
            .registerNode(told),
            .submit(
                Submission(id: job, specification: specification, submitter: Bench.user, time: Bench.at(1))
            ),
            .assign(job: job, node: told.node, reason: "It fits.", time: Bench.at(2)),
            .begin(job: job, node: told.node, time: Bench.at(3)),
            .started(job: job, incarnation: incarnation, time: Bench.at(4)),
            .beginCheckpoint(job: job, incarnation: incarnation, time: Bench.at(8)),
            .checkpointRecorded(job: job, entry: entry, time: Bench.at(9)),
        ] {
            #expect(state.apply(command).refusal == nil, "\(command)")
        }
        // Another machine under the same name changes nothing about it.
        told.platform?.architecture = "arm64"
        #expect(state.apply(.registerNode(told)).refusal == nil)
        #expect(state.job(job)?.newestGoodCheckpoint?.platform == Self.platform)
        let again = try JSONDecoder().decode(ClusterState.self, from: JSONEncoder().encode(state))
        #expect(again == state)
    }
}
