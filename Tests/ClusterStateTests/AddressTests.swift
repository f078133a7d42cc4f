import ClusterModel
import ClusterState
import Foundation
import Testing

/// Addresses that jobs have for themselves: one each, for life, the same on every replica.
struct AddressTests {
    private static func network(
        _ subnet: String = "10.42.0.0/16",
        _ range: String = "10.42.1.0-10.42.1.3"
    ) throws
        -> NodeNetwork
    {
        NodeNetwork(
            subnet: try #require(IPv4Prefix(subnet)),
            range: try #require(IPv4Range(range)),
            gateway: IPv4Address("10.42.0.1")
        )
    }

    private static func job(_ name: String, address: String? = nil) -> JobSpecification {
        Bench.specification(name) {
            $0.network = .init(); $0.network?.address = address.flatMap { IPv4Address($0) }
        }
    }

    private static func begin(_ number: Int, _ network: NodeNetwork?, at seconds: Double = 1) -> Command {
        .begin(job: Bench.id(number), node: Bench.node, time: Bench.at(seconds), network: network)
    }

    private static func address(_ bench: Bench, _ number: Int) -> String? {
        bench.state.job(Bench.id(number))?.address?.description
    }

    @Test func eachJobGetsTheLowestFreeAddressWhenItBegins() throws {
        var bench = Bench()
        for number in 1...3 { bench.submit(Self.job("job-\(number)"), number: number) }
        #expect(Self.address(bench, 1) == nil)
        for number in [2, 1, 3] { bench.apply(Self.begin(number, try Self.network())) }
        #expect((1...3).map { Self.address(bench, $0) } == ["10.42.1.1/16", "10.42.1.0/16", "10.42.1.2/16"])
    }

    @Test func theAddressStaysOverRestartsAndIsFreeAfterTheEnd() throws {
        var bench = Bench()
        bench.submit(Self.job("one"), number: 1)
        bench.apply(Self.begin(1, try Self.network()))
        bench.apply(
            .exited(
                job: Bench.id(1),
                incarnation: Incarnation(rawValue: 1),
                exit: .lost,
                consumed: nil,
                time: Bench.at(2)
            )
        )
        #expect(bench.state.job(Bench.id(1))?.state == .queued && Self.address(bench, 1) == "10.42.1.0/16")
        bench.submit(Self.job("two"), number: 2)
        bench.apply(Self.begin(2, try Self.network(), at: 3))
        #expect(Self.address(bench, 2) == "10.42.1.1/16")
        bench.apply(.requestCancel(job: Bench.id(1), grace: .zero, by: Bench.user, time: Bench.at(4)))
        #expect(Self.address(bench, 1) == nil)
        bench.submit(Self.job("three"), number: 3)
        bench.apply(Self.begin(3, try Self.network(), at: 5))
        #expect(Self.address(bench, 3) == "10.42.1.0/16")
    }

    @Test func anAddressThatAnotherJobHasIsRefusedByItsName() throws {
        var bench = Bench()
        bench.submit(Self.job("first"), number: 1)
        bench.apply(Self.begin(1, try Self.network()))
        bench.submit(Self.job("named", address: "10.42.9.9"), number: 2)
        for (address, holder) in [("10.42.1.0", "first"), ("10.42.9.9", "named")] {
            let submission = Submission(
                id: Bench.id(9),
                specification: Self.job("late", address: address),
                submitter: Bench.user,
                time: Bench.at(3)
            )
            let refusal = bench.refusal(.submit(submission))
            #expect(refusal?.code == .conflict)
            #expect(refusal?.message.contains("belongs to job '\(holder)'") == true)
        }
    }

    @Test func aJobBeginsOnlyWhereItsAddressIsToBeHad() throws {
        var bench = Bench()
        bench.submit(Self.job("any"), number: 1)
        #expect(bench.refusal(Self.begin(1, nil))?.message.contains("network.bridge") == true)
        bench.submit(Self.job("named", address: "10.42.9.9"), number: 2)
        let other = try Self.network("10.43.0.0/16", "10.43.0.1-10.43.0.9")
        #expect(bench.refusal(Self.begin(2, other))?.message.contains("10.42.9.9") == true)
        bench.apply(Self.begin(2, try Self.network()))
        #expect(Self.address(bench, 2) == "10.42.9.9/16")
        let one = try Self.network("10.42.0.0/16", "10.42.9.9-10.42.9.9")
        #expect(bench.refusal(Self.begin(1, one))?.message.contains("all addresses") == true)
        #expect(bench.state.job(Bench.id(1)).flatMap { bench.state.addressObstacle(to: $0, on: other) } == nil)
    }

    @Test func anAgentAloneRaisesItsVersionAndOlderOnesCannotJoinThen() throws {
        var bench = Bench()
        bench.submit(number: 7)
        #expect(bench.state.version == ClusterState.oldestVersion)
        bench.submit(Self.job("own"), number: 1)
        #expect(bench.state.version == 5)
        let decoded = try JSONDecoder().decode(ClusterState.self, from: JSONEncoder().encode(bench.state))
        #expect(decoded == bench.state)
        bench.register(1)
        #expect(bench.refusal(.registerNode(Bench.registration(2) { $0.speaks = 4 })) != nil)
    }

    @Test func aClusterThatHasOlderNodesRefusesIt() throws {
        var bench = Bench()
        bench.apply(.registerNode(Bench.registration(1)))
        bench.state = ClusterState()
        bench.apply(.registerNode(Bench.registration(1) { $0.speaks = 4 }))
        let submission = Submission(
            id: Bench.id(1),
            specification: Self.job("own"),
            submitter: Bench.user,
            time: Bench.at(1)
        )
        #expect(bench.refusal(.submit(submission))?.message.contains("upgrade all nodes first") == true)
        let network = try Self.network()
        #expect(bench.refusal(.registerNode(Bench.registration(1) { ($0.speaks, $0.network) = (4, network) })) != nil)
    }

    @Test func aNodeSaysWhatItOffers() throws {
        var bench = Bench()
        bench.register(1)
        let network = try Self.network()
        bench.apply(.registerNode(Bench.registration(1) { $0.network = network }))
        #expect(bench.state.node(Bench.nodeID(1))?.network == network)
        var wrong = network
        wrong.range = try #require(IPv4Range("10.43.0.1-10.43.0.9"))
        #expect(bench.refusal(.registerNode(Bench.registration(1) { $0.network = wrong }))?.code == .invalid)
    }
}
