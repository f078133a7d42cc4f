import ClusterModel
import ClusterState
import Synchronization
import Testing

@testable import Agent

/// A job waits while the node has no room for it, says why, and starts when there is.
@Suite(.timeLimit(.minutes(5)))
struct NodeControllerRoomTests {
    static func asking(_ name: String, memory: Int64 = 0, gpus: Int = 0) -> JobSpecification {
        Bench.specification(name) { specification in
            if memory > 0 { specification.resources.memory = .gibibytes(memory) }
            specification.resources.gpus = gpus
        }
    }

    @Test func aJobWaitsForMemoryAndStartsWhenThereIs() async throws {
        let bench = try await Bench.started()
        let first = try await bench.running(Self.asking("first", memory: 3))
        let second = try await bench.submit(Self.asking("second", memory: 2))
        let waiting = try await bench.until(second, "it says why") { $0.message.hasPrefix("Waits for memory") }
        #expect(waiting.state == .queued)
        #expect(
            waiting.message
                == "Waits for memory: it asks for 2 GiB, and 3 GiB of 4 GiB are promised to other jobs."
        )
        await bench.quiet()
        let index = await bench.replica.lastIndex
        for _ in 1...3 {
            await bench.advance(1)
            await bench.quiet()
        }
        #expect(await bench.replica.lastIndex == index, "a job that waits writes nothing, and costs nothing")
        #expect(try await bench.job(second).state == .queued)
        #expect(try await bench.sentences(second, .queued).count == 1, "an unchanged reason is told once")
        bench.host.end(bench.key(first), .exited(code: 0))
        await bench.gone(first)
        await bench.advance(1)
        try await bench.until(second, "it runs") { $0.state == .running }
        await bench.stop()
    }

    private static func own(_ name: String) -> JobSpecification { Bench.specification(name) { $0.network = .init() } }

    @Test func aJobWaitsForAnAddressAndKeepsItUntilItEnds() async throws {
        let gateway = try #require(IPv4Address("10.42.0.1"))
        let subnet = try #require(IPv4Prefix("10.42.0.0/16"))
        let range = try #require(IPv4Range("10.42.0.7-10.42.0.7"))
        let bench = try await Bench.started { $0.network = NodeNetwork(subnet: subnet, range: range, gateway: gateway) }
        let first = try await bench.running(Self.own("first"))
        let network = bench.host.container(bench.key(first))?.plan.network
        #expect(network?.address.description == "10.42.0.7/16" && network?.gateway == gateway)
        let plain = try await bench.running(Bench.specification("plain"))
        #expect(bench.host.container(bench.key(plain))?.plan.network == nil)

        let second = try await bench.submit(Self.own("second"))
        let waiting = try await bench.until(second, "it says why") { $0.message.hasPrefix("Waits for an address") }
        #expect(waiting.message.contains("all addresses of the node's range 10.42.0.7-10.42.0.7 are taken"))
        #expect(await bench.controller.claims[second] == nil, "a job that waits keeps no room")
        bench.host.end(bench.key(first), .exited(code: 0))
        await bench.gone(first)
        await bench.advance(1)
        try await bench.until(second, "it runs") { $0.state == .running }
        #expect(try await bench.job(second).address?.description == "10.42.0.7/16")
        await bench.stop()
    }

    @Test func aNodeWithoutABridgeCanNeverRunAJobWithAnAddress() async throws {
        let bench = try await Bench.started()
        #expect(await bench.controller.impossibility(Self.own("own"))?.contains("set network.bridge") == true)
        let id = try await bench.submit(Self.own("own"))
        try await bench.until(id, "it says why") { $0.message.contains("no bridge") }
        #expect(bench.host.running.isEmpty)
        await bench.stop()
    }

    @Test func aJobWaitsForRoomOnTheDiskAndStartsWhenThereIs() async throws {
        let free = Mutex(ByteCount.mebibytes(1))
        let disk = StateDisk(folder: "/state") { _ in free.withLock { $0 } }
        let bench = try await Bench.started { $0.diskProblem = { disk.problem() } }
        let id = try await bench.submit(Bench.specification("first"))
        let waiting = try await bench.until(id, "it says why") { $0.message.hasPrefix("Waits for room") }
        #expect(waiting.message.contains("The disk of /state is full (1 MiB free)"))
        #expect(await bench.controller.storageProblem?.contains("is full") == true)
        // As much again as it lacked: else it would change its mind with every line of a log.
        free.withLock { $0 = .mebibytes(12) }
        await bench.advance(3)
        await bench.quiet()
        #expect(try await bench.job(id).state == .queued)
        free.withLock { $0 = .mebibytes(16) }
        await bench.advance(1)
        try await bench.until(id, "it runs") { $0.state == .running }
        #expect(await bench.controller.storageProblem == nil)
        await bench.stop()
    }

    @Test func aJobThatCannotBeMadeForWantOfRoomIsNotAFailure() async throws {
        // There is room when the job begins, and none any more when its container is made.
        let looks = Mutex(0)
        let isFull = Mutex(true)
        let bench = try await Bench.started { settings in
            settings.diskProblem = {
                let look = looks.withLock { looks in
                    looks += 1
                    return looks
                }
                return look > 1 && isFull.withLock { $0 } ? "The disk is full." : nil
            }
        }
        bench.host.fail(.start, "No space left on device (ENOSPC)")
        let id = try await bench.submit(Bench.specification("first"))
        let waiting = try await bench.until(id, "it waits") { $0.message.hasPrefix("Waits for room") }
        #expect(waiting.state == .queued)
        #expect(
            try await bench.sentences(id, .warned).contains {
                $0.contains("The disk is full.") && $0.contains("ENOSPC")
            }
        )
        isFull.withLock { $0 = false }
        await bench.advance(1)
        try await bench.until(id, "it runs") { $0.state == .running }
        await bench.stop()
    }

    @Test func jobsThatComeAtOnceDoNotGetTheSameRoom() async throws {
        let bench = try await Bench.started()
        let gate = bench.host.hold(.start)
        let ids = [bench.newID(), bench.newID()]
        try await bench.replica.propose(
            zip(ids, ["a", "b"]).map { bench.submission($0, Self.asking($1, memory: 3)) }
        )
        await gate.reached()
        try await bench.until(ids[1], "the second waits") { $0.message.hasPrefix("Waits for memory") }
        #expect(try await bench.job(ids[0]).state == .starting)
        gate.open()
        try await bench.until(ids[0], "the first runs") { $0.state == .running }
        #expect(gate.arrivals == 1)
        await bench.stop()
    }

    @Test func devicesAreGivenToOneJobAtATimeAlsoAfterARestart() async throws {
        let bench = try await Bench.started { $0.devices = [0, 1] }
        let first = try await bench.running(Self.asking("first", gpus: 1))
        let second = try await bench.running(Self.asking("second", gpus: 1))
        let devices = [first, second].compactMap { bench.host.container(bench.key($0))?.plan.devices }
        #expect(devices == [[0], [1]])
        try await bench.restart()
        let third = try await bench.submit(Self.asking("third", gpus: 1))
        let waiting = try await bench.until(third, "it says why") { $0.message.hasPrefix("Waits for GPUs") }
        #expect(waiting.message == "Waits for GPUs: it asks for 1, and 0 of 2 are free.")
        bench.host.end(bench.key(second), .exited(code: 0))
        await bench.gone(second)
        await bench.advance(1)
        try await bench.until(third, "it runs") { $0.state == .running }
        #expect(bench.host.container(bench.key(third))?.plan.devices == [1])
        await bench.stop()
    }

    @Test func aJobKeepsItsDevicesFromIterationToIteration() async throws {
        let bench = try await Bench.started { $0.devices = [0] }
        var specification = Bench.iterative(count: 2)
        specification.resources.gpus = 1
        let id = try await bench.running(specification)
        let other = try await bench.submit(Self.asking("other", gpus: 1))
        try await bench.until(other, "the other waits") { $0.message.hasPrefix("Waits for GPUs") }
        let gate = bench.host.hold(.remove)
        bench.host.end(bench.key(id), .exited(code: 0))
        await gate.reached()
        await bench.advance(1)
        gate.open()
        try await bench.until(id, "the second iteration runs") {
            $0.state == .running && $0.incarnation.rawValue == 2
        }
        #expect(bench.host.container(bench.key(id, 2))?.plan.devices == [0])
        #expect(try await bench.job(other).state == .queued)
        await bench.stop()
    }

    @Test func aSuspendedJobHoldsNoRoom() async throws {
        let bench = try await Bench.started()
        let first = try await bench.running(Self.asking("first", memory: 4))
        try await bench.checkpoint(first, stops: true)
        await bench.gone(first)
        _ = try await bench.running(Self.asking("second", memory: 4))
        try await bench.propose(.requestRestore(job: first, generation: nil, by: Bench.user, time: bench.time.now))
        let waiting = try await bench.until(first, "it waits") { $0.message.hasPrefix("Waits for memory") }
        #expect(waiting.resumption != nil)
        await bench.stop()
    }

    @Test func theBoundOfContainersIsKept() async throws {
        let bench = try await Bench.started { $0.containerLimit = 1 }
        _ = try await bench.running(Bench.specification("first"))
        let second = try await bench.submit(Bench.specification("second"))
        let waiting = try await bench.until(second, "it says why") { $0.message.hasPrefix("Waits:") }
        #expect(waiting.message == "Waits: 1 jobs have containers here, which is the bound (limits.jobs).")
        await bench.stop()
    }

    @Test func aNodeThatStartsNoContainersSaysSo() async throws {
        let bench = try await Bench.started { $0.startsContainers = false }
        let id = try await bench.submit()
        let waiting = try await bench.until(id, "it says why") { $0.message.hasPrefix("Waits:") }
        #expect(waiting.message.contains("limits.schedulesJobs"))
        #expect(bench.host.running.isEmpty)
        await bench.stop()
    }

    @Test func whatCanNeverRunHereIsSaidBefore() async throws {
        let bench = try await Bench.started { $0.devices = [0] }
        let controller = bench.controller
        #expect(await controller.impossibility(Self.asking("fits", memory: 4, gpus: 1)) == nil)
        #expect(
            await controller.impossibility(Self.asking("wide", memory: 5))
                == "it asks for 5 GiB of memory, and the node has 4 GiB for jobs; ask for less"
        )
        #expect(
            await controller.impossibility(Self.asking("many", gpus: 2))
                == "it asks for 2 GPUs, and the node has 1; `godwit node show` lists them"
        )
        await bench.stop()
    }
}
