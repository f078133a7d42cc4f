import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import TLS

/// Several agents with certificates of one authority: n1 founds a cluster, the others join it.
struct AgentCluster: Sendable {
    let run: ScenarioRun
    let agents: [AgentProcess]
    /// Between them; nil when all are on the loopback.
    let network: ScenarioNetwork?

    /// Makes certificates and configurations; starts nothing.
    ///
    /// `stateFolder` says where an agent keeps its state, when not in a folder of its own below the scenario's.
    init(
        _ run: ScenarioRun,
        count: Int,
        partitionTimeout: Duration,
        network: ScenarioNetwork? = nil,
        settings: [String] = [],
        stateFolder: (String) -> String? = { _ in nil }
    ) throws {
        (self.run, self.network) = (run, network)
        let authority = try CertificateAuthority.create(cluster: ClusterID(rawValue: "scenario"), now: WallClock.now())
        var agents: [AgentProcess] = []
        for number in 1...count {
            var membership = AgentMembership(
                authority: authority,
                seed: agents.first.map { "\($0.host):\($0.port)" },
                partitionTimeout: partitionTimeout,
                place: network?.place(number)
            )
            membership.settings = settings
            let name = "n\(number)"
            agents.append(
                try AgentProcess(run, name: name, stateFolder: stateFolder(name), membership: membership)
            )
        }
        self.agents = agents
    }

    /// Takes agents as they are; the first founds the cluster.
    init(_ run: ScenarioRun, agents: [AgentProcess], network: ScenarioNetwork) {
        (self.run, self.agents, self.network) = (run, agents, network)
    }

    /// Starts the founder, then all others at once, or the first few; returns when each is a member.
    func start(first count: Int? = nil) async throws {
        try await agents[0].start()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for agent in agents.prefix(count ?? agents.count).dropFirst() {
                group.addTask {
                    try await agent.start()
                    _ = try await run.eventually("the joining of \(agent.name)") {
                        try agent.logLines().contains { $0.contains(" cluster.joined") } ? true : nil
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// Which of them an agent is, from 1, as ``ScenarioNetwork`` counts.
    func number(_ agent: AgentProcess) -> Int { (agents.firstIndex { $0 === agent } ?? 0) + 1 }

    subscript(node: String) -> AgentProcess? { agents.first { $0.name == node } }

    /// The agents other than some.
    func others(than excluded: AgentProcess...) -> [AgentProcess] {
        agents.filter { agent in !excluded.contains { $0 === agent } }
    }

    /// The agent that was elected last, by the agents' own words; it may be dead by now.
    func leader() throws -> AgentProcess? {
        try agents.compactMap { agent in
            try agent.logLines().compactMap { Self.term($0, of: "leader.elected") }.max().map { (agent, $0) }
        }.max { $0.1 < $1.1 }?.0
    }

    /// How many voters there are, as the leader says; nil while none is known.
    func voterCount() async throws -> Int? {
        try await leader()?.ask { client in
            try await client.clusterVoters().members.count { $0.role != "learner" }
        }
    }

    private static func term(_ line: Substring, of event: String) -> Int? {
        guard line.contains(" \(event) "), let range = line.firstRange(of: "term=") else { return nil }
        return Int(line[range.upperBound...].prefix { $0.isNumber })
    }

    /// Prints the last lines of each agent's log, without what only explains.
    func showLogs(lines: Int = 12) {
        for agent in agents {
            run.note("end of \(agent.folder)/agent.log:")
            for line in ((try? agent.logLines()) ?? []).filter({ !$0.contains(" debug ") }).suffix(lines) {
                run.note("  \(line)")
            }
        }
    }
}

extension AgentProcess {
    /// Asks this agent on a connection of its own.
    nonisolated func ask<Value>(
        connectingWithin limit: Duration = .seconds(5),
        _ body: (ControlClient) async throws -> Value
    ) async throws -> Value {
        let client = try await connect(within: limit)
        do {
            let value = try await body(client)
            await client.close()
            return value
        } catch {
            await client.close()
            throw error
        }
    }
}
