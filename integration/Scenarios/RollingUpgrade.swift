import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// A new build comes to one node after the other, while everybody works.
struct RollingUpgrade: Scenario {
    static let name = "RollingUpgrade"
    static let promise =
        "five agents of one build are replaced by another, one by one: containers run on, agents of both builds answer, no job is lost or begins anew"

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 5)
        let cluster = try AgentCluster(run, count: 5, partitionTimeout: .seconds(15), network: network)
        do {
            try await upgrade(run, cluster, try await Workload(run, cluster))
        } catch {
            cluster.showLogs()
            throw error
        }
    }

    private func upgrade(_ run: ScenarioRun, _ cluster: AgentCluster, _ work: Workload) async throws {
        let began = ContinuousClock.now
        func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }
        let before = run.options.programsBefore ?? run.programs
        run.note("from \(before) to \(run.programs)\(before == run.programs ? ", the same build (see --before)" : "")")
        for agent in cluster.agents { await agent.use(programs: before) }
        try await cluster.start()
        for number in 1...10 { try await work.submit("lasting-\(number)", seconds: 100_000, ends: false) }
        try await cluster.expectVoters(5, within: .seconds(120))
        chapter("five agents of the first build vote; ten lasting jobs run")

        await work.begin(jobsPerSecond: 2)
        let first = try await lives(cluster)
        let (leader, _) = try await cluster.agreedLeader(of: cluster.agents)
        // The leader comes last, as an administrator would do it.
        for agent in cluster.others(than: leader).reversed() + [leader] {
            let own = first.filter { $0.value.node == agent.name }
            let processes = try own.keys.sorted().map { try agent.processes(of: own[$0]?.id ?? "").sorted() }
            let stopped = ContinuousClock.now
            try await agent.end(SIGTERM)
            let ended = stopped.duration(to: .now)
            await agent.use(programs: run.programs)
            try await agent.start(within: .seconds(40))
            let answered = stopped.duration(to: .now)
            for (name, processes) in zip(own.keys.sorted(), processes) {
                let now = try agent.processes(of: own[name]?.id ?? "").sorted()
                try expect(now == processes, "\(agent.name): the processes of \(name) were \(processes) and are \(now)")
            }
            // Agents of both builds answer, and about the same jobs.
            let known = Set(first.values.map(\.id))
            for other in cluster.agents {
                let seen = try await run.eventually("an answer of \(other.name) about all jobs") {
                    try await other.ask { Set(try await $0.allJobs().map(\.id)) }
                }
                try expect(known.isSubset(of: seen), "\(other.name) does not know \(known.subtracting(seen).sorted())")
            }
            let next = try await cluster.agreedLeader(of: cluster.agents)
            chapter(
                "\(agent.name) ended within \(ended.text) and answers as the other build after \(answered.text), with \(own.count) lasting "
                    + "jobs; \(next.agent.name) leads in term \(next.term)"
            )
        }
        try await work.finish()
        try await cluster.expectEqualViews(within: .seconds(30))
        let last = try await lives(cluster)
        let moved = first.filter { last[$0.key] != $0.value }.keys.sorted()
        try expect(moved.isEmpty, "lasting jobs began anew or moved: \(moved)")
        for (name, job) in first {
            guard let agent = cluster[job.node] else { continue }
            let decisions = try await agent.ask { try await $0.decisions(job.id) }
            try expect(
                decisions.contains { $0.kind == "adopted" },
                "nothing tells that \(agent.name) adopted the container of \(name)"
            )
        }
        chapter("all agents are of the second build; \(await work.summary(since: began))")
        try await work.settle()
        let again = try await work.expectNoneRanTwiceAtOnce()
        try expect(again == 0, "\(again) jobs began anew, though no node was away")
        try await cluster.stop()
    }

    private struct Life: Equatable {
        var id: String
        var node: String
        var incarnation: UInt32
    }

    /// Where the lasting jobs run, by their names.
    private func lives(_ cluster: AgentCluster) async throws -> [String: Life] {
        try await cluster.run.eventually("ten running lasting jobs", within: .seconds(60)) {
            let jobs = try await cluster.running(asking: cluster.agents[0]).filter { $0.name.hasPrefix("lasting-") }
            guard jobs.count == 10 else { return nil }
            return Dictionary(
                uniqueKeysWithValues: jobs.map {
                    ($0.name, Life(id: $0.id, node: $0.node, incarnation: $0.incarnation))
                }
            )
        }
    }
}
