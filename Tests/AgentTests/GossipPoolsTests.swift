import ClusterModel
import Logging
import NIO
import SWIM
import Synchronization
import Testing
import Transport

@testable import Agent

/// Agents of two sites on real UDP ports of this machine, in real time, sealed, with the settings that ship.
@Suite(.timeLimit(.minutes(5)))
struct GossipPoolsTests {
    /// The streams between the agents of one process.
    private final class Streams: GossipStreams {
        struct Unreachable: Error {}
        private let agents = Mutex<[MemberEndpoint: GossipPools]>([:])

        func answer(at endpoint: MemberEndpoint, by pools: GossipPools?) { agents.withLock { $0[endpoint] = pools } }

        @concurrent func probe(node: NodeID, endpoint: MemberEndpoint) async throws {
            guard agents.withLock({ $0[endpoint] }) != nil else { throw Unreachable() }
        }

        @concurrent func exchange(request: [UInt8], node: NodeID?, endpoint: MemberEndpoint) async throws -> [UInt8] {
            guard let pools = agents.withLock({ $0[endpoint] }) else { throw Unreachable() }
            return try await pools.answerExchange(request)
        }
    }

    private struct Agent {
        let plan: PoolPlan.Node
        let pools: GossipPools
        let port: GossipPort
        let registry: MetricsRegistry
    }

    private static let cluster = ClusterID(rawValue: "flock")

    /// `sites` lists the members of each; the first `gateways` of them are gateways.
    private static func start(_ sites: [Int], gateways: Int, streams: Streams) async throws -> [Agent] {
        let address = try #require(DatagramAddress(numeric: "127.0.0.1", port: 0))
        let keyring = GossipKeyring(key: (0..<32).map { UInt8($0) })
        var agents: [Agent] = []
        for (site, count) in sites.enumerated() {
            for number in 0..<count {
                let loop = MultiThreadedEventLoopGroup.singleton.next()
                let logger = LogLines().logger
                let port = try await GossipPort.open(
                    address,
                    datagramByteLimit: MembershipConfiguration.lan.datagramByteLimit,
                    eventLoop: loop,
                    logger: logger
                )
                let plan = PoolPlan.Node(
                    node: NodeID(rawValue: "site-\(site)-\(number)"),
                    site: SiteID(rawValue: "site-\(site)"),
                    isGateway: number < gateways
                )
                let salt = UInt32(agents.count)
                let begun = Mutex<UInt32>(100)
                let registry = MetricsRegistry()
                let pools = GossipPools(
                    GossipPools.Base(
                        own: plan,
                        cluster: cluster,
                        endpoint: port.endpoint,
                        begin: {
                            let number = begun.withLock { number in
                                number += 1
                                return number
                            }
                            return (
                                MemberIncarnation(rawValue: number),
                                .init(salt: salt, firstCounter: UInt64(number) << 32)
                            )
                        },
                        profile: .auto
                    ),
                    keyring: keyring,
                    port: port,
                    streams: streams,
                    eventLoop: loop,
                    registry: registry,
                    logger: logger
                )
                streams.answer(at: port.endpoint, by: pools)
                agents.append(Agent(plan: plan, pools: pools, port: port, registry: registry))
            }
        }
        return agents
    }

    /// What the agent's loop does twice a second: follows the list of the nodes.
    private static func follow(_ agents: [Agent], _ nodes: [Agent]) async throws {
        let list = nodes.map { GossipNode(plan: $0.plan, endpoint: $0.port.endpoint) }
        for agent in agents { try await agent.pools.follow(list) }
    }

    /// Lets the agents run until the condition holds for each, or 60 s have gone; how long it took.
    private static func wait(
        _ agents: [Agent],
        of nodes: [Agent],
        until condition: ([SeenMember]) -> Bool
    ) async throws -> Duration? {
        let start = ContinuousClock.now
        while ContinuousClock.now - start < .seconds(60) {
            try await follow(agents, nodes)
            var isSo = true
            for agent in agents where isSo { isSo = condition(await agent.pools.view()) }
            if isSo { return ContinuousClock.now - start }
            try await Task.sleep(for: .milliseconds(100))  // polls: real sockets and real time
        }
        return nil
    }

    @Test func whoIsKilledAtOneSiteIsKnownAtTheOther() async throws {
        let streams = Streams()
        var agents = try await Self.start([5, 5], gateways: 1, streams: streams)
        let all = agents
        for (index, agent) in agents.enumerated() {
            var facts = NodeFactsSummary()
            facts.address = "\(agent.port.endpoint)"
            facts.load.capacity = VCPUCount(Double(index + 1))
            facts.load.used = 0.5
            await agent.pools.setFacts(facts)
        }
        let complete = try await Self.wait(agents, of: all) { view in
            view.count { $0.member.status == .alive && $0.isReachable && $0.facts != nil } == 10
        }
        #expect(complete != nil)
        // Members of one pool, gateways of two; nobody else is in the common one.
        for agent in agents {
            let expected = agent.plan.isGateway ? ["", agent.plan.site.rawValue] : [agent.plan.site.rawValue]
            #expect(await agent.pools.names.map(\.rawValue) == expected)
            let common = await agent.pools.shell(of: .common)?.members.map(\.node.rawValue).sorted()
            #expect(common == (agent.plan.isGateway ? ["site-0-0", "site-1-0"] : nil))
        }
        // The facts of another site's nodes come without their loads.
        let seen = try #require(await agents[2].pools.view().first { $0.member.node == agents[8].plan.node })
        #expect(seen.facts?.load.capacity == 9 && seen.facts?.load.used == .zero && !seen.isDirect)
        let near = try #require(await agents[7].pools.view().first { $0.member.node == agents[8].plan.node })
        #expect(near.facts?.load.used == 0.5 && near.isDirect)

        let victim = agents.remove(at: 3)
        streams.answer(at: victim.port.endpoint, by: nil)
        await victim.pools.close()
        let far = agents.filter { $0.plan.site != victim.plan.site }
        let took = try await Self.wait(far, of: all) { view in
            view.first { $0.member.node == victim.plan.node }?.member.status == .dead
        }
        print("a kill at one site was known at the other after \(took.map { "\($0)" } ?? "more than 60 s")")
        #expect(try #require(took) < .seconds(20))
        // A machine that stands still for a moment may have others suspected, who refute it.
        let isAlone = try await Self.wait(far, of: all) { view in view.count { $0.isDoubted } == 1 }
        #expect(isAlone != nil)

        // One leaves, and says so to both sites.
        let leaver = agents.remove(at: 3)
        async let gone: Void = leaver.pools.leave()
        let told = try await Self.wait(agents, of: all) { view in
            view.first { $0.member.node == leaver.plan.node }?.member.status == .left
        }
        await gone
        #expect(told != nil)
        streams.answer(at: leaver.port.endpoint, by: nil)
        await leaver.pools.close()

        for agent in agents { await agent.pools.close() }
    }

    @Test func withoutItsGatewayAnotherStandsInAndASecondSiteChangesThePoolsInPlace() async throws {
        let streams = Streams()
        var agents = try await Self.start([3, 3], gateways: 1, streams: streams)
        let all = agents
        // At first there is one site, and so one pool.
        let first = Array(agents.prefix(3))
        let alone = try await Self.wait(first, of: first) { view in view.count { $0.member.status == .alive } == 3 }
        #expect(alone != nil)
        for agent in first { #expect(await agent.pools.names == [.common]) }
        #expect(await first[0].pools.shell(of: .common) != nil)
        // The second one comes; nobody is ever held for dead on the way.
        let both = try await Self.wait(agents, of: all) { view in
            view.count { $0.member.status == .alive && $0.isReachable } == 6
        }
        #expect(both != nil)
        let apart = ContinuousClock.now
        while ContinuousClock.now - apart < .seconds(60) {
            let (one, two) = (await agents[1].pools.names, await agents[2].pools.names)
            if !one.contains(.common), !two.contains(.common) { break }
            try await Self.follow(agents, all)
            try await Task.sleep(for: .milliseconds(200))  // polls: real sockets and real time
        }
        #expect(await agents[1].pools.names.map(\.rawValue) == ["site-0"])
        let settled = try await Self.wait(agents, of: all) { view in
            view.count { $0.member.status == .alive && $0.isReachable } == 6
        }
        #expect(settled != nil)
        // The only gateway of the first site dies: one of the others takes its place between the sites.
        let gateway = agents.removeFirst()
        streams.answer(at: gateway.port.endpoint, by: nil)
        await gateway.pools.close()
        let again = try await Self.wait(agents, of: all) { view in
            view.count { $0.member.status == .alive && $0.isReachable } == 5
                && view.first { $0.member.node == gateway.plan.node }?.member.status == .dead
        }
        #expect(again != nil)
        var standIns = 0
        for agent in agents.prefix(2) { standIns += await agent.pools.names.contains(.common) ? 1 : 0 }
        #expect(standIns == 1)
        for agent in agents { await agent.pools.close() }
    }
}
