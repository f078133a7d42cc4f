import ClusterModel
import Logging
import NIO
import SWIM
import Testing
import Transport

@testable import Agent

/// Shells on real UDP ports of this machine, in real time.
@Suite(.timeLimit(.minutes(5)))
struct MembershipLoopbackTests {
    /// Waits for events until the condition holds; the suite's limit ends the wait.
    private static func wait(
        _ shell: MembershipShell,
        until condition: (MembershipShell) async -> Bool
    ) async throws {
        let events = shell.subscribe()
        if await condition(shell) { return }
        for await _ in events where await condition(shell) { return }
        throw CancellationError()
    }

    @Test func eightFindEachOtherAndNoticeWhoIsGoneAndWhoLeft() async throws {
        let network = MembershipNetwork()
        var configuration = MembershipConfiguration.lan
        // A quarter of the usual periods; the time for an answer stays generous on a busy machine.
        configuration.protocolPeriod = .milliseconds(500)
        configuration.probeTimeout = .milliseconds(250)
        configuration.indirectProbeTimeout = .milliseconds(250)
        configuration.roundRobinPeriod = .seconds(1)
        configuration.antiEntropyPeriod = .seconds(1)
        configuration.settlingPeriod = .milliseconds(200)
        let address = try #require(DatagramAddress(numeric: "127.0.0.1", port: 0))
        var shells: [MembershipShell] = []
        var ports: [GossipPort] = []
        let logger = LogLines().logger
        for index in 0..<8 {
            let loop = MultiThreadedEventLoopGroup.singleton.next()
            let port = try await GossipPort.open(
                address,
                datagramByteLimit: configuration.datagramByteLimit,
                eventLoop: loop,
                logger: logger
            )
            var settings = MembershipPool.settings(index, endpoint: port.endpoint)
            settings.configuration = configuration
            let shell = try MembershipShell(
                settings,
                link: port,
                streams: network,
                eventLoop: loop,
                registry: MetricsRegistry(),
                logger: logger
            )
            network.answer(at: port.endpoint, by: shell)
            await shell.start()
            (shells, ports) = (shells + [shell], ports + [port])
        }
        let seed = ports[0].endpoint
        try await withThrowingTaskGroup(of: Void.self) { group in
            for shell in shells {
                group.addTask(name: "join") {
                    try await shell.join(seeds: [seed])
                    try await Self.wait(shell) { await $0.members.count { $0.status.isLive } == 8 }
                }
            }
            try await group.waitForAll()
        }
        // One is gone without a word, another says goodbye.
        network.answer(at: ports[3].endpoint, by: nil)
        await shells[3].close()
        network.answer(at: ports[6].endpoint, by: nil)
        await shells[6].leave()
        await shells[6].close()
        for index in [0, 1, 2, 4, 5, 7] {
            try await Self.wait(shells[index]) {
                let gone = await $0.member(MembershipPool.name(3))?.status
                let left = await $0.member(MembershipPool.name(6))?.status
                return gone == .dead && left == .left
            }
        }
        for index in [0, 1, 2, 4, 5, 7] { await shells[index].close() }
        #expect(ports.allSatisfy { $0.statistics.packetsIn > 0 && $0.statistics.packetsOut > 0 })
    }
}
