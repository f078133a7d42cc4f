import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// The worst day of a cluster, with everybody at work.
struct EverythingAtOnce: Scenario {
    static let name = "EverythingAtOnce"
    static let promise =
        "with agents frozen for a minute, disks full, and then kills, freezes, cuts and full disks all at once, hundreds of acknowledged jobs "
        + "all end as they should and none runs twice at once"

    /// Room for an agent's state; it is in memory, so that it can be filled quickly.
    private let diskSize = ByteCount.mebibytes(96)

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 5)
        let cluster = try AgentCluster(run, count: 5, partitionTimeout: .seconds(6), network: network) {
            "\(run.folder)/disk-\($0)/state"
        }
        for agent in cluster.agents {
            let disk = FileSystem.parent(of: agent.stateFolder)
            try FileSystem.createFolder(disk)
            try Mounts.tmpfs(on: disk, size: diskSize)
        }
        do {
            let work = try await Workload(run, cluster)
            try await WorstDay(run: run, cluster: cluster, work: work, faults: Faults(cluster, network)).tell()
        } catch {
            cluster.showLogs()
            throw error
        }
    }
}

/// The chapters of ``EverythingAtOnce``, in order.
private struct WorstDay {
    let run: ScenarioRun
    let cluster: AgentCluster
    let work: Workload
    let faults: Faults
    let began = ContinuousClock.now

    private let jobsWanted = 300
    private let minute = Duration.seconds(60)

    private func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }

    func tell() async throws {
        try await cluster.start()
        chapter("five agents in five network namespaces are members")
        for number in 1...10 { try await work.submit("lasting-\(number)", seconds: 100_000, ends: false) }
        await work.begin(jobsPerSecond: 2.2)
        let (first, _) = try await cluster.agreedLeader(of: cluster.agents)
        _ = try await run.eventually("the start of ten lasting jobs", within: minute, every: .milliseconds(200)) {
            let lasting = try await cluster.running(asking: first).filter { $0.name.hasPrefix("lasting-") }
            return lasting.count == 10 ? true : nil
        }
        guard let worker = cluster.others(than: first).last else { return }
        try await freeze(worker, "a worker")
        try await cluster.expectVoters(3, within: .seconds(120))
        let (leader, _) = try await cluster.agreedLeader(of: cluster.agents)
        try await freeze(leader, "the leader")
        try await cluster.expectVoters(5, within: .seconds(150))
        chapter("there are five voters")
        try await fullDisk()
        try await storm()
        while await work.acknowledged.count < jobsWanted { try await Task.sleep(for: .milliseconds(200)) }
        try await work.finish()
        chapter("\(await work.summary(since: began))")

        try await cluster.expectEqualViews(within: .seconds(60))
        chapter("all agents see the same")
        try await work.settle()
        try await work.expectNoneRanTwiceAtOnce()
        chapter("all promises were kept")
        try await cluster.stop()
    }

    /// Stops an agent's process for a minute: its containers end without it, and its jobs run elsewhere.
    private func freeze(_ agent: AgentProcess, _ what: String) async throws {
        let others = cluster.others(than: agent)
        let moving = try await cluster.running(asking: agent).filter {
            $0.node == agent.name && $0.name.hasPrefix("lasting-")
        }
        let start = ContinuousClock.now
        try await faults.begin(.frozen, to: agent)
        _ = try await run.eventually(
            "the going on elsewhere of \(moving.count) jobs of \(agent.name), which is frozen",
            within: minute,
            every: .milliseconds(500)
        ) {
            let jobs = try await cluster.running(asking: others[0])
            let missing = moving.filter { job in !jobs.contains { $0.id == job.id && $0.node != agent.name } }
            if missing.isEmpty { return true }
            throw Broken("missing are \(missing.map(\.name))")
        }
        let moved = start.duration(to: .now)
        for job in moving {
            let processes = try agent.processes(of: job.id)
            try expect(
                processes.isEmpty,
                "\(job.name) lives on at \(agent.name), which is frozen: processes \(processes)"
            )
        }
        let rest = minute - start.duration(to: .now)
        if rest > .zero { try await Task.sleep(for: rest) }
        try await faults.end(.frozen, of: agent)
        let back = ContinuousClock.now
        _ = try await cluster.agreedLeader(of: cluster.agents)
        chapter(
            "\(agent.name), \(what), was frozen for \(start.duration(to: back).text); its \(moving.count) lasting jobs ran elsewhere after "
                + "\(moved.text); \(await work.summary(since: start)); it follows \(back.duration(to: .now).text) later"
        )
    }

    /// Fills the disk of one voter of five: it says so, the others go on, and it is well again when there is room.
    private func fullDisk() async throws {
        let (leader, _) = try await cluster.agreedLeader(of: cluster.agents)
        let victim = cluster.others(than: leader)[Int(run.options.seed % 4)]
        let others = cluster.others(than: victim)
        let start = ContinuousClock.now
        try await faults.begin(.diskFull, to: victim)
        let problems = try await run.eventually("\(victim.name)'s word that its disk is full", within: .seconds(30)) {
            let problems = try await diskProblems(victim)
            return problems.isEmpty ? nil : problems
        }
        let told = start.duration(to: .now)
        for number in 1...10 {
            let job = try await work.submit("full-\(number)", seconds: 0.5, through: others)
            try expect(
                job.took < .seconds(10),
                "\(job.agent) took \(job.took.text) to acknowledge a job while the disk of \(victim.name) was full"
            )
        }
        let rest = .seconds(10) - start.duration(to: .now)
        if rest > .zero { try await Task.sleep(for: rest) }
        try await faults.end(.diskFull, of: victim)
        let freed = ContinuousClock.now
        _ = try await run.eventually("an end of \(victim.name)'s problems", within: .seconds(30)) {
            let problems = try await diskProblems(victim)
            if problems.isEmpty { return true }
            throw Broken("\(problems)")
        }
        _ = try await cluster.agreedLeader(of: cluster.agents)
        chapter(
            "the disk of \(victim.name), a voter, was full for \(start.duration(to: freed).text); it said so after \(told.text) (\(problems[0])); "
                + "\(await work.summary(since: start)); it was well \(freed.duration(to: .now).text) after there was room"
        )
    }

    private func diskProblems(_ agent: AgentProcess) async throws -> [String] {
        try await agent.ask { try await $0.status() }.problems.filter {
            $0.contains(" is full ") || $0.contains("cannot be written")
        }
    }

    /// Two faults at any time, drawn by the seed, on different agents.
    private func storm() async throws {
        let end = ContinuousClock.now + run.options.stormLength
        let start = ContinuousClock.now
        let draws = run.generator()
        let counts = try await withThrowingTaskGroup(of: [Fault: Int].self) { group in
            for number in 0..<2 {
                group.addTask {
                    var generator = draws
                    for _ in 0...number { _ = generator.next() }
                    generator = SeededGenerator(seed: generator.next())
                    var counts: [Fault: Int] = [:]
                    while ContinuousClock.now < end {
                        let fault = Fault.allCases.randomElement(using: &generator) ?? .killed
                        // One of six lasts until the node is lost.
                        let isLong = Int.random(in: 0..<6, using: &generator) == 0
                        let length = Duration.milliseconds(
                            Int.random(in: isLong ? 17_000...20_000 : 500...7_000, using: &generator)
                        )
                        guard let victim = await faults.choose(fault, using: &generator) else { continue }
                        chapter("\(victim.name) \(fault.text) for \(length.text)")
                        try await faults.begin(fault, to: victim)
                        try await Task.sleep(for: length)
                        try await faults.end(fault, of: victim)
                        counts[fault, default: 0] += 1
                        try await Task.sleep(for: .milliseconds(Int.random(in: 200...1500, using: &generator)))
                    }
                    return counts
                }
            }
            return try await group.reduce(into: [:]) { $0.merge($1, uniquingKeysWith: +) }
        }
        let told = Fault.allCases.map { "\($0.rawValue) \(counts[$0] ?? 0)" }.joined(separator: ", ")
        chapter("the storm is over: \(told); \(await work.summary(since: start))")
    }
}
