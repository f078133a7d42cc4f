import ClusterModel
import ClusterState
import Placement
import Testing

/// Jobs with an address of their own go where that address is to be had.
struct NetworkPlacementTests {
    private static func network(_ subnet: String, _ range: String) throws -> NodeNetwork {
        NodeNetwork(subnet: try #require(IPv4Prefix(subnet)), range: try #require(IPv4Range(range)))
    }

    private static func bench() throws -> Bench {
        var bench = Bench()
        let small = try network("10.42.0.0/24", "10.42.0.10-10.42.0.11")
        let other = try network("10.43.0.0/24", "10.43.0.1-10.43.0.9")
        bench.node(1)
        bench.node(2) { $0.network = small }
        bench.node(3) { $0.network = other }
        return bench
    }

    @Test func aNodeWithoutABridgeIsNeverChosenAndSaysWhy() throws {
        let bench = try Self.bench()
        let choice = bench.choice { $0.network = .init() }
        #expect(choice.node == Bench.node(2) || choice.node == Bench.node(3))
        #expect(
            choice.refusals.map(\.description) == [
                "node1 has no bridge for containers with an address of their own (network.bridge)"
            ]
        )
        #expect(bench.choice().refusals.isEmpty)
    }

    @Test func aNamedAddressDecidesTheNode() throws {
        let bench = try Self.bench()
        let choice = bench.choice {
            $0.network = .init(); $0.network?.address = IPv4Address("10.43.0.77")
        }
        #expect(choice.node == Bench.node(3))
        let none = bench.choice {
            $0.network = .init(); $0.network?.address = IPv4Address("10.44.0.1")
        }
        #expect(none.node == nil)
        #expect(none.reason.contains("2 with a bridge where 10.44.0.1 is not to be had"))
        let prefix = bench.choice {
            $0.network = .init()
            $0.network?.address = IPv4Address("10.43.0.77")
            $0.network?.prefixLength = 16
        }
        #expect(prefix.node == nil)
    }

    @Test func aRangeThatIsGivenAwayTakesNoMoreJobsUntilOneEnds() throws {
        var bench = try Self.bench()
        for number in 1...3 {
            bench.job(number) {
                $0.network = .init(); $0.constraints.nodes = [Bench.node(2)]
            }
        }
        bench.plan()
        #expect((1...3).map { bench.place(of: $0) } == [Bench.node(2), Bench.node(2), nil])
        let network = bench.state.node(Bench.node(2))?.network
        for number in 1...2 {
            bench.apply(.begin(job: Bench.id(number), node: Bench.node(2), time: Bench.at(2), network: network))
        }
        let full = bench.choice {
            $0.network = .init(); $0.constraints.nodes = [Bench.node(2)]
        }
        #expect(full.node == nil)
        #expect(full.refusals.contains { $0.description.contains("all addresses of its range 10.42.0.10-10.42.0.11") })
        // A job that has its address goes where that is, whatever else is free.
        bench.apply(
            .exited(
                job: Bench.id(1),
                incarnation: Incarnation(rawValue: 1),
                exit: .lost,
                consumed: nil,
                time: Bench.at(3)
            )
        )
        bench.plan(at: 4)
        #expect(bench.place(of: 1) == Bench.node(2))
    }
}
