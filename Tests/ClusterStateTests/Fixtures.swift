import ClusterModel
import ClusterState
import Testing

/// A state with short ways to say what happens; seconds count from an arbitrary moment.
struct Bench {
    var state = ClusterState()
    var decisions: [Decision] = []

    static let start = Timestamp(seconds: 1_700_000_000)
    static let node = NodeID(rawValue: "n1")
    static let user = UserID(rawValue: "ada")

    static func at(_ seconds: Double) -> Timestamp { start + .milliseconds(Int64(seconds * 1000)) }
    static func id(_ number: Int) -> JobID { JobID(rawValue: "job\(number)aaaaaaaa") }

    /// A batch job that is worth its name.
    static func specification(
        _ name: String = "job",
        _ change: (inout JobSpecification) -> Void = { _ in }
    ) -> JobSpecification {
        var specification = JobSpecification(name: name, kind: .batch, image: .rootFolder(path: "/r"))
        specification.command = ["work"]
        change(&specification)
        return specification
    }

    @discardableResult
    mutating func apply(_ command: Command, location: SourceLocation = #_sourceLocation) -> Acceptance? {
        let outcome = state.apply(command)
        if let refusal = outcome.refusal { Issue.record("refused: \(refusal)", sourceLocation: location) }
        decisions += outcome.acceptance?.decisions.map(\.decision) ?? []
        return outcome.acceptance
    }

    /// The refusal of a command, which must leave the state alone.
    mutating func refusal(_ command: Command, location: SourceLocation = #_sourceLocation) -> Refusal? {
        let before = state
        let outcome = state.apply(command)
        #expect(state == before, "a refused command changed the state", sourceLocation: location)
        if outcome.refusal == nil { Issue.record("not refused: \(command)", sourceLocation: location) }
        return outcome.refusal
    }

    mutating func submit(_ specification: JobSpecification = specification(), number: Int = 1, at seconds: Double = 0) {
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

    mutating func begin(at seconds: Double = 1) {
        apply(.begin(job: Self.id(1), node: Self.node, time: Self.at(seconds)))
    }

    mutating func started(at seconds: Double = 2) {
        apply(.started(job: Self.id(1), incarnation: job.incarnation, time: Self.at(seconds)))
    }

    /// A job that runs since second 2.
    static func running(_ change: (inout JobSpecification) -> Void = { _ in }) -> Bench {
        var bench = Bench()
        bench.submit(specification("job", change))
        bench.begin()
        bench.started()
        return bench
    }

    mutating func exited(_ exit: ContainerExit, consumed: Duration? = nil, at seconds: Double) {
        apply(
            .exited(
                job: Self.id(1),
                incarnation: job.incarnation,
                exit: exit,
                consumed: consumed,
                time: Self.at(seconds)
            )
        )
    }

    /// Takes a checkpoint from begin to record.
    mutating func checkpoint(at seconds: Double, consumed: Duration = .seconds(5)) {
        apply(.beginCheckpoint(job: Self.id(1), incarnation: job.incarnation, time: Self.at(seconds)))
        apply(
            .checkpointRecorded(
                job: Self.id(1),
                entry: entry(consumed: consumed, at: seconds),
                time: Self.at(seconds + 0.5)
            )
        )
    }

    func entry(consumed: Duration = .seconds(5), at seconds: Double) -> CatalogEntry {
        CatalogEntry(
            generation: job.lastGeneration,
            taken: Self.at(seconds),
            node: Self.node,
            incarnation: job.incarnation,
            frozen: .milliseconds(300),
            total: .milliseconds(900),
            raw: .mebibytes(64),
            stored: .mebibytes(20),
            consumed: consumed,
            completedIterations: job.completedIterations
        )
    }

    var job: JobRecord {
        guard let record = state.job(Self.id(1)) else { preconditionFailure("job 1 is not there") }
        return record
    }

    func kinds() -> [Decision.Kind] { decisions.map(\.kind) }
}
