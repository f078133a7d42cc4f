import ClusterModel
import ClusterState
import Placement
import Testing

/// A cluster in words; seconds count from an arbitrary moment.
struct Bench {
    var state = ClusterState()

    static let start = Timestamp(seconds: 1_700_000_000)
    static let user = UserID(rawValue: "ada")
    static func at(_ seconds: Double) -> Timestamp { start + .milliseconds(Int64(seconds * 1000)) }
    static func id(_ number: Int) -> JobID { JobID(rawValue: "job\(number)aaaaaaaa") }
    static func node(_ number: Int) -> NodeID { NodeID(rawValue: "node\(number)") }

    @discardableResult
    mutating func apply(_ command: Command, location: SourceLocation = #_sourceLocation) -> Acceptance? {
        let outcome = state.apply(command)
        if let refusal = outcome.refusal { Issue.record("refused: \(refusal)", sourceLocation: location) }
        return outcome.acceptance
    }

    mutating func node(_ number: Int, _ change: (inout NodeRegistration) -> Void = { _ in }) {
        var registration = NodeRegistration(
            node: Self.node(number),
            member: UInt64(number),
            site: SiteID(rawValue: "north"),
            address: "10.0.0.\(number):7420",
            vcpus: 4,
            memory: .gibibytes(8),
            time: Self.at(0)
        )
        change(&registration)
        apply(.registerNode(registration))
    }

    mutating func job(_ number: Int, at seconds: Double = 0, _ change: (inout JobSpecification) -> Void = { _ in }) {
        var specification = JobSpecification(name: "job-\(number)", kind: .batch, image: .rootFolder(path: "/r"))
        change(&specification)
        apply(
            .submit(
                Submission(
                    id: Self.id(number),
                    specification: specification,
                    submitter: Self.user,
                    time: Self.at(seconds)
                )
            )
        )
    }

    /// Plans, applies, and returns the plan.
    @discardableResult
    mutating func plan(
        suspects: Set<NodeID> = [],
        at seconds: Double = 1,
        location: SourceLocation = #_sourceLocation
    ) -> [Command] {
        let commands = Placement.plan(state, suspects: suspects, now: Self.at(seconds))
        for command in commands { apply(command, location: location) }
        return commands
    }

    mutating func run(_ number: Int, at seconds: Double = 2) {
        guard let node = state.job(Self.id(number))?.assignedNode else { return }
        apply(.begin(job: Self.id(number), node: node, time: Self.at(seconds)))
        let incarnation = state.job(Self.id(number))?.incarnation ?? Incarnation(rawValue: 0)
        apply(.started(job: Self.id(number), incarnation: incarnation, time: Self.at(seconds)))
    }

    func place(of number: Int) -> NodeID? { state.job(Self.id(number))?.assignedNode }

    func choice(_ change: (inout JobSpecification) -> Void = { _ in }, suspects: Set<NodeID> = []) -> PlacementChoice {
        var specification = JobSpecification(name: "new", kind: .batch, image: .rootFolder(path: "/r"))
        change(&specification)
        let job = PlacementCandidate(id: Self.id(999), specification: specification, now: Self.at(1))
        return Placement.choose(job, among: NodeView.all(of: state, suspects: suspects, now: Self.at(1)))
    }
}
