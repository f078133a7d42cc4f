import ClusterModel
import ClusterState
import Placement
import Testing

/// A running job with an address of its own moves to where that address is to be had, and nowhere else.
struct NetworkMigrationTests {
    private static let start = Timestamp(seconds: 1_700_000_000)
    private static let job = JobID(rawValue: "job1aaaaaaaa")

    private static func node(_ number: Int) -> NodeID { NodeID(rawValue: "n\(number)") }

    private static func network(_ subnet: String, _ range: String) throws -> NodeNetwork {
        NodeNetwork(subnet: try #require(IPv4Prefix(subnet)), range: try #require(IPv4Range(range)))
    }

    /// A job on n1; n2 has a bridge in the same network with another range, n3 one in another network, n4 none.
    private static func state() throws -> ClusterState {
        let home = try network("10.42.0.0/24", "10.42.0.10-10.42.0.19")
        let networks: [Int: NodeNetwork] = [
            1: home, 2: try network("10.42.0.0/24", "10.42.0.20-10.42.0.29"),
            3: try network("10.43.0.0/24", "10.43.0.10-10.43.0.19"),
        ]
        var specification = JobSpecification(name: "talking", kind: .batch, image: .rootFolder(path: "/r"))
        specification.network = .init()
        specification.checkpoint.tcpEstablished = true
        let nodes = (1...4).map { number in
            Command.registerNode(
                NodeRegistration(
                    node: node(number),
                    member: UInt64(number),
                    site: SiteID(rawValue: "here"),
                    address: "10.0.0.\(number):7420",
                    vcpus: 4,
                    memory: .gibibytes(4),
                    network: networks[number],
                    speaks: ClusterState.newestVersion,
                    time: start
                )
            )
        }
        let user = UserID(rawValue: "ada")
        var state = ClusterState()
        for command in nodes + [
            .submit(Submission(id: job, specification: specification, submitter: user, time: start)),
            .assign(job: job, node: node(1), reason: "It fits.", time: start),
            .begin(job: job, node: node(1), time: start, network: home),
            .started(job: job, incarnation: Incarnation(rawValue: 1), time: start),
        ] { if let refusal = state.apply(command).refusal { Issue.record("\(refusal)") } }
        return state
    }

    private func choice(_ state: ClusterState, to wish: String = "") throws -> MigrationPlan.Choice {
        let now = Self.start + .seconds(1)
        let nodes = NodeView.all(of: state, suspects: [], now: now)
        return MigrationPlan().choose(try #require(state.job(Self.job)), to: wish, among: nodes, now: now)
    }

    @Test func itGoesWhereItsAddressIs() throws {
        let state = try Self.state()
        #expect(state.job(Self.job)?.address?.description == "10.42.0.10/24")
        #expect(try choice(state).to == Self.node(2))
        #expect(try choice(state, to: "n2").to == Self.node(2))
    }

    @Test func whereItIsNotThatIsSaid() throws {
        let state = try Self.state()
        let far = try choice(state, to: "n3")
        #expect(far.to == nil && far.reason.hasPrefix("Node n3 cannot take it: it "), "\(far.reason)")
        #expect(far.reason.contains("10.42.0.10/24") && far.reason.contains("10.43.0.0/24"), "\(far.reason)")
        let bare = try choice(state, to: "n4")
        #expect(bare.to == nil && bare.reason.contains("(network.bridge)"), "\(bare.reason)")
    }

    @Test func aDrainMovesItWhileItRuns() throws {
        var state = try Self.state()
        #expect(
            state.apply(.drain(node: Self.node(1), restartsJobs: false, by: UserID(rawValue: "ada"), time: Self.start))
                .refusal == nil
        )
        let now = Self.start + .seconds(1)
        let commands = MigrationPlan().commands(state, now: now)
        #expect(commands.count == 1)
        for command in commands { #expect(state.apply(command).refusal == nil) }
        #expect(state.job(Self.job)?.migration?.destination == Self.node(2))
    }
}
