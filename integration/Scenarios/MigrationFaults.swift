import ClusterModel
import ControlAPI
import ControlMessages
import Glibc
import LinuxSystem

/// Moves go wrong in every way that others can make them: nothing is lost, and nothing runs twice.
struct MigrationUnderFaults: Scenario {
    static let name = "MigrationUnderFaults"
    static let promise =
        "moves over a slow line, to a full disk, ten at once, and with agents killed at any moment leave each job running once, with all that it had"

    func run(_ run: ScenarioRun) async throws {
        let network = try await ScenarioNetwork.make(count: 4)
        let disk = run.folder + "/small-disk"
        try FileSystem.createFolder(disk, mode: 0o700)
        try Mounts.tmpfs(on: disk, size: .mebibytes(64))
        let cluster = try AgentCluster(run, count: 4, partitionTimeout: .seconds(5), network: network) { name in
            name == "n4" ? disk + "/state" : nil
        }
        do {
            try await FaultyMoves(run: run, cluster: cluster, network: network, root: try await run.makeRoot()).tell()
        } catch {
            cluster.showLogs()
            throw error
        }
    }
}

/// The chapters of ``MigrationUnderFaults``, in order.
private struct FaultyMoves {
    let run: ScenarioRun
    let cluster: AgentCluster
    let network: ScenarioNetwork
    let root: String
    let began = ContinuousClock.now

    private func chapter(_ text: String) { run.note("[\(began.duration(to: .now).text)] \(text)") }

    /// Agents of which each can hold every job; the fourth has a small disk.
    private var large: [AgentProcess] { Array(cluster.agents.prefix(3)) }

    func tell() async throws {
        try await cluster.start()
        chapter("four agents are members, one of them with a disk of 64 MiB")
        // The one with the small disk gets nothing by itself.
        let small = cluster.agents[3].name
        try await cluster.done("node cordon \(small)", asking: large[1])
        let job = try await submit("alone", mebibytes: 32)
        _ = try await home(of: job)
        try await cluster.done("node undrain \(small)", asking: large[1])
        try await fillTheDisk(job)
        try await slowLine(job)
        try await tenAtOnce()
        let last = try await killAtRandom(job)
        try await expectEnd(of: last)
        for agent in cluster.agents { try await agent.end(SIGTERM) }
    }

    // MARK: Chapters

    /// A destination whose disk is full takes nothing, whether it has said so or only finds out; the job runs on meanwhile.
    private func fillTheDisk(_ job: String) async throws {
        let small = cluster.agents[3]
        let from = try await home(of: job)
        let faults = Faults(cluster, network)
        try await faults.begin(.diskFull, to: small)
        let told = try await outcomes(of: job, asking: from).count
        let answer = try await cluster.godwit("job migrate alone --to \(small.name) --no-wait", asking: from)
        for _ in 1...3 { try await expectCounting("alone") }
        try await faults.end(.diskFull, of: small)
        let (place, outcome) = try await end(of: job, asking: from, after: answer.status == 0 ? told : nil)
        try await expectCounting("alone")
        chapter(
            "asked to move the job to \(small.name) with a full disk, \(from.name) said: \(answer.text) It is on \(place.name). \(outcome)"
        )
        guard place === small else { return }
        let before = try await order(job, to: from, asking: from)
        _ = try await end(of: job, asking: from, after: before)
    }

    /// A line on which the memory takes seconds.
    private func slowLine(_ job: String) async throws {
        let from = try await home(of: job)
        let namespace = network.place(cluster.number(from)).namespace
        try await network.slow(cluster.number(from), megabits: 100)
        let to = cluster.others(than: from, cluster.agents[3])[0]
        let started = ContinuousClock.now
        let before = try await order(job, to: to, asking: to)
        let (place, outcome) = try await end(of: job, asking: to, after: before)
        let took = started.duration(to: .now)
        try expect(place === to, "it is on \(place.name), not on \(to.name): \(outcome)")
        try await expectCounting("alone")
        try await network.mend(cluster.number(from))
        chapter("\(namespace.suffix(2)) sent 32 MiB over a line of 100 Mbit/s in \(took.text). \(outcome)")
    }

    /// Ten jobs are to leave one node at the same time: a few do, the others wait for their turn.
    private func tenAtOnce() async throws {
        let names = (1...10).map { "many-\($0)" }
        let (full, asked) = (large[0], large[1])
        for other in cluster.others(than: full) { try await cluster.done("node cordon \(other.name)", asking: asked) }
        var jobs: [String] = []
        for name in names { jobs.append(try await submit(name, mebibytes: 4)) }
        for job in jobs { _ = try await home(of: job) }
        for other in large.dropFirst() { try await cluster.done("node undrain \(other.name)", asking: asked) }
        let started = ContinuousClock.now
        try await cluster.done("node drain \(full.name)", asking: asked)
        var stood: [Double] = []
        for (name, job) in zip(names, jobs) {
            _ = try await run.eventually("\(name) on another node", within: .seconds(90), every: .milliseconds(100)) {
                let shown = try await asked.ask { try await $0.job(job) }
                if shown.job.state == "running", shown.job.node != full.name, !shown.hasMigration { return true }
                throw Broken("\(shown.job.state) on \(shown.job.node): \(shown.job.message)")
            }
            let told = try await asked.ask { try await $0.decisions(job) }
            stood += told.filter { $0.kind == "migrated" }.compactMap { $0.numbers["downtimeSeconds"] }
        }
        let took = started.duration(to: .now)
        for name in names { try await expectCounting(name) }
        let worst = Duration.seconds(stood.max() ?? 0).text
        try expect(stood.count == jobs.count, "\(jobs.count - stood.count) of ten did not move as they ran")
        chapter("ten jobs left \(full.name) in \(took.text); the longest stood still for \(worst)")
        for job in jobs { try await asked.ask { try await $0.cancel(job) } }
        for node in [full, cluster.agents[3]] { try await cluster.done("node undrain \(node.name)", asking: asked) }
    }

    /// Kills agents at drawn moments of moves between drawn nodes, two at a time now and then, while several vote.
    ///
    /// Returns the job that is left: every few moves there is a new one, since one that is lost again and again waits longer and longer.
    private func killAtRandom(_ first: String) async throws -> String {
        try await cluster.expectVoters(3, within: .seconds(120))
        var generator = run.generator()
        var outcomes: [String: Int] = [:]
        var (job, name, restarts) = (first, "alone", 0)
        for number in 1...run.options.moveCount {
            if number > 1, number % 3 == 1 {
                restarts += try restartCount(name)
                try await large[0].ask { try await $0.cancel(job) }
                name = "alone-\(number)"
                job = try await submit(name, mebibytes: 32)
            }
            let moved = job
            let choice = Int.random(in: 0..<720, using: &generator)
            // Anew with each attempt: a job whose node was cut off meanwhile may be elsewhere by now.
            let ordered = try await run.eventually("an order to move") {
                let from = try await home(of: moved)
                let leader = try cluster.leader() ?? from
                // The first move is one between two others than the leader, where there are.
                let free = cluster.others(than: from, cluster.agents[3]).filter { number > 1 || $0 !== leader }
                let to = free.isEmpty ? large[0] : free[choice % free.count]
                let asked = cluster.others(than: from, to)[0]
                let before = try await order(moved, to: to, asking: asked)
                return Order(from: from, to: to, leader: leader, asked: asked, before: before)
            }
            let (from, to, leader, asked) = (ordered.from, ordered.to, ordered.leader, ordered.asked)
            // The first is the leader, which is the point of having several voters.
            // Few moves kill sources only: a destination that is killed after the hand-over is not always done in the time that this waits.
            let draw = number == 1 ? 0 : run.options.moveCount > 4 ? Int.random(in: 0..<6, using: &generator) : 1
            let victims: [AgentProcess] =
                switch draw {
                case 0: [leader]
                case 1: [from]
                case 2: [to]
                case 3: [from, to]
                case 4: leader === to ? [to, from] : [leader, to]
                default: []
                }
            let pause = Duration.milliseconds(Int64.random(in: 0...900, using: &generator))
            try await Task.sleep(for: pause)
            for victim in victims { try await victim.end(SIGKILL) }
            for victim in victims { try await victim.start(within: .seconds(40)) }
            let (place, outcome) = try await end(of: moved, asking: asked, after: ordered.before)
            try await expectOne(moved, on: place)
            // Who was killed with everything that it held may have cost work; then the story says so, and counting began anew from a checkpoint or 0.
            try await expectCounting(name, restarts: true)
            let told = try await asked.ask { try await $0.decisions(moved) }.count { $0.kind == "restarted" }
            let seen = try restartCount(name)
            try expect(seen <= told, "it fell back \(seen) times, and its story knows of \(told): two of it run")
            let kind = place === to ? "arrived" : place === from ? "stayed" : "elsewhere"
            outcomes[kind, default: 0] += 1
            if number <= 12 || number % 25 == 0 {
                let who = victims.isEmpty ? "nobody" : victims.map(\.name).joined(separator: " and ")
                chapter(
                    "move \(number) from \(from.name) to \(to.name), \(who) killed after \(pause.text): it is on \(place.name). \(outcome)"
                )
            }
        }
        let told = outcomes.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        restarts += try restartCount(name)
        chapter("\(run.options.moveCount) moves with kills: \(told); work was lost \(restarts) times")
        return job
    }

    /// A move that was asked for.
    private struct Order {
        var from: AgentProcess
        var to: AgentProcess
        var leader: AgentProcess
        /// Who has no part in it.
        var asked: AgentProcess
        /// What ``order(_:to:asking:)`` returned.
        var before: Int
    }

    private func expectEnd(of job: String) async throws {
        try await large[0].ask { try await $0.cancel(job) }
        for agent in cluster.agents {
            _ = try await run.eventually("the end of all containers of \(agent.name)") {
                try agent.containerNames().isEmpty ? true : nil
            }
            _ = try await run.eventually("nothing of moves in memory at \(agent.name)") {
                let left = try FileSystem.list("/dev/shm/godwit-scenario-\(getpid())-\(agent.name)")
                if left.isEmpty { return true }
                throw Broken("there is \(left)")
            }
        }
    }

    // MARK: Helpers

    private func submit(_ name: String, mebibytes: Int) async throws -> String {
        try FileSystem.createFolder(run.folder + "/given")
        let document = """
            name: \(name)
            image: {rootfs: \(root)}
            command: [/traveller, /given/\(name), "\(mebibytes)"]
            mounts: [{source: \(run.folder)/given, target: /given}]
            resources: {cpus: 0.1, memory: \(mebibytes + 64)MiB}
            checkpoint: {replicas: 0, recovery: restore}
            """
        return try await large[1].ask { try await $0.submit(document, folder: "/") }
    }

    /// Orders a move and waits for nothing; returns how many moves the job's story told the end of before.
    private func order(_ job: String, to node: AgentProcess, asking agent: AgentProcess) async throws -> Int {
        let before = try await outcomes(of: job, asking: agent).count
        var request = WireJobMigrateRequest()
        (request.job.nameOrID, request.to, request.noWait) = (job, node.name, true)
        let question = request
        try await agent.ask { _ = try await $0.jobMigrate(question) }
        return before
    }

    /// What the job's story tells about the ends of moves.
    private func outcomes(of job: String, asking agent: AgentProcess) async throws -> [String] {
        let told = try await agent.ask { try await $0.decisions(job) }
        return told.filter { ["migrated", "warned", "restarted"].contains($0.kind) }.map(\.sentence)
    }

    private func home(of job: String) async throws -> AgentProcess {
        try await run.eventually("the job running", within: .seconds(60)) {
            for agent in large {
                guard let shown = try? await agent.ask({ try await $0.job(job).job }) else { continue }
                return shown.state == "running" ? cluster[shown.node] : nil
            }
            return nil
        }
    }

    /// Where the job is when its move is over, and the last sentence about that; `before` is what ``order(_:to:asking:)`` returned, nil without an order.
    private func end(
        of job: String,
        asking agent: AgentProcess,
        after before: Int?
    ) async throws -> (AgentProcess, String) {
        try await run.eventually("the end of the move", within: .seconds(90), every: .milliseconds(100)) {
            let told = try await outcomes(of: job, asking: agent)
            let shown = try await agent.ask { try await $0.job(job) }
            guard shown.job.state == "running", !shown.hasMigration, let place = cluster[shown.job.node],
                told.count > before ?? -1
            else {
                throw Broken("\(shown.job.state) on \(shown.job.node): \(shown.job.message), \(shown.migration)")
            }
            return (place, told.last ?? "")
        }
    }

    /// No other node has a container of the job.
    private func expectOne(_ job: String, on place: AgentProcess) async throws {
        _ = try await run.eventually("one container", within: .seconds(30)) {
            let all = try cluster.agents.flatMap { agent in
                try agent.containerNames().filter { $0.hasPrefix(job + "-") }.map { "\(agent.name): \($0)" }
            }
            if all.count == 1, all[0].hasPrefix(place.name) { return true }
            throw Broken("there are \(all)")
        }
    }

    /// Waits for further counts and looks at all that was counted: each number once and in order, whoever counted it.
    ///
    /// With `restarts` it may have fallen back.
    private func expectCounting(_ name: String, restarts: Bool = false) async throws {
        let before = try counts(name).count
        _ = try await run.eventually("further counts of \(name) after \(before)", within: .seconds(30)) {
            try counts(name).count > before + 3 ? true : nil
        }
        let all = try counts(name)
        for (one, next) in zip(all, all.dropFirst()) where next.number != one.number + 1 {
            guard restarts, next.number <= one.number else {
                throw Broken("\(name): after \(one.number) came \(next.number)")
            }
        }
        for (one, next) in zip(all, all.dropFirst()) where next.time <= one.time {
            throw Broken("\(name): \(next.number) was counted before \(one.number)")
        }
    }

    private func restartCount(_ name: String) throws -> Int {
        let all = try counts(name)
        return zip(all, all.dropFirst()).count { $1.number <= $0.number }
    }

    private func counts(_ name: String) throws -> [(number: Int, time: Int64)] {
        let text = try FileSystem.readText(run.folder + "/given/" + name, limit: 64 << 20)
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count == 2, let number = Int(words[0]), let time = Int64(words[1]) else { return nil }
            return (number, time)
        }
    }
}

extension ScenarioNetwork {
    /// Lets an agent send no faster than this, until ``mend(_:)``; the number is the agent's, from 1.
    func slow(_ number: Int, megabits: Int) async throws {
        try await Self.mustRun(
            "nsenter",
            [
                "--net=/run/netns/\(place(number).namespace)", "tc", "qdisc", "add", "dev", "eth0", "root", "tbf",
                "rate",
                "\(megabits)mbit", "burst", "256kb", "latency", "400ms",
            ]
        )
    }

    /// Takes the bound away.
    func mend(_ number: Int) async throws {
        try await Self.mustRun(
            "nsenter",
            ["--net=/run/netns/\(place(number).namespace)", "tc", "qdisc", "del", "dev", "eth0", "root"]
        )
    }
}
