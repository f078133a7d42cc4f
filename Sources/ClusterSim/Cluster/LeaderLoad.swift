import ClusterModel
package import ClusterState
import Placement

/// What a leader computes for a cluster of some size, to be timed by whoever has a clock.
///
/// Each node has 4 vCPUs; every fourth job has a deadline, every fourth asks for most of a node's memory.
package struct LeaderLoad: Sendable {
    private let members: [VoterMember]
    private let now = Timestamp(seconds: 1_700_000_010)
    /// What the leader looks at.
    package private(set) var state: ClusterState

    /// A cluster whose nodes have all registered, with jobs of which none has a node.
    ///
    /// - Returns: nil when the state refuses so many.
    package init?(nodes: Int, jobs: Int) {
        let start = Timestamp(seconds: 1_700_000_000)
        var state = ClusterState()
        var limits = state.limits
        limits.liveJobs = max(limits.liveJobs, jobs)
        guard state.apply(.configure(limits)).refusal == nil else { return nil }
        for number in 0..<nodes {
            let registration = NodeRegistration(
                node: NodeID(rawValue: "node-\(number)"),
                member: UInt64(number + 1),
                site: SiteID(rawValue: "site-\(number % 3)"),
                address: "10.0.\(number / 250).\(number % 250):7420",
                vcpus: 4,
                memory: .gibibytes(8),
                time: start
            )
            guard state.apply(.registerNode(registration)).refusal == nil else { return nil }
        }
        for number in 0..<jobs {
            var job = JobSpecification(name: "job-\(number)", kind: .batch, image: .rootFolder(path: "/r"))
            if number % 4 == 0 {
                job.objective = .cpuTime(amount: .seconds(1800), frame: .seconds(3600))
            }
            if number % 4 == 1 { job.resources.memory = .gibibytes(6) }
            let submission = Submission(
                id: JobID(rawValue: "job\(number)"),
                specification: job,
                submitter: UserID(rawValue: "someone"),
                time: start
            )
            guard state.apply(.submit(submission)).refusal == nil else { return nil }
        }
        self.state = state
        members = (0..<nodes).map { number in
            VoterMember(
                node: NodeID(rawValue: "node-\(number)"),
                member: UInt64(number + 1),
                site: SiteID(rawValue: "site-\(number % 3)"),
                role: .worker,
                isVoter: number < 5,
                standing: .live(.seconds(3600))
            )
        }
    }

    /// Lets the placement plan once, and takes over what it says.
    ///
    /// - Returns: how many commands that were; 0 when every job has its node, as at rest.
    package mutating func place() -> Int {
        let commands = Placement.plan(state, now: now)
        for command in commands { _ = state.apply(command) }
        return commands.count
    }

    /// Plans without taking anything over.
    package func plan() -> Int { Placement.plan(state, now: now).count }

    /// Asks once who should vote.
    ///
    /// - Returns: whether nothing is to be changed.
    package func chooseVoters() -> Bool { VoterPlan().next(members, leader: 1).step == nil }
}
