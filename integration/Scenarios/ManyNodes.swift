import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// Nodes die, stop and come back; nobody who asked for a job has to know.
struct ManyNodes: Scenario {
    static let name = "ManyNodes"
    static let promise =
        "five agents are one cluster: any of them answers, a dead node's jobs go on elsewhere, a dead leader is replaced, "
        + "nothing acknowledged is lost and no job runs twice"

    func run(_ run: ScenarioRun) async throws {
        let cluster = try AgentCluster(run, count: 5, partitionTimeout: .seconds(6))
        do {
            let story = ClusterStory(run: run, cluster: cluster, root: try await run.makeRoot())
            try await story.tell()
        } catch {
            cluster.showLogs()
            throw error
        }
    }
}

/// A job whose submission was acknowledged.
private struct Promised: Sendable {
    var id: String
    var name: String
    /// Whether it ends by itself; else it has to be cancelled.
    var ends: Bool
}

/// The chapters of ``ManyNodes``, in order.
private struct ClusterStory {
    let run: ScenarioRun
    let cluster: AgentCluster
    let root: String

    /// How often a question is asked again: each takes a connection of its own.
    private let pause = Duration.milliseconds(250)

    func tell() async throws {
        let began = ContinuousClock.now
        func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }

        try await cluster.start()
        chapter("five agents are members")
        var promised = try await submitThroughAll()
        let ids = Set(promised.map(\.id))
        _ = try await run.eventually("the start of \(ids.count) jobs", within: .seconds(60), every: pause) {
            try await jobs(cluster.agents[0]).allSatisfy { $0.state == "running" || $0.endedUnixSeconds > 0 }
                ? true : nil
        }
        chapter("\(ids.count) jobs run")
        try await lookThroughAll(ids)
        chapter("each agent lists all jobs, and tells and shows one of another node")

        guard let first = try cluster.leader() else { throw Broken("no agent says that it leads") }
        let workers = try await holders(asking: first).filter { $0.agent !== first }.prefix(2).map(\.agent)
        guard workers.count == 2 else { throw Broken("fewer than two agents beside the leader hold jobs") }
        try await loseTwo(dead: workers[0], silent: workers[1], asking: first, chapter)
        try await workers[0].start()
        chapter("\(workers[0].name) is started again")

        _ = try await run.eventually("a group of three voters", within: .seconds(90), every: pause) {
            try await cluster.voterCount() ?? 0 >= 3 ? true : nil
        }
        guard let leader = try cluster.leader() else { throw Broken("no agent says that it leads") }
        chapter("there are three voters, and \(leader.name) leads")
        promised += try await loseLeader(leader, chapter)
        try await leader.start()
        chapter("\(leader.name) is started again")

        promised += try await useAgain(workers + [leader])
        chapter("\(workers[0].name), \(workers[1].name) and \(leader.name) have jobs again")
        promised += try await stopLeader(chapter)
        promised += try await killAll(chapter)
        try await endAll(promised, chapter)
        try noneLivedTwice(promised)
        try await stop()
        chapter("all agents are stopped")
    }

    // MARK: Submitting and looking

    private func document(_ name: String, seconds: Double) throws -> String {
        let folder = run.folder + "/jobs/" + name
        try FileSystem.createFolder(folder)
        return """
            name: \(name)
            image: {rootfs: \(root)}
            command: [/witness, /given/lives, "\(seconds)"]
            mounts: [{source: \(folder), target: /given}]
            resources: {cpus: 0.2, memory: 32MiB}
            """
    }

    /// Four jobs through each agent, all agents at once; every fourth job ends by itself, soon.
    private func submitThroughAll() async throws -> [Promised] {
        try await withThrowingTaskGroup(of: [Promised].self) { group in
            for agent in cluster.agents {
                group.addTask {
                    try await agent.ask { client in
                        var acknowledged: [Promised] = []
                        for number in 1...4 {
                            let (name, ends) = ("first-\(agent.name)-\(number)", number == 4)
                            let id = try await client.submit(
                                try document(name, seconds: ends ? 25 : 100_000),
                                folder: "/"
                            )
                            acknowledged.append(Promised(id: id, name: name, ends: ends))
                        }
                        return acknowledged
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }

    private func jobs(_ agent: AgentProcess) async throws -> [WireJobSummary] {
        try await agent.ask { try await $0.allJobs() }
    }

    /// The agents that hold running jobs, those with the most first.
    private func holders(asking agent: AgentProcess) async throws -> [(agent: AgentProcess, jobs: Set<String>)] {
        let running = try await jobs(agent).filter { $0.state == "running" }
        return cluster.agents.map { agent in
            (agent: agent, jobs: Set(running.filter { $0.node == agent.name }.map(\.id)))
        }.filter { !$0.jobs.isEmpty }.sorted { ($1.jobs.count, $0.agent.name) < ($0.jobs.count, $1.agent.name) }
    }

    /// Each agent knows every job, and shows the output and the decisions of one that it does not run.
    private func lookThroughAll(_ ids: Set<String>) async throws {
        let held = try await holders(asking: cluster.agents[0])
        let shares = held.map { "\($0.agent.name) \($0.jobs.count)" }.joined(separator: ", ")
        run.note("jobs by node: \(shares)")
        try expect(held.count >= 3, "the jobs are on fewer than three nodes: \(shares)")
        for agent in cluster.agents {
            try await agent.ask { client in
                let known = Set(try await client.allJobs().map(\.id))
                try expect(known == ids, "\(agent.name) does not know \(ids.subtracting(known).sorted())")
                guard let other = held.first(where: { $0.agent !== agent }), let job = other.jobs.sorted().first else {
                    throw Broken("no other node than \(agent.name) has a job")
                }
                let lines = try await client.output(job)
                try expect(
                    lines.contains { $0.hasPrefix("life ") },
                    "\(agent.name) shows of \(job) on \(other.agent.name) the output \(lines)"
                )
                try expect(
                    try await !client.decisions(job).isEmpty,
                    "\(agent.name) has no decisions about \(job) on \(other.agent.name)"
                )
            }
        }
    }

    // MARK: Faults

    /// Kills one worker's agent and stops another's for longer than its right to run containers lasts.
    private func loseTwo(
        dead: AgentProcess,
        silent: AgentProcess,
        asking observer: AgentProcess,
        _ chapter: (String) -> Void
    ) async throws {
        let gone = [dead.name, silent.name]
        let moving = Set(
            try await jobs(observer).filter { gone.contains($0.node) && $0.endedUnixSeconds == 0 }.map(\.id)
        )
        try await dead.end(SIGKILL)
        try await silent.pause()
        let began = ContinuousClock.now
        chapter("\(dead.name) is killed and \(silent.name) is stopped, with \(moving.count) jobs")
        _ = try await run.eventually(
            "the going on elsewhere of the jobs of \(gone.joined(separator: " and "))",
            within: .seconds(60),
            every: pause
        ) {
            try await haveMoved(moving, from: gone, asking: observer)
        }
        chapter("their jobs go on elsewhere, after \(began.duration(to: .now).text)")
        for agent in [dead, silent] {
            let processes = try moving.flatMap { try agent.processes(of: $0) }
            try expect(processes.isEmpty, "containers of \(agent.name) live on: processes \(processes)")
        }
        let rest = .seconds(20) - began.duration(to: .now)
        if rest > .zero { try await Task.sleep(for: rest) }
        try await silent.goOn()
        chapter("\(silent.name) goes on after \(began.duration(to: .now).text)")
    }

    /// True when each of some jobs has ended or runs on a node other than some; nil until then.
    private func haveMoved(
        _ moving: Set<String>,
        from gone: [String],
        asking observer: AgentProcess
    ) async throws -> Bool? {
        let left = try await jobs(observer).filter { job in
            moving.contains(job.id) && job.endedUnixSeconds == 0 && (job.state != "running" || gone.contains(job.node))
        }
        guard let one = left.first else { return true }
        throw Broken("\(left.count) have not; \(one.name) is \(one.state) on '\(one.node)': \(one.message)")
    }

    /// Kills the leader while others submit through the agents that are left.
    private func loseLeader(_ leader: AgentProcess, _ chapter: (String) -> Void) async throws -> [Promised] {
        let others = cluster.others(than: leader)
        let moving = Set(
            try await jobs(others[0]).filter { $0.node == leader.name && $0.endedUnixSeconds == 0 }.map(\.id)
        )
        let load = Task { try await submitThroughout(others) }
        try await Task.sleep(for: .milliseconds(700))
        let began = ContinuousClock.now
        try await leader.end(SIGKILL)
        let done = try await load.value
        let after = done.filter { $0.acknowledged > began }
        guard let soonest = after.map(\.acknowledged).min() else {
            throw Broken("every submission was acknowledged before the leader was killed: nothing was proved")
        }
        let longest = done.map(\.took).max() ?? .zero
        run.note(
            "\(leader.name), which led with \(moving.count) jobs, is killed; a submission is acknowledged "
                + "\(began.duration(to: soonest).text) later, \(after.count) of \(done.count) are after it; the longest took "
                + "\(longest.text), the most attempts were \(done.map(\.attempts).max() ?? 0)"
        )
        try expect(longest < .seconds(10), "a submission took \(longest.text)")
        let next = try cluster.leader()
        try expect(next !== leader, "no other agent says that it leads")
        chapter("\(next?.name ?? "?") leads")
        _ = try await run.eventually(
            "the going on elsewhere of \(leader.name)'s jobs",
            within: .seconds(60),
            every: pause
        ) {
            try await haveMoved(moving, from: [leader.name], asking: others[0])
        }
        chapter("\(leader.name)'s jobs go on elsewhere, after \(began.duration(to: .now).text)")
        return done.map(\.job)
    }

    private struct Submission: Sendable {
        var job: Promised
        var acknowledged: ContinuousClock.Instant
        var took: Duration
        var attempts: Int
    }

    /// One small job after the other through some agents in turn, each until it is acknowledged; repeated attempts have the same key.
    private func submitThroughout(_ agents: [AgentProcess]) async throws -> [Submission] {
        var done: [Submission] = []
        for number in 0..<10 {
            let name = "meanwhile-\(number)"
            let document = try document(name, seconds: 1)
            let began = ContinuousClock.now
            var attempts = 0
            let id = try await run.eventually("an acknowledgement of \(name)", within: .seconds(30)) {
                attempts += 1
                return try await agents[(number + attempts) % agents.count].ask {
                    try await $0.submit(document, folder: "/", key: "key-\(name)", timeout: .seconds(5))
                }
            }
            let end = ContinuousClock.now
            done.append(
                Submission(
                    job: Promised(id: id, name: name, ends: true),
                    acknowledged: end,
                    took: began.duration(to: end),
                    attempts: attempts
                )
            )
            try await Task.sleep(for: .milliseconds(150))
        }
        return done
    }

    /// Submits through agents that were away, until each of them runs a job.
    private func useAgain(_ returned: [AgentProcess]) async throws -> [Promised] {
        var promised: [Promised] = []
        for number in 1...3 {
            for agent in returned {
                let name = "again-\(agent.name)-\(number)"
                let document = try document(name, seconds: 100_000)
                let id = try await run.eventually("an acknowledgement by \(agent.name)", every: pause) {
                    try await agent.ask { try await $0.submit(document, folder: "/", key: "key-\(name)") }
                }
                promised.append(Promised(id: id, name: name, ends: false))
            }
        }
        _ = try await run.eventually("jobs on all that were away", within: .seconds(40), every: pause) {
            let held = try await holders(asking: returned[0])
            let missing = returned.filter { agent in !held.contains { $0.agent === agent } }.map(\.name)
            if missing.isEmpty { return true }
            throw Broken("none on \(missing.joined(separator: ", "))")
        }
        return promised
    }

    /// Stops the leader for less than the nodes' right to run lasts; what it believes when it goes on must do no harm.
    private func stopLeader(_ chapter: (String) -> Void) async throws -> [Promised] {
        guard let leader = try cluster.leader() else { throw Broken("no agent says that it leads") }
        let others = cluster.others(than: leader)
        let before = try await incarnations(asking: others[0])
        try await leader.pause()
        let began = ContinuousClock.now
        let first = try await submitUntilAcknowledged("while-stopped", through: others)
        chapter(
            "\(leader.name) led and is stopped; a submission is acknowledged \(began.duration(to: .now).text) later"
        )
        let rest = .seconds(4) - began.duration(to: .now)
        if rest > .zero { try await Task.sleep(for: rest) }
        try await leader.goOn()
        let second = try await submitUntilAcknowledged("when-it-goes-on", through: [leader])
        _ = try await run.eventually("sight of both jobs by \(leader.name)", every: pause) {
            let known = try await jobs(leader).map(\.id)
            return known.contains(first.id) && known.contains(second.id) ? true : nil
        }
        let after = try await incarnations(asking: others[0])
        let disturbed = before.filter { after[$0.key] != $0.value }.keys.sorted()
        try expect(disturbed.isEmpty, "jobs began anew although no node was away for long: \(disturbed)")
        chapter("\(leader.name) goes on and follows; no job was disturbed")
        return [first, second]
    }

    /// How often each running job has begun.
    private func incarnations(asking agent: AgentProcess) async throws -> [String: UInt32] {
        let running = try await jobs(agent).filter { $0.state == "running" }
        return Dictionary(uniqueKeysWithValues: running.map { ($0.id, $0.incarnation) })
    }

    private func submitUntilAcknowledged(_ name: String, through agents: [AgentProcess]) async throws -> Promised {
        let document = try document(name, seconds: 1)
        var attempts = 0
        let id = try await run.eventually("an acknowledgement of \(name)") {
            attempts += 1
            return try await agents[attempts % agents.count].ask {
                try await $0.submit(document, folder: "/", key: "key-\(name)", timeout: .seconds(5))
            }
        }
        return Promised(id: id, name: name, ends: true)
    }

    /// Kills all agents at once, as a bad upgrade would, and starts them again.
    private func killAll(_ chapter: (String) -> Void) async throws -> [Promised] {
        // Those that run on until they are ended; one that ends by itself may do so meanwhile.
        let lasting = Set(
            try await jobs(cluster.agents[0]).filter {
                $0.name.hasPrefix("again-") || ($0.name.hasPrefix("first-") && !$0.name.hasSuffix("-4"))
            }.map(\.id)
        )
        let before = try await incarnations(asking: cluster.agents[0]).filter { lasting.contains($0.key) }
        let began = ContinuousClock.now
        for agent in cluster.agents { try await agent.end(SIGKILL) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for agent in cluster.agents { group.addTask { try await agent.start() } }
            try await group.waitForAll()
        }
        let submitted = try await submitUntilAcknowledged("after-all-died", through: cluster.agents)
        chapter(
            "all agents are killed and started; a submission is acknowledged \(began.duration(to: .now).text) later"
        )
        let after = try await run.eventually("the going on of \(before.count) jobs", within: .seconds(60), every: pause)
        {
            let now = try await incarnations(asking: cluster.agents[0])
            return before.keys.allSatisfy { now[$0] != nil } ? now : nil
        }
        let adopted = before.count { after[$0.key] == $0.value }
        chapter(
            "\(before.count) jobs go on, \(adopted) of them in the same container, after \(began.duration(to: .now).text)"
        )
        return [submitted]
    }

    // MARK: The end

    /// Cancels what does not end, and expects each acknowledged job, and no other, to have reached its end.
    private func endAll(_ promised: [Promised], _ chapter: (String) -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, agent) in cluster.agents.enumerated() {
                let own = promised.filter { !$0.ends }.enumerated().filter { $0.offset % cluster.agents.count == index }
                group.addTask {
                    try await agent.ask { client in for (_, job) in own { try await client.cancel(job.id) } }
                }
            }
            try await group.waitForAll()
        }
        let ended = try await run.eventually("the end of all jobs", within: .seconds(60), every: pause) {
            let all = try await jobs(cluster.agents[1])
            let open = all.filter { $0.endedUnixSeconds == 0 }
            guard let one = open.first else { return all }
            throw Broken("\(open.count) have not ended; \(one.name) is \(one.state) on '\(one.node)': \(one.message)")
        }
        let known = Dictionary(uniqueKeysWithValues: ended.map { ($0.id, $0) })
        for job in promised {
            guard let found = known[job.id] else { throw Broken("\(job.name), acknowledged as \(job.id), is gone") }
            let wanted = job.ends ? "completed" : "cancelled"
            try expect(found.state == wanted, "\(job.name) is \(found.state), not \(wanted): \(found.message)")
        }
        let strangers = Set(known.keys).subtracting(promised.map(\.id))
        try expect(
            strangers.isEmpty,
            "nobody was given these jobs: \(strangers.sorted().map { "\($0) (\(known[$0]?.name ?? ""))" })"
        )
        for agent in cluster.agents {
            _ = try await run.eventually("the end of all containers of \(agent.name)", every: pause) {
                try agent.containerNames().isEmpty ? true : nil
            }
        }
        chapter("all \(promised.count) acknowledged jobs have ended as they should")
    }

    /// Looks at what the jobs' own processes wrote.
    private func noneLivedTwice(_ promised: [Promised]) throws {
        var (lives, shortest) = (0, Duration.seconds(1_000_000))
        for job in promised {
            let record = try WitnessRecord(file: "\(run.folder)/jobs/\(job.name)/lives")
            lives += record.lives.count
            // A job that is cancelled may never have begun; one that completed has lived.
            try expect(!job.ends || !record.lives.isEmpty, "\(job.name) completed and never lived")
            for (gap, life) in zip(record.gaps, record.lives.dropFirst()) {
                try expect(
                    gap > .zero,
                    "\(job.name) ran twice at once: \(life.id) began \(gap.text) after another's end"
                )
                shortest = min(shortest, gap)
            }
        }
        try expect(lives > promised.count, "no job ever began anew: nothing was proved")
        run.note(
            "\(lives) lives of \(promised.count) jobs, never two of one job at once; the shortest pause was \(shortest.text)"
        )
    }

    /// Asks all agents to stop, as a shutdown of everything would.
    private func stop() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for agent in cluster.agents { group.addTask { try await agent.end(SIGTERM) } }
            try await group.waitForAll()
        }
    }
}

/// An upgrade of an agent is no event for its containers, in a cluster of many as in one of one.
struct RestartAmongOthers: Scenario {
    static let name = "RestartAmongOthers"
    static let promise =
        "an agent that is stopped and started within its right to run, or killed, finds its containers undisturbed"

    func run(_ run: ScenarioRun) async throws {
        let cluster = try AgentCluster(run, count: 3, partitionTimeout: .seconds(15))
        let root = try await run.makeRoot()
        do {
            try await cluster.start()
            let document = "image: {rootfs: \(root)}, command: [/counter, '100000', '0'], resources: {cpus: 0.1}}"
            for number in 1...6 {
                _ = try await cluster.agents[0].ask {
                    try await $0.submit("{name: c\(number), \(document)", folder: "/")
                }
            }
            _ = try await run.eventually("six running jobs") {
                let all = try await cluster.agents[0].ask { try await $0.allJobs() }
                return all.allSatisfy { $0.state == "running" } ? true : nil
            }
            for (agent, signal) in cluster.agents.reversed().flatMap({ [($0, SIGKILL), ($0, SIGTERM)] }) {
                let before = try agent.containerNames().sorted()
                let began = ContinuousClock.now
                try await agent.end(signal)
                try await agent.start()
                run.note("\(agent.name) answers \(began.duration(to: .now).text) after signal \(signal)")
                // Long enough for a shim to look at what its agent says about its right to run.
                for _ in 0..<24 {
                    let now = try agent.containerNames().sorted()
                    try expect(
                        now == before,
                        "\(agent.name): containers \(before) became \(now) after signal \(signal)"
                    )
                    try await Task.sleep(for: .milliseconds(250))
                }
            }
        } catch {
            cluster.showLogs()
            throw error
        }
    }
}
