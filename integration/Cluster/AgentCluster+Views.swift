import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import TLS
import Transport

// What the agents of a cluster believe, each for itself.
extension AgentCluster {
    /// How one agent sees the cluster, from what it has itself.
    struct View: Sendable, Equatable, CustomStringConvertible {
        var leader: String
        var term: UInt64
        /// Node, consensus role, replicated state, gossip's state.
        var members: [[String]]
        /// Running, queued, suspended, ended.
        var jobs: [UInt32]
        var problems: [String]

        var description: String {
            "leader '\(leader)' in term \(term), jobs \(jobs), members \(members.map { $0.joined(separator: "/") }), problems \(problems)"
        }
    }

    /// The views of some agents, asked at the same time.
    func views(of agents: [AgentProcess]) async throws -> [(agent: AgentProcess, view: View)] {
        try await withThrowingTaskGroup(of: (Int, View).self) { group in
            for (index, agent) in agents.enumerated() {
                group.addTask {
                    try await agent.ask { client in
                        let status = try await client.status()
                        let members = try await client.clusterMembers().members.map {
                            // The agent that answers need not have itself in its view of gossip.
                            [$0.node, $0.consensus, $0.state, $0.node == agent.name ? "alive" : $0.gossip]
                        }
                        let jobs = [status.jobsRunning, status.jobsQueued, status.jobsSuspended, status.jobsEnded]
                        return (
                            index,
                            View(
                                leader: status.leader,
                                term: status.term,
                                members: members,
                                jobs: jobs,
                                // A disk that is small is one by intention, where a scenario fills it.
                                problems: status.problems.filter { !$0.contains("will soon not fit") }
                            )
                        )
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }.sorted { $0.0 < $1.0 }.map {
                (agents[$0.0], $0.1)
            }
        }
    }

    /// Waits until all agents see the same, everybody alive and a leader among them; nothing may change meanwhile.
    @discardableResult
    func expectEqualViews(within limit: Duration) async throws -> View {
        try await run.eventually("the same view of all agents", within: limit, every: .milliseconds(250)) {
            let views = try await views(of: agents)
            guard let first = views.first?.view else { return nil }
            for (agent, view) in views {
                if view != first { throw Broken("\(agent.name) sees \(view); \(agents[0].name) sees \(first)") }
            }
            if first.leader.isEmpty { throw Broken("there is no leader") }
            let away = first.members.filter { $0[2] != "active" || $0[3] != "alive" }
            guard away.isEmpty, first.members.count == agents.count else { throw Broken("members: \(first)") }
            guard first.problems.isEmpty else { throw Broken("problems: \(first.problems)") }
            return first
        }
    }

    /// The agent that some agents call their leader, and its term; waits until they agree.
    func agreedLeader(
        of some: [AgentProcess],
        within limit: Duration = .seconds(30)
    ) async throws -> (
        agent: AgentProcess, term: UInt64
    ) {
        try await run.eventually("a leader of \(some.map(\.name).joined(separator: ", "))", within: limit) {
            let views = try await views(of: some)
            guard let first = views.first?.view, let leader = some.first(where: { $0.name == first.leader }) else {
                return nil
            }
            return views.allSatisfy { $0.view.leader == first.leader && $0.view.term == first.term }
                ? (leader, first.term) : nil
        }
    }

    /// Waits until so many members vote.
    func expectVoters(_ count: Int, within limit: Duration) async throws {
        _ = try await run.eventually("\(count) voters", within: limit, every: .milliseconds(500)) {
            let reply = try await agents[0].ask { try await $0.clusterVoters() }
            let voters = reply.members.filter { $0.role != "learner" }.map(\.node)
            if voters.count >= count { return true }
            throw Broken("there are \(voters)")
        }
    }

    /// What `godwit status` prints when it asks one agent, as one line.
    func statusText(of agent: AgentProcess) async throws -> String {
        try await godwit("status", asking: agent).text
    }

    /// Asks all agents to stop, as a shutdown of everything would.
    func stop() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for agent in agents { group.addTask { try await agent.end(SIGTERM) } }
            try await group.waitForAll()
        }
    }

    /// The jobs' names by the node that runs them, as one agent tells.
    func running(asking agent: AgentProcess) async throws -> [WireJobSummary] {
        try await agent.ask { try await $0.allJobs() }.filter { $0.state == "running" }
    }
}
