import Checkpointing
import ClusterModel
import ClusterState
import Logging
import Testing

@testable import Agent

/// What the source's side of a move does to the node.
struct MigrationSourceShellTests {
    private static let key = ContainerKey(job: JobID(rawValue: "job1aaaaaaaa"), incarnation: Incarnation(rawValue: 7))

    @Test("an agent that was killed after the hand-over leaves nothing in memory when the next one has settled it")
    func leavesNothing() async {
        let time = VirtualTime()
        let host = SimulatedContainerHost(clock: time)
        let specification = JobSpecification(name: "mover", kind: .batch, image: .rootFolder(path: "/r"))
        let plan = ContainerPlan(
            key: Self.key,
            specification: specification,
            allocation: 1,
            cpuLimit: nil,
            memoryLimit: nil
        )
        host.plant(plan, isFrozen: true)
        host.leaveHeld(Self.key)
        let request = MigrationSourceRequest(job: Self.key.job, number: 7, incarnation: Self.key.incarnation)
        let shell = MigrationSourceShell(
            MigrationSourceOperation(resuming: request, now: .now),
            of: .init(key: Self.key, specification: specification),
            voice: .init(
                handOver: { _ in .undecided },
                // The destination has all already: nobody asked this agent for anything before it knew.
                settle: { .released },
                giveUp: { _ in }
            ),
            host: host,
            desk: MigrationDesk(bytesPerSecond: 0, facts: { _ in MigrationFacts() }),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            now: { time.now },
            onFreeze: { _ in }
        )
        #expect(await shell.run() == .released)
        #expect(host.container(Self.key)?.exit != nil, "what was handed over never runs here again")
        #expect(host.heldFolders(Self.key) == nil)
    }
}
