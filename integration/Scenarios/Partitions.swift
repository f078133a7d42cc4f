import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem
import Transport

/// Lines break, in every way that lines break; whoever still reaches a majority does not notice.
struct Partitions: Scenario {
    static let name = "Partitions"
    static let promise =
        "whatever lines are cut, the side with a majority acknowledges within seconds, the other acknowledges nothing and says why, "
        + "containers on the cut side end before others begin, and healed all agents see the same again within 15 s"

    /// Much longer than lines flap, and short enough that a scenario can wait for its end.
    private let rightToRun = Duration.seconds(8)

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 5)
        let cluster = try AgentCluster(run, count: 5, partitionTimeout: rightToRun, network: network)
        do {
            let work = try await Workload(run, cluster)
            try await PartitionStory(run: run, cluster: cluster, network: network, work: work, rightToRun: rightToRun)
                .tell()
        } catch {
            cluster.showLogs()
            throw error
        }
    }
}

/// The chapters of ``Partitions``, in order.
private struct PartitionStory {
    let run: ScenarioRun
    let cluster: AgentCluster
    let network: ScenarioNetwork
    let work: Workload
    let rightToRun: Duration
    let began = ContinuousClock.now

    /// The longest that the side with a majority may take to acknowledge something.
    private let patience = Duration.seconds(10)

    private func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }

    func tell() async throws {
        try await cluster.start()
        chapter("five agents in five network namespaces are members")
        for number in 1...15 {
            try await work.submit("lasting-\(number)", seconds: 100_000, ends: false)
        }
        for number in 1...5 {
            try await work.submit("continues-\(number)", seconds: 100_000, ends: false, continues: true)
        }
        await work.begin(jobsPerSecond: 0.5)
        try await cluster.expectVoters(5, within: .seconds(120))
        try await work.finish()
        try await cluster.expectEqualViews(within: .seconds(30))
        chapter("five voters; \(await work.summary(since: began))")

        try await leaderAlone()
        try await leaderHearsNobody()
        try await followerDoesNotHearLeader()
        try await minorityOfTwo()
        try await followerAloneWhileLinesFlap()

        try await work.settle()
        try await work.expectNoneRanTwiceAtOnce()
        chapter("all promises were kept; \(await work.summary(since: began))")
        try await cluster.stop()
    }

    // MARK: Faults

    /// Shorter than the right to run: the cluster gets another leader, and no container notices.
    private func leaderAlone() async throws {
        let (leader, term) = try await cluster.agreedLeader(of: cluster.agents)
        let others = cluster.others(than: leader)
        let before = try await incarnations(asking: others[0])
        let cut = try await cutOff([leader])
        let job = try await work.submit("leader-alone", seconds: 0.5, through: others)
        try expect(
            job.took < patience,
            "\(job.agent) took \(job.took.text) to acknowledge a job while \(leader.name) was cut off"
        )
        let next = try await cluster.agreedLeader(of: others)
        try expect(next.term > term, "\(next.agent.name) leads in term \(next.term), \(leader.name) led in \(term)")
        let mendedBy = cut.advanced(by: .seconds(4))
        try await expectRefusal(leader, "leader-alone")
        if ContinuousClock.now < mendedBy { try await Task.sleep(until: mendedBy) }
        let lasted = cut.duration(to: .now)
        let healed = try await heal()
        chapter(
            "\(leader.name), which led, was cut off for \(lasted.text); the others acknowledged a job \(job.took.text) after the cut and "
                + "follow \(next.agent.name); healed, all views were equal after \(healed.text)"
        )
        try await expectUndisturbed(before, longest: lasted)
    }

    /// What the leader says arrives, and nothing of what it is told: it must not go on leading.
    private func leaderHearsNobody() async throws {
        let (leader, term) = try await cluster.agreedLeader(of: cluster.agents)
        let others = cluster.others(than: leader)
        let cut = ContinuousClock.now
        let number = cluster.number(leader)
        try await network.lose(Set(others.map { .init(from: cluster.number($0), to: number) }))
        let job = try await work.submit("leader-deaf", seconds: 0.5, through: others)
        try expect(
            job.took < patience,
            "\(job.agent) took \(job.took.text) to acknowledge a job while \(leader.name) heard nobody"
        )
        let next = try await cluster.agreedLeader(of: others)
        try expect(next.term > term, "\(leader.name) leads on in term \(term), though it hears nobody")
        let took = cut.duration(to: .now)
        try await expectRefusal(leader, "leader-deaf")
        let healed = try await heal()
        chapter(
            "\(leader.name), which led, heard nobody but was heard; the others acknowledged a job \(job.took.text) after that and followed "
                + "\(next.agent.name) after \(took.text); healed, all views were equal after \(healed.text)"
        )
    }

    /// One follower does not hear the leader, which hears it: it must not become one itself.
    private func followerDoesNotHearLeader() async throws {
        let (leader, term) = try await cluster.agreedLeader(of: cluster.agents)
        guard let deaf = cluster.others(than: leader).last else { return }
        let cut = ContinuousClock.now
        try await network.lose([.init(from: cluster.number(leader), to: cluster.number(deaf))])
        var slowest = Duration.zero
        for number in 1...6 {
            let job = try await work.submit("one-way-\(number)", seconds: 0.5, through: cluster.others(than: deaf))
            slowest = max(slowest, job.took)
            try await Task.sleep(for: .milliseconds(500))
        }
        try expect(slowest < patience, "a job took \(slowest.text) while \(deaf.name) did not hear \(leader.name)")
        let now = try await cluster.agreedLeader(of: cluster.others(than: deaf))
        let lasted = cut.duration(to: .now)
        let healed = try await heal()
        chapter(
            "\(deaf.name) did not hear \(leader.name) for \(lasted.text); the slowest of six jobs was acknowledged after \(slowest.text), "
                + "\(now.agent === leader && now.term == term ? "\(leader.name) led on" : "\(now.agent.name) led after that in term \(now.term)"); "
                + "healed, all views were equal after \(healed.text)"
        )
        try expect(now.term == term, "\(deaf.name) disturbed \(leader.name): the term is \(now.term) and was \(term)")
    }

    /// The leader and one more, for longer than the right to run and the time after which a node is lost.
    private func minorityOfTwo() async throws {
        let (leader, _) = try await cluster.agreedLeader(of: cluster.agents)
        let others = cluster.others(than: leader)
        let cutOff = [leader, others[Int(run.options.seed % 4)]]
        let rest = cluster.others(than: cutOff[0], cutOff[1])
        let there = try await cluster.running(asking: rest[0]).filter { job in cutOff.contains { $0.name == job.node } }
        let lasting = there.filter { $0.name.hasPrefix("lasting-") }
        let continuing = there.filter { $0.name.hasPrefix("continues-") }
        try expect(!lasting.isEmpty, "no job runs on \(cutOff.map(\.name)): nothing would be proved")
        let cut = try await self.cutOff(cutOff)
        let job = try await work.submit("minority", seconds: 0.5, through: rest)
        try expect(
            job.took < patience,
            "\(job.agent) took \(job.took.text) to acknowledge a job while two were cut off"
        )
        await work.begin(jobsPerSecond: 2)
        for agent in cutOff { try await expectRefusal(agent, "minority") }
        let names = cutOff.map(\.name).joined(separator: " and ")
        _ = try await run.eventually(
            "the going on elsewhere of \(there.count) jobs of \(names)",
            within: .seconds(60),
            every: .milliseconds(250)
        ) {
            let now = try await rest[0].ask { try await $0.allJobs() }
            let wanted = Set((lasting + continuing).map(\.id))
            let left = now.filter { job in
                wanted.contains(job.id) && (job.state != "running" || cutOff.contains { $0.name == job.node })
            }
            guard let one = left.first else { return true }
            throw Broken("\(left.count) have not; \(one.name) is \(one.state) on '\(one.node)': \(one.message)")
        }
        let moved = cut.duration(to: .now)
        for agent in cutOff {
            let processes = try lasting.flatMap { try agent.processes(of: $0.id) }
            try expect(
                processes.isEmpty,
                "containers of \(agent.name), which is cut off, live on: processes \(processes)"
            )
            for job in continuing where job.node == agent.name {
                try expect(
                    try !agent.processes(of: job.id).isEmpty,
                    "\(job.name) ended on \(agent.name), though it says `onPartition: continue`"
                )
            }
        }
        for agent in cutOff { try await expectRefusal(agent, "minority-later", side: cutOff) }
        try await work.finish()
        let lasted = cut.duration(to: .now)
        let healed = try await heal()
        // What went on there is a second copy now, and has to go.
        for job in continuing {
            _ = try await run.eventually("the end of the second copy of \(job.name)", within: .seconds(20)) {
                let copies = try cluster.agents.filter { try !$0.processes(of: job.id).isEmpty }
                if copies.count == 1 { return true }
                throw Broken("it runs on \(copies.map(\.name))")
            }
        }
        chapter(
            "\(names) were cut off for \(lasted.text) with \(lasting.count) lasting jobs, which ran elsewhere after \(moved.text), and "
                + "\(continuing.count) that went on; \(await work.summary(since: cut)); healed, all views were equal after \(healed.text)"
        )
    }

    /// One follower sees nobody for longer than it takes to be lost; lines between the others come and go meanwhile.
    private func followerAloneWhileLinesFlap() async throws {
        let (leader, _) = try await cluster.agreedLeader(of: cluster.agents)
        guard let alone = cluster.others(than: leader).last else { return }
        let rest = cluster.others(than: alone)
        let numbers = rest.map(cluster.number)
        let apart = ScenarioNetwork.apart([cluster.number(alone)], from: numbers)
        let before = try await incarnations(asking: leader).filter { job in job.value.node != alone.name }
        let cut = ContinuousClock.now
        await work.begin(jobsPerSecond: 2)
        var generator = run.generator()
        var flaps = 0
        // The time after which a node is lost, and a little more.
        while cut.duration(to: .now) < rightToRun + .seconds(12) {
            let one = numbers.randomElement(using: &generator) ?? 1
            let other = numbers.filter { $0 != one }.randomElement(using: &generator) ?? 1
            try await network.lose(apart.union(ScenarioNetwork.apart([one], from: [other])))
            try await Task.sleep(for: .milliseconds(Int.random(in: 200...700, using: &generator)))
            try await network.lose(apart)
            try await Task.sleep(for: .milliseconds(Int.random(in: 100...400, using: &generator)))
            flaps += 1
        }
        try await work.finish()
        try await expectRefusal(alone, "alone", side: [alone])
        let lasted = cut.duration(to: .now)
        let healed = try await heal()
        chapter(
            "\(alone.name) saw nobody for \(lasted.text), and a line between two others was cut \(flaps) times; "
                + "\(await work.summary(since: cut)); healed, all views were equal after \(healed.text)"
        )
        try await expectUndisturbed(before, longest: await work.acknowledged(since: cut).map(\.took).max() ?? .zero)
    }

    // MARK: What must hold

    /// Cuts some agents off from all others.
    private func cutOff(_ agents: [AgentProcess]) async throws -> ContinuousClock.Instant {
        let some = agents.map(cluster.number)
        try await network.lose(ScenarioNetwork.apart(some, from: (1...network.count).filter { !some.contains($0) }))
        return .now
    }

    /// Mends all lines; returns how long it took until all agents saw the same.
    private func heal() async throws -> Duration {
        try await network.lose([])
        let began = ContinuousClock.now
        try await cluster.expectEqualViews(within: .seconds(15))
        return began.duration(to: .now)
    }

    /// An agent without a majority accepts nothing, and says so to programs and to people.
    ///
    /// Once it had the time to notice, it also says who does not answer: all but those on its `side`.
    private func expectRefusal(_ agent: AgentProcess, _ name: String, side: [AgentProcess]? = nil) async throws {
        let name = "refused-\(name)-\(agent.name)"
        let document = try work.document(name, seconds: 0.5)
        let began = ContinuousClock.now
        let failure: RPCFailure
        do {
            let id = try await agent.ask {
                try await $0.submit(document, folder: "/", key: "key-\(name)", timeout: .seconds(15))
            }
            throw Broken("\(agent.name), which reaches no majority, acknowledged \(name) as \(id)")
        } catch let error as RPCFailure {
            failure = error
            run.note("  \(agent.name) refuses after \(began.duration(to: .now).text): \(failure.message)")
            // Not begun: then it must not be there afterwards; else nobody may rely on either.
            if !failure.wasNotBegun { await work.mayExist(name) }
            try expect(
                failure.message.contains("knows no leader"),
                "\(agent.name) does not say that there is no leader, but: \(failure.message)"
            )
        }
        // As one line: how it is wrapped does not matter here.
        let text = try await cluster.statusText(of: agent).split(whereSeparator: \.isWhitespace).joined(separator: " ")
        let begin = text.firstRange(of: "No quorum:") ?? text.firstRange(of: "There is no leader,")
        guard let begin, text.contains("network") else {
            throw Broken(
                "`godwit status` of \(agent.name), which reaches no majority, does not say so or not what to do: \(text)"
            )
        }
        let problem = text[begin.lowerBound...]
        run.note("  godwit status there: \(problem.prefix(100))...")
        guard let side else { return }
        // By now gossip has noticed who is silent.
        let silent = cluster.agents.map(\.name).filter { name in !side.contains { $0.name == name } }
        let wanted = "\(side.count) of 5 voters"
        try expect(
            problem.hasPrefix("No quorum: \(wanted)") && failure.message.contains(wanted)
                && silent.allSatisfy(problem.contains),
            "\(agent.name) does not say that \(wanted) answer and that \(silent) do not: \(failure.message); \(text)"
        )
    }

    private struct Begun: Equatable {
        var incarnation: UInt32
        var node: String
    }

    /// How often each lasting job has begun, and where.
    private func incarnations(asking agent: AgentProcess) async throws -> [String: Begun] {
        let jobs = try await cluster.running(asking: agent).filter {
            $0.name.hasPrefix("lasting-") || $0.name.hasPrefix("continues-")
        }
        return Dictionary(
            uniqueKeysWithValues: jobs.map { ($0.name, Begun(incarnation: $0.incarnation, node: $0.node)) }
        )
    }

    /// Containers go on as long as their nodes get a leader's word in time.
    ///
    /// A machine that is overwhelmed may make the longest silence so long that they rightly end; then nothing is proved, and that is said.
    private func expectUndisturbed(_ before: [String: Begun], longest silence: Duration) async throws {
        guard silence < rightToRun * 0.75 else {
            return run.note(
                "  nobody answered for \(silence.text), so containers may have ended: whether they were disturbed is not looked at"
            )
        }
        let after = try await incarnations(asking: cluster.agents[0])
        let disturbed = before.filter { after[$0.key] != $0.value }.keys.sorted()
        try expect(disturbed.isEmpty, "jobs began anew although their nodes were not away for long: \(disturbed)")
    }
}
